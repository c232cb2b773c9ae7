//! Steps that are stopped: cancellation, timeouts, fencing; and what tries to survive.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Job, alive, eventually, run_step};
use fleetfoot_model::spec::Limits;
use fleetfoot_model::state::{Conclusion, Reason};
use std::sync::Arc;
use std::time::{Duration, Instant};

const STUBBORN: &str = "trap '' INT TERM; echo ready; while :; do sleep 0.02; done";

/// Runs a job and does something once it has printed `ready`.
async fn when_ready(job: &Job, then: impl FnOnce()) -> (fleetfoot_model::sync::AttemptResult, Duration) {
    let acted = async {
        eventually("the step is ready", || job.sink.out().contains("ready")).await;
        then();
        Instant::now()
    };
    let (result, since) = tokio::join!(job.run(), acted);
    (result, since.elapsed())
}

#[tokio::test]
async fn cancellation_climbs_the_ladder_and_then_runs_what_must_run() {
    let mut steps = vec![
        run_step("stubborn", STUBBORN),
        run_step("default", "echo no"),
        run_step("failed", "echo no"),
        run_step("cancelled", "echo cancelled ${{ job.status }}"),
        run_step("always", "echo always"),
    ];
    steps[2].condition = Some("failure()".into());
    steps[3].condition = Some("cancelled()".into());
    steps[4].condition = Some("always()".into());
    let job = Job::new(steps);
    let (result, took) = when_ready(&job, || job.cancel.cancel()).await;
    assert_eq!((result.conclusion, result.reason), (Conclusion::Cancelled, Some(Reason::Cancelled)));
    assert!(took > Duration::from_millis(600) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(job.sink.out(), "ready\ncancelled cancelled\nalways\n");
    let step = job.step("stubborn");
    assert_eq!((step.conclusion, step.reason), (Some(Conclusion::Cancelled), Some(Reason::Cancelled)));
}

#[tokio::test]
async fn a_step_that_follows_sigint_ends_at_once() {
    let job = Job::script("trap 'echo bye; exit 9' INT; echo ready; while :; do sleep 0.02; done");
    let (result, took) = when_ready(&job, || job.cancel.cancel()).await;
    assert_eq!(result.conclusion, Conclusion::Cancelled);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(job.sink.out().ends_with("bye\n"));
    assert_eq!(job.step("it").exit_code, Some(9));
}

#[tokio::test]
async fn cleaning_up_after_a_cancellation_has_an_end() {
    let mut steps = vec![run_step("it", STUBBORN), run_step("endless", "sleep 600")];
    steps[1].condition = Some("always()".into());
    let mut job = Job::new(steps);
    job.spec().cancel_timeout_seconds = 1;
    let (result, took) = when_ready(&job, || job.cancel.cancel()).await;
    assert_eq!(result.conclusion, Conclusion::Cancelled);
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(job.step("endless").conclusion, Some(Conclusion::Cancelled));
}

#[tokio::test]
async fn a_fenced_attempt_is_gone_at_once() {
    let mut steps = vec![run_step("it", STUBBORN), run_step("always", "echo no")];
    steps[1].condition = Some("always()".into());
    let job = Job::new(steps);
    let (result, took) = when_ready(&job, || job.kill.cancel()).await;
    assert_eq!(result.conclusion, Conclusion::Cancelled);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(job.sink.out(), "ready\n");
    for pid in job.sink.pids.lock().unwrap().iter() {
        assert!(!alive(*pid));
    }
}

#[tokio::test]
async fn a_cancellation_before_the_first_step_runs_nothing() {
    let job = Job::script("echo no");
    job.cancel.cancel();
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Cancelled);
    assert_eq!(job.sink.out(), "");
    assert_eq!(job.step("it").conclusion, Some(Conclusion::Skipped));
}

