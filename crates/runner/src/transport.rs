//! How a runner reaches its control plane: over HTTP, or in the same process
//! (which the command line provides for local runs). Maps every failure to
//! what the daemon can do about it.

use async_trait::async_trait;
use bytes::Bytes;
use fleetfoot_client::{Client, ClientError, ErrorKind, Unreachable};
use fleetfoot_model::ids::{AttemptRef, RunnerId};
use fleetfoot_model::problem::Code;
use fleetfoot_model::sync::{SyncRequest, SyncResponse};
use std::time::Duration;
use thiserror::Error;

/// The control plane as a runner sees it.
#[async_trait]
pub trait ControlPlane: Send + Sync + 'static {
    /// The one exchange (promise 3); waits up to `request.wait_ms` while there is nothing to say.
    async fn sync(&self, request: SyncRequest) -> Result<SyncResponse, TransportError>;

    /// Appends frames at `offset` of the attempt's log; answers the offset before which everything is durable.
    async fn append_log(
        &self,
        attempt: AttemptRef,
        offset: u64,
        frames: Bytes,
    ) -> Result<u64, TransportError>;
}

/// Why an exchange did not work.
#[derive(Clone, Debug, Error)]
pub enum TransportError {
    /// The attempt is not this runner's any more.
    #[error("the attempt belongs to somebody else or is over")]
    Stale,
    /// The log ends earlier than the offset of the append.
    #[error("the log ends at {expected}")]
    Gap {
        /// Where it ends.
        expected: u64,
    },
    /// Versions too far apart; the message says which side to upgrade.
    #[error("{0}")]
    VersionSkew(String),
    /// The runner token is not (or no longer) accepted.
    #[error("{0}")]
    Unauthorized(String),
    /// The body is too large for the server.
    #[error("{0}")]
    TooLarge(String),
    /// No answer, or none that helps now: try again later.
    #[error("{message}")]
    Unavailable {
        /// For people, with the cause.
        message: String,
        /// What the server asked for.
        retry_after: Option<Duration>,
        /// Whether the request may have been too slow rather than lost.
        timed_out: bool,
    },
    /// The server understood and refused, for good.
    #[error("{0}")]
    Rejected(String),
    /// The control plane ended (in-process).
    #[error("the control plane has shut down")]
    ShutDown,
}

impl TransportError {
    /// A passing failure without more to say than this.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable { message: message.into(), retry_after: None, timed_out: false }
    }
}

impl From<ClientError> for TransportError {
    fn from(error: ClientError) -> Self {
        let message = match std::error::Error::source(&error) {
            Some(source) => format!("{error} ({source})"),
            None => error.to_string(),
        };
        let retry_after = error.retry_after;
        let timed_out = error.kind == ErrorKind::Unreachable(Unreachable::TimedOut);
        let Some(problem) = error.problem() else {
            return Self::Unavailable { message, retry_after, timed_out };
        };
        match problem.code {
            Code::StaleAttempt => Self::Stale,
            Code::OffsetGap => match problem.expected_offset {
                Some(expected) => Self::Gap { expected },
                None => Self::Rejected(message),
            },
            Code::VersionSkew => Self::VersionSkew(message),
            Code::Unauthorized | Code::Forbidden | Code::NotFound => Self::Unauthorized(message),
            Code::TooLarge => Self::TooLarge(message),
            Code::Overloaded | Code::TooManyRequests | Code::Internal | Code::DiskFull => {
                Self::Unavailable { message, retry_after, timed_out }
            }
            _ => Self::Rejected(message),
        }
    }
}

/// Over HTTP.
#[derive(Clone, Debug)]
pub struct HttpTransport {
    client: Client,
    runner: RunnerId,
}

impl HttpTransport {
    /// With a client that carries the runner token.
    #[must_use]
    pub const fn new(client: Client, runner: RunnerId) -> Self {
        Self { client, runner }
    }
}

#[async_trait]
impl ControlPlane for HttpTransport {
    async fn sync(&self, request: SyncRequest) -> Result<SyncResponse, TransportError> {
        Ok(self.client.sync(self.runner, &request).await?)
    }

    async fn append_log(
        &self,
        attempt: AttemptRef,
        offset: u64,
        frames: Bytes,
    ) -> Result<u64, TransportError> {
        Ok(self.client.append_log(self.runner, attempt, offset, frames).await?.offset)
    }
}
