//! One stream of changes for every list: which rows are different now. Runs
//! are told by whoever changes them; runners and approvals are looked at now
//! and then while somebody listens. Changes are bundled, and where too much
//! was missed the stream says `reset` instead of pretending.

use crate::actor::Command;
use crate::{Control, Inner, Permission, Principal, Problem};
use bytes::Bytes;
use fleetfoot_model::Timestamp;
use fleetfoot_model::api::RunnerView;
use fleetfoot_model::ids::{RunId, RunnerId};
use fleetfoot_model::observe::ListChange;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// From one look at changed runs to the next.
const PACE: Duration = Duration::from_millis(200);
/// Looks at runs for each look at runners and approvals.
const SLOW: u32 = 5;
/// More changed runs than this at once are told as a reset.
const MANY: usize = 500;
/// Changes that are kept for listeners that are behind.
const KEPT: usize = 2_000;

/// One change, and what it became for a stream.
#[derive(Debug)]
pub struct Change {
    /// Its number: the one behind which a listener goes on.
    pub id: u64,
    /// The change.
    pub change: ListChange,
    encoded: OnceLock<Bytes>,
}

impl Change {
    /// The change as `encode` writes it, which is done once for all listeners.
    pub fn encoded(&self, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.encoded.get_or_init(|| encode(self)).clone()
    }
}

#[derive(Debug)]
struct Ring {
    /// Number of the next change.
    next: u64,
    recent: VecDeque<Arc<Change>>,
}

/// Who wants to hear of changes, and what changed.
#[derive(Debug)]
pub(crate) struct Changes {
    dirty: Mutex<BTreeSet<RunId>>,
    listeners: AtomicUsize,
    ring: Mutex<Ring>,
    ticks: watch::Sender<u64>,
    /// Wakes the task when somebody begins to listen.
    begun: tokio::sync::Notify,
}

impl Changes {
    /// Numbers begin at the wall clock, so that those of an earlier life are smaller.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            dirty: Mutex::default(),
            listeners: AtomicUsize::new(0),
            ring: Mutex::new(Ring {
                next: u64::try_from(now.as_micros()).unwrap_or(1),
                recent: VecDeque::new(),
            }),
            ticks: watch::Sender::new(0),
            begun: tokio::sync::Notify::new(),
        }
    }

    /// These runs are different now, or gone. Costs nothing while nobody listens.
    pub(crate) fn note(&self, runs: impl IntoIterator<Item = RunId>) {
        if self.listeners.load(Relaxed) > 0 {
            self.dirty.lock().extend(runs);
        }
    }

    fn push(&self, changes: Vec<ListChange>) {
        if changes.is_empty() {
            return;
        }
        let mut ring = self.ring.lock();
        for change in changes {
            let id = ring.next;
            ring.next += 1;
            ring.recent.push_back(Arc::new(Change { id, change, encoded: OnceLock::new() }));
            if ring.recent.len() > KEPT {
                ring.recent.pop_front();
            }
        }
        drop(ring);
        self.ticks.send_modify(|n| *n += 1);
    }

    /// Nobody listened for a while: what happened then is not known.
    fn forget(&self) {
        let mut ring = self.ring.lock();
        ring.recent.clear();
        ring.next += 1;
    }
}

/// Tells changes while somebody listens.
pub(crate) async fn run(control: Control) {
    let inner = &control.inner;
    let changes = &inner.observe.changes;
    loop {
        if changes.listeners.load(Relaxed) == 0 {
            tokio::select! {
                () = changes.begun.notified() => {}
                () = inner.stopping.cancelled() => return,
            }
        }
        let mut seen = Seen::default();
        let mut turn = 0_u32;
        while changes.listeners.load(Relaxed) > 0 {
            if let Err(problem) = look(inner, &mut seen, turn.is_multiple_of(SLOW)).await {
                tracing::debug!(cause = problem.detail, "changes of lists could not be read");
                changes.push(vec![ListChange::Reset]);
            }
            turn = turn.wrapping_add(1);
            tokio::select! {
                () = tokio::time::sleep(PACE) => {}
                () = inner.stopping.cancelled() => return,
            }
        }
    }
}

/// What listeners know of runners and approvals.
#[derive(Default)]
struct Seen {
    runners: Option<HashMap<RunnerId, RunnerView>>,
    approvals: Option<u64>,
}

