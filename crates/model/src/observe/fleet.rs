//! The fleet at this moment and over time.

use crate::ids::{JobId, RunnerId};
use crate::time::Timestamp;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The fleet at this moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FleetView {
    /// When this was true.
    pub at: Timestamp,
    /// Version of the server.
    pub server_version: String,
    /// Runners by state (`idle`, `busy`, `draining`, `error`, `offline`).
    pub runners: IndexMap<String, u64>,
    /// Slots of runners that are connected.
    pub slots_total: u64,
    /// Of these, slots with a job.
    pub slots_busy: u64,
    /// Share of slots with a job, 0 to 1.
    pub utilisation: f64,
    /// Jobs with a runner.
    pub jobs_running: u64,
    /// Jobs that wait for a runner or their turn.
    pub jobs_waiting: u64,
    /// Queues with jobs, by name.
    pub queues: Vec<QueueDepth>,
    /// Labels that waiting jobs require, by name.
    pub labels: Vec<LabelDepth>,
    /// The job that waits longest.
    pub oldest_waiting: Option<OldestWaiting>,
    /// Runners whose version differs from the server's (at most a hundred).
    pub skew: Vec<VersionSkew>,
}

/// Jobs of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueDepth {
    /// The queue.
    pub queue: String,
    /// Jobs that wait.
    pub waiting: u64,
    /// Of these, jobs that a group, `max-parallel` or a retry delay holds back.
    pub held: u64,
    /// Jobs with a runner.
    pub running: u64,
    /// Since when the oldest of those that only lack a runner waits.
    pub oldest_since: Option<Timestamp>,
}

/// Jobs that require a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LabelDepth {
    /// The label.
    pub label: String,
    /// Jobs that wait.
    pub waiting: u64,
    /// Connected runners that offer it.
    pub runners: u64,
}

/// The job that waits longest for a runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OldestWaiting {
    /// The job.
    pub job: JobId,
    /// Its queue.
    pub queue: String,
    /// Since when.
    pub since: Timestamp,
}

/// A runner whose version differs from the server's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionSkew {
    /// The runner.
    pub runner: RunnerId,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// It is so far away that the runner gets no jobs.
    pub too_far: bool,
}

/// Numbers over time, in columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Series {
    /// Whose: `fleet`, `runner:ID`, `queue:NAME` or `label:NAME`.
    pub name: String,
    /// Seconds from one point to the next.
    pub step_seconds: u64,
    /// Moments, in seconds since the Unix epoch, ascending.
    pub at: Vec<i64>,
    /// Values by column, one for each moment; `null` where nothing was measured.
    ///
    /// `fleet`: `runners`, `slots`, `busy`, `waiting`, `running`. `runner:`: `cpu` (0 to 1), `memory`
    /// and `disk_free` (bytes), `busy`, `slots`. `queue:` and `label:`: `depth`, `started` (jobs that
    /// got a runner), `wait_p50` and `wait_p95` (seconds that these waited).
    pub values: IndexMap<String, Vec<Option<f64>>>,
}

/// Names of series that have points.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SeriesNames {
    /// The names, in order.
    pub names: Vec<String>,
}
