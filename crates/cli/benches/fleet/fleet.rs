//! Large fleets, large queues, and what it costs to do nothing.

use crate::BINARY;
use crate::measure::{Gate, Row, Samples, cpu_time, size};
use crate::speed::{dispatch_samples, job};
use fleetfoot_model::api::CreateBatch;
use fleetfoot_testkit::{FakeRunner, Fleetfoot, TestRunner, TestServer, resident_bytes};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

pub(crate) async fn idle_runners() -> Vec<Row> {
    let count = size("BENCH_RUNNERS", 10_000);
    let server = TestServer::server(BINARY, &[]);
    let client = server.client();
    let connected = Arc::new(AtomicU64::new(0));
    // Not all at once: registering is not what is measured.
    let gate = Arc::new(Semaphore::new(64));
    let mut tasks = Vec::new();
    for i in 0..count {
        let (client, connected, gate) = (client.clone(), connected.clone(), gate.clone());
        tasks.push(tokio::spawn(async move {
            let permit = gate.acquire_owned().await.expect("a permit");
            let mut runner = FakeRunner::register(&client, &format!("idle-{i}"), 1, &["idle"])
                .await
                .expect("a registration");
            runner.step(0).await.expect("a first exchange");
            drop(permit);
            connected.fetch_add(1, Ordering::Relaxed);
            loop {
                if runner.step(60_000).await.is_err() {
                    return;
                }
            }
        }));
    }
    while connected.load(Ordering::Relaxed) < count {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Long enough that every runner has had its turn once.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (cpu, begin) = (cpu_time(server.pid()), Instant::now());
    tokio::time::sleep(Duration::from_secs(size("BENCH_IDLE_SECONDS", 60))).await;
    let share = (cpu_time(server.pid()) - cpu).as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0;
    let rss = resident_bytes(server.pid());
    for task in tasks {
        task.abort();
    }
    let mb = rss as f64 / 1e6;
    vec![Row {
        measure: format!("{count} idle runners connected"),
        wanted: "server RSS ≤ 300 MB, ≤ 5 % of one core".to_owned(),
        found: format!("{mb:.0} MB, {share:.1} %"),
        met: mb <= 300.0 && share <= 5.0,
        numbers: json!({ "runners": count, "rss_bytes": rss, "cpu_percent": share }),
    }]
}

pub(crate) async fn unmatched() -> Vec<Row> {
    let count = size("BENCH_UNMATCHED", 1_000_000);
    let samples = size("BENCH_SAMPLES", 500);
    let server = TestServer::server(BINARY, &[]);
    let client = server.client();
    let runner = TestRunner::start(&server, "bench", 1, &["bench"]);
    let gate = Gate::new(runner.work_dir().parent().expect("a parent"), "gate");
    let before = dispatch_samples(&client, &gate, samples).await;
    let batch = CreateBatch { runs: vec![job("nobody", "exit 0"); 10_000] };
    let begin = Instant::now();
    for _ in 0..count.div_ceil(10_000) {
        client.create_batch(&batch, None).await.expect("a batch");
    }
    let submitted = begin.elapsed().as_secs_f64();
    let after = dispatch_samples(&client, &gate, samples).await;
    let (p99, then) = (before.quantile(0.99), after.quantile(0.99));
    vec![Row {
        measure: format!("{count} queued jobs that match nobody"),
        wanted: "dispatch p99 at most doubles".to_owned(),
        found: format!("p99 {p99:.2} ms before, {then:.2} ms after"),
        met: then <= p99 * 2.0,
        numbers: json!({
            "before": before.summary(), "after": after.summary(), "submit_seconds": submitted,
            "server_rss_bytes": resident_bytes(server.pid()),
        }),
    }]
}

pub(crate) async fn memory() -> Vec<Row> {
    let server = TestServer::server(BINARY, &[]);
    let runner = TestRunner::start(&server, "bench", 2, &["bench"]);
    // Past the detection of tools at the start.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (server_mb, runner_mb) =
        (resident_bytes(server.pid()) as f64 / 1e6, resident_bytes(runner.pid()) as f64 / 1e6);
    vec![Row {
        measure: "idle memory".to_owned(),
        wanted: "server ≤ 40 MB, runner ≤ 20 MB".to_owned(),
        found: format!("server {server_mb:.1} MB, runner {runner_mb:.1} MB"),
        met: server_mb <= 40.0 && runner_mb <= 20.0,
        numbers: json!({ "server_mb": server_mb, "runner_mb": runner_mb }),
    }]
}

pub(crate) async fn start() -> Vec<Row> {
    let mut samples = Samples::default();
    for _ in 0..20 {
        let dir = tempfile::tempdir().expect("a directory");
        let fleetfoot = Fleetfoot::new(BINARY, dir.path());
        let mut command =
            fleetfoot.command(&["server", "--data", "data", "--listen", "127.0.0.1:0", "--output", "json"]);
        let begin = Instant::now();
        let mut child = command.spawn().expect("the binary");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        samples.push(begin.elapsed());
        assert!(line.contains("url"), "it is ready: {line}");
        child.kill().expect("it ends");
        let _ = child.wait();
    }
    let worst = samples.quantile(1.0);
    vec![Row {
        measure: "start to ready, empty state".to_owned(),
        wanted: "≤ 200 ms".to_owned(),
        found: format!("p50 {:.0} ms, worst {worst:.0} ms", samples.quantile(0.5)),
        met: worst <= 200.0,
        numbers: samples.summary(),
    }]
}

pub(crate) async fn local() -> Vec<Row> {
    let dir = tempfile::tempdir().expect("a directory");
    let workflow = "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      - run: exit 0\n";
    std::fs::write(dir.path().join("one.yml"), workflow).expect("a file");
    let fleetfoot = Fleetfoot::new(BINARY, dir.path());
    let mut samples = Samples::default();
    for _ in 0..50 {
        let begin = Instant::now();
        let done = fleetfoot.run(&["run", "-W", "one.yml"]);
        samples.push(begin.elapsed());
        assert_eq!(done.code, 0, "{done:?}");
    }
    let p50 = samples.quantile(0.5);
    vec![Row {
        measure: "`fleetfoot run` of a one-step workflow, start to exit".to_owned(),
        wanted: "≤ 60 ms".to_owned(),
        found: format!("p50 {p50:.0} ms, p99 {:.0} ms", samples.quantile(0.99)),
        met: p50 <= 60.0,
        numbers: samples.summary(),
    }]
}
