//! Runs and jobs as callers see them: create, read, follow, cancel, repeat.

use crate::actor::{Command, PreparedRun, store_problem};
use crate::submit::{self, Begun, Carry, MAX_JOBS, Provenance, prepare, request_of};
use crate::sync;
use crate::{Control, Inner, Permission, Principal};
use fleetfoot_model::api::{CancelRun, CreateRun, Created, JobView, Page, Rerun, RunFilter, RunView};
use fleetfoot_model::ids::{AttemptNumber, AttemptRef, JobId, RunId, RunnerId};
use fleetfoot_model::state::{Conclusion, Status};
use fleetfoot_model::why::Why;
use fleetfoot_model::{Code, Problem};
use fleetfoot_store::{AttemptRow, IdempotencyRow, JobRow, RunRow};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

/// The variable by which steps say more.
const STEP_DEBUG: &str = "ACTIONS_STEP_DEBUG";
/// Jobs of a run whose values of the matrix are told.
const MAX_LEGS: usize = 2_000;
/// Entries of a page at most.
const MAX_PAGE: usize = 200;

/// An idempotency key as the client sent it, with the hash of the body it came with.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The key.
    pub key: String,
    /// BLAKE3 of the body.
    pub request_hash: [u8; 32],
}

impl Inner {
    /// The next number of a workflow's runs.
    pub(crate) async fn run_number(&self, project: &str, name: &str) -> Result<u64, Problem> {
        let key = (project.to_owned(), name.to_owned());
        let known = self.ids.numbers.lock().contains_key(&key);
        let stored = if known {
            0
        } else {
            self.store.last_run_number(project, name).await.map_err(|e| store_problem(&e))?
        };
        let mut numbers = self.ids.numbers.lock();
        let number = numbers.entry(key).or_insert(stored);
        *number = (*number).max(stored) + 1;
        Ok(*number)
    }
}

/// Runs of one request that one thread plans at a stretch.
const PLANNED_TOGETHER: usize = 512;

fn plan_part(
    inner: &Inner,
    part: Vec<Begun>,
    jobs: &AtomicUsize,
) -> Result<Vec<(PreparedRun, Created)>, Problem> {
    let mut planned = Vec::with_capacity(part.len());
    for begun in part {
        let (run, answer) = submit::plan(inner, begun)?;
        if jobs.fetch_add(answer.jobs.len(), Ordering::Relaxed) + answer.jobs.len() > MAX_JOBS {
            let detail = format!("one request creates at most {MAX_JOBS} jobs");
            return Err(Problem::new(Code::TooLarge, detail).with_hint("send several requests"));
        }
        planned.push((run, answer));
    }
    Ok(planned)
}

impl Control {
    /// Creates runs, all or nothing.
    ///
    /// # Errors
    /// `forbidden`, `bad_document`, `bad_request`, `idempotency_mismatch`, `disk_full`, `overloaded`.
    pub async fn create_runs(
        &self,
        who: &Principal,
        requests: Vec<CreateRun>,
        idempotency: Option<Idempotency>,
    ) -> Result<Vec<Created>, Problem> {
        who.require(Permission::Write)?;
        let requests = requests.into_iter().map(|r| (r, Provenance::default())).collect();
        self.create_runs_of(who, requests, idempotency).await
    }

    /// The same for runs whose provenance the control plane knows.
    pub(crate) async fn create_runs_of(
        &self,
        who: &Principal,
        requests: Vec<(CreateRun, Provenance)>,
        idempotency: Option<Idempotency>,
    ) -> Result<Vec<Created>, Problem> {
        let key = match idempotency {
            Some(given) => match self.replay(who, &given).await? {
                Replay::Answered(created) => return Ok(created),
                Replay::New(key) => Some((key, given.request_hash)),
            },
            None => None,
        };
        let (prepared, created) = self.plan_all(who, requests).await?;
        let idempotency = match key {
            Some((key, request_hash)) => Some(Box::new(IdempotencyRow {
                key,
                request_hash,
                response: serde_json::to_string(&created)
                    .map_err(|e| Problem::new(Code::Internal, e.to_string()))?,
                created_at: self.inner.clock.wall(),
            })),
            None => None,
        };
        self.store_runs(prepared, idempotency).await?;
        Ok(created)
    }

