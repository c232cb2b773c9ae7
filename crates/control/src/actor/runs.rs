//! Runs and jobs: creation, resolution of nodes, cancellation, completion.

use super::state::{OpenJob, OpenRun};
use super::{Actor, Batch, PreparedRun, Reply, RunSource};
use crate::resolve::ResolveRequest;
use fleetfoot_model::ids::{JobId, RunId};
use fleetfoot_model::plan::{PlannedJob, Resolution};
use fleetfoot_model::state::{Conclusion, JobEvent, JobState, Reason, Status};
use fleetfoot_model::why::{Why, WhyReason};
use fleetfoot_model::{Code, Diagnostic, Problem, Timestamp};
use fleetfoot_scheduler::{Action, Demand, Gate};
use fleetfoot_store::{IdempotencyRow, JobEnd, JobPayload, JobRow, Op};
use indexmap::IndexMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use tracing::error;

impl Actor {
    pub(super) fn create_runs(
        &mut self,
        runs: Vec<PreparedRun>,
        idempotency: Option<Box<IdempotencyRow>>,
        reply: Reply<()>,
        batch: &mut Batch,
    ) {
        if let Some(row) = idempotency {
            if !self.state.idempotency.insert(row.key.clone()) {
                let problem =
                    Problem::new(Code::Conflict, "a request with this idempotency key is being answered")
                        .with_hint("send the same request again in a moment");
                return batch.reply(reply, Err(problem));
            }
            batch.ops.push(Op::KeepIdempotent(row));
        }
        for run in runs {
            self.create_run(run, batch);
        }
        batch.reply(reply, Ok(()));
    }

    fn create_run(&mut self, prepared: PreparedRun, batch: &mut Batch) {
        let PreparedRun { mut new, graph, source } = prepared;
        let id = new.row.id;
        let now = self.inner.clock.steady();
        self.inner.metrics.run_created();
        let mut actions = Vec::new();
        let mut held = false;
        let unapproved = new.payload.params.awaits_approval.clone();
        if unapproved.is_some() {
            held = true;
        } else if let Some(group) = &new.row.concurrency {
            let (free, effects) = self.state.scheduler.admit_run(id, &new.row.project, group, now);
            held = !free;
            actions = effects;
        }
        new.row.status = if held { Status::Waiting } else { Status::Queued };
        new.row.change = self.state.next_change();
        let (mut ready, mut demanding) = (Vec::new(), Vec::new());
        for (row, _) in &mut new.jobs {
            if row.status == Status::Queued && held {
                row.status = Status::Waiting;
                row.queued_at = None;
            }
            let deployment = row.placement.as_ref().and_then(|p| p.deployment.as_ref());
            if row.status == Status::Queued
                && deployment.is_some_and(|d| self.state.demand(&row.project, d) != Demand::Nothing)
            {
                row.status = Status::Waiting;
                row.queued_at = None;
                demanding.push(row.id);
            }
            row.change = self.state.next_change();
            if row.status != Status::Completed {
                if row.status == Status::Queued {
                    ready.push(row.id);
                }
                self.state.jobs.insert(row.id, open_job(row));
            }
        }
        let all_ended = new.jobs.iter().all(|(j, _)| j.status == Status::Completed);
        let open = OpenRun {
            project: new.row.project.as_str().into(),
            graph,
            held,
            group: new.row.concurrency.as_ref().map(|c| c.group.as_str().into()),
            cancelled: false,
            resolving: BTreeSet::new(),
            source,
        };
        self.state.runs.insert(id, open);
        let (project, group) = (new.row.project.clone(), new.row.concurrency.clone());
        batch.ops.push(Op::CreateRun(new));
        batch.runs.insert(id);
        if let Some(reason) = unapproved.filter(|_| !all_ended) {
            self.hold_run(id, &project, reason, group, batch);
        }
        self.carry_out(actions, batch);
        for job in ready {
            self.enqueue(job, None, batch);
        }
        for job in demanding {
            self.make_ready(job, batch);
        }
        if all_ended {
            match self.state.runs.get(&id).is_some_and(|r| r.graph.is_some()) {
                true => self.finish_run_if_over(id, batch),
                false => self.finish_run(id, Conclusion::Skipped, batch),
            }
        }
    }

