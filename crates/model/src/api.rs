//! Shapes of the public API under `/api/v1`.

use crate::boundary::BoundaryRecord;
use crate::diagnostic::Diagnostic;
use crate::ids::{AttemptNumber, AttemptRef, JobId, RunId, RunnerId, TokenId};
use crate::labels::Label;
use crate::observe::JobCounts;

use crate::spec::Repository;
use crate::state::{Conclusion, Reason, RunnerState, Status};
use crate::sync::{Annotation, AttemptReport, ResourceSample, RunnerInfo, StepReport};
use crate::time::Timestamp;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Body of `POST /api/v1/runs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRun {
    /// Dialect: `workflow` or `job`.
    pub kind: String,
    /// The document itself.
    pub document: String,
    /// Name of the document in messages (a path).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Event: a name (`"push"`), or an object with `name` and `payload`, or a bare payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Value>,
    /// Inputs by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub inputs: IndexMap<String, Value>,
    /// Secrets by name; encrypted at rest, never returned.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub secrets: IndexMap<String, String>,
    /// Variables, the `vars` context.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub vars: IndexMap<String, String>,
    /// Environment below the document's own.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub env: IndexMap<String, String>,
    /// Project; absent means `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The repository that the run is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// Only these jobs and what they need.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<String>,
    /// Only these legs of the matrix.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub matrix: IndexMap<String, Vec<String>>,
    /// Replaces the queue of every job that names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Added to the priority of every job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Documents that this one calls, by the reference as written (`./.github/workflows/build.yml`).
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub files: IndexMap<String, String>,
}

/// Answer to a create: what `submit` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Created {
    /// The run.
    pub run: RunId,
    /// Its jobs in document order.
    pub jobs: Vec<CreatedJob>,
    /// Findings that did not make the document unusable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Diagnostic>,
}

/// A job of a new run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedJob {
    /// The job.
    pub id: JobId,
    /// Its name for people.
    pub name: String,
    /// Its id in the document.
    pub key: String,
}

/// Body of `POST /api/v1/runs/batch`: all or nothing, in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBatch {
    /// The runs, at most 50,000 jobs in all.
    pub runs: Vec<CreateRun>,
}

/// Answer to a batch create, in the order of the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CreatedBatch {
    /// The runs.
    pub runs: Vec<Created>,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunView {
    /// The run.
    pub id: RunId,
    /// Counts the runs of one workflow in one project.
    pub number: u64,
    /// Counts re-runs.
    pub attempt: u32,
    /// Dialect.
    pub kind: String,
    /// Name of the document.
    pub name: String,
    /// Title of this run.
    pub title: String,
    /// Project.
    pub project: String,
    /// Path of the document, if known.
    pub path: Option<String>,
    /// Event that started it.
    pub event: String,
    /// Who caused it.
    pub actor: Option<String>,
    /// Branch or tag (short name of the ref), if known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub branch: Option<String>,
    /// The repository; only in the view of a single run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub repository: Option<Repository>,
    /// Where it stands.
    pub status: Status,
    /// How it ended.
    pub conclusion: Option<Conclusion>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its first job started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The run of which this is a re-run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rerun_of: Option<RunId>,
    /// Change number: larger than that of any earlier change in this installation.
    pub change: u64,
    /// The commit, if the run is about one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha: Option<String>,
    /// Its jobs by state; only in lists.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job_counts: Option<JobCounts>,
    /// What was given as inputs; only in the view of a single run.
    #[serde(skip_serializing_if = "IndexMap::is_empty", default)]
    pub inputs: IndexMap<String, Value>,
    /// Somebody asked for its cancellation.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub cancel_requested: bool,
    /// Jobs; only in the view of a single run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub jobs: Option<Vec<JobView>>,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// The job.
    pub id: JobId,
    /// Its run.
    pub run: RunId,
    /// Its id in the document.
    pub key: String,
    /// Name for people.
    pub name: String,
    /// Keys of jobs that it needs.
    pub needs: Vec<String>,
    /// Values of its leg of the matrix; only of a job that is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub matrix: Option<Value>,
    /// Labels that it requires.
    pub labels: Vec<Label>,
    /// Queue.
    pub queue: String,
    /// Priority.
    pub priority: i32,
    /// Where it stands.
    pub status: Status,
    /// How it ended.
    pub conclusion: Option<Conclusion>,
    /// Why it ended so.
    pub reason: Option<Reason>,
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// When its run was created.
    pub created_at: Timestamp,
    /// When it became ready for a runner.
    pub queued_at: Option<Timestamp>,
    /// When the current or last attempt got its lease.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Current or last attempt.
    pub attempt: Option<AttemptNumber>,
    /// Runner of the current or last attempt.
    pub runner: Option<RunnerId>,
    /// Name of that runner.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub runner_name: Option<String>,
    /// Exit code of the step that decided.
    pub exit_code: Option<i32>,
    /// Outputs.
    #[serde(default)]
    pub outputs: IndexMap<String, String>,
    /// Whether somebody asked for its cancellation.
    #[serde(default)]
    pub cancel_requested: bool,
    /// Change number, see [`RunView::change`].
    pub change: u64,
    /// Steps of the current or last attempt.
    #[serde(default)]
    pub steps: Vec<StepReport>,
    /// Every attempt; only in the view of a single job.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempts: Option<Vec<AttemptView>>,
}

