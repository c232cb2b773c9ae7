//! Workflow commands: lines of output that ask the runner for something,
//! `::name key=value,key=value::data` or `##[name key=value;key=value]data`.
//! This module only reads them; it never carries one out.

/// A command as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowCommand {
    /// Name in lower case.
    pub name: String,
    /// Properties in order, unescaped; empty values are left out.
    pub properties: Vec<(String, String)>,
    /// What follows, unescaped.
    pub data: String,
}

impl WorkflowCommand {
    /// Reads a line. `None` if it is ordinary output.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim_end_matches(['\r', '\n']);
        let trimmed = line.trim_start();
        if let Some(rest) = trimmed.strip_prefix("::") {
            let (head, data) = rest.split_once("::")?;
            return Self::build(head, ',', data, Escapes::New);
        }
        // The old form may stand anywhere in the line at GitHub; there is no use of it but at the beginning.
        let rest = trimmed.strip_prefix("##[")?;
        let (head, data) = rest.split_once(']')?;
        Self::build(head, ';', data, Escapes::Old)
    }

    fn build(head: &str, separator: char, data: &str, escapes: Escapes) -> Option<Self> {
        let (name, properties) = head.trim().split_once(' ').unwrap_or((head.trim(), ""));
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return None;
        }
        let properties = properties
            .split(separator)
            .filter_map(|p| p.trim().split_once('='))
            .filter(|(key, value)| !key.is_empty() && !value.is_empty())
            .map(|(key, value)| (key.to_owned(), escapes.property(value)))
            .collect();
        Some(Self { name: name.to_ascii_lowercase(), properties, data: escapes.data(data) })
    }

    /// A property by name; case does not matter.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

#[derive(Clone, Copy)]
enum Escapes {
    New,
    Old,
}

impl Escapes {
    fn data(self, text: &str) -> String {
        match self {
            Self::New => unescape(text, &[("0D", '\r'), ("0A", '\n'), ("25", '%')]),
            Self::Old => unescape(text, OLD),
        }
    }

    fn property(self, text: &str) -> String {
        match self {
            Self::New => unescape(text, &[("0D", '\r'), ("0A", '\n'), ("3A", ':'), ("2C", ','), ("25", '%')]),
            Self::Old => unescape(text, OLD),
        }
    }
}

const OLD: &[(&str, char)] = &[("0D", '\r'), ("0A", '\n'), ("3B", ';'), ("5D", ']'), ("25", '%')];

/// One pass from left to right, so that `%250A` is `%0A` and not a line break.
fn unescape(text: &str, escapes: &[(&str, char)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let code = after.get(..2).unwrap_or_default();
        match escapes.iter().find(|(c, _)| c.eq_ignore_ascii_case(code)) {
            Some((_, replacement)) => {
                out.push(*replacement);
                rest = &after[2..];
            }
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Whether a line may still turn out to be a command, as far as it is known.
/// `line` has no line break.
pub(crate) fn may_be_command(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    [&b"::"[..], b"##["].iter().any(|p| line.starts_with(p) || p.starts_with(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(line: &str) -> String {
        match WorkflowCommand::parse(line) {
            None => "-".into(),
            Some(c) => format!("{} {:?} {:?}", c.name, c.properties, c.data),
        }
    }

    #[test]
    fn lines_and_what_they_mean() {
        let lines = [
            "::error::boom",
            "  ::Warning file=a.rs,line=3,endLine=4,title=a%3A b%2C c::two%0Alines 100%25",
            "::set-output name=x::",
            "::set-output name=x::a::b",
            "::add-mask::%250A",
            "::group::Build\r\n",
            "::notice file=,line=1::m",
            "##[group]old",
            "##[set-output name=a;other=b%3Bc]d%5D",
            "::::",
            "::not a command",
            "::bad/name::x",
            "text ::error::x",
            "::",
            "##[x",
            "%zz::error::",
            "::debug::%E4%",
        ];
        let shown: Vec<String> = lines.iter().map(|l| format!("{l:?} => {}", show(l))).collect();
        insta::assert_snapshot!(shown.join("\n"), @r###"
        "::error::boom" => error [] "boom"
        "  ::Warning file=a.rs,line=3,endLine=4,title=a%3A b%2C c::two%0Alines 100%25" => warning [("file", "a.rs"), ("line", "3"), ("endLine", "4"), ("title", "a: b, c")] "two\nlines 100%"
        "::set-output name=x::" => set-output [("name", "x")] ""
        "::set-output name=x::a::b" => set-output [("name", "x")] "a::b"
        "::add-mask::%250A" => add-mask [] "%0A"
        "::group::Build\r\n" => group [] "Build"
        "::notice file=,line=1::m" => notice [("line", "1")] "m"
        "##[group]old" => group [] "old"
        "##[set-output name=a;other=b%3Bc]d%5D" => set-output [("name", "a"), ("other", "b;c")] "d]"
        "::::" => -
        "::not a command" => -
        "::bad/name::x" => -
        "text ::error::x" => -
        "::" => -
        "##[x" => -
        "%zz::error::" => -
        "::debug::%E4%" => debug [] "%E4%"
        "###);
    }

    #[test]
    fn beginnings() {
        for yes in ["", "  ", ":", "::", "  ::err", "#", "##", "##[", "\t##[x"] {
            assert!(may_be_command(yes.as_bytes()), "{yes:?}");
        }
        for no in ["a", ":a", "#a", "##a", " a ::x"] {
            assert!(!may_be_command(no.as_bytes()), "{no:?}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "\\PC{0,60}") {
            let _ = WorkflowCommand::parse(&line);
            let _ = WorkflowCommand::parse(&format!("::{line}::{line}"));
            let _ = WorkflowCommand::parse(&format!("##[{line}]{line}"));
        }
    }
}
