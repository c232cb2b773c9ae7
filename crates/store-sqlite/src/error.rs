//! Translates failures of SQLite and the file system into [`StoreError`].
//! Must never hide which of them callers can act on: a full disk, a foreign
//! lock, damaged data.

use fleetfoot_store::{StoreError, StoreErrorKind};
use rusqlite::ErrorCode;
use std::path::Path;

/// Free space below which an I/O error is taken for a full disk, bytes.
const NEARLY_NOTHING: u64 = 1 << 20;

/// What a failure of SQLite means for the caller. `dir` is the data directory: some
/// I/O errors of SQLite hide that the disk is full, which its free space tells.
pub(crate) fn sqlite(context: &str, dir: &Path, error: rusqlite::Error) -> StoreError {
    let kind = kind(dir, &error);
    let message = match kind {
        StoreErrorKind::DiskFull => {
            format!("{context}: no space left in {}; free some, then try again", dir.display())
        }
        StoreErrorKind::Corrupt => {
            format!("{context}: the database in {} is damaged; restore a backup", dir.display())
        }
        _ => context.to_owned(),
    };
    StoreError::new(kind, message).caused_by(error)
}

fn kind(dir: &Path, error: &rusqlite::Error) -> StoreErrorKind {
    use rusqlite::Error as E;
    match error {
        E::SqliteFailure(e, _) => match e.code {
            ErrorCode::DiskFull => StoreErrorKind::DiskFull,
            ErrorCode::SystemIoFailure | ErrorCode::CannotOpen if is_full(dir) => StoreErrorKind::DiskFull,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreErrorKind::Corrupt,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreErrorKind::Locked,
            _ => StoreErrorKind::Other,
        },
        E::FromSqlConversionFailure(..) | E::IntegralValueOutOfRange(..) | E::InvalidColumnType(..) => {
            StoreErrorKind::Corrupt
        }
        _ => StoreErrorKind::Other,
    }
}

fn is_full(dir: &Path) -> bool {
    rustix::fs::statvfs(dir).is_ok_and(|s| s.f_bavail.saturating_mul(s.f_frsize) < NEARLY_NOTHING)
}

/// What a failure of the file system means for the caller.
pub(crate) fn io(context: impl Into<String>, error: std::io::Error) -> StoreError {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreErrorKind::DiskFull,
        _ => StoreErrorKind::Other,
    };
    StoreError::new(kind, context).caused_by(error)
}

/// The store is being closed.
pub(crate) fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Closed, "the store is shutting down")
}
