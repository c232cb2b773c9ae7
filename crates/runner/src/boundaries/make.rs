//! One function for each boundary: tries it for real within a bounded time,
//! and hands over what makes it. The only place that knows drivers by name.

use super::report::{BoundaryReport, Missing, Tried};
use super::{BoundaryPlan, words};
use crate::config::{EngineChoice, KeepChoice, NetworkChoice, PlatformChoice};
use fleetfoot_driver::containers::Containers;
use fleetfoot_driver::{Driver, DriverError, DriverErrorKind};
use fleetfoot_driver_container::{ContainerEngine, ContainerOptions, Endpoint, Keep, KeepPolicy};
use fleetfoot_driver_gvisor::{self as gvisor, GvisorDriver, GvisorOptions};
use fleetfoot_driver_linux::cgroup::{Cgroups, PAST_THE_CACHE};
use fleetfoot_driver_process::{ProcessDriver, ProcessOptions};
use fleetfoot_driver_sandbox::{Network, Root, SandboxDriver, SandboxOptions};
use fleetfoot_model::boundary::Boundary;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What makes a boundary.
#[derive(Clone)]
pub(super) enum Made {
    /// A driver of cells.
    Driver(Arc<dyn Driver>),
    /// A container engine.
    Containers(Arc<dyn Containers>),
}

// ---- process

pub(super) fn process(plan: &BoundaryPlan) -> Result<Arc<dyn Driver>, DriverError> {
    let options = ProcessOptions { tag: plan.tag.clone(), ..ProcessOptions::default() };
    Ok(Arc::new(ProcessDriver::new(options)?))
}

/// What holds processes, found by making and removing a group in each hierarchy.
pub(super) fn process_report() -> BoundaryReport {
    let tag = format!("probe-{}", std::process::id());
    let groups = Cgroups::probe(&tag);
    let (containment, limits) = (groups.containment(), groups.limits());
    groups.remove_bases();
    let mut missing: Vec<Missing> = disk_limits(&limits).into_iter().collect();
    if containment == "process-group" {
        missing.push(Missing {
            what: "control groups".into(),
            fix:
                "delegate them to the runner (`Delegate=yes` in its systemd unit): without, limits hold for \
                  each process, not for the job"
                    .into(),
            required: false,
        });
    } else {
        let lacking: Vec<&str> =
            ["pids", "memory", "cpu"].into_iter().filter(|l| !limits.contains(l)).collect();
        if !lacking.is_empty() {
            missing.push(Missing {
                what: format!("limits of {}", lacking.join(", ")),
                fix: "let the runner make groups in these hierarchies (in a container: mount /sys/fs/cgroup \
                      writable)"
                    .into(),
                required: false,
            });
        }
    }
    let mut holds = vec![format!("processes are held by {containment}")];
    if !limits.is_empty() {
        holds.push(format!("limits of {}", limits.join(", ")));
    }
    BoundaryReport { boundary: Boundary::Process, offered: true, works: true, holds, missing, chosen: None }
}

/// Version 1 slows reading, and writing past the page cache; what the kernel writes later is nobody's.
fn disk_limits(limits: &[&str]) -> Option<Missing> {
    limits.contains(&"blkio").then(|| Missing {
        what: format!("limit of writing to disks: {PAST_THE_CACHE}"),
        fix: "boot with control groups of version 2 alone (`systemd.unified_cgroup_hierarchy=1`): they slow \
              every write"
            .into(),
        required: false,
    })
}

// ---- sandbox

fn sandbox_options(plan: &BoundaryPlan) -> SandboxOptions {
    SandboxOptions {
        tag: plan.tag.clone(),
        network: match plan.config.sandbox_network {
            NetworkChoice::None => Network::None,
            NetworkChoice::Host => Network::Host,
            NetworkChoice::Private => Network::Private,
        },
        root: plan.config.sandbox_root.clone().map_or(Root::Host, Root::Directory),
        workspace_bytes: plan.config.sandbox_workspace,
        ..SandboxOptions::default()
    }
}

/// Removes what sandboxes left, whether or not new ones can be made.
pub(super) fn sandbox_sweeper(plan: &BoundaryPlan) -> Result<SandboxDriver, DriverError> {
    SandboxDriver::new(SandboxOptions { tag: plan.tag.clone(), ..SandboxOptions::default() })
}

