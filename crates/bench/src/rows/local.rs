//! `fleetfoot run` of one step, process start to exit.

use crate::Setting;
use crate::report::{Measure, Target};
use crate::stage::{ms, percentile};
use fleetfoot_testkit::Fleetfoot;
use std::time::Instant;

pub(super) fn measure(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("one.yml");
    std::fs::write(
        &file,
        "on: push\njobs:\n  one:\n    runs-on: ubuntu-latest\n    steps:\n      - run: \"true\"\n",
    )?;
    let fleetfoot = Fleetfoot::new(&setting.fleetfoot, dir.path());
    let mut samples = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        let finished = fleetfoot.run(&["run", "-W", &file.display().to_string()]);
        samples.push(ms(begun.elapsed()));
        anyhow::ensure!(finished.code == 0, "fleetfoot run: {}", finished.stderr);
    }
    let p50 = percentile(&mut samples, 0.5);
    Ok(vec![
        Measure::new("fleetfoot run, one step, p50", "ms", Target::AtMost(60.0), p50),
        Measure::info("fleetfoot run, one step, max", "ms", percentile(&mut samples, 1.0)),
    ])
}
