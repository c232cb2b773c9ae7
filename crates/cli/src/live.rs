//! Following a run to its end: its changes, the logs of its jobs, and what an
//! interrupt means. The same for a run at a server and for a local one; where
//! changes and bytes come from is behind [`Source`]. It never polls.

use crate::error::{CliError, Exit, Result};
use crate::logs::{JobPrinter, Sink};
use crate::output::{self, Format};
use crate::progress::{Progress, RunState};
use crate::signals::Signals;
use async_trait::async_trait;
use bytes::Bytes;
use fleetfoot_client::{Client, LogFollow, RunFollow};
use fleetfoot_model::api::{CancelRun, RunView};
use fleetfoot_model::logs::Mark;
use fleetfoot_model::{AttemptNumber, JobId, RunId, Status};
use std::collections::HashSet;
use std::io::{BufRead, IsTerminal};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long a server may stay away before a follower gives up.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long logs may still arrive after the run has ended.
const LOG_GRACE: Duration = Duration::from_secs(15);

/// Where a run is followed.
#[async_trait]
pub(crate) trait Source: Send + Sync {
    /// Changes of a run, from the beginning.
    async fn changes(&self, run: RunId) -> Result<Box<dyn Changes>>;
    /// Bytes of the log of an attempt, from the beginning until it is closed.
    async fn log(&self, job: JobId, attempt: AttemptNumber) -> Result<Box<dyn LogBytes>>;
    /// Asks to cancel the run.
    async fn cancel(&self, run: RunId) -> Result<()>;
}

/// Changes of one run.
#[async_trait]
pub(crate) trait Changes: Send {
    /// The run with the jobs that changed; `None` after it ended.
    async fn next(&mut self) -> Result<Option<RunView>>;
}

/// A log as it grows.
#[async_trait]
pub(crate) trait LogBytes: Send {
    /// The next bytes; `None` when the log is closed and everything was given.
    async fn next(&mut self) -> Result<Option<Piece>>;
}

/// Bytes of a log with what they are.
pub(crate) struct Piece {
    /// Offset of the first byte.
    pub(crate) offset: u64,
    /// Where frames begin.
    pub(crate) marks: Vec<Mark>,
    /// The bytes.
    pub(crate) bytes: Bytes,
}

/// A run at a server.
pub(crate) struct Remote(pub(crate) Client);

#[async_trait]
impl Source for Remote {
    async fn changes(&self, run: RunId) -> Result<Box<dyn Changes>> {
        let stream = self.0.follow_run(run).with_patience(Duration::ZERO);
        Ok(Box::new(RemoteChanges { stream, outage: Outage::default(), server: self.0.server().to_owned() }))
    }

    async fn log(&self, job: JobId, attempt: AttemptNumber) -> Result<Box<dyn LogBytes>> {
        // Outages are announced once, by the stream of changes.
        let stream = self.0.follow_log(job, Some(attempt), 0).with_patience(PATIENCE);
        Ok(Box::new(RemoteLog(stream)))
    }

    async fn cancel(&self, run: RunId) -> Result<()> {
        self.0.cancel_run(run, &CancelRun::default()).await?;
        Ok(())
    }
}

/// Announces that a server is away and back again, and ends the patience.
#[derive(Default)]
pub(crate) struct Outage {
    since: Option<tokio::time::Instant>,
}

impl Outage {
    /// A try failed: waits before the next one, or gives the error back.
    pub(crate) async fn failed(&mut self, server: &str, error: fleetfoot_client::ClientError) -> Result<()> {
        if !error.is_transient() {
            return Err(error.into());
        }
        let since = *self.since.get_or_insert_with(|| {
            output::say(&format!("connection to {server} lost ({error}); waiting for it to come back …"));
            tokio::time::Instant::now()
        });
        if since.elapsed() > PATIENCE {
            return Err(error.into());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        Ok(())
    }

    /// A try worked.
    pub(crate) fn over(&mut self, server: &str) {
        if let Some(since) = self.since.take() {
            let away = crate::style::duration(since.elapsed());
            output::say(&format!("connected to {server} again after {away}"));
        }
    }
}

struct RemoteChanges {
    stream: RunFollow,
    outage: Outage,
    server: String,
}

#[async_trait]
impl Changes for RemoteChanges {
    async fn next(&mut self) -> Result<Option<RunView>> {
        loop {
            match self.stream.next().await {
                Ok(change) => {
                    self.outage.over(&self.server);
                    return Ok(change);
                }
                Err(error) => self.outage.failed(&self.server, error).await?,
            }
        }
    }
}

struct RemoteLog(LogFollow);

#[async_trait]
impl LogBytes for RemoteLog {
    async fn next(&mut self) -> Result<Option<Piece>> {
        let chunk = self.0.next().await?;
        Ok(chunk.map(|c| Piece { offset: c.offset, marks: c.marks, bytes: c.bytes }))
    }
}

/// What an interrupt does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnInterrupt {
    /// Ask on a terminal; otherwise leave and let the run go on.
    Offer,
    /// Cancel the run at once; a second one leaves.
    Cancel,
}

