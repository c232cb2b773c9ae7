//! The suite that every boundary passes.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use fleetfoot_driver::{CellRequest, Driver, DriverErrorKind};
use fleetfoot_driver_conformance::{Expected, fresh_tag, more_than_the_machine_has, run_all};
use fleetfoot_driver_gvisor::{GvisorDriver, GvisorOptions, Network};
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId};
use fleetfoot_model::spec::Limits;

async fn suite(cgroups: bool, network: Network) {
    let scratch = tempfile::tempdir().unwrap();
    let probe =
        GvisorDriver::probe(GvisorOptions { network, ..GvisorOptions::default() }, scratch.path()).await;
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
        Box::new(GvisorDriver::new(options).unwrap()) as Box<dyn Driver>
    };
    let grouped = cgroups && probe.checks.iter().any(|c| c.name == "groups" && c.works);
    run_all(make, &Expected { boundary: Boundary::Gvisor, contained: true, grouped }).await;
    if grouped {
        more_than_the_machine_has(make).await;
    } else {
        a_limit_that_cannot_hold_is_refused(&make).await;
    }
    let left: Vec<_> = std::fs::read_dir(scratch.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

async fn a_limit_that_cannot_hold_is_refused(make: impl Fn(&str) -> Box<dyn Driver>) {
    let (driver, dir) = (make(&fresh_tag()), tempfile::tempdir().unwrap());
    let attempt = AttemptRef { job: JobId(1), attempt: 1, epoch: Epoch(1) };
    let limits = Limits { memory_bytes: Some(1 << 30), ..Limits::default() };
    let request = CellRequest { limits, ..CellRequest::new(attempt, dir.path().into(), dir.path().into()) };
    let error = driver.prepare(request).await.err().unwrap();
    assert_eq!(error.kind, DriverErrorKind::Unsupported);
    assert!(error.message.contains("Delegate=yes"), "{error}");
}

#[tokio::test]
async fn with_groups() {
    suite(true, Network::None).await;
}

#[tokio::test]
async fn without_groups() {
    suite(false, Network::Host).await;
}

#[tokio::test]
async fn with_a_private_network() {
    suite(true, Network::Private).await;
}
