//! The log of one attempt: its single writer and what readers need to know.
//! Everything here blocks and runs on the blocking pool; a write is published
//! to readers only after it is durable.

use super::archive::{self, Manifest};
use super::format::{Encoder, SEGMENT_HEADER, segment_header};
use super::lines::Outline;
use super::lines::index::LineIndex;
use super::segment::{self, Place, Tail};
use super::{LogOptions, Meters};
use crate::{AppendError, ObjectError};
use fleetfoot_model::AttemptRef;
use fleetfoot_model::logs::{Frame, FrameError, frames};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::sync::watch;

/// Distance between remembered places of a log, in bytes.
const INDEX_STEP: u64 = 1 << 20;

/// What readers may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The disk has been looked at.
    pub(super) loaded: bool,
    /// Durable length of the log.
    pub(super) end: u64,
    /// No more bytes will come.
    pub(super) closed: bool,
    /// The log was deleted.
    pub(super) removed: bool,
}

/// What only the writer knows; `None` until the disk has been looked at, and
/// again after a failed write.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) tail: Option<Tail>,
}

pub(super) struct Attempt {
    pub(super) id: AttemptRef,
    pub(super) dir: PathBuf,
    pub(super) writer: Arc<tokio::sync::Mutex<Writer>>,
    pub(super) progress: watch::Sender<Progress>,
    /// The handle of the last segment used; closed when too many are open.
    file: Mutex<Option<(u64, Arc<File>)>>,
    /// Some places of the log, so that a read need not walk from the start.
    places: Mutex<BTreeMap<u64, Place>>,
    /// Where lines are, and what they say.
    pub(super) lines: Mutex<LineIndex>,
    pub(super) outline: Mutex<Outline>,
    pub(super) options: Arc<LogOptions>,
    pub(super) meters: Arc<Meters>,
}

impl Attempt {
    pub(super) fn new(id: AttemptRef, dir: PathBuf, options: Arc<LogOptions>, meters: Arc<Meters>) -> Self {
        Self {
            id,
            dir,
            writer: Arc::default(),
            progress: watch::Sender::new(Progress::default()),
            file: Mutex::new(None),
            places: Mutex::default(),
            lines: Mutex::default(),
            outline: Mutex::default(),
            options,
            meters,
        }
    }

    fn what(&self) -> String {
        format!("log {}", self.id)
    }

    fn io(&self, doing: &str) -> impl FnOnce(io::Error) -> ObjectError {
        let what = format!("{doing} log {}", self.id);
        move |e| ObjectError::io(what, e)
    }

    pub(super) fn has_open_file(&self) -> bool {
        self.file.try_lock().is_none_or(|f| f.is_some())
    }

    /// Closes the cached handle. True if there was one.
    pub(super) fn close_file(&self) -> bool {
        let closed = self.file.lock().take().is_some();
        if closed {
            self.meters.open_files.fetch_sub(1, Relaxed);
        }
        closed
    }

    fn cache_file(&self, start: u64, file: &Arc<File>) {
        if self.file.lock().replace((start, Arc::clone(file))).is_none() {
            self.meters.open_files.fetch_add(1, Relaxed);
        }
    }

