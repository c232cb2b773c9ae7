//! The trial of an engine: a container is made, started, asked for a command
//! and removed, the way jobs have theirs, with an image of a few bytes that
//! comes from here. What fails is said with what helps. It must never take
//! longer than [`TRIAL`] and the clean-up after it, and never leave anything.

use crate::config::{ContainerOptions, Keep, KeepPolicy, Pull};
use crate::engine::{ContainerEngine, EngineAbout, remove_image};
use crate::{keeper, names};
use bollard::query_parameters::CreateImageOptionsBuilder;
use bytes::Bytes;
use fleetfoot_driver::containers::{Container, Containers, Group, GroupRequest, Image};
use fleetfoot_driver::{CellRequest, Command, DriverError, DriverErrorKind};
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId};
use fleetfoot_model::spec::Limits;
use futures_util::StreamExt;
use indexmap::IndexMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long all of it may take, without the clean-up.
const TRIAL: Duration = Duration::from_secs(30);
/// How long the engine may take for one thing.
const PATIENCE: Duration = Duration::from_secs(10);

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What: `engine`, `container`, `limits`.
    pub name: &'static str,
    /// It works.
    pub works: bool,
    /// The boundary cannot be offered without it.
    pub required: bool,
    /// What was found.
    pub found: String,
    /// What to do about it, if it does not work.
    pub fix: Option<String>,
}

/// The outcome of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Containers can be had.
    pub usable: bool,
    /// What the engine says of itself, if it answers.
    pub about: Option<EngineAbout>,
    /// What was tried, in this order.
    pub checks: Vec<Check>,
}

impl ContainerEngine {
    /// Tries an engine with these options: a container is run for real and removed. `scratch` is an
    /// empty directory where those of jobs will be. Takes 40 seconds at most.
    pub async fn probe(options: ContainerOptions, scratch: &Path) -> Probe {
        Box::pin(probe(options, scratch)).await
    }
}

async fn probe(options: ContainerOptions, scratch: &Path) -> Probe {
    let options = for_trial(options, scratch);
    let asked = async {
        let engine = ContainerEngine::new(options)?;
        let about = engine.about().await?;
        Ok::<_, DriverError>((engine, about))
    };
    let (engine, about) = match asked.await {
        Ok(found) => found,
        Err(error) => {
            let check = refused("engine", &error, START.to_owned());
            return Probe { usable: false, about: None, checks: vec![check] };
        }
    };
    let holds = |name, found: String| Check { name, works: true, required: true, found, fix: None };
    let mut checks = vec![holds("engine", format!("{} {} at {}", about.name, about.version, about.endpoint))];
    // What a trial left that was killed.
    let _ = tokio::time::timeout(PATIENCE, engine.sweep_except(&[])).await;
    let limits =
        Limits { memory_bytes: Some(64 << 20), cpus: Some(0.5), pids: Some(32), ..Limits::default() };
    let work = async {
        match once(&engine, scratch, limits).await {
            Ok(()) => Ok(None),
            // Perhaps only the limits are the matter.
            Err(error) => once(&engine, scratch, Limits::default()).await.map(|()| Some(error)),
        }
    };
    let outcome = tokio::time::timeout(TRIAL, work).await.unwrap_or_else(|_| {
        let message = format!("a container did not start and end within {} s", TRIAL.as_secs());
        Err(DriverError::new(DriverErrorKind::Unavailable, message))
    });
    match outcome {
        Ok(limited) => {
            checks.push(holds("container", "one was started, ran a command, and was removed".to_owned()));
            let grouped = engine.shared.client.known().grouped();
            checks.push(match limited {
                None if grouped => holds("limits", "memory, CPUs and processes".to_owned()),
                None => Check {
                    name: "limits",
                    works: false,
                    required: false,
                    found: "memory of each process and processes of each user only, no CPUs: the engine runs \
                            without root, and control groups v1 are root's"
                        .to_owned(),
                    fix: Some(
                        "boot with `systemd.unified_cgroup_hierarchy=1`, and delegate control groups to the user"
                            .to_owned(),
                    ),
                },
                Some(error) => Check { required: false, ..refused("limits", &error, help(&about, &error)) },
            });
        }
        Err(error) => {
            checks.push(refused("container", &error, help(&about, &error)));
            let _ = tokio::time::timeout(PATIENCE, engine.sweep_except(&[])).await;
        }
    }
    let usable = checks.iter().all(|c| c.works || !c.required);
    Probe { usable, about: Some(about), checks }
}

