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

#[cfg(test)]
mod tests {
    use super::*;

    fn skew(server: &str, runner: &str) -> Result<(), SkewError> {
        check_skew(server.parse().unwrap(), runner.parse().unwrap())
    }

    /// The published agreement; `*` in the table is any patch number.
    #[test]
    fn one_minor_version_of_divergence() {
        for (server, runner, ok) in [
            ("3.43.0", "3.43", true),
            ("3.43.3", "3.43", true),
            ("3.43.0", "3.44", true),
            ("3.43.0", "3.42", true),
            ("3.43.0", "3.41", false),
            ("3.43.0", "3.45", false),
        ] {
            for patch in ["0", "3", "17"] {
                let runner = format!("{runner}.{patch}");
                assert_eq!(skew(server, &runner).is_ok(), ok, "server {server}, runner {runner}");
            }
        }
    }

    #[test]
    fn the_older_side_is_named() {
        for (server, runner, upgrade) in [
            ("3.43.0", "3.41.9", "runner"),
            ("3.43.0", "3.45.0", "server"),
            ("4.0.0", "3.99.0", "runner"),
            ("3.99.0", "4.0.0", "server"),
        ] {
            let error = skew(server, runner).unwrap_err();
            assert_eq!(error.upgrade, upgrade, "server {server}, runner {runner}");
            assert!(error.to_string().ends_with(&format!("upgrade the {upgrade}")), "{error}");
        }
    }

    #[test]
    fn versions_are_three_numbers() {
        for (text, version) in [("v1.2.3", "1.2.3"), (" 1.2.3-rc.1+x ", "1.2.3"), ("0.0.0", "0.0.0")] {
            assert_eq!(text.parse::<Version>().unwrap().to_string(), version);
        }
        for bad in ["", "1.2", "1.2.3.4", "1.x.3", "-1.2.3"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }
}
