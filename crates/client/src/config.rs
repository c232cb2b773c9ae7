//! How to reach a server. Pure data: it never opens a connection and reads no
//! environment.

use crate::error::ClientError;
use reqwest::Url;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where `fleetfoot up` listens unless told otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:7878";

/// A token. Neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a token; surrounding white space is dropped (tokens come from files and pipes).
    pub fn new(token: impl Into<String>) -> Self {
        let token: String = token.into();
        Self(token.trim().to_owned())
    }

    /// The token itself, for a header or a file of mode 0600.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a [`Client`](crate::Client) needs to know.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Address of the server, without `/api/v1`. A missing scheme means `http`.
    pub url: String,
    /// Token for the `Authorization` header.
    pub token: Option<Secret>,
    /// PEM file with further certificate authorities, on top of those of the system.
    pub ca: Option<PathBuf>,
    /// Proxy address; absent means the usual environment variables decide
    /// (loopback addresses then never use a proxy).
    pub proxy: Option<String>,
    /// Time limit of one ordinary request (streams and waiting syncs have their own).
    pub timeout: Duration,
    /// `User-Agent`.
    pub user_agent: String,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            url: DEFAULT_URL.to_owned(),
            token: None,
            ca: None,
            proxy: None,
            timeout: Duration::from_secs(30),
            user_agent: format!("fleetfoot/{}", fleetfoot_model::version::VERSION),
        }
    }
}

impl ClientConfig {
    /// For this address and token, everything else by default.
    pub fn new(url: impl Into<String>, token: Option<Secret>) -> Self {
        Self { url: url.into(), token, ..Self::default() }
    }
}

/// Reads an address as people write it: with or without scheme, trailing slash or API path.
pub(crate) fn parse_url(text: &str) -> Result<Url, ClientError> {
    let text = text.trim();
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let bad = |why: String| {
        ClientError::configuration(format!("'{text}' is not the address of a server: {why}"))
            .with_hint(format!("an address looks like {DEFAULT_URL}"))
    };
    // Nothing of an address that may hold a password is repeated in a message.
    if with_scheme.contains('@') {
        return Err(ClientError::configuration(
            "the address of the server must not contain a user or password",
        )
        .with_hint("pass a token instead"));
    }
    let mut url = Url::parse(&with_scheme).map_err(|e| bad(e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad(format!("the scheme '{}' is not http or https", url.scheme())));
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/api/v1").unwrap_or(path).to_owned();
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_people_write_them() {
        for (text, expected) in [
            ("127.0.0.1:7878", "http://127.0.0.1:7878/"),
            (" https://ci.example.com/ ", "https://ci.example.com/"),
            ("https://ci.example.com/fleet/", "https://ci.example.com/fleet"),
            ("https://ci.example.com/fleet/api/v1/", "https://ci.example.com/fleet"),
        ] {
            assert_eq!(parse_url(text).unwrap().as_str(), expected, "{text}");
        }
        for text in ["", "ftp://user:pw7@x", "http://", "http://user:pw7@host"] {
            let error = parse_url(text).unwrap_err();
            assert!(error.hint().is_some(), "{text}: {error}");
            assert!(!error.to_string().contains("pw7"), "{error}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        let config = ClientConfig::new(DEFAULT_URL, Some(Secret::new(" ffa_abc\n")));
        assert_eq!(config.token.as_ref().map(Secret::expose), Some("ffa_abc"));
        assert!(!format!("{config:?}").contains("abc"));
    }
}
