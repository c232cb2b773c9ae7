//! Ten thousand runs in one request.

use crate::Setting;
use crate::report::{Measure, Target};
use crate::stage::{batch, job, server};
use std::time::Instant;

pub(super) async fn measure(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    let server = server(&setting.fleetfoot);
    let client = server.client();
    let n = setting.amount(10_000);
    let request = batch(&job(None, "true", Some("nobody")), n);
    let mut rates = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let created = client.create_batch(&request, None).await?;
        rates.push(n as f64 / begun.elapsed().as_secs_f64());
        anyhow::ensure!(created.runs.len() as u64 == n, "{} runs", created.runs.len());
    }
    let first = rates[0];
    Ok(vec![
        Measure::new(
            "median of 5 requests of 10,000",
            "jobs/s",
            Target::AtLeast(20_000.0),
            crate::stage::percentile(&mut rates, 0.5),
        ),
        Measure::info("the first", "jobs/s", first),
    ])
}
