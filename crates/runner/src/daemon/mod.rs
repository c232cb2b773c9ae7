//! The daemon: keeps one exchange with the server waiting, says at once what
//! changed here, and does what the answers ask for.
//!
//! At most one *prompt* exchange (it carries news and does not wait) and one
//! *waiting* exchange are under way. A prompt one ends the waiting one at the
//! server; news that comes up meanwhile travels with the next. Nothing on the
//! way from an assignment to the executor sleeps or polls.

mod attempt;
mod syncs;
mod table;

use crate::executor::Executor;
use crate::journal::{Journal, Remembered};
use crate::notice::{Notice, NoticeFn};
use crate::transport::ControlPlane;
use attempt::Tokens;
use fleetfoot_model::ids::AttemptRef;
use fleetfoot_model::sync::{ResourceSample, RunnerInfo};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use syncs::{Answer, Syncs};
use table::{Action, Table};
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// After a drain with nothing left, how long an unreachable server is waited for.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long killed jobs may take to end and to be reported.
const KILLED: Duration = Duration::from_secs(10);
/// Answers of "unknown token" in a row that are believed while jobs run.
const BELIEVED: u32 = 3;

/// How far the runner is asked to shut down; each stage includes the ones before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not at all.
    #[default]
    Run,
    /// Finish what runs, take nothing new.
    Drain,
    /// Cancel what runs.
    Cancel,
    /// Kill what runs.
    Kill,
}

/// What a daemon needs.
pub struct Setup {
    /// Address of the server, for notices.
    pub url: String,
    /// Jobs at once.
    pub slots: usize,
    /// Leave after one job.
    pub one_off: bool,
    /// What this runner is; a change is sent at once.
    pub info: watch::Receiver<RunnerInfo>,
    /// Takes a sample of the machine's load; called every ten seconds at most. An error text means
    /// that the machine cannot work.
    pub sample: Box<dyn Fn() -> (ResourceSample, Option<String>) + Send + Sync>,
    /// Where attempts are remembered.
    pub journal: Journal,
    /// The control plane.
    pub transport: Arc<dyn ControlPlane>,
    /// Executes attempts.
    pub executor: Arc<dyn Executor>,
    /// Gets notices.
    pub notices: NoticeFn,
}

/// How a daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to, and everything was finished and reported.
    Drained,
    /// A one-off runner had its job.
    OneOff,
    /// It was asked to end at once; what is not reported will be by its next start.
    Killed,
    /// The server removed this runner, or a newer process took its identity.
    Removed,
}

/// Why a daemon cannot go on.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// The runner token is not accepted.
    #[error("the server does not accept this runner: {0}")]
    Unauthorized(String),
    /// Versions too far apart.
    #[error("{0}")]
    VersionSkew(String),
    /// The journal cannot be read.
    #[error("the journal of the runner cannot be read")]
    Journal(#[source] std::io::Error),
}

/// What the tasks of a daemon share.
struct Shared {
    setup: Setup,
    table: Mutex<Table>,
    tokens: Mutex<HashMap<AttemptRef, Tokens>>,
    wake: Notify,
}

impl Shared {
    fn tell(&self, notice: Notice) {
        (self.setup.notices)(&notice);
    }

    /// The attempt turned out not to be ours: end it at once.
    fn fence(&self, attempt: AttemptRef) {
        let action = self.table.lock().fence(attempt);
        match action {
            Some(Action::Kill(attempt)) => self.kill(attempt),
            Some(_) => self.setup.journal.forget(attempt),
            None => {}
        }
    }

    fn kill(&self, attempt: AttemptRef) {
        self.tell(Notice::JobFenced { attempt });
        if let Some(tokens) = self.tokens.lock().get(&attempt) {
            tokens.kill.cancel();
            tokens.discard.cancel();
        }
    }
}

