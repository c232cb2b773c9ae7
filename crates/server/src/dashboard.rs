//! The dashboard under `/ui/`: embedded files with the headers that keep them
//! fresh, or for ever, and keep everything foreign out. It knows nothing of what
//! the pages show; they get that from the API like everybody else.

use crate::app::App;
use crate::error::Failure;
use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use fleetfoot_dashboard::{ASSETS, Asset, FILES, INDEX, find};
use fleetfoot_model::Code;

/// Where it is.
const ROOT: &str = "/ui/";
/// Scripts and styles from our own files only, nothing inline, nothing from or to another host, and
/// no frame around it. Pictures may be made by the page itself (the icon that shows a state).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Ask every time; mostly the answer is that nothing changed.
const ASK: &str = "no-cache";

const NOT_BUILT: &str = concat!(
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Fleetfoot</title>",
    "<h1>Fleetfoot ",
    env!("CARGO_PKG_VERSION"),
    "</h1><p>This is the control plane of a fleet of runners. The dashboard was not built into this program. ",
    "To have it, run <code>make web</code> where the source is (it needs Node and npm), and build the program again ",
    "with <code>make build</code>.</p><p>Everything can be done without it: with the command line ",
    "(<code>fleetfoot list</code>) or the API (<a href=\"/api/openapi.json\">/api/openapi.json</a>).</p></html>\n"
);

/// For who opens `/` and is no browser.
const ABOUT: &str = concat!(
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Fleetfoot</title>",
    "<h1>Fleetfoot ",
    env!("CARGO_PKG_VERSION"),
    "</h1><p>This is the control plane of a fleet of runners. The dashboard is at <a href=\"/ui/\">/ui/</a>, ",
    "the API is described at <a href=\"/api/openapi.json\">/api/openapi.json</a>.</p></html>\n"
);

/// The routes of the dashboard. They are for browsers, and not in the API's document.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/ui", get(async || Redirect::permanent(ROOT)))
        .route(ROOT, get(async |headers: HeaderMap| answer(FILES, "", &headers)))
        .route(
            "/ui/{*path}",
            get(async |Path(path): Path<String>, headers: HeaderMap| answer(FILES, &path, &headers)),
        )
}

/// What `/` answers: browsers go to the dashboard, others are told where things are.
pub(crate) fn entrance(headers: &HeaderMap) -> Response {
    let browser = accepts(headers, header::ACCEPT, "text/html");
    if browser { Redirect::temporary(ROOT).into_response() } else { page(ABOUT) }
}

fn answer(files: &'static [Asset], path: &str, headers: &HeaderMap) -> Response {
    if let Some(file) = find(files, path).filter(|f| f.path != INDEX) {
        return serve(file, headers);
    }
    if path.starts_with(ASSETS) {
        // A page of an older version asks for its parts: the page itself would be no answer.
        return Failure::new(Code::NotFound, "this version of the dashboard has no such file")
            .with_hint("load the page again")
            .into_response();
    }
    // The rest are places within the page.
    match find(files, INDEX) {
        Some(index) => serve(index, headers),
        None => page(NOT_BUILT),
    }
}

fn page(text: &'static str) -> Response {
    with_policy(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response())
}

fn serve(file: Asset, headers: &HeaderMap) -> Response {
    // Weak: the same content leaves compressed or not.
    let tag = format!("W/\"{}\"", file.hash);
    let known = accepts(headers, header::IF_NONE_MATCH, &tag) || accepts(headers, header::IF_NONE_MATCH, "*");
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else if file.gzip && accepts(headers, header::ACCEPT_ENCODING, "gzip") {
        ([(header::CONTENT_ENCODING, "gzip")], file.body).into_response()
    } else {
        file.plain().into_response()
    };
    let own = response.headers_mut();
    own.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.media_type));
    let keep = if file.is_immutable() { FOR_EVER } else { ASK };
    own.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    own.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    // A hash is plain text.
    own.insert(header::ETAG, HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("W/\"\"")));
    with_policy(response)
}

fn with_policy(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    );
    response
}

/// Whether a list header has this entry, and not with a weight of nothing.
fn accepts(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).any(|entry| {
        let (what, weight) = entry.split_once(';').unwrap_or((entry, ""));
        let nothing = weight.trim().strip_prefix("q=").is_some_and(|q| q.trim_matches(['0', '.']).is_empty());
        what.trim().eq_ignore_ascii_case(wanted) && !nothing
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `console.log(1)` again and again, compressed.
    fn files() -> &'static [Asset] {
        static SCRIPT: &[u8] = b"console.log(1);";
        const fn asset(path: &'static str, media_type: &'static str, body: &'static [u8]) -> Asset {
            Asset { path, media_type, gzip: false, hash: "0123456789abcdef", body }
        }
        const FILES: &[Asset] = &[
            asset("assets/app-4f.js", "text/javascript; charset=utf-8", SCRIPT),
            asset("favicon.svg", "image/svg+xml", b"<svg/>"),
            asset("index.html", "text/html; charset=utf-8", b"<!doctype html>"),
        ];
        FILES
    }

    async fn ask(path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, String) {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect();
        let (parts, body) = answer(files(), path, &headers).into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        (parts.status.as_u16(), parts.headers, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn hashed_names_are_kept_and_the_page_is_asked_for() {
        let (status, headers, body) = ask("assets/app-4f.js", &[]).await;
        assert_eq!((status, body.as_str()), (200, "console.log(1);"));
        assert_eq!(headers["cache-control"], "public, max-age=31536000, immutable");
        for path in ["", "index.html", "runs/7", "runs/7/jobs/9.3", "../../etc/passwd"] {
            let (status, headers, body) = ask(path, &[]).await;
            assert_eq!((status, body.as_str()), (200, "<!doctype html>"), "{path}");
            assert_eq!(headers["cache-control"], "no-cache");
            assert_eq!(headers["content-type"], "text/html; charset=utf-8");
            let policy = headers["content-security-policy"].to_str().unwrap();
            assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
        }
        assert_eq!(ask("favicon.svg", &[]).await.1["cache-control"], "no-cache");
        assert_eq!(ask("assets/app-00.js", &[]).await.0, 404);
    }

    #[tokio::test]
    async fn what_did_not_change_is_not_sent() {
        let (_, headers, _) = ask("", &[]).await;
        let tag = headers["etag"].to_str().unwrap().to_owned();
        for known in [tag.as_str(), "*", &format!("\"x\", {tag}")] {
            let (status, headers, body) = ask("", &[("if-none-match", known)]).await;
            assert_eq!((status, body.as_str()), (304, ""), "{known}");
            assert_eq!(headers["etag"], tag);
        }
        assert_eq!(ask("", &[("if-none-match", "\"other\"")]).await.0, 200);
    }

    #[test]
    fn lists_in_headers() {
        let with = |value: &str| {
            HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap())])
        };
        for (value, accepted) in [
            ("gzip", true),
            ("deflate, gzip;q=0.5, br", true),
            ("GZIP", true),
            ("gzip;q=0", false),
            ("gzip;q=0.000", false),
            ("br", false),
            ("", false),
        ] {
            assert_eq!(accepts(&with(value), header::ACCEPT_ENCODING, "gzip"), accepted, "{value}");
        }
    }
}
