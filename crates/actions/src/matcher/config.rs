//! The JSON file of problem matchers, checked as GitHub checks it. Unknown
//! keys are ignored; comments and trailing commas are accepted, as in many
//! files that exist.

use super::{MAX_MATCHERS, MAX_PATTERNS, MatcherError};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// The largest file, in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// A file of matchers.
pub(super) struct Config {
    pub(super) matchers: Vec<MatcherConfig>,
}

/// One matcher.
pub(super) struct MatcherConfig {
    pub(super) owner: String,
    pub(super) severity: Option<String>,
    pub(super) patterns: Vec<PatternConfig>,
}

/// One pattern: an expression, and what its groups mean.
#[derive(Clone, Debug, Default)]
pub(super) struct PatternConfig {
    pub(super) owner: String,
    pub(super) regexp: String,
    pub(super) file: Option<usize>,
    pub(super) from_path: Option<usize>,
    pub(super) line: Option<usize>,
    pub(super) column: Option<usize>,
    pub(super) end_line: Option<usize>,
    pub(super) end_column: Option<usize>,
    pub(super) severity: Option<usize>,
    pub(super) code: Option<usize>,
    pub(super) message: Option<usize>,
    pub(super) is_loop: bool,
}

impl PatternConfig {
    /// The groups by the names that messages use.
    pub(super) fn groups(&self) -> [(&'static str, Option<usize>); 7] {
        [
            ("file", self.file),
            ("line", self.line),
            ("column", self.column),
            ("severity", self.severity),
            ("code", self.code),
            ("message", self.message),
            ("fromPath", self.from_path),
        ]
    }
}

fn fail<T>(message: impl Into<String>) -> Result<T, MatcherError> {
    Err(MatcherError(message.into()))
}

impl Config {
    pub(super) fn parse(json: &str) -> Result<Self, MatcherError> {
        if json.len() > MAX_BYTES {
            return fail("the file of problem matchers has more than 1 MiB");
        }
        let plain = without_comments(json.trim_start_matches('\u{feff}'));
        let value: Value = match serde_json::from_str(&plain) {
            Ok(value) => value,
            Err(error) => return fail(format!("the file of problem matchers is no JSON: {error}")),
        };
        let list = match value.get("problemMatcher") {
            Some(Value::Array(list)) => list,
            // Nothing to add is nothing wrong.
            Some(Value::Null) | None if value.is_object() => return Ok(Self { matchers: Vec::new() }),
            _ => return fail("the file is no object with a list 'problemMatcher'"),
        };
        if list.len() > MAX_MATCHERS {
            return fail(format!("the file has more than {MAX_MATCHERS} problem matchers"));
        }
        let mut owners = HashSet::new();
        let mut matchers = Vec::new();
        for item in list {
            let Value::Object(item) = item else { return fail("a problem matcher is no JSON object") };
            let matcher = matcher(item)?;
            if !owners.insert(matcher.owner.to_lowercase()) {
                return fail(format!("Duplicate owner name '{}'", matcher.owner));
            }
            matchers.push(matcher);
        }
        Ok(Self { matchers })
    }
}

fn matcher(item: &Map<String, Value>) -> Result<MatcherConfig, MatcherError> {
    let owner = text(item, "owner").unwrap_or_default();
    if owner.is_empty() {
        return fail("Owner must not be empty");
    }
    let owner: String = owner.chars().take(200).collect();
    let severity = text(item, "severity").filter(|s| !s.is_empty());
    if let Some(severity) = &severity
        && !["error", "warning", "notice"].iter().any(|known| known.eq_ignore_ascii_case(severity))
    {
        return fail(format!(
            "Matcher '{owner}' contains unexpected default severity '{}'",
            severity.chars().take(100).collect::<String>()
        ));
    }
    let list = match item.get("pattern") {
        Some(Value::Array(list)) if !list.is_empty() => list,
        _ => return fail(format!("Matcher '{owner}' does not contain any patterns")),
    };
    if list.len() > MAX_PATTERNS {
        return fail(format!("Matcher '{owner}' has more than {MAX_PATTERNS} patterns"));
    }
    let mut patterns = Vec::new();
    let mut set: HashSet<&str> = HashSet::new();
    for (i, item) in list.iter().enumerate() {
        let Value::Object(item) = item else {
            return fail(format!("Matcher '{owner}': a pattern is no JSON object"));
        };
        let pattern = pattern(&owner, item)?;
        if pattern.is_loop && (i == 0 || i + 1 != list.len()) {
            return fail(format!(
                "Matcher '{owner}': Only the last pattern in a multiline matcher may set 'loop'"
            ));
        }
        if pattern.is_loop && pattern.message.is_none() {
            return fail(format!("Matcher '{owner}': The loop pattern must set 'message'"));
        }
        for (name, _) in pattern.groups().into_iter().filter(|(_, group)| group.is_some()) {
            if !set.insert(name) {
                return fail(format!("Matcher '{owner}': The property '{name}' is set twice"));
            }
        }
        patterns.push(pattern);
    }
    if !set.contains("message") {
        return fail(format!("Matcher '{owner}': At least one pattern must set 'message'"));
    }
    Ok(MatcherConfig { owner, severity, patterns })
}

fn pattern(owner: &str, item: &Map<String, Value>) -> Result<PatternConfig, MatcherError> {
    let group = |key: &str| -> Result<Option<usize>, MatcherError> {
        let number = match item.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        match number.and_then(|n| usize::try_from(n).ok()) {
            Some(number) => Ok(Some(number)),
            None => fail(format!("Matcher '{owner}': '{key}' is no number of a group")),
        }
    };
    Ok(PatternConfig {
        owner: owner.to_owned(),
        regexp: text(item, "regexp").unwrap_or_default(),
        file: group("file")?,
        from_path: group("fromPath")?,
        line: group("line")?,
        column: group("column")?,
        end_line: group("endLine").unwrap_or_default(),
        end_column: group("endColumn").unwrap_or_default(),
        severity: group("severity")?,
        code: group("code")?,
        message: group("message")?,
        is_loop: matches!(item.get("loop"), Some(Value::Bool(true))),
    })
}

fn text(item: &Map<String, Value>, key: &str) -> Option<String> {
    item.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// JSON without `//` and `/* */` comments and without commas before a closing bracket. Places of
/// errors stay true: what goes is replaced by spaces.
fn without_comments(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut chars = json.chars().peekable();
    // Where the last comma is, while nothing but space has followed it.
    let mut comma: Option<usize> = None;
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                comma = None;
                out.push(c);
                while let Some(inner) = chars.next() {
                    out.push(inner);
                    match inner {
                        '\\' => out.extend(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '/' if chars.peek() == Some(&'/') => {
                while chars.peek().is_some_and(|c| *c != '\n') {
                    chars.next();
                    out.push(' ');
                }
            }
            '/' if chars.peek() == Some(&'*') => {
                let mut before = ' ';
                chars.next();
                for inner in chars.by_ref() {
                    out.push(if inner == '\n' { '\n' } else { ' ' });
                    if before == '*' && inner == '/' {
                        break;
                    }
                    before = inner;
                }
            }
            ',' => {
                comma = Some(out.len());
                out.push(c);
            }
            ']' | '}' => {
                if let Some(at) = comma.take() {
                    out.replace_range(at..=at, " ");
                }
                out.push(c);
            }
            _ => {
                if !c.is_whitespace() {
                    comma = None;
                }
                out.push(c);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::without_comments;

    #[test]
    fn comments_and_trailing_commas_go() {
        let json = "{ // one\n \"a\": \"//no, \\\" /* no */\", /* two\n */ \"b\": [1, 2, /* x */ ], }";
        let value: serde_json::Value = serde_json::from_str(&without_comments(json)).unwrap();
        assert_eq!(value, serde_json::json!({"a": "//no, \" /* no */", "b": [1, 2]}));
    }
}
