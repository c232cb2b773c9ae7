//! Approvals: what waits for one, and the decisions.

use super::runs::page_limit;
use crate::app::App;
use crate::auth::{Reader, Writer};
use crate::error::Answer;
use crate::extract::{Id, Json, JsonBody, Query};
use axum::extract::State;
use fleetfoot_control::ApprovalFilter;
use fleetfoot_model::api::Page;
use fleetfoot_model::projects::{ApprovalView, Review};
use fleetfoot_model::{ApprovalState, JobId, RunId};
use serde::Deserialize;
use utoipa::IntoParams;

/// Which approvals to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ApprovalQuery {
    /// In this state (`pending`).
    state: Option<ApprovalState>,
    /// Of this run.
    #[param(value_type = Option<u64>)]
    run: Option<RunId>,
    /// Of runs of this project.
    project: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Entries on the page, at most 200; 50 if absent.
    limit: Option<usize>,
}

/// Runs and jobs that wait for approval, or waited for one, newest first.
#[utoipa::path(get, path = "/approvals", operation_id = "list_approvals", tag = "approvals",
    params(ApprovalQuery), responses((status = 200, body = Page<ApprovalView>)))]
pub(super) async fn list(
    State(app): State<App>,
    Reader(who): Reader,
    Query(query): Query<ApprovalQuery>,
) -> Answer<Json<Page<ApprovalView>>> {
    let limit = page_limit(query.limit)?;
    let filter = ApprovalFilter { state: query.state, run: query.run, project: query.project };
    Ok(Json(app.control.approvals(&who, &filter, query.cursor.as_deref(), limit).await?))
}

/// Approve a job that waits for its environment. The caller is one of the environment's reviewers.
#[utoipa::path(post, path = "/jobs/{id}/approve", operation_id = "approve_job", tag = "approvals",
    params(("id" = u64, Path, description = "The job")),
    request_body = Option<Review>, responses((status = 200, body = ApprovalView)))]
pub(super) async fn approve_job(
    State(app): State<App>,
    Writer(who): Writer,
    id: Id<JobId>,
    JsonBody(review): JsonBody<Review>,
) -> Answer<Json<ApprovalView>> {
    let control = app.control.clone();
    Ok(Json(app.change(async move { control.review_job(&who, id.0, true, review).await }).await?))
}

/// Reject a job that waits for its environment; it ends as a failure.
#[utoipa::path(post, path = "/jobs/{id}/reject", operation_id = "reject_job", tag = "approvals",
    params(("id" = u64, Path, description = "The job")),
    request_body = Option<Review>, responses((status = 200, body = ApprovalView)))]
pub(super) async fn reject_job(
    State(app): State<App>,
    Writer(who): Writer,
    id: Id<JobId>,
    JsonBody(review): JsonBody<Review>,
) -> Answer<Json<ApprovalView>> {
    let control = app.control.clone();
    Ok(Json(app.change(async move { control.review_job(&who, id.0, false, review).await }).await?))
}

/// Approve a run that waits for it; otherwise every job of it that waits and that the caller may approve.
#[utoipa::path(post, path = "/runs/{id}/approve", operation_id = "approve_run", tag = "approvals",
    params(("id" = u64, Path, description = "The run")),
    request_body = Option<Review>, responses((status = 200, body = Page<ApprovalView>)))]
pub(super) async fn approve_run(
    State(app): State<App>,
    Writer(who): Writer,
    id: Id<RunId>,
    JsonBody(review): JsonBody<Review>,
) -> Answer<Json<Page<ApprovalView>>> {
    let control = app.control.clone();
    let items = app.change(async move { control.review_run(&who, id.0, true, review).await }).await?;
    Ok(Json(Page { items, next_cursor: None }))
}

/// Reject a run that waits for approval, which cancels it; otherwise every job of it that waits.
#[utoipa::path(post, path = "/runs/{id}/reject", operation_id = "reject_run", tag = "approvals",
    params(("id" = u64, Path, description = "The run")),
    request_body = Option<Review>, responses((status = 200, body = Page<ApprovalView>)))]
pub(super) async fn reject_run(
    State(app): State<App>,
    Writer(who): Writer,
    id: Id<RunId>,
    JsonBody(review): JsonBody<Review>,
) -> Answer<Json<Page<ApprovalView>>> {
    let control = app.control.clone();
    let items = app.change(async move { control.review_run(&who, id.0, false, review).await }).await?;
    Ok(Json(Page { items, next_cursor: None }))
}
