//! What the actor knows about each runner right now: its connection, what it
//! holds, and the sync that waits for news.

use super::{Reply, State};
use fleetfoot_model::ids::{AttemptRef, JobId, RunId, RunnerId};
use fleetfoot_model::state::RunnerState;
use fleetfoot_model::sync::ResourceSample;
use fleetfoot_model::version::{VERSION, Version, check_skew};
use fleetfoot_model::{LabelSet, Timestamp};
use fleetfoot_scheduler::RunnerOffer;
use fleetfoot_store::RunnerRow;
use std::collections::{BTreeMap, VecDeque};

/// How many ended attempts a session remembers, to answer repeated reports at once.
const REMEMBERED: usize = 4096;

/// One runner.
pub(crate) struct Session {
    pub(crate) row: RunnerRow,
    /// The live process; a newer one fences the older.
    pub(crate) instance: String,
    /// Processes that lost this identity to a newer one.
    pub(crate) retired: VecDeque<String>,
    /// Latest sync of that process.
    pub(crate) sequence: u64,
    pub(crate) connected: bool,
    pub(crate) draining: bool,
    pub(crate) error: Option<String>,
    pub(crate) resources: Option<ResourceSample>,
    pub(crate) seen_at: Option<Timestamp>,
    pub(crate) held: BTreeMap<AttemptRef, Held>,
    /// Ended attempts, oldest first: their results are durable.
    pub(crate) ended: VecDeque<AttemptRef>,
    /// The sync that waits.
    pub(crate) wait: Option<Wait>,
}

/// An attempt at its runner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) run: RunId,
    /// The runner listed it at least once.
    pub(crate) confirmed: bool,
    /// It is to be cancelled.
    pub(crate) cancel: bool,
    /// The runner said that it is cancelling.
    pub(crate) cancelling: bool,
}

/// A sync that waits for news.
pub(crate) struct Wait {
    pub(crate) reply: Reply<Decision>,
    pub(crate) acknowledged: Vec<AttemptRef>,
    pub(crate) unknown: Vec<AttemptRef>,
    /// The runner already knows that it drains.
    pub(crate) draining: bool,
    /// Answer even if there is nothing to say.
    pub(crate) at_once: bool,
}

/// What a sync is answered, before payloads are added.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decision {
    pub(crate) assign: Vec<(AttemptRef, RunId)>,
    pub(crate) cancel: Vec<AttemptRef>,
    pub(crate) acknowledged: Vec<AttemptRef>,
    /// Attempts that this runner listed and memory does not know: over, or never its own.
    pub(crate) unknown: Vec<AttemptRef>,
    pub(crate) drain: bool,
    pub(crate) shut_down: bool,
}

/// The moment's view of a runner.
#[derive(Clone, Debug)]
pub(crate) struct LiveRunner {
    pub(crate) row: RunnerRow,
    pub(crate) state: RunnerState,
    pub(crate) error: Option<String>,
    pub(crate) resources: Option<ResourceSample>,
    pub(crate) jobs: Vec<JobId>,
    pub(crate) seen_at: Option<Timestamp>,
}

impl Session {
    pub(crate) fn new(row: RunnerRow) -> Self {
        Self {
            row,
            instance: String::new(),
            retired: VecDeque::new(),
            sequence: 0,
            connected: false,
            draining: false,
            error: None,
            resources: None,
            seen_at: None,
            held: BTreeMap::new(),
            ended: VecDeque::new(),
            wait: None,
        }
    }

    /// Takes over what only the live session knows (everything but held attempts and the row).
    pub(crate) fn adopt(&mut self, old: Self) {
        let row = std::mem::replace(&mut self.row, old.row.clone());
        let held = std::mem::take(&mut self.held);
        let known = old.held.iter().filter(|(_, h)| h.confirmed).map(|(a, _)| *a);
        let mut ended = old.ended.clone();
        ended.extend(known);
        *self = Self { row, held, ..old };
        self.ended = ended;
    }

    /// Whether this session ever saw the runner list or end this attempt.
    pub(crate) fn knew(&self, attempt: AttemptRef) -> bool {
        self.ended.contains(&attempt)
    }

    pub(crate) fn remember_end(&mut self, attempt: AttemptRef) {
        if self.ended.len() == REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back(attempt);
    }

    /// What the scheduler may count on.
    pub(crate) fn offer(&self) -> RunnerOffer {
        let row = &self.row;
        let queues = match &row.fixed_queue {
            Some(queue) => vec![queue.as_str().into()],
            None => row.info.queues.iter().map(|q| q.as_str().into()).collect(),
        };
        RunnerOffer {
            id: row.id,
            name: row.name.as_str().into(),
            labels: LabelSet::new(&crate::views::labels(row)),
            queues,
            boundary: row.info.boundary,
            containers: row.info.containers,
            limits: fleetfoot_scheduler::Ceiling::allowed(&row.info.limits),
            slots: row.slots,
            draining: row.drain || self.draining,
            error: self.error.is_some(),
            version_ok: version_fits(&row.version),
            one_off: row.info.one_off,
        }
    }

    /// What there is to say. Repeats everything until the runner's own words show that it arrived.
    pub(crate) fn decide(&self, wait: &Wait) -> Decision {
        Decision {
            assign: self
                .held
                .iter()
                .filter(|(_, h)| !h.confirmed && !h.cancel)
                .map(|(a, h)| (*a, h.run))
                .collect(),
            cancel: self
                .held
                .iter()
                .filter(|(_, h)| h.cancel && h.confirmed && !h.cancelling)
                .map(|(a, _)| *a)
                .collect(),
            acknowledged: wait.acknowledged.clone(),
            unknown: wait.unknown.clone(),
            drain: self.row.drain,
            shut_down: false,
        }
    }
}

impl Decision {
    fn is_news(&self, wait: &Wait) -> bool {
        !self.assign.is_empty()
            || !self.cancel.is_empty()
            || !self.acknowledged.is_empty()
            || !self.unknown.is_empty()
            || (self.drain && !wait.draining)
    }
}

/// Whether a runner of this version may take jobs; an unknown version of a plain client may.
pub(crate) fn version_fits(version: &str) -> bool {
    if version.is_empty() {
        return true;
    }
    match (VERSION.parse::<Version>(), version.parse::<Version>()) {
        (Ok(server), Ok(runner)) => check_skew(server, runner).is_ok(),
        _ => false,
    }
}

impl State {
    /// Answers the waiting sync of a runner if there is something to say.
    pub(crate) fn answer_wait(&mut self, runner: RunnerId) {
        let Some(session) = self.runners.get_mut(&runner) else { return };
        let Some(wait) = session.wait.take() else { return };
        let decision = session.decide(&wait);
        if wait.at_once || decision.is_news(&wait) {
            let _ = wait.reply.send(Ok(decision));
        } else {
            session.wait = Some(wait);
        }
    }

    /// Ends every wait with what there is to say, be it nothing.
    pub(crate) fn end_all_waits(&mut self) {
        for session in self.runners.values_mut() {
            if let Some(wait) = session.wait.take() {
                let decision = session.decide(&wait);
                let _ = wait.reply.send(Ok(decision));
            }
        }
    }

    /// Removes a session with its wait told to shut down.
    pub(crate) fn drop_session(&mut self, runner: RunnerId) -> Option<Session> {
        let mut session = self.runners.remove(&runner)?;
        if let Some(wait) = session.wait.take() {
            let _ = wait.reply.send(Ok(Decision { shut_down: true, ..Decision::default() }));
        }
        Some(session)
    }
}
