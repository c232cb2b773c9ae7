//! The suite that every boundary passes, against each engine of the machine.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use fleetfoot_driver::Driver;
use fleetfoot_driver_conformance::{Expected, World, fresh_tag, run_all};
use fleetfoot_driver_container::{ContainerDriver, ContainerEngine, ContainerOptions, Endpoint, Pull};
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::spec::Limits;
use fleetfoot_testkit::{EngineKind, PrivateEngine, SMALL_IMAGE};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

fn driver(socket: &Path, scratch: &Path, tag: &str) -> Box<dyn Driver> {
    let options = ContainerOptions {
        tag: tag.into(),
        endpoint: Endpoint::Socket(socket.into()),
        directory: Some(scratch.join(tag)),
        pull: Pull::Missing,
        ..ContainerOptions::default()
    };
    let engine = ContainerEngine::new(options).unwrap();
    Box::new(ContainerDriver::new(engine, Some(SMALL_IMAGE.into())))
}

/// The suite at the engine with this socket, with directories below this one.
async fn at(socket: &Path, scratch: &Path, grouped: bool) {
    let make = |tag: &str| driver(socket, scratch, tag);
    run_all(make, &Expected { boundary: Boundary::Container, contained: true, grouped }).await;
}

async fn suite(kind: EngineKind) {
    let Some(engine) = PrivateEngine::start(kind, &[]) else { return };
    let scratch = tempfile::tempdir().unwrap();
    at(&engine.socket(), scratch.path(), true).await;
}

#[tokio::test]
async fn docker() {
    suite(EngineKind::Docker).await;
}

#[tokio::test]
async fn podman() {
    suite(EngineKind::Podman).await;
}

/// The suite as an ordinary user.
#[tokio::test]
#[ignore = "started by other tests, in a process of its own"]
async fn as_an_ordinary_user() {
    let (Ok(socket), Ok(grouped)) = (std::env::var("FF_SOCKET"), std::env::var("FF_GROUPED")) else { return };
    assert!(!rustix::process::geteuid().is_root());
    let scratch = tempfile::tempdir().unwrap();
    files_of_others(Path::new(&socket), scratch.path()).await;
    at(Path::new(&socket), scratch.path(), grouped == "true").await;
}

/// What a container wrote as anybody is the user's afterwards, also where the user could not look.
async fn files_of_others(socket: &Path, scratch: &Path) {
    let world = World::new(driver(socket, scratch, &fresh_tag()), Limits::default()).await;
    let script = "umask 077; mkdir -p d/e && touch d/e/f && ln -s /etc/passwd d/link && mkfifo d/e/pipe \
                  && chown -R -h 1234:1234 d && touch mine";
    let (exit, out) = world.script(script).await;
    assert_eq!(exit.code, Some(0), "{out}");
    assert!(std::fs::read_dir(world.workspace().join("d")).is_err(), "it is somebody else's until then");
    let outside = std::fs::metadata("/etc/passwd").unwrap();
    world.cell.tear_down().await.unwrap();
    let me = rustix::process::geteuid().as_raw();
    for path in ["mine", "d", "d/link", "d/e", "d/e/f", "d/e/pipe"] {
        assert_eq!(std::fs::symlink_metadata(world.workspace().join(path)).unwrap().uid(), me, "{path}");
    }
    assert_eq!(std::fs::metadata("/etc/passwd").unwrap().uid(), outside.uid());
    std::fs::remove_dir_all(world.workspace()).unwrap();
}

fn suite_of_a_user(kind: EngineKind, grouped: bool) {
    let Some(engine) = PrivateEngine::start(kind, &[]) else { return };
    let user = engine.user();
    let grouped = if grouped { "true" } else { "false" };
    let variables = [("FF_SOCKET", engine.socket().into_os_string()), ("FF_GROUPED", grouped.into())];
    let done = user.test("as_an_ordinary_user", &variables.each_ref().map(|(k, v)| (*k, v.as_os_str())));
    let said = [done.stdout, done.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
    assert!(done.status.success() && said.contains("1 passed"), "{said}\n{}", engine.log());
    eprintln!("tested: {} by the user {}", kind.label(), user.id());
}

#[tokio::test]
async fn podman_without_root() {
    // Control groups of the first version are root's; those of the second are delegated by systemd, which
    // is not what starts a private engine.
    suite_of_a_user(EngineKind::RootlessPodman, false);
}

#[tokio::test]
async fn docker_by_a_user_who_may() {
    suite_of_a_user(EngineKind::Docker, true);
}
