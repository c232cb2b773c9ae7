//! Files that came with an action, which is to say from strangers: nothing
//! here follows a link out of the directory that it is told, opens anything
//! but a regular file, or reads more than it should.

use crate::error::{ActionError, ActionErrorKind};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The most that is read of one file; what is longer is refused by whoever parses it.
const MAX_BYTES: u64 = 2 * 1024 * 1024;

/// Reads a file. `None` if there is none, or none that is within `root`.
pub(crate) fn read_within(path: &Path, root: &Path) -> Result<Option<Vec<u8>>, ActionError> {
    let io = |error: std::io::Error| {
        ActionError::new(ActionErrorKind::Io, format!("cannot read '{}': {error}", path.display()))
    };
    let Some(real) = real_within(path, root) else { return Ok(None) };
    // Without NONBLOCK a pipe by that name would be waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file = match rustix::fs::open(&real, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP) => return Ok(None),
        Err(error) => return Err(io(error.into())),
    };
    if !file.metadata().map_err(io)?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(io)?;
    Ok(Some(bytes))
}

/// Whether there is a regular file, within `root` when all links are followed.
pub(crate) fn is_file_within(path: &Path, root: &Path) -> bool {
    real_within(path, root).is_some_and(|real| real.is_file())
}

/// The path without links, if it exists and is `root` or below it.
pub(crate) fn real_within(path: &Path, root: &Path) -> Option<PathBuf> {
    let root = root.canonicalize().ok()?;
    let real = path.canonicalize().ok()?;
    real.starts_with(&root).then_some(real)
}

/// Removes whatever is there, a directory with all that is in it. Nothing there is fine.
pub(crate) fn remove(path: &Path) -> std::io::Result<()> {
    let result = match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
