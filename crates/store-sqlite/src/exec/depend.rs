//! Which operations of one `apply` build on which others. When one of them
//! failed, those built on it must not take effect: the result of a stale
//! attempt must not complete its job.

use crate::encode::Write;
use fleetfoot_model::ids::{JobId, RunId, RunnerId};
use fleetfoot_store::OpError;
use std::collections::HashSet;

/// What failed so far in one `apply`.
#[derive(Debug, Default)]
pub(crate) struct Failures(Option<Box<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    runs: HashSet<RunId>,
    jobs: HashSet<JobId>,
    ends: HashSet<JobId>,
    runners: HashSet<RunnerId>,
    create: bool,
    key: bool,
    token: bool,
}

impl Failures {
    /// Remembers that this operation failed.
    pub(crate) fn note(&mut self, write: &Write) {
        let f = self.0.get_or_insert_default();
        match write {
            Write::CreateRun(run) => {
                f.create = true;
                f.runs.insert(run.row.id);
                f.jobs.extend(run.jobs.iter().map(|j| j.row.id));
            }
            Write::AddJobs { jobs, .. } => f.jobs.extend(jobs.iter().map(|j| j.row.id)),
            Write::EndAttempt { end, .. } => {
                f.ends.insert(end.attempt.job);
            }
            Write::KeepIdempotent(_) => f.key = true,
            Write::UseToken { .. } => f.token = true,
            Write::CreateRunner { row, .. } => {
                f.runners.insert(row.id);
            }
            _ => {}
        }
    }

    /// The refusal, if this operation builds on one that failed.
    pub(crate) fn refuse(&self, write: &Write) -> Option<OpError> {
        let f = self.0.as_deref()?;
        let cause = match write {
            Write::CreateRun(_) if f.key => "the idempotency key was not kept",
            Write::KeepIdempotent(_) if f.create => "a run was not created",
            Write::CompleteJob { job, .. } | Write::RequeueJob { job, .. } if f.ends.contains(job) => {
                "the attempt was not ended"
            }
            Write::CreateRunner { .. } if f.token => "the token was not used",
            Write::CreateToken { .. } if f.token => "the token was not used",
            Write::CreateToken { row, .. } if row.runner.is_some_and(|r| f.runners.contains(&r)) => {
                "the runner was not created"
            }
            Write::UpdateRunner { row, .. } if f.runners.contains(&row.id) => "the runner was not created",
            Write::RevokeRunnerTokens { runner, .. } | Write::DeleteRunner { runner, .. }
                if f.runners.contains(runner) =>
            {
                "the runner was not created"
            }
            _ if run_of(write).is_some_and(|r| f.runs.contains(&r)) => "the run was not created",
            _ if job_of(write).is_some_and(|j| f.jobs.contains(&j)) => "the job was not created",
            _ => return None,
        };
        Some(OpError::Failed(format!("{cause} earlier in the same call")))
    }
}

/// The run that an operation needs to exist.
fn run_of(write: &Write) -> Option<RunId> {
    match write {
        Write::AddJobs { run, .. }
        | Write::ReleaseRun { run, .. }
        | Write::CompleteRun { run, .. }
        | Write::RequestRunCancel { run, .. }
        | Write::DeleteRun(run) => Some(*run),
        Write::ResolveJob(job) => Some(job.row.run),
        Write::Lease { lease, .. } => Some(lease.run),
        Write::HoldForApproval { row, .. } => Some(row.run),
        Write::DecideApproval(decision) => Some(decision.run),
        _ => None,
    }
}

/// The job that an operation needs to exist.
fn job_of(write: &Write) -> Option<JobId> {
    match write {
        Write::ResolveJob(job) => Some(job.row.id),
        Write::QueueJob { job, .. }
        | Write::RequeueJob { job, .. }
        | Write::CompleteJob { job, .. }
        | Write::RequestJobCancel { job, .. } => Some(*job),
        Write::Lease { lease, .. } => Some(lease.attempt.job),
        Write::HoldForApproval { row, .. } => row.job,
        Write::DecideApproval(decision) => decision.job,
        _ => None,
    }
}
