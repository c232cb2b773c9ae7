//! Secrets, variables and environments of projects, and the approvals of jobs that wait for one.

use async_trait::async_trait;

/// The part of a store that keeps secrets, variables, environments and approvals.
#[async_trait]
pub trait ProjectStore: Send + Sync + 'static {}
