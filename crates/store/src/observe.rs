//! What a dashboard asks for: lists of runs with any filter, sizes, the audit
//! log, and numbers over time. Nothing here changes a run, a job or a runner.

use crate::{ArtifactRow, RunRow, StoreError};
use async_trait::async_trait;
use fleetfoot_model::api::AuditEntry;
use fleetfoot_model::ids::{JobId, RunId};
use fleetfoot_model::observe::{AuditFilter, JobCounts, RunFacets, RunSearch, Stock};
use serde_json::Value;

/// A run as a list shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// The run.
    pub row: RunRow,
    /// Its commit.
    pub sha: Option<String>,
    /// Its jobs by state.
    pub jobs: JobCounts,
}

/// Columns of a sample.
pub const SAMPLE_COLUMNS: usize = 5;

/// What was measured of one series at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleRow {
    /// Name of the series.
    pub series: String,
    /// How fine it is: 0 the finest.
    pub level: u8,
    /// When, in seconds since the Unix epoch.
    pub at: i64,
    /// The values, by column of the series.
    pub values: [Option<f64>; SAMPLE_COLUMNS],
}

/// Sizes of what the store knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stocks {
    /// The database itself: runs, and bytes with its write-ahead log.
    pub database: Stock,
    /// Artifacts that are ready.
    pub artifacts: Stock,
    /// Caches that are ready.
    pub caches: Stock,
}

/// The part of a store that a dashboard looks at.
#[async_trait]
pub trait ObserveStore: Send + Sync + 'static {
    /// Runs, newest first, before `cursor` (exclusive), at most `limit`.
    async fn search_runs(
        &self,
        search: &RunSearch,
        cursor: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunSummary>, StoreError>;

    /// These runs as a list shows them, without those that are gone, newest first.
    async fn run_summaries(&self, ids: Vec<RunId>) -> Result<Vec<RunSummary>, StoreError>;

    /// Values of the matrix of jobs of a run that are legs of one and changed after `since`, at most `limit`.
    async fn job_matrices(
        &self,
        run: RunId,
        since: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(JobId, Value)>, StoreError>;

    /// Values of the matrix of one job, if it is a leg of one.
    async fn job_matrix(&self, job: JobId) -> Result<Option<Value>, StoreError>;

    /// Values that runs can be filtered by, at most `limit` of each kind.
    async fn run_facets(&self, limit: usize) -> Result<RunFacets, StoreError>;

    /// Adds samples, in place of those of the same series, level and moment.
    async fn add_samples(&self, samples: Vec<SampleRow>) -> Result<(), StoreError>;

    /// Samples of a series from `from` to `to` (both included), oldest first.
    async fn samples(
        &self,
        series: &str,
        level: u8,
        from: i64,
        to: i64,
    ) -> Result<Vec<SampleRow>, StoreError>;

    /// Names of the series that have samples.
    async fn series_names(&self) -> Result<Vec<String>, StoreError>;

    /// Forgets samples of a level that are older than `before`, and series without any.
    async fn forget_samples(&self, level: u8, before: i64) -> Result<(), StoreError>;

    /// Audit entries, newest first, before `cursor` (exclusive).
    async fn search_audit(
        &self,
        filter: &AuditFilter,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, StoreError>;

    /// Artifacts of all runs that are ready, newest first, before `cursor` (exclusive). `name` is a part
    /// of the name.
    async fn all_artifacts(
        &self,
        project: Option<&str>,
        name: Option<&str>,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<Vec<ArtifactRow>, StoreError>;

    /// How much there is.
    async fn stocks(&self) -> Result<Stocks, StoreError>;

    /// How many approvals are pending.
    async fn pending_approvals(&self) -> Result<u64, StoreError>;

    /// Version of the schema.
    async fn schema_version(&self) -> Result<u64, StoreError>;
}