pub(super) async fn sandbox(plan: &BoundaryPlan, known: Option<BoundaryReport>) -> Tried {
    let boundary = Boundary::Sandbox;
    let driver = || SandboxDriver::new(sandbox_options(plan)).map(|d| Arc::new(d) as Arc<dyn Driver>);
    if let Some(report) = known {
        return Tried::of(report, driver());
    }
    let scratch = match scratch(plan, boundary) {
        Ok(scratch) => scratch,
        Err(tried) => return tried,
    };
    let probe = SandboxDriver::probe(sandbox_options(plan), scratch.path()).await;
    let checks = probe.checks.into_iter().map(|c| (c.name, c.works, c.required, c.found, c.fix));
    let report = report(boundary, probe.usable, None, checks);
    if !report.works {
        return Tried { report, made: None };
    }
    Tried::of(report, driver())
}

/// A directory for a trial, removed after it.
fn scratch(plan: &BoundaryPlan, boundary: Boundary) -> Result<tempfile::TempDir, Tried> {
    let made = std::fs::create_dir_all(&plan.directory)
        .and_then(|()| tempfile::Builder::new().prefix("trial-").tempdir_in(&plan.directory));
    made.map_err(|error| {
        let error = DriverError::io("no directory for a trial can be made", error);
        Tried {
            report: BoundaryReport::broken(boundary, words(&error), "choose another work_dir"),
            made: None,
        }
    })
}

/// Name, whether it works, whether it is required, what was found, what helps.
type Checked = (&'static str, bool, bool, String, Option<String>);

fn report(
    boundary: Boundary,
    works: bool,
    chosen: Option<String>,
    checks: impl Iterator<Item = Checked>,
) -> BoundaryReport {
    let (mut holds, mut missing) = (Vec::new(), Vec::new());
    for (name, works, required, found, fix) in checks {
        let what = format!("{name}: {found}");
        if works {
            holds.push(what);
        } else {
            missing.push(Missing { what, fix: fix.unwrap_or_default(), required });
        }
    }
    BoundaryReport { boundary, offered: works, works, holds, missing, chosen }
}

impl Tried {
    fn of(report: BoundaryReport, driver: Result<Arc<dyn Driver>, DriverError>) -> Self {
        match driver {
            Ok(driver) => Self { report, made: Some(Made::Driver(driver)) },
            Err(error) => {
                let fix = format!("correct the settings that begin with `{}_`", report.boundary);
                Self { report: BoundaryReport::broken(report.boundary, words(&error), fix), made: None }
            }
        }
    }
}

// ---- container

/// How long an engine may take to say what it is.
const ENGINE_PATIENCE: Duration = Duration::from_secs(5);

/// What starts an engine, for whoever has none.
const NO_ENGINE: &str = "install and start Docker or Podman (`systemctl enable --now docker`, `systemctl enable \
                         --now podman.socket`), or name its socket in `container_engine`";

fn container_options(plan: &BoundaryPlan, endpoint: Endpoint) -> ContainerOptions {
    let config = &plan.config;
    ContainerOptions {
        tag: plan.tag.clone(),
        endpoint,
        default_image: Some(config.container_image.clone()),
        mirrors: config.container_mirror.iter().cloned().collect(),
        allowed_volumes: config.container_volumes.iter().map(PathBuf::from).collect(),
        allowed_options: config.container_options.clone(),
        allow_socket: config.container_socket,
        keep: KeepPolicy {
            keep: match config.container_keep {
                KeepChoice::None => Keep::None,
                KeepChoice::Failed => Keep::Failed,
                KeepChoice::All => Keep::All,
            },
            count: config.container_keep_count,
            age: config.container_keep_age,
        },
        ..ContainerOptions::default()
    }
}

/// Where an engine listens that was named by its kind: the system's socket, and the user's own.
fn usual_socket(system: &str, own: &str) -> PathBuf {
    let user = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join(own));
    match user {
        Some(path) if !rustix::process::geteuid().is_root() && path.exists() => path,
        _ => PathBuf::from(system),
    }
}

/// Where the engine is that the operator chose; none if it is switched off.
fn chosen_endpoint(plan: &BoundaryPlan) -> Option<Endpoint> {
    Some(match &plan.config.container_engine {
        EngineChoice::Off => return None,
        EngineChoice::Auto => Endpoint::Auto,
        EngineChoice::Docker => Endpoint::Socket(usual_socket("/var/run/docker.sock", "docker.sock")),
        EngineChoice::Podman => {
            Endpoint::Socket(usual_socket("/run/podman/podman.sock", "podman/podman.sock"))
        }
        EngineChoice::Socket(path) => Endpoint::Socket(path.clone()),
    })
}

