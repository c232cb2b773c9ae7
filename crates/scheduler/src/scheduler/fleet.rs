//! The runners, as last heard, and the leases that they hold. A runner's right
//! to an attempt ends when nobody vouched for it in time; a heartbeat vouches
//! only for the attempts that it lists. An expired lease never comes back to
//! life.

use super::ceiling::Ceiling;
use super::index::ShapeKey;
use super::slab::Slab;
use super::types::{ClaimError, RunnerOffer};
use super::{Action, NEVER, Scheduler, State, Timer};
use fleetfoot_model::spec::DEFAULT_QUEUE;
use fleetfoot_model::{
    AttemptNumber, AttemptRef, Boundary, Epoch, JobId, LabelSet, RunnerId, RunnerState, Timestamp,
};
use std::collections::HashMap;
use std::ops::Index;
use std::sync::Arc;
use std::time::Duration;

/// One attempt with a runner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) slot: u32,
    pub(super) job: JobId,
    pub(super) attempt: AttemptNumber,
    /// Absent while the caller makes the lease durable; it cannot expire before.
    pub(super) epoch: Option<Epoch>,
    pub(super) expires: Timestamp,
    /// It was reported; heartbeats do not extend it any more.
    pub(super) expired: bool,
}

impl Lease {
    fn reference(&self) -> Option<AttemptRef> {
        Some(AttemptRef { job: self.job, attempt: self.attempt, epoch: self.epoch? })
    }
}

#[derive(Debug)]
pub(super) struct Runner {
    pub(super) offer: RunnerOffer,
    /// Its shape in the index; [`super::slab::NONE`] while only its leases are known.
    pub(super) shape: u32,
    leases: Vec<Lease>,
    /// Heard lately enough.
    pub(super) online: bool,
    /// Its connection stands, so that an assignment would reach it.
    connected: bool,
    claims_only: bool,
    /// A one-off runner had its job.
    used: bool,
    removed: bool,
    last_heard: Timestamp,
    /// When silence makes it offline, if it holds nothing.
    offline_at: Timestamp,
    /// Its entry in the timers: never later than what is due.
    armed: Timestamp,
}

impl Runner {
    fn slots(&self) -> u32 {
        if self.offer.one_off { self.offer.slots.min(1) } else { self.offer.slots }
    }

    pub(super) fn free_slots(&self) -> u32 {
        if self.offer.one_off && self.used {
            return 0;
        }
        self.slots().saturating_sub(u32::try_from(self.leases.len()).unwrap_or(u32::MAX))
    }

    /// Whether it takes jobs at all when it has a slot.
    pub(super) fn takes_jobs(&self) -> bool {
        self.online
            && self.connected
            && !self.removed
            && !self.offer.draining
            && !self.offer.error
            && self.offer.version_ok
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.offer.one_off && self.used && self.leases.is_empty()
    }

    /// State for people. A version that is too far apart counts as an error.
    pub(super) fn state(&self) -> RunnerState {
        if !self.online {
            RunnerState::Offline
        } else if self.offer.error || !self.offer.version_ok {
            RunnerState::Error
        } else if self.offer.draining {
            RunnerState::Draining
        } else if self.leases.is_empty() {
            RunnerState::Idle
        } else {
            RunnerState::Busy
        }
    }

    /// The next moment at which something could be due.
    fn due(&self) -> Timestamp {
        let leases = self.leases.iter().map(|l| l.expires);
        leases.chain(self.online.then_some(self.offline_at)).min().unwrap_or(NEVER)
    }
}

/// Whether a runner takes jobs of this queue.
pub(super) fn serves(offer: &RunnerOffer, queue: &str) -> bool {
    if offer.queues.is_empty() { queue == DEFAULT_QUEUE } else { offer.queues.iter().any(|q| **q == *queue) }
}

/// All runners that were ever told of and not removed.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    all: Slab<Runner>,
    by_id: HashMap<RunnerId, u32>,
}

impl Index<u32> for Fleet {
    type Output = Runner;
    fn index(&self, at: u32) -> &Runner {
        &self.all[at]
    }
}

impl Fleet {
    pub(super) fn get(&self, runner: RunnerId) -> Option<&Runner> {
        self.by_id.get(&runner).map(|&at| &self.all[at])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Runner)> {
        self.all.iter().filter(|(_, r)| !r.removed)
    }

