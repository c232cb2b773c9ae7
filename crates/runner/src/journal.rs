//! What a runner must remember about its attempts if it dies: one small file
//! each, appended line by line, removed when the server lets the attempt go.
//! Survives the death of the process, not of the machine (no fsync): what is
//! lost with the machine was never acknowledged.

use crate::log::Spool;
use fleetfoot_model::ids::AttemptRef;
use fleetfoot_model::sync::AttemptResult;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// One line of a journal file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// First line: whose attempt this is.
    Accepted { attempt: AttemptRef, owner: String },
    /// A process was started.
    Started { pid: u32, start_ticks: u64 },
    /// How it ended; the log may not be uploaded yet.
    Finished { result: Box<AttemptResult> },
}

/// A process of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartedProcess {
    /// Process id and process group.
    pub pid: u32,
    /// Start in clock ticks since boot.
    pub start_ticks: u64,
}

/// What is known about an attempt of a dead runner.
#[derive(Clone, Debug, PartialEq)]
pub struct Remembered {
    /// Which.
    pub attempt: AttemptRef,
    /// For which server and runner it was.
    pub owner: String,
    /// Its processes.
    pub processes: Vec<StartedProcess>,
    /// How it ended, if it did.
    pub result: Option<Box<AttemptResult>>,
}

/// The directory of journal and spool files.
#[derive(Clone, Debug)]
pub struct Journal {
    dir: PathBuf,
    owner: String,
}

/// The open journal of one attempt.
#[derive(Debug)]
pub struct AttemptJournal(Mutex<File>);

impl Journal {
    /// In `dir`, which is made if it does not exist. `owner` names server and runner.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn open(dir: &Path, owner: String) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        Ok(Self { dir: dir.to_owned(), owner })
    }

    fn path(&self, attempt: AttemptRef) -> PathBuf {
        self.dir.join(format!("{attempt}.journal"))
    }

    /// Where the spool of an attempt is.
    pub(crate) fn spool_path(&self, attempt: AttemptRef) -> PathBuf {
        self.dir.join(format!("{attempt}.spool"))
    }

    /// Begins the journal of an attempt. Must happen before anything of it is started.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn begin(&self, attempt: AttemptRef) -> io::Result<AttemptJournal> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(self.path(attempt))?;
        let journal = AttemptJournal(Mutex::new(file));
        journal.write(&Line::Accepted { attempt, owner: self.owner.clone() })?;
        Ok(journal)
    }

    /// Whether a remembered attempt belongs to this runner at this server.
    #[must_use]
    pub fn owns(&self, remembered: &Remembered) -> bool {
        remembered.owner == self.owner
    }

    /// Everything that a dead runner left. Files that cannot be read as a journal are removed.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn remembered(&self) -> io::Result<Vec<Remembered>> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
            let Ok(attempt) = stem.parse::<AttemptRef>() else { continue };
            match path.extension().and_then(|e| e.to_str()) {
                Some("journal") => match read(&path) {
                    Some(remembered) => all.push(remembered),
                    None => {
                        // Torn at its very first line: the attempt was not begun.
                        all.push(Remembered {
                            attempt,
                            owner: self.owner.clone(),
                            processes: vec![],
                            result: None,
                        });
                    }
                },
                Some("spool") if !self.path(attempt).exists() => std::fs::remove_file(&path)?,
                _ => {}
            }
        }
        all.sort_by_key(|r| r.attempt);
        Ok(all)
    }

    /// The spool of a remembered attempt with the offsets of its first byte and of its end.
    pub(crate) fn spool(&self, attempt: AttemptRef) -> io::Result<Option<(Spool, u64, u64)>> {
        match Spool::open(&self.spool_path(attempt)) {
            Ok(found) => Ok(Some(found)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The attempt is over for good: removes its files.
    pub fn forget(&self, attempt: AttemptRef) {
        for path in [self.path(attempt), self.spool_path(attempt)] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "a journal file cannot be removed");
                }
                _ => {}
            }
        }
    }
}

