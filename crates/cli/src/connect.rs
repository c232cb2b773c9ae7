//! Which server, with which token: flags over environment over what `up` left
//! in the data directory. Opens no connection by itself.

use crate::environment;
use crate::error::{CliError, Result};
use clap::Args;
use fleetfoot_client::{Client, ClientConfig, DEFAULT_URL, Secret};
use std::path::{Path, PathBuf};

/// File with the first admin token, mode 0600, in the data directory.
pub(crate) const ADMIN_TOKEN_FILE: &str = "admin.token";
/// File with the address of the running server, in the data directory.
pub(crate) const ADDRESS_FILE: &str = "address";

/// How to reach a server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// Address of the server [default: http://127.0.0.1:7878]
    #[arg(long, value_name = "URL", env = environment::URL, hide_env_values = true)]
    pub(crate) server: Option<String>,
    /// API token [default: the one that `up` keeps in the data directory, for a server on this machine]
    #[arg(long, value_name = "TOKEN", env = environment::TOKEN, hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// PEM file with further certificate authorities
    #[arg(long, value_name = "FILE", env = environment::CA_FILE)]
    pub(crate) ca: Option<PathBuf>,
}

impl ServerArgs {
    /// The address of the server.
    pub(crate) fn url(&self) -> String {
        self.server.clone().filter(|u| !u.trim().is_empty()).unwrap_or_else(|| DEFAULT_URL.to_owned())
    }

    /// The token, and where it comes from.
    pub(crate) fn token(&self) -> Option<(Secret, String)> {
        if let Some(token) = self.token.as_ref().filter(|t| !t.trim().is_empty()) {
            return Some((Secret::new(token), format!("--token or {}", environment::TOKEN)));
        }
        let dir = environment::default_data_dir();
        // An address that is not the local server's own must never see the local admin token.
        if !is_local_server(&self.url(), &dir) {
            return None;
        }
        let path = dir.join(ADMIN_TOKEN_FILE);
        let token = std::fs::read_to_string(&path).ok().filter(|t| !t.trim().is_empty())?;
        Some((Secret::new(token), path.display().to_string()))
    }

    /// A client for this server.
    pub(crate) fn client(&self) -> Result<Client> {
        let token = self.token().map(|(token, _)| token);
        let config = ClientConfig { ca: self.ca.clone(), ..ClientConfig::new(self.url(), token) };
        Client::new(config).map_err(CliError::from)
    }
}

fn is_local_server(url: &str, data_dir: &Path) -> bool {
    let same = |other: &str| url.trim().trim_end_matches('/') == other.trim().trim_end_matches('/');
    same(DEFAULT_URL)
        || same(DEFAULT_URL.trim_start_matches("http://"))
        || std::fs::read_to_string(data_dir.join(ADDRESS_FILE)).is_ok_and(|recorded| same(&recorded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_token_is_only_for_the_local_server() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_local_server("http://127.0.0.1:7878/", dir.path()));
        assert!(is_local_server("127.0.0.1:7878", dir.path()));
        for other in
            ["http://127.0.0.1:7979", "http://ci.example.org:7878", "http://127.0.0.1:7878.example.org"]
        {
            assert!(!is_local_server(other, dir.path()), "{other}");
        }
        std::fs::write(dir.path().join(ADDRESS_FILE), "http://127.0.0.1:7979\n").unwrap();
        assert!(is_local_server("http://127.0.0.1:7979", dir.path()));
    }
}
