//! Jobs that start more processes than they should, or hide them.

use crate::support::*;
use fleetfoot_testkit::{TestRunner, TestServer};
use std::time::Duration;

#[test]
fn a_fork_bomb_is_held_and_its_neighbour_does_not_notice() {
    let server = TestServer::server(BINARY, &[]);
    let mut runner = TestRunner::start(&server, "sturdy", 2, &["linux"]);
    let api = Api::of(&server);
    let neighbour = api.submit(&one_step(&numbered(150, 0.02)));
    api.printed(neighbour.jobs[0].id, "line 1\n");
    // The leader itself starts nothing after the bomb: it waits and leaves.
    let bomb =
        format!("{PAUSE_SH}bomb() {{ bomb | bomb & }}\nbomb 2>/dev/null; pause 2; echo survived; exit 0");
    let created = api.submit(&job("limits:\n  pids: 60", &[&bomb]));
    api.ended(created.run, LONG);
    let ended = api.job(created.jobs[0].id);
    assert!(api.log_text(ended.id).contains("survived"), "{ended:?}");
    assert_eq!(left_after(&server, neighbour.jobs[0].id.0), Vec::<String>::new());
    succeeded(&api.ended_job(&neighbour, LONG));
    assert_eq!(api.log_text(neighbour.jobs[0].id), numbered_text(150));
    let next = api.submit(&one_step("echo next"));
    succeeded(&api.ended_job(&next, LONG));
    assert_eq!(runner.stop().code(), Some(0));
}

/// Processes of jobs of this server other than `job`.
fn left_after(server: &TestServer, job: u64) -> Vec<String> {
    let mut left = processes_of(server);
    left.retain(|line| {
        let pid = line.split(':').next().unwrap_or_default();
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let text = String::from_utf8_lossy(&environ).into_owned();
        text.split('\0').any(|e| {
            e.strip_prefix("FLEETFOOT_ATTEMPT=")
                .is_some_and(|a| !a.starts_with(&format!("{job}.")) && !a.is_empty())
        })
    });
    left
}

#[test]
fn a_daemonising_child_does_not_outlive_its_job() {
    let server = TestServer::server(BINARY, &[]);
    let mut runner = TestRunner::start(&server, "tidy", 2, &["linux"]);
    let api = Api::of(&server);
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let neighbour = api.submit(&one_step(&numbered(100, 0.02)));
    api.printed(neighbour.jobs[0].id, "line 1\n");
    // One in a session of its own, forked twice, without descriptors; one that also
    // drops the environment by which it could be found; one that keeps the output open.
    let script = format!(
        "(setsid bash -c '(exec <&- >&- 2>&-; sleep 120 & echo $! > {}) &' &)\n\
         (env -i setsid /bin/bash -c '(exec </dev/null >/dev/null 2>&1; /bin/sleep 120 & echo $! > {}) &' &)\n\
         sleep 120 & echo $! > {}\n\
         while [ ! -s {} ] || [ ! -s {} ]; do sleep 0.05; done\necho done\n",
        file("plain").display(),
        file("bare").display(),
        file("holder").display(),
        file("plain").display(),
        file("bare").display(),
    );
    let created = api.submit(&one_step(&script));
    let ended = api.ended_job(&created, LONG);
    succeeded(&ended);
    assert_eq!(api.log_text(ended.id), "done\n");
    let pids: Vec<u32> =
        ["plain", "bare", "holder"].map(|n| file_with_line(&file(n)).trim().parse().unwrap()).to_vec();
    // The result is reported after the cell is gone.
    wait_for("the children to be gone", Duration::from_secs(2), || {
        pids.iter().all(|p| alive(*p).is_none()).then_some(())
    });
    assert!(ended.steps[0].leaked, "{:?}", ended.steps);
    succeeded(&api.ended_job(&neighbour, LONG));
    assert_eq!(api.log_text(neighbour.jobs[0].id), numbered_text(100));
    assert_eq!(processes_of(&server), Vec::<String>::new());
    assert_eq!(runner.stop().code(), Some(0));
}

/// In a container without an init of its own, the leader of the session lives outside, and the kernel
/// says 0 when asked for it.
#[test]
fn a_session_that_began_outside_the_pid_namespace() {
    let dir = tempfile::tempdir().unwrap();
    let namespace = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    let able = std::process::Command::new("unshare").args(namespace).arg("true").output();
    if !able.as_ref().is_ok_and(|o| o.status.success()) {
        println!("skipped: no new pid namespace can be made here: {able:?}");
        return;
    }
    let file = dir.path().join("job.yml");
    let script = "(setsid sleep 0.1 &)\nsleep 0.3\necho over";
    std::fs::write(&file, one_step(script)).unwrap();
    let ran = std::process::Command::new("unshare")
        .args(namespace)
        .args([BINARY, "run", "-W"])
        .arg(&file)
        .current_dir(dir.path())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    assert!(String::from_utf8_lossy(&ran.stdout).contains("over") || errors.contains("over"), "{ran:?}");
}
