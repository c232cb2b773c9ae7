//! Process start to the line that says ready, with empty state.

use crate::Setting;
use crate::report::{Measure, Target};
use crate::stage::{ms, percentile};
use fleetfoot_testkit::TestServer;
use std::time::Instant;

pub(super) fn measure(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    let mut out = Vec::new();
    for (name, start) in [
        ("server", TestServer::server as fn(&str, &[&str]) -> TestServer),
        ("up (with a runner)", TestServer::up),
    ] {
        let mut samples = Vec::new();
        for _ in 0..10 {
            let begun = Instant::now();
            let mut server = start(&setting.fleetfoot, &[]);
            samples.push(ms(begun.elapsed()));
            anyhow::ensure!(server.stop().success(), "{name} did not end well");
        }
        out.push(Measure::new(
            format!("{name}, p50"),
            "ms",
            Target::AtMost(200.0),
            percentile(&mut samples, 0.5),
        ));
        out.push(Measure::info(format!("{name}, max"), "ms", percentile(&mut samples, 1.0)));
    }
    Ok(out)
}
