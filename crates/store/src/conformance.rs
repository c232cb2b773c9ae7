//! The conformance suite: what every implementation of [`Store`] must do.
//!
//! An implementation gives a [`Harness`] and calls [`run_all`]; a case that
//! does not hold panics with what it expected. Cases share nothing: each asks
//! for a fresh store. Nothing here may know how a store is made.

pub mod fixtures;
pub mod fleet;
pub mod jobs;
pub mod observe;
pub mod projects;
pub mod runs;
pub mod services;
pub mod triggers;
pub mod users;
pub mod whole;

use crate::Store;
use async_trait::async_trait;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the suite needs to know about an implementation.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A new store without any rows.
    async fn fresh(&self) -> Arc<dyn Store>;

    /// A path at which nothing exists yet, for a backup.
    fn new_path(&self) -> PathBuf;

    /// A store made from a backup.
    async fn open_backup(&self, file: &Path) -> Arc<dyn Store>;
}

/// Runs every case, each on a fresh store.
pub async fn run_all(harness: &dyn Harness) {
    runs::all(harness).await;
    jobs::all(harness).await;
    fleet::all(harness).await;
    triggers::all(harness).await;
    whole::all(harness).await;
    projects::all(harness).await;
    services::all(harness).await;
    users::all(harness).await;
    observe::all(harness).await;
}
