//! Bytes outside the database: log segments, artifacts and caches.