    /// Puts a job into the scheduler; its row is already queued (or waits for its retry).
    pub(super) fn enqueue(&mut self, job: JobId, not_before: Option<Timestamp>, batch: &mut Batch) {
        let now = self.inner.clock.steady();
        if let Some(queued) = self.state.queued_job(job, not_before, now) {
            let actions = self.state.scheduler.enqueue(queued, now);
            self.carry_out(actions, batch);
        }
    }

    /// `waiting` -> `queued`, in memory, in the store, in the scheduler.
    pub(super) fn release(&mut self, id: JobId, batch: &mut Batch) {
        self.mark_queued(id, batch);
        self.enqueue(id, None, batch);
    }

    /// `waiting` -> `queued` of a job that the scheduler has or gets; nothing if it is queued already.
    fn mark_queued(&mut self, id: JobId, batch: &mut Batch) {
        let wall = self.inner.clock.wall();
        let change = self.state.next_change();
        let Some(job) = self.state.jobs.get_mut(&id) else { return };
        let Ok(next) = job.state.transition(JobEvent::Release) else { return };
        job.state = next;
        job.queued_at = wall;
        batch.runs.insert(job.run);
        batch.ops.push(Op::QueueJob { job: id, at: wall, change });
    }

    /// What fell due while the process was away (or while memory was reloaded).
    pub(super) fn recover(&mut self, batch: &mut Batch) {
        // A sync that waited through the reload is to hear of it.
        batch.poke.extend(self.state.runners.keys());
        let pending = std::mem::take(&mut self.state.pending);
        self.carry_out(pending, batch);
        let mut runs: Vec<RunId> = self.state.runs.keys().copied().collect();
        runs.sort_unstable();
        for run in runs {
            let graph = self.state.runs.get(&run).and_then(|r| r.graph.as_ref());
            let Some(graph) = graph else { continue };
            for job in graph.overdue() {
                self.cancel_job(job, Reason::FailFast, batch);
            }
            self.advance(run, batch);
        }
    }

    /// Carries out what the scheduler decided about groups, limits and time.
    pub(super) fn carry_out(&mut self, actions: Vec<Action>, batch: &mut Batch) {
        for action in actions {
            match action {
                Action::Assign { job, run, runner, attempt } => self.assign(job, run, runner, attempt, batch),
                Action::CompleteJob { job, conclusion, reason, message, .. } => {
                    self.end_waiting(job, conclusion, Some(reason), Some(message), batch);
                }
                Action::CancelJob { job, reason, .. } => self.cancel_job(job, reason, batch),
                Action::ReleaseJob { job, .. } => self.mark_queued(job, batch),
                Action::ReleaseRun { run } => self.release_run(run, batch),
                Action::CancelRun { run, reason } => self.cancel_open_run(run, reason, None, batch),
                Action::LeaseExpired { attempt, runner } => {
                    self.lost(attempt, runner, "its lease expired", batch)
                }
                Action::RunnerOffline { runner } => self.went_offline(runner, batch),
            }
        }
    }

    fn release_run(&mut self, id: RunId, batch: &mut Batch) {
        let change = self.state.next_change();
        if self.state.approvals.is_shut(Gate::Run(id)) {
            return;
        }
        let Some(run) = self.state.runs.get_mut(&id) else { return };
        if !std::mem::take(&mut run.held) {
            return;
        }
        batch.ops.push(Op::ReleaseRun { run: id, change });
        batch.runs.insert(id);
        let ready: Vec<JobId> = self
            .state
            .jobs
            .iter()
            .filter(|(_, j)| j.run == id && j.state == JobState::Waiting && j.placement.is_some())
            .map(|(id, _)| *id)
            .collect();
        for job in ready {
            self.make_ready(job, batch);
        }
        self.advance(id, batch);
    }

