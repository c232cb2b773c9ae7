//! Measures what starts cost, against a private engine: `cargo run --release --example latency --
//! [docker|podman]`. Prints the mean of a step in a container that is up, of a fresh container (in
//! parts), and of the engine's own `run --rm` on its default network, on one of its own, and
//! on none.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example")]

use fleetfoot_driver::containers::Containers;
use fleetfoot_driver::{CellRequest, Command, Driver};
use fleetfoot_driver_container::{
    ContainerDriver, ContainerEngine, ContainerOptions, Endpoint, Network, Pull,
};
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId};
use fleetfoot_testkit::{EngineKind, PrivateEngine, SMALL_IMAGE};
use std::time::Instant;

const STEPS: u32 = 200;
const FRESH: u32 = 20;

#[tokio::main]
async fn main() {
    let kind = match std::env::args().nth(1).as_deref() {
        Some("podman") => EngineKind::Podman,
        _ => EngineKind::Docker,
    };
    let engine = PrivateEngine::start_with_default_network(kind).expect("an engine");
    engine.make_network("of-its-own");
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    for name in ["workspace", "temp"] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
    }
    let networks =
        [(Network::Private, "private", vec!["default", "of-its-own"]), (Network::None, "none", vec!["none"])];
    for (network, word, theirs) in networks {
        let options = ContainerOptions {
            tag: format!("latency-{}", std::process::id()),
            endpoint: Endpoint::Socket(engine.socket()),
            directory: Some(dir.join("driver")),
            pull: Pull::Missing,
            network,
            ..ContainerOptions::default()
        };
        let ours = ContainerEngine::new(options).unwrap();
        measure(&engine, &ours, dir, word, &theirs).await;
        ours.close().await;
    }
}

async fn measure(
    engine: &PrivateEngine,
    ours: &ContainerEngine,
    dir: &std::path::Path,
    word: &str,
    theirs: &[&str],
) {
    let driver = ContainerDriver::new(ours.clone(), Some(SMALL_IMAGE.into()));
    let command = Command {
        program: "true".into(),
        working_directory: dir.join("workspace"),
        merge_output: true,
        ..Command::default()
    };
    let request = |job: u32| {
        let attempt = AttemptRef { job: JobId(job.into()), attempt: 1, epoch: Epoch(1) };
        CellRequest::new(attempt, dir.join("workspace"), dir.join("temp"))
    };
    let cell = driver.prepare(request(1)).await.unwrap();
    let begin = Instant::now();
    for _ in 0..STEPS {
        let running = cell.start(command.clone()).await.unwrap();
        assert_eq!(running.handle.wait().await.code, Some(0));
    }
    println!("network {word}: a step in a container that is up: {:.2} ms", ms(begin) / f64::from(STEPS));
    cell.tear_down().await.unwrap();
    let (mut parts, mut runs) = (vec![Vec::new(); 3], vec![Vec::new(); theirs.len()]);
    // Turn about, so that all see the same machine.
    for i in 0..FRESH {
        // What goes on in the background disturbs nobody: single starts are measured.
        ours.settle().await;
        let begin = Instant::now();
        let cell = driver.prepare(request(i + 2)).await.unwrap();
        parts[0].push(ms(begin));
        let begin = Instant::now();
        cell.start(command.clone()).await.unwrap().handle.wait().await;
        parts[1].push(ms(begin));
        let begin = Instant::now();
        cell.tear_down().await.unwrap();
        parts[2].push(ms(begin));
        ours.settle().await;
        for (network, times) in theirs.iter().zip(&mut runs) {
            let mut args = vec!["run", "--rm"];
            if *network != "default" {
                args.extend(["--network", network]);
            }
            args.extend([SMALL_IMAGE, "true"]);
            let begin = Instant::now();
            let _ = engine.output(&args);
            times.push(ms(begin));
        }
    }
    let parts: Vec<f64> = parts.into_iter().map(middle).collect();
    let all: f64 = parts.iter().sum();
    println!(
        "network {word}: fresh: {all:.0} ms (prepare {:.0}, step {:.1}, tear down {:.0})",
        parts[0], parts[1], parts[2]
    );
    for (network, times) in theirs.iter().zip(runs) {
        let theirs = middle(times);
        println!("  run --rm on {network}: {theirs:.0} ms; ours is {:.2} of it", all / theirs);
    }
}

fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn ms(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1000.0
}
