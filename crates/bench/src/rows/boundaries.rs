//! What each boundary costs: the start of a step, a fresh place for a job, and work with the processor.
//! Drivers are used as the engine of a runner uses them; what they are compared with is the tool's own
//! way (`fork` and `exec`, `runsc run`, the engine's `run --rm`), in turns, so that the load of the
//! machine falls on both. A tool that is not there makes a row that says so.

use crate::Setting;
use crate::report::{Measure, Target};
use crate::stage::{ms, percentile};
use anyhow::{Context as _, ensure};
use fleetfoot_driver::{Cell, CellRequest, Command, Driver, Running};
use fleetfoot_driver_container::{ContainerDriver, ContainerEngine, ContainerOptions, Endpoint, Pull};
use fleetfoot_driver_gvisor::{GvisorDriver, GvisorOptions};
use fleetfoot_driver_process::{ProcessDriver, ProcessOptions};
use fleetfoot_driver_sandbox::{Network, SandboxDriver, SandboxOptions};
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId};
use fleetfoot_testkit::{EngineKind, PrivateEngine, SMALL_IMAGE, engine_missing};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt as _;

/// Cells that are made at the same time.
const AT_ONCE: u64 = 4;
/// How long what a sandbox of gVisor was made of takes to be gone.
const DYING: Duration = Duration::from_millis(300);
/// Blocks that the work with the processor hashes: some 200 ms.
const SPIN: u64 = 500;

/// A request that no other has the name of.
fn request(dir: &Path) -> CellRequest {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let job = JobId(NEXT.fetch_add(1, Ordering::Relaxed));
    CellRequest::new(AttemptRef { job, attempt: 1, epoch: Epoch(1) }, dir.into(), dir.into())
}

fn tag() -> String {
    format!("bench-{}", std::process::id())
}

fn command(dir: &Path, program: &str, args: &[&str]) -> Command {
    Command {
        program: program.to_owned(),
        args: args.iter().map(|a| (*a).to_owned()).collect(),
        env: HashMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        working_directory: dir.into(),
        merge_output: true,
        ..Command::default()
    }
}

async fn output(mut running: Running) -> anyhow::Result<String> {
    let mut out = String::new();
    running.stdout.read_to_string(&mut out).await?;
    let exit = running.handle.wait().await;
    ensure!(exit.code == Some(0), "a measured step ended with {exit:?}: {out}");
    Ok(out)
}

async fn run_true(cell: &dyn Cell, dir: &Path) -> anyhow::Result<()> {
    output(cell.start(command(dir, "/bin/true", &[])).await?).await.map(drop)
}

/// The mean of `true` in a cell that is there, milliseconds.
async fn steps(cell: &dyn Cell, dir: &Path, count: u64) -> anyhow::Result<f64> {
    run_true(cell, dir).await?;
    let begun = Instant::now();
    for _ in 0..count {
        run_true(cell, dir).await?;
    }
    Ok(ms(begun.elapsed()) / count as f64)
}

/// The mean of plain fork and exec of `true`, milliseconds.
fn plain(count: u64) -> anyhow::Result<f64> {
    let begun = Instant::now();
    for _ in 0..count {
        let done = std::process::Command::new("/bin/true").stdin(std::process::Stdio::null()).status()?;
        ensure!(done.success(), "true");
    }
    Ok(ms(begun.elapsed()) / count as f64)
}

/// A cell, a step, and the removal of both, so many at once; how many a second.
async fn rate(driver: &dyn Driver, dir: &Path, count: u64) -> anyhow::Result<f64> {
    let each = (count / AT_ONCE).max(1);
    let lane = async |_: u64| {
        for _ in 0..each {
            let cell = driver.prepare(request(dir)).await?;
            run_true(&*cell, dir).await?;
            cell.tear_down().await?;
        }
        anyhow::Ok(())
    };
    let begun = Instant::now();
    tokio::try_join!(lane(0), lane(1), lane(2), lane(3))?;
    Ok((each * AT_ONCE) as f64 / begun.elapsed().as_secs_f64())
}

fn process_driver() -> anyhow::Result<ProcessDriver> {
    Ok(ProcessDriver::new(ProcessOptions { tag: tag(), ..ProcessOptions::default() })?)
}

fn sandbox_options() -> SandboxOptions {
    SandboxOptions { tag: tag(), network: Network::None, ..SandboxOptions::default() }
}