    /// A document decided about nodes.
    pub(super) fn resolved(
        &mut self,
        run: RunId,
        assumed_cancelled: bool,
        nodes: Vec<(String, Result<Resolution, Box<Diagnostic>>)>,
        source: Option<Arc<RunSource>>,
        batch: &mut Batch,
    ) {
        if let Some(open) = self.state.runs.get_mut(&run) {
            open.source = open.source.take().or(source);
        }
        for (key, resolution) in nodes {
            let Some(open) = self.state.runs.get_mut(&run) else { return };
            // Decided before the run was cancelled: to be decided again.
            if !open.resolving.remove(&key) || open.cancelled != assumed_cancelled {
                continue;
            }
            let cancelled = open.cancelled;
            let placeholders: Vec<JobId> = self.jobs_of_node(run, &key);
            match resolution {
                Ok(Resolution::Skip) => {
                    let conclusion = if cancelled { Conclusion::Cancelled } else { Conclusion::Skipped };
                    self.end_node(run, &key, conclusion);
                    for job in placeholders {
                        self.end_waiting(job, conclusion, None, None, batch);
                    }
                }
                Ok(Resolution::Run { jobs, fail_fast, max_parallel }) => {
                    self.expand(run, &key, &placeholders, jobs, (fail_fast, max_parallel), batch);
                }
                Err(diagnostic) => {
                    self.end_node(run, &key, Conclusion::Failure);
                    for job in placeholders {
                        let message = Some(diagnostic.to_string());
                        self.end_waiting(
                            job,
                            Conclusion::Failure,
                            Some(Reason::BadSpecification),
                            message,
                            batch,
                        );
                    }
                }
            }
        }
        self.advance(run, batch);
    }

    fn end_node(&mut self, run: RunId, key: &str, conclusion: Conclusion) {
        if let Some(graph) = self.state.runs.get_mut(&run).and_then(|r| r.graph.as_mut()) {
            graph.failed(key, conclusion);
        }
    }

    fn jobs_of_node(&self, run: RunId, key: &str) -> Vec<JobId> {
        let mut jobs: Vec<JobId> = self
            .state
            .jobs
            .iter()
            .filter(|(_, j)| j.run == run && &*j.key == key)
            .map(|(id, _)| *id)
            .collect();
        jobs.sort_unstable();
        jobs
    }

    /// Placeholders become legs; legs beyond them are added, placeholders beyond the legs are skipped.
    fn expand(
        &mut self,
        run: RunId,
        key: &str,
        placeholders: &[JobId],
        planned: Vec<PlannedJob>,
        (fail_fast, max_parallel): (bool, Option<u32>),
        batch: &mut Batch,
    ) {
        let Some(open) = self.state.runs.get(&run) else { return };
        let (project, source) = (open.project.to_string(), open.source.clone());
        let needs = open.graph.as_ref().map(|g| crate::views::needs_context(&g.needs(key)));
        let wall = self.inner.clock.wall();
        let mut ids = Vec::with_capacity(planned.len());
        let mut added = Vec::new();
        for (leg, job) in planned.into_iter().enumerate() {
            let id = placeholders.get(leg).copied().unwrap_or_else(|| self.inner.ids.next_job());
            ids.push(id);
            let mut row = crate::submit::job_row(id, run, key, leg, &project, wall);
            crate::submit::fill(&mut row, &job, source.as_deref(), (fail_fast, max_parallel));
            row.status = Status::Waiting;
            row.change = self.state.next_change();
            self.state.jobs.insert(id, open_job(&row));
            let payload = JobPayload { spec: job.spec, needs: needs.clone() };
            if leg < placeholders.len() {
                batch.ops.push(Op::ResolveJob { row: Box::new(row), payload: Box::new(payload) });
            } else {
                added.push((row, Some(payload)));
            }
        }
        if !added.is_empty() {
            let change = self.state.next_change();
            batch.ops.push(Op::AddJobs { run, jobs: added, change });
        }
        if let Some(graph) = self.state.runs.get_mut(&run).and_then(|r| r.graph.as_mut()) {
            graph.resolved(key, &ids, fail_fast);
        }
        for surplus in placeholders.iter().skip(ids.len()) {
            self.end_waiting(*surplus, Conclusion::Skipped, None, None, batch);
        }
        for id in ids {
            self.make_ready(id, batch);
        }
        batch.runs.insert(run);
    }

    /// Starts the decision about every node whose needs have ended, and ends the run if all is over.
    pub(super) fn advance(&mut self, run: RunId, batch: &mut Batch) {
        let Some(open) = self.state.runs.get_mut(&run) else { return };
        if open.held {
            return;
        }
        if let Some(graph) = &open.graph {
            let ready: Vec<String> = graph
                .ready()
                .into_iter()
                .filter(|k| !open.resolving.contains(*k))
                .map(str::to_owned)
                .collect();
            if !ready.is_empty() {
                batch.resolve.push(ResolveRequest::new(run, graph, &ready, open.source.clone()));
                open.resolving.extend(ready);
                return;
            }
        }
        self.finish_run_if_over(run, batch);
    }

