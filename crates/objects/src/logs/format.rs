//! The bytes of a log segment, and nothing that touches a disk.
//!
//! A segment is a header and a chain of blocks. One append becomes one or
//! more blocks; a block carries its own marks and checksums, so that data and
//! index reach the disk with a single flush and any block can be verified
//! alone. All integers are little endian.
//!
//! ```text
//! segment  magic[8] start:u64 salt:u64 zero:u32 crc:u32              (32 bytes)
//! block    salt:u64 offset:u64 data:u32 marks:u32 kind:u8 first:u8
//!          zero:u16 data_crc:u32 log_crc:u32 marks_crc:u32 zero:u32
//!          crc:u32                                                   (48 bytes)
//!          marks × (delta:u32 step:u16 stream:u8 zero:u8 time:i64)   (16 bytes each)
//!          data
//! ```
//!
//! `salt` is random for every segment: a job cannot print bytes that pass for
//! a block when a damaged segment is searched. `first` marks the first block
//! of an append. `log_crc` covers the whole log up to the end of the block.

use crc32fast::Hasher;
use fleetfoot_model::Timestamp;
use fleetfoot_model::logs::{Frame, Mark, Stream};

pub(super) const SEGMENT_HEADER: usize = 32;
pub(super) const BLOCK_HEADER: usize = 48;
pub(super) const MARK: usize = 16;
/// Small enough that a reader verifies a block in one chunk.
pub(super) const MAX_BLOCK_DATA: usize = 256 << 10;
/// Bounds a block whose frames have a byte each.
pub(super) const MAX_BLOCK_MARKS: usize = 4096;
/// The largest block with everything around its data.
pub(super) const MAX_BLOCK: usize = BLOCK_HEADER + MAX_BLOCK_MARKS * MARK + MAX_BLOCK_DATA;

const MAGIC: [u8; 8] = *b"FFLOGS01";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockKind {
    Data,
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    pub(super) offset: u64,
    pub(super) data: u32,
    pub(super) marks: u32,
    pub(super) kind: BlockKind,
    pub(super) first: bool,
    pub(super) data_crc: u32,
    pub(super) log_crc: u32,
    pub(super) marks_crc: u32,
}

impl BlockHeader {
    /// Bytes of the whole block in the file.
    pub(super) fn size(&self) -> u64 {
        (BLOCK_HEADER + self.marks as usize * MARK) as u64 + u64::from(self.data)
    }