/// A sandbox, or why there is none.
async fn sandbox(dir: &Path) -> anyhow::Result<Result<SandboxDriver, String>> {
    let probe = SandboxDriver::probe(sandbox_options(), dir).await;
    if let Some(check) = probe.checks.iter().find(|c| c.required && !c.works) {
        return Ok(Err(format!("no sandbox here: {}", check.found)));
    }
    Ok(Ok(SandboxDriver::new(sandbox_options())?))
}

/// Process and sandbox: a step in a cell that is there, and whole sandboxes a second.
pub(super) async fn starts(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let count = setting.amount(200);
    let process = process_driver()?;
    let cell = process.prepare(request(dir)).await?;
    let (mut plains, mut over) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let bare = plain(count)?;
        over.push(steps(&*cell, dir, count).await? - bare);
        plains.push(bare);
    }
    cell.tear_down().await?;
    let mut out = vec![
        Measure::info("fork and exec of `true`, mean", "ms", percentile(&mut plains, 0.5)),
        Measure::new(
            "process: a step over fork and exec, mean",
            "ms",
            Target::AtMost(1.0),
            percentile(&mut over, 0.5),
        ),
    ];
    let (step, per_second) = ("sandbox: a step, mean", "sandbox: fresh, with a step and removed");
    match sandbox(dir).await? {
        Err(why) => {
            out.push(Measure::skipped(step, "ms", Target::AtMost(4.0), why.clone()));
            out.push(Measure::skipped(per_second, "/s", Target::AtLeast(150.0), why));
        }
        Ok(driver) => {
            let cell = driver.prepare(request(dir)).await?;
            let mut means = Vec::new();
            for _ in 0..5 {
                means.push(steps(&*cell, dir, count).await?);
            }
            cell.tear_down().await?;
            out.push(Measure::new(step, "ms", Target::AtMost(4.0), percentile(&mut means, 0.5)));
            let rate = rate(&driver, dir, setting.amount(400)).await?;
            out.push(Measure::new(per_second, "/s", Target::AtLeast(150.0), rate));
        }
    }
    Ok(out)
}

/// A gVisor driver and its platform, or why there is none.
async fn gvisor_driver(dir: &Path) -> anyhow::Result<Result<(GvisorDriver, String), String>> {
    let options = GvisorOptions {
        tag: tag(),
        network: fleetfoot_driver_gvisor::Network::None,
        state: Some(dir.join("state")),
        ..GvisorOptions::default()
    };
    let probe = GvisorDriver::probe(options.clone(), dir).await;
    match (probe.platform, probe.checks.iter().find(|c| c.required && !c.works)) {
        (Some(platform), None) => {
            let driver = GvisorDriver::new(GvisorOptions { platform: Some(platform.clone()), ..options })?;
            Ok(Ok((driver, platform)))
        }
        (_, check) => {
            let found = check.map_or("the trial failed", |c| c.found.as_str());
            Ok(Err(format!("no gVisor here: {found}")))
        }
    }
}

/// gVisor: a fresh cell with a step against `runsc run` of the same bundle, and a step against `runsc exec`.
pub(super) async fn gvisor(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let (fresh, step) = ("fresh cell with a step, of `runsc run`", "a step, of `runsc exec`");
    let (driver, platform) = match gvisor_driver(dir).await? {
        Ok(found) => found,
        Err(why) => {
            return Ok(vec![
                Measure::skipped(fresh, "times", Target::AtMost(1.1), why.clone()),
                Measure::skipped(step, "times", Target::AtMost(1.1), why),
            ]);
        }
    };
    // It stays for the whole time: the bundle that `runsc` is given by hand is its own.
    let cell = driver.prepare(request(dir)).await?;
    run_true(&*cell, dir).await?;
    let own = Runsc::new(dir, &platform)?;
    let [mut ours, mut theirs, mut pairs, mut steps, mut execs] = std::array::from_fn(|_| Vec::new());
    for _ in 0..setting.amount(30) {
        // Both leave processes behind that are dying for a while, which must not count as the other's.
        tokio::time::sleep(DYING).await;
        let begun = Instant::now();
        let fresh = driver.prepare(request(dir)).await?;
        run_true(&*fresh, dir).await?;
        ours.push(ms(begun.elapsed()));
        fresh.tear_down().await?;
        tokio::time::sleep(DYING).await;
        theirs.push(own.run()?);
        pairs.push(ours[ours.len() - 1] / theirs[theirs.len() - 1]);
    }
    let idle = own.start_idle()?;
    idle.exec()?;
    for _ in 0..setting.amount(30) {
        execs.push(idle.exec()?);
        let begun = Instant::now();
        run_true(&*cell, dir).await?;
        steps.push(ms(begun.elapsed()));
    }
    drop(idle);
    cell.tear_down().await?;
    let middle = |samples: &mut [f64]| percentile(samples, 0.5);
    let (ours, theirs) = (middle(&mut ours), middle(&mut theirs));
    let (steps, execs) = (middle(&mut steps), middle(&mut execs));
    Ok(vec![
        Measure::new(fresh, "times", Target::AtMost(1.1), middle(&mut pairs)),
        Measure::info("fresh cell with a step, p50", "ms", ours),
        Measure::info("`runsc run` of the same bundle, p50", "ms", theirs),
        Measure::new(step, "times", Target::AtMost(1.1), steps / execs),
        Measure::info("a step, p50", "ms", steps),
        Measure::info("`runsc exec`, p50", "ms", execs),
    ])
}

