//! The exchanges under way: when to send one, of which kind, and what its
//! failure means. Knows time and transport; what a request says and what an
//! answer changes is the table's.

use super::Shared;
use super::table::{Action, Sent};
use crate::backoff::Backoff;
use crate::transport::TransportError;
use fleetfoot_model::sync::SyncResponse;
use fleetfoot_model::version::{VERSION, Version, check_skew};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

/// Changes of steps travel together for this long.
const COALESCE: Duration = Duration::from_millis(100);
/// An idle runner asks once a minute.
const IDLE_WAIT: Duration = Duration::from_secs(55);
/// While it holds attempts, it extends their leases at least this often.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// With every slot taken, an end is likely the next news: the next wait begins a little later and is often saved.
const FULL_PAUSE: Duration = Duration::from_millis(20);
/// How often the load is measured at most.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Carries news, does not wait at the server.
    Prompt,
    /// Waits at the server.
    Waiting,
    /// Was waiting, and a newer one took its place; its answer still counts.
    Superseded,
}

struct UnderWay {
    sent: Sent,
    kind: Kind,
    started: Instant,
    info: u64,
    abort: tokio::task::AbortHandle,
}

/// What an answer meant.
pub(super) enum Answer {
    /// It was taken over; this is to be done.
    Applied { actions: Vec<Action>, parted: bool },
    /// Nothing that anybody has to hear of; but what to send next, and when, has changed.
    Quiet,
    /// None came, or none that helps; it is tried again.
    Unavailable(String),
    /// The token is unknown.
    Unauthorized(String),
    /// Versions too far apart.
    VersionSkew(String),
    /// The control plane has ended.
    ShutDown,
}

/// See the module.
pub(super) struct Syncs {
    shared: Arc<Shared>,
    tasks: JoinSet<Result<SyncResponse, TransportError>>,
    under_way: HashMap<Id, UnderWay>,
    instance: String,
    backoff: Backoff,
    /// Nothing is sent before.
    not_before: Option<Instant>,
    /// No waiting exchange is sent before.
    wait_from: Option<Instant>,
    /// Answers in a row that came at once and said nothing new.
    idle_answers: u32,
    /// Counts changes of the runner's description, and what the server knows.
    info: u64,
    info_known: u64,
    sampled: Option<Instant>,
    error: Option<String>,
}

