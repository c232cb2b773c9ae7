//! Cases about the store as a whole: several operations, several callers,
//! counters, backups.

use super::Harness;
use super::fixtures::*;
use crate::{
    AttemptRow, HighWater, JobRow, Op, OpError, OpOk, RunPayload, RunRow, RunnerRow, Store, TokenRow,
};
use fleetfoot_model::api::{AuditEntry, RunFilter, TokenKind};
use fleetfoot_model::ids::{JobId, RunId, RunnerId};
use fleetfoot_model::state::Conclusion;

/// Runs all cases of this part.
pub async fn all(h: &dyn Harness) {
    nothing_to_apply(h).await;
    one_failure_does_not_stop_the_others(h).await;
    what_builds_on_a_failed_create_fails(h).await;
    high_water_never_falls(h).await;
    concurrent_calls_all_take_effect(h).await;
    writes_are_read_at_once(h).await;
    statistics_count(h).await;
    backup_equals_the_store(h).await;
}

/// An empty call answers nothing.
pub async fn nothing_to_apply(h: &dyn Harness) {
    let store = h.fresh().await;
    assert_eq!(store.apply(Vec::new()).await.expect("the store takes writes"), []);
    assert_eq!(store.high_water().await.expect("reads work"), HighWater::default());
}

/// Operations before and after a failed one take effect, also when it failed half-way.
pub async fn one_failure_does_not_stop_the_others(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, create(1, &[10])).await;
    let mut impossible = new_run(4, &[40, 41]);
    impossible.jobs[1].0.status = fleetfoot_model::state::Status::Running;
    let ops = vec![
        create(2, &[20]),
        create(1, &[11]),
        Op::CreateRun(Box::new(impossible)),
        create(3, &[30, 10]),
        complete(99, Conclusion::Success),
        create(5, &[50]),
        complete(10, Conclusion::Success),
    ];
    let answers = store.apply(ops).await.expect("the store takes writes");
    assert_eq!(answers[0], Ok(OpOk::Done));
    assert!(matches!(answers[1], Err(OpError::Conflict(_))), "{answers:?}");
    assert!(matches!(answers[2], Err(OpError::Failed(_))), "{answers:?}");
    assert!(matches!(answers[3], Err(OpError::Conflict(_))), "{answers:?}");
    assert!(matches!(answers[4], Err(OpError::Missing(_))), "{answers:?}");
    assert_eq!(answers[5], Ok(OpOk::Done));
    let listed = store.list_runs(&RunFilter::default(), None, 10).await.expect("reads work");
    assert_eq!(ids(&listed), [5, 2, 1]);
    for job in [11, 30, 40, 41] {
        assert_eq!(store.job(JobId(job)).await.expect("reads work"), None, "job {job}");
    }
    // What is interned together with a failed operation is not lost for the others.
    for (run, job) in [(2, 20), (5, 50)] {
        assert_eq!(
            store.run_payload(RunId(run)).await.expect("reads work"),
            Some(new_run(run, &[job]).payload)
        );
        assert_eq!(store.job_payload(JobId(job)).await.expect("reads work"), Some(job_payload("make")));
    }
}

/// Whatever names a run or a job whose creation failed in the same call fails too.
pub async fn what_builds_on_a_failed_create_fails(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, create(1, &[10])).await;
    let ops = vec![
        create(1, &[12]),
        Op::RequestRunCancel { run: RunId(1), change: 9 },
        lease(1, 12, 1, 100),
        complete(12, Conclusion::Success),
        complete_run(1),
        Op::RequestJobCancel { job: JobId(10), change: 8 },
    ];
    let answers = store.apply(ops).await.expect("the store takes writes");
    assert!(matches!(answers[0], Err(OpError::Conflict(_))), "{answers:?}");
    assert!(answers[1..5].iter().all(|a| matches!(a, Err(OpError::Failed(_)))), "{answers:?}");
    assert_eq!(answers[5], Ok(OpOk::Done), "a job that was not part of it is not affected");
    assert!(!run_of(&*store, 1).await.cancel_requested);
    let later = apply(&*store, Op::RequestRunCancel { run: RunId(1), change: 9 }).await;
    assert_eq!(later, Ok(OpOk::Done), "the next call starts afresh");
}

/// The largest numbers survive the deletion of what had them; a failed operation uses none.
pub async fn high_water_never_falls(h: &dyn Harness) {
    let store = h.fresh().await;
    let high = async || store.high_water().await.expect("reads work");
    done(&*store, create(8, &[80, 81])).await;
    assert_eq!(high().await, HighWater { run: 8, job: 81, change: 81, ..HighWater::default() });
    done(&*store, create(3, &[30])).await;
    done(&*store, lease(8, 80, 1, 500)).await;
    done(&*store, end(80, 1, 500)).await;
    done(&*store, Op::CreateRunner(Box::new(runner_row(6, "a")))).await;
    done(&*store, Op::CreateToken(Box::new(token_row(9, TokenKind::Member)))).await;
    let before = high().await;
    assert_eq!(before, HighWater { run: 8, job: 81, runner: 6, token: 9, epoch: 500, change: 2500 });
    done(&*store, complete(80, Conclusion::Success)).await;
    done(&*store, complete(81, Conclusion::Success)).await;
    done(&*store, complete_run(8)).await;
    done(&*store, Op::DeleteRun(RunId(8))).await;
    done(&*store, Op::DeleteRunner { runner: RunnerId(6), at: at(1) }).await;
    assert_eq!(high().await, HighWater { change: 4000, ..before });
    conflict(&*store, create(20, &[30])).await;
    assert_eq!(high().await, HighWater { change: 4000, ..before });
}

