//! Resident memory of an idle server and an idle runner.

use crate::Setting;
use crate::report::{Measure, Target};
use crate::stage::mib;
use fleetfoot_testkit::{TestRunner, TestServer, resident_bytes};
use std::time::Duration;

pub(super) async fn measure(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    let server = TestServer::server(&setting.fleetfoot, &[]);
    let runner = TestRunner::start(&server, "idle", 2, &[]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    Ok(vec![
        Measure::new("server, idle", "MiB", Target::AtMost(40.0), mib(resident_bytes(server.pid()))),
        Measure::new("runner, idle", "MiB", Target::AtMost(20.0), mib(resident_bytes(runner.pid()))),
    ])
}
