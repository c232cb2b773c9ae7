//! The one error type of the crate: what went wrong, in GitHub's words, in
//! which phase, and at which byte of the text that the caller handed in.

use thiserror::Error;

use crate::lexer::Token;

/// The phase in which an expression failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The text does not split into tokens.
    Lexing,
    /// The tokens do not form an expression, or name something unknown.
    Parsing,
    /// The expression is well formed but failed on its values.
    Evaluation,
}

impl ErrorKind {
    /// The name used in machine-readable output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lexing => "lexing",
            Self::Parsing => "parsing",
            Self::Evaluation => "evaluation",
        }
    }
}

impl std::fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an expression could not be parsed or evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct ExprError {
    /// The phase that failed.
    pub kind: ErrorKind,
    /// GitHub's wording, with the position for people where GitHub gives it.
    pub message: String,
    /// Byte offset into the text given to the parse function.
    pub position: usize,
}

impl ExprError {
    pub(crate) fn evaluation(message: impl Into<String>, position: usize) -> Self {
        Self { kind: ErrorKind::Evaluation, message: message.into(), position }
    }

    /// `what: 'token'. Located at position N within expression: …`, with N
    /// counted from one in UTF-16 units, as GitHub prints it.
    pub(crate) fn located(kind: ErrorKind, what: &str, raw: &str, source: Source<'_>, at: usize) -> Self {
        let column = source.text.get(..at).unwrap_or(source.text).encode_utf16().count() + 1;
        Self {
            kind,
            message: format!(
                "{what}: '{raw}'. Located at position {column} within expression: {}",
                source.text
            ),
            position: source.offset + at,
        }
    }

    pub(crate) fn at_token(what: &str, token: &Token, source: Source<'_>) -> Self {
        Self::located(ErrorKind::Parsing, what, token.raw(source.text), source, token.start)
    }
}

/// An expression's text and where it starts in what the caller handed in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) text: &'a str,
    pub(crate) offset: usize,
}
