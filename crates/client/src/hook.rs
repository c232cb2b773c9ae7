//! Notices to an address that somebody configured: one POST of JSON, no token,
//! no retry. Not part of the API; here because it shares proxy and authorities.

use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::http::connect;
use reqwest::Url;
use serde_json::Value;
use std::time::Duration;

/// Where notices go.
#[derive(Clone)]
pub struct Hook {
    http: reqwest::Client,
    url: Url,
    timeout: Duration,
}

impl std::fmt::Debug for Hook {
    /// Shows the host only: the rest of such an address is often a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hook").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

impl Hook {
    /// Proxy, authorities and timeout are taken from `config`; its address and token are not.
    ///
    /// # Errors
    /// Of kind `Configuration`.
    pub fn new(url: &str, config: &ClientConfig) -> Result<Self, ClientError> {
        let url = Url::parse(url.trim())
            .ok()
            .filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host())
            .ok_or_else(|| {
                ClientError::configuration(
                    "the webhook is not an address that begins with http:// or https://",
                )
            })?;
        Ok(Self { http: connect(config, &url)?, timeout: config.timeout, url })
    }

    /// Sends one notice.
    ///
    /// # Errors
    /// [`ClientError`]; an answer other than success is of kind `Protocol`.
    pub async fn send(&self, notice: &Value) -> Result<(), ClientError> {
        let host = self.url.host_str().unwrap_or_default();
        let response = self
            .http
            .post(self.url.clone())
            .json(notice)
            .timeout(self.timeout)
            .send()
            .await
            .map_err(|e| ClientError::from_reqwest(e, host))?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(ClientError::protocol(format!("{host} answered {}", response.status())))
    }
}
