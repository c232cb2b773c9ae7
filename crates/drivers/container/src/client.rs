//! The connection to the engine: finding its socket, knowing what it is and
//! can, and calling it with a deadline. It must never wait without one.

use crate::config::{ContainerOptions, Endpoint};
use crate::error;
use bollard::{API_DEFAULT_VERSION, Docker};
use fleetfoot_driver::{DriverError, DriverErrorKind};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::OnceCell;

/// What an engine said about itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    /// `docker` or `podman`.
    pub(crate) name: &'static str,
    pub(crate) version: String,
    /// It runs as an ordinary user: root inside is the user outside.
    pub(crate) rootless: bool,
    pub(crate) user_namespace: bool,
    pub(crate) seccomp: bool,
    pub(crate) cgroups: &'static str,
    /// `cgroupfs` or `systemd`.
    pub(crate) cgroup_driver: String,
    /// The kind of file system that every container has as its root, where that is known.
    pub(crate) root: Option<u64>,
}

/// `OVERLAYFS_SUPER_MAGIC` of the kernel.
const OVERLAY: u64 = 0x794c_7630;

impl About {
    /// Whether limits hold for a container as a whole: an engine without root has no control groups of
    /// the first version.
    pub(crate) fn grouped(&self) -> bool {
        !(self.rootless && self.cgroups == "cgroup-v1")
    }
}

/// What is read of an engine's information; not all of it is in the types of the client.
#[derive(serde::Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Information {
    security_options: Vec<String>,
    cgroup_version: String,
    cgroup_driver: String,
    /// Of storage.
    driver: String,
    /// Podman says it here, Docker among the security options.
    rootless: bool,
}

pub(crate) struct Client {
    pub(crate) docker: Docker,
    /// For messages.
    pub(crate) endpoint: String,
    pub(crate) socket: PathBuf,
    pub(crate) patience: Duration,
    about: OnceCell<About>,
}

/// Sockets in the order in which they are tried.
fn candidates() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(|d| PathBuf::from(d).join("podman/podman.sock"));
    let mut all = vec![PathBuf::from("/var/run/docker.sock")];
    all.extend(runtime);
    all.push("/run/podman/podman.sock".into());
    all
}

fn find(endpoint: &Endpoint) -> Result<PathBuf, DriverError> {
    if let Endpoint::Socket(path) = endpoint {
        return Ok(path.clone());
    }
    if let Ok(host) = std::env::var("DOCKER_HOST")
        && !host.is_empty()
    {
        return host.strip_prefix("unix://").map(PathBuf::from).ok_or_else(|| {
            let message = format!(
                "DOCKER_HOST is '{host}', but containers share directories with the runner, so the engine must be \
                 on this machine; next: unset DOCKER_HOST, or set it to unix:///var/run/docker.sock"
            );
            DriverError::new(DriverErrorKind::Unsupported, message)
        });
    }
    let all = candidates();
    all.iter().find(|p| p.exists()).cloned().ok_or_else(|| {
        let names: Vec<String> = all.iter().map(|p| p.display().to_string()).collect();
        let message = format!(
            "no container engine: there is no socket at {}; next: install and start Docker or Podman, then \
             fleetfoot runner validate",
            names.join(", ")
        );
        DriverError::new(DriverErrorKind::Unavailable, message)
    })
}

impl Client {
    /// Finds the socket. Connects with the first call.
    pub(crate) fn new(options: &ContainerOptions) -> Result<Self, DriverError> {
        let socket = find(&options.endpoint)?;
        let endpoint = socket.display().to_string();
        // The largest of our own deadlines; calls have shorter ones.
        let seconds = options.pull_timeout.as_secs().max(options.patience.as_secs());
        let docker = Docker::connect_with_unix(&endpoint, seconds, API_DEFAULT_VERSION)
            .map_err(|e| error::unavailable(&endpoint, &error::words(&e)))?;
        Ok(Self { docker, endpoint, socket, patience: options.patience, about: OnceCell::new() })
    }

