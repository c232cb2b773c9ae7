//! Logs by lines: who may see them, and what is asked of the log store.

use crate::{Control, Principal};
use fleetfoot_model::ids::{AttemptNumber, JobId};
use fleetfoot_model::observe::{LogLines, LogOutline, LogSearch};
use fleetfoot_model::{Code, Problem};
use fleetfoot_objects::{ErrorKind, LineRange, LogPattern, ObjectError};
use std::time::Duration;

/// Bytes of text in one answer, about: escaped as JSON they are several times as many at worst.
const ANSWER: usize = 512 << 10;
/// Lines in one answer.
pub(super) const MAX_LINES: u64 = 5_000;
/// How long one search takes at most, about.
const SEARCH: Duration = Duration::from_millis(1_500);
/// Matches in one answer.
const MATCHES: usize = 1_000;

/// A failure of the log store as a caller sees it.
pub(super) fn log_problem(e: &ObjectError) -> Problem {
    match e.kind() {
        ErrorKind::NotFound => Problem::new(Code::NotFound, e.to_string()),
        ErrorKind::Unavailable => Problem::new(Code::Overloaded, "the log could not be read just now"),
        _ => Problem::new(Code::Internal, e.to_string()),
    }
}

impl Control {
    /// Lines of a log.
    ///
    /// # Errors
    /// `forbidden`, `not_found`.
    pub async fn log_lines(
        &self,
        who: &Principal,
        job: JobId,
        attempt: Option<AttemptNumber>,
        range: LineRange,
        count: u64,
    ) -> Result<LogLines, Problem> {
        let Some(log) = self.log_of(who, job, attempt).await? else {
            return Ok(LogLines { from: 1, ..LogLines::default() });
        };
        let count = count.clamp(1, MAX_LINES);
        self.inner.logs.lines(log, range, count, ANSWER).await.map_err(|e| log_problem(&e))
    }

    /// Where things are in a log.
    ///
    /// # Errors
    /// `forbidden`, `not_found`.
    pub async fn log_outline(
        &self,
        who: &Principal,
        job: JobId,
        attempt: Option<AttemptNumber>,
    ) -> Result<LogOutline, Problem> {
        let Some(log) = self.log_of(who, job, attempt).await? else { return Ok(LogOutline::default()) };
        self.inner.logs.outline(log).await.map_err(|e| log_problem(&e))
    }

    /// Searches a log behind line `after`.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `bad_request` for a pattern that cannot be used.
    pub async fn search_log(
        &self,
        who: &Principal,
        job: JobId,
        attempt: Option<AttemptNumber>,
        (asked, regex, case): (&str, bool, bool),
        after: u64,
        limit: usize,
    ) -> Result<LogSearch, Problem> {
        let log = self.log_of(who, job, attempt).await?;
        let pattern = LogPattern::new(asked, regex, case).map_err(|e| Problem::new(Code::BadRequest, e))?;
        let Some(log) = log else { return Ok(LogSearch::default()) };
        let found = self.inner.logs.search(log, pattern, after, limit.clamp(1, MATCHES), SEARCH).await;
        found.map_err(|e| log_problem(&e))
    }
}
