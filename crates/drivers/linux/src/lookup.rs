//! Finding the program of a command where only the inside of a cell can tell what exists there, and
//! saying in the same words as the process boundary what was not found. It must never look at the file
//! system of the host.

use crate::spawn::{SpawnError, Stage};
use fleetfoot_driver::{Command, DriverError, DriverErrorKind};
use std::path::Path;

/// A path or value that a boundary with a wire of text cannot carry.
#[must_use]
pub fn not_text() -> DriverError {
    DriverError::new(DriverErrorKind::Unsupported, "a path or value is not UTF-8")
}

/// A path as text.
///
/// # Errors
/// If it is not UTF-8, or contains a NUL byte.
pub fn path_text(path: &Path) -> Result<String, DriverError> {
    path.to_str().filter(|p| !p.contains('\0')).map(str::to_owned).ok_or_else(not_text)
}

/// What is tried as program, in order. Whether it exists only the inside can tell.
///
/// # Errors
/// If a path is not UTF-8.
pub fn programs(command: &Command) -> Result<Vec<String>, DriverError> {
    if command.program.contains('/') {
        return Ok(vec![path_text(&command.working_directory.join(&command.program))?]);
    }
    let path = command.env.get("PATH").map_or("/usr/local/bin:/usr/bin:/bin", String::as_str);
    path.split(':')
        .filter(|_| !command.program.is_empty())
        .map(|d| path_text(&command.working_directory.join(d).join(&command.program)))
        .collect()
}

/// The same words as the process boundary has for a program that was looked for in `PATH`.
#[must_use]
pub fn not_started(error: &SpawnError, command: &Command, program: &Path) -> DriverError {
    if error.stage == Stage::Exec && !command.program.contains('/') {
        let found = match error.source.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => Some((DriverErrorKind::NotFound, "was not found in PATH")),
            Some(libc::EACCES) => Some((DriverErrorKind::Denied, "is not executable for this user")),
            _ => None,
        };
        if let Some((kind, why)) = found {
            return DriverError::new(kind, format!("the program '{}' {why}", command.program));
        }
    }
    error.explain(command, program)
}
