//! Errors in documents that people write: where, what, and what to do.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use utoipa::ToSchema;

/// A document and the name under which messages speak of it.
#[derive(Clone, Debug)]
pub struct Source {
    /// Path or other name, shown in messages.
    pub name: String,
    /// The bytes as received; dialects decide on encoding.
    pub bytes: Arc<[u8]>,
}

impl Source {
    /// A source from anything that gives bytes.
    pub fn new(name: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The document is unusable.
    Error,
    /// It will run, but probably not as meant.
    Warning,
    /// Nothing is wrong; only shown to whoever asks for it.
    Info,
}

/// One finding in a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Diagnostic {
    /// Name of the document.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How bad it is.
    pub severity: Severity,
    /// Stable word for machines, `unknown-key`.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// The line of the document, cut to 200 characters.
    #[serde(default)]
    pub snippet: String,
}

impl fmt::Display for Diagnostic {
    /// `file:line:column: error[code]: message`, the line with a caret, the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        write!(
            f,
            "{}:{}:{}: {severity}[{}]: {}",
            self.file, self.line, self.column, self.code, self.message
        )?;
        if !self.snippet.is_empty() {
            let number = self.line.to_string();
            let pad = " ".repeat(number.len());
            let column = self.column.saturating_sub(1).min(self.snippet.chars().count());
            write!(f, "\n {number} | {}\n {pad} | {}^", self.snippet, " ".repeat(column))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n hint: {hint}")?;
        }
        Ok(())
    }
}

/// All findings of one document; as an error, at least one has severity error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Whether one of them makes the document unusable.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            d.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
