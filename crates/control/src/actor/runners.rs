//! Runners: sync, leases, dispatch, results, loss.

use super::sessions::{Held, Session, Wait};
use super::{Actor, Batch, Decision, LiveRunner, Reply, RunnerCounts};
use fleetfoot_model::api::RunnerStatus;
use fleetfoot_model::ids::{AttemptNumber, AttemptRef, JobId, RunId, RunnerId};
use fleetfoot_model::state::{Conclusion, JobEvent, JobState, Reason, RunnerState};
use fleetfoot_model::sync::{AttemptReport, AttemptResult, Phase, SyncRequest};
use fleetfoot_model::{Code, Problem, Timestamp};
use fleetfoot_scheduler::Action;
use fleetfoot_scheduler::retry::{Cause, Decision as Retry, decide};
use fleetfoot_store::{AttemptEnd, JobEnd, NewLease, Op, RunnerRow};
use std::sync::Arc;
use tracing::{error, info};

/// Assignments made in one round at most.
const DISPATCH: usize = 512;

impl Actor {
    // -- sync ----------------------------------------------------------------

    pub(super) fn sync(
        &mut self,
        runner: RunnerId,
        request: SyncRequest,
        reply: Reply<Decision>,
        batch: &mut Batch,
    ) {
        let now = self.inner.clock.steady();
        let wall = self.inner.clock.wall();
        let Some(session) = self.state.runners.get_mut(&runner) else {
            return batch.reply(reply, Ok(Decision { shut_down: true, ..Decision::default() }));
        };
        if session.retired.contains(&request.instance) {
            return batch.reply(reply, Ok(Decision { shut_down: true, ..Decision::default() }));
        }
        if session.instance != request.instance {
            session.change_instance(&request.instance);
        } else if request.sequence < session.sequence {
            // An older sync never overrules a newer one.
            return batch.reply(reply, Ok(Decision::default()));
        }
        if let Some(older) = session.wait.take() {
            let _ = older.reply.send(Ok(Decision::default()));
        }
        session.sequence = request.sequence;
        session.seen_at = Some(wall);
        let offer_changed = session.observe(&request, batch);
        if offer_changed {
            let offer = session.offer();
            self.state.scheduler.runner_seen(offer, now);
            self.state.scheduler.set_claims_only(runner, false);
        }
        let listed: Vec<AttemptRef> = request.attempts.iter().map(|r| r.attempt).collect();
        self.state.scheduler.heartbeat(runner, &listed, now);
        let (acknowledged, unknown) = self.take_reports(runner, request.attempts, batch);
        self.lose_unlisted(runner, &listed, batch);
        let at_once = request.wait_ms == 0;
        // Whoever drains and holds nothing ends when it reads the answer; nobody shall wait for the silence.
        if request.draining && listed.is_empty() {
            self.state.scheduler.runner_left(runner, now);
        }
        if let Some(session) = self.state.runners.get_mut(&runner) {
            session.wait = Some(Wait { reply, acknowledged, unknown, draining: request.draining, at_once });
        }
        batch.poke.insert(runner);
    }

    /// Applies what a runner reports; answers which results are durable (after this round) and which
    /// attempts memory does not know.
    fn take_reports(
        &mut self,
        runner: RunnerId,
        reports: Vec<AttemptReport>,
        batch: &mut Batch,
    ) -> (Vec<AttemptRef>, Vec<AttemptRef>) {
        let (mut acknowledged, mut unknown) = (Vec::new(), Vec::new());
        for report in reports {
            let attempt = report.attempt;
            let Some(session) = self.state.runners.get_mut(&runner) else { break };
            let Some(held) = session.held.get_mut(&attempt) else {
                if session.ended.contains(&attempt) && report.phase == Phase::Finished {
                    acknowledged.push(attempt);
                } else {
                    unknown.push(attempt);
                }
                continue;
            };
            held.confirmed = true;
            held.cancelling |= matches!(report.phase, Phase::Cancelling | Phase::Finished);
            let run = held.run;
            match (report.phase, report.result) {
                (Phase::Finished, Some(result)) => {
                    self.end_attempt(runner, attempt, *result, report.steps, batch);
                    acknowledged.push(attempt);
                }
                _ => {
                    if let Some(steps) = report.steps {
                        let change = self.state.next_change();
                        batch.ops.push(Op::SetSteps { attempt, steps: Arc::new(steps), change });
                        batch.runs.insert(run);
                    }
                }
            }
        }
        (acknowledged, unknown)
    }

