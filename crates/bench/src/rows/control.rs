//! The control plane alone, in this process: submit, lease, result, with
//! runners that answer at once and every commit flushed.

use crate::Setting;
use crate::report::{Measure, Target};
use crate::stage::{job, on_tmpfs};
use anyhow::Context as _;
use fleetfoot_control::{Control, Options, Principal};
use fleetfoot_model::api::CreateRunner;
use fleetfoot_model::plan::Dialect;
use fleetfoot_model::sync::{AttemptReport, AttemptResult, Phase, RunnerInfo, SyncRequest};
use fleetfoot_model::{AttemptRef, Conclusion};
use fleetfoot_objects::{LogOptions, LogStore};
use fleetfoot_store_sqlite::SqliteStore;
use fleetfoot_workflow::{JobDialect, WorkflowDialect};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::task::JoinSet;

const RUNNERS: u64 = 8;
const SLOTS: u32 = 128;
const SUBMITTERS: u64 = 4;
const TOGETHER: u64 = 100;

pub(super) async fn measure(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    let dir = tempfile::tempdir()?;
    anyhow::ensure!(!on_tmpfs(dir.path()), "{} is not on a disk", dir.path().display());
    let store = Arc::new(SqliteStore::open(dir.path(), Default::default())?);
    let logs = LogStore::open(&dir.path().join("logs"), LogOptions::default())?;
    let dialects: Vec<Arc<dyn Dialect>> = vec![Arc::new(WorkflowDialect), Arc::new(JobDialect)];
    let control = Control::start(store, logs, dialects, Options::new(dir.path(), "http://127.0.0.1")).await?;

    let rounds = setting.amount(50_000) / (SUBMITTERS * TOGETHER);
    let total = rounds.max(1) * SUBMITTERS * TOGETHER;
    let done = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for n in 0..RUNNERS {
        tasks.spawn(work(control.clone(), n, total, done.clone()));
    }
    for _ in 0..SUBMITTERS {
        let control = control.clone();
        tasks.spawn(async move {
            let run = job(None, "true", None);
            for _ in 0..rounds.max(1) {
                let runs = vec![run.clone(); usize::try_from(TOGETHER)?];
                control.create_runs(&Principal::System, runs, None).await?;
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let took = begun.elapsed();
    let metrics = control.render_metrics().await?;
    let commits = metrics
        .lines()
        .find_map(|l| l.strip_prefix("fleetfoot_store_commits_total "))
        .and_then(|v| v.parse::<f64>().ok())
        .context("no count of commits")?;
    control.shut_down().await;
    Ok(vec![
        Measure::new(
            "submit, lease, result in process",
            "jobs/s",
            Target::AtLeast(5000.0),
            total as f64 / took.as_secs_f64(),
        ),
        Measure::info("jobs in a commit", "jobs", total as f64 / commits),
    ])
}

/// A runner that holds what it is given for no time at all.
async fn work(control: Control, n: u64, total: u64, done: Arc<AtomicU64>) -> anyhow::Result<()> {
    let request =
        CreateRunner { name: Some(format!("fake-{n}")), slots: Some(SLOTS), ..CreateRunner::default() };
    let registered = control.create_runner(&Principal::System, request).await?;
    let who = control.authenticate(&registered.token).await?;
    let mut held: Vec<AttemptReport> = Vec::new();
    let mut sequence = 0;
    while done.load(Ordering::Relaxed) < total {
        sequence += 1;
        let request = SyncRequest {
            version: fleetfoot_model::version::VERSION.to_owned(),
            instance: format!("fake-{n}"),
            sequence,
            slots: SLOTS,
            info: (sequence == 1).then(RunnerInfo::default),
            attempts: held.clone(),
            // Short, so that runners that get nothing more see the end.
            wait_ms: 1000,
            ..SyncRequest::default()
        };
        let answer = control.sync(&who, registered.id, request).await?;
        anyhow::ensure!(answer.fenced.is_empty(), "fenced: {:?}", answer.fenced);
        held.retain(|r| !answer.acknowledged.contains(&r.attempt));
        done.fetch_add(answer.acknowledged.len() as u64, Ordering::Relaxed);
        for assignment in answer.assignments {
            if !held.iter().any(|r| r.attempt == assignment.attempt) {
                held.push(finished(assignment.attempt));
            }
        }
    }
    Ok(())
}

fn finished(attempt: AttemptRef) -> AttemptReport {
    let result = AttemptResult { exit_code: Some(0), ..AttemptResult::new(Conclusion::Success) };
    AttemptReport { attempt, phase: Phase::Finished, steps: None, result: Some(Box::new(result)) }
}
