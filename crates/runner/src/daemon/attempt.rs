//! One attempt on this runner: executed, its log uploaded, its result handed
//! to the table, in this order. Also the attempts that a dead process left.
//! Never talks to the server about states: the sync loop does.

use super::Shared;
use crate::clock::now;
use crate::executor::AttemptSink;
use crate::journal::{AttemptJournal, Remembered, kill_processes};
use crate::log::{Limits, LogPipe, Outcome, upload};
use crate::notice::Notice;
use async_trait::async_trait;
use bytes::Bytes;
use fleetfoot_model::ids::AttemptRef;
use fleetfoot_model::logs::Stream;
use fleetfoot_model::state::{Conclusion, Reason};
use fleetfoot_model::sync::{Annotation, Assignment, AttemptResult, StepReport};
use fleetfoot_model::time::Timestamp;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How an attempt is ended from outside.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens {
    pub(super) cancel: CancellationToken,
    pub(super) kill: CancellationToken,
    /// Nobody wants the result or the log.
    pub(super) discard: CancellationToken,
}

/// A result that the runner itself has to give.
pub(super) fn verdict(reason: Reason, message: impl Into<String>) -> AttemptResult {
    AttemptResult {
        conclusion: Conclusion::Failure,
        reason: Some(reason),
        message: Some(message.into()),
        exit_code: None,
        outputs: Default::default(),
        annotations: Vec::new(),
        summaries: Vec::new(),
        log_bytes: 0,
        started_at: None,
        finished_at: Some(now()),
        boundary: Default::default(),
        environment_url: None,
    }
}

/// Executes an assignment to the end.
pub(super) async fn execute(shared: Arc<Shared>, assignment: Box<Assignment>, tokens: Tokens) {
    let attempt = assignment.attempt;
    let assignment: Arc<Assignment> = Arc::from(assignment);
    let name = assignment.spec.name.clone();
    let pipe = Arc::new(LogPipe::new(shared.setup.journal.spool_path(attempt), Limits::default()));
    let sink = Arc::new(Sink {
        shared: shared.clone(),
        attempt,
        journal: Mutex::new(None),
        pipe: pipe.clone(),
        uploader: Mutex::new(None),
    });
    shared.tell(Notice::JobStarted { at: now(), attempt, name: name.clone() });
    let mut result = match shared.setup.journal.begin(attempt) {
        Err(error) => {
            let full =
                matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
            let reason = if full { Reason::DiskFull } else { Reason::SetUpFailed };
            verdict(reason, format!("the runner cannot write its journal: {error}"))
        }
        Ok(journal) => {
            *sink.journal.lock() = Some(journal);
            let run = shared.setup.executor.run(
                assignment,
                sink.clone(),
                tokens.cancel.clone(),
                tokens.kill.clone(),
            );
            // A defect in the engine must cost one job, not the runner.
            AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|_| {
                verdict(Reason::SetUpFailed, "the engine of the runner panicked; its log has the details")
            })
        }
    };
    pipe.close();
    result.log_bytes = pipe.end();
    if let Some(journal) = &*sink.journal.lock()
        && let Err(error) = journal.finished(&result)
    {
        tracing::warn!(%attempt, %error, "the result cannot be written to the journal");
    }
    let outcome = sink.uploaded(&tokens.discard).await;
    shared.tell(Notice::JobFinished { at: now(), attempt, name, conclusion: result.conclusion });
    conclude(&shared, attempt, result, outcome);
}

