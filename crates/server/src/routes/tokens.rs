//! Administration: tokens, backups.

use crate::app::App;
use crate::auth::Admin;
use crate::error::{Answer, Failure};
use crate::extract::{Id, Json, JsonBody};
use axum::extract::State;
use axum::http::StatusCode;
use fleetfoot_model::TokenId;
use fleetfoot_model::api::{CreateToken, CreatedToken, Page, TokenView};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use utoipa::ToSchema;

/// Create a token. The answer is the only time it is shown.
#[utoipa::path(post, path = "/tokens", operation_id = "create_token", tag = "administration",
    request_body = CreateToken, responses((status = 201, body = CreatedToken)))]
pub(super) async fn create(
    State(app): State<App>,
    Admin(who): Admin,
    JsonBody(request): JsonBody<CreateToken>,
) -> Answer<(StatusCode, Json<CreatedToken>)> {
    let control = app.control.clone();
    let created = app.change(async move { control.create_token(&who, request).await }).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// All tokens, without their secrets.
#[utoipa::path(get, path = "/tokens", operation_id = "list_tokens", tag = "administration",
    responses((status = 200, body = Page<TokenView>)))]
pub(super) async fn list(State(app): State<App>, Admin(who): Admin) -> Answer<Json<Page<TokenView>>> {
    Ok(Json(Page { items: app.control.tokens(&who).await?, next_cursor: None }))
}

/// Revoke a token; it ends at once.
#[utoipa::path(delete, path = "/tokens/{id}", operation_id = "revoke_token", tag = "administration",
    params(("id" = u64, Path, description = "The token")), responses((status = 204)))]
pub(super) async fn revoke(State(app): State<App>, Admin(who): Admin, id: Id<TokenId>) -> Answer<StatusCode> {
    let control = app.control.clone();
    app.change(async move { control.revoke_token(&who, id.0).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where the backup goes.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Backup {
    /// A new file on the server's machine, as an absolute path.
    #[schema(value_type = String)]
    path: PathBuf,
}

/// Write a backup to a new file on the server's machine, while it works on.
#[utoipa::path(post, path = "/backup", operation_id = "backup", tag = "administration",
    request_body = Backup, responses((status = 201, body = Backup)))]
pub(super) async fn backup(
    State(app): State<App>,
    Admin(who): Admin,
    JsonBody(request): JsonBody<Backup>,
) -> Answer<(StatusCode, Json<Backup>)> {
    if !request.path.is_absolute() {
        return Err(Failure::bad_request("path must be absolute: it is the server that opens it"));
    }
    let (control, to) = (app.control.clone(), request.path.clone());
    app.change(async move { control.backup(&who, &to).await }).await?;
    Ok((StatusCode::CREATED, Json(request)))
}
