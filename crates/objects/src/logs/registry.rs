//! Which attempts are in memory and which of them hold a file open. At most
//! one [`Attempt`] per id is ever alive: two would be two writers.

use super::attempt::Attempt;
use super::{LogOptions, Meters};
use fleetfoot_model::AttemptRef;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

#[derive(Default)]
pub(super) struct Registry {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    entries: HashMap<AttemptRef, Entry>,
    clock: u64,
}

struct Entry {
    /// Finds an attempt that somebody still uses after it was let go.
    weak: Weak<Attempt>,
    kept: Option<Arc<Attempt>>,
    used: u64,
}

impl Registry {
    pub(super) fn get(
        &self,
        id: AttemptRef,
        options: &LogOptions,
        meters: &Meters,
        create: impl FnOnce() -> Attempt,
    ) -> Arc<Attempt> {
        let mut known = self.known.lock();
        known.clock += 1;
        let used = known.clock;
        if meters.open_files.load(Relaxed) >= i64::try_from(options.open_files).unwrap_or(i64::MAX) {
            known.close_files();
        }
        if let Some(entry) = known.entries.get_mut(&id)
            && let Some(attempt) = entry.weak.upgrade()
        {
            entry.used = used;
            entry.kept = Some(Arc::clone(&attempt));
            return attempt;
        }
        if known.entries.len() >= options.known_attempts.max(1) {
            known.let_go();
        }
        let attempt = Arc::new(create());
        let entry = Entry { weak: Arc::downgrade(&attempt), kept: Some(Arc::clone(&attempt)), used };
        known.entries.insert(id, entry);
        attempt
    }

    /// After the log was deleted: the next user begins anew.
    pub(super) fn forget(&self, id: AttemptRef, attempt: &Arc<Attempt>) {
        let mut known = self.known.lock();
        if known.entries.get(&id).is_some_and(|e| e.weak.ptr_eq(&Arc::downgrade(attempt))) {
            known.entries.remove(&id);
        }
    }
}

impl Known {
    /// Lets go of the half that was not used for longest: halving makes the
    /// sort rare.
    fn let_go(&mut self) {
        let middle = self.middle(|_| true);
        for entry in self.entries.values_mut().filter(|e| e.used <= middle) {
            entry.kept = None;
        }
        self.entries.retain(|_, e| e.kept.is_some() || e.weak.strong_count() > 0);
    }

    fn close_files(&mut self) {
        let open = |e: &Entry| e.kept.as_ref().is_some_and(|a| a.has_open_file());
        let middle = self.middle(open);
        for entry in self.entries.values().filter(|e| e.used <= middle) {
            if let Some(attempt) = &entry.kept {
                attempt.close_file();
            }
        }
    }

    fn middle(&self, of: impl Fn(&Entry) -> bool) -> u64 {
        let mut used: Vec<u64> = self.entries.values().filter(|e| of(e)).map(|e| e.used).collect();
        if used.is_empty() {
            return 0;
        }
        let at = used.len() / 2;
        *used.select_nth_unstable(at).1
    }
}
