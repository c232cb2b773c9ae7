//! What the command line says when it cannot go on, and with which exit code.
//! This is the only place where kinds of error become exit codes, and where
//! hints and next commands are added to errors of other crates.

use crate::style::Style;
use fleetfoot_client::{ClientError, ErrorKind, Unreachable};
use fleetfoot_model::{Code, Conclusion, Diagnostics, Problem};
use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked, and the run (if it waited for one) succeeded.
    Ok,
    /// The run that it waited for, or the check that it made, failed.
    Failed,
    /// Unusable input: arguments, documents, files.
    Usage,
    /// The server is out of reach, refused, or is not one.
    Server,
    /// No such run, job, runner, token.
    NotFound,
    /// The state of the thing does not allow it.
    Conflict,
    /// This machine: a file, a directory, a port.
    Machine,
    /// Cancelled.
    Cancelled,
}

impl Exit {
    /// The exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Server => 3,
            Self::NotFound => 4,
            Self::Conflict => 5,
            Self::Machine => 6,
            Self::Cancelled => 130,
        }
    }

    /// Codes and meanings, for the reference.
    #[cfg(test)]
    pub(crate) const MEANINGS: &[(Self, &str)] = &[
        (Self::Ok, "success; the run that was waited for succeeded"),
        (Self::Failed, "the run that was waited for failed, or a check found errors"),
        (Self::Usage, "unusable input: arguments, a document, a file"),
        (Self::Server, "the server is out of reach or refused the token"),
        (Self::NotFound, "no such run, job, runner or token"),
        (Self::Conflict, "the state of the thing does not allow it"),
        (Self::Machine, "this machine: a directory, a port, a disk"),
        (Self::Cancelled, "cancelled, or interrupted"),
    ];

    /// What mirrors the conclusion of a run.
    pub(crate) const fn of(conclusion: Option<Conclusion>) -> Self {
        match conclusion {
            None | Some(Conclusion::Success | Conclusion::Skipped) => Self::Ok,
            Some(Conclusion::Failure | Conclusion::TimedOut) => Self::Failed,
            Some(Conclusion::Cancelled) => Self::Cancelled,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command could not do what was asked.
#[derive(Debug)]
pub(crate) struct CliError {
    /// For the exit code.
    pub(crate) exit: Exit,
    /// What happened; never repeats the causes.
    message: String,
    /// Findings in documents, shown instead of the message's causes.
    findings: Diagnostics,
    /// Why, outermost first.
    causes: Vec<String>,
    /// What to do about it.
    hint: Option<String>,
    /// The exact command to type next.
    next: Option<String>,
}

/// What commands answer.
pub(crate) type Result<T = Exit, E = CliError> = std::result::Result<T, E>;

impl CliError {
    /// An error of this kind.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            findings: Diagnostics::default(),
            causes: Vec::new(),
            hint: None,
            next: None,
        }
    }

    /// Unusable input.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Something about this machine.
    pub(crate) fn machine(message: impl Into<String>) -> Self {
        Self::new(Exit::Machine, message)
    }

    /// The reader of standard output went away: nobody is left to tell.
    pub(crate) fn silent() -> Self {
        Self::new(Exit::Ok, "")
    }

    /// Whether there is nothing to say.
    pub(crate) fn is_silent(&self) -> bool {
        self.message.is_empty()
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the exact command to type next.
    pub(crate) fn next(mut self, command: impl Into<String>) -> Self {
        self.next = Some(command.into());
        self
    }

    /// Adds the cause and its causes.
    pub(crate) fn because(mut self, cause: &(dyn Error + 'static)) -> Self {
        self.causes.extend(chain(cause));
        self
    }

    /// A document that cannot be used.
    pub(crate) fn findings(findings: Diagnostics) -> Self {
        let errors = findings.0.iter().filter(|d| d.severity == fleetfoot_model::Severity::Error).count();
        let plural = if errors == 1 { "" } else { "s" };
        let mut error = Self::usage(format!("the document has {errors} error{plural}"));
        error.findings = findings;
        error
    }

    /// What people see on standard error.
    pub(crate) fn render(&self, style: Style) -> String {
        let mut out = String::new();
        for finding in &self.findings.0 {
            let _ = writeln!(out, "{finding}\n");
        }
        let _ = write!(out, "{} {}", style.red("error:"), self.message);
        let mut last = self.message.as_str();
        for cause in self.causes.iter().filter(|c| !c.is_empty()) {
            // Some libraries repeat their source in their message; once is enough.
            if !last.contains(cause.as_str()) {
                let _ = write!(out, "\n  cause: {cause}");
            }
            last = cause;
        }
        if let Some(hint) = &self.hint {
            let _ = write!(out, "\n  {} {hint}", style.cyan("hint:"));
        }
        if let Some(next) = &self.next {
            let _ = write!(out, "\n  {} `{next}`", style.cyan("next:"));
        }
        out
    }

    /// The same for machines (`--output json`).
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "error": {
                "exit_code": self.exit.code(),
                "message": self.message,
                "causes": self.causes,
                "hint": self.hint,
                "next": self.next,
                "errors": self.findings.0,
            }
        })
    }
}

/// An error and its causes in words, outermost first.
fn chain<'a>(first: &'a (dyn Error + 'static)) -> impl Iterator<Item = String> {
    std::iter::successors(Some(first), |&e: &&'a (dyn Error + 'static)| e.source()).map(ToString::to_string)
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let hint = error.hint();
        let mut out = match &error.kind {
            ErrorKind::Problem(problem) => Self::from(Problem::clone(problem)),
            ErrorKind::Configuration => Self::usage(error.to_string()),
            ErrorKind::Cancelled => Self::new(Exit::Cancelled, error.to_string()),
            _ => Self::new(Exit::Server, error.to_string()),
        };
        if error.kind == ErrorKind::Unreachable(Unreachable::Refused) {
            out = out.next("fleetfoot up");
        }
        if !matches!(error.kind, ErrorKind::Problem(_))
            && let Some(source) = error.source()
        {
            out.causes.extend(chain(source));
        }
        out.hint = hint.or(out.hint);
        out
    }
}

impl From<Problem> for CliError {
    fn from(problem: Problem) -> Self {
        let exit = match problem.code {
            Code::BadRequest | Code::BadDocument | Code::TooLarge | Code::UnsupportedMediaType => Exit::Usage,
            Code::NotFound => Exit::NotFound,
            Code::Conflict | Code::StaleAttempt | Code::OffsetGap | Code::IdempotencyMismatch => {
                Exit::Conflict
            }
            _ => Exit::Server,
        };
        let mut out = if problem.errors.is_empty() {
            Self::new(exit, problem.detail)
        } else {
            Self { exit, ..Self::findings(Diagnostics(problem.errors)) }
        };
        out.hint = problem.hint;
        if problem.code == Code::Unauthorized {
            out = out.next("export FLEETFOOT_TOKEN=…");
        }
        out
    }
}
