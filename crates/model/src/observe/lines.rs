//! A log as lines. A line ends with a line feed, or where a complete log ends;
//! lines count from 1 over the whole log of an attempt, so that a number means
//! the same line for ever.

use crate::ids::AttemptNumber;
use crate::logs::Stream;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Bytes of a line that are shown; the rest is left out, and `cut` says so.
pub const SHOWN_LINE: usize = 64 << 10;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// Its number, from 1.
    pub n: u64,
    /// When the runner read its first byte.
    pub at: Timestamp,
    /// Index of the step that wrote it.
    pub step: u16,
    /// The stream of its first byte.
    pub stream: Stream,
    /// Its text without the line break; what is not UTF-8 is replaced.
    pub text: String,
    /// Only the beginning of the line is here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// Bytes of the whole line; only of one that is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Offset of its first byte in the log; only of one that is cut, whose rest is read as bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

/// Some lines of a log; also the data of an event `lines` of a stream that follows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLines {
    /// The attempt; absent while there is none.
    pub attempt: Option<AttemptNumber>,
    /// Lines of the whole log now.
    pub total: u64,
    /// Bytes of the whole log now.
    pub bytes: u64,
    /// No more lines will come.
    pub complete: bool,
    /// Number of the first line here, or of the one that would be.
    pub from: u64,
    /// The lines, without gaps.
    pub lines: Vec<LogLine>,
    /// Where to go on, if the log has more lines after these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// What stands behind the last line break of a log that grows: it becomes line `total + 1`.
    /// Only together with the last line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<LogLine>,
    /// A stream left out this many lines before `from`; they are read with `from` and `count`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Data of the event `end` of a stream that follows a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogEnd {
    /// The attempt; absent if the job ended without one.
    pub attempt: Option<AttemptNumber>,
    /// Lines of the whole log.
    pub total: u64,
}

/// Where things are in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogOutline {
    /// The attempt; absent while there is none.
    pub attempt: Option<AttemptNumber>,
    /// Lines of the whole log now.
    pub total_lines: u64,
    /// No more lines will come.
    pub complete: bool,
    /// Lines by step, in the order of their first lines.
    pub steps: Vec<StepLines>,
    /// Groups (`::group::`), in the order of their first lines.
    pub groups: Vec<LogGroup>,
    /// The first line that is an error (`::error`).
    pub first_error: Option<u64>,
    /// Lines that are errors.
    pub errors: Vec<LogError>,
    /// There are more groups or errors than are listed here.
    pub truncated: bool,
}

/// Lines of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepLines {
    /// Index of the step.
    pub index: u16,
    /// Its first line.
    pub first_line: u64,
    /// Its last line; lines of other steps may be in between.
    pub last_line: u64,
}

/// A group of lines that can be folded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogGroup {
    /// Line of its title.
    pub from: u64,
    /// Its last line (`::endgroup::`, or the last one of its step); absent while it is open.
    pub to: Option<u64>,
    /// Its title.
    pub title: String,
    /// Index of the step.
    pub step: u16,
}

/// A line that is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogError {
    /// The line.
    pub line: u64,
    /// Index of the step.
    pub step: u16,
    /// Its message, cut to some hundred characters.
    pub text: String,
}

/// Lines with a text or a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogSearch {
    /// The attempt; absent while there is none.
    pub attempt: Option<AttemptNumber>,
    /// Lines that match, ascending, at most as many as were asked for.
    pub matches: Vec<LogMatch>,
    /// Lines that match among those searched, listed or not.
    pub count: u64,
    /// The whole log was searched, to its last line of now.
    pub complete: bool,
    /// Every line up to this one was searched.
    pub searched_to: u64,
    /// Pass as `after` for further matches or to search on; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// A line that matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogMatch {
    /// The line.
    pub line: u64,
    /// Index of the step.
    pub step: u16,
    /// Start and end of each match in the text of the line, in UTF-16 code units (the first hundred).
    pub at: Vec<[u32; 2]>,
}
