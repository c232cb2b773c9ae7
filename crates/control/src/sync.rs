//! The sync exchange and log appends: the waiting, and what is added to the
//! actor's decision (specifications, contexts, secrets).

use crate::actor::{Command, Decision, PreparedRun, store_problem};
use crate::runners::check_version;
use crate::{Control, Principal, stale};
use bytes::Bytes;
use fleetfoot_model::api::Appended;
use fleetfoot_model::ids::{AttemptRef, JobId, RunId, RunnerId};
use fleetfoot_model::logs::Stream;
use fleetfoot_model::state::{Conclusion, Reason};
use fleetfoot_model::sync::{Assignment, AttemptResult, SyncRequest, SyncResponse};
use fleetfoot_model::version::VERSION;
use fleetfoot_model::{Code, Problem};
use fleetfoot_objects::AppendError;
use fleetfoot_store::{JobPayload, RunPayload};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tracing::warn;

/// Longest wait of a sync.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Shortest wait of one: enough for a commit, so that what it reports is acknowledged by itself.
const MIN_WAIT: Duration = Duration::from_secs(1);
/// Runs whose payloads are kept in memory between creation and lease.
pub(crate) const CACHED_RUNS: usize = 2048;

/// Payloads of recently created runs, so that a lease need not read them back.
#[derive(Default)]
pub(crate) struct PayloadCache {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    runs: HashMap<RunId, Arc<CachedRun>>,
    /// From the oldest: a batch of thousands evicts once a run, which must not cost more with a larger cache.
    order: VecDeque<RunId>,
}

struct CachedRun {
    project: String,
    payload: RunPayload,
    jobs: Vec<(JobId, JobPayload)>,
}

impl PayloadCache {
    /// Keeps what a new run brought; the oldest runs make room.
    pub(crate) fn remember(&self, run: &PreparedRun) {
        let jobs = run.new.jobs.iter().filter_map(|(j, p)| Some((j.id, p.clone()?))).collect();
        let cached =
            CachedRun { project: run.new.row.project.clone(), payload: run.new.payload.clone(), jobs };
        let mut kept = self.kept.lock();
        if kept.runs.insert(run.new.row.id, Arc::new(cached)).is_none() {
            kept.order.push_back(run.new.row.id);
        }
        while kept.order.len() > CACHED_RUNS {
            if let Some(oldest) = kept.order.pop_front() {
                kept.runs.remove(&oldest);
            }
        }
    }

    fn get(&self, run: RunId) -> Option<Arc<CachedRun>> {
        self.kept.lock().runs.get(&run).cloned()
    }
}

/// Why an attempt cannot be given to its runner.
pub(crate) enum Unassignable {
    /// Trouble that may pass.
    Later(Problem),
    /// Its secrets cannot be opened: the job has to end. Says so for people.
    Never(String),
}

impl From<Problem> for Unassignable {
    fn from(problem: Problem) -> Self {
        Self::Later(problem)
    }
}

impl From<Unassignable> for Problem {
    fn from(why: Unassignable) -> Self {
        match why {
            Unassignable::Later(problem) => problem,
            Unassignable::Never(message) => Self::new(Code::Internal, message),
        }
    }
}

impl Control {
    /// The one exchange between runner and server; waits up to `wait_ms` while there is nothing to say.
    /// When the returned future is dropped while it waits, the runner counts as disconnected.
    ///
    /// # Errors
    /// `not_found` for another runner's token, `version_skew`, the store's problems.
    pub async fn sync(
        &self,
        who: &Principal,
        id: RunnerId,
        request: SyncRequest,
    ) -> Result<SyncResponse, Problem> {
        who.require_runner(id)?;
        check_version(&request.version)?;
        let begun = self.inner.clock.steady();
        // The actor itself answers at once a sync that does not want to wait; here only the commit is waited for.
        let wait = match request.wait_ms {
            0 => MAX_WAIT,
            ms => Duration::from_millis(ms).clamp(MIN_WAIT, MAX_WAIT),
        };
        let guard = DisconnectGuard { control: self, runner: id, sequence: request.sequence, armed: true };
        let (reply, mut answer) = oneshot::channel();
        self.send(Command::Sync { runner: id, request: Box::new(request), reply }).await?;
        let decision = tokio::select! {
            decision = &mut answer => decision.map_err(|_| crate::stopping())??,
            () = tokio::time::sleep(wait) => Decision::default(),
        };
        guard.disarm();
        let woken = self.inner.clock.steady();
        let response = self.respond(id, decision).await?;
        let processing =
            self.inner.clock.steady().since(woken).min(woken.since(begun) + Duration::from_secs(1));
        self.inner.metrics.sync_done(processing);
        Ok(response)
    }

