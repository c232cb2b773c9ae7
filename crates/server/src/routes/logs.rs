//! Logs: a range as bytes, the marks of a range, and following as events or
//! bytes. A reader that stalls holds one chunk and nothing else.

use crate::app::App;
use crate::auth::{Proof, Reader};
use crate::error::{Answer, Failure};
use crate::extract::{Id, Json, Query};
use crate::{sse, streams};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fleetfoot_control::{Permission, Principal, Standing};
use fleetfoot_model::logs::Mark;
use fleetfoot_model::{AttemptNumber, AttemptRef, Code, JobId, Status};
use fleetfoot_objects::{LogFollower, LogStore};
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::ops::Range;
use utoipa::{IntoParams, ToSchema};

const OFFSET: HeaderName = HeaderName::from_static("fleetfoot-log-offset");
const END: HeaderName = HeaderName::from_static("fleetfoot-log-end");
const CLOSED: HeaderName = HeaderName::from_static("fleetfoot-log-closed");
const ATTEMPT: HeaderName = HeaderName::from_static("fleetfoot-log-attempt");

/// Up to this size an answer is no stream that needs a place.
const SHORT: u64 = 1 << 20;
const MARKS_DEFAULT: usize = 1 << 20;
const MARKS_MAX: usize = 4 << 20;

/// Which part of which log.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LogQuery {
    /// The attempt; the current or last one if absent.
    attempt: Option<AttemptNumber>,
    /// First byte; 0 if absent.
    offset: Option<u64>,
    /// Number of bytes; to the end if absent.
    limit: Option<u64>,
    /// Go on until the log is closed.
    follow: bool,
}

/// The log of a job.
///
/// Bytes as the steps wrote them, from `offset` on, with the headers
/// `Fleetfoot-Log-Offset`, `-End` (length of the log now) and `-Closed` (nothing
/// will come after it). `follow=true` goes on until the log is closed; a body
/// that is cut was interrupted. With `Accept: text/event-stream` it is followed
/// as events `log` (id: the offset behind it; data: `attempt`, `offset`,
/// `marks`, and `data` in Base64), then `end`; `Last-Event-ID` or `offset` goes
/// on where a stream broke.
#[utoipa::path(get, path = "/jobs/{id}/log", operation_id = "read_log", tag = "logs",
    params(("id" = u64, Path, description = "The job"), LogQuery,
        ("Last-Event-ID" = Option<u64>, Header, description = "Overrules `offset` when following as events")),
    responses((status = 200, description = "The bytes, or events", content(
        (String = "application/octet-stream"), (String = "text/plain"), (String = "text/event-stream")))))]
pub(super) async fn read(
    State(app): State<App>,
    Reader(who): Reader,
    proof: Proof,
    id: Id<JobId>,
    Query(query): Query<LogQuery>,
    headers: HeaderMap,
) -> Answer<Response> {
    let offset = query.offset.unwrap_or(0);
    let wanted = Wanted::of(&headers);
    let standing = proof.standing(&app, &who, Permission::Read);
    if wanted == Wanted::Events || query.follow {
        if query.limit.is_some() {
            return Err(Failure::bad_request("a log that is followed has no limit"));
        }
        let offset = match wanted {
            Wanted::Events => streams::last_event_id(&headers)?.unwrap_or(offset),
            _ => offset,
        };
        // Who may not see the job learns it now and not from the stream.
        app.control.log_of(&who, id.0, query.attempt).await?;
        let place = app.admit_stream()?;
        let start = Start { app: app.clone(), who, job: id.0, attempt: query.attempt, offset };
        return Ok(match wanted {
            Wanted::Events => streams::events(&app, place, standing, follow(start, encode_events)),
            _ => {
                let body = streams::bytes(&app, place, Some(standing), follow(start, encode_bytes));
                log_response(wanted, &[(OFFSET, offset)], body)
            }
        });
    }
    let Some(log) = app.control.log_of(&who, id.0, query.attempt).await? else {
        let mut response = log_response(wanted, &[(OFFSET, offset), (END, 0)], Body::empty());
        response.headers_mut().insert(CLOSED, HeaderValue::from_static("false"));
        return Ok(response);
    };
    range(&app, standing, log, offset..offset.saturating_add(query.limit.unwrap_or(u64::MAX)), wanted).await
}

