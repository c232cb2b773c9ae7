//! What every boundary must do alike: one suite of tests that any driver runs
//! against itself with real processes. It asks for behaviour that the engine
//! relies on, never for how strong the fence is (each boundary has tests of
//! its own for that). It must never depend on one particular driver.
//!
//! A driver's test calls [`run_all`], or single parts of it.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

pub mod escape;
pub mod network;

use fleetfoot_driver::{Cell, CellRequest, Command, Driver, DriverErrorKind, Exit, Running, Signal};
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId};
use fleetfoot_model::spec::Limits;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// A driver with one cell and directories for it, removed in the end.
pub struct World {
    /// Dropped before the driver, whose groups it lives in.
    pub cell: Box<dyn Cell>,
    /// The driver.
    pub driver: Box<dyn Driver>,
    /// The attempt that the cell belongs to.
    pub attempt: AttemptRef,
    dir: tempfile::TempDir,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

/// A tag that nobody else uses.
#[must_use]
pub fn fresh_tag() -> String {
    format!("conf-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

impl World {
    /// Prepares a cell.
    pub async fn new(driver: Box<dyn Driver>, limits: Limits) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = tempfile::tempdir().unwrap();
        let attempt = AttemptRef { job: JobId(number), attempt: 1, epoch: Epoch(3) };
        for name in ["workspace", "temp"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let request = CellRequest {
            limits,
            ..CellRequest::new(attempt, dir.path().join("workspace"), dir.path().join("temp"))
        };
        let cell = driver.prepare(request).await.unwrap();
        Self { cell, driver, attempt, dir }
    }

    /// The working directory on the host.
    #[must_use]
    pub fn workspace(&self) -> PathBuf {
        self.dir.path().join("workspace")
    }

    /// The temporary directory on the host.
    #[must_use]
    pub fn temp(&self) -> PathBuf {
        self.dir.path().join("temp")
    }

    /// A directory of the host that is neither.
    #[must_use]
    pub fn outside(&self) -> &Path {
        self.dir.path()
    }

    /// A shell command.
    #[must_use]
    pub fn sh(&self, script: &str) -> Command {
        Command {
            program: "sh".into(),
            args: vec!["-c".into(), script.into()],
            env: HashMap::from([("PATH".into(), "/usr/bin:/bin:/usr/sbin:/sbin".into())]),
            working_directory: self.workspace(),
            ..Command::default()
        }
    }

    /// Runs a command to its end.
    pub async fn run(&self, command: Command) -> (Exit, String) {
        let running = self.cell.start(command).await.unwrap();
        finish(running).await
    }

    /// Runs a shell script with both outputs in one, to its end.
    pub async fn script(&self, script: &str) -> (Exit, String) {
        self.run(Command { merge_output: true, ..self.sh(script) }).await
    }
}

/// Reads standard output to its end and waits for the command.
pub async fn finish(mut running: Running) -> (Exit, String) {
    let mut out = Vec::new();
    let wait = async {
        running.stdout.read_to_end(&mut out).await.unwrap();
        running.handle.wait().await
    };
    let exit = tokio::time::timeout(DEADLINE, wait).await.expect("the command hangs");
    assert_eq!(running.handle.wait().await, exit, "the answer stays the same");
    (exit, String::from_utf8_lossy(&out).into_owned())
}

/// Reads one line of standard output.
pub async fn line(running: &mut Running) -> String {
    let mut line = Vec::new();
    let read = async {
        loop {
            match running.stdout.read_u8().await {
                Ok(b'\n') | Err(_) => break,
                Ok(byte) => line.push(byte),
            }
        }
    };
    tokio::time::timeout(DEADLINE, read).await.expect("no line comes");
    String::from_utf8_lossy(&line).into_owned()
}

/// Whether a process of the host lives (zombies do not).
#[must_use]
pub fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|s| s.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X'])))
}

/// Living processes of the host whose command line contains `needle`.
#[must_use]
pub fn processes(needle: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let matches = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").contains(needle)
    };
    pids.filter(matches).filter(|pid| alive(*pid)).collect()
}

/// Runs all tests of this binary again as an ordinary user of the host, who has nothing but a home of
/// nobody's. Says why where that is not possible.
pub fn as_an_ordinary_user() {
    const CHILD: &str = "FLEETFOOT_ORDINARY";
    // Inside of a cell, or of such a run, tests only do what they are asked to.
    if std::env::var_os(CHILD).is_some() || std::env::var_os("FLEETFOOT_INSIDE").is_some() {
        return;
    }
    let dir = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let copy = dir.path().join("tests");
    let copied = std::process::Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&copy).status();
    assert!(copied.unwrap().success());
    let become_user = |program: &std::ffi::OsStr| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=4321", "--regid=4321", "--clear-groups"]).arg(program).current_dir("/");
        command
    };
    match become_user("true".as_ref()).output() {
        Ok(able) if able.status.success() => {}
        other => return eprintln!("skipped: cannot become an ordinary user: {other:?}"),
    }
    let done = become_user(copy.as_os_str()).arg("--nocapture").env(CHILD, "1").output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{text}\n{}", String::from_utf8_lossy(&done.stderr));
    for line in String::from_utf8_lossy(&done.stderr).lines().filter(|l| l.starts_with("skipped")) {
        eprintln!("as an ordinary user: {line}");
    }
    eprintln!("as an ordinary user: {}", text.lines().rfind(|l| l.starts_with("test result")).unwrap());
}

