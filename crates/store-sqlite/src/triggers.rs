//! Repositories that start runs, their deliveries, schedules and reports.

use crate::SqliteStore;
use async_trait::async_trait;
use fleetfoot_store::TriggerStore;

#[async_trait]
impl TriggerStore for SqliteStore {}
