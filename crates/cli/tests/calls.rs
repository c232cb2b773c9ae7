//! Reusable workflows with the real binary: local runs, trees, charts, findings.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use fleetfoot_testkit::{Finished, Fleetfoot, GitRepository, TestServer};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_fleetfoot");

const CI: &str = "\
on: push
jobs:
  prepare:
    runs-on: ubuntu-latest
    outputs: {version: '${{ steps.v.outputs.version }}'}
    steps:
      - {id: v, run: 'echo version=7 >> $GITHUB_OUTPUT'}
  build:
    needs: prepare
    strategy: {matrix: {os: [a, b]}}
    uses: ./.github/workflows/build.yml
    with: {version: '${{ needs.prepare.outputs.version }}', os: '${{ matrix.os }}'}
    secrets: {TOKEN: '${{ secrets.OUTER }}!'}
  report:
    needs: build
    runs-on: ubuntu-latest
    steps:
      - run: echo \"built ${{ needs.build.outputs.image }} ${{ needs.build.result }}\"
";
const BUILD: &str = "\
on:
  workflow_call:
    inputs: {version: {type: string, required: true}, os: {type: string}}
    secrets: {TOKEN: {required: true}}
    outputs: {image: {value: '${{ jobs.pack.outputs.image }}'}}
jobs:
  compile:
    runs-on: ubuntu-latest
    steps: [{run: 'echo \"compile ${{ inputs.version }} on ${{ inputs.os }}\"'}]
  pack:
    needs: compile
    runs-on: ubuntu-latest
    outputs: {image: '${{ steps.p.outputs.image }}'}
    steps: [{id: p, run: 'echo \"image=app-${{ inputs.os }}:${{ inputs.version }}\" >> $GITHUB_OUTPUT'}]
";

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

fn both() -> (TempDir, Fleetfoot) {
    here(&[(".github/workflows/ci.yml", CI), (".github/workflows/build.yml", BUILD)])
}

fn ok(done: &Finished) -> &Finished {
    assert_eq!(done.code, 0, "{done:?}");
    done
}

#[test]
fn a_called_workflow_runs_here() {
    let (_dir, fleetfoot) = both();
    let done = fleetfoot.run(&["run", "-W", ".github/workflows/ci.yml", "-s", "OUTER=x"]);
    ok(&done);
    for line in ["compile 7 on a", "compile 7 on b", "built app-", "success"] {
        assert!(done.stdout.contains(line), "{line} is not in {done:?}");
    }
}