    async fn respond(&self, runner: RunnerId, decision: Decision) -> Result<SyncResponse, Problem> {
        let mut response = SyncResponse {
            version: VERSION.to_owned(),
            cancel: decision.cancel,
            acknowledged: decision.acknowledged,
            drain: decision.drain,
            shut_down: decision.shut_down,
            lease_ms: u64::try_from(self.inner.options.lease.as_millis()).unwrap_or(u64::MAX),
            ..SyncResponse::default()
        };
        for attempt in decision.unknown {
            if self.is_over(attempt, runner).await? {
                response.acknowledged.push(attempt);
            } else {
                self.refuse(attempt, runner).await;
                response.fenced.push(attempt);
            }
        }
        for (attempt, run) in decision.assign {
            match self.assignment(attempt, run).await {
                Ok(assignment) => response.assignments.push(assignment),
                // It is offered again with the next sync.
                Err(Unassignable::Later(e)) => {
                    warn!(%attempt, error = %e, "cannot put an assignment together")
                }
                Err(Unassignable::Never(message)) => self.give_up(attempt, runner, message).await,
            }
        }
        Ok(response)
    }

    /// Whether this attempt was this runner's and its result is durable: a repeated report.
    async fn is_over(&self, attempt: AttemptRef, runner: RunnerId) -> Result<bool, Problem> {
        let rows = self.inner.store.attempts(attempt.job).await.map_err(|e| store_problem(&e))?;
        Ok(rows.iter().any(|a| a.id == attempt && a.runner == runner && a.result.is_some()))
    }

    /// Leaves a trace of a stale write; a failure to do so must not fail the refusal.
    async fn refuse(&self, attempt: AttemptRef, runner: RunnerId) {
        self.inner.metrics.stale_write();
        let who = format!("runner:{runner}");
        let audit = fleetfoot_store::Op::Audit {
            at: self.inner.clock.wall(),
            actor: who,
            action: "attempt.stale_write".to_owned(),
            subject: format!("job:{}", attempt.job),
            detail: serde_json::json!({ "attempt": attempt.attempt, "epoch": attempt.epoch }),
        };
        if let Err(e) = self.apply(vec![audit]).await {
            warn!(%attempt, error = %e, "cannot audit a stale write");
        }
    }

    /// Ends an attempt that can never be given to its runner.
    async fn give_up(&self, attempt: AttemptRef, runner: RunnerId, message: String) {
        let result = Box::new(AttemptResult {
            reason: Some(Reason::SetUpFailed),
            message: Some(message),
            finished_at: Some(self.inner.clock.wall()),
            ..AttemptResult::new(Conclusion::Failure)
        });
        let ended = self
            .ask(|reply| Command::Complete {
                runner,
                job: attempt.job,
                attempt: Some(attempt),
                result,
                reply,
            })
            .await;
        if let Err(e) = ended {
            warn!(%attempt, error = %e, "cannot end an attempt that cannot be assigned");
        }
    }

