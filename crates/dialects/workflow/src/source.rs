//! The text of a document and its places: decoding of bytes, byte offsets to
//! lines and columns, and the findings that speak of them. It never looks at
//! what the text means.

use fleetfoot_model::diagnostic::{Diagnostic, Diagnostics, Severity, Source};

/// The largest document that is read, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;

/// A snippet shows at most this many characters.
const SNIPPET: usize = 200;

/// Findings beyond this many are not collected: they would only bury the first ones.
const MAX_FINDINGS: usize = 100;

/// A decoded document.
#[derive(Debug)]
pub(crate) struct SourceText {
    name: String,
    text: String,
    /// Byte offset of the first character of every line.
    lines: Vec<usize>,
}

impl SourceText {
    /// Decodes UTF-8, with or without a byte order mark.
    pub(crate) fn decode(source: &Source) -> Result<Self, Diagnostic> {
        let bytes = &*source.bytes;
        if bytes.len() > MAX_BYTES {
            let shown = bytes.len().div_ceil(1024);
            let mut d = Self::new(&source.name, String::new()).error(
                0,
                "too-large",
                format!("The document has {shown} KiB, the limit is {} KiB", MAX_BYTES / 1024),
            );
            d.hint = Some("Move long scripts into files of the repository and call them".to_owned());
            return Err(d);
        }
        if let Some(encoding) = foreign_encoding(bytes) {
            let mut d = Self::new(&source.name, String::new()).error(
                0,
                "encoding",
                format!("The document is encoded in {encoding}"),
            );
            d.hint = Some("Save the file as UTF-8".to_owned());
            return Err(d);
        }
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(error) => {
                let at = error.valid_up_to();
                let byte = bytes.get(at).copied().unwrap_or_default();
                let lossy = Self::new(&source.name, String::from_utf8_lossy(bytes).into_owned());
                let mut d = lossy.error(at, "encoding", format!("Invalid UTF-8: byte 0x{byte:02X}"));
                d.hint = Some("Save the file as UTF-8".to_owned());
                return Err(d);
            }
        };
        let this = Self::new(&source.name, text);
        let control = |b: &u8| (*b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r')) || *b == 0x7F;
        if let Some(at) = this.text.as_bytes().iter().position(control) {
            let byte = this.text.as_bytes()[at];
            let message = format!("Control character 0x{byte:02X} is not allowed in YAML");
            let mut d = this.error(at, "control-character", message);
            d.hint = Some("Write it as an escape within double quotes, such as \"\\x1b\"".to_owned());
            return Err(d);
        }
        Ok(this)
    }

    fn new(name: &str, text: String) -> Self {
        let bytes = text.as_bytes();
        let mut lines = vec![0];
        for (i, byte) in bytes.iter().enumerate() {
            // A carriage return ends a line only where no line feed follows.
            if *byte == b'\n' || (*byte == b'\r' && bytes.get(i + 1) != Some(&b'\n')) {
                lines.push(i + 1);
            }
        }
        Self { name: name.to_owned(), text, lines }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The text from one offset to another; empty if they are no such places.
    pub(crate) fn slice(&self, start: usize, end: usize) -> &str {
        self.text.get(start..end).unwrap_or_default()
    }

    /// The line of an offset, from 1.
    pub(crate) fn line_of(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at).max(1)
    }

    /// Line and column (in characters) of an offset, both from 1.
    pub(crate) fn place(&self, at: usize) -> (usize, usize) {
        let line = self.line_of(at);
        let start = self.lines.get(line - 1).copied().unwrap_or_default();
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        (line, self.slice(start, at).chars().count() + 1)
    }

    fn snippet(&self, line: usize) -> String {
        let start = self.lines.get(line - 1).copied().unwrap_or_default();
        let rest = self.text.get(start..).unwrap_or_default();
        rest.chars()
            .take_while(|c| !matches!(c, '\n' | '\r'))
            .take(SNIPPET)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect()
    }

    pub(crate) fn error(&self, at: usize, code: &str, message: impl Into<String>) -> Diagnostic {
        self.finding(at, Severity::Error, code, message)
    }

    fn finding(&self, at: usize, severity: Severity, code: &str, message: impl Into<String>) -> Diagnostic {
        let (line, column) = self.place(at);
        Diagnostic {
            file: self.name.clone(),
            line,
            column,
            severity,
            code: code.to_owned(),
            message: clip(&message.into(), 2000),
            hint: None,
            snippet: self.snippet(line),
        }
    }
}

