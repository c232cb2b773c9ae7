//! The only place of the control plane that asks the operating system for the
//! time. Scheduling uses [`Clock::steady`], which no change of the wall clock
//! can move: an hour's jump must not expire a lease.

use fleetfoot_model::Timestamp;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Wall clock and steady clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    wall_at_start: i64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { started: Instant::now(), wall_at_start: wall_micros() }
    }
}

#[expect(clippy::disallowed_methods, reason = "this module is the clock")]
fn wall_micros() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
}

impl Clock {
    /// What a calendar shows: for rows that people read.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        Timestamp(wall_micros())
    }

    /// The wall clock at start plus the time that really passed: for leases and delays.
    #[must_use]
    pub fn steady(&self) -> Timestamp {
        Timestamp(self.wall_at_start) + self.started.elapsed()
    }

    /// When `deadline` of the steady clock comes, as tokio's instant.
    #[must_use]
    pub fn instant_of(&self, deadline: Timestamp) -> tokio::time::Instant {
        tokio::time::Instant::now() + deadline.since(self.steady())
    }
}
