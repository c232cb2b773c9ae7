//! The one exchange between runner and server (promise 3). The runner says what
//! it observes, the server answers what should be. Sending the same request
//! again changes nothing; whatever was lost is healed by the next one.
//!
//! `POST /api/v1/runners/{id}/sync` waits at the server for up to `wait_ms`
//! while there is nothing to say. A newer sync of the same runner ends the
//! wait of an older one at once.

use crate::boundary::{Boundary, BoundaryRecord};
use crate::ids::{AttemptRef, RunId};
use crate::labels::Label;
use crate::spec::{Contexts, JobSpec, Limits, Repository};
use crate::state::{Conclusion, Reason, Status};
use crate::time::Timestamp;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// What a runner observes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct SyncRequest {
    /// Version of the runner.
    pub version: String,
    /// Random id of this runner process. Two live processes with one identity
    /// (a cloned machine) are told apart by it: the newer fences the older.
    pub instance: String,
    /// Counts the syncs of this process, from 1; an older one never overrules a newer one.
    pub sequence: u64,
    /// How many jobs it can hold at once.
    pub slots: u32,
    /// What it is; sent with the first sync and after a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<RunnerInfo>,
    /// Load of the machine; sent now and then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceSample>,
    /// It finishes what it has and takes nothing new.
    pub draining: bool,
    /// It cannot work, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Every attempt that it holds, with nothing left out: an attempt that the
    /// server believes to be here but that is not listed is lost.
    pub attempts: Vec<AttemptReport>,
    /// How long the server may wait, in milliseconds; capped at 60,000.
    pub wait_ms: u64,
}

/// What a runner is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RunnerInfo {
    /// Labels that it offers (the server adds those fixed at registration).
    pub labels: Vec<Label>,
    /// Queues that it serves; empty means `default`.
    pub queues: Vec<String>,
    /// Strongest boundary that it offers.
    pub boundary: Boundary,
    /// Tools and their versions (`git` -> `2.39.5`).
    pub capabilities: IndexMap<String, String>,
    /// The machine.
    pub system: SystemInfo,
    /// It leaves after one job.
    pub one_off: bool,
    /// The most that a job may ask for.
    pub limits: Limits,
    /// It has a container engine: it takes jobs with `container` or `services`.
    pub containers: bool,
}

/// The machine of a runner.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct SystemInfo {
    /// `linux`, `macos`, `windows`.
    pub os: String,
    /// `x86_64`, `aarch64`.
    pub arch: String,
    /// Kernel release.
    pub kernel: String,
    /// Host name.
    pub hostname: String,
    /// Logical CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Size in bytes of the file system that holds the work directory.
    pub disk_bytes: u64,
}

/// Load of a machine at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ResourceSample {
    /// Busy share of all CPUs since the last sample, 0 to 1.
    pub cpu: f64,
    /// Memory in use, bytes.
    pub memory_used_bytes: u64,
    /// Free bytes on the file system of the work directory.
    pub disk_free_bytes: u64,
}

/// What the runner knows about one attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttemptReport {
    /// Which.
    pub attempt: AttemptRef,
    /// How far it is.
    pub phase: Phase,
    /// Steps; sent when they changed, absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub steps: Option<Vec<StepReport>>,
    /// The result; present exactly in phase `finished`. All log bytes were acknowledged before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<Box<AttemptResult>>,
}

/// How far an attempt is on its runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Taken, nothing started yet.
    Accepted,
    /// Steps run.
    Running,
    /// A cancellation arrived and is being carried out.
    Cancelling,
    /// Over; the result is in the report.
    Finished,
}

/// One step of an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepReport {
    /// Position in the list of steps that ran or will run, from 0; also its number in log frames.
    pub index: u16,
    /// Id of the step (`__run_2`).
    pub id: String,
    /// Name, evaluated.
    pub name: String,
    /// Where it stands.
    pub status: Status,
    /// How it ended, after `continue-on-error`.
    #[serde(default)]
    pub conclusion: Option<Conclusion>,
    /// How it ended, before `continue-on-error`.
    #[serde(default)]
    pub outcome: Option<Conclusion>,
    /// Why, if it did not succeed.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// Exit code of the process.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// Signal that ended the process.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<i32>,
    /// The process ended, but a child of it kept its output open.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub leaked: bool,
    /// Start.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// End.
    #[serde(default)]
    pub finished_at: Option<Timestamp>,
    /// What it used.
    #[serde(default)]
    pub usage: Usage,
}

