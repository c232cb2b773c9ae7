//! Secrets, variables and environments.
//!
//! `project` and `environment` in the query say which scope is meant: neither
//! is the global one, `project` alone that of a project, both that of an
//! environment.

use super::runs::page_limit;
use crate::app::App;
use crate::auth::{Admin, Reader, Writer};
use crate::error::{Answer, Failure};
use crate::extract::{Id, Json, JsonBody, Query};
use axum::extract::State;
use axum::http::StatusCode;
use fleetfoot_model::api::Page;
use fleetfoot_model::projects::{
    CreateEnvironment, DEFAULT_PROJECT, EnvironmentView, KeyRotated, Scope, SecretUse, SecretView, SetValue,
    UpdateEnvironment, VariableView,
};
use serde::Deserialize;
use utoipa::IntoParams;

/// Which scope.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ScopeQuery {
    /// Project; absent means the global scope.
    project: Option<String>,
    /// Environment of that project.
    environment: Option<String>,
}

impl ScopeQuery {
    fn scope(self) -> Answer<Scope> {
        match (self.project, self.environment) {
            (None, None) => Ok(Scope::Global),
            (Some(project), None) => Ok(Scope::Project(project)),
            (Some(project), Some(environment)) => Ok(Scope::Environment { project, environment }),
            (None, Some(_)) => Err(Failure::bad_request("an environment belongs to a project: name it too")),
        }
    }
}

/// Which project.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ProjectQuery {
    /// Project.
    project: Option<String>,
}

impl ProjectQuery {
    fn name(self) -> String {
        self.project.unwrap_or_else(|| DEFAULT_PROJECT.to_owned())
    }
}

fn page<T>(items: Vec<T>) -> Json<Page<T>> {
    Json(Page { items, next_cursor: None })
}

/// Names of the secrets of a scope. Values are never told.
#[utoipa::path(get, path = "/secrets", operation_id = "list_secrets", tag = "projects",
    params(ScopeQuery), responses((status = 200, body = Page<SecretView>)))]
pub(super) async fn list_secrets(
    State(app): State<App>,
    Writer(who): Writer,
    Query(query): Query<ScopeQuery>,
) -> Answer<Json<Page<SecretView>>> {
    Ok(page(app.control.secrets(&who, &query.scope()?).await?))
}

/// Store a secret. Members may in the scope of a project, admins everywhere.
#[utoipa::path(put, path = "/secrets/{name}", operation_id = "set_secret", tag = "projects",
    params(("name" = String, Path, description = "Its name; case does not matter"), ScopeQuery),
    request_body = SetValue, responses((status = 204)))]
pub(super) async fn set_secret(
    State(app): State<App>,
    Writer(who): Writer,
    name: Id<String>,
    Query(query): Query<ScopeQuery>,
    JsonBody(request): JsonBody<SetValue>,
) -> Answer<StatusCode> {
    let (control, scope) = (app.control.clone(), query.scope()?);
    app.change(async move { control.set_secret(&who, scope, &name.0, request).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Delete a secret.
#[utoipa::path(delete, path = "/secrets/{name}", operation_id = "delete_secret", tag = "projects",
    params(("name" = String, Path, description = "Its name"), ScopeQuery), responses((status = 204)))]
pub(super) async fn delete_secret(
    State(app): State<App>,
    Writer(who): Writer,
    name: Id<String>,
    Query(query): Query<ScopeQuery>,
) -> Answer<StatusCode> {
    let (control, scope) = (app.control.clone(), query.scope()?);
    app.change(async move { control.delete_secret(&who, &scope, &name.0).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which uses of secrets to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UseQuery {
    /// Only in runs of this project.
    project: Option<String>,
    /// Only of this secret.
    name: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Entries on the page, at most 200; 50 if absent.
    limit: Option<usize>,
}

/// Which secrets went to which attempts, newest first.
#[utoipa::path(get, path = "/secret-uses", operation_id = "list_secret_uses", tag = "projects",
    params(UseQuery), responses((status = 200, body = Page<SecretUse>)))]
pub(super) async fn secret_uses(
    State(app): State<App>,
    Admin(who): Admin,
    Query(query): Query<UseQuery>,
) -> Answer<Json<Page<SecretUse>>> {
    let limit = page_limit(query.limit)?;
    let (project, name, cursor) = (query.project.as_deref(), query.name.as_deref(), query.cursor.as_deref());
    Ok(Json(app.control.secret_uses(&who, project, name, cursor, limit).await?))
}

/// Replace the master key that seals everything, while the server works on.
#[utoipa::path(post, path = "/secret-key/rotate", operation_id = "rotate_secret_key", tag = "projects",
    responses((status = 200, body = KeyRotated)))]
pub(super) async fn rotate_key(
    State(app): State<App>,
    Admin(who): Admin,
    // Nothing is asked for, but what is sent must be readable.
    _request: JsonBody<Empty>,
) -> Answer<Json<KeyRotated>> {
    let control = app.control.clone();
    Ok(Json(app.change(async move { control.rotate_key(&who).await }).await?))
}

/// A body without content.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Empty {}

/// Variables of a scope.
#[utoipa::path(get, path = "/variables", operation_id = "list_variables", tag = "projects",
    params(ScopeQuery), responses((status = 200, body = Page<VariableView>)))]