    /// Every lease, those of removed runners included.
    pub(super) fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.all.iter().flat_map(|(_, r)| &r.leases)
    }

    /// Alarm and what is due, of every runner.
    #[cfg(test)]
    pub(super) fn alarms(&self) -> impl Iterator<Item = (u32, Timestamp, Timestamp)> {
        self.all.iter().map(|(at, r)| (at, r.armed, r.due()))
    }

    /// The runner, or a place for it until it says what it is.
    pub(super) fn known_or_expected(&mut self, runner: RunnerId, now: Timestamp) -> u32 {
        if let Some(&at) = self.by_id.get(&runner) {
            return at;
        }
        let offer = RunnerOffer {
            id: runner,
            name: Arc::from(""),
            labels: LabelSet::default(),
            queues: Vec::new(),
            boundary: Boundary::Process,
            containers: false,
            limits: Ceiling::EVERYTHING,
            slots: 0,
            draining: false,
            error: false,
            version_ok: true,
            one_off: false,
        };
        let at = self.all.insert(Runner {
            offer,
            shape: super::slab::NONE,
            leases: Vec::new(),
            online: false,
            connected: false,
            claims_only: false,
            used: false,
            removed: false,
            last_heard: now,
            offline_at: now,
            armed: NEVER,
        });
        self.by_id.insert(runner, at);
        at
    }

    pub(super) fn start(&mut self, at: u32, lease: Lease) {
        let runner = &mut self.all[at];
        runner.leases.push(lease);
        runner.used = true;
    }

    pub(super) fn end(&mut self, at: u32, job: JobId) {
        self.all[at].leases.retain(|l| l.job != job);
    }

    pub(super) fn leased(&mut self, at: u32, attempt: AttemptRef) {
        let runner = &mut self.all[at];
        let mut leases = runner.leases.iter_mut();
        if let Some(lease) = leases.find(|l| l.job == attempt.job && l.attempt == attempt.attempt) {
            lease.epoch.get_or_insert(attempt.epoch);
            if runner.removed {
                lease.expires = Timestamp(i64::MIN);
            }
        }
    }

    pub(super) fn is_unleased(&self, at: u32, job: JobId) -> bool {
        self.all[at].leases.iter().any(|l| l.job == job && l.epoch.is_none())
    }

    /// A one-off runner did not get its job after all.
    pub(super) fn give_back(&mut self, at: u32) {
        if let Some(runner) = self.all.get_mut(at) {
            runner.used = false;
        }
    }

    /// Whether a runner may ask for a job.
    pub(super) fn may_claim(&self, id: RunnerId) -> Result<u32, ClaimError> {
        let &at = self.by_id.get(&id).ok_or(ClaimError::UnknownRunner(id))?;
        let runner = &self.all[at];
        match runner.state() {
            _ if runner.online && !runner.offer.version_ok => Err(ClaimError::VersionTooOld(id)),
            state @ (RunnerState::Offline | RunnerState::Draining | RunnerState::Error) => {
                Err(ClaimError::RunnerUnavailable { runner: id, state })
            }
            RunnerState::Idle | RunnerState::Busy if runner.offer.one_off && runner.used => {
                Err(ClaimError::OneOffUsed(id))
            }
            RunnerState::Idle | RunnerState::Busy if runner.free_slots() == 0 => {
                Err(ClaimError::NoFreeSlot(id))
            }
            RunnerState::Idle | RunnerState::Busy => Ok(at),
        }
    }
}

impl Scheduler {
    /// A runner said what it is: registers it, or updates what is known. Counts as
    /// being heard, and as being connected.
    pub fn runner_seen(&mut self, offer: RunnerOffer, now: Timestamp) {
        let at = self.fleet.known_or_expected(offer.id, now);
        let offline_at = now + self.config.offline_after;
        let runner = &self.fleet.all[at];
        let same_shape = runner.shape != super::slab::NONE
            && runner.offer.labels == offer.labels
            && runner.offer.queues == offer.queues
            && runner.offer.boundary == offer.boundary
            && runner.offer.containers == offer.containers
            && runner.offer.limits == offer.limits;
        let runner = &mut self.fleet.all[at];
        (runner.online, runner.connected) = (true, true);
        (runner.last_heard, runner.offline_at) = (now, offline_at);
        runner.offer = offer;
        if !same_shape {
            self.reshape(at);
        }
        self.runner_changed(at);
    }

