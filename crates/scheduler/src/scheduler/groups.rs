//! Concurrency groups: one running member, and pending members that follow the
//! newcomer's rules. Jobs and runs share the names of one project, whatever the
//! case. Pending members stand in the line of their group and nowhere else.
//!
//! The *holder* is the member that may run: a job keeps its group from the
//! moment it is let through until it ends, also while it waits for a runner or
//! for its next try.

use super::slab::{Names, Slab};
use super::{Action, Scheduler, State};
use fleetfoot_model::spec::{Concurrency, ConcurrencyQueue};
use fleetfoot_model::{Conclusion, Reason, RunId, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Who can be in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    /// The job at this index.
    Job(u32),
    /// A run.
    Run(RunId),
}

#[derive(Debug)]
pub(super) struct Group {
    project: u32,
    /// As first written.
    pub(super) name: Box<str>,
    pub(super) holder: Option<Member>,
    pending: VecDeque<Member>,
}

#[cfg(test)]
impl Group {
    pub(super) fn pending(&self) -> impl Iterator<Item = &Member> {
        self.pending.iter()
    }
}

/// All groups that have a member.
#[derive(Debug, Default)]
pub(super) struct Groups {
    all: Slab<Group>,
    by_name: HashMap<(u32, Box<str>), u32>,
    runs: HashMap<RunId, u32>,
}

impl Groups {
    /// The group of this name. Takes over the caller's count of the project's
    /// name if the group is new, and gives it back otherwise.
    pub(super) fn open(&mut self, project: u32, concurrency: &Concurrency, projects: &mut Names) -> u32 {
        let key = (project, Box::from(concurrency.group.to_lowercase()));
        if let Some(&at) = self.by_name.get(&key) {
            projects.release(project);
            return at;
        }
        let name = Box::from(concurrency.group.as_str());
        let at = self.all.insert(Group { project, name, holder: None, pending: VecDeque::new() });
        self.by_name.insert(key, at);
        at
    }

    /// The group that holds a run back.
    pub(super) fn held_run(&self, run: RunId) -> Option<u32> {
        let at = *self.runs.get(&run)?;
        (self.all[at].holder != Some(Member::Run(run))).then_some(at)
    }

    pub(super) fn get(&self, at: u32) -> Option<&Group> {
        self.all.get(at)
    }

    /// Makes a member the holder, if there is none.
    pub(super) fn hold(&mut self, at: u32, member: Member) -> bool {
        let group = &mut self.all[at];
        let free = group.holder.is_none();
        if free {
            group.holder = Some(member);
        }
        free
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Group)> {
        self.all.iter()
    }

    fn close_if_empty(&mut self, at: u32, projects: &mut Names) {
        if self.all[at].holder.is_none()
            && self.all[at].pending.is_empty()
            && let Some(group) = self.all.remove(at)
        {
            self.by_name.remove(&(group.project, Box::from(group.name.to_lowercase())));
            projects.release(group.project);
        }
    }
}

impl Scheduler {
    // ---- run-level concurrency

    /// A run that has a concurrency group wants to start. Says whether it may at
    /// once; if not, [`Action::ReleaseRun`] comes when it may. A run that is in a
    /// group already stays as it is.
    pub fn admit_run(
        &mut self,
        run: RunId,
        project: &str,
        group: &Concurrency,
        now: Timestamp,
    ) -> (bool, Vec<Action>) {
        let mut actions = Vec::new();
        if let Some(&at) = self.groups.runs.get(&run) {
            return (self.groups.all[at].holder == Some(Member::Run(run)), actions);
        }
        let project = self.projects.intern(&Arc::from(project));
        let at = self.groups.open(project, group, &mut self.projects);
        self.groups.runs.insert(run, at);
        self.join(at, Member::Run(run), group, now, &mut actions);
        actions.retain(|a| !matches!(a, Action::ReleaseRun { run: r } if *r == run));
        let holds = self.groups.get(at).is_some_and(|g| g.holder == Some(Member::Run(run)));
        (holds, actions)
    }

    /// A run ended, or will never start: its place in its group is free.
    pub fn run_ended(&mut self, run: RunId, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(at) = self.groups.runs.remove(&run) {
            self.leave_group(at, Member::Run(run), now, &mut actions);
        }
        actions
    }

    // ---- both

