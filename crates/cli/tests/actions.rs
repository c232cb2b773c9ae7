//! JavaScript and composite actions of a mirror directory, with the real
//! binary: without a server, and through server and runner.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use fleetfoot_testkit::{Fleetfoot, GitRepository, TestServer};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_fleetfoot");

const WORKFLOW: &str = "\
on: [push, workflow_dispatch]
jobs:
  build:
    runs-on: ubuntu-latest
    outputs: { said: '${{ steps.greet.outputs.said }}' }
    steps:
      - id: greet
        uses: acme/greet@v1
        with: { who: fleet }
      - uses: acme/greet/inner@v1
        with: { who: again }
      - run: echo \"script ${{ steps.greet.outputs.said }}\"
  after:
    needs: build
    runs-on: ubuntu-latest
    steps:
      - run: echo \"after ${{ needs.build.outputs.said }}\"
";

const COMPOSITE: &str = "
inputs: { who: { required: true } }
outputs: { said: { value: '${{ steps.say.outputs.said }}' } }
runs:
  using: composite
  steps:
    - id: say
      uses: acme/greet/inner@v1
      with: { who: '${{ inputs.who }}' }
    - run: echo composite ${{ inputs.who }}
      shell: bash
";

const INNER: &str = "
inputs: { who: {} }
outputs: { said: {} }
runs: { using: node16, pre: pre.js, main: main.js, post: post.js }
";

const SCRIPT: &str = "
const stage = require('path').basename(__filename, '.js');
const who = process.env.INPUT_WHO;
console.log(`${stage} ${who}`);
require('fs').appendFileSync(process.env.GITHUB_OUTPUT, `said=hello ${who}\\n`);
";

/// Whether there is a node; says so where there is none.
#[expect(clippy::print_stderr, reason = "says why a test is skipped")]
fn has_node() -> bool {
    let found = std::process::Command::new("node").arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: node is not installed");
    }
    found
}

/// A mirror with one repository, and a directory for the rest.
fn mirror() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let source = GitRepository::new(dir.path().join("source"));
    source.write("action.yml", COMPOSITE);
    source.write("inner/action.yml", INNER);
    for stage in ["pre", "main", "post"] {
        source.write(&format!("inner/{stage}.js"), SCRIPT);
    }
    source.commit("greetings");
    source.git(&["tag", "v1"]);
    let mirror = dir.path().join("mirror");
    let bare = mirror.join("acme/greet.git");
    std::fs::create_dir_all(bare.parent().unwrap()).unwrap();
    source.git(&["clone", "--quiet", "--bare", ".", &bare.display().to_string()]);
    (dir, mirror)
}

/// What the steps printed, without the lines of the runner.
fn said(text: &str) -> Vec<String> {
    let own = ["pre ", "main ", "post ", "script ", "composite ", "after "];
    text.lines()
        .map(|line| line.split_once("| ").map_or(line, |(_, rest)| rest))
        .filter(|line| own.iter().any(|o| line.starts_with(o)) && !line.contains("${{"))
        .map(str::to_owned)
        .collect()
}

const BUILD: [&str; 8] = [
    "pre fleet",
    "pre again",
    "main fleet",
    "composite fleet",
    "main again",
    "script hello fleet",
    "post again",
    "post fleet",
];

fn workflow(root: &Path) -> GitRepository {
    let repository = GitRepository::new(root);
    repository.write(".github/workflows/ci.yml", WORKFLOW);
    repository.commit("first");
    repository
}

#[test]
fn actions_run_here_from_a_mirror() {
    if !has_node() {
        return;
    }
    let (dir, mirror) = mirror();
    let repository = workflow(&dir.path().join("repo"));
    let fleetfoot = Fleetfoot::new(BINARY, dir.path()).within(repository.path());
    let mirror = mirror.display().to_string();
    let run = ["run", "-W", ".github/workflows/ci.yml", "--action-mirror", &mirror];
    let done = fleetfoot.run(&run);
    assert_eq!(done.code, 0, "{done:?}");
    let said = said(&done.stdout);
    assert_eq!(said[..8], BUILD, "{done:?}");
    assert_eq!(said[8..], ["after hello fleet"]);
    let again = fleetfoot.run(&run);
    assert!(again.stdout.contains("Use cached action repository 'acme/greet@v1'"), "{again:?}");

    let missing = fleetfoot.run(&["run", "--action-mirror", "no-such-directory"]);
    assert_eq!(missing.code, 2, "{missing:?}");
    assert!(missing.stderr.contains("no-such-directory"), "{missing:?}");
}

#[test]
fn actions_run_through_server_and_runner() {
    if !has_node() {
        return;
    }
    let (dir, mirror) = mirror();
    let mirror = mirror.display().to_string();
    let server = TestServer::up_with(BINARY, &[], &[("FLEETFOOT_RUNNER_ACTION_MIRROR", &mirror)]);
    let cli = server.cli();
    let file = dir.path().join("ci.yml");
    std::fs::write(&file, WORKFLOW).unwrap();
    let created = cli.run(&["submit", &file.display().to_string(), "--output", "json"]).json();
    let run = created["run"].to_string();
    let watched = cli.run(&["watch", &run, "--exit-status"]);
    assert_eq!(watched.code, 0, "{watched:?}");
    let shown = cli.run(&["show", &run, "--output", "json"]).json();
    let steps: Vec<&str> =
        shown["jobs"][0]["steps"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(
        steps,
        [
            "Set up job",
            "Pre Run acme/greet@v1",
            "Pre Run acme/greet/inner@v1",
            "Run acme/greet@v1",
            "Run acme/greet/inner@v1",
            "Run echo \"script hello fleet\"",
            "Post Run acme/greet/inner@v1",
            "Post Run acme/greet@v1",
        ]
    );
    let log = cli.run(&["logs", &shown["jobs"][0]["id"].to_string()]).stdout;
    assert_eq!(said(&log), BUILD, "{log}");
}
