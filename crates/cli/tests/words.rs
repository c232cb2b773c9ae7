//! What a person meets at the edges: relative paths, refusals, things that are
//! not there. Each says what to do, with the exit code of its kind.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking and say why they skip"
)]

use fleetfoot_testkit::{Fleetfoot, TestServer};
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_fleetfoot");

fn file(server: &TestServer, name: &str, text: &str) -> String {
    let path = server.data().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Registers with a used-up purpose: one job from a relative work directory, then nothing is left.
#[test]
fn a_one_off_runner_works_in_a_relative_directory() {
    let server = TestServer::server(BINARY, &[]);
    let cli = server.cli();
    let once = file(&server, "once.yml", "runs-on: once\nsteps:\n  - run: echo once\n");
    let created = cli.run(&["submit", &once, "--output", "json"]).json();
    let dir = tempfile::tempdir().unwrap();
    let token = server.registration_token();
    let args = ["runner", "up", "--server", server.url(), "--token", &token, "--name", "short"];
    let more = ["--one-off", "--label", "once", "--work-dir", "work"];
    let runner = Fleetfoot::new(BINARY, dir.path()).run(&[&args[..], &more[..]].concat());
    assert_eq!(runner.code, 0, "{runner:?}");
    assert!(runner.stdout.contains("Runner ready to run.") && runner.stdout.contains("Listening for jobs"));
    let watched = cli.run(&["watch", &created["run"].to_string(), "--exit-status"]);
    assert_eq!(watched.code, 0, "{watched:?}");
    assert_eq!(cli.run(&["logs", &created["jobs"][0]["id"].to_string()]).stdout, "once\n");
    assert!(!dir.path().join("work/runner-token.json").exists(), "its token is gone");
    let left = cli.run(&["doctor", "--output", "json"]).stdout;
    assert!(left.contains("none of 0 runners"), "it is gone at the server: {left}");
}

#[test]
fn labels_of_up_come_beside_the_default_ones() {
    let server = TestServer::up(BINARY, &["--label", "gpu", "--label", "Linux"]);
    let cli = server.cli();
    let both = file(
        &server,
        "both.yml",
        "runs-on: [self-hosted, linux, ubuntu-latest, gpu]\nsteps: [{run: 'true'}]\n",
    );
    assert_eq!(cli.run(&["submit", &both, "--wait"]).code, 0);
}

#[test]
fn documents_that_no_server_reads_are_located() {
    let server = TestServer::server(BINARY, &[]);
    let cli = server.cli();
    let large = file(&server, "large.yml", &"#".repeat(10 << 20));
    for args in [["submit", &large], ["lint", &large]] {
        let refused = cli.run(&args);
        assert_ne!(refused.code, 0);
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(
            said.contains("large.yml:1:1: error[too-large]") && said.contains("hint:"),
            "{args:?}: {said}"
        );
    }
    assert_eq!(cli.run(&["submit", &large]).code, 2);
    let latin = server.data().join("latin.yml");
    std::fs::write(&latin, b"on: push\nname: \xff\n").unwrap();
    let refused = cli.run(&["submit", &latin.display().to_string()]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("latin.yml:2:7: error[encoding]"), "{refused:?}");
}

#[test]
fn refusals_say_what_to_do() {
    let server = TestServer::up(BINARY, &[]);
    let cli = server.cli();
    let dir = tempfile::tempdir().unwrap();
    let alone = Fleetfoot::new(BINARY, dir.path());

    let args = ["runner", "register", "--server", server.url(), "--token", "ffreg_wrong", "--work-dir", "w"];
    let refused = alone.run(&args);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("next: `fleetfoot token create --registration`"), "{refused:?}");
    assert!(!refused.stderr.contains("FLEETFOOT_TOKEN"), "that is another token: {refused:?}");

    std::fs::write(dir.path().join("no.db"), "not a database at all, but long enough to look").unwrap();
    let refused = alone.run(&["restore", "no.db", "--data", "restored"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("no.db is not a backup"), "{refused:?}");

    let workflow = "\
on: push
jobs:
  a: {runs-on: ubuntu-latest, steps: [{run: exit 1}]}
  b: {needs: a, runs-on: ubuntu-latest, steps: [{run: echo never}]}
";
    let path = file(&server, "two.yml", workflow);
    let created = cli.run(&["submit", &path, "--event", "push", "--output", "json"]).json();
    let (run, never) = (created["run"].to_string(), created["jobs"][1]["id"].to_string());
    assert_eq!(cli.run(&["watch", &run, "--exit-status"]).code, 1);
    let log = cli.run(&["logs", &never]);
    assert_eq!((log.code, log.stdout.as_str()), (0, ""));
    assert!(log.stderr.contains("never started, so it has no log: skipped"), "{log:?}");
    let why = cli.run(&["why", &never, "--output", "json"]).json();
    assert_eq!(why["summary"], json!("It ended with skipped."));

    for (args, code) in [
        (["show", "999999"], 4),
        (["logs", "999999"], 4),
        (["why", "999999"], 4),
        (["watch", "999999"], 4),
        (["cancel", &run], 5),
        (["submit", "missing.yml"], 2),
    ] {
        let refused = cli.run(&args);
        assert_eq!(refused.code, code, "{args:?}: {refused:?}");
        assert_eq!(refused.stdout, "", "{args:?}: nothing but data on standard output");
        assert!(refused.stderr.starts_with("error: "), "{refused:?}");
    }
}
