//! What the server says about itself: health, metrics, version, the OpenAPI
//! document and a page for people who open the address in a browser.

use crate::app::App;
use crate::auth::Reader;
use crate::error::{Answer, Failure};
use crate::extract::Json;
use crate::metrics as counters;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use fleetfoot_model::Code;
use fleetfoot_model::version::VERSION;
use serde::Serialize;
use std::sync::LazyLock;
use std::time::Duration;
use utoipa::ToSchema;

/// How long the probe for readiness waits for the store.
const READY_TIME: Duration = Duration::from_secs(5);

/// A state in one word.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok` or `ready`.
    status: &'static str,
}

/// The process is alive.
#[utoipa::path(get, path = "/healthz", operation_id = "healthz", tag = "server", security(()),
    responses((status = 200, body = Health)))]
pub(super) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// The state is loaded and the store answers.
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "server", security(()),
    responses((status = 200, body = Health)))]
pub(super) async fn readyz(State(app): State<App>) -> Answer<Json<Health>> {
    if app.closing.is_cancelled() {
        return Err(Failure::shutting_down());
    }
    let not_ready = |why: &str| Failure::new(Code::Overloaded, format!("not ready: {why}"));
    match tokio::time::timeout(READY_TIME, app.control.ready()).await {
        Ok(Ok(())) => Ok(Json(Health { status: "ready" })),
        // Whatever the cause: for who asks here, "not now" is the answer.
        Ok(Err(problem)) if problem.code == Code::Internal => Err(not_ready("the store does not answer")),
        Ok(Err(problem)) => Err(not_ready(&problem.detail)),
        Err(_) => Err(not_ready("the store does not answer in time")),
    }
}

/// Counters for Prometheus. Needs a token unless the server says otherwise
/// (it listens on a loopback address, or an option opens it).
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "server",
    responses((status = 200, content_type = "application/openmetrics-text", body = String)))]
pub(super) async fn metrics(State(app): State<App>, request: Request) -> Answer<Response> {
    if !app.open_metrics {
        let (mut parts, _) = request.into_parts();
        Reader::from_request_parts(&mut parts, &app).await?;
    }
    let text = app.metrics.render_behind(app.control.render_metrics().await?);
    Ok(([(header::CONTENT_TYPE, counters::MEDIA_TYPE)], text).into_response())
}

/// Versions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Versions {
    /// Version of the server.
    version: &'static str,
    /// Version of the API.
    api: &'static str,
}

/// The version of the server.
#[utoipa::path(get, path = "/version", operation_id = "version", tag = "server", security(()),
    responses((status = 200, body = Versions)))]
pub(super) async fn version() -> Json<Versions> {
    Json(Versions { version: VERSION, api: "v1" })
}

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", operation_id = "openapi", tag = "server", security(()),
    responses((status = 200, content_type = "application/json", body = Object)))]
pub(super) async fn document() -> Response {
    static DOCUMENT: LazyLock<String> = LazyLock::new(crate::openapi::document);
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

/// Browsers are sent to the dashboard; others get a page that says where things are.
#[utoipa::path(get, path = "/", operation_id = "index", tag = "server", security(()),
    responses((status = 200, content_type = "text/html", body = String), (status = 307)))]
pub(super) async fn index(headers: HeaderMap) -> Response {
    crate::dashboard::entrance(&headers)
}
