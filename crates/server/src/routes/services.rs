//! Artifacts and caches for users: list, download, delete. What jobs do with them is in `actions`.

use crate::app::App;
use crate::auth::{Proof, Reader, Writer};
use crate::error::{Answer, Failure};
use crate::extract::{Id, Json, Query};
use crate::streams;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleetfoot_control::{Permission, Standing};
use fleetfoot_model::services::{ArtifactList, ArtifactView, CacheList};
use fleetfoot_model::{Code, RunId};
use fleetfoot_services::{Content, Packed, ServiceError};
use fleetfoot_store::CacheFilter;
use futures_util::StreamExt;
use serde::Deserialize;
use std::ops::Range;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const PAGE: usize = 100;
const PAGE_MAX: usize = 1000;

/// The quick ones.
pub(super) fn quick() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(of_run))
        .routes(routes!(show, delete))
        .routes(routes!(caches, delete_by_key))
        .routes(routes!(delete_cache))
}

/// A refusal of a service as a failure of the API.
pub(super) fn failure(e: &ServiceError) -> Failure {
    e.problem().into()
}

/// Artifacts of a run, oldest first.
#[utoipa::path(get, path = "/runs/{id}/artifacts", operation_id = "list_artifacts", tag = "artifacts",
    params(("id" = u64, Path, description = "The run")), responses((status = 200, body = ArtifactList)))]
pub(super) async fn of_run(
    State(app): State<App>,
    Reader(who): Reader,
    id: Id<RunId>,
) -> Answer<Json<ArtifactList>> {
    Ok(Json(ArtifactList { artifacts: app.control.artifacts(&who, id.0).await?, next_cursor: None }))
}

/// One artifact, without its bytes.
#[utoipa::path(get, path = "/artifacts/{id}", operation_id = "get_artifact", tag = "artifacts",
    params(("id" = u64, Path, description = "The artifact")), responses((status = 200, body = ArtifactView)))]
pub(super) async fn show(
    State(app): State<App>,
    Reader(who): Reader,
    id: Id<u64>,
) -> Answer<Json<ArtifactView>> {
    Ok(Json(app.control.artifact(&who, id.0).await?))
}

/// Deletes an artifact.
#[utoipa::path(delete, path = "/artifacts/{id}", operation_id = "delete_artifact", tag = "artifacts",
    params(("id" = u64, Path, description = "The artifact")),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn delete(State(app): State<App>, Writer(who): Writer, id: Id<u64>) -> Answer<StatusCode> {
    let control = app.control.clone();
    app.change(async move { control.delete_artifact(&who, id.0).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The bytes of an artifact.
///
/// As the job packed them, mostly a ZIP file; an artifact of single files (protocol 3) is packed while
/// it is sent. `Range` works for the former.
#[utoipa::path(get, path = "/artifacts/{id}/download", operation_id = "download_artifact", tag = "artifacts",
    params(("id" = u64, Path, description = "The artifact"),
        ("Range" = Option<String>, Header, description = "One range of bytes")),
    responses((status = 200, description = "The bytes", content_type = "application/octet-stream"),
        (status = 206, description = "A range of them", content_type = "application/octet-stream")))]
pub(super) async fn download(
    State(app): State<App>,
    Reader(who): Reader,
    proof: Proof,
    id: Id<u64>,
    method: Method,
    headers: HeaderMap,
) -> Answer<Response> {
    let standing = Some(proof.standing(&app, &who, Permission::Read));
    let found = app.control.download_artifact(&who, id.0).await?;
    let artifact = found.artifact;
    let zip =
        artifact.media_type == "application/zip" && !artifact.name.to_ascii_lowercase().ends_with(".zip");
    let name = if zip { format!("{}.zip", artifact.name) } else { artifact.name.clone() };
    match found.content {
        Packed::One(content) => {
            send(&app, standing, (&method, &headers), &content, (&artifact.media_type, &name))
        }
        Packed::Files(files) => {
            let place = app.admit_stream()?;
            let packed = fleetfoot_services::zip_of_files(files).map(|p| p.map_err(|e| failure(&e)));
            let mut response = streams::bytes(&app, place, standing, packed).into_response();
            describe(response.headers_mut(), "application/zip", &name);
            Ok(response)
        }
    }
}

/// The bytes of a blob, or a range of them, with their media type and file name.
pub(super) fn send(
    app: &App,
    standing: Option<Standing>,
    (method, headers): (&Method, &HeaderMap),
    content: &Content,
    (media_type, name): (&str, &str),
) -> Answer<Response> {
    let wanted = headers.get("x-ms-range").or_else(|| headers.get(header::RANGE));
    let range = match wanted.and_then(|h| h.to_str().ok()) {
        None => None,
        Some(text) => match parse_range(text, content.length) {
            Ok(range) => range,
            Err(()) => {
                let size = format!("bytes */{}", content.length);
                return Ok(
                    (StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, size)]).into_response()
                );
            }
        },
    };
    let bytes = range.clone().unwrap_or(0..content.length);
    let length = bytes.end - bytes.start;
    let body = if *method == Method::HEAD || length == 0 {
        Body::empty()
    } else {
        let place = app.admit_stream()?;
        streams::bytes(
            app,
            place,
            standing,
            content.stream(bytes.clone()).map(|p| p.map_err(|e| failure(&e))),
        )
    };
    let mut response = body.into_response();
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let text = format!("bytes {}-{}/{}", bytes.start, bytes.end.saturating_sub(1), content.length);
        if let Ok(value) = HeaderValue::try_from(text) {
            response.headers_mut().insert(header::CONTENT_RANGE, value);
        }
    }
    let out = response.headers_mut();
    out.insert(header::CONTENT_LENGTH, length.into());
    out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(etag) = HeaderValue::try_from(content.etag()) {
        out.insert(header::ETAG, etag);
    }
    describe(out, media_type, name);
    Ok(response)
}

