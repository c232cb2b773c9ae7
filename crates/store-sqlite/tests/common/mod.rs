//! Stores in temporary directories.
#![allow(dead_code, clippy::unwrap_used, reason = "part of tests, and each test file uses a part of it")]

use async_trait::async_trait;
use fleetfoot_store::Store;
use fleetfoot_store::conformance::Harness;
use fleetfoot_store_sqlite::{Options, SqliteStore, restore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

/// Makes stores below one temporary directory.
#[derive(Debug)]
pub(crate) struct Temporary {
    dir: TempDir,
    next: AtomicUsize,
    scratch: bool,
}

impl Temporary {
    pub(crate) fn new(scratch: bool) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), next: AtomicUsize::new(0), scratch }
    }
}

#[async_trait]
impl Harness for Temporary {
    async fn fresh(&self) -> Arc<dyn Store> {
        let dir = self.new_path();
        Arc::new(match self.scratch {
            true => SqliteStore::open_scratch(&dir).unwrap(),
            false => SqliteStore::open(&dir, Options::default()).unwrap(),
        })
    }

    fn new_path(&self) -> PathBuf {
        self.dir.path().join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    async fn open_backup(&self, file: &Path) -> Arc<dyn Store> {
        let dir = self.new_path();
        restore(file, &dir, false).unwrap();
        Arc::new(SqliteStore::open(&dir, Options::default()).unwrap())
    }
}

/// The verdict of SQLite's own check of the database in this directory.
pub(crate) fn integrity(dir: &Path) -> String {
    let conn = rusqlite::Connection::open(dir.join("fleetfoot.db")).unwrap();
    conn.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap()
}
