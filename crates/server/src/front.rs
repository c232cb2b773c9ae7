//! What happens around every request, in one place and without a stack of
//! boxed layers: request id, host and origin checks, panics, security headers,
//! the request log and the counters. It knows nothing about routes and never
//! looks into a body; it logs neither tokens nor query strings.

use crate::error::{Failure, InternalCause};
use crate::metrics::HttpMetrics;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use fleetfoot_model::Code;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tower::Service;

/// Name of the header that carries the id of a request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The entrance; cheap to clone.
#[derive(Clone)]
pub(crate) struct Front(Arc<Inner>);

struct Inner {
    router: Router,
    origins: Origins,
    metrics: Arc<HttpMetrics>,
    /// Tells the processes of one log apart.
    run: String,
    counter: AtomicU64,
}

impl Front {
    pub(crate) fn new(router: Router, origins: Origins, metrics: Arc<HttpMetrics>, run: String) -> Self {
        Self(Arc::new(Inner { router, origins, metrics, run, counter: AtomicU64::new(1) }))
    }

    /// Answers one request.
    pub(crate) async fn answer(self, request: Request) -> Response {
        let started = Instant::now();
        let id = self.request_id(request.headers());
        let method = request.method().clone();
        let path = request.uri().path().to_owned();

        let mut response = match self.0.origins.check(&method, request.headers()) {
            Err(refused) => refused.into_response(),
            Ok(()) => {
                let routed = self.0.router.clone().call(request);
                match AssertUnwindSafe(routed).catch_unwind().await {
                    Ok(Ok(response)) => response,
                    Ok(Err(never)) => match never {},
                    Err(panic) => {
                        self.0.metrics.panics.inc();
                        Failure::new(Code::Internal, panic_text(&*panic)).into_response()
                    }
                }
            }
        };

        let took = started.elapsed();
        let status = response.status();
        // A sync waits on purpose: in the histogram it would hide everything else.
        let waits = path.ends_with("/sync");
        self.0.metrics.answered(status, (!waits).then_some(took));
        let cause = response.extensions_mut().remove::<InternalCause>();
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let id_text = id.to_str().unwrap_or_default();
        if let Some(InternalCause(cause)) = cause {
            tracing::error!(request = id_text, %method, path, status = status.as_u16(), micros, cause, "request failed");
        } else if status.is_server_error() {
            tracing::warn!(request = id_text, %method, path, status = status.as_u16(), micros, "request refused");
        } else if waits || method == Method::GET {
            tracing::debug!(request = id_text, %method, path, status = status.as_u16(), micros, "request");
        } else {
            tracing::info!(request = id_text, %method, path, status = status.as_u16(), micros, "request");
        }
        finish(response.headers_mut(), id);
        response
    }

    /// The client's id if it is harmless, otherwise a new one.
    fn request_id(&self, headers: &HeaderMap) -> HeaderValue {
        if let Some(given) = headers.get(REQUEST_ID)
            && (1..=64).contains(&given.len())
            && given.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
        {
            return given.clone();
        }
        let number = self.0.counter.fetch_add(1, Ordering::Relaxed);
        // Letters, digits and a dash always make a header value.
        HeaderValue::try_from(format!("{}-{number}", self.0.run)).unwrap_or(HeaderValue::from_static("0"))
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("without a message"))
}

/// Headers of every answer. This is an API: nothing of it may run, be framed,
/// be guessed at or stay in a cache.
fn finish(headers: &mut HeaderMap, id: HeaderValue) {
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    );
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// Which `Host` and `Origin` headers are ours.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    /// Only a loopback listener checks `Host`: there, a foreign name means
    /// that a page rebound its own name to this machine.
    pub(crate) loopback: bool,
    /// Host names accepted besides `localhost` and loopback addresses.
    pub(crate) hosts: Vec<String>,
    /// Host and port of the public address.
    pub(crate) public: Option<String>,
}

impl Origins {
    fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Failure> {
        let host = match headers.get(header::HOST).map(HeaderValue::to_str) {
            None => None,
            Some(Ok(host)) => Some(host),
            Some(Err(_)) => return Err(Failure::bad_request("the Host header is not text")),
        };
        if let Some(host) = host
            && self.loopback
            && !self.is_ours(host)
        {
            return Err(Failure::new(
                Code::Forbidden,
                format!("this server does not answer to the name '{host}'"),
            )
            .with_hint("use the address that the server printed, or allow the name in its settings"));
        }
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(());
        }
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
        let authority =
            origin.to_str().ok().and_then(|o| o.split_once("://")).map(|(_, authority)| authority);
        let same = authority.is_some_and(|a| {
            host.is_some_and(|h| h.eq_ignore_ascii_case(a))
                || self.public.as_deref().is_some_and(|p| p.eq_ignore_ascii_case(a))
        });
        if same {
            return Ok(());
        }
        Err(Failure::new(Code::Forbidden, "a page of another origin may not change anything here"))
    }

    fn is_ours(&self, host: &str) -> bool {
        if self.public.as_deref().is_some_and(|p| p.eq_ignore_ascii_case(host)) {
            return true;
        }
        let name = name_of(host);
        let loopback = name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        loopback
            || name.eq_ignore_ascii_case("localhost")
            || name.to_ascii_lowercase().ends_with(".localhost")
            || self.hosts.iter().any(|h| h.eq_ignore_ascii_case(name))
    }
}

