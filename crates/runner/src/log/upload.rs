//! The uploader of one attempt: pieces in order, one request under way, tried
//! again until the server has them or says that the attempt is not ours.

use super::frames::{filler, payload_len, prefix, skip};
use super::pipe::{LogPipe, STALLED};
use crate::backoff::Backoff;
use crate::transport::{ControlPlane, TransportError};
use bytes::Bytes;
use fleetfoot_model::ids::AttemptRef;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// The first bytes after a silence wait this long for company: a short job needs one request.
const GATHER: Duration = Duration::from_millis(5);
/// A talkative step is shown at least this often.
const FLUSH: Duration = Duration::from_millis(50);
const LARGEST_PIECE: u64 = 4 << 20;
const SMALLEST_PIECE: u64 = 256 << 10;
/// A piece that the server refuses this often will never be taken.
const REFUSALS: u32 = 5;

/// How an upload ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every byte is durable.
    Complete,
    /// The attempt is not this runner's any more.
    Stale,
    /// The server refuses the bytes for good; the message says why.
    Refused(String),
}

/// Runs until the pipe is closed and everything is acknowledged, or nobody wants it.
pub(crate) async fn upload(pipe: &LogPipe, plane: &dyn ControlPlane, attempt: AttemptRef) -> Outcome {
    let mut uploader = Uploader {
        pipe,
        plane,
        attempt,
        limit: LARGEST_PIECE,
        backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
        refusals: 0,
    };
    let mut last_send = None::<Instant>;
    loop {
        if !uploader.wait_for_work(last_send).await {
            return Outcome::Complete;
        }
        last_send = Some(Instant::now());
        match pipe.take() {
            Ok(Some((offset, piece))) => match uploader.send(offset, piece).await {
                Outcome::Complete => {}
                end => {
                    pipe.discard();
                    return end;
                }
            },
            Ok(None) => {}
            Err(error) => {
                pipe.discard();
                return Outcome::Refused(format!("the log spool of this runner cannot be read: {error}"));
            }
        }
    }
}

struct Uploader<'a> {
    pipe: &'a LogPipe,
    plane: &'a dyn ControlPlane,
    attempt: AttemptRef,
    limit: u64,
    backoff: Backoff,
    refusals: u32,
}

impl Uploader<'_> {
    /// False when there is nothing left and nothing will come.
    async fn wait_for_work(&self, last_send: Option<Instant>) -> bool {
        let mut gather_until = None::<Instant>;
        loop {
            let pending = self.pipe.pending();
            if pending.discarded {
                return false;
            }
            if pending.any {
                let until = *gather_until.get_or_insert_with(|| {
                    let company = Instant::now() + GATHER;
                    last_send.map_or(company, |at| company.max(at + FLUSH))
                });
                if pending.enough || Instant::now() >= until {
                    return true;
                }
                let _ = timeout(until - Instant::now(), self.pipe.work.notified()).await;
            } else if pending.closed {
                return false;
            } else {
                self.pipe.work.notified().await;
            }
        }
    }

    async fn send(&mut self, mut offset: u64, mut piece: Bytes) -> Outcome {
        while !piece.is_empty() {
            let (length, payload) = prefix(&piece, self.limit);
            let append = self.plane.append_log(self.attempt, offset, piece.slice(..length));
            let durable = match self.ticking(append).await {
                Ok(durable) => {
                    self.worked();
                    durable.min(offset + payload)
                }
                Err(TransportError::Gap { expected }) if expected < offset => {
                    match self.fill(expected, offset).await {
                        Ok(()) => continue,
                        Err(error) => match self.failed(error).await {
                            Some(outcome) => return outcome,
                            None => continue,
                        },
                    }
                }
                Err(TransportError::Gap { expected }) => expected,
                Err(error) => match self.failed(error).await {
                    Some(outcome) => return outcome,
                    None => {
                        if self.pipe.pending().discarded {
                            return Outcome::Stale;
                        }
                        continue;
                    }
                },
            };
            if durable > offset {
                piece = skip(&piece, durable - offset);
                offset = durable;
                self.pipe.acknowledge(offset, &piece);
            } else if let Some(outcome) = self
                .failed(TransportError::Rejected("the server acknowledges no byte of the log".into()))
                .await
            {
                return outcome;
            }
        }
        Outcome::Complete
    }

    fn worked(&mut self) {
        self.backoff.reset();
        self.refusals = 0;
        self.limit = (self.limit * 2).min(LARGEST_PIECE);
    }

    /// The server's log ends before bytes that it had acknowledged.
    async fn fill(&mut self, from: u64, to: u64) -> Result<(), TransportError> {
        tracing::warn!(attempt = %self.attempt, from, to, "the server lost acknowledged bytes of a log");
        let mut at = from;
        while at < to {
            let body = filler(to - at);
            let length = payload_len(&body);
            at = self.ticking(self.plane.append_log(self.attempt, at, body)).await?.min(at + length);
        }
        Ok(())
    }

    /// Decides about a failure; waits before the next try if there is one.
    async fn failed(&mut self, error: TransportError) -> Option<Outcome> {
        let delay = match error {
            TransportError::Stale => return Some(Outcome::Stale),
            TransportError::Unavailable { retry_after, timed_out, .. } => {
                if timed_out {
                    self.limit = (self.limit / 2).max(SMALLEST_PIECE);
                }
                let own = self.backoff.next();
                retry_after.map_or(own, |asked| asked.max(own).min(Duration::from_secs(30)))
            }
            TransportError::TooLarge(message) if self.limit <= SMALLEST_PIECE => {
                return Some(Outcome::Refused(message));
            }
            TransportError::TooLarge(_) => {
                self.limit /= 2;
                return None;
            }
            // A revoked token or a version too far apart is the daemon's matter, which learns of it from its sync.
            TransportError::Unauthorized(_) | TransportError::VersionSkew(_) | TransportError::ShutDown => {
                self.backoff.next()
            }
            TransportError::Rejected(message) => {
                self.refusals += 1;
                if self.refusals >= REFUSALS {
                    return Some(Outcome::Refused(message));
                }
                self.backoff.next()
            }
            TransportError::Gap { .. } => self.backoff.next(),
        };
        let until = Instant::now() + delay;
        self.ticking(sleep_until(until)).await;
        None
    }

    /// Waits for something, and sends pending bytes to disk if that takes long.
    async fn ticking<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = sleep(STALLED) => self.pipe.tick(),
            }
        }
    }
}