impl AttemptJournal {
    fn write(&self, line: &Line) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line).map_err(io::Error::other)?;
        bytes.push(b'\n');
        // One write a line: a line is there or torn, never mixed with another.
        self.0.lock().write_all(&bytes)
    }

    /// A process was started.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn started(&self, pid: u32, start_ticks: u64) -> io::Result<()> {
        self.write(&Line::Started { pid, start_ticks })
    }

    /// The attempt ended.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finished(&self, result: &AttemptResult) -> io::Result<()> {
        self.write(&Line::Finished { result: Box::new(result.clone()) })
    }
}

fn read(path: &Path) -> Option<Remembered> {
    let bytes = std::fs::read(path).ok()?;
    let mut lines =
        bytes.split_inclusive(|b| *b == b'\n').map_while(|l| serde_json::from_slice::<Line>(l).ok());
    let Some(Line::Accepted { attempt, owner }) = lines.next() else { return None };
    let mut remembered = Remembered { attempt, owner, processes: Vec::new(), result: None };
    for line in lines {
        match line {
            Line::Started { pid, start_ticks } => {
                remembered.processes.push(StartedProcess { pid, start_ticks })
            }
            Line::Finished { result } => remembered.result = Some(result),
            Line::Accepted { .. } => {}
        }
    }
    Some(remembered)
}

/// Start of a process in clock ticks since boot; `None` if there is no such process.
#[must_use]
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything: count fields after the last one.
    let after = stat.iter().rposition(|b| *b == b')')?;
    std::str::from_utf8(&stat[after + 1..]).ok()?.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Ends the process groups of a dead runner's attempt that still have their leader.
/// (Whatever left its group is the driver's to find.)
pub(crate) fn kill_processes(remembered: &Remembered) {
    for process in &remembered.processes {
        if start_ticks(process.pid) != Some(process.start_ticks) {
            continue;
        }
        let pid = i32::try_from(process.pid).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let kill = rustix::process::Signal::KILL;
            // A process that died with its runner's last breath may lead no group yet.
            if rustix::process::kill_process_group(pid, kill).is_err() {
                let _ = rustix::process::kill_process(pid, kill);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetfoot_model::ids::{Epoch, JobId};
    use fleetfoot_model::state::Conclusion;

    fn attempt(job: u64) -> AttemptRef {
        AttemptRef { job: JobId(job), attempt: 1, epoch: Epoch(job + 100) }
    }

    #[test]
    fn remembers_what_was_written_and_survives_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(&dir.path().join("j"), "me".into()).unwrap();
        let one = journal.begin(attempt(1)).unwrap();
        one.started(7, 8).unwrap();
        let result: AttemptResult = serde_json::from_str(r#"{"conclusion":"success"}"#).unwrap();
        one.finished(&result).unwrap();
        let two = journal.begin(attempt(2)).unwrap();
        two.started(9, 10).unwrap();
        two.0.lock().write_all(b"{\"finished\":{\"resu").unwrap();
        std::fs::write(journal.path(attempt(3)), "{\"acc").unwrap();
        std::fs::write(journal.spool_path(attempt(4)), "left over").unwrap();

        let found = journal.remembered().unwrap();
        assert_eq!(found.iter().map(|r| r.attempt).collect::<Vec<_>>(), [attempt(1), attempt(2), attempt(3)]);
        assert_eq!(found[0].result.as_ref().map(|r| r.conclusion), Some(Conclusion::Success));
        assert_eq!(found[1].processes, [StartedProcess { pid: 9, start_ticks: 10 }]);
        assert_eq!(found[1].result, None);
        assert!(found.iter().all(|r| journal.owns(r)));

        for job in 1..=3 {
            journal.forget(attempt(job));
        }
        assert_eq!(std::fs::read_dir(dir.path().join("j")).unwrap().count(), 0);
    }

    #[test]
    fn a_process_is_named_beyond_reuse() {
        let me = std::process::id();
        assert!(start_ticks(me).is_some());
        assert_eq!(start_ticks(u32::MAX), None);
    }
}
