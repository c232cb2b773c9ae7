//! The suite that every boundary passes, against each engine of the machine.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use fleetfoot_driver_conformance::{Expected, run_all};
use fleetfoot_driver_container::{ContainerDriver, ContainerEngine, ContainerOptions, Endpoint, Pull};
use fleetfoot_model::boundary::Boundary;
use fleetfoot_testkit::{EngineKind, PrivateEngine, SMALL_IMAGE};

async fn suite(kind: EngineKind) {
    let Some(engine) = PrivateEngine::start(kind, &[]) else { return };
    let scratch = tempfile::tempdir().unwrap();
    let make = |tag: &str| {
        let options = ContainerOptions {
            tag: tag.into(),
            endpoint: Endpoint::Socket(engine.socket()),
            directory: Some(scratch.path().join(tag)),
            pull: Pull::Missing,
            ..ContainerOptions::default()
        };
        let engine = ContainerEngine::new(options).unwrap();
        Box::new(ContainerDriver::new(engine, Some(SMALL_IMAGE.into()))) as Box<dyn fleetfoot_driver::Driver>
    };
    run_all(make, &Expected { boundary: Boundary::Container, contained: true, grouped: true }).await;
}

#[tokio::test]
async fn docker() {
    suite(EngineKind::Docker).await;
}

#[tokio::test]
async fn podman() {
    suite(EngineKind::Podman).await;
}
