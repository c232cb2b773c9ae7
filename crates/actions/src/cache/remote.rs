//! Where a repository is, and what git's answers about it mean. Addresses are
//! shown to people without credentials; those that the configuration has in an
//! address travel as a header instead.

use super::CacheConfig;
use super::git::{Git, GitError, Output};
use crate::error::{ActionError, ActionErrorKind};
use crate::reference::{RemoteReference, is_commit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// One repository at the place where it is to be looked for.
pub(super) struct Remote {
    url: String,
    /// Whether it is in the mirror, and its directory if the mirror is one.
    mirror: bool,
    directory: Option<PathBuf>,
    git: Git,
}

impl Remote {
    /// The repository of a reference: in the mirror if there is one, at the forge otherwise.
    pub(super) fn of(config: &CacheConfig, reference: &RemoteReference, config_file: &Path) -> Self {
        let RemoteReference { owner, repo, .. } = reference;
        let (address, mirror) = match &config.mirror {
            Some(mirror) => (format!("{}/{owner}/{repo}.git", mirror.trim_end_matches('/')), true),
            None => (format!("{}/{owner}/{repo}", config.base_url.trim_end_matches('/')), false),
        };
        let (url, credentials) = without_credentials(&address);
        let mut directory = directory(&url);
        if let Some(exact) = directory.as_ref().filter(|d| !d.is_dir()) {
            // Forges know no difference between Actions and actions, directories do.
            directory = ignoring_case(exact).or(directory);
        }
        // A path is made absolute, so that it is neither an option nor relative to git's directory.
        let url = directory.as_ref().map_or(url, |d| d.to_string_lossy().into_owned());
        let protocols = protocols(&url, directory.is_some());
        let git = Git::new(config, credentials.as_slice(), protocols, config_file);
        Self { url, mirror, directory, git }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Says so if a mirror in a directory does not have the repository; asks nobody.
    pub(super) fn check(&self) -> Result<(), ActionError> {
        match &self.directory {
            Some(directory) if !directory.is_dir() => Err(self.absent()),
            _ => Ok(()),
        }
    }

    /// The commit of a branch or tag at this moment. A tag wins over a branch of the same name.
    pub(super) async fn resolve(
        &self,
        reference: &RemoteReference,
        at: &Path,
    ) -> Result<String, ActionError> {
        let name = &reference.git_ref;
        let candidates = if name.starts_with("refs/") {
            vec![format!("{name}^{{}}"), name.clone()]
        } else {
            vec![format!("refs/tags/{name}^{{}}"), format!("refs/tags/{name}"), format!("refs/heads/{name}")]
        };
        let mut args = vec!["ls-remote", "--quiet", "--", &self.url];
        args.extend(candidates.iter().map(String::as_str));
        let output = self.run(at, &[], &args).await?;
        if !output.success {
            return Err(self.refusal(&output));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let refs: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('\t')).collect();
        // Git matches the end of names: refs/x/refs/tags/v1 must not pass for refs/tags/v1.
        let sha =
            candidates.iter().find_map(|c| refs.iter().find(|(_, name)| name == c).map(|(sha, _)| *sha));
        match sha.filter(|sha| is_commit(sha)) {
            Some(sha) => Ok(sha.to_lowercase()),
            None => Err(self.no_such_ref(reference)),
        }
    }

    fn no_such_ref(&self, reference: &RemoteReference) -> ActionError {
        let name = &reference.git_ref;
        let short = (7..40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_hexdigit());
        let next = if short {
            "It looks like an abbreviated commit; write all of its 40 digits"
        } else {
            "Check the spelling; to see what there is:"
        };
        let command = if short { String::new() } else { format!(" git ls-remote {}", self.url) };
        let message =
            format!("'{reference}': no branch or tag '{name}' in {}. {next}{command}", self.place());
        ActionError::new(ActionErrorKind::NotFound, message)
    }

    /// The commit does not exist there.
    pub(super) fn no_such_commit(&self, reference: &RemoteReference, sha: &str) -> ActionError {
        let message = format!(
            "'{reference}': no commit {sha} in {}. Check the reference; a commit that was only in a fork or a deleted branch may be gone",
            self.place()
        );
        ActionError::new(ActionErrorKind::NotFound, message)
    }

    /// Runs git; anything that keeps it from ending has its error.
    pub(super) async fn run(
        &self,
        at: &Path,
        places: &[(&str, &Path)],
        args: &[&str],
    ) -> Result<Output, ActionError> {
        self.git.run(at, places, args).await.map_err(|error| {
            let verb = args.first().copied().unwrap_or_default();
            match error {
                GitError::Timeout => ActionError::new(
                    ActionErrorKind::Timeout,
                    format!("git {verb} of {} took longer than the time limit. Try again, or use a mirror that is nearer", self.place()),
                ),
                GitError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => ActionError::new(
                    ActionErrorKind::Io,
                    "cannot start git: it is not installed. Install it: apt-get install git",
                ),
                GitError::Io(error) => {
                    ActionError::new(ActionErrorKind::Io, format!("cannot run git {verb}: {error}"))
                }
                GitError::TooMuchOutput => ActionError::new(
                    ActionErrorKind::Io,
                    format!("git {verb} of {} printed more than can be right", self.place()),
                ),
            }
        })
    }

    /// What a failed command that talked to the remote means.
    pub(super) fn refusal(&self, output: &Output) -> ActionError {
        let said = complaint(&output.stderr);
        let lower = output.stderr.to_lowercase();
        let absent = [
            "not found",
            "does not exist",
            "does not appear to be a git repository",
            "no such file or directory",
            "could not read username",
            "not exported",
            "access denied or repository",
        ];
        if absent.iter().any(|words| lower.contains(words)) && !lower.contains("could not resolve host") {
            if self.mirror {
                return self.absent();
            }
            let message = format!(
                "there is no repository {} (or it wants credentials). Check the name, and the base address of actions. Git said: {said}",
                self.place()
            );
            return ActionError::new(ActionErrorKind::NotFound, message);
        }
        let message = format!(
            "{} cannot be reached. Check network and proxy, or use a mirror; an action that is pinned to a commit and was used before needs no network. Git said: {said}",
            self.place()
        );
        ActionError::new(ActionErrorKind::Unreachable, message)
    }

    fn absent(&self) -> ActionError {
        if !self.mirror {
            let message = format!("there is no repository {}. Check the name", self.place());
            return ActionError::new(ActionErrorKind::NotFound, message);
        }
        let message = format!(
            "the mirror of actions has no '{0}', and nothing but the mirror is asked. Add the repository: git clone --mirror <its address> '{0}'",
            self.url
        );
        ActionError::new(ActionErrorKind::MissingInMirror, message)
    }

    fn place(&self) -> String {
        format!("'{}'", self.url)
    }
}

/// What git complained about, in one line.
pub(super) fn complaint(stderr: &str) -> String {
    let known = ["fatal:", "error:", "remote:", "ERROR:"];
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let said = lines.iter().find(|l| known.iter().any(|k| l.starts_with(k))).or(lines.last());
    let said = said.copied().unwrap_or("nothing");
    said.chars().filter(|c| !c.is_control()).take(400).collect()
}

/// Whether a server gives only what it advertises, or whole histories, so that the commit must come
/// with its branch or tag.
pub(super) fn wants_a_ref(stderr: &str) -> bool {
    let lower = stderr.to_lowercase();
    let refusals =
        ["not our ref", "unadvertised object", "couldn't find remote ref", "no such remote ref", "dumb http"];
    refusals.iter().any(|words| lower.contains(words))
}

/// The directory of an address that is a path or begins with `file://`.
fn directory(url: &str) -> Option<PathBuf> {
    let path = match url.strip_prefix("file://") {
        Some(path) => path,
        None if url.contains("://") || scp_like(url) => return None,
        None => url,
    };
    Some(std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path)))
}

