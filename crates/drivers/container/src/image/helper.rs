//! Programs that keep credentials (`docker-credential-NAME`), asked as the
//! `docker` command line asks them: a word as argument, a registry on standard
//! input, JSON on standard output. It must never wait without an end, and never
//! let what a program answered with success into a message.

use super::credentials::HUB;
use bollard::auth::DockerCredentials;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Where programs are looked for, and how long one may take.
pub(super) struct Helpers {
    path: Option<OsString>,
    patience: Duration,
}

impl Default for Helpers {
    /// In the runner's own `PATH`; some ask a service far away.
    fn default() -> Self {
        Self { path: std::env::var_os("PATH"), patience: Duration::from_secs(30) }
    }
}

/// Credentials are small.
const LARGEST: u64 = 1 << 20;
/// The user name that stands for a token of identity.
const TOKEN: &str = "<token>";
/// How all of these programs say that they have nothing.
const NOT_FOUND: &str = "credentials not found";

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl Helpers {
    /// What a program says about a registry; the key is that of the configuration. Nothing is no error.
    pub(super) async fn get(&self, name: &str, key: &str) -> Result<Option<DockerCredentials>, String> {
        let Some(text) = self.ask(name, "get", key).await? else { return Ok(None) };
        let answer: Answer = serde_json::from_slice(&text).map_err(|_| {
            format!("docker-credential-{name} did not answer with Username and Secret as JSON")
        })?;
        let known = DockerCredentials { serveraddress: Some(key.to_owned()), ..DockerCredentials::default() };
        Ok(Some(if answer.username == TOKEN {
            DockerCredentials { identitytoken: Some(answer.secret), ..known }
        } else {
            DockerCredentials { username: Some(answer.username), password: Some(answer.secret), ..known }
        }))
    }

    /// The registries that a program knows.
    pub(super) async fn list(&self, name: &str) -> Result<Vec<String>, String> {
        let Some(text) = self.ask(name, "list", "").await? else { return Ok(Vec::new()) };
        let found: HashMap<String, String> = serde_json::from_slice(&text).map_err(|_| {
            format!("docker-credential-{name} did not answer with a list of registries as JSON")
        })?;
        Ok(found.into_keys().collect())
    }

    /// `None` if the program says that it has nothing.
    async fn ask(&self, name: &str, word: &str, input: &str) -> Result<Option<Vec<u8>>, String> {
        let program = format!("docker-credential-{name}");
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) && !name.is_empty();
        let place = if plain { self.find(&program) } else { None };
        let Some(place) = place else {
            return Err(format!(
                "the program {program} is not in PATH; next: install it, or docker login without it"
            ));
        };
        let failed = |e: std::io::Error| format!("{program} cannot be asked: {e}");
        let mut child = tokio::process::Command::new(place)
            .arg(word)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let work = async {
            if let Some(mut stdin) = stdin {
                // One that does not want to know closes it.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            let mut text = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(LARGEST).read_to_end(&mut text).await?;
            }
            Ok((child.wait().await?, text))
        };
        let (status, text) = tokio::time::timeout(self.patience, work)
            .await
            .map_err(|_| {
                format!("{program} did not answer within {} s, and was ended", self.patience.as_secs())
            })?
            .map_err(failed)?;
        if status.success() {
            return Ok(Some(text));
        }
        // What such a program prints when it fails is its message.
        let said: String = String::from_utf8_lossy(&text).chars().take(200).collect();
        let said = said.lines().next().unwrap_or_default().trim().to_owned();
        if said.starts_with(NOT_FOUND) {
            return Ok(None);
        }
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        Err(format!("{program} {word} failed ({status}){said}"))
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        std::env::split_paths(self.path.as_ref()?)
            .filter(|d| d.is_absolute())
            .map(|d| d.join(program))
            .find(|p| p.is_file())
    }
}

/// How a registry is called where credentials are kept.
pub(super) fn key(registry: &str) -> &str {
    if registry == "docker.io" { HUB } else { registry }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn answers_of_programs() {
        let dir = tempfile::tempdir().unwrap();
        let helpers = Helpers { path: Some(dir.path().into()), patience: Duration::from_secs(20) };
        let get = async |name: &str, key: &str| helpers.get(name, key).await;
        let put = |name: &str, script: &str| {
            // Renamed into its place: nobody executes a file that is open for writing.
            let (file, part) =
                (dir.path().join(format!("docker-credential-{name}")), dir.path().join("part"));
            std::fs::write(&part, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::rename(part, file).unwrap();
        };
        put(
            "good",
            "read r; echo \"{\\\"ServerURL\\\":\\\"$r\\\",\\\"Username\\\":\\\"$1-$r\\\",\\\"Secret\\\":\\\"s\\\"}\"",
        );
        let found = get("good", "r.example:5").await.unwrap().unwrap();
        assert_eq!(
            (found.username.as_deref(), found.password.as_deref()),
            (Some("get-r.example:5"), Some("s"))
        );
        put("token", "echo '{\"ServerURL\":\"x\",\"Username\":\"<token>\",\"Secret\":\"t\"}'");
        let found = get("token", "x").await.unwrap().unwrap();
        assert_eq!((found.username, found.identitytoken.as_deref()), (None, Some("t")));
        put("empty", "echo 'credentials not found in native keychain'; exit 1");
        assert!(get("empty", "x").await.unwrap().is_none());
        put("locked", "echo 'the keychain is locked'; exit 1");
        let error = get("locked", "x").await.unwrap_err();
        assert!(
            error.contains("docker-credential-locked") && error.ends_with("the keychain is locked"),
            "{error}"
        );
        put("odd", "echo '{\"Secret\":\"hidden\"}'");
        let error = get("odd", "x").await.unwrap_err();
        assert!(error.contains("JSON") && !error.contains("hidden"), "{error}");
        for missing in ["none", "", "../good", "a b"] {
            let error = get(missing, "x").await.unwrap_err();
            assert!(error.contains("not in PATH") && error.contains("next: "), "{error}");
        }
        put("many", "test $1 = list && echo '{\"https://index.docker.io/v1/\":\"me\"}'");
        assert_eq!(helpers.list("many").await.unwrap(), [HUB]);
    }

    #[tokio::test]
    async fn one_that_does_not_answer_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("docker-credential-slow");
        std::os::unix::fs::symlink("/usr/bin/yes", &file).unwrap();
        let helpers = Helpers { path: Some(dir.path().into()), patience: Duration::ZERO };
        let error = helpers.get("slow", "x").await.unwrap_err();
        assert!(error.contains("docker-credential-slow did not answer within 0 s"), "{error}");
    }
}
