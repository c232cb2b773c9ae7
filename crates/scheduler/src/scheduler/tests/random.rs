//! Random events against the reference: promises 1 and 2, every limit, order,
//! fairness, and that no job is forgotten.

use super::reference::{RefRunner, Reference, Where, Who, worded};
use super::*;
use fleetfoot_model::spec::Limits;
use fleetfoot_model::why::WhyReason;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Event {
    Enqueue(QueuedJob),
    Remove(u64),
    Finish(u64, bool),
    Offer(RunnerOffer),
    Heartbeat(u64, bool),
    /// A broken connection, or a goodbye.
    Disconnect(u64, bool),
    RemoveRunner(u64),
    ClaimsOnly(u64, bool),
    AdmitRun(u64, Concurrency),
    RunEnded(u64),
    /// Dispatch so many; the lease of the nth cannot be persisted.
    Dispatch(usize, usize),
    Claim(u64, Option<u64>),
    Pass(u64),
    Restart,
}

const LABELS: [&str; 5] = ["", "linux", "linux x64", "gpu", "Linux GPU"];
const QUEUES: [&str; 2] = ["default", "night"];

fn concurrency() -> impl Strategy<Value = Concurrency> {
    (prop::sample::select(vec!["g", "G", "h"]), 0..3).prop_map(|(name, kind)| Concurrency {
        group: name.to_owned(),
        cancel_in_progress: kind == 1,
        queue: if kind == 2 { ConcurrencyQueue::Max } else { ConcurrencyQueue::Single },
    })
}

/// Times carry the job's number as microseconds, so that no two are the same.
fn queued() -> impl Strategy<Value = QueuedJob> {
    let when = |p| prop::option::weighted(p, 1..60u64);
    let placed = (0..LABELS.len(), 0..QUEUES.len(), -1..2i32, any::<bool>(), 0..3usize);
    (
        1..40u64,
        placed,
        prop::option::weighted(0.3, concurrency()),
        prop::option::weighted(0.3, 0..2u64),
        when(0.1),
        when(0.1),
    )
        .prop_map(
            |(id, (set, queue, priority, strong, project), concurrency, parallel, deadline, delay)| {
                let time = |t: u64| T0 + secs(t) + Duration::from_micros(id);
                QueuedJob {
                    run: RunId(id % 5 + 1),
                    project: Arc::from(["a", "b", "c"][project]),
                    queue: Arc::from(QUEUES[queue]),
                    labels: labels(LABELS[set]),
                    priority,
                    min_boundary: if strong { Boundary::Sandbox } else { Boundary::Process },
                    containers: id % 7 == 0,
                    limits: Ceiling::asked(&Limits { pids: Some(id % 3), ..Limits::default() }),
                    queue_deadline: deadline.map(time),
                    not_before: delay.map(|t| time(t) + Duration::from_micros(500)),
                    concurrency,
                    parallel: parallel.map(|key| Parallel {
                        run: RunId(key),
                        key: Arc::from("node"),
                        limit: 1 + key as u32,
                    }),
                    ..job(id)
                }
            },
        )
}

