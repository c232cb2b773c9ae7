//! Secrets, variables, environments and approvals with real processes: server,
//! runner, command line, and servers that are killed.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use fleetfoot_testkit::{Finished, Fleetfoot, TestServer, wait_until};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_fleetfoot");
const MINUTE: Duration = Duration::from_secs(60);
const VALUE: &str = "correct-horse-battery-staple";

fn file(server: &TestServer, name: &str, text: &str) -> String {
    let path = server.data().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn ok(done: Finished) -> Finished {
    assert_eq!(done.code, 0, "{done:?}");
    done
}

/// Files below that hold these bytes.
fn holding(dir: &Path, needle: &str, found: &mut Vec<String>) {
    for path in std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
        if path.is_dir() {
            holding(&path, needle, found);
        } else if std::fs::read(&path)
            .unwrap_or_default()
            .windows(needle.len())
            .any(|w| w == needle.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
}

const PRINTS: &str = "\
on: push
jobs:
  print:
    runs-on: ubuntu-latest
    steps:
      - run: echo \"token=$TOKEN region=${{ vars.REGION }}\"
        env:
          TOKEN: ${{ secrets.DEPLOY_TOKEN }}
      - run: test \"$TOKEN\" = correct-horse-battery'-'staple
        env:
          TOKEN: ${{ secrets.deploy_token }}
";

#[test]
fn a_secret_reaches_its_job_masked_and_nobody_else() {
    let mut server = TestServer::up(BINARY, &[]);
    let cli = server.cli();
    let stored = ok(cli.run_with_input(
        &["secret", "set", "deploy_token", "--project", "web"],
        b"correct-horse-battery-staple\n",
    ));
    assert!(stored.stderr.contains("secret DEPLOY_TOKEN (project web) is stored"), "{stored:?}");
    assert_ne!(cli.run(&["secret", "set", "A", VALUE]).code, 0, "never as an argument");
    ok(cli.run(&["variable", "set", "REGION", "eu", "--global"]));
    ok(cli.run(&["variable", "set", "REGION", "us", "--project", "web"]));
    assert_eq!(ok(cli.run(&["variable", "get", "region", "--global"])).stdout, "eu\n");

    let workflow = file(&server, "print.yml", PRINTS);
    let run = ["submit", &workflow, "--project", "web", "--no-repo", "--watch"];
    let watched = ok(cli.run(&run));
    assert!(watched.stdout.contains("token=*** region=us"), "{watched:?}");
    let listed = ok(cli.run(&["secret", "list", "--project", "web", "--output", "json"]));
    assert_eq!(listed.json()["items"][0]["name"], "DEPLOY_TOKEN");
    let uses = ok(cli.run(&["secret", "uses", "--name", "deploy_token", "--output", "json"]));
    let used = &uses.json()["items"];
    assert_eq!((used.as_array().unwrap().len(), &used[0]["scope"]), (1, &json!("project")));
    let human = ok(cli.run(&["secret", "uses"]));
    assert!(human.stdout.contains("DEPLOY_TOKEN"), "{human:?}");
    for said in [&stored, &watched, &listed, &uses, &human] {
        assert!(!format!("{said:?}").contains(VALUE), "{said:?}");
    }
    let mut found = Vec::new();
    holding(server.data(), VALUE, &mut found);
    assert!(server.stop().success());
    holding(server.data(), VALUE, &mut found);
    assert_eq!(found, [""; 0], "the value is on the disk in clear");

    server.restart();
    let cli = server.cli();
    ok(cli.run(&["secret", "delete", "DEPLOY_TOKEN", "--project", "web"]));
    assert_eq!(cli.run(&["secret", "delete", "DEPLOY_TOKEN", "--project", "web"]).code, 4);
    assert_eq!(cli.run(&run).code, 1, "without it the job fails");
}

#[test]
fn a_file_is_taken_as_it_is_and_bad_input_says_what_to_do() {
    let server = TestServer::server(BINARY, &[]);
    let cli = server.cli();
    let pem = file(&server, "key.pem", "-----BEGIN-----\nx\n-----END-----\n");
    ok(cli.run(&["secret", "set", "PEM", "--from-file", &pem]));
    let binary = server.data().join("binary");
    std::fs::write(&binary, [0xff, 0xfe]).unwrap();
    let refused = cli.run(&["secret", "set", "BIN", "--from-file", binary.to_str().unwrap()]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("base64"), "{refused:?}");
    let refused = cli.run_with_input(&["secret", "set", "GITHUB_X"], b"x");
    assert!(refused.stderr.contains("does not begin with GITHUB_"), "{refused:?}");
    let refused = cli.run_with_input(&["secret", "set", "X", "--env", "production"], b"x");
    assert_eq!(refused.code, 4);
    assert!(refused.stderr.contains("fleetfoot environment create"), "{refused:?}");
    let large = vec![b'x'; 48 * 1024 + 1];
    let refused = cli.run_with_input(&["secret", "set", "LARGE"], &large);
    assert!(refused.stderr.contains("at most 49152 bytes"), "{refused:?}");
}

const DEPLOY: &str = "\
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - run: echo built
  deploy:
    needs: build
    environment: production
    runs-on: ubuntu-latest
    steps:
      - run: echo \"deployed $KEY ${{ vars.WHERE }}\"
        env:
          KEY: ${{ secrets.KEY }}
";

/// A command line with a token of its own.
fn member(server: &TestServer, name: &str) -> Fleetfoot {
    let made = ok(server.cli().run(&["token", "create", "--member", "--name", name, "--output", "json"]));
    server.cli().env("FLEETFOOT_TOKEN", made.json()["token"].as_str().unwrap())
}

fn submit(cli: &Fleetfoot, file: &str) -> (String, String) {
    let created = ok(cli.run(&["submit", file, "--project", "web", "--no-repo", "--output", "json"])).json();
    (created["run"].to_string(), created["jobs"][1]["id"].to_string())
}

fn waits_for_approval(cli: &Fleetfoot, job: &str) -> Value {
    wait_until("the job to wait for its approval", MINUTE, || {
        let why = ok(cli.run(&["why", job, "--output", "json"])).json();
        (why["reasons"][0]["code"] == "approval").then_some(why)
    })
}

#[test]
fn an_environment_holds_a_job_until_a_reviewer_approves() {
    let mut server = TestServer::up(BINARY, &[]);
    let cli = server.cli();
    let env = [
        "environment",
        "create",
        "production",
        "--project",
        "web",
        "--reviewer",
        "alice",
        "--reviewer",
        "bob",
    ];
    ok(cli.run(&[&env[..], &["--prevent-self-review"]].concat()));
    assert_eq!(cli.run(&env).code, 5, "it is there");
    let shown = ok(cli.run(&["environment", "show", "Production", "--project", "web"])).stdout;
    assert!(shown.contains("approved by alice or bob, but never who caused the run"), "{shown}");
    let scope = ["--project", "web", "--env", "production"];
    ok(cli.run_with_input(&[&["secret", "set", "KEY"], &scope[..]].concat(), VALUE.as_bytes()));
    ok(cli.run(&[&["variable", "set", "WHERE", "over there"], &scope[..]].concat()));
    let workflow = file(&server, "deploy.yml", DEPLOY);
    let (alice, bob, carol) = (member(&server, "alice"), member(&server, "bob"), member(&server, "carol"));

    let (run, job) = submit(&alice, &workflow);
    let why = waits_for_approval(&cli, &job);
    assert_eq!(why["summary"], "It waits for approval of environment production by alice or bob.");
    let shown = ok(cli.run(&["show", &run, "--output", "json"])).json();
    assert_eq!((&shown["jobs"][1]["status"], &shown["conclusion"]), (&json!("waiting"), &Value::Null));
    server.kill_and_restart();
    let cli = server.cli();
    waits_for_approval(&cli, &job);
    let listed = ok(cli.run(&["approvals", "list", "--output", "json"])).json();
    assert_eq!(listed["items"][0]["job"].to_string(), job);
    assert!(ok(cli.run(&["approvals", "list"])).stdout.contains("production"));
    for (who, word) in [(&alice, "caused"), (&carol, "alice or bob")] {
        let refused = who.run(&["approve", "--job", &job]);
        assert!(refused.code == 3 && refused.stderr.contains(word), "{refused:?}");
    }
    let approved = ok(bob.run(&["approve", &run, "--comment", "go"]));
    assert!(approved.stderr.contains(&format!("job {job} is approved")), "{approved:?}");
    ok(cli.run(&["watch", &run, "--exit-status"]));
    assert_eq!(ok(cli.run(&["logs", &job])).stdout, "deployed *** over there\n");

    let (run, job) = submit(&alice, &workflow);
    waits_for_approval(&cli, &job);
    ok(bob.run(&["reject", "--job", &job, "--comment", "not on a Friday"]));
    assert_eq!(cli.run(&["watch", &run, "--exit-status"]).code, 1);
    let shown = ok(cli.run(&["show", &run])).stdout;
    assert!(shown.contains("not on a Friday"), "{shown}");
    let all = ok(cli.run(&["approvals", "list", "--all", "--output", "json"])).json();
    let states: Vec<&Value> = all["items"].as_array().unwrap().iter().map(|a| &a["state"]).collect();
    assert_eq!(states, ["rejected", "approved"]);
    let audit = ok(cli.run(&["environment", "update", "production", "--project", "web", "--no-reviewers"]));
    assert!(audit.stderr.contains("is changed"), "{audit:?}");
    let (run, _) = submit(&alice, &workflow);
    ok(cli.run(&["watch", &run, "--exit-status"]));
}

#[test]
fn a_rotation_that_is_killed_loses_nothing() {
    let mut server = TestServer::up(BINARY, &[]);
    let workflow = file(&server, "print.yml", PRINTS);
    let cli = server.cli();
    let set = |project: &str| {
        let args = ["secret", "set", "DEPLOY_TOKEN", "--project", project];
        ok(cli.run_with_input(&args, VALUE.as_bytes()));
    };
    // Several projects: several data keys.
    for project in ["web", "a", "b", "c", "d", "e", "f", "g"] {
        set(project);
    }
    let key = || std::fs::read(server.data().join("secret.key")).unwrap();
    let first = key();
    let mut changed = 0;
    for millis in [0, 1, 2, 4, 8, 16, 32] {
        let before = std::fs::read(server.data().join("secret.key")).unwrap();
        let args = ["secret", "rotate-key"];
        let mut rotating =
            server.cli().command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Somewhere on the way: from before it begins until after its end.
        wait_until("the rotation to begin, or to be over", Duration::from_secs(10), || {
            let begun = server.data().join("secret.key.next").exists();
            let over = rotating.try_wait().unwrap().is_some();
            (begun || over).then_some(())
        });
        std::thread::sleep(Duration::from_millis(millis));
        server.kill_and_restart();
        rotating.wait().unwrap();
        assert!(!server.data().join("secret.key.next").exists(), "the start ended it");
        let after = std::fs::read(server.data().join("secret.key")).unwrap();
        changed += usize::from(before != after);
        let run = ["submit", &workflow, "--project", "web", "--no-repo", "--wait"];
        ok(server.cli().run(&run));
    }
    assert!(changed > 0, "some rotation got through");
    let done = ok(server.cli().run(&["secret", "rotate-key", "--output", "json"])).json();
    assert!(done["data_keys"].as_u64().unwrap() >= 10, "{done}");
    assert_ne!(std::fs::read(server.data().join("secret.key")).unwrap(), first);
    ok(server.cli().run(&["submit", &workflow, "--project", "g", "--no-repo", "--wait"]));
}
