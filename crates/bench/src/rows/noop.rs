//! Jobs a second through one runner with 8 slots, real processes that do nothing.

use crate::report::{Measure, Target};
use crate::stage::{batch, job, jobs_ended, server};
use crate::{Setting, host};
use fleetfoot_testkit::TestRunner;
use std::time::Instant;

pub(super) async fn measure(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    let mut out = Vec::new();
    for (name, shell, script, target) in [
        ("/bin/true as shell", Some("/bin/true {0}"), "x", Target::AtLeast(400.0)),
        ("`run: true` in the default shell", None, "true", Target::None),
    ] {
        let server = server(&setting.fleetfoot);
        let runner = TestRunner::start(&server, "noop", 8, &[]);
        let client = server.client();
        let n = setting.amount(10_000);
        let used = (host::cpu_time(server.pid())?, host::cpu_time(runner.pid())?);
        let begun = Instant::now();
        client.create_batch(&batch(&job(shell, script, None), n), None).await?;
        jobs_ended(&client, n).await?;
        let took = begun.elapsed();
        out.push(Measure::new(
            format!("{name}, batch submit included"),
            "jobs/s",
            target,
            n as f64 / took.as_secs_f64(),
        ));
        for (who, pid, before) in [("server", server.pid(), used.0), ("runner", runner.pid(), used.1)] {
            let cpu = host::cpu_time(pid)?.saturating_sub(before).as_secs_f64() * 1e6 / n as f64;
            out.push(Measure::info(format!("{name}, CPU of the {who}"), "us/job", cpu));
        }
    }
    Ok(out)
}