/// The engine, if it answers, and what it is. Nothing is run in it.
pub(super) async fn engine(plan: &BoundaryPlan) -> Result<(Arc<dyn Containers>, String), Missing> {
    let missing = |what: String, fix: &str| Missing { what, fix: fix.to_owned(), required: true };
    let Some(endpoint) = chosen_endpoint(plan) else {
        return Err(missing("switched off".to_owned(), "set `container_engine` to `auto`"));
    };
    let asked = async {
        let engine = ContainerEngine::new(container_options(plan, endpoint))?;
        let about = engine.about().await?;
        Ok((engine, about))
    };
    let answer = tokio::time::timeout(ENGINE_PATIENCE, asked).await.unwrap_or_else(|_| {
        let message = format!("the engine gave no answer within {} s", ENGINE_PATIENCE.as_secs());
        Err(DriverError::new(DriverErrorKind::Unavailable, message))
    });
    match answer {
        Ok((engine, about)) => {
            let user = if about.rootless { ", as an ordinary user" } else { "" };
            let text = format!("{} {} at {}{user}", about.name, about.version, about.endpoint);
            Ok((Arc::new(engine), text))
        }
        Err(error) => Err(missing(words(&error), NO_ENGINE)),
    }
}

/// Asks the engine what it is, and has it run a container, unless the very same one did that before.
pub(super) async fn container(plan: &BoundaryPlan, known: Option<BoundaryReport>) -> Tried {
    let boundary = Boundary::Container;
    let (engine, about) = match engine(plan).await {
        Ok(found) => found,
        Err(m) => return Tried { report: BoundaryReport::broken(boundary, m.what, m.fix), made: None },
    };
    let report = match known.filter(|known| known.chosen.as_ref() == Some(&about)) {
        Some(known) => known,
        None => match try_containers(plan, about).await {
            Ok(report) => report,
            Err(tried) => return tried,
        },
    };
    let made = report.works.then_some(Made::Containers(engine));
    Tried { report, made }
}

async fn try_containers(plan: &BoundaryPlan, about: String) -> Result<BoundaryReport, Tried> {
    let scratch = scratch(plan, Boundary::Container)?;
    let options = container_options(plan, chosen_endpoint(plan).unwrap_or_default());
    let probe = ContainerEngine::probe(options, scratch.path()).await;
    let checks = probe.checks.into_iter().map(|c| (c.name, c.works, c.required, c.found, c.fix));
    Ok(report(Boundary::Container, probe.usable, Some(about), checks))
}

// ---- gvisor

fn gvisor_options(plan: &BoundaryPlan) -> GvisorOptions {
    let config = &plan.config;
    GvisorOptions {
        tag: plan.tag.clone(),
        runsc: config.gvisor_runsc.clone(),
        platform: match config.gvisor_platform {
            PlatformChoice::Auto => None,
            named => Some(named.as_str().to_owned()),
        },
        network: match config.gvisor_network {
            NetworkChoice::None => gvisor::Network::None,
            NetworkChoice::Host => gvisor::Network::Host,
            NetworkChoice::Private => gvisor::Network::Private,
        },
        ..GvisorOptions::default()
    }
}

/// Removes what gVisor's cells left, whether or not new ones can be made.
pub(super) fn gvisor_sweeper(plan: &BoundaryPlan) -> Result<GvisorDriver, DriverError> {
    GvisorDriver::new(GvisorOptions { network: gvisor::Network::None, ..gvisor_options(plan) })
}

/// Ends trials of this process that are under way.
pub(super) async fn end_gvisor_trials(plan: &BoundaryPlan) -> Result<(), DriverError> {
    GvisorDriver::end_trials(&gvisor_options(plan), gvisor::Trials::All).await
}

pub(super) async fn gvisor(plan: &BoundaryPlan, known: Option<BoundaryReport>) -> Tried {
    let boundary = Boundary::Gvisor;
    let driver = |platform| {
        let options = GvisorOptions { platform, ..gvisor_options(plan) };
        GvisorDriver::new(options).map(|d| Arc::new(d) as Arc<dyn Driver>)
    };
    if let Some(report) = known {
        return Tried::of(report.clone(), driver(report.chosen));
    }
    let scratch = match scratch(plan, boundary) {
        Ok(scratch) => scratch,
        Err(tried) => return tried,
    };
    let probe = GvisorDriver::probe(gvisor_options(plan), scratch.path()).await;
    let checks = probe.checks.into_iter().map(|c| (c.name, c.works, c.required, c.found, c.fix));
    let report = report(boundary, probe.usable, probe.platform.clone(), checks);
    if !report.works {
        return Tried { report, made: None };
    }
    Tried::of(report, driver(probe.platform))
}
