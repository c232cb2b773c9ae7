//! What happens to logs after they are closed: the copy in the object store,
//! making room on the local disk, retention. It only ever touches closed logs
//! and deletes a local segment only after its copy is stored.
//!
//! A closed log is copied segment by segment to `logs/ATTEMPT/START.log`, and
//! its manifest to `logs/ATTEMPT/manifest.json` and the local file `archived`.
//! Reads of a log whose segments were evicted bring them back one by one.

use super::attempt::{Attempt, sync_dir};
use super::{LogStore, StoredLog, blocking, lines, loaded, segment};
use crate::objects::Swept;
use crate::{Digest, ObjectError, Objects};
use bytes::Bytes;
use fleetfoot_model::{AttemptRef, Timestamp};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::UNIX_EPOCH;
use tokio_util::io::ReaderStream;

/// Local file that holds the manifest of an archived log.
const MARKER: &str = "archived";
/// Suffix of files that are not finished.
const PART: &str = ".part";

/// What an archived log consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Length of the log.
    pub(super) end: u64,
    /// CRC-32 of the log.
    pub(super) crc32: u32,
    /// Its segments, ascending.
    pub(super) segments: Vec<ArchivedSegment>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ArchivedSegment {
    /// Offset in the log at which it begins.
    pub(super) start: u64,
    /// Bytes of its file.
    pub(super) length: u64,
    /// BLAKE3 of its file.
    pub(super) digest: Digest,
}

impl Manifest {
    pub(super) fn has(&self, start: u64) -> bool {
        self.segments.iter().any(|s| s.start == start)
    }
}

fn prefix(attempt: AttemptRef) -> String {
    format!("logs/{attempt}")
}

fn segment_key(attempt: AttemptRef, start: u64) -> String {
    format!("{}/{}", prefix(attempt), segment::name(start))
}

fn manifest_key(attempt: AttemptRef) -> String {
    format!("{}/manifest.json", prefix(attempt))
}

/// The manifest of the log in `dir`; `None` if it was never archived.
pub(super) fn manifest(dir: &Path) -> Result<Option<Manifest>, ObjectError> {
    let path = dir.join(MARKER);
    match std::fs::read(&path) {
        Ok(bytes) => parse(&path.display().to_string(), &bytes).map(Some),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(ObjectError::io("reading the manifest of a log", e)),
    }
}

fn parse(what: &str, bytes: &[u8]) -> Result<Manifest, ObjectError> {
    serde_json::from_slice(bytes).map_err(|e| ObjectError::corrupt(what, e.to_string()))
}

fn write_durably(dir: &Path, name: &str, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let part = dir.join(format!("{name}.{}{PART}", NUMBER.fetch_add(1, Relaxed)));
    let done = File::create(&part)
        .and_then(|mut file| write(&mut file).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&part, dir.join(name)))
        .and_then(|()| sync_dir(dir));
    if done.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    done
}

/// Brings an evicted segment back. Blocks: runs on the blocking pool.
pub(super) fn restore_segment(
    objects: &Objects,
    attempt: AttemptRef,
    dir: &Path,
    start: u64,
) -> Result<(), ObjectError> {
    let runtime = tokio::runtime::Handle::current();
    let mut stream = runtime.block_on(objects.stream(&segment_key(attempt, start)))?;
    let mut failed = None;
    let done = write_durably(dir, &segment::name(start), |file| {
        loop {
            match runtime.block_on(stream.next()) {
                Ok(Some(piece)) => file.write_all(&piece)?,
                Ok(None) => return Ok(()),
                Err(e) => {
                    failed = Some(e);
                    return Err(io::Error::other("the object store failed"));
                }
            }
        }
    });
    match (failed, done) {
        (Some(e), _) => Err(e),
        (None, done) => done.map_err(|e| ObjectError::io(format!("restoring log {attempt}"), e)),
    }
}

impl LogStore {
    fn archive_objects(&self) -> Result<&Objects, ObjectError> {
        let configured = self.inner.options.archive.as_ref();
        configured.ok_or_else(|| ObjectError::BadConfig("no object store is configured for logs".into()))
    }

    /// Whether closed logs can be copied to an object store.
    #[must_use]
    pub fn has_archive(&self) -> bool {
        self.inner.options.archive.is_some()
    }

    /// Copies a closed log to the object store. The local segments stay until
    /// [`LogStore::evict`]. Archiving again changes nothing.
    ///
    /// # Errors
    /// If no archive is configured, the log is not closed, or a store fails.
    pub async fn archive(&self, attempt: AttemptRef) -> Result<(), ObjectError> {
        let objects = self.archive_objects()?.clone();
        let log = self.attempt(attempt);
        let progress = loaded(&log).await?;
        if !progress.closed {
            return Err(ObjectError::NotClosed { what: format!("log {attempt}") });
        }
        let dir = log.dir.clone();
        if manifest(&dir)?.is_some() {
            return Ok(());
        }
        let (end, crc32) = self.close_with_checksum(attempt).await?;
        let failed = |e| ObjectError::io(format!("archiving log {attempt}"), e);
        let mut segments = Vec::new();
        for start in segment::list(&dir).map_err(failed)? {
            let file = tokio::fs::File::open(dir.join(segment::name(start))).await.map_err(failed)?;
            let body = ReaderStream::with_capacity(file, 1 << 20);
            let stored = objects.put_stream(&segment_key(attempt, start), body).await?;
            segments.push(ArchivedSegment { start, length: stored.length, digest: stored.digest });
        }
        let manifest = Manifest { end, crc32, segments };
        let text = serde_json::to_vec(&manifest).map_err(|e| failed(e.into()))?;
        objects.put(&manifest_key(attempt), Bytes::from(text.clone())).await?;
        self.write_marker(&log, text).await
    }

