//! The control plane: the only place where runs, jobs, attempts, runners and
//! tokens change.
//!
//! [`Control`] is a cheap handle. Reads go to the store directly. Everything
//! that changes scheduling state goes through one actor ([`actor`]), which owns
//! the pure scheduler and the graphs of open runs, turns a batch of commands
//! into one durable transaction, and answers only after the commit.

mod principal;

pub use principal::{Permission, Principal};

use bytes::Bytes;
use fleetfoot_model::api::*;
use fleetfoot_model::ids::*;
use fleetfoot_model::logs::Stream;
use fleetfoot_model::plan::Dialect;
use fleetfoot_model::sync::{Assignment, SyncRequest, SyncResponse};
use fleetfoot_model::why::Why;
use fleetfoot_model::{Problem, Timestamp};
use fleetfoot_objects::LogStore;
use fleetfoot_store::Store;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Settings of a control plane.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory for the key file (`secret.key`).
    pub data_dir: PathBuf,
    /// Public address, shown to jobs and in links.
    pub server_url: String,
    /// How long a busy runner may stay silent before its attempts are lost.
    pub lease: Duration,
    /// Completed runs are deleted after this long; `None` keeps them.
    pub retention: Option<Duration>,
}

/// The control plane; cheap to clone.
#[derive(Clone)]
pub struct Control {}

/// An idempotency key as the client sent it, with the hash of the body it came with.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The key.
    pub key: String,
    /// BLAKE3 of the body.
    pub request_hash: [u8; 32],
}

/// Changes of one run; see [`Control::watch_run`].
pub struct RunWatcher {}

impl RunWatcher {
    /// The run with those jobs that changed since the last call (all of them the first time),
    /// as soon as there is a change. `None` after the change that completed the run was given,
    /// or when the control plane shuts down.
    pub async fn next(&mut self) -> Result<Option<RunView>, Problem> {
        todo!()
    }
}

impl Control {
    /// Loads the state and starts the actor and the housekeeping.
    pub async fn start(
        _store: Arc<dyn Store>,
        _logs: LogStore,
        _dialects: Vec<Arc<dyn Dialect>>,
        _options: Options,
    ) -> Result<Self, Problem> {
        todo!()
    }
    /// Ends waits and streams, flushes, stops the actor.
    pub async fn shut_down(&self) {
        todo!()
    }
    /// Resolves when `shut_down` was called: every open stream must end then.
    pub async fn shutting_down(&self) {
        todo!()
    }
    /// Whether the state is loaded and the store answers.
    pub async fn ready(&self) -> Result<(), Problem> {
        todo!()
    }
    /// Prometheus text of everything this control plane counts.
    pub fn render_metrics(&self) -> String {
        todo!()
    }

    // -- authentication ------------------------------------------------------
    /// Who holds this token. `unauthorized` if unknown, expired, revoked or used up.
    pub async fn authenticate(&self, _token: &str) -> Result<Principal, Problem> {
        todo!()
    }
    /// Creates the first admin token if there is no token at all.
    pub async fn bootstrap_admin(&self) -> Result<Option<CreatedToken>, Problem> {
        todo!()
    }
    /// Creates a token (needs Administer).
    pub async fn create_token(&self, _who: &Principal, _request: CreateToken) -> Result<CreatedToken, Problem> {
        todo!()
    }
    /// Lists tokens (needs Administer).
    pub async fn tokens(&self, _who: &Principal) -> Result<Vec<TokenView>, Problem> {
        todo!()
    }
    /// Revokes a token (needs Administer).
    pub async fn revoke_token(&self, _who: &Principal, _id: TokenId) -> Result<(), Problem> {
        todo!()
    }
    /// Audit entries, newest first (needs Administer).
    pub async fn audit(&self, _who: &Principal, _cursor: Option<&str>, _limit: usize) -> Result<Page<AuditEntry>, Problem> {
        todo!()
    }
    /// Online backup to a new file on the server (needs Administer).
    pub async fn backup(&self, _who: &Principal, _to: &Path) -> Result<(), Problem> {
        todo!()
    }

