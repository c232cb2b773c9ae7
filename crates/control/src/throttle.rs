//! How often signing in may fail: by name, by address, and by both together.
//! Every try is charged before it is made and given back if it succeeds, so
//! that tries at the same time count too. Memory is bounded: what has recovered
//! makes room first. It knows names and addresses by their hashes only.

use fleetfoot_model::Timestamp;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Entries at most.
const ENTRIES: usize = 20_000;

/// So many failures at once, and one more after each period.
#[derive(Clone, Copy, Debug)]
struct Limit {
    burst: u32,
    period: Duration,
}

/// One name from one address.
const PAIR: Limit = Limit { burst: 5, period: Duration::from_secs(30) };
/// One address, whatever the name: people behind one address share it.
const ADDRESS: Limit = Limit { burst: 30, period: Duration::from_secs(5) };
/// One name, from wherever: high, because whoever knows a name can use it up.
const NAME: Limit = Limit { burst: 50, period: Duration::from_secs(10) };
/// Rows about failures in the audit log, of everybody together.
const NOTES: Limit = Limit { burst: 200, period: Duration::from_secs(2) };

type Key = [u8; 16];

/// When each key will have recovered completely.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    recovered_at: Mutex<HashMap<Key, Timestamp>>,
}

/// What a try was charged to.
#[derive(Debug)]
pub(crate) struct Charge(Vec<(Key, Limit)>);

fn key(kind: &str, name: &str, address: Option<IpAddr>) -> Key {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind.as_bytes()).update(&[0]).update(name.to_ascii_lowercase().as_bytes()).update(&[0]);
    match address {
        // A household or a machine has a /64: its addresses are as good as one.
        Some(IpAddr::V6(v6)) => match v6.to_ipv4_mapped() {
            Some(v4) => hasher.update(&v4.octets()),
            None => hasher.update(&v6.octets()[..8]),
        },
        Some(IpAddr::V4(v4)) => hasher.update(&v4.octets()),
        None => &mut hasher,
    };
    let mut key = Key::default();
    key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    key
}

impl Throttle {
    /// Charges a try.
    ///
    /// # Errors
    /// How long to wait, if there were too many failures; then nothing is charged.
    pub(crate) fn charge(
        &self,
        name: &str,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Charge, Duration> {
        let mut keys = vec![(key("name", name, None), NAME)];
        if address.is_some() {
            keys.push((key("pair", name, address), PAIR));
            keys.push((key("address", "", address), ADDRESS));
        }
        self.take(keys, now)
    }

    /// Whether one more failure is worth a row in the audit log.
    pub(crate) fn may_note(&self, now: Timestamp) -> bool {
        self.take(vec![(key("notes", "", None), NOTES)], now).is_ok()
    }

    /// Gives back what a try that succeeded was charged.
    pub(crate) fn give_back(&self, charge: Charge) {
        let mut all = self.recovered_at.lock();
        for (key, limit) in charge.0 {
            if let Some(at) = all.get_mut(&key) {
                *at = *at - limit.period;
            }
        }
    }

    fn take(&self, keys: Vec<(Key, Limit)>, now: Timestamp) -> Result<Charge, Duration> {
        let mut all = self.recovered_at.lock();
        let mut wait = Duration::ZERO;
        for (key, limit) in &keys {
            let after = all.get(key).copied().unwrap_or(now).max(now) + limit.period;
            wait = wait.max(after.since(now + limit.period * limit.burst));
        }
        if wait > Duration::ZERO {
            return Err(wait);
        }
        if all.len() + keys.len() > ENTRIES {
            all.retain(|_, at| *at > now);
        }
        if all.len() + keys.len() > ENTRIES {
            // Under attack from everywhere: what is nearest to recovery is the least loss. Many at
            // once, so that making room costs nothing on average.
            let mut times: Vec<Timestamp> = all.values().copied().collect();
            let (_, limit, _) = times.select_nth_unstable(ENTRIES / 4);
            let (limit, mut left) = (*limit, ENTRIES / 4);
            all.retain(|_, at| {
                let goes = *at <= limit && left > 0;
                left -= usize::from(goes);
                !goes
            });
        }
        for (key, limit) in &keys {
            let at = all.entry(*key).or_insert(now);
            *at = (*at).max(now) + limit.period;
        }
        Ok(Charge(keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp(1_760_000_000_000_000);

    fn later(seconds: u64) -> Timestamp {
        START + Duration::from_secs(seconds)
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn failures_of_one_name_from_one_address_run_out_and_recover() {
        let throttle = Throttle::default();
        for _ in 0..PAIR.burst {
            throttle.charge("ada", ip("10.0.0.1"), START).unwrap();
        }
        let wait = throttle.charge("ADA", ip("10.0.0.1"), START).unwrap_err();
        assert_eq!(wait, PAIR.period);
        throttle.charge("ada", ip("10.0.0.2"), START).unwrap();
        throttle.charge("grace", ip("10.0.0.1"), START).unwrap();
        assert!(throttle.charge("ada", ip("10.0.0.1"), later(29)).is_err());
        throttle.charge("ada", ip("10.0.0.1"), later(30)).unwrap();
        assert!(throttle.charge("ada", ip("10.0.0.1"), later(30)).is_err());
    }

    #[test]
    fn an_address_and_a_name_run_out_too() {
        let throttle = Throttle::default();
        for n in 0..ADDRESS.burst {
            throttle.charge(&format!("user{n}"), ip("2001:db8::1"), START).unwrap();
        }
        assert!(throttle.charge("other", ip("2001:db8::2"), START).is_err(), "the same /64");
        throttle.charge("other", ip("2001:db8:0:1::2"), START).unwrap();
        for n in 0..NAME.burst {
            throttle.charge("ada", ip(&format!("10.1.{n}.1")), START).unwrap();
        }
        assert!(throttle.charge("ada", ip("10.2.0.1"), START).is_err());
    }

    #[test]
    fn success_costs_nothing() {
        let throttle = Throttle::default();
        for _ in 0..1000 {
            let charge = throttle.charge("ada", ip("10.0.0.1"), START).unwrap();
            throttle.give_back(charge);
        }
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::default();
        for n in 0..ENTRIES as u32 {
            let _ = throttle.charge(&format!("u{n}"), Some(IpAddr::from(n.to_be_bytes())), START);
        }
        assert!(throttle.recovered_at.lock().len() <= ENTRIES);
        // The next one after everything recovered clears up.
        throttle.charge("ada", ip("10.0.0.1"), later(100_000)).unwrap();
        assert!(throttle.recovered_at.lock().len() <= 3);
    }

    proptest! {
        /// However tries are spread, failures in any span stay within the burst and what recovered.
        #[test]
        fn failures_are_bounded(steps in proptest::collection::vec(0_u64..40, 1..200)) {
            let throttle = Throttle::default();
            let (mut now, mut let_through) = (0, 0_u64);
            for step in steps {
                now += step;
                if throttle.charge("ada", ip("10.0.0.1"), later(now)).is_ok() {
                    let_through += 1;
                }
            }
            prop_assert!(let_through <= u64::from(PAIR.burst) + now / PAIR.period.as_secs());
        }
    }
}
