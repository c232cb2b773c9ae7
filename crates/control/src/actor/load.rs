//! Rebuilding the actor's memory from the store, at start and after a failed
//! write. Leases start afresh: an outage of the server must not cost a running
//! job its lease.

use super::approvals::Approvals;
use super::sessions::{Held, Session};
use super::state::{OpenJob, OpenRun, State};
use crate::Inner;
use fleetfoot_model::Timestamp;
use fleetfoot_model::ids::{AttemptRef, JobId, RunId};
use fleetfoot_model::spec::Concurrency;
use fleetfoot_model::state::{JobState, Status};
use fleetfoot_scheduler::graph::{RestoredJob, RestoredNode};
use fleetfoot_scheduler::{Action, Config, Graph, Scheduler};
use fleetfoot_store::{AttemptRow, JobRow, RunRow, StoreError};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Runs read at once.
const PAGE: usize = 2_000;

impl State {
    /// Reads everything that is open. `previous` gives its live sessions to the new state.
    pub(crate) async fn load(inner: &Inner, previous: Option<&mut Self>) -> Result<Self, StoreError> {
        let high = inner.store.high_water().await?;
        let mut state = Self {
            scheduler: Scheduler::new(Config { lease: inner.options.lease, ..Config::default() }),
            runs: HashMap::new(),
            jobs: HashMap::new(),
            runners: HashMap::new(),
            approvals: Approvals::default(),
            idempotency: HashSet::new(),
            change: high.change,
            epoch: high.epoch,
            pending: Vec::new(),
        };
        let attempts: HashMap<JobId, AttemptRow> =
            inner.store.open_attempts().await?.into_iter().map(|a| (a.id.job, a)).collect();
        for row in inner.store.runners().await? {
            state.runners.insert(row.id, Session::new(row));
        }
        if let Some(previous) = previous {
            state.idempotency = std::mem::take(&mut previous.idempotency);
            state.adopt_sessions(&mut previous.runners);
        }
        let approvals = inner.store.open_approvals().await?;
        state.restore_approvals(inner.store.environments(None).await?, &approvals);
        let now = inner.clock.steady();
        let mut after: Option<RunId> = None;
        let mut waiting = Waiting::default();
        loop {
            let page = inner.store.open_runs(after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.id);
            for (run, jobs) in page {
                state.restore_run(run, jobs, &attempts, &mut waiting, now);
            }
        }
        state.restore_held_jobs(&approvals, inner.clock.wall(), now);
        state.line_up(waiting, now);
        state.offer_connected(now);
        Ok(state)
    }

    /// Whoever waits lines up after everything that runs has its place again, oldest first.
    fn line_up(&mut self, waiting: Waiting, now: Timestamp) {
        for (run, project, group) in waiting.runs {
            let (free, actions) = self.scheduler.admit_run(run, &project, &group, now);
            self.pending.extend(actions);
            if free {
                self.pending.push(Action::ReleaseRun { run });
            }
        }
        let mut jobs = waiting.jobs;
        jobs.sort_by_key(|(queued_at, id, _)| (*queued_at, *id));
        for (_, id, not_before) in jobs {
            if let Some(job) = self.queued_job(id, not_before, now) {
                let actions = self.scheduler.enqueue(job, now);
                self.pending.extend(actions);
            }
        }
    }

    fn restore_run(
        &mut self,
        run: RunRow,
        jobs: Vec<JobRow>,
        attempts: &HashMap<JobId, AttemptRow>,
        waiting: &mut Waiting,
        now: Timestamp,
    ) {
        let held = run.status == Status::Waiting;
        // A run that waits for approval is in no group yet.
        let unapproved = self.awaits_approval(run.id, run.concurrency.as_ref());
        if let Some(group) = run.concurrency.clone().filter(|_| !unapproved) {
            if held {
                waiting.runs.push((run.id, run.project.clone(), group));
            } else {
                self.scheduler.admit_run(run.id, &run.project, &group, now);
            }
        }
        let graph = (!run.nodes.is_empty()).then(|| restore_graph(&run, &jobs));
        self.runs.insert(
            run.id,
            OpenRun {
                project: run.project.as_str().into(),
                graph,
                held,
                group: run.concurrency.as_ref().map(|c| c.group.as_str().into()),
                cancelled: run.cancel_requested,
                resolving: BTreeSet::new(),
                source: None,
            },
        );
        for job in jobs {
            if job.status != Status::Completed {
                self.restore_job(job, attempts, waiting, now);
            }
        }
    }

