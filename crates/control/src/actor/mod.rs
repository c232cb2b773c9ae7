//! The actor that owns scheduling state. It takes what commands wait, applies
//! them to memory, writes the outcome in one durable transaction, and answers
//! only then. If the write fails, memory is rebuilt from the store, so that
//! memory never claims what the disk does not know.
//!
//! It never blocks on anything but that write: documents are resolved and
//! payloads are read by tasks outside, which send a command when done.

mod approvals;
mod batch;
mod load;
mod observe;
mod runners;
mod runs;
mod sessions;
mod state;

pub(crate) use approvals::Approver;
pub(crate) use batch::Batch;
pub(crate) use observe::FleetLoad;
pub(crate) use sessions::{Decision, LiveRunner, version_fits};
pub(crate) use state::{PreparedRun, RunSource, State};

use crate::Inner;
use fleetfoot_model::api::{CancelRun, RunnerStatus};
use fleetfoot_model::ids::{AttemptRef, JobId, RunId, RunnerId};
use fleetfoot_model::plan::Resolution;
use fleetfoot_model::projects::EnvironmentRules;
use fleetfoot_model::state::RunnerState;
use fleetfoot_model::sync::{AttemptReport, AttemptResult, SyncRequest};
use fleetfoot_model::why::Why;
use fleetfoot_model::{Code, Diagnostic, Problem};
use fleetfoot_scheduler::Gate;
use fleetfoot_store::{IdempotencyRow, RunnerRow, StoreError, StoreErrorKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

/// How many commands one transaction takes at most.
const BATCH: usize = 1024;
/// While a lease can run out, the actor looks at the clock at least this often...
const PULSE: Duration = Duration::from_secs(1);
/// ...and this much later at most on a machine that is merely busy.
const TOLERATED: Duration = Duration::from_millis(500);

/// An answer that is owed.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Problem>>;

/// What the actor can be asked.
pub(crate) enum Command {
    CreateRuns {
        runs: Vec<PreparedRun>,
        idempotency: Option<Box<IdempotencyRow>>,
        reply: Reply<()>,
    },
    Resolved {
        run: RunId,
        cancelled: bool,
        nodes: Vec<(String, Result<Resolution, Box<Diagnostic>>)>,
        /// What decided: kept, so that it need not be read again.
        source: Option<Arc<RunSource>>,
    },
    CancelRun {
        run: RunId,
        request: CancelRun,
        reply: Reply<()>,
    },
    CancelJob {
        job: JobId,
        reply: Reply<()>,
    },
    /// Somebody approves or rejects what a gate holds.
    Decide {
        gate: Gate,
        approve: bool,
        by: Approver,
        comment: Option<String>,
        reply: Reply<()>,
    },
    /// An environment has other rules; `None`: it is gone.
    EnvironmentChanged {
        project: String,
        name: String,
        rules: Option<EnvironmentRules>,
        reply: Reply<()>,
    },
    Why {
        job: JobId,
        reply: oneshot::Sender<Option<Why>>,
    },
    Sync {
        runner: RunnerId,
        request: Box<SyncRequest>,
        reply: Reply<Decision>,
    },
    Disconnected {
        runner: RunnerId,
        sequence: u64,
    },
    Reports {
        runner: RunnerId,
        reports: Vec<AttemptReport>,
        reply: Reply<()>,
    },
    Claim {
        runner: RunnerId,
        job: Option<JobId>,
        reply: Reply<Option<(AttemptRef, RunId)>>,
    },
    Complete {
        runner: RunnerId,
        job: JobId,
        attempt: Option<AttemptRef>,
        result: Box<AttemptResult>,
        reply: Reply<()>,
    },
    SetStatus {
        runner: RunnerId,
        request: RunnerStatus,
        reply: Reply<()>,
    },
    RunnerChanged {
        row: Box<RunnerRow>,
        reply: Reply<()>,
    },
    RunnerDeleted {
        runner: RunnerId,
        reply: Reply<()>,
    },
    Runners {
        reply: oneshot::Sender<Vec<LiveRunner>>,
    },
    /// What waits and who is there, for people.
    Load {
        reply: oneshot::Sender<FleetLoad>,
    },
    Holds {
        attempt: AttemptRef,
        runner: Option<RunnerId>,
        reply: oneshot::Sender<bool>,
    },
    Counts {
        reply: oneshot::Sender<RunnerCounts>,
    },
    Stop {
        reply: oneshot::Sender<()>,
    },
}

/// Gauges of the moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunnerCounts {
    pub(crate) queues: Vec<(String, i64)>,
    pub(crate) runners: Vec<(RunnerState, i64)>,
    pub(crate) running: i64,
}

