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
        let found = written.find(text.trim_end()).map(|at| at + offset);
        return start + found.or_else(|| within_block(written, text, offset)).unwrap_or_default();
    };
    // The k-th opening of the text is the k-th opening of what is written.
    let count = text[..opening].matches("${{").count();
    let Some((found, _)) = written.match_indices("${{").nth(count) else { return start };
    let tail = &text[opening..offset.max(opening)];
    if written[found..].starts_with(tail) { start + found + tail.len() } else { start + found }
}

/// For a literal block scalar, whose lines are as written but for their
/// indentation.
fn within_block(written: &str, text: &str, offset: usize) -> Option<usize> {
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next()?;
    let found = written.split_inclusive('\n').nth(before.matches('\n').count())?;
    let skipped =
        written.split_inclusive('\n').take(before.matches('\n').count()).map(str::len).sum::<usize>();
    Some(skipped + found.find(line)? + (offset - line_start))
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