    /// An attempt that the runner once listed and now does not is lost.
    fn lose_unlisted(&mut self, runner: RunnerId, listed: &[AttemptRef], batch: &mut Batch) {
        let Some(session) = self.state.runners.get(&runner) else { return };
        let gone: Vec<AttemptRef> = session
            .held
            .iter()
            .filter(|(a, h)| (h.confirmed || h.cancel) && !listed.contains(a))
            .map(|(a, _)| *a)
            .collect();
        for attempt in gone {
            self.lost(attempt, runner, "its runner no longer knows it", batch);
        }
    }

    pub(super) fn disconnected(&mut self, runner: RunnerId, sequence: u64) {
        let now = self.inner.clock.steady();
        if let Some(session) = self.state.runners.get_mut(&runner)
            && session.sequence == sequence
        {
            session.wait = None;
            session.connected = false;
            self.state.scheduler.runner_disconnected(runner, now);
        }
    }

    pub(super) fn went_offline(&mut self, runner: RunnerId, batch: &mut Batch) {
        if let Some(session) = self.state.runners.get_mut(&runner) {
            session.connected = false;
            info!(%runner, name = %session.row.name, "runner is offline");
            if let Some(seen) = session.seen_at {
                batch.ops.push(Op::TouchRunners(vec![(runner, seen)]));
            }
        }
    }

    // -- leases --------------------------------------------------------------

    pub(super) fn tick(&mut self, batch: &mut Batch) {
        let actions = self.state.scheduler.tick(self.inner.clock.steady());
        self.carry_out(actions, batch);
    }

    pub(super) fn dispatch(&mut self, batch: &mut Batch) {
        let now = self.inner.clock.steady();
        let chance = &mut self.chance;
        let actions = self.state.scheduler.dispatch(now, &mut |n| Self::next_chance(chance, n), DISPATCH);
        self.carry_out(actions, batch);
    }

    pub(super) fn assign(
        &mut self,
        id: JobId,
        run: RunId,
        runner: RunnerId,
        number: AttemptNumber,
        batch: &mut Batch,
    ) {
        let wall = self.inner.clock.wall();
        let attempt = AttemptRef { job: id, attempt: number, epoch: self.state.next_epoch(wall) };
        let (change, change2) = (self.state.next_change(), self.state.next_change());
        let Some(job) = self.state.jobs.get_mut(&id) else {
            error!(job = %id, "the scheduler assigned a job that is not open");
            self.state.scheduler.finish(id, false, self.inner.clock.steady());
            return;
        };
        if job.state == JobState::Waiting {
            // Its retry delay passed.
            batch.ops.push(Op::QueueJob { job: id, at: wall, change });
            job.state = JobState::Queued;
            job.queued_at = wall;
        }
        match job.state.transition(JobEvent::Lease(number)) {
            Ok(next) => job.state = next,
            Err(e) => return error!(job = %id, error = %e, "refused an assignment"),
        }
        job.attempt = number;
        job.lease = Some((attempt.epoch, runner));
        job.leased_at = wall;
        self.inner.metrics.job_leased(wall.since(job.queued_at));
        if let Some(placement) = &job.placement {
            self.inner.observe.waits.note(placement, wall.since(job.queued_at));
        }
        self.state.scheduler.leased(attempt);
        let lease = NewLease { attempt, run, runner, at: wall };
        batch.ops.push(Op::Lease { lease, change: change2 });
        batch.runs.insert(run);
        batch.poke.insert(runner);
        if let Some(session) = self.state.runners.get_mut(&runner) {
            let held = Held { run, confirmed: false, cancel: false, cancelling: false };
            session.held.insert(attempt, held);
        }
    }

