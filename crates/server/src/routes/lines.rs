//! Logs by lines: read, outline, search, follow.

use super::logs::Start;
use super::runs::LIST_MAX;
use crate::app::App;
use crate::auth::{Proof, Reader};
use crate::error::{Answer, Failure};
use crate::extract::{Id, Json, Query};
use crate::{sse, streams};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use fleetfoot_control::{LineBatch, LineFollower, Permission};
use fleetfoot_model::observe::{LogEnd, LogLines, LogOutline, LogSearch};
use fleetfoot_model::{AttemptNumber, JobId};
use fleetfoot_objects::LineRange;
use futures_util::{Stream, stream};
use serde::Deserialize;
use utoipa::IntoParams;

/// Lines where nothing else is said.
const LINES: u64 = 500;

/// Which lines.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LinesQuery {
    /// The attempt; the current or last one if absent.
    attempt: Option<AttemptNumber>,
    /// Number of the first line, from 1; 1 if absent.
    from: Option<u64>,
    /// Lines at most, up to 5,000; 500 if absent. Long lines make it fewer.
    count: Option<u64>,
    /// Instead of `from` and `count`: so many lines at the end.
    tail: Option<u64>,
}

/// Lines of a log by number.
#[utoipa::path(get, path = "/jobs/{id}/log/lines", operation_id = "read_log_lines", tag = "logs",
    params(("id" = u64, Path, description = "The job"), LinesQuery), responses((status = 200, body = LogLines)))]
pub(super) async fn lines(
    State(app): State<App>,
    Reader(who): Reader,
    id: Id<JobId>,
    Query(query): Query<LinesQuery>,
) -> Answer<Json<LogLines>> {
    let (range, count) = match (query.tail, query.from, query.count) {
        (Some(tail), None, None) => (LineRange::Last(tail), tail),
        (Some(_), ..) => return Err(Failure::bad_request("say either `tail`, or `from` and `count`")),
        (None, from, count) => (LineRange::From(from.unwrap_or(1)), count.unwrap_or(LINES)),
    };
    Ok(Json(app.control.log_lines(&who, id.0, query.attempt, range, count).await?))
}

/// Which attempt.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OutlineQuery {
    /// The attempt; the current or last one if absent.
    attempt: Option<AttemptNumber>,
}

/// Where steps, groups and errors are in a log.
#[utoipa::path(get, path = "/jobs/{id}/log/outline", operation_id = "read_log_outline", tag = "logs",
    params(("id" = u64, Path, description = "The job"), OutlineQuery),
    responses((status = 200, body = LogOutline)))]
pub(super) async fn outline(
    State(app): State<App>,
    Reader(who): Reader,
    id: Id<JobId>,
    Query(query): Query<OutlineQuery>,
) -> Answer<Json<LogOutline>> {
    Ok(Json(app.control.log_outline(&who, id.0, query.attempt).await?))
}

/// What to search for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SearchQuery {
    /// The attempt; the current or last one if absent.
    attempt: Option<AttemptNumber>,
    /// A text, or a pattern.
    q: String,
    /// It is a pattern (a regular expression in the syntax of Rust's `regex`).
    regex: bool,
    /// Letters must be the same.
    case: bool,
    /// Only lines behind this one.
    after: u64,
    /// Matches at most, up to 1,000; 200 if absent.
    limit: Option<usize>,
}

/// Search a log.
///
/// A search ends after about a second and a half; `next` says where to go on.
#[utoipa::path(get, path = "/jobs/{id}/log/search", operation_id = "search_log", tag = "logs",
    params(("id" = u64, Path, description = "The job"), SearchQuery),
    responses((status = 200, body = LogSearch)))]
pub(super) async fn search(
    State(app): State<App>,
    Reader(who): Reader,
    id: Id<JobId>,
    Query(query): Query<SearchQuery>,
) -> Answer<Json<LogSearch>> {
    let asked = (query.q.as_str(), query.regex, query.case);
    let limit = query.limit.unwrap_or(LIST_MAX);
    Ok(Json(app.control.search_log(&who, id.0, query.attempt, asked, query.after, limit).await?))
}

