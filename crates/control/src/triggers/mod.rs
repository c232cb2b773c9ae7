//! Repositories that start runs, and commits that show their result.
//!
//! Whatever is to happen once is a stored delivery: a webhook ([`deliveries`]),
//! a change that [`poll`]ing found, a [`schedule`] that fell due, the end of a
//! run. One worker turns deliveries into runs ([`process`]); the idempotency
//! key of a run names its delivery, so that trying again after a crash gives
//! the same run. [`reports`] follows these runs and tells the forge, the
//! latest state of each job, until the forge has it.

mod cron;
mod deliveries;
mod dispatch;
mod locate;
mod poll;
mod process;
mod reports;
mod repositories;
mod schedule;
#[cfg(test)]
mod tests;
mod workflows;

pub use deliveries::Webhook;

use crate::actor::store_problem;
use crate::{Control, Inner};
use fleetfoot_forge::api::{ForgeClient, Remote};
use fleetfoot_forge::mirror::{self, GitError, GitErrorKind, Mirror};
use fleetfoot_model::ids::RunId;
use fleetfoot_model::repos::ForgeKind;
use fleetfoot_model::{Code, Problem, Timestamp};
use fleetfoot_store::{RepositoryRow, StoreError};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;

/// Longest sleep of a worker: the wall clock may have been set meanwhile.
const PULSE: Duration = Duration::from_secs(15);

/// What the workers share with the calls.
#[derive(Default)]
pub(crate) struct Shared {
    deliveries: Notify,
    reports: Notify,
    schedules: Notify,
    polls: Notify,
    client: OnceLock<ForgeClient>,
    /// One user of a mirror at a time.
    mirrors: Mutex<HashMap<u64, Arc<tokio::sync::Mutex<()>>>>,
    /// Runs whose end is waited for already.
    followed: Mutex<HashSet<RunId>>,
}

/// Why a delivery or a look at a forge did not work out.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    /// In words.
    pub(crate) message: String,
    /// Whether trying again makes sense.
    pub(crate) passing: bool,
    /// Whether the forge is to blame.
    pub(crate) forge: bool,
}

impl From<GitError> for Trouble {
    fn from(error: GitError) -> Self {
        let passing = error.kind != GitErrorKind::Missing;
        Self { message: error.message, passing, forge: error.kind != GitErrorKind::Broken }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self { message: error.to_string(), passing: true, forge: false }
    }
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        let passing = matches!(problem.code, Code::Overloaded | Code::DiskFull | Code::Internal);
        Self { message: problem.detail, passing, forge: false }
    }
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        if trouble.forge {
            return Self::new(Code::ForgeUnreachable, trouble.message)
                .with_hint("check the address, the network and the access token, then try again");
        }
        Self::new(Code::Internal, trouble.message)
    }
}

impl Control {
    /// Starts the workers that look at deliveries, schedules, polled repositories and reports. Without
    /// them (a local run) repositories are only rows.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn serve_triggers(&self) -> Result<(), Problem> {
        let open = self.inner.store.trigger_runs().await.map_err(|e| store_problem(&e))?;
        for run in open {
            reports::follow(self, run);
        }
        self.inner.tasks.spawn(deliveries::work(self.clone()));
        self.inner.tasks.spawn(schedule::work(self.clone()));
        self.inner.tasks.spawn(poll::work(self.clone()));
        self.inner.tasks.spawn(reports::work(self.clone()));
        Ok(())
    }
}

impl Inner {
    /// The access token of a repository, in clear.
    fn token_of(&self, row: &RepositoryRow) -> Result<Option<String>, Trouble> {
        let Some(sealed) = &row.token else { return Ok(None) };
        let open = self.vault.open_text("access token of a repository", sealed);
        open.map(Some).map_err(|e| Trouble { message: e.to_string(), passing: false, forge: false })
    }

    fn remote_of(&self, row: &RepositoryRow) -> Result<Remote, Trouble> {
        Ok(Remote {
            kind: row.forge,
            api_url: row.api_url.clone(),
            name: row.name.clone(),
            token: self.token_of(row)?,
        })
    }

    fn mirror_of(&self, row: &RepositoryRow) -> Result<Mirror, Trouble> {
        let dir = mirror::directory(&self.options.data_dir, row.id);
        Ok(Mirror::new(dir, row.url.as_str(), self.token_of(row)?))
    }

    fn lock_of(&self, repository: u64) -> Arc<tokio::sync::Mutex<()>> {
        self.triggers.mirrors.lock().entry(repository).or_default().clone()
    }

    fn forge_client(&self) -> Result<ForgeClient, Trouble> {
        if let Some(client) = self.triggers.client.get() {
            return Ok(client.clone());
        }
        let client = ForgeClient::new().map_err(|e| Trouble {
            message: e.to_string(),
            passing: false,
            forge: false,
        })?;
        Ok(self.triggers.client.get_or_init(|| client).clone())
    }
}

/// Directories of workflows in the order in which a forge looks at them: the first that has any counts.
const fn directories(kind: ForgeKind) -> &'static [&'static str] {
    match kind {
        ForgeKind::Github | ForgeKind::Gitlab => &mirror::DIRECTORIES,
        ForgeKind::Gitea => &[".gitea/workflows", ".github/workflows"],
        ForgeKind::Forgejo => &[".forgejo/workflows", ".gitea/workflows", ".github/workflows"],
    }
}

/// How long to wait before try number `tries + 1`: doubling, up to ten minutes.
fn backoff(tries: u32) -> Duration {
    Duration::from_secs(1_u64 << tries.min(10)).min(Duration::from_secs(600))
}

/// Sleeps until a time of the wall clock, a wake-up, or the pulse. `false` when the server stops.
async fn pause(
    inner: &Inner,
    woken: std::pin::Pin<&mut tokio::sync::futures::Notified<'_>>,
    until: Option<Timestamp>,
) -> bool {
    let rest = until.map_or(PULSE, |at| at.since(inner.clock.wall()).min(PULSE));
    tokio::select! {
        () = woken => true,
        // A little later than asked for: the next look must find it due.
        () = tokio::time::sleep(rest + Duration::from_millis(2)) => true,
        () = inner.stopping.cancelled() => false,
    }
}
