//! What a git checkout says about itself: address, ref and commit, by asking
//! the git command. Never changes a repository.

use fleetfoot_model::spec::Repository;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A checkout around a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkout {
    /// Top directory of the working tree.
    pub(crate) root: PathBuf,
    /// Address, ref and commit.
    pub(crate) repository: Repository,
}

/// The checkout around `dir`, if there is one and git is installed.
pub(crate) fn checkout(dir: &Path) -> Option<Checkout> {
    let root = PathBuf::from(git(dir, &["rev-parse", "--show-toplevel"])?);
    // At the same time: each answer costs the start of a process.
    let (sha, git_ref, origin) = std::thread::scope(|scope| {
        let sha = scope.spawn(|| git(&root, &["rev-parse", "--verify", "--quiet", "HEAD"]));
        let origin = scope.spawn(|| git(&root, &["config", "--get", "remote.origin.url"]));
        let git_ref = git(&root, &["symbolic-ref", "--quiet", "HEAD"]).or_else(|| {
            git(&root, &["describe", "--exact-match", "--tags", "HEAD"]).map(|t| format!("refs/tags/{t}"))
        });
        (sha.join().ok().flatten(), git_ref, origin.join().ok().flatten())
    });
    let name = origin.as_deref().and_then(owner_and_name);
    let url =
        origin.map_or_else(|| root.display().to_string(), |url| absolute(&root, &without_credentials(&url)));
    Some(Checkout { root, repository: Repository { url, name, git_ref, sha } })
}

fn git(dir: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|o| o.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim_end_matches(['\n', '\r']).to_owned()).filter(|t| !t.is_empty())
}

/// Credentials in an address are for this machine; a server never gets them.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(a, p)| (a, p));
    match authority.rsplit_once('@') {
        // In ssh://git@host the user is part of the address, not a secret.
        Some((user, host)) if scheme.starts_with("http") || user.contains(':') => {
            format!("{scheme}://{host}/{path}")
        }
        _ => url.to_owned(),
    }
}

/// A path as origin is relative to the checkout; the server needs it absolute.
fn absolute(root: &Path, url: &str) -> String {
    let is_path = !url.contains("://") && !url.split('/').next().is_some_and(|first| first.contains(':'));
    if is_path { root.join(url).display().to_string() } else { url.to_owned() }
}

/// `OWNER/NAME` of the address of a forge.
fn owner_and_name(url: &str) -> Option<String> {
    let path = match url.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => rest.split_once('/')?.1,
        None => url.split_once(':')?.1,
    };
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let mut parts = path.rsplit('/');
    let (name, owner) = (parts.next()?, parts.next()?);
    (!name.is_empty() && !owner.is_empty()).then(|| format!("{owner}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_forges() {
        for (url, name) in [
            ("https://github.com/octo/hello.git", Some("octo/hello")),
            ("git@github.com:octo/hello.git", Some("octo/hello")),
            ("ssh://git@git.example.org:2222/team/sub/hello", Some("sub/hello")),
            ("/srv/git/hello.git", None),
            ("file:///srv/git/hello.git", None),
        ] {
            assert_eq!(owner_and_name(url).as_deref(), name, "{url}");
        }
    }

    #[test]
    fn credentials_stay_here() {
        assert_eq!(without_credentials("https://me:word@example.org/a/b"), "https://example.org/a/b");
        assert_eq!(without_credentials("https://ghp_token@example.org/a/b"), "https://example.org/a/b");
        assert_eq!(without_credentials("ssh://git@example.org/a/b"), "ssh://git@example.org/a/b");
        assert_eq!(absolute(Path::new("/r"), "../x"), "/r/../x");
        assert_eq!(absolute(Path::new("/r"), "git@h:a/b"), "git@h:a/b");
    }

    #[test]
    fn a_checkout_is_found_from_below() {
        let dir = tempfile::tempdir().unwrap();
        let repository = fleetfoot_testkit::GitRepository::new(dir.path().join("r"));
        repository.write("a/b.txt", "x");
        let sha = repository.commit("first");
        let found = checkout(&repository.path().join("a")).unwrap();
        assert_eq!(found.root.canonicalize().unwrap(), repository.path().canonicalize().unwrap());
        assert_eq!(found.repository.sha.as_deref(), Some(sha.as_str()));
        assert_eq!(found.repository.git_ref.as_deref(), Some("refs/heads/main"));
        assert_eq!(checkout(dir.path()), None);
    }
}