    /// Plans runs, in their order; many of them on all cores.
    async fn plan_all(
        &self,
        who: &Principal,
        requests: Vec<(CreateRun, Provenance)>,
    ) -> Result<(Vec<PreparedRun>, Vec<Created>), Problem> {
        let total = requests.len();
        let mut begun = Vec::with_capacity(total);
        for (request, provenance) in requests {
            let carry = Carry { provenance, ..Carry::default() };
            begun.push(submit::begin(&self.inner, who, request, carry).await?);
            // Beginning thousands of runs must not keep a worker thread to itself.
            if begun.len() % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
        let jobs = Arc::new(AtomicUsize::new(0));
        let mut parts = Vec::new();
        while !begun.is_empty() {
            let rest = begun.split_off(PLANNED_TOGETHER.min(begun.len()));
            let part = std::mem::replace(&mut begun, rest);
            let (inner, jobs) = (self.inner.clone(), jobs.clone());
            let work = move || plan_part(&inner, part, &jobs);
            // One run is planned sooner here than handed over.
            match total {
                1 => return work().map(|planned| planned.into_iter().unzip()),
                _ => parts.push(tokio::task::spawn_blocking(work)),
            }
        }
        let (mut prepared, mut created) = (Vec::with_capacity(total), Vec::with_capacity(total));
        for part in parts {
            let planned = part.await.map_err(|e| Problem::new(Code::Internal, e.to_string()))??;
            for (run, answer) in planned {
                prepared.push(run);
                created.push(answer);
            }
        }
        Ok((prepared, created))
    }

    /// Creates a run on behalf of somebody else (a forge): `untrusted` if they may not write to the
    /// repository, and held until a member approves it if `awaits_approval` says why.
    ///
    /// # Errors
    /// As [`Control::create_runs`].
    pub async fn create_run_for(
        &self,
        who: &Principal,
        request: CreateRun,
        untrusted: bool,
        awaits_approval: Option<String>,
    ) -> Result<Created, Problem> {
        who.require(Permission::Write)?;
        let provenance = Provenance { actor: None, untrusted, awaits_approval };
        let carry = Carry { provenance, ..Carry::default() };
        let (prepared, created) = prepare(&self.inner, who, request, carry).await?;
        self.store_runs(vec![prepared], None).await?;
        Ok(created)
    }

    async fn store_runs(
        &self,
        runs: Vec<PreparedRun>,
        idempotency: Option<Box<IdempotencyRow>>,
    ) -> Result<(), Problem> {
        // Of more than fit, only the newest would stay: not even copied.
        for run in &runs[runs.len().saturating_sub(sync::CACHED_RUNS)..] {
            self.inner.payloads.remember(run);
        }
        self.ask(|reply| Command::CreateRuns { runs, idempotency, reply }).await
    }

    async fn replay(&self, who: &Principal, given: &Idempotency) -> Result<Replay, Problem> {
        if given.key.is_empty() || given.key.len() > 255 {
            return Err(Problem::new(Code::BadRequest, "an idempotency key has 1 to 255 characters"));
        }
        let key = format!("{}:{}", who.audit_name(), given.key);
        let Some(row) = self.inner.store.idempotent(&key).await.map_err(|e| store_problem(&e))? else {
            return Ok(Replay::New(key));
        };
        if row.request_hash != given.request_hash {
            return Err(Problem::new(
                Code::IdempotencyMismatch,
                "this idempotency key was used with another request",
            )
            .with_hint("use a new key for a new request"));
        }
        serde_json::from_str(&row.response)
            .map(Replay::Answered)
            .map_err(|e| Problem::new(Code::Internal, e.to_string()))
    }

    /// A page of runs, newest first.
    ///
    /// # Errors
    /// `forbidden`, `bad_request` for a cursor that is not ours.
    pub async fn runs(
        &self,
        who: &Principal,
        filter: &RunFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<RunView>, Problem> {
        who.require(Permission::Read)?;
        let cursor = cursor.map(str::parse::<RunId>).transpose().map_err(|_| bad_cursor())?;
        let limit = limit.clamp(1, MAX_PAGE);
        let rows =
            self.inner.store.list_runs(filter, cursor, limit + 1).await.map_err(|e| store_problem(&e))?;
        Ok(page_of(rows, limit))
    }

    /// A page of the attempts of a run, newest first: the run itself, those that it repeats, and
    /// those that repeat it.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `bad_request` for a cursor that is not ours.
    pub async fn run_attempts(
        &self,
        who: &Principal,
        id: RunId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<RunView>, Problem> {
        who.require(Permission::Read)?;
        let fail = |e| store_problem(&e);
        let cursor = cursor.map(str::parse::<RunId>).transpose().map_err(|_| bad_cursor())?;
        let limit = limit.clamp(1, MAX_PAGE);
        let row = self.inner.store.run(id).await.map_err(fail)?.ok_or_else(|| no_run(id))?;
        let numbered = (row.project.as_str(), row.name.as_str(), row.number);
        Ok(page_of(self.inner.store.run_attempts(numbered, cursor, limit + 1).await.map_err(fail)?, limit))
    }

    /// One run with its jobs and their steps.
    ///
    /// # Errors
    /// `forbidden`, `not_found`.
    pub async fn run(&self, who: &Principal, id: RunId) -> Result<RunView, Problem> {
        who.require(Permission::Read)?;
        self.run_since(id, None).await
    }

    /// The run with those of its jobs that changed after `since`.
    async fn run_since(&self, id: RunId, since: Option<u64>) -> Result<RunView, Problem> {
        let store = &self.inner.store;
        let fail = |e| store_problem(&e);
        let row = store.run(id).await.map_err(fail)?.ok_or_else(|| no_run(id))?;
        let payload = store.run_payload(id).await.map_err(fail)?;
        let jobs = store.run_jobs(id, since).await.map_err(fail)?;
        let latest = store.latest_attempts(id).await.map_err(fail)?;
        let mut legs: HashMap<JobId, serde_json::Value> =
            store.job_matrices(id, since, MAX_LEGS).await.map_err(fail)?.into_iter().collect();
        let names = self.runner_names(&jobs).await?;
        let latest: HashMap<JobId, &AttemptRow> = latest.iter().map(|a| (a.id.job, a)).collect();
        let nodes = row.nodes.clone();
        let mut view = crate::views::run_view(row, payload.as_ref());
        view.jobs = Some(
            jobs.into_iter()
                .map(|j| {
                    let attempt = latest.get(&j.id).copied();
                    let matrix = legs.remove(&j.id);
                    JobView { matrix, ..crate::views::job_view(j, &nodes, attempt, &names) }
                })
                .collect(),
        );
        Ok(view)
    }

    async fn runner_names(&self, jobs: &[JobRow]) -> Result<HashMap<RunnerId, String>, Problem> {
        if jobs.iter().all(|j| j.runner.is_none()) {
            return Ok(HashMap::new());
        }
        let rows = self.inner.store.runners().await.map_err(|e| store_problem(&e))?;
        Ok(rows.into_iter().map(|r| (r.id, r.name)).collect())
    }

    /// Follows the changes of a run; with `since`, only changes after that number.
    ///
    /// # Errors
    /// `forbidden`, `not_found`.
    pub async fn watch_run(
        &self,
        who: &Principal,
        id: RunId,
        since: Option<u64>,
    ) -> Result<RunWatcher, Problem> {
        who.require(Permission::Read)?;
        // Subscribed before the first look, so that no change falls between them.
        let changes = self.inner.watchers.subscribe(id);
        if self.inner.store.run(id).await.map_err(|e| store_problem(&e))?.is_none() {
            return Err(no_run(id));
        }
        let stopping = self.inner.stopping.clone();
        Ok(RunWatcher { control: self.clone(), run: id, since, changes, stopping, due: true, over: false })
    }

    /// Asks for cancellation of a run.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `conflict` if it is over.
    pub async fn cancel_run(
        &self,
        who: &Principal,
        id: RunId,
        request: CancelRun,
    ) -> Result<RunView, Problem> {
        who.require(Permission::Write)?;
        if self.inner.store.run(id).await.map_err(|e| store_problem(&e))?.is_none() {
            return Err(no_run(id));
        }
        self.ask(|reply| Command::CancelRun { run: id, request, reply }).await?;
        let audit = self.audit_op(who, "run.cancel", &format!("run:{id}"), serde_json::Value::Null);
        self.apply(vec![audit]).await?;
        self.run_since(id, None).await
    }

    /// Creates a new run from the same document, inputs and secrets.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `conflict` while the run is not over.
    pub async fn rerun(&self, who: &Principal, id: RunId, request: Rerun) -> Result<Created, Problem> {
        who.require(Permission::Write)?;
        let fail = |e| store_problem(&e);
        let row = self.inner.store.run(id).await.map_err(fail)?.ok_or_else(|| no_run(id))?;
        let payload = self.inner.store.run_payload(id).await.map_err(fail)?.ok_or_else(|| no_run(id))?;
        if row.status != Status::Completed {
            return Err(Problem::new(Code::Conflict, format!("run {id} has not completed"))
                .with_hint(format!("wait for it, or cancel it with `fleetfoot cancel {id}`")));
        }
        let secrets = self
            .inner
            .vault
            .open_secrets(id, &payload.sealed_secrets)
            .map_err(|e| Problem::new(Code::Internal, e.to_string()))?;
        let done = if request.failed_only { self.succeeded_nodes(&row).await? } else { HashMap::new() };
        // Whoever asks for the re-run approves it; its author is as little trusted as before.
        let provenance = Provenance { awaits_approval: None, ..Provenance::of(&payload.params) };
        let carry = Carry {
            rerun_of: Some(id),
            number: Some(row.number),
            attempt: row.attempt + 1,
            done,
            provenance,
        };
        let mut again = request_of(&row, &payload, secrets);
        if request.debug {
            again.vars.insert(STEP_DEBUG.to_owned(), "true".to_owned());
        }
        let (prepared, created) = prepare(&self.inner, who, again, carry).await?;
        self.store_runs(vec![prepared], None).await?;
        Ok(created)
    }

    /// Nodes of a completed run that succeeded in full, so that a re-run of the failed ones keeps them.
    async fn succeeded_nodes(&self, row: &RunRow) -> Result<HashMap<String, Vec<JobRow>>, Problem> {
        let jobs = self.inner.store.run_jobs(row.id, None).await.map_err(|e| store_problem(&e))?;
        // A run may fail without a failed job: where the graph itself could not be resolved.
        if row.conclusion.is_some_and(Conclusion::is_ok)
            && jobs.iter().all(|j| j.conclusion.is_some_and(Conclusion::is_ok))
        {
            return Err(Problem::new(Code::Conflict, format!("no job of run {} failed", row.id))
                .with_hint("repeat all of it without --failed"));
        }
        let mut nodes: HashMap<String, Vec<JobRow>> = HashMap::new();
        for job in jobs {
            nodes.entry(job.key.clone()).or_default().push(job);
        }
        nodes.retain(|_, jobs| jobs.iter().all(|j| j.conclusion == Some(Conclusion::Success)));
        Ok(nodes)
    }

    /// One job with its attempts.
    ///
    /// # Errors
    /// `forbidden`, `not_found`.
    pub async fn job(&self, who: &Principal, id: JobId) -> Result<JobView, Problem> {
        who.require(Permission::Read)?;
        self.job_of_any(id).await
    }

    pub(crate) async fn job_of_any(&self, id: JobId) -> Result<JobView, Problem> {
        let store = &self.inner.store;
        let fail = |e| store_problem(&e);
        let row = store.job(id).await.map_err(fail)?.ok_or_else(|| no_job(id))?;
        let nodes = store.run(row.run).await.map_err(fail)?.map(|r| r.nodes).unwrap_or_default();
        let attempts = store.attempts(id).await.map_err(fail)?;
        let names = self.runner_names(std::slice::from_ref(&row)).await?;
        let mut view = crate::views::job_view(row, &nodes, attempts.last(), &names);
        view.matrix = store.job_matrix(id).await.map_err(fail)?;
        view.attempts = Some(attempts.into_iter().map(crate::views::attempt_view).collect());
        Ok(view)
    }

    /// Why a job waits.
    ///
    /// # Errors
    /// `forbidden`, `not_found`.
    pub async fn why(&self, who: &Principal, id: JobId) -> Result<Why, Problem> {
        who.require(Permission::Read)?;
        let row = self.inner.store.job(id).await.map_err(|e| store_problem(&e))?.ok_or_else(|| no_job(id))?;
        let (reply, answer) = oneshot::channel();
        self.send(Command::Why { job: id, reply }).await?;
        let answer = answer.await.map_err(|_| crate::stopping())?;
        Ok(answer.unwrap_or_else(|| Why {
            job: id,
            status: row.status,
            summary: match row.conclusion {
                Some(conclusion) => format!("It ended with {conclusion}."),
                None => format!("It is {}.", row.status),
            },
            reasons: Vec::new(),
            nearest: Vec::new(),
        }))
    }

    /// Cancels one job.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `conflict` if it is over.
    pub async fn cancel_job(&self, who: &Principal, id: JobId) -> Result<JobView, Problem> {
        who.require(Permission::Write)?;
        if self.inner.store.job(id).await.map_err(|e| store_problem(&e))?.is_none() {
            return Err(no_job(id));
        }
        self.ask(|reply| Command::CancelJob { job: id, reply }).await?;
        self.job_of_any(id).await
    }

    /// Which log belongs to a job: that of the given or the latest attempt; `None` before the first.
    ///
    /// # Errors
    /// `forbidden`, `not_found`.
    pub async fn log_of(
        &self,
        who: &Principal,
        id: JobId,
        attempt: Option<AttemptNumber>,
    ) -> Result<Option<AttemptRef>, Problem> {
        who.require(Permission::Read)?;
        let fail = |e| store_problem(&e);
        if self.inner.store.job(id).await.map_err(fail)?.is_none() {
            return Err(no_job(id));
        }
        let attempts = self.inner.store.attempts(id).await.map_err(fail)?;
        match attempt {
            None => Ok(attempts.last().map(|a| a.id)),
            Some(n) => match attempts.iter().find(|a| a.id.attempt == n) {
                Some(a) => Ok(Some(a.id)),
                None => Err(Problem::new(Code::NotFound, format!("job {id} has no attempt {n}"))),
            },
        }
    }
}

enum Replay {
    Answered(Vec<Created>),
    New(String),
}

/// Changes of one run; see [`Control::watch_run`].
pub struct RunWatcher {
    control: Control,
    run: RunId,
    since: Option<u64>,
    changes: watch::Receiver<u64>,
    stopping: CancellationToken,
    /// Something may have changed that was not given yet.
    due: bool,
    over: bool,
}

impl std::fmt::Debug for RunWatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunWatcher").field("run", &self.run).finish_non_exhaustive()
    }
}

impl RunWatcher {
    /// The run with those jobs that changed since the last call (all of them the first time), as soon
    /// as there is a change. `None` after the change that completed the run was given, or when the
    /// control plane shuts down. Cancel-safe: a dropped call loses nothing.
    ///
    /// # Errors
    /// `not_found` when the run was deleted meanwhile.
    pub async fn next(&mut self) -> Result<Option<RunView>, Problem> {
        loop {
            if self.over {
                return Ok(None);
            }
            if !self.due {
                tokio::select! {
                    changed = self.changes.changed() => if changed.is_err() { return Ok(None) },
                    () = self.stopping.cancelled() => return Ok(None),
                }
                self.due = true;
            }
            // Seen before the look, due until after it: a call dropped in between looks again.
            self.changes.mark_unchanged();
            let view = self.control.run_since(self.run, self.since).await?;
            self.due = false;
            let jobs = view.jobs.as_deref().unwrap_or_default();
            let newest = jobs.iter().map(|j| j.change).max().unwrap_or(0).max(view.change);
            if self.since.is_some_and(|s| newest <= s) && view.status != Status::Completed {
                continue;
            }
            self.since = Some(newest.max(self.since.unwrap_or(0)));
            self.over = view.status == Status::Completed;
            return Ok(Some(view));
        }
    }
}

fn no_run(id: RunId) -> Problem {
    Problem::new(Code::NotFound, format!("there is no run {id}")).with_hint("`fleetfoot list` shows the runs")
}

fn no_job(id: JobId) -> Problem {
    Problem::new(Code::NotFound, format!("there is no job {id}"))
        .with_hint("`fleetfoot show RUN` shows the jobs of a run")
}

/// A page of rows, of which one more than the page has was asked for.
fn page_of(rows: Vec<RunRow>, limit: usize) -> Page<RunView> {
    let more = rows.len() > limit;
    let items: Vec<RunView> =
        rows.into_iter().take(limit).map(|row| crate::views::run_view(row, None)).collect();
    let next_cursor = more.then(|| items.last().map(|r| r.id.to_string())).flatten();
    Page { items, next_cursor }
}

fn bad_cursor() -> Problem {
    Problem::new(Code::BadRequest, "the cursor is not one that this server gave")
}
