//! Runners as callers see them: create, register, change, remove; and the
//! Runner Management API for plain HTTP clients.

use crate::actor::{Command, LiveRunner, store_problem};
use crate::{Control, Permission, Principal};
use fleetfoot_model::api::{
    AssignJob, CompleteJob, CreateRunner, Heartbeat, JobView, RegisterRunner, Registered, RunnerStatus,
    RunnerView, TokenKind, UpdateRunner,
};
use fleetfoot_model::ids::{JobId, RunnerId, TokenId};
use fleetfoot_model::sync::{Assignment, AttemptReport, AttemptResult, Phase, RunnerInfo};
use fleetfoot_model::version::{VERSION, Version, check_skew};
use fleetfoot_model::{Code, Conclusion, Label, Problem};
use fleetfoot_store::{Op, RunnerRow};
use serde_json::{Value, json};
use std::collections::HashMap;
use tokio::sync::oneshot;

const MAX_SLOTS: u32 = 1024;
const MAX_LABELS: usize = 100;

impl Control {
    /// Creates a runner and its token.
    ///
    /// # Errors
    /// `forbidden`, `conflict` if the name is taken, `bad_request`.
    pub async fn create_runner(&self, who: &Principal, request: CreateRunner) -> Result<Registered, Problem> {
        who.require(Permission::Administer)?;
        let info = RunnerInfo { queues: request.queues, ..RunnerInfo::default() };
        let row = self.new_row(request.name, request.description, request.slots, info)?;
        self.insert_runner(who, RunnerRow { fixed_labels: request.labels, ..row }).await
    }

    /// Registers a runner; `who` holds a registration token, or is an admin.
    ///
    /// # Errors
    /// `forbidden`, `version_skew`, `conflict` if the name is taken and `replace` is not set.
    pub async fn register_runner(
        &self,
        who: &Principal,
        request: RegisterRunner,
    ) -> Result<Registered, Problem> {
        let registration = match who {
            Principal::Registration { token } => Some(*token),
            other => {
                other.require(Permission::Administer).map_err(|p| {
                    p.with_hint(
                        "only admins register runners: `fleetfoot token create --registration` makes a token",
                    )
                })?;
                None
            }
        };
        if let Some(version) = &request.version {
            check_version(version)?;
        }
        let fixed = match registration {
            Some(token) => self.inner.store.token(token).await.map_err(|e| store_problem(&e))?,
            None => None,
        };
        let info = RunnerInfo {
            labels: request.labels,
            queues: request.queues,
            capabilities: request.capabilities,
            one_off: request.one_off,
            ..RunnerInfo::default()
        };
        let mut row = self.new_row(request.name, request.description, request.slots, info)?;
        row.version = request.version.unwrap_or_default();
        if let Some(token) = &fixed {
            row.fixed_labels.clone_from(&token.labels);
            row.fixed_queue.clone_from(&token.queue);
        }
        check_labels(&row.info.labels)?;
        self.make_room(who, &row.name, request.replace).await?;
        if let Some(token) = registration {
            self.use_registration(token).await?;
        }
        self.insert_runner(who, row).await
    }

    async fn use_registration(&self, token: TokenId) -> Result<(), Problem> {
        let at = self.inner.clock.wall();
        self.apply(vec![Op::UseToken { token, at }]).await.map_err(|p| match p.code {
            Code::Conflict => {
                Problem::new(Code::Unauthorized, "the registration token is used up or has expired")
                    .with_hint("an admin makes another with `fleetfoot token create --registration`")
            }
            _ => p,
        })
    }

    /// A name is free, or belongs to a runner that is offline and may be replaced.
    async fn make_room(&self, who: &Principal, name: &str, replace: bool) -> Result<(), Problem> {
        let Some(existing) = self.live().await?.into_iter().find(|r| r.row.name == name) else {
            return Ok(());
        };
        let offline = existing.state == fleetfoot_model::RunnerState::Offline;
        if replace && offline {
            return self.remove(who, existing.row.id).await;
        }
        let problem = Problem::new(Code::Conflict, format!("there is a runner named '{name}' already"));
        Err(problem.with_hint(if offline {
            "choose another name, or pass --replace to take over the offline runner"
        } else {
            "choose another name: that runner is connected"
        }))
    }

