//! A runner from configuration to its end: directories, lock, journal,
//! detection, webhook, daemon. The command line calls [`up`] and shows notices.

use crate::config::RunnerConfig;
use crate::daemon::{self, DaemonError, Ending, Setup, Stage};
use crate::executor::Executor;
use crate::identity::{Identity, IdentityError, unregister};
use crate::journal::Journal;
use crate::notice::{Notice, NoticeFn};
use crate::system::{Sampler, describe};
use crate::transport::{ControlPlane, HttpTransport};
use crate::webhook::Webhook;
use crate::{capabilities, system};
use fleetfoot_client::ClientError;
use fleetfoot_model::sync::RunnerInfo;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::watch;

/// Why a runner cannot start or go on.
#[derive(Debug, Error)]
pub enum UpError {
    /// The work directory cannot be used.
    #[error("the work directory {path} cannot be used", path = path.display())]
    WorkDir {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another runner uses the work directory.
    #[error("another runner{} uses the work directory {}", pid.as_ref().map(|p| format!(" (process {p})")).unwrap_or_default(), path.display())]
    Locked {
        /// Its path.
        path: PathBuf,
        /// The other process, if it said who it is.
        pid: Option<String>,
    },
    /// The webhook cannot be used.
    #[error(transparent)]
    Webhook(#[from] ClientError),
    /// The daemon ended early.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// A one-off runner could not leave.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl UpError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::WorkDir { .. } => Some("choose another with --work-dir".to_owned()),
            Self::Locked { .. } => {
                Some("every runner needs a work directory of its own: choose another with --work-dir".to_owned())
            }
            Self::Daemon(DaemonError::Unauthorized(_)) => {
                Some("was it removed at the server? register it again with `fleetfoot runner register --token TOKEN`".to_owned())
            }
            Self::Daemon(_) => None,
            Self::Webhook(error) => error.hint(),
            Self::Identity(error) => error.hint(),
        }
    }
}

/// How often what belongs to nobody is removed.
const TIDY: Duration = Duration::from_secs(180);

/// Holds the work directory; another runner cannot take it while this lives.
#[derive(Debug)]
pub struct WorkDirLock {
    _file: File,
}

/// Makes the work directory and takes it.
///
/// # Errors
/// [`UpError::Locked`] if another runner has it.
pub fn lock_work_dir(path: &Path) -> Result<WorkDirLock, UpError> {
    let unusable = |source| UpError::WorkDir { path: path.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path.join("runner.lock"))
        .map_err(unusable)?;
    let patience = Instant::now() + AFTER_DEATH;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(unusable(error.into())),
        }
        let pid = holder(&mut file);
        if pid.as_deref().is_none_or(is_alive) || Instant::now() >= patience {
            return Err(UpError::Locked { path: path.to_owned(), pid });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(unusable)?;
    writeln!(file, "{}", std::process::id()).map_err(unusable)?;
    Ok(WorkDirLock { _file: file })
}

/// How long the helpers of a runner that was killed may keep its lock: they end by themselves.
const AFTER_DEATH: Duration = Duration::from_secs(10);

/// The process that wrote itself into the file of a lock.
fn holder(file: &mut File) -> Option<String> {
    let mut pid = String::new();
    let _ = file.rewind();
    let _ = file.take(32).read_to_string(&mut pid);
    Some(pid.trim().to_owned()).filter(|p| !p.is_empty())
}

/// Whether a process lives; one that only waits to be collected does not.
fn is_alive(pid: &str) -> bool {
    let exe = std::fs::read_link(Path::new("/proc").join(pid).join("exe"));
    exe.map_or_else(|e| e.kind() == io::ErrorKind::PermissionDenied, |_| true)
}

/// The way to the server over HTTP, as this runner.
///
/// # Errors
/// If the configuration of the connection cannot be used.
pub fn http_transport(config: &RunnerConfig, identity: &Identity) -> Result<HttpTransport, ClientError> {
    Ok(HttpTransport::new(identity.client(config)?, identity.id))
}

