//! Boundaries with real processes: what a runner finds on this machine, jobs
//! in a sandbox through server and runner, jobs that no runner can satisfy,
//! and a runner that is killed in the middle.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking and say why they skip"
)]

use fleetfoot_testkit::{Fleetfoot, GitRepository, TestRunner, TestServer, wait_until};
use serde_json::{Value, json};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_fleetfoot");
const MINUTE: Duration = Duration::from_secs(60);

const WORKFLOW: &str = "\
name: Fenced
on: [push, workflow_dispatch]
jobs:
  fenced:
    runs-on: box
    outputs: { word: '${{ steps.w.outputs.word }}' }
    steps:
      - uses: actions/checkout@v4
      - id: w
        run: |
          cat hello.txt
          echo 'FROM_STEP=kept' >> \"$GITHUB_ENV\"
          echo 'word=fleet' >> \"$GITHUB_OUTPUT\"
          echo '# a summary' >> \"$GITHUB_STEP_SUMMARY\"
          mkdir -p bin && printf '#!/bin/sh\\necho mine\\n' > bin/mine && chmod +x bin/mine
          echo \"$PWD/bin\" >> \"$GITHUB_PATH\"
      - run: |
          echo \"$FROM_STEP ${{ steps.w.outputs.word }} $(mine)\"
          grep CapEff /proc/self/status
          test -z \"$(ls -A /root 2>/dev/null)\" && echo 'no home of the host'
          echo changed > \"$RUNNER_TEMP/here\" && echo \"writes $(cat \"$RUNNER_TEMP/here\")\"
      - uses: ./.github/actions/say
        with: { word: blue }
  after:
    needs: fenced
    runs-on: box
    steps:
      - run: echo 'got ${{ needs.fenced.outputs.word }}'
";

/// What `runner validate` says about a boundary of this machine.
fn report(boundary: &str) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let fleetfoot = Fleetfoot::new(BINARY, dir.path());
    let work = dir.path().join("work").display().to_string();
    let found = fleetfoot.run(&["runner", "validate", "--work-dir", &work, "--output", "json"]).json();
    let boundaries = found["boundaries"].as_array().unwrap().clone();
    boundaries.into_iter().find(|b| b["boundary"] == boundary).unwrap()
}

fn has_sandbox() -> bool {
    let report = report("sandbox");
    if report["offered"] != true {
        eprintln!("skipped: no sandbox on this machine: {report}");
    }
    report["offered"] == true
}

