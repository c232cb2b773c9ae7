//! The server dies, or there are two of them, or its state is copied under load.

use crate::support::*;
use fleetfoot_model::RunId;
use fleetfoot_model::state::{Conclusion, Status};
use fleetfoot_testkit::{Fleetfoot, TestRunner, TestServer};
use rustix::process::Signal;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Jobs that run when the server dies.
const RUNNING: u32 = 50;
const LINES: u32 = 120;

fn sorted_lines(path: &Path) -> Vec<String> {
    let mut lines: Vec<String> =
        std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Promises 1, 2 and 5: what was acknowledged is there, nothing runs twice, logs have no gap.
#[test]
fn killed_while_jobs_run_and_clients_submit() {
    let mut server = TestServer::server(BINARY, &[]);
    let _runner = TestRunner::start(&server, "many", RUNNING + 2, &["linux"]);
    let dir = tempfile::tempdir().unwrap();
    let (started, short) = (dir.path().join("started"), dir.path().join("short"));
    let api = Api::of(&server);
    let legs: Vec<String> = (1..=RUNNING).map(|n| n.to_string()).collect();
    let script = format!("echo ${{{{ matrix.n }}}} >> {}\n{}", started.display(), numbered(LINES, 0.05));
    let strategy = format!("strategy:\n  matrix:\n    n: [{}]", legs.join(", "));
    let created = api.submit(&job(&strategy, &[&script]));
    wait_for("all legs to run", LONG, || (sorted_lines(&started).len() == legs.len()).then_some(()));

    // Clients submit all the while, and try again with the same key until they are answered.
    let end = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    let more = |than: usize| {
        wait_for("submits to be answered", LONG, || (answered.load(Ordering::Relaxed) > than).then_some(()));
    };
    let acknowledged: Vec<(String, RunId)> = std::thread::scope(|scope| {
        let submitter = scope.spawn(|| {
            let api = api.again();
            let mut acknowledged = Vec::new();
            let mut n = 0;
            while !end.load(Ordering::Relaxed) {
                n += 1;
                let key = format!("key-{n}");
                let document = one_step(&format!("echo {key} >> {}", short.display()));
                let run =
                    wait_for("a submit to be answered", LONG, || api.try_submit(&document, Some(&key)).ok());
                acknowledged.push((key, run.run));
                answered.fetch_add(1, Ordering::Relaxed);
                // A client that types, not one that floods.
                std::thread::sleep(Duration::from_millis(100));
            }
            acknowledged
        });
        more(3);
        server.kill();
        // Not a condition but the fault itself: this long nobody answers.
        std::thread::sleep(Duration::from_secs(2));
        let before = answered.load(Ordering::Relaxed);
        server.restart();
        more(before + 2);
        end.store(true, Ordering::Relaxed);
        submitter.join().unwrap()
    });

    let run = api.ended(created.run, LONG);
    let jobs = run.jobs.unwrap();
    assert_eq!(jobs.len(), legs.len());
    for job in &jobs {
        let job = api.job(job.id);
        succeeded(&job);
        assert_eq!(job.attempts.unwrap().len(), 1);
        assert_eq!(api.log_text(job.id), numbered_text(LINES));
    }
    let mut expected = legs;
    expected.sort();
    assert_eq!(sorted_lines(&started), expected, "every leg was executed exactly once");

    assert!(acknowledged.len() >= 3, "{acknowledged:?}");
    for (_, run) in &acknowledged {
        assert_eq!(api.ended(*run, LONG).status, Status::Completed);
    }
    let mut keys: Vec<String> = acknowledged.into_iter().map(|a| a.0).collect();
    keys.sort();
    assert_eq!(sorted_lines(&short), keys, "every submit was executed exactly once");
}

#[test]
fn a_second_server_on_the_same_state_is_refused_and_harms_nothing() {
    let server = TestServer::server(BINARY, &[]);
    let _runner = TestRunner::start(&server, "one", 1, &["linux"]);
    let api = Api::of(&server);
    let created = api.submit(&one_step(&numbered(50, 0.02)));
    api.printed(created.jobs[0].id, "line 1\n");
    let dir = tempfile::tempdir().unwrap();
    let alone = Fleetfoot::new(BINARY, dir.path());
    for command in ["server", "up"] {
        let data = server.data().display().to_string();
        let refused = alone.run(&[command, "--data", &data, "--listen", "127.0.0.1:0", "--output", "json"]);
        assert_eq!(refused.code, 6, "{refused:?}");
        assert!(refused.stderr.contains("another"), "{refused:?}");
        assert!(!refused.stdout.contains("admin_token"), "{refused:?}");
    }
    succeeded(&api.ended_job(&created, LONG));
    assert_eq!(api.log_text(created.jobs[0].id), numbered_text(50));
    // The commands of this machine still find the server that runs.
    let found =
        alone.env("FLEETFOOT_DATA", server.data().display().to_string()).env("FLEETFOOT_URL", server.url());
    assert_eq!(found.run(&["list"]).code, 0);
}

#[test]
fn a_backup_under_load_is_whole() {
    let server = TestServer::server(BINARY, &[]);
    let _runner = TestRunner::start(&server, "busy", 3, &["linux"]);
    let api = Api::of(&server);
    let long = api.submit(&one_step(&numbered(100, 0.02)));
    let quick: Vec<_> = (0..6).map(|_| api.submit(&one_step("echo quick"))).collect();
    api.printed(long.jobs[0].id, "line 1\n");
    api.ended(quick[0].run, LONG);
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.db").display().to_string();
    let made = server.cli().run(&["backup", &copy]);
    assert_eq!(made.code, 0, "{made:?}");
    succeeded(&api.ended_job(&long, LONG));

    let data = dir.path().join("restored");
    let alone = Fleetfoot::new(BINARY, dir.path());
    let restored = alone.run(&["restore", &copy, "--data", &data.display().to_string()]);
    assert_eq!(restored.code, 0, "{restored:?}");
    let second = TestServer::server_at(BINARY, &data, &[]);
    // The tokens are in the copy; the file with the first one is not.
    let cli = server.cli().env("FLEETFOOT_URL", second.url());
    for run in quick.iter().chain([&long]) {
        let shown = cli.run(&["show", &run.run.to_string(), "--output", "json"]);
        assert_eq!(shown.code, 0, "{shown:?}");
        assert_eq!(shown.json()["id"], run.run.0, "{shown:?}");
    }
    let first = cli.run(&["show", &quick[0].run.to_string(), "--output", "json"]).json();
    assert_eq!(first["conclusion"], "success", "{first}");
}

/// Promise 1 under the worst timing that can be had: ends, leases and submits are cut at any point.
#[test]
fn killed_again_and_again_under_short_jobs() {
    const JOBS: usize = 120;
    let mut server = TestServer::server(BINARY, &[]);
    let _runner = TestRunner::start(&server, "short", 4, &["linux"]);
    let api = Api::of(&server);
    let dir = tempfile::tempdir().unwrap();
    let executed = dir.path().join("executed");
    let legs: Vec<String> = (1..=JOBS).map(|n| n.to_string()).collect();
    let script = format!("echo ${{{{ matrix.n }}}} >> {}; echo out", executed.display());
    let created =
        api.submit(&job(&format!("strategy:\n  matrix:\n    n: [{}]", legs.join(", ")), &[&script]));
    for kill in 1..=4 {
        wait_for("jobs to go on", LONG, || (sorted_lines(&executed).len() >= kill * JOBS / 6).then_some(()));
        server.kill_and_restart();
    }
    let run = api.ended(created.run, LONG);
    assert_eq!(run.conclusion, Some(Conclusion::Success), "{:?}", run.jobs);
    for job in run.jobs.unwrap() {
        assert_eq!(api.log_text(job.id), "out\n", "job {}", job.id);
    }
    let mut expected = legs;
    expected.sort();
    assert_eq!(sorted_lines(&executed), expected, "every job was executed exactly once");
    assert_eq!(api.completed("short"), [("success".to_owned(), JOBS as u64)]);
}

/// A machine that sleeps, or a virtual one that is paused: nobody was silent but the server itself.
#[test]
fn stopped_beyond_the_lease_it_blames_nobody() {
    let server = TestServer::server(BINARY, &["--lease", "2"]);
    let _runner = TestRunner::start(&server, "faithful", 1, &["linux"]);
    let api = Api::of(&server);
    let created = api.submit(&one_step(&numbered(300, 0.02)));
    api.printed(created.jobs[0].id, "line 1\n");
    server.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(5));
    server.signal(Signal::CONT);
    let ended = api.ended_job(&created, LONG);
    succeeded(&ended);
    assert_eq!(ended.attempts.unwrap().len(), 1);
    assert_eq!(api.log_text(ended.id), numbered_text(300));
}
