//! The queue between a step and its uploader. Data is, oldest first: the piece
//! under way, the spool file, the memory. Whoever appends waits only while all
//! of them are full.

use super::spool::Spool;
use bytes::{Bytes, BytesMut};
use fleetfoot_model::logs::{FRAME_HEADER, Stream, frame_header};
use fleetfoot_model::time::Timestamp;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Largest frame that is made here: the unit in which pieces can be cut.
const FRAME: usize = 256 << 10;
/// A piece of memory that is full.
const SEAL: usize = 4 << 20;
/// Pending bytes at which the uploader need not wait for more.
const ENOUGH: usize = 256 << 10;
/// The server counts as not keeping up when nothing was acknowledged for this long.
pub(crate) const STALLED: Duration = Duration::from_millis(250);

/// Bounds of one log's queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes in memory.
    pub(crate) memory: usize,
    /// Bytes in the spool file.
    pub(crate) spool: u64,
    /// The spool leaves this much of the disk to others.
    pub(crate) keep_free: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 12 << 20, spool: 1 << 30, keep_free: 256 << 20 }
    }
}

#[derive(Debug)]
struct State {
    sealed: VecDeque<Bytes>,
    tail: BytesMut,
    /// Framed bytes in `sealed` and `tail`.
    in_memory: usize,
    /// The piece that the uploader has and that is not acknowledged.
    under_way: Option<Bytes>,
    spool: Option<Spool>,
    /// Payload bytes appended.
    end: u64,
    /// Payload bytes acknowledged, and when the last of them were, or since when there is something to acknowledge.
    acknowledged: u64,
    progress: Instant,
    closed: bool,
    discarded: bool,
    uploader: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct LogPipe {
    state: Mutex<State>,
    limits: Limits,
    spool_path: PathBuf,
    /// For the uploader: bytes, enough bytes, or the end.
    pub(crate) work: Notify,
    /// For whoever appends: room.
    room: Notify,
}

impl LogPipe {
    pub(crate) fn new(spool_path: PathBuf, limits: Limits) -> Self {
        let state = State {
            sealed: VecDeque::new(),
            tail: BytesMut::new(),
            in_memory: 0,
            under_way: None,
            spool: None,
            end: 0,
            acknowledged: 0,
            progress: Instant::now(),
            closed: false,
            discarded: false,
            uploader: false,
        };
        Self { state: Mutex::new(state), limits, spool_path, work: Notify::new(), room: Notify::new() }
    }

    /// What a dead runner left of a log: complete, nothing is added.
    pub(crate) fn resume(spool: Spool, path: PathBuf, base: u64, end: u64) -> Self {
        let pipe = Self::new(path, Limits::default());
        {
            let mut state = pipe.state.lock();
            state.spool = Some(spool);
            (state.acknowledged, state.end) = (base, end);
            state.closed = true;
        }
        pipe
    }

    /// Appends; true if the caller has to start the uploader.
    pub(crate) async fn append(&self, step: u16, stream: Stream, time: Timestamp, bytes: &Bytes) -> bool {
        let mut start = false;
        for chunk in bytes.chunks(FRAME) {
            loop {
                let room = self.room.notified();
                match self.try_append(step, stream, time, chunk) {
                    Some(first) => {
                        start |= first;
                        break;
                    }
                    // Woken by an acknowledgement, or to look again whether the server still keeps up.
                    None => {
                        let _ = tokio::time::timeout(STALLED, room).await;
                    }
                }
            }
        }
        start
    }

    fn try_append(&self, step: u16, stream: Stream, time: Timestamp, chunk: &[u8]) -> Option<bool> {
        let mut state = self.state.lock();
        let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        if state.discarded || state.closed {
            return Some(false);
        }
        if state.in_memory + chunk.len() > self.limits.memory {
            let behind = state.spool.is_some() || state.progress.elapsed() >= STALLED;
            if !behind || !self.spill(&mut state) {
                return None;
            }
        }
        let framed = FRAME_HEADER + chunk.len();
        let was_empty = state.in_memory == 0;
        if was_empty && state.under_way.is_none() && state.spool.is_none() {
            state.progress = Instant::now();
        }
        if state.tail.len() + framed > SEAL {
            let full = state.tail.split().freeze();
            state.sealed.push_back(full);
        }
        let header = frame_header(u32::try_from(chunk.len()).unwrap_or(u32::MAX), stream, step, time);
        state.tail.extend_from_slice(&header);
        state.tail.extend_from_slice(chunk);
        let before = state.in_memory;
        state.in_memory += framed;
        state.end += length;
        if was_empty || (before < ENOUGH && state.in_memory >= ENOUGH) {
            self.work.notify_one();
        }
        Some(!std::mem::replace(&mut state.uploader, true))
    }

