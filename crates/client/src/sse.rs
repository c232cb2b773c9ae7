//! Server-sent events, read incrementally. Bounded: an event larger than the
//! limit is an error, never memory. It knows nothing of HTTP and never blocks.

use thiserror::Error;

/// Largest event accepted by default, bytes.
const DEFAULT_MAX_EVENT: usize = 16 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// Its type; `message` if the stream names none.
    pub event: String,
    /// Its data, lines joined by `\n`.
    pub data: String,
    /// Last id seen on the stream up to and including this event.
    pub id: Option<String>,
}

/// A stream that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SseError {
    /// An event is larger than the limit.
    #[error("an event is larger than {0} bytes")]
    TooLarge(usize),
    /// The stream is not UTF-8.
    #[error("the stream is not UTF-8")]
    NotUtf8,
}

/// The parser: push bytes as they arrive, take events out.
#[derive(Debug)]
pub struct SseParser {
    buffer: Vec<u8>,
    /// Start of the current line in `buffer`.
    line: usize,
    /// Everything before this was searched for a line end.
    scanned: usize,
    /// The last line ended in CR: an LF that follows belongs to it.
    after_cr: bool,
    at_start: bool,
    event: String,
    data: String,
    has_data: bool,
    last_id: Option<String>,
    retry_ms: Option<u64>,
    max_event: usize,
}

impl Default for SseParser {
    fn default() -> Self {
        Self::with_limit(DEFAULT_MAX_EVENT)
    }
}

impl SseParser {
    /// A parser that refuses events larger than `max_event` bytes.
    #[must_use]
    pub const fn with_limit(max_event: usize) -> Self {
        Self {
            buffer: Vec::new(),
            line: 0,
            scanned: 0,
            after_cr: false,
            at_start: true,
            event: String::new(),
            data: String::new(),
            has_data: false,
            last_id: None,
            retry_ms: None,
            max_event,
        }
    }

