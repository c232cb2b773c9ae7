//! State machines. Each entity has one enum, and every change goes through
//! one transition function; the database carries matching CHECK constraints.

use crate::ids::AttemptNumber;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;
use utoipa::ToSchema;

macro_rules! text_enum {
    ($name:ident { $($variant:ident => $text:literal),+ $(,)? }) => {
        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The name used in the API, the database and on the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
        impl FromStr for $name {
            type Err = String;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                match s {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(format!("'{s}' is not one of: {}", [$($text),+].join(", "))),
                }
            }
        }
    };
}

/// Where a run or a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Held back: by jobs that it needs, a concurrency group or a retry delay.
    Waiting,
    /// Ready, and waiting for a runner.
    Queued,
    /// Leased to a runner.
    Running,
    /// Ended; the conclusion says how.
    Completed,
}
text_enum!(Status { Waiting => "waiting", Queued => "queued", Running => "running", Completed => "completed" });

/// How a run, a job or a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// Everything went well.
    Success,
    /// Something failed; the reason says what.
    Failure,
    /// Somebody, fail-fast or a concurrency group stopped it.
    Cancelled,
    /// Its condition was false, or a job that it needs did not succeed.
    Skipped,
    /// A timeout ended it.
    TimedOut,
}
text_enum!(Conclusion {
    Success => "success", Failure => "failure", Cancelled => "cancelled",
    Skipped => "skipped", TimedOut => "timed_out",
});

impl Conclusion {
    /// Whether whoever depends on this may go on by default.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        matches!(self, Self::Success | Self::Skipped)
    }

    /// The word that the `needs` and `steps` contexts of GitHub's syntax use
    /// (there is no `timed_out` there: a timeout counts as a failure).
    #[must_use]
    pub const fn as_result(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure | Self::TimedOut => "failure",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

/// Why something ended as it did; stable words for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A command exited with a code other than 0.
    ExitCode,
    /// A command was ended by a signal nobody here sent.
    Signal,
    /// The kernel killed it for memory.
    OutOfMemory,
    /// A step, job or idle-output timeout.
    Timeout,
    /// A person asked for it.
    Cancelled,
    /// Another leg of the matrix failed.
    FailFast,
    /// A newer entry of its concurrency group took its place.
    Superseded,
    /// Nobody took it in time.
    QueueTimeout,
    /// The runner vanished.
    RunnerLost,
    /// The runner could not even start it (workspace, disk, driver).
    SetUpFailed,
    /// The specification could not be evaluated.
    BadSpecification,
    /// The disk of the runner is full.
    DiskFull,
    /// The job asked for more than the runner or the fleet allows.
    LimitExceeded,
    /// A reviewer refused it.
    Rejected,
    /// The rules of its environment do not let this ref in.
    EnvironmentProtected,
}
text_enum!(Reason {
    ExitCode => "exit_code", Signal => "signal", OutOfMemory => "out_of_memory", Timeout => "timeout",
    Cancelled => "cancelled", FailFast => "fail_fast", Superseded => "superseded",
    QueueTimeout => "queue_timeout", RunnerLost => "runner_lost", SetUpFailed => "set_up_failed",
    BadSpecification => "bad_specification", DiskFull => "disk_full", LimitExceeded => "limit_exceeded",
    Rejected => "rejected", EnvironmentProtected => "environment_protected",
});

/// Where the approval of a run or a job stands. From `pending` or `not_required` to one of the others,
/// which are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    /// Somebody has to decide.
    Pending,
    /// Somebody approved.
    Approved,
    /// Somebody rejected.
    Rejected,
    /// Run or job ended before anybody decided.
    Cancelled,
    /// Nobody has to decide: only the wait timer holds the job.
    NotRequired,
}
text_enum!(ApprovalState {
    Pending => "pending", Approved => "approved", Rejected => "rejected", Cancelled => "cancelled",
    NotRequired => "not_required",
});

/// State of a runner as shown to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunnerState {
    /// Not connected.
    Offline,
    /// Connected, every slot free.
    Idle,
    /// Connected, at least one slot taken.
    Busy,
    /// Finishes what it has, takes nothing new.
    Draining,
    /// Connected, but it says that it cannot work; takes nothing new.
    Error,
}
text_enum!(RunnerState {
    Offline => "offline", Idle => "idle", Busy => "busy", Draining => "draining", Error => "error",
});

/// State of a job: one enum, with what only that state knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Held back by needs, a concurrency group of its run, or a retry delay.
    Waiting,
    /// Ready for a runner.
    Queued,
    /// Leased; this attempt is the current one.
    Running {
        /// The current attempt.
        attempt: AttemptNumber,
    },
    /// Ended, for good.
    Completed {
        /// How.
        conclusion: Conclusion,
    },
}

/// What can happen to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// What held it back is gone.
    Release,
    /// A runner got a lease on this attempt.
    Lease(AttemptNumber),
    /// The current attempt is lost or to be retried; the job waits again.
    Requeue(AttemptNumber),
    /// It ends. From `Running` only with the current attempt's result or by decision of the control plane.
    Complete(Conclusion),
}

/// A transition that the state machine does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a job that is {from:?} cannot take {event:?}")]
pub struct IllegalTransition {
    /// Where it stood.
    pub from: JobState,
    /// What was tried.
    pub event: JobEvent,
}

impl JobState {
    /// The only way a job changes its state.
    ///
    /// # Errors
    /// [`IllegalTransition`] if the event is not possible in this state; a
    /// completed job never leaves its conclusion (promise 1).
    pub const fn transition(self, event: JobEvent) -> Result<Self, IllegalTransition> {
        match (self, event) {
            (Self::Waiting, JobEvent::Release) => Ok(Self::Queued),
            (Self::Queued, JobEvent::Lease(attempt)) => Ok(Self::Running { attempt }),
            (Self::Running { attempt }, JobEvent::Requeue(a)) if attempt == a => Ok(Self::Waiting),
            (Self::Waiting | Self::Queued | Self::Running { .. }, JobEvent::Complete(conclusion)) => {
                Ok(Self::Completed { conclusion })
            }
            (from, event) => Err(IllegalTransition { from, event }),
        }
    }

    /// The status without its data.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Waiting => Status::Waiting,
            Self::Queued => Status::Queued,
            Self::Running { .. } => Status::Running,
            Self::Completed { .. } => Status::Completed,
        }
    }
}
