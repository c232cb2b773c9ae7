//! Errors of the API: RFC 9457 problem details with a stable `code`.

use crate::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// Media type of a problem.
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

/// Stable error codes. The status belongs to the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request cannot be understood (400).
    BadRequest,
    /// The document has errors; `errors` lists them (422).
    BadDocument,
    /// No token, or an unknown, expired or revoked one (401).
    Unauthorized,
    /// The signature of a webhook is missing or wrong (401).
    BadSignature,
    /// A signed webhook is older than the window in which it counts (401).
    ExpiredDelivery,
    /// A signed webhook came again under another name (409).
    ReplayedDelivery,
    /// A forge cannot be reached or does not answer as one (502).
    ForgeUnreachable,
    /// The token does not allow this (403).
    Forbidden,
    /// No such thing, or not yours to know (404).
    NotFound,
    /// The method does not exist here (405).
    MethodNotAllowed,
    /// The state does not allow this now (409).
    Conflict,
    /// A write with an old lease: the attempt belongs to somebody else or is over (409).
    StaleAttempt,
    /// A log append beyond the end; `expected_offset` says where to go on (409).
    OffsetGap,
    /// The same idempotency key came with another body (409).
    IdempotencyMismatch,
    /// The body is larger than allowed (413).
    TooLarge,
    /// The body has a media type that this endpoint does not read (415).
    UnsupportedMediaType,
    /// Server and runner versions are too far apart (426).
    VersionSkew,
    /// Too many requests (429).
    TooManyRequests,
    /// A fault of ours (500).
    Internal,
    /// Too much to do, or shutting down; try again after `Retry-After` (503).
    Overloaded,
    /// The disk of the server is full (507).
    DiskFull,
}

impl Code {
    /// HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized | Self::BadSignature | Self::ExpiredDelivery => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict
            | Self::StaleAttempt
            | Self::OffsetGap
            | Self::IdempotencyMismatch
            | Self::ReplayedDelivery => 409,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::BadDocument => 422,
            Self::VersionSkew => 426,
            Self::TooManyRequests => 429,
            Self::Internal => 500,
            Self::ForgeUnreachable => 502,
            Self::Overloaded => 503,
            Self::DiskFull => 507,
        }
    }

    /// Short title, the same for every occurrence.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "Bad request",
            Self::BadDocument => "The document has errors",
            Self::Unauthorized => "Not authenticated",
            Self::BadSignature => "The signature does not hold",
            Self::ExpiredDelivery => "The delivery is too old",
            Self::ReplayedDelivery => "The delivery came before",
            Self::ForgeUnreachable => "The forge is out of reach",
            Self::Forbidden => "Not allowed",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::Conflict => "Conflict",
            Self::StaleAttempt => "Stale attempt",
            Self::OffsetGap => "Offset beyond the end of the log",
            Self::IdempotencyMismatch => "Idempotency key reused",
            Self::TooLarge => "Too large",
            Self::UnsupportedMediaType => "Unsupported media type",
            Self::VersionSkew => "Versions too far apart",
            Self::TooManyRequests => "Too many requests",
            Self::Internal => "Internal error",
            Self::Overloaded => "Overloaded",
            Self::DiskFull => "Disk full",
        }
    }
}

/// An RFC 9457 problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `about:blank`: the code says it all.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Short title.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened, in one or two sentences.
    pub detail: String,
    /// Stable word for machines.
    pub code: Code,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// Findings in the document.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub errors: Vec<Diagnostic>,
    /// With `offset_gap`: where the log ends.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expected_offset: Option<u64>,
    /// With `too_many_requests`: seconds until the next try makes sense, as in `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem with this code and detail.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code,
            hint: None,
            errors: Vec::new(),
            expected_offset: None,
            retry_after: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}
