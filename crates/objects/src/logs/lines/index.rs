//! Where lines are, sparsely: how many line breaks a log has before every
//! multiple of [`GRANULE`] bytes. It is counted while bytes are appended, or
//! from the disk when somebody asks for the first time, and kept beside the
//! segments of a closed log. It is never the truth: what is missing or does
//! not fit is counted again.

use super::super::attempt::{Attempt, Progress};
use super::super::segment::Place;
use crate::ObjectError;
use memchr::{memchr_iter, memrchr};
use std::io;
use std::path::Path;

/// Distance of the counts in bytes: what a reader scans at most to find a line.
pub(in crate::logs) const GRANULE: u64 = 256 << 10;
/// Bytes read at once while counting.
const STRETCH: usize = 4 << 20;
/// Logs shorter than this are counted again when they are opened: that takes a millisecond.
pub(in crate::logs) const KEPT_FROM: u64 = 1 << 20;
/// Name of the file beside the segments.
pub(in crate::logs) const FILE: &str = "lines";
const MAGIC: [u8; 8] = *b"FFLINE01";

/// The counts of one log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::logs) struct LineIndex {
    /// Everything before this offset is counted.
    covered: u64,
    /// Line breaks before it.
    breaks: u64,
    /// Offset behind the last of them.
    line_start: u64,
    /// Line breaks before `(i + 1) * GRANULE`.
    before: Vec<u64>,
    /// It is in its file.
    kept: bool,
}

/// What is known of the lines of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logs) struct Extent {
    /// Everything before this offset is counted.
    pub(in crate::logs) covered: u64,
    /// Line breaks before it.
    pub(in crate::logs) breaks: u64,
    /// Offset behind the last of them.
    pub(in crate::logs) line_start: u64,
}

impl Extent {
    /// Lines, with one that no break ends if the log is closed.
    pub(in crate::logs) const fn lines(&self, closed: bool) -> u64 {
        if closed && self.covered > self.line_start { self.breaks + 1 } else { self.breaks }
    }
}

impl LineIndex {
    pub(in crate::logs) const fn extent(&self) -> Extent {
        Extent { covered: self.covered, breaks: self.breaks, line_start: self.line_start }
    }

    /// Counts bytes that follow what is counted.
    fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = (GRANULE - self.covered % GRANULE) as usize;
            let (piece, rest) = bytes.split_at(room.min(bytes.len()));
            if let Some(last) = memrchr(b'\n', piece) {
                self.breaks += memchr_iter(b'\n', piece).count() as u64;
                self.line_start = self.covered + last as u64 + 1;
            }
            self.covered += piece.len() as u64;
            if self.covered.is_multiple_of(GRANULE) {
                self.before.push(self.breaks);
            }
            bytes = rest;
        }
    }

    /// Counts bytes at `offset`, if exactly what is before them is counted.
    pub(in crate::logs) fn appended(&mut self, offset: u64, pieces: impl Iterator<Item = impl AsRef<[u8]>>) {
        if self.covered == offset {
            pieces.for_each(|piece| self.advance(piece.as_ref()));
        }
    }

    /// An offset at or before the beginning of line `n`, and the line breaks before it.
    pub(in crate::logs) fn seek(&self, n: u64) -> (u64, u64) {
        // The line begins behind break n - 1, which is to be at the offset or behind it.
        let granules = self.before.partition_point(|&breaks| breaks + 1 < n);
        let breaks = granules.checked_sub(1).map_or(0, |i| self.before[i]);
        (granules as u64 * GRANULE, breaks)
    }

    /// Where to look for break number `n` (from 1): nothing between `offset` and there has it.
    pub(in crate::logs) fn skip_to_break(&self, offset: u64, n: u64) -> u64 {
        let granules = self.before.partition_point(|&breaks| breaks < n);
        offset.max(granules as u64 * GRANULE).min(self.covered)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for n in [self.covered, self.breaks, self.line_start].iter().chain(&self.before) {
            out.extend_from_slice(&n.to_le_bytes());
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (chunks, []) = body.strip_prefix(&MAGIC)?.as_chunks::<8>() else { return None };
        let mut numbers = chunks.iter().map(|c| u64::from_le_bytes(*c));
        let (covered, breaks, line_start) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let before: Vec<u64> = numbers.collect();
        (before.len() as u64 == covered / GRANULE).then_some(Self {
            covered,
            breaks,
            line_start,
            before,
            kept: true,
        })
    }
}

/// Writes a file that may be lost, but is never found in halves.
pub(super) fn keep(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let part = dir.join(format!("{name}.part"));
    std::fs::write(&part, bytes)?;
    std::fs::rename(&part, dir.join(name))
}