/// The task behind [`crate::Control`].
pub(crate) struct Actor {
    inner: Arc<Inner>,
    state: State,
    commands: mpsc::Receiver<Command>,
    chance: u64,
    /// Memory is fresh from the store: what fell due meanwhile is to be looked at.
    reloaded: bool,
}

impl Actor {
    /// Loads the state.
    pub(crate) async fn load(
        inner: Arc<Inner>,
        commands: mpsc::Receiver<Command>,
    ) -> Result<Self, StoreError> {
        let state = State::load(&inner, None).await?;
        let seed: [u8; 8] = crate::vault::random().unwrap_or([7; 8]);
        Ok(Self { inner, state, commands, chance: u64::from_le_bytes(seed) | 1, reloaded: true })
    }

    /// Runs until told to stop.
    pub(crate) async fn run(mut self) {
        let mut waiting = Vec::with_capacity(BATCH);
        let mut listened = self.inner.clock.steady();
        loop {
            let deadline = self.state.scheduler.next_deadline().map(|at| self.inner.clock.instant_of(at));
            let timed = deadline.is_some();
            let deadline = deadline.map(|at| at.min(tokio::time::Instant::now() + PULSE));
            let gate = self.state.approvals.next_due().map(|at| self.inner.clock.instant_of(at));
            let deadline = [deadline, gate].into_iter().flatten().min();
            let deadline = if self.reloaded { Some(tokio::time::Instant::now()) } else { deadline };
            tokio::select! {
                n = self.commands.recv_many(&mut waiting, BATCH) => if n == 0 { return },
                () = sleep_until(deadline) => {}
            }
            // Longer than the pulse: this process was paused, or the store took its time. Whoever
            // spoke meanwhile was not heard, and must not lose anything for it.
            let gap =
                self.inner.clock.steady().since(std::mem::replace(&mut listened, self.inner.clock.steady()));
            if timed && gap > PULSE + TOLERATED {
                warn!(milliseconds = gap.as_millis(), "nobody was listened to; leases run that much longer");
                self.state.scheduler.deaf_for(gap);
            }
            let mut stop = None;
            let mut batch = Batch::default();
            if std::mem::take(&mut self.reloaded) {
                self.recover(&mut batch);
            }
            for command in waiting.drain(..) {
                match command {
                    Command::Stop { reply } => stop = Some(reply),
                    command => self.handle(command, &mut batch),
                }
            }
            self.open_due_gates(&mut batch);
            self.tick(&mut batch);
            self.dispatch(&mut batch);
            self.commit(batch).await;
            if let Some(reply) = stop {
                self.state.end_all_waits();
                let _ = reply.send(());
                return;
            }
        }
    }

    fn handle(&mut self, command: Command, batch: &mut Batch) {
        match command {
            Command::CreateRuns { runs, idempotency, reply } => {
                self.create_runs(runs, idempotency, reply, batch)
            }
            Command::Resolved { run, cancelled, nodes, source } => {
                self.resolved(run, cancelled, nodes, source, batch);
            }
            Command::CancelRun { run, request, reply } => {
                let done = self.cancel_run(run, request.message.as_deref(), batch);
                batch.reply(reply, done);
            }
            Command::CancelJob { job, reply } => {
                let done = self.cancel_job_on_request(job, batch);
                batch.reply(reply, done);
            }
            Command::Decide { gate, approve, by, comment, reply } => {
                let done = self.decide_gate(gate, approve, &by, comment, batch);
                batch.reply(reply, done);
            }
            Command::EnvironmentChanged { project, name, rules, reply } => {
                self.state.approvals.set_rules(&project, &name, rules);
                batch.reply(reply, Ok(()));
            }
            Command::Why { job, reply } => {
                let _ = reply.send(self.why(job));
            }
            Command::Sync { runner, request, reply } => self.sync(runner, *request, reply, batch),
            Command::Disconnected { runner, sequence } => self.disconnected(runner, sequence),
            Command::Reports { runner, reports, reply } => {
                let done = self.plain_reports(runner, reports, batch);
                batch.reply(reply, done);
            }
            Command::Claim { runner, job, reply } => {
                let done = self.claim(runner, job, batch);
                batch.reply(reply, done);
            }
            Command::Complete { runner, job, attempt, result, reply } => {
                let done = self.plain_complete(runner, job, attempt, result, batch);
                batch.reply(reply, done);
            }
            Command::SetStatus { runner, request, reply } => {
                let done = self.set_status(runner, &request);
                batch.reply(reply, done);
            }
            Command::RunnerChanged { row, reply } => {
                self.runner_changed(*row, batch);
                batch.reply(reply, Ok(()));
            }
            Command::RunnerDeleted { runner, reply } => {
                self.runner_deleted(runner, batch);
                batch.reply(reply, Ok(()));
            }
            Command::Runners { reply } => {
                let _ = reply.send(self.live_runners());
            }
            Command::Load { reply } => {
                let _ = reply.send(self.load_of_fleet());
            }
            Command::Holds { attempt, runner, reply } => {
                let _ = reply.send(self.state.holds(attempt, runner));
            }
            Command::Counts { reply } => {
                let _ = reply.send(self.counts());
            }
            Command::Stop { .. } => {}
        }
    }

