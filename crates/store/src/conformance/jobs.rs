//! Cases about jobs and attempts: the state machine, leases and fencing.

use super::Harness;
use super::fixtures::*;
use crate::{AttemptEnd, AttemptRow, JobRow, Op, OpError, OpOk};
use fleetfoot_model::ids::{JobId, RunId, RunnerId};
use fleetfoot_model::state::{Conclusion, Reason, Status};
use std::sync::Arc;

/// Runs all cases of this part.
pub async fn all(h: &dyn Harness) {
    placeholder_is_resolved(h).await;
    legs_are_added(h).await;
    waiting_job_is_queued_once(h).await;
    lease_takes_a_queued_job(h).await;
    lease_guards(h).await;
    one_of_many_leases_wins(h).await;
    steps_of_the_current_attempt_only(h).await;
    attempt_ends_once(h).await;
    stale_end_completes_nothing(h).await;
    requeue_and_second_attempt(h).await;
    job_completes_once(h).await;
    cancellation_of_a_job(h).await;
    latest_and_open_attempts(h).await;
    changed_jobs_since(h).await;
    totals_of_a_runner(h).await;
}

/// Resolving replaces the row and sets the payload, while the job waits and no longer.
pub async fn placeholder_is_resolved(h: &dyn Harness) {
    let store = h.fresh().await;
    let mut new = new_run(1, &[]);
    new.jobs = vec![(placeholder(10, 1), None), (placeholder(11, 1), None)];
    done(&*store, Op::CreateRun(Box::new(new))).await;
    let resolve = |row: JobRow, script: &str| Op::ResolveJob {
        row: Box::new(row),
        payload: Box::new(job_payload(script)),
    };
    let queued = JobRow { name: "build (resolved)".to_owned(), leg: 2, change: 77, ..job_row(10, 1) };
    done(&*store, resolve(queued.clone(), "a")).await;
    assert_eq!(job_of(&*store, 10).await, queued);
    assert_eq!(store.job_payload(JobId(10)).await.expect("reads work"), Some(job_payload("a")));
    conflict(&*store, resolve(queued.clone(), "b")).await;
    assert_eq!(store.job_payload(JobId(10)).await.expect("reads work"), Some(job_payload("a")));
    let waiting = JobRow { placement: queued.placement, ..placeholder(11, 1) };
    done(&*store, resolve(waiting.clone(), "c")).await;
    assert_eq!(job_of(&*store, 11).await, waiting);
    done(&*store, resolve(waiting, "d")).await;
    assert_eq!(store.job_payload(JobId(11)).await.expect("reads work"), Some(job_payload("d")));
    missing(&*store, resolve(job_row(12, 1), "e")).await;
    missing(&*store, resolve(job_row(11, 2), "f")).await;
}

/// Further legs join an open run, all or none.
pub async fn legs_are_added(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, create(1, &[10])).await;
    let add = |run, ids: &[u64]| Op::AddJobs {
        run: RunId(run),
        jobs: ids.iter().map(|id| (job_row(*id, run), Some(job_payload("leg")))).collect(),
        change: 500,
    };
    done(&*store, add(1, &[11, 12])).await;
    let run = run_of(&*store, 1).await;
    assert_eq!((run.jobs, run.change), (3, 500));
    assert_eq!(job_of(&*store, 12).await, job_row(12, 1));
    conflict(&*store, add(1, &[13, 10])).await;
    assert_eq!(store.job(JobId(13)).await.expect("reads work"), None);
    assert_eq!(run_of(&*store, 1).await.jobs, 3);
    missing(&*store, add(2, &[20])).await;
}

