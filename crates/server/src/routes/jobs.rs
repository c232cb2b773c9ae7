//! Jobs: show, why, cancel.

use crate::app::App;
use crate::auth::{Reader, Writer};
use crate::error::Answer;
use crate::extract::{Id, Json, JsonBody};
use axum::extract::State;
use axum::http::StatusCode;
use fleetfoot_model::JobId;
use fleetfoot_model::api::{CancelRun, JobView};
use fleetfoot_model::why::Why;

/// One job with its attempts.
#[utoipa::path(get, path = "/jobs/{id}", operation_id = "get_job", tag = "jobs",
    params(("id" = u64, Path, description = "The job")), responses((status = 200, body = JobView)))]
pub(super) async fn show(
    State(app): State<App>,
    Reader(who): Reader,
    id: Id<JobId>,
) -> Answer<Json<JobView>> {
    Ok(Json(app.control.job(&who, id.0).await?))
}

/// Why a job waits.
#[utoipa::path(get, path = "/jobs/{id}/why", operation_id = "why", tag = "jobs",
    params(("id" = u64, Path, description = "The job")), responses((status = 200, body = Why)))]
pub(super) async fn why(State(app): State<App>, Reader(who): Reader, id: Id<JobId>) -> Answer<Json<Why>> {
    Ok(Json(app.control.why(&who, id.0).await?))
}

/// Cancel one job. Asking again changes nothing.
#[utoipa::path(post, path = "/jobs/{id}/cancel", operation_id = "cancel_job", tag = "jobs",
    params(("id" = u64, Path, description = "The job")),
    request_body = Option<CancelRun>, responses((status = 202, body = JobView)))]
pub(super) async fn cancel(
    State(app): State<App>,
    Writer(who): Writer,
    id: Id<JobId>,
    // A job has no place for the message, but a client may send what it sends for a run.
    _request: JsonBody<CancelRun>,
) -> Answer<(StatusCode, Json<JobView>)> {
    let control = app.control.clone();
    let job = app.change(async move { control.cancel_job(&who, id.0).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(job)))
}
