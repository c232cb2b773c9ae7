//! Runners: the management API for plain HTTP clients, and the exchange that
//! Fleetfoot's own runner uses. Also served without the prefix.

use crate::app::App;
use crate::auth::{Admin, AsRunner, Caller, Reader, bearer};
use crate::error::{Answer, Failure};
use crate::extract::{Id, Json, JsonBody, Query, media_type, read_body, unsupported};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use fleetfoot_control::Principal;
use fleetfoot_model::api::{
    Appended, AssignJob, CompleteJob, CreateRunner, Heartbeat, JobView, Page, RegisterRunner, Registered,
    RunnerStatus, RunnerView, UpdateRunner,
};
use fleetfoot_model::logs::{FRAMES_MEDIA_TYPE, Stream};
use fleetfoot_model::sync::{Assignment, SyncRequest, SyncResponse};
use fleetfoot_model::{AttemptRef, Code, RunnerId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Results carry outputs and the summaries of all steps.
const REPORT_LIMIT: usize = 32 << 20;
const APPEND_LIMIT: usize = 8 << 20;

/// All runners.
#[utoipa::path(get, path = "/runners", operation_id = "list_runners", tag = "runners",
    responses((status = 200, body = Page<RunnerView>)))]
pub(super) async fn list(State(app): State<App>, Reader(who): Reader) -> Answer<Json<Page<RunnerView>>> {
    Ok(Json(Page { items: app.control.runners(&who).await?, next_cursor: None }))
}

/// Create a runner and its token.
#[utoipa::path(post, path = "/runners", operation_id = "create_runner", tag = "runners",
    request_body = Option<CreateRunner>, responses((status = 201, body = Registered)))]
pub(super) async fn create(
    State(app): State<App>,
    Admin(who): Admin,
    JsonBody(request): JsonBody<CreateRunner>,
) -> Answer<(StatusCode, Json<Registered>)> {
    let control = app.control.clone();
    let registered = app.change(async move { control.create_runner(&who, request).await }).await?;
    Ok((StatusCode::CREATED, Json(registered)))
}

/// Become a runner, with a registration token in the header or in the body.
#[utoipa::path(post, path = "/runners/register", operation_id = "register_runner", tag = "runners",
    request_body = RegisterRunner, responses((status = 201, body = Registered)))]
pub(super) async fn register(
    State(app): State<App>,
    headers: HeaderMap,
    JsonBody(mut request): JsonBody<RegisterRunner>,
) -> Answer<(StatusCode, Json<Registered>)> {
    let in_body = request.token.take();
    let token = bearer(&headers)?.map(str::to_owned).or(in_body).ok_or_else(|| {
        Failure::new(
            Code::Unauthorized,
            "this needs a registration token, in the Authorization header or in the body",
        )
        .with_hint("an admin creates one with `fleetfoot token create --registration`")
    })?;
    let who = app.control.authenticate(&token).await?;
    let control = app.control.clone();
    let registered = app.change(async move { control.register_runner(&who, request).await }).await?;
    Ok((StatusCode::CREATED, Json(registered)))
}

/// One runner. A runner may see itself.
#[utoipa::path(get, path = "/runners/{id}", operation_id = "get_runner", tag = "runners",
    params(("id" = u64, Path, description = "The runner")), responses((status = 200, body = RunnerView)))]
pub(super) async fn show(
    State(app): State<App>,
    Caller(who): Caller,
    id: Id<RunnerId>,
) -> Answer<Json<RunnerView>> {
    Ok(Json(app.control.runner(&who, id.0).await?))
}

/// Change description, fixed labels or drain.
#[utoipa::path(patch, path = "/runners/{id}", operation_id = "update_runner", tag = "runners",
    params(("id" = u64, Path, description = "The runner")),
    request_body = UpdateRunner, responses((status = 200, body = RunnerView)))]
pub(super) async fn update(
    State(app): State<App>,
    Admin(who): Admin,
    id: Id<RunnerId>,
    JsonBody(request): JsonBody<UpdateRunner>,
) -> Answer<Json<RunnerView>> {
    let control = app.control.clone();
    Ok(Json(app.change(async move { control.update_runner(&who, id.0, request).await }).await?))
}

