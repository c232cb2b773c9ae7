//! The driver with real processes, with and without control groups.
#![allow(clippy::unwrap_used, reason = "tests")]

use fleetfoot_driver::{Cell, CellRequest, Command, Driver, DriverErrorKind, Exit, Running, Signal};
use fleetfoot_driver_process::{ProcessDriver, ProcessOptions};
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId};
use fleetfoot_model::spec::Limits;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;

static NEXT: AtomicU64 = AtomicU64::new(1);

struct World {
    /// Dropped before the driver, whose groups it lives in.
    cell: Box<dyn Cell>,
    driver: ProcessDriver,
    dir: tempfile::TempDir,
    tag: String,
}

async fn world(cgroups: bool, limits: Limits) -> World {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let tag = format!("driver-{}-{number}", std::process::id());
    let driver =
        ProcessDriver::new(ProcessOptions { tag: tag.clone(), cgroups, ..ProcessOptions::default() })
            .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let request = CellRequest {
        limits,
        ..CellRequest::new(
            AttemptRef { job: JobId(number), attempt: 1, epoch: Epoch(3) },
            dir.path().into(),
            dir.path().into(),
        )
    };
    let cell = driver.prepare(request).await.unwrap();
    World { cell, driver, dir, tag }
}

impl World {
    fn sh(&self, script: &str) -> Command {
        Command {
            program: "sh".into(),
            args: vec!["-c".into(), script.into()],
            env: HashMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
            working_directory: self.dir.path().into(),
            stdin: Vec::new(),
            merge_output: false,
        }
    }

    async fn run(&self, command: Command) -> (Exit, String) {
        let running = self.cell.start(command).await.unwrap();
        finish(running).await
    }
}

async fn finish(mut running: Running) -> (Exit, String) {
    let mut out = String::new();
    let wait = async {
        running.stdout.read_to_string(&mut out).await.unwrap();
        running.handle.wait().await
    };
    let exit = tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it hangs");
    assert_eq!(running.handle.wait().await, exit, "the answer stays the same");
    (exit, out)
}

fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|s| s.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X'])))
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_a_command_gets() {
    for cgroups in [true, false] {
        let world = world(cgroups, Limits::default()).await;
        let mut command = world.sh("cat; pwd; echo $A; ls /proc/self/fd | wc -l; ps -o sid=,pgid= -p $$ | tr -s ' '; grep -E 'Sig(Blk|Ign)' /proc/self/status; exit 3");
        command.stdin = b"from stdin\n".to_vec();
        command.env.insert("A".into(), "one two".into());
        let running = world.cell.start(command).await.unwrap();
        let pid = running.pid;
        let ticks = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        assert!(ticks.contains(&format!(" {} ", running.start_ticks)));
        let (exit, out) = finish(running).await;
        assert_eq!((exit.code, exit.signal, exit.out_of_memory), (Some(3), None, false));
        assert!(exit.usage.max_rss_bytes > 100_000 && exit.usage.cpu_user_us + exit.usage.cpu_system_us > 0);
        let lines: Vec<&str> = out.lines().collect();
        let directory = world.dir.path().display().to_string();
        assert_eq!(&lines[..4], ["from stdin", &directory, "one two", "4"]);
        if lines.len() == 7 {
            assert_eq!(lines[4].trim(), format!("{pid} {pid}"), "a session and a group of its own");
        }
        for line in &lines[lines.len() - 2..] {
            assert!(line.ends_with("0000000000000000"), "{line}");
        }
        let (_, out) = world.run(world.sh("cat; echo end")).await;
        assert_eq!(out, "end\n", "standard input is empty");
        world.cell.tear_down().await.unwrap();
        world.cell.tear_down().await.unwrap();
        let record = world.cell.record();
        assert_eq!((record.boundary, record.network.as_str()), (Boundary::Process, "host"));
        assert_eq!(record.containment, world.driver.containment());
        assert!(record.limits["pids"].starts_with("8192") && !record.kernel.is_empty());
    }
}

#[tokio::test]
async fn what_cannot_start() {
    let world = world(true, Limits::default()).await;
    let kind = async |command: Command| world.cell.start(command).await.unwrap_err();
    let mut command = world.sh("true");
    command.program = "no-such-program".into();
    let error = kind(command.clone()).await;
    assert_eq!(
        (error.kind, error.to_string().as_str()),
        (DriverErrorKind::NotFound, "the program 'no-such-program' was not found in PATH")
    );
    command.program = "/no/such".into();
    assert_eq!(kind(command).await.kind, DriverErrorKind::NotFound);
    let mut command = world.sh("true");
    command.working_directory = world.dir.path().join("none");
    let error = kind(command).await;
    assert!(error.to_string().contains("working directory"), "{error}");
    std::fs::write(world.dir.path().join("plain"), "x").unwrap();
    let mut command = world.sh("true");
    command.program = "./plain".into();
    assert_eq!(kind(command).await.kind, DriverErrorKind::Denied);
    let mut command = world.sh("true");
    command.env.insert("A=B".into(), String::new());
    assert_eq!(kind(command).await.kind, DriverErrorKind::Other);
    let mut command = world.sh("true");
    command.args.push("nul\0".into());
    assert_eq!(kind(command).await.kind, DriverErrorKind::Other);
    world.cell.tear_down().await.unwrap();
}

