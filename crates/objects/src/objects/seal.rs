//! The seal behind every object: its length, its BLAKE3 digest and a CRC-32
//! of every MiB. Pure; touches no store.
//!
//! It stands behind the payload (`payload, crc × blocks, footer`) rather than
//! in metadata or beside it: the local directory has no metadata, a second
//! object can be lost or be older than the first, and behind the payload it
//! can be written at the end of a stream whose length nobody knew. The
//! checksums by block let a range be verified without reading the rest.
//!
//! Footer, little endian: `magic[8] length:u64 blake3[32] block:u32
//! table_crc:u32 zero:u32 crc:u32` (64 bytes).

use crate::Digest;

pub(super) const BLOCK: u64 = 1 << 20;
pub(super) const FOOTER: u64 = 64;
const MAGIC: [u8; 8] = *b"FFOBJS01";

/// Computes the seal while the payload goes by.
pub(super) struct Sealer {
    hasher: blake3::Hasher,
    table: Vec<u8>,
    block: crc32fast::Hasher,
    in_block: u64,
    length: u64,
}

impl Sealer {
    pub(super) fn new() -> Self {
        let hasher = blake3::Hasher::new();
        Self { hasher, table: Vec::new(), block: crc32fast::Hasher::new(), in_block: 0, length: 0 }
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = usize::try_from(BLOCK - self.in_block).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.block.update(now);
            self.in_block += now.len() as u64;
            if self.in_block == BLOCK {
                self.end_block();
            }
            bytes = later;
        }
    }

    fn end_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        self.table.extend_from_slice(&block.finalize().to_le_bytes());
        self.in_block = 0;
    }

    /// The bytes that follow the payload, its digest and its length.
    pub(super) fn finish(mut self) -> (Vec<u8>, Digest, u64) {
        if self.in_block > 0 {
            self.end_block();
        }
        let digest = Digest(*self.hasher.finalize().as_bytes());
        let table_crc = crc32fast::hash(&self.table);
        let mut out = self.table;
        let at = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&digest.0);
        out.extend_from_slice(&(BLOCK as u32).to_le_bytes());
        out.extend_from_slice(&table_crc.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let crc = crc32fast::hash(&out[at..]);
        out.extend_from_slice(&crc.to_le_bytes());
        (out, digest, self.length)
    }
}

/// Bytes of table and footer behind a payload of `length` bytes.
pub(super) fn overhead(length: u64) -> u64 {
    length.div_ceil(BLOCK) * 4 + FOOTER
}

/// Length of the payload of a stored object of `size` bytes.
pub(super) fn payload_length(size: u64) -> Option<u64> {
    let rest = size.checked_sub(FOOTER)?;
    let (full, partial) = (rest / (BLOCK + 4), rest % (BLOCK + 4));
    let length = full * BLOCK + if partial > 0 { partial.checked_sub(4)? } else { 0 };
    (length + overhead(length) == size).then_some(length)
}

/// A parsed seal.
#[derive(Clone, Debug)]
pub(super) struct Seal {
    pub(super) length: u64,
    pub(super) digest: Digest,
    table: Vec<u8>,
}

impl Seal {
    /// Parses the last [`overhead`] bytes of an object of `size` bytes.
    pub(super) fn parse(size: u64, tail: &[u8]) -> Result<Self, &'static str> {
        let length = payload_length(size).ok_or("its size is not that of a sealed object")?;
        let expected = usize::try_from(overhead(length)).map_err(|_| "its seal is too large")?;
        if tail.len() != expected {
            return Err("its seal is incomplete");
        }
        let (table, footer) = tail.split_at(tail.len() - FOOTER as usize);
        let field =
            |at: usize| u32::from_le_bytes([footer[at], footer[at + 1], footer[at + 2], footer[at + 3]]);
        if footer[..8] != MAGIC || field(60) != crc32fast::hash(&footer[..60]) {
            return Err("its seal is broken");
        }
        let stated = u64::from(field(8)) | (u64::from(field(12)) << 32);
        if stated != length || u64::from(field(48)) != BLOCK || field(52) != crc32fast::hash(table) {
            return Err("its seal does not fit it");
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(&footer[16..48]);
        Ok(Self { length, digest: Digest(digest), table: table.to_vec() })
    }

    /// True if `bytes` are block number `index`.
    pub(super) fn block_matches(&self, index: u64, bytes: &[u8]) -> bool {
        let at = usize::try_from(index * 4).unwrap_or(usize::MAX);
        self.table.get(at..at.saturating_add(4)) == Some(&crc32fast::hash(bytes).to_le_bytes())
    }
}
