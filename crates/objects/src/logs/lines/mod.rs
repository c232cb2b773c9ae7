//! A log as lines: reading them by number, an outline of them, and searching.
//! Everything works on durable bytes only, holds at most a few MiB, and never
//! waits for a writer, so that it slows no append.

pub(super) mod index;
pub(super) mod outline;
mod read;
mod search;
#[cfg(test)]
mod tests;

pub use search::LogPattern;

use super::attempt::{Attempt, Progress};
use super::{LogStore, blocking, loaded};
use crate::ObjectError;
use fleetfoot_model::AttemptRef;
use fleetfoot_model::observe::{LogLines, LogOutline, LogSearch};
pub(super) use outline::Outline;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Which lines to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineRange {
    /// From this line (from 1) on.
    From(u64),
    /// So many at the end.
    Last(u64),
}

/// How many lines a log has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineTotal {
    /// Lines.
    pub lines: u64,
    /// Bytes.
    pub bytes: u64,
    /// Whether bytes follow the last line break of a log that is not closed.
    pub partial: bool,
    /// No more will come.
    pub complete: bool,
}

/// Wakes when a log grew, was closed or was removed.
pub struct LogWatch {
    attempt: Arc<Attempt>,
    changes: watch::Receiver<Progress>,
}

impl LogWatch {
    /// Resolves when something changed since this was made or last resolved. Safe to cancel.
    pub async fn changed(&mut self) {
        // The sender lives in the attempt that is held here.
        let _ = self.changes.changed().await;
    }

    /// Whose log it is.
    #[must_use]
    pub fn attempt(&self) -> AttemptRef {
        self.attempt.id
    }
}

impl std::fmt::Debug for LogWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogWatch").field("attempt", &self.attempt.id).finish_non_exhaustive()
    }
}

impl LogStore {
    /// The attempt with its lines counted up to what was durable a moment ago.
    async fn counted(&self, id: AttemptRef) -> Result<(Arc<Attempt>, Progress), ObjectError> {
        let attempt = self.attempt(id);
        let progress = loaded(&attempt).await?;
        if !attempt.is_counted(progress.end) {
            let _turn = self.inner.scans.acquire().await;
            if !attempt.is_counted(progress.end) {
                let attempt = Arc::clone(&attempt);
                blocking(move || attempt.count_lines(progress)).await?;
            }
        }
        Ok((attempt, progress))
    }

    /// How many lines a log has.
    ///
    /// # Errors
    /// If the disk fails, the log is corrupt or was removed.
    pub async fn line_total(&self, id: AttemptRef) -> Result<LineTotal, ObjectError> {
        let (attempt, progress) = self.counted(id).await?;
        let extent = attempt.lines.lock().extent();
        Ok(LineTotal {
            lines: extent.lines(progress.closed),
            bytes: extent.covered,
            partial: !progress.closed && extent.covered > extent.line_start,
            complete: progress.closed,
        })
    }

    /// Some lines of a log: at most `count`, and at most about `bytes` bytes of text, but at least one.
    ///
    /// # Errors
    /// If the disk fails, the log is corrupt or was removed.
    pub async fn lines(
        &self,
        id: AttemptRef,
        range: LineRange,
        count: u64,
        bytes: usize,
    ) -> Result<LogLines, ObjectError> {
        let (attempt, progress) = self.counted(id).await?;
        blocking(move || read::lines(&attempt, progress, range, count, bytes)).await
    }

    /// Where things are in a log.
    ///
    /// # Errors
    /// If the disk fails, the log is corrupt or was removed.
    pub async fn outline(&self, id: AttemptRef) -> Result<LogOutline, ObjectError> {
        let (attempt, progress) = self.counted(id).await?;
        let _turn = self.inner.scans.acquire().await;
        blocking(move || attempt.outlined(progress)).await
    }

    /// Searches the lines behind line `after`, for at most about `time`. Lists at most `limit` lines and
    /// goes on counting those that match.
    ///
    /// # Errors
    /// If the disk fails, the log is corrupt or was removed.
    pub async fn search(
        &self,
        id: AttemptRef,
        pattern: LogPattern,
        after: u64,
        limit: usize,
        time: Duration,
    ) -> Result<LogSearch, ObjectError> {
        let (attempt, progress) = self.counted(id).await?;
        let _turn = self.inner.scans.acquire().await;
        blocking(move || search::search(&attempt, progress, &pattern, after, limit, time)).await
    }

    /// Wakes whoever wants to know of new lines.
    #[must_use]
    pub fn watch(&self, id: AttemptRef) -> LogWatch {
        let attempt = self.attempt(id);
        let changes = attempt.progress.subscribe();
        LogWatch { attempt, changes }
    }

    /// Notes in the background where things are in a log that was closed just now, so that its first
    /// reader need not wait.
    pub(super) fn outline_later(&self, attempt: &Arc<Attempt>) {
        let (store, attempt) = (self.clone(), Arc::clone(attempt));
        // Nobody waits for it, and nothing depends on it.
        drop(tokio::task::spawn_blocking(move || {
            let Ok(_turn) = store.inner.scans.try_acquire() else { return };
            let progress = *attempt.progress.borrow();
            let done = attempt.count_lines(progress).and_then(|()| attempt.outlined(progress));
            if let Err(e) = done {
                tracing::debug!(attempt = %attempt.id, error = %e, "no outline of a log was made");
            }
        }));
    }
}
