//! What a dashboard looks at: logs by lines, lists that change, the fleet over
//! time, the state of the server. Everything here reads; what it measures it
//! keeps beside the state and never on the way of a job.

mod administration;
mod changes;
mod fleet;
mod follow;
mod lines;
mod lists;
mod sampler;
mod series;

pub use administration::AuditExport;
pub use changes::{Change, ListWatcher};
pub use follow::{LineBatch, LineFollower};

pub(crate) use changes::{Changes, run as tell_changes};
pub(crate) use sampler::{Waits, run};

use fleetfoot_model::Timestamp;
use fleetfoot_model::observe::StorageView;
use std::sync::atomic::AtomicU64;

/// What the parts share.
pub(crate) struct Shared {
    pub(crate) started_at: Timestamp,
    pub(crate) changes: Changes,
    pub(crate) waits: Waits,
    hubs: follow::Hubs,
    recent: series::Recent,
    /// Microseconds of the latest write of samples.
    flush: AtomicU64,
    storage: tokio::sync::Mutex<Option<StorageView>>,
}

impl Shared {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            started_at: now,
            changes: Changes::new(now),
            waits: Waits::default(),
            hubs: follow::Hubs::default(),
            recent: series::Recent::default(),
            flush: AtomicU64::new(0),
            storage: tokio::sync::Mutex::default(),
        }
    }
}
