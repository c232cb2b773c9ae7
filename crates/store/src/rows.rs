//! What the store keeps, as plain rows. JSON columns are typed here and
//! encoded by the implementation.

use fleetfoot_model::api::TokenKind;
use fleetfoot_model::boundary::BoundaryRecord;
use fleetfoot_model::ids::{AttemptNumber, AttemptRef, JobId, RunId, RunnerId, TokenId};
use fleetfoot_model::labels::Label;
use fleetfoot_model::plan::{PlanNode, RunParams};
use fleetfoot_model::spec::{Concurrency, Contexts, JobSpec, Placement};
use fleetfoot_model::state::{Conclusion, Reason, Status};
use fleetfoot_model::sync::{AttemptResult, RunnerInfo, StepReport};
use fleetfoot_model::time::Timestamp;
use indexmap::IndexMap;
use std::sync::Arc;

/// Largest numbers in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HighWater {
    /// Largest run id ever used.
    pub run: u64,
    /// Largest job id ever used.
    pub job: u64,
    /// Largest runner id ever used.
    pub runner: u64,
    /// Largest token id ever used.
    pub token: u64,
    /// Largest epoch ever used.
    pub epoch: u64,
    /// Largest change number ever used.
    pub change: u64,
}

/// A run without its payload.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRow {
    /// The run.
    pub id: RunId,
    /// Counts the runs of one workflow (`project`, `name`).
    pub number: u64,
    /// Counts re-runs, from 1.
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
    /// Event name.
    pub event: String,
    /// Who caused it.
    pub actor: Option<String>,
    /// Short branch name, for filters.
    pub branch: Option<String>,
    /// `waiting` while a concurrency group holds it, then as its jobs are.
    pub status: Status,
    /// Present exactly if completed.
    pub conclusion: Option<Conclusion>,
    /// Somebody asked for its cancellation.
    pub cancel_requested: bool,
    /// Creation.
    pub created_at: Timestamp,
    /// First lease of one of its jobs.
    pub started_at: Option<Timestamp>,
    /// Present exactly if completed.
    pub finished_at: Option<Timestamp>,
    /// The run of which this is a re-run.
    pub rerun_of: Option<RunId>,
    /// Concurrency group of the whole run.
    pub concurrency: Option<Concurrency>,
    /// The graph; empty for a run with a single job that needs nothing.
    pub nodes: Vec<PlanNode>,
    /// Number of jobs.
    pub jobs: u32,
    /// Change number of the latest change of the run itself.
    pub change: u64,
}

/// What a run was made from.
#[derive(Clone, Debug, PartialEq)]
pub struct RunPayload {
    /// The document; equal documents are stored once.
    pub document: Arc<str>,
    /// What the submitter gave.
    pub params: RunParams,
    /// Contexts of the run.
    pub contexts: Contexts,
    /// Encrypted secrets (opaque here), empty if none.
    pub sealed_secrets: Vec<u8>,
}

/// A run to create, with all its jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRun {
    /// The run.
    pub row: RunRow,
    /// What it was made from.
    pub payload: RunPayload,
    /// Its jobs, with payload if resolved already.
    pub jobs: Vec<(JobRow, Option<JobPayload>)>,
}

/// A job without its payload.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRow {
    /// The job.
    pub id: JobId,
    /// Its run.
    pub run: RunId,
    /// Id in the document.
    pub key: String,
    /// Position among the legs of its node, from 0.
    pub leg: u32,
    /// Name for people.
    pub name: String,
    /// Project of its run.
    pub project: String,
    /// Where it stands.
    pub status: Status,
    /// Present exactly if completed.
    pub conclusion: Option<Conclusion>,
    /// Why.
    pub reason: Option<Reason>,
    /// In words.
    pub message: Option<String>,
    /// Exit code that decided.
    pub exit_code: Option<i32>,
    /// A failure of this job does not fail the run.
    pub continue_on_error: bool,
    /// Number of the current or latest attempt; 0 before the first.
    pub attempt: AttemptNumber,
    /// Runner of the current or latest attempt.
    pub runner: Option<RunnerId>,
    /// Somebody asked for its cancellation.
    pub cancel_requested: bool,
    /// Creation.
    pub created_at: Timestamp,
    /// When it became ready.
    pub queued_at: Option<Timestamp>,
    /// Lease of the latest attempt.
    pub started_at: Option<Timestamp>,
    /// Present exactly if completed.
    pub finished_at: Option<Timestamp>,
    /// While waiting for a retry: not before.
    pub not_before: Option<Timestamp>,
    /// Outputs.
    pub outputs: IndexMap<String, String>,
    /// Change number of the latest change.
    pub change: u64,
    /// Present once the node is resolved; what the scheduler needs to know.
    pub placement: Option<Arc<Placement>>,
    /// At most this many legs of its node at once.
    pub max_parallel: Option<u32>,
    /// A failing leg cancels the others.
    pub fail_fast: bool,
}

