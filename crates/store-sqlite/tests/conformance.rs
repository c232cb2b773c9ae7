//! The suite that every store passes, with and without flushing.

mod common;

use common::Temporary;
use fleetfoot_store::conformance::run_all;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durable_store_conforms() {
    run_all(&Temporary::new(false)).await;
}

#[tokio::test]
async fn scratch_store_conforms() {
    run_all(&Temporary::new(true)).await;
}
