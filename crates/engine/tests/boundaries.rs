//! The workflows of our own test set: the same results in every boundary.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use common::{Job, run_step, uses_step, workflow};
use fleetfoot_driver_gvisor::{GvisorDriver, GvisorOptions};
use fleetfoot_driver_sandbox::{SandboxDriver, SandboxOptions};
use fleetfoot_engine::Fence;
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::state::Conclusion;
use fleetfoot_testkit::GitRepository;
use std::sync::Arc;

fn has_node() -> bool {
    std::process::Command::new("node").arg("--version").output().is_ok()
}

/// A driver of sandboxes, or the reason why there is none.
async fn sandbox(job: &Job) -> Option<Fence> {
    let options = SandboxOptions { tag: format!("test-{}", common::unique()), ..SandboxOptions::default() };
    let scratch = job.dir.path().join("probe");
    std::fs::create_dir(&scratch).unwrap();
    let probe = SandboxDriver::probe(options.clone(), &scratch).await;
    if !probe.usable {
        eprintln!("skipped: no sandbox on this machine: {probe:#?}");
        return None;
    }
    Some(Fence::of(Arc::new(SandboxDriver::new(options).unwrap())))
}

/// A driver of gVisor cells, or the reason why there is none.
async fn gvisor(job: &Job) -> Option<Fence> {
    let scratch = job.dir.path().join("probe");
    std::fs::create_dir(&scratch).unwrap();
    let probe = GvisorDriver::probe(GvisorOptions::default(), &scratch).await;
    if !probe.usable {
        eprintln!("skipped: no gVisor on this machine: {probe:#?}");
        return None;
    }
    let options = GvisorOptions {
        tag: format!("test-{}", common::unique()),
        platform: probe.platform,
        state: Some(scratch),
        ..GvisorOptions::default()
    };
    Some(Fence::of(Arc::new(GvisorDriver::new(options).unwrap())))
}

/// Runs all workflows, in places that `place` gives.
async fn run_all(boundary: Boundary, place: impl AsyncFn(&Job) -> Option<Fence>) {
    for (name, needs_node) in workflow::all() {
        if needs_node && !has_node() {
            eprintln!("skipped: '{name}' needs node, which is not installed");
            continue;
        }
        let mut job = workflow::load(&name);
        let Some(fence) = place(&job).await else { return };
        job.fence = Some(fence);
        let result = job.run().await;
        let shown = workflow::shown(&job, &result);
        assert_eq!(
            shown,
            workflow::expected(&name),
            "{name} in {boundary}:\n{}\n{}",
            job.sink.all(),
            result.message.unwrap_or_default()
        );
        assert_eq!(result.boundary.boundary, boundary, "{name}");
    }
}

#[tokio::test]
async fn in_a_process() {
    run_all(Boundary::Process, async |job| Some(Fence::of(job.driver.clone()))).await;
}

#[tokio::test]
async fn in_a_sandbox() {
    run_all(Boundary::Sandbox, sandbox).await;
}

#[tokio::test]
async fn in_gvisor() {
    run_all(Boundary::Gvisor, gvisor).await;
}

/// An action of another repository, in a mirror.
fn mirror(job: &mut Job) {
    let source = job.dir.path().join("source");
    let repository = GitRepository::new(&source);
    std::fs::copy(workflow::directory().join("tree/.github/actions/script/main.js"), source.join("main.js"))
        .unwrap();
    std::fs::write(source.join("action.yml"), "runs: { using: node24, main: main.js }").unwrap();
    repository.commit("an action");
    repository.git(&["tag", "v1"]);
    let bare = job.dir.path().join("mirror/o/r.git");
    std::fs::create_dir_all(bare.parent().unwrap()).unwrap();
    repository.git(&["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    job.config.actions.cache.mirror = Some(job.dir.path().join("mirror").to_string_lossy().into_owned());
}

#[tokio::test]
async fn hooks_and_fetched_actions_in_a_sandbox() {
    if !has_node() {
        eprintln!("skipped: node is not installed");
        return;
    }
    let mut job = Job::new(vec![uses_step("a", "o/r@v1", &[("a word", "x")])]);
    mirror(&mut job);
    let hook = |name: &str| {
        let path = job.dir.path().join(name);
        std::fs::write(&path, format!("echo {name} $GITHUB_JOB")).unwrap();
        path
    };
    let (started, completed) = (hook("started.sh"), hook("completed.sh"));
    job.config.job_started_hook = Some(started);
    job.config.job_completed_hook = Some(completed);
    let Some(fence) = sandbox(&job).await else { return };
    job.fence = Some(fence);
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{}", job.sink.all());
    assert_eq!(job.sink.out(), "started.sh build\nmain x true\ncompleted.sh build\n");
}

#[tokio::test]
async fn links_of_a_fenced_job_lead_the_runner_nowhere() {
    let mut job = Job::new(vec![
        run_step(
            "links",
            "cd \"$RUNNER_TEMP\"
             ln -s \"$SECRET\" step_1.sh
             for name in set_env set_output add_path save_state step_summary; do
                 ln -s \"$SECRET\" _runner_file_commands/${name}_1
             done
             ln -s \"${SECRET%/*}\" \"$GITHUB_WORKSPACE/out\"",
        ),
        run_step(
            "uses",
            "echo 'said=yes' >> \"$GITHUB_OUTPUT\"; cd \"$RUNNER_TEMP\"; mv _runner_file_commands x; ln -s \"${SECRET%/*}\" _runner_file_commands",
        ),
        run_step("after", "echo ${{ steps.uses.outputs.said }}"),
        uses_step("checkout", "actions/checkout@v4", &[("path", "out/deeper")]),
        uses_step("action", "./out", &[]),
    ]);
    let tree = job.dir.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), "x").unwrap();
    let secrets = job.dir.path().join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    let secret = secrets.join("secret");
    std::fs::write(&secret, "keep").unwrap();
    std::fs::write(secrets.join("action.yml"), "runs: { using: composite, steps: [] }").unwrap();
    let text = secret.to_string_lossy().into_owned();
    job.spec().env = vec![[("SECRET".to_owned(), text)].into_iter().collect()];
    for step in &mut job.spec().steps[1..] {
        step.condition = Some("always()".into());
    }
    let mut job = job.context("fleetfoot", serde_json::json!({ "overlay": tree.to_str().unwrap() }));
    let Some(fence) = sandbox(&job).await else { return };
    job.fence = Some(fence);
    job.run().await;
    assert_eq!(job.step("uses").conclusion, Some(Conclusion::Success), "{}", job.sink.all());
    // What it wrote before it moved the directory away counts.
    assert_eq!(job.sink.out(), "yes\n", "{}", job.sink.all());
    assert!(job.step("checkout").message.unwrap().contains("'out' is no directory of the workspace"));
    assert!(job.step("action").message.unwrap().contains("leads out of the workspace"));
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "keep");
    assert_eq!(std::fs::read_dir(&secrets).unwrap().count(), 2);
}
