//! Secrets in output: every occurrence of a secret, in every encoding in which
//! programs commonly print one, becomes `***`.
//!
//! A [`Masker`] holds the secrets of one attempt and may learn more while
//! output flows; a [`StreamMask`] applies it to one stream of bytes, holding
//! back only what could be the beginning of a secret. Masking does not depend
//! on how the stream is cut. It must never let a byte of a known secret
//! through because a write, read or buffer ended inside it.

mod encodings;
mod probe;

use self::probe::Probe;
use aho_corasick::AhoCorasick;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What stands for a secret.
pub const MASK: &str = "***";

/// The secrets of one attempt. Cheap to share.
#[derive(Debug, Default)]
pub struct Masker {
    state: Mutex<State>,
    /// Counts changes, so that streams notice one without taking the lock.
    version: AtomicU64,
}

#[derive(Default)]
struct State {
    patterns: BTreeSet<Vec<u8>>,
    /// Built when first needed: most jobs print little and many print nothing.
    built: Option<Arc<Matcher>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("patterns", &self.patterns.len()).finish_non_exhaustive()
    }
}

/// Searches for all patterns at once.
struct Matcher {
    version: u64,
    /// Finds out fast that there is nothing.
    probe: Probe,
    /// Finds every occurrence, also overlapping ones. Built at the first hit.
    all: OnceLock<Option<AhoCorasick>>,
    /// Patterns by first byte, for the search of beginnings at the end of a buffer.
    by_first: Vec<Vec<Vec<u8>>>,
    longest: usize,
}

impl Masker {
    /// A masker for these secrets.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let masker = Self::default();
        for secret in secrets {
            masker.add(secret);
        }
        masker
    }

    /// Masks one more secret from now on. Returns `false` if it is too short
    /// (a single character would make every log unreadable).
    pub fn add(&self, secret: &str) -> bool {
        let mut new = BTreeSet::new();
        let accepted = encodings::patterns(secret, &mut new);
        if !new.is_empty() {
            let mut state = self.lock();
            let before = state.patterns.len();
            state.patterns.append(&mut new);
            if state.patterns.len() != before {
                state.built = None;
                self.version.fetch_add(1, Ordering::Release);
            }
        }
        accepted
    }

    /// Whether there is nothing to mask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.version.load(Ordering::Acquire) == 0
    }

    /// The text with all secrets masked.
    #[must_use]
    pub fn mask(&self, text: &str) -> String {
        if self.is_empty() || text.is_empty() {
            return text.to_owned();
        }
        let mut stream = StreamMask::default();
        let mut out = Vec::new();
        stream.feed(self, Bytes::copy_from_slice(text.as_bytes()), &mut |b| out.extend_from_slice(&b));
        stream.finish(&mut |b| out.extend_from_slice(&b));
        // A mask may cut a character of another secret's overlap, nothing else.
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Whether the text contains a secret.
    #[must_use]
    pub fn finds(&self, text: &str) -> bool {
        !self.is_empty() && self.matcher().probe.hits(text.as_bytes())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn matcher(&self) -> Arc<Matcher> {
        let mut state = self.lock();
        let version = self.version.load(Ordering::Acquire);
        if let Some(built) = &state.built {
            return built.clone();
        }
        let matcher = Arc::new(Matcher::new(&state.patterns, version));
        state.built = Some(matcher.clone());
        matcher
    }
}

impl Matcher {
    fn new(patterns: &BTreeSet<Vec<u8>>, version: u64) -> Self {
        let mut by_first = vec![Vec::new(); 256];
        for pattern in patterns {
            by_first[usize::from(pattern[0])].push(pattern.clone());
        }
        Self {
            version,
            probe: Probe::new(patterns),
            all: OnceLock::new(),
            by_first,
            longest: patterns.iter().map(Vec::len).max().unwrap_or(0),
        }
    }

    fn all(&self) -> Option<&AhoCorasick> {
        let build = || AhoCorasick::new(self.by_first.iter().flatten()).ok();
        self.all.get_or_init(build).as_ref()
    }

    /// Where the first part at the end of `buffer` begins that may become a secret.
    fn undecided(&self, buffer: &[u8]) -> usize {
        let from = buffer.len().saturating_sub(self.longest.saturating_sub(1));
        (from..buffer.len())
            .find(|&at| {
                let tail = &buffer[at..];
                self.by_first[usize::from(tail[0])]
                    .iter()
                    .any(|p| p.len() > tail.len() && p.starts_with(tail))
            })
            .unwrap_or(buffer.len())
    }
}

/// Masks one stream of bytes.
#[derive(Default)]
pub struct StreamMask {
    matcher: Option<Arc<Matcher>>,
    /// Bytes that may be the beginning of a secret.
    held: Vec<u8>,
    /// How many of them belong to a secret for which `***` has been written already.
    masked: usize,
}

impl std::fmt::Debug for StreamMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamMask").field("held", &self.held.len()).finish_non_exhaustive()
    }
}

