//! Rebuilding the actor's memory from the store, at start and after a failed
//! write. Leases start afresh: an outage of the server must not cost a running
//! job its lease.

use super::sessions::{Held, Session};
use super::state::{OpenJob, OpenRun, State};
use crate::Inner;
use fleetfoot_model::Timestamp;
use fleetfoot_model::ids::{AttemptRef, JobId, RunId};
use fleetfoot_model::state::{JobState, Status};
use fleetfoot_scheduler::{Config, Graph, Scheduler};
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
            idempotency: HashSet::new(),
            change: high.change,
            epoch: high.epoch,
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
        let now = inner.clock.steady();
        let mut after: Option<RunId> = None;
        loop {
            let page = inner.store.open_runs(after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.id);
            for (run, jobs) in page {
                state.restore_run(&run, jobs, &attempts, now);
            }
        }
        state.offer_connected(now);
        Ok(state)
    }

    fn restore_run(
        &mut self,
        run: &RunRow,
        jobs: Vec<JobRow>,
        attempts: &HashMap<JobId, AttemptRow>,
        now: Timestamp,
    ) {
        let held = match &run.concurrency {
            Some(group) => !self.scheduler.admit_run(run.id, &run.project, group, now).0,
            None => false,
        };
        let graph = (!run.nodes.is_empty()).then(|| restore_graph(run, &jobs));
        self.runs.insert(
            run.id,
            OpenRun {
                project: run.project.as_str().into(),
                graph,
                held: held || run.status == Status::Waiting,
                grouped: run.concurrency.is_some(),
                cancelled: run.cancel_requested,
                resolving: BTreeSet::new(),
                source: None,
            },
        );
        for job in jobs {
            if job.status != Status::Completed {
                self.restore_job(job, attempts, now);
            }
        }
    }

    fn restore_job(&mut self, row: JobRow, attempts: &HashMap<JobId, AttemptRow>, now: Timestamp) {
        let attempt = attempts.get(&row.id);
        let id = row.id;
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
                queued_at: row.queued_at.unwrap_or(row.created_at),
                placement: row.placement,
                max_parallel: row.max_parallel,
                continue_on_error: row.continue_on_error,
                cancel_requested: row.cancel_requested,
            },
        );
        match (state, attempt) {
            (JobState::Running { .. }, Some(attempt)) => self.restore_lease(id, attempt, now),
            (JobState::Queued, _) => {
                if let Some(job) = self.queued_job(id, None, now) {
                    self.scheduler.enqueue(job, now);
                }
            }
            (JobState::Waiting, _) if row.not_before.is_some() => {
                if let Some(job) = self.queued_job(id, row.not_before, now) {
                    self.scheduler.enqueue(job, now);
                }
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

fn restore_graph(run: &RunRow, jobs: &[JobRow]) -> Graph {
    let mut graph = Graph::new(&run.nodes);
    for node in &run.nodes {
        let legs: Vec<&JobRow> = jobs.iter().filter(|j| j.key == node.key).collect();
        let ids: Vec<JobId> = legs.iter().map(|j| j.id).collect();
        graph.set_jobs(&node.key, &ids);
        let resolved = legs.iter().any(|j| j.placement.is_some() || j.status == Status::Completed);
        if resolved {
            graph.resolved(&node.key, &ids, legs.first().is_some_and(|j| j.fail_fast));
        }
    }
    for job in jobs {
        if let Some(conclusion) = job.conclusion {
            graph.job_ended(job.id, conclusion, job.continue_on_error, &job.outputs);
        }
    }
    if run.cancel_requested {
        graph.cancel();
    }
    graph
}
