//! Log bytes on their way to a screen or a pipe: as they are for one job, line
//! by line behind a prefix for several. It never changes a byte of a line.

use crate::error::Result;
use crate::output;
use parking_lot::Mutex;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

/// A line longer than this is broken up behind a prefix, so that memory stays bounded.
const LONGEST_LINE: usize = 1 << 20;

/// Where log bytes go; writers take turns.
#[derive(Clone)]
pub(crate) struct Sink(Arc<Mutex<Target>>);

enum Target {
    Stdout(File),
    Stderr,
    #[cfg(test)]
    Memory(Vec<u8>),
}

impl Sink {
    /// Standard output: logs are the data.
    pub(crate) fn stdout() -> Result<Self> {
        Ok(Self(Arc::new(Mutex::new(Target::Stdout(output::raw_stdout()?)))))
    }

    /// Standard error: something else is the data.
    pub(crate) fn stderr() -> Self {
        Self(Arc::new(Mutex::new(Target::Stderr)))
    }

    /// Writes everything, uninterrupted by other writers.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        match &mut *self.0.lock() {
            Target::Stdout(file) => file.write_all(bytes).map_err(output::failed),
            Target::Stderr => {
                output::say_bytes(bytes);
                Ok(())
            }
            #[cfg(test)]
            Target::Memory(all) => {
                all.extend_from_slice(bytes);
                Ok(())
            }
        }
    }
}

/// Prints the log of one job.
pub(crate) struct JobPrinter {
    sink: Sink,
    prefix: Option<String>,
    /// The line that has not ended yet.
    partial: Vec<u8>,
}

impl JobPrinter {
    /// With a prefix, whole lines at a time; without, bytes as they come.
    pub(crate) fn new(sink: Sink, prefix: Option<String>) -> Self {
        Self { sink, prefix, partial: Vec::new() }
    }

    /// The next bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(prefix) = &self.prefix else { return self.sink.write(bytes) };
        let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 4);
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            out.extend_from_slice(prefix.as_bytes());
            out.append(&mut self.partial);
            out.extend_from_slice(&rest[..=end]);
            rest = &rest[end + 1..];
        }
        self.partial.extend_from_slice(rest);
        if self.partial.len() > LONGEST_LINE {
            out.extend_from_slice(prefix.as_bytes());
            out.append(&mut self.partial);
            out.push(b'\n');
        }
        if out.is_empty() { Ok(()) } else { self.sink.write(&out) }
    }

    /// Prints what is left of a line without end.
    pub(crate) fn end(&mut self) -> Result<()> {
        if self.partial.is_empty() {
            return Ok(());
        }
        self.bytes(b"\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(prefix: Option<&str>, pieces: &[&[u8]]) -> String {
        let sink = Sink(Arc::new(Mutex::new(Target::Memory(Vec::new()))));
        let mut printer = JobPrinter::new(sink.clone(), prefix.map(str::to_owned));
        for piece in pieces {
            printer.bytes(piece).unwrap();
        }
        printer.end().unwrap();
        let Target::Memory(all) = &*sink.0.lock() else { unreachable!() };
        String::from_utf8(all.clone()).unwrap()
    }

    #[test]
    fn one_job_is_printed_as_it_is() {
        assert_eq!(printed(None, &[b"a", b"b\nc"]), "ab\nc");
    }

    #[test]
    fn several_jobs_do_not_tear_each_others_lines() {
        assert_eq!(printed(Some("j | "), &[b"a", b"b\nc\n\nd", b"e"]), "j | ab\nj | c\nj | \nj | de\n");
    }

    #[test]
    fn an_endless_line_does_not_fill_the_memory() {
        let piece = vec![b'x'; LONGEST_LINE / 2 + 1];
        let out = printed(Some("j | "), &[&piece, &piece, b"y"]);
        assert_eq!(out.lines().count(), 2);
    }
}