/// Resources used by the processes of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Usage {
    /// CPU time in user mode, microseconds.
    pub cpu_user_us: u64,
    /// CPU time in the kernel, microseconds.
    pub cpu_system_us: u64,
    /// Largest resident set, bytes.
    pub max_rss_bytes: u64,
    /// Bytes read from block devices.
    pub read_bytes: u64,
    /// Bytes written to block devices.
    pub write_bytes: u64,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttemptResult {
    /// How.
    pub conclusion: Conclusion,
    /// Why, if it did not succeed.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// Exit code of the step that decided.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// Outputs of the job.
    #[serde(default)]
    pub outputs: IndexMap<String, String>,
    /// Notices, warnings and errors that steps raised.
    #[serde(default)]
    pub annotations: Vec<Annotation>,
    /// Markdown that steps wrote to `GITHUB_STEP_SUMMARY`, by step index.
    #[serde(default)]
    pub summaries: Vec<(u16, String)>,
    /// Length of the log in bytes.
    #[serde(default)]
    pub log_bytes: u64,
    /// When the first step started.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When the last step ended.
    #[serde(default)]
    pub finished_at: Option<Timestamp>,
    /// What isolation really held.
    #[serde(default)]
    pub boundary: BoundaryRecord,
    /// Address of what was deployed (`environment.url`, evaluated).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub environment_url: Option<String>,
}

impl AttemptResult {
    /// A result of which nothing is known but how the attempt ended.
    #[must_use]
    pub fn new(conclusion: Conclusion) -> Self {
        Self {
            conclusion,
            reason: None,
            message: None,
            exit_code: None,
            outputs: IndexMap::new(),
            annotations: Vec::new(),
            summaries: Vec::new(),
            log_bytes: 0,
            started_at: None,
            finished_at: None,
            boundary: BoundaryRecord::default(),
            environment_url: None,
        }
    }
}

/// A notice, warning or error raised by a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Annotation {
    /// `notice`, `warning` or `error`.
    pub level: String,
    /// Message.
    pub message: String,
    /// Title.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<String>,
    /// File it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
    /// First line, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u64>,
    /// Last line.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end_line: Option<u64>,
    /// First column, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub column: Option<u64>,
    /// Last column.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end_column: Option<u64>,
    /// Index of the step that raised it.
    #[serde(default)]
    pub step: u16,
}

/// What should be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct SyncResponse {
    /// Version of the server.
    pub version: String,
    /// Attempts to take; repeated until the runner lists them.
    pub assignments: Vec<Assignment>,
    /// Attempts to cancel; repeated until the runner says `cancelling` or `finished`.
    pub cancel: Vec<AttemptRef>,
    /// Attempts whose result is durable: forget them.
    pub acknowledged: Vec<AttemptRef>,
    /// Attempts that are not (or no longer) this runner's: kill them and discard what they made.
    pub fenced: Vec<AttemptRef>,
    /// Finish what you have and take nothing new.
    pub drain: bool,
    /// An operator removed this runner, or a newer process took its identity: end.
    pub shut_down: bool,
    /// A busy runner whose syncs stay away for this long loses its leases, milliseconds.
    pub lease_ms: u64,
}

/// An attempt to take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Assignment {
    /// Which.
    pub attempt: AttemptRef,
    /// Its run.
    pub run: RunId,
    /// Project of the run.
    pub project: String,
    /// What to do.
    #[schema(value_type = JobSpec)]
    pub spec: Arc<JobSpec>,
    /// Contexts of the run and of this job (`github`, `inputs`, `vars`, `needs`).
    #[schema(value_type = Object)]
    pub contexts: Contexts,
    /// Environment given at submit, below everything else.
    #[serde(default)]
    pub env: IndexMap<String, String>,
    /// Secrets by name; masked in every output.
    #[serde(default)]
    pub secrets: IndexMap<String, String>,
    /// Token of this attempt, valid until it ends.
    pub job_token: String,
    /// The repository of the run.
    #[serde(default)]
    pub repository: Option<Repository>,
    /// Public address of the server, as the runner should show it to steps.
    pub server_url: String,
    /// Addresses and token of the services for actions; absent where none are offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<JobServices>,
}

/// The services that actions speak to (artifacts, caches, identity tokens).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct JobServices {
    /// `ACTIONS_RUNTIME_URL`, with a slash at the end.
    pub runtime_url: String,
    /// `ACTIONS_RESULTS_URL`, with a slash at the end.
    pub results_url: String,
    /// `ACTIONS_CACHE_URL`, with a slash at the end.
    pub cache_url: String,
    /// `ACTIONS_RUNTIME_TOKEN`: a JWT whose `scp` names run and job; ends with the attempt.
    pub runtime_token: String,
    /// `ACTIONS_ID_TOKEN_REQUEST_URL`; absent without `id-token: write`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token_url: Option<String>,
}