    fn new_row(
        &self,
        name: Option<String>,
        description: String,
        slots: Option<u32>,
        info: RunnerInfo,
    ) -> Result<RunnerRow, Problem> {
        let id = self.inner.ids.next_runner();
        let name = name.filter(|n| !n.is_empty()).unwrap_or_else(|| format!("runner-{id}"));
        let bad = |detail: &str| Err(Problem::new(Code::BadRequest, detail));
        if name.chars().count() > 200 || name.chars().any(char::is_control) {
            return bad("a runner's name has at most 200 characters, without control characters");
        }
        let slots = slots.unwrap_or(1);
        if !(1..=MAX_SLOTS).contains(&slots) {
            return bad("a runner has 1 to 1024 slots");
        }
        Ok(RunnerRow {
            id,
            name,
            description,
            fixed_labels: Vec::new(),
            fixed_queue: None,
            info,
            slots,
            version: String::new(),
            drain: false,
            created_at: self.inner.clock.wall(),
            last_seen_at: None,
        })
    }

    async fn insert_runner(&self, who: &Principal, row: RunnerRow) -> Result<Registered, Problem> {
        check_labels(&row.fixed_labels)?;
        let (token, token_row) = self.token_row(TokenKind::Runner, row.name.clone(), None, Some(row.id))?;
        let audit =
            self.audit_op(who, "runner.create", &format!("runner:{}", row.id), json!({ "name": row.name }));
        self.apply(vec![Op::CreateRunner(Box::new(row.clone()))]).await.map_err(|p| match p.code {
            Code::Conflict => {
                Problem::new(Code::Conflict, format!("there is a runner named '{}' already", row.name))
            }
            _ => p,
        })?;
        self.apply(vec![Op::CreateToken(Box::new(token_row)), audit]).await?;
        let (id, name) = (row.id, row.name.clone());
        self.ask(|reply| Command::RunnerChanged { row: Box::new(row), reply }).await?;
        Ok(Registered { id, name, token })
    }

