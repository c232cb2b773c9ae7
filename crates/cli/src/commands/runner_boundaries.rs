//! Boundaries at the command line: the flags of a runner, the table of what a
//! machine can make, and kept containers. What boundaries are is in the runner.

use crate::clock;
use crate::error::{CliError, Exit, Result};
use crate::output::{self, Format};
use crate::style::{self, Style, printable};
use clap::Args;
use fleetfoot_driver::containers::Kept;
use fleetfoot_model::Timestamp;
use fleetfoot_model::boundary::Boundary;
use fleetfoot_runner::boundaries::{BoundaryReport, KeptContainers, Refused, Which};
use fleetfoot_runner::config::{EngineChoice, KeepChoice, NetworkChoice, Period, PlatformChoice, Size};
use fleetfoot_runner::{Identity, PartialConfig, RunnerConfig};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Flags about boundaries.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Boundaries (also FLEETFOOT_RUNNER_… in the environment)")]
pub(super) struct BoundarySettings {
    /// How jobs are fenced off that do not ask for more: process, sandbox, container, gvisor [default: process]
    #[arg(long, value_name = "BOUNDARY")]
    boundary: Option<Boundary>,
    /// The strongest boundary that is offered [default: the strongest that this machine can make]
    #[arg(long, value_name = "BOUNDARY")]
    max_boundary: Option<Boundary>,
    /// Network of jobs in a sandbox: none, host, private [default: host]
    #[arg(long, value_name = "NETWORK")]
    sandbox_network: Option<NetworkChoice>,
    /// The most that a job in a sandbox may write into its workspace
    #[arg(long, value_name = "SIZE")]
    sandbox_workspace: Option<Size>,
    /// Root of an unpacked image that jobs in a sandbox see [default: the programs of this machine]
    #[arg(long, value_name = "DIR")]
    sandbox_root: Option<PathBuf>,
    /// Container engine: auto, docker, podman, off, or the path of a socket [default: auto]
    #[arg(long, value_name = "ENGINE")]
    container_engine: Option<EngineChoice>,
    /// Image of jobs that must run in a container and name none
    #[arg(long, value_name = "IMAGE")]
    container_image: Option<String>,
    /// Mirror of Docker Hub that is asked for images before it
    #[arg(long, value_name = "URL")]
    container_mirror: Option<String>,
    /// Directory of this machine below which jobs may mount volumes (repeatable)
    #[arg(long, value_name = "DIR")]
    container_volume: Vec<String>,
    /// Option of containers that jobs may use beside the usual ones (repeatable)
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    container_option: Vec<String>,
    /// Show the socket of the container engine to jobs: whoever has it owns this machine
    #[arg(long)]
    container_socket: bool,
    /// Finished containers that stay for inspection: none, failed, all [default: none]
    #[arg(long, value_name = "WHICH")]
    container_keep: Option<KeepChoice>,
    /// How many of them stay [default: 10]
    #[arg(long, value_name = "N")]
    container_keep_count: Option<usize>,
    /// How long they stay, for example 24h [default: 24h]
    #[arg(long, value_name = "TIME")]
    container_keep_age: Option<Period>,
    /// The program runsc of gVisor [default: runsc on the PATH]
    #[arg(long, value_name = "FILE")]
    gvisor_runsc: Option<PathBuf>,
    /// How gVisor gets hold of system calls: auto, systrap, ptrace, kvm [default: auto]
    #[arg(long, value_name = "PLATFORM")]
    gvisor_platform: Option<PlatformChoice>,
    /// Network of jobs in gVisor: none, host, private [default: private]
    #[arg(long, value_name = "NETWORK")]
    gvisor_network: Option<NetworkChoice>,
}

