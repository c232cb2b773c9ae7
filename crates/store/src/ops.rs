//! The writes of the control plane. Each operation states what it expects; an
//! implementation checks that in the same transaction.

use crate::projects::{ApprovalDecision, ApprovalRow};
use crate::rows::{
    AttemptEnd, IdempotencyRow, JobEnd, JobPayload, JobRow, NewLease, NewRun, RunnerRow, TokenRow,
};
use fleetfoot_model::ids::{AttemptRef, JobId, RunId, RunnerId, TokenId};

use fleetfoot_model::state::Conclusion;
use fleetfoot_model::sync::StepReport;
use fleetfoot_model::time::Timestamp;
use serde_json::Value;
use std::sync::Arc;
use thiserror::Error;

/// One write. `change` is the number given to every row that it touches.
#[derive(Clone, Debug)]
pub enum Op {
    /// Creates a run with its jobs.
    /// Conflict if the id exists.
    CreateRun(Box<NewRun>),
    /// Fills in a job that was a placeholder until its node was resolved. The row's status is
    /// `waiting` or `queued`. Conflict unless the stored job is waiting.
    ResolveJob {
        /// The row as it is to be.
        row: Box<JobRow>,
        /// The payload.
        payload: Box<JobPayload>,
    },
    /// Adds further legs to a node.
    AddJobs {
        /// Their run.
        run: RunId,
        /// The legs.
        jobs: Vec<(JobRow, Option<JobPayload>)>,
        /// Change number.
        change: u64,
    },
    /// `waiting` -> `queued`. Conflict otherwise.
    QueueJob {
        /// The job.
        job: JobId,
        /// When.
        at: Timestamp,
        /// Change number.
        change: u64,
    },
    /// `queued` -> `running`, and a new attempt. Conflict unless queued and the
    /// attempt number is the next one. Sets `started_at` of the run if unset and
    /// its status to `running`.
    Lease {
        /// The lease.
        lease: NewLease,
        /// Change number.
        change: u64,
    },
    /// Replaces the steps of a running attempt. Stale unless it is the current one.
    SetSteps {
        /// Which.
        attempt: AttemptRef,
        /// All steps.
        steps: Arc<Vec<StepReport>>,
        /// Change number.
        change: u64,
    },
    /// Ends an attempt. Stale unless it is the current one of its job and not finished. The job
    /// itself is moved by a `CompleteJob` or `RequeueJob` that follows in the same `apply`.
    EndAttempt {
        /// The end.
        end: Box<AttemptEnd>,
        /// Change number.
        change: u64,
    },
    /// `running` -> `waiting` after its attempt ended, for another try.
    RequeueJob {
        /// The job.
        job: JobId,
        /// Not before.
        not_before: Timestamp,
        /// Change number.
        change: u64,
    },
    /// Any open status -> `completed`. Conflict if completed already.
    CompleteJob {
        /// The job.
        job: JobId,
        /// The end.
        end: Box<JobEnd>,
        /// Change number.
        change: u64,
    },
    /// `waiting` run (held by its concurrency group) -> `queued`.
    ReleaseRun {
        /// The run.
        run: RunId,
        /// Change number.
        change: u64,
    },
    /// Completes a run. Conflict if completed already or a job of it is open.
    CompleteRun {
        /// The run.
        run: RunId,
        /// How.
        conclusion: Conclusion,
        /// When.
        at: Timestamp,
        /// Change number.
        change: u64,
    },
    /// Notes that a cancellation of the run was asked for. Conflict if completed.
    RequestRunCancel {
        /// The run.
        run: RunId,
        /// Change number.
        change: u64,
    },
    /// Notes that a cancellation of the job was asked for. Conflict if completed.
    RequestJobCancel {
        /// The job.
        job: JobId,
        /// Change number.
        change: u64,
    },
    /// Deletes a completed run with everything that belongs to it. Conflict if open; missing is fine.
    DeleteRun(RunId),
    /// Creates a runner. Conflict if the name is taken.
    CreateRunner(Box<RunnerRow>),
    /// Replaces a runner's row. Missing is an error.
    UpdateRunner(Box<RunnerRow>),
    /// Last contact of runners.
    TouchRunners(Vec<(RunnerId, Timestamp)>),
    /// Deletes a runner and revokes its tokens. Missing is an error.
    DeleteRunner {
        /// The runner.
        runner: RunnerId,
        /// When.
        at: Timestamp,
    },
    /// Creates a token.
    CreateToken(Box<TokenRow>),
    /// Revokes a token. Missing is an error; again is fine.
    RevokeToken {
        /// The token.
        token: TokenId,
        /// When.
        at: Timestamp,
    },
    /// Revokes every token of a runner except one.
    RevokeRunnerTokens {
        /// The runner.
        runner: RunnerId,
        /// The one to keep.
        keep: Option<TokenId>,
        /// When.
        at: Timestamp,
    },
    /// Uses a registration token once: Conflict if none is left, it expired or was revoked.
    UseToken {
        /// The token.
        token: TokenId,
        /// When.
        at: Timestamp,
    },
    /// Last use of tokens.
    TouchTokens(Vec<(TokenId, Timestamp)>),
    /// Keeps the answer to a create. Conflict if the key exists.
    KeepIdempotent(Box<IdempotencyRow>),
    /// Forgets answers kept before this time.
    ForgetIdempotent {
        /// Older than this.
        before: Timestamp,
    },
    /// Notes that a run or a job is held until it is approved or its wait timer ends. Conflict if
    /// it is held already.
    HoldForApproval(Box<ApprovalRow>),
    /// Decides a pending approval. Conflict if it is not pending.
    DecideApproval(Box<ApprovalDecision>),
    /// Appends an audit entry.
    Audit {
        /// When.
        at: Timestamp,
        /// Who.
        actor: String,
        /// What.
        action: String,
        /// On what.
        subject: String,
        /// Anything else.
        detail: Value,
    },
}

/// What an operation answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpOk {
    /// It took effect.
    Done,
    /// Nothing was to be done.
    Unchanged,
}

/// Why an operation changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OpError {
    /// The row is not in the state that the operation expects.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The attempt is not the current one of its job (promise 2).
    #[error("attempt {0} is stale")]
    Stale(AttemptRef),
    /// There is no such row.
    #[error("{0} does not exist")]
    Missing(String),
    /// An earlier operation of the same `apply` that this one builds on failed: the end of the
    /// attempt for `CompleteJob` and `RequeueJob`; `CreateRun` or `AddJobs` for whatever names
    /// that run or job; `KeepIdempotent` for `CreateRun` and the other way round; `UseToken` and
    /// `CreateRunner` for the runner and tokens made after it. Or the row itself is impossible.
    #[error("{0}")]
    Failed(String),
}
