//! What holds runs and jobs until somebody approves or a timer ends: the memory
//! of it, the decisions, and what follows from them. A held job is not in the
//! scheduler at all, so that nothing there can give it away; a held run is in
//! no concurrency group. Who asks is authenticated elsewhere; whether this
//! caller may decide about this gate is decided here, where the rules are.

use super::{Actor, Batch, State};
use fleetfoot_model::ids::{JobId, RunId};
use fleetfoot_model::projects::EnvironmentRules;
use fleetfoot_model::spec::Concurrency;
use fleetfoot_model::state::{ApprovalState, Conclusion, JobState, Reason};
use fleetfoot_model::why::{Why, WhyReason};
use fleetfoot_model::{Code, Problem, Timestamp};
use fleetfoot_scheduler::{Action, Demand, Gate, Gates, Shut};
use fleetfoot_store::{ApprovalDecision, ApprovalRow, EnvironmentRow, Op};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Rules by project and name of the environment in small letters.
type Rules = HashMap<(String, String), Arc<EnvironmentRules>>;

/// Environments, and what is held.
#[derive(Default)]
pub(crate) struct Approvals {
    gates: Gates,
    held: HashMap<Gate, Held>,
    rules: Rules,
}

/// What is known about a gate that is shut.
struct Held {
    environment: Option<String>,
    /// Project of the run.
    project: String,
    /// As they were when the gate was shut: they count once the environment is gone.
    reviewers: Vec<String>,
    reason: Option<String>,
    /// End of the timer by the wall clock.
    due: Option<Timestamp>,
    /// The group that a run enters when its gate opens.
    concurrency: Option<Concurrency>,
}

/// Who decides.
#[derive(Clone, Debug)]
pub(crate) struct Approver {
    /// As it is stored and shown: `alice (token:3)`.
    pub(crate) shown: String,
    /// What rules may call it.
    pub(crate) names: Vec<String>,
    pub(crate) admin: bool,
    /// The process itself, which no rule binds.
    pub(crate) system: bool,
    /// It caused the run.
    pub(crate) author: bool,
}

impl Approvals {
    pub(crate) fn is_shut(&self, gate: Gate) -> bool {
        self.gates.why(gate).is_some()
    }

    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.gates.next_due()
    }

    pub(crate) fn set_rules(&mut self, project: &str, name: &str, rules: Option<EnvironmentRules>) {
        let key = (project.to_owned(), name.to_lowercase());
        match rules {
            Some(rules) => self.rules.insert(key, Arc::new(rules)),
            None => self.rules.remove(&key),
        };
    }

    fn rules(&self, project: &str, name: &str) -> Option<Arc<EnvironmentRules>> {
        self.rules.get(&(project.to_owned(), name.to_lowercase())).cloned()
    }

    /// Who may decide now: by the rules as they are, or as they were if the environment is gone.
    fn reviewers(&self, held: &Held) -> Vec<String> {
        let rules = held.environment.as_deref().and_then(|name| self.rules(&held.project, name));
        rules.map_or_else(|| held.reviewers.clone(), |rules| rules.reviewers.clone())
    }

    fn open(&mut self, gate: Gate) -> Option<Held> {
        self.gates.forget(gate);
        self.held.remove(&gate)
    }
}

impl State {
    /// Takes over the environments, and the runs that wait for approval. Before runs are restored.
    pub(crate) fn restore_approvals(&mut self, environments: Vec<EnvironmentRow>, rows: &[ApprovalRow]) {
        for row in environments {
            self.approvals.set_rules(&row.project, &row.name, Some(row.rules));
        }
        for row in rows.iter().filter(|r| r.job.is_none() && r.state == ApprovalState::Pending) {
            self.approvals.gates.shut(Gate::Run(row.run), Shut { approval: true, due: None });
            self.approvals.held.insert(Gate::Run(row.run), held(row));
        }
    }

