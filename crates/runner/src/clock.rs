//! The wall clock, in one place. Everything else gets time as an argument or
//! measures durations with `Instant`.

use fleetfoot_model::time::Timestamp;
use std::time::UNIX_EPOCH;

/// Now, UTC.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the rim of the runner: the one place that reads the wall clock"
)]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