    // -- runs and jobs ---------------------------------------------------------
    /// Creates runs, all or nothing (needs Write).
    pub async fn create_runs(
        &self,
        _who: &Principal,
        _requests: Vec<CreateRun>,
        _idempotency: Option<Idempotency>,
    ) -> Result<Vec<Created>, Problem> {
        todo!()
    }
    /// A page of runs, newest first (needs Read).
    pub async fn runs(&self, _who: &Principal, _filter: &RunFilter, _cursor: Option<&str>, _limit: usize) -> Result<Page<RunView>, Problem> {
        todo!()
    }
    /// One run with its jobs and their steps.
    pub async fn run(&self, _who: &Principal, _id: RunId) -> Result<RunView, Problem> {
        todo!()
    }
    /// Follows the changes of a run.
    pub async fn watch_run(&self, _who: &Principal, _id: RunId, _since: Option<u64>) -> Result<RunWatcher, Problem> {
        todo!()
    }
    /// Asks for cancellation of a run; again is fine; `conflict` if it is over.
    pub async fn cancel_run(&self, _who: &Principal, _id: RunId, _request: CancelRun) -> Result<RunView, Problem> {
        todo!()
    }
    /// Creates a new run from the same document, inputs and secrets.
    pub async fn rerun(&self, _who: &Principal, _id: RunId, _request: Rerun) -> Result<Created, Problem> {
        todo!()
    }
    /// One job with its attempts.
    pub async fn job(&self, _who: &Principal, _id: JobId) -> Result<JobView, Problem> {
        todo!()
    }
    /// Why a job waits.
    pub async fn why(&self, _who: &Principal, _id: JobId) -> Result<Why, Problem> {
        todo!()
    }
    /// Cancels one job.
    pub async fn cancel_job(&self, _who: &Principal, _id: JobId) -> Result<JobView, Problem> {
        todo!()
    }
    /// Which log belongs to a job: the given or the latest attempt. `None` if there is no attempt
    /// yet (a follower then waits with [`Control::watch_run`]).
    pub async fn log_of(&self, _who: &Principal, _id: JobId, _attempt: Option<AttemptNumber>) -> Result<Option<AttemptRef>, Problem> {
        todo!()
    }
    /// The logs themselves.
    pub fn logs(&self) -> &LogStore {
        todo!()
    }

    // -- runners ---------------------------------------------------------------
    /// Creates a runner and its token (needs Administer).
    pub async fn create_runner(&self, _who: &Principal, _request: CreateRunner) -> Result<Registered, Problem> {
        todo!()
    }
    /// Registers a runner; `who` is a registration token (or an admin).
    pub async fn register_runner(&self, _who: &Principal, _request: RegisterRunner) -> Result<Registered, Problem> {
        todo!()
    }
    /// All runners.
    pub async fn runners(&self, _who: &Principal) -> Result<Vec<RunnerView>, Problem> {
        todo!()
    }
    /// One runner; a runner may see itself.
    pub async fn runner(&self, _who: &Principal, _id: RunnerId) -> Result<RunnerView, Problem> {
        todo!()
    }
    /// Changes description, fixed labels or drain (needs Administer).
    pub async fn update_runner(&self, _who: &Principal, _id: RunnerId, _request: UpdateRunner) -> Result<RunnerView, Problem> {
        todo!()
    }
    /// Removes a runner; its attempts are lost (needs Administer, or the runner itself).
    pub async fn delete_runner(&self, _who: &Principal, _id: RunnerId) -> Result<(), Problem> {
        todo!()
    }
    /// A new token for a runner; older ones end (needs Administer, or the runner itself).
    pub async fn rotate_runner_token(&self, _who: &Principal, _id: RunnerId) -> Result<Registered, Problem> {
        todo!()
    }
    /// The one exchange between runner and server; waits up to `wait_ms`. When the returned future is
    /// dropped while waiting, the runner counts as disconnected.
    pub async fn sync(&self, _who: &Principal, _id: RunnerId, _request: SyncRequest) -> Result<SyncResponse, Problem> {
        todo!()
    }
    /// Appends log frames (fenced).
    pub async fn append_log(&self, _who: &Principal, _id: RunnerId, _attempt: AttemptRef, _offset: u64, _body: Bytes) -> Result<Appended, Problem> {
        todo!()
    }
    /// Appends plain text (for plain HTTP clients; fenced); without an offset, at the end.
    pub async fn append_text(&self, _who: &Principal, _id: RunnerId, _attempt: AttemptRef, _offset: Option<u64>, _stream: Stream, _step: u16, _body: Bytes) -> Result<Appended, Problem> {
        todo!()
    }
    /// Sets the state of a runner driven by a plain HTTP client.
    pub async fn set_runner_status(&self, _who: &Principal, _id: RunnerId, _request: RunnerStatus) -> Result<RunnerView, Problem> {
        todo!()
    }
    /// Heartbeat of a plain HTTP client: extends the leases of all its attempts.
    pub async fn heartbeat(&self, _who: &Principal, _id: RunnerId, _request: Heartbeat) -> Result<RunnerView, Problem> {
        todo!()
    }
    /// Claims a job for a plain HTTP client; `None` if none matches now.
    pub async fn assign_job(&self, _who: &Principal, _id: RunnerId, _request: AssignJob) -> Result<Option<Assignment>, Problem> {
        todo!()
    }
    /// Reports the end of a job for a plain HTTP client.
    pub async fn complete_job(&self, _who: &Principal, _id: RunnerId, _request: CompleteJob) -> Result<JobView, Problem> {
        todo!()
    }
    /// Now, for handlers that need the time (tokens, Retry-After).
    pub fn now(&self) -> Timestamp {
        todo!()
    }
}
