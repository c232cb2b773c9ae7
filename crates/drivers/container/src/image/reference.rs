//! Names of images: which registry, which repository, which version. Pure.

use fleetfoot_driver::{DriverError, DriverErrorKind};

/// Docker Hub, as references name it.
const HUB: &str = "docker.io";

/// A name taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// `docker.io`, `ghcr.io`, `localhost:5000`.
    pub registry: String,
    /// `library/alpine`, `owner/name`.
    pub repository: String,
    /// `latest` if neither tag nor digest is given.
    pub tag: Option<String>,
    /// `sha256:...`.
    pub digest: Option<String>,
}

impl Reference {
    /// Takes a name apart as the engine does it.
    ///
    /// # Errors
    /// `Invalid` for what can never be a name; `-` at the beginning among it.
    pub fn parse(text: &str) -> Result<Self, DriverError> {
        let wrong = || {
            let shown: String = text.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect();
            let message = format!("'{shown}' is not an image; write NAME:TAG or NAME@sha256:DIGEST");
            DriverError::new(DriverErrorKind::Invalid, message)
        };
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        if let Some(digest) = digest {
            let hex = digest.strip_prefix("sha256:").ok_or_else(wrong)?;
            if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()) {
                return Err(wrong());
            }
        }
        // A colon behind the last slash belongs to the tag, one before it to the port.
        let (path, tag) = match name.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (name, None),
        };
        let (registry, rest) = match path.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
            _ => (HUB, path),
        };
        let registry = if registry == "index.docker.io" { HUB } else { registry };
        let fine_registry = registry.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
            && registry.chars().all(|c| c.is_ascii_alphanumeric() || "-.:[]".contains(c));
        let fine_part = |p: &str| {
            !p.is_empty()
                && p.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c))
                && p.starts_with(|c: char| c.is_ascii_alphanumeric())
                && p.ends_with(|c: char| c.is_ascii_alphanumeric())
        };
        let fine_tag = tag.is_none_or(|t| {
            t.len() <= 128
                && t.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                && t.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        });
        if !fine_registry || !rest.split('/').all(fine_part) || !fine_tag || text.len() > 512 {
            return Err(wrong());
        }
        let repository =
            if registry == HUB && !rest.contains('/') { format!("library/{rest}") } else { rest.to_owned() };
        let tag = tag.map(str::to_owned).or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self { registry: registry.to_owned(), repository, tag, digest: digest.map(str::to_owned) })
    }

    /// Registry and repository, as the engine takes it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// What stands for the version: the digest, or else the tag.
    #[must_use]
    pub fn version(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }

    /// The whole name.
    #[must_use]
    pub fn full(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}@{digest}", self.name()),
            None => format!("{}:{}", self.name(), self.version()),
        }
    }

    /// The same image at a mirror of Docker Hub; `None` if it is not from there.
    #[must_use]
    pub fn at_mirror(&self, mirror: &str) -> Option<Self> {
        if self.registry != HUB {
            return None;
        }
        let mirror =
            mirror.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
        let (registry, prefix) = mirror.split_once('/').unwrap_or((mirror, ""));
        let repository = match prefix {
            "" => self.repository.clone(),
            prefix => format!("{prefix}/{}", self.repository),
        };
        Some(Self { registry: registry.to_owned(), repository, ..self.clone() })
    }
}

/// Whether two names without version are the same repository.
pub(crate) fn same(a: &str, b: &str) -> bool {
    match (Reference::parse(a), Reference::parse(b)) {
        (Ok(a), Ok(b)) => a.name() == b.name(),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn full(text: &str) -> String {
        Reference::parse(text).unwrap().full()
    }

    #[test]
    fn forms() {
        assert_eq!(full("alpine"), "docker.io/library/alpine:latest");
        assert_eq!(full("node:20"), "docker.io/library/node:20");
        assert_eq!(full("owner/name"), "docker.io/owner/name:latest");
        assert_eq!(full("ghcr.io/o/i:1"), "ghcr.io/o/i:1");
        assert_eq!(full("localhost:5000/x"), "localhost:5000/x:latest");
        assert_eq!(full("localhost/x"), "localhost/x:latest");
        assert_eq!(full("docker.io/alpine:3"), "docker.io/library/alpine:3");
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(full(&format!("x:1@{digest}")), format!("docker.io/library/x@{digest}"));
        for bad in [
            "",
            "-v",
            "--privileged",
            "A",
            "a b",
            "a:b:c/",
            "a@sha256:1",
            "a//b",
            "/a",
            "a:",
            "a\nb",
            "a,b",
            "a=b",
            "a:-x",
            "../a",
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mirrors_are_of_docker_hub() {
        let at =
            |text: &str, mirror: &str| Reference::parse(text).unwrap().at_mirror(mirror).map(|r| r.full());
        assert_eq!(at("alpine:3", "http://127.0.0.1:5000/").unwrap(), "127.0.0.1:5000/library/alpine:3");
        assert_eq!(at("o/i", "mirror.example.org/hub").unwrap(), "mirror.example.org/hub/o/i:latest");
        assert_eq!(at("ghcr.io/o/i", "mirror.example.org"), None);
    }

    proptest! {
        #[test]
        fn a_full_name_is_its_own(text in "[-a-z0-9:/@._=,\" ]{0,40}") {
            if let Ok(parsed) = Reference::parse(&text) {
                prop_assert_eq!(Reference::parse(&parsed.full()).unwrap().full(), parsed.full());
                prop_assert!(!parsed.full().starts_with('-'));
            }
        }
    }
}