/// The bytes that are there now.
async fn range(
    app: &App,
    standing: Standing,
    log: AttemptRef,
    bytes: Range<u64>,
    wanted: Wanted,
) -> Answer<Response> {
    let logs = app.control.logs();
    let offset = bytes.start;
    let now = logs.read(log, offset, 0).await?;
    let length = now.end.min(bytes.end).saturating_sub(offset);
    let body = if length > SHORT {
        let place = app.admit_stream()?;
        streams::bytes(app, place, Some(standing), stored_bytes(logs, log, offset, length))
    } else {
        Body::from_stream(stored_bytes(logs, log, offset, length).map(|r| r.map_err(streams::cut)))
    };
    let numbers = [
        (OFFSET, offset),
        (END, now.end),
        (ATTEMPT, u64::from(log.attempt)),
        (header::CONTENT_LENGTH, length),
    ];
    let mut response = log_response(wanted, &numbers, body);
    let closed = if now.closed { "true" } else { "false" };
    response.headers_mut().insert(CLOSED, HeaderValue::from_static(closed));
    Ok(response)
}

fn log_response(wanted: Wanted, numbers: &[(HeaderName, u64)], body: Body) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(wanted.media_type()));
    for (name, number) in numbers {
        headers.insert(name.clone(), HeaderValue::from(*number));
    }
    response
}

/// `length` bytes that are stored already, chunk by chunk.
fn stored_bytes(
    logs: &LogStore,
    log: AttemptRef,
    offset: u64,
    length: u64,
) -> impl Stream<Item = Answer<Bytes>> + Send + 'static {
    let follower = logs.follow(log, offset);
    stream::unfold((follower, length), async |(mut follower, left)| {
        if left == 0 {
            return None;
        }
        match follower.next().await {
            Ok(Some(chunk)) => {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.bytes.len());
                Some((Ok(chunk.bytes.slice(..take)), (follower, left - take as u64)))
            }
            Ok(None) => Some((Err(Failure::new(Code::Internal, "a log became shorter")), (follower, 0))),
            Err(e) => Some((Err(e.into()), (follower, 0))),
        }
    })
}

/// The form in which the client wants the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Events,
    Text,
    Bytes,
}

impl Wanted {
    /// Events only if they are named; text if it is named; bytes for everybody else.
    fn of(headers: &HeaderMap) -> Self {
        let mut best = (Self::Bytes, 0.0);
        for value in headers.get_all(header::ACCEPT) {
            for range in value.to_str().unwrap_or_default().split(',') {
                let mut parts = range.split(';').map(str::trim);
                let wanted = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                    "text/event-stream" => Self::Events,
                    "text/plain" | "text/*" => Self::Text,
                    "application/octet-stream" => Self::Bytes,
                    _ => continue,
                };
                let quality = parts
                    .find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")))
                    .map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0));
                if quality > best.1 {
                    best = (wanted, quality);
                }
            }
        }
        best.0
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Events => sse::MEDIA_TYPE,
            Self::Text => "text/plain; charset=utf-8",
            Self::Bytes => "application/octet-stream",
        }
    }
}

/// What to follow.
pub(super) struct Start {
    pub(super) app: App,
    pub(super) who: Principal,
    pub(super) job: JobId,
    pub(super) attempt: Option<AttemptNumber>,
    pub(super) offset: u64,
}

impl Start {
    /// The log, as soon as there is an attempt; `None` if the job ended without one.
    pub(super) async fn log(&self) -> Answer<Option<AttemptRef>> {
        let control = &self.app.control;
        let log = async || control.log_of(&self.who, self.job, self.attempt).await;
        if let Some(found) = log().await? {
            return Ok(Some(found));
        }
        let job = control.job(&self.who, self.job).await?;
        if job.status == Status::Completed {
            return Ok(log().await?);
        }
        let mut watcher = control.watch_run(&self.who, job.run, None).await?;
        while let Some(run) = watcher.next().await? {
            let Some(job) = run.jobs.unwrap_or_default().into_iter().find(|j| j.id == self.job) else {
                continue;
            };
            if (job.attempt.is_some() || job.status == Status::Completed)
                && let Some(found) = log().await?
            {
                return Ok(Some(found));
            }
            if job.status == Status::Completed {
                return Ok(None);
            }
        }
        // The watcher also ends when the control plane does: that is no end of the job.
        match log().await? {
            Some(found) => Ok(Some(found)),
            None if control.job(&self.who, self.job).await?.status == Status::Completed => Ok(None),
            None => Err(Failure::shutting_down()),
        }
    }
}

/// How a followed log is written.
enum Piece<'a> {
    Chunk { attempt: AttemptNumber, offset: u64, marks: &'a [Mark], bytes: Bytes },
    End { attempt: Option<AttemptNumber>, offset: u64 },
}

fn encode_events(piece: Piece<'_>) -> Answer<Bytes> {
    match piece {
        Piece::Chunk { attempt, offset, marks, bytes } => sse::log_event(attempt, offset, marks, &bytes),
        Piece::End { attempt, offset } => {
            sse::json_event("end", None, &json!({ "attempt": attempt, "offset": offset }))
        }
    }
    .map_err(streams::unwritable)
}

