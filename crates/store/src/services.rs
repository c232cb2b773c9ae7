//! Artifacts and caches: what is known of them beside their bytes, which are objects.

use async_trait::async_trait;

/// The part of a store that keeps artifacts and caches.
#[async_trait]
pub trait ServiceStore: Send + Sync + 'static {}
