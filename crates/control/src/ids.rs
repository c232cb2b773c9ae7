//! Handing out ids. They never repeat: the store knows the largest ever used.

use fleetfoot_model::ids::{JobId, RunId, RunnerId, TokenId};
use fleetfoot_store::HighWater;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of ids, and of the runs of each workflow.
#[derive(Debug)]
pub(crate) struct Ids {
    run: AtomicU64,
    job: AtomicU64,
    runner: AtomicU64,
    token: AtomicU64,
    /// Latest run number by project and name.
    pub(crate) numbers: Mutex<HashMap<(String, String), u64>>,
}

impl Ids {
    pub(crate) fn new(high: HighWater) -> Self {
        Self {
            run: high.run.into(),
            job: high.job.into(),
            runner: high.runner.into(),
            token: high.token.into(),
            numbers: Mutex::default(),
        }
    }

    pub(crate) fn next_run(&self) -> RunId {
        RunId(next(&self.run))
    }

    pub(crate) fn next_job(&self) -> JobId {
        JobId(next(&self.job))
    }

    pub(crate) fn next_runner(&self) -> RunnerId {
        RunnerId(next(&self.runner))
    }

    pub(crate) fn next_token(&self) -> TokenId {
        TokenId(next(&self.token))
    }
}

fn next(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}
