//! POSIX cron expressions as GitHub takes them: five fields, names of months
//! and days, no `@daily`. Only the syntax; when it fires is not decided here.

/// What is wrong with a cron expression.
pub(super) fn problem(text: &str) -> Option<String> {
    const FIELDS: [(&str, u32, u32, &[&str]); 5] = [
        ("minute", 0, 59, &[]),
        ("hour", 0, 23, &[]),
        ("day of month", 1, 31, &[]),
        (
            "month",
            1,
            12,
            &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
        ),
        ("day of week", 0, 7, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
    ];
    let parts: Vec<&str> = text.split_whitespace().collect();
    if parts.len() != FIELDS.len() {
        return Some(format!("it has {} fields instead of 5", parts.len()));
    }
    parts.iter().zip(FIELDS).find_map(|(part, (name, least, most, names))| {
        let good = part.split(',').all(|item| is_item(item, least, most, names));
        (!good).then(|| {
            format!("'{}' is not valid as {name} ({least} to {most})", crate::source::clip(part, 50))
        })
    })
}

/// `*`, `5`, `1-5`, each with `/step` or without.
fn is_item(item: &str, least: u32, most: u32, names: &[&str]) -> bool {
    let value = |text: &str| -> Option<u32> {
        let number = match names.iter().position(|n| n.eq_ignore_ascii_case(text)) {
            Some(i) => u32::try_from(i).ok()? + least,
            None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok()?,
            None => return None,
        };
        (least..=most).contains(&number).then_some(number)
    };
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (item, None),
    };
    let step_is_good = step.is_none_or(|s| {
        s.bytes().all(|b| b.is_ascii_digit()) && s.parse::<u32>().is_ok_and(|n| (1..=most).contains(&n))
    });
    let range_is_good = range == "*"
        || match range.split_once('-') {
            Some((from, to)) => value(from).zip(value(to)).is_some_and(|(from, to)| from <= to),
            None => value(range).is_some(),
        };
    step_is_good && range_is_good
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn fields_are_checked() {
        for good in [
            "0 0 * * *",
            "*/15 1-5 1,15 JAN-mar mon",
            "5 4 * * sun",
            "0 22 * * 1-5",
            "30 5,17 * * *",
            "0 0 * * 7",
        ] {
            assert_eq!(problem(good), None, "{good}");
        }
        for bad in [
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * foo *",
            "*/0 * * * *",
            "5-1 * * * *",
            "@daily",
            "* * * * * *",
            "+1 * * * *",
        ] {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }
}