    /// Calls the engine; `doing` completes "cannot ...".
    pub(crate) async fn call<T>(
        &self,
        doing: &str,
        call: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, DriverError> {
        self.raw(doing, call).await?.map_err(|e| error::engine(&self.endpoint, doing, &e))
    }

    /// The same, with the engine's own error for whoever decides on it.
    pub(crate) async fn raw<T>(
        &self,
        doing: &str,
        call: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<Result<T, bollard::errors::Error>, DriverError> {
        tokio::time::timeout(self.patience, call)
            .await
            .map_err(|_| error::timed_out(&self.endpoint, doing, self.patience))
    }

    /// Asks for something whose states the client's types do not all know: Podman has words of its own.
    pub(crate) async fn get<T: serde::de::DeserializeOwned>(
        &self,
        doing: &str,
        path: &str,
    ) -> Result<Result<T, bollard::errors::Error>, DriverError> {
        let answer = tokio::time::timeout(self.patience, ask(&self.socket, path))
            .await
            .map_err(|_| error::timed_out(&self.endpoint, doing, self.patience))?
            .map_err(|e| error::unavailable(&self.endpoint, &format!("cannot {doing}: {e}")))?;
        let (status_code, body) = answer;
        let json: Result<serde_json::Value, _> = serde_json::from_slice(&body);
        if !(200..300).contains(&status_code) {
            let message = message_of(&body);
            return Ok(Err(bollard::errors::Error::DockerResponseServerError { status_code, message }));
        }
        Ok(json
            .and_then(|mut json| {
                translate(&mut json);
                serde_json::from_value(json)
            })
            .map_err(|err| bollard::errors::Error::JsonSerdeError { err }))
    }

    /// Sends an archive to the engine, with credentials of registries; the answer is a stream. For what the
    /// client's types have no words.
    pub(crate) async fn send(
        &self,
        doing: &str,
        path: &str,
        credentials: &str,
        archive: std::fs::File,
    ) -> Result<Result<BufReader<UnixStream>, bollard::errors::Error>, DriverError> {
        let failed = |e: std::io::Error| error::unavailable(&self.endpoint, &format!("cannot {doing}: {e}"));
        let length = archive.metadata().map_err(failed)?.len();
        let head = format!(
            "POST /v1.41{path} HTTP/1.0\r\nHost: engine\r\nContent-Type: application/x-tar\r\n\
             Content-Length: {length}\r\nX-Registry-Config: {credentials}\r\n\r\n"
        );
        let mut stream = UnixStream::connect(&self.socket).await.map_err(failed)?;
        stream.write_all(head.as_bytes()).await.map_err(failed)?;
        let mut archive = tokio::fs::File::from_std(archive);
        // One that refuses does not read to the end.
        let _ = tokio::io::copy(&mut archive, &mut stream).await;
        let mut answer = BufReader::new(stream);
        let mut line = String::new();
        answer.read_line(&mut line).await.map_err(failed)?;
        let status_code = status_of(&line).map_err(failed)?;
        while line.trim_end() != "" {
            line.clear();
            answer.read_line(&mut line).await.map_err(failed)?;
        }
        if (200..300).contains(&status_code) {
            return Ok(Ok(answer));
        }
        let mut body = Vec::new();
        // One that did not read to the end of ours resets the connection after its own.
        let _ = answer.read_to_end(&mut body).await;
        Ok(Err(bollard::errors::Error::DockerResponseServerError { status_code, message: message_of(&body) }))
    }

    /// Looks at a container.
    pub(crate) async fn inspect(
        &self,
        doing: &str,
        id: &str,
    ) -> Result<Result<bollard::models::ContainerInspectResponse, bollard::errors::Error>, DriverError> {
        self.get(doing, &format!("/containers/{id}/json")).await
    }

    /// Something may be gone already: that is fine.
    pub(crate) async fn removing(
        &self,
        doing: &str,
        call: impl Future<Output = Result<(), bollard::errors::Error>>,
    ) -> Result<(), DriverError> {
        match self.raw(doing, call).await? {
            Err(e) if !error::is_gone(&e) => Err(error::engine(&self.endpoint, doing, &e)),
            _ => Ok(()),
        }
    }

    /// What is known without asking.
    pub(crate) fn known(&self) -> About {
        self.about.get().cloned().unwrap_or_default()
    }

    /// Asks once.
    pub(crate) async fn about(&self) -> Result<&About, DriverError> {
        self.about
            .get_or_try_init(|| async {
                let version = self.call("ask the engine for its version", self.docker.version()).await?;
                let doing = "ask the engine what it can";
                let info = self.get::<Information>(doing, "/info").await?;
                let info = info.map_err(|e| error::engine(&self.endpoint, doing, &e))?;
                let podman = version
                    .components
                    .iter()
                    .flatten()
                    .any(|c| c.name.to_ascii_lowercase().contains("podman"));
                let has = |word: &str| info.security_options.iter().any(|o| o.contains(word));
                let rootless = info.rootless || has("rootless");
                let v2 = info.cgroup_version == "2";
                // Podman's may be a file system of a program.
                let overlay = !podman && matches!(info.driver.as_str(), "overlay2" | "overlayfs");
                Ok(About {
                    root: overlay.then_some(OVERLAY),
                    cgroup_driver: info.cgroup_driver,
                    name: if podman { "podman" } else { "docker" },
                    version: version.version.unwrap_or_default(),
                    rootless,
                    user_namespace: rootless || has("userns"),
                    seccomp: has("seccomp"),
                    cgroups: if v2 { "cgroup-v2" } else { "cgroup-v1" },
                })
            })
            .await
    }
}

/// States of containers that Podman has beyond those of Docker.
fn translate(json: &mut serde_json::Value) {
    const KNOWN: [&str; 8] =
        ["created", "running", "paused", "restarting", "removing", "exited", "dead", "stopping"];
    match json {
        serde_json::Value::Array(all) => all.iter_mut().for_each(translate),
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                let is_state =
                    key == "State" || (key == "Status" && value.as_str().is_some_and(|v| !v.contains(' ')));
                match value.as_str() {
                    Some("initialized" | "configured") if is_state => *value = "created".into(),
                    Some("stopped") if is_state => *value = "exited".into(),
                    Some(word) if key == "State" && !KNOWN.contains(&word) => *value = "dead".into(),
                    _ => {}
                }
                if key == "State" {
                    translate(value);
                }
            }
        }
        _ => {}
    }
}

