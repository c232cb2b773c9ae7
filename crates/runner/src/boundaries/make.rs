//! One function for each boundary: tries it for real within a bounded time,
//! and hands over what makes it. The only place that knows drivers by name.

use super::report::{BoundaryReport, Missing, Tried};
use super::{BoundaryPlan, words};
use crate::config::NetworkChoice;
use fleetfoot_driver::containers::Containers;
use fleetfoot_driver::{Driver, DriverError};
use fleetfoot_driver_linux::cgroup::Cgroups;
use fleetfoot_driver_process::{ProcessDriver, ProcessOptions};
use fleetfoot_driver_sandbox::{Network, Root, SandboxDriver, SandboxOptions};
use fleetfoot_model::boundary::Boundary;
use std::sync::Arc;

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
    let mut missing = Vec::new();
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
    let options = sandbox_options(plan);
    let broken = |error: &DriverError, fix: &str| Tried {
        report: BoundaryReport::broken(Boundary::Sandbox, words(error), fix),
        made: None,
    };
    let driver = |options| match SandboxDriver::new(options) {
        Ok(driver) => Ok(Made::Driver(Arc::new(driver) as Arc<dyn Driver>)),
        Err(error) => Err(broken(&error, "correct the settings that begin with `sandbox_`")),
    };
    if let Some(report) = known {
        return match driver(options) {
            Ok(made) => Tried { report, made: Some(made) },
            Err(tried) => tried,
        };
    }
    let scratch = match tempfile::Builder::new().prefix("trial-").tempdir_in(&plan.directory) {
        Ok(scratch) => scratch,
        Err(error) => {
            let error = DriverError::io("no directory for a trial can be made", error);
            return broken(&error, "choose another work_dir");
        }
    };
    let probe = SandboxDriver::probe(options.clone(), scratch.path()).await;
    let holds = probe.checks.iter().filter(|c| c.works).map(|c| format!("{}: {}", c.name, c.found)).collect();
    let missing = probe
        .checks
        .iter()
        .filter(|c| !c.works)
        .map(|c| Missing {
            what: format!("{}: {}", c.name, c.found),
            fix: c.fix.clone().unwrap_or_default(),
            required: c.required,
        })
        .collect();
    let works = probe.usable;
    let report =
        BoundaryReport { boundary: Boundary::Sandbox, offered: works, works, holds, missing, chosen: None };
    if !works {
        return Tried { report, made: None };
    }
    match driver(options) {
        Ok(made) => Tried { report, made: Some(made) },
        Err(tried) => tried,
    }
}

// ---- container

pub(super) async fn container(_plan: &BoundaryPlan) -> Tried {
    Tried::nothing(Boundary::Container)
}

// ---- gvisor

pub(super) async fn gvisor(_plan: &BoundaryPlan, _known: Option<BoundaryReport>) -> Tried {
    Tried::nothing(Boundary::Gvisor)
}
