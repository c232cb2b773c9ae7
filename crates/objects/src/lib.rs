//! Bytes outside the database: log segments, artifacts and caches.

/// Placeholder until the log store lands.
#[derive(Clone, Debug)]
pub struct LogStore;