/// One try of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    /// Number, from 1.
    pub attempt: AttemptNumber,
    /// Runner.
    pub runner: RunnerId,
    /// Whether it is over.
    pub finished: bool,
    /// How it ended.
    pub conclusion: Option<Conclusion>,
    /// Why.
    pub reason: Option<Reason>,
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// Lease.
    pub leased_at: Timestamp,
    /// When its first step started: what lies between lease and this is set-up.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started_at: Option<Timestamp>,
    /// End.
    pub finished_at: Option<Timestamp>,
    /// Length of its log.
    pub log_bytes: u64,
    /// Steps.
    #[serde(default)]
    pub steps: Vec<StepReport>,
    /// Notices, warnings, errors.
    #[serde(default)]
    pub annotations: Vec<Annotation>,
    /// Markdown summaries by step.
    #[serde(default)]
    pub summaries: Vec<(u16, String)>,
    /// What isolation held.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub boundary: Option<BoundaryRecord>,
    /// Address of what was deployed (`environment.url`, evaluated).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub environment_url: Option<String>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Pass as `cursor` to get the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_cursor: Option<String>,
}

/// A runner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunnerView {
    /// The runner.
    pub id: RunnerId,
    /// Name, unique.
    pub name: String,
    /// Description.
    pub description: String,
    /// State.
    pub state: RunnerState,
    /// Why it is in state error.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// An operator asked it to drain.
    pub drain: bool,
    /// Version.
    pub version: String,
    /// Its version is so far from the server's that it gets no jobs.
    #[serde(default)]
    pub version_too_far: bool,
    /// Slots.
    pub slots: u32,
    /// Labels: its own and those fixed at registration.
    pub labels: Vec<Label>,
    /// Labels, queues, capabilities, system as the runner stated them.
    pub info: RunnerInfo,
    /// Load at the last sample.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resources: Option<ResourceSample>,
    /// Jobs that it holds.
    pub jobs: Vec<JobId>,
    /// Creation.
    pub created_at: Timestamp,
    /// Last sync or heartbeat.
    pub last_seen_at: Option<Timestamp>,
    /// Completed jobs by conclusion, since its creation.
    #[serde(default)]
    pub completed: IndexMap<String, u64>,
}

/// Body of `POST /api/v1/runners`: an admin creates a runner and gets its token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CreateRunner {
    /// Name, unique; generated if absent.
    pub name: Option<String>,
    /// Description.
    pub description: String,
    /// Labels.
    pub labels: Vec<Label>,
    /// Queues; empty means `default`.
    pub queues: Vec<String>,
    /// Slots; 1 if absent.
    pub slots: Option<u32>,
}

/// Body of `POST /api/v1/runners/register`: whoever holds a registration token
/// (in the `Authorization` header or here) becomes a runner.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RegisterRunner {
    /// Registration token, if not in the header; `registrationToken` is understood too.
    #[serde(
        alias = "registrationToken",
        alias = "registration_token",
        skip_serializing_if = "Option::is_none"
    )]
    pub token: Option<String>,
    /// Name; generated if absent. An existing offline runner of this name is taken over with `replace`.
    pub name: Option<String>,
    /// Description.
    pub description: String,
    /// Labels.
    pub labels: Vec<Label>,
    /// Queues.
    pub queues: Vec<String>,
    /// Slots; 1 if absent.
    pub slots: Option<u32>,
    /// Version of the runner; checked against the server's.
    pub version: Option<String>,
    /// It leaves after one job.
    pub one_off: bool,
    /// Take over a runner of the same name.
    pub replace: bool,
    /// Capabilities and system, if known already.
    pub capabilities: IndexMap<String, String>,
}

/// Answer to a registration: the only time the runner token is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Registered {
    /// The runner's id.
    pub id: RunnerId,
    /// Its name.
    pub name: String,
    /// Its token.
    pub token: String,
}

/// Body of `PATCH /api/v1/runners/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpdateRunner {
    /// New description.
    pub description: Option<String>,
    /// New fixed labels (replace the old ones).
    pub labels: Option<Vec<Label>>,
    /// Start or end draining.
    pub drain: Option<bool>,
}

