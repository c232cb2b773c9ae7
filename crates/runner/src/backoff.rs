//! Delays between tries: exponential, capped, with full jitter, so that a fleet
//! does not come back in step after a restart of its server.

use std::time::Duration;

/// Delays of one series of failures.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, failures: 0 }
    }

    /// It worked: the next failure begins a new series.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    /// The delay before the next try: between half and all of the exponential step.
    pub(crate) fn next(&mut self) -> Duration {
        let step = self.first.saturating_mul(1 << self.failures.min(16)).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        step / 2 + (step / 2).mul_f64(chance())
    }
}

/// A number from 0 to 1; 0.5 if the system has no randomness to give.
pub(crate) fn chance() -> f64 {
    let bits = getrandom::u32().unwrap_or(u32::MAX / 2);
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_cap_and_starts_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        for failure in 0..40u32 {
            let step = Duration::from_millis(100 << failure.min(6)).min(Duration::from_secs(5));
            let delay = backoff.next();
            assert!(delay >= step / 2 && delay <= step, "{failure}: {delay:?} of {step:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}