/// Runs until it is asked to end and has.
///
/// # Errors
/// [`DaemonError`]; running jobs are killed then.
pub async fn run(setup: Setup, shutdown: watch::Receiver<Stage>) -> Result<Ending, DaemonError> {
    let mut remembered = setup.journal.remembered().map_err(DaemonError::Journal)?;
    // A directory that no journal speaks of (the machine lost power): nothing to report, only to clean up.
    for attempt in setup.executor.leftovers() {
        if !remembered.iter().any(|r| r.attempt == attempt) {
            let owner = String::new();
            remembered.push(Remembered { attempt, owner, processes: Vec::new(), result: None });
        }
    }
    let mut table = Table::new(setup.slots, setup.one_off);
    for attempt in remembered.iter().filter(|r| setup.journal.owns(r)) {
        table.adopt(attempt.attempt);
    }
    table.mark_urgent();
    let shared = Arc::new(Shared {
        setup,
        table: Mutex::new(table),
        tokens: Mutex::new(HashMap::new()),
        wake: Notify::new(),
    });
    let mut daemon = Daemon {
        syncs: Syncs::new(shared.clone()),
        attempts: JoinSet::new(),
        stage: Stage::Run,
        shutdown,
        connected: false,
        lost: false,
        server_drains: false,
        refused: 0,
        parted: false,
        farewell: None,
        fatal: None,
        shared,
    };
    daemon.recover(remembered);
    let executor = daemon.shared.setup.executor.clone();
    let ending = daemon.run().await;
    executor.close().await;
    ending
}

struct Daemon {
    shared: Arc<Shared>,
    syncs: Syncs,
    attempts: JoinSet<()>,
    stage: Stage,
    shutdown: watch::Receiver<Stage>,
    connected: bool,
    /// The last exchange failed, and somebody was told.
    lost: bool,
    /// An operator drains this runner at the server.
    server_drains: bool,
    refused: u32,
    /// The server knows that nothing is here and nothing should come.
    parted: bool,
    /// When to end although the server does not know.
    farewell: Option<Instant>,
    fatal: Option<DaemonError>,
}

impl Daemon {
    fn recover(&mut self, remembered: Vec<Remembered>) {
        for one in remembered {
            let tokens = Tokens::default();
            self.shared.tokens.lock().insert(one.attempt, tokens.clone());
            self.attempts.spawn(Box::pin(attempt::recover(self.shared.clone(), one, tokens)));
        }
    }

    async fn run(mut self) -> Result<Ending, DaemonError> {
        let mut info = self.shared.setup.info.clone();
        let (mut info_open, mut shutdown_open) = (true, true);
        self.staged();
        loop {
            if let Some(ending) = self.ended() {
                return match self.fatal {
                    Some(error) => Err(error),
                    None => Ok(ending),
                };
            }
            let next = self.syncs.launch(Instant::now());
            let next = [next, self.farewell].into_iter().flatten().min();
            tokio::select! {
                Some(answer) = self.syncs.answer() => self.answered(answer),
                () = self.shared.wake.notified() => {}
                Some(_) = self.attempts.join_next() => {}
                () = wait_until(next) => {}
                changed = self.shutdown.changed(), if shutdown_open => match changed {
                    Ok(()) => self.staged(),
                    Err(_) => shutdown_open = false,
                },
                changed = info.changed(), if info_open => match changed {
                    Ok(()) => self.syncs.info_changed(),
                    Err(_) => info_open = false,
                },
            }
        }
    }

    /// The stage of the shutdown has changed.
    fn staged(&mut self) {
        let stage = *self.shutdown.borrow_and_update();
        if stage <= self.stage {
            return;
        }
        let before = std::mem::replace(&mut self.stage, stage);
        let (actions, running) = {
            let mut table = self.shared.table.lock();
            table.drain();
            let actions = if stage >= Stage::Cancel { table.cancel_all() } else { Vec::new() };
            (actions, table.running())
        };
        let jobs = running.len();
        if before < Stage::Drain && (stage == Stage::Drain || jobs > 0) {
            self.shared.tell(Notice::Draining { jobs });
        }
        if stage == Stage::Cancel && jobs > 0 {
            self.shared.tell(Notice::Cancelling { jobs });
        }
        self.act(actions);
        if stage == Stage::Kill {
            self.kill_all();
        }
    }

