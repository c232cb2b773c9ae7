//! Segments on disk: their names, finding the end of a log after a crash, and
//! reading blocks in order. It never writes; every byte it hands out has been
//! verified.

use super::format::{
    BLOCK_HEADER, BlockHeader, BlockKind, MAX_BLOCK, SEGMENT_HEADER, parse_block_body, parse_block_header,
    parse_segment_header,
};
use crate::ObjectError;
use fleetfoot_model::logs::Mark;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const SUFFIX: &str = ".log";

/// A segment is named by the offset in the log at which it begins.
pub(super) fn name(start: u64) -> String {
    format!("{start:020}{SUFFIX}")
}

pub(super) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    if digits.len() == 20 { digits.parse().ok() } else { None }
}

/// The starts of the segments in `dir`, ascending; none if it does not exist.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut starts = Vec::new();
    for entry in entries {
        if let Some(start) = entry?.file_name().to_str().and_then(parse_name) {
            starts.push(start);
        }
    }
    starts.sort_unstable();
    Ok(starts)
}

/// Reads up to `len` bytes at `at`; fewer only at the end of the file.
pub(super) fn read_at(file: &File, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut out = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut out[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    out.truncate(filled);
    Ok(out)
}

/// Where the next block of a log goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// Start of the last segment.
    pub(super) segment: u64,
    /// Salt of the last segment.
    pub(super) salt: u64,
    /// Position in its file behind the last whole block; 0 when the file has
    /// no usable header yet.
    pub(super) position: u64,
    /// Length of the file; more than `position` after a crash.
    pub(super) file_length: u64,
    /// Length of the log.
    pub(super) end: u64,
    /// Checksum of the whole log.
    pub(super) log_crc: u32,
    /// A close block was found.
    pub(super) closed: bool,
}

impl Tail {
    /// Moves behind the whole block at `at`.
    fn advance(&mut self, at: u64, header: &BlockHeader) {
        self.position = at + header.size();
        self.end = header.end();
        self.log_crc = header.log_crc;
        self.closed = header.kind == BlockKind::Close;
    }
}

/// Finds the end of the log in its last segment.
///
/// Appends are serialized and each is flushed before the next begins, so only
/// the last append can be torn. What fails before that is damage, not a crash.
/// (Damage inside the very last append looks like a tear and is cut off with a
/// warning; the sender learns of it by a gap. A close block behind it, or the
/// next append, makes it visible as damage.)
pub(super) fn find_tail(what: &str, file: &File, start: u64) -> Result<Tail, ObjectError> {
    let io = |e| ObjectError::io(format!("reading the log of {what}"), e);
    let file_length = file.metadata().map_err(io)?.len();
    let empty = Tail { segment: start, file_length, end: start, ..Tail::default() };
    let head = read_at(file, 0, SEGMENT_HEADER).map_err(io)?;
    let Some(salt) = parse_segment_header(&head, start) else {
        if head.len() < SEGMENT_HEADER || head.iter().all(|&b| b == 0) {
            return Ok(empty); // The first write of the segment never arrived.
        }
        return Err(ObjectError::corrupt(what, format!("header of segment {start}")));
    };

    let mut window = Window::new(file, file_length);
    let mut position = SEGMENT_HEADER as u64;
    let mut tail = Tail { salt, position, ..empty };
    // The blocks of the last append, with their positions.
    let mut last: Vec<(u64, BlockHeader)> = Vec::new();
    while let Some(header) = window.header(position, salt).map_err(io)? {
        let fits = position + header.size() <= file_length;
        if header.offset != last.last().map_or(start, |(_, h)| h.end()) || !fits {
            break;
        }
        if header.first {
            // What came before was flushed before this append began.
            if let Some((at, whole)) = last.last() {
                tail.advance(*at, whole);
            }
            last.clear();
        }
        last.push((position, header));
        position += header.size();
    }
    if let Some(later) = find_later_append(file, salt, position, file_length).map_err(io)? {
        let detail = format!("segment {start} is broken at byte {position} and goes on at byte {later}");
        return Err(ObjectError::corrupt(what, detail));
    }
    for (at, header) in last {
        let body =
            read_at(file, at + BLOCK_HEADER as u64, header.size() as usize - BLOCK_HEADER).map_err(io)?;
        if parse_block_body(&header, &body).is_err() {
            break;
        }
        tail.advance(at, &header);
    }
    Ok(tail)
}

/// Searches behind a break for an append that began after it.
fn find_later_append(file: &File, salt: u64, from: u64, file_length: u64) -> io::Result<Option<u64>> {
    let needle = salt.to_le_bytes();
    let mut at = from;
    while at + BLOCK_HEADER as u64 <= file_length {
        let chunk = read_at(file, at, 1 << 20)?;
        if chunk.len() < BLOCK_HEADER {
            break;
        }
        for i in 0..=chunk.len() - BLOCK_HEADER {
            if chunk[i] != needle[0] || chunk[i..i + 8] != needle {
                continue;
            }
            if let Some(header) = parse_block_header(&chunk[i..], salt)
                && header.first
                && at + i as u64 > from
            {
                return Ok(Some(at + i as u64));
            }
        }
        at += (chunk.len() - BLOCK_HEADER + 1) as u64;
    }
    Ok(None)
}

