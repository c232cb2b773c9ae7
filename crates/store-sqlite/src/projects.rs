//! Secrets, variables and environments of projects, and the approvals of jobs that wait for one.

use crate::SqliteStore;
use async_trait::async_trait;
use fleetfoot_store::ProjectStore;

#[async_trait]
impl ProjectStore for SqliteStore {}
