//! Users with real processes: made and changed by the command line, signed in
//! over HTTP, across a restart of the server.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use fleetfoot_testkit::{Finished, TestServer};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_fleetfoot");
const PASSWORD: &str = "correct horse battery";

fn ok(done: Finished) -> Finished {
    assert_eq!(done.code, 0, "{done:?}");
    done
}

/// Signs in; the status and the session's cookie.
fn sign_in(url: &str, name: &str, password: &str) -> (u16, Option<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let request = reqwest::Client::new().post(format!("{url}/api/v1/session"));
        let answer = request.json(&json!({ "name": name, "password": password })).send().await.unwrap();
        let cookie = answer.headers().get("set-cookie").map(|c| c.to_str().unwrap().to_owned());
        (answer.status().as_u16(), cookie.and_then(|c| c.split(';').next().map(str::to_owned)))
    })
}

fn is_signed_in(url: &str, cookie: &str) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let request = reqwest::Client::new().get(format!("{url}/api/v1/session")).header("cookie", cookie);
        request.send().await.unwrap().status() == 200
    })
}

#[test]
fn users_from_the_command_line() {
    let server = TestServer::up(BINARY, &[]);
    let (cli, url) = (server.cli(), server.url().to_owned());
    let none = ok(cli.run(&["user", "list"]));
    assert!(none.stderr.contains("fleetfoot user create NAME --role admin"), "{none:?}");

    let made = ok(
        cli.run_with_input(&["user", "create", "ada", "--role", "admin"], format!("{PASSWORD}\n").as_bytes())
    );
    assert!(made.stderr.contains("user ada (admin) is created") && made.stdout.is_empty(), "{made:?}");
    let file = server.data().join("password");
    std::fs::write(&file, "another password\r\nsecond line\n").unwrap();
    let args = [
        "user",
        "create",
        "grace",
        "--role",
        "read-only",
        "--display-name",
        "Grace Hopper",
        "--password-file",
    ];
    let made = ok(cli.run(&[&args[..], &[file.to_str().unwrap(), "--output", "json"]].concat()));
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    assert_eq!((&made["role"], &made["has_password"]), (&json!("read_only"), &json!(true)));
    ok(cli.run(&["user", "create", "edsger", "--role", "member", "--identity", "corp:7"]));
    let list = ok(cli.run(&["user", "list"])).stdout;
    for line in ["grace   Grace Hopper  read-only  password", "edsger                member     corp:7"] {
        assert!(list.contains(line), "{list}");
    }
    for (args, code) in [
        (vec!["user", "create", "ADA", "--role", "member", "--no-password"], 5),
        (vec!["user", "create", "x", "--role", "root", "--no-password"], 2),
        (vec!["user", "create", "a b", "--role", "member", "--no-password"], 2),
        (vec!["user", "show", "nobody"], 4),
        (vec!["user", "update", "ada"], 2),
    ] {
        assert_eq!(cli.run(&args).code, code, "{args:?}");
    }

    assert_eq!(sign_in(&url, "ada", "wrong password").0, 401);
    assert_eq!(sign_in(&url, "grace", "another password").0, 201);
    let (status, cookie) = sign_in(&url, "ada", PASSWORD);
    let cookie = cookie.unwrap();
    assert!(status == 201 && is_signed_in(&url, &cookie));
    ok(cli.run(&["user", "update", "ada", "--role", "member"]));
    assert!(is_signed_in(&url, &cookie));
    ok(cli.run_with_input(&["user", "password", "ada"], b"a third password"));
    assert!(!is_signed_in(&url, &cookie));
    let cookie = sign_in(&url, "ada", "a third password").1.unwrap();
    ok(cli.run(&["user", "update", "ada", "--disable"]));
    assert!(!is_signed_in(&url, &cookie));
    let shown = ok(cli.run(&["user", "show", "ada"])).stdout;
    assert!(shown.contains("nothing: disabled"), "{shown}");
    ok(cli.run(&["user", "delete", "grace"]));
    assert_eq!(sign_in(&url, "grace", "another password").0, 401);
}

#[test]
fn settings_that_make_no_sense_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sign-in.toml");
    std::fs::write(&file, "[[provider]]\nid = 'corp'\nissuer = 'http://id.example.org'\n").unwrap();
    let data = dir.path().join("data");
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(BINARY);
        command.args(["server", "--listen", "127.0.0.1:0", "--data"]).arg(&data).args(args);
        let done = command.output().unwrap();
        (done.status.code().unwrap(), String::from_utf8(done.stderr).unwrap())
    };
    let (code, said) = run(&["--sign-in", file.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(said.contains("missing field `name`") && said.contains("docs/dashboard.md"), "{said}");
    let (code, said) = run(&["--session-idle", "5s"]);
    assert!(code == 2 && said.contains("a minute at least"), "{said}");
}