#[tokio::test]
async fn signals_and_trees() {
    for cgroups in [true, false] {
        let world = world(cgroups, Limits::default()).await;
        for (signal, number) in [(Signal::Interrupt, 2), (Signal::Terminate, 15), (Signal::Kill, 9)] {
            let running = world.cell.start(world.sh("exec sleep 600")).await.unwrap();
            running.handle.signal(signal);
            assert_eq!(finish(running).await.0.signal, Some(number));
        }
        // A daemon in a session of its own, with an empty environment.
        let script = "setsid env -i sh -c 'echo $$; exec 1>&-; exec sleep 600' & wait";
        let mut running = world.cell.start(world.sh(script)).await.unwrap();
        let mut line = [0; 16];
        let read = running.stdout.read(&mut line).await.unwrap();
        let daemon: u32 = std::str::from_utf8(&line[..read]).unwrap().trim().parse().unwrap();
        assert!(alive(daemon));
        running.handle.kill_tree();
        assert_eq!(finish(running).await.0.signal, Some(9));
        if cgroups && world.driver.containment() != "process-group" {
            eventually("the daemon is gone", || !alive(daemon)).await;
        }
        world.cell.kill_all().await;
        world.cell.tear_down().await.unwrap();
        if !cgroups && alive(daemon) {
            // Nothing ties it to us but its parent, which is gone: only a group could hold it.
            let pid = rustix::process::Pid::from_raw(daemon.cast_signed()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }
}

#[tokio::test]
async fn the_number_of_processes_is_limited() {
    let world = world(true, Limits { pids: Some(20), ..Limits::default() }).await;
    if world.cell.record().limits["pids"] != "20" {
        return;
    }
    let script = "i=0; while [ $i -lt 60 ]; do sleep 600 >/dev/null 2>&1 & i=$((i+1)); done";
    let (exit, _) = world.run(world.sh(script)).await;
    assert_ne!(exit.code, Some(0), "the shell could not fork");
    world.cell.kill_all().await;
    world.cell.tear_down().await.unwrap();
}

#[tokio::test]
async fn adopted_zombies_are_collected_and_foreign_children_left_alone() {
    let world = world(true, Limits::default()).await;
    // A child of other code in this process, whose owner waits late.
    let mut foreign = std::process::Command::new("sh").args(["-c", "exit 42"]).spawn().unwrap();
    let script = "i=0; while [ $i -lt 300 ]; do (true &) ; i=$((i+1)); done; echo done";
    let (exit, out) = world.run(world.sh(script)).await;
    assert_eq!((exit.code, out.as_str()), (Some(0), "done\n"));
    let me = std::process::id();
    let zombies = || {
        std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|e| std::fs::read_to_string(e.ok()?.path().join("stat")).ok())
            .filter(|s| {
                let rest: Vec<&str> = s.rsplit(')').next().unwrap_or("").split_ascii_whitespace().collect();
                rest.first() == Some(&"Z") && rest.get(1) == Some(&me.to_string().as_str())
            })
            .count()
    };
    eventually("only the foreign zombie is left", || zombies() <= 1).await;
    assert_eq!(foreign.wait().unwrap().code(), Some(42));
    world.cell.tear_down().await.unwrap();
}

#[tokio::test]
async fn a_dropped_cell_leaves_nothing() {
    for cgroups in [true, false] {
        let world = world(cgroups, Limits::default()).await;
        let running = world.cell.start(world.sh("sleep 600")).await.unwrap();
        let pid = running.pid;
        drop(running);
        assert!(alive(pid), "dropping a handle ends nothing");
        drop(world);
        eventually("the process is gone", || !alive(pid)).await;
    }
}

/// A group of this runner below another parent than ours, as a runner has it
/// that was started from another session before.
#[tokio::test]
async fn a_sweep_finds_groups_wherever_they_are() {
    let world = world(true, Limits::default()).await;
    let found = find("/sys/fs/cgroup".as_ref(), &format!("fleetfoot-{}", world.tag));
    assert_eq!(found.is_some(), world.driver.containment() != "process-group");
    let Some(base) = found else { return };
    let parent = base.parent().unwrap().join(format!("elsewhere-{}", std::process::id()));
    let stale = parent.join(base.file_name().unwrap()).join("5.1.5/c0");
    std::fs::create_dir_all(&stale).unwrap();
    world.driver.sweep("5.1.5".parse().unwrap()).await.unwrap();
    let swept = !parent.join(base.file_name().unwrap()).exists();
    let _ = std::fs::remove_dir(&stale);
    std::fs::remove_dir(&parent).unwrap();
    assert!(swept);
    world.cell.tear_down().await.unwrap();
}

fn find(path: &std::path::Path, name: &str) -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir(path).ok()?.filter_map(Result::ok);
    let directories = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    directories
        .into_iter()
        .find_map(|e| if e.file_name() == name { Some(e.path()) } else { find(&e.path(), name) })
}