impl StreamMask {
    /// Takes the next bytes and gives out what is decided, in order. Bytes
    /// without secrets pass uncopied.
    pub fn feed(&mut self, masker: &Masker, chunk: Bytes, out: &mut impl FnMut(Bytes)) {
        let version = masker.version.load(Ordering::Acquire);
        if version == 0 {
            if !chunk.is_empty() {
                out(chunk);
            }
            return;
        }
        let matcher = match &self.matcher {
            Some(matcher) if matcher.version == version => matcher.clone(),
            _ => self.matcher.insert(masker.matcher()).clone(),
        };
        let buffer = if self.held.is_empty() {
            chunk
        } else {
            self.held.extend_from_slice(&chunk);
            Bytes::from(std::mem::take(&mut self.held))
        };
        self.pass(&matcher, buffer, false, out);
    }

    /// The stream has ended: gives out what was held back.
    pub fn finish(&mut self, out: &mut impl FnMut(Bytes)) {
        if let Some(matcher) = self.matcher.clone() {
            let buffer = Bytes::from(std::mem::take(&mut self.held));
            self.pass(&matcher, buffer, true, out);
        }
    }

    fn pass(&mut self, matcher: &Matcher, buffer: Bytes, last: bool, out: &mut impl FnMut(Bytes)) {
        let end = if last { buffer.len() } else { matcher.undecided(&buffer) };
        let mut ranges = Ranges { ranges: Vec::new(), already: self.masked };
        if matcher.probe.hits(&buffer)
            && let Some(all) = matcher.all()
        {
            for found in all.find_overlapping_iter(&buffer[..]) {
                ranges.add(found.start(), found.end());
            }
        }
        // `at`: everything before it has been given out or masked.
        let mut at = self.masked.min(end);
        self.masked = self.masked.saturating_sub(end);
        for (start, stop, new) in ranges.merged() {
            if start >= end {
                break;
            }
            if start > at {
                out(buffer.slice(at..start));
            }
            if new {
                out(Bytes::from_static(MASK.as_bytes()));
            }
            at = stop.min(end).max(at);
            self.masked = self.masked.max(stop.saturating_sub(end));
        }
        if at < end {
            out(buffer.slice(at..end));
        }
        self.held = buffer[end..].to_vec();
    }
}

/// Occurrences in one buffer; those that overlap count as one.
struct Ranges {
    ranges: Vec<(usize, usize)>,
    /// The first bytes of the buffer belong to an occurrence for which `***` was written.
    already: usize,
}

impl Ranges {
    fn add(&mut self, start: usize, stop: usize) {
        self.ranges.push((start, stop));
    }

    /// Start, end, and whether `***` is still to be written.
    fn merged(mut self) -> Vec<(usize, usize, bool)> {
        self.ranges.sort_unstable();
        let mut merged: Vec<(usize, usize, bool)> = Vec::with_capacity(self.ranges.len() + 1);
        if self.already > 0 {
            merged.push((0, self.already, false));
        }
        for (start, stop) in self.ranges {
            match merged.last_mut() {
                Some(last) if start < last.1 => last.1 = last.1.max(stop),
                _ => merged.push((start, stop, true)),
            }
        }
        merged
    }
}

#[cfg(test)]
mod tests;
