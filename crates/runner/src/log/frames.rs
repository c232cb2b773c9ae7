//! Cutting sequences of frames at payload offsets. Pure.

use bytes::{Bytes, BytesMut};
use fleetfoot_model::logs::{FRAME_HEADER, Stream, frame_header, frames};
use fleetfoot_model::time::Timestamp;

/// Payload bytes in a sequence of whole frames.
pub(crate) fn payload_len(body: &[u8]) -> u64 {
    frames(body).map_while(Result::ok).map(|f| f.bytes.len() as u64).sum()
}

/// Length in bytes and payload of the whole frames at the beginning of `body`:
/// at most `max` bytes of payload, but at least one frame if there is a whole one.
pub(crate) fn prefix(body: &[u8], max: u64) -> (usize, u64) {
    let (mut length, mut payload) = (0, 0);
    for frame in frames(body).map_while(Result::ok) {
        let n = frame.bytes.len() as u64;
        if length > 0 && payload + n > max {
            break;
        }
        length += FRAME_HEADER + frame.bytes.len();
        payload += n;
    }
    (length, payload)
}

/// `body` without its first `skip` bytes of payload; a frame that is cut gets a new header.
pub(crate) fn skip(body: &Bytes, skip: u64) -> Bytes {
    let (mut at, mut left) = (0, usize::try_from(skip).unwrap_or(usize::MAX));
    for frame in frames(body).map_while(Result::ok) {
        let n = frame.bytes.len();
        if left < n {
            if left == 0 {
                return body.slice(at..);
            }
            let rest = n - left;
            let mut cut = BytesMut::with_capacity(body.len() - at);
            let length = u32::try_from(rest).unwrap_or(u32::MAX);
            cut.extend_from_slice(&frame_header(length, frame.stream, frame.step, frame.time));
            cut.extend_from_slice(&body[at + FRAME_HEADER + left..]);
            return cut.freeze();
        }
        left -= n;
        at += FRAME_HEADER + n;
    }
    Bytes::new()
}

/// Stands where the server lost bytes that it had acknowledged (a restored backup),
/// so that everything after keeps its offset.
pub(crate) fn filler(missing: u64) -> Bytes {
    const TEXT: &[u8] = b"\n[the server lost this part of the log]\n";
    let length = usize::try_from(missing.min(256 << 10)).unwrap_or(0);
    let mut body = BytesMut::with_capacity(FRAME_HEADER + length);
    let header = frame_header(u32::try_from(length).unwrap_or(0), Stream::Runner, 0, Timestamp::default());
    body.extend_from_slice(&header);
    body.extend(TEXT.iter().copied().chain(std::iter::repeat(b'\n')).take(length));
    body.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn build(parts: &[Vec<u8>]) -> Bytes {
        let mut body = BytesMut::new();
        for (i, part) in parts.iter().enumerate() {
            let time = Timestamp(i64::try_from(i).unwrap());
            body.extend_from_slice(&frame_header(
                u32::try_from(part.len()).unwrap(),
                Stream::Stdout,
                3,
                time,
            ));
            body.extend_from_slice(part);
        }
        body.freeze()
    }

    fn payload(body: &[u8]) -> Vec<u8> {
        frames(body).flat_map(|f| f.unwrap().bytes.to_vec()).collect()
    }

    proptest! {
        #[test]
        fn cutting_keeps_every_byte(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..12), at in 0u64..200, max in 0u64..100) {
            let body = build(&parts);
            let all = parts.concat();
            prop_assert_eq!(payload_len(&body), all.len() as u64);
            let at = at.min(all.len() as u64);
            let rest = skip(&body, at);
            prop_assert_eq!(&payload(&rest), &all[usize::try_from(at).unwrap()..]);
            let (length, n) = prefix(&rest, max);
            prop_assert_eq!(payload_len(&rest[..length]), n);
            prop_assert!(n <= max.max(20));
            prop_assert_eq!(n == 0, rest.is_empty());
        }
    }

    #[test]
    fn a_filler_has_the_length_asked_for() {
        for missing in [1, 5, 100, 5000] {
            assert_eq!(payload_len(&filler(missing)), missing);
        }
    }
}
