//! The log store: one append-only log per attempt, addressed by offset.
//!
//! An append is acknowledged after it is on the disk, in one hop to the
//! blocking pool and with one flush. Repeating an append changes nothing.
//! Readers see only durable bytes, verify what they read, and hold neither
//! memory nor locks between two chunks, so a slow reader slows nobody.
//!
//! On disk: `SHARD/JOB.ATTEMPT.EPOCH/START.log`, where START is the offset at
//! which the segment begins; see [`format`] for its bytes. The room never
//! interprets what a log says and never decides who may write it.

mod archive;
mod attempt;
mod follow;
mod format;
mod lines;
mod registry;
mod segment;
#[cfg(test)]
mod tests;

pub use follow::LogFollower;
pub use lines::{LineRange, LineTotal, LogPattern, LogWatch};

use crate::{AppendError, ObjectError, Objects};
use attempt::{Attempt, Progress, sync_dir};
use bytes::Bytes;
use fleetfoot_model::logs::{FRAME_HEADER, MAX_FRAME, Mark, Stream, frame_header};
use fleetfoot_model::{AttemptRef, Timestamp};
use registry::Registry;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use tokio::sync::Semaphore;

const SHARDS: u64 = 64;

/// How a [`LogStore`] behaves.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Flush to the disk before an append is answered. Only tests and
    /// throw-away local runs turn it off.
    pub durable: bool,
    /// Largest log of one attempt in bytes; `None` means no limit.
    pub max_bytes_per_attempt: Option<u64>,
    /// Largest body of one append in bytes.
    pub max_append: usize,
    /// A segment that has reached this many bytes is followed by a new one.
    pub segment_bytes: u64,
    /// File handles kept open between operations.
    pub open_files: usize,
    /// Attempts whose state (some hundred bytes) is kept in memory.
    pub known_attempts: usize,
    /// Appends that may be at the disk at the same time.
    pub parallel_appends: usize,
    /// Where [`LogStore::archive`] uploads closed logs.
    pub archive: Option<Objects>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            durable: true,
            max_bytes_per_attempt: None,
            max_append: 64 << 20,
            segment_bytes: 64 << 20,
            open_files: 512,
            known_attempts: 20_000,
            parallel_appends: 64,
            archive: None,
        }
    }
}

/// A piece of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// Offset of the first byte.
    pub offset: u64,
    /// The bytes as the step wrote them.
    pub bytes: Bytes,
    /// What the bytes are; the first mark covers `offset`. Empty with `bytes`.
    pub marks: Vec<Mark>,
    /// Durable length of the log when it was read.
    pub end: u64,
    /// No bytes will come after `end`.
    pub closed: bool,
}

impl LogChunk {
    /// Offset behind the last byte: where the next read begins.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

/// A log on the local disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLog {
    /// Whose log it is.
    pub attempt: AttemptRef,
    /// Bytes it takes on the disk.
    pub disk_bytes: u64,
    /// When it was last written.
    pub modified: Timestamp,
    /// Its bytes were uploaded by [`LogStore::archive`].
    pub archived: bool,
}

/// Counters since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStatistics {
    /// Appends that stored something.
    pub appends: u64,
    /// Log bytes stored.
    pub appended_bytes: u64,
    /// Log bytes that were sent again and skipped.
    pub repeated_bytes: u64,
    /// Log bytes handed out.
    pub read_bytes: u64,
    /// Logs whose end was looked up on the disk.
    pub recovered: u64,
    /// Reads and recoveries that found damage.
    pub corrupt: u64,
    /// File handles open now.
    pub open_files: u64,
}

#[derive(Debug, Default)]
struct Meters {
    appends: AtomicU64,
    appended_bytes: AtomicU64,
    repeated_bytes: AtomicU64,
    read_bytes: AtomicU64,
    recovered: AtomicU64,
    corrupt: AtomicU64,
    open_files: AtomicI64,
}

/// The logs of all attempts. Cheap to clone.
#[derive(Clone)]
pub struct LogStore {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    options: Arc<LogOptions>,
    meters: Arc<Meters>,
    registry: Registry,
    appends: Semaphore,
    /// Looks at whole logs: few at a time, so that they leave the disk and the processors to others.
    scans: Semaphore,
}

