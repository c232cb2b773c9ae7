//! A runner that is killed in the middle of a step: the next one of the same
//! tag sweeps what it left, and nothing of anybody else.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Job, alive, eventually};
use fleetfoot_driver::Driver;
use fleetfoot_driver_process::{ProcessDriver, ProcessOptions};
use std::path::Path;
use std::process::{Command, Stdio};

const CHILD: &str = "FLEETFOOT_TEST_CRASH";

/// Not a test: the runner that gets killed, started by the test below.
#[tokio::test]
#[ignore = "started by the test below"]
async fn child() {
    let Ok(parameters) = std::env::var(CHILD) else { return };
    let (tag, rest) = parameters.split_once('|').unwrap();
    let (cgroups, directory) = rest.split_once('|').unwrap();
    let mut job = Job::script(&format!(
        "echo $$ > {directory}/leader; (setsid sh -c 'echo $$ > {directory}/daemon; exec sleep 600' &) & sleep 600"
    ));
    job.config.work_dir = Path::new(directory).join("work");
    job.assignment.attempt = "77.1.7".parse().unwrap();
    let options = ProcessOptions { tag: tag.into(), cgroups: cgroups == "true", ..ProcessOptions::default() };
    job.driver = std::sync::Arc::new(ProcessDriver::new(options).unwrap());
    job.run().await;
}

#[tokio::test]
async fn a_sweep_ends_what_a_killed_runner_left() {
    for cgroups in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let tag = format!("crash-{}", common::unique());
        let mut runner = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored"])
            .env(CHILD, format!("{tag}|{cgroups}|{}", directory.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = |name: &str| -> Option<u32> {
            std::fs::read_to_string(directory.path().join(name)).ok()?.trim().parse().ok()
        };
        eventually("the job runs", || pid("leader").is_some() && pid("daemon").is_some()).await;
        let pids = [pid("leader").unwrap(), pid("daemon").unwrap()];
        runner.kill().unwrap();
        runner.wait().unwrap();
        assert!(pids.iter().all(|p| alive(*p)), "what a crash leaves behind");

        let options = |tag: &str| ProcessOptions { tag: tag.into(), cgroups, ..ProcessOptions::default() };
        let attempt = "77.1.7".parse().unwrap();
        let other = ProcessDriver::new(options(&format!("{tag}-other"))).unwrap();
        other.sweep(attempt).await.unwrap();
        assert!(pids.iter().all(|p| alive(*p)), "another runner's sweep touches nothing");

        let driver = ProcessDriver::new(options(&tag)).unwrap();
        driver.sweep(attempt).await.unwrap();
        for pid in pids {
            eventually("the orphan is gone", || !alive(pid)).await;
        }
        driver.sweep(attempt).await.unwrap();
        drop(driver);
        assert_eq!(groups_of(Path::new("/sys/fs/cgroup"), &format!("fleetfoot-{tag}"), 4), 0);
    }
}

fn groups_of(path: &Path, name: &str, depth: u32) -> usize {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let directories = entries.filter_map(Result::ok).filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    directories
        .map(|e| {
            usize::from(e.file_name() == name)
                + if depth > 0 { groups_of(&e.path(), name, depth - 1) } else { 0 }
        })
        .sum()
}
