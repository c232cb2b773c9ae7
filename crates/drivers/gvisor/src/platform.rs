//! Finds `runsc`, and the platform (how gVisor catches system calls) that works
//! on this machine: by making a cell with each, within a bounded time, and
//! ending whatever does not answer. It must never conclude from the presence
//! of a device: there are machines whose /dev/kvm hangs.

use crate::driver::GvisorDriver;
use crate::spec::Identity;
use fleetfoot_driver::{Cell, CellRequest, DriverError, DriverErrorKind};
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Fastest first where both work; `kvm` last, because a trial of it can take its whole time.
const PLATFORMS: [&str; 3] = ["systrap", "ptrace", "kvm"];

/// What was chosen by trial.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) platform: String,
    pub(crate) identity: Identity,
}

/// Where the program is, if it is installed.
pub(crate) fn find() -> Option<PathBuf> {
    ["/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin", "/bin"]
        .iter()
        .map(|d| Path::new(d).join("runsc"))
        .find(|p| rustix::fs::access(p, rustix::fs::Access::EXEC_OK).is_ok())
}

/// What it calls itself.
pub(crate) fn version(runsc: &Path) -> Option<String> {
    let out = std::process::Command::new(runsc).arg("--version").env_clear().output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout);
    text.lines().find_map(|l| l.strip_prefix("runsc version ")).map(|v| v.trim().to_owned())
}

/// Where directories of cells are kept: a file system in memory if possible.
pub(crate) fn state_directory() -> PathBuf {
    let run = Path::new("/run");
    if rustix::fs::access(run, rustix::fs::Access::WRITE_OK).is_ok() {
        run.into()
    } else {
        std::env::temp_dir()
    }
}

/// Tries everything that may be used, in order; the first that works is it.
pub(crate) async fn choose(driver: &GvisorDriver) -> Result<Choice, DriverError> {
    let wanted = driver.shared.options.platform.as_deref();
    let platforms = PLATFORMS.into_iter().filter(|p| wanted.is_none_or(|w| w == *p));
    let mut said = Vec::new();
    for platform in platforms {
        for identity in [Identity::Mapped, Identity::Same] {
            let choice = Choice { platform: platform.to_owned(), identity };
            match attempt(driver, &choice).await {
                Ok(()) => return Ok(choice),
                Err(e) => said.push((platform, e)),
            }
            // An unknown platform or a hanging one is that for every user.
            let hopeless = said.last().is_some_and(|(_, e)| e.kind == DriverErrorKind::Unavailable);
            if hopeless {
                break;
            }
        }
    }
    let list = said.iter().map(|(platform, e)| {
        let cause = e.source.as_ref().map_or_else(String::new, |s| format!(": {s}"));
        format!("{platform}: {}{cause}", e.message)
    });
    let list: Vec<String> = list.collect();
    let message = match (list.is_empty(), wanted) {
        (true, Some(wanted)) => format!("'{wanted}' is not a platform of gVisor (systrap, ptrace, kvm)"),
        _ => format!("gVisor does not work here: {}", list.join("; ")),
    };
    Err(DriverError::new(DriverErrorKind::Unsupported, message))
}

/// One trial: a cell that answers, and is removed.
async fn attempt(driver: &GvisorDriver, choice: &Choice) -> Result<(), DriverError> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let scratch = driver.shared.state.join(format!("trial-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&scratch)
        .map_err(|e| DriverError::io("cannot make the directory of the cells", e))?;
    let attempt = AttemptRef {
        job: JobId(0),
        attempt: u32::try_from(number).unwrap_or(u32::MAX),
        epoch: Epoch(u64::from(std::process::id())),
    };
    let request = CellRequest::new(attempt, scratch.clone(), scratch.clone());
    let made = driver.make_cell(&request, choice, driver.shared.options.trial).await;
    let outcome = match made {
        Ok(cell) => cell.tear_down().await,
        Err(e) => Err(e),
    };
    let _ = std::fs::remove_dir_all(&scratch);
    outcome
}
