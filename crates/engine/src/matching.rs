//! Problem matchers at work: which ones a job has registered, and the lines of
//! output that they look at. While a job has none, its output is never cut
//! into lines here.

use fleetfoot_actions::{Match, MatchSeverity, MatcherError, Matchers};
use fleetfoot_model::sync::Annotation;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Largest file of matchers, bytes.
const MAX_FILE: u64 = 1 << 20;
/// A longer line is not looked at.
const MAX_LINE: usize = 64 << 10;

/// The matchers that the steps of a job registered.
#[derive(Debug, Default)]
pub(crate) struct JobMatchers {
    /// Zero while there are none; otherwise it changes with each change.
    version: AtomicU64,
    changes: AtomicU64,
    registered: Mutex<Matchers>,
}

impl JobMatchers {
    fn lock(&self) -> MutexGuard<'_, Matchers> {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, matchers: &Matchers) {
        let next = self.changes.fetch_add(1, Ordering::AcqRel) + 1;
        self.version.store(if matchers.is_empty() { 0 } else { next }, Ordering::Release);
    }

    /// Registers the matchers of a file.
    pub(crate) fn add(&self, path: &Path) -> Result<(), String> {
        let text = read(path).map_err(|e| format!("cannot read '{}': {e}", path.display()))?;
        let mut matchers = self.lock();
        matchers.add(&text).map_err(|e: MatcherError| format!("'{}': {e}", path.display()))?;
        self.changed(&matchers);
        Ok(())
    }

    /// Removes the matchers of an owner.
    pub(crate) fn remove(&self, owner: &str) {
        let mut matchers = self.lock();
        matchers.remove(owner);
        self.changed(&matchers);
    }

    /// Removes the matchers that a file registered.
    pub(crate) fn remove_file(&self, path: &Path) -> Result<(), String> {
        let text = read(path).map_err(|e| format!("cannot read '{}': {e}", path.display()))?;
        let owners = Matchers::default().add(&text).map_err(|e| format!("'{}': {e}", path.display()))?;
        owners.iter().for_each(|owner| self.remove(owner));
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<String> {
    // A step names the file: it may be anything.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// Looks at the lines of one stream.
#[derive(Debug, Default)]
pub(crate) struct LineMatcher {
    version: u64,
    own: Matchers,
    /// The beginning of a line.
    partial: Vec<u8>,
}

impl LineMatcher {
    /// Takes the next bytes and gives out what was found.
    pub(crate) fn feed(&mut self, job: &JobMatchers, mut bytes: &[u8], found: &mut Vec<Match>) {
        let version = job.version.load(Ordering::Acquire);
        if version == 0 {
            if self.version != 0 {
                *self = Self::default();
            }
            return;
        }
        if version != self.version {
            self.own = job.lock().clone();
            self.version = version;
        }
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end + 1);
            bytes = rest;
            if self.partial.is_empty() {
                Self::look(&mut self.own, line, found);
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                Self::look(&mut self.own, &whole, found);
            }
        }
        let room = MAX_LINE.saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The stream has ended.
    pub(crate) fn finish(&mut self, found: &mut Vec<Match>) {
        let rest = std::mem::take(&mut self.partial);
        if !rest.is_empty() && self.version != 0 {
            Self::look(&mut self.own, &rest, found);
        }
    }

    fn look(own: &mut Matchers, line: &[u8], found: &mut Vec<Match>) {
        if line.len() <= MAX_LINE {
            let text = String::from_utf8_lossy(line);
            found.extend(own.line(text.trim_end_matches(['\r', '\n'])));
        }
    }
}

/// What a match says, as an annotation of a step; its texts are not masked yet.
pub(crate) fn annotation(found: Match, workspace: &Path, step: u16) -> Annotation {
    let level = match found.severity {
        MatchSeverity::Error => "error",
        MatchSeverity::Warning => "warning",
        MatchSeverity::Notice => "notice",
    };
    let message = match &found.code {
        Some(code) if !code.is_empty() => format!("{} ({code})", found.message),
        _ => found.message.clone(),
    };
    Annotation {
        level: level.to_owned(),
        message,
        title: None,
        file: found.file.as_deref().and_then(|file| in_workspace(file, workspace)),
        line: found.line.map(u64::from),
        end_line: found.end_line.map(u64::from),
        column: found.column.map(u64::from),
        end_column: found.end_column.map(u64::from),
        step,
    }
}

/// A file as the repository calls it; none for a file elsewhere.
fn in_workspace(file: &str, workspace: &Path) -> Option<String> {
    let path = PathBuf::from(file);
    let inside = if path.is_absolute() { path.strip_prefix(workspace).ok()?.to_path_buf() } else { path };
    let inside = inside.strip_prefix("./").map(Path::to_path_buf).unwrap_or(inside);
    Some(inside.to_string_lossy().into_owned())
}
