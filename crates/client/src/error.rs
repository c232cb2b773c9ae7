//! What can go wrong on the way to a server, sorted by what the caller can do
//! about it. Messages never contain a token, and never repeat their source.

use crate::sse::SseError;
use fleetfoot_model::problem::{Code, Problem};
use std::error::Error;
use std::time::Duration;
use thiserror::Error;

/// An error of the client.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct ClientError {
    /// For decisions.
    pub kind: ErrorKind,
    /// How long the server asked to wait before the next try.
    pub retry_after: Option<Duration>,
    message: String,
    hint: Option<String>,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Kinds of [`ClientError`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The address, CA file or proxy cannot be used.
    Configuration,
    /// No answer came.
    Unreachable(Unreachable),
    /// The server said no, and why.
    Problem(Box<Problem>),
    /// The answer is not what this API says (another server, a proxy's page, a cut stream).
    Protocol,
    /// The caller gave up.
    Cancelled,
}

/// Why no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// Nobody listens at that address.
    Refused,
    /// The name has no address.
    UnknownHost,
    /// The certificate or the handshake was not accepted.
    Tls,
    /// It took too long.
    TimedOut,
    /// The connection broke.
    Broken,
}

impl ClientError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, retry_after: None, message: message.into(), hint: None, source: None }
    }

    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Configuration, message)
    }

    pub(crate) fn protocol(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Protocol, message)
    }

    /// The caller gave up on an operation.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled")
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn from_problem(problem: Problem, retry_after: Option<Duration>) -> Self {
        let message = problem.detail.clone();
        Self { retry_after, ..Self::new(ErrorKind::Problem(Box::new(problem)), message) }
    }

    /// From an error of the transport; `server` is the address for the message.
    pub(crate) fn from_reqwest(error: reqwest::Error, server: &str) -> Self {
        let error = error.without_url();
        if error.is_builder() {
            return Self::configuration("the request cannot be built").with_source(error);
        }
        if error.is_decode() && !error.is_timeout() && chain::<std::io::Error>(&error).is_none() {
            return Self::protocol(format!("{server} sent an answer that cannot be read")).with_source(error);
        }
        let why = classify(&error);
        let message = match why {
            Unreachable::Refused => format!("nobody listens at {server}"),
            Unreachable::UnknownHost => format!("the host name in {server} is not known"),
            Unreachable::Tls => format!("no trusted connection to {server}"),
            Unreachable::TimedOut => format!("{server} did not answer in time"),
            Unreachable::Broken => format!("the connection to {server} broke"),
        };
        Self::new(ErrorKind::Unreachable(why), message).with_source(error)
    }

    /// The problem that the server reported, if it did.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match &self.kind {
            ErrorKind::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// The code of the problem that the server reported.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.problem().map(|p| p.code)
    }

    /// Whether the same request may well succeed a little later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match &self.kind {
            ErrorKind::Unreachable(why) => *why != Unreachable::Tls,
            ErrorKind::Problem(p) => {
                matches!(p.code, Code::Overloaded | Code::TooManyRequests | Code::Internal | Code::DiskFull)
            }
            ErrorKind::Protocol => true,
            ErrorKind::Configuration | ErrorKind::Cancelled => false,
        }
    }

    /// What to do about it, for people.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        if self.hint.is_some() {
            return self.hint.clone();
        }
        let text = match &self.kind {
            ErrorKind::Problem(p) => return p.hint.clone().or_else(|| code_hint(p.code).map(str::to_owned)),
            ErrorKind::Unreachable(Unreachable::Refused) => {
                "is the server running? start one with `fleetfoot up`, or name another with --server or FLEETFOOT_URL"
            }
            ErrorKind::Unreachable(Unreachable::UnknownHost) => {
                "check the spelling of the address, and the DNS of this machine"
            }
            ErrorKind::Unreachable(Unreachable::Tls) => {
                "if the server's certificate comes from a private CA, pass its PEM file as CA file; for a server without TLS write http://"
            }
            ErrorKind::Unreachable(Unreachable::TimedOut | Unreachable::Broken) => {
                "check the network between here and the server, and whether a proxy is needed"
            }
            ErrorKind::Protocol => {
                "is this the address of a Fleetfoot server? a proxy or another program may have answered"
            }
            ErrorKind::Configuration | ErrorKind::Cancelled => return None,
        };
        Some(text.to_owned())
    }
}

impl From<SseError> for ClientError {
    fn from(error: SseError) -> Self {
        Self::protocol("the event stream cannot be read").with_source(error)
    }
}

fn code_hint(code: Code) -> Option<&'static str> {
    match code {
        Code::Unauthorized => {
            Some("set FLEETFOOT_TOKEN or pass --token; an admin makes one with `fleetfoot token create`")
        }
        Code::Forbidden => Some("this token does not allow it; ask an admin for one that does"),
        Code::VersionSkew => Some("upgrade the side that is named, at most one minor version at a time"),
        Code::Overloaded | Code::TooManyRequests => Some("the server is busy; try again in a moment"),
        Code::DiskFull => Some("free space on the server's disk"),
        _ => None,
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&e: &&'a (dyn Error + 'static)| e.source())
}

fn chain<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    causes(error).find_map(|e| e.downcast_ref::<T>())
}

fn classify(error: &reqwest::Error) -> Unreachable {
    use std::io::ErrorKind as Io;
    if error.is_timeout() {
        return Unreachable::TimedOut;
    }
    if error.is_dns() {
        return Unreachable::UnknownHost;
    }
    let io = chain::<std::io::Error>(error).map(std::io::Error::kind);
    match io {
        Some(Io::ConnectionRefused) => return Unreachable::Refused,
        Some(Io::TimedOut) => return Unreachable::TimedOut,
        _ => {}
    }
    // rustls reports through io::Error of kind InvalidData, wrapped in types that are not public here.
    let mut texts = causes(error).map(ToString::to_string);
    if io == Some(Io::InvalidData)
        || texts.any(|t| t.contains("certificate") || t.contains("received corrupt message"))
    {
        return Unreachable::Tls;
    }
    Unreachable::Broken
}
