//! Promises 1, 2, 3 and 7 at the control plane: fencing, lost answers, loss, restart.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use fleetfoot_model::api::{AssignJob, CompleteJob, RunnerStatus};
use fleetfoot_model::ids::Epoch;
use fleetfoot_model::logs::{Stream, frame_header};
use fleetfoot_model::state::{Conclusion, Reason, RunnerState, Status};
use fleetfoot_model::sync::Phase;
use fleetfoot_model::{Code, Timestamp};
use std::time::Duration;
use support::{ADMIN, Bench, report, result};

const ONE: &str = "on: push\njobs:\n  a:\n    runs-on: linux\n    steps:\n      - run: 'true'\n";
const RETRIED: &str = "on: push\njobs:\n  a:\n    runs-on: linux\n    retry:\n      max-attempts: 2\n      on: [lost-runner]\n      exit-codes: [75]\n      backoff-seconds: 0\n    steps:\n      - run: 'true'\n";

#[tokio::test]
async fn an_assignment_is_repeated_until_the_runner_lists_it() {
    let bench = Bench::new().await;
    bench.submit(ONE).await;
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let first = runner.take().await;
    // The answer was lost: the runner lists nothing.
    runner.reports.clear();
    runner.inbox.clear();
    let again = runner.sync(5_000).await;
    assert_eq!(again.assignments[0].attempt, first.attempt, "the same lease, not a second one");
    assert_eq!(again.assignments[0].job_token, first.job_token);
}

#[tokio::test]
async fn a_result_reported_twice_changes_nothing() {
    let bench = Bench::new().await;
    let created = bench.submit(ONE).await;
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let assignment = runner.take().await;
    runner.finish(assignment.attempt, Conclusion::Success).await;
    let before = bench.ended(created.run).await;
    // The acknowledgement was lost: it says it again, with another outcome even.
    let mut repeated = report(assignment.attempt, Phase::Finished);
    repeated.result = Some(Box::new(result(Conclusion::Failure)));
    runner.reports = vec![repeated];
    let answer = runner.sync(0).await;
    assert_eq!(answer.acknowledged, [assignment.attempt]);
    assert_eq!(bench.run(created.run).await, before);
}

#[tokio::test]
async fn a_write_with_a_foreign_epoch_is_refused_and_audited() {
    let bench = Bench::new().await;
    let created = bench.submit(ONE).await;
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let assignment = runner.take().await;
    let mut old = assignment.attempt;
    old.epoch = Epoch(old.epoch.0 - 1);
    let mut body = frame_header(3, Stream::Stdout, 0, Timestamp(1)).to_vec();
    body.extend(b"abc");
    let refused =
        bench.control.append_log(&runner.who, runner.id, old, 0, body.clone().into()).await.unwrap_err();
    assert_eq!(refused.code, Code::StaleAttempt);
    runner.reports.push(report(old, Phase::Running));
    assert_eq!(runner.sync(0).await.fenced, [old]);
    let ok =
        bench.control.append_log(&runner.who, runner.id, assignment.attempt, 0, body.into()).await.unwrap();
    assert_eq!(ok.offset, 3);
    let audit = bench.control.audit(&ADMIN, None, 10).await.unwrap();
    assert!(audit.items.iter().any(|e| e.action == "attempt.stale_write"), "{audit:?}");
    assert_eq!(bench.job(created.jobs[0].id).await.status, Status::Running);
}

#[tokio::test]
async fn an_attempt_that_its_runner_forgot_is_lost_and_retried_by_policy() {
    let bench = Bench::new().await;
    let created = bench.submit(RETRIED).await;
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let first = runner.take().await;
    runner.sync(0).await;
    runner.reports.clear();
    runner.inbox.clear();
    runner.instance = "r-2".to_owned();
    let second = runner.take().await;
    assert_eq!(second.attempt.attempt, 2);
    assert!(second.attempt.epoch > first.attempt.epoch);
    runner.sync(0).await;
    runner.reports.clear();
    runner.inbox.clear();
    runner.instance = "r-3".to_owned();
    runner.sync(0).await;
    let run = bench.ended(created.run).await;
    assert_eq!(run.conclusion, Some(Conclusion::Failure));
    assert_eq!(run.jobs.unwrap()[0].reason, Some(Reason::RunnerLost));
}

#[tokio::test]
async fn an_exit_code_of_the_policy_is_retried_and_another_is_not() {
    let bench = Bench::new().await;
    let created = bench.submit(RETRIED).await;
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let first = runner.take().await;
    let mut transient = result(Conclusion::Failure);
    transient.exit_code = Some(75);
    runner.finish_with(first.attempt, transient).await;
    let second = runner.take().await;
    assert_eq!(second.attempt.attempt, 2);
    runner.finish(second.attempt, Conclusion::Failure).await;
    assert_eq!(bench.ended(created.run).await.conclusion, Some(Conclusion::Failure));
    assert_eq!(bench.job(created.jobs[0].id).await.attempts.unwrap().len(), 2);
}