    /// A new job meets its group.
    pub(super) fn join_group(
        &mut self,
        slot: u32,
        project: &Arc<str>,
        concurrency: &Concurrency,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let project = self.projects.intern(project);
        let at = self.groups.open(project, concurrency, &mut self.projects);
        let run = Member::Run(self.jobs[slot].run);
        self.jobs[slot].state = State::Grouped;
        if self.groups.all[at].holder == Some(run) {
            // It would wait for its own run, which waits for it.
            let name = &self.groups.all[at].name;
            let message = format!(
                "its concurrency group '{name}' is also the group of its run: it would wait for ever"
            );
            self.complete(slot, (Conclusion::Failure, Reason::BadSpecification, message), now, actions);
            return;
        }
        self.jobs[slot].group = at;
        self.join(at, Member::Job(slot), concurrency, now, actions);
    }

    /// The rules for a newcomer: it takes its place in the line, then those whom
    /// it displaces go, then the group is given to whoever is first.
    fn join(
        &mut self,
        at: u32,
        newcomer: Member,
        concurrency: &Concurrency,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let group = &mut self.groups.all[at];
        let displaced = match concurrency.queue {
            ConcurrencyQueue::Single => std::mem::take(&mut group.pending),
            ConcurrencyQueue::Max => VecDeque::new(),
        };
        if group.pending.len() >= ConcurrencyQueue::MAX_PENDING {
            let line = ConcurrencyQueue::MAX_PENDING;
            let message = format!("{line} members of its concurrency group '{}' wait already", group.name);
            self.refuse(at, newcomer, message, now, actions);
            return;
        }
        group.pending.push_back(newcomer);
        let holder = group.holder;
        for member in displaced {
            self.displace(member, now, actions);
        }
        if concurrency.cancel_in_progress
            && let Some(holder) = holder
        {
            self.cancel_holder(holder, now, actions);
        }
        self.grant(at, now, actions);
    }

    /// The line is full.
    fn refuse(
        &mut self,
        at: u32,
        newcomer: Member,
        message: String,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        match newcomer {
            Member::Job(slot) => {
                self.complete(slot, (Conclusion::Cancelled, Reason::LimitExceeded, message), now, actions);
            }
            Member::Run(run) => {
                self.groups.runs.remove(&run);
                self.groups.close_if_empty(at, &mut self.projects);
                actions.push(Action::CancelRun { run, reason: Reason::LimitExceeded });
            }
        }
    }

    /// A pending member makes room for a newcomer.
    fn displace(&mut self, member: Member, now: Timestamp, actions: &mut Vec<Action>) {
        match member {
            Member::Job(slot) => self.supersede(slot, now, actions),
            Member::Run(run) => {
                self.groups.runs.remove(&run);
                actions.push(Action::CancelRun { run, reason: Reason::Superseded });
            }
        }
    }

    /// The holder is to end. What does not run yet ends here and now.
    fn cancel_holder(&mut self, holder: Member, now: Timestamp, actions: &mut Vec<Action>) {
        match holder {
            Member::Job(slot) => {
                let entry = &mut self.jobs[slot];
                if matches!(entry.state, State::Running(_)) {
                    entry.superseded = true;
                    let (job, run) = (entry.id, entry.run);
                    actions.push(Action::CancelJob { job, run, reason: Reason::Superseded });
                } else {
                    self.supersede(slot, now, actions);
                }
            }
            Member::Run(run) => actions.push(Action::CancelRun { run, reason: Reason::Superseded }),
        }
    }

    pub(super) fn supersede(&mut self, slot: u32, now: Timestamp, actions: &mut Vec<Action>) {
        let group = self.groups.get(self.jobs[slot].group).map_or("", |g| &g.name);
        let message = format!("a newer member of its concurrency group '{group}' took its place");
        self.complete(slot, (Conclusion::Cancelled, Reason::Superseded, message), now, actions);
    }

    /// A member is gone; the next one may go.
    pub(super) fn leave_group(&mut self, at: u32, member: Member, now: Timestamp, actions: &mut Vec<Action>) {
        let group = &mut self.groups.all[at];
        if group.holder == Some(member) {
            group.holder = None;
            self.grant(at, now, actions);
        } else {
            group.pending.retain(|m| *m != member);
        }
        self.groups.close_if_empty(at, &mut self.projects);
    }

    /// Gives a free group to the first in line.
    fn grant(&mut self, at: u32, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(group) = self.groups.all.get_mut(at) else { return };
        if group.holder.is_some() {
            return;
        }
        group.holder = group.pending.pop_front();
        match group.holder {
            None => {}
            Some(Member::Run(run)) => actions.push(Action::ReleaseRun { run }),
            Some(Member::Job(slot)) => {
                self.jobs[slot].state = State::Moving;
                self.advance(slot, now);
                let entry = &self.jobs[slot];
                if entry.state != State::Delayed {
                    actions.push(Action::ReleaseJob { job: entry.id, run: entry.run });
                }
            }
        }
    }
}