#[test]
fn the_tree_and_the_chart_show_calls() {
    let (_dir, fleetfoot) = both();
    let done = fleetfoot.run(&["run", "-W", ".github/workflows/ci.yml", "-l"]);
    insta::assert_snapshot!(ok(&done).stdout, @r"
    .github/workflows/ci.yml (.github/workflows/ci.yml, push)
    └─ prepare
       ├─ build (a)/compile
       │  └─ build (a)/pack
       └─ build (b)/compile
          └─ build (b)/pack
             └─ report  (also needs build (a)/pack)
    ");
    let done = fleetfoot.run(&["run", "-W", ".github/workflows/ci.yml", "-n", "-j", "build (b)"]);
    insta::assert_snapshot!(ok(&done).stdout, @r#"
    .github/workflows/ci.yml (.github/workflows/ci.yml, push)
    └─ prepare
         1. Run echo version=7 >> $GITHUB_OUTPUT
       └─ build (b)/compile
            1. Run echo "compile ${{ inputs.version }} on ${{ inputs.os }}"
          └─ build (b)/pack
               1. Run echo "image=app-${{ inputs.os }}:${{ inputs.version }}" >> $GITHUB_OUTPUT
    "#);
    let done = fleetfoot.run(&["graph", ".github/workflows/ci.yml"]);
    insta::assert_snapshot!(ok(&done).stdout, @r#"
    flowchart LR
      n0["prepare"]
      subgraph c0["build (a)"]
        n1["compile"]
        n2["pack"]
      end
      subgraph c1["build (b)"]
        n3["compile"]
        n4["pack"]
      end
      n5["report"]
      n0 --> n1
      n1 --> n2
      n0 --> n3
      n3 --> n4
      n2 --> n5
      n4 --> n5
    "#);
}

#[test]
fn what_is_elsewhere_is_one_node() {
    let remote = CI.replace("./.github/workflows/build.yml", "octo/tools/build.yml@v1");
    let (_dir, fleetfoot) = here(&[(".github/workflows/ci.yml", &remote)]);
    let done = fleetfoot.run(&["run", "-n"]);
    insta::assert_snapshot!(ok(&done).stdout, @r#"
    .github/workflows/ci.yml (.github/workflows/ci.yml, push)
    └─ prepare
         1. Run echo version=7 >> $GITHUB_OUTPUT
       └─ build  2 jobs: build (a), build (b)
            build (a)
            1. (calls octo/tools/build.yml@v1)
            build (b)
            1. (calls octo/tools/build.yml@v1)
          └─ report
               1. Run echo "built ${{ needs.build.outputs.image }} ${{ needs.build.result }}"
    "#);
    let empty = tempfile::tempdir().unwrap();
    let empty = empty.path().display().to_string();
    let done = fleetfoot.run(&["run", "-s", "OUTER=x", "--action-mirror", &empty]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.stderr.contains("octo/tools/build.yml@v1"), "{done:?}");
}

#[test]
fn workflows_of_other_repositories_come_by_git() {
    let remote = CI.replace("./.github/workflows/build.yml", "octo/tools/flows/outer.yml@v1");
    let outer = BUILD.split("jobs:").next().unwrap().replace("jobs.pack", "jobs.inner")
        + "jobs:\n  inner:\n    uses: ./flows/build.yml\n    with: {version: '${{ inputs.version }}', os: '${{ inputs.os }}'}\n    secrets: inherit\n";
    let (dir, fleetfoot) = here(&[(".github/workflows/ci.yml", &remote)]);
    let source = GitRepository::new(dir.path().join("source"));
    source.write("flows/outer.yml", &outer);
    source.write("flows/build.yml", BUILD);
    source.commit("flows");
    source.git(&["tag", "v1"]);
    let mirror = dir.path().join("mirror");
    std::fs::create_dir_all(mirror.join("octo")).unwrap();
    let bare = mirror.join("octo/tools.git").display().to_string();
    source.git(&["clone", "--quiet", "--bare", ".", &bare]);
    let mirror = mirror.display().to_string();
    let done = fleetfoot.run(&["run", "-s", "OUTER=x", "--action-mirror", &mirror]);
    ok(&done);
    for line in ["compile 7 on a", "compile 7 on b", "built app-", "success"] {
        assert!(done.stdout.contains(line), "{line} is not in {done:?}");
    }
}

#[test]
fn lint_follows_calls() {
    let (_dir, fleetfoot) = both();
    assert_eq!(ok(&fleetfoot.run(&["lint", "--format", "json"])).stdout.trim(), "[]");
    let wrong = BUILD.replace("runs-on", "runs_on");
    let (_dir, fleetfoot) = here(&[
        (".github/workflows/ci.yml", &CI.replace("version:", "versoin:")),
        (".github/workflows/build.yml", &wrong),
    ]);
    let done = fleetfoot.run(&["lint", "--format", "json"]);
    assert_eq!(done.code, 1);
    let found: Vec<serde_json::Value> = serde_json::from_str(&done.stdout).unwrap();
    let codes: Vec<_> =
        found.iter().map(|d| (d["file"].as_str().unwrap(), d["code"].as_str().unwrap())).collect();
    let of = |file: &str| codes.iter().filter(|(f, _)| f.ends_with(file)).count();
    assert_eq!(of("build.yml"), 4, "each once: {codes:?}");
    let (_dir, fleetfoot) = here(&[(".github/workflows/ci.yml", CI)]);
    let done = fleetfoot.run(&["lint"]);
    assert_eq!(done.code, 1);
    assert!(done.stdout.contains("workflow was not found"), "{done:?}");
    let done = fleetfoot.run(&["run"]);
    assert_eq!(done.code, 2);
    assert!(done.stderr.contains("calls ./.github/workflows/build.yml, which cannot be read"), "{done:?}");
}

#[test]
fn submit_sends_local_workflows_along() {
    let (dir, _) = both();
    let server = TestServer::up_with(BINARY, &[], &[]);
    let cli = server.cli().within(dir.path().join("repo"));
    let done = cli.run(&["submit", ".github/workflows/ci.yml", "-s", "OUTER=x", "--wait", "--watch"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("compile 7 on a"), "{done:?}");
    assert!(done.stderr.contains("build (b) / pack"), "{done:?}");
}