    /// Adds bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        // Bytes of finished lines go first, so that the buffer holds one unfinished line and the new bytes.
        if self.line > 0 {
            self.buffer.drain(..self.line);
            self.scanned -= self.line;
            self.line = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The delay before a reconnect that the server asked for, milliseconds.
    #[must_use]
    pub const fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// The next complete event, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`SseError`]; the stream is unusable then.
    pub fn next_event(&mut self) -> Result<Option<SseEvent>, SseError> {
        while let Some((start, end)) = self.next_line() {
            if let Some(event) = self.take_line(start, end)? {
                return Ok(Some(event));
            }
        }
        if self.buffer.len() - self.line + self.data.len() > self.max_event {
            return Err(SseError::TooLarge(self.max_event));
        }
        Ok(None)
    }

    /// Bounds of the next complete line in the buffer, without its end.
    fn next_line(&mut self) -> Option<(usize, usize)> {
        if self.after_cr && self.line < self.buffer.len() {
            self.after_cr = false;
            if self.buffer[self.line] == b'\n' {
                self.line += 1;
                self.scanned = self.scanned.max(self.line);
            }
        }
        let Some(found) = self.buffer[self.scanned..].iter().position(|&b| b == b'\n' || b == b'\r') else {
            self.scanned = self.buffer.len();
            return None;
        };
        let end = self.scanned + found;
        let start = self.line;
        self.after_cr = self.buffer[end] == b'\r';
        self.line = end + 1;
        self.scanned = end + 1;
        Some((start, end))
    }

    fn take_line(&mut self, mut start: usize, end: usize) -> Result<Option<SseEvent>, SseError> {
        if std::mem::take(&mut self.at_start) && self.buffer[start..end].starts_with(b"\xef\xbb\xbf") {
            start += 3;
        }
        let line = std::str::from_utf8(&self.buffer[start..end]).map_err(|_| SseError::NotUtf8)?;
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                if self.data.len() + value.len() > self.max_event {
                    return Err(SseError::TooLarge(self.max_event));
                }
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            "id" if !value.contains('\0') => self.last_id = Some(value.to_owned()),
            "retry" => self.retry_ms = value.parse().ok().or(self.retry_ms),
            // Comments (an empty field name) keep the connection alive; unknown fields are to be ignored.
            _ => {}
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Option<SseEvent> {
        let event = std::mem::take(&mut self.event);
        if !std::mem::take(&mut self.has_data) {
            return None;
        }
        Some(SseEvent {
            event: if event.is_empty() { "message".to_owned() } else { event },
            data: std::mem::take(&mut self.data),
            id: self.last_id.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(chunks: &[&[u8]]) -> Vec<SseEvent> {
        let mut parser = SseParser::default();
        let mut events = Vec::new();
        for chunk in chunks {
            parser.push(chunk);
            while let Some(event) = parser.next_event().unwrap() {
                events.push(event);
            }
        }
        events
    }

    fn event(name: &str, data: &str, id: Option<&str>) -> SseEvent {
        SseEvent { event: name.into(), data: data.into(), id: id.map(Into::into) }
    }

    #[test]
    fn the_shapes_of_the_standard() {
        let text = b"\xef\xbb\xbf: hello\r\ndata: a\r\ndata:b\r\n\r\nid: 7\rdata\r\r\nevent: log\ndata:  x\nunknown: 1\n\nevent: none\n\ndata: y\n\n";
        assert_eq!(
            all(&[text]),
            [
                event("message", "a\nb", None),
                event("message", "", Some("7")),
                event("log", " x", Some("7")),
                event("message", "y", Some("7")),
            ]
        );
    }

    #[test]
    fn an_unfinished_event_is_not_delivered() {
        assert_eq!(all(&[b"data: a\n"]), []);
    }

    #[test]
    fn large_events_and_wrong_bytes_are_errors() {
        let mut parser = SseParser::with_limit(100);
        parser.push(&[b'x'; 200]);
        assert_eq!(parser.next_event(), Err(SseError::TooLarge(100)));
        let mut parser = SseParser::with_limit(100);
        for _ in 0..20 {
            parser.push(b"data: 0123456789\n");
        }
        assert_eq!(parser.next_event(), Err(SseError::TooLarge(100)));
        let mut parser = SseParser::default();
        parser.push(b"data: \xff\n\n");
        assert_eq!(parser.next_event(), Err(SseError::NotUtf8));
    }

    fn events() -> impl Strategy<Value = Vec<(String, String, Option<String>)>> {
        prop::collection::vec(
            ("[a-z]{0,6}", "[ -~\u{e4}\u{1f600}]{0,20}(\n[ -~]{0,10}){0,3}", prop::option::of("[0-9]{1,6}")),
            0..8,
        )
    }

    proptest! {
        /// Whatever the chunks and line ends, the same events come out.
        #[test]
        fn chunks_do_not_matter(events in events(), end in prop::sample::select(vec!["\n", "\r", "\r\n"]), cuts in prop::collection::vec(0usize..400, 0..20)) {
            let mut text = String::new();
            let mut expected = Vec::new();
            let mut last = None;
            for (name, data, id) in &events {
                if !name.is_empty() { text.push_str(&format!("event: {name}{end}")); }
                if let Some(id) = id { text.push_str(&format!("id: {id}{end}")); last = Some(id.clone()); }
                for line in data.split('\n') { text.push_str(&format!("data: {line}{end}")); }
                text.push_str(&format!(": comment{end}{end}"));
                expected.push(SseEvent { event: if name.is_empty() { "message".into() } else { name.clone() }, data: data.clone(), id: last.clone() });
            }
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(all(&chunks), expected);
        }

        /// Any bytes: no panic, and memory stays within the limit.
        #[test]
        fn any_bytes(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..64)) {
            let mut parser = SseParser::with_limit(128);
            'stream: for chunk in &chunks {
                parser.push(chunk);
                loop {
                    match parser.next_event() {
                        Ok(Some(event)) => prop_assert!(event.data.len() <= 256),
                        Ok(None) => break,
                        Err(_) => break 'stream,
                    }
                }
                prop_assert!(parser.buffer.len() - parser.line <= 128);
            }
        }
    }
}
