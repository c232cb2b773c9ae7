//! The way out of an attempt: log bytes, step states and pids. The runner
//! implements it with its journal and upload, a local run by printing.

use async_trait::async_trait;
use bytes::Bytes;
use fleetfoot_model::Timestamp;
use fleetfoot_model::logs::Stream;
use fleetfoot_model::sync::StepReport;

/// Takes what an attempt gives while it runs.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Takes log bytes, already masked and at most
    /// [`MAX_FRAME`](fleetfoot_model::logs::MAX_FRAME) of them. The step waits
    /// while this waits: that is how a slow disk or network slows a step down.
    /// It must not wait for ever, and not at all once the attempt is fenced.
    async fn log(&self, step: u16, stream: Stream, time: Timestamp, bytes: Bytes);

    /// All steps, after every change.
    fn steps(&self, steps: &[StepReport]);

    /// A process was started; with its start time (field 22 of
    /// `/proc/PID/stat`) the pid can be recognised after a crash.
    fn started(&self, pid: u32, start_ticks: u64);
}
