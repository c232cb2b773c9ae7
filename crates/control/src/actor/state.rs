//! What the actor remembers: open runs and jobs, and the sessions of runners.
//! Everything here can be rebuilt from the store, except what runners say.

use super::approvals::Approvals;
use super::sessions::Session;
use fleetfoot_model::ids::{AttemptNumber, AttemptRef, Epoch, JobId, RunId, RunnerId};
use fleetfoot_model::plan::{Document, RunParams};
use fleetfoot_model::spec::{Contexts, Placement};
use fleetfoot_model::state::JobState;
use fleetfoot_model::{LabelSet, Timestamp};
use fleetfoot_scheduler::{Action, Ceiling, Graph, Parallel, QueuedJob, Scheduler};
use fleetfoot_store::NewRun;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Memory of the actor.
pub(crate) struct State {
    pub(crate) scheduler: Scheduler,
    pub(crate) runs: HashMap<RunId, OpenRun>,
    pub(crate) jobs: HashMap<JobId, OpenJob>,
    pub(crate) runners: HashMap<RunnerId, Session>,
    /// Environments, and what waits for approval.
    pub(crate) approvals: Approvals,
    /// Idempotency keys that were used since the start.
    pub(crate) idempotency: HashSet<String>,
    pub(crate) change: u64,
    pub(crate) epoch: u64,
    /// Decisions that fell while loading, to be carried out with the first round.
    pub(crate) pending: Vec<Action>,
}

/// A run that has not completed.
#[derive(Debug)]
pub(crate) struct OpenRun {
    pub(crate) project: Arc<str>,
    /// Absent for a run with one job that needs nothing.
    pub(crate) graph: Option<Graph>,
    /// Held back by its concurrency group, or until it is approved.
    pub(crate) held: bool,
    /// Name of its concurrency group.
    pub(crate) group: Option<Arc<str>>,
    pub(crate) cancelled: bool,
    /// Nodes that a task is deciding about.
    pub(crate) resolving: BTreeSet<String>,
    /// Document and contexts, while a graph may still need them.
    pub(crate) source: Option<Arc<RunSource>>,
}

/// What resolving a node needs.
#[derive(Debug)]
pub(crate) struct RunSource {
    pub(crate) document: Arc<dyn Document>,
    pub(crate) contexts: Contexts,
    pub(crate) params: RunParams,
}

/// A job that has not completed.
#[derive(Clone, Debug)]
pub(crate) struct OpenJob {
    pub(crate) run: RunId,
    pub(crate) key: Arc<str>,
    pub(crate) state: JobState,
    pub(crate) attempt: AttemptNumber,
    /// Epoch and holder while it runs.
    pub(crate) lease: Option<(Epoch, RunnerId)>,
    pub(crate) leased_at: Timestamp,
    pub(crate) queued_at: Timestamp,
    /// Absent until its node is resolved.
    pub(crate) placement: Option<Arc<Placement>>,
    pub(crate) max_parallel: Option<u32>,
    pub(crate) continue_on_error: bool,
    pub(crate) cancel_requested: bool,
}

/// A run that is planned but not stored.
#[derive(Debug)]
pub(crate) struct PreparedRun {
    pub(crate) new: Box<NewRun>,
    pub(crate) graph: Option<Graph>,
    pub(crate) source: Option<Arc<RunSource>>,
}

impl State {
    /// The next change number.
    pub(crate) fn next_change(&mut self) -> u64 {
        self.change += 1;
        self.change
    }

    /// A new epoch: the wall clock in microseconds, or one more than the last if that is larger. So
    /// a restored backup never hands out an epoch that an earlier life of the installation used.
    pub(crate) fn next_epoch(&mut self, wall: Timestamp) -> Epoch {
        self.epoch = (self.epoch + 1).max(u64::try_from(wall.as_micros()).unwrap_or(0));
        Epoch(self.epoch)
    }

    /// Whether this attempt is current (and held by this runner, if one is given).
    pub(crate) fn holds(&self, attempt: AttemptRef, runner: Option<RunnerId>) -> bool {
        self.jobs.get(&attempt.job).is_some_and(|job| {
            job.attempt == attempt.attempt
                && job.lease.is_some_and(|(epoch, holder)| {
                    epoch == attempt.epoch && runner.is_none_or(|r| r == holder)
                })
        })
    }

    /// What the scheduler needs to know about a job that is ready.
    pub(crate) fn queued_job(
        &self,
        id: JobId,
        not_before: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<QueuedJob> {
        let job = self.jobs.get(&id)?;
        let run = self.runs.get(&job.run)?;
        let placement = job.placement.as_ref()?;
        Some(QueuedJob {
            id,
            run: job.run,
            project: run.project.clone(),
            queue: placement.queue.as_deref().unwrap_or(fleetfoot_model::spec::DEFAULT_QUEUE).into(),
            labels: LabelSet::new(&placement.labels),
            priority: placement.priority,
            min_boundary: placement.min_boundary,
            containers: placement.containers,
            limits: Ceiling::asked(&placement.limits),
            queued_at: now,
            queue_deadline: placement.queue_timeout_seconds.map(|s| now + Duration::from_secs(s)),
            not_before,
            next_attempt: job.attempt + 1,
            concurrency: placement.concurrency.clone(),
            parallel: job.max_parallel.map(|limit| Parallel { run: job.run, key: job.key.clone(), limit }),
        })
    }
}
