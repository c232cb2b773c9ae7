//! Request bodies and query strings as values, with errors that say what to
//! change. Every body has a limit, known before the first byte is read.

use crate::app::App;
use crate::error::{Answer, Failure};
use axum::body::{Body, BodyDataStream, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use fleetfoot_model::Code;
use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Largest body where nothing else is said.
pub(crate) const DEFAULT_LIMIT: usize = 2 << 20;
/// How much of a body that is too large is read before the answer goes out.
const LINGER: usize = 64 << 20;
/// And for how long.
const LINGER_TIME: Duration = Duration::from_secs(5);

/// A JSON body of at most `LIMIT` bytes. An empty body counts as `{}`, for
/// requests in which every field may be left out.
pub(crate) struct JsonBody<T, const LIMIT: usize = DEFAULT_LIMIT>(pub(crate) T);

/// A JSON answer.
pub(crate) struct Json<T>(pub(crate) T);

/// The id in the path.
pub(crate) struct Id<T>(pub(crate) T);

/// The query string.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, const LIMIT: usize> FromRequest<App> for JsonBody<T, LIMIT> {
    type Rejection = Failure;
    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let body = read_body(&parts, body, LIMIT, app).await?;
        if !body.is_empty() {
            require_json(&parts)?;
        }
        parse_json(&body).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Err(e) => {
                Failure::new(Code::Internal, format!("an answer does not serialise: {e}")).into_response()
            }
        }
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        Ok(Self(Path::<T>::from_request_parts(parts, state).await?.0))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Self(axum::extract::Query::<T>::try_from_uri(&parts.uri)?.0))
    }
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read_body(parts: &Parts, body: Body, limit: usize, app: &App) -> Answer<Bytes> {
    let stated = match stated_length(parts, &body, limit) {
        Ok(stated) => stated,
        Err(refused) => {
            // Whoever asks first is told before it sends anything.
            if !parts.headers.contains_key(header::EXPECT) {
                linger(&mut body.into_data_stream()).await;
            }
            return Err(refused);
        }
    };
    // Held until the body is complete; from then on the concurrency limit bounds what is in memory.
    let _room = app.admit_body(stated)?;
    collect(body, stated, limit).await
}

/// The length that the client states, or the limit if it states none.
fn stated_length(parts: &Parts, body: &Body, limit: usize) -> Answer<usize> {
    let exact = body.size_hint().exact().or_else(|| {
        parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok())
    });
    match exact {
        Some(stated) if stated > limit as u64 => Err(too_large(limit)),
        Some(stated) => Ok(usize::try_from(stated).unwrap_or(limit)),
        None => Ok(limit),
    }
}

/// Reads on without keeping anything: a client that is still sending when the
/// connection closes sees a broken pipe instead of the answer.
async fn linger(chunks: &mut BodyDataStream) {
    let mut read = 0;
    let reading = async {
        while let Some(Ok(chunk)) = chunks.next().await {
            read += chunk.len();
            if read > LINGER {
                break;
            }
        }
    };
    // Late or broken: there is nobody to tell.
    let _ = tokio::time::timeout(LINGER_TIME, reading).await;
}

fn too_large(limit: usize) -> Failure {
    Failure::new(Code::TooLarge, format!("the body is larger than {limit} bytes"))
}

async fn collect(body: Body, expected: usize, limit: usize) -> Answer<Bytes> {
    let mut chunks = body.into_data_stream();
    let interrupted =
        |e: axum::Error| Failure::bad_request(format!("the body could not be read to its end: {e}"));
    let Some(first) = chunks.next().await.transpose().map_err(interrupted)? else { return Ok(Bytes::new()) };
    if first.len() > limit {
        return Err(too_large(limit));
    }
    let Some(second) = chunks.next().await.transpose().map_err(interrupted)? else { return Ok(first) };
    let mut all = BytesMut::with_capacity(expected.max(first.len() + second.len()));
    all.extend_from_slice(&first);
    all.extend_from_slice(&second);
    while let Some(chunk) = chunks.next().await.transpose().map_err(interrupted)? {
        if all.len() + chunk.len() > limit {
            linger(&mut chunks).await;
            return Err(too_large(limit));
        }
        all.extend_from_slice(&chunk);
    }
    if all.len() > limit {
        return Err(too_large(limit));
    }
    Ok(all.freeze())
}