/// `waiting` -> `queued` happens once.
pub async fn waiting_job_is_queued_once(h: &dyn Harness) {
    let store = h.fresh().await;
    let mut new = new_run(1, &[]);
    new.jobs = vec![(JobRow { not_before: Some(at(5)), ..placeholder(10, 1) }, None)];
    done(&*store, Op::CreateRun(Box::new(new))).await;
    let queue = |job| Op::QueueJob { job: JobId(job), at: at(6), change: 60 };
    done(&*store, queue(10)).await;
    let job = job_of(&*store, 10).await;
    assert_eq!(
        (job.status, job.queued_at, job.not_before, job.change),
        (Status::Queued, Some(at(6)), None, 60)
    );
    conflict(&*store, queue(10)).await;
    missing(&*store, queue(11)).await;
}

/// A lease makes an attempt, and sets job and run running.
pub async fn lease_takes_a_queued_job(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, create(1, &[10, 11])).await;
    done(&*store, lease(1, 10, 1, 100)).await;
    let job = job_of(&*store, 10).await;
    assert_eq!(
        (job.status, job.attempt, job.runner, job.started_at, job.change),
        (Status::Running, 1, Some(RunnerId(5)), Some(at(10)), 1100)
    );
    let run = run_of(&*store, 1).await;
    assert_eq!((run.status, run.started_at, run.change), (Status::Running, Some(at(10)), 1100));
    let expected = AttemptRow {
        id: attempt(10, 1, 100),
        run: RunId(1),
        runner: RunnerId(5),
        leased_at: at(10),
        finished_at: None,
        conclusion: None,
        reason: None,
        message: None,
        steps: Arc::new(Vec::new()),
        result: None,
        log_bytes: 0,
        boundary: None,
    };
    assert_eq!(store.attempts(JobId(10)).await.expect("reads work"), [expected]);
    let later = match lease(1, 11, 1, 101) {
        Op::Lease { mut lease, change } => {
            lease.at = at(20);
            Op::Lease { lease, change }
        }
        other => other,
    };
    done(&*store, later).await;
    let run = run_of(&*store, 1).await;
    assert_eq!((run.started_at, run.change), (Some(at(10)), 1100), "the first lease started the run");
}

/// Only a queued job, only the next attempt, only a new epoch, only its own run.
pub async fn lease_guards(h: &dyn Harness) {
    let store = h.fresh().await;
    let mut new = new_run(1, &[10]);
    new.jobs.push((placeholder(11, 1), None));
    done(&*store, Op::CreateRun(Box::new(new))).await;
    done(&*store, create(2, &[20])).await;
    conflict(&*store, lease(1, 10, 2, 100)).await;
    conflict(&*store, lease(2, 10, 1, 100)).await;
    conflict(&*store, lease(1, 11, 1, 100)).await;
    missing(&*store, lease(1, 12, 1, 100)).await;
    done(&*store, lease(1, 10, 1, 100)).await;
    conflict(&*store, lease(1, 10, 1, 101)).await;
    conflict(&*store, lease(1, 10, 2, 101)).await;
    conflict(&*store, lease(2, 20, 1, 100)).await;
    assert_eq!(job_of(&*store, 20).await.status, Status::Queued, "an epoch is never used twice");
    done(&*store, complete(20, Conclusion::Cancelled)).await;
    conflict(&*store, lease(2, 20, 1, 102)).await;
    assert_eq!(store.open_attempts().await.expect("reads work").len(), 1);
}

/// Of many callers that lease one job at the same time, exactly one gets it.
pub async fn one_of_many_leases_wins(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, create(1, &[10])).await;
    let mut callers = tokio::task::JoinSet::new();
    for epoch in 100..132 {
        let store = store.clone();
        callers.spawn(async move { apply(&*store, lease(1, 10, 1, epoch)).await });
    }
    let answers = callers.join_all().await;
    assert_eq!(answers.iter().filter(|a| **a == Ok(OpOk::Done)).count(), 1);
    assert!(answers.iter().all(|a| matches!(a, Ok(_) | Err(OpError::Conflict(_)))), "{answers:?}");
    assert_eq!(store.attempts(JobId(10)).await.expect("reads work").len(), 1);
}

