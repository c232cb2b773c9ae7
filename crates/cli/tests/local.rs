//! Runs without a server, and the tools for authors, with the real binary.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use fleetfoot_testkit::{Finished, Fleetfoot, GitRepository, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_fleetfoot");

fn here(files: &[(&str, &str)]) -> (TempDir, Fleetfoot) {
    let dir = tempfile::tempdir().unwrap();
    let repository = GitRepository::new(dir.path().join("repo"));
    for (name, text) in files {
        repository.write(name, text);
    }
    repository.commit("first");
    let fleetfoot = Fleetfoot::new(BINARY, dir.path()).within(repository.path());
    (dir, fleetfoot)
}

fn ok(done: &Finished) -> &Finished {
    assert_eq!(done.code, 0, "{done:?}");
    done
}

const ONE: &str =
    "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: printf 'x\\ny'\n";

#[test]
fn output_is_the_steps_bytes() {
    let (_dir, fleetfoot) = here(&[(".github/workflows/one.yml", ONE)]);
    let done = fleetfoot.run(&["run"]);
    assert_eq!(ok(&done).stdout, "x\ny");
    assert!(done.stderr.contains("success"));
}

#[test]
fn several_jobs_get_a_prefix_and_a_result() {
    let workflow = "\
on: [push, pull_request]
jobs:
  build:
    runs-on: windows-latest
    strategy: {matrix: {n: [1, 2]}}
    steps:
      - run: echo leg ${{ matrix.n }}
  fails:
    needs: build
    runs-on: ubuntu-latest
    steps:
      - run: exit 7
  after:
    needs: fails
    runs-on: ubuntu-latest
    steps:
      - run: echo never
";
    let (_dir, fleetfoot) = here(&[(".github/workflows/ci.yml", workflow)]);
    let done = fleetfoot.run(&["run", "pull_request"]);
    assert_eq!(done.code, 1, "{done:?}");
    let mut lines: Vec<&str> = done.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["build (1) | leg 1", "build (2) | leg 2"]);
    assert!(done.stderr.contains("exit code 7") && done.stderr.contains("skipped"), "{done:?}");

    let only = fleetfoot.run(&["run", "-j", "build", "--matrix", "n:2"]);
    assert_eq!(ok(&only).stdout, "leg 2\n");
    let as_json = fleetfoot.run(&["run", "-j", "build", "--output", "json"]);
    assert_eq!(ok(&as_json).json()["conclusion"], "success");
}

#[test]
fn inputs_secrets_variables_and_the_event_arrive() {
    let workflow = "\
on:
  workflow_dispatch:
    inputs:
      where: {required: true}
jobs:
  a:
    runs-on: x
    steps:
      - run: echo \"${{ inputs.where }} ${{ vars.V }} $E ${{ github.event.extra }} ${{ secrets.S }}\"
      - run: test \"${{ secrets.S }}\" = hunter22 && test \"${{ secrets.FROM_ENV }}\" = quiet-word
";
    let (dir, fleetfoot) = here(&[("deploy.yml", workflow)]);
    std::fs::write(dir.path().join("event.json"), r#"{"extra": "payload"}"#).unwrap();
    let event = dir.path().join("event.json").display().to_string();
    let fleetfoot = fleetfoot.env("FROM_ENV", "quiet-word");
    let done = fleetfoot.run(&[
        "run",
        "-W",
        "deploy.yml",
        "workflow_dispatch",
        "--input",
        "where=there",
        "--var",
        "V=v",
        "--env",
        "E=e",
        "-e",
        &event,
        "-s",
        "S=hunter22",
        "-s",
        "FROM_ENV",
    ]);
    assert_eq!(ok(&done).stdout, "there v e payload ***\n");
}

#[test]
fn checkout_gives_the_working_tree() {
    let workflow = "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      - uses: actions/checkout@v4\n      - run: cat note.txt\n";
    let (dir, fleetfoot) = here(&[(".github/workflows/a.yml", workflow), ("note.txt", "old\n")]);
    std::fs::write(dir.path().join("repo/note.txt"), "changed\n").unwrap();
    let done = fleetfoot.run(&["run"]);
    assert!(ok(&done).stdout.ends_with("changed\n"), "{done:?}");
}

#[test]
fn bad_documents_exit_with_2_and_a_place() {
    let (_dir, fleetfoot) = here(&[
        ("bad.yml", "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      - runn: echo\n"),
        ("latin.yml", "on: push\n"),
    ]);
    let done = fleetfoot.run(&["run", "-W", "bad.yml"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.stderr.contains("bad.yml:6:9: error"), "{done:?}");
    assert_eq!(done.stdout, "");
    assert_eq!(fleetfoot.run(&["run", "-W", "missing.yml"]).code, 2);
    assert_eq!(fleetfoot.run(&["run", "-W", "latin.yml"]).code, 2);
}

#[test]
fn only_files_that_react_run() {
    let tag = "on: release\njobs:\n  r:\n    runs-on: x\n    steps: [{run: echo release}]\n";
    let (_dir, fleetfoot) = here(&[(".github/workflows/a.yml", ONE), (".github/workflows/b.yml", tag)]);
    assert_eq!(ok(&fleetfoot.run(&["run"])).stdout, "x\ny");
    assert_eq!(ok(&fleetfoot.run(&["run", "release"])).stdout, "release\n");
    let none = fleetfoot.run(&["run", "schedule"]);
    assert_eq!(none.code, 2);
    assert!(none.stderr.contains("known events: push, release"), "{none:?}");
}

#[test]
fn the_graph_is_shown_and_nothing_runs() {
    let workflow = "\
name: CI
on: push
jobs:
  lint: {runs-on: x, steps: [{run: touch ran}]}
  test: {needs: lint, runs-on: x, strategy: {matrix: {n: [1, 2]}}, steps: [{run: touch ran}]}
";
    let (dir, fleetfoot) = here(&[(".github/workflows/ci.yml", workflow)]);
    insta::assert_snapshot!(ok(&fleetfoot.run(&["run", "-l"])).stdout.replace(dir.path().to_str().unwrap(), ""), @r"
    CI (.github/workflows/ci.yml, push)
    └─ lint
       └─ test  2 jobs: test (1), test (2)
    ");
    insta::assert_snapshot!(ok(&fleetfoot.run(&["run", "-n", "-j", "lint"])).stdout, @r"
    CI (.github/workflows/ci.yml, push)
    └─ lint
         1. Run touch ran
    ");
    assert!(!dir.path().join("repo/ran").exists());
}

#[test]
fn an_interrupt_cancels_and_leaves_nothing() {
    let (dir, fleetfoot) = here(&[]);
    let marker = dir.path().join("marker").display().to_string();
    let workflow = format!(
        "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      - run: echo $$ > {marker}; sleep 600\n"
    );
    std::fs::write(dir.path().join("repo/long.yml"), workflow).unwrap();
    let temporary = dir.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let fleetfoot = fleetfoot.env("TMPDIR", temporary.display().to_string());
    let child = fleetfoot.command(&["run", "-W", "long.yml"]).spawn().unwrap();
    let pid = wait_until("the step", Duration::from_secs(30), || {
        std::fs::read_to_string(&marker).ok().filter(|p| p.ends_with('\n'))
    });
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(130), "{done:?}");
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "the step is gone");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "the directory is gone");
}

#[test]
fn our_own_ci_runs_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dir = tempfile::tempdir().unwrap();
    let fleetfoot = Fleetfoot::new(BINARY, dir.path()).within(root);
    let done = fleetfoot.run(&["run", "-W", ".github/workflows/ci.yml", "-j", "docs"]);
    assert!(ok(&done).stdout.contains("the documents are in order"), "{done:?}");
}

