//! The core schema: what a plain scalar means. Only the spellings of the
//! schema are special; `yes`, `on` and `off` are text.

use super::Meaning;

/// Resolves the text of a plain scalar.
pub(super) fn resolve(text: &str) -> Meaning {
    match text {
        "" | "null" | "Null" | "NULL" | "~" => return Meaning::Null,
        "true" | "True" | "TRUE" => return Meaning::Bool(true),
        "false" | "False" | "FALSE" => return Meaning::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Meaning::Number(f64::NAN),
        _ => {}
    }
    number(text).map_or(Meaning::Text, Meaning::Number)
}

fn number(text: &str) -> Option<f64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    is_decimal(unsigned).then(|| text.parse().ok()).flatten()
}

/// Digits of a base; beyond what a double holds exactly they are rounded.
fn radix(digits: &str, base: u32) -> Option<f64> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for c in digits.chars() {
        value = value * f64::from(base) + f64::from(c.to_digit(base)?);
    }
    Some(value)
}

/// `12`, `1.5`, `1.`, `.5`, each with an exponent or without.
fn is_decimal(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    let mantissa = match mantissa.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction) && mantissa.len() > 1,
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let exponent = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    mantissa && exponent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_schema() {
        for (text, number) in [
            ("12", 12.0),
            ("-3.5", -3.5),
            (".5", 0.5),
            ("1.", 1.0),
            ("1e3", 1e3),
            ("0x1F", 31.0),
            ("0o17", 15.0),
        ] {
            assert_eq!(resolve(text), Meaning::Number(number), "{text}");
        }
        for text in
            ["yes", "on", "off", "1_000", "0b1", "1e", ".", "-", "0x", "1.2.3", "12:30", "infinity", "nan"]
        {
            assert_eq!(resolve(text), Meaning::Text, "{text}");
        }
        assert_eq!(resolve("True"), Meaning::Bool(true));
        assert_eq!(resolve("~"), Meaning::Null);
        assert_eq!(resolve("-.inf"), Meaning::Number(f64::NEG_INFINITY));
    }
}
