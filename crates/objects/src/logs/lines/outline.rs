//! Where steps, groups and errors are in a log. It is made by looking at the
//! beginning of every line once, when somebody asks or when the log is closed,
//! and grows from where it stopped. It is bounded: of very many groups and
//! errors the first ones are kept.

use super::super::attempt::{Attempt, Progress};
use super::index::{Walk, keep};
use super::read::mark_at;
use crate::ObjectError;
use fleetfoot_model::observe::{LogError, LogGroup, LogOutline, StepLines};
use memchr::memchr;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Groups that are kept.
const GROUPS: usize = 10_000;
/// Errors that are kept.
const ERRORS: usize = 1_000;
/// Characters of a title or message.
const WORDS: usize = 300;
/// Bytes of the beginning of a line that are looked at.
const HEAD: usize = 1200;
/// Bytes read at once.
const STRETCH: usize = 1 << 20;
/// Shorter logs are looked at again: that takes a moment.
const KEPT_FROM: u64 = 1 << 20;
/// Name of the file beside the segments.
pub(in crate::logs) const FILE: &str = "outline";

/// What was found up to some offset.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::logs) struct Outline {
    covered: u64,
    /// Lines that began before it.
    lines: u64,
    /// The last of them has not ended.
    inside: bool,
    steps: Vec<StepLines>,
    groups: Vec<LogGroup>,
    /// Indices of the open groups by step, the innermost last.
    open: HashMap<u16, Vec<usize>>,
    errors: Vec<LogError>,
    truncated: bool,
    /// The beginning of the line that has not ended, and its step.
    head: Vec<u8>,
    step: u16,
    /// It is in its file.
    #[serde(skip)]
    kept: bool,
}

enum Says<'a> {
    Group(&'a [u8]),
    EndGroup,
    Error(&'a [u8]),
    Nothing,
}

/// What the beginning of a line says to a reader.
fn says(line: &[u8]) -> Says<'_> {
    let line = line.trim_ascii_start();
    if let Some(rest) = line.strip_prefix(b"::") {
        let Some(end) = memchr::memmem::find(rest, b"::") else { return Says::Nothing };
        let name = rest[..end].split(|b| *b == b' ').next().unwrap_or_default();
        return command(name, &rest[end + 2..]);
    }
    if let Some(rest) = line.strip_prefix(b"##[") {
        let Some(end) = memchr(b']', rest) else { return Says::Nothing };
        let name = rest[..end].split(|b| *b == b' ').next().unwrap_or_default();
        return command(name, &rest[end + 1..]);
    }
    Says::Nothing
}

fn command<'a>(name: &[u8], data: &'a [u8]) -> Says<'a> {
    match &*name.to_ascii_lowercase() {
        b"group" => Says::Group(data),
        b"endgroup" => Says::EndGroup,
        b"error" => Says::Error(data),
        _ => Says::Nothing,
    }
}

fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.trim_ascii());
    let text: String = text.chars().take(WORDS).collect();
    // As workflow commands escape their data.
    text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
}

impl Outline {
    fn begin_line(&mut self, step: u16) {
        self.lines += 1;
        self.inside = true;
        self.step = step;
        self.head.clear();
        match self.steps.iter_mut().rev().find(|s| s.index == step) {
            Some(known) => known.last_line = self.lines,
            None => {
                let line = self.lines;
                self.steps.push(StepLines { index: step, first_line: line, last_line: line });
            }
        }
    }

    fn end_line(&mut self) {
        self.inside = false;
        let first = self.head.trim_ascii_start().first();
        if !matches!(first, Some(b':' | b'#')) {
            return;
        }
        let (line, step, head) = (self.lines, self.step, std::mem::take(&mut self.head));
        match says(&head) {
            Says::Group(title) => {
                // One that is not listed has an end too, which must not close another.
                let listed = self.groups.len() < GROUPS;
                let index = if listed { self.groups.len() } else { usize::MAX };
                self.open.entry(step).or_default().push(index);
                if listed {
                    self.groups.push(LogGroup { from: line, to: None, title: words(title), step });
                } else {
                    self.truncated = true;
                }
            }
            Says::EndGroup => self.close_group(step, line),
            Says::Error(message) if self.errors.len() < ERRORS => {
                self.errors.push(LogError { line, step, text: words(message) });
            }
            Says::Error(_) => self.truncated = true,
            Says::Nothing => {}
        }
        self.head = head;
    }

    fn close_group(&mut self, step: u16, line: u64) {
        if let Some(group) = self.open.get_mut(&step).and_then(Vec::pop).and_then(|i| self.groups.get_mut(i))
        {
            group.to = Some(line.max(group.from));
        }
    }

    fn advance(&mut self, offset: u64, piece: &super::super::segment::Collected) {
        let data = &piece.bytes[..];
        let mut at = 0;
        let mut marks = piece.marks.iter().peekable();
        let mut step = mark_at(&piece.marks, offset).map_or(self.step, |m| m.step);
        while at < data.len() {
            if !self.inside {
                while let Some(mark) = marks.next_if(|m| m.offset <= offset + at as u64) {
                    step = mark.step;
                }
                self.begin_line(step);
            }
            let end = memchr(b'\n', &data[at..]).map(|i| at + i);
            let part = &data[at..end.unwrap_or(data.len())];
            // Most lines say nothing, and their first byte tells.
            let room = HEAD - self.head.len().min(HEAD);
            let first = self.head.first().or(part.first());
            if first.is_some_and(|b| matches!(b, b':' | b'#' | b' ' | b'\t')) {
                self.head.extend_from_slice(&part[..room.min(part.len())]);
            }
            match end {
                Some(end) => {
                    self.end_line();
                    at = end + 1;
                }
                None => at = data.len(),
            }
        }
        self.covered = offset + data.len() as u64;
    }

