//! When a cron expression fires: POSIX fields in a time zone. Pure: the time
//! comes in. A fixed hour that a change to summer time leaves out fires when
//! that hour would have been over; one that comes twice fires the first time.
//! An expression whose hours are `*` follows the time that really passes.

use fleetfoot_model::Timestamp;
use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone};

/// Days that are searched: the longest gap between two 29ths of February is eight years.
const DAYS: usize = 366 * 9;

/// A parsed expression.
#[derive(Clone, Debug)]
pub(super) struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    any_hour: bool,
    any_day: bool,
    any_weekday: bool,
    zone: TimeZone,
}

impl Cron {
    /// Parses five fields and a zone (empty means UTC).
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn parse(text: &str, zone: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!("'{text}' does not have five fields"));
        };
        let months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
        let weekdays = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
        let mut weekday_set = set(weekday, 0, 7, &weekdays)?;
        // Sunday is 0 and 7.
        if weekday_set & (1 << 7) != 0 {
            weekday_set |= 1;
        }
        let zone = if zone.is_empty() {
            TimeZone::UTC
        } else {
            TimeZone::get(zone).map_err(|_| format!("there is no time zone '{zone}'"))?
        };
        Ok(Self {
            minutes: set(minute, 0, 59, &[])?,
            hours: set(hour, 0, 23, &[])?,
            days: set(day, 1, 31, &[])?,
            months: set(month, 1, 12, &months)?,
            weekdays: weekday_set,
            any_hour: hour.starts_with('*'),
            any_day: day.starts_with('*'),
            any_weekday: weekday.starts_with('*'),
            zone,
        })
    }

    /// The first time after `after`; `None` if there is none in nine years.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let begin = jiff::Timestamp::from_microsecond(after.0).ok()?;
        // From the day before: a time that a change of the clock moved may fall on the day after its own.
        let mut date = begin.to_zoned(self.zone.clone()).date().yesterday().ok()?;
        let mut found: Option<jiff::Timestamp> = None;
        let mut beyond = 0;
        for _ in 0..DAYS {
            if self.has_day(date) {
                let best = self.times_of(date).filter(|t| *t > begin).min();
                found = match (found, best) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
            // One day more, for the same reason.
            if found.is_some() {
                beyond += 1;
                if beyond > 1 {
                    break;
                }
            }
            date = date.tomorrow().ok()?;
        }
        found.map(|t| Timestamp(t.as_microsecond()))
    }

    fn has_day(&self, date: Date) -> bool {
        let has = |set: u64, n: i8| u32::try_from(n).is_ok_and(|n| set & (1 << n) != 0);
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        has(self.months, date.month())
            && match (self.any_day, self.any_weekday) {
                // Either is enough if both are given: so it has been since the first cron.
                (false, false) => day || weekday,
                _ => day && weekday,
            }
    }

    fn times_of(&self, date: Date) -> impl Iterator<Item = jiff::Timestamp> + '_ {
        let members = |set: u64, most: i8| (0..=most).filter(move |n| set & (1 << n) != 0);
        members(self.hours, 23).flat_map(move |hour| {
            members(self.minutes, 59).flat_map(move |minute| {
                let ambiguous = self.zone.to_ambiguous_timestamp(date.at(hour, minute, 0, 0));
                let (first, second) = match (ambiguous.offset(), self.any_hour) {
                    (AmbiguousOffset::Gap { .. }, true) => (None, None),
                    (AmbiguousOffset::Fold { .. }, true) => {
                        (ambiguous.earlier().ok(), ambiguous.later().ok())
                    }
                    _ => (ambiguous.compatible().ok(), None),
                };
                [first, second].into_iter().flatten()
            })
        })
    }
}

