//! Repositories that start runs, their deliveries, schedules and reports.

use async_trait::async_trait;

/// The part of a store that keeps repositories, deliveries, schedules and reports.
#[async_trait]
pub trait TriggerStore: Send + Sync + 'static {}