/// Steps are replaced while the attempt is current.
pub async fn steps_of_the_current_attempt_only(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, create(1, &[10])).await;
    done(&*store, lease(1, 10, 1, 100)).await;
    let set =
        |a, n: u16, change| Op::SetSteps { attempt: a, steps: Arc::new((0..n).map(step).collect()), change };
    done(&*store, set(attempt(10, 1, 100), 2, 700)).await;
    let steps = store.attempts(JobId(10)).await.expect("reads work").remove(0).steps;
    assert_eq!(*steps, [step(0), step(1)]);
    assert_eq!(job_of(&*store, 10).await.change, 700, "whoever watches the job learns of it");
    done(&*store, set(attempt(10, 1, 100), 0, 701)).await;
    assert!(store.attempts(JobId(10)).await.expect("reads work")[0].steps.is_empty());
    for wrong in [attempt(10, 1, 99), attempt(10, 2, 100), attempt(11, 1, 100), attempt(10, 1, 101)] {
        stale(&*store, set(wrong, 1, 702)).await;
    }
    done(&*store, end(10, 1, 100)).await;
    stale(&*store, set(attempt(10, 1, 100), 1, 703)).await;
    assert_eq!(store.attempts(JobId(10)).await.expect("reads work")[0].steps.len(), 2);
}

/// An attempt takes one end, with everything the runner said.
pub async fn attempt_ends_once(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, create(1, &[10])).await;
    done(&*store, lease(1, 10, 1, 100)).await;
    stale(&*store, end(10, 1, 99)).await;
    stale(&*store, end(10, 2, 100)).await;
    done(&*store, end(10, 1, 100)).await;
    let ended = store.attempts(JobId(10)).await.expect("reads work").remove(0);
    assert_eq!(ended.finished_at, Some(at(13)));
    assert_eq!(ended.conclusion, Some(Conclusion::Success));
    assert_eq!(*ended.steps, [step(0), step(1)]);
    assert_eq!(ended.result.as_deref(), Some(&result(Conclusion::Success)));
    assert_eq!(ended.log_bytes, 4096);
    assert_eq!(ended.boundary, Some(result(Conclusion::Success).boundary));
    assert_eq!(job_of(&*store, 10).await.status, Status::Running, "the job is moved by another operation");
    stale(&*store, end(10, 1, 100)).await;
    assert_eq!(store.attempts(JobId(10)).await.expect("reads work"), [ended]);
}

/// The result of a stale attempt does not complete or requeue the job within the same call.
pub async fn stale_end_completes_nothing(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, create(1, &[10, 11])).await;
    done(&*store, lease(1, 10, 1, 100)).await;
    let requeue = Op::RequeueJob { job: JobId(10), not_before: at(1), change: 1 };
    let ops =
        vec![end(10, 1, 99), complete(10, Conclusion::Success), requeue, complete(11, Conclusion::Cancelled)];
    let answers = store.apply(ops).await.expect("the store takes writes");
    assert_eq!(answers[0], Err(OpError::Stale(attempt(10, 1, 99))));
    assert!(matches!(answers[1], Err(OpError::Failed(_))), "{:?}", answers[1]);
    assert!(matches!(answers[2], Err(OpError::Failed(_))), "{:?}", answers[2]);
    assert_eq!(answers[3], Ok(OpOk::Done), "another job is not affected");
    assert_eq!(job_of(&*store, 10).await.status, Status::Running);
    assert_eq!(store.open_attempts().await.expect("reads work").len(), 1);
    let right = vec![end(10, 1, 100), complete(10, Conclusion::Success)];
    assert_eq!(store.apply(right).await.expect("the store takes writes"), [Ok(OpOk::Done), Ok(OpOk::Done)]);
}

