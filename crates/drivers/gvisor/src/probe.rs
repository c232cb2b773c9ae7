//! Tries the boundary for real: chooses a platform by trial, builds a cell,
//! runs a program in it, removes it, within a bounded time. For whatever is
//! missing it says what helps. It must never conclude from the mere presence
//! of a file.

use crate::driver::{GvisorDriver, GvisorOptions, NO_RUNSC, Network};
use crate::spec::Identity;
use crate::trials::{self, Trials};
use fleetfoot_driver::{Cell, CellRequest, Command, DriverError, DriverErrorKind};
use fleetfoot_driver_linux::network;
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId};
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// Where to look if nothing better is known.
const GENERAL: &str = "run the runner as root, allow user namespaces and ptrace, and use a recent runsc; \
     `gvisor_platform` chooses how gVisor catches system calls (systrap, ptrace, kvm)";

/// How long the trial of a network may take: one of each platform, and a cell.
const DEADLINE: Duration = Duration::from_secs(20);

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What: `runsc`, `cell`, `system-calls`, `groups`, `owners`, `private-network`.
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
    /// The platform that works, for [`GvisorOptions::platform`]: so that it is not tried for again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Everything that was tried.
    pub checks: Vec<Check>,
}

/// The platform that works, and what was seen with it.
struct Found {
    platform: String,
    checks: Vec<Check>,
}

impl GvisorDriver {
    /// Tries everything, in `scratch` (an existing directory of ours), each network within twenty seconds.
    pub async fn probe(options: GvisorOptions, scratch: &Path) -> Probe {
        if let Err(error) = Self::end_trials(&options, Trials::Orphaned).await {
            tracing::warn!(%error, "something is left of a trial that was interrupted");
        }
        let wanted = options.network;
        let private_options = GvisorOptions { network: Network::Private, ..options.clone() };
        let (found, private) = match tried(&options, scratch).await {
            Err(failed) if wanted == Network::Private => {
                // What is missing may be the network alone.
                let without = GvisorOptions { network: Network::None, ..options };
                (tried(&without, scratch).await, Err(failed))
            }
            found if wanted == Network::Private => (found, Ok(())),
            Ok(found) => {
                let options = GvisorOptions { platform: Some(found.platform.clone()), ..private_options };
                (Ok(found), tried(&options, scratch).await.map(drop))
            }
            Err(failed) => (Err(failed), Err(private_untried())),
        };
        let (platform, mut checks) = match found {
            Ok(found) => (Some(found.platform), found.checks),
            Err(failed) => (None, vec![failed]),
        };
        checks.push(Check {
            name: "private-network",
            works: private.is_ok(),
            required: wanted == Network::Private,
            found: private.as_ref().map_or_else(|failed| failed.found.clone(), |()| "slirp4netns".into()),
            fix: private.is_err().then(|| network::NEEDS.to_owned()),
        });
        Probe { usable: checks.iter().all(|c| c.works || !c.required), platform, checks }
    }
}

fn private_untried() -> Check {
    let e = DriverError::new(DriverErrorKind::Unsupported, "not tried");
    failed("private-network", &e, String::new())
}

/// One network; the check that failed if it does not work.
async fn tried(options: &GvisorOptions, scratch: &Path) -> Result<Found, Check> {
    let driver = trials::fresh_tag(&options.tag)
        .and_then(|tag| GvisorDriver::new(GvisorOptions { tag, ..options.clone() }));
    let driver = driver.map_err(|e| {
        let missing = e.kind == DriverErrorKind::Unsupported;
        failed("runsc", &e, if missing { NO_RUNSC } else { GENERAL }.to_owned())
    })?;
    let mut checks = vec![works("runsc", true, driver.version().to_owned())];
    let platform = tokio::time::timeout(DEADLINE, try_cell(&driver, scratch, &mut checks))
        .await
        .unwrap_or_else(|_| {
            let message = format!("no answer within {} s", DEADLINE.as_secs());
            Err(DriverError::new(DriverErrorKind::Unavailable, message))
        })
        .map_err(|e| failed("cell", &e, GENERAL.to_owned()))?;
    Ok(Found { platform, checks })
}

fn works(name: &'static str, required: bool, found: String) -> Check {
    Check { name, works: true, required, found, fix: None }
}

fn failed(name: &'static str, e: &DriverError, fix: String) -> Check {
    let cause = e.source.as_ref().map_or_else(String::new, |s| format!(": {s}"));
    Check { name, works: false, required: true, found: format!("{}{cause}", e.message), fix: Some(fix) }
}

/// Makes a cell and a command; returns the platform.
async fn try_cell(
    driver: &GvisorDriver,
    scratch: &Path,
    checks: &mut Vec<Check>,
) -> Result<String, DriverError> {
    let choice = driver.choice().await?.clone();
    let attempt = AttemptRef { job: JobId(0), attempt: 0, epoch: Epoch(u64::from(std::process::id())) };
    let request = CellRequest::new(attempt, scratch.into(), scratch.into());
    let cell = driver.make_cell(&request, &choice, driver.shared.options.trial).await?;
    let run = async |program: &str, args: &[&str]| {
        let command = Command {
            program: program.into(),
            args: args.iter().map(|a| (*a).to_owned()).collect(),
            env: HashMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
            working_directory: scratch.into(),
            merge_output: true,
            ..Command::default()
        };
        Ok::<_, DriverError>(cell.start(command).await?.handle.wait().await)
    };
    let exit = run("true", &[]).await?;
    // The best known of the calls that old releases refuse.
    let lists = run("ls", &["-d", "/"]).await.is_ok_and(|exit| exit.code == Some(0));
    let record = cell.record();
    cell.tear_down().await?;
    if exit.code != Some(0) {
        let message = format!("`true` ended with {exit:?}; a job would not run either");
        return Err(DriverError::new(DriverErrorKind::Unsupported, message));
    }
    let found = format!("platform {}, kernel {}, user {}", choice.platform, record.kernel, record.user);
    checks.push(works("cell", true, found));
    checks.push(groups(driver.containment()));
    checks.push(system_calls(lists));
    checks.push(owners(choice.identity));
    Ok(choice.platform)
}

fn groups(containment: &str) -> Check {
    let grouped = containment != "process-group";
    Check {
        name: "groups",
        works: grouped,
        required: false,
        found: containment.into(),
        fix: (!grouped).then(|| {
            "delegate control groups to the runner (`Delegate=yes` in its systemd unit): jobs with a limit of \
             memory are refused"
                .into()
        }),
    }
}

fn system_calls(lists: bool) -> Check {
    Check {
        name: "system-calls",
        works: lists,
        required: false,
        found: if lists { "`ls` works".into() } else { "`ls` of this system does not work in it".into() },
        fix: (!lists).then(|| {
            "install a newer runsc (releases before 2023 refuse `statx` as newer systems use it), and name it \
             in `gvisor_runsc`"
                .into()
        }),
    }
}

fn owners(identity: Identity) -> Check {
    let mapped = identity == Identity::Mapped;
    Check {
        name: "owners",
        works: mapped,
        required: false,
        found: if mapped {
            "gVisor runs as a user without files; jobs are user 1000".into()
        } else {
            "gVisor runs as root; jobs are root without capabilities".into()
        },
        fix: (!mapped).then(|| "allow user namespaces (user.max_user_namespaces)".into()),
    }
}