    /// The runner's own result.
    pub(super) fn end_attempt(
        &mut self,
        runner: RunnerId,
        attempt: AttemptRef,
        result: AttemptResult,
        steps: Option<Vec<fleetfoot_model::sync::StepReport>>,
        batch: &mut Batch,
    ) {
        let at = self.inner.clock.wall();
        let cause = match (result.reason, result.exit_code) {
            (Some(Reason::RunnerLost), _) => Cause::LostRunner,
            (_, Some(code)) => Cause::ExitCode(code),
            _ => Cause::Other,
        };
        let end = JobEnd {
            conclusion: result.conclusion,
            reason: result.reason,
            message: result.message.clone(),
            exit_code: result.exit_code,
            outputs: result.outputs.clone(),
            at,
        };
        let row = AttemptEnd {
            attempt,
            conclusion: result.conclusion,
            reason: result.reason,
            message: result.message.clone(),
            at,
            steps: steps.map(Arc::new),
            result: Some(Box::new(result)),
        };
        self.close_attempt(runner, row, end, cause, batch);
    }

    /// An attempt whose runner is gone, or forgot it.
    pub(super) fn lost(&mut self, attempt: AttemptRef, runner: RunnerId, why: &str, batch: &mut Batch) {
        if !self.state.holds(attempt, Some(runner)) {
            return;
        }
        let at = self.inner.clock.wall();
        let name = self.state.runners.get(&runner).map_or_else(|| runner.to_string(), |s| s.row.name.clone());
        let cancelled = self.state.jobs.get(&attempt.job).is_some_and(|j| j.cancel_requested);
        let (conclusion, reason) = if cancelled {
            (Conclusion::Cancelled, Reason::Cancelled)
        } else {
            (Conclusion::Failure, Reason::RunnerLost)
        };
        let message = Some(format!("runner {name} was lost: {why}"));
        let end = JobEnd {
            conclusion,
            reason: Some(reason),
            message: message.clone(),
            exit_code: None,
            outputs: indexmap::IndexMap::new(),
            at,
        };
        let row =
            AttemptEnd { attempt, conclusion, reason: Some(reason), message, at, steps: None, result: None };
        self.close_attempt(runner, row, end, Cause::LostRunner, batch);
    }

    fn close_attempt(
        &mut self,
        runner: RunnerId,
        row: AttemptEnd,
        end: JobEnd,
        cause: Cause,
        batch: &mut Batch,
    ) {
        let attempt = row.attempt;
        let now = self.inner.clock.steady();
        let (change, change2) = (self.state.next_change(), self.state.next_change());
        let Some(job) = self.state.jobs.get(&attempt.job) else { return };
        let run = job.run;
        let cancelled = job.cancel_requested || self.state.runs.get(&run).is_some_and(|r| r.cancelled);
        let failed = matches!(row.conclusion, Conclusion::Failure);
        let retry = match &job.placement {
            Some(placement) if failed && !cancelled => decide(&placement.retry, attempt.attempt, &cause, now),
            _ => Retry::End,
        };
        batch.ops.push(Op::EndAttempt { end: Box::new(row), change });
        batch.closed_logs.push(attempt);
        batch.runs.insert(run);
        if let Some(session) = self.state.runners.get_mut(&runner) {
            session.held.remove(&attempt);
            session.remember_end(attempt);
            batch.poke.insert(runner);
        }
        match retry {
            Retry::RetryAt(not_before) => {
                if let Some(job) = self.state.jobs.get_mut(&attempt.job) {
                    job.state = JobState::Waiting;
                    job.lease = None;
                }
                batch.ops.push(Op::RequeueJob { job: attempt.job, not_before, change: change2 });
                let actions = self.state.scheduler.finish(attempt.job, true, now);
                self.enqueue(attempt.job, Some(not_before), batch);
                self.carry_out(actions, batch);
            }
            Retry::End => {
                let actions = self.state.scheduler.finish(attempt.job, false, now);
                self.complete(attempt.job, end, batch);
                self.carry_out(actions, batch);
            }
        }
    }

    // -- plain HTTP clients --------------------------------------------------