    async fn write_marker(&self, log: &Arc<Attempt>, text: Vec<u8>) -> Result<(), ObjectError> {
        let log = Arc::clone(log);
        let mut writer = Arc::clone(&log.writer).lock_owned().await;
        blocking(move || {
            std::fs::create_dir_all(&log.dir)
                .and_then(|()| write_durably(&log.dir, MARKER, |file| file.write_all(&text)))
                .map_err(|e| ObjectError::io(format!("archiving log {}", log.id), e))?;
            writer.tail = None;
            log.load(&mut writer).map(drop)
        })
        .await
    }

    /// Deletes the local segments of an archived log; reads bring them back.
    /// Answers the bytes that became free.
    ///
    /// # Errors
    /// If the log was not archived or the disk fails.
    pub async fn evict(&self, attempt: AttemptRef) -> Result<u64, ObjectError> {
        let log = self.attempt(attempt);
        let writer = Arc::clone(&log.writer).lock_owned().await;
        blocking(move || {
            let _writer = writer;
            if manifest(&log.dir)?.is_none() {
                return Err(ObjectError::NotFound { what: format!("archive of log {attempt}") });
            }
            log.close_file();
            let free = || -> io::Result<u64> {
                let mut freed = 0;
                for entry in std::fs::read_dir(&log.dir)? {
                    let entry = entry?;
                    // Where lines are stays: it is small, and spares bringing back what nobody reads.
                    let kept = [MARKER, lines::index::FILE, lines::outline::FILE];
                    if !kept.iter().any(|name| entry.file_name() == *name) {
                        freed += entry.metadata()?.len();
                        std::fs::remove_file(entry.path())?;
                    }
                }
                Ok(freed)
            };
            free().map_err(|e| ObjectError::io(format!("evicting log {attempt}"), e))
        })
        .await
    }

    /// Makes an archived log known again on a disk that lost it.
    ///
    /// # Errors
    /// If no archive is configured, it does not have the log, or a store fails.
    pub async fn restore(&self, attempt: AttemptRef) -> Result<(), ObjectError> {
        let key = manifest_key(attempt);
        let text = self.archive_objects()?.get(&key).await?;
        parse(&key, &text)?;
        let log = self.attempt(attempt);
        if loaded(&log).await?.end > 0 {
            return Ok(());
        }
        self.write_marker(&log, text.to_vec()).await
    }

    /// Deletes the copy in the object store, if there is one.
    pub(super) async fn remove_archived(&self, attempt: AttemptRef) -> Result<(), ObjectError> {
        let Some(objects) = &self.inner.options.archive else { return Ok(()) };
        let Some(manifest) = manifest(&self.dir_of(attempt))? else { return Ok(()) };
        for part in manifest.segments {
            objects.delete(&segment_key(attempt, part.start)).await?;
        }
        objects.delete(&manifest_key(attempt)).await
    }

    /// Deletes the logs last written before `older_than` that `keep` does not
    /// hold, with their copies in the archive. Repeating is harmless.
    ///
    /// # Errors
    /// If a store fails; what was deleted stays deleted.
    pub async fn sweep(
        &self,
        older_than: Timestamp,
        keep: impl Fn(&StoredLog) -> bool + Send,
    ) -> Result<Swept, ObjectError> {
        let mut swept = Swept::default();
        for log in self.stored().await? {
            if log.modified < older_than && !keep(&log) {
                self.remove(log.attempt).await?;
                swept.count += 1;
                swept.bytes += log.disk_bytes;
            }
        }
        Ok(swept)
    }
}

/// Lists the logs below `root`.
pub(super) fn stored(root: &Path) -> Result<Vec<StoredLog>, ObjectError> {
    let list = || -> io::Result<Vec<StoredLog>> {
        let mut out = Vec::new();
        for shard in std::fs::read_dir(root)? {
            let shard = shard?;
            if !shard.file_type()?.is_dir() {
                continue;
            }
            for log in std::fs::read_dir(shard.path())? {
                let log = log?;
                if let Some(attempt) = log.file_name().to_str().and_then(|n| n.parse().ok()) {
                    out.extend(stored_one(attempt, &log.path())?);
                }
            }
        }
        Ok(out)
    };
    list().map_err(|e| ObjectError::io("listing the logs", e))
}

/// `None` if it was removed in the meantime.
fn stored_one(attempt: AttemptRef, dir: &Path) -> io::Result<Option<StoredLog>> {
    let mut out = StoredLog { attempt, disk_bytes: 0, modified: Timestamp(0), archived: false };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if segment::parse_name(name).is_some() || name == MARKER {
            out.disk_bytes += metadata.len();
            let since = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            out.modified = out.modified.max(Timestamp(0) + since);
        }
        out.archived |= name == MARKER;
    }
    Ok(Some(out))
}
