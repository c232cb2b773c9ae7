//! Artifacts and caches: what is known of them beside their bytes, which are objects.

use crate::SqliteStore;
use async_trait::async_trait;
use fleetfoot_store::ServiceStore;

#[async_trait]
impl ServiceStore for SqliteStore {}
