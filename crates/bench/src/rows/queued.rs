//! A million jobs that nobody can take, and what they do to the others.

use super::dispatch::samples;
use crate::Setting;
use crate::report::{Measure, Target};
use crate::stage::{Inbox, batch, job, mib, ms, percentile, server};
use fleetfoot_testkit::{TestRunner, resident_bytes};
use std::time::Instant;

const TOGETHER: u64 = 20_000;

pub(super) async fn measure(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    let mut server = server(&setting.fleetfoot);
    let runner = TestRunner::start(&server, "queued", 2, &[]);
    let (client, inbox) = (server.client(), Inbox::open()?);
    let direct = job(Some(&setting.shell("stamp")), inbox.path(), None);
    let n = setting.amount(500);
    samples(&client, &inbox, &direct, setting.amount(50)).await?;
    let mut before = samples(&client, &inbox, &direct, n).await?;

    let requests = setting.amount(1_000_000).div_ceil(TOGETHER);
    let request = batch(&job(None, "true", Some("nobody")), TOGETHER);
    let begun = Instant::now();
    for _ in 0..requests {
        client.create_batch(&request, None).await?;
    }
    let submit = (requests * TOGETHER) as f64 / begun.elapsed().as_secs_f64();
    let resident = resident_bytes(server.pid());
    let mut after = samples(&client, &inbox, &direct, n).await?;
    let (p99_before, p99_after) = (percentile(&mut before, 0.99), percentile(&mut after, 0.99));
    drop(runner);
    let begun = Instant::now();
    server.kill_and_restart();
    let restart = begun.elapsed();
    Ok(vec![
        Measure::info("jobs queued", "jobs", (requests * TOGETHER) as f64),
        Measure::info("submit in batches of 20,000", "jobs/s", submit),
        Measure::info("dispatch p50 without them", "ms", percentile(&mut before, 0.5)),
        Measure::info("dispatch p50 with them", "ms", percentile(&mut after, 0.5)),
        Measure::info("dispatch p99 without them", "ms", p99_before),
        Measure::info("dispatch p99 with them", "ms", p99_after),
        Measure::new("dispatch p99, with / without", "times", Target::AtMost(2.0), p99_after / p99_before),
        Measure::info("memory of the server", "MiB", mib(resident)),
        Measure::info("restart after kill -9 with them", "ms", ms(restart)),
    ])
}
