//! Matching, fairness, limits and leases. [`Scheduler`] is told what happens and
//! answers with [`Action`]s; it never waits, never draws a random number and
//! never reads a clock. It must never give an attempt away twice, exceed a
//! limit, or forget a job that has not ended.
//!
//! A job that waits is in exactly one place: a lane of the index (ready), the
//! line of its concurrency group, the line of its matrix (`max-parallel`), or
//! the timers (retry delay). Nothing that is held back costs anything at
//! dispatch.
//!
//! **Order of restoring at start:** runs and jobs that run (`admit_run`,
//! `restore_running`), then what waits (`admit_run`, `enqueue`): first jobs that
//! are to be tried again, for they hold their groups, then oldest first.

mod ceiling;
mod fleet;
mod groups;
mod index;
mod near;
mod parallel;
mod slab;
mod types;
mod why;

pub use ceiling::Ceiling;
pub use near::{Load, QueueLoad};
pub use types::{Action, ClaimError, Config, Parallel, QueuedJob, RunnerOffer, Statistics};
pub use why::{why_in_words, why_needs};

use fleet::{Fleet, Lease};
use fleetfoot_model::{
    AttemptNumber, AttemptRef, Conclusion, JobId, Reason, RunId, RunnerId, Status, Timestamp,
};
use groups::{Groups, Member};
use index::{ClassKey, Index, Place};
use parallel::Limiters;
use slab::{NONE, Names, Slab};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// "No time": spares the bytes of an `Option`.
const NEVER: Timestamp = Timestamp(i64::MAX);

/// One `tick` stops after about so many actions.
pub const TICK_ACTIONS: usize = 10_000;

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nowhere: on its way from one place to the next.
    Moving,
    /// In the line of its concurrency group.
    Grouped,
    /// In the timers, until `not_before`.
    Delayed,
    /// In the line of its matrix.
    Lined,
    /// In its lane: ready for a runner.
    Ready,
    /// With the runner at this index.
    Running(u32),
    /// Its attempt ended, and its next enqueue is on the way.
    Retrying,
}

/// All that is kept of a job; a million of these must fit.
#[derive(Debug)]
struct Entry {
    id: JobId,
    run: RunId,
    /// Age: the order of arrival here.
    seq: u64,
    deadline: Timestamp,
    not_before: Timestamp,
    class: u32,
    project: u32,
    priority: i32,
    attempt: AttemptNumber,
    group: u32,
    limiter: u32,
    state: State,
    /// A newcomer of its group asked to cancel it.
    superseded: bool,
}

impl Entry {
    const fn place(&self) -> Place {
        Place { class: self.class, priority: self.priority, project: self.project, seq: self.seq }
    }
}

/// Whom a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A retry delay passes (job at this index).
    Delay(u32),
    /// A queue timeout (job at this index).
    Deadline(u32),
    /// A lease or the silence of the runner at this index.
    Runner(u32),
}

/// The state of all that waits and runs, and of the fleet. See the module.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    jobs: Slab<Entry>,
    by_id: HashMap<JobId, u32>,
    queues: Names,
    projects: Names,
    index: Index,
    groups: Groups,
    limiters: Limiters,
    fleet: Fleet,
    timers: BTreeSet<(Timestamp, Timer)>,
    /// The next age.
    seq: u64,
}

impl Scheduler {
    /// An empty scheduler.
    #[must_use]
    pub fn new(config: Config) -> Self {
        // A lease of no length would be due again at once, for ever.
        let lease = config.lease.max(Duration::from_micros(1));
        Self {
            config: Config { lease, ..config },
            jobs: Slab::default(),
            by_id: HashMap::new(),
            queues: Names::default(),
            projects: Names::default(),
            index: Index::default(),
            groups: Groups::default(),
            limiters: Limiters::default(),
            fleet: Fleet::default(),
            timers: BTreeSet::new(),
            seq: 0,
        }
    }

    // ---- jobs