/// A lost attempt is followed by another; the first one is fenced.
pub async fn requeue_and_second_attempt(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, create(1, &[10])).await;
    let requeue = |job| Op::RequeueJob { job: JobId(job), not_before: at(30), change: 600 };
    conflict(&*store, requeue(10)).await;
    missing(&*store, requeue(11)).await;
    done(&*store, lease(1, 10, 1, 100)).await;
    conflict(&*store, requeue(10)).await;
    let lost = Op::EndAttempt {
        end: Box::new(AttemptEnd {
            attempt: attempt(10, 1, 100),
            conclusion: Conclusion::Failure,
            reason: Some(Reason::RunnerLost),
            message: Some("no contact".to_owned()),
            at: at(20),
            steps: None,
            result: None,
        }),
        change: 599,
    };
    done(&*store, Op::SetSteps { attempt: attempt(10, 1, 100), steps: Arc::new(vec![step(0)]), change: 1 })
        .await;
    done(&*store, lost).await;
    done(&*store, requeue(10)).await;
    let job = job_of(&*store, 10).await;
    assert_eq!(
        (job.status, job.not_before, job.attempt, job.queued_at, job.change),
        (Status::Waiting, Some(at(30)), 1, None, 600)
    );
    conflict(&*store, requeue(10)).await;
    done(&*store, Op::QueueJob { job: JobId(10), at: at(31), change: 601 }).await;
    conflict(&*store, lease(1, 10, 1, 101)).await;
    done(&*store, lease(1, 10, 2, 101)).await;
    stale(&*store, end(10, 1, 100)).await;
    stale(&*store, Op::SetSteps { attempt: attempt(10, 1, 100), steps: Arc::default(), change: 1 }).await;
    done(&*store, end(10, 2, 101)).await;
    let attempts = store.attempts(JobId(10)).await.expect("reads work");
    assert_eq!(attempts.iter().map(|a| a.id.attempt).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(attempts[0].reason, Some(Reason::RunnerLost));
    assert_eq!(attempts[0].message.as_deref(), Some("no contact"));
    assert_eq!((attempts[0].result.as_ref(), attempts[0].boundary.as_ref()), (None, None));
    assert_eq!(*attempts[0].steps, [step(0)], "an end without steps keeps those reported before");
}

/// A job reaches one conclusion and never leaves it.
pub async fn job_completes_once(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, create(1, &[10, 11])).await;
    done(&*store, lease(1, 10, 1, 100)).await;
    done(&*store, complete(10, Conclusion::Failure)).await;
    let job = job_of(&*store, 10).await;
    assert_eq!(job.status, Status::Completed);
    assert_eq!(job.conclusion, Some(Conclusion::Failure));
    assert_eq!((job.reason, job.exit_code), (Some(Reason::ExitCode), Some(3)));
    assert_eq!((job.message.as_deref(), job.finished_at), (Some("why"), Some(at(14))));
    assert_eq!(job.outputs.keys().collect::<Vec<_>>(), ["z", "a"], "outputs keep their order");
    conflict(&*store, complete(10, Conclusion::Success)).await;
    conflict(&*store, Op::QueueJob { job: JobId(10), at: at(1), change: 1 }).await;
    conflict(&*store, Op::RequeueJob { job: JobId(10), not_before: at(1), change: 1 }).await;
    conflict(&*store, lease(1, 10, 2, 101)).await;
    let resolve = Op::ResolveJob { row: Box::new(job_row(10, 1)), payload: Box::new(job_payload("x")) };
    conflict(&*store, resolve).await;
    assert_eq!(job_of(&*store, 10).await, job);
    missing(&*store, complete(12, Conclusion::Success)).await;
    let answers =
        store.apply(vec![complete(11, Conclusion::Skipped), complete(11, Conclusion::Failure)]).await;
    let answers = answers.expect("the store takes writes");
    assert_eq!(answers[0], Ok(OpOk::Done));
    assert!(matches!(answers[1], Err(OpError::Conflict(_))), "operations of one call see each other");
    assert_eq!(job_of(&*store, 11).await.conclusion, Some(Conclusion::Skipped));
    // The attempt of a job that was completed over its head can still be closed.
    done(&*store, end(10, 1, 100)).await;
}

