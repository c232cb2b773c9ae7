//! The runner dies, stops beyond its lease, or is asked to leave.

use crate::support::*;
use fleetfoot_model::state::{Conclusion, Reason, RunnerState, Status};
use fleetfoot_testkit::{TestRunner, TestServer};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Noticed in time with the lease that servers have by default, and nothing of the job stays.
#[test]
fn killed_in_the_middle_of_a_step() {
    let server = TestServer::server(BINARY, &[]);
    let mut runner = TestRunner::start(&server, "dies", 1, &["linux"]);
    let api = Api::of(&server);
    let dir = tempfile::tempdir().unwrap();
    let (leader, daemon) = (dir.path().join("leader"), dir.path().join("daemon"));
    let created = api.submit(&one_step(&format!(
        "setsid bash -c 'exec <&- >&- 2>&-; sleep 120 & echo $! > {}; wait' &\necho $$ > {}; echo ready; exec sleep 120",
        daemon.display(),
        leader.display()
    )));
    api.printed(created.jobs[0].id, "ready\n");
    let pids: Vec<u32> = [&leader, &daemon].map(|f| file_with_line(f).trim().parse().unwrap()).to_vec();
    let born: Vec<_> = pids.iter().map(|p| alive(*p)).collect();
    assert!(born.iter().all(Option::is_some), "{born:?}");
    let groups: Vec<_> = pids.iter().flat_map(|p| control_groups(*p)).collect();
    let jobs = runner.work_dir().join("jobs");
    assert_eq!(std::fs::read_dir(&jobs).unwrap().count(), 1);

    let begin = Instant::now();
    runner.kill();
    let lost = api.ended_job(&created, Duration::from_secs(30));
    assert!(begin.elapsed() <= Duration::from_secs(15), "noticed after {:?}", begin.elapsed());
    assert_eq!((lost.conclusion, lost.reason), (Some(Conclusion::Failure), Some(Reason::RunnerLost)));
    assert_eq!(api.log_text(created.jobs[0].id), "ready\n");

    runner.restart();
    wait_for("the orphans to be gone", LONG, || {
        let same = |(pid, born): (&u32, &Option<String>)| alive(*pid) == *born;
        (!pids.iter().zip(&born).any(same) && processes_of(&server).is_empty()).then_some(())
    });
    wait_for("the directories and control groups to be gone", LONG, || {
        let left = std::fs::read_dir(&jobs).map_or(0, Iterator::count);
        (left == 0 && groups.iter().all(|g| !g.exists())).then_some(())
    });
    // The next start is a runner like any other, and what was concluded stays.
    let next = api.submit(&one_step("echo again"));
    succeeded(&api.ended_job(&next, LONG));
    assert_eq!(api.job(lost.id).reason, Some(Reason::RunnerLost));
}

/// Promise 2: the lease moved on, so nothing that the old holder says counts.
#[test]
fn stopped_beyond_the_lease() {
    let server = TestServer::server(BINARY, &["--lease", "2"]);
    let sleeper = TestRunner::start(&server, "sleeper", 1, &["linux"]);
    let api = Api::of(&server);
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    // The first try would go on for long; the second one ends.
    let script = format!(
        "{PAUSE_SH}echo $$ >> {0}; echo \"try of $RUNNER_NAME\"\nif [ \"$RUNNER_NAME\" = sleeper ]; then for ((i=0; i<3000; i++)); do echo old; pause 0.02; done; fi\n",
        pids.display()
    );
    let retry = "retry:\n  max-attempts: 2\n  on: [lost-runner]\n  backoff-seconds: 0";
    let created = api.submit(&job(retry, &[&script]));
    let id = created.jobs[0].id;
    api.printed(id, "old\n");
    let old: u32 = file_with_line(&pids).trim().parse().unwrap();
    let born = alive(old);
    assert!(born.is_some());
    sleeper.signal(Signal::STOP);
    let _other = TestRunner::start(&server, "other", 1, &["linux"]);
    let ended = api.ended_job(&created, LONG);
    succeeded(&ended);
    assert_eq!(ended.runner_name.as_deref(), Some("other"));
    assert_eq!(api.log_text(id), "try of other\n");
    assert_eq!(alive(old), born, "the old try still runs while its runner is stopped");

    sleeper.signal(Signal::CONT);
    wait_for("the old try to be killed", LONG, || (alive(old) != born).then_some(()));
    wait_for("the refused write to be in the audit log", LONG, || {
        let subject = format!("job:{id}");
        api.audit().iter().any(|e| e.action == "attempt.stale_write" && e.subject == subject).then_some(())
    });
    wait_for("nothing of the old try to be left", LONG, || {
        let left = std::fs::read_dir(sleeper.work_dir().join("jobs")).map_or(0, Iterator::count);
        (left == 0).then_some(())
    });
    let after = api.job(id);
    let tries: Vec<_> =
        after.attempts.as_ref().unwrap().iter().map(|a| (a.finished, a.conclusion, a.reason)).collect();
    let lost = (true, Some(Conclusion::Failure), Some(Reason::RunnerLost));
    assert_eq!(tries, [lost, (true, Some(Conclusion::Success), None)]);
    assert_eq!((after.conclusion, after.finished_at), (ended.conclusion, ended.finished_at));
    assert_eq!(api.log_text(id), "try of other\n");
    // The fenced runner goes on working.
    let next = api.submit(&one_step("echo \"on $RUNNER_NAME\""));
    succeeded(&api.ended_job(&next, LONG));
}