/// `runsc` as one uses it by hand, on the bundle of a cell with another program.
struct Runsc<'a> {
    dir: &'a Path,
    platform: &'a str,
}

/// A container that waits, ended by its standard input.
struct Idle<'a> {
    runsc: &'a Runsc<'a>,
    child: std::process::Child,
    name: String,
}

impl<'a> Runsc<'a> {
    fn new(dir: &'a Path, platform: &'a str) -> anyhow::Result<Self> {
        let cells = dir.join("state").join(format!("fleetfoot-gvisor-{}", tag()));
        let cell = std::fs::read_dir(cells)?.next().context("no bundle of a cell")??.path();
        let mut config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(cell.join("config.json"))?)?;
        for (bundle, args) in
            [("run", vec!["/bin/true"]), ("idle", vec!["/bin/sh", "-c", "echo ready; read line"])]
        {
            config["process"]["args"] = args.into();
            std::fs::create_dir_all(dir.join(bundle))?;
            std::fs::write(dir.join(bundle).join("config.json"), config.to_string())?;
        }
        Ok(Self { dir, platform })
    }

    fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new("runsc");
        command
            .arg(format!("--root={}", self.dir.join("runsc").display()))
            .arg(format!("--platform={}", self.platform))
            .args(["--network=none", "--ignore-cgroups"])
            .stderr(std::process::Stdio::null());
        command
    }

    fn name() -> String {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        format!("bench-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// From start to end, milliseconds.
    fn run(&self) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let mut command = self.command();
        command.arg("run").arg("--bundle").arg(self.dir.join("run")).arg(Self::name());
        let null = std::process::Stdio::null;
        let done = command.stdin(null()).stdout(null()).status().context("runsc")?;
        ensure!(done.success(), "runsc run");
        Ok(ms(begun.elapsed()))
    }

    fn start_idle(&'a self) -> anyhow::Result<Idle<'a>> {
        let name = Self::name();
        let mut command = self.command();
        command.arg("run").arg("--bundle").arg(self.dir.join("idle")).arg(&name);
        let piped = std::process::Stdio::piped;
        let mut child = command.stdin(piped()).stdout(piped()).spawn().context("runsc")?;
        let mut ready = [0; 6];
        let read = child.stdout.as_mut().map(|out| std::io::Read::read_exact(out, &mut ready));
        ensure!(matches!(read, Some(Ok(()))), "runsc run did not become ready");
        Ok(Idle { runsc: self, child, name })
    }
}

impl Idle<'_> {
    fn exec(&self) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let mut command = self.runsc.command();
        command.args(["exec", &self.name, "/bin/true"]).stdin(std::process::Stdio::null());
        ensure!(command.stdout(std::process::Stdio::null()).status()?.success(), "runsc exec");
        Ok(ms(begun.elapsed()))
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.child.stdin.take();
        let _ = self.child.wait();
    }
}

