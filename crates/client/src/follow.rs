//! Streams that survive a lost connection: each remembers where it was and
//! goes on there. They give up only when the server stays away for a while,
//! or says no.

use crate::error::{ClientError, ErrorKind};
use crate::http::Client;
use crate::sse::{SseEvent, SseParser};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fleetfoot_model::api::RunView;
use fleetfoot_model::ids::{AttemptNumber, JobId, RunId};
use fleetfoot_model::logs::Mark;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, Response, Url};
use serde::Deserialize;
use std::borrow::Cow;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// A stream on which nothing arrives for this long (servers send comments) is taken for dead.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a stream tries to come back before it reports the error.
const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// One event stream with reconnection.
struct Stream {
    client: Client,
    response: Option<Response>,
    parser: SseParser,
    delay: Duration,
    /// Since when nothing has worked; `None` while the stream is healthy.
    down_since: Option<Instant>,
    patience: Duration,
}

impl Stream {
    fn new(client: Client) -> Self {
        Self {
            client,
            response: None,
            parser: SseParser::default(),
            delay: FIRST_DELAY,
            down_since: None,
            patience: PATIENCE,
        }
    }

    /// The next event; connects with `request` when there is no connection.
    /// `None` means that the connection was lost and `request` should be made anew.
    async fn next(
        &mut self,
        url: impl FnOnce() -> Url,
        last_id: Option<&str>,
    ) -> Result<Option<SseEvent>, ClientError> {
        if self.response.is_none() {
            let mut request = self.client.request(Method::GET, url()).header(ACCEPT, "text/event-stream");
            if let Some(id) = last_id {
                request = request.header("last-event-id", id);
            }
            match timeout(self.client.timeout, self.client.send(request)).await {
                Ok(Ok(response)) => {
                    let is_stream = response
                        .headers()
                        .get(CONTENT_TYPE)
                        .and_then(|v| v.to_str().ok())
                        .is_some_and(|v| v.starts_with("text/event-stream"));
                    if !is_stream {
                        return Err(ClientError::protocol(format!(
                            "{} did not answer with an event stream",
                            self.client.server()
                        )));
                    }
                    self.parser = SseParser::default();
                    self.response = Some(response);
                }
                Ok(Err(error)) => return self.failed(Some(error)).await,
                Err(_) => return self.failed(None).await,
            }
        }
        loop {
            if let Some(event) = self.parser.next_event()? {
                self.down_since = None;
                self.delay = FIRST_DELAY;
                return Ok(Some(event));
            }
            let Some(response) = &mut self.response else { return Ok(None) };
            match timeout(SILENCE, response.chunk()).await {
                Ok(Ok(Some(bytes))) => self.parser.push(&bytes),
                Ok(Ok(None)) | Err(_) => return self.failed(None).await,
                Ok(Err(error)) => {
                    let error = self.client.transport(error);
                    return self.failed(Some(error)).await;
                }
            }
        }
    }

    /// Waits before the next try, or gives up.
    async fn failed(&mut self, error: Option<ClientError>) -> Result<Option<SseEvent>, ClientError> {
        self.response = None;
        let since = *self.down_since.get_or_insert_with(Instant::now);
        let error = error.unwrap_or_else(|| {
            ClientError::new(
                ErrorKind::Unreachable(crate::error::Unreachable::Broken),
                format!("the stream from {} ended early", self.client.server()),
            )
        });
        let asked = error.retry_after.or(self.parser.retry_ms().map(Duration::from_millis));
        if !error.is_transient() || since.elapsed() >= self.patience {
            return Err(error);
        }
        sleep(asked.unwrap_or(self.delay).min(LONGEST_DELAY)).await;
        self.delay = (self.delay * 2).min(LONGEST_DELAY);
        Ok(None)
    }
}

/// Bytes of a followed log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// Offset of the first byte.
    pub offset: u64,
    /// Where frames begin, ascending; the first is at or before `offset`.
    pub marks: Vec<Mark>,
    /// The bytes.
    pub bytes: Bytes,
}

impl LogChunk {
    /// Offset after the last byte.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

#[derive(Deserialize)]
struct LogEvent<'a> {
    offset: u64,
    #[serde(default)]
    marks: Vec<Mark>,
    #[serde(borrow)]
    data: Cow<'a, str>,
}