/// How to follow.
pub(crate) struct Options {
    /// Where log bytes go, if they are wanted.
    pub(crate) logs: Option<Sink>,
    /// A prefix before every line even if the run has one job only.
    pub(crate) always_prefix: bool,
    /// Show only jobs and failed steps.
    pub(crate) compact: bool,
    /// Text for people, or a line of JSON a change.
    pub(crate) format: Format,
    /// Whether changes are data (`watch`), or only progress.
    pub(crate) print_changes: bool,
    /// What an interrupt does.
    pub(crate) on_interrupt: OnInterrupt,
    /// No word on the progress at all.
    pub(crate) quiet: bool,
}

/// Follows a run until it ends; answers with all its jobs.
///
/// An interrupt that leaves the run alone ends in an error with exit code 130.
pub(crate) async fn follow(source: Arc<dyn Source>, run: RunId, options: Options) -> Result<RunView> {
    let mut changes = forward(source.changes(run).await?);
    let mut state = RunState::default();
    let mut progress = Progress::new(&options);
    let mut readers: JoinSet<Result<()>> = JoinSet::new();
    let mut started: HashSet<(JobId, AttemptNumber)> = HashSet::new();
    let mut signals = Signals::listen()?;
    let mut interrupts = 0;
    loop {
        let change = tokio::select! {
            change = changes.recv() => change.transpose()?,
            () = signals.next() => {
                interrupts += 1;
                progress.suspend();
                interrupted(&*source, run, options.on_interrupt, interrupts, &mut signals).await?;
                continue;
            }
            Some(done) = readers.join_next(), if !readers.is_empty() => {
                finished(done)?;
                continue;
            }
        };
        let Some(change) = change else { break };
        if options.print_changes && options.format == Format::Json {
            output::json(&change)?;
        }
        let events = state.apply(change);
        progress.show(&state, &events);
        if let Some(sink) = &options.logs {
            for job in state.jobs() {
                let Some(attempt) = job.attempt else { continue };
                if started.insert((job.id, attempt)) {
                    let prefix = options.always_prefix || state.jobs().len() > 1;
                    let printer = JobPrinter::new(sink.clone(), prefix.then(|| state.prefix(job)));
                    readers.spawn(print_log(Arc::clone(&source), job.id, attempt, printer));
                }
            }
        }
        if state.is_over() {
            break;
        }
    }
    progress.finish();
    drain(readers).await?;
    state.into_view().ok_or_else(|| CliError::new(Exit::NotFound, format!("run {run} has gone")))
}

/// Reads changes in a task of its own: waiting for one of them is not cancel-safe, a channel is.
fn forward(mut changes: Box<dyn Changes>) -> mpsc::Receiver<Result<RunView>> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Some(change) = changes.next().await.transpose() {
            let failed = change.is_err();
            if sender.send(change).await.is_err() || failed {
                break;
            }
        }
    });
    receiver
}

async fn print_log(
    source: Arc<dyn Source>,
    job: JobId,
    attempt: AttemptNumber,
    mut printer: JobPrinter,
) -> Result<()> {
    let mut log = source.log(job, attempt).await?;
    while let Some(piece) = log.next().await? {
        printer.bytes(&piece.bytes)?;
    }
    printer.end()
}

/// What is already durable belongs on the screen, even after the run's last change; but a log
/// that nobody closes must not hold the program for ever.
async fn drain(mut readers: JoinSet<Result<()>>) -> Result<()> {
    let all = async {
        while let Some(done) = readers.join_next().await {
            finished(done)?;
        }
        Ok(())
    };
    match tokio::time::timeout(LOG_GRACE, all).await {
        Ok(result) => result,
        Err(_) => {
            output::say("warning: the end of a log did not arrive; `fleetfoot logs` shows it later");
            Ok(())
        }
    }
}

fn finished(done: Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    done.unwrap_or_else(|e| Err(CliError::machine("reading a log ended early").because(&e)))
}

async fn interrupted(
    source: &dyn Source,
    run: RunId,
    what: OnInterrupt,
    count: u32,
    signals: &mut Signals,
) -> Result<()> {
    let leave = || {
        CliError::new(Exit::Cancelled, format!("stopped watching; run {run} goes on"))
            .next(format!("fleetfoot cancel {run}"))
    };
    match what {
        OnInterrupt::Cancel if count == 1 => {
            output::say("cancelling … (interrupt again to leave at once)");
            source.cancel(run).await
        }
        OnInterrupt::Cancel => Err(CliError::new(Exit::Cancelled, "left before the run had ended")),
        OnInterrupt::Offer if std::io::stdin().is_terminal() && count == 1 => {
            output::say(&format!("\nCancel run {run}? [y/N] (interrupt again to leave it running)"));
            let answer = tokio::task::spawn_blocking(|| {
                let mut line = String::new();
                std::io::stdin().lock().read_line(&mut line).map(|_| line)
            });
            tokio::select! {
                answer = answer => match answer {
                    Ok(Ok(line)) if matches!(line.trim(), "y" | "Y" | "yes") => source.cancel(run).await,
                    _ => Ok(()),
                },
                () = signals.next() => Err(leave()),
            }
        }
        OnInterrupt::Offer => Err(leave()),
    }
}

/// Whether a status is the last one.
pub(crate) const fn is_over(status: Status) -> bool {
    matches!(status, Status::Completed)
}
