//! Why somebody could not sign in through a provider.

use thiserror::Error;

/// What a caller decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such provider in the settings.
    Unknown,
    /// The sign-in was not begun in this browser, took too long, or was finished before.
    Stale,
    /// The provider, or the person there, said no.
    Denied,
    /// What the provider sent does not prove anything.
    Unproven,
    /// The account is proven, and the settings do not let it in.
    NotAllowed,
    /// The provider is out of reach or does not answer as one.
    Unavailable,
}

impl ErrorKind {
    /// A word for addresses of pages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown_provider",
            Self::Stale => "stale",
            Self::Denied => "denied",
            Self::Unproven => "unproven",
            Self::NotAllowed => "not_allowed",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Why somebody could not sign in through a provider. For the log: it may hold what others sent.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct OidcError {
    /// For decisions.
    pub kind: ErrorKind,
    message: String,
}

impl OidcError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}
