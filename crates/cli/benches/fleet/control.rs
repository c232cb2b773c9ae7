//! The control plane alone: submit, lease and result in one process, durable,
//! with runners that answer at once.

use crate::measure::{Row, size};
use crate::speed::job;
use fleetfoot_control::{Control, Options, Principal};
use fleetfoot_model::api::RegisterRunner;
use fleetfoot_model::labels::Label;
use fleetfoot_model::sync::{AttemptReport, AttemptResult, Phase, RunnerInfo, SyncRequest};
use fleetfoot_model::{AttemptRef, Conclusion, RunnerId};
use fleetfoot_objects::{LogOptions, LogStore};
use fleetfoot_store_sqlite::SqliteStore;
use fleetfoot_workflow::JobDialect;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const RUNNERS: u64 = 8;
const SLOTS: u32 = 32;
const BATCH: u64 = 250;

pub(crate) async fn alone() -> Vec<Row> {
    let count = size("BENCH_JOBS", 50_000).max(BATCH);
    let dir = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(dir.path(), Default::default()).expect("a store");
    let logs = LogStore::open(&dir.path().join("logs"), LogOptions::default()).expect("logs");
    let options = Options::new(dir.path(), "http://127.0.0.1:1");
    let control = Control::start(Arc::new(store), logs, vec![Arc::new(JobDialect)], options)
        .await
        .expect("a control plane");
    let done = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let mut runners = Vec::new();
    for i in 0..RUNNERS {
        let request = RegisterRunner {
            name: Some(format!("fake-{i}")),
            slots: Some(SLOTS),
            ..RegisterRunner::default()
        };
        let registered = control.register_runner(&Principal::System, request).await.expect("a runner");
        runners.push(tokio::spawn(answer(control.clone(), registered.id, done.clone(), count)));
    }
    let submitters = (0..4).map(|i| {
        let control = control.clone();
        tokio::spawn(async move {
            for _ in 0..count / BATCH / 4 + u64::from(i < count / BATCH % 4) {
                let runs = vec![job("bench", "exit 0"); usize::try_from(BATCH).expect("a size")];
                control.create_runs(&Principal::System, runs, None).await.expect("runs");
            }
        })
    });
    for submitter in submitters.collect::<Vec<_>>() {
        submitter.await.expect("a submitter");
    }
    for runner in runners {
        runner.await.expect("a runner");
    }
    let seconds = begin.elapsed().as_secs_f64();
    control.shut_down().await;
    let total = count / BATCH * BATCH;
    let rate = total as f64 / seconds;
    vec![Row {
        measure: "control plane alone: submit, lease, result".to_owned(),
        wanted: "5,000 jobs/s".to_owned(),
        found: format!("{rate:.0} jobs/s"),
        met: rate >= 5_000.0,
        numbers: json!({ "jobs": total, "seconds": seconds, "runners": RUNNERS, "slots": SLOTS }),
    }]
}

/// One runner: whatever it gets has succeeded already.
async fn answer(control: Control, id: RunnerId, done: Arc<AtomicU64>, count: u64) {
    let total = count / BATCH * BATCH;
    let mut held: BTreeMap<u64, AttemptReport> = BTreeMap::new();
    let mut sequence = 0;
    while done.load(Ordering::Relaxed) < total {
        sequence += 1;
        let request = SyncRequest {
            version: fleetfoot_model::version::VERSION.to_owned(),
            instance: format!("fake-{id}"),
            sequence,
            slots: SLOTS,
            info: (sequence == 1)
                .then(|| RunnerInfo { labels: vec![Label::from("bench")], ..RunnerInfo::default() }),
            attempts: held.values().cloned().collect(),
            wait_ms: 200,
            ..SyncRequest::default()
        };
        let answer = control.sync(&Principal::System, id, request).await.expect("an exchange");
        for attempt in answer.acknowledged {
            if held.remove(&attempt.job.0).is_some() {
                done.fetch_add(1, Ordering::Relaxed);
            }
        }
        for assignment in answer.assignments {
            held.insert(assignment.attempt.job.0, succeeded(assignment.attempt));
        }
    }
}

fn succeeded(attempt: AttemptRef) -> AttemptReport {
    let result = AttemptResult {
        conclusion: Conclusion::Success,
        reason: None,
        message: None,
        exit_code: Some(0),
        outputs: Default::default(),
        annotations: Vec::new(),
        summaries: Vec::new(),
        log_bytes: 0,
        started_at: None,
        finished_at: None,
        boundary: Default::default(),
    };
    AttemptReport { attempt, phase: Phase::Finished, steps: None, result: Some(Box::new(result)) }
}
