//! Cuts output into ordinary bytes and lines that may be workflow commands.
//! Ordinary bytes pass in big pieces without being copied or split into lines.
//! It must never hold back more than one line of bounded length.

use crate::command::may_be_command;
use bytes::{Bytes, BytesMut};
use memchr::{memchr, memmem, memrchr};

/// A line longer than this is output, whatever it begins with.
const MAX_LINE: usize = 1 << 20;

/// A part of the output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Ordinary bytes.
    Output(Bytes),
    /// A whole line, with its line break, that begins like a command.
    Line(Bytes),
}

/// The state between two reads of one stream.
pub(crate) struct Scanner {
    /// The beginning of a line that may become a command.
    carry: BytesMut,
    at_line_start: bool,
    new: memmem::Finder<'static>,
    old: memmem::Finder<'static>,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            carry: BytesMut::new(),
            at_line_start: true,
            new: memmem::Finder::new("::"),
            old: memmem::Finder::new("##["),
        }
    }
}

impl Scanner {
    /// Takes the bytes of one read.
    pub(crate) fn feed(&mut self, mut chunk: Bytes, out: &mut impl FnMut(Part)) {
        if !self.carry.is_empty() {
            let Some(end) = memchr(b'\n', &chunk) else {
                self.carry.extend_from_slice(&chunk);
                if self.carry.len() > MAX_LINE || !may_be_command(&self.carry) {
                    self.at_line_start = false;
                    out(Part::Output(self.carry.split().freeze()));
                }
                return;
            };
            self.carry.extend_from_slice(&chunk.split_to(end + 1));
            self.at_line_start = true;
            out(Part::Line(self.carry.split().freeze()));
        }
        let mut from = 0;
        if !self.at_line_start {
            match memchr(b'\n', &chunk) {
                Some(end) => from = end + 1,
                None if chunk.is_empty() => return,
                None => return out(Part::Output(chunk)),
            }
        }
        self.lines(&chunk, from, out);
    }

    /// The stream has ended.
    pub(crate) fn finish(&mut self, out: &mut impl FnMut(Part)) {
        if !self.carry.is_empty() {
            out(Part::Line(self.carry.split().freeze()));
        }
    }

    /// A line begins at `from`; what is before it belongs to an earlier one.
    fn lines(&mut self, chunk: &Bytes, mut from: usize, out: &mut impl FnMut(Part)) {
        // `given`: everything before it was given out; `from`: the search goes on here, at a line's beginning.
        let mut given = 0;
        let (mut next_new, mut next_old) = (None, None);
        while from < chunk.len() {
            let Some(hit) = self.next_hit(chunk, from, &mut next_new, &mut next_old) else { break };
            let start = memrchr(b'\n', &chunk[from..hit]).map_or(from, |at| from + at + 1);
            let end = memchr(b'\n', &chunk[hit..]).map(|at| hit + at + 1);
            if !chunk[start..hit].trim_ascii_start().is_empty() {
                match end {
                    Some(end) => from = end,
                    None => break,
                }
                continue;
            }
            let Some(end) = end else { break };
            if start > given {
                out(Part::Output(chunk.slice(given..start)));
            }
            out(Part::Line(chunk.slice(start..end)));
            given = end;
            from = end;
        }
        let tail = memrchr(b'\n', chunk).map_or(from.min(chunk.len()), |at| at + 1);
        self.at_line_start = tail == chunk.len();
        let mut stop = chunk.len();
        if tail < chunk.len() && chunk.len() - tail <= MAX_LINE && may_be_command(&chunk[tail..]) {
            self.carry.extend_from_slice(&chunk[tail..]);
            stop = tail;
        }
        if given < stop {
            out(Part::Output(chunk.slice(given..stop)));
        }
    }

    /// The next place from which a command could begin; each needle is searched for once over the chunk.
    fn next_hit(
        &self,
        chunk: &[u8],
        from: usize,
        new: &mut Option<usize>,
        old: &mut Option<usize>,
    ) -> Option<usize> {
        let refresh = |at: &mut Option<usize>, finder: &memmem::Finder<'_>| {
            if at.is_none_or(|at| at < from) {
                *at = Some(finder.find(&chunk[from..]).map_or(usize::MAX, |at| from + at));
            }
            at.unwrap_or(usize::MAX)
        };
        let hit = refresh(new, &self.new).min(refresh(old, &self.old));
        (hit != usize::MAX).then_some(hit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(chunks: &[&[u8]]) -> Vec<Part> {
        let mut scanner = Scanner::default();
        let mut parts = Vec::new();
        for chunk in chunks {
            scanner.feed(Bytes::copy_from_slice(chunk), &mut |p| parts.push(p));
        }
        scanner.finish(&mut |p| parts.push(p));
        parts
    }

    /// Everything in order, and the lines that look like commands.
    fn summary(chunks: &[&[u8]]) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut all = Vec::new();
        let mut lines = Vec::new();
        for part in parts(chunks) {
            match part {
                Part::Output(b) => all.extend_from_slice(&b),
                Part::Line(b) => {
                    all.extend_from_slice(&b);
                    if b.trim_ascii_start().starts_with(b"::") || b.trim_ascii_start().starts_with(b"##[") {
                        lines.push(b.to_vec());
                    }
                }
            }
        }
        (all, lines)
    }

    #[test]
    fn only_lines_that_begin_like_commands_are_cut_out() {
        let text = b"a::b\n::x::y\nmod::test\n  ##[group]g\n::end";
        let (all, lines) = summary(&[text]);
        assert_eq!(all, text);
        assert_eq!(lines, [&b"::x::y\n"[..], b"  ##[group]g\n", b"::end"]);
    }

    #[test]
    fn output_without_commands_is_one_piece() {
        let text = "0123456789abcde\n".repeat(1000);
        assert_eq!(parts(&[text.as_bytes()]).len(), 1);
    }

    #[test]
    fn a_line_without_end_is_not_held_back() {
        let mut scanner = Scanner::default();
        let mut seen = 0;
        scanner.feed(Bytes::from_static(b"::"), &mut |_| seen += 1);
        assert_eq!(seen, 0);
        scanner.feed(Bytes::from(vec![b'x'; 2 << 20]), &mut |p| match p {
            Part::Output(b) => seen += b.len(),
            Part::Line(_) => unreachable!("not a line"),
        });
        assert_eq!(seen, (2 << 20) + 2);
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(text in "[a:#\\[ \n]{0,80}", size in 1_usize..20) {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let expected: Vec<Vec<u8>> = text
                .split_inclusive('\n')
                .filter(|l| l.trim_ascii_start().starts_with("::") || l.trim_ascii_start().starts_with("##["))
                .map(|l| l.as_bytes().to_vec())
                .collect();
            let (all, lines) = summary(&chunks);
            prop_assert_eq!(all, text.as_bytes());
            prop_assert_eq!(lines, expected);
        }
    }
}
