//! Runs: create (JSON, form, batch), list, show, follow, cancel, run again.

use crate::app::App;
use crate::auth::{Proof, Reader, Writer};
use crate::error::{Answer, Failure};
use crate::extract::{
    Id, Json, JsonBody, Query, media_type, parse_json, read_body, require_json, unsupported,
};
use crate::{multipart, sse, streams};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use fleetfoot_control::{Idempotency, Permission, RunWatcher};
use fleetfoot_model::api::{
    CancelRun, CreateBatch, CreateRun, Created, CreatedBatch, Page, Rerun, RunFilter, RunView,
};
use fleetfoot_model::observe::RunSearch;
use fleetfoot_model::{Code, Conclusion, RunId, Status};
use futures_util::{Stream, stream};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use utoipa::IntoParams;

/// A document of 1 MiB may take several times that as a JSON string.
const CREATE_LIMIT: usize = 8 << 20;
const BATCH_LIMIT: usize = 64 << 20;
/// From this size on parsing would keep the thread from other requests.
const LARGE_JSON: usize = 1 << 20;
const LIST_DEFAULT: usize = 50;
pub(super) const LIST_MAX: usize = 200;

/// Create a run.
///
/// As JSON, or as a form whose part `document` is the file. With an
/// `Idempotency-Key`, the same request again answers the same run.
#[utoipa::path(post, path = "/runs", operation_id = "create_run", tag = "runs",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body again change nothing and answer the same")),
    request_body(content((CreateRun = "application/json"), (Object = "multipart/form-data"))),
    responses((status = 201, body = Created)))]
pub(super) async fn create(
    State(app): State<App>,
    Writer(who): Writer,
    request: Request,
) -> Answer<(StatusCode, Json<Created>)> {
    let (parts, body) = request.into_parts();
    let key = idempotency_key(&parts.headers)?;
    let form = match media_type(&parts).as_deref() {
        Some("multipart/form-data") => true,
        Some(other) if require_json(&parts).is_err() => {
            return Err(unsupported(other, "application/json"));
        }
        _ => false,
    };
    let body = read_body(&parts, body, CREATE_LIMIT, &app).await?;
    let (run, hash) = if form {
        let run = multipart::read(parts, body).await?;
        // The boundary of a form differs from try to try: what counts is what it says.
        let hash = blake3::hash(&serde_json::to_vec(&run).unwrap_or_default());
        (run, hash)
    } else {
        parse_hashed::<CreateRun>(body).await?
    };
    let idempotency = key.map(|key| Idempotency { key, request_hash: *hash.as_bytes() });
    let control = app.control.clone();
    let created = app.change(async move { control.create_runs(&who, vec![run], idempotency).await }).await?;
    let first = created
        .into_iter()
        .next()
        .ok_or_else(|| Failure::new(Code::Internal, "one run was asked for and none was created"))?;
    Ok((StatusCode::CREATED, Json(first)))
}

/// Create many runs, all or nothing.
#[utoipa::path(post, path = "/runs/batch", operation_id = "create_runs", tag = "runs",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body again change nothing and answer the same")),
    request_body = CreateBatch,
    responses((status = 201, body = CreatedBatch)))]
pub(super) async fn batch(
    State(app): State<App>,
    Writer(who): Writer,
    request: Request,
) -> Answer<(StatusCode, Json<CreatedBatch>)> {
    let (parts, body) = request.into_parts();
    let key = idempotency_key(&parts.headers)?;
    require_json(&parts)?;
    let body = read_body(&parts, body, BATCH_LIMIT, &app).await?;
    let (batch, hash) = parse_hashed::<CreateBatch>(body).await?;
    let idempotency = key.map(|key| Idempotency { key, request_hash: *hash.as_bytes() });
    let control = app.control.clone();
    let runs = app.change(async move { control.create_runs(&who, batch.runs, idempotency).await }).await?;
    Ok((StatusCode::CREATED, Json(CreatedBatch { runs })))
}

async fn parse_hashed<T: DeserializeOwned + Send + 'static>(body: Bytes) -> Answer<(T, blake3::Hash)> {
    let large = body.len() > LARGE_JSON;
    let work = move || Ok((parse_json(&body)?, blake3::hash(&body)));
    if !large {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(Failure::new(Code::Internal, format!("parsing a body ended without an answer: {e}"))),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Answer<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(Failure::bad_request("Idempotency-Key must be 1 to 255 visible ASCII characters")),
    }
}

