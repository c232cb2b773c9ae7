//! Job containers, services, actions, pulls, clean-up and faults, against each
//! engine of the machine. One engine per test, in which the parts run side by
//! side.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "tests")]

mod actions;
mod cells;
mod escapes;
mod pulls;
mod services;
mod sweeping;
mod world;

use fleetfoot_driver::DriverErrorKind;
use fleetfoot_driver_conformance::{alive, eventually, finish};
use fleetfoot_driver_container::{ContainerEngine, ContainerOptions, Endpoint, Network};
use fleetfoot_testkit::{EngineKind, FakeRegistry, PrivateEngine};
use std::time::{Duration, Instant};
use world::{World, options};

/// One part: all of them are seen, also if one fails.
async fn part(name: &str, work: impl Future<Output = ()>) -> Option<&str> {
    use futures_util::FutureExt;
    std::panic::AssertUnwindSafe(Box::pin(work)).catch_unwind().await.is_err().then_some(name)
}

async fn everything(kind: EngineKind) {
    let (open, private, keyed) = (FakeRegistry::new(), FakeRegistry::new(), FakeRegistry::new());
    let insecure = [open.host(), private.host(), keyed.host()];
    let Some(engine) = PrivateEngine::start(kind, &insecure) else { return };
    let about = ContainerEngine::new(options(&engine)).unwrap().about().await.unwrap();
    assert_eq!(about.name, kind.name());
    let begin = Instant::now();
    // Side by side, as attempts are at a runner: none may disturb another.
    let results = tokio::join!(
        part("job container", cells::job_container(&engine)),
        part("networks", cells::networks(&engine)),
        part("trial", cells::trial(&engine)),
        part("services", services::services(&engine)),
        part("actions", actions::actions(&engine)),
        part("builds", actions::builds(&engine)),
        part("refusals", cells::refusals(&engine)),
        part("escapes", escapes::escapes(&engine)),
        part("keeping and sweeping", sweeping::keeping_and_sweeping(&engine)),
        part("pulls", pulls::pulls(&engine, &open, &private)),
        part("programs for credentials", pulls::programs_for_credentials(&engine, &keyed)),
        part("the runner is killed", sweeping::the_runner_is_killed(&engine)),
    );
    let failed: Vec<&str> = <[Option<&str>; 12]>::from(results).into_iter().flatten().collect();
    assert_eq!(failed, Vec::<&str>::new(), "parts that failed");
    eprintln!("  {}: {:.1} s", kind.name(), begin.elapsed().as_secs_f64());
    the_engine_stops(engine).await;
}

/// Last, because nothing can be done at it any more.
async fn the_engine_stops(mut engine: PrivateEngine) {
    let mut config = options(&engine);
    config.patience = Duration::from_secs(5);
    // Nobody could remove a network afterwards.
    config.network = Network::None;
    let world = World::new(config.clone()).await;
    let cell = world.cell("").await;
    let running = cell.start(world.sh("sleep 600")).await.unwrap();
    let (pid, begin) = (running.pid, Instant::now());
    engine.stop();
    if engine.kind() == EngineKind::Docker {
        assert_eq!(finish(running).await.0.signal, Some(9), "the step ends with its engine");
        let error = cell.start(world.sh("true")).await.unwrap_err();
        assert!(error.to_string().contains("the container has ended"), "{error}");
    } else {
        // Podman's containers do not need their engine.
        assert!(alive(pid));
        assert_eq!(world.script(cell.as_ref(), "echo ok").await.1, "ok\n");
    }
    let error = world.group.tear_down(true).await.unwrap_err();
    assert!(error.kind == DriverErrorKind::Unavailable && error.to_string().contains("next: "), "{error}");
    let error = match ContainerEngine::new(config) {
        Ok(engine) => engine.about().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind, DriverErrorKind::Unavailable, "{error}");
    assert!(begin.elapsed() < Duration::from_secs(40), "in bounded time");
    drop(cell);
    eventually("nothing runs any more", || !alive(pid)).await;
}

#[tokio::test]
async fn docker() {
    Box::pin(everything(EngineKind::Docker)).await;
}

#[tokio::test]
async fn podman() {
    Box::pin(everything(EngineKind::Podman)).await;
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_said_to_be() {
    let config = ContainerOptions {
        endpoint: Endpoint::Socket("/nonexistent/docker.sock".into()),
        ..ContainerOptions::default()
    };
    let error = ContainerEngine::new(config).unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Unavailable);
    assert!(error.to_string().contains("next: systemctl start docker"), "{error}");
}

#[tokio::test]
async fn docker_loses_the_root_of_a_container() {
    let Some(engine) = PrivateEngine::start(EngineKind::Docker, &[]) else { return };
    Box::pin(cells::a_root_that_is_lost(&engine)).await;
}

#[tokio::test]
async fn docker_on_a_full_disk() {
    Box::pin(pulls::a_full_disk(EngineKind::Docker)).await;
}

#[tokio::test]
async fn podman_on_a_full_disk() {
    Box::pin(pulls::a_full_disk(EngineKind::Podman)).await;
}