/// A private engine and a driver on it, or why there is none.
fn container_driver(kind: EngineKind, dir: &Path) -> Result<(PrivateEngine, ContainerDriver), String> {
    if let Some(missing) = engine_missing(kind) {
        return Err(missing);
    }
    let engine = PrivateEngine::start_with_default_network(kind).ok_or("the engine did not start")?;
    let options = ContainerOptions {
        tag: tag(),
        endpoint: Endpoint::Socket(engine.socket()),
        directory: Some(dir.join(kind.name())),
        // The image is made here: there is no registry to ask.
        pull: Pull::Missing,
        ..ContainerOptions::default()
    };
    let driver = ContainerEngine::new(options).map_err(|e| e.to_string())?;
    Ok((engine, ContainerDriver::new(driver, Some(SMALL_IMAGE.into()))))
}

/// Job containers: a step in one that is there, and a fresh one against the engine's own `run --rm`.
pub(super) async fn containers(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    let mut out = Vec::new();
    for kind in [EngineKind::Docker, EngineKind::Podman] {
        out.extend(containers_of(setting, kind).await?);
    }
    Ok(out)
}

async fn containers_of(setting: &Setting, kind: EngineKind) -> anyhow::Result<Vec<Measure>> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let name = kind.name();
    let step = format!("{name}: a step, job container up, mean");
    let fresh = |network: &str| format!("{name}: fresh with a step, of `run --rm` on {network}");
    let (default, own) = (fresh("its default network"), fresh("a network of its own"));
    let (engine, driver) = match container_driver(kind, dir) {
        Ok(made) => made,
        Err(why) => {
            return Ok(vec![
                Measure::skipped(step, "ms", Target::AtMost(40.0), why.clone()),
                Measure::skipped(default, "times", Target::AtMost(1.1), why.clone()),
                Measure::skipped(own, "times", Target::AtMost(1.1), why),
            ]);
        }
    };
    let cell = driver.prepare(request(dir)).await?;
    let mean = steps(&*cell, dir, setting.amount(50)).await?;
    cell.tear_down().await?;
    engine.make_network("bench");
    let volume = format!("{0}:{0}", dir.display());
    let (mut ours, mut on_default, mut on_own) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..setting.amount(12) {
        let begun = Instant::now();
        let cell = driver.prepare(request(dir)).await?;
        run_true(&*cell, dir).await?;
        cell.tear_down().await?;
        ours.push(ms(begun.elapsed()));
        // By hand with what a job has too: its directory.
        on_default.push(run_by_hand(&engine, &["--volume", &volume])?);
        on_own.push(run_by_hand(&engine, &["--volume", &volume, "--network", "bench"])?);
    }
    // The removal of a container is not waited for, but it is work: here all of it counts.
    let many = setting.amount(24);
    let together = rate(&driver, dir, many).await?;
    let theirs = rate_by_hand(&engine, &["--volume", &volume], many)?;
    let middle = |samples: &mut [f64]| percentile(samples, 0.5);
    let (ours, on_default, on_own) = (middle(&mut ours), middle(&mut on_default), middle(&mut on_own));
    Ok(vec![
        Measure::new(step, "ms", Target::AtMost(40.0), mean),
        Measure::new(default, "times", Target::AtMost(1.1), ours / on_default),
        Measure::new(own, "times", Target::AtMost(1.1), ours / on_own),
        Measure::info(format!("{name}: fresh with a step, p50"), "ms", ours),
        Measure::info(format!("{name}: `run --rm` on its default network, p50"), "ms", on_default),
        Measure::info(format!("{name}: `run --rm` on a network of its own, p50"), "ms", on_own),
        Measure::info(format!("{name}: fresh ones, {AT_ONCE} at once"), "/s", together),
        Measure::info(format!("{name}: `run --rm`, {AT_ONCE} at once"), "/s", theirs),
    ])
}

/// `true` in a container by the engine's command line, milliseconds.
fn run_by_hand(engine: &PrivateEngine, further: &[&str]) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let done = engine.cli(&[&["run", "--rm"], further, &[SMALL_IMAGE, "/bin/true"]].concat());
    let said = String::from_utf8_lossy(&done.stderr);
    // Podman 4 sometimes asks for the code of a container that `--rm` has removed already: it ran all the same.
    ensure!(done.status.success() || said.contains("Cannot get exit code"), "run --rm: {said}");
    Ok(ms(begun.elapsed()))
}

