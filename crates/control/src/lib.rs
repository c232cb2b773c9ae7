//! The control plane: the only place where runs, jobs, attempts, runners and
//! tokens change.
//!
//! [`Control`] is a cheap handle. Reads go to the store directly. Everything
//! that changes scheduling state goes through one actor (`actor`), which owns
//! the pure scheduler and the graphs of open runs, turns a batch of commands
//! into one durable transaction, and answers only after the commit.

mod actor;
mod administration;
mod approvals;
mod clock;
mod given;
mod housekeeping;
mod ids;
mod keys;
mod loader;
mod metrics;
mod observe;
mod passwords;
mod principal;
mod projects;
mod resolve;
mod runners;
mod runs;
mod services;
mod sessions;
mod standing;
mod submit;
mod sync;
mod throttle;
mod tokens;
mod triggers;
mod users;
mod vault;
mod views;
mod watch;

pub use clock::Clock;
pub use fleetfoot_store::ApprovalFilter;
pub use loader::WorkflowLoader;
pub use observe::{AuditExport, Change, LineBatch, LineFollower, ListWatcher};
pub use principal::{Permission, Principal};
pub use runs::{Idempotency, RunWatcher};
pub use services::{ServiceSetup, ServicesOnDemand};
pub use sessions::{ExternalAccount, Session, SignInOptions, SignedIn};
pub use standing::{Credential, Lost, Standing};
pub use triggers::Webhook;
pub use vault::{Vault, VaultError};

use actor::{Actor, Command, store_problem};
use fleetfoot_model::ids::{AttemptRef, RunnerId};
use fleetfoot_model::plan::Dialect;
use fleetfoot_model::{Code, Problem, Timestamp};
use fleetfoot_objects::LogStore;
use fleetfoot_store::{Op, Store};
use ids::Ids;
use metrics::Metrics;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use submit::Documents;
use tokens::TokenCache;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use watch::Watchers;

/// Commands that may wait for the actor before callers are told that it is overloaded.
const COMMANDS: usize = 8192;

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
    /// Finds called documents in other repositories; without it, requests bring them along.
    pub loader: Option<Arc<dyn WorkflowLoader>>,
    /// How long people stay signed in.
    pub sign_in: SignInOptions,
}

impl Options {
    /// The defaults: leases of 12 s (a dead runner is noticed within 15 s), retention of 90 days.
    pub fn new(data_dir: impl Into<PathBuf>, server_url: impl Into<String>) -> Self {
        Self {
            data_dir: data_dir.into(),
            server_url: server_url.into(),
            lease: Duration::from_secs(12),
            retention: Some(Duration::from_secs(90 * 24 * 3600)),
            loader: None,
            sign_in: SignInOptions::default(),
        }
    }
}

/// The control plane; cheap to clone.
#[derive(Clone)]
pub struct Control {
    pub(crate) inner: Arc<Inner>,
}

/// What all parts of the control plane share.
pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) logs: LogStore,
    pub(crate) documents: Documents,
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    pub(crate) vault: Vault,
    pub(crate) stored: given::StoredHints,
    /// One at a time makes or wraps data keys.
    pub(crate) keys: tokio::sync::Mutex<()>,
    pub(crate) ids: Ids,
    pub(crate) tokens: TokenCache,
    pub(crate) sessions: sessions::SessionCache,
    pub(crate) passwords: passwords::Passwords,
    pub(crate) throttle: throttle::Throttle,
    pub(crate) watchers: Watchers,
    pub(crate) observe: observe::Shared,
    pub(crate) metrics: Metrics,
    pub(crate) payloads: sync::PayloadCache,
    pub(crate) triggers: triggers::Shared,
    pub(crate) offered: services::Offered,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stopping: CancellationToken,
}

impl Control {
    /// Loads the state and starts the actor and the housekeeping.
    ///
    /// # Errors
    /// If the state or the key file cannot be read.
    pub async fn start(
        store: Arc<dyn Store>,
        logs: LogStore,
        dialects: Vec<Arc<dyn Dialect>>,
        options: Options,
    ) -> Result<Self, Problem> {
        let vault =
            Vault::open(&options.data_dir).map_err(|e| Problem::new(Code::Internal, e.to_string()))?;
        keys::unlock(&vault, &*store, Clock::default().wall()).await?;
        let high = store.high_water().await.map_err(|e| store_problem(&e))?;
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let inner = Arc::new(Inner {
            store,
            logs,
            documents: Documents::new(dialects),
            options,
            clock: Clock::default(),
            vault,
            stored: given::StoredHints::default(),
            keys: tokio::sync::Mutex::default(),
            ids: Ids::new(high),
            tokens: TokenCache::default(),
            sessions: sessions::SessionCache::default(),
            passwords: passwords::Passwords::default(),
            throttle: throttle::Throttle::default(),
            watchers: Watchers::default(),
            observe: observe::Shared::new(Clock::default().wall()),
            metrics: Metrics::default(),
            payloads: sync::PayloadCache::default(),
            triggers: triggers::Shared::default(),
            offered: services::Offered::default(),
            commands,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        });
        inner.stored.load(&inner.vault, &*inner.store).await?;
        let actor = Actor::load(inner.clone(), receiver).await.map_err(|e| store_problem(&e))?;
        inner.tasks.spawn(actor.run());
        inner.tasks.spawn(housekeeping::run(inner.clone()));
        let control = Self { inner };
        control.inner.tasks.spawn(observe::run(control.clone()));
        control.inner.tasks.spawn(observe::tell_changes(control.clone()));
        Ok(control)
    }