#[test]
fn the_examples_run_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dir = tempfile::tempdir().unwrap();
    let fleetfoot = Fleetfoot::new(BINARY, dir.path()).within(root);
    for example in ["examples/hello.yml", "examples/job.yml", "examples/matrix.yml"] {
        ok(&fleetfoot.run(&["run", "-W", example]));
    }
}

#[test]
fn lint_finds_and_locates() {
    let (_dir, fleetfoot) = here(&[
        (".github/workflows/good.yml", ONE),
        ("bad.yml", "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      - runn: echo\n"),
    ]);
    assert_eq!(ok(&fleetfoot.run(&["lint", "--format", "json"])).json(), json!([]));
    let found = fleetfoot.run(&["lint", "--format", "json", "bad.yml"]);
    assert_eq!(found.code, 1, "{found:?}");
    let first = &found.json()[0];
    assert_eq!(
        (&first["file"], &first["line"], &first["column"], &first["severity"]),
        (&json!("bad.yml"), &json!(6), &json!(9), &json!("error"))
    );
    let sarif = fleetfoot.run(&["lint", "--format", "sarif", "bad.yml"]).json();
    assert_eq!(sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"], 6);
}

#[test]
fn expressions_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let fleetfoot = Fleetfoot::new(BINARY, dir.path());
    let input = b"{\"expr\": \"a.b == 'X'\", \"contexts\": {\"a\": {\"b\": \"x\"}}}\n{\"expr\": \"github\"}\n\n{\"expr\": \"1.0\"}\n";
    let done = fleetfoot.run_with_input(&["expr", "--json-lines"], input);
    let lines: Vec<serde_json::Value> =
        done.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines[0], json!({"kind": "Boolean", "value": true}));
    assert_eq!(lines[1]["error"]["kind"], "parsing");
    assert_eq!(lines[2]["kind"], "Number");
    assert_eq!(lines.len(), 3);
    assert_eq!(ok(&fleetfoot.run(&["expr", "${{ format('{0}!', 'hi') }}"])).stdout, "hi!\n");
    assert_eq!(fleetfoot.run(&["expr", "1 +"]).code, 2);
}

#[test]
fn words_about_oneself() {
    let dir = tempfile::tempdir().unwrap();
    let fleetfoot = Fleetfoot::new(BINARY, dir.path());
    assert_eq!(
        ok(&fleetfoot.run(&["version", "--output", "json"])).json()["version"],
        env!("CARGO_PKG_VERSION")
    );
    assert!(ok(&fleetfoot.run(&["completions", "bash"])).stdout.contains("fleetfoot"));
    assert_eq!(fleetfoot.run(&["no-such-command"]).code, 2);
    let nobody = fleetfoot.env("FLEETFOOT_URL", "http://127.0.0.1:1").run(&["list"]);
    assert_eq!(nobody.code, 3);
    assert!(nobody.stderr.contains("next: `fleetfoot up`"), "{nobody:?}");
}
