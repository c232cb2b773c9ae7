//! What the engine and the process driver cost, next to a bare fork and exec.
//!
//! `cargo run --release -p fleetfoot-engine --example overhead`
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for people")]

use async_trait::async_trait;
use bytes::Bytes;
use fleetfoot_driver::{CellRequest, Command, Driver};
use fleetfoot_driver_process::{ProcessDriver, ProcessOptions};
use fleetfoot_engine::{Engine, EngineConfig, Fence, Sink};
use fleetfoot_model::logs::Stream;
use fleetfoot_model::spec::{JobSpec, StepAction, StepSpec};
use fleetfoot_model::sync::{Assignment, StepReport};
use fleetfoot_model::{AttemptRef, Epoch, JobId, RunId, Timestamp};
use indexmap::IndexMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct Null(AtomicU64);

#[async_trait]
impl Sink for Null {
    async fn log(&self, _: u16, _: Stream, _: Timestamp, bytes: Bytes) {
        self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
    fn steps(&self, _: &[StepReport]) {}
    fn started(&self, _: u32, _: u64) {}
}

fn assignment(number: u64, script: &str, shell: Option<&str>) -> Assignment {
    let step = StepSpec {
        id: "__run".into(),
        name: None,
        condition: None,
        env: IndexMap::new(),
        continue_on_error: None,
        timeout_minutes: None,
        action: StepAction::Run {
            script: script.into(),
            shell: shell.map(Into::into),
            working_directory: None,
        },
        background: false,
        line: 0,
    };
    let spec = JobSpec { steps: vec![step], timeout_seconds: 600, ..JobSpec::default() };
    Assignment {
        attempt: AttemptRef { job: JobId(number), attempt: 1, epoch: Epoch(1) },
        run: RunId(1),
        project: "p".into(),
        spec: Arc::new(spec),
        contexts: IndexMap::new(),
        env: IndexMap::new(),
        secrets: IndexMap::new(),
        job_token: "ffj_0123456789abcdef0123456789".into(),
        repository: None,
        server_url: String::new(),
        services: None,
    }
}

/// CPU time of this process without its children, and of its children.
fn cpu() -> (Duration, Duration) {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<u64> = text
        .rsplit(')')
        .next()
        .unwrap()
        .split_ascii_whitespace()
        .skip(1)
        .map(|f| f.parse().unwrap_or(0))
        .collect();
    let ticks = |n: u64| Duration::from_millis(n * 10);
    (ticks(fields[10] + fields[11]), ticks(fields[12] + fields[13]))
}

async fn starts(driver: &ProcessDriver, work: &std::path::Path) {
    const N: u32 = 500;
    let started = Instant::now();
    for _ in 0..N {
        std::process::Command::new("/bin/true").status().unwrap();
    }
    let bare = started.elapsed() / N;
    let cell = driver
        .prepare(CellRequest::new(
            AttemptRef { job: JobId(1), attempt: 1, epoch: Epoch(1) },
            work.into(),
            work.into(),
        ))
        .await
        .unwrap();
    let (mut until_exec, started) = (Duration::ZERO, Instant::now());
    for _ in 0..N {
        let before = Instant::now();
        let running = cell
            .start(Command {
                program: "/bin/true".into(),
                working_directory: work.into(),
                ..Command::default()
            })
            .await
            .unwrap();
        until_exec += before.elapsed();
        running.handle.wait().await;
    }
    let through = started.elapsed() / N;
    cell.tear_down().await.unwrap();
    println!("containment                      {}", driver.containment());
    println!("start of true, std               {bare:?}");
    println!("start of true, driver            {through:?} (until exec {:?})", until_exec / N);
}

async fn jobs(engine: &Engine, driver: &Arc<ProcessDriver>, parallel: u64, total: u64) {
    let next = Arc::new(AtomicU64::new(1000 * parallel));
    let (cpu_before, children_before) = cpu();
    let started = Instant::now();
    let workers: Vec<_> = (0..parallel)
        .map(|_| {
            let (engine, driver, next) = (engine.clone(), driver.clone(), next.clone());
            tokio::spawn(async move {
                for _ in 0..total / parallel {
                    let assignment = assignment(next.fetch_add(1, Ordering::Relaxed), "true", Some("sh"));
                    let result = engine
                        .run(
                            &assignment,
                            &Fence::of(driver.clone()),
                            Arc::new(Null::default()),
                            CancellationToken::new(),
                            CancellationToken::new(),
                        )
                        .await;
                    assert_eq!(result.exit_code, None, "{result:?}");
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let elapsed = started.elapsed();
    let (cpu_after, children_after) = cpu();
    let count = u32::try_from(total).unwrap();
    println!(
        "no-op jobs, {parallel} at once           {:.0}/s, {:?} of engine CPU and {:?} of step CPU each",
        f64::from(count) / elapsed.as_secs_f64(),
        (cpu_after - cpu_before) / count,
        (children_after - children_before) / count
    );
}

async fn lines(engine: &Engine, driver: &Arc<ProcessDriver>, name: &str, secrets: usize) {
    const BYTES: u64 = 1 << 30;
    let script = format!(
        "yes 'an ordinary line of output, as compilers print them by the thousand, here it is' | head -c {BYTES}"
    );
    let mut assignment = assignment(7_000_000 + secrets as u64, &script, Some("sh"));
    for i in 0..secrets {
        assignment.secrets.insert(format!("S{i}"), format!("secret-value-number-{i}-that-does-not-occur"));
    }
    let sink = Arc::new(Null::default());
    let started = Instant::now();
    let result = engine
        .run(
            &assignment,
            &Fence::of(driver.clone()),
            sink.clone(),
            CancellationToken::new(),
            CancellationToken::new(),
        )
        .await;
    let elapsed = started.elapsed();
    assert_eq!(sink.0.load(Ordering::Relaxed), BYTES, "{result:?}");
    println!("1 GiB of lines, {name}  {:.0} MB/s", BYTES as f64 / 1e6 / elapsed.as_secs_f64());
}

#[tokio::main]
async fn main() {
    let work = std::env::temp_dir().join(format!("fleetfoot-overhead-{}", std::process::id()));
    std::fs::create_dir_all(&work).unwrap();
    let options =
        ProcessOptions { tag: format!("overhead-{}", std::process::id()), ..ProcessOptions::default() };
    let driver = Arc::new(ProcessDriver::new(options).unwrap());
    let engine = Engine::new(EngineConfig::new(work.clone()));
    starts(&driver, &work).await;
    jobs(&engine, &driver, 1, 1000).await;
    jobs(&engine, &driver, 8, 2000).await;
    lines(&engine, &driver, "job token only  ", 0).await;
    lines(&engine, &driver, "and 10 secrets  ", 10).await;
    lines(&engine, &driver, "and 100 secrets ", 100).await;
    std::fs::remove_dir_all(&work).unwrap();
}