fn encode_bytes(piece: Piece<'_>) -> Answer<Bytes> {
    match piece {
        Piece::Chunk { bytes, .. } => Ok(bytes),
        // An empty chunk is left out: the end of the body says it.
        Piece::End { .. } => Ok(Bytes::new()),
    }
}

enum Following {
    Waiting(Box<Start>),
    Reading(LogFollower, AttemptNumber),
    Over,
}

/// Waits for the log, then gives what is written to it until it is closed.
fn follow(
    start: Start,
    encode: fn(Piece<'_>) -> Answer<Bytes>,
) -> impl Stream<Item = Answer<Bytes>> + Send + 'static {
    stream::unfold(Following::Waiting(Box::new(start)), move |following| async move {
        let (mut follower, attempt) = match following {
            Following::Over => return None,
            Following::Reading(follower, attempt) => (follower, attempt),
            Following::Waiting(start) => match start.log().await {
                Ok(Some(log)) => (start.app.control.logs().follow(log, start.offset), log.attempt),
                Ok(None) => {
                    let end = Piece::End { attempt: None, offset: start.offset };
                    return Some((encode(end), Following::Over));
                }
                Err(e) => return Some((Err(e), Following::Over)),
            },
        };
        match follower.next().await {
            Ok(Some(chunk)) => {
                let piece =
                    Piece::Chunk { attempt, offset: chunk.offset, marks: &chunk.marks, bytes: chunk.bytes };
                Some((encode(piece), Following::Reading(follower, attempt)))
            }
            Ok(None) => {
                let end = Piece::End { attempt: Some(attempt), offset: follower.offset() };
                Some((encode(end), Following::Over))
            }
            Err(e) => Some((Err(e.into()), Following::Over)),
        }
    })
}

/// Marks of a range.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Marks {
    /// The attempt; `null` if there is none yet.
    attempt: Option<AttemptNumber>,
    /// First byte of the range.
    offset: u64,
    /// Where the next range begins.
    next_offset: u64,
    /// Length of the log now.
    end: u64,
    /// Nothing will come after `end`.
    closed: bool,
    /// The marks, ascending; the first one covers `offset`.
    marks: Vec<Mark>,
}

/// Which range.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MarksQuery {
    /// The attempt; the current or last one if absent.
    attempt: Option<AttemptNumber>,
    /// First byte; 0 if absent.
    offset: Option<u64>,
    /// Number of bytes, at most 4 MiB; 1 MiB if absent.
    limit: Option<usize>,
}

/// When and by which stream of which step the bytes of a range were written.
#[utoipa::path(get, path = "/jobs/{id}/log/marks", operation_id = "read_log_marks", tag = "logs",
    params(("id" = u64, Path, description = "The job"), MarksQuery), responses((status = 200, body = Marks)))]
pub(super) async fn marks(
    State(app): State<App>,
    Reader(who): Reader,
    id: Id<JobId>,
    Query(query): Query<MarksQuery>,
) -> Answer<Json<Marks>> {
    let offset = query.offset.unwrap_or(0);
    let limit = query.limit.unwrap_or(MARKS_DEFAULT);
    if !(1..=MARKS_MAX).contains(&limit) {
        return Err(Failure::bad_request(format!("limit must be 1 to {MARKS_MAX}")));
    }
    let Some(log) = app.control.log_of(&who, id.0, query.attempt).await? else {
        let none =
            Marks { attempt: None, offset, next_offset: offset, end: 0, closed: false, marks: Vec::new() };
        return Ok(Json(none));
    };
    let chunk = app.control.logs().read(log, offset, limit).await?;
    Ok(Json(Marks {
        attempt: Some(log.attempt),
        offset: chunk.offset,
        next_offset: chunk.next_offset(),
        end: chunk.end,
        closed: chunk.closed,
        marks: chunk.marks,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &[&str]) -> Wanted {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        Wanted::of(&headers)
    }

    #[test]
    fn the_form_of_a_log() {
        for (accept, expected) in [
            (&[][..], Wanted::Bytes),
            (&["*/*"], Wanted::Bytes),
            (&["application/json"], Wanted::Bytes),
            (&["text/event-stream"], Wanted::Events),
            (&["Text/Event-Stream; charset=utf-8"], Wanted::Events),
            (&["text/plain, */*"], Wanted::Text),
            (&["text/html,text/plain;q=0.8,*/*;q=0.5"], Wanted::Text),
            (&["text/plain;q=0.5, text/event-stream"], Wanted::Events),
            (&["text/event-stream;q=0"], Wanted::Bytes),
            (&["application/octet-stream", "text/plain;q=0.9"], Wanted::Bytes),
        ] {
            assert_eq!(wanted(accept), expected, "{accept:?}");
        }
    }
}