    fn kill_all(&mut self) {
        let running = self.shared.table.lock().running();
        if !running.is_empty() {
            self.shared.tell(Notice::Killing { jobs: running.len() });
        }
        let tokens = self.shared.tokens.lock();
        for tokens in running.iter().filter_map(|a| tokens.get(a)) {
            tokens.kill.cancel();
        }
        drop(tokens);
        self.farewell.get_or_insert(Instant::now() + KILLED);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start(assignment) => {
                    let tokens = Tokens::default();
                    // A lease that was given before the server knew of the end: it ends like the others.
                    if self.stage >= Stage::Cancel {
                        tokens.cancel.cancel();
                    }
                    if self.stage == Stage::Kill {
                        tokens.kill.cancel();
                    }
                    self.shared.tokens.lock().insert(assignment.attempt, tokens.clone());
                    self.attempts.spawn(Box::pin(attempt::execute(self.shared.clone(), assignment, tokens)));
                }
                Action::Cancel(attempt) => {
                    if let Some(tokens) = self.shared.tokens.lock().get(&attempt) {
                        tokens.cancel.cancel();
                    }
                }
                Action::Kill(attempt) => self.shared.kill(attempt),
                Action::Forget(attempt) => self.shared.setup.journal.forget(attempt),
            }
        }
    }

    fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Applied { actions, parted } => {
                self.refused = 0;
                self.parted |= parted;
                let url = || self.shared.setup.url.clone();
                if !std::mem::replace(&mut self.connected, true) {
                    self.shared.tell(Notice::Connected { url: url() });
                    self.shared.tell(Notice::Listening { at: crate::clock::now() });
                } else if std::mem::take(&mut self.lost) {
                    self.shared.tell(Notice::ConnectionBack { url: url() });
                }
                self.lost = false;
                self.act(actions);
                let (drains, shut_down) = {
                    let table = self.shared.table.lock();
                    (table.server_drains, table.shut_down)
                };
                if std::mem::replace(&mut self.server_drains, drains) != drains {
                    self.shared.tell(Notice::ServerDrains { on: drains });
                }
                if shut_down {
                    self.remove();
                }
            }
            Answer::Quiet => {}
            Answer::Unavailable(message) => {
                if !std::mem::replace(&mut self.lost, true) {
                    self.shared.tell(Notice::ConnectionLost { url: self.shared.setup.url.clone(), message });
                }
            }
            Answer::Unauthorized(message) => {
                self.refused += 1;
                if !self.connected || self.refused >= BELIEVED {
                    self.give_up(DaemonError::Unauthorized(message));
                }
            }
            Answer::VersionSkew(message) => {
                // Jobs that run are not to blame for an upgrade of the server: they end first.
                if !self.connected || self.shared.table.lock().running().is_empty() {
                    self.give_up(DaemonError::VersionSkew(message));
                }
            }
            Answer::ShutDown => self.remove(),
        }
    }

    fn give_up(&mut self, error: DaemonError) {
        self.fatal.get_or_insert(error);
        self.remove();
    }

    /// This runner is none any more: end everything, report nothing.
    fn remove(&mut self) {
        let running = {
            let mut table = self.shared.table.lock();
            table.shut_down = true;
            table.running()
        };
        for attempt in running {
            self.shared.fence(attempt);
        }
        self.farewell.get_or_insert(Instant::now() + KILLED);
    }

    fn ended(&mut self) -> Option<Ending> {
        let table = self.shared.table.lock();
        let overdue = self.farewell.is_some_and(|at| at <= Instant::now());
        if table.shut_down {
            return (table.running().is_empty() || overdue).then_some(Ending::Removed);
        }
        if table.one_off_done() {
            return Some(Ending::OneOff);
        }
        let empty = table.is_empty();
        if self.stage >= Stage::Drain && empty {
            if self.parted || overdue {
                return Some(if self.stage == Stage::Kill { Ending::Killed } else { Ending::Drained });
            }
            self.farewell.get_or_insert(Instant::now() + FAREWELL);
        }
        (self.stage == Stage::Kill && overdue).then_some(Ending::Killed)
    }
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
