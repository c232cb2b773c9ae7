//! What must hold when things go wrong: the process killed, the disk full, a
//! second process on the same directory. Real processes, real files.

#![allow(clippy::unwrap_used, reason = "tests, and helpers of tests")]

mod common;

use common::integrity;
use fleetfoot_model::ids::RunId;
use fleetfoot_store::conformance::fixtures::{create, done, new_run};
use fleetfoot_store::{Op, Store, StoreErrorKind};
use fleetfoot_store_sqlite::{Options, SqliteStore, restore};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

/// Set in the child process of these tests: the data directory to work on.
const CHILD_DIR: &str = "FLEETFOOT_TEST_STORE_DIR";

/// Not a test by itself: in the child process, creates runs without end and prints the ids that
/// were acknowledged.
#[test]
fn child_process() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let store = Arc::new(SqliteStore::open(Path::new(&dir), Options::default()).unwrap());
    runtime.block_on(async {
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..16_u64 {
            let store = store.clone();
            callers.spawn(async move {
                for i in 0.. {
                    let run = 1 + caller + 16 * i;
                    done(&*store, create(run, &[run])).await;
                    // One write per line, so that a killed process leaves no torn line but the last.
                    std::io::stdout().write_all(format!("ack {run}\n").as_bytes()).unwrap();
                }
            });
        }
        callers.join_all().await;
    });
}

/// Starts this test binary again as the child of [`child_process`].
fn spawn_child(dir: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child_process", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

/// Ids acknowledged in complete lines.
fn acknowledged(lines: impl Iterator<Item = String>) -> Vec<u64> {
    lines.filter_map(|l| l.split_once("ack ").and_then(|(_, id)| id.trim_end().parse().ok())).collect()
}

#[tokio::test]
async fn every_acknowledged_write_survives_kill_9() {
    let temp = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let dir = temp.path().join(round.to_string());
        let (mut child, mut output) = spawn_child(&dir);
        let mut lines = Vec::new();
        while lines.len() < 300 {
            let mut line = String::new();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "the child ended early");
            lines.push(line);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        lines.extend(output.split(b'\n').map(|l| String::from_utf8(l.unwrap()).unwrap()));
        // The last line may be cut short by the kill, into another number.
        lines.pop();
        let acknowledged = acknowledged(lines.into_iter());
        assert!(acknowledged.len() >= 290, "{}", acknowledged.len());
        let store = SqliteStore::open(&dir, Options::default()).unwrap();
        for id in acknowledged {
            let run = store.run(RunId(id)).await.unwrap();
            assert_eq!(run.as_ref(), Some(&new_run(id, &[id]).row), "run {id} was acknowledged");
            assert_eq!(store.run_jobs(RunId(id), None).await.unwrap().len(), 1);
        }
        drop(store);
        assert_eq!(integrity(&dir), "ok");
    }
}

#[test]
fn second_process_is_refused_and_told_who_has_it() {
    let temp = tempfile::tempdir().unwrap();
    let (mut child, mut output) = spawn_child(temp.path());
    let mut line = String::new();
    while !line.contains("ack ") {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the child ended early");
    }
    let refused = SqliteStore::open(temp.path(), Options::default()).unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::Locked);
    let text = refused.to_string().replace(&temp.path().display().to_string(), "DIR");
    assert_eq!(
        text.replace(&child.id().to_string(), "PID"),
        "the data directory DIR is in use by process PID; stop that process or choose another directory"
    );
    let restored = restore(&temp.path().join("any"), temp.path(), true).unwrap_err();
    assert_eq!(restored.kind, StoreErrorKind::Locked);
    child.kill().unwrap();
    child.wait().unwrap();
    // The kernel took the lock back; the file that is left means nothing.
    SqliteStore::open(temp.path(), Options::default()).unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses_and_loses_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(temp.path(), Options { queue: 2, ..Options::default() }).unwrap());
    // Holds the writer up: SQLite's own lock, taken by a connection of this test.
    let blocker = rusqlite::Connection::open(temp.path().join("fleetfoot.db")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for id in 1..=20 {
        let store = store.clone();
        callers.spawn(async move { (id, store.apply(vec![create(id, &[id])]).await) });
    }
    // One in the hands of the writer and two in its queue can wait; all others are refused at once.
    let mut refused = Vec::new();
    while refused.len() < 17 {
        let (id, answer) = callers.join_next().await.unwrap().unwrap();
        assert_eq!(answer.unwrap_err().kind, StoreErrorKind::Overloaded);
        refused.push(id);
    }
    blocker.execute_batch("ROLLBACK").unwrap();
    for (id, answer) in callers.join_all().await {
        match answer {
            Ok(answers) => assert!(answers[0].is_ok(), "{answers:?}"),
            Err(e) => {
                assert_eq!(e.kind, StoreErrorKind::Overloaded);
                refused.push(id);
            }
        }
    }
    for id in 1..=20 {
        let exists = store.run(RunId(id)).await.unwrap().is_some();
        assert_eq!(exists, !refused.contains(&id), "run {id}");
    }
}

/// A small file system of its own, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(dir.path())
            .output()
            .map_err(|e| e.to_string())?;
        if done.status.success() {
            Ok(Self(dir))
        } else {
            Err(String::from_utf8_lossy(&done.stderr).trim().to_owned())
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn full_disk_fails_writes_only_and_until_there_is_space() {
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(reason) => {
            println!("skipped: cannot mount a small file system: {reason}");
            return;
        }
    };
    let ballast = disk.0.path().join("ballast");
    let store = SqliteStore::open(&disk.0.path().join("data"), Options::default()).unwrap();
    done(&store, create(1, &[1])).await;
    std::fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    let big = |id: u64| {
        let mut new = new_run(id, &[id]);
        new.payload.sealed_secrets = vec![7; 200_000];
        Op::CreateRun(Box::new(new))
    };
    let mut last = 1;
    let failure = loop {
        match store.apply(vec![big(last + 1)]).await {
            Ok(answers) => {
                assert!(answers[0].is_ok(), "{answers:?}");
                last += 1;
            }
            Err(e) => break e,
        }
        assert!(last < 100, "4 MiB were never full");
    };
    assert_eq!(failure.kind, StoreErrorKind::DiskFull, "{failure:?}");
    assert!(failure.to_string().contains("no space left"), "{failure}");
    assert!(last > 1, "some writes fit");
    for id in 1..=last {
        assert!(store.run(RunId(id)).await.unwrap().is_some(), "reads go on");
    }
    assert_eq!(store.run(RunId(last + 1)).await.unwrap(), None, "the failed write left nothing");
    assert_eq!(store.apply(vec![big(last + 1)]).await.unwrap_err().kind, StoreErrorKind::DiskFull);
    std::fs::remove_file(&ballast).unwrap();
    done(&store, big(last + 1)).await;
    assert!(store.run(RunId(last + 1)).await.unwrap().is_some());
    drop(store);
    assert_eq!(integrity(&disk.0.path().join("data")), "ok");
}