    /// A segment for reading and, if it is the last one, for writing.
    fn open_segment(&self, start: u64) -> Result<Arc<File>, ObjectError> {
        if let Some((cached, file)) = &*self.file.lock()
            && *cached == start
        {
            return Ok(Arc::clone(file));
        }
        let path = self.dir.join(segment::name(start));
        let open = || OpenOptions::new().read(true).write(true).open(&path);
        let file = match open() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let evicted = archive::manifest(&self.dir)?.is_some_and(|m| m.has(start));
                let Some(objects) = self.options.archive.as_ref().filter(|_| evicted) else {
                    return Err(ObjectError::corrupt(self.what(), format!("segment {start} is missing")));
                };
                archive::restore_segment(objects, self.id, &self.dir, start)?;
                open()
            }
            other => other,
        };
        let file = Arc::new(file.map_err(self.io("opening"))?);
        self.cache_file(start, &file);
        Ok(file)
    }

    /// Where the segments begin, ascending, evicted ones included.
    fn starts(&self) -> Result<Vec<u64>, ObjectError> {
        match archive::manifest(&self.dir)? {
            Some(manifest) => Ok(manifest.segments.iter().map(|s| s.start).collect()),
            None => segment::list(&self.dir).map_err(self.io("listing")),
        }
    }

    /// Looks at the disk unless that was done before.
    pub(super) fn load<'a>(&self, writer: &'a mut Writer) -> Result<&'a mut Tail, ObjectError> {
        let tail = match writer.tail.take() {
            Some(tail) => tail,
            None => self.recover()?,
        };
        self.publish(&tail);
        Ok(writer.tail.insert(tail))
    }

    fn recover(&self) -> Result<Tail, ObjectError> {
        if let Some(Manifest { end, crc32, .. }) = archive::manifest(&self.dir)? {
            return Ok(Tail { end, log_crc: crc32, closed: true, ..Tail::default() });
        }
        let Some(&start) = self.starts()?.last() else {
            return Ok(Tail::default());
        };
        self.meters.recovered.fetch_add(1, Relaxed);
        let what = self.what();
        let file = self.open_segment(start)?;
        let found = segment::find_tail(&what, &file, start);
        let mut tail = found.inspect_err(|e| {
            self.meters.corrupt.fetch_add(1, Relaxed);
            tracing::error!(attempt = %self.id, error = %e, "log is corrupt");
        })?;
        if tail.file_length > tail.position {
            let torn = tail.file_length - tail.position;
            tracing::warn!(attempt = %self.id, end = tail.end, torn, "the last append of a log never completed");
        }
        if self.options.durable {
            // A killed server may have left whole blocks that were never flushed: a retry is
            // answered from what is found here, so it has to be on the disk first.
            file.sync_data().and_then(|()| self.sync_names()).map_err(self.io("flushing"))?;
        }
        if tail.end == start && start > 0 {
            // The segment has no block yet: the checksum so far is at the end of the one before it.
            if let Some(&before) = self.starts()?.iter().rev().nth(1) {
                let previous = self.open_segment(before)?;
                let previous = segment::find_tail(&what, &previous, before)?;
                if previous.end != start {
                    let detail =
                        format!("segment {before} ends at {}, the next begins at {start}", previous.end);
                    return Err(ObjectError::corrupt(what, detail));
                }
                tail.log_crc = previous.log_crc;
            }
        }
        Ok(tail)
    }

    fn publish(&self, tail: &Tail) {
        let now = Progress { loaded: true, end: tail.end, closed: tail.closed, removed: false };
        self.progress.send_if_modified(|p| {
            let changed = *p != now && !p.removed;
            if changed {
                *p = now;
            }
            changed
        });
    }

    /// Appends what is new of `body`, whose first payload byte has `offset`.
    pub(super) fn append(
        &self,
        writer: &mut Writer,
        offset: Option<u64>,
        body: &[u8],
    ) -> Result<u64, AppendError> {
        if self.progress.borrow().removed {
            return Err(AppendError::Closed);
        }
        let tail = *self.load(writer)?;
        let (offset, length) = (offset.unwrap_or(tail.end), payload_length(body)?);
        let Some(skip) = tail.end.checked_sub(offset) else {
            return Err(AppendError::Gap { expected: tail.end });
        };
        self.meters.repeated_bytes.fetch_add(skip.min(length), Relaxed);
        if length <= skip {
            return Ok(tail.end);
        }
        if tail.closed {
            return Err(AppendError::Closed);
        }
        if let Some(limit) = self.options.max_bytes_per_attempt
            && offset + length > limit
        {
            return Err(AppendError::TooLong { limit });
        }
        let end = self.write(writer, body.len(), |encoder| {
            let mut skip = skip as usize;
            for frame in frames(body) {
                let frame = frame?;
                let skipped = skip.min(frame.bytes.len());
                skip -= skipped;
                encoder.frame(&Frame { bytes: &frame.bytes[skipped..], ..frame });
            }
            Ok(false)
        })?;
        self.count_appended(tail.end, body, skip as usize);
        self.meters.appends.fetch_add(1, Relaxed);
        self.meters.appended_bytes.fetch_add(end - tail.end, Relaxed);
        Ok(end)
    }

    /// Counts the lines of what was appended at `offset`, while it is in the processor's cache.
    fn count_appended(&self, offset: u64, body: &[u8], mut skip: usize) {
        let pieces = frames(body).filter_map(Result::ok).map(|frame| {
            let skipped = skip.min(frame.bytes.len());
            skip -= skipped;
            &frame.bytes[skipped..]
        });
        self.lines.lock().appended(offset, pieces);
    }

    /// Ends the log. Answers its length and checksum.
    pub(super) fn close(&self, writer: &mut Writer) -> Result<(u64, u32), ObjectError> {
        if self.progress.borrow().removed {
            return Err(ObjectError::NotFound { what: self.what() });
        }
        let tail = *self.load(writer)?;
        if !tail.closed {
            self.write(writer, 0, |_| Ok(true)).map_err(|e| match e {
                AppendError::Full => ObjectError::Full { what: self.what() },
                AppendError::Store(e) => e,
                other => ObjectError::corrupt(self.what(), other.to_string()),
            })?;
        }
        Ok((tail.end, tail.log_crc))
    }

    /// Encodes with `fill` (true: close) behind the tail, writes and flushes,
    /// then publishes. On failure the file is cut back and the disk is looked
    /// at again before the next write: after a failed flush the kernel may
    /// have dropped the bytes it still shows.
    fn write<'a>(
        &self,
        writer: &mut Writer,
        capacity: usize,
        fill: impl FnOnce(&mut Encoder<'a>) -> Result<bool, FrameError>,
    ) -> Result<u64, AppendError> {
        let old = *self.load(writer)?;
        let (mut tail, file, created) = self.prepare(old).inspect_err(|_| writer.tail = None)?;
        let mut out = Vec::with_capacity(capacity + capacity / 64 + 256);
        if tail.position == 0 {
            out.extend_from_slice(&segment_header(tail.segment, tail.salt));
        }
        let mut encoder = Encoder::new(out, tail.salt, tail.end, tail.log_crc);
        let close = fill(&mut encoder)?;
        let encoded = if close { encoder.close() } else { encoder.finish() };

        let from = tail.position;
        let mut done = file.write_all_at(&encoded.bytes, from);
        if done.is_ok() && self.options.durable {
            done = file.sync_data().and_then(|()| if created { self.sync_names() } else { Ok(()) });
        }
        if let Err(e) = done {
            writer.tail = None;
            let _ = file.set_len(from).and_then(|()| file.sync_data());
            self.close_file();
            return Err(self.io("writing")(e).into());
        }
        tail.position = from + encoded.bytes.len() as u64;
        tail.file_length = tail.position;
        tail.end = encoded.end;
        tail.log_crc = encoded.log_crc;
        tail.closed = close;
        self.remember(Place {
            segment: tail.segment,
            position: from.max(SEGMENT_HEADER as u64),
            offset: old.end,
        });
        writer.tail = Some(tail);
        self.publish(&tail);
        Ok(tail.end)
    }

    /// The file for the next block, cut to its last whole block; the first or
    /// a next segment is created if need be (true).
    fn prepare(&self, mut tail: Tail) -> Result<(Tail, Arc<File>, bool), ObjectError> {
        let full = tail.position >= self.options.segment_bytes && tail.end > tail.segment;
        let fresh = full || tail.position == 0;
        if !fresh || tail.file_length > tail.position {
            let file = self.open_segment(tail.segment)?;
            if tail.file_length > tail.position {
                file.set_len(tail.position).and_then(|()| file.sync_data()).map_err(self.io("repairing"))?;
                tail.file_length = tail.position;
            }
            if !fresh {
                return Ok((tail, file, false));
            }
        }
        tail = Tail {
            segment: tail.end,
            salt: RandomState::new().hash_one(self.id),
            position: 0,
            file_length: 0,
            ..tail
        };
        let path = self.dir.join(segment::name(tail.segment));
        let create = || OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        let file = match create() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(&self.dir).map_err(self.io("creating"))?;
                create()
            }
            other => other,
        };
        let file = Arc::new(file.map_err(self.io("creating"))?);
        self.cache_file(tail.segment, &file);
        Ok((tail, file, true))
    }

    /// Makes the name of a new segment durable, with the directories above it.
    fn sync_names(&self) -> io::Result<()> {
        sync_dir(&self.dir)?;
        match self.dir.parent() {
            Some(shard) => sync_dir(shard),
            None => Ok(()),
        }
    }

    fn remember(&self, place: Place) {
        let mut places = self.places.lock();
        let near = places.range(..=place.offset).next_back().is_some_and(|(&offset, known)| {
            known.segment == place.segment && place.offset - offset < INDEX_STEP
        });
        if !near {
            places.insert(place.offset, place);
        }
    }

    /// The nearest known place at or before `offset`.
    pub(super) fn place_before(&self, offset: u64) -> Result<Place, ObjectError> {
        let known = self.places.lock().range(..=offset).next_back().map(|(_, &p)| p);
        if let Some(place) = known
            && offset - place.offset < 4 * INDEX_STEP
        {
            return Ok(place);
        }
        let start = self.starts()?.into_iter().rev().find(|&s| s <= offset);
        let place = start.map(Place::start_of).or(known);
        match (place, known) {
            (Some(listed), Some(known)) if known.offset >= listed.offset => Ok(known),
            (Some(listed), _) => Ok(listed),
            (None, _) => Err(ObjectError::corrupt(self.what(), "its segments are missing")),
        }
    }

    /// Reads verified bytes; see [`segment::read_blocks`].
    pub(super) fn read(
        &self,
        place: &mut Place,
        range: (u64, u64),
        limit: usize,
    ) -> Result<segment::Collected, ObjectError> {
        let what = self.what();
        let open = |start| self.open_segment(start);
        let collected = segment::read_blocks(&what, place, range, limit, open, |p| self.remember(p));
        match &collected {
            Ok(c) => {
                self.meters.read_bytes.fetch_add(c.bytes.len() as u64, Relaxed);
            }
            Err(ObjectError::Corrupt { .. }) => {
                self.meters.corrupt.fetch_add(1, Relaxed);
            }
            Err(_) => {}
        }
        collected
    }

    /// Deletes the log from the disk.
    pub(super) fn remove(&self, writer: &mut Writer) -> Result<(), ObjectError> {
        self.close_file();
        match std::fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(self.io("deleting")(e)),
            _ => {}
        }
        writer.tail = None;
        self.places.lock().clear();
        *self.lines.lock() = LineIndex::default();
        *self.outline.lock() = Outline::default();
        self.progress.send_modify(|p| p.removed = true);
        Ok(())
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.close_file();
    }
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Checks every frame before anything is written.
fn payload_length(body: &[u8]) -> Result<u64, FrameError> {
    frames(body).try_fold(0, |sum, frame| Ok(sum + frame?.bytes.len() as u64))
}
