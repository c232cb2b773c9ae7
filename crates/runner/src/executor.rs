//! What the daemon needs from whoever executes an attempt. The engine is
//! behind this trait so that the daemon knows no steps, shells or drivers, and
//! so that tests can execute by hand.

use crate::boundaries::Offer;
use async_trait::async_trait;
use bytes::Bytes;
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::ids::AttemptRef;
use fleetfoot_model::logs::Stream;
use fleetfoot_model::sync::{Assignment, AttemptResult, StepReport};
use fleetfoot_model::time::Timestamp;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Executes attempts.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// The boundary that attempts get.
    fn boundary(&self) -> Boundary;

    /// What attempts can get, as it becomes known; `None` if [`Executor::boundary`] says it for good.
    fn offer(&self) -> Option<watch::Receiver<Offer>> {
        None
    }

    /// Finds out what can be offered. Takes seconds at most.
    async fn discover(&self) {}

    /// Removes what belongs to no attempt, and looks again at what can be offered. Called now and then;
    /// answers what was removed, in words.
    async fn tidy(&self) -> Vec<String> {
        Vec::new()
    }

    /// Ends what [`Executor::discover`] and [`Executor::tidy`] began and could not finish: the runner
    /// leaves, and neither runs any more.
    async fn leave(&self) {}

    /// Executes one attempt to its end. `cancel` asks for an orderly end
    /// (`always()` steps still run); `kill` ends everything at once.
    async fn run(
        &self,
        assignment: Arc<Assignment>,
        sink: Arc<dyn AttemptSink>,
        cancel: CancellationToken,
        kill: CancellationToken,
    ) -> AttemptResult;

    /// Ends and removes whatever an attempt of a dead runner left: processes, directories. Idempotent.
    ///
    /// # Errors
    /// In words, if something could not be removed.
    async fn sweep(&self, attempt: AttemptRef) -> Result<(), String>;

    /// The last attempt is over: removes what was kept ready for further ones.
    async fn close(&self) {}

    /// Attempts of which something is on the disk. Asked once, before the first attempt is executed.
    fn leftovers(&self) -> Vec<AttemptRef> {
        Vec::new()
    }
}

/// Where an attempt tells what happens.
#[async_trait]
pub trait AttemptSink: Send + Sync {
    /// Bytes of the log, masked already. Returns when there is room for more.
    async fn log(&self, step: u16, stream: Stream, time: Timestamp, bytes: Bytes);

    /// All steps, after a change of one.
    fn steps(&self, steps: &[StepReport]);

    /// A process was started (its id, and its start in clock ticks since boot).
    fn started(&self, pid: u32, start_ticks: u64);
}