/// Follows a log; resumes by offset, and never shows a byte twice or leaves one out.
pub struct LogFollow {
    stream: Stream,
    job: JobId,
    attempt: Option<AttemptNumber>,
    offset: u64,
    ended: bool,
}

impl LogFollow {
    pub(crate) fn new(client: Client, job: JobId, attempt: Option<AttemptNumber>, offset: u64) -> Self {
        Self { stream: Stream::new(client), job, attempt, offset, ended: false }
    }

    /// How long to try to come back after a lost connection; a minute by default.
    #[must_use]
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.stream.patience = patience;
        self
    }

    /// Where the next chunk begins.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The next bytes, or `None` when the log is closed and everything was seen.
    ///
    /// # Errors
    /// [`ClientError`] when the server says no or stays away too long.
    pub async fn next(&mut self) -> Result<Option<LogChunk>, ClientError> {
        while !self.ended {
            let (job, attempt, offset) = (self.job, self.attempt, self.offset);
            let client = self.stream.client.clone();
            let url = move || {
                let mut query = vec![("offset", offset.to_string())];
                query.extend(attempt.map(|a| ("attempt", a.to_string())));
                client.api(&["jobs", &job.to_string(), "log"], &query)
            };
            let Some(event) = self.stream.next(url, None).await? else { continue };
            match event.event.as_str() {
                "log" => {
                    if let Some(chunk) = self.accept(&event)? {
                        return Ok(Some(chunk));
                    }
                }
                "end" => self.ended = true,
                _ => {}
            }
        }
        Ok(None)
    }

    fn accept(&mut self, event: &SseEvent) -> Result<Option<LogChunk>, ClientError> {
        let bad = |e: Box<dyn std::error::Error + Send + Sync>| {
            ClientError::protocol("a log event cannot be read").with_source(e)
        };
        let log: LogEvent<'_> = serde_json::from_str(&event.data).map_err(|e| bad(e.into()))?;
        let mut bytes = Bytes::from(STANDARD.decode(log.data.as_bytes()).map_err(|e| bad(e.into()))?);
        let (mut offset, mut marks) = (log.offset, log.marks);
        if offset > self.offset {
            return Err(ClientError::protocol(format!(
                "the log stream left out the bytes from {} to {offset}",
                self.offset
            )));
        }
        let seen = self.offset - offset;
        if seen > 0 {
            // The server began before the place that was asked for (a frame is its unit): drop what was shown already.
            if seen >= bytes.len() as u64 {
                return Ok(None);
            }
            bytes = bytes.slice(usize::try_from(seen).unwrap_or(usize::MAX)..);
            offset = self.offset;
            let first = marks.iter().rposition(|m| m.offset <= offset).unwrap_or(0);
            marks.drain(..first);
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        let chunk = LogChunk { offset, marks, bytes };
        self.offset = chunk.end();
        Ok(Some(chunk))
    }
}

/// Follows the state of a run.
pub struct RunFollow {
    stream: Stream,
    run: RunId,
    last_id: Option<String>,
    ended: bool,
}

impl RunFollow {
    pub(crate) fn new(client: Client, run: RunId) -> Self {
        Self { stream: Stream::new(client), run, last_id: None, ended: false }
    }

    /// How long to try to come back after a lost connection; a minute by default.
    #[must_use]
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.stream.patience = patience;
        self
    }

    /// The next state of the run with the jobs that changed, or `None` after it ended.
    ///
    /// # Errors
    /// [`ClientError`] when the server says no or stays away too long.
    pub async fn next(&mut self) -> Result<Option<RunView>, ClientError> {
        while !self.ended {
            let run = self.run;
            let client = self.stream.client.clone();
            let url = move || client.api(&["runs", &run.to_string(), "events"], &[]);
            let Some(event) = self.stream.next(url, self.last_id.as_deref()).await? else { continue };
            if event.id.is_some() {
                self.last_id.clone_from(&event.id);
            }
            match event.event.as_str() {
                "run" => {
                    return serde_json::from_str(&event.data)
                        .map(Some)
                        .map_err(|e| ClientError::protocol("a run event cannot be read").with_source(e));
                }
                "end" => self.ended = true,
                _ => {}
            }
        }
        Ok(None)
    }
}
