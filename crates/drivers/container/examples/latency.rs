//! Measures what starts cost, against an engine with an image that is there:
//! `cargo run --example latency -- SOCKET IMAGE [docker|podman]`. Prints the mean of a step in a
//! container that is up, of a fresh container, and of the engine's own `run --rm`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example")]

use fleetfoot_driver::{CellRequest, Command, Driver};
use fleetfoot_driver_container::{
    ContainerDriver, ContainerEngine, ContainerOptions, Endpoint, Network, Pull,
};
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId};
use std::time::Instant;

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let (socket, image) = (args.next().unwrap(), args.next().unwrap());
    let cli = args.next().unwrap_or_else(|| "docker".into());
    let dir = std::env::temp_dir().join(format!("latency-{}", std::process::id()));
    for name in ["workspace", "temp"] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
    }
    for (network, word) in [(Network::Private, "private network"), (Network::None, "no network")] {
        let options = ContainerOptions {
            tag: format!("latency-{}", std::process::id()),
            endpoint: Endpoint::Socket(socket.clone().into()),
            directory: Some(dir.join("driver")),
            pull: Pull::Missing,
            network,
            ..ContainerOptions::default()
        };
        let ours = ContainerEngine::new(options).unwrap();
        let driver = ContainerDriver::new(ours.clone(), Some(image.clone()));
        let command = Command {
            program: "true".into(),
            working_directory: dir.join("workspace"),
            merge_output: true,
            ..Command::default()
        };
        let request = |job: u64| {
            let attempt = AttemptRef { job: JobId(job), attempt: 1, epoch: Epoch(1) };
            CellRequest::new(attempt, dir.join("workspace"), dir.join("temp"))
        };
        let cell = driver.prepare(request(1)).await.unwrap();
        const STEPS: u32 = 200;
        let begin = Instant::now();
        for _ in 0..STEPS {
            let running = cell.start(command.clone()).await.unwrap();
            assert_eq!(running.handle.wait().await.code, Some(0));
        }
        println!("{word}: a step in a container that is up: {:.2} ms", ms(begin, STEPS));
        cell.tear_down().await.unwrap();
        let own = if network == Network::None { "none" } else { "latency" };
        let host = format!("unix://{socket}");
        let engine = |args: &[&str]| {
            let flag = if cli == "podman" { "--url" } else { "--host" };
            let output = std::process::Command::new(&cli).args([flag, &host]).args(args).output().unwrap();
            output.status.success()
        };
        // A network of the same kind: with IPv6 an engine takes longer for every start.
        let ipv6 = ["network", "create", "--ipv6", "--subnet", "fd66:6c74:6c61::/64", "latency"];
        if cli == "podman" || !engine(&ipv6) {
            engine(&["network", "create", "latency"]);
        }
        // Turn about, so that both see the same machine.
        const FRESH: u32 = 20;
        let (mut prepare, mut step, mut end, mut theirs) = (0.0, 0.0, 0.0, 0.0);
        for i in 0..FRESH {
            // What goes on in the background disturbs neither: single starts are measured.
            ours.settle().await;
            let begin = Instant::now();
            let cell = driver.prepare(request(u64::from(i) + 2)).await.unwrap();
            prepare += ms(begin, FRESH);
            let begin = Instant::now();
            let running = cell.start(command.clone()).await.unwrap();
            running.handle.wait().await;
            step += ms(begin, FRESH);
            let begin = Instant::now();
            cell.tear_down().await.unwrap();
            end += ms(begin, FRESH);
            ours.settle().await;
            let begin = Instant::now();
            assert!(engine(&["run", "--rm", "--network", own, &image, "true"]));
            theirs += ms(begin, FRESH);
        }
        let all = prepare + step + end;
        println!("{word}: fresh: {all:.0} ms (prepare {prepare:.0}, step {step:.1}, tear down {end:.0})");
        println!("{word}: the engine's own run --rm: {theirs:.0} ms; ours is {:.2} of it", all / theirs);
        ours.close().await;
        engine(&["network", "rm", "latency"]);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

fn ms(begin: Instant, count: u32) -> f64 {
    begin.elapsed().as_secs_f64() * 1000.0 / f64::from(count)
}
