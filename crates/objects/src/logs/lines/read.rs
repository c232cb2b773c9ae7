//! Lines by number, from the nearest counted place on.

use super::super::attempt::{Attempt, Progress};
use super::LineRange;
use super::index::Walk;
use crate::ObjectError;
use fleetfoot_model::logs::Mark;
use fleetfoot_model::observe::{LogLine, LogLines, SHOWN_LINE};
use memchr::{memchr, memchr_iter};

/// Bytes read at once.
const STRETCH: usize = 256 << 10;

/// The mark that covers an offset; marks are ascending and the first covers the beginning.
pub(super) fn mark_at(marks: &[Mark], offset: u64) -> Option<&Mark> {
    marks.get(marks.partition_point(|m| m.offset <= offset).saturating_sub(1))
}

/// The text of a line as it is shown.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(bytes)).into_owned()
}

/// A line whose end was not seen yet.
struct Open {
    /// Where it begins in the log.
    start: u64,
    mark: Mark,
    bytes: Vec<u8>,
    length: u64,
}

impl Open {
    fn add(&mut self, piece: &[u8]) {
        let room = SHOWN_LINE.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&piece[..room.min(piece.len())]);
        self.length += piece.len() as u64;
    }

    fn line(self, n: u64) -> LogLine {
        let cut = self.length > self.bytes.len() as u64;
        LogLine {
            n,
            at: self.mark.time,
            step: self.mark.step,
            stream: self.mark.stream,
            text: shown(&self.bytes),
            cut,
            bytes: cut.then_some(self.length),
            offset: cut.then_some(self.start),
        }
    }
}

/// Collects lines until there are enough.
struct Collector {
    lines: Vec<LogLine>,
    next: u64,
    text: usize,
    open: Option<Open>,
}

impl Collector {
    fn end_line(&mut self) {
        if let Some(open) = self.open.take() {
            let line = open.line(self.next);
            self.text += line.text.len() + 64;
            self.lines.push(line);
            self.next += 1;
        }
    }
}

pub(super) fn lines(
    attempt: &Attempt,
    progress: Progress,
    range: LineRange,
    count: u64,
    bytes: usize,
) -> Result<LogLines, ObjectError> {
    let extent = attempt.lines.lock().extent();
    let total = extent.lines(progress.closed);
    let from = match range {
        LineRange::From(n) => n.max(1),
        LineRange::Last(n) => total.saturating_sub(n.min(count)) + 1,
    };
    let mut out = LogLines {
        attempt: Some(attempt.id.attempt),
        total,
        bytes: extent.covered,
        complete: progress.closed,
        from,
        ..LogLines::default()
    };
    // One more than the last line is the one that still grows.
    let last = total.min(from.saturating_add(count).saturating_sub(1));
    let growing = !progress.closed && extent.covered > extent.line_start && from <= total + 1;
    if from <= last {
        out.lines = collect(attempt, extent.covered, from, last, bytes)?;
    }
    let next = from + out.lines.len() as u64;
    if next <= total && from <= total {
        out.next = Some(next);
    } else if growing {
        out.partial = partial(attempt, extent.line_start, extent.covered, total + 1)?;
    }
    Ok(out)
}

fn collect(
    attempt: &Attempt,
    end: u64,
    from: u64,
    last: u64,
    bytes: usize,
) -> Result<Vec<LogLine>, ObjectError> {
    let (offset, mut breaks) = attempt.lines.lock().seek(from);
    let mut walk = Walk::new(attempt, offset, end);
    let mut found = Collector { lines: Vec::new(), next: from, text: 0, open: None };
    let is_full = |found: &Collector| found.next > last || (found.text >= bytes && !found.lines.is_empty());
    'pieces: while let Some((offset, piece)) = walk.next(STRETCH)? {
        let data = &piece.bytes[..];
        let mut at = 0;
        if breaks + 1 < from {
            let missing = usize::try_from(from - 1 - breaks).unwrap_or(usize::MAX);
            let mut all = memchr_iter(b'\n', data);
            match all.nth(missing - 1) {
                Some(position) => (at, breaks) = (position + 1, from - 1),
                None => {
                    breaks += memchr_iter(b'\n', data).count() as u64;
                    continue;
                }
            }
        }
        while at < data.len() {
            if found.open.is_none() {
                if is_full(&found) {
                    break 'pieces;
                }
                let Some(mark) = mark_at(&piece.marks, offset + at as u64) else { break 'pieces };
                let start = offset + at as u64;
                found.open = Some(Open { start, mark: *mark, bytes: Vec::new(), length: 0 });
            }
            let end = memchr(b'\n', &data[at..]).map(|i| at + i);
            if let Some(open) = &mut found.open {
                open.add(&data[at..end.unwrap_or(data.len())]);
            }
            match end {
                Some(end) => {
                    found.end_line();
                    at = end + 1;
                }
                None => at = data.len(),
            }
        }
        // The rest of a line that is cut is not read, if the counts tell where it ends.
        if let Some(open) = &mut found.open
            && open.bytes.len() >= SHOWN_LINE
        {
            let to = attempt.lines.lock().skip_to_break(walk.at, found.next).min(end);
            open.length += to - walk.at;
            walk.skip_to(to);
        }
    }
    if !is_full(&found) {
        found.end_line();
    }
    Ok(found.lines)
}

/// What stands behind the last line break.
fn partial(attempt: &Attempt, start: u64, end: u64, n: u64) -> Result<Option<LogLine>, ObjectError> {
    let mut walk = Walk::new(attempt, start, end);
    let Some((offset, piece)) = walk.next(SHOWN_LINE)? else { return Ok(None) };
    let Some(mark) = mark_at(&piece.marks, offset) else { return Ok(None) };
    let mut open = Open { start, mark: *mark, bytes: Vec::new(), length: 0 };
    open.add(&piece.bytes);
    open.length = end - start;
    Ok(Some(open.line(n)))
}
