//! Ordinal, case-insensitive text comparison as .NET defines it: every
//! character is replaced by its simple upper case, culture plays no part, and
//! order is the order of UTF-16 units. Nothing here allocates for ASCII.

use std::cmp::Ordering;
use std::hash::Hasher;

/// The simple (one to one) upper case of a character.
///
/// A mapping from outside ASCII into ASCII is not applied: `ı` and `ſ` keep to
/// themselves, so that no foreign letter can pose as a keyword or a name.
pub(crate) fn upper(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_uppercase();
    }
    let mut mapped = c.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) if !one.is_ascii() => one,
        _ => simple_upper_of_expanding(c),
    }
}

/// Greek letters with iota subscript grow to two characters in the full
/// mapping but have a single title-case character in the simple one.
fn simple_upper_of_expanding(c: char) -> char {
    let shift = match c {
        '\u{1F80}'..='\u{1F87}' | '\u{1F90}'..='\u{1F97}' | '\u{1FA0}'..='\u{1FA7}' => 8,
        '\u{1FB3}' | '\u{1FC3}' | '\u{1FF3}' => 9,
        _ => 0,
    };
    char::from_u32(c as u32 + shift).unwrap_or(c)
}

pub(crate) fn eq_ignore_case(a: &str, b: &str) -> bool {
    if a.eq_ignore_ascii_case(b) {
        return true;
    }
    if a.is_ascii() && b.is_ascii() {
        return false;
    }
    a.chars().map(upper).eq(b.chars().map(upper))
}

pub(crate) fn cmp_ignore_case(a: &str, b: &str) -> Ordering {
    a.chars().map(|c| utf16_rank(upper(c))).cmp(b.chars().map(|c| utf16_rank(upper(c))))
}

/// Characters outside the basic plane are surrogate pairs in UTF-16 and sort
/// before U+E000.
fn utf16_rank(c: char) -> u32 {
    let code = c as u32;
    match code {
        0x0_E000..=0x0_FFFF => code + 0x10_0000,
        0x1_0000.. => code - 0x2000,
        _ => code,
    }
}

pub(crate) fn starts_with_ignore_case(text: &str, prefix: &str) -> bool {
    let mut rest = text.chars();
    prefix.chars().all(|p| rest.next().is_some_and(|c| upper(c) == upper(p)))
}

pub(crate) fn ends_with_ignore_case(text: &str, suffix: &str) -> bool {
    let mut rest = text.chars().rev();
    suffix.chars().rev().all(|s| rest.next().is_some_and(|c| upper(c) == upper(s)))
}

pub(crate) fn contains_ignore_case(text: &str, needle: &str) -> bool {
    // The quadratic search wins on short texts; long ones go to the linear
    // search of the standard library, so that hostile input stays cheap.
    const SMALL: usize = 1 << 14;
    if text.is_ascii() && needle.is_ascii() && text.len().saturating_mul(needle.len().max(1)) <= SMALL {
        return needle.is_empty()
            || text
                .as_bytes()
                .windows(needle.len())
                .any(|window| window.eq_ignore_ascii_case(needle.as_bytes()));
    }
    let fold = |s: &str| s.chars().map(upper).collect::<String>();
    fold(text).contains(&fold(needle))
}

/// Feeds the folded text to a hasher, in agreement with [`eq_ignore_case`].
pub(crate) fn hash_ignore_case(text: &str, state: &mut impl Hasher) {
    let mut buffer = [0_u8; 64];
    let mut filled = 0;
    for c in text.chars() {
        if filled + 4 > buffer.len() {
            state.write(&buffer[..filled]);
            filled = 0;
        }
        filled += upper(c).encode_utf8(&mut buffer[filled..]).len();
    }
    state.write(&buffer[..filled]);
    // Ends the text, so that ("ab", "c") and ("a", "bc") differ.
    state.write_u8(0xff);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_is_simple_and_never_reaches_into_ascii() {
        assert!(eq_ignore_case("straße", "STRAßE"));
        assert!(!eq_ignore_case("straße", "STRASSE"));
        assert!(!eq_ignore_case("ı", "I"));
        assert!(!eq_ignore_case("ſ", "s"));
        assert!(!eq_ignore_case("İ", "i"));
        assert!(eq_ignore_case("ςσ", "ΣΣ"));
        assert!(eq_ignore_case("ᾳ", "ᾼ"));
    }

    #[test]
    fn order_is_that_of_utf16_units() {
        assert_eq!(cmp_ignore_case("\u{1F600}", "\u{FF21}"), Ordering::Less);
        assert_eq!(cmp_ignore_case("\u{1F600}", "\u{D7A3}"), Ordering::Greater);
        assert_eq!(cmp_ignore_case("a", "_"), Ordering::Less);
        assert_eq!(cmp_ignore_case("ab", "ABC"), Ordering::Less);
    }

    #[test]
    fn both_searches_agree() {
        let long = format!("{}NeedlE{}", "x".repeat(20_000), "y".repeat(20_000));
        assert!(contains_ignore_case(&long, "nEEDLe"));
        assert!(!contains_ignore_case(&long, "noodle"));
        assert!(contains_ignore_case("abcÜdef", "cü"));
        assert!(contains_ignore_case("abc", ""));
        assert!(!contains_ignore_case("", "a"));
        assert!(contains_ignore_case("", ""));
    }
}
