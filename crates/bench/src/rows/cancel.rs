//! Cancel request to the signal in the step's process.

use crate::report::{Measure, Target};
use crate::stage::{Inbox, ended, job, percentile, server};
use crate::{Setting, host};
use fleetfoot_model::api::CancelRun;
use fleetfoot_testkit::TestRunner;

pub(super) async fn measure(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    let server = server(&setting.fleetfoot);
    let _runner = TestRunner::start(&server, "cancel", 1, &[]);
    let (client, inbox) = (server.client(), Inbox::open()?);
    let run = job(Some(&setting.shell("trap")), inbox.path(), None);
    let mut samples = Vec::new();
    for _ in 0..setting.amount(20) {
        let created = client.create_run(&run, None).await?;
        anyhow::ensure!(inbox.receive().await? == 0, "the step did not say that it is ready");
        let begun = host::wall_ns();
        client.cancel_run(created.run, &CancelRun::default()).await?;
        samples.push(inbox.receive().await?.saturating_sub(begun) as f64 / 1e6);
        ended(&client, created.run).await?;
    }
    Ok(vec![
        Measure::info("request to signal, p50", "ms", percentile(&mut samples, 0.5)),
        Measure::new("request to signal, max", "ms", Target::AtMost(100.0), percentile(&mut samples, 1.0)),
    ])
}
