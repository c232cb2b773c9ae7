//! The fleet from the command line: runners of a server are listed, drained,
//! resumed, labelled and removed, with real runners.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use fleetfoot_testkit::{Finished, TestRunner, TestServer, wait_until};
use serde_json::Value;
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_fleetfoot");
const MINUTE: Duration = Duration::from_secs(60);

fn ok(done: Finished) -> Finished {
    assert_eq!(done.code, 0, "{done:?}");
    done
}

fn runner(server: &TestServer, name: &str) -> Value {
    let found = ok(server.cli().run(&["runner", "list", "--output", "json"])).json();
    found["items"].as_array().unwrap().iter().find(|r| r["name"] == name).cloned().unwrap_or(Value::Null)
}

fn submit(server: &TestServer, label: &str, run: &str) -> String {
    let path = server.data().join(format!("{label}.yml"));
    let text = format!("on: push\njobs:\n  a:\n    runs-on: [{label}]\n    steps: [{{ run: '{run}' }}]\n");
    std::fs::write(&path, text).unwrap();
    let done = ok(server.cli().run(&["submit", path.to_str().unwrap(), "--output", "json"])).json();
    done["run"].to_string()
}

#[test]
fn an_empty_fleet_says_how_to_get_a_runner() {
    let server = TestServer::server(BINARY, &[]);
    let done = ok(server.cli().run(&["runner", "list"]));
    assert!(
        done.stdout.is_empty() && done.stderr.contains("fleetfoot token create --registration"),
        "{done:?}"
    );
    let done = server.cli().run(&["runner", "drain", "nobody"]);
    assert_eq!(done.code, 4, "{done:?}");
    assert!(
        done.stderr.contains("there is no runner nobody") && done.stderr.contains("fleetfoot runner list"),
        "{done:?}"
    );
}

#[test]
fn runners_are_listed_drained_labelled_and_removed() {
    let server = TestServer::server(BINARY, &[]);
    let _box = TestRunner::start(&server, "box", 2, &["own"]);
    let cli = server.cli();
    let listed = ok(cli.run(&["runner", "list"])).stdout;
    assert!(listed.contains("box") && listed.contains("idle") && listed.contains("0 of 2"), "{listed}");

    // Drained: a job waits, and goes on when the runner is resumed.
    let done = ok(cli.run(&["runner", "drain", "box"]));
    assert!(
        done.stderr.contains("takes nothing new") && done.stderr.contains("runner resume box"),
        "{done:?}"
    );
    let run = submit(&server, "own", "true");
    wait_until("the state", MINUTE, || (runner(&server, "box")["state"] == "draining").then_some(()));
    assert_eq!(
        ok(cli.run(&["runner", "list", "--state", "draining", "--output", "json"])).json()["items"][0]["name"],
        "box"
    );
    let why = ok(cli.run(&["why", "1"])).stdout;
    assert!(why.contains("drain"), "{why}");
    ok(cli.run(&["runner", "resume", "box"]));
    assert_eq!(ok(cli.run(&["watch", &run])).code, 0);

    // Labels of the server beside the runner's own.
    let done = ok(cli.run(&["runner", "label", "box", "--add", "gpu", "--add", "big", "--add", "own"]));
    assert!(done.stderr.contains("gpu"), "{done:?}");
    ok(cli.run(&["runner", "label", "box", "--remove", "big"]));
    let labels = runner(&server, "box")["labels"].clone();
    assert!(
        labels.as_array().unwrap().contains(&"gpu".into())
            && !labels.as_array().unwrap().contains(&"big".into()),
        "{labels}"
    );
    let done = cli.run(&["runner", "label", "box", "--remove", "own"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.stderr.contains("offers the label own itself"), "{done:?}");
    assert_eq!(cli.run(&["runner", "label", "box"]).code, 2);

    // Not while it works; by its number as well.
    let run = submit(&server, "gpu", "sleep 600");
    wait_until("the job", MINUTE, || (runner(&server, "box")["state"] == "busy").then_some(()));
    let done = cli.run(&["runner", "remove", "box"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(
        done.stderr.contains("holds jobs") && done.stderr.contains("fleetfoot runner drain box"),
        "{done:?}"
    );
    ok(cli.run(&["cancel", &run]));
    wait_until("the end of the job", MINUTE, || (runner(&server, "box")["state"] == "idle").then_some(()));
    let id = runner(&server, "box")["id"].to_string();
    ok(cli.run(&["runner", "remove", &id]));
    assert_eq!(runner(&server, "box"), Value::Null);
}