/// Cleans up after an attempt of a dead process, and reports what is known.
pub(super) async fn recover(shared: Arc<Shared>, remembered: Remembered, tokens: Tokens) {
    let attempt = remembered.attempt;
    kill_processes(&remembered);
    if let Err(message) = shared.setup.executor.sweep(attempt).await {
        shared.tell(Notice::Warning { message: format!("cleaning up after job {}: {message}", attempt.job) });
    }
    shared.tell(Notice::Recovered { attempt });
    if !shared.setup.journal.owns(&remembered) {
        shared.setup.journal.forget(attempt);
        shared.tokens.lock().remove(&attempt);
        return;
    }
    let mut outcome = Outcome::Complete;
    let mut log_end = 0;
    match shared.setup.journal.spool(attempt) {
        Ok(Some((spool, base, end))) => {
            log_end = end;
            let path = shared.setup.journal.spool_path(attempt);
            let pipe = LogPipe::resume(spool, path, base, end);
            outcome = tokio::select! {
                outcome = upload(&pipe, &*shared.setup.transport, attempt) => outcome,
                () = tokens.discard.cancelled() => Outcome::Stale,
            };
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(%attempt, %error, "the log spool of a dead runner cannot be read"),
    }
    let result = match remembered.result {
        Some(result) => *result,
        None => AttemptResult {
            log_bytes: log_end,
            ..verdict(
                Reason::RunnerLost,
                "the runner's process ended while the job ran; a new one cleaned up after it",
            )
        },
    };
    conclude(&shared, attempt, result, outcome);
}

fn conclude(shared: &Shared, attempt: AttemptRef, mut result: AttemptResult, outcome: Outcome) {
    match outcome {
        Outcome::Complete => {}
        Outcome::Stale => {
            shared.fence(attempt);
        }
        Outcome::Refused(message) => result.annotations.push(Annotation {
            level: "warning".to_owned(),
            message: format!("the end of the log is missing: {message}"),
            title: Some("Incomplete log".to_owned()),
            file: None,
            line: None,
            end_line: None,
            column: None,
            end_column: None,
            step: 0,
        }),
    }
    let wanted = shared.table.lock().finish(attempt, result);
    shared.tokens.lock().remove(&attempt);
    if !wanted {
        shared.setup.journal.forget(attempt);
    }
    shared.wake.notify_one();
}

/// The sink of one attempt.
struct Sink {
    shared: Arc<Shared>,
    attempt: AttemptRef,
    journal: Mutex<Option<AttemptJournal>>,
    pipe: Arc<LogPipe>,
    /// Started with the first byte: a silent job sends nothing.
    uploader: Mutex<Option<JoinHandle<Outcome>>>,
}

impl Sink {
    /// Waits until the log is durable at the server, or nobody wants it.
    async fn uploaded(&self, discard: &CancellationToken) -> Outcome {
        let Some(mut uploader) = self.uploader.lock().take() else { return Outcome::Complete };
        tokio::select! {
            outcome = &mut uploader => {
                outcome.unwrap_or_else(|_| Outcome::Refused("the uploader of the runner panicked".to_owned()))
            }
            () = discard.cancelled() => {
                uploader.abort();
                self.pipe.discard();
                Outcome::Stale
            }
        }
    }
}

#[async_trait]
impl AttemptSink for Sink {
    async fn log(&self, step: u16, stream: Stream, time: Timestamp, bytes: Bytes) {
        if self.pipe.append(step, stream, time, &bytes).await {
            let (pipe, shared, attempt) = (self.pipe.clone(), self.shared.clone(), self.attempt);
            let upload = async move {
                let outcome = upload(&pipe, &*shared.setup.transport, attempt).await;
                if outcome == Outcome::Stale {
                    shared.fence(attempt);
                }
                outcome
            };
            *self.uploader.lock() = Some(tokio::spawn(upload));
        }
    }

    fn steps(&self, steps: &[StepReport]) {
        let news = {
            let mut table = self.shared.table.lock();
            let had = table.soft_since().is_some();
            table.steps(self.attempt, steps, std::time::Instant::now());
            !had
        };
        if news {
            self.shared.wake.notify_one();
        }
    }

    fn started(&self, pid: u32, start_ticks: u64) {
        if let Some(journal) = &*self.journal.lock()
            && let Err(error) = journal.started(pid, start_ticks)
        {
            tracing::warn!(attempt = %self.attempt, %error, "a process cannot be noted in the journal");
        }
    }
}
