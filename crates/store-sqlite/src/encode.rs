//! Turns operations into what the writer thread binds: JSON and hashes are
//! made here, by the caller, so that the one thread that writes only writes.
//! Nothing here may look at the database.

use fleetfoot_model::ids::{AttemptRef, JobId, RunId, RunnerId, TokenId};
use fleetfoot_model::plan::RunParams;
use fleetfoot_model::spec::{JobSpec, Placement};
use fleetfoot_model::state::Conclusion;
use fleetfoot_model::time::Timestamp;
use fleetfoot_store::{
    ApprovalDecision, ApprovalRow, AttemptEnd, IdempotencyRow, JobEnd, JobPayload, JobRow, NewLease, NewRun,
    Op, RunRow, RunnerRow, StoreError, StoreErrorKind, TokenRow,
};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;

/// A text that is stored once however many rows use it.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// BLAKE3 of the text.
    pub(crate) hash: [u8; 32],
    /// The text.
    pub(crate) body: Arc<str>,
}

impl Content {
    fn new(body: Arc<str>) -> Self {
        Self { hash: *blake3::hash(body.as_bytes()).as_bytes(), body }
    }
}

/// A run, encoded.
#[derive(Debug)]
pub(crate) struct RunWrite {
    pub(crate) row: RunRow,
    pub(crate) concurrency: Option<String>,
    pub(crate) nodes: Option<String>,
    pub(crate) document: Content,
    pub(crate) params: Option<String>,
    pub(crate) contexts: Option<String>,
    pub(crate) sealed_secrets: Option<Vec<u8>>,
    /// The commit.
    pub(crate) sha: Option<String>,
    /// What the run is found by, in small letters.
    pub(crate) words: String,
    pub(crate) jobs: Vec<JobWrite>,
}

/// A job, encoded.
#[derive(Debug)]
pub(crate) struct JobWrite {
    pub(crate) row: JobRow,
    pub(crate) outputs: Option<String>,
    pub(crate) placement: Option<Content>,
    pub(crate) spec: Option<Content>,
    pub(crate) needs: Option<String>,
}

/// An [`Op`], encoded.
#[derive(Debug)]
pub(crate) enum Write {
    CreateRun(Box<RunWrite>),
    ResolveJob(Box<JobWrite>),
    AddJobs {
        run: RunId,
        jobs: Vec<JobWrite>,
        change: u64,
    },
    QueueJob {
        job: JobId,
        at: Timestamp,
        change: u64,
    },
    Lease {
        lease: NewLease,
        change: u64,
    },
    SetSteps {
        attempt: AttemptRef,
        steps: Option<String>,
        change: u64,
    },
    EndAttempt {
        end: Box<AttemptEnd>,
        steps: Option<String>,
        result: Option<String>,
        change: u64,
    },
    RequeueJob {
        job: JobId,
        not_before: Timestamp,
        change: u64,
    },
    CompleteJob {
        job: JobId,
        end: Box<JobEnd>,
        outputs: Option<String>,
        change: u64,
    },
    ReleaseRun {
        run: RunId,
        change: u64,
    },
    CompleteRun {
        run: RunId,
        conclusion: Conclusion,
        at: Timestamp,
        change: u64,
    },
    RequestRunCancel {
        run: RunId,
        change: u64,
    },
    RequestJobCancel {
        job: JobId,
        change: u64,
    },
    DeleteRun(RunId),
    CreateRunner {
        row: Box<RunnerRow>,
        labels: Option<String>,
        info: String,
    },
    UpdateRunner {
        row: Box<RunnerRow>,
        labels: Option<String>,
        info: String,
    },
    TouchRunners(Vec<(RunnerId, Timestamp)>),
    DeleteRunner {
        runner: RunnerId,
        at: Timestamp,
    },
    CreateToken {
        row: Box<TokenRow>,
        labels: Option<String>,
    },
    RevokeToken {
        token: TokenId,
        at: Timestamp,
    },
    RevokeRunnerTokens {
        runner: RunnerId,
        keep: Option<TokenId>,
        at: Timestamp,
    },
    UseToken {
        token: TokenId,
        at: Timestamp,
    },
    TouchTokens(Vec<(TokenId, Timestamp)>),
    KeepIdempotent(Box<IdempotencyRow>),
    ForgetIdempotent {
        before: Timestamp,
    },
    HoldForApproval {
        row: Box<ApprovalRow>,
        reviewers: Option<String>,
    },
    DecideApproval(Box<ApprovalDecision>),
    Audit {
        at: Timestamp,
        actor: String,
        action: String,
        subject: String,
        detail: Option<String>,
    },
    #[cfg(test)]
    Panic,
}

