//! Rules of the scheduler, a test each, and random events against a reference
//! model. This module holds what they share, and the check that the structures
//! inside agree with each other.

mod leases;
mod limits;
mod matching;
mod random;
mod reference;
mod why;

use super::*;
use fleetfoot_model::spec::{Concurrency, ConcurrencyQueue};
use fleetfoot_model::{Boundary, Epoch, Label, LabelSet};
use std::sync::Arc;

/// The start of time in tests.
const T0: Timestamp = Timestamp(1_000_000_000);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn labels(names: &str) -> LabelSet {
    names.split_whitespace().map(Label::from).collect()
}

fn new() -> Scheduler {
    Scheduler::new(Config::default())
}

/// A plain job in the default queue; each job is of a run with its own number.
fn job(id: u64) -> QueuedJob {
    QueuedJob {
        id: JobId(id),
        run: RunId(id),
        project: Arc::from("p"),
        queue: Arc::from("default"),
        labels: LabelSet::default(),
        priority: 0,
        min_boundary: Boundary::Process,
        containers: false,
        limits: Ceiling::NOTHING,
        queued_at: T0,
        queue_deadline: None,
        not_before: None,
        next_attempt: 1,
        concurrency: None,
        parallel: None,
    }
}

fn of_project(id: u64, project: &str) -> QueuedJob {
    QueuedJob { project: Arc::from(project), ..job(id) }
}

fn with_labels(id: u64, names: &str) -> QueuedJob {
    QueuedJob { labels: labels(names), ..job(id) }
}

fn group(name: &str) -> Concurrency {
    Concurrency { group: name.to_owned(), cancel_in_progress: false, queue: ConcurrencyQueue::Single }
}

fn in_group(id: u64, concurrency: Concurrency) -> QueuedJob {
    QueuedJob { concurrency: Some(concurrency), ..job(id) }
}

fn leg(id: u64, limit: u32) -> QueuedJob {
    QueuedJob {
        run: RunId(1),
        parallel: Some(Parallel { run: RunId(1), key: Arc::from("test"), limit }),
        ..job(id)
    }
}

fn runner(id: u64, slots: u32) -> RunnerOffer {
    RunnerOffer {
        id: RunnerId(id),
        name: Arc::from(format!("r{id}")),
        labels: labels("linux x64"),
        queues: Vec::new(),
        boundary: Boundary::Process,
        containers: false,
        limits: Ceiling::EVERYTHING,
        slots,
        draining: false,
        error: false,
        version_ok: true,
        one_off: false,
    }
}

fn reference(job: u64, attempt: u32) -> AttemptRef {
    AttemptRef { job: JobId(job), attempt, epoch: Epoch(job * 100 + u64::from(attempt)) }
}

/// Dispatches all that can be, gives every assignment its epoch, and returns
/// (job, runner) in order.
fn dispatch(s: &mut Scheduler, now: Timestamp) -> Vec<(u64, u64)> {
    dispatch_at_most(s, now, usize::MAX)
}

fn dispatch_at_most(s: &mut Scheduler, now: Timestamp, max: usize) -> Vec<(u64, u64)> {
    let actions = s.dispatch(now, &mut |_| 0, max);
    let given = actions.into_iter().map(|action| match action {
        Action::Assign { job, runner, attempt, .. } => {
            s.leased(reference(job.0, attempt));
            (job.0, runner.0)
        }
        other => panic!("dispatch gave {other:?}"),
    });
    let given = given.collect();
    s.check();
    given
}

/// Dispatches one job after the other to one runner, each ending at once.
fn drain(s: &mut Scheduler) -> Vec<u64> {
    let mut order = Vec::new();
    loop {
        let given = dispatch_at_most(s, T0, 1);
        let Some(&(job, _)) = given.first() else { return order };
        order.push(job);
        s.finish(JobId(job), false, T0);
    }
}

fn is_completed(actions: &[Action], id: u64, why: Reason) -> bool {
    actions
        .iter()
        .any(|a| matches!(a, Action::CompleteJob { job, reason, .. } if job.0 == id && *reason == why))
}

impl Scheduler {
    /// Panics if two structures disagree.
    pub(super) fn check(&self) {
        let mut ready = HashMap::<u32, usize>::new();
        let mut uses = HashMap::<u32, usize>::new();
        let mut timers = BTreeSet::new();
        for (slot, entry) in self.jobs.iter() {
            assert_eq!(self.by_id.get(&entry.id), Some(&slot), "{entry:?}");
            *uses.entry(entry.class).or_default() += 1;
            assert_ne!(entry.state, State::Moving, "{entry:?}");
            assert_eq!(self.index.holds(entry.place()), entry.state == State::Ready, "{entry:?}");
            if entry.state == State::Ready {
                *ready.entry(entry.class).or_default() += 1;
            }
            if entry.state == State::Delayed {
                timers.insert((entry.not_before, Timer::Delay(slot)));
            }
            if entry.deadline != NEVER && !matches!(entry.state, State::Running(_) | State::Retrying) {
                timers.insert((entry.deadline, Timer::Deadline(slot)));
            }
            let leased = self.fleet.leases().filter(|l| l.slot == slot && l.job == entry.id).count();
            assert_eq!(leased, usize::from(matches!(entry.state, State::Running(_))), "{entry:?}");
        }
        assert_eq!(self.by_id.len(), self.jobs.len());
        self.fleet.check(&mut timers);
        assert_eq!(self.timers, timers);
        self.index.check(&ready, &uses);
        self.groups.check(&self.jobs);
        self.limiters.check(&self.jobs);
    }
}

impl Fleet {
    fn check(&self, timers: &mut BTreeSet<(Timestamp, Timer)>) {
        for (at, armed, due) in self.alarms() {
            assert!(armed <= due, "an alarm is late");
            if armed != NEVER {
                timers.insert((armed, Timer::Runner(at)));
            }
        }
    }
}

impl Groups {
    fn check(&self, jobs: &Slab<Entry>) {
        let mut pending = 0;
        for (at, group) in self.iter() {
            assert!(group.holder.is_some(), "a group that nobody holds is closed or granted");
            if let Some(Member::Job(slot)) = group.holder {
                assert_eq!(jobs[slot].group, at);
                assert_ne!(jobs[slot].state, State::Grouped);
            }
            for member in group.pending() {
                if let Member::Job(slot) = member {
                    assert_eq!((jobs[*slot].group, jobs[*slot].state), (at, State::Grouped));
                    pending += 1;
                }
            }
        }
        let grouped = jobs.iter().filter(|(_, e)| e.state == State::Grouped).count();
        assert_eq!(pending, grouped, "a job in the line of its group, and only that, is Grouped");
    }
}

impl Limiters {
    fn check(&self, jobs: &Slab<Entry>) {
        for (at, limit, running, uses, shown, parked) in self.counts() {
            let members = || jobs.iter().map(|(_, e)| e).filter(|e| e.limiter == at);
            let count = |f: fn(&Entry) -> bool| members().filter(|e| f(e)).count();
            assert_eq!(uses, members().count());
            assert_eq!(running, count(|e| matches!(e.state, State::Running(_))));
            assert_eq!(shown, count(|e| e.state == State::Ready));
            assert_eq!(parked, count(|e| e.state == State::Lined));
            assert!(parked == 0 || shown > 0 || running >= limit, "a leg is parked for no reason");
        }
    }
}