/// The same fence, with a tag of its own, so that no sweep of attempts takes the trial for a left-over.
fn for_trial(options: ContainerOptions, scratch: &Path) -> ContainerOptions {
    ContainerOptions {
        tag: format!("probe-{}", names::plain(&options.tag)),
        keep: KeepPolicy { keep: Keep::None, ..KeepPolicy::default() },
        pull: Pull::Missing,
        spare_networks: 0,
        directory: Some(scratch.join("engine")),
        patience: PATIENCE,
        ..options
    }
}

const START: &str = "install and start Docker or Podman (`systemctl enable --now docker`, `systemctl enable \
                     --now podman.socket`), or name its socket in `container_engine`";

fn refused(name: &'static str, error: &DriverError, fix: String) -> Check {
    let found = match &error.source {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    Check { name, works: false, required: true, found, fix: Some(fix) }
}

/// What helps against a failure, as far as its words are known.
fn help(about: &EngineAbout, error: &DriverError) -> String {
    let words = error.message.to_ascii_lowercase();
    let has = |all: &[&str]| all.iter().any(|w| words.contains(w));
    let podman = about.name == "podman";
    if has(&["setrlimit", "rlimit"]) {
        return "the engine may not raise limits of open files and processes: set `default_ulimits = \
                [\"nofile=1024:1024\", \"nproc=4096:4096\"]` in [containers] of /etc/containers/containers.conf, and \
                start the engine again"
            .to_owned();
    }
    if podman && has(&["crun", "hybrid", "cgroup"]) {
        return "the runtime cannot use the control groups of this machine: install runc, set `runtime = \"runc\"` \
                in [engine] of /etc/containers/containers.conf (and `cgroup_manager = \"cgroupfs\"` without systemd), \
                and start the engine again"
            .to_owned();
    }
    if has(&["cgroup", "memory", "cpu.max", "pids"]) {
        return "let the engine use control groups (a rootless engine: `Delegate=yes` for user@.service; inside a \
                container: mount /sys/fs/cgroup writable)"
            .to_owned();
    }
    if has(&["executable file not found", "runtime", "runc"]) {
        return "install runc, or name a runtime that is there in the configuration of the engine".to_owned();
    }
    if has(&["does not answer"]) {
        return "SELinux, or a runtime with a file system of its own, keeps containers from the runner's socket: let \
                them use directories of the runner, or choose another runtime"
            .to_owned();
    }
    if has(&["mount", "no such file"]) {
        return "the engine does not see the directories of the runner: run both on the same machine and in the same \
                file system (not the runner alone in a container)"
            .to_owned();
    }
    let log = if podman { "journalctl -u podman" } else { "journalctl -u docker" };
    format!("look at what the engine says: {log}")
}

/// Makes a container, has it run commands, and removes it and its image.
async fn once(engine: &ContainerEngine, scratch: &Path, limits: Limits) -> Result<(), DriverError> {
    let attempt = AttemptRef { job: JobId(0), attempt: 1, epoch: Epoch(u64::from(std::process::id())) };
    let (workspace, temp) = (scratch.join("workspace"), scratch.join("temp"));
    for directory in [&workspace, &temp] {
        std::fs::create_dir_all(directory)
            .map_err(|e| DriverError::io(format!("cannot make '{}'", directory.display()), e))?;
    }
    let cell = CellRequest { limits, ..CellRequest::new(attempt, workspace.clone(), temp) };
    let image = import(engine, attempt).await?;
    let group = engine.open_group(GroupRequest { cell, notes: Arc::new(|_: &str| ()) }).await?;
    let worked = Box::pin(run(&*group, &image, &workspace)).await;
    let removed = group.tear_down(true).await;
    let gone = remove_image(&engine.shared.client, &image).await;
    worked.and(removed).and(gone)
}

async fn run(group: &dyn Group, image: &str, workspace: &Path) -> Result<(), DriverError> {
    let image = Image {
        id: image.to_owned(),
        reference: "trial".to_owned(),
        digest: None,
        env: Vec::new(),
        user: String::new(),
    };
    let container = Container {
        image,
        env: IndexMap::new(),
        ports: Vec::new(),
        volumes: Vec::new(),
        options: String::new(),
        entrypoint: None,
        command: None,
        mounts: Vec::new(),
        working_directory: None,
    };
    let cell = group.cell(container).await?;
    // The keeper is the only program there: it gives nothing to root, and then what is not there.
    for (path, expected) in [(None, 0), (Some("/not/there"), 1)] {
        let args = ["own", "0", "0"].into_iter().chain(path).map(str::to_owned).collect();
        let command = Command {
            program: format!("{}/keeper", keeper::INSIDE),
            args,
            working_directory: workspace.to_owned(),
            merge_output: true,
            ..Command::default()
        };
        let exit = cell.start(command).await?.handle.wait().await;
        if exit.code != Some(expected) {
            let message = format!("a command in a container ended with {:?}, not with {expected}", exit.code);
            return Err(DriverError::new(DriverErrorKind::Other, message));
        }
    }
    cell.tear_down().await
}

/// An image with one empty directory; answers its id.
async fn import(engine: &ContainerEngine, attempt: AttemptRef) -> Result<String, DriverError> {
    let shared = &engine.shared;
    let client = &shared.client;
    let labels = names::labels(&shared.tag, attempt, "image");
    let mut changes: Vec<String> = labels.iter().map(|(k, v)| format!("LABEL {k}={v}")).collect();
    changes.sort();
    let options = CreateImageOptionsBuilder::new().from_src("-").changes(changes).build();
    let body = bollard::body_full(Bytes::from(archive()));
    let work = async {
        let mut id = None;
        let mut stream = client.docker.create_image(Some(options), Some(body), None);
        while let Some(said) = stream.next().await {
            let said = said?;
            id = said.id.or(said.status).filter(|s| !s.trim().is_empty()).or(id);
        }
        Ok(id)
    };
    let id = client.call("import an image", work).await?;
    id.map(|id| id.trim().to_owned()).ok_or_else(|| {
        DriverError::new(DriverErrorKind::Other, "the engine imported an image and does not say which")
    })
}

/// A tar archive with the directory `tmp`.
fn archive() -> Vec<u8> {
    let mut block = [0u8; 512];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, b"tmp/");
    put(100, b"0001777\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, b"00000000000\0");
    put(136, b"00000000000\0");
    // The sum is made with blanks in its own place.
    put(148, b"        ");
    put(156, b"5");
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = block.to_vec();
    archive.resize(512 * 3, 0);
    archive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_podman_says_by_default_on_odd_machines_has_an_answer() {
        let about = EngineAbout {
            name: "podman".into(),
            version: "4.3.1".into(),
            endpoint: "/run/podman/podman.sock".into(),
            rootless: false,
        };
        let fix = |text: &str| help(&about, &DriverError::new(DriverErrorKind::Other, text));
        let limits = fix(
            "cannot start: crun: setrlimit `RLIMIT_NOFILE`: Operation not permitted: OCI permission denied",
        );
        assert!(limits.contains("default_ulimits"), "{limits}");
        let runtime = fix("cannot start: crun: cgroups in hybrid mode not supported: OCI runtime error");
        assert!(runtime.contains("runtime = \"runc\""), "{runtime}");
        let missing = fix("cannot start: default OCI runtime \"crun\" not found");
        assert!(missing.contains("runc"), "{missing}");
    }

    #[test]
    fn the_archive_is_one() {
        let mut tar = std::process::Command::new("tar")
            .args(["--list", "--file=-"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut tar.stdin.take().unwrap(), &archive()).unwrap();
        let output = tar.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stdout), "tmp/\n");
    }
}
