//! JSON as `toJSON` prints it and as `fromJSON` reads it. Both work straight
//! on the language's values and stop at a size limit, so that a short
//! expression cannot fill the memory.

use std::fmt::Write;

use crate::coerce::number_to_text;
use crate::object::Object;
use crate::value::Value;

/// The deepest document that is read; GitHub's own limit.
const MAX_READ_DEPTH: usize = 100;

/// The deepest value that is printed. Only a host could build a deeper one.
const MAX_WRITE_DEPTH: usize = 500;

/// The estimated cost of any value, as GitHub counts it.
pub(crate) const VALUE_BYTES: usize = 24;

/// The estimated cost of a text: a base and two bytes a character.
pub(crate) fn text_bytes(len: usize) -> usize {
    len.saturating_mul(2).saturating_add(26)
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum JsonError {
    TooLarge,
    Malformed(String),
}

/// Prints a value with an indent of two spaces, in at most `limit` bytes.
pub(crate) fn write(value: &Value, limit: usize) -> Result<String, JsonError> {
    let mut out = String::new();
    write_value(value, 0, limit, &mut out)?;
    Ok(out)
}

fn write_value(value: &Value, depth: usize, limit: usize, out: &mut String) -> Result<(), JsonError> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number_to_text(*number)),
        Value::String(text) => write_text(text, out),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Object(object) if object.is_empty() => out.push_str("{}"),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                begin_entry(i, depth + 1, out);
                write_value(item, depth + 1, limit, out)?;
            }
            end(depth, ']', out);
        }
        Value::Object(object) => {
            out.push('{');
            for (i, (key, item)) in object.iter().enumerate() {
                begin_entry(i, depth + 1, out);
                write_text(key, out);
                out.push_str(": ");
                write_value(item, depth + 1, limit, out)?;
            }
            end(depth, '}', out);
        }
    }
    if out.len() > limit || depth > MAX_WRITE_DEPTH {
        return Err(JsonError::TooLarge);
    }
    Ok(())
}

fn begin_entry(i: usize, depth: usize, out: &mut String) {
    out.push_str(if i == 0 { "\n" } else { ",\n" });
    indent(depth, out);
}

