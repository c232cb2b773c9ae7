//! Server-sent events as bytes. One event is one buffer, written once; the
//! crate's streams decide what and when.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use fleetfoot_model::logs::Mark;
use serde::Serialize;

/// Media type of the stream.
pub(crate) const MEDIA_TYPE: &str = "text/event-stream";

/// A comment: keeps proxies and clients from giving up.
pub(crate) const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// An event with a JSON payload. JSON has no raw line breaks, so one data line is enough.
pub(crate) fn json_event(name: &str, id: Option<u64>, payload: &impl Serialize) -> serde_json::Result<Bytes> {
    let mut out = begin(name, id, 256);
    serde_json::to_writer((&mut out).writer(), payload)?;
    out.put_slice(b"\n\n");
    Ok(out.freeze())
}

/// A `log` event: `{"attempt","offset","marks","data"}`, the bytes as Base64,
/// encoded straight into the event's buffer. The id is the offset behind the bytes.
pub(crate) fn log_event(
    attempt: u32,
    offset: u64,
    marks: &[Mark],
    bytes: &[u8],
) -> serde_json::Result<Bytes> {
    let encoded = bytes.len().div_ceil(3) * 4;
    let mut out = begin("log", Some(offset + bytes.len() as u64), encoded + 96 + marks.len() * 100);
    out.put_slice(b"{\"attempt\":");
    out.put_slice(attempt.to_string().as_bytes());
    out.put_slice(b",\"offset\":");
    out.put_slice(offset.to_string().as_bytes());
    out.put_slice(b",\"marks\":");
    serde_json::to_writer((&mut out).writer(), marks)?;
    out.put_slice(b",\"data\":\"");
    let at = out.len();
    out.resize(at + encoded, 0);
    // The buffer has exactly the room that padded Base64 takes.
    let written = STANDARD.encode_slice(bytes, &mut out[at..]).unwrap_or(0);
    out.truncate(at + written);
    out.put_slice(b"\"}\n\n");
    Ok(out.freeze())
}

fn begin(name: &str, id: Option<u64>, room: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(room + name.len() + 64);
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    if let Some(id) = id {
        out.put_slice(b"\nid: ");
        out.put_slice(id.to_string().as_bytes());
    }
    out.put_slice(b"\ndata: ");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetfoot_model::Timestamp;
    use fleetfoot_model::logs::Stream;
    use serde_json::{Value, json};

    #[test]
    fn events_look_like_this() {
        let event = json_event("run", Some(7), &json!({"title": "two\nlines"})).unwrap();
        assert_eq!(event, "event: run\nid: 7\ndata: {\"title\":\"two\\nlines\"}\n\n");
        let event = json_event("end", None, &json!({})).unwrap();
        assert_eq!(event, "event: end\ndata: {}\n\n");
    }

    #[test]
    fn log_bytes_survive() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for length in [0, 1, 2, 3, 1000] {
            let mark = Mark { offset: 40, time: Timestamp(1), step: 2, stream: Stream::Stderr };
            let event = log_event(3, 40, &[mark], &bytes[..length]).unwrap();
            let text = std::str::from_utf8(&event).unwrap();
            let payload = text
                .strip_prefix(&format!("event: log\nid: {}\ndata: ", 40 + length))
                .and_then(|t| t.strip_suffix("\n\n"))
                .unwrap();
            assert!(!payload.contains('\n'));
            let payload: Value = serde_json::from_str(payload).unwrap();
            assert_eq!(payload["attempt"], 3);
            assert_eq!(payload["offset"], 40);
            assert_eq!(serde_json::from_value::<Vec<Mark>>(payload["marks"].clone()).unwrap(), [mark]);
            assert_eq!(STANDARD.decode(payload["data"].as_str().unwrap()).unwrap(), &bytes[..length]);
        }
    }
}
