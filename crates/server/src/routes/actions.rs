//! What actions speak to, by protocols that others defined: Twirp, the REST of older clients, a part
//! of Azure's block blobs, identity tokens. Each has its own form of an error. These routes are not
//! part of the documented API; who may do what is decided by the runtime token or a signed address.

use crate::app::App;
use crate::auth::bearer;
use crate::error::{Answer, Failure};
use crate::extract::{Json, read_body};
use crate::routes::services::{failure, send};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use fleetfoot_control::Control;
use fleetfoot_model::Code;
use fleetfoot_services::{
    Access, BlobRequest, CommitCache, ContentRange, CreateContainer, Grant, Job, PatchContainer,
    ReserveCache, ServiceError, Services, TwirpError, block_list,
};
use futures_util::{StreamExt, TryStreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Largest JSON of a request.
const JSON: usize = 1 << 20;
/// Largest list of blocks.
const LIST: usize = 16 << 20;
/// What a body that is passed on holds in memory at most, whatever its length.
const PASSING: usize = 40 << 20;

type Params = HashMap<String, String>;

/// Every route.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/twirp/{service}/{method}", post(twirp))
        .route(
            "/_apis/pipelines/workflows/{run}/artifacts",
            get(containers).post(create_container).patch(patch_container),
        )
        .route("/_apis/resources/Containers/{id}", get(items).put(put_file))
        .route("/_apis/resources/Containers/{id}/files/{blob}", get(file))
        .route("/_apis/artifactcache/cache", get(lookup))
        .route("/_apis/artifactcache/caches", get(list).post(reserve))
        .route("/_apis/artifactcache/caches/{id}", patch(upload).post(commit))
        .route("/_services/blobs/{id}", get(read_blob).put(write_blob))
        .route("/_services/oidc/token", get(identity))
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/.well-known/jwks", get(jwks))
}

/// The services and the job that is asking.
struct Call {
    control: Control,
    services: Arc<Services>,
    job: Arc<Job>,
}

impl Call {
    async fn of(app: &App, headers: &HeaderMap) -> Answer<Self> {
        let token = bearer(headers)?
            .ok_or_else(|| Failure::new(Code::Unauthorized, "this needs the runtime token of a job"))?;
        let job = app.control.job_of_token(token).await?;
        Ok(Self { control: app.control.clone(), services: app.control.services()?.clone(), job })
    }

    fn base(&self) -> &str {
        self.control.services_url()
    }
}

/// Reads JSON of the request.
async fn parsed<T: DeserializeOwned>(app: &App, request: Request) -> Answer<T> {
    let (parts, body) = request.into_parts();
    let bytes = read_body(&parts, body, JSON, app).await?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Failure::bad_request(format!("the body is not what this reads: {e}")))
}