    pub(super) fn claim(
        &mut self,
        runner: RunnerId,
        job: Option<JobId>,
        batch: &mut Batch,
    ) -> Result<Option<(AttemptRef, RunId)>, Problem> {
        let now = self.inner.clock.steady();
        self.contact(runner, now)?;
        let action = match self.state.scheduler.claim(runner, job, now) {
            Ok(action) => action,
            Err(_) if job.is_none() => return Ok(None),
            Err(e) => return Err(Problem::new(Code::Conflict, e.to_string())),
        };
        let Action::Assign { job, run, .. } = &action else { return Ok(None) };
        let (job, run) = (*job, *run);
        self.carry_out(vec![action], batch);
        let Some((epoch, _)) = self.state.jobs.get(&job).and_then(|j| j.lease) else { return Ok(None) };
        let number = self.state.jobs.get(&job).map_or(1, |j| j.attempt);
        let attempt = AttemptRef { job, attempt: number, epoch };
        if let Some(held) = self.state.runners.get_mut(&runner).and_then(|s| s.held.get_mut(&attempt)) {
            held.confirmed = true;
        }
        Ok(Some((attempt, run)))
    }

    /// Any word of a plain client counts as a sign of life for everything that it holds.
    fn contact(&mut self, runner: RunnerId, now: Timestamp) -> Result<(), Problem> {
        let wall = self.inner.clock.wall();
        let session = self
            .state
            .runners
            .get_mut(&runner)
            .ok_or_else(|| Problem::new(Code::NotFound, format!("there is no runner {runner}")))?;
        session.seen_at = Some(wall);
        if !session.connected {
            session.connected = true;
            let offer = session.offer();
            self.state.scheduler.runner_seen(offer, now);
            // It takes work by asking for it, not by being told.
            self.state.scheduler.set_claims_only(runner, true);
        }
        let held: Vec<AttemptRef> = session.held.keys().copied().collect();
        self.state.scheduler.heartbeat(runner, &held, now);
        Ok(())
    }

    pub(super) fn plain_reports(
        &mut self,
        runner: RunnerId,
        reports: Vec<AttemptReport>,
        batch: &mut Batch,
    ) -> Result<(), Problem> {
        self.contact(runner, self.inner.clock.steady())?;
        let (_, unknown) = self.take_reports(runner, reports, batch);
        match unknown.first() {
            None => Ok(()),
            Some(attempt) => Err(crate::stale(*attempt)),
        }
    }

    pub(super) fn plain_complete(
        &mut self,
        runner: RunnerId,
        job: JobId,
        attempt: Option<AttemptRef>,
        result: Box<AttemptResult>,
        batch: &mut Batch,
    ) -> Result<(), Problem> {
        self.contact(runner, self.inner.clock.steady())?;
        let Some(session) = self.state.runners.get(&runner) else { return Ok(()) };
        let held = session.held.keys().find(|a| a.job == job).copied();
        let ended = session.ended.iter().rev().find(|a| a.job == job).copied();
        match (attempt.or(held).or(ended), held) {
            (Some(asked), Some(current)) if asked == current => {
                self.end_attempt(runner, current, *result, None, batch);
                Ok(())
            }
            (Some(asked), _) if ended == Some(asked) => Ok(()),
            (Some(asked), _) => Err(crate::stale(asked)),
            (None, _) => {
                Err(Problem::new(Code::Conflict, format!("runner {runner} does not hold job {job}"))
                    .with_hint("claim a job with assign-job first"))
            }
        }
    }

    pub(super) fn set_status(&mut self, runner: RunnerId, request: &RunnerStatus) -> Result<(), Problem> {
        let now = self.inner.clock.steady();
        self.contact(runner, now)?;
        let Some(session) = self.state.runners.get_mut(&runner) else { return Ok(()) };
        session.error = None;
        session.draining = false;
        match request.status {
            RunnerState::Error => {
                session.error =
                    Some(request.message.clone().unwrap_or_else(|| "reported by the runner".to_owned()));
            }
            RunnerState::Draining => session.draining = true,
            RunnerState::Offline => {
                session.connected = false;
                self.state.scheduler.runner_left(runner, now);
                return Ok(());
            }
            // Idle and busy follow from what it holds.
            RunnerState::Idle | RunnerState::Busy => {}
        }
        let offer = session.offer();
        self.state.scheduler.runner_seen(offer, now);
        Ok(())
    }