/// Remove a runner; what it holds is lost.
#[utoipa::path(delete, path = "/runners/{id}", operation_id = "delete_runner", tag = "runners",
    params(("id" = u64, Path, description = "The runner")), responses((status = 204)))]
pub(super) async fn delete(State(app): State<App>, AsRunner(who, id): AsRunner) -> Answer<StatusCode> {
    let control = app.control.clone();
    app.change(async move { control.delete_runner(&who, id).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Say how the runner is (plain HTTP clients).
#[utoipa::path(post, path = "/runners/{id}/status", operation_id = "set_runner_status", tag = "runners",
    params(("id" = u64, Path, description = "The runner")),
    request_body = RunnerStatus, responses((status = 200, body = RunnerView)))]
pub(super) async fn status(
    State(app): State<App>,
    AsRunner(who, id): AsRunner,
    JsonBody(request): JsonBody<RunnerStatus>,
) -> Answer<Json<RunnerView>> {
    let control = app.control.clone();
    Ok(Json(app.change(async move { control.set_runner_status(&who, id, request).await }).await?))
}

/// Extend the leases of everything the runner holds (plain HTTP clients).
#[utoipa::path(post, path = "/runners/{id}/heartbeat", operation_id = "heartbeat", tag = "runners",
    params(("id" = u64, Path, description = "The runner")),
    request_body = Option<Heartbeat>, responses((status = 200, body = RunnerView)))]
pub(super) async fn heartbeat(
    State(app): State<App>,
    AsRunner(who, id): AsRunner,
    JsonBody(request): JsonBody<Heartbeat, REPORT_LIMIT>,
) -> Answer<Json<RunnerView>> {
    let control = app.control.clone();
    Ok(Json(app.change(async move { control.heartbeat(&who, id, request).await }).await?))
}

/// Answer to a claim.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Assigned {
    /// The job to do, or `null` if none matches now.
    job: Option<Assignment>,
}

/// Claim a job (plain HTTP clients).
#[utoipa::path(post, path = "/runners/{id}/assign-job", operation_id = "assign_job", tag = "runners",
    params(("id" = u64, Path, description = "The runner")),
    request_body = Option<AssignJob>, responses((status = 200, body = Assigned)))]
pub(super) async fn assign_job(
    State(app): State<App>,
    AsRunner(who, id): AsRunner,
    JsonBody(request): JsonBody<AssignJob>,
) -> Answer<Json<Assigned>> {
    let control = app.control.clone();
    let job = app.change(async move { control.assign_job(&who, id, request).await }).await?;
    Ok(Json(Assigned { job }))
}

/// Report the end of a job (plain HTTP clients).
#[utoipa::path(post, path = "/runners/{id}/complete-job", operation_id = "complete_job", tag = "runners",
    params(("id" = u64, Path, description = "The runner")),
    request_body = CompleteJob, responses((status = 200, body = JobView)))]
pub(super) async fn complete_job(
    State(app): State<App>,
    AsRunner(who, id): AsRunner,
    JsonBody(request): JsonBody<CompleteJob, REPORT_LIMIT>,
) -> Answer<Json<JobView>> {
    let control = app.control.clone();
    Ok(Json(app.change(async move { control.complete_job(&who, id, request).await }).await?))
}

/// The one exchange between runner and server.
///
/// Waits up to `wait_ms` while there is nothing to say. A client that goes away
/// while waiting counts as disconnected.
#[utoipa::path(post, path = "/runners/{id}/sync", operation_id = "sync", tag = "runners",
    params(("id" = u64, Path, description = "The runner")),
    request_body = SyncRequest, responses((status = 200, body = SyncResponse)))]
pub(super) async fn sync(
    State(app): State<App>,
    AsRunner(who, id): AsRunner,
    JsonBody(request): JsonBody<SyncRequest, REPORT_LIMIT>,
) -> Answer<Json<SyncResponse>> {
    // Not a task of its own: dropping this future is how the control plane learns of a lost connection.
    tokio::select! {
        biased;
        answer = app.control.sync(&who, id, request) => Ok(Json(answer?)),
        () = app.closing.cancelled() => Err(Failure::shutting_down()),
    }
}

