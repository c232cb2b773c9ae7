//! The output of one step: reads its streams, carries out workflow commands,
//! masks, keeps to the log limit, and hands big pieces to the sink. It must
//! never lose a byte, reorder a stream, or read ahead of a sink that waits.

use crate::clock;
use crate::interpret::{Effects, Interpreter};
use crate::mask::{Masker, StreamMask};
use crate::matching::{JobMatchers, LineMatcher};
use crate::scan::{Part, Scanner};
use crate::sink::Sink;
use bytes::{Bytes, BytesMut};
use fleetfoot_model::logs::Stream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// First and largest size of a read, bytes. The size grows while reads fill it.
const SMALL_READ: usize = 8 << 10;
const LARGE_READ: usize = 512 << 10;
/// More than a pipe can hold: who gave this much after the leader's end is alive.
const BEYOND_PIPE: u64 = 4 << 20;

/// What the steps of an attempt share on their way to the log.
pub(crate) struct Log {
    sink: Arc<dyn Sink>,
    pub(crate) masker: Arc<Masker>,
    max: u64,
    written: AtomicU64,
    told: AtomicBool,
}

impl Log {
    pub(crate) fn new(sink: Arc<dyn Sink>, masker: Arc<Masker>, max: u64) -> Self {
        Self { sink, masker, max, written: AtomicU64::new(0), told: AtomicBool::new(false) }
    }

    /// Bytes in the log so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Writes a line of the runner itself.
    pub(crate) async fn say(&self, step: u16, line: &str) {
        let mut text = self.masker.mask(line);
        text.push('\n');
        self.write(step, Stream::Runner, text.into()).await;
    }

    async fn write(&self, step: u16, stream: Stream, mut bytes: Bytes) {
        let length = bytes.len() as u64;
        let before = self.written.fetch_add(length, Ordering::AcqRel);
        let room = self.max.saturating_sub(before);
        if room < length {
            self.written.fetch_sub(length - room, Ordering::AcqRel);
            bytes.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        }
        if !bytes.is_empty() {
            self.sink.log(step, stream, clock::now(), bytes).await;
        }
        if room < length && !self.told.swap(true, Ordering::AcqRel) {
            let marker =
                Bytes::from(format!("\n[the log ends here: it reached its limit of {} bytes]\n", self.max));
            self.written.fetch_add(marker.len() as u64, Ordering::AcqRel);
            self.sink.log(step, Stream::Runner, clock::now(), marker).await;
        }
    }
}

/// What the two readers of a step and its supervisor share.
struct Shared {
    log: Arc<Log>,
    step: u16,
    interpreter: Mutex<Interpreter>,
    matchers: Option<Arc<JobMatchers>>,
    started: Instant,
    /// Milliseconds after `started` at which bytes were last read.
    last_read: AtomicU64,
    bytes_read: AtomicU64,
    /// Readers that wait for the step rather than for the sink.
    waiting: AtomicUsize,
    open: AtomicUsize,
}

/// The running readers of a step.
pub(crate) struct Output {
    shared: Arc<Shared>,
    readers: Vec<JoinHandle<()>>,
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;

impl Output {
    /// Starts to read both streams.
    pub(crate) fn start(
        log: Arc<Log>,
        step: u16,
        interpreter: Interpreter,
        stdout: Reader,
        stderr: Reader,
    ) -> Self {
        let shared = Arc::new(Shared {
            log,
            step,
            matchers: interpreter.matchers(),
            interpreter: Mutex::new(interpreter),
            started: Instant::now(),
            last_read: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            open: AtomicUsize::new(2),
        });
        let readers = [(stdout, Stream::Stdout), (stderr, Stream::Stderr)]
            .into_iter()
            .map(|(reader, stream)| tokio::spawn(read_stream(shared.clone(), reader, stream)))
            .collect();
        Self { shared, readers }
    }

    /// How long nothing was read. Zero while the sink, not the step, is what we wait for.
    pub(crate) fn silence(&self) -> Duration {
        let open = self.shared.open.load(Ordering::Acquire);
        if open > 0 && self.shared.waiting.load(Ordering::Acquire) < open {
            return Duration::ZERO;
        }
        let last = Duration::from_millis(self.shared.last_read.load(Ordering::Acquire));
        self.shared.started.elapsed().saturating_sub(last)
    }

    /// Waits until both streams are at their end; `false` if somebody holds
    /// one open although `patience` has passed and all that was in it is read,
    /// or if the attempt is fenced, when nobody wants the rest.
    pub(crate) async fn drain(&mut self, patience: Duration, kill: &CancellationToken) -> bool {
        let ended = Instant::now();
        let read_before = self.shared.bytes_read.load(Ordering::Acquire);
        let mut pause = patience;
        loop {
            let all = async {
                for reader in &mut self.readers {
                    if !reader.is_finished() {
                        let _ = reader.await;
                    }
                }
            };
            let finished = tokio::select! {
                biased;
                finished = tokio::time::timeout(pause, all) => finished.is_ok(),
                () = kill.cancelled(), if ended.elapsed() >= patience => return false,
            };
            if finished {
                return true;
            }
            pause = Duration::from_millis(50);
            let shared = &self.shared;
            let idle = shared.waiting.load(Ordering::Acquire) >= shared.open.load(Ordering::Acquire);
            let flooded = shared.bytes_read.load(Ordering::Acquire) - read_before > BEYOND_PIPE;
            if ended.elapsed() >= patience && (idle || flooded || kill.is_cancelled()) {
                return false;
            }
        }
    }