#[test]
fn asked_to_leave_it_finishes_what_it_has() {
    let server = TestServer::server(BINARY, &[]);
    let mut runner = TestRunner::start(&server, "leaves", 2, &["linux"]);
    let api = Api::of(&server);
    let running = api.submit(&one_step(&numbered(120, 0.02)));
    api.printed(running.jobs[0].id, "line 1\n");
    runner.signal(Signal::TERM);
    wait_for("the server to know", LONG, || (api.state("leaves") == RunnerState::Draining).then_some(()));
    // It has a free slot, and takes nothing.
    let late = api.submit(&one_step("echo late"));
    assert_eq!(runner.wait(LONG).code(), Some(0));
    succeeded(&api.ended_job(&running, LONG));
    assert_eq!(api.log_text(running.jobs[0].id), numbered_text(120));
    assert_eq!(api.job(late.jobs[0].id).status, Status::Queued);
    assert!(api.job(late.jobs[0].id).attempts.unwrap_or_default().is_empty());
    assert_eq!(processes_of(&server), Vec::<String>::new());
}

#[test]
fn asked_twice_it_cancels_what_it_has() {
    let server = TestServer::server(BINARY, &[]);
    let mut runner = TestRunner::start(&server, "hurries", 1, &["linux"]);
    let api = Api::of(&server);
    let running = api.submit(&one_step("echo ready; exec sleep 120"));
    api.printed(running.jobs[0].id, "ready\n");
    runner.signal(Signal::TERM);
    wait_for("the server to know", LONG, || (api.state("hurries") == RunnerState::Draining).then_some(()));
    assert_eq!(api.job(running.jobs[0].id).status, Status::Running);
    let begin = Instant::now();
    runner.signal(Signal::TERM);
    assert_eq!(runner.wait(LONG).code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    let ended = api.ended_job(&running, LONG);
    assert_eq!(ended.conclusion, Some(Conclusion::Cancelled), "{:?}", ended.message);
    assert_eq!(processes_of(&server), Vec::<String>::new());
}

#[test]
fn up_ends_in_order_with_a_job_running() {
    let mut server = TestServer::up(BINARY, &["--label", "linux", "--drain", "1"]);
    let api = Api::of(&server);
    let running = api.submit(&one_step("echo ready; exec sleep 120"));
    api.printed(running.jobs[0].id, "ready\n");
    let begin = Instant::now();
    assert_eq!(server.stop().code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    assert_eq!(processes_of(&server), Vec::<String>::new());
    // The end of the job was stored before the server went.
    server.restart();
    assert_eq!(api.ended_job(&running, LONG).conclusion, Some(Conclusion::Cancelled));
}

/// The result and the end of the log exist only on the runner's disk when it dies.
#[test]
fn killed_after_the_end_of_a_job_while_the_server_is_away() {
    let mut server = TestServer::server(BINARY, &[]);
    let mut runner = TestRunner::start(&server, "remembers", 1, &["linux"]);
    let api = Api::of(&server);
    let dir = tempfile::tempdir().unwrap();
    let executed = dir.path().join("executed");
    let script = format!("echo once >> {}\n{}", executed.display(), numbered(60, 0.02));
    let created = api.submit(&one_step(&script));
    api.printed(created.jobs[0].id, "line 1\n");
    server.kill();
    // What a runner that is killed now knows is in its journal and its spool.
    wait_for("the result to be in the journal and the log in the spool", LONG, || {
        let mut found = (false, false);
        for entry in walk(runner.work_dir()) {
            let bytes = std::fs::read(&entry).unwrap_or_default();
            let has = |text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
            found.0 |= entry.extension().is_some_and(|e| e == "journal") && has("\"finished\"");
            found.1 |= entry.extension().is_some_and(|e| e == "spool") && has("line 60\n");
        }
        (found == (true, true)).then_some(())
    });
    runner.kill();
    server.restart();
    runner.restart();
    let ended = api.ended_job(&created, LONG);
    succeeded(&ended);
    assert_eq!(ended.attempts.unwrap().len(), 1);
    assert_eq!(api.log_text(ended.id), numbered_text(60));
    assert_eq!(std::fs::read_to_string(&executed).unwrap(), "once\n");
    wait_for("the runner to forget", LONG, || {
        let left = walk(runner.work_dir());
        let kept = |e: &std::path::PathBuf| e.extension().is_some_and(|e| e == "journal" || e == "spool");
        (!left.iter().any(kept)).then_some(())
    });
}

/// Every file below a directory.
fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let (mut files, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                _ => files.push(entry.path()),
            }
        }
    }
    files
}

/// With nothing else to wake it, one broken exchange must still be followed by the next.
#[test]
fn an_idle_runner_finds_a_restarted_server() {
    let mut server = TestServer::server(BINARY, &[]);
    let _runner = TestRunner::start(&server, "idle", 1, &["linux"]);
    let api = Api::of(&server);
    for _ in 0..3 {
        let created = api.submit(&one_step("echo here"));
        succeeded(&api.ended_job(&created, Duration::from_secs(12)));
        wait_for("the runner to be idle", LONG, || (api.state("idle") == RunnerState::Idle).then_some(()));
        server.kill_and_restart();
    }
    let created = api.submit(&one_step("echo here"));
    succeeded(&api.ended_job(&created, Duration::from_secs(12)));
}