    // -- administration ------------------------------------------------------

    /// A runner was created or its row changed.
    pub(super) fn runner_changed(&mut self, row: RunnerRow, batch: &mut Batch) {
        let (id, now) = (row.id, self.inner.clock.steady());
        match self.state.runners.get_mut(&id) {
            Some(session) => session.row = row,
            None => {
                self.state.runners.insert(id, Session::new(row));
            }
        }
        if let Some(session) = self.state.runners.get(&id)
            && session.connected
        {
            let offer = session.offer();
            self.state.scheduler.runner_seen(offer, now);
        }
        batch.poke.insert(id);
    }

    /// A runner was deleted (its row is gone): its attempts are lost.
    pub(super) fn runner_deleted(&mut self, runner: RunnerId, batch: &mut Batch) {
        let now = self.inner.clock.steady();
        let held: Vec<AttemptRef> =
            self.state.runners.get(&runner).map(|s| s.held.keys().copied().collect()).unwrap_or_default();
        for attempt in held {
            self.lost(attempt, runner, "it was removed", batch);
        }
        self.state.drop_session(runner);
        let actions = self.state.scheduler.runner_removed(runner, now);
        self.carry_out(actions, batch);
    }

    pub(super) fn live_runners(&self) -> Vec<LiveRunner> {
        let mut all: Vec<LiveRunner> = self
            .state
            .runners
            .values()
            .map(|s| LiveRunner {
                row: s.row.clone(),
                state: self.runner_state(s),
                error: s.error.clone(),
                resources: s.resources,
                jobs: s.held.keys().map(|a| a.job).collect(),
                seen_at: s.seen_at.or(s.row.last_seen_at),
            })
            .collect();
        all.sort_by_key(|r| r.row.id);
        all
    }

    fn runner_state(&self, session: &Session) -> RunnerState {
        if !session.connected && session.held.is_empty() {
            return RunnerState::Offline;
        }
        self.state.scheduler.runner_state(session.row.id).unwrap_or(RunnerState::Offline)
    }

    pub(super) fn counts(&self) -> RunnerCounts {
        let statistics = self.state.scheduler.statistics();
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let runners = RunnerState::ALL
            .iter()
            .map(|state| {
                let n = self.state.runners.values().filter(|s| self.runner_state(s) == *state).count();
                (*state, count(n as u64))
            })
            .collect();
        RunnerCounts {
            queues: statistics.queues.iter().map(|(name, n)| (name.to_string(), count(*n))).collect(),
            runners,
            running: count(statistics.running),
        }
    }
}

impl Session {
    /// A new process took this identity: what the old one held is judged by what the new one lists.
    fn change_instance(&mut self, instance: &str) {
        if !self.instance.is_empty() {
            if self.retired.len() == 16 {
                self.retired.pop_front();
            }
            self.retired.push_back(std::mem::take(&mut self.instance));
            if let Some(older) = self.wait.take() {
                let _ = older.reply.send(Ok(Decision { shut_down: true, ..Decision::default() }));
            }
        }
        instance.clone_into(&mut self.instance);
        self.connected = false;
    }

    /// Takes over what a sync says about the runner itself; answers whether the scheduler must know.
    fn observe(&mut self, request: &SyncRequest, batch: &mut Batch) -> bool {
        let mut changed = !self.connected
            || self.draining != request.draining
            || self.error != request.error
            || self.row.slots != request.slots
            || self.row.version != request.version;
        let stored = self.row.slots != request.slots || self.row.version != request.version;
        self.connected = true;
        self.draining = request.draining;
        self.error.clone_from(&request.error);
        self.row.slots = request.slots;
        self.row.version.clone_from(&request.version);
        let mut store = stored;
        if let Some(info) = &request.info
            && self.row.info != *info
        {
            self.row.info = info.clone();
            changed = true;
            store = true;
        }
        if request.resources.is_some() {
            self.resources = request.resources;
        }
        if store {
            self.row.last_seen_at = self.seen_at;
            batch.ops.push(Op::UpdateRunner(Box::new(self.row.clone())));
        }
        changed
    }
}
