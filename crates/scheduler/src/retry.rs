//! Whether an attempt that ended badly is repeated, and when. By default never.
//! Decides from the policy alone; it must never repeat what the policy does not
//! name.

use fleetfoot_model::spec::RetryPolicy;
use fleetfoot_model::{AttemptNumber, Timestamp};
use std::time::Duration;

/// How an attempt ended, as far as retries care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The runner vanished.
    LostRunner,
    /// A step ended with this code (other than 0).
    ExitCode(i32),
    /// Anything else: success, cancellation, timeout, a bad specification.
    Other,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The job ends with what the attempt ended with.
    End,
    /// One more try, not before this time.
    RetryAt(Timestamp),
}

/// Decides after attempt number `attempt` (from 1) ended at `now`. The delay is
/// `backoff_seconds` after the first attempt and doubles with each further one,
/// up to `backoff_cap_seconds`.
#[must_use]
pub fn decide(policy: &RetryPolicy, attempt: AttemptNumber, cause: &Cause, now: Timestamp) -> Decision {
    let named = match cause {
        Cause::LostRunner => policy.on_lost_runner,
        Cause::ExitCode(code) => policy.on_exit_codes.contains(code),
        Cause::Other => false,
    };
    if !named || attempt >= policy.max_attempts {
        return Decision::End;
    }
    let doublings = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    let seconds = policy.backoff_seconds.max(0.0) * 2f64.powi(doublings);
    let seconds = seconds.min(policy.backoff_cap_seconds.max(0.0));
    // Not a number, or beyond any calendar: the cap was nonsense, so no delay at all is not right either.
    let delay = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(300));
    Decision::RetryAt(now + delay)
}
