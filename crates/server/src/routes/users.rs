//! Administration of users.

use crate::app::App;
use crate::auth::{Admin, AsUser, session_secret};
use crate::error::Answer;
use crate::extract::{Id, Json, JsonBody};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use fleetfoot_model::UserId;
use fleetfoot_model::api::Page;
use fleetfoot_model::users::{CreateUser, SetPassword, UpdateUser, UserView};

/// All users by name.
#[utoipa::path(get, path = "/users", operation_id = "list_users", tag = "users",
    responses((status = 200, body = Page<UserView>)))]
pub(super) async fn list(State(app): State<App>, Admin(who): Admin) -> Answer<Json<Page<UserView>>> {
    Ok(Json(Page { items: app.control.users(&who).await?, next_cursor: None }))
}

/// Create a user.
#[utoipa::path(post, path = "/users", operation_id = "create_user", tag = "users",
    request_body = CreateUser, responses((status = 201, body = UserView)))]
pub(super) async fn create(
    State(app): State<App>,
    Admin(who): Admin,
    JsonBody(request): JsonBody<CreateUser>,
) -> Answer<(StatusCode, Json<UserView>)> {
    let control = app.control.clone();
    let created = app.change(async move { control.create_user(&who, request).await }).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// One user: for admins, and for that user.
#[utoipa::path(get, path = "/users/{id}", operation_id = "get_user", tag = "users",
    params(("id" = u64, Path, description = "The user")), responses((status = 200, body = UserView)))]
pub(super) async fn show(State(app): State<App>, AsUser(who, id): AsUser) -> Answer<Json<UserView>> {
    Ok(Json(app.control.user(&who, id).await?))
}

/// Change a user. It takes effect at once, also in open sessions.
#[utoipa::path(patch, path = "/users/{id}", operation_id = "update_user", tag = "users",
    params(("id" = u64, Path, description = "The user")), request_body = UpdateUser,
    responses((status = 200, body = UserView)))]
pub(super) async fn update(
    State(app): State<App>,
    Admin(who): Admin,
    id: Id<UserId>,
    JsonBody(request): JsonBody<UpdateUser>,
) -> Answer<Json<UserView>> {
    let control = app.control.clone();
    Ok(Json(app.change(async move { control.update_user(&who, id.0, request).await }).await?))
}

/// Delete a user; every session ends.
#[utoipa::path(delete, path = "/users/{id}", operation_id = "delete_user", tag = "users",
    params(("id" = u64, Path, description = "The user")), responses((status = 204)))]
pub(super) async fn delete(State(app): State<App>, Admin(who): Admin, id: Id<UserId>) -> Answer<StatusCode> {
    let control = app.control.clone();
    app.change(async move { control.delete_user(&who, id.0).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Set a password. Admins set anybody's; one's own needs the current one. Every other session of the
/// user ends.
#[utoipa::path(post, path = "/users/{id}/password", operation_id = "set_password", tag = "users",
    params(("id" = u64, Path, description = "The user")), request_body = SetPassword,
    responses((status = 204)))]
pub(super) async fn set_password(
    State(app): State<App>,
    AsUser(who, id): AsUser,
    headers: HeaderMap,
    JsonBody(request): JsonBody<SetPassword>,
) -> Answer<StatusCode> {
    // The session that asks stays; a cookie beside a bearer token is nobody's session here, and
    // another user's is not among those that end.
    let keep = session_secret(&headers, &app).map(str::to_owned);
    let control = app.control.clone();
    app.change(async move { control.set_password(&who, id, request, keep.as_deref()).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
