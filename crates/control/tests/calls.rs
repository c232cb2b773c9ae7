//! Runs of documents that call others: sent along, found elsewhere, or missing.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use async_trait::async_trait;
use fleetfoot_control::WorkflowLoader;
use fleetfoot_model::api::{CreateRun, Rerun};
use fleetfoot_model::state::Conclusion;
use fleetfoot_model::{Code, Problem};
use indexmap::IndexMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{ADMIN, Bench, result};

const CALLED: &str = "on:
  workflow_call:
    inputs: {n: {type: number}}
    outputs: {sum: {value: '${{ jobs.two.outputs.sum }}-${{ inputs.n }}'}}
jobs:
  one: {runs-on: linux, steps: [{run: make}]}
  two: {needs: one, runs-on: linux, outputs: {sum: x}, steps: [{run: make}]}
";

fn document(uses: &str) -> String {
    format!(
        "on: push\njobs:\n  call: {{uses: {uses}, with: {{n: 3}}}}\n  after:\n    needs: call\n    if: needs.call.outputs.sum == '5-3'\n    runs-on: linux\n    steps: [{{run: make}}]\n"
    )
}

fn request(document: String, files: &[(&str, &str)]) -> CreateRun {
    CreateRun {
        kind: "workflow".to_owned(),
        document,
        path: Some("ci.yml".to_owned()),
        files: files.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..CreateRun::default()
    }
}

/// Finds everything, and counts.
#[derive(Debug, Default)]
struct Double(AtomicUsize);

#[async_trait]
impl WorkflowLoader for Double {
    async fn load(&self, reference: &str) -> Result<String, Problem> {
        self.0.fetch_add(1, Ordering::SeqCst);
        match reference {
            "octo/tools/outer.yml@v1" => Ok("on:
  workflow_call:
    inputs: {n: {type: number}}
    outputs: {sum: {value: '${{ jobs.inner.outputs.sum }}'}}
jobs:
  inner: {uses: ./inner.yml, with: {n: '${{ inputs.n }}'}}
"
            .to_owned()),
            "octo/tools/inner.yml@v1" => Ok(CALLED.to_owned()),
            other => Err(Problem::new(Code::BadDocument, format!("there is no {other}"))),
        }
    }
}

#[tokio::test]
async fn a_called_document_that_was_sent_runs() {
    let bench = Bench::new().await;
    let created = bench.create(request(document("./called.yml"), &[("./called.yml", CALLED)])).await.unwrap();
    let keys: Vec<_> = created.jobs.iter().map(|job| job.key.as_str()).collect();
    assert_eq!(keys, ["call/one", "call/two", "after"]);
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let one = runner.take().await;
    assert_eq!(one.spec.name, "call / one");
    assert_eq!(one.spec.contexts["inputs"]["n"], 3);
    // What was sent is still there after a restart.
    let bench = bench.restart(&mut runner).await;
    runner.finish(one.attempt, Conclusion::Success).await;
    let two = runner.take().await;
    let outputs = IndexMap::from([("sum".to_owned(), "5".to_owned())]);
    runner
        .finish_with(
            two.attempt,
            fleetfoot_model::sync::AttemptResult { outputs, ..result(Conclusion::Success) },
        )
        .await;
    let after = runner.take().await;
    assert_eq!(after.spec.contexts["needs"]["call"]["outputs"]["sum"], "5-3");
    runner.finish(after.attempt, Conclusion::Failure).await;
    assert_eq!(bench.ended(created.run).await.conclusion, Some(Conclusion::Failure));
    let again =
        bench.control.rerun(&ADMIN, created.run, Rerun { failed_only: true, debug: false }).await.unwrap();
    let after = runner.take().await;
    assert_eq!(after.spec.contexts["needs"]["call"]["result"], "success", "carried over");
    runner.finish(after.attempt, Conclusion::Success).await;
    assert_eq!(bench.ended(again.run).await.conclusion, Some(Conclusion::Success));
}

#[tokio::test]
async fn a_skipped_call_ends_the_run() {
    let bench = Bench::new().await;
    let text = document("./called.yml").replace("with: {n: 3}", "if: 'false', with: {n: 3}");
    let created = bench.create(request(text, &[("./called.yml", CALLED)])).await.unwrap();
    assert_eq!(bench.ended(created.run).await.conclusion, Some(Conclusion::Skipped));
}

#[tokio::test]
async fn what_was_not_sent_is_named() {
    let bench = Bench::new().await;
    let problem = bench.create(request(document("./called.yml"), &[])).await.unwrap_err();
    assert_eq!(problem.code, Code::BadDocument);
    assert!(problem.detail.contains("./called.yml"), "{}", problem.detail);
    assert!(problem.hint.unwrap().contains("files"));
    let problem = bench.create(request(document("octo/tools/outer.yml@v1"), &[])).await.unwrap_err();
    assert!(problem.detail.contains("octo/tools/outer.yml@v1"), "{}", problem.detail);
    let problem =
        bench.create(request(document("./called.yml"), &[("./called.yml", "on: push\n")])).await.unwrap_err();
    assert!(problem.detail.starts_with("called.yml:1:1: "), "{}", problem.detail);
}

#[tokio::test]
async fn other_repositories_are_asked_once_for_a_run() {
    let loader = Arc::new(Double::default());
    let bench = Bench::with_loader(loader.clone()).await;
    let created = bench.create(request(document("octo/tools/outer.yml@v1"), &[])).await.unwrap();
    let keys: Vec<_> = created.jobs.iter().map(|job| job.key.as_str()).collect();
    assert_eq!(keys, ["call/inner/one", "call/inner/two", "after"]);
    assert_eq!(loader.0.load(Ordering::SeqCst), 2);
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let one = runner.take().await;
    let bench = bench.restart(&mut runner).await;
    runner.finish(one.attempt, Conclusion::Failure).await;
    bench.ended(created.run).await;
    let again = bench.control.rerun(&ADMIN, created.run, Rerun::default()).await.unwrap();
    assert_eq!(again.jobs.len(), 3);
    assert_eq!(loader.0.load(Ordering::SeqCst), 2, "the run keeps what was found");
    let problem = bench.create(request(document("octo/none/x.yml@v1"), &[])).await.unwrap_err();
    assert_eq!(problem.detail, "there is no octo/none/x.yml@v1");
}