/// Body of `POST /api/v1/runners/{id}/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunnerStatus {
    /// `idle`, `busy`, `draining`, `error` or `offline`.
    pub status: RunnerState,
    /// Why, with `error`.
    #[serde(default)]
    pub message: Option<String>,
}

/// Body of `POST /api/v1/runners/{id}/heartbeat`; every field may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Heartbeat {
    /// Version.
    pub version: Option<String>,
    /// Load.
    pub resources: Option<ResourceSample>,
    /// What it is.
    pub info: Option<RunnerInfo>,
    /// Progress of the attempts it holds.
    pub attempts: Vec<AttemptReport>,
}

/// Body of `POST /api/v1/runners/{id}/assign-job`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct AssignJob {
    /// This job; absent means the next one in queue order that matches.
    #[serde(alias = "jobId")]
    pub job_id: Option<JobId>,
}

/// Body of `POST /api/v1/runners/{id}/complete-job`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompleteJob {
    /// The job.
    #[serde(alias = "jobId")]
    pub job_id: JobId,
    /// Attempt and epoch, as the assignment gave them; absent means the attempt that this runner holds.
    #[serde(default)]
    pub attempt: Option<AttemptRef>,
    /// How it ended.
    #[serde(alias = "status")]
    pub conclusion: Conclusion,
    /// In words.
    #[serde(default)]
    pub message: Option<String>,
    /// Exit code.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// Outputs.
    #[serde(default)]
    pub outputs: IndexMap<String, String>,
    /// Steps.
    #[serde(default)]
    pub steps: Vec<StepReport>,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// Everything.
    Admin,
    /// Submit, see and steer runs.
    Member,
    /// See.
    ReadOnly,
    /// Register runners.
    Registration,
    /// Be one runner.
    Runner,
    /// Act for one attempt, while it runs.
    Job,
}

impl TokenKind {
    /// The recognisable beginning of tokens of this kind.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Admin => "ffa_",
            Self::Member => "ffm_",
            Self::ReadOnly => "ffo_",
            Self::Registration => "ffreg_",
            Self::Runner => "ffrun_",
            Self::Job => "ffj_",
        }
    }
}

/// Body of `POST /api/v1/tokens`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// `admin`, `member`, `read_only` or `registration`.
    pub kind: TokenKind,
    /// What it is for.
    #[serde(default)]
    pub name: String,
    /// Seconds until it expires; registration tokens: one hour if absent; others: never if absent.
    #[serde(default)]
    pub expires_in_seconds: Option<u64>,
    /// Registration tokens: how many runners may register; absent means no limit.
    #[serde(default)]
    pub max_uses: Option<u32>,
    /// Registration tokens: labels that every runner gets in addition.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// Registration tokens: the only queue that these runners serve.
    #[serde(default)]
    pub queue: Option<String>,
}

/// Answer to a token create: the only time the token is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// Its id, for listing and revoking.
    pub id: TokenId,
    /// Kind.
    pub kind: TokenKind,
    /// The token.
    pub token: String,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Id.
    pub id: TokenId,
    /// Kind.
    pub kind: TokenKind,
    /// What it is for.
    pub name: String,
    /// First characters, enough to recognise it.
    pub prefix: String,
    /// Creation.
    pub created_at: Timestamp,
    /// Expiry.
    pub expires_at: Option<Timestamp>,
    /// Last use, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// Uses left, of a registration token with a limit.
    pub uses_left: Option<u32>,
    /// Labels that it fixes.
    pub labels: Vec<Label>,
    /// Queue that it fixes.
    pub queue: Option<String>,
    /// The runner it belongs to.
    pub runner: Option<RunnerId>,
}

/// Answer to a log append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Appended {
    /// Everything before this offset is on disk.
    pub offset: u64,
}

/// Body of a cancel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct CancelRun {
    /// In words, shown with the run.
    pub message: Option<String>,
}

/// Body of a re-run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Rerun {
    /// Only jobs that did not succeed, and what depends on them.
    pub failed_only: bool,
    /// Steps say more (`ACTIONS_STEP_DEBUG`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub debug: bool,
}

/// Filters of the list of runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunFilter {
    /// Status.
    pub status: Option<Status>,
    /// Conclusion.
    pub conclusion: Option<Conclusion>,
    /// Dialect.
    pub kind: Option<String>,
    /// Project.
    pub project: Option<String>,
    /// Name of the document.
    pub name: Option<String>,
    /// Branch (short name of the ref).
    pub branch: Option<String>,
    /// Actor.
    pub actor: Option<String>,
    /// Event.
    pub event: Option<String>,
}

/// One audit entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Number, increasing.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// Who (`token:3`, `runner:7`, `system`).
    pub actor: String,
    /// What (`attempt.stale_write`, `token.create`).
    pub action: String,
    /// On what (`job:12`).
    pub subject: String,
    /// Anything else.
    #[serde(default)]
    pub detail: Value,
}