/// The host without its port and brackets.
pub(crate) fn name_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{problem_response, unknown_method, unknown_route};
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::routing::get;
    use fleetfoot_model::Problem;
    use std::time::Duration;

    fn origins() -> Origins {
        Origins {
            loopback: true,
            hosts: vec!["host.docker.internal".to_owned()],
            public: Some("ci.example.org".to_owned()),
        }
    }

    fn front() -> Front {
        let router = Router::new()
            .route("/ok", get(async || "fine").post(async || "done"))
            .route("/panic", get(async || -> &'static str { panic!("secret of the house") }))
            .route("/fault", get(async || Failure::new(Code::Internal, "disk /secret/path broke")))
            .fallback(unknown_route)
            .method_not_allowed_fallback(unknown_method);
        Front::new(router, origins(), Arc::new(HttpMetrics::new()), "t".to_owned())
    }

    async fn ask(method: &str, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = front().answer(request.body(Body::empty()).unwrap()).await;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn every_error_is_a_problem() {
        for (method, path, status, code) in [
            ("GET", "/nowhere", 404, "not_found"),
            ("DELETE", "/ok", 405, "method_not_allowed"),
            ("GET", "/panic", 500, "internal"),
            ("GET", "/fault", 500, "internal"),
        ] {
            let (got, headers, body) = ask(method, path, &[]).await;
            assert_eq!(got.as_u16(), status, "{method} {path}");
            assert_eq!(headers["content-type"], "application/problem+json", "{method} {path}");
            let problem: Problem = serde_json::from_str(&body).unwrap();
            assert_eq!(serde_json::to_value(problem.code).unwrap(), code);
            assert_eq!(problem.status, status);
            assert!(!body.contains("secret"), "the cause stays in the log: {body}");
        }
    }

    #[tokio::test]
    async fn every_answer_has_its_headers() {
        let (status, headers, _) = ask("GET", "/ok", &[]).await;
        assert_eq!(status, 200);
        assert_eq!(headers["x-request-id"], "t-1");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["cache-control"], "no-store");
        assert!(headers.contains_key("content-security-policy"));
        assert!(!headers.keys().any(|k| k.as_str().starts_with("access-control-")));
        let (_, headers, _) = ask("GET", "/ok", &[("x-request-id", "mine-7")]).await;
        assert_eq!(headers["x-request-id"], "mine-7");
        let (_, headers, _) = ask("GET", "/ok", &[("x-request-id", "a b<script>")]).await;
        assert_eq!(headers["x-request-id"], "t-1");
        let (_, headers, _) = ask("DELETE", "/ok", &[]).await;
        assert!(headers.contains_key("allow"));
    }

    #[tokio::test]
    async fn foreign_names_and_origins_are_refused() {
        let ok = |h: &'static [(&str, &str)]| async move { ask("POST", "/ok", h).await.0.as_u16() };
        assert_eq!(ok(&[("host", "127.0.0.1:7878")]).await, 200);
        assert_eq!(ok(&[("host", "[::1]:7878")]).await, 200);
        assert_eq!(ok(&[("host", "localhost:7878"), ("origin", "http://localhost:7878")]).await, 200);
        assert_eq!(ok(&[("host", "ci.example.org"), ("origin", "https://ci.example.org")]).await, 200);
        assert_eq!(ok(&[("host", "localhost:7878"), ("origin", "https://ci.example.org")]).await, 200);
        assert_eq!(ok(&[("host", "host.docker.internal:7878")]).await, 200);
        assert_eq!(ok(&[("host", "evil.example:7878")]).await, 403);
        assert_eq!(ok(&[("host", "127.0.0.1.evil.example")]).await, 403);
        assert_eq!(ok(&[("host", "localhost:7878"), ("origin", "http://evil.example")]).await, 403);
        assert_eq!(ok(&[("host", "localhost:7878"), ("origin", "http://localhost:9999")]).await, 403);
        assert_eq!(ok(&[("host", "localhost:7878"), ("origin", "null")]).await, 403);
        // Reading is harmless: the browser does not show the answer to a foreign page.
        let (status, _, _) =
            ask("GET", "/ok", &[("host", "localhost"), ("origin", "http://evil.example")]).await;
        assert_eq!(status, 200);
    }

    #[test]
    fn the_counters_follow() {
        let metrics = HttpMetrics::new();
        metrics.answered(StatusCode::OK, None);
        metrics.answered(StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_secs(1)));
        let text = metrics.render_behind(String::new());
        assert!(text.contains("fleetfoot_http_requests_total{class=\"ServerError\"} 1"));
        assert!(text.contains("fleetfoot_http_request_seconds_count 1"));
    }

    #[test]
    fn statuses_bring_their_headers() {
        let retry = |code| {
            let response = problem_response(&Problem::new(code, "x"));
            response.headers().get(header::RETRY_AFTER).cloned()
        };
        assert_eq!(retry(Code::Overloaded).unwrap(), "1");
        assert_eq!(retry(Code::DiskFull).unwrap(), "30");
        assert_eq!(retry(Code::NotFound), None);
        let response = problem_response(&Problem::new(Code::Unauthorized, "x"));
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
    }
}
