//! Isolation, ordered: a job may demand a minimum, an attempt records what
//! really held.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// The kinds of boundary, weakest first. The order is the order of strength.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Boundary {
    /// An ordinary process of the runner's user.
    #[default]
    Process,
    /// Namespaces, seccomp, Landlock and cgroups around a process.
    Sandbox,
    /// A container of Docker or Podman.
    Container,
    /// A container on gVisor's user-space kernel.
    Gvisor,
    /// A virtual machine of its own.
    Microvm,
}

impl Boundary {
    /// All kinds, weakest first.
    pub const ALL: [Self; 5] = [Self::Process, Self::Sandbox, Self::Container, Self::Gvisor, Self::Microvm];

    /// Whether it fences nothing off, which every runner offers.
    #[must_use]
    pub const fn is_weakest(&self) -> bool {
        matches!(self, Self::Process)
    }

    /// The name used in documents, API and command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Sandbox => "sandbox",
            Self::Container => "container",
            Self::Gvisor => "gvisor",
            Self::Microvm => "microvm",
        }
    }
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Boundary {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|b| b.as_str().eq_ignore_ascii_case(s))
            .ok_or_else(|| format!("'{s}' is not a boundary (process, sandbox, container, gvisor, microvm)"))
    }
}

/// What really held for one attempt (promise 9). Drivers fill in what applies;
/// absent means "not part of this boundary", never "unknown but fine".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct BoundaryRecord {
    /// Which kind of boundary was achieved.
    pub boundary: Boundary,
    /// Driver and its version, `process/0.1.0`.
    pub driver: String,
    /// Kernel namespaces that were unshared (`pid`, `mount`, ...).
    pub namespaces: Vec<String>,
    /// Effective capabilities left to the job, by name; `None` if unchanged from the runner's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// Hash of the seccomp profile, if one was installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<String>,
    /// Landlock ABI that was enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landlock_abi: Option<u32>,
    /// How the process tree is held: `cgroup-v2`, `cgroup-v1`, `hybrid`, `process-group`.
    pub containment: String,
    /// Limits in force, `name -> value` (`pids`, `memory_bytes`, `cpus`).
    pub limits: indexmap::IndexMap<String, String>,
    /// User that the steps ran as, `uid:gid`.
    pub user: String,
    /// `host`, `none` or `private`.
    pub network: String,
    /// `uname -r` as the job saw it.
    pub kernel: String,
    /// Digest of the image, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

impl BoundaryRecord {
    /// What held, in one line for people.
    #[must_use]
    pub fn in_words(&self) -> String {
        let mut words = vec![match self.driver.is_empty() {
            true => self.boundary.to_string(),
            false => format!("{} (driver {})", self.boundary, self.driver),
        }];
        if !self.namespaces.is_empty() {
            words.push(format!("namespaces {}", self.namespaces.join(" ")));
        }
        match self.capabilities.as_deref() {
            None => {}
            Some([]) => words.push("no capabilities".to_owned()),
            Some(left) => words.push(format!("capabilities {}", left.join(" "))),
        }
        if let Some(hash) = &self.seccomp {
            words.push(format!("seccomp {}", hash.chars().take(19).collect::<String>()));
        }
        if let Some(abi) = self.landlock_abi {
            words.push(format!("Landlock ABI {abi}"));
        }
        let named = [
            ("held by ", &self.containment),
            ("user ", &self.user),
            ("network ", &self.network),
            ("kernel ", &self.kernel),
        ];
        words.extend(named.iter().filter(|(_, v)| !v.is_empty()).map(|(name, v)| format!("{name}{v}")));
        if let Some(image) = &self.image {
            words.push(format!("image {image}"));
        }
        if !self.limits.is_empty() {
            let limits: Vec<String> = self.limits.iter().map(|(n, v)| format!("{n} {v}")).collect();
            words.push(format!("limits: {}", limits.join(", ")));
        }
        words.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_in_words() {
        let record = BoundaryRecord {
            boundary: Boundary::Sandbox,
            driver: "sandbox/0.1.0".into(),
            namespaces: ["user", "mount", "pid"].map(str::to_owned).to_vec(),
            capabilities: Some(Vec::new()),
            seccomp: Some("sha256:0123456789abcdef0123".into()),
            landlock_abi: Some(6),
            containment: "hybrid".into(),
            limits: [("pids".to_owned(), "512".to_owned())].into_iter().collect(),
            user: "1000:1000".into(),
            network: "private".into(),
            kernel: "6.18.5".into(),
            image: None,
        };
        assert_eq!(
            record.in_words(),
            "sandbox (driver sandbox/0.1.0); namespaces user mount pid; no capabilities; \
             seccomp sha256:0123456789ab; Landlock ABI 6; held by hybrid; user 1000:1000; network private; \
             kernel 6.18.5; limits: pids 512"
        );
        assert_eq!(BoundaryRecord::default().in_words(), "process");
    }
}
