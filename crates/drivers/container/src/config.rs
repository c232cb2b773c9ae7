//! How the driver works: what the operator of a runner decides. It must never
//! take a value of a job.

use std::path::PathBuf;
use std::time::Duration;

/// Where the engine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Endpoint {
    /// `DOCKER_HOST`, then the sockets of Docker and Podman at their usual places: the first that exists.
    #[default]
    Auto,
    /// This socket.
    Socket(PathBuf),
}

/// Which finished containers stay for inspection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// None.
    #[default]
    None,
    /// Those of attempts that failed.
    Failed,
    /// All.
    All,
}

/// How long and how many finished containers stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepPolicy {
    /// Which.
    pub keep: Keep,
    /// At most this many; the oldest go first.
    pub count: usize,
    /// At most this long.
    pub age: Duration,
}

impl Default for KeepPolicy {
    fn default() -> Self {
        Self { keep: Keep::None, count: 10, age: Duration::from_secs(24 * 3600) }
    }
}

/// When an image that is there already is asked for again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pull {
    /// For every job, unless it is named by its digest: a tag may have moved, and whoever may not pull a
    /// private image does not get it from the runner either.
    #[default]
    Always,
    /// Never: what is there is used, by whoever asks.
    Missing,
}

/// Network of the containers of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// A network of their own, with the way out that the engine gives.
    #[default]
    Private,
    /// A network of their own without a way out.
    Internal,
    /// Loopback only. Services cannot be reached then.
    None,
}

/// How a [`crate::ContainerEngine`] works.
#[derive(Clone, Debug)]
pub struct ContainerOptions {
    /// Tells what belongs to this runner from what belongs to others at the same engine, and is the
    /// same after a restart. Characters outside `[A-Za-z0-9_-]` are replaced.
    pub tag: String,
    /// Where the engine is.
    pub endpoint: Endpoint,
    /// Image of jobs that name none, for the container boundary.
    pub default_image: Option<String>,
    /// Mirrors of Docker Hub (`http://mirror:5000`, `mirror.example.org/hub`), asked before the
    /// registry itself.
    pub mirrors: Vec<String>,
    /// Directories of the host below which jobs may mount volumes. Named volumes are always allowed;
    /// they belong to the attempt and end with it.
    pub allowed_volumes: Vec<PathBuf>,
    /// Words of `options:` that are allowed beyond the list in [`crate::options`], like `--device`.
    pub allowed_options: Vec<String>,
    /// Whether the socket of the engine is mounted into containers. Whoever has it has the host.
    pub allow_socket: bool,
    /// User of job containers and of actions, `uid:gid`; absent means the image's.
    pub user: Option<String>,
    /// Which finished containers stay.
    pub keep: KeepPolicy,
    /// Processes and threads that a container may have if the job names no limit.
    pub default_pids: Option<u64>,
    /// Name of an OCI runtime of the engine; absent means the engine's default.
    pub runtime: Option<String>,
    /// Network of the containers of an attempt.
    pub network: Network,
    /// Networks that are kept ready, empty, for attempts to come, so that none waits for the making or
    /// the removal of its network; zero does both within the attempt.
    pub spare_networks: usize,
    /// Private directory of the runner for sockets and unpacked images, on a file system that may
    /// execute; absent means one below the system's directory for temporary files.
    pub directory: Option<PathBuf>,
    /// The configuration of the `docker` command line with credentials of registries (`auths`, and the
    /// programs of `credHelpers` and `credsStore`); absent means `$DOCKER_CONFIG/config.json`, `~/.docker/config.json` or Podman's `auth.json`.
    pub credentials_file: Option<PathBuf>,
    /// When an image that is there already is asked for again.
    pub pull: Pull,
    /// How long a pull or a build may take.
    pub pull_timeout: Duration,
    /// How long the engine may take for anything else.
    pub patience: Duration,
}

impl Default for ContainerOptions {
    fn default() -> Self {
        Self {
            tag: "local".into(),
            endpoint: Endpoint::Auto,
            default_image: None,
            mirrors: Vec::new(),
            allowed_volumes: Vec::new(),
            allowed_options: Vec::new(),
            allow_socket: false,
            user: None,
            keep: KeepPolicy::default(),
            default_pids: Some(8192),
            runtime: None,
            network: Network::Private,
            spare_networks: 1,
            directory: None,
            credentials_file: None,
            pull: Pull::Always,
            pull_timeout: Duration::from_secs(30 * 60),
            patience: Duration::from_secs(60),
        }
    }
}