    /// Offset in the log behind the block.
    pub(super) fn end(&self) -> u64 {
        self.offset + u64::from(self.data)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | (u64::from(u32_at(bytes, at + 4)) << 32)
}

pub(super) fn segment_header(start: u64, salt: u64) -> [u8; SEGMENT_HEADER] {
    let mut out = [0; SEGMENT_HEADER];
    out[..8].copy_from_slice(&MAGIC);
    out[8..16].copy_from_slice(&start.to_le_bytes());
    out[16..24].copy_from_slice(&salt.to_le_bytes());
    let crc = crc32fast::hash(&out[..28]);
    out[28..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The salt, if the header is whole and belongs to the segment at `start`.
pub(super) fn parse_segment_header(bytes: &[u8], start: u64) -> Option<u64> {
    let bytes = bytes.get(..SEGMENT_HEADER)?;
    let whole = bytes[..8] == MAGIC && u32_at(bytes, 28) == crc32fast::hash(&bytes[..28]);
    (whole && u64_at(bytes, 8) == start).then(|| u64_at(bytes, 16))
}

fn block_header(salt: u64, header: &BlockHeader) -> [u8; BLOCK_HEADER] {
    let mut out = [0; BLOCK_HEADER];
    out[..8].copy_from_slice(&salt.to_le_bytes());
    out[8..16].copy_from_slice(&header.offset.to_le_bytes());
    out[16..20].copy_from_slice(&header.data.to_le_bytes());
    out[20..24].copy_from_slice(&header.marks.to_le_bytes());
    out[24] = match header.kind {
        BlockKind::Data => 1,
        BlockKind::Close => 2,
    };
    out[25] = u8::from(header.first);
    out[28..32].copy_from_slice(&header.data_crc.to_le_bytes());
    out[32..36].copy_from_slice(&header.log_crc.to_le_bytes());
    out[36..40].copy_from_slice(&header.marks_crc.to_le_bytes());
    let crc = crc32fast::hash(&out[..44]);
    out[44..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The header at the beginning of `bytes`, if it is whole.
pub(super) fn parse_block_header(bytes: &[u8], salt: u64) -> Option<BlockHeader> {
    let bytes = bytes.get(..BLOCK_HEADER)?;
    if u64_at(bytes, 0) != salt || u32_at(bytes, 44) != crc32fast::hash(&bytes[..44]) {
        return None;
    }
    let header = BlockHeader {
        offset: u64_at(bytes, 8),
        data: u32_at(bytes, 16),
        marks: u32_at(bytes, 20),
        kind: match bytes[24] {
            1 => BlockKind::Data,
            2 => BlockKind::Close,
            _ => return None,
        },
        first: bytes[25] == 1,
        data_crc: u32_at(bytes, 28),
        log_crc: u32_at(bytes, 32),
        marks_crc: u32_at(bytes, 36),
    };
    let sane = header.data as usize <= MAX_BLOCK_DATA && header.marks as usize <= MAX_BLOCK_MARKS;
    sane.then_some(header)
}

/// Splits the body of a block (what follows its header) into marks and data
/// and verifies both.
pub(super) fn parse_block_body<'a>(
    header: &BlockHeader,
    body: &'a [u8],
) -> Result<(Vec<Mark>, &'a [u8]), &'static str> {
    let split = header.marks as usize * MARK;
    let (marks, data) = body.split_at(split);
    if crc32fast::hash(marks) != header.marks_crc {
        return Err("marks fail their checksum");
    }
    if crc32fast::hash(data) != header.data_crc {
        return Err("bytes fail their checksum");
    }
    let marks = marks
        .chunks_exact(MARK)
        .map(|m| {
            Some(Mark {
                offset: header.offset + u64::from(u32_at(m, 0)),
                time: Timestamp(u64_at(m, 8).cast_signed()),
                step: u16::from_le_bytes([m[4], m[5]]),
                stream: Stream::from_code(m[6])?,
            })
        })
        .collect::<Option<Vec<_>>>()
        .ok_or("unknown stream in a mark")?;
    Ok((marks, data))
}

/// Two frames that one mark can stand for.
fn same_mark(a: &Mark, b: &Frame<'_>) -> bool {
    a.step == b.step && a.stream == b.stream && a.time.0.div_euclid(1000) == b.time.0.div_euclid(1000)
}

/// Turns the frames of one append into blocks.
pub(super) struct Encoder<'a> {
    salt: u64,
    out: Vec<u8>,
    /// Offset in the log of the block being collected.
    offset: u64,
    log_crc: u32,
    first: bool,
    marks: Vec<Mark>,
    pieces: Vec<&'a [u8]>,
    length: usize,
}

/// The encoded blocks and what they did to the log.
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    pub(super) end: u64,
    pub(super) log_crc: u32,
}

impl<'a> Encoder<'a> {
    /// `out` may already hold a segment header.
    pub(super) fn new(out: Vec<u8>, salt: u64, offset: u64, log_crc: u32) -> Self {
        Self { salt, out, offset, log_crc, first: true, marks: Vec::new(), pieces: Vec::new(), length: 0 }
    }

    pub(super) fn frame(&mut self, frame: &Frame<'a>) {
        let mut rest = frame.bytes;
        while !rest.is_empty() {
            if self.length == MAX_BLOCK_DATA {
                self.flush(BlockKind::Data);
            }
            if !self.marks.last().is_some_and(|m| same_mark(m, frame)) {
                if self.marks.len() == MAX_BLOCK_MARKS {
                    self.flush(BlockKind::Data);
                }
                let offset = self.offset + self.length as u64;
                self.marks.push(Mark { offset, time: frame.time, step: frame.step, stream: frame.stream });
            }
            let (piece, later) = rest.split_at(rest.len().min(MAX_BLOCK_DATA - self.length));
            self.pieces.push(piece);
            self.length += piece.len();
            rest = later;
        }
    }

    pub(super) fn finish(mut self) -> Encoded {
        if self.length > 0 {
            self.flush(BlockKind::Data);
        }
        Encoded { bytes: self.out, end: self.offset, log_crc: self.log_crc }
    }

    /// Ends the log instead of adding to it.
    pub(super) fn close(mut self) -> Encoded {
        self.flush(BlockKind::Close);
        Encoded { bytes: self.out, end: self.offset, log_crc: self.log_crc }
    }

    fn flush(&mut self, kind: BlockKind) {
        let mut hasher = Hasher::new();
        for piece in &self.pieces {
            hasher.update(piece);
        }
        let data_crc = hasher.clone().finalize();
        let mut log = Hasher::new_with_initial_len(self.log_crc, self.offset);
        log.combine(&hasher);
        self.log_crc = log.finalize();

        let at = self.out.len();
        self.out.extend_from_slice(&[0; BLOCK_HEADER]);
        for mark in &self.marks {
            // A block is far below 4 GiB.
            let delta = (mark.offset - self.offset) as u32;
            self.out.extend_from_slice(&delta.to_le_bytes());
            self.out.extend_from_slice(&mark.step.to_le_bytes());
            self.out.extend_from_slice(&[mark.stream.code(), 0]);
            self.out.extend_from_slice(&mark.time.0.to_le_bytes());
        }
        let header = BlockHeader {
            offset: self.offset,
            data: self.length as u32,
            marks: self.marks.len() as u32,
            kind,
            first: self.first,
            data_crc,
            log_crc: self.log_crc,
            marks_crc: crc32fast::hash(&self.out[at + BLOCK_HEADER..]),
        };
        for piece in &self.pieces {
            self.out.extend_from_slice(piece);
        }
        self.out[at..at + BLOCK_HEADER].copy_from_slice(&block_header(self.salt, &header));
        self.offset = header.end();
        self.first = false;
        self.length = 0;
        self.marks.clear();
        self.pieces.clear();
    }
}
