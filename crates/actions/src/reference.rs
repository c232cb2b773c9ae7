//! What stands after `uses:`: an action in another repository, one beside the
//! workflow, or a container image. A reference that has been parsed is safe to
//! make paths and arguments of git of: no `..`, no options, no patterns, no
//! control characters. Whether the thing exists is not known here.

use std::fmt;
use std::str::FromStr;

/// The longest reference, in bytes.
const MAX_BYTES: usize = 1024;

/// What `uses:` of a step refers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// `owner/repo[/path]@ref`
    Remote(RemoteReference),
    /// `./path` of the workspace, with `/` between its parts and without `..`.
    Local(String),
    /// The image after `docker://`.
    Docker(String),
}

/// An action in another repository, or a file there (a reusable workflow).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RemoteReference {
    /// User or organisation.
    pub owner: String,
    /// Name of the repository.
    pub repo: String,
    /// Directory (or file) within the repository, with `/` between its parts; absent means its root.
    pub path: Option<String>,
    /// Branch, tag or commit.
    pub git_ref: String,
}

/// A text that is no reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It has another form, in GitHub's words.
    #[error(
        "Expected format {{org}}/{{repo}}[/path]@ref. Actual '{0}' (also possible: ./path of an action in the workspace, docker://image)"
    )]
    Format(String),
    /// It has the form, but something in it is not acceptable.
    #[error("the reference '{reference}' of an action is not acceptable: {reason}")]
    Unsafe {
        /// As written, cut to a decent length.
        reference: String,
        /// Which part, and why.
        reason: String,
    },
}

impl Reference {
    /// Parses the text after `uses:`.
    ///
    /// # Errors
    /// When it has none of the three forms, or when a part of it could be misread as
    /// something else: an option, a pattern, a way out of its directory.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let shown = || shown(text);
        let refuse = |reason: &str| ReferenceError::Unsafe { reference: shown(), reason: reason.to_owned() };
        if text.len() > MAX_BYTES {
            return Err(refuse("it is too long"));
        }
        if text.chars().any(char::is_control) {
            return Err(refuse("it has control characters"));
        }
        if let Some(image) = strip_scheme(text) {
            return match image {
                "" => Err(ReferenceError::Format(shown())),
                _ if image.starts_with('-') => Err(refuse("an image cannot begin with '-'")),
                _ if image.contains(char::is_whitespace) => Err(refuse("an image has no spaces")),
                _ => Ok(Self::Docker(image.to_owned())),
            };
        }
        if text.starts_with("./") || text.starts_with(".\\") {
            let path = clean_path(text).ok_or_else(|| refuse("'..' could leave the workspace"))?;
            return Ok(Self::Local(if path.is_empty() { "./".to_owned() } else { format!("./{path}") }));
        }
        remote(text).map(Self::Remote)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote(remote) => remote.fmt(f),
            Self::Local(path) => f.write_str(path),
            Self::Docker(image) => write!(f, "docker://{image}"),
        }
    }
}

impl RemoteReference {
    /// Parses `owner/repo[/path]@ref` and nothing else.
    ///
    /// # Errors
    /// As [`Reference::parse`].
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        match Reference::parse(text)? {
            Reference::Remote(remote) => Ok(remote),
            Reference::Local(_) | Reference::Docker(_) => Err(ReferenceError::Format(shown(text))),
        }
    }

    /// A reference from its parts, under the same rules.
    ///
    /// # Errors
    /// As [`Reference::parse`].
    pub fn new(owner: &str, repo: &str, path: Option<&str>, git_ref: &str) -> Result<Self, ReferenceError> {
        let path = path.filter(|p| !p.is_empty());
        let text = match path {
            Some(path) => format!("{owner}/{repo}/{path}@{git_ref}"),
            None => format!("{owner}/{repo}@{git_ref}"),
        };
        let parsed = Self::parse(&text)?;
        // Parts that only together look like a reference are none: `a/b` as an owner.
        if parsed.owner == owner && parsed.repo == repo && parsed.git_ref == git_ref {
            Ok(parsed)
        } else {
            Err(ReferenceError::Format(shown(&text)))
        }
    }

    /// Whether the parts are what parsing would have given; they can be written by hand.
    ///
    /// # Errors
    /// As [`Reference::parse`].
    pub(crate) fn check(&self) -> Result<(), ReferenceError> {
        let text = self.to_string();
        if Self::parse(&text)? == *self { Ok(()) } else { Err(ReferenceError::Format(shown(&text))) }
    }

    /// `owner/repo`
    #[must_use]
    pub fn repository(&self) -> String {
        format!("{}/{}", self.owner, self.repo)
    }

    /// Whether the ref is a full commit id, so that it can never move.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        is_commit(&self.git_ref)
    }
}

