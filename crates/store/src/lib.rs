//! The persistence trait, at the level of domain operations, and the
//! conformance suite that every implementation passes.
//!
//! Writes are [`Op`]s. A call of [`Store::apply`] carries several; each is
//! atomic by itself and guarded by the state it expects (compare and set), so
//! that a second server or a stale caller gets [`OpError::Conflict`] and
//! changes nothing. `apply` returns after everything is durable. Reads see
//! every write that was acknowledged before they began.

pub mod conformance;
mod observe;
mod ops;
mod projects;
mod rows;
mod services;
mod triggers;
mod users;

pub use observe::*;
pub use ops::{Op, OpError, OpOk};
pub use projects::*;
pub use rows::*;
pub use services::*;
pub use triggers::*;
pub use users::*;

use async_trait::async_trait;
use fleetfoot_model::api::{AuditEntry, RunFilter, TokenKind};
use fleetfoot_model::ids::{JobId, RunId, RunnerId, TokenId};
use fleetfoot_model::time::Timestamp;
use std::path::Path;
use thiserror::Error;

/// Where the control plane keeps its state.
#[async_trait]
pub trait Store:
    ServiceStore + ProjectStore + TriggerStore + UserStore + ObserveStore + Send + Sync + 'static
{
    /// Applies operations in order, in one transaction with whatever else is
    /// waiting (group commit). The answer has one entry per operation: a
    /// failed one changed nothing, the others took effect.
    ///
    /// # Errors
    /// If the commit itself failed (disk full, I/O error): then none took effect.
    async fn apply(&self, ops: Vec<Op>) -> Result<Vec<Result<OpOk, OpError>>, StoreError>;

    /// The largest ids and change number in use, for handing out new ones.
    async fn high_water(&self) -> Result<HighWater, StoreError>;

    /// Every run that has not completed with its jobs (without specifications), oldest first,
    /// in pages: pass the last run of the previous page. Used once at start.
    async fn open_runs(
        &self,
        after: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<(RunRow, Vec<JobRow>)>, StoreError>;

    /// One run.
    async fn run(&self, id: RunId) -> Result<Option<RunRow>, StoreError>;

    /// The document, parameters, contexts and sealed secrets of a run.
    async fn run_payload(&self, id: RunId) -> Result<Option<RunPayload>, StoreError>;

    /// Runs by filter, newest first, before `cursor` (exclusive), at most `limit`.
    async fn list_runs(
        &self,
        filter: &RunFilter,
        cursor: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunRow>, StoreError>;

    /// Runs with this project, name and number, newest first, before `cursor` (exclusive), at
    /// most `limit`: a re-run has the number of the run that it repeats.
    async fn run_attempts(
        &self,
        numbered: (&str, &str, u64),
        cursor: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunRow>, StoreError>;

    /// The largest run number of a workflow (`project`, `name`); 0 if it never ran.
    async fn last_run_number(&self, project: &str, name: &str) -> Result<u64, StoreError>;

    /// Jobs of a run in creation order; with `since`, only those whose change number is larger.
    async fn run_jobs(&self, id: RunId, since: Option<u64>) -> Result<Vec<JobRow>, StoreError>;

    /// One job.
    async fn job(&self, id: JobId) -> Result<Option<JobRow>, StoreError>;

    /// Specification and placement of a job (`None` until it is resolved).
    async fn job_payload(&self, id: JobId) -> Result<Option<JobPayload>, StoreError>;

    /// Attempts of a job, oldest first.
    async fn attempts(&self, job: JobId) -> Result<Vec<AttemptRow>, StoreError>;

    /// The latest attempt of every job of a run that has one.
    async fn latest_attempts(&self, run: RunId) -> Result<Vec<AttemptRow>, StoreError>;

    /// Every attempt that is not finished.
    async fn open_attempts(&self) -> Result<Vec<AttemptRow>, StoreError>;

    /// Every runner.
    async fn runners(&self) -> Result<Vec<RunnerRow>, StoreError>;

    /// The token with this hash, whatever its state.
    async fn token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<TokenRow>, StoreError>;

    /// Tokens, newest first; `kind` filters. Job tokens are not among them.
    async fn tokens(&self, kind: Option<TokenKind>) -> Result<Vec<TokenRow>, StoreError>;

    /// One token.
    async fn token(&self, id: TokenId) -> Result<Option<TokenRow>, StoreError>;

    /// What was answered under this idempotency key, if anything.
    async fn idempotent(&self, key: &str) -> Result<Option<IdempotencyRow>, StoreError>;

    /// Audit entries, newest first, before `cursor` (exclusive).
    async fn audit(&self, cursor: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>, StoreError>;

    /// Completed runs that ended before `before`, oldest first, for retention.
    async fn runs_finished_before(&self, before: Timestamp, limit: usize) -> Result<Vec<RunId>, StoreError>;

    /// Completed jobs per runner and conclusion, of one runner or of all.
    async fn runner_totals(
        &self,
        runner: Option<RunnerId>,
    ) -> Result<Vec<(RunnerId, fleetfoot_model::Conclusion, u64)>, StoreError>;

    /// Writes a consistent copy to a new file while everything goes on.
    async fn backup(&self, to: &Path) -> Result<(), StoreError>;

    /// Counters of the store since its start, for `/metrics`.
    fn statistics(&self) -> Statistics;
}

/// What a store counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Transactions committed.
    pub commits: u64,
    /// Operations in them.
    pub operations: u64,
    /// Operations in the latest transaction.
    pub last_batch: u64,
    /// Microseconds spent in COMMIT in all.
    pub commit_micros: u64,
}

/// The store as a whole failed.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct StoreError {
    /// For decisions.
    pub kind: StoreErrorKind,
    /// For people; never repeats the source.
    pub message: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// An error that was found here.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Adds what caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// Kinds of [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// No space left; try again when there is some.
    DiskFull,
    /// Another process has the data directory.
    Locked,
    /// The data was written by a newer version.
    TooNew,
    /// The queue of writes is full; try again.
    Overloaded,
    /// The store is shutting down.
    Closed,
    /// Stored data cannot be read.
    Corrupt,
    /// Anything else.
    Other,
}