    /// Ends a job that no runner holds.
    pub(super) fn end_waiting(
        &mut self,
        job: JobId,
        conclusion: Conclusion,
        reason: Option<Reason>,
        message: Option<String>,
        batch: &mut Batch,
    ) {
        let at = self.inner.clock.wall();
        let end = JobEnd { conclusion, reason, message, exit_code: None, outputs: IndexMap::new(), at };
        let actions = self.state.scheduler.remove(job, self.inner.clock.steady());
        self.complete(job, end, batch);
        self.carry_out(actions, batch);
    }

    /// The only way a job ends: memory, store, graph, run.
    pub(super) fn complete(&mut self, id: JobId, end: JobEnd, batch: &mut Batch) {
        let change = self.state.next_change();
        let Some(job) = self.state.jobs.get(&id) else { return };
        if let Err(e) = job.state.transition(JobEvent::Complete(end.conclusion)) {
            error!(job = %id, error = %e, "refused to end a job twice");
            return;
        }
        let (run, tolerated) = (job.run, job.continue_on_error);
        let ran = job.lease.map(|_| end.at.since(job.leased_at));
        self.inner.metrics.job_completed(end.conclusion, ran);
        self.withdraw(Gate::Job(id), batch);
        self.state.jobs.remove(&id);
        batch.runs.insert(run);
        let (conclusion, outputs) = (end.conclusion, end.outputs.clone());
        batch.ops.push(Op::CompleteJob { job: id, end: Box::new(end), change });
        let Some(open) = self.state.runs.get_mut(&run) else { return };
        let Some(graph) = open.graph.as_mut() else {
            let conclusion = match conclusion {
                Conclusion::Failure | Conclusion::TimedOut if tolerated => Conclusion::Success,
                Conclusion::TimedOut => Conclusion::Failure,
                other => other,
            };
            return self.finish_run(run, conclusion, batch);
        };
        for sibling in graph.job_ended(id, conclusion, tolerated, &outputs) {
            self.cancel_job(sibling, Reason::FailFast, batch);
        }
        self.advance(run, batch);
    }

    fn finish_run_if_over(&mut self, run: RunId, batch: &mut Batch) {
        let Some(open) = self.state.runs.get(&run) else { return };
        if !open.resolving.is_empty() {
            return;
        }
        // A run without a graph ends with its only job.
        if let Some(conclusion) = open.graph.as_ref().and_then(fleetfoot_scheduler::Graph::conclusion) {
            self.finish_run(run, conclusion, batch);
        }
    }

    fn finish_run(&mut self, run: RunId, conclusion: Conclusion, batch: &mut Batch) {
        self.withdraw(Gate::Run(run), batch);
        let Some(open) = self.state.runs.remove(&run) else { return };
        let change = self.state.next_change();
        batch.ops.push(Op::CompleteRun { run, conclusion, at: self.inner.clock.wall(), change });
        batch.runs.insert(run);
        if open.group.is_some() {
            let actions = self.state.scheduler.run_ended(run, self.inner.clock.steady());
            self.carry_out(actions, batch);
        }
    }

    pub(super) fn cancel_run(
        &mut self,
        run: RunId,
        message: Option<&str>,
        batch: &mut Batch,
    ) -> Result<(), Problem> {
        if !self.state.runs.contains_key(&run) {
            return Err(Problem::new(Code::Conflict, format!("run {run} has completed already")));
        }
        self.cancel_open_run(run, Reason::Cancelled, message, batch);
        Ok(())
    }

    fn cancel_open_run(&mut self, run: RunId, reason: Reason, message: Option<&str>, batch: &mut Batch) {
        if self.state.approvals.is_shut(Gate::Run(run)) {
            let message = message.unwrap_or("cancelled before it was approved");
            return self.end_unapproved_run(run, reason, message, batch);
        }
        let change = self.state.next_change();
        let Some(open) = self.state.runs.get_mut(&run) else { return };
        if !std::mem::replace(&mut open.cancelled, true) {
            batch.ops.push(Op::RequestRunCancel { run, change });
        }
        open.held = false;
        batch.runs.insert(run);
        if let Some(graph) = open.graph.as_mut() {
            graph.cancel();
        }
        let mut jobs: Vec<JobId> = self
            .state
            .jobs
            .iter()
            .filter(|(_, j)| j.run == run && (j.placement.is_some() || j.state != JobState::Waiting))
            .map(|(id, _)| *id)
            .collect();
        jobs.sort_unstable();
        for job in jobs {
            self.cancel_job_with(job, reason, message, batch);
        }
        self.advance(run, batch);
    }

