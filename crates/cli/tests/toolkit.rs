//! An action built on the unpatched toolkit (`@actions/artifact`,
//! `@actions/cache`), run by the engine: what it keeps in one job is there in
//! the next, without a server and with one. The toolkit is installed by
//! `scripts/npm-tools.sh`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking and say why they skip"
)]

use fleetfoot_testkit::{Fleetfoot, GitRepository, TestServer};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_fleetfoot");

const WORKFLOW: &str = "\
on: [push, workflow_dispatch]
jobs:
  keep:
    runs-on: ubuntu-latest
    permissions: { id-token: write }
    steps:
      - uses: actions/checkout@v4
      - run: mkdir -p out && echo 'kept ${{ github.run_id }}' > out/file.txt
      - uses: ./.github/actions/toolkit
        with: { do: keep, clients: CLIENTS }
  fetch:
    needs: keep
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: ./.github/actions/toolkit
        with: { do: fetch, clients: CLIENTS }
      - run: cat fetched/out/file.txt && cat out/file.txt
      - run: test -z \"$ACTIONS_RUNTIME_TOKEN\" && echo 'no token for scripts'
";

const MANIFEST: &str = "
name: toolkit
inputs: { do: { required: true }, clients: { required: true } }
runs: { using: node20, main: main.mjs }
";

const SCRIPT: &str = "
const load = (name, file) => import(`${process.env.INPUT_CLIENTS}/node_modules/${name}/lib/${file}`)
const artifacts = new (await load('artifact-v4', 'artifact.js')).DefaultArtifactClient()
const cache = await load('cache-v2', 'cache.js')
if (process.env.INPUT_DO === 'keep') {
  await artifacts.uploadArtifact('result', ['out/file.txt'], '.', {})
  await cache.saveCache(['out'], `key-${process.env.GITHUB_RUN_ID}`)
  const url = `${process.env.ACTIONS_ID_TOKEN_REQUEST_URL}&audience=somebody`
  const headers = { Authorization: `bearer ${process.env.ACTIONS_ID_TOKEN_REQUEST_TOKEN}` }
  const token = (await (await fetch(url, { headers })).json()).value
  const claims = JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString())
  console.log(`audience ${claims.aud}`)
} else {
  const { artifact } = await artifacts.getArtifact('result')
  await artifacts.downloadArtifact(artifact.id, { path: 'fetched' })
  const hit = await cache.restoreCache(['out'], 'nothing', ['key-'])
  console.log(`hit ${hit}`)
  console.log(`identity ${process.env.ACTIONS_ID_TOKEN_REQUEST_URL ?? 'none'}`)
}
";

/// Where the clients are; `None` if they are not installed.
fn clients() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let dir = workspace.join("target/npm");
    if dir.join("installed.json").exists() && Command::new("node").arg("--version").output().is_ok() {
        return Some(dir);
    }
    eprintln!("skipped: no JavaScript clients in target/npm; scripts/npm-tools.sh installs them");
    None
}

/// A repository with the workflow and the action.
fn checkout(clients: &Path) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let repository = GitRepository::new(dir.path().join("app"));
    let text = WORKFLOW.replace("CLIENTS", &clients.display().to_string());
    repository.write(".github/workflows/ci.yml", &text);
    repository.write(".github/actions/toolkit/action.yml", MANIFEST);
    repository.write(".github/actions/toolkit/main.mjs", SCRIPT);
    repository.commit("an action built on the toolkit");
    let app = dir.path().join("app");
    (dir, app)
}

fn check(log: &str) {
    for line in ["audience somebody", "hit key-", "identity none", "no token for scripts"] {
        assert!(log.contains(line), "no line '{line}' in {log}");
    }
    assert_eq!(log.matches("kept ").count(), 2, "{log}");
}

#[test]
fn kept_in_one_job_and_there_in_the_next_without_a_server() {
    let Some(clients) = clients() else { return };
    let (dir, app) = checkout(&clients);
    let cache = dir.path().join("cache").display().to_string();
    let fleetfoot = Fleetfoot::new(BINARY, dir.path()).env("XDG_CACHE_HOME", cache).within(&app);
    let ran = fleetfoot.run(&["run", "--artifact-dir", "kept"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    check(&ran.stdout);
    let kept = std::fs::read_to_string(app.join("kept/1/result/out/file.txt"))
        .or_else(|_| std::fs::read_to_string(app.join("kept/result/out/file.txt")));
    assert!(kept.is_ok_and(|text| text.starts_with("kept ")), "{ran:?}");
}

#[test]
fn kept_in_one_job_and_there_in_the_next_through_server_and_runner() {
    let Some(clients) = clients() else { return };
    let (_dir, app) = checkout(&clients);
    let server = TestServer::up(BINARY, &["--slots", "2"]);
    let cli = server.cli().within(&app);
    let ran =
        cli.run(&["submit", ".github/workflows/ci.yml", "--event", "push", "--wait", "--output", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let shown = cli.run(&["list", "--output", "json"]).json();
    let run =
        shown["items"][0]["run"].as_u64().or_else(|| shown["items"][0]["id"].as_u64()).unwrap().to_string();
    let jobs = cli.run(&["show", &run, "--output", "json"]).json();
    let mut log = String::new();
    for job in jobs["jobs"].as_array().unwrap() {
        log.push_str(&cli.run(&["logs", &job["id"].to_string()]).stdout);
    }
    check(&log);
    let listed = cli.run(&["artifact", "list", &run, "--output", "json"]).stdout;
    assert!(listed.contains("\"result\""), "{listed}");
    let down = cli.run(&["artifact", "download", &run, "result", "-d", "down"]);
    assert_eq!(down.code, 0, "{down:?}");
    let found = Command::new("find").arg(app.join("down")).args(["-name", "file.txt"]).output().unwrap();
    assert!(!found.stdout.is_empty(), "{down:?}");
    assert!(cli.run(&["cache", "list", "--output", "json"]).stdout.contains("key-"), "the cache is listed");
}
