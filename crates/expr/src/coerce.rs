//! Coercion between kinds and the comparisons built on it: text to number,
//! number to text (as .NET prints with the format `G15`), loose equality and
//! order.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use crate::text;
use crate::value::Value;

/// Digits kept when a number becomes text.
const PRECISION: usize = 15;

pub(crate) fn to_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => "".into(),
        Value::Bool(true) => "true".into(),
        Value::Bool(false) => "false".into(),
        Value::Number(number) => number_to_text(*number).into(),
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(_) => "Array".into(),
        Value::Object(_) => "Object".into(),
    }
}

pub(crate) fn to_number(value: &Value) -> f64 {
    match value {
        Value::Null => 0.0,
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Number(number) => *number,
        Value::String(text) => text_to_number(text),
        Value::Array(_) | Value::Object(_) => f64::NAN,
    }
}

/// Formats a number with at most 15 significant digits, switching to an
/// exponent below 1E-04 and from 1E+15 on.
pub(crate) fn number_to_text(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    // Negative zero prints without its sign.
    if number == 0.0 {
        return "0".to_owned();
    }
    // Whole numbers of up to 15 digits are most of what is ever printed.
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return format!("{number:.0}");
    }
    let scientific = format!("{:.*e}", PRECISION - 1, number.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_end_matches('0');
    let sign = if number < 0.0 { "-" } else { "" };
    let whole = usize::try_from(exponent + 1).unwrap_or(0);
    if (-4..0).contains(&exponent) {
        let zeros = "0".repeat(usize::try_from(-exponent - 1).unwrap_or(0));
        format!("{sign}0.{zeros}{digits}")
    } else if (0..15).contains(&exponent) {
        if digits.len() <= whole {
            format!("{sign}{digits:0<whole$}")
        } else {
            format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
        }
    } else {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        format!("{sign}{first}{point}{rest}E{exponent_sign}{:02}", exponent.abs())
    }
}

/// Reads text as a number; NaN if it is none. Surrounding white space does not
/// count and nothing at all is zero.
pub(crate) fn text_to_number(text: &str) -> f64 {
    let text = text.trim();
    if text.is_empty() {
        return 0.0;
    }
    if is_decimal(text) {
        return text.parse().unwrap_or(f64::NAN);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return radix_to_number(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix_to_number(digits, 8);
    }
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if unsigned.eq_ignore_ascii_case("infinity") {
        f64::INFINITY
    } else if text.eq_ignore_ascii_case("-infinity") {
        f64::NEG_INFINITY
    } else {
        f64::NAN
    }
}

/// `[+-] digits [. digits] [e [+-] digits]` with at least one digit before the
/// exponent. Rust's own parser also takes `inf` and `nan`, hence this guard.
fn is_decimal(text: &str) -> bool {
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let whole = digits(rest);
    let mut rest = &rest[whole..];
    let mut fraction = 0;
    if let Some(after) = rest.strip_prefix('.') {
        fraction = digits(after);
        rest = &after[fraction..];
    }
    if whole + fraction == 0 {
        return false;
    }
    if let Some(after) = rest.strip_prefix(['e', 'E']) {
        let after = after.strip_prefix(['+', '-']).unwrap_or(after);
        let exponent = digits(after);
        return exponent > 0 && exponent == after.len();
    }
    rest.is_empty()
}

/// GitHub reads hexadecimal and octal into 32 bits, two's complement
/// included: `0xffffffff` is -1, and more bits are no number.
fn radix_to_number(digits: &str, radix: u32) -> f64 {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return f64::NAN;
    }
    u32::from_str_radix(digits, radix).map_or(f64::NAN, |bits| f64::from(bits.cast_signed()))
}

/// A pair of values after coercion to a common kind.
enum Pair<'a> {
    Nulls,
    Bools(bool, bool),
    Numbers(f64, f64),
    Strings(&'a str, &'a str),
    Same(bool),
    Different,
}

fn coerce<'a>(left: &'a Value, right: &'a Value) -> Pair<'a> {
    match (left, right) {
        (Value::Null, Value::Null) => Pair::Nulls,
        (Value::Bool(l), Value::Bool(r)) => Pair::Bools(*l, *r),
        (Value::String(l), Value::String(r)) => Pair::Strings(l, r),
        (Value::Array(l), Value::Array(r)) => Pair::Same(Arc::ptr_eq(l, r)),
        (Value::Object(l), Value::Object(r)) => Pair::Same(Arc::ptr_eq(l, r)),
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => Pair::Different,
        _ => Pair::Numbers(to_number(left), to_number(right)),
    }
}

pub(crate) fn equals(left: &Value, right: &Value) -> bool {
    match coerce(left, right) {
        Pair::Nulls => true,
        Pair::Bools(l, r) => l == r,
        // Two NaNs differ, as the hardware has it.
        #[expect(clippy::float_cmp, reason = "the language compares doubles exactly")]
        Pair::Numbers(l, r) => l == r,
        Pair::Strings(l, r) => text::eq_ignore_case(l, r),
        Pair::Same(same) => same,
        Pair::Different => false,
    }
}

/// The order of two values; none for NaN, nulls, arrays and objects.
pub(crate) fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match coerce(left, right) {
        Pair::Bools(l, r) => Some(l.cmp(&r)),
        Pair::Numbers(l, r) => l.partial_cmp(&r),
        Pair::Strings(l, r) => Some(text::cmp_ignore_case(l, r)),
        Pair::Nulls | Pair::Same(_) | Pair::Different => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_dotnet_g15() {
        for (number, expected) in [
            (1e21, "1E+21"),
            (1e15, "1E+15"),
            (999_999_999_999_999.0, "999999999999999"),
            (123_456_789_012_345_680.0, "1.23456789012346E+17"),
            (1e-5, "1E-05"),
            (1.5e-7, "1.5E-07"),
            (1e-4, "0.0001"),
            (0.000_123_456_789_012_345_6, "0.000123456789012346"),
            (1e100, "1E+100"),
            (5e-324, "4.94065645841247E-324"),
            (1.234_567_890_123_456_7, "1.23456789012346"),
            (100_000_000_000_000.5, "100000000000000"),
            (999_999_999_999_999.9, "1E+15"),
            (0.1, "0.1"),
            (1.0 / 3.0, "0.333333333333333"),
            (-2.5, "-2.5"),
            (-0.0, "0"),
            (-1e-9, "-1E-09"),
            (120.0, "120"),
            (99.999_999_999_999_99, "100"),
            (f64::MAX, "1.79769313486232E+308"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(number_to_text(number), expected, "{number:?}");
        }
    }

    #[test]
    fn text_reads_as_number() {
        for (text, expected) in [
            ("", 0.0),
            (" \t\n ", 0.0),
            (" 12 ", 12.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("+.5e1", 5.0),
            ("-1.5E+2", -150.0),
            ("1e400", f64::INFINITY),
            ("0xfF", 255.0),
            ("0xffffffff", -1.0),
            ("0o17", 15.0),
            ("Infinity", f64::INFINITY),
            ("+Infinity", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            assert_eq!(text_to_number(text), expected, "{text:?}");
        }
        for text in [
            ".",
            "+",
            "-",
            "e5",
            "1e",
            "1e+",
            "1,000",
            "1_000",
            "0x",
            "0xg",
            "0X1F",
            "-0x1",
            "0x100000000",
            "0o8",
            "0b1",
            "inf",
            "nan",
            "NaN",
            "1 2",
            "--1",
            "abc",
            "٣",
            "+-Infinity",
        ] {
            assert!(text_to_number(text).is_nan(), "{text:?}");
        }
    }
}
