//! Frames on the runner's disk while the server does not take them. Survives
//! the death of the runner, not of the machine: plain writes, no fsync.
//! Layout: 8 bytes magic, 8 bytes payload offset of the first frame, frames.

use super::frames::prefix;
use bytes::Bytes;
use fleetfoot_model::logs::{FRAME_HEADER, MAX_FRAME, frames};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"FFspool1";
const HEADER: u64 = 16;

/// One spool file with a read position.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    path: PathBuf,
    /// End of the last whole frame.
    length: u64,
    /// Where the next piece begins.
    read: u64,
}

impl Spool {
    /// A new file for frames from payload offset `base`.
    pub(crate) fn create(path: &Path, base: u64) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&base.to_le_bytes());
        file.write_all_at(&header, 0)?;
        Ok(Self { file, path: path.to_owned(), length: HEADER, read: HEADER })
    }

    /// Opens what a dead runner left; a torn last frame is dropped. Answers the offsets of its first byte and of its end.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, u64, u64)> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut header = [0; 16];
        file.read_exact_at(&mut header, 0)?;
        let (magic, base) = header.split_at(8);
        if magic != MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a spool file"));
        }
        let base = base.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let size = file.metadata()?.len();
        let mut spool = Self { file, path: path.to_owned(), length: size, read: HEADER };
        let (mut at, mut end) = (HEADER, base);
        loop {
            spool.read = at;
            let piece = spool.peek(4 << 20)?;
            if piece.is_empty() {
                break;
            }
            end += super::frames::payload_len(&piece);
            at += piece.len() as u64;
        }
        spool.length = at;
        spool.read = HEADER;
        Ok((spool, base, end))
    }

    /// Adds whole frames.
    pub(crate) fn append(&mut self, body: &[u8]) -> io::Result<()> {
        self.file.write_all_at(body, self.length)?;
        self.length += body.len() as u64;
        Ok(())
    }

    /// Bytes of the file that are not read yet.
    pub(crate) const fn unread(&self) -> u64 {
        self.length - self.read
    }

    /// Size of the file.
    pub(crate) const fn size(&self) -> u64 {
        self.length
    }

    /// Passes over `bytes` of the file (they are under way already).
    pub(crate) const fn advance(&mut self, bytes: u64) {
        self.read += bytes;
    }

    /// The next whole frames with at most `max` bytes of payload (at least one frame), without passing over them.
    pub(crate) fn peek(&self, max: u64) -> io::Result<Bytes> {
        let want = max.saturating_add((FRAME_HEADER + MAX_FRAME) as u64).min(self.unread());
        // Most pieces are many small frames: read what is asked for, and more only if not one frame is whole.
        for size in [want.min(max + (max >> 4) + FRAME_HEADER as u64), want] {
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
            self.file.read_exact_at(&mut bytes, self.read)?;
            let (length, _) = prefix(&bytes, max);
            if length > 0 {
                bytes.truncate(length);
                return Ok(bytes.into());
            }
            if frames(&bytes).next().is_none() {
                break;
            }
        }
        Ok(Bytes::new())
    }

    /// Removes the file; a missing one is fine.
    pub(crate) fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