/// The members of a field as bits.
fn set(field: &str, least: u32, most: u32, names: &[&str]) -> Result<u64, String> {
    let bad = || format!("'{field}' is not a field of cron ({least} to {most})");
    let value = |text: &str| -> Option<u32> {
        match names.iter().position(|n| n.eq_ignore_ascii_case(text)) {
            Some(i) => u32::try_from(i).ok().map(|i| i + least),
            None => text.parse().ok(),
        }
        .filter(|n| (least..=most).contains(n))
    };
    let mut bits = 0;
    for item in field.split(',') {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => {
                (range, Some(step.parse::<u32>().ok().filter(|s| *s > 0).ok_or_else(bad)?))
            }
            None => (item, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, if most == 7 { 6 } else { most }),
            Some((from, to)) => (value(from).ok_or_else(bad)?, value(to).ok_or_else(bad)?),
            // `5/15`: from there on.
            None => {
                let one = value(range).ok_or_else(bad)?;
                (one, if step.is_some() { most } else { one })
            }
        };
        let mut n = from;
        while n <= to {
            bits |= 1 << n;
            n = n.saturating_add(step.unwrap_or(1));
        }
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn next(cron: &str, zone: &str, after: &str) -> String {
        let next = Cron::parse(cron, zone).unwrap().next(after.parse().unwrap());
        next.map_or_else(|| "never".to_owned(), |t| t.to_string().replace(".000000", ""))
    }

    #[test]
    fn fields() {
        for (cron, after, expected) in [
            ("*/15 * * * *", "2026-11-20T21:52:16Z", "2026-11-20T22:00:00Z"),
            ("30 5,17 * * *", "2026-11-20T05:30:00Z", "2026-11-20T17:30:00Z"),
            ("0 0 1 jan *", "2026-11-20T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("0 22 * * 1-5", "2026-11-20T22:00:00Z", "2026-11-23T22:00:00Z"),
            ("0 0 * * 7", "2026-11-20T00:00:00Z", "2026-11-22T00:00:00Z"),
            ("0 0 13 * fri", "2026-11-20T00:00:00Z", "2026-11-27T00:00:00Z"),
            ("0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"),
            ("0 0 31 2 *", "2026-11-20T00:00:00Z", "never"),
            ("5/20 3 * * *", "2026-11-20T03:05:00Z", "2026-11-20T03:25:00Z"),
        ] {
            assert_eq!(next(cron, "", after), expected, "{cron}");
        }
        for bad in ["* * * *", "60 * * * *", "a * * * *", "*/0 * * * *", "* 24 * * *"] {
            assert!(Cron::parse(bad, "").is_err(), "{bad}");
        }
        assert!(Cron::parse("* * * * *", "Mars/Olympus").unwrap_err().contains("Mars/Olympus"));
    }

    /// Berlin: on 2027-03-28 02:00 becomes 03:00; on 2026-10-25 03:00 becomes 02:00.
    #[test]
    fn changes_to_and_from_summer_time() {
        let zone = "Europe/Berlin";
        assert_eq!(next("30 2 * * *", zone, "2027-03-27T12:00:00Z"), "2027-03-28T01:30:00Z");
        assert_eq!(next("30 2 * * *", zone, "2027-03-28T01:30:00Z"), "2027-03-29T00:30:00Z");
        assert_eq!(next("30 2 * * *", zone, "2026-10-24T12:00:00Z"), "2026-10-25T00:30:00Z");
        assert_eq!(next("30 2 * * *", zone, "2026-10-25T00:30:00Z"), "2026-10-26T01:30:00Z");
        assert_eq!(next("*/30 * * * *", zone, "2026-10-25T00:30:00Z"), "2026-10-25T01:00:00Z");
        assert_eq!(next("*/30 * * * *", zone, "2027-03-28T00:30:00Z"), "2027-03-28T01:00:00Z");
        assert_eq!(next("0 9 * * *", zone, "2027-03-27T09:00:00Z"), "2027-03-28T07:00:00Z");
    }

    proptest! {
        /// Later than asked, on a whole minute, and the next after a moment before it is itself.
        #[test]
        fn the_next_time_is_the_first(after in 1_700_000_000_i64..2_000_000_000, which in 0..5_usize, zone in 0..4_usize) {
            let cron = ["*/7 * * * *", "30 2 * * *", "0 0,12 1-15 * *", "15 * * * mon", "0 2-4 * * *"][which];
            let zone = ["", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"][zone];
            let cron = Cron::parse(cron, zone).unwrap();
            let after = Timestamp(after * 1_000_000);
            let next = cron.next(after).unwrap();
            prop_assert!(next > after);
            prop_assert_eq!(next.0 % 60_000_000, 0);
            prop_assert_eq!(cron.next(Timestamp(next.0 - 1)), Some(next));
        }
    }
}
