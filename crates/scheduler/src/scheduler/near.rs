//! Which runners come nearest to a job and what keeps each from it, and what
//! waits where. Looks at every runner and every class of jobs, so it is for
//! people, not for the hot path. It changes nothing.

use super::fleet::{Runner, serves};
use super::index::ClassKey;
use super::{Entry, Scheduler};
use fleetfoot_model::JobId;
use fleetfoot_model::observe::{Candidate, Lack, LackKind};
use fleetfoot_model::state::RunnerState;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// At most this many runners are named.
const NAMED: usize = 10;

/// What waits in one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueLoad {
    /// Jobs that wait, held ones included.
    pub waiting: u64,
    /// Of these, jobs that a group, `max-parallel` or a retry delay holds back.
    pub held: u64,
    /// Jobs with a runner.
    pub running: u64,
    /// The job that lacks only a runner and came first.
    pub oldest: Option<JobId>,
}

/// What waits and who is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// By queue; queues without any job are left out.
    pub queues: BTreeMap<Arc<str>, QueueLoad>,
    /// Waiting jobs by label that they require.
    pub labels: BTreeMap<String, u64>,
    /// Connected runners by label that they offer; only labels that a waiting job requires.
    pub offering: BTreeMap<String, u64>,
}

impl Scheduler {
    /// What waits where; looks at classes of jobs, not at jobs.
    #[must_use]
    pub fn load(&self) -> Load {
        let mut out = Load::default();
        let mut running: HashMap<u32, u64> = HashMap::new();
        for lease in self.fleet.leases() {
            *running.entry(self.jobs[lease.slot].class).or_default() += 1;
        }
        let mut oldest: HashMap<u32, (u64, JobId)> = HashMap::new();
        for (class, key, uses, ready) in self.index.classes() {
            let with_runner = running.get(&class).copied().unwrap_or(0);
            let waiting = uses - with_runner;
            if uses == 0 {
                continue;
            }
            let queue = out.queues.entry(self.queues.name(key.queue).clone()).or_default();
            queue.waiting += waiting;
            queue.running += with_runner;
            queue.held += waiting - ready;
            if let Some((seq, slot)) = self.index.oldest(class)
                && oldest.get(&key.queue).is_none_or(|(known, _)| seq < *known)
            {
                let job = self.jobs[slot].id;
                oldest.insert(key.queue, (seq, job));
                queue.oldest = Some(job);
            }
            if waiting > 0 {
                for label in key.labels.as_slice() {
                    *out.labels.entry(label.clone()).or_default() += waiting;
                }
            }
        }
        for (_, runner) in self.fleet.iter().filter(|(_, r)| r.online) {
            for label in runner.offer.labels.as_slice() {
                if out.labels.contains_key(label) {
                    *out.offering.entry(label.clone()).or_default() += 1;
                }
            }
        }
        out
    }

    /// The runners that come nearest to a job, the nearest first.
    pub(super) fn nearest(&self, entry: &Entry) -> Vec<Candidate> {
        let key = self.index.class_key(entry.class);
        let queue = self.queues.name(key.queue);
        let mut ranked: Vec<_> =
            self.fleet.iter().map(|(_, r)| (distance(r, key, queue), r.offer.id, r)).collect();
        let by_rank = |a: &(_, _, &Runner), b: &(_, _, &Runner)| (a.0, a.1).cmp(&(b.0, b.1));
        if ranked.len() > NAMED {
            ranked.select_nth_unstable_by(NAMED, by_rank);
            ranked.truncate(NAMED);
        }
        ranked.sort_unstable_by(by_rank);
        ranked
            .into_iter()
            .map(|(_, id, runner)| Candidate {
                runner: id,
                name: runner.offer.name.to_string(),
                state: runner.state(),
                lacks: lacks(runner, key, queue),
            })
            .collect()
    }
}

/// How far a runner is from a job: what cannot change by itself counts before what can.
type Distance = (usize, bool, bool, bool, Reverse<u32>);

fn distance(runner: &Runner, key: &ClassKey, queue: &str) -> Distance {
    let labels = key.labels.as_slice();
    let missing = labels.iter().filter(|l| runner.offer.labels.as_slice().binary_search(l).is_err()).count();
    let fixed = missing
        + usize::from(!serves(&runner.offer, queue))
        + usize::from(runner.offer.boundary < key.boundary)
        + usize::from(!runner.offer.limits.allows(&key.limits))
        + usize::from(!runner.offer.version_ok);
    let unavailable = runner.offer.error || runner.offer.draining;
    (fixed, !runner.online, unavailable, runner.free_slots() == 0, Reverse(runner.free_slots()))
}

fn lacks(runner: &Runner, key: &ClassKey, queue: &str) -> Vec<Lack> {
    let offer = &runner.offer;
    let mut all = Vec::new();
    let mut lack = |kind, words: Vec<String>| all.push(Lack { kind, words });
    if !serves(offer, queue) {
        lack(LackKind::Queue, vec![format!("does not serve queue '{queue}'")]);
    }
    let missing = key.labels.missing_from(&offer.labels);
    if !missing.is_empty() {
        lack(LackKind::Labels, missing);
    }
    if offer.boundary < key.boundary {
        lack(LackKind::Boundary, vec![format!("offers '{}', needed is '{}'", offer.boundary, key.boundary)]);
    }
    if !offer.limits.allows(&key.limits) {
        lack(LackKind::Limits, offer.limits.refused(&key.limits));
    }
    if !offer.version_ok {
        lack(LackKind::Version, vec!["its version is too far from the server's".to_owned()]);
    }
    if runner.state() == RunnerState::Offline {
        lack(LackKind::Offline, vec!["is not connected".to_owned()]);
        return all;
    }
    if offer.error {
        lack(LackKind::Error, vec!["reports an error".to_owned()]);
    }
    if offer.draining {
        lack(LackKind::Draining, vec!["takes nothing new".to_owned()]);
    }
    if runner.free_slots() == 0 {
        let words = if runner.is_used_up() { "has had its only job" } else { "has no free slot" };
        lack(LackKind::Busy, vec![words.to_owned()]);
    }
    all
}
