//! A job, a sink that remembers, and a driver, for tests with real processes.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test binary uses its part")]

pub mod fake;
pub mod git_http;
pub mod workflow;

use async_trait::async_trait;
use bytes::Bytes;
use fleetfoot_driver_process::{ProcessDriver, ProcessOptions};
use fleetfoot_engine::{Engine, EngineConfig, Fence, KillLadder, Sink};
use fleetfoot_model::logs::Stream;
use fleetfoot_model::spec::{JobSpec, StepAction, StepSpec};
use fleetfoot_model::sync::{Assignment, AttemptResult, StepReport};
use fleetfoot_model::{AttemptRef, Epoch, JobId, RunId, Timestamp};
use indexmap::IndexMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Remembers everything.
#[derive(Default)]
pub struct Memory {
    pub log: Mutex<Vec<(u16, Stream, Bytes)>>,
    pub steps: Mutex<Vec<StepReport>>,
    pub pids: Mutex<Vec<u32>>,
}

#[async_trait]
impl Sink for Memory {
    async fn log(&self, step: u16, stream: Stream, _time: Timestamp, bytes: Bytes) {
        self.log.lock().unwrap().push((step, stream, bytes));
    }

    fn steps(&self, steps: &[StepReport]) {
        *self.steps.lock().unwrap() = steps.to_vec();
    }

    fn started(&self, pid: u32, _start_ticks: u64) {
        self.pids.lock().unwrap().push(pid);
    }
}

impl Memory {
    /// The bytes of one stream of all steps.
    pub fn stream(&self, wanted: Stream) -> Vec<u8> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|(_, s, _)| *s == wanted).flat_map(|(_, _, b)| b.to_vec()).collect()
    }

    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stream(Stream::Stdout)).into_owned()
    }

    /// Everything as text.
    pub fn all(&self) -> String {
        let log = self.log.lock().unwrap();
        let bytes: Vec<u8> = log.iter().flat_map(|(_, _, b)| b.to_vec()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A job in the making.
pub struct Job {
    pub assignment: Assignment,
    pub config: EngineConfig,
    pub dir: tempfile::TempDir,
    pub driver: Arc<ProcessDriver>,
    /// Where it runs; absent means processes and no containers.
    pub fence: Option<Fence>,
    pub cancel: CancellationToken,
    pub kill: CancellationToken,
    pub sink: Arc<Memory>,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A tag or number that no other test of any process uses.
pub fn unique() -> u64 {
    u64::from(std::process::id()) * 10_000 + NEXT.fetch_add(1, Ordering::Relaxed)
}

pub fn run_step(id: &str, script: &str) -> StepSpec {
    StepSpec {
        id: id.into(),
        name: None,
        condition: None,
        env: IndexMap::new(),
        continue_on_error: None,
        timeout_minutes: None,
        action: StepAction::Run { script: script.into(), shell: None, working_directory: None },
        background: false,
        line: 0,
    }
}

pub fn uses_step(id: &str, uses: &str, with: &[(&str, &str)]) -> StepSpec {
    let with = with.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    StepSpec { action: StepAction::Uses { uses: uses.into(), with }, ..run_step(id, "") }
}

impl Job {
    /// A job with these steps and a ladder that does not make tests slow.
    pub fn new(steps: Vec<StepSpec>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = EngineConfig::new(dir.path().join("work"));
        config.kill =
            KillLadder { interrupt: Duration::from_millis(300), terminate: Duration::from_millis(300) };
        config.drain_after_exit = Duration::from_millis(300);
        let number = unique();
        let spec = JobSpec {
            key: "build".into(),
            name: "build".into(),
            steps,
            timeout_seconds: 60,
            cancel_timeout_seconds: 10,
            ..JobSpec::default()
        };
        let assignment = Assignment {
            attempt: AttemptRef { job: JobId(number), attempt: 1, epoch: Epoch(7) },
            run: RunId(5),
            project: "p".into(),
            spec: Arc::new(spec),
            contexts: IndexMap::new(),
            env: IndexMap::new(),
            secrets: IndexMap::new(),
            job_token: "ffj_0123456789abcdef".into(),
            repository: None,
            server_url: "http://127.0.0.1:7878".into(),
            services: None,
        };
        let options = ProcessOptions { tag: format!("test-{number}"), ..ProcessOptions::default() };
        Self {
            assignment,
            config,
            dir,
            driver: Arc::new(ProcessDriver::new(options).unwrap()),
            fence: None,
            cancel: CancellationToken::new(),
            kill: CancellationToken::new(),
            sink: Arc::new(Memory::default()),
        }
    }

    /// One step `it`.
    pub fn script(script: &str) -> Self {
        Self::new(vec![run_step("it", script)])
    }

    pub fn spec(&mut self) -> &mut JobSpec {
        Arc::make_mut(&mut self.assignment.spec)
    }

    pub fn secret(mut self, name: &str, value: &str) -> Self {
        self.assignment.secrets.insert(name.into(), value.into());
        self
    }

    pub fn context(mut self, name: &str, value: serde_json::Value) -> Self {
        self.assignment.contexts.insert(name.into(), value);
        self
    }

    pub fn workspace(&self) -> PathBuf {
        self.config.work_dir.join(self.assignment.attempt.to_string()).join("workspace")
    }

    /// Runs it; fails the test if that takes a minute, or if anything remains.
    pub async fn run(&self) -> AttemptResult {
        let engine = Engine::new(self.config.clone());
        let fence = self.fence.clone().unwrap_or_else(|| Fence::of(self.driver.clone()));
        let run =
            engine.run(&self.assignment, &fence, self.sink.clone(), self.cancel.clone(), self.kill.clone());
        let result = tokio::time::timeout(Duration::from_secs(60), run).await.expect("the engine hangs");
        let root = self.config.work_dir.join(self.assignment.attempt.to_string());
        assert!(!root.exists(), "the workspace remains");
        result
    }

    pub fn step(&self, id: &str) -> StepReport {
        self.sink.steps.lock().unwrap().iter().find(|s| s.id == id).cloned().expect("no such step")
    }
}

/// Waits for a condition, at most ten seconds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a process lives (a zombie does not).
pub fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|s| s.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X'])))
}
