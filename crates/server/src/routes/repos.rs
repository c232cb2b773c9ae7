//! Repositories that start runs: their webhooks, and their administration.

use super::runs::page_limit;
use crate::app::App;
use crate::auth::{Admin, Reader, Writer};
use crate::error::Answer;
use crate::extract::{Id, Json, JsonBody, Query, read_body};
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::StatusCode;
use fleetfoot_control::Webhook;
use fleetfoot_model::api::{Created, Page};
use fleetfoot_model::repos::{
    AcceptedDelivery, AddRepository, AddedRepository, DeliveryView, DispatchRepository, DispatchWorkflow,
    RepositoryView, UpdateRepository,
};
use serde::Deserialize;
use utoipa::IntoParams;

/// Largest body of a webhook: GitHub sends no larger ones.
const WEBHOOK_LIMIT: usize = 25 << 20;

/// A webhook of a forge. It is verified by its signature, and answered once it is stored.
#[utoipa::path(post, path = "/hooks/{repository}", operation_id = "receive_webhook", tag = "repositories",
    params(("repository" = u64, Path, description = "The repository")),
    request_body(content_type = "application/json", content = serde_json::Value),
    responses((status = 202, body = AcceptedDelivery)), security(()))]
pub(super) async fn hook(
    State(app): State<App>,
    request: Request,
) -> Answer<(StatusCode, Json<AcceptedDelivery>)> {
    let (mut parts, body) = request.into_parts();
    let Path(repository) = Path::<u64>::from_request_parts(&mut parts, &app).await?;
    // The raw bytes: they are what the forge signed.
    let body = read_body(&parts, body, WEBHOOK_LIMIT, &app).await?;
    let headers: Vec<(String, String)> = parts
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    let control = app.control.clone();
    let accepted = app.change(async move {
        control.receive_webhook(repository, &Webhook { headers: &headers, body: &body }).await
    });
    Ok((StatusCode::ACCEPTED, Json(accepted.await?)))
}

/// Add a repository. The answer is the only time the secret of its webhook is shown.
#[utoipa::path(post, path = "/repos", operation_id = "add_repository", tag = "repositories",
    request_body = AddRepository, responses((status = 201, body = AddedRepository)))]
pub(super) async fn add(
    State(app): State<App>,
    Admin(who): Admin,
    JsonBody(request): JsonBody<AddRepository>,
) -> Answer<(StatusCode, Json<AddedRepository>)> {
    let control = app.control.clone();
    let added = app.change(async move { control.add_repository(&who, request).await }).await?;
    Ok((StatusCode::CREATED, Json(added)))
}

/// All repositories.
#[utoipa::path(get, path = "/repos", operation_id = "list_repositories", tag = "repositories",
    responses((status = 200, body = Page<RepositoryView>)))]
pub(super) async fn list(State(app): State<App>, Reader(who): Reader) -> Answer<Json<Page<RepositoryView>>> {
    Ok(Json(Page { items: app.control.repositories(&who).await?, next_cursor: None }))
}

/// One repository with its schedules and reports.
#[utoipa::path(get, path = "/repos/{id}", operation_id = "show_repository", tag = "repositories",
    params(("id" = u64, Path, description = "The repository")),
    responses((status = 200, body = RepositoryView)))]
pub(super) async fn show(
    State(app): State<App>,
    Reader(who): Reader,
    id: Id<u64>,
) -> Answer<Json<RepositoryView>> {
    Ok(Json(app.control.repository(&who, id.0).await?))
}

/// Change a repository.
#[utoipa::path(patch, path = "/repos/{id}", operation_id = "update_repository", tag = "repositories",
    params(("id" = u64, Path, description = "The repository")), request_body = UpdateRepository,
    responses((status = 200, body = RepositoryView)))]
pub(super) async fn update(
    State(app): State<App>,
    Admin(who): Admin,
    id: Id<u64>,
    JsonBody(request): JsonBody<UpdateRepository>,
) -> Answer<Json<RepositoryView>> {
    let control = app.control.clone();
    Ok(Json(app.change(async move { control.update_repository(&who, id.0, request).await }).await?))
}

/// Remove a repository. Its runs stay.
#[utoipa::path(delete, path = "/repos/{id}", operation_id = "remove_repository", tag = "repositories",
    params(("id" = u64, Path, description = "The repository")), responses((status = 204)))]
pub(super) async fn remove(State(app): State<App>, Admin(who): Admin, id: Id<u64>) -> Answer<StatusCode> {
    let control = app.control.clone();
    app.change(async move { control.remove_repository(&who, id.0).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which deliveries to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveryQuery {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Entries on the page, at most 200; 50 if absent.
    limit: Option<usize>,
}

/// Deliveries of a repository, newest first: what came, and what became of it.
#[utoipa::path(get, path = "/repos/{id}/deliveries", operation_id = "list_deliveries", tag = "repositories",
    params(("id" = u64, Path, description = "The repository"), DeliveryQuery),
    responses((status = 200, body = Page<DeliveryView>)))]
pub(super) async fn deliveries(
    State(app): State<App>,
    Reader(who): Reader,
    id: Id<u64>,
    Query(query): Query<DeliveryQuery>,
) -> Answer<Json<Page<DeliveryView>>> {
    let limit = page_limit(query.limit)?;
    Ok(Json(app.control.deliveries(&who, id.0, query.cursor.as_deref(), limit).await?))
}

/// Carry a delivery out again, as a new one.
#[utoipa::path(post, path = "/repos/{id}/deliveries/{delivery}/redeliver", operation_id = "redeliver",
    tag = "repositories",
    params(("id" = u64, Path, description = "The repository"), ("delivery" = u64, Path, description = "The delivery")),
    responses((status = 202, body = DeliveryView)))]
pub(super) async fn redeliver(
    State(app): State<App>,
    Writer(who): Writer,
    Path((repository, delivery)): Path<(u64, u64)>,
) -> Answer<(StatusCode, Json<DeliveryView>)> {
    let control = app.control.clone();
    let again = app.change(async move { control.redeliver(&who, repository, delivery).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(again)))
}

/// Start one workflow by hand, with typed inputs.
#[utoipa::path(post, path = "/repos/{id}/dispatch", operation_id = "dispatch_workflow", tag = "repositories",
    params(("id" = u64, Path, description = "The repository")), request_body = DispatchWorkflow,
    responses((status = 201, body = Created)))]
pub(super) async fn dispatch(
    State(app): State<App>,
    Writer(who): Writer,
    id: Id<u64>,
    JsonBody(request): JsonBody<DispatchWorkflow>,
) -> Answer<(StatusCode, Json<Created>)> {
    let control = app.control.clone();
    let created = app.change(async move { control.dispatch_workflow(&who, id.0, request).await }).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Tell every workflow of the default branch that waits for a `repository_dispatch` of this type.
#[utoipa::path(post, path = "/repos/{id}/repository-dispatch", operation_id = "dispatch_repository",
    tag = "repositories", params(("id" = u64, Path, description = "The repository")),
    request_body = DispatchRepository, responses((status = 202, body = AcceptedDelivery)))]
pub(super) async fn dispatch_repository(
    State(app): State<App>,
    Writer(who): Writer,
    id: Id<u64>,
    JsonBody(request): JsonBody<DispatchRepository>,
) -> Answer<(StatusCode, Json<AcceptedDelivery>)> {
    let control = app.control.clone();
    let accepted = app.change(async move { control.dispatch_repository(&who, id.0, request).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(accepted)))
}
