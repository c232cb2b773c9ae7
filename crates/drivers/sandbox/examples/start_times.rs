//! What a start costs: plain fork and exec, the process boundary, the sandbox.
//!
//! `cargo run --release -p fleetfoot-driver-sandbox --example start_times [COUNT]`
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for people")]

use fleetfoot_driver::{Cell, CellRequest, Command, Driver};
use fleetfoot_driver_process::{ProcessDriver, ProcessOptions};
use fleetfoot_driver_sandbox::{Network, SandboxDriver, SandboxOptions};
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId};
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

fn request(number: u64, dir: &Path) -> CellRequest {
    CellRequest::new(AttemptRef { job: JobId(number), attempt: 1, epoch: Epoch(1) }, dir.into(), dir.into())
}

async fn run_true(cell: &dyn Cell, dir: &Path) {
    let command = Command {
        program: "/bin/true".into(),
        env: HashMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        working_directory: dir.into(),
        merge_output: true,
        ..Command::default()
    };
    let running = cell.start(command).await.unwrap();
    assert_eq!(running.handle.wait().await.code, Some(0));
}

fn show(name: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let sum: Duration = times.iter().sum();
    println!(
        "{name:<34} mean {:6.2} ms   p50 {:6.2}   p95 {:6.2}   {:6.0}/s",
        ms(sum) / times.len() as f64,
        ms(times[times.len() / 2]),
        ms(times[times.len() * 95 / 100]),
        times.len() as f64 / sum.as_secs_f64()
    );
}

async fn driver(name: &str, driver: &dyn Driver, dir: &Path, count: u64) {
    let cell = driver.prepare(request(1, dir)).await.unwrap();
    run_true(&*cell, dir).await;
    let mut times = Vec::new();
    for _ in 0..count {
        let begin = Instant::now();
        run_true(&*cell, dir).await;
        times.push(begin.elapsed());
    }
    show(&format!("{name}, a step in a cell"), &mut times);
    cell.tear_down().await.unwrap();
    let mut times = Vec::new();
    for number in 0..count {
        let begin = Instant::now();
        let cell = driver.prepare(request(2 + number, dir)).await.unwrap();
        run_true(&*cell, dir).await;
        cell.tear_down().await.unwrap();
        times.push(begin.elapsed());
    }
    show(&format!("{name}, cell + step + removal"), &mut times);
    let (begin, at_once) = (Instant::now(), 4);
    let one = async |lane: u64| {
        for number in 0..count / at_once {
            let dir = tempfile::tempdir().unwrap();
            let cell = driver.prepare(request(1_000_000 * (lane + 1) + number, dir.path())).await.unwrap();
            run_true(&*cell, dir.path()).await;
            cell.tear_down().await.unwrap();
        }
    };
    tokio::join!(one(0), one(1), one(2), one(3));
    let rate = (count / at_once * at_once) as f64 / begin.elapsed().as_secs_f64();
    println!("{:<34} {rate:.0}/s", format!("{name}, {at_once} cells at once"));
    let cell = driver.prepare(request(1, dir)).await.unwrap();
    for (what, script) in [
        ("counting", "i=0; while [ $i -lt 1500000 ]; do i=$((i+1)); done"),
        ("300 spawns", "i=0; while [ $i -lt 300 ]; do /bin/true; i=$((i+1)); done"),
        ("300k reads and writes", "dd if=/dev/zero of=/dev/null bs=1 count=300000 2>/dev/null"),
    ] {
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let begin = Instant::now();
            let command = Command {
                program: "/bin/sh".into(),
                args: vec!["-c".into(), script.into()],
                env: HashMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
                working_directory: dir.into(),
                ..Command::default()
            };
            let running = cell.start(command).await.unwrap();
            assert_eq!(running.handle.wait().await.code, Some(0));
            best = best.min(begin.elapsed());
        }
        println!("{:<34} best of 5 {:.1} ms", format!("{name}, {what}"), best.as_secs_f64() * 1e3);
    }
    cell.tear_down().await.unwrap();
}

#[tokio::main]
async fn main() {
    let count = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(300);
    let dir = tempfile::tempdir().unwrap();
    let mut times = Vec::new();
    for _ in 0..count {
        let begin = Instant::now();
        assert!(std::process::Command::new("/bin/true").env_clear().status().unwrap().success());
        times.push(begin.elapsed());
    }
    show("fork and exec", &mut times);
    let tag = format!("bench-{}", std::process::id());
    let process = ProcessDriver::new(ProcessOptions { tag: tag.clone(), ..ProcessOptions::default() });
    driver("process", &process.unwrap(), dir.path(), count).await;
    for network in [Network::Host, Network::None] {
        let options = SandboxOptions {
            tag: format!("{tag}-{}", network.as_str()),
            network,
            ..SandboxOptions::default()
        };
        let sandbox = SandboxDriver::new(options).unwrap();
        driver(&format!("sandbox/{}", network.as_str()), &sandbox, dir.path(), count).await;
    }
}
