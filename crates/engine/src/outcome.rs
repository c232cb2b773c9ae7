//! How a step ended, in the words of the model.

use crate::frame::Changes;
use crate::process::{Ended, Stop};
use fleetfoot_driver::{DriverError, DriverErrorKind, Exit};
use fleetfoot_model::state::{Conclusion, Reason};
use fleetfoot_model::sync::Usage;
use indexmap::IndexMap;
use std::io;

/// How a step ended, before `continue-on-error`.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) conclusion: Conclusion,
    pub(crate) reason: Option<Reason>,
    pub(crate) message: Option<String>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) leaked: bool,
    pub(crate) usage: Usage,
    pub(crate) outputs: IndexMap<String, String>,
    /// The log says already what went wrong.
    pub(crate) told: bool,
    /// What the step changed for those after it.
    pub(crate) changes: Changes,
}

impl Outcome {
    /// An end without a process.
    pub(crate) fn plain(conclusion: Conclusion) -> Self {
        Self {
            conclusion,
            reason: None,
            message: None,
            exit_code: None,
            signal: None,
            leaked: false,
            usage: Usage::default(),
            outputs: IndexMap::new(),
            told: false,
            changes: Changes::default(),
        }
    }

    /// A failure before or after the process.
    pub(crate) fn failure(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason: Some(reason), message: Some(message.into()), ..Self::plain(Conclusion::Failure) }
    }

    /// A failure of the runner's own files.
    pub(crate) fn io(what: &str, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Reason::DiskFull,
            _ => Reason::SetUpFailed,
        };
        Self::failure(reason, format!("{what}: {error}"))
    }

    /// A command that could not be started.
    pub(crate) fn driver(error: &DriverError) -> Self {
        Self::failure(driver_reason(error), driver_message(error))
    }

    /// Something that is no process was given up.
    pub(crate) fn stopped(stop: Stop, timeouts: &Timeouts, job_timed_out: bool) -> Self {
        let ended = Ended { exit: Exit::default(), stop: Some(stop), stuck: false };
        Self::ended(&ended, timeouts, job_timed_out)
    }

    /// From the end of a process.
    pub(crate) fn ended(ended: &Ended, timeouts: &Timeouts, job_timed_out: bool) -> Self {
        let exit = ended.exit;
        let (conclusion, reason, message) = match ended.stop {
            Some(Stop::Cancelled | Stop::Killed) => cancelled("cancelled"),
            Some(Stop::GraceOver) if !job_timed_out => {
                cancelled("ended: the time allowed after a cancellation is over")
            }
            Some(Stop::GraceOver | Stop::JobTimeout) => {
                timed_out(format!("the job took longer than {}", span(timeouts.job_seconds)))
            }
            Some(Stop::StepTimeout) => {
                timed_out(format!("the step took longer than {}", span(timeouts.step_seconds)))
            }
            Some(Stop::IdleTimeout) => {
                timed_out(format!("the step printed nothing for {}", span(timeouts.idle_seconds)))
            }
            None if exit.code == Some(0) => (Conclusion::Success, None, None),
            None if exit.out_of_memory => {
                failed(Reason::OutOfMemory, "the kernel ended a process of the step: out of memory".into())
            }
            None => match (exit.signal, exit.code) {
                (Some(signal), _) => failed(Reason::Signal, format!("ended by {}", signal_name(signal))),
                (None, Some(code)) => failed(Reason::ExitCode, format!("exit code {code}")),
                (None, None) => failed(Reason::Signal, "the end of the process was not seen".into()),
            },
        };
        let message = match (message, ended.stuck) {
            (Some(m), true) => Some(format!("{m}; a process did not end even when killed")),
            (m, _) => m,
        };
        Self {
            conclusion,
            reason,
            message,
            exit_code: exit.code,
            signal: exit.signal,
            leaked: false,
            usage: exit.usage,
            outputs: IndexMap::new(),
            told: false,
            changes: Changes::default(),
        }
    }

    /// A step that went well turns out to have failed after all.
    pub(crate) fn spoil(&mut self, reason: Reason, message: String) {
        if self.conclusion == Conclusion::Success {
            self.conclusion = Conclusion::Failure;
            self.reason = Some(reason);
            self.message = Some(message);
        }
    }
}

/// The timeouts that were in force, for messages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timeouts {
    pub(crate) step_seconds: f64,
    pub(crate) job_seconds: f64,
    pub(crate) idle_seconds: f64,
}

type End = (Conclusion, Option<Reason>, Option<String>);

fn cancelled(message: &str) -> End {
    (Conclusion::Cancelled, Some(Reason::Cancelled), Some(message.to_owned()))
}

fn timed_out(message: String) -> End {
    (Conclusion::TimedOut, Some(Reason::Timeout), Some(message))
}

fn failed(reason: Reason, message: String) -> End {
    (Conclusion::Failure, Some(reason), Some(message))
}

/// `90 s` or `6 min`.
fn span(seconds: f64) -> String {
    if seconds >= 60.0 && seconds % 60.0 == 0.0 {
        format!("{} min", seconds / 60.0)
    } else {
        format!("{seconds} s")
    }
}

/// The reason that a driver error stands for.
pub(crate) fn driver_reason(error: &DriverError) -> Reason {
    match error.kind {
        DriverErrorKind::DiskFull => Reason::DiskFull,
        DriverErrorKind::LimitExceeded => Reason::LimitExceeded,
        DriverErrorKind::Invalid => Reason::BadSpecification,
        _ => Reason::SetUpFailed,
    }
}

/// A driver error with its cause, and what to do where the job is not at fault.
pub(crate) fn driver_message(error: &DriverError) -> String {
    let message = match &error.source {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    match error.kind {
        DriverErrorKind::Unavailable => format!(
            "{message} (nothing is wrong with the job: 'fleetfoot runner validate' on the machine of the \
             runner says what is missing)"
        ),
        _ => message,
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}
