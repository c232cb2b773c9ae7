//! Problem matchers: patterns that find errors and warnings of tools in what a
//! step prints. They behave as at GitHub: the newest matcher looks first, one
//! of the same owner is replaced, several patterns match consecutive lines, a
//! last pattern with `loop` goes on matching. Everything here is pure: whether
//! a file exists, and where, is the business of the caller.
//!
//! Patterns and lines come from jobs. The engine behind the patterns takes
//! time that is linear in the line; look-around and back references, which no
//! such engine can have, are refused in so many words.

mod config;
mod pattern;

use config::Config;
use pattern::Pattern;
use std::borrow::Cow;

/// The most matchers of one job, and patterns of one matcher.
const MAX_MATCHERS: usize = 100;
const MAX_PATTERNS: usize = 50;
/// Longer lines are no messages of a tool, in bytes.
const MAX_LINE: usize = 64 * 1024;

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
    /// Last line (`endLine` of a pattern, which GitHub ignores).
    pub end_line: Option<u32>,
    /// Last column (`endColumn` of a pattern, which GitHub ignores).
    pub end_column: Option<u32>,
    /// The code of the tool, `TS2304`.
    pub code: Option<String>,
}

/// A file of problem matchers that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MatcherError(pub(crate) String);

/// The problem matchers of one job.
#[derive(Clone, Debug, Default)]
pub struct Matchers {
    /// The newest first.
    list: Vec<Matcher>,
}

#[derive(Clone, Debug)]
struct Matcher {
    owner: String,
    /// Severity if no pattern gives one; `None` is GitHub's default.
    severity: Option<String>,
    patterns: Vec<Pattern>,
    /// What the patterns but the last have found in the lines before, if they did.
    running: Vec<Option<Found>>,
}

/// What patterns have found so far. A group that took no part in a match counts as found empty.
#[derive(Clone, Debug, Default)]
struct Found {
    file: Option<String>,
    from_path: Option<String>,
    line: Option<String>,
    column: Option<String>,
    end_line: Option<String>,
    end_column: Option<String>,
    severity: Option<String>,
    code: Option<String>,
    message: Option<String>,
}

impl Matchers {
    /// Adds the matchers of a JSON file (comments are fine); one of the same owner is replaced.
    /// Answers their owners.
    ///
    /// # Errors
    /// When the file cannot be used; then nothing has changed.
    pub fn add(&mut self, json: &str) -> Result<Vec<String>, MatcherError> {
        let config = Config::parse(json)?;
        let mut fresh = Vec::new();
        for matcher in config.matchers {
            let patterns = matcher.patterns.iter().map(Pattern::new).collect::<Result<Vec<_>, _>>()?;
            let running = vec![None; patterns.len().saturating_sub(1)];
            fresh.push(Matcher { owner: matcher.owner, severity: matcher.severity, patterns, running });
        }
        let replaced = |old: &Matcher| fresh.iter().any(|new| new.owner.eq_ignore_ascii_case(&old.owner));
        let kept = self.list.iter().filter(|old| !replaced(old)).count();
        if kept + fresh.len() > MAX_MATCHERS {
            return Err(MatcherError(format!(
                "there would be more than {MAX_MATCHERS} problem matchers; remove some with ::remove-matcher owner=NAME::"
            )));
        }
        let owners = fresh.iter().map(|m| m.owner.clone()).collect();
        for matcher in fresh {
            self.remove(&matcher.owner);
            self.list.insert(0, matcher);
        }
        Ok(owners)
    }

    /// Removes the matcher of an owner; answers whether there was one.
    pub fn remove(&mut self, owner: &str) -> bool {
        let before = self.list.len();
        self.list.retain(|matcher| !matcher.owner.eq_ignore_ascii_case(owner));
        self.list.len() != before
    }

    /// Whether there is none, so that lines need not be looked at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Forgets what was found in the lines before, as at the end of a step.
    pub fn reset(&mut self) {
        self.list.iter_mut().for_each(Matcher::reset);
    }

    /// Looks at one line of output, without its line end. Colours are taken out first.
    pub fn line(&mut self, line: &str) -> Option<Match> {
        if self.list.is_empty() || line.len() > MAX_LINE {
            return None;
        }
        let line = without_colours(line);
        for i in 0..self.list.len() {
            let Some(found) = self.list[i].line(&line) else { continue };
            // Lines of one tool end what another one had begun.
            for (other, matcher) in self.list.iter_mut().enumerate() {
                if other != i {
                    matcher.reset();
                }
            }
            if let Some(found) = found.into_match(&self.list[i]) {
                return Some(found);
            }
        }
        None
    }
}

impl Matcher {
    fn reset(&mut self) {
        self.running.fill(None);
    }

    fn line(&mut self, line: &str) -> Option<Found> {
        let last = self.patterns.len().checked_sub(1)?;
        if last == 0 {
            return self.patterns[0].find(line, None);
        }
        // From the last to the first, so that a line moves each run by one pattern only.
        for i in (0..=last).rev() {
            let before = match i.checked_sub(1) {
                None => None,
                Some(previous) => match &self.running[previous] {
                    Some(found) => Some(found.clone()),
                    None => continue,
                },
            };
            let found = self.patterns[i].find(line, before.as_ref());
            match found {
                Some(found) if i == last => {
                    self.reset();
                    if self.patterns[i].is_loop {
                        self.running[i - 1] = before;
                    }
                    return Some(found);
                }
                None if i == last => self.running[i - 1] = None,
                found => self.running[i] = found,
            }
        }
        None
    }
}

impl Found {
    /// The match, unless it says nothing or has a severity that nobody knows.
    fn into_match(self, matcher: &Matcher) -> Option<Match> {
        let given = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
        let message = self.message.filter(|m| !m.trim().is_empty())?;
        let severity = given(&self.severity).or_else(|| matcher.severity.clone());
        let severity = match severity.as_deref().map(str::to_lowercase).as_deref() {
            None | Some("" | "error") => MatchSeverity::Error,
            Some("warning") => MatchSeverity::Warning,
            Some("notice") => MatchSeverity::Notice,
            Some(_) => return None,
        };
        let number = |text: Option<String>| text.and_then(|t| digits(&t));
        let file = self.file.filter(|f| !f.trim().is_empty());
        Some(Match {
            owner: matcher.owner.clone(),
            severity,
            message,
            file: file.map(|file| rooted(file, self.from_path.as_deref())),
            line: number(self.line),
            column: number(self.column),
            end_line: number(self.end_line),
            end_column: number(self.end_column),
            code: self.code.map(|c| c.trim().to_owned()).filter(|c| !c.is_empty()),
        })
    }
}

/// A relative file beside the one that `fromPath` names (a project file).
fn rooted(file: String, from_path: Option<&str>) -> String {
    let directory = from_path
        .and_then(|path| path.rsplit_once('/'))
        .map(|(directory, rest)| if directory.is_empty() && !rest.is_empty() { "/" } else { directory });
    match directory {
        Some(directory) if !file.starts_with('/') && !directory.trim().is_empty() => {
            format!("{}/{file}", directory.trim_end_matches('/'))
        }
        _ => file,
    }
}

/// Decimal digits and nothing else.
fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Takes out `ESC [ 1;31 m` and its like.
fn without_colours(line: &str) -> Cow<'_, str> {
    if !line.contains("\x1b[") {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("\x1b[") {
        out.push_str(&rest[..at]);
        rest = rest[at + 2..].trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        rest = rest.strip_prefix(['m', 'K']).unwrap_or(rest);
    }
    out.push_str(rest);
    Cow::Owned(out)
}