/// The length that a request states.
fn stated(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A body to be passed on, with its room in memory.
async fn passing(
    app: &App,
    request: Request,
) -> Answer<(fleetfoot_services::Body, Option<OwnedSemaphorePermit>)> {
    let length = stated(request.headers()).map_or(PASSING, |l| usize::try_from(l).unwrap_or(PASSING));
    let room = app.await_body(length.min(PASSING)).await?;
    let body = request.into_body().into_data_stream().map_err(io::Error::other).boxed();
    Ok((body, room))
}

// -- Twirp ------------------------------------------------------------------------

async fn twirp(
    State(app): State<App>,
    Path((service, method)): Path<(String, String)>,
    request: Request,
) -> Response {
    let answer = async {
        let _place = app.admit()?;
        let call = Call::of(&app, request.headers()).await?;
        let (parts, body) = request.into_parts();
        let body = read_body(&parts, body, JSON, &app).await?;
        // Finishing an upload goes on when the client gives up: it may look again.
        let done = app.tasks.spawn(async move {
            let now = call.control.now();
            let of = (service.as_str(), method.as_str());
            call.services.twirp(&call.job, &call.control, of, &body, call.base(), now).await
        });
        done.await.map_err(|e| Failure::new(Code::Internal, format!("a call ended early: {e}")))
    };
    match answer.await {
        Ok(Ok(value)) => Json(value).into_response(),
        Ok(Err(e)) => {
            note(&e);
            twirp_error(&TwirpError::from(&e))
        }
        Err(e) => {
            let code = match e.0.code {
                Code::Unauthorized => "unauthenticated",
                Code::NotFound => "not_found",
                Code::Overloaded => "unavailable",
                Code::Internal => "internal",
                _ => "invalid_argument",
            };
            twirp_error(&TwirpError { code, status: e.0.status, msg: e.public().0.detail })
        }
    }
}

fn twirp_error(error: &TwirpError) -> Response {
    (StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(error))
        .into_response()
}

/// The cause of a fault of ours goes to the log and nowhere else.
fn note(e: &ServiceError) {
    if let Some(source) = &e.source {
        tracing::warn!(cause = %source, "a service failed: {e}");
    }
}

// -- the REST of older clients ------------------------------------------------------

/// An answer of the older protocols; errors carry `message`, which clients show.
struct Rest(Answer<Response>);

impl IntoResponse for Rest {
    fn into_response(self) -> Response {
        match self.0 {
            Ok(response) => response,
            Err(e) => {
                let status = StatusCode::from_u16(e.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let (problem, cause) = e.public();
                if let Some(cause) = cause {
                    tracing::error!(cause = cause.0, "a service failed");
                }
                let body = json!({ "message": problem.detail, "typeKey": problem.code });
                (status, Json(body)).into_response()
            }
        }
    }
}

/// A JSON answer of a service.
fn rest<T: Serialize>(status: StatusCode, done: Result<T, ServiceError>) -> Answer<Response> {
    match done {
        Ok(value) => Ok((status, Json(value)).into_response()),
        Err(e) => {
            note(&e);
            Err(failure(&e))
        }
    }
}

/// The run of an address must be that of the token.
fn own_run(call: &Call, run: &str) -> Answer<()> {
    if run == call.job.run_id() { Ok(()) } else { Err(Failure::new(Code::NotFound, "there is no such run")) }
}

async fn containers(State(app): State<App>, Path(run): Path<String>, headers: HeaderMap) -> Rest {
    let answer = async {
        let call = Call::of(&app, &headers).await?;
        own_run(&call, &run)?;
        rest(StatusCode::OK, call.services.containers(&call.job, call.base()).await)
    };
    Rest(answer.await)
}

async fn create_container(State(app): State<App>, Path(run): Path<String>, request: Request) -> Rest {
    let answer = async {
        let call = Call::of(&app, request.headers()).await?;
        own_run(&call, &run)?;
        let body: CreateContainer = parsed(&app, request).await?;
        let now = call.control.now();
        let made = call.services.create_container(&call.job, &call.control, &body, call.base(), now).await;
        rest(StatusCode::CREATED, made)
    };
    Rest(answer.await)
}

async fn patch_container(
    State(app): State<App>,
    Path(run): Path<String>,
    Query(query): Query<Params>,
    request: Request,
) -> Rest {
    let answer = async {
        let call = Call::of(&app, request.headers()).await?;
        own_run(&call, &run)?;
        let _: PatchContainer = parsed(&app, request).await?;
        let name = query.get("artifactName").map(String::as_str).unwrap_or_default();
        rest(StatusCode::OK, call.services.patch_container(&call.job, name, call.base()).await)
    };
    Rest(answer.await)
}

async fn items(State(app): State<App>, Path(id): Path<u64>, headers: HeaderMap) -> Rest {
    let answer = async {
        let call = Call::of(&app, &headers).await?;
        rest(StatusCode::OK, call.services.container_items(&call.job, id, call.base()).await)
    };
    Rest(answer.await)
}

fn content_range(headers: &HeaderMap) -> Answer<ContentRange> {
    let text = headers.get(header::CONTENT_RANGE).and_then(|h| h.to_str().ok()).unwrap_or_default();
    ContentRange::parse(text).map_err(|e| failure(&e))
}

async fn put_file(
    State(app): State<App>,
    Path(id): Path<u64>,
    Query(query): Query<Params>,
    request: Request,
) -> Rest {
    let answer = async {
        let call = Call::of(&app, request.headers()).await?;
        let path = query.get("itemPath").cloned().unwrap_or_default();
        let range = content_range(request.headers())?;
        let encoding = request.headers().get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
        let gzip = match encoding {
            None => None,
            Some(b"gzip") => {
                let length = request.headers().get("x-tfs-filelength").and_then(|h| h.to_str().ok());
                Some(length.and_then(|l| l.parse().ok()).ok_or_else(|| {
                    Failure::bad_request("a compressed file needs its length in x-tfs-filelength")
                })?)
            }
            Some(_) => return Err(Failure::bad_request("files are sent plain or with gzip")),
        };
        let (body, _room) = passing(&app, request).await?;
        let now = call.control.now();
        let done = call.services.put_file(&call.job, id, &path, &range, gzip, body, now).await;
        rest(StatusCode::OK, done.map(|()| json!({ "message": "success" })))
    };
    Rest(answer.await)
}

async fn file(
    State(app): State<App>,
    Path((id, blob)): Path<(u64, u64)>,
    method: Method,
    headers: HeaderMap,
) -> Rest {
    let answer = async {
        let call = Call::of(&app, &headers).await?;
        let file = call.services.container_file(&call.job, id, blob).await.map_err(|e| failure(&e))?;
        let mut response =
            send(&app, None, (&method, &headers), &file.content, ("application/octet-stream", ""))?;
        if file.gzip {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(response)
    };
    Rest(answer.await)
}

async fn lookup(State(app): State<App>, Query(query): Query<Params>, headers: HeaderMap) -> Rest {
    let answer = async {
        let call = Call::of(&app, &headers).await?;
        let get = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let now = call.control.now();
        let found = call.services.v1_lookup(&call.job, get("keys"), get("version"), call.base(), now).await;
        match found {
            Ok(None) => Ok(StatusCode::NO_CONTENT.into_response()),
            found => rest(StatusCode::OK, found),
        }
    };
    Rest(answer.await)
}

async fn list(State(app): State<App>, Query(query): Query<Params>, headers: HeaderMap) -> Rest {
    let answer = async {
        let call = Call::of(&app, &headers).await?;
        let key = query.get("key").map(String::as_str).unwrap_or_default();
        rest(StatusCode::OK, call.services.v1_list(&call.job, key).await)
    };
    Rest(answer.await)
}

async fn reserve(State(app): State<App>, request: Request) -> Rest {
    let answer = async {
        let call = Call::of(&app, request.headers()).await?;
        let body: ReserveCache = parsed(&app, request).await?;
        let made = call.services.v1_reserve(&call.job, &call.control, &body, call.control.now()).await;
        rest(StatusCode::CREATED, made)
    };
    Rest(answer.await)
}

async fn upload(State(app): State<App>, Path(id): Path<u64>, request: Request) -> Rest {
    let answer = async {
        let call = Call::of(&app, request.headers()).await?;
        let range = content_range(request.headers())?;
        let (body, _room) = passing(&app, request).await?;
        let done = call.services.v1_upload(&call.job, id, range, body, call.control.now()).await;
        done.map(|()| StatusCode::NO_CONTENT.into_response()).map_err(|e| failure(&e))
    };
    Rest(answer.await)
}

async fn commit(State(app): State<App>, Path(id): Path<u64>, request: Request) -> Rest {
    let answer = async {
        let call = Call::of(&app, request.headers()).await?;
        let body: CommitCache = parsed(&app, request).await?;
        let done = call.services.v1_commit(&call.job, id, body.size, call.control.now()).await;
        done.map(|()| StatusCode::NO_CONTENT.into_response()).map_err(|e| failure(&e))
    };
    Rest(answer.await)
}

// -- blobs ------------------------------------------------------------------------------

/// An answer of the blob protocol; errors are XML.
struct Blob(Answer<Response>);

impl IntoResponse for Blob {
    fn into_response(self) -> Response {
        let mut response = match self.0 {
            Ok(response) => response,
            Err(e) => {
                let status = StatusCode::from_u16(e.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let (problem, cause) = e.public();
                if let Some(cause) = cause {
                    tracing::error!(cause = cause.0, "a blob request failed");
                }
                let code = match problem.code {
                    Code::BadRequest => "InvalidInput",
                    Code::Forbidden | Code::Unauthorized => "AuthenticationFailed",
                    Code::NotFound => "BlobNotFound",
                    Code::Conflict => "BlobImmutableDueToPolicy",
                    Code::TooLarge => "RequestBodyTooLarge",
                    Code::Overloaded => "ServerBusy",
                    _ => "InternalError",
                };
                let message: String =
                    problem.detail.chars().map(|c| if "<>&".contains(c) { ' ' } else { c }).collect();
                let xml = format!(
                    "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
                );
                let headers = [("content-type", "application/xml"), ("x-ms-error-code", code)];
                (status, headers, xml).into_response()
            }
        };
        response.headers_mut().insert("x-ms-version", HeaderValue::from_static("2025-05-05"));
        response
    }
}

/// The services and what a signed address allows, while its attempt is current.
async fn granted(app: &App, id: u64, query: &Params, access: Access) -> Answer<(Arc<Services>, Grant)> {
    let services = app.control.services()?.clone();
    let grant = Grant::parse(services.keys(), id, query, app.control.now()).map_err(|e| failure(&e))?;
    if grant.access != access {
        return Err(Failure::new(Code::Forbidden, "the address does not allow this"));
    }
    if !fleetfoot_services::Gate::is_open(&app.control, grant.attempt).await {
        return Err(Failure::new(Code::Forbidden, "the attempt of this address is over"));
    }
    Ok((services, grant))
}

async fn read_blob(
    State(app): State<App>,
    Path(id): Path<u64>,
    Query(query): Query<Params>,
    method: Method,
    headers: HeaderMap,
) -> Blob {
    let answer = async {
        let (services, grant) = granted(&app, id, &query, Access::Read).await?;
        let content = services.content(&grant).await.map_err(|e| failure(&e))?;
        let mut response = send(&app, None, (&method, &headers), &content, (&grant.media_type, &grant.name))?;
        response.headers_mut().insert("x-ms-blob-type", HeaderValue::from_static("BlockBlob"));
        Ok(response)
    };
    Blob(answer.await)
}

async fn write_blob(
    State(app): State<App>,
    Path(id): Path<u64>,
    Query(query): Query<Params>,
    request: Request,
) -> Blob {
    let answer = async {
        let (services, grant) = granted(&app, id, &query, Access::Write).await?;
        let get = |name: &str| query.get(name).map(String::as_str);
        let blob_type = request.headers().get("x-ms-blob-type").and_then(|h| h.to_str().ok());
        let wanted = BlobRequest::parse(get("comp"), get("blockid"), blob_type).map_err(|e| failure(&e))?;
        if wanted == BlobRequest::BlockList {
            let (parts, body) = request.into_parts();
            let body = read_body(&parts, body, LIST, &app).await?;
            let text =
                std::str::from_utf8(&body).map_err(|_| Failure::bad_request("the list is not text"))?;
            let blocks = block_list(text).map_err(|e| failure(&e))?;
            services.put_block_list(&grant, blocks).await.map_err(|e| failure(&e))?;
            return Ok(stored(id));
        }
        let length = stated(request.headers());
        let (body, _room) = passing(&app, request).await?;
        let done = match wanted {
            BlobRequest::Block(block) => services.put_block(&grant, &block, length, body).await,
            BlobRequest::Append => services.append(&grant, length, body).await,
            BlobRequest::CreateAppend => services.create_append(&grant).await,
            _ => services.put_whole(&grant, length, body).await,
        };
        done.map_err(|e| {
            note(&e);
            failure(&e)
        })?;
        Ok(stored(id))
    };
    Blob(answer.await)
}

fn stored(id: u64) -> Response {
    let headers = [("etag", format!("\"{id}\"")), ("x-ms-request-server-encrypted", "false".to_owned())];
    (StatusCode::CREATED, headers, Body::empty()).into_response()
}

// -- identity tokens ----------------------------------------------------------------------

async fn identity(State(app): State<App>, Query(query): Query<Params>, headers: HeaderMap) -> Rest {
    let answer = async {
        let call = Call::of(&app, &headers).await?;
        let token = call.control.identity_token(&call.job, query.get("audience").cloned()).await?;
        Ok(Json(json!({ "value": token })).into_response())
    };
    Rest(answer.await)
}

async fn discovery(State(app): State<App>) -> Answer<Response> {
    Ok(Json(app.control.identity_discovery()?).into_response())
}

async fn jwks(State(app): State<App>) -> Answer<Response> {
    Ok(Json(app.control.identity_keys().await?).into_response())
}
