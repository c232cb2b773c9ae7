//! The only place that writes to standard output and standard error. Standard
//! output carries data and nothing else; everything said to a person about
//! progress goes to standard error. A reader that goes away ends the program
//! quietly, as other tools do.

use crate::error::{CliError, Result};
use clap::ValueEnum;
use serde::Serialize;
use std::io::{self, ErrorKind, Write};
use std::sync::mpsc::{SyncSender, sync_channel};

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Writes bytes to standard output and flushes.
pub(crate) fn write(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(failed)
}

/// Writes text to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    write(text.as_bytes())
}

/// Writes one line to standard output.
pub(crate) fn line(text: &str) -> Result<()> {
    write(format!("{text}\n").as_bytes())
}

/// Lines that may wait for a reader of [`background_lines`].
const WAITING_LINES: usize = 1024;

/// Prints lines to standard output from a thread of its own, for those who must never wait for a
/// reader. The second part resolves when the senders are gone and everything is printed.
pub(crate) fn background_lines() -> (SyncSender<String>, tokio::sync::oneshot::Receiver<()>) {
    let (lines, waiting) = sync_channel::<String>(WAITING_LINES);
    let (done, printed) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        for text in waiting {
            if line(&text).is_err() {
                break;
            }
        }
        let _ = done.send(());
    });
    (lines, printed)
}

/// Writes one line of JSON to standard output.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<()> {
    let mut text = serde_json::to_vec(value)
        .map_err(|e| CliError::machine("the answer cannot be printed").because(&e))?;
    text.push(b'\n');
    write(&text)
}

/// Says something on standard error; nobody listening is no error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes to standard error without a line end.
pub(crate) fn say_bytes(bytes: &[u8]) {
    let _ = io::stderr().lock().write_all(bytes);
}

/// A writer of log bytes that bypasses the line buffer of standard output.
pub(crate) fn raw_stdout() -> Result<std::fs::File> {
    use std::os::fd::AsFd;
    let fd = io::stdout().as_fd().try_clone_to_owned().map_err(failed)?;
    Ok(std::fs::File::from(fd))
}

/// What a failed write to standard output means.
pub(crate) fn failed(error: io::Error) -> CliError {
    if error.kind() == ErrorKind::BrokenPipe {
        return CliError::silent();
    }
    CliError::machine("standard output cannot be written").because(&error)
}