/// So many by hand, some at the same time; how many a second.
fn rate_by_hand(engine: &PrivateEngine, further: &[&str], count: u64) -> anyhow::Result<f64> {
    let each = (count / AT_ONCE).max(1);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let lane = || (0..each).try_for_each(|_| run_by_hand(engine, further).map(drop));
        let lanes: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().try_for_each(|l| l.join().map_err(|_| anyhow::anyhow!("a lane"))?)
    })?;
    Ok((each * AT_ONCE) as f64 / begun.elapsed().as_secs_f64())
}

/// The program that works with the processor has to run in an image that holds nothing but busybox.
const COUNT: &str = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done";

/// Work with the processor by busybox in a container against the same busybox outside.
async fn container_cpu(
    native: &dyn Cell,
    kind: EngineKind,
    dir: &Path,
) -> anyhow::Result<Result<f64, String>> {
    let (_engine, driver) = match container_driver(kind, dir) {
        Ok(made) => made,
        Err(why) => return Ok(Err(why)),
    };
    let time = async |cell: &dyn Cell, program: &str, args: &[&str]| {
        let begun = Instant::now();
        output(cell.start(command(dir, program, args)).await?).await?;
        anyhow::Ok(ms(begun.elapsed()))
    };
    let cell = driver.prepare(request(dir)).await?;
    // What a start costs is measured elsewhere: it is taken off.
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    let (mut start_in, mut start_out) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        outside.push(time(native, "busybox", &["sh", "-c", COUNT]).await?);
        inside.push(time(&*cell, "/bin/busybox", &["sh", "-c", COUNT]).await?);
        start_out.push(time(native, "busybox", &["true"]).await?);
        start_in.push(time(&*cell, "/bin/busybox", &["true"]).await?);
    }
    cell.tear_down().await?;
    // The least disturbed of each: everything else on the machine only adds.
    let least = |samples: &mut Vec<f64>| percentile(samples, 0.1);
    let (inside, outside) = (least(&mut inside), least(&mut outside));
    Ok(Ok((inside - least(&mut start_in)) / (outside - least(&mut start_out))))
}

/// The time that work with the processor takes in a cell, milliseconds.
async fn spin(setting: &Setting, cell: &dyn Cell, dir: &Path) -> anyhow::Result<f64> {
    let (own, rounds) = (dir.join("bench"), setting.amount(SPIN).to_string());
    let running = cell.start(command(dir, &own.display().to_string(), &["spin", &rounds])).await?;
    let out = output(running).await?;
    let ns: f64 = out.split(' ').next().unwrap_or_default().parse().context("the spinning program")?;
    Ok(ns / 1e6)
}

/// Work with the processor inside against outside, in turns.
pub(super) async fn cpu(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    std::fs::copy(&setting.own, dir.join("bench"))?;
    let process = process_driver()?;
    let native = process.prepare(request(dir)).await?;
    let mut out = Vec::new();
    let sandbox = sandbox(dir).await?.map(|d| Box::new(d) as Box<dyn Driver>);
    let gvisor = gvisor_driver(dir).await?.map(|(d, _)| Box::new(d) as Box<dyn Driver>);
    for (name, target, driver) in
        [("sandbox", Target::AtMost(1.02), sandbox), ("gvisor", Target::None, gvisor)]
    {
        let name = format!("{name}: work with the processor, of native");
        let driver = match driver {
            Ok(driver) => driver,
            Err(why) => {
                out.push(Measure::skipped(name, "times", target, why));
                continue;
            }
        };
        let cell = driver.prepare(request(dir)).await?;
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for _ in 0..15 {
            outside.push(spin(setting, &*native, dir).await?);
            inside.push(spin(setting, &*cell, dir).await?);
        }
        cell.tear_down().await?;
        // The least disturbed of each: everything else on the machine only adds.
        let ratio = percentile(&mut inside, 0.1) / percentile(&mut outside, 0.1);
        out.push(Measure::new(name, "times", target, ratio));
    }
    for kind in [EngineKind::Docker, EngineKind::Podman] {
        let name = format!("container ({}): work with the processor, of native", kind.name());
        out.push(match container_cpu(&*native, kind, dir).await? {
            Ok(ratio) => Measure::new(name, "times", Target::AtMost(1.02), ratio),
            Err(why) => Measure::skipped(name, "times", Target::AtMost(1.02), why),
        });
    }
    native.tear_down().await?;
    Ok(out)
}
