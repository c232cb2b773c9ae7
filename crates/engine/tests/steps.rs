//! Steps that end in every way a step can end, and what follows for the job.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Job, run_step};
use fleetfoot_model::logs::Stream;
use fleetfoot_model::spec::StepAction;
use fleetfoot_model::state::{Conclusion, Reason, Status};

#[tokio::test]
async fn output_and_errors_keep_the_order_in_which_they_were_written() {
    let job = Job::script("for i in $(seq 200); do echo out $i; echo err $i >&2; done");
    assert_eq!(job.run().await.conclusion, Conclusion::Success);
    let expected: String = (1..=200).map(|i| format!("out {i}\nerr {i}\n")).collect();
    assert_eq!(job.sink.out(), expected);
}

#[tokio::test]
async fn errors_are_kept_apart_where_that_is_configured() {
    let mut job = Job::script("echo one; echo two >&2");
    job.config.separate_stderr = true;
    assert_eq!(job.run().await.conclusion, Conclusion::Success);
    assert_eq!(job.sink.out(), "one\n");
    assert_eq!(job.sink.stream(Stream::Stderr), b"two\n");
}

#[tokio::test]
async fn a_job_runs_its_steps_in_order() {
    let mut job = Job::new(vec![
        run_step("a", "echo one; echo two >&2; echo \"x=42\" >> $GITHUB_OUTPUT"),
        run_step("b", "echo \"got ${{ steps.a.outputs.x }}\"; pwd"),
    ]);
    job.spec().outputs.insert("answer".into(), "${{ steps.a.outputs.x }}".into());
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{result:?}");
    assert_eq!(result.outputs["answer"], "42");
    assert_eq!(job.sink.out(), format!("one\ntwo\ngot 42\n{}\n", job.workspace().display()));
    assert_eq!(result.log_bytes as usize, job.sink.all().len());
    let step = job.step("b");
    assert_eq!(
        (step.status, step.conclusion, step.exit_code),
        (Status::Completed, Some(Conclusion::Success), Some(0))
    );
    assert_eq!(step.name, "Run echo \"got 42\"; pwd");
    assert!(step.started_at.is_some() && step.finished_at >= step.started_at);
    assert!(step.usage.max_rss_bytes > 0);
    assert_eq!(job.sink.pids.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn ends_are_told_apart() {
    for (script, reason, code, signal, message) in [
        ("exit 3", Reason::ExitCode, Some(3), None, "exit code 3"),
        ("kill -SEGV $$", Reason::Signal, None, Some(11), "ended by signal 11 (SIGSEGV)"),
        ("false\necho not reached", Reason::ExitCode, Some(1), None, "exit code 1"),
    ] {
        let job = Job::script(script);
        let result = job.run().await;
        assert_eq!(result.conclusion, Conclusion::Failure, "{script}");
        assert_eq!((result.reason, result.exit_code), (Some(reason), code), "{script}");
        let step = job.step("it");
        assert_eq!((step.exit_code, step.signal, step.message.as_deref()), (code, signal, Some(message)));
        assert_eq!(job.sink.out(), "");
    }
}

#[tokio::test]
async fn a_failure_skips_what_follows_unless_it_asks_otherwise() {
    let mut steps = vec![
        run_step("forgiven", "exit 1"),
        run_step("seen", "echo ${{ steps.forgiven.outcome }}/${{ steps.forgiven.conclusion }}"),
        run_step("bad", "exit 7"),
        run_step("skipped", "echo no"),
        run_step("failure", "echo on-failure ${{ job.status }}"),
        run_step("always", "echo always"),
        run_step("guarded", "echo no"),
    ];
    steps[0].continue_on_error = Some("${{ 1 == 1 }}".into());
    steps[4].condition = Some("failure()".into());
    steps[5].condition = Some("${{ always() }}".into());
    steps[6].condition = Some("steps.seen.conclusion == 'success'".into());
    let job = Job::new(steps);
    let result = job.run().await;
    assert_eq!(job.sink.out(), "failure/success\non-failure failure\nalways\n");
    assert_eq!(result.conclusion, Conclusion::Failure);
    assert_eq!(result.exit_code, Some(7));
    assert_eq!(result.message.as_deref(), Some("step 'Run exit 7': exit code 7"));
    let forgiven = job.step("forgiven");
    assert_eq!(
        (forgiven.outcome, forgiven.conclusion),
        (Some(Conclusion::Failure), Some(Conclusion::Success))
    );
    for id in ["skipped", "guarded"] {
        assert_eq!(job.step(id).conclusion, Some(Conclusion::Skipped));
    }
}

#[tokio::test]
async fn bad_expressions_fail_the_step_with_a_message() {
    let mut condition = run_step("it", "echo no");
    condition.condition = Some("nonsense(".into());
    let mut shell = run_step("it", "echo no");
    shell.action =
        StepAction::Run { script: "x".into(), shell: Some("fish".into()), working_directory: None };
    let mut missing = run_step("it", "echo no");
    missing.action = StepAction::Run {
        script: "x".into(),
        shell: Some("no-such-shell {0}".into()),
        working_directory: None,
    };
    let mut directory = run_step("it", "echo no");
    directory.action =
        StepAction::Run { script: "x".into(), shell: None, working_directory: Some("no/where".into()) };
    for (step, reason, part) in [
        (condition, Reason::BadSpecification, "if: "),
        (run_step("it", "${{ nope.x }}"), Reason::BadSpecification, "run: "),
        (shell, Reason::BadSpecification, "the shell 'fish' is not known"),
        (missing, Reason::SetUpFailed, "the program 'no-such-shell' was not found in PATH"),
        (directory, Reason::SetUpFailed, "the working directory 'no/where' does not exist"),
    ] {
        let job = Job::new(vec![step]);
        let result = job.run().await;
        assert_eq!((result.conclusion, result.reason), (Conclusion::Failure, Some(reason)), "{part}");
        let message = job.step("it").message.unwrap();
        assert!(message.contains(part), "{message}");
        assert!(job.sink.all().contains(part), "the log says it too");
        assert_eq!(job.sink.out(), "");
    }
}
