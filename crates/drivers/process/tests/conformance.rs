//! The suite that every boundary passes.
#![allow(clippy::unwrap_used, reason = "tests")]

use fleetfoot_driver::Driver;
use fleetfoot_driver_conformance::{Expected, more_than_the_machine_has, run_all};
use fleetfoot_driver_process::{ProcessDriver, ProcessOptions};
use fleetfoot_model::boundary::Boundary;

async fn suite(cgroups: bool) {
    let make = |tag: &str| {
        ProcessDriver::new(ProcessOptions { tag: tag.into(), cgroups, ..ProcessOptions::default() }).unwrap()
    };
    let grouped = make("conformance-look").containment() != "process-group";
    let expected = Expected { boundary: Boundary::Process, contained: grouped, grouped };
    let boxed = |tag: &str| Box::new(make(tag)) as Box<dyn Driver>;
    run_all(boxed, &expected).await;
    more_than_the_machine_has(boxed).await;
}

#[tokio::test]
async fn with_groups() {
    suite(true).await;
}

#[tokio::test]
async fn without_groups() {
    suite(false).await;
}
