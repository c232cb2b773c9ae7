//! Following a log by lines. What is new is read and written as JSON once for
//! all who are up to date with a log; who is behind reads for himself, at his
//! own pace. A log that is written faster than anybody reads costs its writer
//! nothing: a follower may ask to be taken to its end instead.

use super::lines::log_problem;
use crate::{Inner, Problem};
use bytes::Bytes;
use fleetfoot_model::AttemptRef;
use fleetfoot_model::observe::LogLines;
use fleetfoot_objects::{LineRange, LineTotal};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// At least this long from one batch to the next.
const PACE: Duration = Duration::from_millis(50);
/// The same for a log that is written faster than people read.
const FAST_PACE: Duration = Duration::from_millis(250);
/// More new lines than this at once are too fast for people.
const FAST: u64 = 1_000;
/// Lines at the end that a follower is taken to.
const TAIL: u64 = 200;
/// Lines of a batch that one follower reads for himself.
const STRETCH: u64 = 5_000;
/// Bytes of text in a batch, about.
const BYTES: usize = 256 << 10;
/// Batches that are kept for followers that are a little behind.
const KEPT: usize = 32;
/// A follower that is behind reads again after this long.
const BEHIND: Duration = Duration::from_millis(20);

/// Some lines, and what they became for a stream.
#[derive(Debug)]
pub struct LineBatch {
    /// The lines.
    pub lines: LogLines,
    encoded: OnceLock<Bytes>,
}

impl LineBatch {
    fn new(lines: LogLines) -> Arc<Self> {
        Arc::new(Self { lines, encoded: OnceLock::new() })
    }

    /// The lines as `encode` writes them, which is done once for all followers.
    pub fn encoded(&self, encode: impl FnOnce(&LogLines) -> Bytes) -> Bytes {
        self.encoded.get_or_init(|| encode(&self.lines)).clone()
    }

    /// The last line that is whole, 0 before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.lines.from + self.lines.lines.len() as u64 - 1
    }
}

/// Logs that are followed.
#[derive(Default)]
pub(super) struct Hubs(Mutex<HashMap<AttemptRef, Weak<Hub>>>);

/// One log that is followed.
struct Hub {
    state: Mutex<State>,
    ticks: watch::Sender<u64>,
    _end: DropGuard,
}

#[derive(Default)]
struct State {
    recent: VecDeque<Arc<LineBatch>>,
    total: LineTotal,
    failed: Option<Problem>,
}

impl Hub {
    fn push(&self, batch: Option<Arc<LineBatch>>, total: LineTotal, gap: bool) {
        let mut state = self.state.lock();
        if gap {
            state.recent.clear();
        }
        if let Some(batch) = batch {
            // Only the newest batch may have a line that still grows; one with nothing else is replaced.
            if state.recent.back().is_some_and(|b| b.lines.lines.is_empty()) {
                state.recent.pop_back();
            }
            state.recent.push_back(batch);
        }
        if state.recent.len() > KEPT {
            state.recent.pop_front();
        }
        state.total = total;
        drop(state);
        self.ticks.send_modify(|n| *n += 1);
    }
}

impl Inner {
    async fn hub(self: &Arc<Self>, log: AttemptRef) -> Result<Arc<Hub>, Problem> {
        if let Some(hub) = self.observe.hubs.0.lock().get(&log).and_then(Weak::upgrade) {
            return Ok(hub);
        }
        let total = self.logs.line_total(log).await.map_err(|e| log_problem(&e))?;
        let mut hubs = self.observe.hubs.0.lock();
        // Somebody else may have been faster.
        if let Some(hub) = hubs.get(&log).and_then(Weak::upgrade) {
            return Ok(hub);
        }
        let end = CancellationToken::new();
        let hub = Arc::new(Hub {
            state: Mutex::new(State { total, ..State::default() }),
            ticks: watch::Sender::new(0),
            _end: end.clone().drop_guard(),
        });
        hubs.retain(|_, hub| hub.strong_count() > 0);
        hubs.insert(log, Arc::downgrade(&hub));
        drop(hubs);
        let (inner, weak) = (Arc::clone(self), Arc::downgrade(&hub));
        self.tasks.spawn(async move {
            tokio::select! {
                () = feed(&inner, log, total, weak) => {}
                () = end.cancelled() => {}
                () = inner.stopping.cancelled() => {}
            }
        });
        Ok(hub)
    }
}

/// Gives a hub what is new until the log is closed.
async fn feed(inner: &Inner, log: AttemptRef, mut known: LineTotal, hub: Weak<Hub>) {
    let mut changes = inner.logs.watch(log);
    loop {
        let mut pace = PACE;
        let told = async {
            let total = inner.logs.line_total(log).await?;
            if total == known {
                return Ok(Some(known));
            }
            let new = total.lines - known.lines;
            let (range, gap) = match new > FAST {
                true => (LineRange::Last(TAIL), true),
                false => (LineRange::From(known.lines + 1), false),
            };
            let lines = inner.logs.lines(log, range, FAST, BYTES).await?;
            let Some(hub) = hub.upgrade() else { return Ok(None) };
            let told = lines.from + lines.lines.len() as u64 - 1;
            // Fewer if they are long: the rest follows with the next batch.
            let total = LineTotal {
                lines: told,
                complete: lines.complete && told >= lines.total,
                bytes: lines.bytes,
                partial: lines.partial.is_some(),
            };
            hub.push(Some(LineBatch::new(lines)), total, gap);
            if gap {
                pace = FAST_PACE;
            }
            Ok(Some(total))
        };
        match told.await {
            Ok(Some(total)) => known = total,
            Ok(None) => return,
            Err(e) => {
                let Some(hub) = hub.upgrade() else { return };
                hub.state.lock().failed = Some(log_problem(&e));
                hub.ticks.send_modify(|n| *n += 1);
                return;
            }
        }
        if known.complete {
            return;
        }
        tokio::time::sleep(pace).await;
        let behind = inner.logs.line_total(log).await.is_ok_and(|t| t != known);
        if !behind {
            changes.changed().await;
        }
    }
}

