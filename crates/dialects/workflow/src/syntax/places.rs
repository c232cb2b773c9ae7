//! Where in the document a character of a scalar stands. Exact where the
//! scalar is written as it is; the opening `${{`, or else the beginning of
//! the scalar, where escapes, folding or indentation come between.

use crate::source::SourceText;

/// The byte offset in the document of `offset` within the text of the scalar
/// that stands from `start` to `end`.
pub(crate) fn locate(source: &SourceText, start: usize, end: usize, text: &str, offset: usize) -> usize {
    let written = source.slice(start, end);
    let offset = floor(text, offset);
    let Some(opening) = text[..ceil(text, offset + 3)].rfind("${{") else {
        return within(written, text.trim_end(), offset).map_or_else(|| line_of_block(written, text, offset) + start, |at| start + at);
    };
    // The k-th opening of the text is the k-th opening of what is written.
    let count = text[..opening].matches("${{").count();
    let Some((found, _)) = written.match_indices("${{").nth(count) else { return start };
    let tail = &text[opening..offset.max(opening)];
    if written[found..].starts_with(tail) { start + found + tail.len() } else { start + found }
}

fn within(written: &str, text: &str, offset: usize) -> Option<usize> {
    written.find(text).map(|at| at + offset.min(text.len()))
}

/// The line of a block scalar that the offset is on: its first character that
/// is not a blank.
fn line_of_block(written: &str, text: &str, offset: usize) -> usize {
    if !written.starts_with('|') {
        return 0;
    }
    let line = text[..offset].matches('\n').count() + 1;
    let Some((at, _)) = written.match_indices('\n').nth(line - 1) else { return 0 };
    let rest = &written[at + 1..];
    at + 1 + (rest.len() - rest.trim_start_matches(' ').len())
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn ceil(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}
