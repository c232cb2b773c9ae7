//! Following a log at the reader's own pace. A follower holds a place in a
//! file and nothing else between two chunks.

use super::attempt::{Attempt, Progress};
use super::segment::Place;
use super::{LogChunk, blocking, loaded};
use crate::ObjectError;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::watch;

/// Largest chunk of a follower in bytes.
const CHUNK: usize = 256 << 10;

/// Reads a log to its end and waits there for more. Dropping it is all it
/// takes to stop.
pub struct LogFollower {
    attempt: Arc<Attempt>,
    changes: watch::Receiver<Progress>,
    offset: u64,
    place: Option<Place>,
}

impl LogFollower {
    pub(super) fn new(attempt: Arc<Attempt>, offset: u64) -> Self {
        // Subscribed before the first look, so that no change falls between.
        let changes = attempt.progress.subscribe();
        Self { attempt, changes, offset, place: None }
    }

    /// The offset from which the next chunk will come.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next bytes, as soon as they are durable; `None` when the log is
    /// closed and read to its end. Safe to cancel: no byte is lost.
    ///
    /// # Errors
    /// If the disk fails, the bytes fail their checksum, or the log was removed.
    pub async fn next(&mut self) -> Result<Option<LogChunk>, ObjectError> {
        loop {
            let mut progress = *self.changes.borrow_and_update();
            if !progress.loaded && !progress.removed {
                progress = loaded(&self.attempt).await?;
            }
            if progress.removed {
                return Err(ObjectError::NotFound { what: format!("log {}", self.attempt.id) });
            }
            if self.offset < progress.end {
                let attempt = Arc::clone(&self.attempt);
                let (chunk, place) = read_chunk(attempt, self.place, progress, self.offset, CHUNK).await?;
                self.place = place;
                self.offset = chunk.next_offset();
                return Ok(Some(chunk));
            }
            if progress.closed {
                return Ok(None);
            }
            // The sender lives in the attempt that this follower holds.
            let _ = self.changes.changed().await;
        }
    }
}

/// Reads one chunk. `place` is where an earlier read of the same log stopped;
/// the answer has the place where this one did.
pub(super) async fn read_chunk(
    attempt: Arc<Attempt>,
    place: Option<Place>,
    progress: Progress,
    offset: u64,
    limit: usize,
) -> Result<(LogChunk, Option<Place>), ObjectError> {
    let Progress { end, closed, .. } = progress;
    if offset >= end || limit == 0 {
        return Ok((LogChunk { offset, bytes: Bytes::new(), marks: Vec::new(), end, closed }, place));
    }
    blocking(move || {
        let mut place = match place {
            Some(place) => place,
            None => attempt.place_before(offset)?,
        };
        let collected = attempt.read(&mut place, (offset, end), limit)?;
        let chunk = LogChunk { offset, bytes: collected.bytes.into(), marks: collected.marks, end, closed };
        Ok((chunk, Some(place)))
    })
    .await
}
