//! Sign-ins that were begun: what must match when the browser comes back. Each
//! is bound to the browser by a cookie, ends after ten minutes, and is used up
//! by the first answer, whatever that is. Bounded: the oldest makes room.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq as _;

/// How long somebody may take at the provider.
pub(crate) const LIFE: Duration = Duration::from_secs(600);
/// Sign-ins at the same time.
const MOST: usize = 10_000;

/// A sign-in that was begun.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) provider: String,
    pub(crate) nonce: String,
    pub(crate) verifier: String,
    /// Where the browser goes afterwards.
    pub(crate) back: String,
    /// The secret in the browser's cookie.
    pub(crate) cookie: String,
}

/// All of them, by state.
#[derive(Default)]
pub(crate) struct Pending(Mutex<HashMap<String, (Instant, Begun)>>);

impl Pending {
    pub(crate) fn begin(&self, state: String, begun: Begun, now: Instant) {
        let mut all = self.0.lock();
        if all.len() >= MOST {
            all.retain(|_, (at, _)| now.duration_since(*at) < LIFE);
        }
        if all.len() >= MOST
            && let Some(oldest) = all.iter().min_by_key(|(_, (at, _))| *at).map(|(state, _)| state.clone())
        {
            all.remove(&oldest);
        }
        all.insert(state, (now, begun));
    }

    /// Takes the sign-in of this state, if it was begun by this browser with this provider.
    pub(crate) fn take(
        &self,
        provider: &str,
        state: &str,
        cookie: Option<&str>,
        now: Instant,
    ) -> Option<Begun> {
        let (at, begun) = self.0.lock().remove(state)?;
        let ours = cookie.is_some_and(|c| c.as_bytes().ct_eq(begun.cookie.as_bytes()).into());
        (ours && begun.provider == provider && now.duration_since(at) < LIFE).then_some(begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(provider: &str) -> Begun {
        Begun {
            provider: provider.to_owned(),
            nonce: "n".to_owned(),
            verifier: "v".to_owned(),
            back: "/ui/".to_owned(),
            cookie: "c".to_owned(),
        }
    }

    #[test]
    fn only_the_browser_that_began_it_and_only_once() {
        let (pending, now) = (Pending::default(), Instant::now());
        let begin = |state: &str| pending.begin(state.to_owned(), begun("corp"), now);
        begin("s");
        assert!(pending.take("corp", "s", Some("c"), now).is_some());
        assert!(pending.take("corp", "s", Some("c"), now).is_none(), "used up");
        for (provider, cookie, later) in
            [("corp", None, 0), ("corp", Some("d"), 0), ("other", Some("c"), 0), ("corp", Some("c"), 600)]
        {
            begin("s");
            let then = now + Duration::from_secs(later);
            assert!(pending.take(provider, "s", cookie, then).is_none(), "{provider} {cookie:?} {later}");
            assert!(pending.take("corp", "s", Some("c"), now).is_none(), "a wrong answer uses it up");
        }
    }

    #[test]
    fn the_oldest_makes_room() {
        let (pending, now) = (Pending::default(), Instant::now());
        for n in 0..=MOST {
            let at = now + Duration::from_millis(n as u64 / 100);
            pending.begin(n.to_string(), begun("corp"), at);
        }
        assert_eq!(pending.0.lock().len(), MOST);
        assert!(pending.take("corp", &MOST.to_string(), Some("c"), now + Duration::from_secs(1)).is_some());
    }
}
