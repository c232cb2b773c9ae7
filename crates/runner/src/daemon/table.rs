//! The attempts of this runner as data: what is held, what the server was told,
//! what it said. Pure: effects come out as [`Action`]s, time comes in. It must
//! never execute an attempt twice, never exceed the slots, and never leave an
//! attempt out of a report before the server let it go.

use fleetfoot_model::ids::AttemptRef;
use fleetfoot_model::sync::{
    Assignment, AttemptReport, AttemptResult, Phase, StepReport, SyncRequest, SyncResponse,
};
use indexmap::IndexMap;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

/// What the daemon has to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Execute it.
    Start(Box<Assignment>),
    /// Ask for an orderly end.
    Cancel(AttemptRef),
    /// End it at once and discard what it made.
    Kill(AttemptRef),
    /// Its result is durable at the server (or nobody wants it): remove what is left.
    Forget(AttemptRef),
}

/// What came of a response.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub(crate) actions: Vec<Action>,
    /// It said something that changed nothing here; asking again at once would spin.
    pub(crate) useless: bool,
}

#[derive(Debug)]
struct Held {
    phase: Phase,
    steps: Vec<StepReport>,
    /// Counts changes of `steps`.
    version: u64,
    /// The version that the server knows.
    known: u64,
    result: Option<Box<AttemptResult>>,
}

/// What a request carried; needed when its answer arrives.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) sequence: u64,
    steps: Vec<(AttemptRef, u64)>,
    carried_urgent: bool,
    /// It said that nothing new is taken.
    pub(crate) draining: bool,
    /// It listed no attempt.
    pub(crate) empty: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Table {
    slots: usize,
    one_off: bool,
    held: IndexMap<AttemptRef, Held>,
    /// Fenced attempts whose processes are still being ended: they take a slot, but are reported no more.
    dying: HashSet<AttemptRef>,
    /// Attempts that were here, until no answer that could assign them again is under way:
    /// the number is the sequence of the newest request at the time.
    gone: HashMap<AttemptRef, u64>,
    sequence: u64,
    in_flight: BTreeSet<u64>,
    newest_applied: u64,
    urgent: bool,
    /// Since when there are steps that the server does not know.
    soft_since: Option<Instant>,
    taken: u64,
    draining: bool,
    pub(crate) server_drains: bool,
    pub(crate) shut_down: bool,
    pub(crate) lease: Duration,
}

impl Table {
    pub(crate) fn new(slots: usize, one_off: bool) -> Self {
        Self {
            slots: if one_off { 1 } else { slots.max(1) },
            one_off,
            held: IndexMap::new(),
            dying: HashSet::new(),
            gone: HashMap::new(),
            sequence: 0,
            in_flight: BTreeSet::new(),
            newest_applied: 0,
            urgent: false,
            soft_since: None,
            taken: 0,
            draining: false,
            server_drains: false,
            shut_down: false,
            lease: Duration::from_secs(15),
        }
    }

    /// Attempts that execute, the dying included.
    fn executing(&self) -> usize {
        self.dying.len() + self.held.values().filter(|h| h.phase != Phase::Finished).count()
    }

    pub(crate) fn free_slots(&self) -> usize {
        self.slots.saturating_sub(self.executing())
    }

