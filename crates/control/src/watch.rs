//! Wake-ups for whoever follows a run. They are hints: the follower looks at
//! the store after each one, and subscribes before it looks.

use fleetfoot_model::ids::RunId;
use parking_lot::Mutex;
use std::collections::HashMap;
use tokio::sync::watch;

/// Who wants to hear about which run. Costs nothing for runs that nobody follows.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    runs: Mutex<HashMap<RunId, watch::Sender<u64>>>,
}

impl Watchers {
    /// Subscribes; every later change of the run wakes the receiver.
    pub(crate) fn subscribe(&self, run: RunId) -> watch::Receiver<u64> {
        self.runs.lock().entry(run).or_insert_with(|| watch::channel(0).0).subscribe()
    }

    /// Tells the followers of these runs; forgets runs that nobody follows any more.
    pub(crate) fn notify(&self, runs: impl IntoIterator<Item = RunId>) {
        let mut all = self.runs.lock();
        if all.is_empty() {
            return;
        }
        for run in runs {
            if let Some(sender) = all.get(&run) {
                sender.send_modify(|n| *n += 1);
                if sender.is_closed() {
                    all.remove(&run);
                }
            }
        }
    }
}