/// One question in the oldest form of the protocol: the answer ends with the connection.
async fn ask(socket: &std::path::Path, path: &str) -> std::io::Result<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket).await?;
    let request = format!("GET /v1.41{path} HTTP/1.0\r\nHost: engine\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let broken = || std::io::Error::new(std::io::ErrorKind::InvalidData, "not an answer of an engine");
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(broken)?;
    let head = String::from_utf8_lossy(&answer[..end]);
    Ok((status_of(&head)?, answer.split_off(end + 4)))
}

/// The number in the first line of an answer.
fn status_of(head: &str) -> std::io::Result<u16> {
    let broken = || std::io::Error::new(std::io::ErrorKind::InvalidData, "not an answer of an engine");
    head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(broken)
}

/// What an engine says about an error.
fn message_of(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    json.and_then(|j| Some(j.get("message")?.as_str()?.to_owned())).unwrap_or_default()
}

/// For the query of a question.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_podman_become_states_of_docker() {
        let mut json =
            serde_json::json!([{ "State": "stopped", "Status": "Up 2 seconds" }, { "State": "odd" }]);
        translate(&mut json);
        assert_eq!(
            json,
            serde_json::json!([{ "State": "exited", "Status": "Up 2 seconds" }, { "State": "dead" }])
        );
        let mut json =
            serde_json::json!({ "State": { "Status": "stopped", "Health": { "Status": "healthy" } } });
        translate(&mut json);
        assert_eq!(json["State"]["Status"], "exited");
        assert_eq!(quoted("{\"a b\"}"), "%7B%22a%20b%22%7D");
    }
}