/// Where and how to append.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AppendQuery {
    /// The attempt, `JOB.ATTEMPT.EPOCH`.
    attempt: String,
    /// Offset of the first byte; needed with frames, otherwise the end if absent.
    offset: Option<u64>,
    /// Plain text: `stdout` if absent.
    stream: Option<Stream>,
    /// Plain text: index of the step, 0 if absent.
    step: Option<u16>,
}

/// Append to the log of an attempt, as frames or as plain text.
#[utoipa::path(post, path = "/runners/{id}/log", operation_id = "append_log", tag = "runners",
    params(("id" = u64, Path, description = "The runner"), AppendQuery),
    request_body(content((String = "application/vnd.fleetfoot.log-frames"), (String = "text/plain"), (String = "application/octet-stream"))),
    responses((status = 200, body = Appended)))]
pub(super) async fn append_log(
    State(app): State<App>,
    AsRunner(who, id): AsRunner,
    Query(query): Query<AppendQuery>,
    request: Request,
) -> Answer<Json<Appended>> {
    let attempt: AttemptRef =
        query.attempt.parse().map_err(|e| Failure::bad_request(format!("attempt: {e}")))?;
    let (parts, body) = request.into_parts();
    let kind = media_type(&parts);
    let frames = match kind.as_deref() {
        Some(FRAMES_MEDIA_TYPE) => true,
        None | Some("text/plain" | "application/octet-stream") => false,
        Some(other) => return Err(unsupported(other, "text/plain")),
    };
    let at = match (frames, query.offset) {
        (true, None) => return Err(Failure::bad_request("frames need an offset")),
        (_, offset) => offset,
    };
    let body = read_body(&parts, body, APPEND_LIMIT, &app).await?;
    let control = app.control.clone();
    let (stream, step) = (query.stream.unwrap_or(Stream::Stdout), query.step.unwrap_or(0));
    let appended = app
        .change(async move {
            match at {
                Some(offset) if frames => control.append_log(&who, id, attempt, offset, body).await,
                _ => control.append_text(&who, id, attempt, at, stream, step, body).await,
            }
        })
        .await?;
    Ok(Json(appended))
}

/// A new token for a runner; older ones end.
#[utoipa::path(post, path = "/runners/{id}/rotate-token", operation_id = "rotate_runner_token", tag = "runners",
    params(("id" = u64, Path, description = "The runner")), responses((status = 200, body = Registered)))]
pub(super) async fn rotate_token(
    State(app): State<App>,
    AsRunner(who, id): AsRunner,
) -> Answer<Json<Registered>> {
    let control = app.control.clone();
    Ok(Json(app.change(async move { control.rotate_runner_token(&who, id).await }).await?))
}

async fn set_drain(app: App, who: Principal, id: RunnerId, drain: bool) -> Answer<Json<RunnerView>> {
    let control = app.control.clone();
    let request = UpdateRunner { drain: Some(drain), ..UpdateRunner::default() };
    Ok(Json(app.change(async move { control.update_runner(&who, id, request).await }).await?))
}

/// Finish what it has and take nothing new.
#[utoipa::path(post, path = "/runners/{id}/drain", operation_id = "drain_runner", tag = "runners",
    params(("id" = u64, Path, description = "The runner")), responses((status = 200, body = RunnerView)))]
pub(super) async fn drain(
    State(app): State<App>,
    Admin(who): Admin,
    id: Id<RunnerId>,
) -> Answer<Json<RunnerView>> {
    set_drain(app, who, id.0, true).await
}

/// Take jobs again.
#[utoipa::path(post, path = "/runners/{id}/resume", operation_id = "resume_runner", tag = "runners",
    params(("id" = u64, Path, description = "The runner")), responses((status = 200, body = RunnerView)))]
pub(super) async fn resume(
    State(app): State<App>,
    Admin(who): Admin,
    id: Id<RunnerId>,
) -> Answer<Json<RunnerView>> {
    set_drain(app, who, id.0, false).await
}