impl Syncs {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let instance = format!("{:016x}", getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id())));
        Self {
            shared,
            tasks: JoinSet::new(),
            under_way: HashMap::new(),
            instance,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
            not_before: None,
            wait_from: None,
            idle_answers: 0,
            info: 1,
            info_known: 0,
            sampled: None,
            error: None,
        }
    }

    /// The description of the runner changed.
    pub(super) fn info_changed(&mut self) {
        self.info += 1;
        self.shared.table.lock().mark_urgent();
    }

    fn has(&self, kind: Kind) -> bool {
        self.under_way.values().any(|u| u.kind == kind)
    }

    /// Sends what should be sent now; answers when to look again at the latest.
    pub(super) fn launch(&mut self, now: Instant) -> Option<Instant> {
        if let Some(at) = self.not_before {
            if now < at {
                return Some(at);
            }
            self.not_before = None;
        }
        if self.has(Kind::Prompt) {
            return None;
        }
        let (urgent, soft) = {
            let table = self.shared.table.lock();
            (table.is_urgent(), table.soft_since().map(|at| Instant::from_std(at) + COALESCE))
        };
        if urgent || soft.is_some_and(|at| at <= now) {
            self.supersede();
            self.send(Kind::Prompt, now);
            return None;
        }
        if !self.has(Kind::Waiting) {
            match self.wait_from {
                Some(at) if at > now => return [Some(at), soft].into_iter().flatten().min(),
                _ => {}
            }
            self.wait_from = None;
            self.send(Kind::Waiting, now);
        }
        soft
    }

    /// The waiting exchange ends at the server when a newer one arrives. Only one such end is waited for.
    fn supersede(&mut self) {
        let old: Vec<Id> =
            self.under_way.iter().filter(|(_, u)| u.kind == Kind::Superseded).map(|(id, _)| *id).collect();
        if let Some(waiting) = self.under_way.values_mut().find(|u| u.kind == Kind::Waiting) {
            waiting.kind = Kind::Superseded;
            for id in old {
                if let Some(gone) = self.under_way.remove(&id) {
                    gone.abort.abort();
                    self.shared.table.lock().failed(&gone.sent, std::time::Instant::now());
                }
            }
        }
    }

    fn send(&mut self, kind: Kind, now: Instant) {
        if self.sampled.is_none_or(|at| now - at >= SAMPLE_EVERY) {
            self.sampled = Some(now);
        }
        let sample = (self.sampled == Some(now)).then(|| (self.shared.setup.sample)());
        let (mut request, sent) = {
            let mut table = self.shared.table.lock();
            let (mut request, sent) = table.request();
            let wait = match kind {
                Kind::Waiting if table.is_empty() => IDLE_WAIT,
                Kind::Waiting => BUSY_WAIT.min(table.lease / 3),
                Kind::Prompt | Kind::Superseded => Duration::ZERO,
            };
            request.wait_ms = u64::try_from(wait.as_millis()).unwrap_or(0);
            (request, sent)
        };
        VERSION.clone_into(&mut request.version);
        request.instance.clone_from(&self.instance);
        if let Some((resources, error)) = sample {
            request.resources = Some(resources);
            self.error = error;
        }
        request.error.clone_from(&self.error);
        if self.info_known < self.info {
            request.info = Some(self.shared.setup.info.borrow().clone());
        }
        let limit = Duration::from_millis(request.wait_ms) + Duration::from_secs(15);
        let transport = self.shared.setup.transport.clone();
        let abort = self.tasks.spawn(async move {
            match tokio::time::timeout(limit, transport.sync(request)).await {
                Ok(answer) => answer,
                Err(_) => Err(TransportError::unavailable("the server did not answer in time")),
            }
        });
        self.under_way.insert(abort.id(), UnderWay { sent, kind, started: now, info: self.info, abort });
    }

    /// The next answer; `None` only while nothing is under way. Every end of an exchange is an answer:
    /// the caller has to launch again after it, or nobody would when it was the last.
    pub(super) async fn answer(&mut self) -> Option<Answer> {
        let (id, outcome) = match self.tasks.join_next_with_id().await? {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Err(TransportError::unavailable("the exchange was interrupted"))),
        };
        // One that is not listed was given up on and accounted for already.
        let answer = self.under_way.remove(&id).and_then(|under_way| self.take(under_way, outcome));
        Some(answer.unwrap_or(Answer::Quiet))
    }

    fn take(&mut self, mine: UnderWay, outcome: Result<SyncResponse, TransportError>) -> Option<Answer> {
        let response = match outcome {
            Ok(response) => response,
            Err(error) => return self.failed(&mine, error),
        };
        if let (Ok(server), Ok(own)) = (response.version.parse::<Version>(), VERSION.parse::<Version>())
            && let Err(skew) = check_skew(server, own)
        {
            return self.failed(&mine, TransportError::VersionSkew(skew.to_string()));
        }
        self.backoff.reset();
        self.info_known = self.info_known.max(mine.info);
        let now = Instant::now();
        let (applied, full) = {
            let mut table = self.shared.table.lock();
            let applied = table.apply(&mine.sent, response);
            let full = table.free_slots() == 0;
            (applied, full)
        };
        let idle = applied.actions.is_empty()
            && (applied.useless
                || (mine.kind == Kind::Waiting && mine.started.elapsed() < Duration::from_millis(50)));
        if idle {
            // Asking again at once would only turn in circles; the first few times it may be a race.
            let pause = Duration::from_millis(5 << self.idle_answers.min(8));
            self.idle_answers += 1;
            self.wait_from = Some(now + pause);
        } else {
            self.idle_answers = 0;
            self.wait_from = full.then(|| now + FULL_PAUSE);
        }
        Some(Answer::Applied { actions: applied.actions, parted: mine.sent.draining && mine.sent.empty })
    }

    fn failed(&mut self, mine: &UnderWay, error: TransportError) -> Option<Answer> {
        self.shared.table.lock().failed(&mine.sent, std::time::Instant::now());
        if mine.kind == Kind::Superseded && !matches!(error, TransportError::VersionSkew(_)) {
            return None;
        }
        let mut delay = self.backoff.next();
        let answer = match error {
            TransportError::Unauthorized(message) => Answer::Unauthorized(message),
            TransportError::VersionSkew(message) => {
                delay = delay.max(Duration::from_secs(1));
                Answer::VersionSkew(message)
            }
            TransportError::ShutDown => Answer::ShutDown,
            TransportError::Unavailable { message, retry_after, .. } => {
                if let Some(asked) = retry_after {
                    // Everybody was told the same number: spread the return.
                    delay = asked.min(Duration::from_secs(30)).mul_f64(1.0 + crate::backoff::chance() / 2.0);
                }
                Answer::Unavailable(message)
            }
            other => Answer::Unavailable(other.to_string()),
        };
        // One broken connection of an idle moment (a restarted server) is no news to anybody.
        self.not_before = Some(Instant::now() + delay);
        match answer {
            Answer::Unavailable(_) if self.backoff.failures() == 1 => None,
            answer => Some(answer),
        }
    }
}
