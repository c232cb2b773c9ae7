//! `max-parallel`: at most so many legs of one matrix node run at once. Legs of
//! the same class and priority form a line; of each line only as many legs as
//! may still start are shown to the index, so that a node with thousands of
//! legs costs as much as one with a few, and a leg that no runner can take does
//! not keep the others from starting. Knows nothing of runners or time.

use super::index::Place;
use super::slab::Slab;
use super::types::Parallel;
use fleetfoot_model::RunId;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

#[derive(Debug)]
struct Limiter {
    key: (RunId, Arc<str>),
    limit: u32,
    running: u32,
    /// Entries that refer to it.
    uses: usize,
    lines: Vec<Line>,
}

/// Legs that wait, oldest first, that are the same to the index.
#[derive(Debug)]
struct Line {
    class: u32,
    priority: i32,
    shown: BTreeMap<u64, u32>,
    parked: BTreeMap<u64, u32>,
}

/// All limits in use.
#[derive(Debug, Default)]
pub(super) struct Limiters {
    all: Slab<Limiter>,
    by_key: HashMap<(RunId, Arc<str>), u32>,
}

impl Limiters {
    /// One more leg refers to this limit. The newest limit counts.
    pub(super) fn join(&mut self, parallel: Parallel) -> u32 {
        let limit = parallel.limit.max(1);
        let key = (parallel.run, parallel.key);
        let at = *self.by_key.entry(key).or_insert_with_key(|key| {
            self.all.insert(Limiter { key: key.clone(), limit, running: 0, uses: 0, lines: Vec::new() })
        });
        let limiter = &mut self.all[at];
        limiter.limit = limit;
        limiter.uses += 1;
        at
    }

    pub(super) fn leave(&mut self, at: u32) {
        self.all[at].uses -= 1;
        if self.all[at].uses == 0
            && let Some(gone) = self.all.remove(at)
        {
            self.by_key.remove(&gone.key);
        }
    }

    pub(super) fn limit(&self, at: u32) -> u32 {
        self.all[at].limit
    }

    pub(super) fn started(&mut self, at: u32) {
        self.all[at].running += 1;
    }

    pub(super) fn ended(&mut self, at: u32) {
        self.all[at].running -= 1;
    }

    pub(super) fn may_start(&self, at: u32) -> bool {
        self.all[at].running < self.all[at].limit
    }

    /// A leg waits; `step` decides whether it is shown.
    pub(super) fn line_up(&mut self, at: u32, place: Place, slot: u32) {
        let lines = &mut self.all[at].lines;
        let found = lines.iter().position(|l| l.class == place.class && l.priority == place.priority);
        let found = found.unwrap_or_else(|| {
            let (class, priority) = (place.class, place.priority);
            lines.push(Line { class, priority, shown: BTreeMap::new(), parked: BTreeMap::new() });
            lines.len() - 1
        });
        lines[found].parked.insert(place.seq, slot);
    }

    /// A leg does not wait any more.
    pub(super) fn withdraw(&mut self, at: u32, place: Place) {
        let lines = &mut self.all[at].lines;
        let Some(i) = lines.iter().position(|l| l.class == place.class && l.priority == place.priority)
        else {
            return;
        };
        let line = &mut lines[i];
        if line.shown.remove(&place.seq).is_none() {
            line.parked.remove(&place.seq);
        }
        if line.shown.is_empty() && line.parked.is_empty() {
            lines.swap_remove(i);
        }
    }

    /// (limiter, limit, running, uses, shown, parked) of each.
    #[cfg(test)]
    pub(super) fn counts(&self) -> impl Iterator<Item = (u32, usize, usize, usize, usize, usize)> {
        self.all.iter().map(|(at, l)| {
            let sum = |f: fn(&Line) -> usize| l.lines.iter().map(f).sum();
            let (shown, parked) = (sum(|line| line.shown.len()), sum(|line| line.parked.len()));
            (at, l.limit as usize, l.running as usize, l.uses, shown, parked)
        })
    }

    /// One correction: a leg to show (`true`) or to hide (`false`), until all is right.
    pub(super) fn step(&mut self, at: u32) -> Option<(u32, bool)> {
        let limiter = &mut self.all[at];
        let free = limiter.limit.saturating_sub(limiter.running) as usize;
        for line in &mut limiter.lines {
            let newest_shown = line.shown.last_key_value().map(|(&seq, _)| seq);
            let oldest_parked = line.parked.first_key_value().map(|(&seq, _)| seq);
            let overtaken = matches!((oldest_parked, newest_shown), (Some(p), Some(s)) if p < s);
            if line.shown.len() > free || (overtaken && line.shown.len() == free) {
                let (seq, slot) = line.shown.pop_last()?;
                line.parked.insert(seq, slot);
                return Some((slot, false));
            }
            if line.shown.len() < free
                && let Some((seq, slot)) = line.parked.pop_first()
            {
                line.shown.insert(seq, slot);
                return Some((slot, true));
            }
        }
        None
    }
}
