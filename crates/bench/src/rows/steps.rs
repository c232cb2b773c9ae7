//! What a step costs beyond its shell, and how long a large matrix of nothing takes.

use crate::Setting;
use crate::report::{Measure, Target};
use crate::stage::{ended, ms, percentile, server};
use fleetfoot_model::api::CreateRun;
use fleetfoot_testkit::{Fleetfoot, TestRunner};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Steps of the long job.
const STEPS: u64 = 200;
/// Legs of the matrix.
const LEGS: u64 = 256;

/// Time of `fleetfoot run` of a job with this many steps, milliseconds.
fn run_of(setting: &Setting, dir: &Path, steps: u64) -> anyhow::Result<f64> {
    let mut text = "on: push\njobs:\n  one:\n    runs-on: ubuntu-latest\n    steps:\n".to_owned();
    for _ in 0..steps {
        let _ = writeln!(text, "      - run: \"true\"");
    }
    let file = dir.join(format!("{steps}.yml"));
    std::fs::write(&file, text)?;
    let fleetfoot = Fleetfoot::new(&setting.fleetfoot, dir);
    let begun = Instant::now();
    let finished = fleetfoot.run(&["run", "-W", &file.display().to_string()]);
    anyhow::ensure!(finished.code == 0, "fleetfoot run: {}", finished.stderr);
    Ok(ms(begun.elapsed()))
}

/// Time of the same script in the same shell without us, milliseconds.
fn shell(dir: &Path) -> anyhow::Result<f64> {
    let script = dir.join("script.sh");
    std::fs::write(&script, "true\n")?;
    let begun = Instant::now();
    for _ in 0..STEPS {
        anyhow::ensure!(Command::new("bash").arg("-e").arg(&script).status()?.success(), "bash");
    }
    Ok(ms(begun.elapsed()) / STEPS as f64)
}

/// What a `run` step takes beyond the time of its shell.
pub(super) fn overhead(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    let dir = tempfile::tempdir()?;
    let (mut beyond, mut shells) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let one = run_of(setting, dir.path(), 1)?;
        let many = run_of(setting, dir.path(), STEPS + 1)?;
        let alone = shell(dir.path())?;
        beyond.push((many - one) / STEPS as f64 - alone);
        shells.push(alone);
    }
    Ok(vec![
        Measure::new(
            "a `run` step beyond its shell",
            "ms",
            Target::AtMost(3.0),
            percentile(&mut beyond, 0.5),
        ),
        Measure::info("the shell's own time", "ms", percentile(&mut shells, 0.5)),
    ])
}

/// A matrix of 256 legs that do nothing, through server and runner.
pub(super) async fn matrix(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    let server = server(&setting.fleetfoot);
    let _runner = TestRunner::start(&server, "matrix", 8, &["linux"]);
    let client = server.client();
    let legs: Vec<String> = (1..=setting.amount(LEGS)).map(|n| n.to_string()).collect();
    let document = format!(
        "on: push\njobs:\n  all:\n    runs-on: linux\n    strategy:\n      matrix:\n        n: [{}]\n    steps:\n      - run: \"true\"\n",
        legs.join(", ")
    );
    let run = CreateRun { kind: "workflow".to_owned(), document, ..CreateRun::default() };
    let mut times = Vec::new();
    for _ in 0..3 {
        let begun = Instant::now();
        let created = client.create_run(&run, None).await?;
        let view = ended(&client, created.run).await?;
        anyhow::ensure!(
            view.conclusion.is_some_and(fleetfoot_model::Conclusion::is_ok),
            "{:?}",
            view.conclusion
        );
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok(vec![Measure::new(
        "256 legs, one runner with 8 slots",
        "s",
        Target::AtMost(3.0),
        percentile(&mut times, 0.5),
    )])
}
