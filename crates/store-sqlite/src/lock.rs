//! One process per data directory. The lock is an `flock` on `DIR/lock`: the
//! kernel drops it when its holder dies, so it can never be left behind. The
//! file names the holder for people; nothing is ever decided by that text.

use crate::error;
use fleetfoot_store::{StoreError, StoreErrorKind};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Holds the data directory until it is dropped.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the data directory for this process.
    pub(crate) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| error::io(format!("cannot open {}", path.display()), e))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(taken(dir, &mut file)),
            Err(e) => return Err(error::io(format!("cannot lock {}", path.display()), e.into())),
        }
        // A full disk must not keep the server from starting: the text is for people only.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

fn taken(dir: &Path, file: &mut File) -> StoreError {
    let mut text = String::new();
    let holder = match file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok()) {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    };
    StoreError::new(
        StoreErrorKind::Locked,
        format!(
            "the data directory {} is in use by {holder}; stop that process or choose another directory",
            dir.display()
        ),
    )
}