    fn restore_job(
        &mut self,
        row: JobRow,
        attempts: &HashMap<JobId, AttemptRow>,
        waiting: &mut Waiting,
        now: Timestamp,
    ) {
        let attempt = attempts.get(&row.id);
        let id = row.id;
        let queued_at = row.queued_at.unwrap_or(row.created_at);
        let state = match row.status {
            Status::Running => JobState::Running { attempt: row.attempt },
            Status::Queued => JobState::Queued,
            _ => JobState::Waiting,
        };
        self.jobs.insert(
            id,
            OpenJob {
                run: row.run,
                key: row.key.as_str().into(),
                state,
                attempt: row.attempt,
                lease: attempt.map(|a| (a.id.epoch, a.runner)),
                leased_at: row.started_at.unwrap_or(row.created_at),
                queued_at,
                placement: row.placement,
                max_parallel: row.max_parallel,
                continue_on_error: row.continue_on_error,
                cancel_requested: row.cancel_requested,
            },
        );
        match (state, attempt) {
            (JobState::Running { .. }, Some(attempt)) => self.restore_lease(id, attempt, now),
            (JobState::Queued, _) => waiting.jobs.push((queued_at, id, None)),
            (JobState::Waiting, _) if row.not_before.is_some() => {
                waiting.jobs.push((queued_at, id, row.not_before));
            }
            _ => {}
        }
    }

    fn restore_lease(&mut self, job: JobId, attempt: &AttemptRow, now: Timestamp) {
        let Some(mut queued) = self.queued_job(job, None, now) else { return };
        queued.next_attempt = attempt.id.attempt;
        self.scheduler.restore_running(queued, attempt.id, attempt.runner, now);
        let cancel = self.jobs.get(&job).is_some_and(|j| j.cancel_requested);
        if let Some(session) = self.runners.get_mut(&attempt.runner) {
            // Steps were reported only by a runner that had taken it; without any, the lease may never
            // have reached its runner and is offered again.
            let confirmed = session.knew(attempt.id) || !attempt.steps.is_empty();
            session.held.insert(attempt.id, Held { run: attempt.run, confirmed, cancel, cancelling: false });
        }
    }

    fn adopt_sessions(&mut self, previous: &mut HashMap<fleetfoot_model::RunnerId, Session>) {
        for (id, session) in &mut self.runners {
            if let Some(old) = previous.remove(id) {
                session.adopt(old);
            }
        }
    }

    fn offer_connected(&mut self, now: Timestamp) {
        for session in self.runners.values() {
            if session.connected {
                self.scheduler.runner_seen(session.offer(), now);
                let held: Vec<AttemptRef> = session.held.keys().copied().collect();
                self.scheduler.heartbeat(session.row.id, &held, now);
            }
        }
    }
}

/// What lines up again after the start.
#[derive(Default)]
struct Waiting {
    runs: Vec<(RunId, String, Concurrency)>,
    jobs: Vec<(Timestamp, JobId, Option<Timestamp>)>,
}

fn restore_graph(run: &RunRow, jobs: &[JobRow]) -> Graph {
    let nodes: Vec<RestoredNode> = run
        .nodes
        .iter()
        .map(|node| {
            let mut legs = jobs.iter().filter(|j| j.key == node.key);
            RestoredNode {
                key: node.key.clone(),
                resolved: legs.clone().any(|j| j.placement.is_some() || j.status == Status::Completed),
                fail_fast: legs.any(|j| j.fail_fast),
            }
        })
        .collect();
    let restored: Vec<RestoredJob> = jobs
        .iter()
        .map(|job| RestoredJob {
            key: job.key.clone(),
            id: job.id,
            ended: job.conclusion.map(|c| (c, job.outputs.clone())),
            finished_at: job.finished_at,
            continue_on_error: job.continue_on_error,
        })
        .collect();
    Graph::restore(&run.nodes, &nodes, &restored, run.cancel_requested)
}