    /// Nothing is held and nothing dies.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.dying.is_empty()
    }

    /// A one-off runner that has had its job and is rid of it.
    pub(crate) fn one_off_done(&self) -> bool {
        self.one_off && self.taken > 0 && self.is_empty()
    }

    pub(crate) fn drain(&mut self) {
        if !self.draining {
            self.draining = true;
            self.urgent = true;
        }
    }

    /// Something that the server should know at once.
    pub(crate) const fn mark_urgent(&mut self) {
        self.urgent = true;
    }

    pub(crate) const fn is_urgent(&self) -> bool {
        self.urgent
    }

    pub(crate) const fn soft_since(&self) -> Option<Instant> {
        self.soft_since
    }

    /// An attempt of an earlier process of this runner; it is reported as running until [`Table::finish`].
    pub(crate) fn adopt(&mut self, attempt: AttemptRef) {
        self.held.insert(
            attempt,
            Held { phase: Phase::Running, steps: Vec::new(), version: 0, known: 0, result: None },
        );
    }

    /// The state of the steps of an attempt.
    pub(crate) fn steps(&mut self, attempt: AttemptRef, steps: &[StepReport], now: Instant) {
        let Some(held) = self.held.get_mut(&attempt) else { return };
        if held.phase == Phase::Accepted {
            held.phase = Phase::Running;
        }
        held.steps.clear();
        held.steps.extend_from_slice(steps);
        held.version += 1;
        self.soft_since.get_or_insert(now);
    }

    /// An attempt is over and every byte of its log acknowledged. False if nobody wants the result (it was fenced).
    pub(crate) fn finish(&mut self, attempt: AttemptRef, result: AttemptResult) -> bool {
        self.dying.remove(&attempt);
        let Some(held) = self.held.get_mut(&attempt) else { return false };
        held.phase = Phase::Finished;
        held.result = Some(Box::new(result));
        self.urgent = true;
        true
    }

    /// The attempt is not this runner's any more (told outside of a sync).
    pub(crate) fn fence(&mut self, attempt: AttemptRef) -> Option<Action> {
        let held = self.held.shift_remove(&attempt)?;
        self.gone.insert(attempt, self.sequence);
        if held.phase == Phase::Finished {
            return Some(Action::Forget(attempt));
        }
        self.dying.insert(attempt);
        Some(Action::Kill(attempt))
    }

    /// The next request; everything changed so far travels with it.
    pub(crate) fn request(&mut self) -> (SyncRequest, Sent) {
        self.sequence += 1;
        self.in_flight.insert(self.sequence);
        let mut steps = Vec::new();
        let attempts: Vec<AttemptReport> = self
            .held
            .iter()
            .map(|(attempt, held)| {
                let changed = held.version > held.known;
                if changed {
                    steps.push((*attempt, held.version));
                }
                AttemptReport {
                    attempt: *attempt,
                    phase: held.phase,
                    steps: changed.then(|| held.steps.clone()),
                    result: held.result.clone(),
                }
            })
            .collect();
        let sent = Sent {
            sequence: self.sequence,
            steps,
            carried_urgent: std::mem::take(&mut self.urgent),
            draining: self.draining,
            empty: attempts.is_empty(),
        };
        self.soft_since = None;
        let request = SyncRequest {
            sequence: self.sequence,
            slots: u32::try_from(self.slots).unwrap_or(u32::MAX),
            draining: self.draining,
            attempts,
            ..SyncRequest::default()
        };
        (request, sent)
    }

    /// The request had no answer: what it carried is news again.
    pub(crate) fn failed(&mut self, sent: &Sent, now: Instant) {
        self.in_flight.remove(&sent.sequence);
        self.urgent |= sent.carried_urgent;
        if !sent.steps.is_empty() {
            self.soft_since.get_or_insert(now);
        }
        self.prune();
    }

    /// Takes over what the server says should be. Any answer may come twice, late or never.
    pub(crate) fn apply(&mut self, sent: &Sent, response: SyncResponse) -> Applied {
        self.in_flight.remove(&sent.sequence);
        for (attempt, version) in &sent.steps {
            if let Some(held) = self.held.get_mut(attempt) {
                held.known = held.known.max(*version);
            }
        }
        // Levels are taken from the newest answer only; an older one may have overtaken nothing but is out of date.
        if sent.sequence > self.newest_applied {
            self.newest_applied = sent.sequence;
            self.server_drains = response.drain;
            if response.lease_ms > 0 {
                self.lease = Duration::from_millis(response.lease_ms);
            }
        }
        self.shut_down |= response.shut_down;

        let mut actions = Vec::new();
        let mut said = 0;
        for attempt in response.fenced {
            said += 1;
            actions.extend(self.fence(attempt));
        }
        for attempt in response.acknowledged {
            said += 1;
            if self.held.get(&attempt).is_some_and(|h| h.phase == Phase::Finished) {
                self.held.shift_remove(&attempt);
                self.gone.insert(attempt, self.sequence);
                actions.push(Action::Forget(attempt));
            }
        }
        for attempt in response.cancel {
            said += 1;
            if let Some(held) = self.held.get_mut(&attempt)
                && matches!(held.phase, Phase::Accepted | Phase::Running)
            {
                held.phase = Phase::Cancelling;
                actions.push(Action::Cancel(attempt));
            }
        }
        for assignment in response.assignments {
            said += 1;
            if self.take(&assignment) {
                actions.push(Action::Start(Box::new(assignment)));
            }
        }
        // Whoever drains and is rid of its last attempt says so at once: it wants to leave.
        self.urgent |= self.draining && !sent.empty && self.held.is_empty();
        self.prune();
        let useless = said > 0 && actions.is_empty() && sent.sequence == self.sequence;
        Applied { actions, useless }
    }

    fn take(&mut self, assignment: &Assignment) -> bool {
        let attempt = assignment.attempt;
        let known = self.held.contains_key(&attempt)
            || self.gone.contains_key(&attempt)
            || self.dying.contains(&attempt);
        if known || self.free_slots() == 0 || (self.one_off && self.taken > 0) || self.shut_down {
            return false;
        }
        self.taken += 1;
        // A lease that was given before the server knew of the drain still counts; a new one is not asked for.
        if self.one_off {
            self.draining = true;
        }
        self.held.insert(
            attempt,
            Held { phase: Phase::Accepted, steps: Vec::new(), version: 0, known: 0, result: None },
        );
        true
    }

    fn prune(&mut self) {
        let oldest = self.in_flight.first().copied().unwrap_or(u64::MAX);
        self.gone.retain(|_, horizon| *horizon >= oldest);
    }

    /// Everything that executes.
    pub(crate) fn running(&self) -> Vec<AttemptRef> {
        let held = self.held.iter().filter(|(_, h)| h.phase != Phase::Finished).map(|(a, _)| *a);
        held.chain(self.dying.iter().copied()).collect()
    }

    /// A local decision to cancel everything; the server learns it from the phase.
    pub(crate) fn cancel_all(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (attempt, held) in &mut self.held {
            if matches!(held.phase, Phase::Accepted | Phase::Running) {
                held.phase = Phase::Cancelling;
                self.urgent = true;
                actions.push(Action::Cancel(*attempt));
            }
        }
        actions
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
