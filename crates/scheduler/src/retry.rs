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
    // Few enough doublings to stay finite; the cap is reached long before.
    let seconds = policy.backoff_seconds.max(0.0) * 2f64.powi(doublings.min(64));
    let seconds = seconds.min(policy.backoff_cap_seconds.max(0.0));
    // Beyond any calendar: the policy is nonsense, but no delay at all would be worse.
    let delay = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(300));
    Decision::RetryAt(now + delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn after(policy: &RetryPolicy, attempt: AttemptNumber, cause: Cause) -> Option<f64> {
        match decide(policy, attempt, &cause, NOW) {
            Decision::End => None,
            Decision::RetryAt(at) => Some(at.since(NOW).as_secs_f64()),
        }
    }

    #[test]
    fn nothing_is_repeated_by_default() {
        for cause in [Cause::LostRunner, Cause::ExitCode(1), Cause::Other] {
            assert_eq!(after(&RetryPolicy::default(), 1, cause), None);
        }
        let many = RetryPolicy { max_attempts: 9, ..RetryPolicy::default() };
        assert_eq!(after(&many, 1, Cause::LostRunner), None, "the cause must be named as well");
    }

    #[test]
    fn only_the_named_causes_are_repeated() {
        let lost = RetryPolicy { max_attempts: 2, on_lost_runner: true, ..RetryPolicy::default() };
        assert_eq!(after(&lost, 1, Cause::LostRunner), Some(1.0));
        assert_eq!(after(&lost, 1, Cause::ExitCode(1)), None);
        let codes = RetryPolicy { max_attempts: 2, on_exit_codes: vec![75, 9], ..RetryPolicy::default() };
        assert_eq!(after(&codes, 1, Cause::ExitCode(9)), Some(1.0));
        assert_eq!(after(&codes, 1, Cause::ExitCode(1)), None);
        assert_eq!(after(&codes, 1, Cause::LostRunner), None);
        assert_eq!(after(&codes, 1, Cause::Other), None);
    }

    #[test]
    fn the_delay_doubles_up_to_the_cap_and_tries_end() {
        let policy = RetryPolicy {
            max_attempts: 6,
            on_lost_runner: true,
            backoff_seconds: 2.0,
            backoff_cap_seconds: 10.0,
            ..RetryPolicy::default()
        };
        let delays: Vec<_> = (1..=6).map(|n| after(&policy, n, Cause::LostRunner)).collect();
        assert_eq!(delays, [Some(2.0), Some(4.0), Some(8.0), Some(10.0), Some(10.0), None]);
    }

    #[test]
    fn nonsense_is_bounded() {
        let policy = |backoff_seconds, backoff_cap_seconds| RetryPolicy {
            max_attempts: u32::MAX,
            on_lost_runner: true,
            backoff_seconds,
            backoff_cap_seconds,
            ..RetryPolicy::default()
        };
        assert_eq!(after(&policy(-5.0, 10.0), 1, Cause::LostRunner), Some(0.0));
        assert_eq!(after(&policy(1.0, 60.0), u32::MAX - 1, Cause::LostRunner), Some(60.0));
        assert_eq!(after(&policy(0.0, 60.0), u32::MAX - 1, Cause::LostRunner), Some(0.0));
        assert_eq!(after(&policy(f64::INFINITY, f64::INFINITY), 1, Cause::LostRunner), Some(300.0));
        assert_eq!(after(&policy(f64::NAN, f64::NAN), 1, Cause::LostRunner), Some(0.0));
    }
}
