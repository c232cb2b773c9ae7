//! One pattern: an expression in the dialect of .NET (with its ECMAScript
//! option, as GitHub uses it), translated into the dialect of an engine that
//! takes linear time. What cannot be translated is refused.

use super::config::PatternConfig;
use super::{Found, MatcherError};
use regex::{Captures, Regex, RegexBuilder};
use std::iter::Peekable;
use std::str::Chars;

/// The longest expression, in bytes, and the largest program made of it.
const MAX_EXPRESSION: usize = 8 * 1024;
const MAX_PROGRAM: usize = 2 * 1024 * 1024;

/// A pattern that is ready to look at lines.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    regex: Regex,
    config: PatternConfig,
    pub(super) is_loop: bool,
    /// Groups as .NET counts them (named ones after all others), as the engine does.
    order: Vec<usize>,
}

impl Pattern {
    pub(super) fn new(config: &PatternConfig) -> Result<Self, MatcherError> {
        let owner = &config.owner;
        let fail = |what: String| {
            let shown: String = config.regexp.chars().take(200).collect();
            MatcherError(format!("Matcher '{owner}': the expression '{shown}' {what}"))
        };
        if config.regexp.len() > MAX_EXPRESSION {
            return Err(fail("is too long".to_owned()));
        }
        let translated = translate(&config.regexp).map_err(|what| fail(what.to_owned()))?;
        let built = RegexBuilder::new(&translated).size_limit(MAX_PROGRAM).nest_limit(100).build();
        let regex = built.map_err(|error| {
            let text = error.to_string();
            let last = text.lines().rev().map(str::trim).find(|l| !l.is_empty()).unwrap_or_default();
            fail(format!("cannot be used: {}", last.trim_start_matches("error: ")))
        })?;
        let names: Vec<bool> = regex.capture_names().map(|name| name.is_some()).collect();
        let plain = (0..names.len()).filter(|i| !names[*i]);
        let order: Vec<usize> = plain.chain((0..names.len()).filter(|i| names[*i])).collect();
        for (name, group) in config.groups() {
            if group.is_some_and(|group| group >= order.len()) {
                let message = format!(
                    "Matcher '{owner}': The property '{name}' is set to {} which is out of range",
                    group.unwrap_or_default()
                );
                return Err(MatcherError(message));
            }
        }
        Ok(Self { regex, config: config.clone(), is_loop: config.is_loop, order })
    }

    /// What the line says, on top of what the lines before said.
    pub(super) fn find(&self, line: &str, before: Option<&Found>) -> Option<Found> {
        let captures = self.regex.captures(line)?;
        let config = &self.config;
        let mut found = before.cloned().unwrap_or_default();
        let fields = [
            (&mut found.file, config.file),
            (&mut found.from_path, config.from_path),
            (&mut found.line, config.line),
            (&mut found.column, config.column),
            (&mut found.end_line, config.end_line),
            (&mut found.end_column, config.end_column),
            (&mut found.severity, config.severity),
            (&mut found.code, config.code),
            (&mut found.message, config.message),
        ];
        for (field, group) in fields {
            if field.is_none() {
                *field = group.and_then(|group| self.group(&captures, group));
            }
        }
        Some(found)
    }

    fn group(&self, captures: &Captures<'_>, group: usize) -> Option<String> {
        let index = *self.order.get(group)?;
        Some(captures.get(index).map_or_else(String::new, |m| m.as_str().to_owned()))
    }
}

/// From .NET's dialect with the ECMAScript option.
fn translate(expression: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(expression.len() + 16);
    let mut chars = expression.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => escape(&mut chars, &mut out, false)?,
            '[' => class(&mut chars, &mut out)?,
            '(' if chars.peek() == Some(&'?') => {
                chars.next();
                group(&mut chars, &mut out)?;
            }
            '{' if !is_repetition(&chars) => out.push_str("\\{"),
            _ => out.push(c),
        }
    }
    Ok(out)
}

/// After `(?`.
fn group(chars: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), &'static str> {
    const LOOK: &str = "looks ahead or behind ((?=, (?!, (?<=, (?<!), which is not possible here, because matching has to end in time. Write it without";
    match chars.next() {
        Some('=' | '!') => Err(LOOK),
        Some('>') => Err("has an atomic group ((?>), which is not possible here. Write (?: instead"),
        Some('(') => Err("has a conditional group ((?(), which is not possible here"),
        Some('#') => {
            // A comment.
            for c in chars.by_ref() {
                if c == ')' {
                    return Ok(());
                }
            }
            Err("has a comment that does not end")
        }
        Some(open @ ('<' | '\'')) => {
            if open == '<' && matches!(chars.peek(), Some('=' | '!')) {
                return Err(LOOK);
            }
            let close = if open == '<' { '>' } else { '\'' };
            out.push_str("(?<");
            for c in chars.by_ref() {
                if c == close {
                    out.push('>');
                    return Ok(());
                }
                out.push(c);
            }
            Err("has a group whose name does not end")
        }
        Some(c @ (':' | 'i' | 'm' | 's' | 'n' | '-')) => {
            out.push_str("(?");
            out.push(c);
            Ok(())
        }
        _ => Err("has a kind of group that is not known here"),
    }
}

