//! `K=V` as people type it on the command line: secrets that come from the
//! environment when no value is given, and inputs whose text becomes a value.

use crate::error::{CliError, Result};
use indexmap::IndexMap;
use std::path::Path;

/// `K=V`; a bare `K` is an error that names the flag.
pub(crate) fn pairs(flag: &str, given: &[String]) -> Result<IndexMap<String, String>> {
    let mut out = IndexMap::new();
    for text in given {
        let Some((key, value)) = text.split_once('=').filter(|(k, _)| !k.is_empty()) else {
            return Err(CliError::usage(format!("{flag} '{text}' is not KEY=VALUE"))
                .hint(format!("write it as {flag} NAME=value")));
        };
        out.insert(key.to_owned(), value.to_owned());
    }
    Ok(out)
}

/// `K=V`, or `K` alone for the value of the environment variable of that name:
/// so that a secret need not appear in the list of processes.
pub(crate) fn secrets(given: &[String], file: Option<&Path>) -> Result<IndexMap<String, String>> {
    let mut out = match file {
        Some(path) => secret_file(path)?,
        None => IndexMap::new(),
    };
    for text in given {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, value.to_owned()),
            None => {
                let value = std::env::var(text).map_err(|_| {
                    CliError::usage(format!(
                        "the secret {text} has no value, and the environment has no variable of that name"
                    ))
                    .hint(format!("export {text} first, or write -s {text}=value"))
                })?;
                (text.as_str(), value)
            }
        };
        if key.is_empty() {
            return Err(
                CliError::usage("a secret needs a name").hint("write it as -s NAME=value, or -s NAME")
            );
        }
        out.insert(key.to_owned(), value);
    }
    Ok(out)
}

/// One `NAME=value` a line; `#` begins a comment line; quotes around a value are dropped, `\n` inside double quotes is a line end.
fn secret_file(path: &Path) -> Result<IndexMap<String, String>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|e| CliError::usage(format!("the secret file {shown} cannot be read")).because(&e))?;
    let mut out = IndexMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        // The line itself may be a secret: only its place is shown.
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("{shown}:{}: this line is not NAME=value", number + 1)))?;
        out.insert(key.trim().to_owned(), unquote(value.trim()));
    }
    Ok(out)
}

fn unquote(value: &str) -> String {
    let inside = |q: char| value.len() >= 2 && value.starts_with(q) && value.ends_with(q);
    if inside('"') {
        value[1..value.len() - 1].replace("\\n", "\n").replace("\\\"", "\"")
    } else if inside('\'') {
        value[1..value.len() - 1].to_owned()
    } else {
        value.to_owned()
    }
}

/// `KEY:VALUE`, several values for one key allowed.
pub(crate) fn matrix(given: &[String]) -> Result<IndexMap<String, Vec<String>>> {
    let mut out: IndexMap<String, Vec<String>> = IndexMap::new();
    for text in given {
        let Some((key, value)) = text.split_once([':', '=']).filter(|(k, _)| !k.is_empty()) else {
            return Err(CliError::usage(format!("--matrix '{text}' is not KEY:VALUE"))
                .hint("write it as --matrix os:ubuntu-latest"));
        };
        out.entry(key.to_owned()).or_default().push(value.to_owned());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_from_flags_files_and_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secrets");
        std::fs::write(&file, "# mine\nA=1\nexport B=\"x\\ny\"\nC='it=s'\n\n").unwrap();
        let got = secrets(&["A=2=3".to_owned(), "PATH".to_owned()], Some(&file)).unwrap();
        assert_eq!(got["A"], "2=3");
        assert_eq!(got["B"], "x\ny");
        assert_eq!(got["C"], "it=s");
        assert_eq!(got["PATH"], std::env::var("PATH").unwrap());
        assert!(secrets(&["SURELY_NOT_SET_ANYWHERE".to_owned()], None).is_err());
    }

    #[test]
    fn a_broken_secret_file_does_not_show_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secrets");
        std::fs::write(&file, "A=1\nhunter2\n").unwrap();
        let error = secrets(&[], Some(&file)).unwrap_err();
        let shown = error.render(crate::style::Style::PLAIN);
        assert!(shown.contains(":2:") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn pairs_and_matrix_filters() {
        assert_eq!(pairs("--var", &["A=".to_owned()]).unwrap()["A"], "");
        assert!(pairs("--var", &["A".to_owned()]).is_err());
        let got = matrix(&["os:a".to_owned(), "os:b:c".to_owned()]).unwrap();
        assert_eq!(got["os"], ["a", "b:c"]);
    }
}
