//! Runs from submit to conclusion: graphs, matrices, cancellation, groups, re-runs.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use fleetfoot_model::Code;
use fleetfoot_model::api::{CancelRun, CreateRun, Rerun};
use fleetfoot_model::state::{Conclusion, Reason, Status};
use fleetfoot_model::why::WhyReason;
use indexmap::IndexMap;
use support::{ADMIN, Bench, result};

const ONE: &str = "on: push\njobs:\n  a:\n    runs-on: linux\n    steps:\n      - run: 'true'\n";

const CHAIN: &str = "
on: push
jobs:
  build:
    runs-on: linux
    outputs:
      version: ${{ steps.v.outputs.version }}
    steps:
      - id: v
        run: echo version=1 >> $GITHUB_OUTPUT
  test:
    needs: build
    runs-on: linux
    strategy:
      matrix:
        shard: ${{ fromJSON(needs.build.outputs.shards) }}
    steps:
      - run: 'true'
  report:
    needs: [build, test]
    if: always()
    runs-on: linux
    steps:
      - run: 'true'
";

#[tokio::test]
async fn one_job_runs_to_success() {
    let bench = Bench::new().await;
    let created = bench.submit(ONE).await;
    let job = created.jobs[0].id;
    assert_eq!(bench.job(job).await.status, Status::Queued);
    let mut runner = bench.runner("r", &["linux", "x64"], 1).await;
    let assignment = runner.take().await;
    assert_eq!(assignment.attempt.job, job);
    assert_eq!(bench.job(job).await.status, Status::Running);
    let answer = runner.finish(assignment.attempt, Conclusion::Success).await;
    assert_eq!(answer.acknowledged, [assignment.attempt]);
    let run = bench.ended(created.run).await;
    assert_eq!((run.status, run.conclusion), (Status::Completed, Some(Conclusion::Success)));
    let job = bench.job(job).await;
    assert_eq!(job.exit_code, Some(0));
    assert_eq!(job.attempts.unwrap().len(), 1);
}

#[tokio::test]
async fn a_matrix_from_outputs_expands_when_its_needs_end() {
    let bench = Bench::new().await;
    let created = bench.submit(CHAIN).await;
    assert_eq!(created.jobs.len(), 3, "one placeholder for the matrix: {created:?}");
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let build = runner.take().await;
    let mut done = result(Conclusion::Success);
    done.outputs = IndexMap::from([("shards".to_owned(), "[1, 2, 3]".to_owned())]);
    runner.finish_with(build.attempt, done).await;
    let keys = runner.work(4, Conclusion::Success).await;
    assert_eq!(keys, ["test", "test", "test", "report"]);
    let run = bench.ended(created.run).await;
    assert_eq!(run.conclusion, Some(Conclusion::Success));
    let names: Vec<String> = run.jobs.unwrap().into_iter().map(|j| j.name).collect();
    assert!(names.contains(&"test (3)".to_owned()), "{names:?}");
}

#[tokio::test]
async fn a_failure_skips_what_needs_it_but_not_what_always_runs() {
    let bench = Bench::new().await;
    let created = bench.submit(CHAIN).await;
    let mut runner = bench.runner("r", &["linux"], 1).await;
    assert_eq!(runner.work(1, Conclusion::Failure).await, ["build"]);
    assert_eq!(runner.work(1, Conclusion::Success).await, ["report"]);
    let run = bench.ended(created.run).await;
    assert_eq!(run.conclusion, Some(Conclusion::Failure));
    let jobs = run.jobs.unwrap();
    let test = jobs.iter().find(|j| j.key == "test").unwrap();
    assert_eq!(test.conclusion, Some(Conclusion::Skipped));
}

#[tokio::test]
async fn fail_fast_cancels_the_other_legs() {
    let bench = Bench::new().await;
    let created = bench
        .submit("on: push\njobs:\n  t:\n    runs-on: linux\n    strategy:\n      matrix:\n        n: [1, 2, 3]\n    steps:\n      - run: 'true'\n")
        .await;
    let mut runner = bench.runner("r", &["linux"], 2).await;
    let (one, two) = (runner.take().await, runner.take().await);
    let answer = runner.finish(one.attempt, Conclusion::Failure).await;
    assert_eq!(answer.cancel, [two.attempt], "the running leg is to be cancelled");
    runner.finish(two.attempt, Conclusion::Cancelled).await;
    let run = bench.ended(created.run).await;
    assert_eq!(run.conclusion, Some(Conclusion::Failure));
    let queued = &run.jobs.unwrap()[2];
    assert_eq!((queued.conclusion, queued.reason), (Some(Conclusion::Cancelled), Some(Reason::FailFast)));
}

#[tokio::test]
async fn cancelling_ends_waiting_jobs_at_once_and_running_ones_through_their_runner() {
    let bench = Bench::new().await;
    let created = bench.submit(CHAIN).await;
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let build = runner.take().await;
    runner.sync(0).await;
    bench.control.cancel_run(&ADMIN, created.run, CancelRun::default()).await.unwrap();
    let told = runner.sync(5_000).await;
    assert_eq!(told.cancel, [build.attempt]);
    runner.finish(build.attempt, Conclusion::Cancelled).await;
    // `report` says always(): it runs even now.
    assert_eq!(runner.work(1, Conclusion::Success).await, ["report"]);
    let run = bench.ended(created.run).await;
    assert_eq!(run.conclusion, Some(Conclusion::Cancelled));
    let again = bench.control.cancel_run(&ADMIN, created.run, CancelRun::default()).await.unwrap_err();
    assert_eq!(again.code, Code::Conflict);
}

