//! Searching a log for a text or a pattern: whole pieces at memory speed,
//! single lines only where something was found. A search has a limit in time
//! and says where to go on.

use super::super::attempt::{Attempt, Progress};
use super::index::Walk;
use super::read::mark_at;
use crate::ObjectError;
use fleetfoot_model::logs::Mark;
use fleetfoot_model::observe::{LogMatch, LogSearch, SHOWN_LINE};
use memchr::{memchr, memchr_iter, memmem, memrchr};
use regex::bytes::{Regex, RegexBuilder};
use std::time::{Duration, Instant};

/// Bytes read at once.
const STRETCH: usize = 2 << 20;
/// A line that is longer is searched in parts.
const LONGEST: usize = 8 << 20;
/// Matches of a line that are told.
const PER_LINE: usize = 100;
/// Bytes that a compiled pattern may take.
const COMPILED: usize = 1 << 20;
/// Characters of a text or pattern.
const ASKED: usize = 1_000;

/// What to search for.
#[derive(Clone, Debug)]
pub struct LogPattern(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Text(Box<memmem::Finder<'static>>),
    Pattern(Regex),
}

impl LogPattern {
    /// A text, or a pattern in the syntax of Rust's `regex`; `case`: letters must be the same.
    ///
    /// # Errors
    /// In words, if the pattern cannot be used.
    pub fn new(asked: &str, regex: bool, case: bool) -> Result<Self, String> {
        if asked.is_empty() {
            return Err("say what to search for".to_owned());
        }
        if asked.len() > ASKED {
            return Err(format!("what is searched for has at most {ASKED} bytes"));
        }
        if asked.contains('\n') {
            return Err("a search is for something within a line".to_owned());
        }
        if !regex && case {
            return Ok(Self(Kind::Text(Box::new(memmem::Finder::new(asked).into_owned()))));
        }
        let pattern = if regex { asked.to_owned() } else { regex::escape(asked) };
        let built = RegexBuilder::new(&pattern)
            .case_insensitive(!case)
            .multi_line(true)
            .crlf(true)
            .size_limit(COMPILED)
            .dfa_size_limit(2 * COMPILED)
            .build();
        let compiled = built.map_err(|e| match e {
            regex::Error::CompiledTooBig(_) => "the pattern is too large".to_owned(),
            other => other.to_string(),
        })?;
        Ok(Self(Kind::Pattern(compiled)))
    }

    /// Where the first match begins, at `from` or later.
    fn first(&self, bytes: &[u8], from: usize) -> Option<usize> {
        match &self.0 {
            Kind::Text(finder) => finder.find(&bytes[from..]).map(|i| from + i),
            Kind::Pattern(regex) => regex.find_at(bytes, from).map(|m| m.start()),
        }
    }

    /// Matches within a line.
    fn within(&self, line: &[u8]) -> Vec<(usize, usize)> {
        let found: Vec<_> = match &self.0 {
            Kind::Text(finder) => {
                let length = finder.needle().len();
                finder.find_iter(line).take(PER_LINE).map(|i| (i, i + length)).collect()
            }
            Kind::Pattern(regex) => {
                regex.find_iter(line).take(PER_LINE).map(|m| (m.start(), m.end())).collect()
            }
        };
        found
    }
}

/// Bytes of text as UTF-16 code units, as it is shown.
fn units(bytes: &[u8]) -> u32 {
    if bytes.is_ascii() {
        return u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    }
    u32::try_from(String::from_utf8_lossy(bytes).encode_utf16().count()).unwrap_or(u32::MAX)
}

/// What was found so far.
struct Found {
    out: LogSearch,
    limit: usize,
    /// Lines that began before what is looked at now.
    breaks: u64,
}

impl Found {
    /// Searches whole lines; the first byte is at `offset`.
    fn search(&mut self, pattern: &LogPattern, bytes: &[u8], offset: u64, marks: &[Mark]) {
        let (mut at, mut counted) = (0, 0);
        while at < bytes.len() {
            let Some(found) = pattern.first(bytes, at) else { break };
            let begin = memrchr(b'\n', &bytes[..found]).map_or(0, |i| i + 1);
            let end = memchr(b'\n', &bytes[found..]).map_or(bytes.len(), |i| found + i);
            self.breaks += memchr_iter(b'\n', &bytes[counted..begin]).count() as u64;
            counted = begin;
            // A match over several lines is none: only the line alone decides.
            let line = &bytes[begin..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let places = pattern.within(line);
            if !places.is_empty() {
                self.out.count += 1;
                if self.out.matches.len() < self.limit {
                    let shown = |(from, to): &(usize, usize)| {
                        (*from < SHOWN_LINE).then(|| {
                            let start = units(&line[..*from]);
                            [start, start + units(&line[*from..*to])]
                        })
                    };
                    let step = mark_at(marks, offset + begin as u64).map_or(0, |m| m.step);
                    let at = places.iter().filter_map(shown).collect();
                    self.out.matches.push(LogMatch { line: self.breaks + 1, step, at });
                }
            }
            at = end + 1;
        }
        self.breaks += memchr_iter(b'\n', &bytes[counted.min(bytes.len())..]).count() as u64;
    }
}

pub(super) fn search(
    attempt: &Attempt,
    progress: Progress,
    pattern: &LogPattern,
    after: u64,
    limit: usize,
    time: Duration,
) -> Result<LogSearch, ObjectError> {
    let begun = Instant::now();
    let extent = attempt.lines.lock().extent();
    let total = extent.lines(progress.closed);
    let end = if progress.closed { extent.covered } else { extent.line_start };
    let out = LogSearch { attempt: Some(attempt.id.attempt), ..LogSearch::default() };
    let mut found = Found { out, limit, breaks: 0 };
    if after >= total {
        found.out.complete = true;
        found.out.searched_to = total;
        return Ok(found.out);
    }
    let (offset, breaks) = attempt.lines.lock().seek(after + 1);
    found.breaks = breaks;
    let mut walk = Walk::new(attempt, offset, end);
    // Bytes of a line that goes on in the next piece, where they begin, and their marks.
    let (mut bytes, mut start, mut marks): (Vec<u8>, u64, Vec<Mark>) = (Vec::new(), offset, Vec::new());
    let mut stopped = false;
    while let Some((_, piece)) = walk.next(STRETCH)? {
        marks.extend_from_slice(&piece.marks);
        if bytes.is_empty() {
            bytes = piece.bytes;
        } else {
            bytes.extend_from_slice(&piece.bytes);
        }
        if found.breaks < after {
            // Lines that were searched before.
            let missing = usize::try_from(after - found.breaks).unwrap_or(usize::MAX);
            let position = memchr_iter(b'\n', &bytes).nth(missing - 1);
            let skipped = position.map_or(bytes.len(), |i| i + 1);
            found.breaks += memchr_iter(b'\n', &bytes[..skipped]).count() as u64;
            bytes.drain(..skipped);
            start += skipped as u64;
            if bytes.is_empty() {
                continue;
            }
        }
        let whole = match memrchr(b'\n', &bytes) {
            Some(last) => last + 1,
            None if bytes.len() > LONGEST || walk.at >= end => bytes.len(),
            None => continue,
        };
        found.search(pattern, &bytes[..whole], start, &marks);
        start += whole as u64;
        bytes.drain(..whole);
        let first = marks.partition_point(|m| m.offset <= start).saturating_sub(1);
        marks.drain(..first);
        if begun.elapsed() >= time && walk.at < end {
            stopped = true;
            break;
        }
    }
    if !stopped && !bytes.is_empty() {
        found.search(pattern, &bytes, start, &marks);
    }
    let Found { mut out, breaks, .. } = found;
    out.searched_to = if stopped { breaks.max(after) } else { total };
    out.complete = !stopped;
    let listed = out.matches.len() as u64 == out.count;
    out.next = match out.matches.last() {
        Some(last) if !listed => Some(last.line),
        _ => stopped.then_some(out.searched_to),
    };
    Ok(out)
}