    /// Shuts the gates of jobs that were held. After runs are restored.
    pub(crate) fn restore_held_jobs(&mut self, rows: &[ApprovalRow], wall: Timestamp, steady: Timestamp) {
        for row in rows {
            let Some(job) = row.job else { continue };
            let waits = |j: &super::state::OpenJob| j.state == JobState::Waiting && j.attempt == 0;
            if !self.jobs.get(&job).is_some_and(waits) {
                continue;
            }
            let approval = row.state == ApprovalState::Pending;
            // Without a reason to wait it opens with the next look at the clock.
            let due = row.due.or((!approval).then_some(wall)).map(|due| steady + due.since(wall));
            self.approvals.gates.shut(Gate::Job(job), Shut { approval, due });
            self.approvals.held.insert(Gate::Job(job), held(row));
        }
    }

    /// Whether this run waits for approval; if so, the group that it is to enter afterwards is kept.
    pub(crate) fn awaits_approval(&mut self, run: RunId, concurrency: Option<&Concurrency>) -> bool {
        let Some(held) = self.approvals.held.get_mut(&Gate::Run(run)) else { return false };
        held.concurrency = concurrency.cloned();
        true
    }

    /// What the environment of a job demands.
    pub(crate) fn demand(&self, project: &str, deployment: &fleetfoot_model::spec::Deployment) -> Demand {
        let Some(rules) = self.approvals.rules(project, &deployment.environment) else {
            return Demand::Nothing;
        };
        fleetfoot_scheduler::gates::demand(&deployment.environment, &rules, deployment.git_ref.as_deref())
    }
}

fn held(row: &ApprovalRow) -> Held {
    Held {
        environment: row.environment.clone(),
        project: row.project.clone(),
        reviewers: row.reviewers.clone(),
        reason: row.reason.clone(),
        due: row.due,
        concurrency: None,
    }
}