    fn reshape(&mut self, at: u32) {
        let offer = &self.fleet.all[at].offer;
        let mut queues: Vec<u32> = if offer.queues.is_empty() {
            vec![self.queues.intern(&Arc::from(DEFAULT_QUEUE))]
        } else {
            offer.queues.iter().map(|q| self.queues.intern(q)).collect()
        };
        queues.sort_unstable();
        queues.dedup_by(|a, b| {
            let same = a == b;
            if same {
                self.queues.release(*a);
            }
            same
        });
        let labels = offer.labels.clone();
        let (boundary, containers, limits) = (offer.boundary, offer.containers, offer.limits);
        let key = ShapeKey { labels, queues: queues.into_boxed_slice(), boundary, containers, limits };
        self.unshape(at);
        self.fleet.all[at].shape = self.index.shape(key, &mut self.queues);
    }

    fn unshape(&mut self, at: u32) {
        let shape = std::mem::replace(&mut self.fleet.all[at].shape, super::slab::NONE);
        if shape != super::slab::NONE {
            self.index.set_free(at, shape, None);
            self.index.release_shape(shape);
        }
    }

    /// A runner was heard, and holds these attempts: their leases are extended.
    /// An attempt that is not listed runs out. Unknown runners are ignored.
    pub fn heartbeat(&mut self, runner: RunnerId, holding: &[AttemptRef], now: Timestamp) {
        let Some(&at) = self.fleet.by_id.get(&runner) else { return };
        let (lease, offline_after) = (self.config.lease, self.config.offline_after);
        let runner = &mut self.fleet.all[at];
        (runner.last_heard, runner.offline_at) = (now, now + offline_after);
        // A runner whose offer is not known yet cannot take anything.
        let was = (runner.online, runner.connected);
        if runner.shape != super::slab::NONE {
            (runner.online, runner.connected) = (true, true);
        }
        for l in runner.leases.iter_mut().filter(|l| !l.expired) {
            if holding.iter().any(|h| Some(*h) == l.reference()) {
                l.expires = now + lease;
            }
        }
        if was == (runner.online, runner.connected) {
            self.arm_runner(at);
        } else {
            self.runner_changed(at);
        }
    }

    /// A runner's connection broke: it gets nothing new, and if it is not heard
    /// within the grace it is offline and its leases expire.
    pub fn runner_disconnected(&mut self, runner: RunnerId, now: Timestamp) {
        self.lost_sight_of(runner, now + self.config.disconnect_grace, now);
    }

    /// A runner said goodbye: the same, but it is offline at once, unless a lease is on its way to it.
    pub fn runner_left(&mut self, runner: RunnerId, now: Timestamp) {
        self.lost_sight_of(runner, now, now);
    }

    fn lost_sight_of(&mut self, runner: RunnerId, offline_at: Timestamp, now: Timestamp) {
        let Some(&at) = self.fleet.by_id.get(&runner) else { return };
        let grace = now + self.config.disconnect_grace;
        let runner = &mut self.fleet.all[at];
        runner.connected = false;
        runner.offline_at = runner.offline_at.min(offline_at);
        runner.leases.iter_mut().for_each(|l| l.expires = l.expires.min(grace));
        self.runner_changed(at);
    }

    /// For `gap` nobody could be heard (the machine was paused, the disk did not
    /// answer): every silence is counted without it.
    pub fn deaf_for(&mut self, gap: Duration) {
        let known: Vec<u32> = self.fleet.by_id.values().copied().collect();
        for at in known {
            let runner = &mut self.fleet.all[at];
            runner.last_heard = runner.last_heard + gap;
            runner.offline_at = runner.offline_at + gap;
            runner.leases.iter_mut().filter(|l| !l.expired).for_each(|l| l.expires = l.expires + gap);
            self.arm_runner(at);
        }
    }

    /// A runner is deleted: its leases expire at once, and it is not known here
    /// any more. An assignment whose lease is just being persisted expires at the
    /// first tick after `leased`.
    pub fn runner_removed(&mut self, runner: RunnerId, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(at) = self.fleet.by_id.remove(&runner) else { return actions };
        let gone = &mut self.fleet.all[at];
        (gone.removed, gone.online) = (true, false);
        gone.leases.iter_mut().for_each(|l| l.expires = now);
        self.unshape(at);
        self.expire(at, now, &mut actions);
        self.runner_changed(at);
        actions
    }