impl BoundarySettings {
    /// The layer of these flags; says nothing about other settings.
    pub(super) fn flags(&self) -> PartialConfig {
        let list = |given: &[String]| (!given.is_empty()).then(|| given.to_vec());
        PartialConfig {
            boundary: self.boundary,
            max_boundary: self.max_boundary,
            sandbox_network: self.sandbox_network,
            sandbox_workspace: self.sandbox_workspace,
            sandbox_root: self.sandbox_root.clone(),
            container_engine: self.container_engine.clone(),
            container_image: self.container_image.clone(),
            container_mirror: self.container_mirror.clone(),
            container_volumes: list(&self.container_volume),
            container_options: list(&self.container_option),
            container_socket: self.container_socket.then_some(true),
            container_keep: self.container_keep,
            container_keep_count: self.container_keep_count,
            container_keep_age: self.container_keep_age,
            gvisor_runsc: self.gvisor_runsc.clone(),
            gvisor_platform: self.gvisor_platform,
            gvisor_network: self.gvisor_network,
            ..PartialConfig::default()
        }
    }
}

/// Which kept containers, and what becomes of them.
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Only list them
    #[arg(long)]
    list: bool,
    /// Remove all of them
    #[arg(long, conflicts_with = "older_than")]
    all: bool,
    /// Remove those that ended longer ago than this, for example 24h
    #[arg(long, value_name = "TIME")]
    older_than: Option<Period>,
}

impl PruneArgs {
    pub(super) async fn run(&self, config: &RunnerConfig, format: Format) -> Result {
        let identity = Identity::load(&config.token_file)?;
        let failed = |refused: Refused| CliError::machine(refused.message).next("fleetfoot runner validate");
        let containers = KeptContainers::open(config, &identity).await.map_err(failed)?;
        let kept = containers.list().await.map_err(failed)?;
        let which = match (self.all, self.older_than) {
            (true, _) => Which::All,
            (false, Some(age)) => Which::OlderThan(age.0),
            (false, None) => Which::Policy,
        };
        let chosen = match (self.list, which) {
            // The whole list, unless a part of it was asked for.
            (true, Which::Policy) => kept.clone(),
            _ => containers.doomed(&kept, which, clock::now()),
        };
        if !self.list {
            containers.remove(&chosen).await.map_err(failed)?;
        }
        let left = kept.len() - chosen.len();
        match (format, self.list) {
            (Format::Json, true) => output::json(&serde_json::json!({ "kept": chosen }))?,
            (Format::Json, false) => output::json(&serde_json::json!({ "removed": chosen, "left": left }))?,
            (Format::Text, true) if chosen.is_empty() => output::say("no containers were kept"),
            (Format::Text, true) => output::print(&kept_table(&chosen, clock::now()))?,
            (Format::Text, false) => {
                for one in &chosen {
                    output::line(&format!("removed {}", printable(&one.name)))?;
                }
                output::say(&format!("{} removed, {left} left", chosen.len()));
            }
        }
        Ok(Exit::Ok)
    }
}

/// Kept containers, newest first.
fn kept_table(kept: &[Kept], now: Timestamp) -> String {
    let rows: Vec<Vec<String>> = kept
        .iter()
        .map(|one| {
            vec![
                printable(&one.name),
                one.attempt.job.to_string(),
                one.attempt.attempt.to_string(),
                one.exit_code.to_string(),
                style::ago(one.finished_at, now),
                printable(&one.image),
            ]
        })
        .collect();
    style::table(&["CONTAINER", "JOB", "ATTEMPT", "EXIT", "ENDED", "IMAGE"], &rows)
}