    /// A job becomes ready for the queue: new, or again after `finish` with
    /// `retry` (then it still has its place in its group). The rules of its
    /// concurrency group are applied. A job that is here already and not about
    /// to be retried is left as it is.
    pub fn enqueue(&mut self, job: QueuedJob, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(&slot) = self.by_id.get(&job.id) {
            if self.jobs[slot].state == State::Retrying {
                self.enqueue_again(slot, job, now);
            }
            return actions;
        }
        let concurrency = job.concurrency.clone();
        let project = job.project.clone();
        let slot = self.admit(job);
        self.arm_deadline(slot);
        match concurrency {
            None => self.advance(slot, now),
            Some(concurrency) => self.join_group(slot, &project, &concurrency, now, &mut actions),
        }
        // What became ready at once needs no word about it.
        let id = self.jobs.get(slot).map(|e| e.id);
        actions.retain(|a| !matches!(a, Action::ReleaseJob { job, .. } if Some(*job) == id));
        actions
    }

    /// Its next try: whatever of the job may have changed is taken over, the group stays.
    fn enqueue_again(&mut self, slot: u32, job: QueuedJob, now: Timestamp) {
        let group = self.jobs[slot].group;
        self.release_names(slot);
        let mut entry = self.entry(job);
        entry.group = group;
        self.jobs[slot] = entry;
        self.arm_deadline(slot);
        self.advance(slot, now);
    }

    /// Makes the entry of a job that is new here.
    fn admit(&mut self, job: QueuedJob) -> u32 {
        let id = job.id;
        let entry = self.entry(job);
        let slot = self.jobs.insert(entry);
        self.by_id.insert(id, slot);
        slot
    }

    fn entry(&mut self, job: QueuedJob) -> Entry {
        let queue = self.queues.intern(&job.queue);
        let key = ClassKey {
            queue,
            labels: job.labels,
            boundary: job.min_boundary,
            containers: job.containers,
            limits: job.limits,
        };
        let class = self.index.class(key, &mut self.queues);
        self.seq += 1;
        Entry {
            id: job.id,
            run: job.run,
            seq: self.seq,
            deadline: job.queue_deadline.unwrap_or(NEVER),
            not_before: job.not_before.unwrap_or(Timestamp(i64::MIN)),
            class,
            project: self.projects.intern(&job.project),
            priority: job.priority,
            attempt: job.next_attempt,
            group: NONE,
            limiter: job.parallel.map_or(NONE, |p| self.limiters.join(p)),
            state: State::Moving,
            superseded: false,
        }
    }

    /// Gives back what [`Self::entry`] took.
    fn release_names(&mut self, slot: u32) {
        let entry = &self.jobs[slot];
        self.index.release_class(entry.class);
        self.projects.release(entry.project);
        if entry.limiter != NONE {
            self.limiters.leave(entry.limiter);
        }
    }

    /// A job that runs already, at start. It gets a full fresh lease, so that an
    /// outage of the server kills nobody. Its runner need not be known yet.
    pub fn restore_running(&mut self, job: QueuedJob, lease: AttemptRef, runner: RunnerId, now: Timestamp) {
        if self.by_id.contains_key(&job.id) {
            return;
        }
        let concurrency = job.concurrency.clone();
        let project = job.project.clone();
        let slot = self.admit(job);
        self.jobs[slot].attempt = lease.attempt;
        if let Some(concurrency) = concurrency {
            let group = self.groups.open(self.projects.intern(&project), &concurrency, &mut self.projects);
            // Two running members cannot be; if they are, the second is let run without the group.
            if self.groups.hold(group, Member::Job(slot)) {
                self.jobs[slot].group = group;
            }
        }
        if self.jobs[slot].limiter != NONE {
            self.limiters.started(self.jobs[slot].limiter);
            self.balance(self.jobs[slot].limiter);
        }
        let at = self.fleet.known_or_expected(runner, now);
        self.jobs[slot].state = State::Running(at);
        self.fleet.start(
            at,
            Lease {
                slot,
                job: lease.job,
                attempt: lease.attempt,
                epoch: Some(lease.epoch),
                expires: now + self.config.lease,
                expired: false,
            },
        );
        self.runner_changed(at);
    }

