//! Approvals as callers see them: what waits for a decision, and the decisions.
//! Who may decide about an environment is the actor's to say, which has the
//! rules; here the caller gets the names that rules may call it.

use crate::actor::{Approver, Command, store_problem};
use crate::{Control, Permission, Principal};
use fleetfoot_model::api::{Page, TokenKind};
use fleetfoot_model::ids::{JobId, RunId, TokenId};
use fleetfoot_model::projects::{ApprovalView, Review};
use fleetfoot_model::state::ApprovalState;
use fleetfoot_model::users::Role;
use fleetfoot_model::{Code, Problem};
use fleetfoot_scheduler::Gate;
use fleetfoot_store::{ApprovalFilter, ApprovalRow};
use serde_json::json;

/// Entries of a page at most.
const MAX_PAGE: usize = 200;
/// Longest comment, in bytes.
const MAX_COMMENT: usize = 4_096;

impl Control {
    /// What waits for a decision, or waited for one, newest first.
    ///
    /// # Errors
    /// `forbidden`, `bad_request` for a cursor that is not ours.
    pub async fn approvals(
        &self,
        who: &Principal,
        filter: &ApprovalFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<ApprovalView>, Problem> {
        who.require(Permission::Read)?;
        let cursor = cursor
            .map(str::parse::<u64>)
            .transpose()
            .map_err(|_| Problem::new(Code::BadRequest, "the cursor is not one that this server gave"))?;
        let limit = limit.clamp(1, MAX_PAGE);
        let rows = self.inner.store.approvals(filter, cursor, limit + 1).await;
        let rows = rows.map_err(|e| store_problem(&e))?;
        let more = rows.len() > limit;
        let items: Vec<ApprovalView> = rows.into_iter().take(limit).map(view).collect();
        let next_cursor = more.then(|| items.last().map(|a| a.id.to_string())).flatten();
        Ok(Page { items, next_cursor })
    }

    /// Approves or rejects a job that waits for the approval of its environment.
    ///
    /// # Errors
    /// `forbidden` for who is no reviewer, `not_found`, `conflict` if it does not wait for one.
    pub async fn review_job(
        &self,
        who: &Principal,
        job: JobId,
        approve: bool,
        review: Review,
    ) -> Result<ApprovalView, Problem> {
        who.require(Permission::Write)?;
        let row = self.inner.store.job(job).await.map_err(|e| store_problem(&e))?;
        let run = row.ok_or_else(|| Problem::new(Code::NotFound, format!("there is no job {job}")))?.run;
        let by = self.approver(who, run).await?;
        self.decide(who, Gate::Job(job), run, approve, by, review).await?;
        self.approval_of(run, Some(job)).await
    }

    /// Approves or rejects a run that waits for approval; one that does not: every job of it that waits
    /// for an approval that this caller may give.
    ///
    /// # Errors
    /// `forbidden` if there is nothing that the caller may decide, `not_found`, `conflict` if nothing waits.
    pub async fn review_run(
        &self,
        who: &Principal,
        run: RunId,
        approve: bool,
        review: Review,
    ) -> Result<Vec<ApprovalView>, Problem> {
        who.require(Permission::Write)?;
        if self.inner.store.run(run).await.map_err(|e| store_problem(&e))?.is_none() {
            return Err(Problem::new(Code::NotFound, format!("there is no run {run}")));
        }
        let by = self.approver(who, run).await?;
        let filter = ApprovalFilter {
            state: Some(ApprovalState::Pending),
            run: Some(run),
            ..ApprovalFilter::default()
        };
        let waiting = self
            .inner
            .store
            .approvals(&filter, None, usize::from(u16::MAX))
            .await
            .map_err(|e| store_problem(&e))?;
        let gates: Vec<Option<JobId>> = match waiting.iter().any(|a| a.job.is_none()) {
            true => vec![None],
            false => waiting.iter().rev().map(|a| a.job).collect(),
        };
        let mut refused = None;
        let mut decided = Vec::new();
        for job in gates {
            let gate = job.map_or(Gate::Run(run), Gate::Job);
            match self.decide(who, gate, run, approve, by.clone(), review.clone()).await {
                Ok(()) => decided.push(self.approval_of(run, job).await?),
                Err(problem) => refused = Some(problem),
            }
        }
        match refused {
            _ if !decided.is_empty() => Ok(decided),
            Some(problem) => Err(problem),
            None => Err(Problem::new(Code::Conflict, format!("nothing of run {run} waits for an approval"))
                .with_hint("`fleetfoot approvals list` shows what does")),
        }
    }

    async fn decide(
        &self,
        who: &Principal,
        gate: Gate,
        run: RunId,
        approve: bool,
        by: Approver,
        review: Review,
    ) -> Result<(), Problem> {
        let comment = review.comment.map(|c| c.trim().to_owned()).filter(|c| !c.is_empty());
        if comment.as_ref().is_some_and(|c| c.len() > MAX_COMMENT) {
            return Err(Problem::new(Code::BadRequest, format!("a comment has at most {MAX_COMMENT} bytes")));
        }
        let detail = json!({ "run": run, "comment": comment, "by": by.shown });
        self.ask(|reply| Command::Decide { gate, approve, by, comment, reply }).await?;
        let (what, subject) = match gate {
            Gate::Run(run) => ("run", format!("run:{run}")),
            Gate::Job(job) => ("job", format!("job:{job}")),
        };
        let action = format!("{what}.{}", if approve { "approve" } else { "reject" });
        self.note(who, &action, &subject, detail).await
    }

    async fn approval_of(&self, run: RunId, job: Option<JobId>) -> Result<ApprovalView, Problem> {
        let row = self.inner.store.approval(run, job).await.map_err(|e| store_problem(&e))?;
        row.map(view).ok_or_else(|| Problem::new(Code::NotFound, format!("run {run} is gone")))
    }

    /// The names of the caller, and whether it caused the run.
    async fn approver(&self, who: &Principal, run: RunId) -> Result<Approver, Problem> {
        let (token, admin) = match who {
            Principal::Api { kind, token } => (Some(*token), *kind == TokenKind::Admin),
            Principal::User { role, .. } => (None, *role == Role::Admin),
            _ => (None, false),
        };
        let id = who.audit_name();
        let own = match (token, who) {
            (Some(token), _) => self.token_name(token).await?,
            (None, Principal::User { name, .. }) => Some(name.to_string()),
            (None, _) => None,
        };
        let row = self.inner.store.run(run).await.map_err(|e| store_problem(&e))?;
        let author = row.and_then(|r| r.actor);
        let author_name = match author.as_deref().and_then(|a| a.strip_prefix("token:")?.parse().ok()) {
            Some(token) => self.token_name(token).await?,
            None => None,
        };
        let names: Vec<String> = [Some(id.clone()), own.clone()].into_iter().flatten().collect();
        let same =
            |a: &Option<String>| a.as_ref().is_some_and(|a| names.iter().any(|n| n.eq_ignore_ascii_case(a)));
        Ok(Approver {
            shown: own.map_or_else(|| id.clone(), |name| format!("{name} ({id})")),
            author: same(&author) || same(&author_name),
            names,
            admin,
            system: *who == Principal::System,
        })
    }

    async fn token_name(&self, token: TokenId) -> Result<Option<String>, Problem> {
        let row = self.inner.store.token(token).await.map_err(|e| store_problem(&e))?;
        Ok(row.map(|t| t.name).filter(|n| !n.is_empty()))
    }
}

fn view(row: ApprovalRow) -> ApprovalView {
    ApprovalView {
        id: row.id,
        run: row.run,
        job: row.job,
        job_name: row.job_name,
        project: row.project,
        environment: row.environment,
        reason: row.reason,
        state: row.state,
        reviewers: row.reviewers,
        due: row.due,
        created_at: row.created_at,
        decided_at: row.decided_at,
        decided_by: row.decided_by,
        comment: row.comment,
    }
}