/// Encodes every operation of one call.
pub(crate) fn encode(ops: Vec<Op>) -> Result<Vec<Write>, StoreError> {
    let mut encoder = Encoder::default();
    ops.into_iter()
        .map(|op| encoder.op(op))
        .collect::<Result<_, _>>()
        .map_err(|e| StoreError::new(StoreErrorKind::Other, "a value cannot be written as JSON").caused_by(e))
}

/// Remembers what was encoded already, by address. The kept `Arc` keeps the address taken.
#[derive(Default)]
struct Encoder {
    specs: HashMap<*const JobSpec, (Arc<JobSpec>, Content)>,
    placements: HashMap<*const Placement, (Arc<Placement>, Content)>,
    documents: HashMap<*const u8, (Arc<str>, Content)>,
}

impl Encoder {
    fn op(&mut self, op: Op) -> serde_json::Result<Write> {
        Ok(match op {
            Op::CreateRun(new) => Write::CreateRun(Box::new(self.run(*new)?)),
            Op::ResolveJob { row, payload } => Write::ResolveJob(Box::new(self.job((*row, Some(*payload)))?)),
            Op::AddJobs { run, jobs, change } => Write::AddJobs { run, jobs: self.jobs(jobs)?, change },
            Op::QueueJob { job, at, change } => Write::QueueJob { job, at, change },
            Op::Lease { lease, change } => Write::Lease { lease, change },
            Op::SetSteps { attempt, steps, change } => {
                Write::SetSteps { attempt, steps: list(&steps)?, change }
            }
            Op::EndAttempt { end, change } => {
                let steps = end.steps.as_deref().map(serde_json::to_string).transpose()?;
                let result = end.result.as_deref().map(serde_json::to_string).transpose()?;
                Write::EndAttempt { end, steps, result, change }
            }
            Op::RequeueJob { job, not_before, change } => Write::RequeueJob { job, not_before, change },
            Op::CompleteJob { job, end, change } => {
                let outputs = unless(end.outputs.is_empty(), &end.outputs)?;
                Write::CompleteJob { job, end, outputs, change }
            }
            Op::ReleaseRun { run, change } => Write::ReleaseRun { run, change },
            Op::CompleteRun { run, conclusion, at, change } => {
                Write::CompleteRun { run, conclusion, at, change }
            }
            Op::RequestRunCancel { run, change } => Write::RequestRunCancel { run, change },
            Op::RequestJobCancel { job, change } => Write::RequestJobCancel { job, change },
            Op::DeleteRun(run) => Write::DeleteRun(run),
            Op::CreateRunner(row) => {
                let (labels, info) = (list(&row.fixed_labels)?, serde_json::to_string(&row.info)?);
                Write::CreateRunner { row, labels, info }
            }
            Op::UpdateRunner(row) => {
                let (labels, info) = (list(&row.fixed_labels)?, serde_json::to_string(&row.info)?);
                Write::UpdateRunner { row, labels, info }
            }
            Op::TouchRunners(all) => Write::TouchRunners(all),
            Op::DeleteRunner { runner, at } => Write::DeleteRunner { runner, at },
            Op::CreateToken(row) => Write::CreateToken { labels: list(&row.labels)?, row },
            Op::RevokeToken { token, at } => Write::RevokeToken { token, at },
            Op::RevokeRunnerTokens { runner, keep, at } => Write::RevokeRunnerTokens { runner, keep, at },
            Op::UseToken { token, at } => Write::UseToken { token, at },
            Op::TouchTokens(all) => Write::TouchTokens(all),
            Op::KeepIdempotent(row) => Write::KeepIdempotent(row),
            Op::ForgetIdempotent { before } => Write::ForgetIdempotent { before },
            Op::HoldForApproval(row) => Write::HoldForApproval { reviewers: list(&row.reviewers)?, row },
            Op::DecideApproval(decision) => Write::DecideApproval(decision),
            Op::Audit { at, actor, action, subject, detail } => {
                let detail = unless(detail.is_null(), &detail)?;
                Write::Audit { at, actor, action, subject, detail }
            }
        })
    }

