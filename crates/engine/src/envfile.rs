//! The grammar of the files through which steps speak to the runner:
//! `NAME=VALUE` lines and heredocs (`GITHUB_ENV`, `GITHUB_OUTPUT`,
//! `GITHUB_STATE`), and lists of paths (`GITHUB_PATH`). It never decides what
//! a name may be used for; that is the caller's business.

use thiserror::Error;

/// Largest file that is read, in bytes.
pub const MAX_FILE: u64 = 16 << 20;

/// A file that does not follow the grammar.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EnvFileError {
    /// A line is neither `NAME=VALUE` nor `NAME<<DELIMITER`.
    #[error("line {line}: '{text}' is neither NAME=VALUE nor NAME<<DELIMITER")]
    Format {
        /// From 1.
        line: usize,
        /// The line, shortened.
        text: String,
    },
    /// Nothing before the `=`, or nothing around the `<<`.
    #[error("line {line}: the name or the delimiter is empty in '{text}'")]
    EmptyName {
        /// From 1.
        line: usize,
        /// The line, shortened.
        text: String,
    },
    /// The heredoc does not end.
    #[error("line {line}: the value of '{name}' never ends: no line is '{delimiter}'")]
    NoDelimiter {
        /// Where the heredoc begins, from 1.
        line: usize,
        /// Name of the value.
        name: String,
        /// What was looked for.
        delimiter: String,
    },
    /// The file is not text.
    #[error("the file is not valid UTF-8")]
    NotUtf8,
}

/// Reads name and value pairs in order; a later one of the same name is kept too.
///
/// # Errors
/// [`EnvFileError`] at the first violation of the grammar.
pub fn parse_pairs(bytes: &[u8]) -> Result<Vec<(String, String)>, EnvFileError> {
    let text = text(bytes)?;
    let mut lines = Lines { rest: text, number: 0 };
    let mut pairs = Vec::new();
    while let Some((line, _)) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let number = lines.number;
        let equals = line.find('=').unwrap_or(usize::MAX);
        let heredoc = line.find("<<").unwrap_or(usize::MAX);
        if equals < heredoc {
            let (name, value) = (&line[..equals], &line[equals + 1..]);
            if name.is_empty() {
                return Err(EnvFileError::EmptyName { line: number, text: shorten(line) });
            }
            pairs.push((name.to_owned(), value.to_owned()));
        } else if heredoc < equals {
            let (name, delimiter) = (&line[..heredoc], &line[heredoc + 2..]);
            if name.is_empty() || delimiter.is_empty() {
                return Err(EnvFileError::EmptyName { line: number, text: shorten(line) });
            }
            let value = lines.until(delimiter).ok_or_else(|| EnvFileError::NoDelimiter {
                line: number,
                name: name.to_owned(),
                delimiter: delimiter.to_owned(),
            })?;
            pairs.push((name.to_owned(), value));
        } else {
            return Err(EnvFileError::Format { line: number, text: shorten(line) });
        }
    }
    Ok(pairs)
}

/// Reads a list of paths, one a line; empty lines do not count.
///
/// # Errors
/// If the file is not text.
pub fn parse_paths(bytes: &[u8]) -> Result<Vec<String>, EnvFileError> {
    let mut lines = Lines { rest: text(bytes)?, number: 0 };
    let mut paths = Vec::new();
    while let Some((line, _)) = lines.next() {
        if !line.is_empty() {
            paths.push(line.to_owned());
        }
    }
    Ok(paths)
}

fn text(bytes: &[u8]) -> Result<&str, EnvFileError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|_| EnvFileError::NotUtf8)
}

/// Lines end with LF, CRLF or CR.
struct Lines<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Lines<'a> {
    /// The next line and the line break that ended it.
    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        if self.rest.is_empty() {
            return None;
        }
        self.number += 1;
        let end = self.rest.find(['\r', '\n']).unwrap_or(self.rest.len());
        let after = &self.rest[end..];
        let length = match after.as_bytes() {
            [b'\r', b'\n', ..] => 2,
            [_, ..] => 1,
            [] => 0,
        };
        let line = (&self.rest[..end], &after[..length]);
        self.rest = &after[length..];
        Some(line)
    }

    /// Everything up to a line that is `delimiter`, with its own line breaks
    /// as they are, except the one before the delimiter.
    fn until(&mut self, delimiter: &str) -> Option<String> {
        let mut value = String::new();
        let mut pending = "";
        let mut first = true;
        loop {
            let (line, end) = self.next()?;
            if line == delimiter {
                return Some(value);
            }
            // A last line without a line break cannot be followed by the delimiter.
            if end.is_empty() {
                return None;
            }
            if !first {
                value.push_str(pending);
            }
            value.push_str(line);
            pending = end;
            first = false;
        }
    }
}