/// A cancellation is noted once, while the job is open.
pub async fn cancellation_of_a_job(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, create(1, &[10])).await;
    let cancel = |job, change| Op::RequestJobCancel { job: JobId(job), change };
    done(&*store, cancel(10, 70)).await;
    unchanged(&*store, cancel(10, 71)).await;
    let job = job_of(&*store, 10).await;
    assert_eq!((job.cancel_requested, job.change), (true, 70));
    missing(&*store, cancel(11, 72)).await;
    done(&*store, complete(10, Conclusion::Cancelled)).await;
    conflict(&*store, cancel(10, 73)).await;
}

/// The latest attempt of each job; the attempts that are not finished.
pub async fn latest_and_open_attempts(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, create(1, &[10, 11, 12])).await;
    done(&*store, create(2, &[20])).await;
    let setup = vec![
        lease(1, 10, 1, 100),
        end(10, 1, 100),
        Op::RequeueJob { job: JobId(10), not_before: at(1), change: 1 },
        Op::QueueJob { job: JobId(10), at: at(1), change: 1 },
        lease(1, 10, 2, 103),
        lease(1, 11, 1, 101),
        end(11, 1, 101),
        lease(2, 20, 1, 102),
    ];
    let answers = store.apply(setup).await.expect("the store takes writes");
    assert!(answers.iter().all(|a| *a == Ok(OpOk::Done)), "{answers:?}");
    let latest = store.latest_attempts(RunId(1)).await.expect("reads work");
    assert_eq!(latest.iter().map(|a| a.id).collect::<Vec<_>>(), [attempt(10, 2, 103), attempt(11, 1, 101)]);
    let mut open: Vec<_> =
        store.open_attempts().await.expect("reads work").into_iter().map(|a| a.id).collect();
    open.sort_unstable();
    assert_eq!(open, [attempt(10, 2, 103), attempt(20, 1, 102)]);
    assert!(store.latest_attempts(RunId(3)).await.expect("reads work").is_empty());
}

/// `since` leaves out what did not change.
pub async fn changed_jobs_since(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, create(1, &[10, 11, 12])).await;
    done(&*store, lease(1, 11, 1, 100)).await;
    let since = async |change| {
        let jobs = store.run_jobs(RunId(1), Some(change)).await.expect("reads work");
        jobs.into_iter().map(|j| j.id.0).collect::<Vec<_>>()
    };
    assert_eq!(since(0).await, [10, 11, 12]);
    assert_eq!(since(10).await, [11, 12]);
    assert_eq!(since(12).await, [11]);
    assert!(since(1100).await.is_empty());
}

/// Completed jobs are counted per runner and conclusion; deleting runs does not change that.
pub async fn totals_of_a_runner(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, create(1, &[10, 11, 12, 13])).await;
    for (job, epoch) in [(10, 100), (11, 101), (12, 102)] {
        done(&*store, lease(1, job, 1, epoch)).await;
    }
    done(&*store, complete(10, Conclusion::Success)).await;
    done(&*store, complete(11, Conclusion::Success)).await;
    done(&*store, complete(12, Conclusion::Failure)).await;
    done(&*store, complete(13, Conclusion::Skipped)).await;
    conflict(&*store, complete(13, Conclusion::Skipped)).await;
    let totals = async || {
        let mut all = store.runner_totals(Some(RunnerId(5))).await.expect("reads work");
        assert_eq!(store.runner_totals(None).await.expect("reads work"), all);
        all.sort_unstable();
        all
    };
    let expected = [(RunnerId(5), Conclusion::Success, 2), (RunnerId(5), Conclusion::Failure, 1)];
    assert_eq!(totals().await, expected);
    done(&*store, complete_run(1)).await;
    done(&*store, Op::DeleteRun(RunId(1))).await;
    assert_eq!(totals().await, expected);
    assert!(store.runner_totals(Some(RunnerId(6))).await.expect("reads work").is_empty());
}
