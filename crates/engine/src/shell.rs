//! Turns the `shell` of a step into a command line and the script into what
//! that shell expects. It must never pass text of the script through another
//! shell.

use thiserror::Error;

/// How to run a script file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shell {
    /// Command lines to try in order; `{0}` stands for the script.
    pub(crate) candidates: Vec<Vec<String>>,
    /// Ending of the script file.
    pub(crate) extension: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    PowerShell,
}

/// A `shell` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ShellError {
    #[error(
        "the shell '{0}' is not known: use bash, sh, python, pwsh, or a command line that contains {{0}} \
         where the script goes"
    )]
    Unknown(String),
    #[error("the shell '{0}' is not a valid command line: a quote is not closed")]
    Quotes(String),
    #[error("the shell '{0}' exists on Windows only")]
    Windows(String),
}

impl Shell {
    /// Reads a `shell` value; `None` is the default, which is plain `sh` in an image.
    pub(crate) fn parse(shell: Option<&str>, in_image: bool) -> Result<Self, ShellError> {
        let words = |line: &[&str]| line.iter().map(|w| (*w).to_owned()).collect::<Vec<String>>();
        let plain = |candidates: &[&[&str]], extension| Self {
            candidates: candidates.iter().map(|c| words(c)).collect(),
            extension,
            kind: Kind::Plain,
        };
        let Some(text) = shell.map(str::trim).filter(|s| !s.is_empty()) else {
            if in_image {
                return Ok(plain(&[&["sh", "-e", "{0}"]], ".sh"));
            }
            return Ok(plain(&[&["bash", "-e", "{0}"], &["sh", "-e", "{0}"]], ".sh"));
        };
        Ok(match text {
            "bash" => plain(&[&["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "{0}"]], ".sh"),
            "sh" => plain(&[&["sh", "-e", "{0}"]], ".sh"),
            "python" => plain(&[&["python", "{0}"], &["python3", "{0}"]], ".py"),
            "pwsh" => Self {
                candidates: vec![words(&["pwsh", "-command", ". '{0}'"])],
                extension: ".ps1",
                kind: Kind::PowerShell,
            },
            "cmd" | "powershell" => return Err(ShellError::Windows(text.to_owned())),
            custom => {
                let words = shlex::split(custom).ok_or_else(|| ShellError::Quotes(custom.to_owned()))?;
                if words.is_empty() || !words.iter().skip(1).any(|w| w.contains("{0}")) {
                    return Err(ShellError::Unknown(custom.to_owned()));
                }
                let name = words[0].rsplit('/').next().unwrap_or_default();
                let (extension, kind) = match name {
                    "pwsh" => (".ps1", Kind::PowerShell),
                    "python" | "python3" => (".py", Kind::Plain),
                    "bash" | "sh" => (".sh", Kind::Plain),
                    _ => ("", Kind::Plain),
                };
                Self { candidates: vec![words], extension, kind }
            }
        })
    }

    /// The text of the script file.
    pub(crate) fn script(&self, script: &str) -> String {
        match self.kind {
            Kind::Plain => {
                let mut text = script.replace("\r\n", "\n");
                if !text.ends_with('\n') {
                    text.push('\n');
                }
                text
            }
            Kind::PowerShell => format!(
                "$ErrorActionPreference = 'stop'\n{script}\nif ((Test-Path -LiteralPath \
                 variable:\\LASTEXITCODE)) {{ exit $LASTEXITCODE }}\n"
            ),
        }
    }

    /// The words of a candidate with the script in its place.
    pub(crate) fn command(candidate: &[String], script: &str) -> Vec<String> {
        candidate.iter().map(|w| w.replace("{0}", script)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells() {
        let show = |shell: Option<&str>| match Shell::parse(shell, false) {
            Ok(s) => {
                let lines: Vec<String> = s.candidates.iter().map(|c| c.join(" ")).collect();
                format!("{}  *{}", lines.join(" | "), s.extension)
            }
            Err(e) => e.to_string(),
        };
        let cases = [
            None,
            Some("bash"),
            Some("sh"),
            Some("python"),
            Some("pwsh"),
            Some("bash -l {0}"),
            Some("perl '{0}' -x"),
            Some("env 'A B'"),
            Some("fish"),
            Some("a 'b {0}"),
            Some("cmd"),
            Some(" "),
        ];
        let shown: Vec<String> = cases.iter().map(|c| format!("{c:?}: {}", show(*c))).collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        None: bash -e {0} | sh -e {0}  *.sh
        Some("bash"): bash --noprofile --norc -e -o pipefail {0}  *.sh
        Some("sh"): sh -e {0}  *.sh
        Some("python"): python {0} | python3 {0}  *.py
        Some("pwsh"): pwsh -command . '{0}'  *.ps1
        Some("bash -l {0}"): bash -l {0}  *.sh
        Some("perl '{0}' -x"): perl {0} -x  *
        Some("env 'A B'"): the shell 'env 'A B'' is not known: use bash, sh, python, pwsh, or a command line that contains {0} where the script goes
        Some("fish"): the shell 'fish' is not known: use bash, sh, python, pwsh, or a command line that contains {0} where the script goes
        Some("a 'b {0}"): the shell 'a 'b {0}' is not a valid command line: a quote is not closed
        Some("cmd"): the shell 'cmd' exists on Windows only
        Some(" "): bash -e {0} | sh -e {0}  *.sh
        "#);
    }
}