    pub(super) fn cancel_job_on_request(&mut self, job: JobId, batch: &mut Batch) -> Result<(), Problem> {
        if !self.state.jobs.contains_key(&job) {
            return Err(Problem::new(Code::Conflict, format!("job {job} has completed already")));
        }
        self.cancel_job(job, Reason::Cancelled, batch);
        Ok(())
    }

    fn cancel_job(&mut self, id: JobId, reason: Reason, batch: &mut Batch) {
        self.cancel_job_with(id, reason, None, batch);
    }

    /// A running job is cancelled at its runner; any other ends at once.
    fn cancel_job_with(&mut self, id: JobId, reason: Reason, message: Option<&str>, batch: &mut Batch) {
        let change = self.state.next_change();
        let Some(job) = self.state.jobs.get_mut(&id) else { return };
        let Some((epoch, runner)) = job.lease else {
            let text = message.map_or_else(|| cancel_message(reason).to_owned(), str::to_owned);
            return self.end_waiting(id, Conclusion::Cancelled, Some(reason), Some(text), batch);
        };
        if !std::mem::replace(&mut job.cancel_requested, true) {
            batch.ops.push(Op::RequestJobCancel { job: id, change });
            batch.runs.insert(job.run);
        }
        let attempt = fleetfoot_model::AttemptRef { job: id, attempt: job.attempt, epoch };
        let never_arrived = match self.state.runners.get_mut(&runner) {
            Some(session) => match session.held.get_mut(&attempt) {
                Some(held) => {
                    held.cancel = true;
                    false
                }
                None => true,
            },
            None => true,
        };
        if never_arrived {
            self.lost(attempt, runner, "its runner is gone", batch);
        }
        batch.poke.insert(runner);
    }

    pub(super) fn why(&self, job: JobId) -> Option<Why> {
        let open = self.state.jobs.get(&job)?;
        let status = open.state.status();
        let run = self.state.runs.get(&open.run)?;
        if let Some(why) = self.why_held(job) {
            return Some(why);
        }
        if run.held {
            let group = run.group.as_deref().unwrap_or_default().to_owned();
            let summary = format!("its run waits for its turn in the concurrency group '{group}'");
            let reason = WhyReason::ConcurrencyGroup { group, holder_job: None, holder_run: None };
            return Some(Why { job, status, summary, reasons: vec![reason], nearest: Vec::new() });
        }
        if let Some(why) = self.state.scheduler.why(job, self.inner.clock.steady()) {
            return Some(why);
        }
        let needs = run.graph.as_ref().map(|g| g.waiting_needs(job)).unwrap_or_default();
        if open.state == JobState::Waiting && !needs.is_empty() {
            let summary = format!("it needs {}, which has not ended", needs.join(", "));
            let reasons = vec![WhyReason::Needs { jobs: needs }];
            return Some(Why { job, status, summary, reasons, nearest: Vec::new() });
        }
        Some(Why {
            job,
            status,
            summary: format!("it is {status}"),
            reasons: Vec::new(),
            nearest: Vec::new(),
        })
    }
}

/// Memory of a job from its row; the row's status is not `running`.
fn open_job(row: &JobRow) -> OpenJob {
    OpenJob {
        run: row.run,
        key: row.key.as_str().into(),
        state: if row.status == Status::Queued { JobState::Queued } else { JobState::Waiting },
        attempt: row.attempt,
        lease: None,
        leased_at: row.created_at,
        queued_at: row.queued_at.unwrap_or(row.created_at),
        placement: row.placement.clone(),
        max_parallel: row.max_parallel,
        continue_on_error: row.continue_on_error,
        cancel_requested: false,
    }
}

fn cancel_message(reason: Reason) -> &'static str {
    match reason {
        Reason::FailFast => "another leg of its matrix failed",
        Reason::Superseded => "a newer member of its concurrency group took its place",
        _ => "cancelled before it started",
    }
}