    /// Makes a batch durable, then answers, wakes and starts what follows from it.
    async fn commit(&mut self, mut batch: Batch) {
        let outcome = if batch.ops.is_empty() {
            Ok(())
        } else {
            self.inner.metrics.batch(batch.ops.len());
            let ops = std::mem::take(&mut batch.ops);
            match self.inner.store.apply(ops).await {
                Ok(results) => match results.into_iter().find_map(Result::err) {
                    None => Ok(()),
                    Some(e) => {
                        error!(error = %e, "the store refused an operation: memory and disk differ, reloading");
                        Err(Problem::new(Code::Conflict, format!("the state changed meanwhile: {e}"))
                            .with_hint("look at the current state and try again"))
                    }
                },
                Err(e) => {
                    warn!(error = %e, "nothing was stored");
                    Err(store_problem(&e))
                }
            }
        };
        match outcome {
            Ok(()) => {
                batch.answer(&Ok(()));
                self.inner.observe.changes.note(batch.runs.iter().copied());
                self.inner.watchers.notify(std::mem::take(&mut batch.runs));
                for runner in std::mem::take(&mut batch.poke) {
                    self.state.answer_wait(runner);
                }
                self.follow_up(batch);
            }
            Err(problem) => {
                batch.answer(&Err(problem));
                self.reload().await;
            }
        }
    }

    /// Throws memory away and reads it again; keeps trying, because nothing can go on without it.
    async fn reload(&mut self) {
        let mut pause = std::time::Duration::from_millis(50);
        loop {
            match State::load(&self.inner, Some(&mut self.state)).await {
                Ok(state) => {
                    self.state = state;
                    self.reloaded = true;
                    info!("state reloaded from the store");
                    return;
                }
                Err(e) => {
                    error!(error = %e, "cannot reload the state, trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(std::time::Duration::from_secs(5));
                }
            }
        }
    }

    fn follow_up(&self, batch: Batch) {
        for attempt in batch.closed_logs {
            let inner = self.inner.clone();
            self.inner.tasks.spawn(async move {
                let closed = inner.logs.close(attempt).await;
                if let Err(e) = closed {
                    return warn!(%attempt, error = %e, "cannot close a log");
                }
                if inner.logs.has_archive()
                    && let Err(e) = inner.logs.archive(attempt).await
                {
                    warn!(%attempt, error = %e, "cannot copy a log to the object store; it stays here");
                }
            });
        }
        for request in batch.resolve {
            let inner = self.inner.clone();
            self.inner.tasks.spawn(async move { crate::resolve::resolve(inner, request).await });
        }
    }

    /// A number below `n`, good enough to spread load (splitmix64; not for secrets).
    fn next_chance(chance: &mut u64, n: usize) -> usize {
        *chance = chance.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % (n.max(1) as u64)).unwrap_or(0)
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// How a failure of the store is told to a client.
pub(crate) fn store_problem(e: &StoreError) -> Problem {
    match e.kind {
        StoreErrorKind::DiskFull => {
            Problem::new(Code::DiskFull, "the disk of the server is full; nothing was stored")
                .with_hint("free some space on the server; running jobs are not affected")
        }
        StoreErrorKind::Overloaded | StoreErrorKind::Closed => {
            Problem::new(Code::Overloaded, e.message.clone())
        }
        _ => Problem::new(Code::Internal, e.message.clone()),
    }
}