    /// A job ended while it waited (completed, cancelled): whatever it held or
    /// stood in line for is free. Also right for a running job.
    pub fn remove(&mut self, job: JobId, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(&slot) = self.by_id.get(&job) {
            self.drop_entry(slot, now, &mut actions);
        }
        actions
    }

    /// The attempt of a running job ended: its slot and its place under
    /// `max-parallel` are free. With `retry` the job keeps its place in its
    /// concurrency group, and the next `enqueue` of it is its next try; without,
    /// the job is gone.
    pub fn finish(&mut self, job: JobId, retry: bool, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(&slot) = self.by_id.get(&job) else { return actions };
        if !retry {
            self.drop_entry(slot, now, &mut actions);
            return actions;
        }
        if !matches!(self.jobs[slot].state, State::Running(_)) {
            return actions;
        }
        self.withdraw(slot);
        self.jobs[slot].state = State::Retrying;
        if self.jobs[slot].superseded {
            self.supersede(slot, now, &mut actions);
        }
        actions
    }

    /// An assignment has its epoch: from now on its lease can expire.
    pub fn leased(&mut self, attempt: AttemptRef) {
        let Some(&slot) = self.by_id.get(&attempt.job) else { return };
        if let State::Running(at) = self.jobs[slot].state {
            self.fleet.leased(at, attempt);
            self.arm_runner(at);
        }
    }

    /// An assignment whose lease could not be persisted: the job goes back to the
    /// front of its lane. Nothing happens to an attempt that has its lease.
    pub fn unassign(&mut self, job: JobId, now: Timestamp) -> Vec<Action> {
        let Some(&slot) = self.by_id.get(&job) else { return Vec::new() };
        let State::Running(at) = self.jobs[slot].state else { return Vec::new() };
        if !self.fleet.is_unleased(at, job) {
            return Vec::new();
        }
        self.withdraw(slot);
        self.fleet.give_back(at);
        self.runner_changed(at);
        self.arm_deadline(slot);
        self.settle(slot, now, true);
        Vec::new()
    }

    /// Where a job stands, as far as it is here: `waiting` in its group or for its
    /// next try, `queued` when only a runner or `max-parallel` is missing.
    #[must_use]
    pub fn status(&self, job: JobId) -> Option<Status> {
        let entry = &self.jobs[*self.by_id.get(&job)?];
        Some(match entry.state {
            State::Grouped | State::Delayed | State::Retrying => Status::Waiting,
            State::Lined | State::Ready | State::Moving => Status::Queued,
            State::Running(_) => Status::Running,
        })
    }

    /// Takes a job from wherever it is; it is nowhere afterwards.
    fn withdraw(&mut self, slot: u32) {
        let entry = &mut self.jobs[slot];
        let (state, limiter) = (entry.state, entry.limiter);
        entry.state = State::Moving;
        let entry = &self.jobs[slot];
        if entry.deadline != NEVER {
            self.timers.remove(&(entry.deadline, Timer::Deadline(slot)));
        }
        match state {
            State::Moving | State::Retrying | State::Grouped => {}
            State::Delayed => {
                self.timers.remove(&(entry.not_before, Timer::Delay(slot)));
            }
            State::Ready => self.index.take(entry.place()),
            State::Lined => {}
            State::Running(at) => {
                let job = entry.id;
                self.fleet.end(at, job);
                self.runner_changed(at);
            }
        }
        if limiter != NONE {
            match state {
                State::Running(_) => self.limiters.ended(limiter),
                State::Ready | State::Lined => self.limiters.withdraw(limiter, self.jobs[slot].place()),
                _ => return,
            }
            self.balance(limiter);
        }
    }

    /// Moves a job that its group does not hold (any more) to where it belongs.
    fn advance(&mut self, slot: u32, now: Timestamp) {
        self.settle(slot, now, false);
    }

