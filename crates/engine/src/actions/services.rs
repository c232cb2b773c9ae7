//! What actions are told about the services of the server: artifacts, caches,
//! identity tokens. Only the processes of actions get these variables; a `run`
//! step must never see them.

use crate::attempt::Attempt;
use std::collections::HashMap;

impl Attempt<'_> {
    /// Adds the variables of the services. `repository` is where the action comes from.
    pub(super) fn add_services(&self, variables: &mut HashMap<String, String>, repository: Option<&str>) {
        let Some(services) = &self.assignment.services else { return };
        let mut set = |name: &str, value: &str| {
            if !value.is_empty() {
                variables.insert(name.to_owned(), value.to_owned());
            }
        };
        set("ACTIONS_RUNTIME_URL", &services.runtime_url);
        set("ACTIONS_RUNTIME_TOKEN", &services.runtime_token);
        set("ACTIONS_RESULTS_URL", &services.results_url);
        set("ACTIONS_CACHE_URL", &services.cache_url);
        set("ACTIONS_CACHE_SERVICE_V2", "True");
        if let Some(url) = &services.id_token_url {
            set("ACTIONS_ID_TOKEN_REQUEST_URL", url);
            set("ACTIONS_ID_TOKEN_REQUEST_TOKEN", &services.runtime_token);
        }
        // The clients of artifacts and caches (@actions/artifact, @actions/cache) refuse to work, or fall
        // back to a protocol of old, unless GITHUB_SERVER_URL names github.com, a host below ghe.com or a
        // host below localhost. So where services are offered, the processes of actions (not `run` steps,
        // not the `github` context) see https://github.com in place of any other address. The exception is
        // actions/checkout, which fetches from that address and uses none of these clients.
        let fetches = repository.is_some_and(|r| r.eq_ignore_ascii_case("actions/checkout"));
        let accepted = variables.get("GITHUB_SERVER_URL").is_some_and(|url| is_accepted(url));
        if !fetches && !accepted {
            variables.insert("GITHUB_SERVER_URL".into(), "https://github.com".into());
        }
    }
}

/// Whether the clients take this for a server that has the services.
fn is_accepted(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
    host == "github.com" || host.ends_with(".ghe.com") || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::is_accepted;

    #[test]
    fn hosts_that_the_clients_accept() {
        for url in
            ["https://github.com", "https://GITHUB.com/", "http://a.localhost:80/x", "https://x.ghe.com"]
        {
            assert!(is_accepted(url), "{url}");
        }
        for url in
            ["http://127.0.0.1:7878", "https://github.com.example", "http://localhost", "github.com", ""]
        {
            assert!(!is_accepted(url), "{url}");
        }
    }
}