    /// A runner that asks for its jobs with `claim` gets none from `dispatch`.
    pub fn set_claims_only(&mut self, runner: RunnerId, claims_only: bool) {
        if let Some(&at) = self.fleet.by_id.get(&runner) {
            self.fleet.all[at].claims_only = claims_only;
            self.runner_changed(at);
        }
    }

    /// State of a runner, for people; `None` if it is not known.
    #[must_use]
    pub fn runner_state(&self, runner: RunnerId) -> Option<RunnerState> {
        self.fleet.get(runner).map(Runner::state)
    }

    /// Attempts that a runner holds: those whose lease has its epoch.
    #[must_use]
    pub fn jobs_of(&self, runner: RunnerId) -> Vec<AttemptRef> {
        let leases = self.fleet.get(runner).map_or(&[][..], |r| &r.leases);
        leases.iter().filter_map(Lease::reference).collect()
    }

    /// How many jobs a runner could take beside those it has; `None` if it is not known.
    #[must_use]
    pub fn free_slots(&self, runner: RunnerId) -> Option<u32> {
        self.fleet.get(runner).map(Runner::free_slots)
    }

    /// The runner that a job is with.
    #[must_use]
    pub fn runner_of(&self, job: JobId) -> Option<RunnerId> {
        match self.jobs[*self.by_id.get(&job)?].state {
            State::Running(at) => Some(self.fleet[at].offer.id),
            _ => None,
        }
    }

    /// Tells the index what the runner can take, and sets its alarm.
    pub(super) fn runner_changed(&mut self, at: u32) {
        let Some(runner) = self.fleet.all.get(at) else { return };
        if runner.shape != super::slab::NONE {
            let free = runner.free_slots();
            let takes = runner.takes_jobs() && !runner.claims_only && free > 0;
            self.index.set_free(at, runner.shape, takes.then(|| (free, runner.slots())));
        }
        if runner.removed && runner.leases.is_empty() {
            self.timers.remove(&(runner.armed, Timer::Runner(at)));
            self.fleet.all.remove(at);
        } else {
            self.arm_runner(at);
        }
    }

    /// An alarm that is early finds nothing due and is set again, so only an
    /// alarm that would be late is moved: heartbeats leave the timers alone.
    pub(super) fn arm_runner(&mut self, at: u32) {
        let runner = &mut self.fleet.all[at];
        let due = runner.due();
        if due < runner.armed {
            self.timers.remove(&(runner.armed, Timer::Runner(at)));
            runner.armed = due;
            self.timers.insert((due, Timer::Runner(at)));
        }
    }

    /// A runner's alarm rang.
    pub(super) fn runner_due(&mut self, at: u32, now: Timestamp, actions: &mut Vec<Action>) {
        let lease = self.config.lease;
        let runner = &mut self.fleet.all[at];
        runner.armed = NEVER;
        let ran_out = runner.leases.iter().any(|l| l.expires <= now && !l.expired);
        let lives = runner.leases.iter().any(|l| l.expires > now && !l.expired);
        // Whoever is silent for a whole lease while it holds something is not
        // there: it must not be given the next job only to lose that as well.
        let silent = ran_out && now >= runner.last_heard + lease;
        if runner.online && !lives && (silent || runner.offline_at <= now) {
            runner.online = false;
            actions.push(Action::RunnerOffline { runner: runner.offer.id });
        } else if runner.online && runner.offline_at <= now {
            let last = runner.leases.iter().filter(|l| !l.expired).map(|l| l.expires).max();
            runner.offline_at = last.unwrap_or(NEVER);
        }
        self.expire(at, now, actions);
        self.runner_changed(at);
    }

    /// Reports leases that ran out; again after another lease period, should nobody have listened.
    fn expire(&mut self, at: u32, now: Timestamp, actions: &mut Vec<Action>) {
        let again = now + self.config.lease;
        let runner = &mut self.fleet.all[at];
        for lease in runner.leases.iter_mut().filter(|l| l.expires <= now) {
            if let Some(attempt) = lease.reference() {
                lease.expired = true;
                lease.expires = again;
                actions.push(Action::LeaseExpired { attempt, runner: runner.offer.id });
            } else {
                lease.expires = again; // still being made durable
            }
        }
    }
}