/// What this machine can make: a row for each boundary, and under it what is missing with what helps.
pub(super) fn table(reports: &[BoundaryReport], style: Style) -> String {
    let mut text = style.bold("BOUNDARY   OFFERED  WHAT HOLDS, WHAT IS MISSING");
    text.push('\n');
    for report in reports {
        let offered = match (report.offered, report.works) {
            (true, _) => style.green("yes    "),
            (false, true) => style.yellow("no     "),
            (false, false) => style.red("no     "),
        };
        let mut lines: Vec<String> = report.holds.iter().map(|h| printable(h)).collect();
        if report.works && !report.offered {
            lines.insert(0, "works, but max_boundary does not allow it".to_owned());
        }
        for missing in &report.missing {
            let mark = if missing.required { style.red("✗") } else { style.yellow("!") };
            lines.push(format!("{mark} {}", printable(&missing.what)));
            if !missing.fix.is_empty() {
                lines.push(format!("  {} {}", style.cyan("fix:"), printable(&missing.fix)));
            }
        }
        let _ = write!(text, "{:<10} {offered}", report.boundary.as_str());
        for (number, line) in lines.iter().enumerate() {
            let indent = if number == 0 { "  " } else { "                    " };
            let _ = writeln!(text, "{indent}{line}");
        }
        if lines.is_empty() {
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetfoot_runner::boundaries::Missing;

    fn report(boundary: Boundary, offered: bool, works: bool, holds: &[&str]) -> BoundaryReport {
        let holds = holds.iter().map(|h| (*h).to_owned()).collect();
        BoundaryReport { boundary, offered, works, holds, missing: Vec::new(), chosen: None }
    }

    #[test]
    fn kept_containers() {
        use fleetfoot_model::{AttemptRef, Epoch, JobId};
        let one = |name: &str, job, minutes: i64| Kept {
            id: "3f2a".to_owned(),
            name: name.to_owned(),
            attempt: AttemptRef { job: JobId(job), attempt: 1, epoch: Epoch(4) },
            image: "docker.io/library/node:20".to_owned(),
            finished_at: Timestamp::from_micros(-minutes * 60_000_000),
            exit_code: 1,
            failed: true,
        };
        let kept = [one("fleetfoot-7-job", 7, 5), one("fleetfoot-12-service-redis", 12, 180)];
        insta::assert_snapshot!(kept_table(&kept, Timestamp::from_micros(0)), @r"
        CONTAINER                   JOB  ATTEMPT  EXIT  ENDED   IMAGE
        fleetfoot-7-job             7    1        1     5m ago  docker.io/library/node:20
        fleetfoot-12-service-redis  12   1        1     3h ago  docker.io/library/node:20
        ");
    }

    fn missing(what: &str, fix: &str, required: bool) -> Missing {
        Missing { what: what.to_owned(), fix: fix.to_owned(), required }
    }

    #[test]
    fn what_a_machine_can_make() {
        let reports = [
            report(
                Boundary::Process,
                true,
                true,
                &["processes are held by hybrid", "limits of pids, memory, cpu"],
            ),
            BoundaryReport {
                missing: vec![missing(
                    "private-network: not available",
                    "install the package slirp4netns",
                    false,
                )],
                ..report(
                    Boundary::Sandbox,
                    true,
                    true,
                    &["cell: namespaces user, mount, pid; user 1000:1000", "landlock: ABI 6"],
                )
            },
            BoundaryReport {
                missing: vec![missing(
                    "engine: nothing answers at /var/run/docker.sock",
                    "start Docker",
                    true,
                )],
                ..report(Boundary::Container, false, false, &[])
            },
            report(Boundary::Gvisor, false, true, &["cell: platform systrap"]),
        ];
        insta::assert_snapshot!(table(&reports, Style::PLAIN), @r"
        BOUNDARY   OFFERED  WHAT HOLDS, WHAT IS MISSING
        process    yes      processes are held by hybrid
                            limits of pids, memory, cpu
        sandbox    yes      cell: namespaces user, mount, pid; user 1000:1000
                            landlock: ABI 6
                            ! private-network: not available
                              fix: install the package slirp4netns
        container  no       ✗ engine: nothing answers at /var/run/docker.sock
                              fix: start Docker
        gvisor     no       works, but max_boundary does not allow it
                            cell: platform systrap
        ");
    }
}
