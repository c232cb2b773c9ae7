//! The connection: one `reqwest` client with its address and token, and the
//! mapping of answers to values or problems. Knows no endpoint.

use crate::config::{ClientConfig, Secret, parse_url};
use crate::error::ClientError;
use bytes::Bytes;
use fleetfoot_model::problem::{Code, Problem};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// Nothing in this API answers with more than this in one piece, bytes.
const MAX_ANSWER: usize = 256 << 20;
/// How much of an answer that is no problem document is shown.
const SNIPPET: usize = 200;

/// A client of one server. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    pub(crate) http: reqwest::Client,
    base: Arc<Url>,
    server: Arc<str>,
    authorization: Option<HeaderValue>,
    pub(crate) timeout: Duration,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client; nothing is sent.
    ///
    /// # Errors
    /// Of kind `Configuration`: a bad address, token, proxy or CA file.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        let base = parse_url(&config.url)?;
        let http = connect(&config, &base)?;
        let authorization = config.token.as_ref().map(bearer).transpose()?;
        let server = base.as_str().trim_end_matches('/').into();
        Ok(Self { http, base: Arc::new(base), server, authorization, timeout: config.timeout })
    }

    /// The same client with another token (or none).
    ///
    /// # Errors
    /// Of kind `Configuration` if the token cannot be a header.
    pub fn with_token(&self, token: Option<&Secret>) -> Result<Self, ClientError> {
        Ok(Self { authorization: token.map(bearer).transpose()?, ..self.clone() })
    }

    /// The address of the server, without a trailing slash.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// An address under the API: segments are escaped, pairs become the query.
    pub(crate) fn api(&self, segments: &[&str], query: &[(&str, String)]) -> Url {
        self.root(&[&["api", "v1"], segments].concat(), query)
    }

    /// An address under the server's root.
    pub(crate) fn root(&self, segments: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = Url::clone(&self.base);
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    pub(crate) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value.clone()),
            None => request,
        }
    }

    /// Sends and answers with the response if its status is a success.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|e| self.transport(e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.problem(response).await)
    }

    pub(crate) fn transport(&self, error: reqwest::Error) -> ClientError {
        ClientError::from_reqwest(error, &self.server)
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<T, ClientError> {
        let response = self
            .send(self.request(Method::GET, url).header(ACCEPT, "application/json").timeout(self.timeout))
            .await?;
        self.json(response).await
    }

    pub(crate) async fn call<B: Serialize + Sync + ?Sized, T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: &B,
    ) -> Result<T, ClientError> {
        let request = self.request(method, url).json(body).timeout(self.timeout);
        let response = self.send(request).await?;
        self.json(response).await
    }

    /// For answers without a body that matters.
    pub(crate) async fn done(&self, request: RequestBuilder) -> Result<(), ClientError> {
        self.send(request.timeout(self.timeout)).await.map(drop)
    }

    pub(crate) async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let body = self.body(response, MAX_ANSWER).await?;
        serde_json::from_slice(&body).map_err(|e| {
            ClientError::protocol(format!("{} sent an answer that this version cannot read", self.server))
                .with_source(e)
        })
    }

    pub(crate) async fn body(&self, mut response: Response, limit: usize) -> Result<Bytes, ClientError> {
        let Some(first) = response.chunk().await.map_err(|e| self.transport(e))? else {
            return Ok(Bytes::new());
        };
        let mut all = None::<Vec<u8>>;
        let mut length = first.len();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.transport(e))? {
            length += chunk.len();
            if length > limit {
                return Err(ClientError::protocol(format!("{} sent more than {limit} bytes", self.server)));
            }
            all.get_or_insert_with(|| first.to_vec()).extend_from_slice(&chunk);
        }
        Ok(all.map_or(first, Bytes::from))
    }

    async fn problem(&self, response: Response) -> ClientError {
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let body = match self.body(response, 4 << 20).await {
            Ok(body) => body,
            Err(error) => return error,
        };
        if let Ok(problem) = serde_json::from_slice::<Problem>(&body) {
            return ClientError::from_problem(problem, retry_after);
        }
        let text: String =
            String::from_utf8_lossy(&body).chars().filter(|c| !c.is_control()).take(SNIPPET).collect();
        // A middle box answered, or a newer server with a code that is not known here: the status still tells.
        match code_of_status(status.as_u16()) {
            Some(code) => {
                let detail =
                    if text.is_empty() { format!("{} answered {status}", self.server) } else { text };
                ClientError::from_problem(Problem::new(code, detail), retry_after)
            }
            None => ClientError::protocol(format!("{} answered {status}: {text}", self.server)),
        }
    }
}

/// The connection for one address with its proxy and authorities.
pub(crate) fn connect(config: &ClientConfig, base: &Url) -> Result<reqwest::Client, ClientError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(&config.user_agent)
        .connect_timeout(config.timeout.min(Duration::from_secs(10)))
        .redirect(reqwest::redirect::Policy::none())
        // Shorter than what servers and middle boxes keep idle connections for.
        .pool_idle_timeout(Duration::from_secs(50))
        .tcp_keepalive(Duration::from_secs(30));
    let mut proxy_is_tls = false;
    if let Some(address) = config.proxy.as_deref().filter(|p| !p.is_empty()) {
        proxy_is_tls = address.starts_with("https:");
        let proxy = reqwest::Proxy::all(address).map_err(|e| {
            ClientError::configuration("the proxy address cannot be used").with_source(e.without_url())
        })?;
        builder = builder.proxy(proxy);
    } else if is_loopback(base) {
        builder = builder.no_proxy();
    }
    let own = match &config.ca {
        Some(path) => read_authorities(path)?,
        None => Vec::new(),
    };
    // Loading the system's authorities takes memory and milliseconds: only where a handshake can happen.
    let may_need_tls =
        base.scheme() == "https" || proxy_is_tls || !(is_loopback(base) || config.proxy.is_some());
    builder = if may_need_tls { builder.tls_certs_merge(own) } else { builder.tls_certs_only(own) };
    builder.build().map_err(|e| {
        ClientError::configuration("the HTTP client cannot be made").with_source(e.without_url())
    })
}

fn code_of_status(status: u16) -> Option<Code> {
    Some(match status {
        401 => Code::Unauthorized,
        403 => Code::Forbidden,
        404 => Code::NotFound,
        413 => Code::TooLarge,
        429 => Code::TooManyRequests,
        500 => Code::Internal,
        502..=504 => Code::Overloaded,
        _ => return None,
    })
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(3600)))
}

fn bearer(token: &Secret) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
        .map_err(|_| ClientError::configuration("the token contains characters that no token has"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

fn read_authorities(path: &std::path::Path) -> Result<Vec<reqwest::Certificate>, ClientError> {
    let shown = path.display();
    let pem = std::fs::read(path).map_err(|e| {
        ClientError::configuration(format!("the CA file {shown} cannot be read")).with_source(e)
    })?;
    let found = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| {
        ClientError::configuration(format!("the CA file {shown} is not PEM")).with_source(e.without_url())
    })?;
    if found.is_empty() {
        return Err(ClientError::configuration(format!("the CA file {shown} contains no certificate")));
    }
    Ok(found)
}
