//! Reading from disks is slowed to the rate that was asked for.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use fleetfoot_driver_conformance::{World, fresh_tag};
use fleetfoot_driver_sandbox::{SandboxDriver, SandboxOptions};
use fleetfoot_model::spec::Limits;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn a_rate_of_reading_holds() {
    let scratch = tempfile::tempdir().unwrap();
    let probe = SandboxDriver::probe(SandboxOptions::default(), scratch.path()).await;
    if !probe.usable {
        eprintln!("skipped: no sandbox on this machine: {probe:#?}");
        return;
    }
    let options = SandboxOptions { tag: fresh_tag(), ..SandboxOptions::default() };
    let limits = Limits { read_bytes_per_second: Some(4 * MIB), ..Limits::default() };
    let world = World::new(Box::new(SandboxDriver::new(options).unwrap()), limits).await;
    if !world.cell.record().limits.contains_key("read_bytes_per_second") {
        eprintln!("skipped: no control groups for disks on this machine");
        return world.cell.tear_down().await.unwrap();
    }
    // Written by us, who are not limited, and read past the page cache.
    let file = std::fs::File::create(world.workspace().join("data")).unwrap();
    std::io::Write::write_all(&mut &file, &vec![7; 8 << 20]).unwrap();
    file.sync_all().unwrap();
    let started = Instant::now();
    let (exit, out) = world.script("dd if=data of=/dev/null bs=1M iflag=direct 2>&1").await;
    let took = started.elapsed();
    world.cell.tear_down().await.unwrap();
    if exit.code != Some(0) {
        eprintln!("skipped: the file system of the temporary directory cannot be read directly: {out}");
        return;
    }
    assert!(took > Duration::from_millis(1500), "8 MiB at 4 MiB/s took {took:?}");
}
