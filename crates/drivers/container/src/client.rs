//! The connection to the engine: finding its socket, knowing what it is and
//! can, and calling it with a deadline. It must never wait without one.

use crate::config::{ContainerOptions, Endpoint};
use crate::error;
use bollard::{API_DEFAULT_VERSION, Docker};
use fleetfoot_driver::{DriverError, DriverErrorKind};
use std::path::PathBuf;
use std::time::Duration;
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
                let info = self.call("ask the engine what it can", self.docker.info()).await?;
                let podman = version
                    .components
                    .iter()
                    .flatten()
                    .any(|c| c.name.to_ascii_lowercase().contains("podman"));
                let security = info.security_options.unwrap_or_default();
                let has = |word: &str| security.iter().any(|o| o.contains(word));
                let v2 = info.cgroup_version.is_some_and(|v| v.to_string() == "2");
                Ok(About {
                    name: if podman { "podman" } else { "docker" },
                    version: version.version.unwrap_or_default(),
                    rootless: has("rootless"),
                    user_namespace: has("rootless") || has("userns"),
                    seccomp: has("seccomp"),
                    cgroups: if v2 { "cgroup-v2" } else { "cgroup-v1" },
                })
            })
            .await
    }
}