/// Follows one log.
pub struct LineFollower {
    inner: Arc<Inner>,
    log: AttemptRef,
    hub: Option<Arc<Hub>>,
    ticks: Option<watch::Receiver<u64>>,
    next: u64,
    skip: bool,
    /// The line that still grows was given like this.
    partial: u64,
    /// Something was read for this follower alone, and when.
    read_at: Option<tokio::time::Instant>,
    begun: bool,
}

impl std::fmt::Debug for LineFollower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineFollower")
            .field("log", &self.log)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

enum Turn {
    Give(Arc<LineBatch>),
    Read { from: u64, skipped: u64 },
    Wait,
    End,
}

impl LineFollower {
    /// The line that comes next.
    #[must_use]
    pub fn next_line(&self) -> u64 {
        self.next
    }

    /// Whose log it is.
    #[must_use]
    pub fn log(&self) -> AttemptRef {
        self.log
    }

    fn turn(&mut self, state: &State) -> Turn {
        let total = state.total;
        if self.next <= total.lines {
            let behind = total.lines + 1 - self.next;
            if let Some(batch) =
                state.recent.iter().find(|b| b.lines.from == self.next && !b.lines.lines.is_empty())
            {
                return Turn::Give(Arc::clone(batch));
            }
            let skipped = if self.skip && behind > FAST { behind - TAIL } else { 0 };
            if skipped > 0
                && let Some(batch) = state.recent.back().filter(|b| b.lines.from > self.next)
            {
                return Turn::Give(Arc::clone(batch));
            }
            return Turn::Read { from: self.next + skipped, skipped };
        }
        match state.recent.back() {
            Some(newest) if newest.lines.partial.is_some() && newest.lines.bytes != self.partial => {
                // Its lines were given, or read otherwise: what is new is the line behind them.
                if newest.lines.lines.is_empty() && newest.lines.from == self.next {
                    Turn::Give(Arc::clone(newest))
                } else {
                    Turn::Read { from: self.next, skipped: 0 }
                }
            }
            _ if total.complete => Turn::End,
            _ if total.partial && !self.begun => Turn::Read { from: self.next, skipped: 0 },
            _ => Turn::Wait,
        }
    }

    /// The next lines, as soon as there are some; `None` when the log is complete and all of it was
    /// given, or the control plane shuts down ([`LineFollower::is_over`] tells). Safe to cancel.
    ///
    /// # Errors
    /// `not_found` when the log was removed.
    pub async fn next(&mut self) -> Result<Option<Arc<LineBatch>>, Problem> {
        if self.hub.is_none() {
            self.hub = Some(self.inner.hub(self.log).await?);
        }
        let Some(hub) = self.hub.clone() else { return Ok(None) };
        let mut ticks = self.ticks.take().unwrap_or_else(|| hub.ticks.subscribe());
        loop {
            ticks.mark_unchanged();
            let (turn, failed) = {
                let state = hub.state.lock();
                (self.turn(&state), state.failed.clone())
            };
            let batch = match turn {
                Turn::Give(batch) => batch,
                Turn::Read { from, skipped } => self.read(from, skipped).await?,
                Turn::End => return Ok(None),
                Turn::Wait => {
                    if let Some(problem) = failed {
                        return Err(problem);
                    }
                    tokio::select! {
                        _ = ticks.changed() => continue,
                        () = self.inner.stopping.cancelled() => return Ok(None),
                    }
                }
            };
            self.begun = true;
            self.next = self.next.max(batch.last() + 1);
            if batch.lines.partial.is_some() {
                self.partial = batch.lines.bytes;
            }
            self.ticks = Some(ticks);
            return Ok(Some(batch));
        }
    }

    async fn read(&mut self, from: u64, skipped: u64) -> Result<Arc<LineBatch>, Problem> {
        if let Some(at) = self.read_at {
            tokio::time::sleep_until(at + BEHIND).await;
        }
        self.read_at = Some(tokio::time::Instant::now());
        let range = LineRange::From(from);
        let mut lines =
            self.inner.logs.lines(self.log, range, STRETCH, BYTES).await.map_err(|e| log_problem(&e))?;
        lines.skipped = skipped;
        Ok(LineBatch::new(lines))
    }

    /// Whether the whole log was given.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.hub.as_ref().is_some_and(|hub| {
            let state = hub.state.lock();
            state.total.complete && self.next > state.total.lines
        })
    }
}

impl crate::Control {
    /// Follows a log from a line (from 1) on. With `skip`, a follower that falls far behind is taken to
    /// the end. Whether the caller may is to be checked before (`log_of`).
    #[must_use]
    pub fn follow_lines(&self, log: AttemptRef, from: u64, skip: bool) -> LineFollower {
        LineFollower {
            inner: self.inner.clone(),
            log,
            hub: None,
            ticks: None,
            next: from.max(1),
            skip,
            partial: 0,
            read_at: None,
            begun: false,
        }
    }
}
