//! Why a service refused, sorted by what a protocol answers. Messages are for the people who read
//! the log of a job; the cause of a fault of ours stays in the source.

use fleetfoot_model::{Code, Problem};
use fleetfoot_objects::ObjectError;
use fleetfoot_store::{StoreError, StoreErrorKind};
use thiserror::Error;

/// What a protocol decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is wrong; repeating does not help.
    Invalid,
    /// No token, or none that is good now.
    Unauthenticated,
    /// The token does not allow this.
    Denied,
    /// There is no such thing, or not the caller's to know.
    Missing,
    /// There is one already, or it changed under the caller's hands.
    Conflict,
    /// A quota would be exceeded.
    Quota,
    /// The body is larger than allowed.
    TooLarge,
    /// The disk is full.
    Full,
    /// Try again.
    Unavailable,
    /// A fault of ours.
    Internal,
}

/// A refused or failed request.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct ServiceError {
    /// For decisions.
    pub kind: ErrorKind,
    /// For people; never repeats the source.
    pub message: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What the functions of this crate answer.
pub(crate) type Result<T> = std::result::Result<T, ServiceError>;

impl ServiceError {
    /// A refusal.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn missing(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Missing, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same as a problem of the public API.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let code = match self.kind {
            ErrorKind::Invalid => Code::BadRequest,
            ErrorKind::Unauthenticated => Code::Unauthorized,
            ErrorKind::Denied | ErrorKind::Quota => Code::Forbidden,
            ErrorKind::Missing => Code::NotFound,
            ErrorKind::Conflict => Code::Conflict,
            ErrorKind::TooLarge => Code::TooLarge,
            ErrorKind::Full => Code::DiskFull,
            ErrorKind::Unavailable => Code::Overloaded,
            ErrorKind::Internal => Code::Internal,
        };
        let detail = match (&self.source, code) {
            (Some(source), Code::Internal) => format!("{}: {source}", self.message),
            _ => self.message.clone(),
        };
        Problem::new(code, detail)
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        let (kind, message) = match error.kind {
            StoreErrorKind::DiskFull => (ErrorKind::Full, "the disk of the server is full"),
            StoreErrorKind::Overloaded | StoreErrorKind::Closed => {
                (ErrorKind::Unavailable, "the server has too much to do")
            }
            _ => (ErrorKind::Internal, "the store failed"),
        };
        Self::new(kind, message).caused_by(error)
    }
}

impl From<ObjectError> for ServiceError {
    fn from(error: ObjectError) -> Self {
        use fleetfoot_objects::ErrorKind as Objects;
        let (kind, message) = match error.kind() {
            Objects::NotFound => (ErrorKind::Missing, "the bytes are gone"),
            Objects::Full => (ErrorKind::Full, "the disk of the server is full"),
            Objects::Unavailable => (ErrorKind::Unavailable, "the object store does not answer"),
            Objects::Corrupt => (ErrorKind::Internal, "stored bytes are corrupt"),
            Objects::Invalid => (ErrorKind::Internal, "the object store refused"),
        };
        Self::new(kind, message).caused_by(error)
    }
}