    /// Takes what the commands of the step asked for so far; later ones are without effect.
    pub(crate) fn take_effects(&self) -> Effects {
        self.shared.interpreter.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Stops reading.
    pub(crate) fn abort(&self) {
        self.readers.iter().for_each(JoinHandle::abort);
    }
}

async fn read_stream(shared: Arc<Shared>, mut reader: Reader, stream: Stream) {
    let mut pipeline = Pipeline {
        scanner: Scanner::default(),
        mask: StreamMask::default(),
        lines: LineMatcher::default(),
        stream,
    };
    let mut buffer = BytesMut::new();
    let mut size = SMALL_READ;
    loop {
        buffer.reserve(size);
        shared.waiting.fetch_add(1, Ordering::AcqRel);
        let read = reader.read_buf(&mut buffer).await;
        shared.waiting.fetch_sub(1, Ordering::AcqRel);
        let Ok(count) = read else { break };
        if count == 0 {
            break;
        }
        let at = u64::try_from(shared.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        shared.last_read.store(at, Ordering::Release);
        shared.bytes_read.fetch_add(count as u64, Ordering::AcqRel);
        if count >= size {
            size = (size * 4).min(LARGE_READ);
        }
        pipeline.feed(&shared, Some(buffer.split().freeze())).await;
    }
    pipeline.feed(&shared, None).await;
    shared.open.fetch_sub(1, Ordering::AcqRel);
}

/// One stream on its way: commands out, secrets out, to the log.
struct Pipeline {
    scanner: Scanner,
    mask: StreamMask,
    lines: LineMatcher,
    stream: Stream,
}

impl Pipeline {
    /// Takes the bytes of one read, or the end of the stream.
    async fn feed(&mut self, shared: &Shared, chunk: Option<Bytes>) {
        let mut pieces: Vec<(Stream, Bytes)> = Vec::new();
        let last = chunk.is_none();
        let (masker, stream, mask) = (&shared.log.masker, self.stream, &mut self.mask);
        let (lines, mut found) = (&mut self.lines, Vec::new());
        let mut on_part = |part: Part| match part {
            Part::Output(bytes) => {
                if let Some(matchers) = &shared.matchers {
                    lines.feed(matchers, &bytes, &mut found);
                }
                mask.feed(masker, bytes, &mut |b| pieces.push((stream, b)));
            }
            Part::Line(line) => {
                let verdict = shared
                    .interpreter
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .line(&String::from_utf8_lossy(&line), masker);
                if let Some(matchers) = shared.matchers.as_ref().filter(|_| verdict.ordinary) {
                    lines.feed(matchers, &line, &mut found);
                }
                if verdict.keep {
                    mask.feed(masker, line, &mut |b| pieces.push((stream, b)));
                }
                for mut message in verdict.messages {
                    message.push('\n');
                    pieces.push((Stream::Runner, message.into()));
                }
            }
        };
        match chunk {
            Some(chunk) => self.scanner.feed(chunk, &mut on_part),
            None => self.scanner.finish(&mut on_part),
        }
        if last {
            self.mask.finish(&mut |b| pieces.push((stream, b)));
            self.lines.finish(&mut found);
        }
        if !found.is_empty() {
            let mut interpreter = shared.interpreter.lock().unwrap_or_else(PoisonError::into_inner);
            found.into_iter().for_each(|found| interpreter.found(found, masker));
        }
        for (stream, bytes) in coalesce(pieces) {
            shared.log.write(shared.step, stream, bytes).await;
        }
    }
}

/// Joins neighbours of one stream, so that many hits in a read do not become many frames.
fn coalesce(pieces: Vec<(Stream, Bytes)>) -> Vec<(Stream, Bytes)> {
    if pieces.len() < 2 {
        return pieces;
    }
    let mut joined: Vec<(Stream, Bytes)> = Vec::new();
    let mut open: Option<(Stream, BytesMut)> = None;
    for (stream, bytes) in pieces {
        match &mut open {
            Some((s, buffer)) if *s == stream => buffer.extend_from_slice(&bytes),
            _ => {
                joined.extend(open.take().map(|(s, b)| (s, b.freeze())));
                open = Some((stream, BytesMut::from(&bytes[..])));
            }
        }
    }
    joined.extend(open.map(|(s, b)| (s, b.freeze())));
    joined
}
