//! The object store over S3's protocol, against a small server with the parts
//! of S3 that are used: objects, ranges, conditions, multipart uploads, bulk
//! deletion, listings in pages, and a "slow down" now and then.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use fleetfoot_model::Timestamp;
use fleetfoot_objects::{Digest, ErrorKind, ObjectError, Objects, ObjectsConfig};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Bytes>,
    uploads: BTreeMap<String, BTreeMap<u32, Bytes>>,
    requests: u64,
    refused: u64,
}

type Shared = Arc<Mutex<Bucket>>;

fn etag(body: &[u8]) -> String {
    format!("\"{}\"", &Digest::of(body).to_string()[..32])
}

fn xml(status: StatusCode, body: String) -> Response {
    let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}");
    (status, [(header::CONTENT_TYPE, "application/xml")], text).into_response()
}

fn error(status: StatusCode, code: &str) -> Response {
    xml(status, format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>"))
}

async fn serve(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut bucket = shared.lock().unwrap();
    bucket.requests += 1;
    let signature = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or("");
    if !signature.starts_with("AWS4-HMAC-SHA256 Credential=key-id/") {
        return error(StatusCode::FORBIDDEN, "AccessDenied");
    }
    if bucket.requests % 9 == 4 {
        bucket.refused += 1;
        return error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown");
    }
    let path = uri.path().trim_start_matches('/');
    let Some((name, key)) = path.split_once('/').or(Some((path, ""))) else { unreachable!() };
    if name != "bucket" {
        return error(StatusCode::NOT_FOUND, "NoSuchBucket");
    }
    match (method, key) {
        (Method::GET, "") => list(&bucket, &query),
        (Method::POST, "") if query.contains_key("delete") => bulk_delete(&mut bucket, &body),
        (Method::POST, _) if query.contains_key("uploads") => {
            let upload = format!("upload-{}", bucket.requests);
            bucket.uploads.insert(upload.clone(), BTreeMap::new());
            xml(
                StatusCode::OK,
                format!(
                    "<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
                ),
            )
        }
        (Method::POST, _) => {
            let Some(parts) = query.get("uploadId").and_then(|u| bucket.uploads.remove(u)) else {
                return error(StatusCode::NOT_FOUND, "NoSuchUpload");
            };
            let whole: Vec<u8> = parts.into_values().flatten().collect();
            let tag = etag(&whole);
            bucket.objects.insert(key.to_owned(), whole.into());
            xml(
                StatusCode::OK,
                format!("<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"),
            )
        }
        (Method::PUT, _) => {
            let tag = etag(&body);
            match query.get("uploadId") {
                Some(upload) => {
                    let number = query["partNumber"].parse().unwrap();
                    let Some(parts) = bucket.uploads.get_mut(upload) else {
                        return error(StatusCode::NOT_FOUND, "NoSuchUpload");
                    };
                    parts.insert(number, body);
                }
                None => {
                    bucket.objects.insert(key.to_owned(), body);
                }
            }
            (StatusCode::OK, [(header::ETAG, tag)]).into_response()
        }
        (Method::DELETE, _) => {
            match query.get("uploadId") {
                Some(upload) => drop(bucket.uploads.remove(upload)),
                None => drop(bucket.objects.remove(key)),
            }
            StatusCode::NO_CONTENT.into_response()
        }
        (Method::GET | Method::HEAD, _) => get(&bucket, key, &headers),
        _ => error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    }
}

fn get(bucket: &Bucket, key: &str, headers: &HeaderMap) -> Response {
    let Some(body) = bucket.objects.get(key) else { return error(StatusCode::NOT_FOUND, "NoSuchKey") };
    let text = |name| headers.get(name).map(|v| v.to_str().unwrap().to_owned());
    let tag = etag(body);
    if text(header::IF_MATCH).is_some_and(|wanted| wanted != tag) {
        return error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
    }
    let modified = "Fri, 20 Nov 2026 18:00:00 GMT".to_owned();
    let fixed = [(header::ETAG, tag), (header::LAST_MODIFIED, modified)];
    let Some(range) = text(header::RANGE) else {
        return (StatusCode::OK, fixed, body.clone()).into_response();
    };
    let (from, to) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
    if from >= body.len() {
        return error(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
    }
    let to = to.min(body.len() - 1);
    let place = [(header::CONTENT_RANGE, format!("bytes {from}-{to}/{}", body.len()))];
    (StatusCode::PARTIAL_CONTENT, fixed, place, body.slice(from..=to)).into_response()
}

/// Three keys a page.
fn list(bucket: &Bucket, query: &HashMap<String, String>) -> Response {
    let prefix = query.get("prefix").cloned().unwrap_or_default();
    let after = query.get("continuation-token").cloned().unwrap_or_default();
    let mut found = bucket.objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after);
    let page: Vec<_> = found.by_ref().take(3).collect();
    let mut out = String::from("<ListBucketResult>");
    for (key, body) in &page {
        let size = body.len();
        let modified = "2026-11-20T18:00:00.000Z";
        out += &format!(
            "<Contents><Key>{key}</Key><LastModified>{modified}</LastModified><ETag>x</ETag><Size>{size}</Size></Contents>"
        );
    }
    if found.next().is_some() {
        out += &format!("<NextContinuationToken>{}</NextContinuationToken>", page[2].0);
    }
    xml(StatusCode::OK, out + "</ListBucketResult>")
}

fn bulk_delete(bucket: &mut Bucket, body: &[u8]) -> Response {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let mut out = String::from("<DeleteResult>");
    for piece in text.split("<Key>").skip(1) {
        let key = piece.split("</Key>").next().unwrap();
        bucket.objects.remove(key);
        out += &format!("<Deleted><Key>{key}</Key></Deleted>");
    }
    xml(StatusCode::OK, out + "</DeleteResult>")
}

async fn start() -> (Shared, ObjectsConfig) {
    let shared = Shared::default();
    let limit = axum::extract::DefaultBodyLimit::max(64 << 20);
    let app = Router::new().fallback(serve).layer(limit).with_state(Arc::clone(&shared));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let options = [
        ("endpoint", endpoint.as_str()),
        ("allow_http", "true"),
        ("region", "somewhere"),
        ("access_key_id", "key-id"),
        ("secret_access_key", "very-secret"),
    ];
    let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    (shared, ObjectsConfig { url: "s3://bucket/some/prefix".into(), options })
}

fn noise(length: usize) -> Bytes {
    (0..length as u64).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect()
}

async fn streamed(objects: &Objects, key: &str) -> Result<Vec<u8>, ObjectError> {
    let mut out = Vec::new();
    let mut stream = objects.stream(key).await?;
    while let Some(piece) = stream.next().await? {
        out.extend_from_slice(&piece);
    }
    Ok(out)
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_over_s3() {
    let (server, config) = start().await;
    let objects = Objects::open(&config).unwrap();
    objects.check().await.unwrap();
    for length in [0, 10, 3_000_000, 20_000_000] {
        let (key, body) = (format!("artifacts/{length}"), noise(length));
        let info = objects.put(&key, body.clone()).await.unwrap();
        assert_eq!(info.digest, Digest::of(&body));
        assert_eq!(objects.head(&key).await.unwrap(), info);
        assert!(objects.get(&key).await.unwrap() == body);
        assert!(streamed(&objects, &key).await.unwrap() == body);
        let (from, to) = (length / 4, length / 2);
        assert!(objects.get_range(&key, from as u64..to as u64).await.unwrap() == body.slice(from..to));
    }
    objects.put("other/1", noise(1)).await.unwrap();
    let mut listed = objects.list("artifacts").await.unwrap();
    listed.sort_by_key(|e| e.length);
    let found: Vec<_> = listed.iter().map(|e| (e.key.as_str(), e.length)).collect();
    let expected = [
        ("artifacts/0", 0),
        ("artifacts/10", 10),
        ("artifacts/3000000", 3_000_000),
        ("artifacts/20000000", 20_000_000),
    ];
    assert_eq!(found, expected, "over several pages");

    let swept = objects.sweep("artifacts", Timestamp(i64::MAX), |e| e.length == 10).await.unwrap();
    assert_eq!((swept.count, swept.bytes), (3, 23_000_000));
    let missing = objects.get("artifacts/0").await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
    objects.delete("artifacts/0").await.unwrap();
    assert_eq!(objects.list("").await.unwrap().len(), 2);

    let bucket = server.lock().unwrap();
    assert!(bucket.refused > 0, "retries were needed");
    assert!(bucket.uploads.is_empty());
    assert!(bucket.objects.keys().all(|k| k.starts_with("some/prefix/")));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_bucket_is_never_served() {
    let (server, config) = start().await;
    let objects = Objects::open(&config).unwrap();
    objects.put("a", noise(3_000_000)).await.unwrap();
    let stored = server.lock().unwrap().objects["some/prefix/a"].clone();
    for at in [5, 2_500_000, stored.len() - 70, stored.len() - 3] {
        let mut damaged = stored.to_vec();
        damaged[at] ^= 1;
        server.lock().unwrap().objects.insert("some/prefix/a".into(), damaged.into());
        assert_eq!(objects.get("a").await.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(streamed(&objects, "a").await.unwrap_err().kind(), ErrorKind::Corrupt);
    }
    server.lock().unwrap().objects.insert("some/prefix/a".into(), stored.slice(..stored.len() - 1));
    assert_eq!(objects.get("a").await.unwrap_err().kind(), ErrorKind::Corrupt);
}

/// Taking back an upload goes on behind the answer.
async fn until_no_upload_is_left(server: &Shared) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while !server.lock().unwrap().uploads.is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "parts of an upload were left behind");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(server.lock().unwrap().objects.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_and_abandoned_uploads_leave_nothing() {
    let (server, config) = start().await;
    let objects = Objects::open(&config).unwrap();
    let pieces =
        (0..12).map(|n| if n < 11 { Ok(noise(1 << 20)) } else { Err(std::io::Error::other("hung up")) });
    let broken = futures_util::stream::iter(pieces);
    let failed = objects.put_stream("a", broken).await.unwrap_err();
    assert!(matches!(failed, ObjectError::Io { .. }), "{failed}");
    until_no_upload_is_left(&server).await;

    let endless = futures_util::stream::repeat_with(|| Ok(noise(1 << 20)));
    let upload = tokio::spawn(async move { objects.put_stream("a", endless).await });
    while !server.lock().unwrap().uploads.values().any(|parts| !parts.is_empty()) {
        assert!(!upload.is_finished());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    upload.abort();
    assert!(upload.await.unwrap_err().is_cancelled());
    until_no_upload_is_left(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_not_shown() {
    let (_server, mut config) = start().await;
    config.options.insert("access_key_id".into(), "other".into());
    let refused = Objects::open(&config).unwrap().check().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    let shown = format!("{refused:?} {config:?}");
    assert!(!shown.contains("very-secret"), "{shown}");
}
