//! A control plane over a scratch SQLite store, and a runner that is driven by
//! hand.
#![allow(dead_code, reason = "each test file uses its part")]

use fleetfoot_control::{Control, Options, Principal, WorkflowLoader};
use fleetfoot_model::api::{CreateRun, CreateRunner, Created, JobView, RunView};
use fleetfoot_model::ids::{AttemptRef, JobId, RunId, RunnerId};
use fleetfoot_model::state::{Conclusion, Reason, Status};
use fleetfoot_model::sync::{
    Assignment, AttemptReport, AttemptResult, Phase, RunnerInfo, SyncRequest, SyncResponse,
};
use fleetfoot_model::version::VERSION;
use fleetfoot_model::{Label, Problem};
use fleetfoot_objects::{LogOptions, LogStore};
use fleetfoot_store_sqlite::SqliteStore;
use fleetfoot_workflow::{JobDialect, WorkflowDialect};
use std::sync::Arc;
use std::time::Duration;

/// The operator.
pub(crate) const ADMIN: Principal = Principal::System;

/// A control plane and its directory.
pub(crate) struct Bench {
    pub(crate) control: Control,
    pub(crate) dir: tempfile::TempDir,
    lease: Duration,
    loader: Option<Arc<dyn WorkflowLoader>>,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with_lease(Duration::from_secs(12)).await
    }

    pub(crate) async fn with_lease(lease: Duration) -> Self {
        Self::start(lease, None).await
    }

    pub(crate) async fn with_loader(loader: Arc<dyn WorkflowLoader>) -> Self {
        Self::start(Duration::from_secs(12), Some(loader)).await
    }

    async fn start(lease: Duration, loader: Option<Arc<dyn WorkflowLoader>>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let control = start(dir.path(), lease, loader.clone()).await;
        Self { control, dir, lease, loader }
    }

    /// Stops and starts again on the same directory; the runner stays and finds the new one.
    pub(crate) async fn restart(self, runner: &mut Hand) -> Self {
        let Self { control, dir, lease, loader } = self;
        control.shut_down().await;
        runner.control = None;
        drop(control);
        let control = start(dir.path(), lease, loader.clone()).await;
        runner.control = Some(control.clone());
        Self { control, dir, lease, loader }
    }

    pub(crate) async fn submit(&self, document: &str) -> Created {
        self.try_submit(document).await.unwrap()
    }

    pub(crate) async fn try_submit(&self, document: &str) -> Result<Created, Problem> {
        let request = CreateRun {
            kind: "workflow".to_owned(),
            document: document.to_owned(),
            path: Some("test.yml".to_owned()),
            ..CreateRun::default()
        };
        self.create(request).await
    }

    pub(crate) async fn create(&self, request: CreateRun) -> Result<Created, Problem> {
        Ok(self.control.create_runs(&ADMIN, vec![request], None).await?.remove(0))
    }

    pub(crate) async fn run(&self, run: RunId) -> RunView {
        self.control.run(&ADMIN, run).await.unwrap()
    }

    pub(crate) async fn job(&self, job: JobId) -> JobView {
        self.control.job(&ADMIN, job).await.unwrap()
    }

    /// Waits until the run has ended.
    pub(crate) async fn ended(&self, run: RunId) -> RunView {
        let mut watcher = self.control.watch_run(&ADMIN, run, None).await.unwrap();
        let wait = async {
            while let Some(view) = watcher.next().await.unwrap() {
                if view.status == Status::Completed {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the run did not end");
        self.run(run).await
    }

    pub(crate) async fn runner(&self, name: &str, labels: &[&str], slots: u32) -> Hand {
        let request = CreateRunner { name: Some(name.to_owned()), ..CreateRunner::default() };
        let registered = self.control.create_runner(&ADMIN, request).await.unwrap();
        let token = registered.token.clone();
        let who = self.control.authenticate(&token).await.unwrap();
        let mut hand = Hand {
            control: Some(self.control.clone()),
            who,
            id: registered.id,
            token,
            instance: format!("{name}-1"),
            sequence: 0,
            slots,
            labels: labels.iter().map(|l| Label::from(*l)).collect(),
            reports: Vec::new(),
            inbox: Vec::new(),
        };
        hand.sync(0).await;
        hand
    }
}

async fn start(dir: &std::path::Path, lease: Duration, loader: Option<Arc<dyn WorkflowLoader>>) -> Control {
    let store = Arc::new(SqliteStore::open_scratch(dir).unwrap());
    let logs =
        LogStore::open(&dir.join("logs"), LogOptions { durable: false, ..LogOptions::default() }).unwrap();
    let dialects: Vec<Arc<dyn fleetfoot_model::plan::Dialect>> =
        vec![Arc::new(WorkflowDialect), Arc::new(JobDialect)];
    let options = Options { lease, loader, ..Options::new(dir, "http://127.0.0.1:7878") };
    Control::start(store, logs, dialects, options).await.unwrap()
}

/// A runner whose words a test puts into its mouth.
pub(crate) struct Hand {
    pub(crate) control: Option<Control>,
    pub(crate) who: Principal,
    pub(crate) id: RunnerId,
    pub(crate) token: String,
    pub(crate) instance: String,
    pub(crate) sequence: u64,
    pub(crate) slots: u32,
    pub(crate) labels: Vec<Label>,
    pub(crate) reports: Vec<AttemptReport>,
    /// Assignments that came and that no test has taken yet.
    pub(crate) inbox: Vec<Assignment>,
}

impl Hand {
    pub(crate) fn request(&mut self, wait_ms: u64) -> SyncRequest {
        self.sequence += 1;
        SyncRequest {
            version: VERSION.to_owned(),
            instance: self.instance.clone(),
            sequence: self.sequence,
            slots: self.slots,
            info: Some(RunnerInfo { labels: self.labels.clone(), ..RunnerInfo::default() }),
            attempts: self.reports.clone(),
            wait_ms,
            ..SyncRequest::default()
        }
    }

    pub(crate) async fn try_sync(&mut self, wait_ms: u64) -> Result<SyncResponse, Problem> {
        let request = self.request(wait_ms);
        let control = self.control.clone().unwrap();
        let response = control.sync(&self.who, self.id, request).await?;
        for a in &response.assignments {
            if !self.reports.iter().any(|r| r.attempt == a.attempt) {
                self.reports.push(report(a.attempt, Phase::Running));
                self.inbox.push(a.clone());
            }
        }
        self.reports
            .retain(|r| !response.acknowledged.contains(&r.attempt) && !response.fenced.contains(&r.attempt));
        Ok(response)
    }

    pub(crate) async fn sync(&mut self, wait_ms: u64) -> SyncResponse {
        self.try_sync(wait_ms).await.unwrap()
    }

    /// Takes the next job; it must come within ten seconds.
    pub(crate) async fn take(&mut self) -> Assignment {
        let begun = std::time::Instant::now();
        while self.inbox.is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(10), "no job came");
            self.sync(1_000).await;
        }
        self.inbox.remove(0)
    }

    pub(crate) async fn finish(&mut self, attempt: AttemptRef, conclusion: Conclusion) -> SyncResponse {
        self.finish_with(attempt, result(conclusion)).await
    }

    pub(crate) async fn finish_with(&mut self, attempt: AttemptRef, result: AttemptResult) -> SyncResponse {
        for r in &mut self.reports {
            if r.attempt == attempt {
                r.phase = Phase::Finished;
                r.result = Some(Box::new(result.clone()));
            }
        }
        self.sync(0).await
    }

    /// Runs everything that comes to the end until `n` jobs are done; answers their keys in order.
    pub(crate) async fn work(&mut self, n: usize, conclusion: Conclusion) -> Vec<String> {
        let mut keys = Vec::new();
        while keys.len() < n {
            let assignment = self.take().await;
            keys.push(assignment.spec.key.clone());
            self.finish(assignment.attempt, conclusion).await;
        }
        keys
    }
}

pub(crate) fn report(attempt: AttemptRef, phase: Phase) -> AttemptReport {
    AttemptReport { attempt, phase, steps: None, result: None }
}

pub(crate) fn result(conclusion: Conclusion) -> AttemptResult {
    AttemptResult {
        conclusion,
        reason: (conclusion == Conclusion::Failure).then_some(Reason::ExitCode),
        message: None,
        exit_code: Some(if conclusion == Conclusion::Success { 0 } else { 1 }),
        outputs: indexmap::IndexMap::new(),
        annotations: Vec::new(),
        summaries: Vec::new(),
        log_bytes: 0,
        started_at: None,
        finished_at: None,
        boundary: fleetfoot_model::boundary::BoundaryRecord::default(),
        environment_url: None,
    }
}