fn file(server: &TestServer, name: &str, text: &str) -> String {
    let path = server.data().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn runner(server: &TestServer, further: &[&str]) -> TestRunner {
    let mut all = vec!["--label", "box"];
    all.extend(further);
    TestRunner::start_at(server, server.url(), None, "box", 1, &all)
}

fn script(path: &Path, text: &str) -> String {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// Serves the repositories of a directory: a job behind a fence is given nothing that lies on its runner.
struct GitDaemon {
    child: std::process::Child,
    port: u16,
}

impl GitDaemon {
    fn start(base: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let programs = Command::new("git").arg("--exec-path").output().unwrap().stdout;
        let programs = String::from_utf8(programs).unwrap();
        // Not by way of `git`, which would leave it behind when it is ended.
        let child = Command::new(Path::new(programs.trim()).join("git-daemon"))
            .args(["--listen=127.0.0.1", "--reuseaddr", "--export-all"])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", base.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the git daemon", MINUTE, || TcpStream::connect(("127.0.0.1", port)).ok());
        Self { child, port }
    }
}

impl Drop for GitDaemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn validate_tries_every_boundary() {
    for boundary in ["process", "sandbox", "container", "gvisor"] {
        let report = report(boundary);
        if report["offered"] == true {
            assert!(!report["holds"].as_array().unwrap().is_empty(), "{report}");
        } else {
            let missing = report["missing"].as_array().unwrap();
            let decisive = missing.iter().find(|m| m["required"] == true).unwrap();
            assert!(!decisive["fix"].as_str().unwrap().is_empty(), "{report}");
        }
    }
    assert_eq!(report("process")["offered"], true);
}

#[test]
fn a_workflow_in_a_sandbox() {
    if !has_sandbox() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let repository = GitRepository::new(dir.path().join("app"));
    repository.write(".github/workflows/ci.yml", WORKFLOW);
    repository.write(
        ".github/actions/say/action.yml",
        "name: say\ninputs: { word: { required: true } }\nruns: { using: node20, main: main.js }\n",
    );
    let main = "console.log(`js says ${process.env.INPUT_WORD} as ${process.getuid()}`)\n";
    repository.write(".github/actions/say/main.js", main);
    repository.write("hello.txt", "from the repository\n");
    let sha = repository.commit("fenced");
    let daemon = GitDaemon::start(dir.path());
    let address = format!("git://127.0.0.1:{}/app", daemon.port);
    let server = TestServer::server(BINARY, &[]);
    let started = script(&dir.path().join("started"), "#!/bin/sh\necho hook before\n");
    let completed = script(&dir.path().join("completed"), "#!/bin/sh\necho hook after\n");
    let _runner = runner(
        &server,
        &["--boundary", "sandbox", "--job-started-hook", &started, "--job-completed-hook", &completed],
    );
    let cli = server.cli().within(repository.path());
    let done = cli.run(&[
        "submit",
        ".github/workflows/ci.yml",
        "--event",
        "push",
        "--repo",
        &address,
        "--sha",
        &sha,
        "--watch",
    ]);
    assert_eq!(done.code, 0, "{done:?}");
    for line in [
        "from the repository",
        "kept fleet mine",
        "CapEff:\t0000000000000000",
        "no home of the host",
        "writes changed",
        "js says blue as",
        "hook before",
        "hook after",
        "got fleet",
    ] {
        assert!(done.stdout.contains(line), "no line '{line}' in {}", done.stdout);
    }
    let run = cli.run(&["list", "--output", "json"]).json()["items"][0]["id"].to_string();
    let jobs = cli.run(&["show", &run, "--output", "json"]).json();
    let shown = cli.run(&["show", &run]).stdout;
    assert!(
        shown.contains("boundary: sandbox (driver sandbox/") && shown.contains("no capabilities"),
        "{shown}"
    );
    let job: u64 = jobs["jobs"][0]["id"].as_u64().unwrap();
    let record = record(&server, job);
    assert_eq!((&record["boundary"], &record["capabilities"]), (&json!("sandbox"), &json!([])), "{record}");
    assert!(record["seccomp"].is_string() && record["network"] == "host", "{record}");
}

/// What held for the last attempt of a job, as the API tells it.
fn record(server: &TestServer, job: u64) -> Value {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let view = runtime.block_on(server.client().job(fleetfoot_model::JobId(job))).unwrap();
    serde_json::to_value(view.attempts.unwrap().pop().unwrap().boundary.unwrap()).unwrap()
}

#[test]
fn what_no_runner_can_make_waits_with_the_reason() {
    let server = TestServer::server(BINARY, &[]);
    let _runner = runner(&server, &["--max-boundary", "sandbox", "--container-engine", "off"]);
    let cli = server.cli();
    let first = |text: &str| {
        let created = cli.run(&["submit", &file(&server, "a.yml", text), "--output", "json"]);
        assert_eq!(created.code, 0, "{created:?}");
        let job = created.json()["jobs"][0]["id"].to_string();
        wait_until("the reason", MINUTE, || {
            let why = cli.run(&["why", &job, "--output", "json"]).json();
            let code = why["reasons"][0]["code"].as_str()?.to_owned();
            (code != "no_runner_online" && code != "labels_not_offered").then_some((code, why))
        })
    };
    let (code, why) = first("runs-on: box\nmin-boundary: gvisor\nsteps: [{run: 'true'}]\n");
    assert_eq!(code, "boundary_not_offered", "{why}");
    assert_eq!(why["reasons"][0]["minimum"], "gvisor");
    let services = "on: [workflow_dispatch]\njobs:\n  a:\n    runs-on: box\n    services: { db: { image: redis } }\n    \
                    steps: [{run: 'true'}]\n";
    let (code, why) = first(services);
    assert_eq!(code, "containers_not_offered", "{why}");
    assert!(why["summary"].as_str().unwrap().contains("container engine"), "{why}");
}

#[test]
fn a_job_gets_what_it_demands_and_no_more() {
    if !has_sandbox() {
        return;
    }
    let server = TestServer::server(BINARY, &[]);
    let _runner = runner(&server, &[]);
    let cli = server.cli();
    for (demand, got) in [("", "process"), ("min-boundary: sandbox\n", "sandbox")] {
        let text = format!("runs-on: box\n{demand}steps: [{{run: 'true'}}]\n");
        let created = cli.run(&["submit", &file(&server, "a.yml", &text), "--wait", "--output", "json"]);
        assert_eq!(created.code, 0, "{created:?}");
        let run = cli.run(&["list", "--output", "json"]).json()["items"][0]["id"].to_string();
        let jobs = cli.run(&["show", &run, "--output", "json"]).json();
        assert_eq!(record(&server, jobs["jobs"][0]["id"].as_u64().unwrap())["boundary"], got);
    }
}

#[test]
fn a_runner_without_its_boundary_does_not_start() {
    let server = TestServer::server(BINARY, &[]);
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work").display().to_string();
    let token = server.registration_token();
    let tried = server.cli().run(&[
        "runner",
        "up",
        "--server",
        server.url(),
        "--token",
        &token,
        "--work-dir",
        &work,
        "--boundary",
        "container",
        "--max-boundary",
        "container",
        "--container-engine",
        "off",
    ]);
    assert_eq!(tried.code, 6, "{tried:?}");
    assert!(
        tried.stderr.contains("container_engine") && tried.stderr.contains("runner validate"),
        "{tried:?}"
    );
}

#[test]
fn a_killed_runner_leaves_no_sandbox_behind() {
    if !has_sandbox() {
        return;
    }
    // A workspace of its own file system is the one thing that outlives its runner; it needs root.
    let volume = rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists();
    let server = TestServer::server(BINARY, &[]);
    let mut further = vec!["--boundary", "sandbox"];
    if volume {
        further.extend(["--sandbox-workspace", "64M"]);
    }
    let mut runner = runner(&server, &further);
    let cli = server.cli();
    let marker = format!("{}.25", 900_000 + std::process::id());
    let text = format!(
        "runs-on: box\nsteps:\n  - run: |\n      (setsid sleep {marker} &)\n      echo started; exec sleep {marker}\n"
    );
    let created = cli.run(&["submit", &file(&server, "long.yml", &text), "--output", "json"]).json();
    let (run, job) = (created["run"].to_string(), created["jobs"][0]["id"].to_string());
    wait_until("the step to print", MINUTE, || {
        (cli.run(&["logs", &job]).stdout == "started\n").then_some(())
    });
    let work = runner.work_dir().display().to_string();
    let mounts = || {
        let all = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        all.lines().filter(|line| line.contains(&work)).count()
    };
    let sleeping = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter(|p| {
            std::fs::read(p.path().join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&marker))
        })
        .count()
    };
    assert_eq!(mounts(), usize::from(volume), "nothing else is mounted on the host");
    assert!(sleeping() >= 2);
    runner.kill();
    wait_until("its processes to end with it", MINUTE, || (sleeping() == 0).then_some(()));
    runner.restart();
    wait_until("the volume to be gone", MINUTE, || (mounts() == 0).then_some(()));
    let ended = cli.run(&["watch", &run, "--exit-status"]);
    assert_ne!(ended.code, 0, "{ended:?}");
    let jobs = Path::new(&work).join("jobs");
    wait_until("its directories to be gone", MINUTE, || {
        let left = std::fs::read_dir(&jobs).map_or(0, |entries| entries.count());
        (left == 0).then_some(())
    });
    // The next job has everything it needs.
    let good = "runs-on: box\nsteps: [{run: echo again}]\n";
    let done = cli.run(&["submit", &file(&server, "good.yml", good), "--wait"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(runner.stop().code(), Some(0));
}
