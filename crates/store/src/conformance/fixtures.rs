//! Rows and short forms for the cases.

use crate::{
    AttemptEnd, JobEnd, JobPayload, JobRow, NewLease, NewRun, Op, OpError, OpOk, RunPayload, RunRow,
    RunnerRow, Store, TokenRow,
};
use fleetfoot_model::api::TokenKind;
use fleetfoot_model::boundary::{Boundary, BoundaryRecord};
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId, RunId, RunnerId, TokenId};
use fleetfoot_model::plan::{PlanNode, RunParams};
use fleetfoot_model::spec::{
    Concurrency, ConcurrencyQueue, JobSpec, Placement, Repository, StepAction, StepSpec,
};
use fleetfoot_model::state::{Conclusion, Reason, Status};
use fleetfoot_model::sync::{Annotation, AttemptResult, RunnerInfo, StepReport, Usage};
use fleetfoot_model::time::Timestamp;
use indexmap::IndexMap;
use std::sync::Arc;

/// A time some seconds after the epoch of these tests.
#[must_use]
pub const fn at(seconds: i64) -> Timestamp {
    Timestamp(1_760_000_000_000_000 + seconds * 1_000_000)
}

/// A queued run with every field filled.
#[must_use]
pub fn run_row(id: u64) -> RunRow {
    RunRow {
        id: RunId(id),
        number: id + 100,
        attempt: 1,
        kind: "workflow".to_owned(),
        name: "build".to_owned(),
        title: format!("Build {id} – ünïcode"),
        project: "core".to_owned(),
        path: Some(".github/workflows/build.yml".to_owned()),
        event: "push".to_owned(),
        actor: Some("alice".to_owned()),
        branch: Some("main".to_owned()),
        status: Status::Queued,
        conclusion: None,
        cancel_requested: false,
        created_at: at(id.cast_signed()),
        started_at: None,
        finished_at: None,
        rerun_of: Some(RunId(7)),
        concurrency: Some(Concurrency {
            group: "deploy".to_owned(),
            cancel_in_progress: true,
            queue: ConcurrencyQueue::Max,
        }),
        nodes: vec![PlanNode {
            key: "build".to_owned(),
            needs: vec!["lint".to_owned()],
            names: vec!["build (1)".to_owned()],
        }],
        jobs: 1,
        change: id,
    }
}

/// A queued job.
#[must_use]
pub fn job_row(id: u64, run: u64) -> JobRow {
    JobRow {
        id: JobId(id),
        run: RunId(run),
        key: "build".to_owned(),
        leg: 0,
        name: "build (1)".to_owned(),
        project: "core".to_owned(),
        status: Status::Queued,
        conclusion: None,
        reason: None,
        message: None,
        exit_code: None,
        continue_on_error: true,
        attempt: 0,
        runner: None,
        cancel_requested: false,
        created_at: at(1),
        queued_at: Some(at(2)),
        started_at: None,
        finished_at: None,
        not_before: None,
        outputs: IndexMap::new(),
        change: id,
        placement: Some(Arc::new(placement("linux"))),
        max_parallel: Some(3),
        fail_fast: true,
    }
}

/// A job that waits for its node to be resolved.
#[must_use]
pub fn placeholder(id: u64, run: u64) -> JobRow {
    JobRow { status: Status::Waiting, queued_at: None, placement: None, ..job_row(id, run) }
}

/// A placement with one label.
#[must_use]
pub fn placement(label: &str) -> Placement {
    Placement {
        labels: vec![label.into()],
        queue: Some("fast".to_owned()),
        priority: -3,
        min_boundary: Boundary::Sandbox,
        queue_timeout_seconds: Some(60),
        ..Placement::default()
    }
}

/// A specification with one step that runs this script.
#[must_use]
pub fn job_payload(script: &str) -> JobPayload {
    let step = StepSpec {
        id: "__run".to_owned(),
        name: None,
        condition: Some("always()".to_owned()),
        env: IndexMap::from([("A".to_owned(), "b".to_owned())]),
        continue_on_error: None,
        timeout_minutes: None,
        action: StepAction::Run { script: script.to_owned(), shell: None, working_directory: None },
        background: false,
        line: 12,
    };
    let spec = JobSpec { key: "build".to_owned(), steps: vec![step], ..JobSpec::default() };
    JobPayload { spec: Arc::new(spec), needs: Some(serde_json::json!({"lint": {"result": "success"}})) }
}

