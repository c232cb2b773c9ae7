//! Logs are bytes at offsets. A runner appends *frames*: a run of bytes of one
//! stream of one step, with the time at which they were read. The server
//! stores the bytes as they are and one [`Mark`] a frame.
//!
//! Frame on the wire, little endian: `len: u32, stream: u8, zero: u8,
//! step: u16, time: i64 (microseconds since the Unix epoch)`, then `len` bytes.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

/// Media type of a body of frames.
pub const FRAMES_MEDIA_TYPE: &str = "application/vnd.fleetfoot.log-frames";
/// Bytes of a frame header.
pub const FRAME_HEADER: usize = 16;
/// Largest payload of one frame.
pub const MAX_FRAME: usize = 4 << 20;

/// Which stream the bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Words of the runner itself about the step.
    Runner,
}

impl Stream {
    /// Its byte on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::Runner => 3,
        }
    }

    /// From its byte on the wire.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Stdout),
            2 => Some(Self::Stderr),
            3 => Some(Self::Runner),
            _ => None,
        }
    }
}

/// Where a frame's bytes begin and what they are; they end where the next mark begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mark {
    /// Offset of the first byte in the attempt's log.
    pub offset: u64,
    /// When the runner read it.
    pub time: Timestamp,
    /// Index of the step, from 0.
    pub step: u16,
    /// The stream.
    pub stream: Stream,
}

/// A frame borrowed from a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// When the runner read the bytes.
    pub time: Timestamp,
    /// Index of the step, from 0.
    pub step: u16,
    /// The stream.
    pub stream: Stream,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// A body that is not a sequence of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("bad log frame at byte {0} of the body")]
pub struct FrameError(pub usize);

/// The header of a frame with `len` bytes.
#[must_use]
pub fn frame_header(len: u32, stream: Stream, step: u16, time: Timestamp) -> [u8; FRAME_HEADER] {
    let mut header = [0; FRAME_HEADER];
    header[0..4].copy_from_slice(&len.to_le_bytes());
    header[4] = stream.code();
    header[6..8].copy_from_slice(&step.to_le_bytes());
    header[8..16].copy_from_slice(&time.0.to_le_bytes());
    header
}

/// Reads the frames of a body; stops at the first error.
pub fn frames(body: &[u8]) -> impl Iterator<Item = Result<Frame<'_>, FrameError>> {
    let mut at = 0;
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || at == body.len() {
            return None;
        }
        let frame = read_frame(body, at);
        match &frame {
            Ok(f) => at += FRAME_HEADER + f.bytes.len(),
            Err(_) => failed = true,
        }
        Some(frame)
    })
}

fn read_frame(body: &[u8], at: usize) -> Result<Frame<'_>, FrameError> {
    let bad = FrameError(at);
    let header = body.get(at..at + FRAME_HEADER).ok_or(bad)?;
    let u32_at = |i: usize| u32::from_le_bytes([header[i], header[i + 1], header[i + 2], header[i + 3]]);
    let len = u32_at(0) as usize;
    if len > MAX_FRAME {
        return Err(bad);
    }
    let time = u64::from(u32_at(8)) | (u64::from(u32_at(12)) << 32);
    let start = at + FRAME_HEADER;
    Ok(Frame {
        time: Timestamp(time.cast_signed()),
        step: u16::from_le_bytes([header[6], header[7]]),
        stream: Stream::from_code(header[4]).ok_or(bad)?,
        bytes: body.get(start..start + len).ok_or(bad)?,
    })
}