/// Which runs to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Where they stand.
    status: Option<Status>,
    /// How they ended.
    conclusion: Option<Conclusion>,
    /// Dialect.
    kind: Option<String>,
    /// Project.
    project: Option<String>,
    /// Name of the document.
    name: Option<String>,
    /// The same as `name`.
    workflow: Option<String>,
    /// A label that one of its jobs requires.
    label: Option<String>,
    /// Id or name of a runner that has one of its jobs, or had it last.
    runner: Option<String>,
    /// Part of its name, title, branch, commit or number (`#12`), in any case.
    text: Option<String>,
    /// Branch.
    branch: Option<String>,
    /// Who caused them.
    actor: Option<String>,
    /// Event that started them.
    event: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Entries on the page, at most 200; 50 if absent.
    limit: Option<usize>,
}

/// List runs, newest first.
#[utoipa::path(get, path = "/runs", operation_id = "list_runs", tag = "runs", params(ListQuery),
    responses((status = 200, body = Page<RunView>)))]
pub(super) async fn list(
    State(app): State<App>,
    Reader(who): Reader,
    Query(query): Query<ListQuery>,
) -> Answer<Json<Page<RunView>>> {
    let limit = page_limit(query.limit)?;
    let filter = RunFilter {
        status: query.status,
        conclusion: query.conclusion,
        kind: query.kind,
        project: query.project,
        name: query.name.or(query.workflow),
        branch: query.branch,
        actor: query.actor,
        event: query.event,
    };
    let search = RunSearch { filter, label: query.label, runner: query.runner, text: query.text };
    Ok(Json(app.control.search_runs(&who, &search, query.cursor.as_deref(), limit).await?))
}

/// The number of entries on a page.
pub(super) fn page_limit(asked: Option<usize>) -> Answer<usize> {
    match asked.unwrap_or(LIST_DEFAULT) {
        limit @ 1..=LIST_MAX => Ok(limit),
        _ => Err(Failure::bad_request(format!("limit must be 1 to {LIST_MAX}"))),
    }
}

/// One run with its jobs and their steps.
#[utoipa::path(get, path = "/runs/{id}", operation_id = "get_run", tag = "runs",
    params(("id" = u64, Path, description = "The run")), responses((status = 200, body = RunView)))]
pub(super) async fn show(
    State(app): State<App>,
    Reader(who): Reader,
    id: Id<RunId>,
) -> Answer<Json<RunView>> {
    Ok(Json(app.control.run(&who, id.0).await?))
}

/// Which attempts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AttemptsQuery {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Entries on the page, at most 200; 50 if absent.
    limit: Option<usize>,
}

/// The attempts of a run, newest first: the run itself, those that it repeats, and those that repeat it.
#[utoipa::path(get, path = "/runs/{id}/attempts", operation_id = "list_run_attempts", tag = "runs",
    params(("id" = u64, Path, description = "Any of the attempts"), AttemptsQuery),
    responses((status = 200, body = Page<RunView>)))]
pub(super) async fn attempts(
    State(app): State<App>,
    Reader(who): Reader,
    id: Id<RunId>,
    Query(query): Query<AttemptsQuery>,
) -> Answer<Json<Page<RunView>>> {
    let limit = page_limit(query.limit)?;
    Ok(Json(app.control.run_attempts(&who, id.0, query.cursor.as_deref(), limit).await?))
}

/// Ask for the cancellation of a run. Asking again changes nothing.
#[utoipa::path(post, path = "/runs/{id}/cancel", operation_id = "cancel_run", tag = "runs",
    params(("id" = u64, Path, description = "The run")),
    request_body = Option<CancelRun>, responses((status = 202, body = RunView)))]
pub(super) async fn cancel(
    State(app): State<App>,
    Writer(who): Writer,
    id: Id<RunId>,
    JsonBody(request): JsonBody<CancelRun>,
) -> Answer<(StatusCode, Json<RunView>)> {
    let control = app.control.clone();
    let run = app.change(async move { control.cancel_run(&who, id.0, request).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(run)))
}

/// Run it again: a new run from the same document, inputs and secrets.
#[utoipa::path(post, path = "/runs/{id}/rerun", operation_id = "rerun", tag = "runs",
    params(("id" = u64, Path, description = "The run")),
    request_body = Option<Rerun>, responses((status = 201, body = Created)))]
