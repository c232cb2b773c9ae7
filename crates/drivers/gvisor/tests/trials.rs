//! A trial that hangs, and whose process goes away meanwhile: nothing of it
//! stays, and nothing of anybody else's trial goes. A program that never
//! answers takes the place of `runsc`.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use fleetfoot_driver_conformance::fresh_tag;
use fleetfoot_driver_gvisor::{GvisorDriver, GvisorOptions, Trials};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const STATE: &str = "FLEETFOOT_TEST_STATE";
const TAG: &str = "FLEETFOOT_TEST_TAG";
const PATIENCE: Duration = Duration::from_secs(60);

fn options(state: &Path, tag: &str) -> GvisorOptions {
    GvisorOptions {
        tag: tag.to_owned(),
        runsc: Some(state.join("runsc")),
        state: Some(state.to_owned()),
        trial: PATIENCE,
        ..GvisorOptions::default()
    }
}

/// A program that says its version, and otherwise writes down who it is and hangs.
fn hanging_runsc(state: &Path) {
    let program = state.join("runsc");
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && {{ echo 'runsc version 1'; exit; }}\n\
         echo $$ > {0}/pid.new && mv {0}/pid.new {0}/pid\nexec sleep 600\n",
        state.display()
    );
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
}

async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Not there, or only to be collected.
fn is_over(pid: &str) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_err()
}

fn pid_of_runsc(state: &Path) -> Option<String> {
    std::fs::read_to_string(state.join("pid")).ok().map(|p| p.trim().to_owned())
}

fn directories(state: &Path, tag: &str) -> usize {
    let names = std::fs::read_dir(state).unwrap().map(|e| e.unwrap().file_name());
    names.filter(|n| n.to_string_lossy().contains(tag)).count()
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: gVisor needs root");
    }
    root
}

/// Not a test of its own: the process that a test kills in the middle of a trial.
#[tokio::test]
async fn victim() {
    let (Some(state), Ok(tag)) = (std::env::var_os(STATE), std::env::var(TAG)) else { return };
    let state = Path::new(&state);
    let _ = GvisorDriver::probe(options(state, &tag), state).await;
}

fn start_victim(state: &Path, tag: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim"])
        .env(STATE, state)
        .env(TAG, tag)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn a_trial_of_a_killed_process_is_ended_by_the_next_one() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (state, tag) = (dir.path(), fresh_tag());
    hanging_runsc(state);
    let mut victim = start_victim(state, &tag);
    let runsc = until("the trial", || pid_of_runsc(state)).await;

    // It is its own business while it lives, and nobody's who has another name.
    GvisorDriver::end_trials(&options(state, &tag), Trials::All).await.unwrap();
    assert!(!is_over(&runsc));
    victim.kill().unwrap();
    victim.wait().unwrap();
    GvisorDriver::end_trials(&options(state, &fresh_tag()), Trials::All).await.unwrap();
    assert!(!is_over(&runsc) && directories(state, &tag) > 0);

    GvisorDriver::end_trials(&options(state, &tag), Trials::Orphaned).await.unwrap();
    until("the end of the trial", || is_over(&runsc).then_some(())).await;
    assert_eq!(directories(state, &tag), 0);
}

#[tokio::test]
async fn a_runner_that_leaves_ends_its_own_trial() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (state, tag) = (dir.path().to_owned(), fresh_tag());
    hanging_runsc(&state);
    let trial = tokio::spawn({
        let (state, tag) = (state.clone(), tag.clone());
        async move { GvisorDriver::probe(options(&state, &tag), &state).await }
    });
    let runsc = until("the trial", || pid_of_runsc(&state)).await;
    trial.abort();
    let _ = trial.await;
    GvisorDriver::end_trials(&options(&state, &tag), Trials::Orphaned).await.unwrap();
    assert!(!is_over(&runsc), "this process lives");
    GvisorDriver::end_trials(&options(&state, &tag), Trials::All).await.unwrap();
    until("the end of the trial", || is_over(&runsc).then_some(())).await;
    until("the directory to go", || (directories(&state, &tag) == 0).then_some(())).await;
}
