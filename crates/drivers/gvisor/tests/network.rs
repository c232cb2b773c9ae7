//! What a private network leads to, and which services a cell reaches.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use fleetfoot_driver_conformance::network::{
    in_a_world_of_its_own, is_world_of_its_own, leads_out_and_nowhere_else, services_are_reached,
};
use fleetfoot_driver_conformance::{World, alive, eventually, fresh_tag, processes};
use fleetfoot_driver_gvisor::{GvisorDriver, GvisorOptions, Network};
use fleetfoot_model::spec::Limits;

/// A cell with a private network, or `None` (said why) where the machine cannot make one.
async fn world() -> Option<World> {
    let scratch = tempfile::tempdir().unwrap();
    let options = GvisorOptions { tag: fresh_tag(), network: Network::Private, ..GvisorOptions::default() };
    let probe = GvisorDriver::probe(options.clone(), scratch.path()).await;
    let check = probe.checks.iter().find(|c| c.name == "private-network").unwrap();
    assert!(check.required && (check.works || check.fix.as_ref().unwrap().contains("slirp4netns")));
    if !probe.usable {
        eprintln!("skipped: no private network in gVisor on this machine: {probe:#?}");
        return None;
    }
    let driver = GvisorDriver::new(GvisorOptions { platform: probe.platform, ..options }).unwrap();
    Some(World::new(Box::new(driver), Limits::default()).await)
}

#[test]
fn a_private_network_leads_out_and_nowhere_else() {
    in_a_world_of_its_own("hidden_private_network");
}

/// Hidden: only in a world of its own.
#[tokio::test]
async fn hidden_private_network() {
    if !is_world_of_its_own() {
        return;
    }
    let Some(world) = world().await else { return };
    leads_out_and_nowhere_else(world).await;
}

#[tokio::test]
async fn services_of_the_host_are_reached_by_port() {
    let Some(world) = world().await else { return };
    services_are_reached(world).await;
}

/// What a taken-over kernel of the guest could use: whose namespace it is in, and as whom.
#[tokio::test]
async fn the_guest_has_no_rights_over_its_network() {
    let Some(world) = world().await else { return };
    let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
    let kernels: Vec<u32> = processes("runsc-sandbox")
        .into_iter()
        .filter(|pid| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.contains(&format!("{}/", world.attempt)) && line.contains("fleetfoot-gvisor-conf-")
        })
        .filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/environ")).is_ok())
        .collect();
    assert!(!kernels.is_empty(), "the kernel of the guest is to be seen on the host");
    for pid in &kernels {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
        assert_ne!(std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap(), ours);
        // What `runsc` leaves its platform (tracing) has nothing to do with networks, devices and mounts.
        const NET_ADMIN_NET_RAW_SYS_ADMIN: u64 = 1 << 12 | 1 << 13 | 1 << 21;
        for set in ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
            let held = u64::from_str_radix(&field(set), 16).unwrap();
            assert_eq!(held & NET_ADMIN_NET_RAW_SYS_ADMIN, 0, "{set} {held:x}");
        }
        assert_eq!(field("Seccomp:"), "2");
        let mapped = world.cell.record().namespaces.iter().any(|n| n == "user");
        let users = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
        assert!(!mapped || users(&pid.to_string()) != users("self"), "what it holds, it holds in its own");
        assert!(!mapped || field("Uid:").split_whitespace().all(|id| id == "64900"), "{}", field("Uid:"));
    }
    world.cell.tear_down().await.unwrap();
    eventually("the kernel is gone", || !kernels.iter().any(|pid| alive(*pid))).await;
}
