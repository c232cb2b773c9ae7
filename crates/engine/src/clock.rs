//! The wall clock at the rim of the engine: the times of steps and log frames.
//! Nothing is decided by it; deadlines use the monotonic clock of tokio.

use fleetfoot_model::Timestamp;

/// The time now.
#[expect(clippy::disallowed_methods, reason = "the one place where the engine reads the wall clock")]
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
