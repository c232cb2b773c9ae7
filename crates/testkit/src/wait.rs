//! Waiting for a condition with a deadline, never for a time to pass.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(5);

/// Asks until the condition gives a value.
///
/// # Panics
/// With `what`, when the deadline passes.
pub fn wait_until<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begin.elapsed() < deadline, "waited {deadline:?} for: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// The same for a condition that is asynchronous.
///
/// # Panics
/// With `what`, when the deadline passes.
pub async fn wait_until_async<T, F>(what: &str, deadline: Duration, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let begin = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(begin.elapsed() < deadline, "waited {deadline:?} for: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
