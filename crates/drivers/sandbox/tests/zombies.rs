//! A runner without jobs has no children, not even ended ones. In a process of
//! its own, because it counts all children.
#![allow(clippy::unwrap_used, reason = "tests")]

use fleetfoot_driver_conformance::{World, eventually};
use fleetfoot_driver_sandbox::{SandboxDriver, SandboxOptions};
use fleetfoot_model::spec::Limits;

fn children() -> usize {
    let me = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").unwrap();
    let stats = entries.filter_map(|e| std::fs::read_to_string(e.ok()?.path().join("stat")).ok());
    stats
        .filter(|s| s.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) == Some(me.as_str()))
        .count()
}

#[tokio::test]
async fn nothing_is_left_to_collect() {
    let scratch = tempfile::tempdir().unwrap();
    let options =
        || SandboxOptions { tag: fleetfoot_driver_conformance::fresh_tag(), ..SandboxOptions::default() };
    if !SandboxDriver::probe(options(), scratch.path()).await.usable {
        return;
    }
    for _ in 0..5 {
        let world = World::new(Box::new(SandboxDriver::new(options()).unwrap()), Limits::default()).await;
        assert_eq!(world.script("(sleep 0.01 &); true").await.0.code, Some(0));
        world.cell.tear_down().await.unwrap();
    }
    eventually("all children are collected", || children() == 0).await;
}
