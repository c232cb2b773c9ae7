//! `volumes:` of a container. Pure but for resolving links of the host, which
//! `crate::create` does with what this answers. A directory of the host is
//! refused unless the operator allows it; a value never becomes anything but a
//! source, a destination and a mode.

use fleetfoot_driver::{DriverError, DriverErrorKind};
use std::path::{Component, Path, PathBuf};

/// Where a volume comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A volume of the attempt, by the name that the job gave it.
    Named(String),
    /// One without a name.
    Anonymous,
    /// A directory of the host, below one that is allowed.
    Host(PathBuf),
}

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Where it comes from.
    pub source: Source,
    /// Where it is inside.
    pub destination: String,
    /// Whether it cannot be changed from inside.
    pub read_only: bool,
}

fn invalid(message: String) -> DriverError {
    DriverError::new(DriverErrorKind::Invalid, message)
}

/// Reads `volumes:`: `name:/path`, `/host:/path:ro`, `/path`. `allowed` are directories of the host
/// below which everything may be mounted.
///
/// # Errors
/// `Invalid` with the entry that is wrong, and the setting that would allow it.
pub fn parse(entries: &[String], allowed: &[PathBuf]) -> Result<Vec<Volume>, DriverError> {
    entries.iter().map(|e| one(e, allowed)).collect()
}

fn one(entry: &str, allowed: &[PathBuf]) -> Result<Volume, DriverError> {
    let shown: String = entry.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect();
    let wrong = |why: &str| invalid(format!("'{shown}' is not a volume: {why}"));
    if entry.chars().any(char::is_control) {
        return Err(wrong("it contains control characters"));
    }
    let parts: Vec<&str> = entry.split(':').collect();
    let (source, destination, mode) = match parts.as_slice() {
        [destination] => (None, *destination, ""),
        [source, destination] => (Some(*source), *destination, ""),
        [source, destination, mode] => (Some(*source), *destination, *mode),
        _ => return Err(wrong("write SOURCE:DESTINATION:MODE")),
    };
    check_destination(destination).map_err(|why| wrong(&why))?;
    let mut read_only = false;
    for word in mode.split(',').filter(|w| !w.is_empty()) {
        match word {
            "ro" => read_only = true,
            "rw" => read_only = false,
            // Labels of SELinux and caching of other systems: nothing to do here.
            "z" | "Z" | "cached" | "delegated" | "consistent" => {}
            _ => return Err(wrong("the mode is ro or rw")),
        }
    }
    let source = match source {
        None => Source::Anonymous,
        Some(path) if path.starts_with('/') => {
            check_host(Path::new(path), allowed)?;
            Source::Host(path.into())
        }
        Some(name) if is_name(name) => Source::Named(name.to_owned()),
        Some(_) => return Err(wrong("the source is the name of a volume, or an absolute path of the host")),
    };
    Ok(Volume { source, destination: destination.to_owned(), read_only })
}

fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && letters.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        && (2..=100).contains(&name.len())
}

fn check_destination(path: &str) -> Result<(), String> {
    let parsed = Path::new(path);
    let plain = parsed.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if !parsed.is_absolute() || !plain || parsed == Path::new("/") {
        return Err("the destination is an absolute path, not the root".into());
    }
    // What the runner puts there, and what isolation rests on.
    let taken = ["/proc", "/sys", "/dev", "/.fleetfoot"];
    match taken.iter().find(|t| parsed.starts_with(t)) {
        Some(taken) => Err(format!("nothing may be mounted into {taken}")),
        None => Ok(()),
    }
}

/// Whether a directory of the host may be mounted, links not considered: `..` never, and only below
/// what is allowed.
///
/// # Errors
/// `Invalid` with the setting that would allow it.
pub fn check_host(path: &Path, allowed: &[PathBuf]) -> Result<(), DriverError> {
    let plain = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if plain && allowed.iter().any(|a| a.is_absolute() && path.starts_with(a)) {
        return Ok(());
    }
    Err(invalid(format!(
        "the directory '{0}' of the host is not allowed as a volume; the operator of the runner can allow it with \
         `allowed_volumes = [\"{0}\"]`",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(entry: &str) -> Result<Volume, DriverError> {
        Ok(parse(&[entry.to_owned()], &["/srv/cache".into()])?.remove(0))
    }

    #[test]
    fn forms() {
        let volume = |source, destination: &str, read_only| Volume {
            source,
            destination: destination.into(),
            read_only,
        };
        assert_eq!(parsed("data:/d").unwrap(), volume(Source::Named("data".into()), "/d", false));
        assert_eq!(parsed("/d").unwrap(), volume(Source::Anonymous, "/d", false));
        assert_eq!(
            parsed("/srv/cache/x:/c:ro").unwrap(),
            volume(Source::Host("/srv/cache/x".into()), "/c", true)
        );
        for bad in [
            "",
            "/",
            ":/d",
            "a:/d:rw:x",
            "data:d",
            "data:/d:exec",
            "data:/../d",
            "/srv:/d",
            "/srv/cache/../x:/d",
            "/srv/cached:/d",
            "/:/d",
            "/var/run/docker.sock:/var/run/docker.sock",
            "x:/proc",
            "x:/.fleetfoot/socket",
            "-v:/d",
            "a,b:/d",
            "da ta:/d",
            "data:/d\n",
            "./x:/d",
            "~:/d",
            "data:/proc/sys",
        ] {
            let error = parsed(bad).unwrap_err();
            assert_eq!(error.kind, DriverErrorKind::Invalid, "{bad}");
        }
        let text = parsed("/etc:/e").unwrap_err().to_string();
        assert!(text.contains("allowed_volumes = [\"/etc\"]"), "{text}");
    }

    proptest! {
        #[test]
        fn the_host_stays_closed(entry in "[-/:.,= \"'\\na-z]{0,30}") {
            if let Ok(volume) = parsed(&entry) {
                prop_assert!(volume.destination.starts_with('/') && !volume.destination.contains(".."));
                if let Source::Host(path) = volume.source {
                    prop_assert!(path.starts_with("/srv/cache") && !path.display().to_string().contains(".."));
                }
            }
        }
    }
}