fn end(depth: usize, bracket: char, out: &mut String) {
    out.push('\n');
    indent(depth, out);
    out.push(bracket);
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            // GitHub's serializer also escapes the line ends that are none in
            // JSON but are in JavaScript.
            '\0'..='\u{1f}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// Reads a document; also tells its estimated size, at most `limit`.
pub(crate) fn read(text: &str, limit: usize) -> Result<(Value, usize), JsonError> {
    let mut reader = Reader { text, position: 0, bytes: 0, limit };
    reader.skip_space();
    if reader.position == text.len() {
        return Err(JsonError::Malformed("the input is empty".to_owned()));
    }
    let value = reader.value(1)?;
    reader.skip_space();
    if reader.position < text.len() {
        return Err(reader.unexpected("the end"));
    }
    Ok((value, reader.bytes))
}

struct Reader<'a> {
    text: &'a str,
    position: usize,
    bytes: usize,
    limit: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.position..]
    }

    fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.position += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.position += 1;
        }
    }

    fn unexpected(&self, wanted: &str) -> JsonError {
        let found = self.text.get(self.position..).and_then(|rest| rest.chars().next());
        let found = found.map_or_else(|| "the end".to_owned(), |c| format!("{c:?}"));
        JsonError::Malformed(format!("expected {wanted} at offset {}, found {found}", self.position))
    }

    fn charge(&mut self, bytes: usize) -> Result<(), JsonError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limit { Err(JsonError::TooLarge) } else { Ok(()) }
    }

    fn value(&mut self, depth: usize) -> Result<Value, JsonError> {
        if depth > MAX_READ_DEPTH {
            return Err(JsonError::Malformed(format!("nested deeper than {MAX_READ_DEPTH}")));
        }
        self.charge(VALUE_BYTES)?;
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(self.string()?.into()),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                for (word, value) in [("null", Value::Null), ("true", true.into()), ("false", false.into())] {
                    if self.rest().starts_with(word.as_bytes()) {
                        self.position += word.len();
                        return Ok(value);
                    }
                }
                Err(self.unexpected("a value"))
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.position += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(items.into());
        }
        loop {
            self.skip_space();
            items.push(self.value(depth + 1)?);
            self.skip_space();
            if self.take(b']') {
                return Ok(items.into());
            }
            if !self.take(b',') {
                return Err(self.unexpected("',' or ']'"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.position += 1;
        let mut object = Object::new();
        self.skip_space();
        if self.take(b'}') {
            return Ok(object.into());
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a property name"));
            }
            let key = self.string()?;
            self.skip_space();
            if !self.take(b':') {
                return Err(self.unexpected("':'"));
            }
            self.skip_space();
            // The last of several equal keys counts, at the place of the first.
            let value = self.value(depth + 1)?;
            object.insert(key, value);
            self.skip_space();
            if self.take(b'}') {
                return Ok(object.into());
            }
            if !self.take(b',') {
                return Err(self.unexpected("',' or '}'"));
            }
        }
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let count = self.rest().iter().take_while(|b| b.is_ascii_digit()).count();
        self.position += count;
        if count == 0 { Err(self.unexpected("a digit")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.position;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        // What is out of range becomes infinite, as it does in .NET.
        Ok(Value::Number(self.text[start..self.position].parse().unwrap_or(f64::NAN)))
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.position += 1;
        let mut out = String::new();
        loop {
            let rest = self.rest();
            let plain = rest.iter().take_while(|b| !matches!(b, b'"' | b'\\' | 0..=0x1f)).count();
            out.push_str(&self.text[self.position..self.position + plain]);
            self.position += plain;
            if self.take(b'"') {
                self.charge(text_bytes(out.len()))?;
                return Ok(out);
            }
            if !self.take(b'\\') {
                return Err(self.unexpected("'\"'"));
            }
            out.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let Some(letter) = self.peek() else {
            return Err(self.unexpected("an escape"));
        };
        let c = match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.position += 1;
                return self.unicode();
            }
            _ => return Err(self.unexpected("an escape")),
        };
        self.position += 1;
        Ok(c)
    }

    fn unicode(&mut self) -> Result<char, JsonError> {
        let high = self.hex()?;
        if (0xd800..0xdc00).contains(&high) && self.rest().starts_with(b"\\u") {
            let back = self.position;
            self.position += 2;
            let low = self.hex()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.position = back;
        }
        // Half a surrogate pair has no place in our text.
        Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Result<u32, JsonError> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|b| char::from(b).to_digit(16)) else {
                return Err(self.unexpected("a hexadecimal digit"));
            };
            code = code * 16 + digit;
            self.position += 1;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(text: &str) -> Value {
        read(text, usize::MAX).expect(text).0
    }

    #[test]
    fn reads_what_json_allows_and_nothing_else() {
        assert_eq!(ok(" -1.5e2 "), Value::from(-150.0));
        assert_eq!(ok("1e999"), Value::from(f64::INFINITY));
        assert_eq!(ok(r#""\u00e4\ud83d\ude00\ud800x\/""#), Value::from("ä😀\u{fffd}x/"));
        assert_eq!(ok(r#"{"a":1,"B":2,"A":3}"#).to_json().to_string(), r#"{"a":3,"B":2}"#);
        for bad in [
            "",
            " ",
            "nul",
            "[1,]",
            "[,1]",
            "{\"a\":1,}",
            "{a:1}",
            "'a'",
            "01",
            "1.",
            ".5",
            "+1",
            "-",
            "1e",
            "\"a",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12\"",
            "1 2",
            "[1",
            "{\"a\"",
            "{\"a\":",
            "// c\n1",
            "NaN",
            "\"ä",
            "\"\\",
        ] {
            assert!(matches!(read(bad, usize::MAX), Err(JsonError::Malformed(_))), "{bad}");
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(read(&nested(100), usize::MAX).is_ok());
        assert!(read(&nested(101), usize::MAX).is_err());
        assert!(read(&nested(1_000_000), usize::MAX).is_err());
        assert_eq!(read("[1,2,3]", 90).map(|_| ()), Err(JsonError::TooLarge));
        let wide: Value = (0..1000).map(Value::from).collect();
        assert_eq!(write(&wide, 100), Err(JsonError::TooLarge));
    }

    #[test]
    fn text_is_escaped() {
        let text = Value::from("\u{1}\u{1f}\u{7f}\u{85}\u{2028}é/<\"\\\n");
        assert_eq!(
            write(&text, usize::MAX).expect("small"),
            "\"\\u0001\\u001f\u{7f}\\u0085\\u2028é/<\\\"\\\\\\n\""
        );
    }
}