pub(super) async fn list_variables(
    State(app): State<App>,
    Reader(who): Reader,
    Query(query): Query<ScopeQuery>,
) -> Answer<Json<Page<VariableView>>> {
    Ok(page(app.control.variables(&who, &query.scope()?).await?))
}

/// One variable.
#[utoipa::path(get, path = "/variables/{name}", operation_id = "get_variable", tag = "projects",
    params(("name" = String, Path, description = "Its name; case does not matter"), ScopeQuery),
    responses((status = 200, body = VariableView)))]
pub(super) async fn show_variable(
    State(app): State<App>,
    Reader(who): Reader,
    name: Id<String>,
    Query(query): Query<ScopeQuery>,
) -> Answer<Json<VariableView>> {
    Ok(Json(app.control.variable(&who, &query.scope()?, &name.0).await?))
}

/// Store a variable. Members may in the scope of a project, admins everywhere.
#[utoipa::path(put, path = "/variables/{name}", operation_id = "set_variable", tag = "projects",
    params(("name" = String, Path, description = "Its name; case does not matter"), ScopeQuery),
    request_body = SetValue, responses((status = 200, body = VariableView)))]
pub(super) async fn set_variable(
    State(app): State<App>,
    Writer(who): Writer,
    name: Id<String>,
    Query(query): Query<ScopeQuery>,
    JsonBody(request): JsonBody<SetValue>,
) -> Answer<Json<VariableView>> {
    let (control, scope) = (app.control.clone(), query.scope()?);
    Ok(Json(app.change(async move { control.set_variable(&who, scope, &name.0, request).await }).await?))
}

/// Delete a variable.
#[utoipa::path(delete, path = "/variables/{name}", operation_id = "delete_variable", tag = "projects",
    params(("name" = String, Path, description = "Its name"), ScopeQuery), responses((status = 204)))]
pub(super) async fn delete_variable(
    State(app): State<App>,
    Writer(who): Writer,
    name: Id<String>,
    Query(query): Query<ScopeQuery>,
) -> Answer<StatusCode> {
    let (control, scope) = (app.control.clone(), query.scope()?);
    app.change(async move { control.delete_variable(&who, &scope, &name.0).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Environments of a project, or of all projects.
#[utoipa::path(get, path = "/environments", operation_id = "list_environments", tag = "projects",
    params(ProjectQuery), responses((status = 200, body = Page<EnvironmentView>)))]
pub(super) async fn list_environments(
    State(app): State<App>,
    Reader(who): Reader,
    Query(query): Query<ProjectQuery>,
) -> Answer<Json<Page<EnvironmentView>>> {
    Ok(page(app.control.environments(&who, query.project.as_deref()).await?))
}

/// Create an environment.
#[utoipa::path(post, path = "/environments", operation_id = "create_environment", tag = "projects",
    request_body = CreateEnvironment, responses((status = 201, body = EnvironmentView)))]
pub(super) async fn create_environment(
    State(app): State<App>,
    Admin(who): Admin,
    JsonBody(request): JsonBody<CreateEnvironment>,
) -> Answer<(StatusCode, Json<EnvironmentView>)> {
    let control = app.control.clone();
    let made = app.change(async move { control.create_environment(&who, request).await }).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// One environment with its rules.
#[utoipa::path(get, path = "/environments/{name}", operation_id = "get_environment", tag = "projects",
    params(("name" = String, Path, description = "Its name; case does not matter"), ProjectQuery),
    responses((status = 200, body = EnvironmentView)))]
pub(super) async fn show_environment(
    State(app): State<App>,
    Reader(who): Reader,
    name: Id<String>,
    Query(query): Query<ProjectQuery>,
) -> Answer<Json<EnvironmentView>> {
    Ok(Json(app.control.environment(&who, &query.name(), &name.0).await?))
}

/// Change the rules of an environment; what is absent stays.
#[utoipa::path(patch, path = "/environments/{name}", operation_id = "update_environment", tag = "projects",
    params(("name" = String, Path, description = "Its name"), ProjectQuery),
    request_body = UpdateEnvironment, responses((status = 200, body = EnvironmentView)))]
pub(super) async fn update_environment(
    State(app): State<App>,
    Admin(who): Admin,
    name: Id<String>,
    Query(query): Query<ProjectQuery>,
    JsonBody(request): JsonBody<UpdateEnvironment>,
) -> Answer<Json<EnvironmentView>> {
    let (control, project) = (app.control.clone(), query.name());
    let done = app.change(async move { control.update_environment(&who, &project, &name.0, request).await });
    Ok(Json(done.await?))
}

/// Delete an environment with its secrets and variables.
#[utoipa::path(delete, path = "/environments/{name}", operation_id = "delete_environment", tag = "projects",
    params(("name" = String, Path, description = "Its name"), ProjectQuery), responses((status = 204)))]
pub(super) async fn delete_environment(
    State(app): State<App>,
    Admin(who): Admin,
    name: Id<String>,
    Query(query): Query<ProjectQuery>,
) -> Answer<StatusCode> {
    let (control, project) = (app.control.clone(), query.name());
    app.change(async move { control.delete_environment(&who, &project, &name.0).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