    /// Ends waits and streams, lets the actor finish what it was asked, and stops.
    pub async fn shut_down(&self) {
        self.inner.stopping.cancel();
        let (reply, done) = oneshot::channel();
        if self.inner.commands.send(Command::Stop { reply }).await.is_ok() {
            let _ = done.await;
        }
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Resolves when [`Control::shut_down`] was called: every open stream must end then.
    pub async fn shutting_down(&self) {
        self.inner.stopping.cancelled().await;
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// `overloaded` while shutting down, the store's problem otherwise.
    pub async fn ready(&self) -> Result<(), Problem> {
        if self.inner.stopping.is_cancelled() {
            return Err(Problem::new(Code::Overloaded, "the server is shutting down"));
        }
        self.inner.store.high_water().await.map(|_| ()).map_err(|e| store_problem(&e))
    }

    /// Tells installations apart, in letters and digits: the same through restarts and changes of
    /// keys, and of no use to who knows it.
    #[must_use]
    pub fn installation(&self) -> String {
        self.inner.vault.derived("name of the installation")[..4].iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The logs themselves.
    #[must_use]
    pub fn logs(&self) -> &LogStore {
        &self.inner.logs
    }

    /// Now, by the wall clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.clock.wall()
    }

    /// Prometheus text of everything this control plane counts.
    ///
    /// # Errors
    /// `overloaded` if the actor does not answer.
    pub async fn render_metrics(&self) -> Result<String, Problem> {
        let (reply, counts) = oneshot::channel();
        self.send(Command::Counts { reply }).await?;
        let counts = counts.await.map_err(|_| stopping())?;
        Ok(self.inner.metrics.render(&counts, self.inner.store.statistics()))
    }

    // -- shared by the parts -------------------------------------------------

    /// Hands a command to the actor, waiting a moment if it has much to do.
    pub(crate) async fn send(&self, command: Command) -> Result<(), Problem> {
        let patience = Duration::from_secs(5);
        match self.inner.commands.send_timeout(command, patience).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                Err(Problem::new(Code::Overloaded, "the control plane has too much to do")
                    .with_hint("try again in a moment"))
            }
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(stopping()),
        }
    }

    /// Sends a command and waits for its answer.
    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(actor::Reply<T>) -> Command + Send,
    ) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply)).await?;
        answer.await.map_err(|_| stopping())?
    }

    /// Whether an attempt is current (and held by this runner).
    pub(crate) async fn holds(&self, attempt: AttemptRef, runner: Option<RunnerId>) -> Result<bool, Problem> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Holds { attempt, runner, reply }).await?;
        answer.await.map_err(|_| stopping())
    }

    /// Applies operations that no scheduling depends on; the first refusal is the answer.
    pub(crate) async fn apply(&self, ops: Vec<Op>) -> Result<(), Problem> {
        let results = self.inner.store.apply(ops).await.map_err(|e| store_problem(&e))?;
        for result in results {
            result.map_err(|e| match e {
                fleetfoot_store::OpError::Missing(_) => Problem::new(Code::NotFound, e.to_string()),
                _ => Problem::new(Code::Conflict, e.to_string()),
            })?;
        }
        Ok(())
    }

    pub(crate) fn audit_op(&self, who: &Principal, action: &str, subject: &str, detail: Value) -> Op {
        Op::Audit {
            at: self.inner.clock.wall(),
            actor: who.audit_name(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            detail,
        }
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

/// A write with a lease that is over.
pub(crate) fn stale(attempt: AttemptRef) -> Problem {
    Problem::new(Code::StaleAttempt, format!("attempt {attempt} is not (or no longer) this runner's"))
        .with_hint("stop it and discard what it made")
}

pub(crate) fn stopping() -> Problem {
    Problem::new(Code::Overloaded, "the server is shutting down").with_hint("try again when it is back")
}