/// The media type without parameters, in lower case.
pub(crate) fn media_type(parts: &Parts) -> Option<String> {
    let value = parts.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

pub(crate) fn require_json(parts: &Parts) -> Answer<()> {
    match media_type(parts) {
        // A client that names no type can only mean the one that is documented.
        None => Ok(()),
        Some(t) if t == "application/json" || (t.starts_with("application/") && t.ends_with("+json")) => {
            Ok(())
        }
        Some(other) => Err(unsupported(&other, "application/json")),
    }
}

pub(crate) fn unsupported(got: &str, wanted: &str) -> Failure {
    Failure::new(Code::UnsupportedMediaType, format!("this reads {wanted}, not '{got}'"))
        .with_hint(format!("send `Content-Type: {wanted}`"))
}

/// Parses JSON; an empty text counts as `{}`.
pub(crate) fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Answer<T> {
    let text: &[u8] = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
    // serde_json's message ends in line and column.
    serde_json::from_slice(text).map_err(|e| {
        let what = if e.is_data() { "the body does not fit" } else { "the body is not valid JSON" };
        Failure::bad_request(format!("{what}: {e}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetfoot_model::api::{CancelRun, CreateRun};

    fn parts(content_type: Option<&str>) -> Parts {
        let mut request = Request::builder();
        if let Some(t) = content_type {
            request = request.header(header::CONTENT_TYPE, t);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn errors_name_line_and_column() {
        let e = parse_json::<CreateRun>(b"{\n  \"kind\": 3}").err().unwrap().0;
        assert_eq!(e.code, Code::BadRequest);
        assert_eq!(
            e.detail,
            "the body does not fit: invalid type: integer `3`, expected a string at line 2 column 11"
        );
        let e = parse_json::<CreateRun>(b"{\"kind\"").err().unwrap().0;
        assert_eq!(e.detail, "the body is not valid JSON: EOF while parsing an object at line 1 column 7");
        let e = parse_json::<CreateRun>(br#"{"kind":"job","document":"","inputz":{}}"#).err().unwrap().0;
        assert!(e.detail.contains("unknown field `inputz`"), "{}", e.detail);
    }

    #[test]
    fn an_empty_body_is_an_empty_object() {
        assert_eq!(parse_json::<CancelRun>(b" \n").unwrap(), CancelRun::default());
        assert!(parse_json::<CreateRun>(b"").err().unwrap().0.detail.contains("missing field `kind`"));
    }

    #[test]
    fn depth_is_bounded() {
        let deep = "[".repeat(100_000);
        assert_eq!(parse_json::<serde_json::Value>(deep.as_bytes()).unwrap_err().0.code, Code::BadRequest);
    }

    #[test]
    fn media_types() {
        for good in [
            None,
            Some("application/json"),
            Some("Application/JSON; charset=utf-8"),
            Some("application/x+json"),
        ] {
            assert!(require_json(&parts(good)).is_ok(), "{good:?}");
        }
        for bad in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
        {
            assert_eq!(
                require_json(&parts(Some(bad))).unwrap_err().0.code,
                Code::UnsupportedMediaType,
                "{bad}"
            );
        }
    }

    #[tokio::test]
    async fn a_body_ends_at_its_limit() {
        assert_eq!(collect(Body::from("12345678"), 8, 8).await.unwrap(), "12345678");
        assert_eq!(collect(Body::from("123456789"), 8, 8).await.unwrap_err().0.code, Code::TooLarge);
        let endless =
            futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[0; 600])));
        assert_eq!(collect(Body::from_stream(endless), 64, 1000).await.unwrap_err().0.code, Code::TooLarge);
        let three =
            futures_util::stream::iter(["a", "b", "c"].map(|s| Ok::<_, std::io::Error>(Bytes::from(s))));
        assert_eq!(collect(Body::from_stream(three), 3, 3).await.unwrap(), "abc");
    }

    #[test]
    fn a_stated_length_is_checked_before_reading() {
        let mut large = parts(None);
        large.headers.insert(header::CONTENT_LENGTH, 9.into());
        let open = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(stated_length(&large, &open, 8).unwrap_err().0.code, Code::TooLarge);
        assert_eq!(stated_length(&large, &open, 9).unwrap(), 9);
        assert_eq!(stated_length(&parts(None), &open, 9).unwrap(), 9);
    }
}
