//! Tells whether any of a set of patterns occurs, at memory speed when none
//! does: a window as long as the shortest pattern moves over the text by as
//! much as its last three bytes allow (after Wu and Manber). Where the window
//! stops, the patterns with that ending are compared. It must never miss an
//! occurrence.

use std::collections::BTreeSet;

const BITS: u32 = 13;
/// Bytes that are looked at per stop.
const BLOCK: usize = 3;

/// A set of patterns to look for.
pub(super) struct Probe {
    /// Length of the window: that of the shortest pattern.
    window: usize,
    /// How far the window may move, by hash of its last bytes.
    shift: Vec<u8>,
    /// Patterns whose window ends with these bytes, sorted by hash.
    patterns: Vec<(u16, Vec<u8>)>,
}

fn hash(block: &[u8]) -> usize {
    let word = u32::from(block[0]) | (u32::from(block[1]) << 8) | (u32::from(block[2]) << 16);
    (word.wrapping_mul(0x9E37_79B1) >> (32 - BITS)) as usize
}

impl Probe {
    /// Patterns are not empty.
    pub(super) fn new(patterns: &BTreeSet<Vec<u8>>) -> Self {
        let window = patterns.iter().map(Vec::len).min().unwrap_or(0);
        if window < BLOCK {
            // Too short for the table; every place is compared.
            let patterns = patterns.iter().map(|p| (0, p.clone())).collect();
            return Self { window, shift: Vec::new(), patterns };
        }
        let farthest = u8::try_from(window - BLOCK + 1).unwrap_or(u8::MAX);
        let mut shift = vec![farthest; 1 << BITS];
        let mut list = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            for end in BLOCK..=window {
                let slot = &mut shift[hash(&pattern[end - BLOCK..end])];
                *slot = (*slot).min(u8::try_from(window - end).unwrap_or(u8::MAX));
            }
            #[expect(clippy::cast_possible_truncation, reason = "a hash has 13 bits")]
            list.push((hash(&pattern[window - BLOCK..window]) as u16, pattern.clone()));
        }
        list.sort_unstable();
        Self { window, shift, patterns: list }
    }

    /// Whether a pattern occurs in the text.
    pub(super) fn hits(&self, text: &[u8]) -> bool {
        if self.patterns.is_empty() {
            return false;
        }
        if self.shift.is_empty() {
            return self.patterns.iter().any(|(_, p)| memchr::memmem::find(text, p).is_some());
        }
        let mut end = self.window;
        while end <= text.len() {
            let hash = hash(&text[end - BLOCK..end]);
            let step = self.shift[hash];
            if step == 0 {
                if self.compare(hash, &text[end - self.window..]) {
                    return true;
                }
                end += 1;
            } else {
                end += usize::from(step);
            }
        }
        false
    }

    fn compare(&self, hash: usize, text: &[u8]) -> bool {
        let from = self.patterns.partition_point(|(h, _)| usize::from(*h) < hash);
        self.patterns[from..]
            .iter()
            .take_while(|(h, _)| usize::from(*h) == hash)
            .any(|(_, pattern)| text.starts_with(pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_the_plain_search(
            patterns in prop::collection::btree_set("[ab]{1,9}|[abc]{3,300}", 1..5),
            text in "[abc]{0,200}",
            part in 0_usize..5,
        ) {
            let patterns: BTreeSet<Vec<u8>> = patterns.into_iter().map(String::into_bytes).collect();
            let probe = Probe::new(&patterns);
            let mut text = text.into_bytes();
            if part > 2 {
                let at = text.len() / part;
                text.splice(at..at, patterns.first().unwrap().iter().copied());
            }
            let expected = patterns.iter().any(|p| text.windows(p.len()).any(|w| w == p));
            prop_assert_eq!(probe.hits(&text), expected);
        }
    }
}
