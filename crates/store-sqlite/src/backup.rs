//! Online backup and restore. A backup is one self-contained file: no
//! write-ahead log beside it, under its final name only when it is complete
//! and on disk. Restore never touches a directory that a server holds.

use crate::lock::DirLock;
use crate::{FILE, error, schema};
use fleetfoot_store::{StoreError, StoreErrorKind};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Pages copied per step.
const PAGES: i32 = 1024;

/// Writes a consistent copy of the database `from` to the new file `to`.
pub(crate) fn write(from: &Path, to: &Path, dir: &Path) -> Result<(), StoreError> {
    if to.exists() {
        return Err(StoreError::new(
            StoreErrorKind::Other,
            format!("{} exists already; a backup is written to a new file", to.display()),
        ));
    }
    let failed = |e| error::sqlite("cannot write the backup", to.parent().unwrap_or(dir), e);
    let source = schema::open_reader(from).map_err(failed)?;
    let partial = Partial::beside(to)?;
    // The open read transaction keeps the copy at one state, and writers go on meanwhile.
    source.execute_batch("BEGIN; SELECT count(*) FROM counters").map_err(failed)?;
    copy(&source, &partial.path).map_err(failed)?;
    partial.publish(to)
}

/// Brings a backup back into the data directory `dir`. The newest writes that the backup does
/// not know are lost. With `force`, an existing database is replaced.
///
/// # Errors
/// `Locked` while a server has the directory; `Corrupt` or `TooNew` if `from` is not a sound
/// database that this program can use; `Other` if `dir` has a database and `force` is not set.
pub fn restore(from: &Path, dir: &Path, force: bool) -> Result<(), StoreError> {
    std::fs::create_dir_all(dir)
        .map_err(|e| error::io(format!("cannot create the data directory {}", dir.display()), e))?;
    let _lock = DirLock::take(dir)?;
    let target = dir.join(FILE);
    if target.exists() && !force {
        return Err(StoreError::new(
            StoreErrorKind::Other,
            format!("{} has a database already; --force replaces it", dir.display()),
        ));
    }
    let source = open_sound(from)?;
    let failed = |e| error::sqlite("cannot restore", dir, e);
    let partial = Partial::beside(&target)?;
    copy(&source, &partial.path).map_err(failed)?;
    // A log of the old database must never be applied to the new one.
    for suffix in ["-wal", "-shm"] {
        let stale = dir.join(format!("{FILE}{suffix}"));
        match std::fs::remove_file(&stale) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(error::io(format!("cannot remove {}", stale.display()), e));
            }
            _ => {}
        }
    }
    partial.publish(&target)
}

/// Opens a backup for reading after checking that it is whole and ours.
fn open_sound(from: &Path) -> Result<Connection, StoreError> {
    let dir = from.parent().unwrap_or(from);
    let failed = |e| match error::sqlite("cannot read the backup", dir, e) {
        e if e.kind == StoreErrorKind::Corrupt => StoreError {
            message: format!("{} is not a backup of Fleetfoot, or is damaged", from.display()),
            ..e
        },
        e => e,
    };
    if !from.is_file() {
        return Err(StoreError::new(StoreErrorKind::Other, format!("there is no file {}", from.display())));
    }
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    let verdict: String = source.query_row("PRAGMA integrity_check(1)", [], |r| r.get(0)).map_err(failed)?;
    if verdict != "ok" {
        return Err(StoreError::new(
            StoreErrorKind::Corrupt,
            format!("the backup {} is damaged: {verdict}", from.display()),
        ));
    }
    if schema::check(&source, dir)? == 0 {
        return Err(StoreError::new(
            StoreErrorKind::Corrupt,
            format!("{} is not a backup of Fleetfoot", from.display()),
        ));
    }
    Ok(source)
}

fn copy(source: &Connection, to: &Path) -> rusqlite::Result<()> {
    let mut target = Connection::open(to)?;
    // The file is flushed once, when it is complete.
    target.pragma_update(None, "synchronous", "off")?;
    let backup = Backup::new(source, &mut target)?;
    loop {
        match backup.step(PAGES)? {
            StepResult::Done => break,
            StepResult::More => {}
            // Somebody else checkpoints; the next step goes on.
            _ => std::thread::yield_now(),
        }
    }
    drop(backup);
    // The copy inherits the journal mode; a single file needs none beside it.
    target.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
    target.close().map_err(|(_, e)| e)
}

/// A file under a temporary name, deleted unless it is published.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn beside(to: &Path) -> Result<Self, StoreError> {
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(format!(".partial-{}", std::process::id()));
        let path = to.with_file_name(name);
        let open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        open.map_err(|e| error::io(format!("cannot create {}", path.display()), e))?;
        Ok(Self { path })
    }

    /// Flushes the file, gives it its name, and flushes that.
    fn publish(self, to: &Path) -> Result<(), StoreError> {
        let parent = match to.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        File::open(&self.path)
            .and_then(|f| f.sync_all())
            .and_then(|()| std::fs::rename(&self.path, to))
            .and_then(|()| File::open(parent)?.sync_all())
            .map_err(|e| error::io(format!("cannot write {}", to.display()), e))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            let mut name = self.path.clone().into_os_string();
            name.push(suffix);
            let _ = std::fs::remove_file(name);
        }
    }
}