fn offered() -> impl Strategy<Value = RunnerOffer> {
    (1..6u64, 0..LABELS.len(), 0..3usize, any::<bool>(), 0..4u32, 0..10u32).prop_map(
        |(id, set, queues, strong, slots, odd)| RunnerOffer {
            labels: labels(&format!("linux {}", LABELS[set])),
            queues: QUEUES[..queues].iter().map(|q| Arc::from(*q)).collect(),
            boundary: if strong { Boundary::Container } else { Boundary::Process },
            containers: strong && odd % 3 != 0,
            limits: Ceiling::allowed(&Limits {
                pids: (odd % 4 < 3).then_some(u64::from(odd % 4)),
                ..Limits::default()
            }),
            draining: odd == 1,
            error: odd == 2,
            version_ok: odd != 3,
            one_off: id == 5,
            ..runner(id, slots)
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let (job, run) = (1..40u64, 1..6u64);
    prop_oneof![
        12 => queued().prop_map(Event::Enqueue),
        2 => job.clone().prop_map(Event::Remove),
        8 => (job.clone(), prop::bool::weighted(0.3)).prop_map(|(j, retry)| Event::Finish(j, retry)),
        6 => offered().prop_map(Event::Offer),
        8 => (1..6u64, prop::bool::weighted(0.6)).prop_map(|(r, all)| Event::Heartbeat(r, all)),
        1 => (1..6u64, any::<bool>()).prop_map(|(r, left)| Event::Disconnect(r, left)),
        1 => (1..6u64).prop_map(Event::RemoveRunner),
        1 => (1..6u64, any::<bool>()).prop_map(|(r, only)| Event::ClaimsOnly(r, only)),
        2 => (run.clone(), concurrency()).prop_map(|(r, c)| Event::AdmitRun(r, c)),
        2 => run.prop_map(Event::RunEnded),
        10 => (1..9usize, 0..6usize).prop_map(|(n, fails)| Event::Dispatch(n, fails)),
        3 => (1..6u64, prop::option::of(job)).prop_map(|(r, j)| Event::Claim(r, j)),
        5 => (1..14u64).prop_map(Event::Pass),
        1 => Just(Event::Restart),
    ]
}

struct World {
    s: Scheduler,
    m: Reference,
    now: Timestamp,
    dice: usize,
}

impl World {
    fn apply(&mut self, event: Event) {
        let now = self.now;
        self.m.at(now);
        let actions = match event {
            Event::Enqueue(job) => self.enqueue(job),
            Event::Remove(id) => {
                self.m.end(id);
                self.s.remove(JobId(id), now)
            }
            Event::Finish(id, retry) => {
                self.m.finish(id, retry);
                self.s.finish(JobId(id), retry, now)
            }
            Event::Offer(offer) => self.offer(offer),
            Event::Heartbeat(id, all) => self.heartbeat(id, all),
            Event::Disconnect(id, left) => self.disconnect(id, left),
            Event::RemoveRunner(id) => self.remove_runner(id),
            Event::ClaimsOnly(id, only) => {
                if let Some(r) = self.m.runners.get_mut(&id) {
                    r.claims_only = only;
                    self.s.set_claims_only(RunnerId(id), only);
                }
                vec![]
            }
            Event::AdmitRun(run, rules) => {
                let expected = self.m.admit_run(run, &Arc::from("a"), &rules);
                let (admitted, actions) = self.s.admit_run(RunId(run), "a", &rules, now);
                assert_eq!(admitted, expected && admitted == expected);
                actions
            }
            Event::RunEnded(run) => {
                self.m.run_ended(run);
                self.s.run_ended(RunId(run), now)
            }
            Event::Dispatch(most, fails) => self.dispatch(most, fails),
            Event::Claim(id, job) => self.claim(id, job),
            Event::Pass(seconds) => return self.pass(seconds),
            Event::Restart => return self.restart(),
        };
        self.compare(&actions);
    }

    fn compare(&mut self, actions: &[Action]) {
        let mut said: Vec<String> = actions.iter().map(worded).collect();
        said.sort();
        assert_eq!(said, self.m.said());
    }

    fn enqueue(&mut self, mut job: QueuedJob) -> Vec<Action> {
        if self.m.ended.contains(&job.id.0) {
            return vec![]; // a job that ended never comes back (promise 1 is the caller's here)
        }
        if let Some(known) = self.m.jobs.get(&job.id.0) {
            job = known.job.clone();
            job.next_attempt += 1;
            job.not_before = Some(self.now + secs(job.id.0 % 3) + Duration::from_micros(job.id.0));
        }
        self.m.enqueue(job.clone());
        self.s.enqueue(job, self.now)
    }

    fn offer(&mut self, offer: RunnerOffer) -> Vec<Action> {
        let id = offer.id.0;
        let fresh = RefRunner {
            offer: offer.clone(),
            connected: true,
            online: true,
            heard: self.now,
            left: false,
            claims_only: false,
            used: self.m.used.contains(&id),
        };
        let known = self.m.runners.entry(id).or_insert(fresh);
        (known.offer, known.connected, known.online, known.heard) = (offer.clone(), true, true, self.now);
        known.left = false;
        self.s.runner_seen(offer, self.now);
        vec![]
    }

    fn heartbeat(&mut self, id: u64, all: bool) -> Vec<Action> {
        let holding: Vec<AttemptRef> = if all { self.s.jobs_of(RunnerId(id)) } else { vec![] };
        if let Some(r) = self.m.runners.get_mut(&id) {
            (r.connected, r.online, r.heard, r.left) = (true, true, self.now, false);
        }
        for attempt in &holding {
            let job = self.m.jobs.get_mut(&attempt.job.0).unwrap();
            if !job.expired {
                job.lease = Some(self.now + secs(15));
            }
        }
        self.s.heartbeat(RunnerId(id), &holding, self.now);
        vec![]
    }

    fn disconnect(&mut self, id: u64, left: bool) -> Vec<Action> {
        let grace = self.now + secs(10);
        if let Some(r) = self.m.runners.get_mut(&id) {
            (r.connected, r.left) = (false, r.left || left);
        }
        for job in self.m.jobs.values_mut().filter(|j| j.at == Where::Running(id)) {
            job.lease = job.lease.map(|t| t.min(grace));
        }
        match left {
            true => self.s.runner_left(RunnerId(id), self.now),
            false => self.s.runner_disconnected(RunnerId(id), self.now),
        }
        vec![]
    }

    /// A deleted runner's number is not used again, and the caller ends its jobs.
    fn remove_runner(&mut self, id: u64) -> Vec<Action> {
        self.m.runners.remove(&id);
        self.m.used.remove(&id);
        for job in self.m.jobs.values_mut().filter(|j| j.at == Where::Running(id)) {
            job.lease = Some(self.now);
        }
        self.m.expire(self.now + secs(15), Some(id));
        let actions = self.s.runner_removed(RunnerId(id), self.now);
        self.compare(&actions);
        let lost: Vec<u64> =
            self.m.jobs.iter().filter(|(_, j)| j.at == Where::Running(id)).map(|(id, _)| *id).collect();
        for job in lost {
            self.m.finish(job, false);
            let actions = self.s.finish(JobId(job), false, self.now);
            self.compare(&actions);
        }
        vec![]
    }

    fn dispatch(&mut self, most: usize, fails: usize) -> Vec<Action> {
        let most = if most == 8 { usize::MAX } else { most };
        let dice = &mut self.dice;
        let mut chance = |n: usize| {
            *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (*dice >> 33) % n
        };
        let actions = self.s.dispatch(self.now, &mut chance, most);
        for action in &actions {
            self.m.assigned(action, true, false, secs(15));
        }
        if actions.len() < most {
            for id in self.m.jobs.keys().filter(|id| self.m.may_start(**id)) {
                let mut runners = self.m.runners.iter();
                let idle = runners
                    .find(|(r, other)| !other.claims_only && self.m.open(**r) && self.m.matches(*id, **r));
                assert!(idle.is_none(), "{id} was left although {idle:?} is free");
            }
        }
        for (n, action) in actions.iter().enumerate() {
            self.persist(action, n != fails);
        }
        vec![]
    }

    /// Makes the lease of an assignment, or fails to.
    fn persist(&mut self, action: &Action, possible: bool) {
        let Action::Assign { job, attempt, .. } = action else { panic!("{action:?}") };
        if possible {
            self.s.leased(reference(job.0, *attempt));
            self.m.jobs.get_mut(&job.0).unwrap().leased = true;
        } else {
            self.m.unassigned(job.0);
            assert_eq!(self.s.unassign(*job, self.now), []);
        }
    }

    fn claim(&mut self, id: u64, job: Option<u64>) -> Vec<Action> {
        let claimed = self.s.claim(RunnerId(id), job.map(JobId), self.now);
        let able = self.m.runners.get(&id).is_some_and(|r| {
            let willing = !r.offer.draining && !r.offer.error && r.offer.version_ok;
            r.online && willing && self.m.free(id) > 0
        });
        let fits = |j: u64| self.m.may_start(j) && self.m.matches(j, id);
        let possible = able
            && match job {
                Some(job) => self.m.jobs.contains_key(&job) && fits(job),
                None => self.m.jobs.keys().any(|j| fits(*j)),
            };
        assert_eq!(claimed.is_ok(), possible, "{claimed:?}");
        if let Ok(action) = claimed {
            self.m.assigned(&action, false, job.is_some(), secs(15));
            self.persist(&action, true);
        }
        vec![]
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now + secs(seconds);
        let now = self.now;
        self.m.at(now);
        let alive: Vec<u64> = self
            .m
            .jobs
            .iter()
            .filter(|(_, j)| j.lease.is_some_and(|t| t > now) && !j.expired)
            .map(|(id, _)| *id)
            .collect();
        self.m.tick();
        self.m.expire(now + secs(15), None);
        let mut actions = self.s.tick(now);
        actions.retain(|action| {
            let Action::RunnerOffline { runner } = action else { return true };
            let r = self.m.runners.get_mut(&runner.0).unwrap();
            assert!(r.left || now.since(r.heard) >= secs(10), "{runner} was heard just now");
            r.online = false;
            let holds =
                self.m.jobs.iter().any(|(id, j)| j.at == Where::Running(runner.0) && alive.contains(id));
            assert!(!holds, "{runner} is offline with a live lease");
            false
        });
        self.compare(&actions);
        for (id, r) in &self.m.runners {
            let live = self.m.jobs.values().any(|j| j.at == Where::Running(*id) && !j.expired && j.leased);
            assert!(!r.online || live || now.since(r.heard) < secs(90) + secs(15), "{id} is silent");
        }
        assert!(self.s.next_deadline().is_none_or(|t| t > now));
    }

    /// A new server: all that was stored is told again.
    fn restart(&mut self) {
        let old = std::mem::replace(
            self,
            Self { s: new(), m: Reference::default(), now: self.now, dice: self.dice },
        );
        self.m.at(self.now);
        self.m.ended = old.m.ended;
        let holds = |run: &u64| old.m.groups.values().any(|g| g.0 == Some(Who::Run(*run)));
        let (running, mut waiting): (Vec<_>, Vec<_>) =
            old.m.jobs.into_values().partition(|j| matches!(j.at, Where::Running(_)) && j.leased);
        for (run, (_, rules)) in old.m.runs.iter().filter(|(run, _)| holds(run)) {
            assert!(self.m.admit_run(*run, &Arc::from("a"), rules));
            assert!(self.s.admit_run(RunId(*run), "a", rules, self.now).0);
        }
        for j in running {
            let Where::Running(runner) = j.at else { continue };
            let lease = reference(j.job.id.0, j.job.next_attempt);
            self.s.restore_running(j.job.clone(), lease, RunnerId(runner), self.now);
            self.m.restore_running(j.job, runner, self.now + secs(15));
        }
        waiting.sort_by_key(|j| (j.job.next_attempt == 1 && j.at != Where::Retrying, j.seq));
        for j in waiting {
            let mut job = j.job;
            job.next_attempt += u32::from(j.at == Where::Retrying);
            self.m.enqueue(job.clone());
            let actions = self.s.enqueue(job, self.now);
            self.compare(&actions);
        }
        for (run, (_, rules)) in old.m.runs.iter().filter(|(run, _)| !holds(run)) {
            let expected = self.m.admit_run(*run, &Arc::from("a"), rules);
            let (admitted, actions) = self.s.admit_run(RunId(*run), "a", rules, self.now);
            assert_eq!(admitted, expected);
            self.compare(&actions);
        }
        for r in old.m.runners.into_values().filter(|r| r.online) {
            self.offer(r.offer);
        }
    }

    /// What must hold at any time: nothing is forgotten, and every wait has a reason.
    fn check(&self) {
        self.s.check();
        let mut queues: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for (id, j) in &self.m.jobs {
            let status = match j.at {
                Where::Pending | Where::Delayed | Where::Retrying => Status::Waiting,
                Where::Waiting => Status::Queued,
                Where::Running(_) => Status::Running,
            };
            assert_eq!(self.s.status(JobId(*id)), Some(status), "{j:?}");
            let why = self.s.why(JobId(*id), self.now).unwrap();
            assert_eq!(why.status, status);
            assert!(!why.summary.is_empty());
            if status == Status::Running {
                assert_eq!(why.reasons, []);
                continue;
            }
            *queues.entry(j.job.queue.clone()).or_default() += 1;
            let free = self.m.runners.keys().any(|r| self.m.open(*r) && self.m.matches(*id, *r));
            let ready = self.m.may_start(*id) && free;
            assert!(!why.reasons.is_empty(), "{j:?}");
            assert_eq!(why.reasons.contains(&WhyReason::Ready), ready, "{why:?} {j:?}");
            let first = &why.reasons[0];
            match j.at {
                Where::Pending => assert!(matches!(first, WhyReason::ConcurrencyGroup { .. })),
                Where::Delayed | Where::Retrying => assert!(matches!(first, WhyReason::RetryDelay { .. })),
                _ => assert_eq!(
                    matches!(first, WhyReason::MaxParallel { .. }),
                    !self.m.may_start(*id),
                    "{why:?}"
                ),
            }
        }
        let statistics = self.s.statistics();
        assert_eq!(statistics.queues, queues);
        assert_eq!(
            statistics.running,
            self.m.jobs.values().filter(|j| matches!(j.at, Where::Running(_))).count() as u64
        );
        for id in &self.m.ended {
            assert_eq!(self.s.status(JobId(*id)), None);
        }
        for id in self.m.runners.keys() {
            assert_eq!(self.s.free_slots(RunnerId(*id)), Some(self.m.free(*id) as u32));
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens(events in prop::collection::vec(event(), 1..150), dice in any::<usize>()) {
        let mut world = World { s: new(), m: Reference::default(), now: T0, dice };
        for event in events {
            world.apply(event);
            world.check();
        }
    }

    /// Jobs with several label sets for one runner that offers them all: while a
    /// project waits, every other project is served at most once before it.
    #[test]
    fn nobody_waits_for_more_than_one_round(
        arrivals in prop::collection::vec((0..5u64, 0..3usize, 0..4usize), 1..200),
    ) {
        let mut s = new();
        s.runner_seen(RunnerOffer { labels: labels("a b"), ..runner(1, 1) }, T0);
        let mut waiting: BTreeMap<u64, (usize, Vec<u64>)> = BTreeMap::new();
        let sets = ["", "a", "a b"];
        let all = arrivals.len() as u64;
        let arrivals = arrivals.into_iter().chain((0..all).map(|_| (9, 0, 1)));
        for (id, (project, set, served)) in (1..).zip(arrivals) {
            s.enqueue(QueuedJob { labels: labels(sets[set]), ..of_project(id, &format!("p{project}")) }, T0);
            waiting.entry(project).or_insert((0, vec![])).1.push(id);
            for _ in 0..served {
                let given = dispatch_at_most(&mut s, T0, 1);
                let Some(&(id, _)) = given.first() else { break };
                s.finish(JobId(id), false, T0);
                for (passed, ids) in waiting.values_mut() {
                    let own = ids.contains(&id);
                    ids.retain(|j| *j != id);
                    *passed = if own { 0 } else { *passed + 1 };
                    prop_assert!(*passed <= 5, "six projects, and one was passed over {} times", passed);
                }
                waiting.retain(|_, (_, ids)| !ids.is_empty());
            }
        }
    }
}
