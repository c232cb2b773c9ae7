//! Small things that every start of a command needs: pipes, standard input,
//! C strings, the environment. It must never put a value into a message: it
//! may be a secret.

use fleetfoot_driver::{Command, DriverError, DriverErrorKind};
use rustix::fs::{Mode, OFlags};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Pipes of this size let a step run ahead of the reader; the kernel may grant less.
const PIPE_BYTES: usize = 1 << 20;

/// The whole environment of a command as C strings, with the markers of its attempt.
///
/// # Errors
/// If a name or a value cannot be in an environment.
pub fn environment(command: &Command, markers: &[String]) -> Result<Vec<CString>, DriverError> {
    let mut envp = Vec::with_capacity(command.env.len() + markers.len());
    let own: Vec<&str> = markers.iter().map(|m| m.split_once('=').map_or("", |(name, _)| name)).collect();
    for (name, value) in &command.env {
        if name.is_empty() || name.contains('=') {
            let message = format!("'{name}' cannot be the name of an environment variable");
            return Err(DriverError::new(DriverErrorKind::Other, message));
        }
        if own.contains(&name.as_str()) {
            continue;
        }
        let mut entry = String::with_capacity(name.len() + value.len() + 2);
        entry.push_str(name);
        entry.push('=');
        entry.push_str(value);
        envp.push(CString::new(entry).map_err(|_| {
            let message = format!("the value of the environment variable {name} contains a NUL byte");
            DriverError::new(DriverErrorKind::Other, message)
        })?);
    }
    for marker in markers {
        envp.push(c_string(marker)?);
    }
    Ok(envp)
}

/// A pipe for output, wide enough to let a step run ahead: reading and writing end.
///
/// # Errors
/// If there are no descriptors left.
pub fn pipe() -> Result<(OwnedFd, OwnedFd), DriverError> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|e| DriverError::io("cannot make a pipe", e.into()))?;
    let _ = rustix::pipe::fcntl_setpipe_size(&read, PIPE_BYTES);
    Ok((read, write))
}

/// The reading end of a pipe for asynchronous readers.
///
/// # Errors
/// If the reactor does not take it.
pub fn receiver(fd: OwnedFd) -> Result<tokio::net::unix::pipe::Receiver, DriverError> {
    tokio::net::unix::pipe::Receiver::from_owned_fd(fd)
        .map_err(|e| DriverError::io("cannot read from the command", e))
}

/// A file without a name that holds `bytes`, positioned at its beginning.
///
/// # Errors
/// If memory or descriptors are short.
pub fn memory_file(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    use std::io::{Seek, Write};
    let fd = rustix::fs::memfd_create("stdin", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// Opens `/dev/null` for reading.
///
/// # Errors
/// If the machine has none.
pub fn open_null() -> std::io::Result<OwnedFd> {
    Ok(rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// An argument as C string.
///
/// # Errors
/// If it contains a NUL byte.
pub fn c_string(text: &str) -> Result<CString, DriverError> {
    CString::new(text)
        .map_err(|_| DriverError::new(DriverErrorKind::Other, "an argument contains a NUL byte"))
}

/// A path as C string.
///
/// # Errors
/// If it contains a NUL byte.
pub fn c_path(path: &Path) -> Result<CString, DriverError> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| DriverError::new(DriverErrorKind::Other, "a path contains a NUL byte"))
}
