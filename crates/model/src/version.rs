//! Version skew between server and runner: one minor version apart works, more
//! is refused.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// This build's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `MAJOR.MINOR.PATCH`; anything after the patch number is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Major.
    pub major: u64,
    /// Minor.
    pub minor: u64,
    /// Patch.
    pub patch: u64,
}

impl FromStr for Version {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let core = s.trim().trim_start_matches('v').split(['-', '+']).next().unwrap_or_default();
        let parts: Vec<u64> = core
            .split('.')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| format!("'{s}' is not a version (expected MAJOR.MINOR.PATCH)"))?;
        match parts[..] {
            [major, minor, patch] => Ok(Self { major, minor, patch }),
            _ => Err(format!("'{s}' is not a version (expected MAJOR.MINOR.PATCH)")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Server and runner are too far apart.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("server {server} and runner {runner} are more than one minor version apart: upgrade the {upgrade}")]
pub struct SkewError {
    /// The server's version.
    pub server: Version,
    /// The runner's version.
    pub runner: Version,
    /// Which side is behind: `server` or `runner`.
    pub upgrade: &'static str,
}

/// Checks the agreement: same major, minor versions at most one apart; the patch never matters.
///
/// # Errors
/// [`SkewError`] names the side to upgrade.
pub fn check_skew(server: Version, runner: Version) -> Result<(), SkewError> {
    if server.major == runner.major && server.minor.abs_diff(runner.minor) <= 1 {
        return Ok(());
    }
    let upgrade = match (server.major, server.minor).cmp(&(runner.major, runner.minor)) {
        Ordering::Less => "server",
        Ordering::Equal | Ordering::Greater => "runner",
    };
    Err(SkewError { server, runner, upgrade })
}
