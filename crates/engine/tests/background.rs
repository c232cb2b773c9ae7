//! Background steps: that they run beside others, what waiting for them and
//! ending them does, and that none is left behind.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Job, eventually, run_step};
use fleetfoot_model::spec::{StepAction, StepSpec};
use fleetfoot_model::state::Conclusion;
use std::time::{Duration, Instant};

fn background(id: &str, script: &str) -> StepSpec {
    StepSpec { background: true, ..run_step(id, script) }
}

fn wait(id: &str, steps: &[&str]) -> StepSpec {
    let steps = steps.iter().map(|s| (*s).to_owned()).collect();
    StepSpec { action: StepAction::Wait { steps }, ..run_step(id, "") }
}

fn cancel(id: &str, step: &str) -> StepSpec {
    StepSpec { action: StepAction::Cancel { step: step.into() }, ..run_step(id, "") }
}

#[tokio::test]
async fn what_a_background_step_changes_is_seen_after_the_wait() {
    // The background step waits for the file that the next step makes: it can only end if both run.
    let job = Job::new(vec![
        background(
            "bg",
            "until [ -e go ]; do sleep 0.01; done; echo A=1 >> $GITHUB_ENV; echo o=2 >> $GITHUB_OUTPUT; echo behind",
        ),
        run_step("fg", "echo before A=$A o=${{ steps.bg.outputs.o }}; touch go"),
        wait("w", &["bg"]),
        run_step("after", "echo after A=$A o=${{ steps.bg.outputs.o }} ${{ steps.bg.conclusion }}"),
    ]);
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{}", job.sink.all());
    let out = job.sink.out();
    assert!(out.contains("before A= o=\n") && out.ends_with("after A=1 o=2 success\n"), "{out}");
    let log = job.sink.log.lock().unwrap();
    let behind = log.iter().find(|(_, _, bytes)| bytes.ends_with(b"behind\n")).unwrap();
    assert_eq!(behind.0, 0, "its lines carry its own number");
    drop(log);
    assert_eq!(job.step("w").name, "Wait");
}

#[tokio::test]
async fn a_failure_in_the_background_counts_at_the_wait() {
    let job = Job::new(vec![
        background("bg", "exit 7"),
        background("forgiven", "exit 8"),
        run_step("fg", "echo goes on"),
        wait("w", &[]),
        run_step("after", "echo not this"),
    ]);
    let mut job = job;
    job.spec().steps[1].continue_on_error = Some("true".into());
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Failure);
    assert_eq!(result.message.as_deref(), Some("step 'Run exit 7': exit code 7"));
    assert_eq!(job.sink.out(), "goes on\n");
    assert_eq!(job.step("w").conclusion, Some(Conclusion::Failure));
    assert_eq!(job.step("after").conclusion, Some(Conclusion::Skipped));
    assert_eq!(job.step("forgiven").conclusion, Some(Conclusion::Success));
}

#[tokio::test]
async fn nobody_has_to_wait_but_the_job_does() {
    let mut job = Job::new(vec![
        background("bg", "until [ -e go ]; do sleep 0.01; done; echo o=late >> $GITHUB_OUTPUT"),
        run_step("fg", "touch go"),
    ]);
    job.spec().outputs.insert("o".into(), "${{ steps.bg.outputs.o }}".into());
    let result = job.run().await;
    assert_eq!(result.outputs["o"], "late");
}

#[tokio::test]
async fn a_cancelled_background_step_is_no_failure() {
    let job = Job::new(vec![
        background("bg", "touch begun; sleep 60"),
        run_step("fg", "until [ -e begun ]; do sleep 0.01; done"),
        cancel("c", "bg"),
        run_step("after", "echo ${{ steps.bg.conclusion }}"),
        cancel("again", "bg"),
    ]);
    let started = Instant::now();
    let result = job.run().await;
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(result.conclusion, Conclusion::Success, "{}", job.sink.all());
    assert_eq!(job.sink.out(), "cancelled\n");
    assert_eq!(job.step("bg").conclusion, Some(Conclusion::Cancelled));
    assert!(job.sink.all().contains("does not run in the background any more"));
}

#[tokio::test]
async fn the_end_of_the_job_ends_the_background() {
    let job =
        Job::new(vec![background("bg", "touch begun; sleep 60"), run_step("fg", "sleep 60"), wait("w", &[])]);
    let (begun, cancel) = (job.workspace().join("begun"), job.cancel.clone());
    let canceller = tokio::spawn(async move {
        eventually("the background step begins", || begun.exists()).await;
        cancel.cancel();
    });
    let result = job.run().await;
    canceller.await.unwrap();
    assert_eq!(result.conclusion, Conclusion::Cancelled);
    assert_eq!(job.step("bg").conclusion, Some(Conclusion::Cancelled));
    assert_eq!(job.step("w").conclusion, Some(Conclusion::Skipped));
}

#[tokio::test]
async fn a_wait_has_its_own_timeout() {
    let mut job = Job::new(vec![
        background("bg", "until [ -e go ]; do sleep 0.01; done; echo done"),
        wait("w", &["bg"]),
        run_step("fg", "touch go"),
    ]);
    job.spec().steps[1].timeout_minutes = Some("0.002".into());
    job.spec().steps[2].condition = Some("always()".into());
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::TimedOut);
    assert_eq!(job.step("w").conclusion, Some(Conclusion::TimedOut));
    assert_eq!(job.step("bg").conclusion, Some(Conclusion::Success));
}

#[tokio::test]
async fn ten_run_at_a_time() {
    // Each notes how many there are; the eleventh has to wait for one of the others to end.
    let script = "mkdir -p on; touch on/$NAME; ls on | wc -l >> counts; \
                  [ $NAME = s0 ] || until [ -e go ]; do sleep 0.01; done; rm on/$NAME";
    let mut steps: Vec<StepSpec> = (0..12)
        .map(|at| {
            let mut step = background(&format!("s{at}"), script);
            step.env.insert("NAME".into(), format!("s{at}"));
            step
        })
        .collect();
    steps.push(run_step("fg", "until [ $(wc -l < counts) -ge 11 ]; do sleep 0.01; done; touch go"));
    steps.push(wait("w", &[]));
    steps.push(run_step("most", "sort -n counts | tail -1"));
    let job = Job::new(steps);
    assert_eq!(job.run().await.conclusion, Conclusion::Success, "{}", job.sink.all());
    assert_eq!(job.sink.out().trim(), "10");
}
