//! Problem matchers

/// How bad a match is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchSeverity {
    /// `error`; the default.
    Error,
    /// `warning`
    Warning,
    /// `notice`
    Notice,
}

/// A problem that a line of output (or several) speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Which matcher found it.
    pub owner: String,
    /// How bad it is.
    pub severity: MatchSeverity,
    /// What is wrong.
    pub message: String,
    /// The file as printed, below the directory of `fromPath` if there is one; it may be absolute,
    /// relative to the workspace, or nonsense.
    pub file: Option<String>,
    /// Line, as printed.
    pub line: Option<u32>,
    /// Column, as printed.
    pub column: Option<u32>,
    /// Last line (`endLine` of a pattern).
    pub end_line: Option<u32>,
    /// Last column (`endColumn` of a pattern).
    pub end_column: Option<u32>,
    /// The code of the tool, `TS2304`.
    pub code: Option<String>,
}

/// A file of problem matchers that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MatcherError {
    message: String,
}

/// The problem matchers of one job.
#[derive(Clone, Debug, Default)]
pub struct Matchers {
    list: Vec<()>,
}

impl Matchers {
    /// Adds the matchers of a JSON file; one of the same owner is replaced. Answers their owners.
    ///
    /// # Errors
    /// When the file cannot be used; then nothing has changed.
    pub fn add(&mut self, json: &str) -> Result<Vec<String>, MatcherError> {
        self.list.clear();
        Err(MatcherError { message: json.to_owned() })
    }

    /// Removes the matcher of an owner; answers whether there was one.
    pub fn remove(&mut self, owner: &str) -> bool {
        self.list.is_empty() && owner.is_empty()
    }

    /// Whether there is none, so that lines need not be looked at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Looks at one line of output, without its line end.
    pub fn line(&mut self, line: &str) -> Option<Match> {
        let _ = line;
        None
    }
}