impl Actor {
    /// Everything that a job needs has ended and its run is free: it is queued, or held, or refused.
    pub(super) fn make_ready(&mut self, id: JobId, batch: &mut Batch) {
        let Some(job) = self.state.jobs.get(&id).filter(|j| j.state == JobState::Waiting) else { return };
        let Some(deployment) = job.placement.as_ref().and_then(|p| p.deployment.clone()) else {
            return self.release(id, batch);
        };
        let run = job.run;
        let Some(open) = self.state.runs.get(&run) else { return };
        match self.state.demand(&open.project, &deployment) {
            Demand::Nothing => self.release(id, batch),
            Demand::Hold { approval, wait } => {
                let project = open.project.to_string();
                self.hold_job(run, id, project, deployment.environment, approval, wait, batch);
            }
            Demand::Refused(message) => {
                let reason = Some(Reason::EnvironmentProtected);
                self.end_waiting(id, Conclusion::Failure, reason, Some(message), batch);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one row")]
    fn hold_job(
        &mut self,
        run: RunId,
        job: JobId,
        project: String,
        environment: String,
        approval: bool,
        wait: Option<Duration>,
        batch: &mut Batch,
    ) {
        let reviewers = self.state.approvals.rules(&project, &environment);
        let row = ApprovalRow {
            job: Some(job),
            environment: Some(environment),
            state: if approval { ApprovalState::Pending } else { ApprovalState::NotRequired },
            reviewers: reviewers.map(|r| r.reviewers.clone()).unwrap_or_default(),
            due: wait.map(|wait| self.inner.clock.wall() + wait),
            ..self.row(run, project)
        };
        let due = wait.map(|wait| self.inner.clock.steady() + wait);
        self.state.approvals.gates.shut(Gate::Job(job), Shut { approval, due });
        self.state.approvals.held.insert(Gate::Job(job), held(&row));
        batch.ops.push(Op::HoldForApproval(Box::new(row)));
        batch.runs.insert(run);
    }

    /// A new run starts nothing before somebody approves it.
    pub(super) fn hold_run(
        &mut self,
        run: RunId,
        project: &str,
        reason: String,
        concurrency: Option<Concurrency>,
        batch: &mut Batch,
    ) {
        let row = ApprovalRow { reason: Some(reason), ..self.row(run, project.to_owned()) };
        self.state.approvals.gates.shut(Gate::Run(run), Shut { approval: true, due: None });
        self.state.approvals.held.insert(Gate::Run(run), Held { concurrency, ..held(&row) });
        batch.ops.push(Op::HoldForApproval(Box::new(row)));
    }

    fn row(&self, run: RunId, project: String) -> ApprovalRow {
        ApprovalRow {
            id: 0,
            run,
            job: None,
            job_name: None,
            project,
            environment: None,
            reason: None,
            state: ApprovalState::Pending,
            reviewers: Vec::new(),
            due: None,
            created_at: self.inner.clock.wall(),
            decided_at: None,
            decided_by: None,
            comment: None,
        }
    }

    /// Somebody approves or rejects.
    pub(super) fn decide_gate(
        &mut self,
        gate: Gate,
        approve: bool,
        by: &Approver,
        comment: Option<String>,
        batch: &mut Batch,
    ) -> Result<(), Problem> {
        let what = name(gate);
        let Some(held) =
            self.state.approvals.held.get(&gate).filter(|_| self.state.approvals.gates.is_pending(gate))
        else {
            return Err(Problem::new(Code::Conflict, format!("{what} does not wait for an approval"))
                .with_hint("`fleetfoot approvals list` shows what does"));
        };
        self.may_decide(held, by)?;
        let environment = held.environment.clone();
        let state = if approve { ApprovalState::Approved } else { ApprovalState::Rejected };
        self.push_decision(gate, state, &by.shown, comment.clone(), batch);
        if approve {
            if self.state.approvals.gates.approve(gate, self.inner.clock.steady()) == Some(true) {
                self.opened(gate, batch);
            }
            return Ok(());
        }
        self.state.approvals.open(gate);
        let words = comment.map(|c| format!(": {c}")).unwrap_or_default();
        match gate {
            Gate::Job(job) => {
                let environment = environment.unwrap_or_default();
                let message = format!("{} rejected the use of environment {environment}{words}", by.shown);
                self.end_waiting(job, Conclusion::Failure, Some(Reason::Rejected), Some(message), batch);
            }
            Gate::Run(run) => {
                let message = format!("{} rejected the run{words}", by.shown);
                self.end_unapproved_run(run, Reason::Rejected, &message, batch);
            }
        }
        Ok(())
    }

    fn may_decide(&self, held: &Held, by: &Approver) -> Result<(), Problem> {
        let Some(environment) = held.environment.as_deref().filter(|_| !by.system) else {
            // A run: every member, which the caller has checked.
            return Ok(());
        };
        let reviewers = self.state.approvals.reviewers(held);
        let listed = reviewers.iter().any(|r| by.names.iter().any(|n| n.eq_ignore_ascii_case(r)));
        if !(listed || reviewers.is_empty() && by.admin) {
            let who = if reviewers.is_empty() { "an admin".to_owned() } else { reviewers.join(" or ") };
            return Err(Problem::new(
                Code::Forbidden,
                format!("environment {environment} is approved by {who}"),
            )
            .with_hint("an admin changes the reviewers with `fleetfoot environment update`"));
        }
        let rules = self.state.approvals.rules(&held.project, environment);
        if by.author && rules.is_some_and(|r| r.prevent_self_review) {
            return Err(Problem::new(
                Code::Forbidden,
                format!("environment {environment} does not let the one who caused a run decide about it"),
            )
            .with_hint("ask another reviewer"));
        }
        Ok(())
    }

    fn push_decision(
        &self,
        gate: Gate,
        state: ApprovalState,
        by: &str,
        comment: Option<String>,
        batch: &mut Batch,
    ) {
        let (run, job) = match gate {
            Gate::Run(run) => (run, None),
            Gate::Job(job) => match self.state.jobs.get(&job) {
                Some(open) => (open.run, Some(job)),
                None => return,
            },
        };
        let at = self.inner.clock.wall();
        let decision = ApprovalDecision { run, job, state, at, by: by.to_owned(), comment };
        batch.ops.push(Op::DecideApproval(Box::new(decision)));
        batch.runs.insert(run);
    }

    /// What a gate held is over: nobody has to decide any more.
    pub(super) fn withdraw(&mut self, gate: Gate, batch: &mut Batch) {
        if self.state.approvals.gates.is_pending(gate) {
            self.push_decision(gate, ApprovalState::Cancelled, "system", None, batch);
        }
        self.state.approvals.open(gate);
    }

    /// Gates whose timers ended.
    pub(super) fn open_due_gates(&mut self, batch: &mut Batch) {
        for gate in self.state.approvals.gates.tick(self.inner.clock.steady()) {
            self.opened(gate, batch);
        }
    }

    fn opened(&mut self, gate: Gate, batch: &mut Batch) {
        let held = self.state.approvals.open(gate);
        match gate {
            Gate::Job(job) => self.release(job, batch),
            Gate::Run(run) => {
                let Some(open) = self.state.runs.get(&run) else { return };
                let mut actions = Vec::new();
                let mut free = true;
                if let Some(group) = held.and_then(|h| h.concurrency) {
                    let now = self.inner.clock.steady();
                    (free, actions) = self.state.scheduler.admit_run(run, &open.project, &group, now);
                }
                if free {
                    actions.push(Action::ReleaseRun { run });
                }
                self.carry_out(actions, batch);
            }
        }
    }

    /// Ends a run of which nothing may start: not even what says `always()`.
    pub(super) fn end_unapproved_run(
        &mut self,
        run: RunId,
        reason: Reason,
        message: &str,
        batch: &mut Batch,
    ) {
        self.withdraw(Gate::Run(run), batch);
        let change = self.state.next_change();
        let Some(open) = self.state.runs.get_mut(&run) else { return };
        if !std::mem::replace(&mut open.cancelled, true) {
            batch.ops.push(Op::RequestRunCancel { run, change });
        }
        if let Some(graph) = open.graph.as_mut() {
            graph.cancel();
        }
        // Held while its jobs end one by one, so that no node is decided on the way.
        open.held = true;
        batch.runs.insert(run);
        let mut jobs: Vec<JobId> =
            self.state.jobs.iter().filter(|(_, j)| j.run == run).map(|(id, _)| *id).collect();
        jobs.sort_unstable();
        for job in jobs {
            self.end_waiting(job, Conclusion::Cancelled, Some(reason), Some(message.to_owned()), batch);
        }
        if let Some(open) = self.state.runs.get_mut(&run) {
            open.held = false;
        }
        self.advance(run, batch);
    }

    /// Why a job is held, if it or its run is.
    pub(super) fn why_held(&self, id: JobId) -> Option<Why> {
        let job = self.state.jobs.get(&id)?;
        let approvals = &self.state.approvals;
        let gate = [Gate::Run(job.run), Gate::Job(id)].into_iter().find(|gate| approvals.is_shut(*gate))?;
        let (shut, held) = (approvals.gates.why(gate)?, approvals.held.get(&gate)?);
        let mut reasons = Vec::new();
        if shut.approval {
            reasons.push(WhyReason::Approval {
                environment: held.environment.clone(),
                reviewers: approvals.reviewers(held),
                reason: held.reason.clone(),
            });
        }
        if let Some(until) = held.due.filter(|_| shut.due.is_some()) {
            let environment = held.environment.clone().unwrap_or_default();
            reasons.push(WhyReason::WaitTimer { environment, until });
        }
        let summary = reasons.first().map(fleetfoot_scheduler::why_in_words).unwrap_or_default();
        Some(Why { job: id, status: job.state.status(), summary, reasons, nearest: Vec::new() })
    }
}

fn name(gate: Gate) -> String {
    match gate {
        Gate::Run(run) => format!("run {run}"),
        Gate::Job(job) => format!("job {job}"),
    }
}