#[tokio::test]
async fn a_silent_runner_loses_its_lease_and_its_old_attempt_is_fenced() {
    let bench = Bench::with_lease(Duration::from_millis(300)).await;
    let created = bench.submit(ONE).await;
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let assignment = runner.take().await;
    runner.sync(0).await;
    let run = bench.ended(created.run).await;
    assert_eq!(run.jobs.unwrap()[0].reason, Some(Reason::RunnerLost));
    let back = runner.sync(0).await;
    assert_eq!(back.fenced, [assignment.attempt]);
}

#[tokio::test]
async fn a_restart_of_the_server_disturbs_nobody() {
    let bench = Bench::new().await;
    let created = bench.submit(ONE).await;
    let waiting = bench.submit(&ONE.replace("linux", "gpu")).await;
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let assignment = runner.take().await;
    let bench = bench.restart(&mut runner).await;
    runner.who = bench.control.authenticate(&runner.token).await.unwrap();
    let answer = runner.sync(0).await;
    assert!(answer.assignments.is_empty() && answer.fenced.is_empty(), "{answer:?}");
    runner.finish(assignment.attempt, Conclusion::Success).await;
    assert_eq!(bench.ended(created.run).await.conclusion, Some(Conclusion::Success));
    assert_eq!(bench.run(waiting.run).await.status, Status::Queued);
    let why = bench.control.why(&ADMIN, waiting.jobs[0].id).await.unwrap();
    assert!(!why.reasons.is_empty());
}

#[tokio::test]
async fn a_lease_that_never_reached_its_runner_is_offered_again_after_a_restart() {
    let bench = Bench::new().await;
    bench.submit(ONE).await;
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let first = runner.take().await;
    runner.reports.clear();
    runner.inbox.clear();
    let _bench = bench.restart(&mut runner).await;
    let again = runner.take().await;
    assert_eq!(again.attempt, first.attempt);
    assert_eq!(again.job_token, first.job_token);
}

#[tokio::test]
async fn a_newer_process_with_the_same_identity_fences_the_older() {
    let bench = Bench::new().await;
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let old = runner.instance.clone();
    runner.instance = "clone".to_owned();
    runner.sync(0).await;
    runner.instance = old;
    assert!(runner.sync(0).await.shut_down);
}

#[tokio::test]
async fn a_long_poll_is_answered_the_moment_there_is_work() {
    let bench = Bench::new().await;
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let waiting = tokio::spawn(async move {
        let answer = runner.sync(20_000).await;
        (answer, std::time::Instant::now())
    });
    // The wait has begun when the runner shows as idle and a sync is open; a submit then ends it.
    tokio::task::yield_now().await;
    let begun = std::time::Instant::now();
    bench.submit(ONE).await;
    let (answer, woken) = tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert_eq!(answer.assignments.len(), 1);
    assert!(woken.duration_since(begun) < Duration::from_secs(2));
}

#[tokio::test]
async fn a_runner_with_a_version_too_far_is_told_which_side_to_upgrade() {
    let bench = Bench::new().await;
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let mut request = runner.request(0);
    request.version = "9.9.0".to_owned();
    let problem = bench.control.sync(&runner.who, runner.id, request).await.unwrap_err();
    assert_eq!(problem.code, Code::VersionSkew);
    assert!(problem.detail.contains("upgrade the server"), "{problem}");
}

#[tokio::test]
async fn job_tokens_end_with_their_attempt() {
    let bench = Bench::new().await;
    bench.submit(ONE).await;
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let assignment = runner.take().await;
    assert!(bench.control.authenticate(&assignment.job_token).await.is_ok());
    runner.finish(assignment.attempt, Conclusion::Success).await;
    let refused = bench.control.authenticate(&assignment.job_token).await.unwrap_err();
    assert_eq!(refused.code, Code::Unauthorized);
}

#[tokio::test]
async fn a_plain_client_claims_and_completes() {
    let bench = Bench::new().await;
    let created = bench.submit(&ONE.replace("linux", "self-hosted")).await;
    let request = fleetfoot_model::api::CreateRunner {
        labels: vec!["self-hosted".into()],
        ..fleetfoot_model::api::CreateRunner::default()
    };
    let plain = bench.control.create_runner(&ADMIN, request).await.unwrap();
    let who = bench.control.authenticate(&plain.token).await.unwrap();
    let idle = RunnerStatus { status: RunnerState::Idle, message: None };
    let view = bench.control.set_runner_status(&who, plain.id, idle).await.unwrap();
    assert_eq!(view.state, RunnerState::Idle);
    let job = bench.control.assign_job(&who, plain.id, AssignJob::default()).await.unwrap().unwrap();
    assert_eq!(bench.control.runner(&ADMIN, plain.id).await.unwrap().state, RunnerState::Busy);
    let done = CompleteJob {
        job_id: job.attempt.job,
        attempt: None,
        conclusion: Conclusion::Success,
        message: None,
        exit_code: Some(0),
        outputs: indexmap::IndexMap::new(),
        steps: Vec::new(),
    };
    bench.control.complete_job(&who, plain.id, done.clone()).await.unwrap();
    bench.control.complete_job(&who, plain.id, done).await.expect("again is fine");
    assert_eq!(bench.ended(created.run).await.conclusion, Some(Conclusion::Success));
    assert!(bench.control.assign_job(&who, plain.id, AssignJob::default()).await.unwrap().is_none());
}
