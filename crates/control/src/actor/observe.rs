//! What the actor tells about the fleet, from what it has at hand.

use super::Actor;
use fleetfoot_model::{JobId, Timestamp};
use fleetfoot_scheduler::Load;
use std::collections::HashMap;
use std::sync::Arc;

/// What waits and who is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct FleetLoad {
    pub(crate) load: Load,
    /// By queue: the job that waits longest for a runner, and since when.
    pub(crate) oldest: HashMap<Arc<str>, (JobId, Timestamp)>,
}

impl Actor {
    pub(super) fn load_of_fleet(&self) -> FleetLoad {
        let load = self.state.scheduler.load();
        let oldest = load
            .queues
            .iter()
            .filter_map(|(queue, q)| {
                let job = q.oldest?;
                Some((queue.clone(), (job, self.state.jobs.get(&job)?.queued_at)))
            })
            .collect();
        FleetLoad { load, oldest }
    }
}
