//! Who we are at registries: what the workflow says, or what the runner's own
//! configuration of Docker or Podman has. It must never put a password into a
//! message, and never send one to another registry than its own.

use crate::config::ContainerOptions;
use base64::Engine;
use bollard::auth::DockerCredentials;
use fleetfoot_driver::containers::Credentials;
use std::collections::HashMap;
use std::path::PathBuf;

/// The name under which Docker keeps credentials of Docker Hub.
const HUB: &str = "https://index.docker.io/v1/";

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Config {
    auths: HashMap<String, Auth>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: String,
    identitytoken: Option<String>,
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
pub(super) fn of(
    options: &ContainerOptions,
    registry: &str,
    given: Option<&Credentials>,
) -> Option<DockerCredentials> {
    if let Some(given) = given {
        return Some(DockerCredentials {
            username: Some(given.username.clone()),
            password: Some(given.password.clone()),
            serveraddress: Some(registry.to_owned()),
            ..DockerCredentials::default()
        });
    }
    files(options).iter().find_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        match serde_json::from_str(&text) {
            Ok(config) => find(&config, registry),
            Err(_) => {
                tracing::warn!(file = %file.display(), "not a configuration of Docker, so no credentials from there");
                None
            }
        }
    })
}

/// All that the runner has, for builds, which may pull from anywhere.
pub(super) fn all(options: &ContainerOptions) -> HashMap<String, DockerCredentials> {
    let mut found = HashMap::new();
    for file in files(options).iter().rev() {
        let Ok(text) = std::fs::read_to_string(file) else { continue };
        let config: Config = serde_json::from_str(&text).unwrap_or_default();
        for name in config.auths.keys() {
            found.extend(find(&config, host(name)).map(|c| (name.clone(), c)));
        }
    }
    found
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
        serveraddress: Some(if registry == "docker.io" { HUB } else { registry }.to_owned()),
        identitytoken: auth.identitytoken.clone(),
        ..DockerCredentials::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_registry_gets_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        let encoded = base64::engine::general_purpose::STANDARD.encode("me:pass:word");
        let text = format!(
            "{{\"auths\":{{\"127.0.0.1:5\":{{\"auth\":\"{encoded}\"}},\"https://index.docker.io/v1/\":{{\"auth\":\"{encoded}\"}}}}}}"
        );
        std::fs::write(&file, text).unwrap();
        let options = ContainerOptions { credentials_file: Some(file), ..ContainerOptions::default() };
        let found = of(&options, "127.0.0.1:5", None).unwrap();
        assert_eq!((found.username.as_deref(), found.password.as_deref()), (Some("me"), Some("pass:word")));
        assert_eq!(of(&options, "docker.io", None).unwrap().serveraddress.as_deref(), Some(HUB));
        assert!(of(&options, "127.0.0.1:55", None).is_none() && of(&options, "127.0.0.1", None).is_none());
        let given = Credentials { username: "you".into(), password: "p".into() };
        assert_eq!(of(&options, "127.0.0.1:5", Some(&given)).unwrap().username.as_deref(), Some("you"));
        assert_eq!(all(&options).len(), 2);
    }
}