/// Media type and file name. What a job made is never shown by a browser as if it were ours.
fn describe(headers: &mut HeaderMap, media_type: &str, name: &str) {
    let media_type = HeaderValue::try_from(media_type);
    let fallback = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, media_type.unwrap_or(fallback));
    let encoded: String = name
        .bytes()
        .map(|b| match b {
            b if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect();
    let disposition = if name.is_empty() {
        "attachment".to_owned()
    } else {
        format!("attachment; filename*=UTF-8''{encoded}")
    };
    if let Ok(value) = HeaderValue::try_from(disposition) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
}

/// One range of `Range`; `None` for what a server may ignore, an error for what lies outside.
fn parse_range(text: &str, length: u64) -> Result<Option<Range<u64>>, ()> {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|t| t.split_once('-')) else {
        return Ok(None);
    };
    let (first, last) = (first.trim(), last.trim());
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.saturating_add(1).min(length)),
        (Ok(first), Err(_)) if last.is_empty() => (first, length),
        (Err(_), Ok(suffix)) if first.is_empty() => (length.saturating_sub(suffix), length),
        _ => return Ok(None),
    };
    if start < end { Ok(Some(start..end)) } else { Err(()) }
}

/// Which caches.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CacheQuery {
    /// Project.
    project: Option<String>,
    /// Repository (`OWNER/NAME`).
    repository: Option<String>,
    /// Full ref.
    #[serde(rename = "ref")]
    #[param(rename = "ref")]
    git_ref: Option<String>,
    /// Beginning of the key.
    key: Option<String>,
    /// Where the previous page ended.
    cursor: Option<u64>,
    /// Entries of a page, 1 to 1000; 100 if absent.
    limit: Option<usize>,
}

/// Caches, newest first.
#[utoipa::path(get, path = "/caches", operation_id = "list_caches", tag = "caches", params(CacheQuery),
    responses((status = 200, body = CacheList)))]
pub(super) async fn caches(
    State(app): State<App>,
    Reader(who): Reader,
    Query(query): Query<CacheQuery>,
) -> Answer<Json<CacheList>> {
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Failure::bad_request(format!("limit must be 1 to {PAGE_MAX}")));
    }
    let filter = CacheFilter {
        project: query.project,
        repository: query.repository,
        git_ref: query.git_ref,
        key_prefix: query.key,
        key: None,
    };
    Ok(Json(app.control.caches(&who, &filter, query.cursor, limit).await?))
}

/// Which caches to delete.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteQuery {
    /// The key, exactly.
    key: String,
    /// Project; all if absent.
    project: Option<String>,
    /// Repository; all if absent.
    repository: Option<String>,
    /// Full ref; all if absent.
    #[serde(rename = "ref")]
    #[param(rename = "ref")]
    git_ref: Option<String>,
}

/// Deletes the caches with a key; answers what they were.
#[utoipa::path(delete, path = "/caches", operation_id = "delete_caches", tag = "caches", params(DeleteQuery),
    responses((status = 200, body = CacheList)))]
pub(super) async fn delete_by_key(
    State(app): State<App>,
    Writer(who): Writer,
    Query(query): Query<DeleteQuery>,
) -> Answer<Json<CacheList>> {
    if query.key.is_empty() {
        return Err(Failure::new(Code::BadRequest, "name the key of the caches to delete"));
    }
    let filter = CacheFilter {
        project: query.project,
        repository: query.repository,
        git_ref: query.git_ref,
        key: Some(query.key),
        key_prefix: None,
    };
    let control = app.control.clone();
    let caches = app.change(async move { control.delete_caches(&who, &filter).await }).await?;
    Ok(Json(CacheList { caches, next_cursor: None }))
}

/// Deletes one cache.
#[utoipa::path(delete, path = "/caches/{id}", operation_id = "delete_cache", tag = "caches",
    params(("id" = u64, Path, description = "The cache")), responses((status = 204, description = "It is gone")))]
pub(super) async fn delete_cache(
    State(app): State<App>,
    Writer(who): Writer,
    id: Id<u64>,
) -> Answer<StatusCode> {
    let control = app.control.clone();
    app.change(async move { control.delete_cache(&who, id.0).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_download() {
        assert_eq!(parse_range("bytes=0-4", 10), Ok(Some(0..5)));
        assert_eq!(parse_range("bytes=5-", 10), Ok(Some(5..10)));
        assert_eq!(parse_range("bytes=-3", 10), Ok(Some(7..10)));
        assert_eq!(parse_range("bytes=5-99", 10), Ok(Some(5..10)));
        assert_eq!(parse_range("bytes=10-", 10), Err(()));
        assert_eq!(parse_range("bytes=-0", 10), Err(()));
        for ignored in ["items=0-1", "bytes=5-3", "bytes=a-b", "bytes=0-1,3-4", "bytes=-"] {
            assert_eq!(parse_range(ignored, 10), Ok(None), "{ignored}");
        }
    }

    #[test]
    fn a_file_name_cannot_leave_its_header() {
        let mut headers = HeaderMap::new();
        describe(&mut headers, "text/html\r\nx: y", "a\"b\r\nc/ü.zip");
        assert_eq!(headers[header::CONTENT_TYPE], "application/octet-stream");
        let expected = "attachment; filename*=UTF-8''a%22b%0D%0Ac%2F%C3%BC.zip";
        assert_eq!(headers[header::CONTENT_DISPOSITION], expected);
    }
}