    /// Moves everything that only memory has to the spool file. False if there is no room on disk.
    fn spill(&self, state: &mut State) -> bool {
        let pieces = state.sealed.iter().map(Bytes::len).sum::<usize>() + state.tail.len();
        if pieces == 0 && (state.spool.is_some() || state.under_way.is_none()) {
            return true;
        }
        let size = state.spool.as_ref().map_or(0, Spool::size) + pieces as u64;
        if size > self.limits.spool || free_bytes(&self.spool_path) < self.limits.keep_free + pieces as u64 {
            return false;
        }
        let mut spool = match state.spool.take() {
            Some(spool) => spool,
            None => match self.new_spool(state) {
                Ok(spool) => spool,
                Err(error) => {
                    tracing::warn!(path = %self.spool_path.display(), %error, "the log spool cannot be created");
                    return false;
                }
            },
        };
        let mut all: VecDeque<Bytes> = std::mem::take(&mut state.sealed);
        all.push_back(state.tail.split().freeze());
        let mut ok = true;
        while let Some(piece) = all.front() {
            if let Err(error) = spool.append(piece) {
                tracing::warn!(path = %self.spool_path.display(), %error, "the log spool cannot be written");
                ok = false;
                break;
            }
            all.pop_front();
        }
        // What could not be written stays in memory, in order, behind the file.
        state.sealed = all;
        state.in_memory = state.sealed.iter().map(Bytes::len).sum();
        state.spool = Some(spool);
        ok
    }

    fn new_spool(&self, state: &State) -> std::io::Result<Spool> {
        let mut spool = Spool::create(&self.spool_path, state.acknowledged)?;
        if let Some(piece) = &state.under_way {
            spool.append(piece)?;
            spool.advance(piece.len() as u64);
        }
        Ok(spool)
    }

    /// Called by the uploader while it waits: if the server does not keep up, what is pending goes to disk.
    pub(crate) fn tick(&self) {
        let mut state = self.state.lock();
        if state.progress.elapsed() >= STALLED && !state.discarded {
            self.spill(&mut state);
        }
    }

    /// Whether there is something to send, whether it should go at once, and whether nothing will follow.
    pub(crate) fn pending(&self) -> Pending {
        let state = self.state.lock();
        let spooled = state.spool.as_ref().is_some_and(|s| s.unread() > 0);
        Pending {
            any: spooled || state.in_memory > 0,
            enough: spooled || state.in_memory >= ENOUGH || state.closed,
            closed: state.closed,
            discarded: state.discarded,
        }
    }

    /// The next piece with its offset. It counts as under way until [`LogPipe::acknowledge`] has passed its end.
    pub(crate) fn take(&self) -> std::io::Result<Option<(u64, Bytes)>> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let piece = match &mut state.spool {
            Some(spool) if spool.unread() > 0 => {
                let piece = spool.peek(SEAL as u64)?;
                if piece.is_empty() {
                    return Err(std::io::Error::new(
                        std::io::ErrorKind::InvalidData,
                        "no frame where one should be",
                    ));
                }
                spool.advance(piece.len() as u64);
                piece
            }
            _ => {
                let piece = state.sealed.pop_front().unwrap_or_else(|| state.tail.split().freeze());
                state.in_memory -= piece.len();
                piece
            }
        };
        if piece.is_empty() {
            return Ok(None);
        }
        self.room.notify_waiters();
        state.under_way = Some(piece.clone());
        Ok(Some((state.acknowledged, piece)))
    }

    /// Everything before `offset` is durable at the server; `rest` is what is left of the piece under way.
    pub(crate) fn acknowledge(&self, offset: u64, rest: &Bytes) {
        let mut state = self.state.lock();
        if offset > state.acknowledged {
            state.acknowledged = offset;
            state.progress = Instant::now();
        }
        state.under_way = (!rest.is_empty()).then(|| rest.clone());
        // The file is removed when the last byte that came from it is safe.
        if let Some(spool) = state.spool.take_if(|s| rest.is_empty() && s.unread() == 0) {
            spool.remove();
        }
        self.room.notify_waiters();
    }

    /// Nothing will be appended any more.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_one();
    }

    /// Nobody wants these bytes: forget them, and take no more.
    pub(crate) fn discard(&self) {
        let mut state = self.state.lock();
        state.discarded = true;
        state.sealed.clear();
        state.tail = BytesMut::new();
        state.in_memory = 0;
        state.under_way = None;
        if let Some(spool) = state.spool.take() {
            spool.remove();
        }
        drop(state);
        self.room.notify_waiters();
        self.work.notify_one();
    }

    /// Payload bytes appended.
    pub(crate) fn end(&self) -> u64 {
        self.state.lock().end
    }
}

/// See [`LogPipe::pending`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) any: bool,
    pub(crate) enough: bool,
    pub(crate) closed: bool,
    pub(crate) discarded: bool,
}

fn free_bytes(path: &std::path::Path) -> u64 {
    let dir = path.parent().unwrap_or(path);
    rustix::fs::statvfs(dir).map_or(0, |s| s.f_bavail.saturating_mul(s.f_frsize))
}
