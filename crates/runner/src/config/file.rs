//! Reading a configuration file, TOML or JSON. Errors name file, line and
//! column, and suggest what was probably meant.

use super::PartialConfig;
use super::fields::nearest;
use fleetfoot_model::diagnostic::{Diagnostic, Severity};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Larger files are not configuration.
const MAX_BYTES: u64 = 1 << 20;

/// A file that cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("the configuration file {path} cannot be read", path = path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It cannot be understood.
    #[error("{0}")]
    Bad(Box<Diagnostic>),
}

/// Reads a file: JSON if its name ends in `.json` or it begins with `{`, TOML otherwise.
///
/// # Errors
/// [`FileError`].
pub fn read_file(path: &Path) -> Result<PartialConfig, FileError> {
    let unreadable = |source| FileError::Unreadable { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_BYTES {
        return Err(unreadable(std::io::Error::other(format!("it is larger than {MAX_BYTES} bytes"))));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let name = path.display().to_string();
    let text = std::str::from_utf8(&bytes).map_err(|e| {
        let before = String::from_utf8_lossy(&bytes[..e.valid_up_to()]);
        bad(&name, &before, before.len(), "the file is not UTF-8")
    })?;
    let json = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"))
        || text.trim_start().starts_with('{');
    parse(&name, text, json)
}

fn parse(name: &str, text: &str, json: bool) -> Result<PartialConfig, FileError> {
    if json {
        return serde_json::from_str(text).map_err(|e| {
            let line_start: usize =
                text.split_inclusive('\n').take(e.line().saturating_sub(1)).map(str::len).sum();
            let message = e.to_string();
            let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(m, _)| m);
            bad(name, text, line_start + e.column().saturating_sub(1), message)
        });
    }
    toml::from_str(text).map_err(|e| bad(name, text, e.span().map_or(0, |s| s.start), e.message()))
}

fn bad(name: &str, text: &str, at: usize, message: &str) -> FileError {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    let snippet: String = text[line_start..].lines().next().unwrap_or_default().chars().take(200).collect();
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    let (code, message, hint) = match unknown {
        Some(field) => {
            let hint = match nearest(field) {
                Some(known) => format!("did you mean `{known}`?"),
                None => {
                    "`fleetfoot runner setup` writes a file with every setting and what it means".to_owned()
                }
            };
            ("unknown-key", format!("there is no setting `{field}`"), Some(hint))
        }
        None => ("bad-configuration", message.lines().next().unwrap_or_default().to_owned(), None),
    };
    // A line that sets a secret is not repeated.
    let secret = ["token", "webhook"].iter().any(|s| snippet.contains(s)) && unknown.is_none();
    FileError::Bad(Box::new(Diagnostic {
        file: name.to_owned(),
        line: before.matches('\n').count() + 1,
        column: text[line_start..at].chars().count() + 1,
        severity: Severity::Error,
        code: code.to_owned(),
        message,
        hint,
        snippet: if secret { String::new() } else { snippet },
    }))
}
