//! The scheduler as a person would write it on one page: lists, and a search
//! through all of them for every question. Groups are replayed; assignments are
//! judged, since several may be right.

use super::*;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// In the line of its group.
    Pending,
    Delayed,
    /// Only a runner or `max-parallel` is missing.
    Waiting,
    Running(u64),
    Retrying,
}

#[derive(Clone, Debug)]
pub(super) struct RefJob {
    pub(super) job: QueuedJob,
    pub(super) seq: u64,
    pub(super) at: Where,
    superseded: bool,
    pub(super) lease: Option<Timestamp>,
    pub(super) leased: bool,
    pub(super) expired: bool,
}

#[derive(Clone, Debug)]
pub(super) struct RefRunner {
    pub(super) offer: RunnerOffer,
    pub(super) connected: bool,
    pub(super) online: bool,
    pub(super) heard: Timestamp,
    /// It said goodbye and was not heard since.
    pub(super) left: bool,
    pub(super) claims_only: bool,
    pub(super) used: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Job(u64),
    Run(u64),
}

type GroupName = (Arc<str>, String);

#[derive(Debug, Default)]
pub(super) struct Reference {
    pub(super) jobs: BTreeMap<u64, RefJob>,
    pub(super) ended: BTreeSet<u64>,
    given: BTreeSet<(u64, u32)>,
    pub(super) groups: BTreeMap<GroupName, (Option<Who>, Vec<Who>)>,
    pub(super) runs: BTreeMap<u64, (GroupName, Concurrency)>,
    pub(super) runners: BTreeMap<u64, RefRunner>,
    /// Runners that had a job when the server started.
    pub(super) used: BTreeSet<u64>,
    seq: u64,
    now: Timestamp,
    /// What the scheduler should say, as text, in any order.
    said: Vec<String>,
}

/// An action of the scheduler in the words of the reference.
pub(super) fn worded(action: &Action) -> String {
    match action {
        Action::Assign { job, runner, .. } => format!("assign {job} {runner}"),
        Action::CompleteJob { job, reason, .. } => format!("complete {job} {reason}"),
        Action::CancelJob { job, .. } => format!("cancel {job}"),
        Action::ReleaseJob { job, .. } => format!("release {job}"),
        Action::ReleaseRun { run } => format!("release-run {run}"),
        Action::CancelRun { run, .. } => format!("cancel-run {run}"),
        Action::LeaseExpired { attempt, .. } => format!("expired {}", attempt.job),
        Action::RunnerOffline { .. } => "offline".to_owned(),
    }
}

fn name_of(project: &Arc<str>, concurrency: &Concurrency) -> GroupName {
    (project.clone(), concurrency.group.to_lowercase())
}

impl RefRunner {
    fn slots(&self) -> usize {
        if self.offer.one_off { self.offer.slots.min(1) as usize } else { self.offer.slots as usize }
    }
}