impl fmt::Display for RemoteReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.repo)?;
        if let Some(path) = &self.path {
            write!(f, "/{path}")?;
        }
        write!(f, "@{}", self.git_ref)
    }
}

/// Whether a text is a full commit id (SHA-1 or SHA-256).
pub(crate) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn remote(text: &str) -> Result<RemoteReference, ReferenceError> {
    let format = || ReferenceError::Format(shown(text));
    let refuse = |reason: String| ReferenceError::Unsafe { reference: shown(text), reason };
    let (name, git_ref) = text.split_once('@').ok_or_else(format)?;
    if git_ref.is_empty() || git_ref.contains('@') {
        return Err(format());
    }
    let name = name.replace('\\', "/");
    let mut parts = name.splitn(3, '/');
    let (owner, repo) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if owner.is_empty() || repo.is_empty() {
        return Err(format());
    }
    if owner.starts_with('.') || !is_name(owner) {
        return Err(refuse(format!("'{}' is no name of an owner", shown(owner))));
    }
    // A mirror has REPO.git; a repository named so would be at another place there.
    if !is_name(repo) || repo.to_ascii_lowercase().ends_with(".git") {
        return Err(refuse(format!("'{}' is no name of a repository", shown(repo))));
    }
    if let Some(reason) = bad_ref(git_ref) {
        return Err(refuse(format!("a branch, tag or commit {reason}")));
    }
    let path = clean_path(parts.next().unwrap_or_default())
        .ok_or_else(|| refuse("'..' could leave the repository".to_owned()))?;
    if path.split('/').any(|part| part.eq_ignore_ascii_case(".git")) {
        return Err(refuse("'.git' is no directory of a repository".to_owned()));
    }
    Ok(RemoteReference {
        owner: owner.to_owned(),
        repo: repo.to_owned(),
        path: Some(path).filter(|p| !p.is_empty()),
        git_ref: git_ref.to_owned(),
    })
}

fn strip_scheme(text: &str) -> Option<&str> {
    let scheme = "docker://";
    text.get(..scheme.len()).filter(|s| s.eq_ignore_ascii_case(scheme)).map(|s| &text[s.len()..])
}

/// What owners and repositories may be called at any forge.
fn is_name(name: &str) -> bool {
    name.len() <= 100
        && !matches!(name, "." | "..")
        && !name.starts_with('-')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Why git would not have such a ref, or would read it as something else.
fn bad_ref(name: &str) -> Option<&'static str> {
    if name.starts_with('-') {
        return Some("cannot begin with '-'");
    }
    if name.chars().any(|c| c.is_whitespace() || "~^:?*[\\".contains(c)) {
        return Some("has no spaces and none of ~^:?*[\\");
    }
    if name.contains("..") || name.contains("//") || name.starts_with('/') || name.ends_with(['/', '.']) {
        return Some("has no empty part and no '..'");
    }
    name.split('/')
        .any(|part| part.starts_with('.') || part.ends_with(".lock"))
        .then_some("has no part that begins with '.' or ends in '.lock'")
}

/// The path with `/` between its parts, without empty and `.` parts; `None` if there is a `..`.
fn clean_path(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split(['/', '\\']).filter(|p| !p.is_empty() && *p != ".").collect();
    (!parts.contains(&"..")).then(|| parts.join("/"))
}

/// The text as messages show it.
fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(200).is_some() {
        out.push_str("...");
    }
    out
}