/// After a backslash. Classes mean ASCII, as the ECMAScript option says.
fn escape(chars: &mut Peekable<Chars<'_>>, out: &mut String, in_class: bool) -> Result<(), &'static str> {
    let Some(c) = chars.next() else { return Err("ends with a backslash") };
    match c {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        'w' => out.push_str("[a-zA-Z0-9_]"),
        'W' => out.push_str("[^a-zA-Z0-9_]"),
        's' => out.push_str("[ \\f\\n\\r\\t\\v]"),
        'S' => out.push_str("[^ \\f\\n\\r\\t\\v]"),
        'b' if in_class => out.push_str("\\x08"),
        'b' => out.push_str("(?-u:\\b)"),
        'B' if !in_class => out.push_str("\\B"),
        'A' if !in_class => out.push_str("\\A"),
        'z' | 'Z' if !in_class => out.push_str("\\z"),
        'f' | 'n' | 'r' | 't' | 'v' | 'a' => {
            out.push('\\');
            out.push(c);
        }
        'e' => out.push_str("\\x1B"),
        'c' => match chars.next().filter(char::is_ascii_alphabetic) {
            Some(letter) => code(u32::from(letter.to_ascii_uppercase()) - 64, out)?,
            None => return Err("has \\c without a letter"),
        },
        'x' => code(hexadecimal(chars, 2)?, out)?,
        'u' => code(hexadecimal(chars, 4)?, out)?,
        '0' => code(0, out)?,
        '1'..='9' => {
            return Err(
                "refers back to a group (\\1), which is not possible here, because matching has to end in time",
            );
        }
        'k' if chars.peek() == Some(&'<') => {
            return Err("refers back to a group (\\k), which is not possible here");
        }
        'p' | 'P' => return Err("has a Unicode category (\\p), which GitHub does not accept either"),
        // Anything else stands for itself, letters too.
        _ => literal(c, out),
    }
    Ok(())
}

fn hexadecimal(chars: &mut Peekable<Chars<'_>>, digits: usize) -> Result<u32, &'static str> {
    let mut value = 0;
    for _ in 0..digits {
        let digit = chars.next().and_then(|c| c.to_digit(16)).ok_or("has \\x or \\u with too few digits")?;
        value = value * 16 + digit;
    }
    Ok(value)
}

fn code(value: u32, out: &mut String) -> Result<(), &'static str> {
    if char::from_u32(value).is_none() {
        return Err("has half of a character (a surrogate)");
    }
    out.push_str(&format!("\\x{{{value:X}}}"));
    Ok(())
}

fn literal(c: char, out: &mut String) {
    let mut buffer = [0; 4];
    out.push_str(&regex::escape(c.encode_utf8(&mut buffer)));
}

/// After `[`.
fn class(chars: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), &'static str> {
    const OPEN: &str = "has a [ without its ]";
    out.push('[');
    if chars.peek() == Some(&'^') {
        chars.next();
        out.push('^');
    }
    let mut first = true;
    loop {
        let c = chars.next().ok_or(OPEN)?;
        if c == ']' && !first {
            out.push(']');
            return Ok(());
        }
        first = false;
        let is_set = member(c, chars, out)?;
        if chars.peek() != Some(&'-') {
            continue;
        }
        chars.next();
        // At the end, or beside a set like \w, a hyphen is only itself.
        match chars.peek().copied() {
            None => return Err(OPEN),
            Some(']') => out.push_str("\\-"),
            Some(_) if is_set || next_is_set(chars) => out.push_str("\\-"),
            Some(_) => {
                out.push('-');
                let last = chars.next().ok_or(OPEN)?;
                member(last, chars, out)?;
            }
        }
    }
}

/// One member of a class; answers whether it is a set.
fn member(c: char, chars: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<bool, &'static str> {
    if c == '\\' {
        let is_set = chars.peek().is_some_and(|c| "dDwWsS".contains(*c));
        escape(chars, out, true)?;
        return Ok(is_set);
    }
    // Within brackets these mean something to the engine only.
    if matches!(c, '[' | ']' | '&' | '~' | '^' | '-') {
        out.push('\\');
    }
    out.push(c);
    Ok(false)
}

/// Whether a set like `\w` follows, which cannot end a range.
fn next_is_set(chars: &Peekable<Chars<'_>>) -> bool {
    let mut ahead = chars.clone();
    ahead.next() == Some('\\') && ahead.next().is_some_and(|c| "dDwWsS".contains(c))
}

/// Whether what follows `{` makes it a repetition.
fn is_repetition(chars: &Peekable<Chars<'_>>) -> bool {
    let inside: String = chars.clone().take_while(|c| *c != '}').take(32).collect();
    let (least, most) = inside.split_once(',').unwrap_or((&inside, "0"));
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let closed = chars.clone().nth(inside.chars().count()) == Some('}');
    closed && !least.is_empty() && number(least) && number(most)
}