    fn settle(&mut self, slot: u32, now: Timestamp, first: bool) {
        let entry = &mut self.jobs[slot];
        if entry.not_before > now {
            entry.state = State::Delayed;
            self.timers.insert((entry.not_before, Timer::Delay(slot)));
        } else if entry.limiter != NONE {
            entry.state = State::Lined;
            let limiter = entry.limiter;
            self.limiters.line_up(limiter, entry.place(), slot);
            self.balance(limiter);
        } else {
            entry.state = State::Ready;
            self.index.push(entry.place(), slot, first);
        }
    }

    /// Shows as many legs of a matrix to the index as may start, and no more.
    fn balance(&mut self, limiter: u32) {
        while let Some((slot, show)) = self.limiters.step(limiter) {
            let entry = &mut self.jobs[slot];
            if show {
                entry.state = State::Ready;
                self.index.push(entry.place(), slot, false);
            } else {
                entry.state = State::Lined;
                self.index.take(entry.place());
            }
        }
    }

    fn arm_deadline(&mut self, slot: u32) {
        let deadline = self.jobs[slot].deadline;
        if deadline != NEVER {
            self.timers.insert((deadline, Timer::Deadline(slot)));
        }
    }

    /// Forgets a job and frees what it held.
    fn drop_entry(&mut self, slot: u32, now: Timestamp, actions: &mut Vec<Action>) {
        self.withdraw(slot);
        self.release_names(slot);
        if let Some(entry) = self.jobs.remove(slot) {
            self.by_id.remove(&entry.id);
            if entry.group != NONE {
                self.leave_group(entry.group, Member::Job(slot), now, actions);
            }
        }
    }

    /// Ends a job that waits.
    fn complete(
        &mut self,
        slot: u32,
        (conclusion, reason, message): (Conclusion, Reason, String),
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let entry = &self.jobs[slot];
        actions.push(Action::CompleteJob { job: entry.id, run: entry.run, conclusion, reason, message });
        self.drop_entry(slot, now, actions);
    }

    // ---- giving out

    /// Gives waiting jobs to free runners, at most `max`; only [`Action::Assign`]
    /// comes out. `chance(n)` returns a number below `n`; it decides among equally
    /// good runners. Call [`Scheduler::tick`] first if a deadline has passed.
    pub fn dispatch(
        &mut self,
        now: Timestamp,
        chance: &mut dyn FnMut(usize) -> usize,
        max: usize,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        while actions.len() < max {
            let Some((slot, class)) = self.index.next() else { break };
            let Some(runner) = self.index.pick_runner(class, chance) else { break };
            actions.push(self.assign(slot, runner, now));
        }
        actions
    }

    /// A runner asks for this job, or for the next that it could take.
    ///
    /// # Errors
    /// [`ClaimError`] says what stands against it; nothing has changed then.
    pub fn claim(
        &mut self,
        runner: RunnerId,
        job: Option<JobId>,
        now: Timestamp,
    ) -> Result<Action, ClaimError> {
        let at = self.fleet.may_claim(runner)?;
        let shape = self.fleet[at].shape;
        let slot = match job {
            None => self.index.next_for(shape).ok_or(ClaimError::NothingWaiting(runner))?,
            Some(job) => {
                let slot = *self.by_id.get(&job).ok_or(ClaimError::NotQueued(job))?;
                self.may_have(at, slot)?;
                slot
            }
        };
        Ok(self.assign(slot, at, now))
    }