/// Looks at whole logs at the same time.
const SCANS: usize = 2;

impl LogStore {
    /// Opens (and creates) the store in `dir`.
    ///
    /// # Errors
    /// If the directory cannot be created.
    pub fn open(dir: &Path, options: LogOptions) -> Result<Self, ObjectError> {
        let io = |e| ObjectError::io(format!("creating the log directory {}", dir.display()), e);
        for shard in 0..SHARDS {
            std::fs::create_dir_all(dir.join(format!("{shard:02}"))).map_err(io)?;
        }
        if options.durable {
            sync_dir(dir).map_err(io)?;
        }
        let inner = Inner {
            dir: dir.to_owned(),
            appends: Semaphore::new(options.parallel_appends.max(1)),
            scans: Semaphore::new(SCANS),
            registry: Registry::default(),
            meters: Arc::default(),
            options: Arc::new(options),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn dir_of(&self, id: AttemptRef) -> PathBuf {
        self.inner.dir.join(format!("{:02}", id.job.0 % SHARDS)).join(id.to_string())
    }

    fn attempt(&self, id: AttemptRef) -> Arc<Attempt> {
        let Inner { options, meters, registry, .. } = &*self.inner;
        registry.get(id, options, meters, || {
            Attempt::new(id, self.dir_of(id), Arc::clone(options), Arc::clone(meters))
        })
    }

    /// Appends frames (see [`fleetfoot_model::logs`]). `offset` is the offset
    /// in the log of the first payload byte of the body. Bytes that are stored
    /// already are skipped, so that a retry changes nothing. Answers the
    /// length of the log after it is durable. Safe to cancel: what was begun
    /// is finished.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing is stored then.
    pub async fn append(&self, attempt: AttemptRef, offset: u64, body: Bytes) -> Result<u64, AppendError> {
        self.append_at(attempt, Some(offset), body).await
    }

    /// Appends bytes of one stream, for clients that do not speak frames.
    /// Without an `offset` they go to the end, and a retry appends them again.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing is stored then.
    pub async fn append_text(
        &self,
        attempt: AttemptRef,
        offset: Option<u64>,
        stream: Stream,
        step: u16,
        time: Timestamp,
        bytes: &[u8],
    ) -> Result<u64, AppendError> {
        let mut body = Vec::with_capacity(bytes.len() + (bytes.len() / MAX_FRAME + 1) * FRAME_HEADER);
        for piece in bytes.chunks(MAX_FRAME) {
            // A frame is at most 4 MiB.
            body.extend_from_slice(&frame_header(piece.len() as u32, stream, step, time));
            body.extend_from_slice(piece);
        }
        self.append_at(attempt, offset, body.into()).await
    }

    async fn append_at(&self, id: AttemptRef, offset: Option<u64>, body: Bytes) -> Result<u64, AppendError> {
        let limit = self.inner.options.max_append;
        if body.len() > limit {
            return Err(AppendError::TooLarge { limit });
        }
        let attempt = self.attempt(id);
        let mut writer = Arc::clone(&attempt.writer).lock_owned().await;
        let _permit = self.inner.appends.acquire().await;
        blocking(move || attempt.append(&mut writer, offset, &body)).await
    }

    /// Ends the log: no more bytes are accepted, followers reach their end.
    /// Closing again changes nothing. Answers the length.
    ///
    /// # Errors
    /// If the disk fails or the log is corrupt.
    pub async fn close(&self, attempt: AttemptRef) -> Result<u64, ObjectError> {
        self.close_with_checksum(attempt).await.map(|(length, _)| length)
    }

    /// Like [`LogStore::close`]; answers the length and the CRC-32 of all bytes.
    ///
    /// # Errors
    /// If the disk fails or the log is corrupt.
    pub async fn close_with_checksum(&self, attempt: AttemptRef) -> Result<(u64, u32), ObjectError> {
        let attempt = self.attempt(attempt);
        let mut writer = Arc::clone(&attempt.writer).lock_owned().await;
        let closing = Arc::clone(&attempt);
        let (closed, fresh) = blocking(move || {
            let open = !closing.progress.borrow().closed;
            closing.close(&mut writer).map(|end| (end, open))
        })
        .await?;
        if fresh && closed.0 >= lines::index::KEPT_FROM {
            self.outline_later(&attempt);
        }
        Ok(closed)
    }

    /// Durable length of the log; 0 if nothing was ever written.
    ///
    /// # Errors
    /// If the disk fails or the log is corrupt.
    pub async fn length(&self, attempt: AttemptRef) -> Result<u64, ObjectError> {
        Ok(loaded(&self.attempt(attempt)).await?.end)
    }

    /// True after [`LogStore::close`].
    ///
    /// # Errors
    /// If the disk fails or the log is corrupt.
    pub async fn is_closed(&self, attempt: AttemptRef) -> Result<bool, ObjectError> {
        Ok(loaded(&self.attempt(attempt)).await?.closed)
    }

    /// Reads up to `limit` bytes (at most 4 MiB) from `offset` on; fewer or
    /// none at the end of the log, and none behind it.
    ///
    /// # Errors
    /// If the disk fails or the bytes fail their checksum.
    pub async fn read(
        &self,
        attempt: AttemptRef,
        offset: u64,
        limit: usize,
    ) -> Result<LogChunk, ObjectError> {
        let attempt = self.attempt(attempt);
        let progress = loaded(&attempt).await?;
        follow::read_chunk(attempt, None, progress, offset, limit.min(MAX_FRAME))
            .await
            .map(|(chunk, _)| chunk)
    }

    /// Follows the log from `offset` on. The log need not exist yet.
    #[must_use]
    pub fn follow(&self, attempt: AttemptRef, offset: u64) -> LogFollower {
        LogFollower::new(self.attempt(attempt), offset)
    }

    /// Deletes the log, also from the archive. Followers end with "does not exist".
    ///
    /// # Errors
    /// If the disk or the archive fails.
    pub async fn remove(&self, attempt: AttemptRef) -> Result<(), ObjectError> {
        self.remove_archived(attempt).await?;
        let known = self.attempt(attempt);
        let mut writer = Arc::clone(&known.writer).lock_owned().await;
        let store = self.clone();
        blocking(move || {
            known.remove(&mut writer)?;
            store.inner.registry.forget(attempt, &known);
            Ok(())
        })
        .await
    }

    /// Every log on the local disk, in no particular order.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub async fn stored(&self) -> Result<Vec<StoredLog>, ObjectError> {
        let store = self.clone();
        blocking(move || archive::stored(&store.inner.dir)).await
    }

    /// Counters for metrics.
    #[must_use]
    pub fn statistics(&self) -> LogStatistics {
        let m = &self.inner.meters;
        LogStatistics {
            appends: m.appends.load(Relaxed),
            appended_bytes: m.appended_bytes.load(Relaxed),
            repeated_bytes: m.repeated_bytes.load(Relaxed),
            read_bytes: m.read_bytes.load(Relaxed),
            recovered: m.recovered.load(Relaxed),
            corrupt: m.corrupt.load(Relaxed),
            open_files: u64::try_from(m.open_files.load(Relaxed)).unwrap_or(0),
        }
    }
}

/// The state of the log, from memory or, the first time, from the disk.
async fn loaded(attempt: &Arc<Attempt>) -> Result<Progress, ObjectError> {
    let progress = *attempt.progress.borrow();
    if progress.removed {
        return Err(ObjectError::NotFound { what: format!("log {}", attempt.id) });
    }
    if progress.loaded {
        return Ok(progress);
    }
    let mut writer = Arc::clone(&attempt.writer).lock_owned().await;
    let owned = Arc::clone(attempt);
    blocking(move || owned.load(&mut writer).map(drop)).await?;
    Ok(*attempt.progress.borrow())
}

/// Runs disk work on the blocking pool. The work is finished even if the
/// caller goes away.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        Err(_) => {
            // The runtime is shutting down and drops this task as well.
            std::future::pending().await
        }
    }
}
