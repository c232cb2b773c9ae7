//! Submit to the step's process running, one after the other.

use crate::report::{Measure, Target};
use crate::stage::{Inbox, ended, job, percentile, server};
use crate::{Setting, host};
use fleetfoot_client::Client;
use fleetfoot_model::api::CreateRun;
use fleetfoot_testkit::TestRunner;

/// Milliseconds from the request to the first instruction of the step's process.
pub(super) async fn samples(
    client: &Client,
    inbox: &Inbox,
    run: &CreateRun,
    n: u64,
) -> anyhow::Result<Vec<f64>> {
    let mut samples = Vec::new();
    for _ in 0..n {
        let begun = host::wall_ns();
        let created = client.create_run(run, None).await?;
        let running = inbox.receive().await?;
        samples.push(running.saturating_sub(begun) as f64 / 1e6);
        // Closed loop: the next one only when nothing of this one is left to do.
        ended(client, created.run).await?;
    }
    Ok(samples)
}

pub(super) async fn measure(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    let server = server(&setting.fleetfoot);
    let _runner = TestRunner::start(&server, "dispatch", 2, &[]);
    let (client, inbox) = (server.client(), Inbox::open()?);
    let direct = job(Some(&setting.shell("stamp")), inbox.path(), None);
    samples(&client, &inbox, &direct, setting.amount(50)).await?;
    let mut own = samples(&client, &inbox, &direct, setting.amount(1000)).await?;
    // The same through the default shell: what its start adds.
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), inbox.path())?;
    let script = format!("{} stamp {}", setting.own.display(), file.path().display());
    let mut shell = samples(&client, &inbox, &job(None, &script, None), setting.amount(200)).await?;
    Ok(vec![
        Measure::new("submit to process running, p50", "ms", Target::AtMost(4.0), percentile(&mut own, 0.5)),
        Measure::new(
            "submit to process running, p99",
            "ms",
            Target::AtMost(20.0),
            percentile(&mut own, 0.99),
        ),
        Measure::info("submit to process running, max", "ms", percentile(&mut own, 1.0)),
        Measure::info("to a program in the default shell, p50", "ms", percentile(&mut shell, 0.5)),
        Measure::info("to a program in the default shell, p99", "ms", percentile(&mut shell, 0.99)),
    ])
}
