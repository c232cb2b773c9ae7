//! The directory of the cache, which several processes may share:
//! `OWNER/REPO/SHA/` are entries, `.tmp/` holds what is not finished, `.locks/`
//! the locks. Whatever a crash leaves lies in `.tmp` under a lock that nobody
//! holds, and the next process that opens the cache removes it.

use crate::files;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

/// Locks are by the first byte of the commit: few files, and hardly ever a needless wait.
const BUCKETS: usize = 256;

/// An open cache directory.
pub(super) struct Place {
    dir: PathBuf,
    temp: TempDir,
    /// Held as long as `temp` is in use.
    _alive: File,
    config_file: PathBuf,
    buckets: Vec<Mutex<()>>,
}

/// The right to write one entry.
pub(super) struct EntryLock<'a> {
    _here: MutexGuard<'a, ()>,
    _everywhere: File,
}

impl Place {
    /// Opens the directory and removes what dead processes left. Blocks.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let (tmp, locks) = (dir.join(".tmp"), dir.join(".locks"));
        std::fs::create_dir_all(&tmp)?;
        std::fs::create_dir_all(&locks)?;
        let dir = dir.canonicalize()?;
        let (tmp, locks) = (dir.join(".tmp"), dir.join(".locks"));
        // Between the making of a lock file and its locking nobody may look at it.
        let opening = lock_file(&locks.join("open"))?;
        flock(&opening, FlockOperation::LockExclusive)?;
        sweep(&tmp)?;
        let temp = tempfile::Builder::new().prefix("p").tempdir_in(&tmp)?;
        let alive = lock_file(&lock_of(temp.path()))?;
        flock(&alive, FlockOperation::LockExclusive)?;
        let config_file = temp.path().join("gitconfig");
        std::fs::write(&config_file, super::git::CONFIG)?;
        let buckets = (0..BUCKETS).map(|_| Mutex::new(())).collect();
        Ok(Self { dir, temp, _alive: alive, config_file, buckets })
    }

    /// Configuration for git.
    pub(super) fn config_file(&self) -> &Path {
        &self.config_file
    }

    /// Where an entry is. Forges know no difference between `Actions` and `actions`.
    pub(super) fn entry(&self, owner: &str, repo: &str, sha: &str) -> PathBuf {
        self.dir.join(owner.to_lowercase()).join(repo.to_lowercase()).join(sha)
    }

    /// A fresh directory on the same filesystem as the entries.
    pub(super) fn temporary(&self) -> io::Result<TempDir> {
        tempfile::Builder::new().prefix("f").tempdir_in(self.temp.path())
    }

    /// Waits until nobody else, in this process or another, writes this entry. `None` after the deadline.
    pub(super) async fn lock(&self, sha: &str, patience: Duration) -> io::Result<Option<EntryLock<'_>>> {
        let end = Instant::now() + patience;
        let bucket = sha.get(..2).and_then(|hex| usize::from_str_radix(hex, 16).ok()).unwrap_or_default();
        let path = self.dir.join(".locks").join(format!("{bucket:02x}"));
        let Ok(here) = tokio::time::timeout(patience, self.buckets[bucket % BUCKETS].lock()).await else {
            return Ok(None);
        };
        let file = lock_file(&path)?;
        let mut pause = Duration::from_millis(5);
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(EntryLock { _here: here, _everywhere: file })),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            // A lock of another process wakes nobody who could be dropped half-way.
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(lock_of(self.temp.path()));
    }
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)
}

fn lock_of(temp: &Path) -> PathBuf {
    temp.with_extension("lock")
}

/// Removes the temporary directories whose owner does not live, and locks of nothing.
fn sweep(tmp: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(tmp)? {
        let path = entry?.path();
        let is_lock = path.extension().is_some_and(|e| e == "lock");
        let directory = path.with_extension("");
        if is_lock && directory.exists() {
            continue;
        }
        let lock = lock_of(&path);
        let abandoned =
            lock_file(&lock).is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok());
        // A git that outlived its owner may still write there: then the next one removes it.
        if abandoned && (is_lock || files::remove(&path).is_ok()) {
            let _ = files::remove(&lock);
        }
    }
    Ok(())
}
