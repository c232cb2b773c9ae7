//! How fast jobs come and go: dispatch, no-op jobs, batches, cancellation.

use crate::BINARY;
use crate::measure::{Gate, Row, Samples, size};
use fleetfoot_client::Client;
use fleetfoot_model::api::{CancelRun, CreateBatch, CreateRun};
use fleetfoot_model::{RunId, Status};
use fleetfoot_testkit::{TestRunner, TestServer, wait_until_async};
use serde_json::json;
use std::time::{Duration, Instant};

/// A plain job of one step, in the quickest shell there is.
pub(crate) fn job(label: &str, script: &str) -> CreateRun {
    let script = serde_json::to_string(script).expect("JSON");
    CreateRun {
        kind: "job".to_owned(),
        document: format!("runs-on: {label}\nsteps:\n  - shell: sh\n    run: {script}\n"),
        ..CreateRun::default()
    }
}

/// Follows a run to its end, as pushed by the server.
pub(crate) async fn ended(client: &Client, run: RunId) {
    let mut follow = client.follow_run(run);
    while let Some(view) = follow.next().await.expect("the run") {
        if view.status == Status::Completed {
            return;
        }
    }
}

/// Closed loop: submit, wait for the step's process, wait for the end of the run.
pub(crate) async fn dispatch_samples(client: &Client, gate: &Gate, count: u64) -> Samples {
    let mut samples = Samples::default();
    for i in 0..count + 20 {
        let opened = gate.opened();
        let run = job("bench", &format!(": > {}", gate.path()));
        let begin = Instant::now();
        let created = client.create_run(&run, None).await.expect("a run");
        let at = opened.await.expect("the gate");
        // The first ones warm up connections and caches.
        if i >= 20 {
            samples.push(at.duration_since(begin));
        }
        ended(client, created.run).await;
    }
    samples
}

pub(crate) async fn dispatch() -> Vec<Row> {
    let server = TestServer::server(BINARY, &[]);
    let runner = TestRunner::start(&server, "bench", 1, &["bench"]);
    let gate = Gate::new(runner.work_dir().parent().expect("a parent"), "gate");
    let samples = dispatch_samples(&server.client(), &gate, size("BENCH_SAMPLES", 1_000)).await;
    let (p50, p99) = (samples.quantile(0.5), samples.quantile(0.99));
    vec![Row {
        measure: "submit to the step's process running".to_owned(),
        wanted: "p50 ≤ 4 ms, p99 ≤ 20 ms".to_owned(),
        found: format!("p50 {p50:.2} ms, p99 {p99:.2} ms"),
        met: p50 <= 4.0 && p99 <= 20.0,
        numbers: samples.summary(),
    }]
}

pub(crate) async fn noop() -> Vec<Row> {
    let count = size("BENCH_JOBS", 10_000);
    let server = TestServer::server(BINARY, &[]);
    let client = server.client();
    let _runner = TestRunner::start(&server, "bench", 8, &["bench"]);
    let id = client.runners().await.expect("runners").items[0].id;
    let runs = vec![job("bench", "exit 0"); usize::try_from(count).expect("a size")];
    let begin = Instant::now();
    client.create_batch(&CreateBatch { runs }, None).await.expect("a batch");
    wait_until_async("all jobs", Duration::from_secs(600), || async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let runner = client.runner(id).await.expect("the runner");
        (runner.completed.values().sum::<u64>() >= count).then_some(())
    })
    .await;
    let seconds = begin.elapsed().as_secs_f64();
    let rate = count as f64 / seconds;
    vec![Row {
        measure: format!("no-op process jobs, 8 slots, {count} jobs"),
        wanted: "400 jobs/s".to_owned(),
        found: format!("{rate:.0} jobs/s"),
        met: rate >= 400.0,
        numbers: json!({ "jobs": count, "seconds": seconds }),
    }]
}

pub(crate) async fn batch() -> Vec<Row> {
    let server = TestServer::server(BINARY, &[]);
    let client = server.client();
    let runs = vec![job("nobody", "exit 0"); 10_000];
    let mut best = f64::INFINITY;
    for _ in 0..size("BENCH_BATCHES", 5) {
        let begin = Instant::now();
        client.create_batch(&CreateBatch { runs: runs.clone() }, None).await.expect("a batch");
        best = best.min(begin.elapsed().as_secs_f64());
    }
    let rate = 10_000.0 / best;
    vec![Row {
        measure: "batch submit, 10,000 jobs a call".to_owned(),
        wanted: "20,000 jobs/s".to_owned(),
        found: format!("{rate:.0} jobs/s"),
        met: rate >= 20_000.0,
        numbers: json!({ "best_seconds": best }),
    }]
}

pub(crate) async fn cancel() -> Vec<Row> {
    let server = TestServer::server(BINARY, &[]);
    let client = server.client();
    let runner = TestRunner::start(&server, "bench", 1, &["bench"]);
    let dir = runner.work_dir().parent().expect("a parent");
    let (begun, ending) = (Gate::new(dir, "begun"), Gate::new(dir, "ending"));
    let script =
        format!("trap ': > {}; exit 1' INT TERM; : > {}; sleep 600 & wait $!", ending.path(), begun.path());
    let run = job("bench", &script);
    let mut samples = Samples::default();
    for _ in 0..size("BENCH_SAMPLES", 50).min(50) {
        let started = begun.opened();
        let created = client.create_run(&run, None).await.expect("a run");
        started.await.expect("the gate");
        let signalled = ending.opened();
        let begin = Instant::now();
        client.cancel_run(created.run, &CancelRun::default()).await.expect("a cancellation");
        samples.push(signalled.await.expect("the gate").duration_since(begin));
        ended(&client, created.run).await;
    }
    let worst = samples.quantile(1.0);
    vec![Row {
        measure: "cancel request to signal delivered".to_owned(),
        wanted: "≤ 100 ms".to_owned(),
        found: format!("p50 {:.1} ms, worst {worst:.1} ms", samples.quantile(0.5)),
        met: worst <= 100.0,
        numbers: samples.summary(),
    }]
}
