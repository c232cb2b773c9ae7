//! What stays for inspection, and what nobody may leave behind: neither an attempt nor a runner that dies.

use crate::world::{World, left, left_of, options};
use fleetfoot_driver::containers::Containers;
use fleetfoot_driver_conformance::{alive, eventually, fresh_tag};
use fleetfoot_driver_container::{ContainerEngine, ContainerOptions, Endpoint, Keep, KeepPolicy, Pull};
use fleetfoot_model::ids::AttemptRef;
use fleetfoot_testkit::{PrivateEngine, SMALL_IMAGE};

pub(crate) async fn keeping_and_sweeping(engine: &PrivateEngine) {
    let keep = KeepPolicy { keep: Keep::Failed, count: 1, ..KeepPolicy::default() };
    let kept_options = ContainerOptions { keep, spare_networks: 0, ..options(engine) };
    for failed in [false, true, true] {
        let world = World::new(kept_options.clone()).await;
        let _cell = world.cell("").await;
        world.group.tear_down(failed).await.unwrap();
    }
    let living = World::new(kept_options.clone()).await;
    let cell = living.cell("").await;
    let dead = World::new(kept_options.clone()).await;
    let mut container = dead.container("").await;
    container.volumes = vec!["cache:/c".into()];
    let gone = dead.group.cell(container).await.unwrap();
    let stranger = World::new(options(engine)).await;
    let strange = stranger.cell("").await;
    let kept = living.engine.kept().await.unwrap();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(
        kept.iter().all(|k| k.failed && k.image == SMALL_IMAGE) && kept[0].finished_at >= kept[1].finished_at
    );
    // What a dead runner left goes; what lives, what is kept, and what is another's stays.
    let removed = living.engine.sweep_except(&[living.attempt]).await.unwrap();
    assert_eq!(removed.len(), 4, "container, network, volume, and one kept too many: {removed:?}");
    assert!(gone.start(dead.sh("true")).await.is_err());
    for (world, cell) in [(&living, &cell), (&stranger, &strange)] {
        assert_eq!(world.script(cell.as_ref(), "echo ok").await.1, "ok\n");
    }
    assert_eq!(living.engine.sweep_except(&[living.attempt]).await.unwrap(), Vec::<String>::new());
    let kept = living.engine.kept().await.unwrap();
    assert_eq!(kept.len(), 1);
    assert!(living.engine.remove_kept(&["nothing".into()]).await.is_err());
    living.engine.remove_kept(&[kept[0].id.clone()]).await.unwrap();
    living.group.tear_down(false).await.unwrap();
    stranger.engine.sweep(stranger.attempt).await.unwrap();
    stranger.engine.sweep(stranger.attempt).await.unwrap();
    for world in [&living, &dead, &stranger] {
        assert_eq!(left_of(engine, world).await, Vec::<String>::new());
    }
}

/// Plays a runner that dies: opens a cell, tells, and waits for its end.
#[tokio::test]
#[ignore = "started by another test, in a process of its own"]
pub(crate) async fn a_runner_that_dies() {
    let Ok(socket) = std::env::var("FF_SOCKET") else { return };
    let (tag, directory) = (std::env::var("FF_TAG").unwrap(), std::env::var("FF_DIRECTORY").unwrap());
    let options = ContainerOptions {
        tag,
        directory: Some(directory.into()),
        endpoint: Endpoint::Socket(socket.into()),
        pull: Pull::Missing,
        ..ContainerOptions::default()
    };
    let world = World::new(options).await;
    let cell = world.cell("").await;
    let running = cell.start(world.sh("setsid sleep 600 & exec sleep 600")).await.unwrap();
    println!("\nREADY {} {}", running.pid, world.attempt);
    std::future::pending::<()>().await;
}

pub(crate) async fn the_runner_is_killed(engine: &PrivateEngine) {
    let options = options(engine);
    let neighbour = World::new(ContainerOptions { tag: fresh_tag(), ..options.clone() }).await;
    let cell = neighbour.cell("").await;
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sweeping::a_runner_that_dies", "--ignored", "--nocapture"])
        .env("FF_SOCKET", engine.socket())
        .env("FF_TAG", &options.tag)
        .env("FF_DIRECTORY", options.directory.as_ref().unwrap())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
    let ready = lines.find_map(|l| l.unwrap().strip_prefix("READY ").map(str::to_owned)).unwrap();
    let (pid, attempt) = ready.split_once(' ').unwrap();
    let (pid, attempt): (u32, AttemptRef) = (pid.parse().unwrap(), attempt.parse().unwrap());
    assert!(alive(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    // The connection is gone, and with it the keeper, and with it everything.
    eventually("the command is gone", || !alive(pid)).await;
    let successor = ContainerEngine::new(options.clone()).unwrap();
    successor.sweep(attempt).await.unwrap();
    assert_eq!(left(engine, &options.tag), Vec::<String>::new());
    assert_eq!(neighbour.script(cell.as_ref(), "echo ok").await.1, "ok\n");
    neighbour.group.tear_down(false).await.unwrap();
}
