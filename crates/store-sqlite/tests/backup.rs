//! Backups under load, and what restore refuses.

mod common;

use common::integrity;
use fleetfoot_model::api::RunFilter;
use fleetfoot_model::ids::RunId;
use fleetfoot_store::conformance::fixtures::{create, done, ids, new_run};
use fleetfoot_store::{Store, StoreErrorKind};
use fleetfoot_store_sqlite::{Options, SqliteStore, restore};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_under_load_is_one_consistent_state() {
    let temp = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&temp.path().join("a"), Options::default()).unwrap());
    let acknowledged = Arc::new(AtomicU64::new(0));
    let load = tokio::spawn({
        let (store, acknowledged) = (store.clone(), acknowledged.clone());
        async move {
            for id in 1.. {
                done(&*store, create(id, &[id * 2, id * 2 + 1])).await;
                acknowledged.store(id, Ordering::SeqCst);
            }
        }
    });
    for round in 1..=3_u64 {
        while acknowledged.load(Ordering::SeqCst) < round * 200 {
            tokio::task::yield_now().await;
        }
        let before = acknowledged.load(Ordering::SeqCst);
        let file = temp.path().join(format!("backup-{round}"));
        store.backup(&file).await.unwrap();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "hashes and sealed secrets are in it");
        let dir = temp.path().join(format!("restored-{round}"));
        restore(&file, &dir, false).unwrap();
        let copy = SqliteStore::open(&dir, Options::default()).unwrap();
        let runs = copy.list_runs(&RunFilter::default(), None, 1_000_000).await.unwrap();
        let n = runs.len() as u64;
        assert!(n >= before, "{n} of at least {before} runs");
        assert_eq!(ids(&runs), (1..=n).rev().collect::<Vec<_>>(), "a prefix, without holes");
        assert_eq!(copy.high_water().await.unwrap().job, n * 2 + 1);
        assert_eq!(copy.run_jobs(RunId(n), None).await.unwrap().len(), 2);
        done(&copy, create(n + 1, &[n * 2 + 2])).await;
        drop(copy);
        assert_eq!(integrity(&dir), "ok");
    }
    load.abort();
    let left: Vec<_> = std::fs::read_dir(temp.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.contains("partial"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn restore_replaces_only_with_force() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, file) = (temp.path().join("a"), temp.path().join("backup"));
    let store = SqliteStore::open(&dir, Options::default()).unwrap();
    done(&store, create(1, &[1])).await;
    store.backup(&file).await.unwrap();
    done(&store, create(2, &[2])).await;
    assert_eq!(restore(&file, &dir, true).unwrap_err().kind, StoreErrorKind::Locked);
    drop(store);
    let refused = restore(&file, &dir, false).unwrap_err();
    assert!(refused.to_string().ends_with("has a database already; --force replaces it"), "{refused}");
    let store = SqliteStore::open(&dir, Options::default()).unwrap();
    assert!(store.run(RunId(2)).await.unwrap().is_some(), "a refused restore changed nothing");
    drop(store);
    restore(&file, &dir, true).unwrap();
    let store = SqliteStore::open(&dir, Options::default()).unwrap();
    assert_eq!(store.run(RunId(1)).await.unwrap(), Some(new_run(1, &[1]).row));
    assert_eq!(store.run(RunId(2)).await.unwrap(), None);
}

#[tokio::test]
async fn restore_refuses_what_is_not_a_sound_backup() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name);
    let store = SqliteStore::open(&path("a"), Options::default()).unwrap();
    for id in 1..200 {
        done(&store, create(id, &[id])).await;
    }
    store.backup(&path("good")).await.unwrap();
    let kind = |name: &str| restore(&path(name), &path("target"), false).unwrap_err().kind;

    assert_eq!(kind("nowhere"), StoreErrorKind::Other);
    std::fs::write(path("text"), "no database at all, only text of some length".repeat(100)).unwrap();
    assert_eq!(kind("text"), StoreErrorKind::Corrupt);
    std::fs::write(path("empty"), "").unwrap();
    assert_eq!(kind("empty"), StoreErrorKind::Corrupt);
    let foreign = rusqlite::Connection::open(path("foreign")).unwrap();
    foreign.execute_batch("CREATE TABLE t (a); PRAGMA user_version = 1").unwrap();
    assert_eq!(kind("foreign"), StoreErrorKind::Corrupt);

    let mut bytes = std::fs::read(path("good")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0xAA);
    std::fs::write(path("damaged"), bytes).unwrap();
    assert_eq!(kind("damaged"), StoreErrorKind::Corrupt);

    std::fs::copy(path("good"), path("newer")).unwrap();
    let newer = rusqlite::Connection::open(path("newer")).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    assert_eq!(kind("newer"), StoreErrorKind::TooNew);
    assert!(!path("target").join("fleetfoot.db").exists(), "nothing was restored");
    restore(&path("good"), &path("target"), false).unwrap();
}