    fn view(&self, attempt: u32, closed: bool) -> LogOutline {
        let growing = self.inside && !closed;
        let mut groups = self.groups.clone();
        if closed {
            for index in self.open.values().flatten() {
                if let Some(group) = groups.get_mut(*index) {
                    let step = self.steps.iter().find(|s| s.index == group.step);
                    group.to = step.map(|s| s.last_line);
                }
            }
        }
        LogOutline {
            attempt: Some(attempt),
            total_lines: self.lines - u64::from(growing),
            complete: closed,
            steps: self.steps.clone(),
            groups,
            first_error: self.errors.first().map(|e| e.line),
            errors: self.errors.clone(),
            truncated: self.truncated,
        }
    }
}

impl Attempt {
    /// The outline up to what was durable. Blocks.
    pub(super) fn outlined(&self, progress: Progress) -> Result<LogOutline, ObjectError> {
        let mut outline = self.outline.lock();
        if outline.covered == 0
            && progress.closed
            && progress.end >= KEPT_FROM
            && let Ok(bytes) = std::fs::read(self.dir.join(FILE))
            && let Ok(known) = serde_json::from_slice::<Outline>(&bytes)
            && known.covered == progress.end
        {
            *outline = Outline { kept: true, ..known };
        }
        let mut walk = Walk::new(self, outline.covered, progress.end);
        while let Some((offset, piece)) = walk.next(STRETCH)? {
            outline.advance(offset, &piece);
        }
        if progress.closed && outline.inside {
            outline.end_line();
        }
        if progress.closed && progress.end >= KEPT_FROM && !outline.kept {
            outline.kept = true;
            if let Ok(bytes) = serde_json::to_vec(&*outline)
                && let Err(e) = keep(&self.dir, FILE, &bytes)
            {
                tracing::debug!(attempt = %self.id, error = %e, "the outline of a log was not kept");
            }
        }
        Ok(outline.view(self.id.attempt, progress.closed))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::segment::Collected;
    use super::*;
    use fleetfoot_model::Timestamp;
    use fleetfoot_model::logs::{Mark, Stream};

    /// Feeds steps with their texts, in pieces of so many bytes.
    fn outline(steps: &[(u16, &str)], piece: usize) -> LogOutline {
        let (mut bytes, mut marks) = (Vec::new(), Vec::new());
        for (step, text) in steps {
            let offset = bytes.len() as u64;
            marks.push(Mark { offset, time: Timestamp(0), step: *step, stream: Stream::Stdout });
            bytes.extend_from_slice(text.as_bytes());
        }
        let mut outline = Outline::default();
        for (i, part) in bytes.chunks(piece).enumerate() {
            let from = (i * piece) as u64;
            let first = marks.partition_point(|m| m.offset <= from).saturating_sub(1);
            let end = from + part.len() as u64;
            let within = marks[first..].iter().take_while(|m| m.offset < end);
            let marks = within.map(|m| Mark { offset: m.offset.max(from), ..*m }).collect();
            outline.advance(from, &Collected { bytes: part.to_vec(), marks });
        }
        if outline.inside {
            outline.end_line();
        }
        outline.view(1, true)
    }

    #[test]
    fn steps_groups_and_errors_are_found_however_the_bytes_come() {
        let text = [
            (0, "::group::Run a%0Ab\nx\n::endgroup::\nplain :: text\n"),
            (1, "  ##[group]open\n ::error file=a,line=3::it broke\n##[error]again\n"),
            (3, "::group::one\n::group::two\nend without a break"),
        ];
        let whole = outline(&text, 10_000);
        insta::assert_snapshot!(serde_json::to_string(&whole).unwrap(), @r#"{"attempt":1,"total_lines":10,"complete":true,"steps":[{"index":0,"first_line":1,"last_line":4},{"index":1,"first_line":5,"last_line":7},{"index":3,"first_line":8,"last_line":10}],"groups":[{"from":1,"to":3,"title":"Run a\nb","step":0},{"from":5,"to":7,"title":"open","step":1},{"from":8,"to":10,"title":"one","step":3},{"from":9,"to":10,"title":"two","step":3}],"first_error":6,"errors":[{"line":6,"step":1,"text":"it broke"},{"line":7,"step":1,"text":"again"}],"truncated":false}"#);
        for piece in [1, 2, 3, 7, 19] {
            assert_eq!(outline(&text, piece), whole, "in pieces of {piece}");
        }
    }

    #[test]
    fn it_is_bounded() {
        let many = "::group::g\n::error::e\n".repeat(GROUPS + 5);
        let out = outline(&[(0, &many)], 1 << 16);
        assert_eq!((out.groups.len(), out.errors.len(), out.truncated), (GROUPS, ERRORS, true));
        assert_eq!(out.total_lines, 2 * (GROUPS as u64 + 5));
    }
}