impl Reference {
    pub(super) fn at(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// What should have been said since the last call, sorted.
    pub(super) fn said(&mut self) -> Vec<String> {
        let mut said = std::mem::take(&mut self.said);
        said.sort();
        said
    }

    // ---- groups

    fn settle(&mut self, id: u64) {
        let now = self.now;
        let job = self.jobs.get_mut(&id).unwrap();
        job.at = if job.job.not_before.is_some_and(|t| t > now) { Where::Delayed } else { Where::Waiting };
    }

    fn grant(&mut self, name: &GroupName, newcomer: Option<Who>) {
        let group = self.groups.get_mut(name).unwrap();
        if group.0.is_some() || group.1.is_empty() {
            return;
        }
        let next = group.1.remove(0);
        group.0 = Some(next);
        match next {
            Who::Run(run) if newcomer != Some(next) => self.said.push(format!("release-run {run}")),
            Who::Run(_) => {}
            Who::Job(id) => {
                self.settle(id);
                if newcomer != Some(next) && self.jobs[&id].at == Where::Waiting {
                    self.said.push(format!("release {id}"));
                }
            }
        }
    }

    fn join(&mut self, name: &GroupName, who: Who, rules: &Concurrency) {
        self.groups.entry(name.clone()).or_default();
        if rules.queue == ConcurrencyQueue::Single {
            for displaced in std::mem::take(&mut self.groups.get_mut(name).unwrap().1) {
                match displaced {
                    Who::Job(id) => self.complete(id, Reason::Superseded),
                    Who::Run(run) => {
                        self.runs.remove(&run);
                        self.said.push(format!("cancel-run {run}"));
                    }
                }
            }
        }
        let group = self.groups.get_mut(name).unwrap();
        group.1.push(who);
        let holder = group.0;
        match holder {
            Some(Who::Run(run)) if rules.cancel_in_progress => self.said.push(format!("cancel-run {run}")),
            Some(Who::Job(id)) if rules.cancel_in_progress => {
                if matches!(self.jobs[&id].at, Where::Running(_)) {
                    self.jobs.get_mut(&id).unwrap().superseded = true;
                    self.said.push(format!("cancel {id}"));
                } else {
                    self.said.push(format!("complete {id} superseded"));
                    self.ended.insert(id);
                    self.jobs.remove(&id);
                    self.groups.get_mut(name).unwrap().0 = None;
                }
            }
            _ => {}
        }
        self.grant(name, Some(who));
    }

    fn leave(&mut self, who: Who) {
        let names: Vec<GroupName> = self.groups.keys().cloned().collect();
        for name in names {
            let group = self.groups.get_mut(&name).unwrap();
            group.1.retain(|w| *w != who);
            if group.0 == Some(who) {
                group.0 = None;
                self.grant(&name, None);
            }
        }
    }

    // ---- events

    pub(super) fn enqueue(&mut self, job: QueuedJob) {
        let id = job.id.0;
        let again = self.jobs.get(&id).map(|j| j.at);
        if again.is_some_and(|at| at != Where::Retrying) {
            return;
        }
        self.seq += 1;
        let made = RefJob {
            job: job.clone(),
            seq: self.seq,
            at: Where::Pending,
            superseded: false,
            lease: None,
            leased: false,
            expired: false,
        };
        self.jobs.insert(id, made);
        match job.concurrency {
            Some(rules) if again.is_none() => {
                let name = name_of(&job.project, &rules);
                if self.groups.get(&name).is_some_and(|g| g.0 == Some(Who::Run(job.run.0))) {
                    self.complete(id, Reason::BadSpecification);
                } else {
                    self.join(&name, Who::Job(id), &rules);
                }
            }
            _ => self.settle(id),
        }
    }

    fn complete(&mut self, id: u64, reason: Reason) {
        self.said.push(format!("complete {id} {reason}"));
        self.end(id);
    }

    pub(super) fn end(&mut self, id: u64) {
        if self.jobs.remove(&id).is_some() {
            self.ended.insert(id);
            self.leave(Who::Job(id));
        }
    }

    pub(super) fn finish(&mut self, id: u64, retry: bool) {
        if !retry {
            return self.end(id);
        }
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if matches!(job.at, Where::Running(_)) {
            job.at = Where::Retrying;
            if job.superseded {
                self.complete(id, Reason::Superseded);
            }
        }
    }

    pub(super) fn admit_run(&mut self, run: u64, project: &Arc<str>, rules: &Concurrency) -> bool {
        let name = name_of(project, rules);
        let known = self.runs.insert(run, (name.clone(), rules.clone()));
        if let Some(known) = known {
            self.runs.insert(run, known);
        } else {
            self.join(&name, Who::Run(run), rules);
        }
        let name = &self.runs[&run].0;
        self.groups[name].0 == Some(Who::Run(run))
    }

    pub(super) fn run_ended(&mut self, run: u64) {
        if self.runs.remove(&run).is_some() {
            self.leave(Who::Run(run));
        }
    }

    pub(super) fn restore_running(&mut self, job: QueuedJob, runner: u64, lease: Timestamp) {
        let id = job.id.0;
        if let Some(rules) = &job.concurrency {
            let group = self.groups.entry(name_of(&job.project, rules)).or_default();
            group.0.get_or_insert(Who::Job(id));
        }
        self.given.insert((id, job.next_attempt));
        self.used.insert(runner);
        self.seq += 1;
        let (seq, at) = (self.seq, Where::Running(runner));
        let made =
            RefJob { job, seq, at, superseded: false, lease: Some(lease), leased: true, expired: false };
        self.jobs.insert(id, made);
    }

    /// Delays and timeouts up to now, in their order.
    pub(super) fn tick(&mut self) {
        loop {
            let due = self.jobs.iter().flat_map(|(id, j)| {
                let delay = j.job.not_before.filter(|_| j.at == Where::Delayed).map(|t| (t, 0, *id));
                let waits = !matches!(j.at, Where::Running(_) | Where::Retrying);
                let deadline = j.job.queue_deadline.filter(|_| waits).map(|t| (t, 1, *id));
                [delay, deadline].into_iter().flatten()
            });
            match due.min().filter(|(t, _, _)| *t <= self.now) {
                None => return,
                Some((_, 0, id)) => {
                    self.jobs.get_mut(&id).unwrap().at = Where::Waiting;
                    self.said.push(format!("release {id}"));
                }
                Some((_, _, id)) => self.complete(id, Reason::QueueTimeout),
            }
        }
    }

    /// Leases that ran out.
    pub(super) fn expire(&mut self, again: Timestamp, only: Option<u64>) {
        let now = self.now;
        for (id, job) in &mut self.jobs {
            let Where::Running(runner) = job.at else { continue };
            if only.is_none_or(|r| r == runner) && job.lease.is_some_and(|t| t <= now) {
                job.lease = Some(again);
                if job.leased {
                    job.expired = true;
                    self.said.push(format!("expired {id}"));
                }
            }
        }
    }

    // ---- questions

    pub(super) fn running_on(&self, runner: u64) -> usize {
        self.jobs.values().filter(|j| j.at == Where::Running(runner)).count()
    }

    pub(super) fn free(&self, runner: u64) -> usize {
        let r = &self.runners[&runner];
        if r.offer.one_off && r.used { 0 } else { r.slots().saturating_sub(self.running_on(runner)) }
    }

    /// Whether a job may start, as far as limits go.
    pub(super) fn may_start(&self, id: u64) -> bool {
        let Some(job) = self.jobs.get(&id) else { return false };
        let parallel = job.job.parallel.as_ref().is_none_or(|p| {
            let same = |j: &&RefJob| {
                matches!(j.at, Where::Running(_))
                    && j.job.parallel.as_ref().is_some_and(|q| (q.run, &q.key) == (p.run, &p.key))
            };
            self.jobs.values().filter(same).count() < p.limit.max(1) as usize
        });
        job.at == Where::Waiting && parallel
    }

    pub(super) fn matches(&self, id: u64, runner: u64) -> bool {
        let (job, offer) = (&self.jobs[&id].job, &self.runners[&runner].offer);
        let queue = if offer.queues.is_empty() {
            &*job.queue == "default"
        } else {
            offer.queues.contains(&job.queue)
        };
        queue
            && job.labels.is_subset_of(&offer.labels)
            && job.min_boundary <= offer.boundary
            && (!job.containers || offer.containers)
            && offer.limits.allows(&job.limits)
    }

    /// Whether a runner would be given a job now.
    pub(super) fn open(&self, runner: u64) -> bool {
        let r = &self.runners[&runner];
        let willing = !r.offer.draining && !r.offer.error && r.offer.version_ok;
        r.online && r.connected && willing && self.free(runner) > 0
    }

    /// Panics if this assignment is wrong; `named` if the runner asked for this very job.
    pub(super) fn assigned(&mut self, action: &Action, dispatched: bool, named: bool, lease: Duration) {
        let Action::Assign { job, runner, attempt, run } = *action else { panic!("{action:?}") };
        let (id, runner) = (job.0, runner.0);
        assert!(!self.ended.contains(&id), "{id} has ended");
        assert!(self.may_start(id), "{id} is held: {:?}", self.jobs.get(&id));
        assert!(self.matches(id, runner), "{id} does not match {runner}");
        assert!(self.free(runner) > 0, "{runner} is full");
        let this = &self.jobs[&id];
        assert_eq!((attempt, run), (this.job.next_attempt, this.job.run));
        if let Some(rules) = &this.job.concurrency {
            assert_eq!(self.groups[&name_of(&this.job.project, rules)].0, Some(Who::Job(id)));
        }
        for (other, o) in self.jobs.iter().filter(|(o, _)| !named && self.may_start(**o)) {
            if *other == id || !self.matches(*other, runner) {
                continue;
            }
            assert!(o.job.priority <= this.job.priority, "{other} has a higher priority than {id}");
            let alike = |j: &QueuedJob| {
                let asks = (j.min_boundary, j.containers, j.limits);
                (j.queue.clone(), j.labels.clone(), asks, j.priority, j.project.clone())
            };
            assert!(alike(&o.job) != alike(&this.job) || o.seq > this.seq, "{other} was before {id}");
        }
        if dispatched {
            assert!(self.open(runner) && !self.runners[&runner].claims_only, "{runner} takes nothing");
            let share = |r: u64| self.free(r) * 65536 / self.runners[&r].slots();
            let better = self.runners.iter().find(|(r, other)| {
                !other.claims_only && self.open(**r) && self.matches(id, **r) && share(**r) > share(runner)
            });
            assert!(better.is_none(), "{better:?} is idler than {runner}");
        }
        assert!(self.given.insert((id, attempt)), "attempt {attempt} of {id} was given away twice");
        let now = self.now;
        let this = self.jobs.get_mut(&id).unwrap();
        (this.at, this.lease, this.leased, this.expired) =
            (Where::Running(runner), Some(now + lease), false, false);
        self.runners.get_mut(&runner).unwrap().used = true;
    }

    pub(super) fn unassigned(&mut self, id: u64) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Where::Running(runner) = job.at else { return };
        if !job.leased {
            self.given.remove(&(id, job.job.next_attempt));
            if let Some(runner) = self.runners.get_mut(&runner) {
                runner.used = false;
            }
            self.settle(id);
        }
    }
}
