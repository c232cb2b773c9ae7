//! What can go wrong with bytes outside the database, sorted by what a caller
//! does about it. Messages name keys and attempts, never contents or
//! credentials.

use fleetfoot_model::logs::FrameError;
use std::io;
use thiserror::Error;

/// What a caller decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// There is no such object or log.
    NotFound,
    /// The request itself is wrong (a bad key, a bad range, a bad configuration).
    Invalid,
    /// What is stored fails its checksum; repeating does not help.
    Corrupt,
    /// No space is left; repeating helps once there is.
    Full,
    /// The store could not be reached or answered with an error; repeating may help.
    Unavailable,
}

/// A failed operation on stored bytes.
#[derive(Debug, Error)]
pub enum ObjectError {
    /// There is no such object or log.
    #[error("{what} does not exist")]
    NotFound {
        /// Key or attempt.
        what: String,
    },
    /// A key that no object may have.
    #[error("bad object key {key:?}: {reason}")]
    BadKey {
        /// The key as it was given.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A range that does not lie inside the object.
    #[error("range {start}..{end} lies outside {what} of {length} bytes")]
    BadRange {
        /// Key or attempt.
        what: String,
        /// First byte asked for.
        start: u64,
        /// Byte after the last one asked for.
        end: u64,
        /// Length in bytes.
        length: u64,
    },
    /// The log has to be closed first.
    #[error("{what} is not closed")]
    NotClosed {
        /// Key or attempt.
        what: String,
    },
    /// The configuration of the store cannot be used.
    #[error("object store configuration: {0}")]
    BadConfig(String),
    /// What is stored fails its checksum or has lost its shape.
    #[error("{what} is corrupt: {detail}")]
    Corrupt {
        /// Key or attempt.
        what: String,
        /// Where and how.
        detail: String,
    },
    /// No space is left on the disk (or the quota is used up).
    #[error("no space left to store {what}")]
    Full {
        /// Key or attempt.
        what: String,
    },
    /// Reading or writing failed.
    #[error("{what}: input/output failed")]
    Io {
        /// What was being done to what.
        what: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The remote store answered with an error.
    #[error("object store: {what} failed")]
    Remote {
        /// What was being done to what.
        what: String,
        /// The cause.
        #[source]
        source: Box<object_store::Error>,
    },
}

impl ObjectError {
    /// The kind a caller decides on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::BadKey { .. } | Self::BadRange { .. } | Self::NotClosed { .. } | Self::BadConfig(_) => {
                ErrorKind::Invalid
            }
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Full { .. } => ErrorKind::Full,
            Self::Io { .. } | Self::Remote { .. } => ErrorKind::Unavailable,
        }
    }

    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        if is_full(&source) { Self::Full { what } } else { Self::Io { what, source } }
    }

    pub(crate) fn corrupt(what: impl ToString, detail: impl Into<String>) -> Self {
        Self::Corrupt { what: what.to_string(), detail: detail.into() }
    }

    pub(crate) fn remote(what: impl Into<String>, key: &str, source: object_store::Error) -> Self {
        let what = what.into();
        if let object_store::Error::NotFound { .. } = source {
            return Self::NotFound { what: format!("object {key:?}") };
        }
        if full_in_chain(&source) {
            return Self::Full { what: format!("object {key:?}") };
        }
        Self::Remote { what: format!("{what} {key:?}"), source: Box::new(source) }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The local directory reports a full disk as the cause of a generic error.
fn full_in_chain(error: &object_store::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = next {
        if current.downcast_ref::<io::Error>().is_some_and(is_full) {
            return true;
        }
        next = current.source();
    }
    false
}

/// A refused append; nothing of it is stored, unless a retry says otherwise.
#[derive(Debug, Error)]
pub enum AppendError {
    /// The bytes begin behind the end of what is stored.
    #[error("the log ends at byte {expected}: send from there")]
    Gap {
        /// End of the log: the offset to send from.
        expected: u64,
    },
    /// The body is not a sequence of frames.
    #[error(transparent)]
    BadFrame(#[from] FrameError),
    /// No space is left on the disk; repeat later.
    #[error("no space left for the log")]
    Full,
    /// The log would outgrow the limit of an attempt.
    #[error("the log of an attempt is limited to {limit} bytes")]
    TooLong {
        /// Largest length of a log, in bytes.
        limit: u64,
    },
    /// The body of one append is larger than is accepted at once.
    #[error("one append is limited to {limit} bytes")]
    TooLarge {
        /// Largest body, in bytes.
        limit: usize,
    },
    /// The log is closed and does not contain these bytes.
    #[error("the log is closed")]
    Closed,
    /// The disk failed, or what is stored is corrupt.
    #[error(transparent)]
    Store(ObjectError),
}

impl From<ObjectError> for AppendError {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::Full { .. } => Self::Full,
            other => Self::Store(other),
        }
    }
}