/// Reads block headers through a small buffer: many small blocks cost one read.
struct Window<'a> {
    file: &'a File,
    file_length: u64,
    at: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    const SIZE: usize = 64 << 10;

    fn new(file: &'a File, file_length: u64) -> Self {
        Self { file, file_length, at: 0, bytes: Vec::new() }
    }

    fn header(&mut self, position: u64, salt: u64) -> io::Result<Option<BlockHeader>> {
        let end = position + BLOCK_HEADER as u64;
        if end > self.file_length {
            return Ok(None);
        }
        if position < self.at || end > self.at + self.bytes.len() as u64 {
            self.bytes = read_at(self.file, position, Self::SIZE)?;
            self.at = position;
        }
        let from = (position - self.at) as usize;
        Ok(self.bytes.get(from..).and_then(|b| parse_block_header(b, salt)))
    }
}

/// A place between two blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Start of the segment.
    pub(super) segment: u64,
    /// Position in its file; 0 means before the header.
    pub(super) position: u64,
    /// Offset in the log.
    pub(super) offset: u64,
}

impl Place {
    pub(super) fn start_of(segment: u64) -> Self {
        Self { segment, position: 0, offset: segment }
    }
}

/// What one [`read_blocks`] collected.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) bytes: Vec<u8>,
    pub(super) marks: Vec<Mark>,
}

impl Collected {
    /// Adds the part of a block from `offset` on, up to `limit` bytes in all.
    /// False if the block has more.
    fn add(&mut self, header: &BlockHeader, marks: &[Mark], data: &[u8], offset: u64, limit: usize) -> bool {
        let skip = offset.saturating_sub(header.offset) as usize;
        let room = limit - self.bytes.len();
        let taken = &data[skip..data.len().min(skip + room)];
        let (from, to) = (header.offset + skip as u64, header.offset + (skip + taken.len()) as u64);
        let first = marks.partition_point(|m| m.offset <= from).saturating_sub(1);
        for mark in &marks[first..] {
            if mark.offset >= to {
                break;
            }
            let mark = Mark { offset: mark.offset.max(from), ..*mark };
            let same = |m: &Mark| m.time == mark.time && m.step == mark.step && m.stream == mark.stream;
            if !self.marks.last().is_some_and(same) {
                self.marks.push(mark);
            }
        }
        self.bytes.extend_from_slice(taken);
        to == header.end()
    }
}

/// Reads from `offset` on until `limit` bytes, or `end`, are reached, starting
/// the search at `place`, which is moved to the first block not fully used.
/// `open` opens a segment by its start; `visit` hears of places passed.
pub(super) fn read_blocks(
    what: &str,
    place: &mut Place,
    (offset, end): (u64, u64),
    limit: usize,
    mut open: impl FnMut(u64) -> Result<std::sync::Arc<File>, ObjectError>,
    mut visit: impl FnMut(Place),
) -> Result<Collected, ObjectError> {
    let broken = |place: &Place, why: &str| {
        let detail = format!(
            "segment {}, byte {} (log offset {}): {why}",
            place.segment, place.position, place.offset
        );
        ObjectError::corrupt(what, detail)
    };
    let mut out = Collected::default();
    out.bytes.reserve_exact(limit.min((end - offset) as usize));
    let mut file = open(place.segment)?;
    let mut salt = read_salt(what, &file, place.segment)?;
    place.position = place.position.max(SEGMENT_HEADER as u64);
    'segments: while out.bytes.len() < limit && place.offset < end {
        let want = (limit - out.bytes.len()).clamp(64 << 10, 1 << 20) + MAX_BLOCK;
        let raw = read_at(&file, place.position, want)
            .map_err(|e| ObjectError::io(format!("reading the log of {what}"), e))?;
        if raw.is_empty() {
            if place.offset == place.segment {
                return Err(broken(place, "bytes are missing"));
            }
            *place = Place { position: SEGMENT_HEADER as u64, ..Place::start_of(place.offset) };
            file = open(place.segment)?;
            salt = read_salt(what, &file, place.segment)?;
            continue;
        }
        let mut used = 0;
        while out.bytes.len() < limit && place.offset < end {
            let rest = &raw[used..];
            if rest.len() < BLOCK_HEADER && used > 0 {
                continue 'segments;
            }
            let header = parse_block_header(rest, salt).ok_or_else(|| broken(place, "bad block header"))?;
            if header.offset != place.offset {
                return Err(broken(place, "blocks out of order"));
            }
            let size = header.size() as usize;
            if header.end() > offset {
                let Some(body) = rest.get(BLOCK_HEADER..size) else {
                    if used > 0 {
                        continue 'segments;
                    }
                    return Err(broken(place, "bytes are missing"));
                };
                let (marks, data) = parse_block_body(&header, body).map_err(|why| broken(place, why))?;
                if !out.add(&header, &marks, data, offset, limit) {
                    return Ok(out);
                }
            }
            used += size;
            place.position += size as u64;
            place.offset = header.end();
            visit(*place);
            if used >= raw.len() {
                continue 'segments;
            }
        }
    }
    Ok(out)
}

fn read_salt(what: &str, file: &File, start: u64) -> Result<u64, ObjectError> {
    let head = read_at(file, 0, SEGMENT_HEADER)
        .map_err(|e| ObjectError::io(format!("reading the log of {what}"), e))?;
    parse_segment_header(&head, start)
        .ok_or_else(|| ObjectError::corrupt(what, format!("header of segment {start}")))
}
