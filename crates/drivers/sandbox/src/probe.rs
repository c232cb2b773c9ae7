//! Tries the boundary for real: builds a cell, runs a program in it, removes
//! it, within a bounded time. For whatever is missing it says what helps. It
//! must never conclude from the mere presence of a file.

use crate::driver::{Network, SandboxDriver, SandboxOptions};
use fleetfoot_driver::{Cell, CellRequest, Command, DriverError};
use fleetfoot_driver_linux::network;
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId};
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// Where to look if nothing better is known.
const GENERAL: &str = "let the runner make user namespaces and mounts: look at \
     kernel.unprivileged_userns_clone, user.max_user_namespaces, AppArmor, and the profile of the container \
     that it runs in";

/// How long the whole probe may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What: `cell`, `groups`, `landlock`, `owners`, `private-network`.
    pub name: &'static str,
    /// It works.
    pub works: bool,
    /// The boundary cannot be offered without it.
    pub required: bool,
    /// What was found.
    pub found: String,
    /// What to do about it, if it does not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// The outcome of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// Cells can be made.
    pub usable: bool,
    /// Everything that was tried.
    pub checks: Vec<Check>,
}

impl SandboxDriver {
    /// Tries everything, in `scratch` (an existing directory of ours), within five seconds.
    pub async fn probe(options: SandboxOptions, scratch: &Path) -> Probe {
        let mut checks = Vec::new();
        let tried = tokio::time::timeout(DEADLINE, try_cell(&options, scratch, &mut checks)).await;
        let (works, found, fix) = match tried {
            Ok(Ok(found)) => (true, found, None),
            Ok(Err(e)) => {
                let cause = e.source.as_ref().map_or_else(String::new, |s| format!(": {s}"));
                let (found, fix) = match e.message.split_once("; ") {
                    Some((found, fix)) => (format!("{found}{cause}"), fix.to_owned()),
                    None => (format!("{}{cause}", e.message), GENERAL.to_owned()),
                };
                (false, found, Some(fix))
            }
            Err(_) => (
                false,
                format!("no answer within {} s", DEADLINE.as_secs()),
                Some("look for a hanging file system, then try again".to_owned()),
            ),
        };
        checks.insert(0, Check { name: "cell", works, required: true, found, fix });
        let abi = crate::landlock::abi();
        checks.push(Check {
            name: "landlock",
            works: abi > 0,
            required: false,
            found: if abi > 0 { format!("ABI {abi}") } else { "not in this kernel".into() },
            fix: (abi == 0)
                .then(|| "boot with `lsm=landlock,...` on a kernel with CONFIG_SECURITY_LANDLOCK".into()),
        });
        let private = SandboxOptions { network: Network::Private, ..options.clone() };
        let tried = match works {
            true => tokio::time::timeout(DEADLINE, try_cell(&private, scratch, &mut Vec::new())).await.ok(),
            false => None,
        };
        let works = matches!(tried, Some(Ok(_)));
        checks.push(Check {
            name: "private-network",
            works,
            required: options.network == Network::Private,
            found: match tried {
                Some(Ok(_)) => "slirp4netns".into(),
                Some(Err(e)) => e.source.as_ref().map_or("not available".into(), ToString::to_string),
                None => "not tried".into(),
            },
            fix: (!works).then(|| network::NEEDS.into()),
        });
        Probe { usable: checks.iter().all(|c| c.works || !c.required), checks }
    }
}

async fn try_cell(
    options: &SandboxOptions,
    scratch: &Path,
    checks: &mut Vec<Check>,
) -> Result<String, DriverError> {
    let tag = format!("{}-probe-{}", options.tag, std::process::id());
    let driver = SandboxDriver::new(SandboxOptions { tag, workspace_bytes: None, ..options.clone() })?;
    let grouped = driver.containment() != "pid-namespace";
    checks.push(Check {
        name: "groups",
        works: grouped,
        required: false,
        found: driver.containment().into(),
        fix: (!grouped).then(|| {
            "delegate control groups to the runner (`Delegate=yes` in its systemd unit): limits hold by \
             resource limits per process only"
                .into()
        }),
    });
    let root = rustix::process::geteuid().is_root();
    checks.push(Check {
        name: "owners",
        works: driver.owners_are_mapped() || !root,
        required: false,
        found: match (root, driver.owners_are_mapped()) {
            (false, _) => "jobs run as the user of the runner".into(),
            (true, true) => "jobs run as a user of their own".into(),
            (true, false) => "jobs run with root's access to files".into(),
        },
        fix: (root && !driver.owners_are_mapped()).then(|| {
            "use Linux 5.12 or newer and a file system with id-mapped mounts for the work directory".into()
        }),
    });
    let request = CellRequest::new(
        AttemptRef { job: JobId(0), attempt: 0, epoch: Epoch(u64::from(std::process::id())) },
        scratch.into(),
        scratch.into(),
    );
    let cell = driver.make_cell(&request).await?;
    let running = cell
        .start(Command {
            program: "true".into(),
            env: HashMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
            working_directory: scratch.into(),
            ..Command::default()
        })
        .await?;
    let exit = running.handle.wait().await;
    let record = cell.record();
    cell.tear_down().await?;
    if exit.code != Some(0) {
        let message = format!("`true` ended with {exit:?}; a job would not run either");
        return Err(DriverError::new(fleetfoot_driver::DriverErrorKind::Unsupported, message));
    }
    Ok(format!("namespaces {}; user {}", record.namespaces.join(", "), record.user))
}

/// What usually helps when a part cannot be built.
pub(crate) fn fix(what: &str, errno: i32) -> Option<&'static str> {
    Some(match (what, errno) {
        ("enter new namespaces", libc::EPERM) => {
            "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, \
             kernel.apparmor_restrict_unprivileged_userns=0; in a container, run it with --privileged or a \
             profile that allows unshare"
        }
        ("enter new namespaces", libc::ENOSPC | libc::EUSERS) => {
            "raise sysctl user.max_user_namespaces (and user.max_mnt_namespaces, user.max_pid_namespaces)"
        }
        ("mount '/proc'", libc::EPERM) => {
            "the runner's own /proc is partly hidden (a container): run the container with \
             --security-opt systempaths=unconfined"
        }
        (_, libc::ENOSYS) => "use Linux 5.12 or newer",
        ("map the user of the sandbox", libc::EPERM) => "check /proc/self/uid_map of the runner",
        _ => return None,
    })
}

/// Root in name only (in a container) can neither map owners nor users.
pub(crate) fn may_map_owners() -> bool {
    const NEEDED: u64 = 1 << 6 | 1 << 7 | 1 << 21;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|e| e & NEEDED == NEEDED)
}