/// Runs until it is asked to end and has. A one-off runner unregisters after its job.
///
/// # Errors
/// [`UpError`].
pub async fn up(
    config: RunnerConfig,
    identity: Identity,
    transport: Arc<dyn ControlPlane>,
    executor: Arc<dyn Executor>,
    notices: NoticeFn,
    shutdown: watch::Receiver<Stage>,
) -> Result<Ending, UpError> {
    let lock = lock_work_dir(&config.work_dir)?;
    let journal = Journal::open(&config.work_dir.join("journal"), identity.owner())
        .map_err(|source| UpError::WorkDir { path: config.work_dir.clone(), source })?;
    let (info_sender, info) = watch::channel(RunnerInfo {
        labels: config.labels.clone(),
        queues: config.queues.clone(),
        boundary: executor.boundary(),
        capabilities: Default::default(),
        system: describe(&config.work_dir),
        one_off: config.one_off,
        limits: config.limits.clone(),
        containers: false,
    });
    let detection = tokio::spawn(keep_detecting(info_sender.clone(), config.work_dir.clone()));
    let offering = tokio::spawn(keep_offering(info_sender, executor.clone()));
    let leaving = executor.clone();
    let webhook = match &config.webhook {
        Some(url) => Some(Webhook::start(url.expose(), &identity.name, config.client(None))?),
        None => None,
    };
    let hook = webhook.as_ref().map(|(hook, _)| hook.clone());
    let notices: NoticeFn = Arc::new(move |notice: &Notice| {
        if let Some(hook) = &hook {
            hook.tell(notice);
        }
        notices(notice);
    });
    let sampler = Sampler::new(&config.work_dir, config.keep_free);
    let setup = Setup {
        url: identity.server.clone(),
        slots: config.slots,
        one_off: config.one_off,
        info,
        sample: Box::new(move || sampler.sample()),
        journal,
        transport,
        executor,
        notices,
    };
    let ending = daemon::run(setup, shutdown).await;
    detection.abort();
    offering.abort();
    // Only when it has let go of its trials.
    let _ = offering.await;
    leaving.leave().await;
    if let Some((hook, task)) = webhook {
        hook.finished(match &ending {
            Ok(Ending::Drained) => "drained",
            Ok(Ending::OneOff) => "one_off",
            Ok(Ending::Killed) => "killed",
            Ok(Ending::Removed) => "removed",
            Err(_) => "failed",
        });
        drop(hook);
        // The last notice goes out, but nobody waits for a receiver that hangs.
        let _ = tokio::time::timeout(Duration::from_secs(6), task).await;
    }
    let ending = ending?;
    if ending == Ending::OneOff {
        unregister(&config, &identity).await?;
    }
    drop(lock);
    Ok(ending)
}

/// Looks for tools now and every hour. The first exchange with the server does not wait for it.
async fn keep_detecting(info: watch::Sender<RunnerInfo>, work_dir: PathBuf) {
    loop {
        let capabilities = capabilities::detect().await;
        let system = system::describe(&work_dir);
        info.send_if_modified(|info| {
            let changed = info.capabilities != capabilities || info.system != system;
            info.capabilities = capabilities;
            info.system = system;
            changed
        });
        tokio::time::sleep(capabilities::REFRESH).await;
    }
}

/// Says what is offered as soon as it is known, and keeps the machine tidy. The first exchange with the
/// server does not wait for a boundary that is slow to try.
async fn keep_offering(info: watch::Sender<RunnerInfo>, executor: Arc<dyn Executor>) {
    let tell = async {
        let Some(mut offer) = executor.offer() else { return std::future::pending().await };
        loop {
            let now = *offer.borrow_and_update();
            info.send_if_modified(|info| {
                let changed = (info.boundary, info.containers) != (now.boundary, now.containers);
                (info.boundary, info.containers) = (now.boundary, now.containers);
                changed
            });
            if offer.changed().await.is_err() {
                return;
            }
        }
    };
    let tidy = async {
        executor.discover().await;
        loop {
            for removed in executor.tidy().await {
                tracing::info!("removed {removed}, which belonged to nobody");
            }
            tokio::time::sleep(TIDY).await;
        }
    };
    tokio::select! {
        () = tell => {}
        () = tidy => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runners_cannot_share_a_work_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        let first = lock_work_dir(&path).unwrap();
        let error = lock_work_dir(&path).unwrap_err();
        let me = std::process::id();
        assert_eq!(
            error.to_string(),
            format!("another runner (process {me}) uses the work directory {}", path.display())
        );
        drop(first);
        lock_work_dir(&path).unwrap();
    }
}
