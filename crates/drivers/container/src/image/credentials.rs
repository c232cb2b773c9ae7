//! Who we are at registries: what the workflow says, or what the runner's own
//! configuration of Docker or Podman has, in the file or with the program that
//! it names. It must never put a password into a message, and never send one to
//! another registry than its own.

use super::helper::{self, Helpers};
use crate::config::ContainerOptions;
use base64::Engine;
use bollard::auth::DockerCredentials;
use fleetfoot_driver::containers::Credentials;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

/// The name under which Docker keeps credentials of Docker Hub.
pub(super) const HUB: &str = "https://index.docker.io/v1/";

#[derive(serde::Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    auths: HashMap<String, Auth>,
    /// A program for every registry.
    creds_store: String,
    /// Programs for some registries.
    cred_helpers: HashMap<String, String>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: String,
    identitytoken: Option<String>,
}

/// What is known for one registry.
#[derive(Default)]
pub(super) struct Known {
    pub(super) credentials: Option<DockerCredentials>,
    /// Why there may be credentials that we did not get.
    pub(super) trouble: Option<String>,
}

/// The configurations that there are, the one that counts most first.
fn configs(options: &ContainerOptions) -> Vec<Config> {
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).ok()?;
        let config = serde_json::from_str(&text);
        if config.is_err() {
            tracing::warn!(file = %file.display(), "not a configuration of Docker, so no credentials from there");
        }
        config.ok()
    };
    files(options).into_iter().filter_map(read).collect()
}

fn files(options: &ContainerOptions) -> Vec<PathBuf> {
    if let Some(file) = &options.credentials_file {
        return vec![file.clone()];
    }
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let mut all = Vec::new();
    all.extend(var("DOCKER_CONFIG").map(|d| d.join("config.json")));
    all.extend(var("HOME").map(|h| h.join(".docker/config.json")));
    all.extend(var("XDG_RUNTIME_DIR").map(|d| d.join("containers/auth.json")));
    all
}

/// For one registry: the given ones, or those of the runner.
pub(super) async fn of(options: &ContainerOptions, registry: &str, given: Option<&Credentials>) -> Known {
    if let Some(given) = given {
        let credentials = DockerCredentials {
            username: Some(given.username.clone()),
            password: Some(given.password.clone()),
            serveraddress: Some(registry.to_owned()),
            ..DockerCredentials::default()
        };
        return Known { credentials: Some(credentials), trouble: None };
    }
    let (helpers, mut trouble) = (Helpers::default(), None);
    for config in configs(options) {
        let found = match program(&config, registry) {
            Some(name) => helpers.get(name, helper::key(registry)).await.unwrap_or_else(|why| {
                trouble.get_or_insert(why);
                None
            }),
            None => None,
        };
        // As the command line of Docker does it: what a program does not know may be in the file.
        if let Some(found) = found.or_else(|| find(&config, registry)) {
            return Known { credentials: Some(found), trouble: None };
        }
    }
    Known { credentials: None, trouble }
}

/// All that the runner has, for builds, which may pull from anywhere; and what went wrong.
pub(super) async fn all(options: &ContainerOptions) -> (HashMap<String, DockerCredentials>, Vec<String>) {
    let (helpers, mut found, mut troubles) = (Helpers::default(), HashMap::new(), Vec::new());
    for config in configs(options).iter().rev() {
        let mut registries: BTreeSet<String> = config.auths.keys().cloned().collect();
        registries.extend(config.cred_helpers.keys().cloned());
        if !config.creds_store.is_empty() {
            match helpers.list(&config.creds_store).await {
                Ok(listed) => registries.extend(listed),
                Err(why) => troubles.push(why),
            }
        }
        for name in registries {
            let registry = host(&name);
            let asked = match program(config, registry) {
                Some(program) => helpers.get(program, helper::key(registry)).await,
                None => Ok(None),
            };
            let known = asked.unwrap_or_else(|why| {
                troubles.push(why);
                None
            });
            found.extend(known.or_else(|| find(config, registry)).map(|c| (name.clone(), c)));
        }
    }
    troubles.dedup();
    (found, troubles)
}

/// The program that has the credentials of a registry: its own, or the one for all.
fn program<'a>(config: &'a Config, registry: &str) -> Option<&'a str> {
    let own = config.cred_helpers.iter().find(|(name, _)| host(name) == registry).map(|(_, p)| p.as_str());
    own.or(Some(config.creds_store.as_str())).filter(|p| !p.is_empty())
}

/// `https://index.docker.io/v1/` and `docker.io` are the same.
fn host(name: &str) -> &str {
    let host = name.trim_start_matches("https://").trim_start_matches("http://");
    match host.split('/').next().unwrap_or(host) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

fn find(config: &Config, registry: &str) -> Option<DockerCredentials> {
    let (_, auth) = config.auths.iter().find(|(name, _)| host(name) == registry)?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(auth.auth.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (username, password) = decoded.split_once(':')?;
    Some(DockerCredentials {
        username: Some(username.to_owned()),
        password: Some(password.trim_end_matches('\0').to_owned()),
        serveraddress: Some(helper::key(registry).to_owned()),
        identitytoken: auth.identitytoken.clone(),
        ..DockerCredentials::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_registry_gets_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        let encoded = base64::engine::general_purpose::STANDARD.encode("me:pass:word");
        let text = format!(
            "{{\"auths\":{{\"127.0.0.1:5\":{{\"auth\":\"{encoded}\"}},\"https://index.docker.io/v1/\":{{\"auth\":\"{encoded}\"}}}}}}"
        );
        std::fs::write(&file, text).unwrap();
        let options = ContainerOptions { credentials_file: Some(file), ..ContainerOptions::default() };
        let found = of(&options, "127.0.0.1:5", None).await.credentials.unwrap();
        assert_eq!((found.username.as_deref(), found.password.as_deref()), (Some("me"), Some("pass:word")));
        let hub = of(&options, "docker.io", None).await.credentials.unwrap();
        assert_eq!(hub.serveraddress.as_deref(), Some(HUB));
        for other in ["127.0.0.1:55", "127.0.0.1"] {
            assert!(of(&options, other, None).await.credentials.is_none());
        }
        let given = Credentials { username: "you".into(), password: "p".into() };
        let own = of(&options, "127.0.0.1:5", Some(&given)).await.credentials.unwrap();
        assert_eq!(own.username.as_deref(), Some("you"));
        assert_eq!(all(&options).await.0.len(), 2);
    }

    #[test]
    fn the_program_of_a_registry_goes_before_the_one_for_all() {
        let config: Config = serde_json::from_str(
            "{\"credsStore\":\"all\",\"credHelpers\":{\"a.example\":\"own\",\"https://index.docker.io/v1/\":\"hub\"}}",
        )
        .unwrap();
        let of = |registry: &str| program(&config, registry);
        assert_eq!(
            (of("a.example"), of("b.example"), of("docker.io")),
            (Some("own"), Some("all"), Some("hub"))
        );
        assert_eq!(program(&Config::default(), "a.example"), None);
    }
}