pub(super) async fn rerun(
    State(app): State<App>,
    Writer(who): Writer,
    id: Id<RunId>,
    JsonBody(request): JsonBody<Rerun>,
) -> Answer<(StatusCode, Json<Created>)> {
    let control = app.control.clone();
    let created = app.change(async move { control.rerun(&who, id.0, request).await }).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Follow a run as server-sent events.
///
/// Every change is an event `run` with the run and those of its jobs that
/// changed (all of them first); its id is the change number, and
/// `Last-Event-ID` goes on behind it. The event `end` comes when the run is
/// over. The event `error` carries a problem and is the last one, also when
/// the session or token ends. A stream that ends without either was
/// interrupted: connect again.
#[utoipa::path(get, path = "/runs/{id}/events", operation_id = "follow_run", tag = "runs",
    params(("id" = u64, Path, description = "The run"),
        ("Last-Event-ID" = Option<u64>, Header, description = "Go on behind this change")),
    responses((status = 200, description = "Events", content_type = "text/event-stream", body = String)))]
pub(super) async fn events(
    State(app): State<App>,
    Reader(who): Reader,
    proof: Proof,
    id: Id<RunId>,
    headers: HeaderMap,
) -> Answer<Response> {
    let since = streams::last_event_id(&headers)?;
    let place = app.admit_stream()?;
    let standing = proof.standing(&app, &who, Permission::Read);
    let watcher = app.control.watch_run(&who, id.0, since).await?;
    Ok(streams::events(&app, place, standing, run_events(watcher)))
}

/// The changes of a run as events.
fn run_events(watcher: RunWatcher) -> impl Stream<Item = Answer<Bytes>> + Send + 'static {
    struct Following {
        watcher: RunWatcher,
        last: Option<(Status, Option<Conclusion>)>,
        over: bool,
    }
    let start = Following { watcher, last: None, over: false };
    stream::unfold(start, async |mut following| {
        if following.over {
            return None;
        }
        let event = match following.watcher.next().await {
            Ok(Some(run)) => {
                following.last = Some((run.status, run.conclusion));
                sse::json_event("run", Some(newest_change(&run)), &run).map_err(streams::unwritable)
            }
            Ok(None) => match following.last {
                Some((Status::Completed, conclusion)) => {
                    following.over = true;
                    sse::json_event("end", None, &json!({ "conclusion": conclusion }))
                        .map_err(streams::unwritable)
                }
                // The watcher also ends when the control plane does: that is no end of the run.
                _ => return None,
            },
            Err(problem) => Err(problem.into()),
        };
        Some((event, following))
    })
}

/// The number behind which a follower has seen all of this.
fn newest_change(run: &RunView) -> u64 {
    run.jobs.iter().flatten().map(|j| j.change).fold(run.change, u64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn pages_have_bounds() {
        assert_eq!(page_limit(None).unwrap(), 50);
        assert_eq!(page_limit(Some(200)).unwrap(), 200);
        assert!(page_limit(Some(0)).is_err() && page_limit(Some(201)).is_err());
    }

    #[test]
    fn idempotency_keys() {
        let with = |v: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", HeaderValue::from_bytes(v.as_bytes()).unwrap());
            idempotency_key(&headers)
        };
        assert_eq!(idempotency_key(&HeaderMap::new()).unwrap(), None);
        assert_eq!(with("a-1").unwrap().as_deref(), Some("a-1"));
        assert!(with("").is_err() && with("ä").is_err() && with(&"x".repeat(256)).is_err());
    }

    #[tokio::test]
    async fn large_bodies_are_parsed_elsewhere_with_the_same_result() {
        let document = "x".repeat(2 * LARGE_JSON);
        let body = Bytes::from(serde_json::to_vec(&json!({"kind": "job", "document": document})).unwrap());
        let (run, hash) = parse_hashed::<CreateRun>(body.clone()).await.unwrap();
        assert_eq!(run.document, document);
        assert_eq!(hash, blake3::hash(&body));
    }

    #[test]
    fn filters_are_checked() {
        let parse =
            |q: &str| {
                let mut parts = Request::builder().uri(format!("/runs?{q}")).body(()).unwrap().into_parts().0;
                futures_util::FutureExt::now_or_never(<Query<ListQuery> as axum::extract::FromRequestParts<
                    (),
                >>::from_request_parts(&mut parts, &()))
                .unwrap()
                .map(|q| q.0)
            };
        let query = parse("status=running&limit=7&branch=a%2Fb").unwrap();
        assert_eq!(
            (query.status, query.limit, query.branch.as_deref()),
            (Some(Status::Running), Some(7), Some("a/b"))
        );
        for bad in ["status=runing", "limit=-1", "limit=x", "stauts=running"] {
            assert_eq!(parse(bad).unwrap_err().0.code, Code::BadRequest, "{bad}");
        }
    }
}
