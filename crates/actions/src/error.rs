//! Why an action cannot be had: one kind for each thing that a caller or a
//! person can do something about. Messages never contain credentials.

use std::fmt;

/// What went wrong, for callers that decide on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActionErrorKind {
    /// The text after `uses:` is no reference, or the server says that its ref is none.
    BadReference,
    /// The owner is not on the allow-list.
    NotAllowed,
    /// The policy asks for full commit ids, and this is a branch or a tag.
    NotPinned,
    /// The mirror has no such repository.
    MissingInMirror,
    /// The repository, the ref, the commit or the path does not exist.
    NotFound,
    /// The remote does not answer, or refuses.
    Unreachable,
    /// `action.yml` is there, but it is broken.
    BadManifest,
    /// The directory has no `action.yml`, no `action.yaml` and no `Dockerfile`.
    NoManifest,
    /// The disk, or the git command itself.
    Io,
    /// Git took longer than the time limit.
    Timeout,
}

impl ActionErrorKind {
    /// A stable word for machines, `missing-in-mirror`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadReference => "bad-reference",
            Self::NotAllowed => "not-allowed",
            Self::NotPinned => "not-pinned",
            Self::MissingInMirror => "missing-in-mirror",
            Self::NotFound => "not-found",
            Self::Unreachable => "unreachable",
            Self::BadManifest => "bad-manifest",
            Self::NoManifest => "no-manifest",
            Self::Io => "io",
            Self::Timeout => "timeout",
        }
    }
}

/// An action cannot be had: what happened, where, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionError {
    kind: ActionErrorKind,
    message: String,
}

impl ActionError {
    /// An error of this kind.
    pub fn new(kind: ActionErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What went wrong, for callers that decide on it.
    #[must_use]
    pub const fn kind(&self) -> ActionErrorKind {
        self.kind
    }

    /// The message for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ActionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ActionError {}

impl From<crate::ReferenceError> for ActionError {
    fn from(error: crate::ReferenceError) -> Self {
        Self::new(ActionErrorKind::BadReference, error.to_string())
    }
}
