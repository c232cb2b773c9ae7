//! The built-in functions: their names and arities, and the text and JSON
//! work behind those that need more than a line. Evaluation order and short
//! circuits are the evaluator's concern.

use crate::coerce;
use crate::value::Value;

/// A function's name and its least and greatest number of arguments.
pub type FunctionSignature<'a> = (&'a str, usize, usize);

/// The functions that every expression can call.
pub const BUILTIN_FUNCTIONS: &[FunctionSignature<'static>] = &[
    ("contains", 2, 2),
    ("startsWith", 2, 2),
    ("endsWith", 2, 2),
    ("format", 1, 255),
    ("join", 1, 2),
    ("toJSON", 1, 1),
    ("fromJSON", 1, 1),
    ("case", 3, 255),
];

/// The status functions, which the host may offer where GitHub does. One of
/// them in a condition replaces the implied `success()`.
pub const STATUS_FUNCTIONS: &[FunctionSignature<'static>] =
    &[("always", 0, 0), ("cancelled", 0, 0), ("success", 0, 255), ("failure", 0, 255)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builtin {
    Contains,
    StartsWith,
    EndsWith,
    Format,
    Join,
    ToJson,
    FromJson,
    Case,
}

impl Builtin {
    /// Takes the name in lower case.
    pub(crate) fn from_name(lower: &str) -> Option<Self> {
        Some(match lower {
            "contains" => Self::Contains,
            "startswith" => Self::StartsWith,
            "endswith" => Self::EndsWith,
            "format" => Self::Format,
            "join" => Self::Join,
            "tojson" => Self::ToJson,
            "fromjson" => Self::FromJson,
            "case" => Self::Case,
            _ => return None,
        })
    }

    pub(crate) fn arity(self) -> (usize, usize) {
        let (_, min, max) = BUILTIN_FUNCTIONS[self as usize];
        (min, max)
    }
}

/// What is wrong with the number of arguments, in GitHub's words.
pub(crate) fn arity_problem(
    builtin: Option<Builtin>,
    count: usize,
    (min, max): (usize, usize),
) -> Option<&'static str> {
    if count < min {
        Some("Too few parameters supplied")
    } else if count > max {
        Some("Too many parameters supplied")
    } else if builtin == Some(Builtin::Case) && count.is_multiple_of(2) {
        Some("Even number of parameters supplied, requires an odd number of parameters")
    } else {
        None
    }
}

/// Applies a text test to two primitives; anything else does not match.
pub(crate) fn text_test(left: &Value, right: &Value, test: fn(&str, &str) -> bool) -> bool {
    left.is_primitive() && right.is_primitive() && test(&coerce::to_text(left), &coerce::to_text(right))
}

/// One step of a format string.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    Argument {
        index: usize,
        /// What stands behind a colon. Nothing accepts any, but the complaint
        /// comes only when the argument is printed.
        specifiers: String,
    },
}

/// Splits a format string; `None` marks a malformed rest and ends it.
pub(crate) struct Pieces<'a> {
    rest: &'a str,
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(format: &'a str) -> Self {
        Self { rest: format }
    }

    fn malformed<T>(&mut self) -> Option<Option<T>> {
        self.rest = "";
        Some(None)
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Option<Piece<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(brace) = self.rest.find(['{', '}']) else {
            return Some(Some(Piece::Text(std::mem::take(&mut self.rest))));
        };
        let (before, from_brace) = self.rest.split_at(brace);
        let (symbol, after) = from_brace.split_at(1);
        if let Some(after_both) = after.strip_prefix(symbol) {
            // A doubled brace is a brace: keep the first, skip the second.
            let piece = &self.rest[..=brace];
            self.rest = after_both;
            return Some(Some(Piece::Text(piece)));
        }
        if symbol == "}" {
            return self.malformed();
        }
        if !before.is_empty() {
            self.rest = from_brace;
            return Some(Some(Piece::Text(before)));
        }
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        // GitHub reads the index into one byte.
        let Ok(index) = after[..digits].parse::<u8>() else {
            return self.malformed();
        };
        let Some((specifiers, rest)) = read_specifiers(&after[digits..]) else {
            return self.malformed();
        };
        self.rest = rest;
        Some(Some(Piece::Argument { index: index.into(), specifiers }))
    }
}

/// `}` or `:specifiers}`, where `}}` is a brace within the specifiers.
fn read_specifiers(text: &str) -> Option<(String, &str)> {
    if let Some(rest) = text.strip_prefix('}') {
        return Some((String::new(), rest));
    }
    let mut rest = text.strip_prefix(':')?;
    let mut specifiers = String::new();
    loop {
        let (before, after) = rest.split_once('}')?;
        specifiers.push_str(before);
        let Some(after_both) = after.strip_prefix('}') else {
            return Some((specifiers, after));
        };
        specifiers.push('}');
        rest = after_both;
    }
}

/// Judges a format string that is known at parse time.
pub(crate) fn check_format(format: &str, arguments: usize) -> Result<(), String> {
    let mut highest = None;
    for piece in Pieces::new(format) {
        match piece {
            Some(Piece::Argument { index, specifiers }) if specifiers.is_empty() => {
                highest = highest.max(Some(index));
            }
            Some(Piece::Text(_)) => {}
            _ => return Err("Invalid format string".to_owned()),
        }
    }
    match highest {
        Some(index) if index >= arguments => {
            Err(format!("Format string references {{{index}}} but only {arguments} argument(s) provided"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_and_enum_agree() {
        for (name, min, max) in BUILTIN_FUNCTIONS {
            let builtin = Builtin::from_name(&name.to_ascii_lowercase());
            assert_eq!(builtin.map(Builtin::arity), Some((*min, *max)), "{name}");
        }
    }

    #[test]
    fn format_strings_split() {
        let pieces: Vec<_> = Pieces::new("a{{b{0}}}{12:x}}y}").collect();
        assert_eq!(
            pieces,
            [
                Some(Piece::Text("a{")),
                Some(Piece::Text("b")),
                Some(Piece::Argument { index: 0, specifiers: String::new() }),
                Some(Piece::Text("}")),
                Some(Piece::Argument { index: 12, specifiers: "x}y".to_owned() }),
            ]
        );
        for bad in ["{", "}", "{}", "{a}", "{0", "{0:", "{256}", "{ 0}", "{-1}"] {
            assert!(Pieces::new(bad).any(|piece| piece.is_none()), "{bad}");
        }
    }
}
