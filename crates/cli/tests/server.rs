//! The interfaces that outside checks rely on, with real processes: server,
//! runner, submit, show, logs, tokens.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use fleetfoot_testkit::{Fleetfoot, GitRepository, TestRunner, TestServer, wait_until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_fleetfoot");
const MINUTE: Duration = Duration::from_secs(60);

const TWO_JOBS: &str = "\
name: Two
on: [push, workflow_dispatch]
jobs:
  first:
    runs-on: ubuntu-latest
    outputs:
      word: ${{ steps.w.outputs.word }}
    steps:
      - id: w
        run: |
          echo \"word=fleet\" >> \"$GITHUB_OUTPUT\"
          printf 'one\\ntwo\\n'
  second:
    needs: first
    runs-on: [self-hosted, linux]
    steps:
      - run: echo \"got ${{ needs.first.outputs.word }}\"
";

fn file(server: &TestServer, name: &str, text: &str) -> String {
    let path = server.data().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn plain(script: &str) -> String {
    format!("runs-on: ubuntu-latest\nsteps:\n  - run: {}\n", serde_json::to_string(script).unwrap())
}

#[test]
fn a_workflow_from_submit_to_logs() {
    let mut server = TestServer::up(BINARY, &["--slots", "2"]);
    let ready: Vec<&String> = server.ready.as_object().unwrap().keys().collect();
    assert_eq!(ready, ["url", "admin_token", "runner", "version"]);
    assert!(server.ready["runner"].is_u64());

    let cli = server.cli();
    let workflow = file(&server, "two.yml", TWO_JOBS);
    let created = cli.run(&["submit", &workflow, "--output", "json"]);
    assert_eq!(created.code, 0, "{created:?}");
    let created = created.json();
    let run = created["run"].to_string();
    let keys: Vec<&Value> = created["jobs"].as_array().unwrap().iter().map(|j| &j["key"]).collect();
    assert_eq!(keys, ["first", "second"]);

    let watched = cli.run(&["watch", &run, "--exit-status"]);
    assert_eq!(watched.code, 0, "{watched:?}");
    assert!(watched.stdout.contains("success"), "{watched:?}");

    let shown = cli.run(&["show", &run, "--output", "json"]).json();
    assert_eq!((&shown["status"], &shown["conclusion"]), (&json!("completed"), &json!("success")));
    let step = &shown["jobs"][0]["steps"][0];
    assert!(step["started_at"].is_string() && step["finished_at"].is_string());
    assert_eq!(step["exit_code"], 0);

    let job = |i: usize| created["jobs"][i]["id"].to_string();
    assert_eq!(cli.run(&["logs", &job(0)]).stdout, "one\ntwo\n");
    assert_eq!(cli.run(&["logs", &job(1), "--follow"]).stdout, "got fleet\n");
    let stamped = cli.run(&["logs", &job(0), "--timestamps"]).stdout;
    let lines: Vec<(&str, &str)> = stamped.lines().map(|l| l.split_once(' ').unwrap()).collect();
    assert_eq!(lines.iter().map(|l| l.1).collect::<Vec<_>>(), ["one", "two"]);
    assert!(lines.iter().all(|l| l.0.parse::<fleetfoot_model::Timestamp>().is_ok()), "{stamped}");

    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn wait_mirrors_the_conclusion() {
    let server = TestServer::up(BINARY, &[]);
    let cli = server.cli();
    let good = file(&server, "good.yml", &plain("echo good"));
    let bad = file(&server, "bad.yml", &plain("echo bad; exit 3"));
    assert_eq!(cli.run(&["submit", &good, "--wait"]).code, 0);
    let failed = cli.run(&["submit", &bad, "--watch"]);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stdout.ends_with("bad\n"), "the log is on standard output: {failed:?}");
    assert!(failed.stderr.contains("exit code 3"), "{failed:?}");

    // Several files are one batch.
    let both = cli.run(&["submit", &good, &bad, "--wait", "--output", "json"]);
    assert_eq!(both.code, 1, "{both:?}");
    assert_eq!(both.json()["runs"].as_array().unwrap().len(), 2);

    // The same key answers with the same run, and not with another document.
    let once = cli.run(&["submit", &good, "--idempotency-key", "k", "--output", "json"]).json();
    let again = cli.run(&["submit", &good, "--idempotency-key", "k", "--output", "json"]).json();
    assert_eq!(once["run"], again["run"]);
    assert_eq!(cli.run(&["submit", &bad, "--idempotency-key", "k"]).code, 5);
}

#[test]
fn cancel_ends_a_run_and_its_watchers() {
    let server = TestServer::up(BINARY, &[]);
    let cli = server.cli();
    let long = file(&server, "long.yml", &plain("echo started; exec sleep 600"));
    let created = cli.run(&["submit", &long, "--output", "json"]).json();
    let (run, job) = (created["run"].to_string(), created["jobs"][0]["id"].to_string());
    wait_until("the step to print", MINUTE, || {
        (cli.run(&["logs", &job]).stdout == "started\n").then_some(())
    });
    let watcher = cli.command(&["watch", &run, "--exit-status"]).spawn().unwrap();
    assert_eq!(cli.run(&["cancel", &run]).code, 0);
    let watched = watcher.wait_with_output().unwrap();
    assert_eq!(watched.status.code(), Some(130), "{watched:?}");
    let shown = cli.run(&["show", &run, "--output", "json"]).json();
    assert_eq!(shown["conclusion"], "cancelled");

    let again = cli.run(&["rerun", &run, "--output", "json"]).json();
    assert_ne!(again["run"].to_string(), run);
    assert_eq!(cli.run(&["cancel", &again["run"].to_string()]).code, 0);
}

#[test]
fn a_runner_registers_itself_and_works() {
    let server = TestServer::server(BINARY, &[]);
    assert_eq!(server.ready["runner"], Value::Null);
    let cli = server.cli();
    let created =
        cli.run(&["submit", &file(&server, "a.yml", &plain("echo here")), "--output", "json"]).json();
    let job = created["jobs"][0]["id"].to_string();
    let why = cli.run(&["why", &job, "--output", "json"]).json();
    assert_eq!(why["reasons"][0]["code"], "no_runner_online", "{why}");

    let mut runner = TestRunner::start(&server, "box", 1, &["ubuntu-latest"]);
    let watched = cli.run(&["watch", &created["run"].to_string(), "--exit-status"]);
    assert_eq!(watched.code, 0, "{watched:?}");
    assert_eq!(cli.run(&["logs", &job]).stdout, "here\n");
    assert_eq!(runner.stop().code(), Some(0));

    // The second start needs no registration: the token file is there.
    runner.restart();
    let runners = server.cli().run(&["doctor", "--output", "json"]).json();
    assert!(
        runners["checks"].as_array().unwrap().iter().any(|c| c["name"] == "token" && c["verdict"] == "ok")
    );
    assert_eq!(runner.stop().code(), Some(0));
}

#[test]
fn tokens_have_limits() {
    let server = TestServer::server(BINARY, &[]);
    let cli = server.cli();
    let made = cli.run(&["token", "create", "--registration", "--expires", "10m", "--output", "json"]).json();
    assert!(made["token"].as_str().unwrap().starts_with("ffreg_"));
    assert!(made["expires_at"].is_string());

    let reader = cli.run(&["token", "create", "--read-only", "--output", "json"]).json();
    let reader_cli = cli.clone().env("FLEETFOOT_TOKEN", reader["token"].as_str().unwrap());
    assert_eq!(reader_cli.run(&["list"]).code, 0);
    let refused = reader_cli.run(&["submit", &file(&server, "a.yml", &plain("true"))]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("hint:"), "{refused:?}");

    assert_eq!(cli.run(&["token", "revoke", &reader["id"].to_string()]).code, 0);
    assert_eq!(reader_cli.run(&["list"]).code, 3);
    let wrong = cli.env("FLEETFOOT_TOKEN", "ffa_wrong").run(&["list"]);
    assert_eq!(wrong.code, 3);
    assert!(wrong.stderr.contains("FLEETFOOT_TOKEN"), "{wrong:?}");
}

#[test]
fn the_checkout_around_the_file_goes_along() {
    let server = TestServer::up(BINARY, &[]);
    let dir = tempfile::tempdir().unwrap();
    let repository = GitRepository::new(dir.path().join("repo"));
    repository.write(
        ".github/workflows/ci.yml",
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - run: cat hello.txt\n",
    );
    repository.write("hello.txt", "committed\n");
    let sha = repository.commit("first");
    repository.write("hello.txt", "not committed\n");
    let cli = server.cli().within(repository.path());
    let done = cli.run(&["submit", ".github/workflows/ci.yml", "--event", "push", "--watch"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("committed\n") && !done.stdout.contains("not committed"), "{done:?}");
    let id = cli.run(&["list", "--output", "json"]).json()["items"][0]["id"].to_string();
    let run = cli.run(&["show", &id, "--output", "json"]).json();
    assert_eq!((&run["repository"]["sha"], &run["event"]), (&json!(sha), &json!("push")));
    assert_eq!(run["path"], ".github/workflows/ci.yml");
    assert!(cli.run(&["list"]).stdout.contains(" main "), "the branch is in the table");
}

#[test]
fn bad_documents_are_located() {
    let server = TestServer::server(BINARY, &[]);
    let path = file(&server, "bad.yml", "on: push\njobs:\n  a:\n    runs-on: x\n    stepz: []\n");
    let refused = server.cli().run(&["submit", &path]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("bad.yml:5:5: error"), "{refused:?}");
    assert!(refused.stderr.contains("steps"), "a suggestion: {refused:?}");
}

#[test]
fn a_second_server_on_the_same_state_or_port_is_refused() {
    let server = TestServer::server(BINARY, &[]);
    let dir = tempfile::tempdir().unwrap();
    let alone = Fleetfoot::new(BINARY, dir.path());
    let data = server.data().display().to_string();
    let locked = alone.run(&["server", "--data", &data, "--listen", "127.0.0.1:0"]);
    assert_eq!(locked.code, 6, "{locked:?}");
    assert!(
        locked.stderr.contains("another") && locked.stderr.contains("next: `fleetfoot up --data"),
        "{locked:?}"
    );

    let listen = server.url().trim_start_matches("http://");
    let taken = alone.run(&["server", "--data", "other", "--listen", listen]);
    assert_eq!(taken.code, 6, "{taken:?}");
    assert!(taken.stderr.contains("listens there"), "{taken:?}");
    assert_eq!(alone.run(&["server", "--listen", "nowhere"]).code, 2);
}

#[test]
fn the_admin_token_is_found_by_the_next_command() {
    let server = TestServer::server(BINARY, &[]);
    let dir = tempfile::tempdir().unwrap();
    let alone = Fleetfoot::new(BINARY, dir.path())
        .env("FLEETFOOT_DATA", server.data().display().to_string())
        .env("FLEETFOOT_URL", server.url());
    assert_eq!(alone.run(&["list"]).code, 0);
    // Never for another address.
    let other = alone.env("FLEETFOOT_URL", server.url().replace("127.0.0.1", "localhost")).run(&["list"]);
    assert_eq!(other.code, 3, "{other:?}");
}

#[test]
fn a_backup_comes_back() {
    let mut server = TestServer::server(BINARY, &[]);
    let cli = server.cli();
    let created = cli.run(&["submit", &file(&server, "a.yml", &plain("true")), "--output", "json"]).json();
    let copy = server.data().parent().unwrap().join("copy.db").display().to_string();
    assert_eq!(cli.run(&["backup", &copy]).code, 0);
    assert_ne!(cli.run(&["backup", &copy]).code, 0, "an existing file is not overwritten");
    assert_eq!(server.stop().code(), Some(0));

    let dir = tempfile::tempdir().unwrap();
    let alone = Fleetfoot::new(BINARY, dir.path());
    let data = dir.path().join("restored").display().to_string();
    assert_eq!(alone.run(&["restore", &copy, "--data", &data]).code, 0);
    assert_ne!(alone.run(&["restore", &copy, "--data", &data]).code, 0, "--force is needed");
    let token = server.admin_token().to_owned();
    let mut child = alone
        .command(&["server", "--data", &data, "--listen", "127.0.0.1:0", "--output", "json"])
        .spawn()
        .unwrap();
    let address = wait_until("the address", MINUTE, || {
        std::fs::read_to_string(dir.path().join("restored/address")).ok().filter(|a| a.ends_with('\n'))
    });
    let cli = alone.env("FLEETFOOT_URL", address.trim()).env("FLEETFOOT_TOKEN", token);
    let shown = wait_until("the server", MINUTE, || {
        Some(cli.run(&["show", &created["run"].to_string(), "--output", "json"])).filter(|s| s.code == 0)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(shown.json()["id"], created["run"]);
}

#[test]
fn watching_survives_a_restart_of_the_server() {
    let mut server = TestServer::server(BINARY, &[]);
    let runner = TestRunner::start(&server, "box", 1, &["ubuntu-latest"]);
    let gate = runner.work_dir().parent().unwrap().join("gate");
    let script = format!("echo before; until [ -e {} ]; do sleep 0.05; done; echo after", gate.display());
    let cli = server.cli();
    let path = file(&server, "gate.yml", &plain(&script));
    let created = cli.run(&["submit", &path, "--output", "json"]).json();
    let (run, job) = (created["run"].to_string(), created["jobs"][0]["id"].to_string());
    let follower = cli.command(&["logs", &job, "--follow"]).spawn().unwrap();
    let mut watcher = cli.command(&["watch", &run, "--exit-status"]).spawn().unwrap();
    // Its first words say that it is connected: only then is there a connection to lose.
    let mut words = BufReader::new(watcher.stderr.take().unwrap());
    let mut said = String::new();
    words.read_line(&mut said).unwrap();
    wait_until("the first line", MINUTE, || (cli.run(&["logs", &job]).stdout == "before\n").then_some(()));
    server.kill_and_restart();
    std::fs::write(&gate, "").unwrap();
    let followed = follower.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&followed.stdout), "before\nafter\n");
    words.read_to_string(&mut said).unwrap();
    assert_eq!(watcher.wait().unwrap().code(), Some(0), "{said}");
    assert!(said.contains("lost") && said.contains("again after"), "{said}");
}

#[test]
fn finished_logs_are_copied_to_the_object_store() {
    let bucket = tempfile::tempdir().unwrap();
    let server = TestServer::up(BINARY, &["--objects", bucket.path().to_str().unwrap()]);
    let path = file(&server, "a.yml", &plain("echo kept elsewhere"));
    assert_eq!(server.cli().run(&["submit", &path, "--wait"]).code, 0);
    let stored = || {
        let found =
            std::process::Command::new("grep").args(["-rl", "kept elsewhere"]).arg(bucket.path()).output();
        (!found.unwrap().stdout.is_empty()).then_some(())
    };
    wait_until("the log is in the object store", Duration::from_secs(20), stored);
}

#[test]
fn an_object_store_that_cannot_be_used_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let refused = Fleetfoot::new(BINARY, dir.path()).run(&[
        "server",
        "--data",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--objects",
        "ftp://nowhere",
    ]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("object store") && refused.stderr.contains("hint:"), "{refused:?}");
}

#[test]
fn a_job_that_asks_for_more_than_any_runner_allows_waits_and_says_so() {
    let server = TestServer::up_with(BINARY, &["--slots", "1"], &[("FLEETFOOT_RUNNER_MAX_CPUS", "1.5")]);
    let cli = server.cli();
    let asking =
        |cpus: &str| format!("runs-on: ubuntu-latest\nlimits: {{cpus: {cpus}}}\nsteps: [{{run: 'true'}}]\n");
    let large = file(&server, "large.yml", &asking("64"));
    let created = cli.run(&["submit", &large, "--output", "json"]).json();
    let job = created["jobs"][0]["id"].to_string();
    // Somebody who asks for less goes past it.
    let small = file(&server, "small.yml", &asking("1.5"));
    assert_eq!(cli.run(&["submit", &small, "--wait"]).code, 0);
    let why = cli.run(&["why", &job, "--output", "json"]).json();
    assert_eq!(why["reasons"][0]["code"], "limits_not_allowed", "{why}");
    let words = cli.run(&["why", &job]).stdout;
    assert!(words.contains("64 CPUs (allows 1.5)"), "{words}");
}
