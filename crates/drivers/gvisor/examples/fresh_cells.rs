//! Where the time of a fresh cell goes, beside `runsc run` of the same bundle: `fresh_cells [ROUNDS]`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unsafe_code,
    reason = "a tool for people who work on this crate"
)]

use fleetfoot_driver::{CellRequest, Command, Driver as _};
use fleetfoot_driver_gvisor::{GvisorDriver, GvisorOptions, Network};
use fleetfoot_driver_linux::cgroup::Cgroups;
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId};
use fleetfoot_model::spec::Limits;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(300);

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn request(dir: &Path, job: u64) -> CellRequest {
    CellRequest::new(AttemptRef { job: JobId(job), attempt: 1, epoch: Epoch(1) }, dir.into(), dir.into())
}

fn show(what: &str, samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    let middle = samples[samples.len() / 2];
    println!("{what:<32} p50 {middle:7.2} ms   least {:7.2} ms", samples[0]);
    middle
}

#[tokio::main]
async fn main() {
    let rounds: u64 = std::env::args().nth(1).map_or(20, |n| n.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let tag = format!("times-{}", std::process::id());
    let options = GvisorOptions {
        tag: tag.clone(),
        network: Network::None,
        state: Some(dir.join("state")),
        ..GvisorOptions::default()
    };
    let driver = GvisorDriver::new(options).unwrap();
    let platform = driver.platform().await.unwrap().to_owned();
    let cell = driver.prepare(request(dir, 0)).await.unwrap();
    let bundle = std::fs::read_dir(dir.join("state").join(format!("fleetfoot-gvisor-{tag}"))).unwrap().next();
    let config = std::fs::read(bundle.unwrap().unwrap().path().join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    config["process"]["args"] = vec!["/bin/true"].into();
    std::fs::create_dir(dir.join("run")).unwrap();
    std::fs::write(dir.join("run/config.json"), config.to_string()).unwrap();
    let step =
        || Command { program: "/bin/true".into(), working_directory: dir.into(), ..Command::default() };
    let cgroups = Cgroups::probe(&format!("{tag}-groups"));
    let [mut groups, mut prepare, mut first, mut second, mut whole, mut down, mut runsc, mut times] =
        std::array::from_fn(|_| Vec::new());
    for round in 1..=rounds {
        let begun = Instant::now();
        let made = cgroups.make_cell("x", &Limits { pids: Some(64), ..Limits::default() }).unwrap();
        groups.push(ms(begun));
        made.remove().unwrap();
        // Both leave dying processes behind for a while, which must not count as the other's.
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        let fresh = driver.prepare(request(dir, round)).await.unwrap();
        prepare.push(ms(begun));
        fresh.start(step()).await.unwrap().handle.wait().await;
        let all = ms(begun);
        whole.push(all);
        first.push(all - prepare[prepare.len() - 1]);
        let begun = Instant::now();
        fresh.start(step()).await.unwrap().handle.wait().await;
        second.push(ms(begun));
        let begun = Instant::now();
        fresh.tear_down().await.unwrap();
        down.push(ms(begun));
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        let mut command = std::process::Command::new("runsc");
        command
            .arg(format!("--root={}", dir.join("runsc").display()))
            .args([
                &format!("--platform={platform}"),
                "--network=none",
                "--ignore-cgroups",
                "run",
                "--bundle",
            ])
            .args([dir.join("run").display().to_string(), format!("times-{}-{round}", std::process::id())]);
        // Sessions share the processor evenly where the kernel groups by them, and ours has one of its own.
        // SAFETY: one async-signal-safe call.
        unsafe { command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into)) };
        let done = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(done.success());
        let theirs = ms(begun);
        runsc.push(theirs);
        times.push(all / theirs);
    }
    cell.tear_down().await.unwrap();
    cgroups.remove_bases();
    show("groups", &mut groups);
    show("prepare", &mut prepare);
    show("first step", &mut first);
    show("second step", &mut second);
    show("prepare and first step", &mut whole);
    show("removal", &mut down);
    show("`runsc run` of the bundle", &mut runsc);
    times.sort_by(f64::total_cmp);
    println!("times of `runsc run`, in pairs: p50 {:.3}", times[times.len() / 2]);
}