/// Reads a log piece by piece. Blocks.
pub(super) struct Walk<'a> {
    attempt: &'a Attempt,
    place: Option<Place>,
    /// Offset of the next piece.
    pub(super) at: u64,
    end: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(attempt: &'a Attempt, at: u64, end: u64) -> Self {
        Self { attempt, place: None, at, end }
    }

    /// Goes on at another offset, which is not before this one.
    pub(super) fn skip_to(&mut self, at: u64) {
        if at > self.at + GRANULE {
            self.place = None;
        }
        self.at = self.at.max(at);
    }

    /// The next bytes with their marks, at most `limit`; `None` at the end.
    pub(super) fn next(
        &mut self,
        limit: usize,
    ) -> Result<Option<(u64, super::super::segment::Collected)>, ObjectError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let mut place = match self.place {
            Some(place) => place,
            None => self.attempt.place_before(self.at)?,
        };
        let mut found = self.attempt.read(&mut place, (self.at, self.end), limit)?;
        // The log may have grown: blocks are given whole.
        let room = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        found.bytes.truncate(room);
        found.marks.retain(|m| m.offset < self.end);
        if found.bytes.is_empty() {
            return Ok(None);
        }
        self.place = Some(place);
        let offset = self.at;
        self.at += found.bytes.len() as u64;
        Ok(Some((offset, found)))
    }
}

impl Attempt {
    /// Whether everything up to `end` is counted.
    pub(super) fn is_counted(&self, end: u64) -> bool {
        self.lines.lock().covered >= end
    }

    /// Counts what is not counted yet. Blocks.
    pub(super) fn count_lines(&self, progress: Progress) -> Result<(), ObjectError> {
        if self.lines.lock().covered == 0
            && progress.closed
            && let Ok(bytes) = std::fs::read(self.dir.join(FILE))
            && let Some(known) = LineIndex::decode(&bytes).filter(|i| i.covered == progress.end)
        {
            *self.lines.lock() = known;
        }
        let from = self.lines.lock().covered;
        let mut walk = Walk::new(self, from, progress.end);
        while let Some((offset, piece)) = walk.next(STRETCH)? {
            let mut lines = self.lines.lock();
            lines.appended(offset, std::iter::once(&piece.bytes));
            // Somebody else counts, or appends do by now.
            if lines.covered > walk.at {
                walk.skip_to(lines.covered);
            }
        }
        if progress.closed {
            self.keep_lines(progress.end);
        }
        Ok(())
    }

    /// Writes the counts of a closed log beside it, if they are worth it.
    fn keep_lines(&self, end: u64) {
        let encoded = {
            let mut lines = self.lines.lock();
            let worth = end >= KEPT_FROM && !lines.kept && lines.covered == end;
            lines.kept |= worth;
            worth.then(|| lines.encode())
        };
        if let Some(bytes) = encoded
            && let Err(e) = keep(&self.dir, FILE, &bytes)
        {
            tracing::debug!(attempt = %self.id, error = %e, "the line index of a log was not kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By looking at every byte.
    fn starts(text: &[u8]) -> Vec<u64> {
        let behind = text.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i as u64 + 1);
        std::iter::once(0).chain(behind).collect()
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        // Long stretches without and with many breaks, around the size of a granule.
        let stretch = prop_oneof![Just(1_usize), Just(80), Just(70_000), Just(262_144), Just(262_143)];
        proptest::collection::vec((stretch, any::<bool>()), 0..8).prop_map(|all| {
            let mut out = Vec::new();
            for (length, short) in all {
                let every = if short { 7 } else { usize::MAX };
                out.extend((0..length).map(|i| if i % every == every - 1 { b'\n' } else { b'x' }));
                out.push(b'\n');
            }
            out
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn seeking_never_passes_a_line(text in text(), cuts in proptest::collection::vec(1_usize..300_000, 1..20)) {
            let mut index = LineIndex::default();
            let mut rest = &text[..];
            for cut in cuts {
                let (piece, later) = rest.split_at(cut.min(rest.len()));
                index.appended(index.covered, std::iter::once(piece));
                rest = later;
            }
            index.appended(index.covered, std::iter::once(rest));
            let starts = starts(&text);
            prop_assert_eq!(index.breaks + 1, starts.len() as u64);
            prop_assert_eq!(index.line_start, *starts.last().unwrap());
            for (i, start) in starts.iter().enumerate().step_by(1 + starts.len() / 50) {
                let (offset, breaks) = index.seek(i as u64 + 1);
                prop_assert!(offset <= *start);
                prop_assert_eq!(breaks, starts.iter().filter(|s| **s > 0 && **s <= offset).count() as u64);
                prop_assert!(*start - offset <= GRANULE + 300_000);
            }
            prop_assert_eq!(LineIndex::decode(&index.encode()).map(|i| (i.covered, i.before)),
                Some((index.covered, index.before.clone())));
        }
    }

    #[test]
    fn what_does_not_follow_is_not_counted() {
        let mut index = LineIndex::default();
        index.appended(5, std::iter::once(b"a\n"));
        assert_eq!(index, LineIndex::default());
        index.appended(0, [&b"a\nb"[..], b"c\n"].iter());
        assert_eq!(index.extent(), Extent { covered: 5, breaks: 2, line_start: 5 });
        assert!(LineIndex::decode(b"nonsense").is_none());
        let mut damaged = index.encode();
        damaged[9] ^= 1;
        assert!(LineIndex::decode(&damaged).is_none());
    }
}