/// Calls from many tasks are all answered, each with its own results.
pub async fn concurrent_calls_all_take_effect(h: &dyn Harness) {
    let store = h.fresh().await;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..40_u64 {
        let store = store.clone();
        callers.spawn(async move {
            for i in 0..5 {
                let run = 1 + caller * 5 + i;
                let ops = vec![create(run, &[run * 10]), create(run, &[]), lease(run, run * 10, 1, run)];
                let answers = store.apply(ops).await.expect("the store takes writes");
                assert_eq!(answers[0], Ok(OpOk::Done));
                assert!(matches!(answers[1], Err(OpError::Conflict(_))));
                assert!(matches!(answers[2], Err(OpError::Failed(_))), "it names a run that failed");
                done(&*store, lease(run, run * 10, 1, run)).await;
            }
        });
    }
    callers.join_all().await;
    let listed = store.list_runs(&RunFilter::default(), None, 1000).await.expect("reads work");
    assert_eq!(ids(&listed), (1..=200).rev().collect::<Vec<_>>());
    assert_eq!(store.open_attempts().await.expect("reads work").len(), 200);
}

/// A read that begins after the answer sees the write, from whichever task.
pub async fn writes_are_read_at_once(h: &dyn Harness) {
    let store = h.fresh().await;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8_u64 {
        let store = store.clone();
        callers.spawn(async move {
            for i in 1..=10 {
                let run = caller * 10 + i;
                done(&*store, create(run, &[run])).await;
                assert_eq!(run_of(&*store, run).await.id, RunId(run));
                done(&*store, complete(run, Conclusion::Success)).await;
                assert_eq!(job_of(&*store, run).await.conclusion, Some(Conclusion::Success));
            }
        });
    }
    callers.join_all().await;
}

/// Transactions and operations are counted.
pub async fn statistics_count(h: &dyn Harness) {
    let store = h.fresh().await;
    let before = store.statistics();
    store.apply(vec![create(1, &[]), create(2, &[]), create(2, &[])]).await.expect("the store takes writes");
    let after = store.statistics();
    assert_eq!(after.commits, before.commits + 1);
    assert_eq!(after.operations, before.operations + 3);
    assert_eq!(after.last_batch, 3);
    assert!(after.commit_micros >= before.commit_micros);
}

/// Everything that can be read from a store, for comparison.
#[derive(Debug, PartialEq)]
struct Everything {
    high: HighWater,
    runs: Vec<RunRow>,
    payloads: Vec<Option<RunPayload>>,
    jobs: Vec<JobRow>,
    attempts: Vec<AttemptRow>,
    runners: Vec<RunnerRow>,
    tokens: Vec<TokenRow>,
    audit: Vec<AuditEntry>,
}

async fn everything(store: &dyn Store) -> Everything {
    let runs = store.list_runs(&RunFilter::default(), None, 10_000).await.expect("reads work");
    let mut all = Everything {
        high: store.high_water().await.expect("reads work"),
        payloads: Vec::new(),
        jobs: Vec::new(),
        attempts: Vec::new(),
        runners: store.runners().await.expect("reads work"),
        tokens: store.tokens(None).await.expect("reads work"),
        audit: store.audit(None, 10_000).await.expect("reads work"),
        runs,
    };
    for run in &all.runs {
        all.payloads.push(store.run_payload(run.id).await.expect("reads work"));
        all.jobs.extend(store.run_jobs(run.id, None).await.expect("reads work"));
    }
    for job in &all.jobs {
        all.attempts.extend(store.attempts(job.id).await.expect("reads work"));
    }
    all
}

/// A backup has everything the store has, and later writes stay out of it.
pub async fn backup_equals_the_store(h: &dyn Harness) {
    let store = h.fresh().await;
    let ops = vec![
        create(1, &[10, 11]),
        create(2, &[20]),
        lease(1, 10, 1, 100),
        end(10, 1, 100),
        complete(10, Conclusion::Success),
        lease(2, 20, 1, 101),
        Op::CreateRunner(Box::new(runner_row(1, "a"))),
        Op::CreateToken(Box::new(token_row(1, TokenKind::Admin))),
        Op::Audit {
            at: at(1),
            actor: "system".to_owned(),
            action: "x".to_owned(),
            subject: "y".to_owned(),
            detail: serde_json::Value::Null,
        },
    ];
    let answers = store.apply(ops).await.expect("the store takes writes");
    assert!(answers.iter().all(|a| *a == Ok(OpOk::Done)), "{answers:?}");
    let before = everything(&*store).await;
    let file = h.new_path();
    store.backup(&file).await.expect("the backup is written");
    assert!(store.backup(&file).await.is_err(), "a backup never overwrites a file");
    done(&*store, create(3, &[30])).await;
    let copy = h.open_backup(&file).await;
    assert_eq!(everything(&*copy).await, before);
    done(&*copy, create(3, &[30])).await;
}