    /// Everything that a runner needs for an attempt.
    pub(crate) async fn assignment(
        &self,
        attempt: AttemptRef,
        run: RunId,
    ) -> Result<Assignment, Unassignable> {
        let fail = |e| store_problem(&e);
        let gone = || Problem::new(Code::NotFound, format!("job {} is gone", attempt.job));
        let cached = self.inner.payloads.get(run);
        let job = cached.as_ref().and_then(|c| c.jobs.iter().find(|(id, _)| *id == attempt.job));
        let job = match job {
            Some((_, payload)) => payload.clone(),
            None => self.inner.store.job_payload(attempt.job).await.map_err(fail)?.ok_or_else(gone)?,
        };
        let (project, payload) = match &cached {
            Some(c) => (c.project.clone(), c.payload.clone()),
            None => {
                let row = self.inner.store.run(run).await.map_err(fail)?.ok_or_else(gone)?;
                (row.project, self.inner.store.run_payload(run).await.map_err(fail)?.ok_or_else(gone)?)
            }
        };
        let own = self
            .inner
            .vault
            .open_secrets(run, &payload.sealed_secrets)
            .map_err(|e| Unassignable::Never(e.to_string()))?;
        let (inner, params) = (&self.inner, &payload.params);
        let secrets = inner.attempt_secrets(attempt, run, &project, &job.spec, params, own).await?;
        let about = (project.as_str(), &payload.params, &payload.contexts);
        let services = self.job_services(attempt, run, about, &job.spec).await?;
        let mut contexts = payload.contexts;
        inner.add_environment_variables(&project, &job.spec, params, &mut contexts).await?;
        contexts.insert("needs".to_owned(), job.needs.unwrap_or_else(|| serde_json::json!({})));
        Ok(Assignment {
            attempt,
            run,
            project,
            spec: job.spec,
            contexts,
            env: payload.params.env,
            secrets,
            job_token: self.inner.vault.job_token(attempt),
            repository: payload.params.repository,
            server_url: self.inner.options.server_url.clone(),
            services,
        })
    }

    /// Appends log frames.
    ///
    /// # Errors
    /// `stale_attempt`, `offset_gap`, `bad_request`, `disk_full`.
    pub async fn append_log(
        &self,
        who: &Principal,
        id: RunnerId,
        attempt: AttemptRef,
        offset: u64,
        body: Bytes,
    ) -> Result<Appended, Problem> {
        self.require_lease(who, id, attempt).await?;
        let bytes = body.len() as u64;
        let end = self.inner.logs.append(attempt, offset, body).await.map_err(append_problem)?;
        self.inner.metrics.log_appended(bytes);
        Ok(Appended { offset: end })
    }

    /// Appends plain text, for plain HTTP clients; without an offset, at the end.
    ///
    /// # Errors
    /// As [`Control::append_log`].
    #[expect(clippy::too_many_arguments, reason = "the parts of one HTTP request")]
    pub async fn append_text(
        &self,
        who: &Principal,
        id: RunnerId,
        attempt: AttemptRef,
        offset: Option<u64>,
        stream: Stream,
        step: u16,
        body: Bytes,
    ) -> Result<Appended, Problem> {
        self.require_lease(who, id, attempt).await?;
        let bytes = body.len() as u64;
        let time = self.inner.clock.wall();
        let end = self
            .inner
            .logs
            .append_text(attempt, offset, stream, step, time, &body)
            .await
            .map_err(append_problem)?;
        self.inner.metrics.log_appended(bytes);
        Ok(Appended { offset: end })
    }

    async fn require_lease(&self, who: &Principal, id: RunnerId, attempt: AttemptRef) -> Result<(), Problem> {
        who.require_runner(id)?;
        if self.holds(attempt, Some(id)).await? {
            return Ok(());
        }
        self.refuse(attempt, id).await;
        Err(stale(attempt))
    }
}

fn append_problem(e: AppendError) -> Problem {
    match e {
        AppendError::Gap { expected } => Problem {
            expected_offset: Some(expected),
            ..Problem::new(Code::OffsetGap, format!("the log ends at {expected}"))
                .with_hint("go on from there")
        },
        AppendError::Closed => Problem::new(Code::Conflict, e.to_string()),
        AppendError::BadFrame { .. } => Problem::new(Code::BadRequest, e.to_string()),
        AppendError::TooLong { .. } => Problem::new(Code::TooLarge, e.to_string()),
        AppendError::Full => Problem::new(Code::DiskFull, "the disk of the server is full"),
        _ => Problem::new(Code::Internal, e.to_string()),
    }
}

/// Tells the actor when a waiting sync is dropped: the connection broke.
struct DisconnectGuard<'a> {
    control: &'a Control,
    runner: RunnerId,
    sequence: u64,
    armed: bool,
}

impl DisconnectGuard<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for DisconnectGuard<'_> {
    fn drop(&mut self) {
        if self.armed {
            let command = Command::Disconnected { runner: self.runner, sequence: self.sequence };
            // A full queue only delays the discovery until the lease expires.
            let _ = self.control.inner.commands.try_send(command);
        }
    }
}