async fn look(inner: &Inner, seen: &mut Seen, slow: bool) -> Result<(), Problem> {
    let changes = &inner.observe.changes;
    let dirty = std::mem::take(&mut *changes.dirty.lock());
    let mut out = Vec::new();
    if dirty.len() > MANY {
        out.push(ListChange::Reset);
    } else if !dirty.is_empty() {
        let ids: Vec<RunId> = dirty.into_iter().collect();
        let rows =
            inner.store.run_summaries(ids.clone()).await.map_err(|e| crate::actor::store_problem(&e))?;
        let found: BTreeSet<RunId> = rows.iter().map(|r| r.row.id).collect();
        out.extend(ids.iter().filter(|id| !found.contains(id)).map(|id| ListChange::RunDeleted { id: *id }));
        let rows = rows.into_iter().rev().map(super::lists::row_view);
        out.extend(rows.map(|run| ListChange::Run { run: Box::new(run) }));
    }
    if slow {
        let (reply, answer) = oneshot::channel();
        let sent = inner.commands.send(Command::Runners { reply }).await;
        let live = if sent.is_ok() { answer.await.ok() } else { None };
        if let Some(live) = live {
            let totals =
                inner.store.runner_totals(None).await.map_err(|e| crate::actor::store_problem(&e))?;
            let mut completed: HashMap<RunnerId, Vec<_>> = HashMap::new();
            for (runner, conclusion, n) in totals {
                completed.entry(runner).or_default().push((conclusion, n));
            }
            let views = live.into_iter().map(|l| {
                let own = completed.remove(&l.row.id).unwrap_or_default();
                crate::views::runner_view(l, own)
            });
            compare_runners(seen, views, &mut out);
        }
        let waiting = inner.store.pending_approvals().await.map_err(|e| crate::actor::store_problem(&e))?;
        if seen.approvals.replace(waiting) != Some(waiting) {
            out.push(ListChange::Approvals { waiting });
        }
    }
    changes.push(out);
    Ok(())
}

/// What is different about runners; the first look is what they are compared with.
fn compare_runners(seen: &mut Seen, now: impl Iterator<Item = RunnerView>, out: &mut Vec<ListChange>) {
    let now: HashMap<RunnerId, RunnerView> = now.map(|r| (r.id, r)).collect();
    if let Some(before) = &seen.runners {
        let same = |a: &RunnerView, b: &RunnerView| {
            // When it was heard last is no change.
            let last_seen_at = b.last_seen_at;
            RunnerView { last_seen_at, ..a.clone() } == *b
        };
        let mut changed: Vec<&RunnerView> =
            now.values().filter(|r| before.get(&r.id).is_none_or(|b| !same(b, r))).collect();
        changed.sort_by_key(|r| r.id);
        let gone = before.keys().filter(|id| !now.contains_key(id));
        out.extend(gone.map(|id| ListChange::RunnerDeleted { id: *id }));
        if changed.len() > MANY {
            out.push(ListChange::Reset);
        } else {
            out.extend(changed.into_iter().map(|r| ListChange::Runner { runner: Box::new(r.clone()) }));
        }
    }
    seen.runners = Some(now);
}

/// Hears of changes.
#[derive(Debug)]
pub struct ListWatcher {
    control: Control,
    ticks: watch::Receiver<u64>,
    /// Number of the next change; absent until the first one is given.
    next: Option<u64>,
    since: Option<u64>,
}

impl ListWatcher {
    /// The next change; `None` when the control plane shuts down. Safe to cancel.
    pub async fn next(&mut self) -> Option<Arc<Change>> {
        let inner = self.control.inner.clone();
        loop {
            self.ticks.mark_unchanged();
            {
                let ring = inner.observe.changes.ring.lock();
                let first = ring.next - ring.recent.len() as u64;
                let wanted = self.next.or_else(|| self.since.map(|s| s.saturating_add(1)));
                match wanted {
                    Some(wanted) if (first..=ring.next).contains(&wanted) => {
                        self.next = Some(wanted);
                        let at = usize::try_from(wanted - first).unwrap_or(usize::MAX);
                        if let Some(change) = ring.recent.get(at) {
                            self.next = Some(wanted + 1);
                            return Some(Arc::clone(change));
                        }
                    }
                    _ => {
                        self.next = Some(ring.next);
                        let id = ring.next - 1;
                        return Some(Arc::new(Change {
                            id,
                            change: ListChange::Reset,
                            encoded: OnceLock::new(),
                        }));
                    }
                }
            }
            tokio::select! {
                changed = self.ticks.changed() => changed.ok()?,
                () = inner.stopping.cancelled() => return None,
            }
        }
    }
}

impl Drop for ListWatcher {
    fn drop(&mut self) {
        self.control.inner.observe.changes.listeners.fetch_sub(1, Relaxed);
    }
}

impl Control {
    /// Hears of changes of lists, behind change `since` if that is still known.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn watch_lists(&self, who: &Principal, since: Option<u64>) -> Result<ListWatcher, Problem> {
        who.require(Permission::Read)?;
        let changes = &self.inner.observe.changes;
        let ticks = changes.ticks.subscribe();
        if changes.listeners.fetch_add(1, Relaxed) == 0 {
            // What happened while nobody listened is not known.
            changes.forget();
            changes.begun.notify_one();
        }
        Ok(ListWatcher { control: self.clone(), ticks, next: None, since })
    }
}
