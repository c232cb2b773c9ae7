//! Settings of boundaries: which a runner offers, which it prefers, and how
//! each is made. Only words and numbers; whether this machine can fulfil them
//! is found out by [`crate::boundaries`].

use super::{ConfigError, PartialConfig, absolute};
use fleetfoot_model::boundary::Boundary;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Image of jobs that must run in a container and name none.
pub const DEFAULT_IMAGE: &str = "docker.io/library/buildpack-deps:noble";
/// Kept containers, at most, unless the configuration says otherwise.
pub const DEFAULT_KEEP_COUNT: usize = 10;
/// How long kept containers stay, unless the configuration says otherwise.
pub const DEFAULT_KEEP_AGE: Duration = Duration::from_secs(24 * 3600);

/// Everything about boundaries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundaryConfig {
    /// For jobs that ask for none.
    pub default: Boundary,
    /// The strongest that is offered; absent means whatever this machine can make.
    pub max: Option<Boundary>,
    /// Network of sandboxes.
    pub sandbox_network: NetworkChoice,
    /// Size of the workspace of a sandbox, bytes.
    pub sandbox_workspace: Option<u64>,
    /// Root of sandboxes; absent means the host's programs.
    pub sandbox_root: Option<PathBuf>,
    /// Which container engine.
    pub container_engine: EngineChoice,
    /// Image of jobs that must run in a container and name none.
    pub container_image: String,
    /// Mirror of Docker Hub that is asked before it.
    pub container_mirror: Option<String>,
    /// Directories of the host below which jobs may mount volumes.
    pub container_volumes: Vec<String>,
    /// Options that jobs may give beside those that are always allowed.
    pub container_options: Vec<String>,
    /// Jobs see the socket of the engine: they then own the machine.
    pub container_socket: bool,
    /// Which finished containers stay for inspection.
    pub container_keep: KeepChoice,
    /// How many of them.
    pub container_keep_count: usize,
    /// For how long.
    pub container_keep_age: Duration,
    /// The program `runsc`; absent means the one on the `PATH`.
    pub gvisor_runsc: Option<PathBuf>,
    /// How gVisor gets hold of system calls.
    pub gvisor_platform: PlatformChoice,
    /// Network of gVisor's cells.
    pub gvisor_network: NetworkChoice,
}

impl Default for BoundaryConfig {
    fn default() -> Self {
        Self {
            default: Boundary::Process,
            max: None,
            sandbox_network: NetworkChoice::Host,
            sandbox_workspace: None,
            sandbox_root: None,
            container_engine: EngineChoice::Auto,
            container_image: DEFAULT_IMAGE.to_owned(),
            container_mirror: None,
            container_volumes: Vec::new(),
            container_options: Vec::new(),
            container_socket: false,
            container_keep: KeepChoice::None,
            container_keep_count: DEFAULT_KEEP_COUNT,
            container_keep_age: DEFAULT_KEEP_AGE,
            gvisor_runsc: None,
            gvisor_platform: PlatformChoice::Auto,
            gvisor_network: NetworkChoice::Private,
        }
    }
}

impl BoundaryConfig {
    /// The part of all layers that is about boundaries.
    pub(super) fn resolve(layers: &PartialConfig) -> Result<Self, ConfigError> {
        let usual = Self::default();
        let default = layers.boundary.unwrap_or(usual.default);
        if let Some(max) = layers.max_boundary
            && max < default
        {
            let message =
                format!("'{max}' is weaker than the boundary of jobs that ask for none ('{default}')");
            return Err(ConfigError::Value { field: "max_boundary", message });
        }
        if let Some(size) = layers.sandbox_workspace
            && size.0 < 16 << 20
        {
            let message = format!("{} bytes are too few for a workspace: at least 16M are needed", size.0);
            return Err(ConfigError::Value { field: "sandbox_workspace", message });
        }
        if let Some(wrong) = layers.container_volumes.iter().flatten().find(|v| !v.starts_with('/')) {
            let message = format!("'{wrong}' is not the absolute path of a directory");
            return Err(ConfigError::Value { field: "container_volumes", message });
        }
        let path = |field, path: &Option<PathBuf>| path.clone().map(|p| absolute(field, p)).transpose();
        Ok(Self {
            default,
            max: layers.max_boundary,
            sandbox_network: layers.sandbox_network.unwrap_or(usual.sandbox_network),
            sandbox_workspace: layers.sandbox_workspace.map(|s| s.0),
            sandbox_root: path("sandbox_root", &layers.sandbox_root)?,
            container_engine: layers.container_engine.clone().unwrap_or(usual.container_engine),
            container_image: plain("container_image", layers.container_image.as_ref())?
                .unwrap_or(usual.container_image),
            container_mirror: plain("container_mirror", layers.container_mirror.as_ref())?,
            container_volumes: layers.container_volumes.clone().unwrap_or_default(),
            container_options: layers.container_options.clone().unwrap_or_default(),
            container_socket: layers.container_socket.unwrap_or(usual.container_socket),
            container_keep: layers.container_keep.unwrap_or(usual.container_keep),
            container_keep_count: layers.container_keep_count.unwrap_or(usual.container_keep_count),
            container_keep_age: layers.container_keep_age.map_or(usual.container_keep_age, |p| p.0),
            gvisor_runsc: path("gvisor_runsc", &layers.gvisor_runsc)?,
            gvisor_platform: layers.gvisor_platform.unwrap_or(usual.gvisor_platform),
            gvisor_network: layers.gvisor_network.unwrap_or(usual.gvisor_network),
        })
    }
}