/// The directory `OWNER/REPO.git` that is there under a name in other letters.
fn ignoring_case(wanted: &Path) -> Option<PathBuf> {
    let (owner, repo) = (wanted.parent()?, wanted.file_name()?);
    let within = |parent: &Path, name: &OsStr| {
        let entries = std::fs::read_dir(parent).ok()?.filter_map(Result::ok);
        entries.filter(|e| e.file_name().eq_ignore_ascii_case(name)).map(|e| e.path()).find(|p| p.is_dir())
    };
    within(&within(owner.parent()?, owner.file_name()?)?, repo)
}

/// `host:path` or `user@host:path`, as git tells it from a path.
fn scp_like(url: &str) -> bool {
    url.split_once(':').is_some_and(|(host, _)| !host.contains('/'))
}

/// What git may speak, so that no redirection leads it to something weaker.
fn protocols(url: &str, local: bool) -> &'static str {
    match url.split_once("://").map(|(scheme, _)| scheme) {
        _ if local => "file",
        Some("https") => "https",
        Some("http") => "http:https",
        Some("git") => "git",
        Some("ssh") => "ssh",
        None => "ssh",
        Some(_) => "none",
    }
}

/// Takes `user:password@` out of an address and gives it as configuration of git.
fn without_credentials(address: &str) -> (String, Vec<(String, String)>) {
    let plain = || (address.to_owned(), Vec::new());
    let Some((scheme, rest)) = address.split_once("://") else { return plain() };
    if !matches!(scheme, "http" | "https") {
        return plain();
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let Some((user, host)) = authority.rsplit_once('@') else { return plain() };
    let user = unescaped(user);
    let user = if user.contains(':') { user } else { format!("{user}:") };
    let header = format!("Authorization: Basic {}", STANDARD.encode(user));
    let origin = format!("{scheme}://{host}");
    (format!("{origin}{path}"), vec![(format!("http.{origin}/.extraHeader"), header)])
}

fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut i = 0;
    while let Some(byte) = bytes.get(i) {
        let code = bytes.get(i + 1..i + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (byte, code.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                i += 3;
            }
            _ => {
                out.push(*byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_address() {
        let (url, settings) = without_credentials("https://me:p%40ss@host:8443/mirror/a/b.git");
        assert_eq!(url, "https://host:8443/mirror/a/b.git");
        assert_eq!(settings[0].0, "http.https://host:8443/.extraHeader");
        assert_eq!(settings[0].1, format!("Authorization: Basic {}", STANDARD.encode("me:p@ss")));
        assert!(without_credentials("https://host/a@b").1.is_empty());
        assert_eq!(unescaped("%4"), "%4");
    }

    #[test]
    fn addresses_and_what_git_may_speak() {
        assert_eq!(directory("/srv/m/a/b.git"), Some("/srv/m/a/b.git".into()));
        assert_eq!(directory("file:///srv/m"), Some("/srv/m".into()));
        assert_eq!(directory("https://x/y"), None);
        assert_eq!(directory("git@host:a/b"), None);
        assert_eq!(protocols("https://x", false), "https");
        assert_eq!(protocols("ext::sh -c x", false), "ssh");
        assert_eq!(protocols("ftp://x", false), "none");
    }
}
