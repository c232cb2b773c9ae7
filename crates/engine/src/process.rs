//! Supervises one command: waits for it, ends it by the ladder when it must
//! end, and gives its output time to come out. It must never wait for
//! something that may not come: every wait has an end.

use crate::config::KillLadder;
use fleetfoot_driver::{Exit, Handle, Signal};
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// How long a killed process may take to vanish before we go on without it.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// Why a command was ended by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The attempt was cancelled.
    Cancelled,
    /// The attempt is not ours any more.
    Killed,
    /// The step's own timeout.
    StepTimeout,
    /// The job's timeout.
    JobTimeout,
    /// It printed nothing for too long.
    IdleTimeout,
    /// The time allowed after a cancellation or a job timeout is over.
    GraceOver,
}

/// What may end a command.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    /// `None` once the cancellation is being carried out: the step runs because of it.
    pub(crate) cancel: Option<CancellationToken>,
    pub(crate) kill: CancellationToken,
    pub(crate) step_deadline: Option<Instant>,
    pub(crate) job_deadline: Option<Instant>,
    pub(crate) grace_deadline: Option<Instant>,
    pub(crate) idle: Option<Duration>,
    pub(crate) ladder: KillLadder,
}

/// How a supervised command ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) stop: Option<Stop>,
    /// It did not even follow SIGKILL in time.
    pub(crate) stuck: bool,
}

/// Waits for the command, and ends it when it must end.
///
/// `silence` tells for how long nothing was printed.
pub(crate) async fn supervise(
    handle: &dyn Handle,
    silence: &(dyn Fn() -> Duration + Sync),
    watch: &Watch,
) -> Ended {
    let stop = tokio::select! {
        biased;
        exit = handle.wait() => return Ended { exit, stop: None, stuck: false },
        stop = stopped(watch) => stop,
        () = idle(silence, watch.idle) => Stop::IdleTimeout,
    };
    let rungs: &[(Signal, Duration)] = match stop {
        Stop::Killed | Stop::GraceOver => &[],
        _ => &[(Signal::Interrupt, watch.ladder.interrupt), (Signal::Terminate, watch.ladder.terminate)],
    };
    for (signal, patience) in rungs {
        handle.signal(*signal);
        tokio::select! {
            biased;
            exit = handle.wait() => {
                // The leader went; who of its tree stayed goes now.
                handle.kill_tree();
                return Ended { exit, stop: Some(stop), stuck: false };
            }
            () = watch.kill.cancelled() => break,
            () = sleep(*patience) => {}
        }
    }
    handle.kill_tree();
    match timeout(AFTER_KILL, handle.wait()).await {
        Ok(exit) => Ended { exit, stop: Some(stop), stuck: false },
        Err(_) => Ended { exit: Exit::default(), stop: Some(stop), stuck: true },
    }
}

/// Does something that is no command (a pull, a build) as long as a command might run.
///
/// # Errors
/// Why it was given up; the work is dropped then.
pub(crate) async fn until<T>(watch: &Watch, work: impl Future<Output = T>) -> Result<T, Stop> {
    tokio::select! {
        biased;
        stop = stopped(watch) => Err(stop),
        done = work => Ok(done),
    }
}

/// Waits for a reason to end, apart from silence.
async fn stopped(watch: &Watch) -> Stop {
    tokio::select! {
        biased;
        () = watch.kill.cancelled() => Stop::Killed,
        () = cancelled(watch.cancel.as_ref()) => Stop::Cancelled,
        () = at(watch.grace_deadline) => Stop::GraceOver,
        () = at(watch.job_deadline) => Stop::JobTimeout,
        () = at(watch.step_deadline) => Stop::StepTimeout,
    }
}

async fn cancelled(token: Option<&CancellationToken>) {
    match token {
        Some(token) => token.cancelled().await,
        None => std::future::pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Ends when nothing was printed for that long.
async fn idle(silence: &(dyn Fn() -> Duration + Sync), allowed: Option<Duration>) {
    let Some(allowed) = allowed else { return std::future::pending().await };
    loop {
        let silent = silence();
        if silent >= allowed {
            return;
        }
        sleep((allowed - silent).max(Duration::from_millis(5))).await;
    }
}
