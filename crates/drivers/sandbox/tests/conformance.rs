//! The suite that every boundary passes.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use fleetfoot_driver_conformance::{Expected, as_an_ordinary_user, more_than_the_machine_has, run_all};
use fleetfoot_driver_sandbox::{Network, SandboxDriver, SandboxOptions};
use fleetfoot_model::boundary::Boundary;

async fn suite(cgroups: bool, network: Network) {
    let make = |tag: &str| {
        let options = SandboxOptions { tag: tag.into(), cgroups, network, ..SandboxOptions::default() };
        Box::new(SandboxDriver::new(options).unwrap()) as Box<dyn fleetfoot_driver::Driver>
    };
    let scratch = tempfile::tempdir().unwrap();
    let probe = SandboxDriver::probe(SandboxOptions::default(), scratch.path()).await;
    if !probe.usable {
        eprintln!("skipped: no sandbox on this machine: {probe:#?}");
        return;
    }
    let grouped = cgroups && probe.checks.iter().any(|c| c.name == "groups" && c.works);
    run_all(make, &Expected { boundary: Boundary::Sandbox, contained: true, grouped }).await;
    more_than_the_machine_has(make).await;
}

#[tokio::test]
async fn with_groups() {
    suite(true, Network::None).await;
}

#[tokio::test]
async fn without_groups() {
    suite(false, Network::Host).await;
}

#[test]
fn the_same_for_an_ordinary_user() {
    as_an_ordinary_user();
}