#[tokio::test]
async fn a_queued_run_is_cancelled_without_any_runner() {
    let bench = Bench::new().await;
    let created = bench.submit(ONE).await;
    bench.control.cancel_run(&ADMIN, created.run, CancelRun::default()).await.unwrap();
    assert_eq!(bench.ended(created.run).await.conclusion, Some(Conclusion::Cancelled));
}

#[tokio::test]
async fn a_run_level_group_holds_the_next_run_and_supersedes_the_pending_one() {
    let bench = Bench::new().await;
    let document = format!("concurrency: deploy\n{ONE}");
    let first = bench.submit(&document).await;
    let second = bench.submit(&document).await;
    let third = bench.submit(&document).await;
    assert_eq!(bench.ended(second.run).await.conclusion, Some(Conclusion::Cancelled), "superseded");
    assert_eq!(bench.run(third.run).await.status, Status::Waiting);
    let why = bench.control.why(&ADMIN, third.jobs[0].id).await.unwrap();
    assert!(
        matches!(&why.reasons[0], WhyReason::ConcurrencyGroup { group, .. } if group == "deploy"),
        "{why:?}"
    );
    let mut runner = bench.runner("r", &["linux"], 2).await;
    let one = runner.take().await;
    assert_eq!(one.run, first.run);
    runner.finish(one.attempt, Conclusion::Success).await;
    let next = runner.take().await;
    assert_eq!(next.run, third.run);
    runner.finish(next.attempt, Conclusion::Success).await;
    assert_eq!(bench.ended(third.run).await.conclusion, Some(Conclusion::Success));
}

#[tokio::test]
async fn a_rerun_of_the_failed_jobs_keeps_the_others() {
    let bench = Bench::new().await;
    let created = bench.submit(CHAIN).await;
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let build = runner.take().await;
    let mut done = result(Conclusion::Success);
    done.outputs = IndexMap::from([("shards".to_owned(), "[1]".to_owned())]);
    runner.finish_with(build.attempt, done).await;
    assert_eq!(runner.work(1, Conclusion::Failure).await, ["test"]);
    assert_eq!(runner.work(1, Conclusion::Success).await, ["report"]);
    bench.ended(created.run).await;
    let again =
        bench.control.rerun(&ADMIN, created.run, Rerun { failed_only: true, debug: false }).await.unwrap();
    assert_eq!(runner.work(1, Conclusion::Success).await, ["test"]);
    let run = bench.ended(again.run).await;
    assert_eq!(
        (run.conclusion, run.rerun_of, run.attempt),
        (Some(Conclusion::Success), Some(created.run), 2)
    );
}

#[tokio::test]
async fn a_run_without_a_failed_job_has_none_to_repeat() {
    let bench = Bench::new().await;
    let one = "on: push\njobs:\n  a:\n    runs-on: linux\n    steps:\n      - run: make\n";
    let mut runner = bench.runner("r", &["linux"], 1).await;
    for document in [one, CHAIN] {
        let created = bench.submit(document).await;
        while bench.run(created.run).await.conclusion.is_none() {
            let job = runner.take().await;
            let mut done = result(Conclusion::Success);
            done.outputs = IndexMap::from([("shards".to_owned(), "[1]".to_owned())]);
            runner.finish_with(job.attempt, done).await;
        }
        let refused =
            bench.control.rerun(&ADMIN, created.run, Rerun { failed_only: true, debug: false }).await;
        assert_eq!(refused.unwrap_err().code, fleetfoot_model::Code::Conflict, "{document}");
    }
}

#[tokio::test]
async fn why_names_the_label_that_nobody_offers() {
    let bench = Bench::new().await;
    let created = bench.submit(&ONE.replace("linux", "[linux, gpu]")).await;
    bench.runner("near", &["linux"], 1).await;
    let why = bench.control.why(&ADMIN, created.jobs[0].id).await.unwrap();
    let WhyReason::LabelsNotOffered { nobody_offers, nearest } = &why.reasons[0] else { panic!("{why:?}") };
    assert_eq!(nobody_offers, &["gpu"]);
    assert_eq!(nearest[0].name, "near");
}

#[tokio::test]
async fn secrets_reach_the_runner_and_nobody_else() {
    let bench = Bench::new().await;
    let request = CreateRun {
        kind: "workflow".to_owned(),
        document: ONE.to_owned(),
        secrets: IndexMap::from([("TOKEN".to_owned(), "correct-horse".to_owned())]),
        ..CreateRun::default()
    };
    let created = bench.create(request).await.unwrap();
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let assignment = runner.take().await;
    assert_eq!(assignment.secrets["TOKEN"], "correct-horse");
    let shown = serde_json::to_string(&bench.run(created.run).await).unwrap();
    assert!(!shown.contains("correct-horse"));
    for entry in std::fs::read_dir(bench.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let clear = bytes.windows(13).any(|w| w == b"correct-horse");
            assert!(!clear, "{} holds the secret in clear", path.display());
        }
    }
}

#[tokio::test]
async fn a_bad_document_is_refused_with_its_place() {
    let bench = Bench::new().await;
    let problem = bench.try_submit("on: push\njobs:\n  a:\n    runs-onn: x\n").await.unwrap_err();
    assert_eq!(problem.code, Code::BadDocument);
    assert!(problem.errors.iter().any(|e| e.line == 4), "{problem:?}");
}