/// Waits until something holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A number of seconds to sleep that no other test uses: it finds our processes on the host.
#[must_use]
pub fn marker() -> String {
    format!("{}.{}", 100_000 + std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What the suite must know about a driver.
#[derive(Debug)]
pub struct Expected {
    /// Its boundary.
    pub boundary: Boundary,
    /// A process that leaves its session cannot leave the command or the cell (groups or a namespace hold it).
    pub contained: bool,
    /// Limits on memory and processes hold for the tree, not only for each process.
    pub grouped: bool,
}

impl Expected {
    /// Whether the host sees the job's processes as they are: a kernel of its own hides them.
    fn visible(&self) -> bool {
        self.boundary < Boundary::Gvisor
    }
}

/// How many processes run `sleep MARKER`, on the host or, where it cannot see them, in the cell.
async fn sleeping(world: &World, marker: &str, expected: &Expected) -> usize {
    if expected.visible() {
        return processes(&format!("sleep {marker}")).len();
    }
    // The marker is in the environment only, so that the search does not find itself.
    let script = "n=0; for p in /proc/[0-9]*; do c=$(tr '\\0' ' ' <$p/cmdline 2>/dev/null); \
                  case $c in *\"sleep $M\"*) n=$((n+1));; esac; done; echo $n";
    let mut command = world.sh(script);
    command.env.insert("M".into(), marker.into());
    world.run(command).await.1.trim().parse().unwrap()
}

/// Runs everything. `make` gives a driver whose groups carry the tag; called anew for each part.
pub async fn run_all(make: impl Fn(&str) -> Box<dyn Driver>, expected: &Expected) {
    let world = async |limits| World::new(make(&fresh_tag()), limits).await;
    what_a_command_gets(world(Limits::default()).await, expected).await;
    files_on_both_sides(world(Limits::default()).await, expected).await;
    what_cannot_start(world(Limits::default()).await).await;
    odd_values(world(Limits::default()).await).await;
    much_output(world(Limits::default()).await).await;
    signals(world(Limits::default()).await).await;
    trees(world(Limits::default()).await, expected).await;
    a_cell_lives_on_after_kill_all(world(Limits::default()).await).await;
    commands_side_by_side(world(Limits::default()).await).await;
    a_dropped_cell_leaves_nothing(world(Limits::default()).await).await;
    a_sweep_ends_what_is_left(&make, expected).await;
    processes_are_limited(world(Limits { pids: Some(24), ..Limits::default() }).await, expected).await;
    let memory = Limits { memory_bytes: Some(64 << 20), ..Limits::default() };
    // Where neither groups nor the host's kernel hold a process, such a limit is refused.
    if expected.grouped || expected.visible() {
        memory_is_limited(world(memory).await, expected).await;
    }
}

/// Descriptors, directory, environment, signals, session, usage, record.
pub async fn what_a_command_gets(world: World, expected: &Expected) {
    let mut command = world.sh(
        "cat; pwd; echo \"$A\"; set -- /proc/self/fd/*; echo $#; grep -E 'Sig(Blk|Ign)' /proc/self/status; exit 3",
    );
    command.stdin = b"from stdin\n".to_vec();
    command.env.insert("A".into(), "one  two".into());
    let running = world.cell.start(command).await.unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", running.pid)).unwrap();
    assert!(stat.contains(&format!(" {} ", running.start_ticks)), "pid and start name the process");
    let (exit, out) = finish(running).await;
    assert_eq!((exit.code, exit.signal, exit.out_of_memory), (Some(3), None, false));
    assert!(exit.usage.max_rss_bytes > 100_000 && exit.usage.cpu_user_us + exit.usage.cpu_system_us > 0);
    let lines: Vec<&str> = out.lines().collect();
    let directory = world.cell.inside(&world.workspace()).display().to_string();
    assert_eq!(&lines[..4], ["from stdin", &directory, "one  two", "4"]);
    assert!(lines[4..].iter().all(|l| l.ends_with("0000000000000000")), "{lines:?}");
    let (_, out) = world.run(world.sh("cat; echo end; echo error >&2")).await;
    assert_eq!(out, "end\n", "standard input is empty, errors are elsewhere");
    let (_, out) = world.script("echo 1; echo 2 >&2; echo 3").await;
    assert_eq!(out, "1\n2\n3\n", "merged in order");
    let record = world.cell.record();
    assert_eq!(record.boundary, expected.boundary);
    assert!(record.driver.starts_with(expected.boundary.as_str()));
    assert!(!record.kernel.is_empty() && !record.user.is_empty() && !record.containment.is_empty());
    assert!(record.limits["pids"].starts_with("8192"), "{record:?}");
    world.cell.tear_down().await.unwrap();
    world.cell.tear_down().await.unwrap();
}

/// What the runner writes can be read and executed inside, and the other way round.
pub async fn files_on_both_sides(world: World, expected: &Expected) {
    let script = world.temp().join("script.sh");
    std::fs::write(&script, "echo made inside > made; mkdir -p deep/er; cat \"$1\"; test -s \"$0\"").unwrap();
    let input = world.workspace().join("input");
    std::fs::write(&input, "made outside").unwrap();
    let inside = |p: &Path| world.cell.inside(p).display().to_string();
    let command = Command { args: vec!["-e".into(), inside(&script), inside(&input)], ..world.sh("") };
    let (exit, out) = world.run(command).await;
    assert_eq!((exit.code, out.as_str()), (Some(0), "made outside"));
    let made = world.workspace().join("made");
    assert_eq!(std::fs::read_to_string(&made).unwrap(), "made inside\n");
    let owner = |p: &Path| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(p).unwrap());
    let ours = owner(&input);
    // A container has users of its own: what they wrote is given back when it ends.
    if expected.boundary != Boundary::Container {
        assert_eq!(owner(&made), ours, "files belong to the runner's user at once");
    }
    let (exit, _) = world.script("chmod 600 input && echo more >> input && mv input renamed").await;
    assert_eq!(exit.code, Some(0), "files of the runner are the job's own");
    world.cell.tear_down().await.unwrap();
    assert_eq!(owner(&made), ours, "files belong to the runner's user afterwards");
    std::fs::remove_dir_all(world.workspace().join("deep")).unwrap();
}

/// Errors name what is wrong, with a kind to decide on.
pub async fn what_cannot_start(world: World) {
    let error = async |command: Command| world.cell.start(command).await.unwrap_err();
    let missing = Command { program: "no-such-program".into(), ..world.sh("") };
    let got = error(missing.clone()).await;
    let text = "the program 'no-such-program' was not found in PATH";
    assert_eq!((got.kind, got.to_string().as_str()), (DriverErrorKind::NotFound, text));
    assert_eq!(
        error(Command { program: "/no/such".into(), ..missing.clone() }).await.kind,
        DriverErrorKind::NotFound
    );
    assert_eq!(error(Command { program: String::new(), ..missing }).await.kind, DriverErrorKind::NotFound);
    let nowhere = Command { working_directory: world.workspace().join("none"), ..world.sh("true") };
    let got = error(nowhere).await;
    assert!(got.to_string().contains("working directory"), "{got}");
    std::fs::write(world.workspace().join("plain"), "x").unwrap();
    let plain = Command { program: "./plain".into(), ..world.sh("true") };
    assert_eq!(error(plain).await.kind, DriverErrorKind::Denied);
    let mut command = world.sh("true");
    command.env.insert("A=B".into(), String::new());
    assert_eq!(error(command).await.kind, DriverErrorKind::Other);
    let mut command = world.sh("true");
    command.args.push("nul\0".into());
    assert_eq!(error(command).await.kind, DriverErrorKind::Other);
    let (exit, _) = world.script("exit 0").await;
    assert_eq!(exit.code, Some(0), "the cell survives failed starts");
    world.cell.tear_down().await.unwrap();
}

/// Values stay values, whatever they look like.
pub async fn odd_values(world: World) {
    let odd = ["--privileged", "-v", "a b\n\"c' $(id) `id` %s ,=;", "", "é\u{1f980}", "-"];
    let mut command = world.sh("");
    command.args =
        vec!["-c".into(), "for a in \"$@\"; do printf '[%s]' \"$a\"; done; printf '{%s}' \"$ODD\"".into()];
    command.args.push("sh".into());
    command.args.extend(odd.map(str::to_owned));
    command.env.insert("ODD".into(), odd.join("|"));
    let (exit, out) = world.run(command).await;
    let expected: String = odd.iter().map(|a| format!("[{a}]")).collect();
    assert_eq!((exit.code, out), (Some(0), format!("{expected}{{{}}}", odd.join("|"))));
    // Long, but still what the kernel takes.
    let mut command = world.sh("printf '%s' \"$LONG\" | wc -c");
    command.env.insert("LONG".into(), "x".repeat(120_000));
    assert_eq!(world.run(command).await.1.trim(), "120000");
    world.cell.tear_down().await.unwrap();
}

/// Nothing is lost of a flood, on either side.
pub async fn much_output(world: World) {
    let mut command = world.sh("cat; head -c 20000000 /dev/zero");
    command.stdin = vec![b'x'; 3_000_000];
    let (exit, out) = world.run(command).await;
    assert_eq!((exit.code, out.len()), (Some(0), 23_000_000));
    world.cell.tear_down().await.unwrap();
}

/// Signals reach the whole group of a command, and the end tells which it was.
pub async fn signals(world: World) {
    for (signal, number) in [(Signal::Interrupt, 2), (Signal::Terminate, 15), (Signal::Kill, 9)] {
        let running = world.cell.start(world.sh("exec sleep 600")).await.unwrap();
        running.handle.signal(signal);
        assert_eq!(finish(running).await.0.signal, Some(number));
    }
    let mut running = world
        .cell
        .start(world.sh("trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.05; done"))
        .await
        .unwrap();
    assert_eq!(line(&mut running).await, "ready");
    running.handle.signal(Signal::Terminate);
    let (exit, out) = finish(running).await;
    assert_eq!((exit.code, out.as_str()), (Some(7), "caught\n"));
    world.cell.tear_down().await.unwrap();
}

/// Daemons die with the command that made them when it is ended as a tree, and with the cell in any case.
pub async fn trees(world: World, expected: &Expected) {
    for whole_cell in [false, true] {
        let marker = marker();
        let script = format!(
            "setsid env -i sh -c 'echo ready; exec 1>&- 2>&-; sleep {marker}; true' & (sleep {marker} &); wait"
        );
        let mut running = world.cell.start(world.sh(&script)).await.unwrap();
        assert_eq!(line(&mut running).await, "ready");
        while sleeping(&world, &marker, expected).await < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if whole_cell {
            world.cell.kill_all().await;
        } else {
            running.handle.kill_tree();
        }
        assert_eq!(finish(running).await.0.signal, Some(9));
        // Without groups nothing ties a daemon to the command that made it.
        if if whole_cell { expected.contained } else { expected.grouped } {
            let deadline = Instant::now() + DEADLINE;
            while sleeping(&world, &marker, expected).await > 0 {
                assert!(Instant::now() < deadline, "the daemons live on");
            }
        }
        // What nothing ties to the cell is the test's own to end.
        for pid in processes(&format!("sleep {marker}")) {
            let _ = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
    }
    world.cell.tear_down().await.unwrap();
}

/// Ending all processes does not end the cell.
pub async fn a_cell_lives_on_after_kill_all(world: World) {
    for _ in 0..3 {
        let running = world.cell.start(world.sh("sleep 600")).await.unwrap();
        world.cell.kill_all().await;
        assert!(!alive(running.pid));
        assert_eq!(finish(running).await.0.signal, Some(9));
        assert_eq!(world.script("echo again").await.1, "again\n");
    }
    world.cell.tear_down().await.unwrap();
}

/// Background steps share a cell: they see each other's files and may talk to each other.
pub async fn commands_side_by_side(world: World) {
    let mut first = world.cell.start(world.sh("mkfifo pipe; echo ready; cat pipe")).await.unwrap();
    assert_eq!(line(&mut first).await, "ready");
    let (exit, _) =
        world.script("echo through the pipe > pipe; echo kept > /tmp/fleetfoot-kept-$PPID-x").await;
    assert_eq!(exit.code, Some(0));
    assert_eq!(finish(first).await.1, "through the pipe\n");
    let _ = world.script("rm -f /tmp/fleetfoot-kept-*-x").await;
    let mut slow = world.cell.start(world.sh("echo $$; exec sleep 600")).await.unwrap();
    let pid = line(&mut slow).await;
    let (exit, out) = world.script(&format!("kill -TERM {pid}")).await;
    assert_eq!((exit.code, out.as_str()), (Some(0), ""), "a later step may end what an earlier one started");
    assert_eq!(finish(slow).await.0.signal, Some(15));
    world.cell.tear_down().await.unwrap();
}

/// Whoever loses a cell leaves no process.
pub async fn a_dropped_cell_leaves_nothing(world: World) {
    let running = world.cell.start(world.sh("sleep 600")).await.unwrap();
    let pid = running.pid;
    drop(running);
    assert!(alive(pid), "dropping a handle ends nothing");
    drop(world);
    eventually("the process is gone", || !alive(pid)).await;
}

/// What another instance of the same runner left is ended, what belongs to another runner stays.
pub async fn a_sweep_ends_what_is_left(make: impl Fn(&str) -> Box<dyn Driver>, expected: &Expected) {
    let tag = fresh_tag();
    let old = World::new(make(&tag), Limits::default()).await;
    let running = old.cell.start(old.sh("sleep 600")).await.unwrap();
    let foreign = make(&fresh_tag());
    foreign.sweep(old.attempt).await.unwrap();
    assert!(alive(running.pid), "another runner's sweep touches nothing of ours");
    let successor = make(&tag);
    successor.sweep(old.attempt).await.unwrap();
    successor.sweep(old.attempt).await.unwrap();
    if expected.contained {
        eventually("the process is gone", || !alive(running.pid)).await;
    }
    assert_eq!(finish(running).await.0.signal, Some(9));
}

/// A fork bomb fails, and the machine does not notice.
pub async fn processes_are_limited(world: World, expected: &Expected) {
    let record = world.cell.record();
    assert!(record.limits["pids"].starts_with("24"), "{record:?}");
    if expected.grouped {
        let script = "i=0; while [ $i -lt 80 ]; do sleep 600 >/dev/null 2>&1 & i=$((i+1)); done";
        let (exit, _) = world.run(world.sh(script)).await;
        assert_ne!(exit.code, Some(0), "the shell could not fork");
        world.cell.kill_all().await;
        let (exit, _) = world.script("true").await;
        assert_eq!(exit.code, Some(0), "the next command starts");
    }
    world.cell.tear_down().await.unwrap();
}

/// Limits above what any machine has are no reason to fail: they hold as far as the machine goes.
pub async fn more_than_the_machine_has(make: impl Fn(&str) -> Box<dyn Driver>) {
    let huge = Limits {
        pids: Some(1 << 40),
        memory_bytes: Some(1 << 60),
        cpus: Some(100_000.0),
        read_bytes_per_second: Some(1 << 50),
        write_bytes_per_second: Some(1 << 50),
    };
    let world = World::new(make(&fresh_tag()), huge).await;
    let (exit, out) = world.script("echo fine").await;
    assert_eq!((exit.code, out.as_str()), (Some(0), "fine\n"), "{:?}", world.cell.record());
    world.cell.tear_down().await.unwrap();
}

/// A memory hog dies, is told apart, and its cell lives on.
pub async fn memory_is_limited(world: World, expected: &Expected) {
    // It keeps all of it, and reads it in large pieces: small ones are slow where system calls are dear.
    let (exit, out) = world.script("head -c 300000000 /dev/zero | tail -c 300000000 >/dev/null").await;
    assert!(exit.code != Some(0), "{exit:?} {out}");
    if expected.grouped {
        assert!(exit.out_of_memory, "{exit:?} {out}");
    }
    let (exit, _) = world.script("true").await;
    assert_eq!((exit.code, exit.out_of_memory), (Some(0), false));
    world.cell.tear_down().await.unwrap();
}