    fn run(&mut self, new: NewRun) -> serde_json::Result<RunWrite> {
        let NewRun { row, payload, jobs } = new;
        let sha = payload.params.repository.as_ref().and_then(|r| r.sha.clone());
        let (branch, commit) =
            (row.branch.as_deref().unwrap_or_default(), sha.as_deref().unwrap_or_default());
        let words = format!("{}\n{}\n{branch}\n{commit}\n#{}", row.name, row.title, row.number);
        Ok(RunWrite {
            words: words.to_lowercase(),
            sha,
            concurrency: row.concurrency.as_ref().map(serde_json::to_string).transpose()?,
            nodes: list(&row.nodes)?,
            document: self.document(payload.document),
            params: unless(payload.params == RunParams::default(), &payload.params)?,
            contexts: unless(payload.contexts.is_empty(), &payload.contexts)?,
            sealed_secrets: (!payload.sealed_secrets.is_empty()).then_some(payload.sealed_secrets),
            jobs: self.jobs(jobs)?,
            row,
        })
    }

    fn jobs(&mut self, jobs: Vec<(JobRow, Option<JobPayload>)>) -> serde_json::Result<Vec<JobWrite>> {
        jobs.into_iter().map(|job| self.job(job)).collect()
    }

    fn job(&mut self, (row, payload): (JobRow, Option<JobPayload>)) -> serde_json::Result<JobWrite> {
        let (spec, needs) = match payload {
            Some(p) => (Some(self.spec(p.spec)?), p.needs.as_ref().map(serde_json::to_string).transpose()?),
            None => (None, None),
        };
        Ok(JobWrite {
            outputs: unless(row.outputs.is_empty(), &row.outputs)?,
            placement: row.placement.clone().map(|p| self.placement(p)).transpose()?,
            spec,
            needs,
            row,
        })
    }

    fn spec(&mut self, spec: Arc<JobSpec>) -> serde_json::Result<Content> {
        if let Some((_, known)) = self.specs.get(&Arc::as_ptr(&spec)) {
            return Ok(known.clone());
        }
        let content = Content::new(serde_json::to_string(&*spec)?.into());
        self.specs.insert(Arc::as_ptr(&spec), (spec, content.clone()));
        Ok(content)
    }

    fn placement(&mut self, placement: Arc<Placement>) -> serde_json::Result<Content> {
        if let Some((_, known)) = self.placements.get(&Arc::as_ptr(&placement)) {
            return Ok(known.clone());
        }
        let content = Content::new(serde_json::to_string(&*placement)?.into());
        self.placements.insert(Arc::as_ptr(&placement), (placement, content.clone()));
        Ok(content)
    }

    fn document(&mut self, document: Arc<str>) -> Content {
        if let Some((known, content)) = self.documents.get(&document.as_ptr())
            && known.len() == document.len()
        {
            return content.clone();
        }
        let content = Content::new(document.clone());
        self.documents.insert(document.as_ptr(), (document, content.clone()));
        content
    }
}

/// An empty list is stored as NULL.
fn list<T: Serialize>(items: &[T]) -> serde_json::Result<Option<String>> {
    unless(items.is_empty(), items)
}

fn unless<T: Serialize + ?Sized>(empty: bool, value: &T) -> serde_json::Result<Option<String>> {
    if empty { Ok(None) } else { serde_json::to_string(value).map(Some) }
}