/// The part of a job that only its execution needs.
#[derive(Clone, Debug, PartialEq)]
pub struct JobPayload {
    /// What to do; equal specifications are stored once.
    pub spec: Arc<JobSpec>,
    /// The `needs` context of this job, `None` if it needs nothing.
    pub needs: Option<serde_json::Value>,
}

/// One try of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRow {
    /// Job, number, epoch.
    pub id: AttemptRef,
    /// Run of the job.
    pub run: RunId,
    /// Runner that holds or held it.
    pub runner: RunnerId,
    /// Lease.
    pub leased_at: Timestamp,
    /// End; absent while it is current.
    pub finished_at: Option<Timestamp>,
    /// How it ended; absent while it is current.
    pub conclusion: Option<Conclusion>,
    /// Why.
    pub reason: Option<Reason>,
    /// In words.
    pub message: Option<String>,
    /// Steps as last reported.
    pub steps: Arc<Vec<StepReport>>,
    /// The result as the runner reported it.
    pub result: Option<Box<AttemptResult>>,
    /// Length of its log, known at the end.
    pub log_bytes: u64,
    /// What isolation held.
    pub boundary: Option<BoundaryRecord>,
}

/// A runner.
#[derive(Clone, Debug, PartialEq)]
pub struct RunnerRow {
    /// The runner.
    pub id: RunnerId,
    /// Name, unique among runners that are not deleted.
    pub name: String,
    /// Description.
    pub description: String,
    /// Labels fixed by registration token or operator.
    pub fixed_labels: Vec<Label>,
    /// The only queue it may serve, if fixed at registration.
    pub fixed_queue: Option<String>,
    /// What it last said about itself.
    pub info: RunnerInfo,
    /// Slots.
    pub slots: u32,
    /// Version.
    pub version: String,
    /// An operator asked it to drain.
    pub drain: bool,
    /// Creation.
    pub created_at: Timestamp,
    /// Last contact, to the minute.
    pub last_seen_at: Option<Timestamp>,
}

/// A token; the secret is known by its hash only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Id.
    pub id: TokenId,
    /// Kind; never `Job` (job tokens live in their attempt).
    pub kind: TokenKind,
    /// What it is for.
    pub name: String,
    /// First characters.
    pub prefix: String,
    /// BLAKE3 hash of the whole token.
    pub hash: [u8; 32],
    /// Creation.
    pub created_at: Timestamp,
    /// Expiry.
    pub expires_at: Option<Timestamp>,
    /// Last use.
    pub last_used_at: Option<Timestamp>,
    /// Uses left.
    pub uses_left: Option<u32>,
    /// Labels that it fixes.
    pub labels: Vec<Label>,
    /// Queue that it fixes.
    pub queue: Option<String>,
    /// The runner it belongs to (kind `Runner`).
    pub runner: Option<RunnerId>,
    /// Revoked.
    pub revoked_at: Option<Timestamp>,
}

/// An answered create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRow {
    /// The key, scoped by its token (`token-id:key`).
    pub key: String,
    /// Hash of the request body.
    pub request_hash: [u8; 32],
    /// The answer's JSON.
    pub response: String,
    /// When.
    pub created_at: Timestamp,
}

/// A lease to record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewLease {
    /// Job, new attempt number, new epoch.
    pub attempt: AttemptRef,
    /// Run of the job.
    pub run: RunId,
    /// Runner.
    pub runner: RunnerId,
    /// When.
    pub at: Timestamp,
}

/// The end of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobEnd {
    /// How.
    pub conclusion: Conclusion,
    /// Why.
    pub reason: Option<Reason>,
    /// In words.
    pub message: Option<String>,
    /// Exit code that decided.
    pub exit_code: Option<i32>,
    /// Outputs.
    pub outputs: IndexMap<String, String>,
    /// When.
    pub at: Timestamp,
}

/// The end of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptEnd {
    /// Which.
    pub attempt: AttemptRef,
    /// How.
    pub conclusion: Conclusion,
    /// Why.
    pub reason: Option<Reason>,
    /// In words.
    pub message: Option<String>,
    /// When.
    pub at: Timestamp,
    /// Steps, if reported.
    pub steps: Option<Arc<Vec<StepReport>>>,
    /// The runner's own result, if there is one (a lost attempt has none).
    pub result: Option<Box<AttemptResult>>,
}