/// From where to follow.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FollowQuery {
    /// The attempt; the current or last one, or the first one to come, if absent.
    attempt: Option<AttemptNumber>,
    /// Number of the first line, from 1; 1 if absent. `Last-Event-ID` overrules it.
    from_line: Option<u64>,
    /// When the log grows faster than it is read, go on at its end: `skipped` says how much was left out.
    skip: bool,
}

/// Follow a log by lines, as server-sent events.
///
/// Events `lines` carry what `GET .../log/lines` answers, without gaps and repeats; the id is the number
/// of the last whole line, and `Last-Event-ID` goes on behind it. A line that still grows comes as
/// `partial`, also alone. The event `end` comes when the log is complete, `error` with a problem when
/// it cannot be followed any more, also because the session or token ended. A stream that ends without
/// either was interrupted: connect again.
#[utoipa::path(get, path = "/jobs/{id}/log/follow", operation_id = "follow_log_lines", tag = "logs",
    params(("id" = u64, Path, description = "The job"), FollowQuery,
        ("Last-Event-ID" = Option<u64>, Header, description = "Go on behind this line")),
    responses((status = 200, description = "Events; the data of `lines`, and of `end`", content(
        (LogLines = "text/event-stream"), (LogEnd = "application/json")))))]
pub(super) async fn follow(
    State(app): State<App>,
    Reader(who): Reader,
    proof: Proof,
    id: Id<JobId>,
    Query(query): Query<FollowQuery>,
    headers: HeaderMap,
) -> Answer<Response> {
    let from = match streams::last_event_id(&headers)? {
        Some(last) => last.saturating_add(1),
        None => query.from_line.unwrap_or(1),
    };
    // Who may not see the job learns it now and not from the stream.
    app.control.log_of(&who, id.0, query.attempt).await?;
    let place = app.admit_stream()?;
    let standing = proof.standing(&app, &who, Permission::Read);
    let start = Start { app: app.clone(), who, job: id.0, attempt: query.attempt, offset: 0 };
    Ok(streams::events(&app, place, standing, followed(start, from, query.skip)))
}

enum Following {
    Waiting(Box<Start>),
    Reading(Box<LineFollower>),
    Over,
}

fn followed(start: Start, from: u64, skip: bool) -> impl Stream<Item = Answer<Bytes>> + Send + 'static {
    stream::unfold(Following::Waiting(Box::new(start)), move |following| async move {
        let mut follower = match following {
            Following::Over => return None,
            Following::Reading(follower) => follower,
            Following::Waiting(start) => match start.log().await {
                Ok(Some(log)) => Box::new(start.app.control.follow_lines(log, from, skip)),
                Ok(None) => return Some((end(&LogEnd { attempt: None, total: 0 }), Following::Over)),
                Err(e) => return Some((Err(e), Following::Over)),
            },
        };
        match follower.next().await {
            Ok(Some(batch)) => Some((Ok(event(&batch)), Following::Reading(follower))),
            Ok(None) if follower.is_over() => {
                let attempt = Some(follower.log().attempt);
                let total = follower.next_line().saturating_sub(1);
                Some((end(&LogEnd { attempt, total }), Following::Over))
            }
            // The control plane ends: that is no end of the log.
            Ok(None) => None,
            Err(problem) => Some((Err(problem.into()), Following::Over)),
        }
    })
}

fn event(batch: &LineBatch) -> Bytes {
    // Strings and numbers always serialise.
    batch.encoded(|lines| sse::json_event("lines", Some(batch.last()), lines).unwrap_or_default())
}

fn end(end: &LogEnd) -> Answer<Bytes> {
    sse::json_event("end", None, end).map_err(streams::unwritable)
}