/// What a run was made from, every field filled.
#[must_use]
pub fn run_payload(document: &str) -> RunPayload {
    RunPayload {
        document: document.into(),
        params: RunParams {
            event_name: "push".to_owned(),
            event: serde_json::json!({"n": 1.5, "z": [null, true]}),
            inputs: IndexMap::from([("level".to_owned(), serde_json::json!(3))]),
            repository: Some(Repository {
                url: "https://example.test/r.git".to_owned(),
                ..Repository::default()
            }),
            ..RunParams::default()
        },
        contexts: IndexMap::from([("github".to_owned(), serde_json::json!({"b": 1, "a": 2}))]),
        sealed_secrets: vec![0, 255, 1],
    }
}

/// A run with queued jobs of these ids.
#[must_use]
pub fn new_run(id: u64, jobs: &[u64]) -> NewRun {
    NewRun {
        row: RunRow { jobs: u32::try_from(jobs.len()).unwrap_or(u32::MAX), ..run_row(id) },
        payload: run_payload("on: push"),
        jobs: jobs.iter().map(|j| (job_row(*j, id), Some(job_payload("make")))).collect(),
    }
}

/// Creates the run of [`new_run`].
#[must_use]
pub fn create(id: u64, jobs: &[u64]) -> Op {
    Op::CreateRun(Box::new(new_run(id, jobs)))
}

/// The reference of an attempt.
#[must_use]
pub const fn attempt(job: u64, number: u32, epoch: u64) -> AttemptRef {
    AttemptRef { job: JobId(job), attempt: number, epoch: Epoch(epoch) }
}

/// A lease on runner 5.
#[must_use]
pub fn lease(run: u64, job: u64, number: u32, epoch: u64) -> Op {
    Op::Lease {
        lease: NewLease {
            attempt: attempt(job, number, epoch),
            run: RunId(run),
            runner: RunnerId(5),
            at: at(10),
        },
        change: 1000 + epoch,
    }
}

/// A report of a step, every field filled.
#[must_use]
pub fn step(index: u16) -> StepReport {
    StepReport {
        index,
        id: format!("__run_{index}"),
        name: "Run make".to_owned(),
        status: Status::Completed,
        conclusion: Some(Conclusion::Success),
        outcome: Some(Conclusion::Failure),
        reason: Some(Reason::ExitCode),
        message: Some("exit code 2".to_owned()),
        exit_code: Some(2),
        signal: None,
        leaked: true,
        started_at: Some(at(11)),
        finished_at: Some(at(12)),
        usage: Usage { cpu_user_us: 5, max_rss_bytes: 1 << 40, ..Usage::default() },
    }
}

/// The result of an attempt.
#[must_use]
pub fn result(conclusion: Conclusion) -> AttemptResult {
    AttemptResult {
        conclusion,
        reason: Some(Reason::ExitCode),
        message: Some("it failed".to_owned()),
        exit_code: Some(2),
        outputs: IndexMap::from([("z".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())]),
        annotations: vec![Annotation {
            level: "error".to_owned(),
            message: "no".to_owned(),
            title: None,
            file: Some("a.c".to_owned()),
            line: Some(3),
            end_line: None,
            column: None,
            end_column: None,
            step: 1,
        }],
        summaries: vec![(0, "# done".to_owned())],
        log_bytes: 4096,
        started_at: Some(at(11)),
        finished_at: Some(at(12)),
        boundary: BoundaryRecord { driver: "process/0.1.0".to_owned(), ..BoundaryRecord::default() },
        environment_url: Some("https://app.example".to_owned()),
    }
}

/// Ends an attempt with a result.
#[must_use]
pub fn end(job: u64, number: u32, epoch: u64) -> Op {
    Op::EndAttempt {
        end: Box::new(AttemptEnd {
            attempt: attempt(job, number, epoch),
            conclusion: Conclusion::Success,
            reason: None,
            message: None,
            at: at(13),
            steps: Some(Arc::new(vec![step(0), step(1)])),
            result: Some(Box::new(result(Conclusion::Success))),
        }),
        change: 2000 + epoch,
    }
}