#[tokio::test]
async fn timeouts_of_step_job_and_silence() {
    let mut step = run_step("it", "sleep 600");
    step.timeout_minutes = Some("${{ 0.3 / 60 }}".into());
    // There is no division in the language: the text is a bad expression.
    let job = Job::new(vec![step.clone()]);
    assert_eq!(job.run().await.reason, Some(Reason::BadSpecification));

    step.timeout_minutes = Some("0.005".into());
    let job = Job::new(vec![step, run_step("next", "echo no")]);
    let result = job.run().await;
    assert_eq!((result.conclusion, result.reason), (Conclusion::TimedOut, Some(Reason::Timeout)));
    assert_eq!(job.step("it").message.as_deref(), Some("the step took longer than 0.3 s"));
    assert_eq!(job.step("next").conclusion, Some(Conclusion::Skipped));

    let mut always = run_step("always", "echo always");
    always.condition = Some("always()".into());
    let mut job = Job::new(vec![run_step("it", "sleep 600"), always]);
    job.spec().timeout_seconds = 1;
    let result = job.run().await;
    assert_eq!((result.conclusion, result.reason), (Conclusion::TimedOut, Some(Reason::Timeout)));
    assert_eq!(job.step("it").message.as_deref(), Some("the job took longer than 1 s"));
    assert_eq!(job.sink.out(), "always\n");

    let mut job = Job::script("for i in 1 2 3 4 5 6 7; do echo $i; sleep 0.2; done; sleep 600");
    job.spec().idle_timeout_seconds = Some(1);
    let result = job.run().await;
    assert_eq!((result.conclusion, result.reason), (Conclusion::TimedOut, Some(Reason::Timeout)));
    assert_eq!(job.step("it").message.as_deref(), Some("the step printed nothing for 1 s"));
    assert!(job.sink.out().ends_with("7\n"));
}

#[tokio::test]
async fn a_child_that_keeps_the_output_open_does_not_hang_the_step() {
    let job = Job::new(vec![
        run_step("it", "sleep 600 & echo pid=$! >> $GITHUB_OUTPUT; echo done"),
        run_step("next", "kill -0 ${{ steps.it.outputs.pid }} && echo still there"),
    ]);
    let started = Instant::now();
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{}", job.sink.all());
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(job.step("it").leaked && !job.step("next").leaked);
    assert_eq!(job.sink.out(), "done\nstill there\n");
}

#[tokio::test]
async fn daemons_do_not_survive_the_job() {
    let mut job = Job::script(
        "(setsid sh -c 'echo $$; exec 1>&- 2>&-; trap \"\" TERM INT HUP; while :; do sleep 0.05; done' &) &\nsleep 0.3",
    );
    for _ in 0..2 {
        job.sink = Arc::default();
        let result = job.run().await;
        assert_eq!(result.conclusion, Conclusion::Success);
        let pid: u32 = job.sink.out().trim().parse().unwrap();
        assert!(!alive(pid), "the daemon lives");
        // Again, on a machine without control groups.
        let options = fleetfoot_driver_process::ProcessOptions {
            tag: format!("bare-{}", common::unique()),
            cgroups: false,
            ..Default::default()
        };
        job.driver = Arc::new(fleetfoot_driver_process::ProcessDriver::new(options).unwrap());
    }
}

#[tokio::test]
async fn a_fork_bomb_hits_the_limit_and_nothing_remains() {
    let mut step = run_step("it", "bomb() { bomb | bomb & }; bomb; sleep 600");
    step.timeout_minutes = Some("0.01".into());
    let mut job = Job::new(vec![step]);
    job.spec().limits = Limits { pids: Some(60), ..Limits::default() };
    let result = job.run().await;
    assert_eq!(result.boundary.limits["pids"], "60");
    assert_ne!(result.conclusion, Conclusion::Success);
    let name = job.assignment.attempt.to_string();
    let marker = format!("FLEETFOOT_ATTEMPT={name}");
    let left = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|e| std::fs::read(e.ok()?.path().join("environ")).ok())
        .filter(|e| e.split(|b| *b == 0).any(|v| v == marker.as_bytes()))
        .count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn out_of_memory_is_told_apart() {
    let mut job =
        Job::script("head -c 400000000 /dev/zero | tail -c 300000000 | wc -c; exit ${PIPESTATUS[1]}");
    job.spec().limits = Limits { memory_bytes: Some(64 << 20), ..Limits::default() };
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Failure, "{}", job.sink.all());
    if result.boundary.limits["memory_bytes"].contains("rlimit") {
        return;
    }
    assert_eq!(result.reason, Some(Reason::OutOfMemory), "{}", job.sink.all());
    assert_eq!(result.exit_code, Some(137));
}