/// A name without blanks that cannot be taken for an option.
fn plain(field: &'static str, text: Option<&String>) -> Result<Option<String>, ConfigError> {
    let Some(text) = text.map(|t| t.trim()).filter(|t| !t.is_empty()) else { return Ok(None) };
    if text.starts_with('-') || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let message = format!("'{}' is not a name of an image or registry", text.escape_debug());
        return Err(ConfigError::Value { field, message });
    }
    Ok(Some(text.to_owned()))
}

/// An enumeration of words, read alike from files, variables and flags.
macro_rules! words {
    ($(#[$about:meta])* $name:ident, $what:literal: $($(#[$doc:meta])* $variant:ident = $word:literal),+) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl $name {
            /// The word in files and flags.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text.trim().to_ascii_lowercase().as_str() {
                    $($word => Ok(Self::$variant),)+
                    other => Err(format!(concat!("'{}' is not ", $what, " (", "{}", ")"), other, [$($word),+].join(", "))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

words! {
    /// What a job can reach.
    NetworkChoice, "a network":
    /// Its own loopback only.
    None = "none",
    /// Everything that the host reaches.
    Host = "host",
    /// Everything but the host itself, private networks and metadata addresses.
    Private = "private"
}

words! {
    /// Which finished containers stay for inspection.
    KeepChoice, "a choice of containers to keep":
    /// None.
    None = "none",
    /// Those of attempts that failed.
    Failed = "failed",
    /// All.
    All = "all"
}

words! {
    /// How gVisor gets hold of system calls.
    PlatformChoice, "a platform of gVisor":
    /// The first that works, tried in this order: systrap, ptrace, kvm.
    Auto = "auto",
    /// By seccomp traps.
    Systrap = "systrap",
    /// By ptrace: works everywhere, slow.
    Ptrace = "ptrace",
    /// By hardware virtualisation.
    Kvm = "kvm"
}

/// Which container engine a runner uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// The first that answers: Docker, then Podman.
    Auto,
    /// Docker at its usual socket.
    Docker,
    /// Podman at its usual socket.
    Podman,
    /// None: containers are not offered.
    Off,
    /// Whatever answers at this socket.
    Socket(PathBuf),
}

impl FromStr for EngineChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let path = text.strip_prefix("unix://").unwrap_or(text);
        match text.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "docker" => Ok(Self::Docker),
            "podman" => Ok(Self::Podman),
            "off" | "none" => Ok(Self::Off),
            _ if path.starts_with('/') => Ok(Self::Socket(PathBuf::from(path))),
            _ => Err(format!(
                "'{text}' is not a container engine (auto, docker, podman, off, or the path of a socket)"
            )),
        }
    }
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Docker => f.write_str("docker"),
            Self::Podman => f.write_str("podman"),
            Self::Off => f.write_str("off"),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for EngineChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A length of time as people write it: `90s`, `30m`, `24h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(pub Duration);

impl FromStr for Period {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let bad = || format!("'{text}' is not a length of time (examples: 90s, 30m, 24h, 7d)");
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let seconds: u64 = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 24 * 3600,
            _ => return Err(bad()),
        };
        let number: u64 = number.parse().map_err(|_| bad())?;
        number.checked_mul(seconds).map(Duration::from_secs).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0.as_secs())
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_env(set: &[(&str, &str)]) -> Result<BoundaryConfig, String> {
        let read = |name: &str| {
            let short = name.strip_prefix("FLEETFOOT_RUNNER_")?;
            set.iter().find(|(n, _)| *n == short).map(|(_, value)| (*value).to_owned())
        };
        let layers = PartialConfig::from_env(read).map_err(|e| e.to_string())?;
        Ok(layers.resolve().map_err(|e| e.to_string())?.boundaries)
    }

    #[test]
    fn everything_by_variable() {
        let got = from_env(&[
            ("BOUNDARY", "sandbox"),
            ("MAX_BOUNDARY", "Container"),
            ("SANDBOX_NETWORK", "private"),
            ("SANDBOX_WORKSPACE", "2G"),
            ("SANDBOX_ROOT", "/srv/root"),
            ("CONTAINER_ENGINE", "unix:///run/user/1000/podman/podman.sock"),
            ("CONTAINER_IMAGE", "debian:12"),
            ("CONTAINER_MIRROR", "mirror.example.com:5000"),
            ("CONTAINER_VOLUMES", "/srv/data, /srv/cache"),
            ("CONTAINER_OPTIONS", "--gpus"),
            ("CONTAINER_SOCKET", "yes"),
            ("CONTAINER_KEEP", "failed"),
            ("CONTAINER_KEEP_COUNT", "3"),
            ("CONTAINER_KEEP_AGE", "12h"),
            ("GVISOR_RUNSC", "/opt/runsc"),
            ("GVISOR_PLATFORM", "systrap"),
            ("GVISOR_NETWORK", "none"),
        ]);
        let expected = BoundaryConfig {
            default: Boundary::Sandbox,
            max: Some(Boundary::Container),
            sandbox_network: NetworkChoice::Private,
            sandbox_workspace: Some(2 << 30),
            sandbox_root: Some("/srv/root".into()),
            container_engine: EngineChoice::Socket("/run/user/1000/podman/podman.sock".into()),
            container_image: "debian:12".into(),
            container_mirror: Some("mirror.example.com:5000".into()),
            container_volumes: vec!["/srv/data".into(), "/srv/cache".into()],
            container_options: vec!["--gpus".into()],
            container_socket: true,
            container_keep: KeepChoice::Failed,
            container_keep_count: 3,
            container_keep_age: Duration::from_secs(12 * 3600),
            gvisor_runsc: Some("/opt/runsc".into()),
            gvisor_platform: PlatformChoice::Systrap,
            gvisor_network: NetworkChoice::None,
        };
        assert_eq!(got.unwrap(), expected);
        assert_eq!(from_env(&[]).unwrap(), BoundaryConfig::default());
    }

    #[test]
    fn bad_values_say_what_they_are() {
        let wrong = |name, value| from_env(&[(name, value)]).unwrap_err();
        insta::assert_snapshot!(
            [
                wrong("BOUNDARY", "jail"),
                wrong("SANDBOX_NETWORK", "bridge"),
                wrong("SANDBOX_WORKSPACE", "1M"),
                wrong("CONTAINER_ENGINE", "lxc"),
                wrong("CONTAINER_KEEP", "some"),
                wrong("CONTAINER_KEEP_AGE", "1 fortnight"),
                wrong("CONTAINER_KEEP_COUNT", "-1"),
                wrong("CONTAINER_IMAGE", "--privileged"),
                wrong("CONTAINER_VOLUMES", "/srv/a,data"),
                wrong("GVISOR_PLATFORM", "xen"),
                from_env(&[("BOUNDARY", "gvisor"), ("MAX_BOUNDARY", "sandbox")]).unwrap_err(),
            ]
            .join("\n"),
            @r"
        FLEETFOOT_RUNNER_BOUNDARY: 'jail' is not a boundary (process, sandbox, container, gvisor, microvm)
        FLEETFOOT_RUNNER_SANDBOX_NETWORK: 'bridge' is not a network (none, host, private)
        sandbox_workspace: 1048576 bytes are too few for a workspace: at least 16M are needed
        FLEETFOOT_RUNNER_CONTAINER_ENGINE: 'lxc' is not a container engine (auto, docker, podman, off, or the path of a socket)
        FLEETFOOT_RUNNER_CONTAINER_KEEP: 'some' is not a choice of containers to keep (none, failed, all)
        FLEETFOOT_RUNNER_CONTAINER_KEEP_AGE: '1 fortnight' is not a length of time (examples: 90s, 30m, 24h, 7d)
        FLEETFOOT_RUNNER_CONTAINER_KEEP_COUNT: '-1' is not a number of containers
        container_image: '--privileged' is not a name of an image or registry
        container_volumes: 'data' is not the absolute path of a directory
        FLEETFOOT_RUNNER_GVISOR_PLATFORM: 'xen' is not a platform of gVisor (auto, systrap, ptrace, kvm)
        max_boundary: 'sandbox' is weaker than the boundary of jobs that ask for none ('gvisor')
        "
        );
    }

    #[test]
    fn periods() {
        assert_eq!("7d".parse(), Ok(Period(Duration::from_secs(7 * 86400))));
        assert_eq!("90s".parse(), Ok(Period(Duration::from_secs(90))));
        for bad in ["", "5", "d", "1.5h", "99999999999999999999d", "9999999999999999d"] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }
}