/// Completes a job.
#[must_use]
pub fn complete(job: u64, conclusion: Conclusion) -> Op {
    Op::CompleteJob {
        job: JobId(job),
        end: Box::new(JobEnd {
            conclusion,
            reason: Some(Reason::ExitCode),
            message: Some("why".to_owned()),
            exit_code: Some(3),
            outputs: IndexMap::from([("z".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())]),
            at: at(14),
        }),
        change: 3000,
    }
}

/// Completes a run.
#[must_use]
pub const fn complete_run(run: u64) -> Op {
    Op::CompleteRun { run: RunId(run), conclusion: Conclusion::Success, at: at(15), change: 4000 }
}

/// A runner with every field filled.
#[must_use]
pub fn runner_row(id: u64, name: &str) -> RunnerRow {
    RunnerRow {
        id: RunnerId(id),
        name: name.to_owned(),
        description: "in the cellar".to_owned(),
        fixed_labels: vec!["Cellar".into()],
        fixed_queue: Some("slow".to_owned()),
        info: RunnerInfo {
            labels: vec!["linux".into()],
            queues: vec!["slow".to_owned()],
            capabilities: IndexMap::from([("git".to_owned(), "2.39.5".to_owned())]),
            one_off: true,
            ..RunnerInfo::default()
        },
        slots: 8,
        version: "0.1.0".to_owned(),
        drain: false,
        created_at: at(3),
        last_seen_at: None,
    }
}

/// A token; its hash is made of its id.
#[must_use]
pub fn token_row(id: u64, kind: TokenKind) -> TokenRow {
    TokenRow {
        id: TokenId(id),
        kind,
        name: "for tests".to_owned(),
        prefix: "ffm_abcd".to_owned(),
        hash: [u8::try_from(id).unwrap_or(255); 32],
        created_at: at(4),
        expires_at: Some(at(1000)),
        last_used_at: None,
        uses_left: None,
        labels: vec!["gpu".into()],
        queue: Some("q".to_owned()),
        runner: None,
        revoked_at: None,
    }
}

/// Applies one operation.
///
/// # Errors
/// What the store answers.
pub async fn apply(store: &dyn Store, op: Op) -> Result<OpOk, OpError> {
    let mut all = store.apply(vec![op]).await.expect("the store takes writes");
    assert_eq!(all.len(), 1, "one answer per operation");
    all.remove(0)
}

/// Applies one operation that must take effect.
pub async fn done(store: &dyn Store, op: Op) {
    let text = format!("{op:?}");
    assert_eq!(apply(store, op).await, Ok(OpOk::Done), "{text}");
}

/// Applies one operation that must find nothing to do.
pub async fn unchanged(store: &dyn Store, op: Op) {
    let text = format!("{op:?}");
    assert_eq!(apply(store, op).await, Ok(OpOk::Unchanged), "{text}");
}

/// Applies one operation that must meet a conflict.
pub async fn conflict(store: &dyn Store, op: Op) {
    let text = format!("{op:?}");
    let answer = apply(store, op).await;
    assert!(matches!(answer, Err(OpError::Conflict(_))), "{text} answered {answer:?}");
}

/// Applies one operation whose row must be missing.
pub async fn missing(store: &dyn Store, op: Op) {
    let text = format!("{op:?}");
    let answer = apply(store, op).await;
    assert!(matches!(answer, Err(OpError::Missing(_))), "{text} answered {answer:?}");
}

/// Applies one operation of an attempt that must be stale.
pub async fn stale(store: &dyn Store, op: Op) {
    let text = format!("{op:?}");
    let answer = apply(store, op).await;
    assert!(matches!(answer, Err(OpError::Stale(_))), "{text} answered {answer:?}");
}

/// The run with this id, which must exist.
pub async fn run_of(store: &dyn Store, id: u64) -> RunRow {
    store.run(RunId(id)).await.expect("reads work").expect("the run exists")
}

/// The job with this id, which must exist.
pub async fn job_of(store: &dyn Store, id: u64) -> JobRow {
    store.job(JobId(id)).await.expect("reads work").expect("the job exists")
}

/// Numbers of the runs in a list.
#[must_use]
pub fn ids(rows: &[RunRow]) -> Vec<u64> {
    rows.iter().map(|r| r.id.0).collect()
}
