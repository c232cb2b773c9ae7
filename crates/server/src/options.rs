//! Settings of the HTTP server and what can keep it from serving.

use std::time::Duration;
use thiserror::Error;

/// Settings of the HTTP server. The defaults suit production.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Public address (`https://ci.example.org`), if there is one besides the
    /// listener's: its host is accepted in `Host` and its origin in `Origin`.
    pub public_url: Option<String>,
    /// Further host names (without port) that a loopback listener accepts in `Host`.
    pub allowed_hosts: Vec<String>,
    /// Whether `/metrics` needs no token; `None` means: only on a loopback listener.
    pub open_metrics: Option<bool>,
    /// Whether cookies are sent over https only; `None` means: if the public address is https, or the
    /// request came by https as far as a proxy says.
    pub secure_cookies: Option<bool>,
    /// A proxy stands before this server: the last address in `X-Forwarded-For` is who asks.
    pub behind_proxy: bool,
    /// OpenID providers through which people sign in.
    pub sign_in: fleetfoot_oidc::Settings,
    /// How long requests may still run after shutdown was signalled.
    pub drain: Duration,
    /// How long a request may take, apart from streams, batches and syncs.
    pub request_timeout: Duration,
    /// How long a client may take to send the head of its (next) request: also
    /// the life of an idle connection, so longer than clients keep theirs.
    pub header_timeout: Duration,
    /// Connections at the same time; more wait to be accepted.
    pub max_connections: usize,
    /// Requests at the same time, apart from streams and syncs; more get 503.
    pub max_requests: usize,
    /// Event streams and log streams at the same time; more get 503.
    pub max_streams: usize,
    /// Bytes of request bodies held in memory at the same time; more get 503.
    pub max_body_bytes_in_flight: usize,
    /// Silence after which a comment is sent on an event stream.
    pub keep_alive: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            public_url: None,
            allowed_hosts: Vec::new(),
            open_metrics: None,
            secure_cookies: None,
            behind_proxy: false,
            sign_in: fleetfoot_oidc::Settings::default(),
            drain: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(65),
            max_connections: 20_000,
            max_requests: 512,
            max_streams: 1_000,
            max_body_bytes_in_flight: 256 << 20,
            keep_alive: Duration::from_secs(15),
        }
    }
}

/// Why the server could not serve.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The listener cannot tell its address.
    #[error("the listener has no address")]
    Listener(#[source] std::io::Error),
    /// `public_url` is not an absolute http or https address.
    #[error("'{0}' is not an address like https://ci.example.org")]
    PublicUrl(String),
    /// The settings of the OpenID providers make no sense.
    #[error("the settings for signing in: {0}")]
    SignIn(String),
}