    /// Whether this runner may have this very job now.
    fn may_have(&self, at: u32, slot: u32) -> Result<(), ClaimError> {
        let (entry, runner) = (&self.jobs[slot], &self.fleet[at]);
        let held = match entry.state {
            State::Running(_) | State::Moving => return Err(ClaimError::NotQueued(entry.id)),
            State::Grouped | State::Delayed | State::Retrying => true,
            State::Lined => !self.limiters.may_start(entry.limiter),
            State::Ready => false,
        };
        let (class, offer) = (self.index.class_key(entry.class), &runner.offer);
        if !class.labels.is_subset_of(&offer.labels) {
            let missing = class.labels.missing_from(&offer.labels);
            return Err(ClaimError::LabelsDoNotMatch { runner: offer.id, job: entry.id, missing });
        }
        if !fleet::serves(offer, self.queues.name(class.queue)) {
            let queue = self.queues.name(class.queue).clone();
            return Err(ClaimError::QueueNotServed { runner: offer.id, queue });
        }
        if class.boundary > offer.boundary {
            let (minimum, offered) = (class.boundary, offer.boundary);
            return Err(ClaimError::BoundaryTooWeak { runner: offer.id, minimum, offered });
        }
        if class.containers && !offer.containers {
            return Err(ClaimError::NoContainers(offer.id));
        }
        if !offer.limits.allows(&class.limits) {
            let refused = offer.limits.refused(&class.limits);
            return Err(ClaimError::LimitsNotAllowed { runner: offer.id, refused });
        }
        if held { Err(ClaimError::Held(entry.id)) } else { Ok(()) }
    }

    /// Moves a job from its lane (or its matrix' line) to a runner.
    fn assign(&mut self, slot: u32, at: u32, now: Timestamp) -> Action {
        let entry = &self.jobs[slot];
        let (limiter, place) = (entry.limiter, entry.place());
        // Started before withdrawn, so that no other leg is shown in between.
        if limiter != NONE {
            self.limiters.started(limiter);
        }
        self.withdraw(slot);
        let entry = &mut self.jobs[slot];
        entry.state = State::Running(at);
        let action = Action::Assign {
            job: entry.id,
            run: entry.run,
            runner: self.fleet[at].offer.id,
            attempt: entry.attempt,
        };
        let expires = now + self.config.lease;
        let lease =
            Lease { slot, job: entry.id, attempt: entry.attempt, epoch: None, expires, expired: false };
        self.fleet.start(at, lease);
        self.index.served(self.fleet[at].shape, place.priority, place.project);
        self.runner_changed(at);
        action
    }

    // ---- time

    /// What time alone brings about: expired leases, silent runners, queue
    /// timeouts, retry delays that passed. Idempotent. Ends early after
    /// [`TICK_ACTIONS`], so that a million timeouts at once hold nobody up for
    /// long; `next_deadline` then lies in the past.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(&(at, timer)) = self.timers.first() {
            if at > now || actions.len() >= TICK_ACTIONS {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Delay(slot) => {
                    let entry = &mut self.jobs[slot];
                    entry.state = State::Moving;
                    actions.push(Action::ReleaseJob { job: entry.id, run: entry.run });
                    self.advance(slot, now);
                }
                Timer::Deadline(slot) => {
                    let message = "no runner took it within its queue timeout".to_owned();
                    self.complete(
                        slot,
                        (Conclusion::TimedOut, Reason::QueueTimeout, message),
                        now,
                        &mut actions,
                    );
                }
                Timer::Runner(at) => self.runner_due(at, now, &mut actions),
            }
        }
        actions
    }

    /// When `tick` should be called next. May be early (a heartbeat does not move
    /// the alarm), never late.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Counts for metrics; looks at classes of jobs, not at jobs.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let mut out = Statistics::default();
        let mut running: HashMap<u32, u64> = HashMap::new();
        for lease in self.fleet.leases() {
            *running.entry(self.jobs[lease.slot].class).or_default() += 1;
        }
        for (class, key, uses, ready) in self.index.classes() {
            let waiting = uses - running.get(&class).copied().unwrap_or(0);
            if waiting > 0 {
                *out.queues.entry(self.queues.name(key.queue).clone()).or_default() += waiting;
                out.held += waiting - ready;
            }
        }
        out.running = running.values().sum();
        for (_, runner) in self.fleet.iter() {
            *out.runners.entry(runner.state()).or_default() += 1;
        }
        out
    }
}

#[cfg(test)]
mod tests;