fn shorten(line: &str) -> String {
    const LONGEST: usize = 80;
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ok(text: &str) -> Vec<(String, String)> {
        parse_pairs(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_grammar_by_example() {
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("", &[]),
            ("\n\n", &[]),
            ("A=1\nB=2", &[("A", "1"), ("B", "2")]),
            ("A=1\r\nB=2\r\n", &[("A", "1"), ("B", "2")]),
            ("A=", &[("A", "")]),
            ("A= spaced = out ", &[("A", " spaced = out ")]),
            (" A =1", &[(" A ", "1")]),
            ("A=x<<EOF", &[("A", "x<<EOF")]),
            ("A<<EOF\none\ntwo\nEOF\n", &[("A", "one\ntwo")]),
            ("A<<EOF\none\ntwo\nEOF", &[("A", "one\ntwo")]),
            ("A<<EOF\nEOF\n", &[("A", "")]),
            ("A<<EOF\n\nEOF\n", &[("A", "")]),
            ("A<<EOF\n\n\nEOF\n", &[("A", "\n")]),
            ("A<<EOF\r\none\r\ntwo\nEOF\n", &[("A", "one\r\ntwo")]),
            ("A<<EOF\n EOF\nEOF \nEOF\n", &[("A", " EOF\nEOF ")]),
            ("A<<E=F\nx=y\nE=F\nB=2", &[("A", "x=y"), ("B", "2")]),
            ("A=1\nA=2", &[("A", "1"), ("A", "2")]),
            ("\u{feff}A=1", &[("A", "1")]),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(n, v)| pair(n, v)).collect();
            assert_eq!(ok(text), expected, "{text:?}");
        }
    }

    #[test]
    fn violations_name_the_line() {
        let message = |text: &str| parse_pairs(text.as_bytes()).unwrap_err().to_string();
        insta::assert_snapshot!(message("A=1\nnonsense"), @"line 2: 'nonsense' is neither NAME=VALUE nor NAME<<DELIMITER");
        insta::assert_snapshot!(message("=1"), @"line 1: the name or the delimiter is empty in '=1'");
        insta::assert_snapshot!(message("A<<"), @"line 1: the name or the delimiter is empty in 'A<<'");
        insta::assert_snapshot!(message("<<EOF\nEOF"), @"line 1: the name or the delimiter is empty in '<<EOF'");
        insta::assert_snapshot!(message("\nA<<EOF\nx\n"), @"line 2: the value of 'A' never ends: no line is 'EOF'");
        insta::assert_snapshot!(message("A<<EOF"), @"line 1: the value of 'A' never ends: no line is 'EOF'");
        assert_eq!(parse_pairs(b"A=\xff"), Err(EnvFileError::NotUtf8));
    }

    #[test]
    fn paths() {
        assert_eq!(parse_paths(b"/a\r\n\n/b c\n/d").unwrap(), ["/a", "/b c", "/d"]);
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_pairs(&bytes);
            let _ = parse_paths(&bytes);
        }

        #[test]
        fn what_was_written_is_read(
            pairs in prop::collection::vec(("[A-Za-z_]{1,8}", "[a-z =<\r\n]{0,40}"), 0..6),
        ) {
            let mut text = String::new();
            for (name, value) in &pairs {
                text.push_str(&format!("{name}<<__END__\n{value}\n__END__\n"));
            }
            // A value that ends in CR would read its CR and our LF as one line break.
            prop_assume!(pairs.iter().all(|(_, v)| !v.ends_with('\r')));
            prop_assert_eq!(parse_pairs(text.as_bytes()).unwrap(), pairs);
        }
    }
}