    async fn live(&self) -> Result<Vec<LiveRunner>, Problem> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Runners { reply }).await?;
        answer.await.map_err(|_| crate::stopping())
    }

    /// All runners.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn runners(&self, who: &Principal) -> Result<Vec<RunnerView>, Problem> {
        who.require(Permission::Read)?;
        let live = self.live().await?;
        let mut totals: HashMap<RunnerId, Vec<(Conclusion, u64)>> = HashMap::new();
        for (runner, how, jobs) in
            self.inner.store.runner_totals(None).await.map_err(|e| store_problem(&e))?
        {
            totals.entry(runner).or_default().push((how, jobs));
        }
        let view = |runner: LiveRunner| {
            let own = totals.remove(&runner.row.id).unwrap_or_default();
            crate::views::runner_view(runner, own)
        };
        Ok(live.into_iter().map(view).collect())
    }

    /// One runner; a runner may see itself.
    ///
    /// # Errors
    /// `forbidden`, `not_found`.
    pub async fn runner(&self, who: &Principal, id: RunnerId) -> Result<RunnerView, Problem> {
        match who {
            Principal::Runner { .. } => who.require_runner(id)?,
            _ => who.require(Permission::Read)?,
        }
        self.view_of(id).await
    }

    async fn view_of(&self, id: RunnerId) -> Result<RunnerView, Problem> {
        let live = self.live().await?.into_iter().find(|r| r.row.id == id).ok_or_else(|| no_runner(id))?;
        let totals = self.inner.store.runner_totals(Some(id)).await.map_err(|e| store_problem(&e))?;
        let own = totals.into_iter().map(|(_, how, jobs)| (how, jobs)).collect();
        Ok(crate::views::runner_view(live, own))
    }

    /// Changes description, fixed labels or drain.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `bad_request`.
    pub async fn update_runner(
        &self,
        who: &Principal,
        id: RunnerId,
        request: UpdateRunner,
    ) -> Result<RunnerView, Problem> {
        who.require(Permission::Administer)?;
        let mut row =
            self.live().await?.into_iter().find(|r| r.row.id == id).ok_or_else(|| no_runner(id))?.row;
        let detail = serde_json::to_value(&request).unwrap_or(Value::Null);
        if let Some(description) = request.description {
            row.description = description;
        }
        if let Some(labels) = request.labels {
            check_labels(&labels)?;
            row.fixed_labels = labels;
        }
        if let Some(drain) = request.drain {
            row.drain = drain;
        }
        let audit = self.audit_op(who, "runner.update", &format!("runner:{id}"), detail);
        self.apply(vec![Op::UpdateRunner(Box::new(row.clone())), audit]).await?;
        self.ask(|reply| Command::RunnerChanged { row: Box::new(row), reply }).await?;
        self.view_of(id).await
    }

    /// Removes a runner; its attempts are lost. An admin may, and the runner itself.
    ///
    /// # Errors
    /// `forbidden`, `not_found`.
    pub async fn delete_runner(&self, who: &Principal, id: RunnerId) -> Result<(), Problem> {
        who.require_runner(id)?;
        self.remove(who, id).await
    }

    async fn remove(&self, who: &Principal, id: RunnerId) -> Result<(), Problem> {
        let at = self.inner.clock.wall();
        let audit = self.audit_op(who, "runner.delete", &format!("runner:{id}"), Value::Null);
        // The actor lets go of its attempts first: their rows name the runner.
        self.ask(|reply| Command::RunnerDeleted { runner: id, reply }).await?;
        self.inner.tokens.forget_runner(id);
        self.apply(vec![Op::DeleteRunner { runner: id, at }, audit]).await.map_err(|p| match p.code {
            Code::NotFound => no_runner(id),
            _ => p,
        })
    }

    /// A new token for a runner; older ones end. An admin may, and the runner itself.
    ///
    /// # Errors
    /// `forbidden`, `not_found`.
    pub async fn rotate_runner_token(&self, who: &Principal, id: RunnerId) -> Result<Registered, Problem> {
        who.require_runner(id)?;
        let live = self.live().await?.into_iter().find(|r| r.row.id == id).ok_or_else(|| no_runner(id))?;
        let (token, row) = self.token_row(TokenKind::Runner, live.row.name.clone(), None, Some(id))?;
        let (keep, at) = (Some(row.id), self.inner.clock.wall());
        let audit = self.audit_op(who, "runner.rotate_token", &format!("runner:{id}"), Value::Null);
        self.apply(vec![
            Op::CreateToken(Box::new(row)),
            Op::RevokeRunnerTokens { runner: id, keep, at },
            audit,
        ])
        .await?;
        self.inner.tokens.forget_runner(id);
        Ok(Registered { id, name: live.row.name, token })
    }

    // -- plain HTTP clients --------------------------------------------------

    /// Sets the state of a runner driven by a plain HTTP client.
    ///
    /// # Errors
    /// `not_found` for another runner's token.
    pub async fn set_runner_status(
        &self,
        who: &Principal,
        id: RunnerId,
        request: RunnerStatus,
    ) -> Result<RunnerView, Problem> {
        who.require_runner(id)?;
        self.ask(|reply| Command::SetStatus { runner: id, request, reply }).await?;
        self.view_of(id).await
    }

    /// Heartbeat of a plain HTTP client: extends the leases of all its attempts.
    ///
    /// # Errors
    /// `not_found`, `version_skew`, `stale_attempt` if a reported attempt is over.
    pub async fn heartbeat(
        &self,
        who: &Principal,
        id: RunnerId,
        request: Heartbeat,
    ) -> Result<RunnerView, Problem> {
        who.require_runner(id)?;
        if let Some(version) = &request.version {
            check_version(version)?;
        }
        if request.info.is_some() || request.version.is_some() {
            self.update_info(id, request.version, request.info).await?;
        }
        self.ask(|reply| Command::Reports { runner: id, reports: request.attempts, reply }).await?;
        self.view_of(id).await
    }

    async fn update_info(
        &self,
        id: RunnerId,
        version: Option<String>,
        info: Option<RunnerInfo>,
    ) -> Result<(), Problem> {
        let mut row =
            self.live().await?.into_iter().find(|r| r.row.id == id).ok_or_else(|| no_runner(id))?.row;
        let before = row.clone();
        if let Some(version) = version {
            row.version = version;
        }
        if let Some(info) = info {
            check_labels(&info.labels)?;
            row.info = info;
        }
        if row != before {
            self.apply(vec![Op::UpdateRunner(Box::new(row.clone()))]).await?;
            self.ask(|reply| Command::RunnerChanged { row: Box::new(row), reply }).await?;
        }
        Ok(())
    }

    /// Claims a job for a plain HTTP client; `None` if none matches now.
    ///
    /// # Errors
    /// `not_found`; `conflict` if a named job cannot be claimed.
    pub async fn assign_job(
        &self,
        who: &Principal,
        id: RunnerId,
        request: AssignJob,
    ) -> Result<Option<Assignment>, Problem> {
        who.require_runner(id)?;
        let claimed = self.ask(|reply| Command::Claim { runner: id, job: request.job_id, reply }).await?;
        match claimed {
            Some((attempt, run)) => Ok(Some(self.assignment(attempt, run).await?)),
            None => Ok(None),
        }
    }

    /// Reports the end of a job for a plain HTTP client. Again is fine.
    ///
    /// # Errors
    /// `stale_attempt`, `conflict` if the runner does not hold the job or reported another end.
    pub async fn complete_job(
        &self,
        who: &Principal,
        id: RunnerId,
        request: CompleteJob,
    ) -> Result<JobView, Problem> {
        who.require_runner(id)?;
        let CompleteJob { job_id, attempt, conclusion, message, exit_code, outputs, steps } = request;
        if let Some(attempt) = attempt
            && !steps.is_empty()
        {
            let report = AttemptReport { attempt, phase: Phase::Running, steps: Some(steps), result: None };
            self.ask(|reply| Command::Reports { runner: id, reports: vec![report], reply }).await?;
        }
        let result = Box::new(AttemptResult {
            message,
            exit_code,
            outputs,
            log_bytes: self.log_length(job_id, id).await?,
            finished_at: Some(self.inner.clock.wall()),
            ..AttemptResult::new(conclusion)
        });
        self.ask(|reply| Command::Complete { runner: id, job: job_id, attempt, result, reply }).await?;
        let view = self.job_of_any(job_id).await?;
        let number = attempt.map(|a| a.attempt);
        let attempts = view.attempts.as_deref().unwrap_or_default();
        let own = attempts.iter().rev().find(|a| a.runner == id && number.is_none_or(|n| n == a.attempt));
        // The same again is a repetition; something else would be a second end.
        match own.and_then(|a| a.conclusion) {
            Some(first) if first != conclusion => {
                Err(Problem::new(Code::Conflict, format!("job {job_id} has ended already, with {first}")))
            }
            _ => Ok(view),
        }
    }

    /// Length of the log of a runner's latest attempt of a job.
    async fn log_length(&self, job: JobId, runner: RunnerId) -> Result<u64, Problem> {
        let attempts = self.inner.store.attempts(job).await.map_err(|e| store_problem(&e))?;
        let Some(own) = attempts.iter().rev().find(|a| a.runner == runner) else { return Ok(0) };
        let length = self.inner.logs.length(own.id).await;
        length.map_err(|e| Problem::new(Code::Internal, e.to_string()))
    }
}

/// Refuses a runner whose version is too far from ours.
pub(crate) fn check_version(version: &str) -> Result<(), Problem> {
    let runner: Version = version.parse().map_err(|e: String| Problem::new(Code::BadRequest, e))?;
    let server: Version = VERSION.parse().map_err(|e: String| Problem::new(Code::Internal, e))?;
    check_skew(server, runner).map_err(|e| {
        Problem::new(Code::VersionSkew, e.to_string()).with_hint(format!("upgrade the {}", e.upgrade))
    })
}

fn check_labels(labels: &[Label]) -> Result<(), Problem> {
    if labels.len() > MAX_LABELS {
        return Err(Problem::new(Code::BadRequest, format!("a runner has at most {MAX_LABELS} labels")));
    }
    match labels.iter().find(|l| !l.is_valid()) {
        Some(bad) => Err(Problem::new(Code::BadRequest, format!("'{bad}' is not a label"))
            .with_hint("a label has 1 to 256 characters, no commas, no control characters")),
        None => Ok(()),
    }
}

fn no_runner(id: RunnerId) -> Problem {
    Problem::new(Code::NotFound, format!("there is no runner {id}"))
        .with_hint("`fleetfoot runner status` shows them")
}