/// Cuts a text that came out of a document, so that no message grows with it.
pub(crate) fn clip(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// A message that quotes an expression, which may have several lines.
pub(crate) fn one_line(message: &str) -> String {
    clip(&message.split_whitespace().collect::<Vec<_>>().join(" "), 500)
}

fn foreign_encoding(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => Some("UTF-32"),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [0, 1..=0x7F, 0, ..] | [1..=0x7F, 0, 1..=0x7F, 0, ..] => {
            Some("UTF-16")
        }
        _ => None,
    }
}

/// Collects findings about one document.
#[derive(Debug)]
pub(crate) struct Report<'s> {
    pub(crate) source: &'s SourceText,
    /// Whether what is merely information is reported too.
    pub(crate) pedantic: bool,
    /// Whether strangers can start the workflow with secrets and a token that can write.
    pub(crate) privileged: bool,
    found: Vec<(usize, Diagnostic)>,
    overflow: Diagnostic,
}

impl<'s> Report<'s> {
    pub(crate) fn new(source: &'s SourceText) -> Self {
        let overflow = source.error(0, "too-many-findings", "There are more findings than these");
        Self { source, pedantic: false, privileged: false, found: Vec::new(), overflow }
    }

    /// Adds an error at a byte offset; the caller may add a hint to it.
    pub(crate) fn error(&mut self, at: usize, code: &str, message: impl Into<String>) -> &mut Diagnostic {
        self.add(at, Severity::Error, code, message)
    }

    /// Adds a warning at a byte offset.
    pub(crate) fn warning(&mut self, at: usize, code: &str, message: impl Into<String>) -> &mut Diagnostic {
        self.add(at, Severity::Warning, code, message)
    }

    /// Adds what is merely information, if it is asked for.
    pub(crate) fn info(&mut self, at: usize, code: &str, message: impl Into<String>, hint: &str) {
        if self.pedantic {
            self.add(at, Severity::Info, code, message).hint = Some(hint.to_owned());
        }
    }

    fn add(
        &mut self,
        at: usize,
        severity: Severity,
        code: &str,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        // A crowd of warnings must not keep an error from being seen.
        let full = self.found.len() >= MAX_FINDINGS;
        let first_error = severity == Severity::Error && !self.has_errors();
        if full && !first_error {
            return &mut self.overflow;
        }
        self.found.push((at, self.source.finding(at, severity, code, message)));
        match self.found.last_mut() {
            Some((_, last)) => last,
            None => &mut self.overflow,
        }
    }

    /// Whether further warnings would be dropped.
    pub(crate) fn is_crowded(&self) -> bool {
        self.found.len() >= MAX_FINDINGS
    }

    /// Whether further errors would be dropped: then nobody needs to work on their hints.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= MAX_FINDINGS && self.has_errors()
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.found.iter().any(|(_, d)| d.severity == Severity::Error)
    }

    /// All findings in the order of the document.
    pub(crate) fn finish(mut self) -> Diagnostics {
        self.found.sort_by_key(|(at, _)| *at);
        self.found.dedup();
        Diagnostics(self.found.into_iter().map(|(_, d)| d).collect())
    }
}

/// The known word that is nearest to what was written, if one is near.
pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written: Vec<char> = written.chars().take(64).flat_map(char::to_lowercase).collect();
    let limit = (written.len() / 3).clamp(1, 3);
    known
        .into_iter()
        .filter(|word| word.chars().count().abs_diff(written.len()) <= limit)
        .map(|word| (distance(&written, &word.to_lowercase().chars().collect::<Vec<_>>()), word))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, word)| word)
}

/// Edits (insert, delete, replace, swap of neighbours) from one word to another.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            let replaced = last[j] + usize::from(a[i] != b[j]);
            row[j + 1] = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_and_all_line_ends() {
        let text = SourceText::new("f", "a\r\nbß c\rd\n".to_owned());
        assert_eq!(text.place(0), (1, 1));
        assert_eq!(text.place(3), (2, 1));
        assert_eq!(text.place(7), (2, 4));
        assert_eq!(text.place(9), (3, 1));
        assert_eq!(text.place(500), (4, 1));
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        let known = ["steps", "strategy", "runs-on", "env"];
        assert_eq!(nearest("setps", known), Some("steps"));
        assert_eq!(nearest("runs_on", known), Some("runs-on"));
        assert_eq!(nearest("Env", known), Some("env"));
        assert_eq!(nearest("banana", known), None);
    }
}
