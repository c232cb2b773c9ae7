//! The suite that every boundary passes.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use fleetfoot_driver_conformance::{Expected, run_all};
use fleetfoot_driver_gvisor::{GvisorDriver, GvisorOptions, Network};
use fleetfoot_model::boundary::Boundary;

async fn suite(cgroups: bool, network: Network) {
    let scratch = tempfile::tempdir().unwrap();
    let probe = GvisorDriver::probe(GvisorOptions::default(), scratch.path()).await;
    if !probe.usable {
        eprintln!("skipped: no gVisor on this machine: {probe:#?}");
        return;
    }
    let make = |tag: &str| {
        let options = GvisorOptions {
            tag: tag.into(),
            cgroups,
            network,
            platform: probe.platform.clone(),
            state: Some(scratch.path().into()),
            ..GvisorOptions::default()
        };
        Box::new(GvisorDriver::new(options).unwrap()) as Box<dyn fleetfoot_driver::Driver>
    };
    let grouped = cgroups && probe.checks.iter().any(|c| c.name == "groups" && c.works);
    run_all(make, &Expected { boundary: Boundary::Gvisor, contained: true, grouped }).await;
    let left: Vec<_> = std::fs::read_dir(scratch.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn with_groups() {
    suite(true, Network::None).await;
}

#[tokio::test]
async fn without_groups() {
    suite(false, Network::Host).await;
}
