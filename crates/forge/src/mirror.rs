//! A bare git repository that follows one at a forge: what is needed to read
//! workflow files and to compare commits. Every git process gets its settings
//! and its credentials through the environment, never through arguments or
//! files; names that came from outside are checked before git sees them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use thiserror::Error;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// How long git may take to talk to the forge; the first fetch of a large repository takes longest.
const REMOTE: Duration = Duration::from_secs(600);
/// How long git may take with what is here.
const LOCAL: Duration = Duration::from_secs(60);
/// Files of workflows in one commit that are looked at.
const MAX_FILES: usize = 1_000;
/// Largest file that is read, bytes; a document that large is refused anyway.
const MAX_FILE: usize = 4 << 20;
/// Directories of workflows.
pub const DIRECTORIES: [&str; 3] = [".github/workflows", ".gitea/workflows", ".forgejo/workflows"];

/// Kinds of [`GitError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitErrorKind {
    /// The forge cannot be reached.
    Unreachable,
    /// The forge wants (other) credentials, or there is no such repository.
    Denied,
    /// The forge has no such ref or commit (any more).
    Missing,
    /// Git itself: not installed, a damaged mirror, a full disk.
    Broken,
}

/// Git did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct GitError {
    /// For decisions.
    pub kind: GitErrorKind,
    /// For people; never holds credentials.
    pub message: String,
}

/// Refs of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refs {
    /// The branch that `HEAD` names, short.
    pub default_branch: Option<String>,
    /// Commits of branches, and tags as they point, by full ref.
    pub refs: BTreeMap<String, String>,
}

/// A file of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Path from the root.
    pub path: String,
    /// Content, as it is.
    pub text: String,
}

/// The mirror of one repository.
#[derive(Clone)]
pub struct Mirror {
    dir: PathBuf,
    url: String,
    token: Option<String>,
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Mirror {
    /// The mirror in this directory, which [`prepare`](Self::prepare) makes if it is missing.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, url: impl Into<String>, token: Option<String>) -> Self {
        Self { dir: dir.into(), url: url.into(), token }
    }

    /// Makes the mirror if it is missing.
    ///
    /// # Errors
    /// [`GitErrorKind::Broken`].
    pub async fn prepare(&self) -> Result<(), GitError> {
        if self.dir.join("HEAD").exists() {
            return Ok(());
        }
        let broken = |e: std::io::Error| GitError {
            kind: GitErrorKind::Broken,
            message: format!("the mirror {} cannot be made: {e}", self.dir.display()),
        };
        std::fs::create_dir_all(&self.dir).map_err(broken)?;
        let dir = self.dir.to_string_lossy().into_owned();
        self.git(&["init", "--quiet", "--bare", "--template=", "--", &dir], None, LOCAL).await.map(|_| ())
    }

    /// What the forge has.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn remote_refs(&self) -> Result<Refs, GitError> {
        let patience = Duration::from_secs(30);
        let args =
            ["ls-remote", "--quiet", "--symref", "--", &self.url, "HEAD", "refs/heads/*", "refs/tags/*"];
        let out = self.git(&args, None, patience).await?;
        Ok(parse_refs(&String::from_utf8_lossy(&out)))
    }

    /// Whether a commit is here.
    ///
    /// # Errors
    /// [`GitErrorKind::Broken`].
    pub async fn has(&self, sha: &str) -> Result<bool, GitError> {
        Ok(self.resolve(sha).await?.is_some())
    }

    /// The commit that a ref or id names here.
    ///
    /// # Errors
    /// [`GitErrorKind::Broken`].
    pub async fn resolve(&self, name: &str) -> Result<Option<String>, GitError> {
        if !is_ref_name(name) {
            return Ok(None);
        }
        let commit = format!("{name}^{{commit}}");
        let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", &commit];
        match self.git(&args, None, LOCAL).await {
            Ok(out) => Ok(Some(String::from_utf8_lossy(&out).trim().to_owned()).filter(|s| is_sha(s))),
            Err(e) if e.message.contains("cannot run git") => Err(e),
            Err(_) => Ok(None),
        }
    }

    /// Fetches refs under the names that they have at the forge.
    ///
    /// # Errors
    /// [`GitErrorKind::Missing`] if one of them is not there.
    pub async fn fetch(&self, refs: &[&str]) -> Result<(), GitError> {
        let mut args = vec![
            "fetch",
            "--quiet",
            "--force",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
        ];
        args.extend(["--end-of-options", &self.url]);
        let specs: Vec<String> =
            refs.iter().filter(|r| is_ref_name(r)).map(|r| format!("+{r}:{r}")).collect();
        if specs.is_empty() {
            return Ok(());
        }
        args.extend(specs.iter().map(String::as_str));
        self.git(&args, None, REMOTE).await.map(|_| ())
    }

    /// Makes sure that a commit is here: by its ref first, because not every forge gives single commits.
    ///
    /// # Errors
    /// [`GitErrorKind::Missing`] if the forge does not have it any more.
    pub async fn ensure(&self, sha: &str, git_ref: Option<&str>) -> Result<(), GitError> {
        if self.has(sha).await? {
            return Ok(());
        }
        let mut last = None;
        if let Some(git_ref) = git_ref.filter(|r| r.starts_with("refs/")) {
            match self.fetch(&[git_ref]).await {
                Ok(()) if self.has(sha).await? => return Ok(()),
                Ok(()) => {}
                Err(e) if e.kind == GitErrorKind::Missing => last = Some(e),
                Err(e) => return Err(e),
            }
        }
        let args =
            ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--end-of-options", &self.url, sha];
        match self.git(&args, None, REMOTE).await {
            Ok(_) if self.has(sha).await? => Ok(()),
            Ok(_) => Err(missing(sha)),
            Err(e) if matches!(e.kind, GitErrorKind::Unreachable | GitErrorKind::Denied) => Err(e),
            Err(_) => Err(last.unwrap_or_else(|| missing(sha))),
        }
    }

    /// The workflow files of a commit: those of the first of these directories that has any.
    ///
    /// # Errors
    /// [`GitErrorKind::Broken`].
    pub async fn workflows(&self, sha: &str, directories: &[&str]) -> Result<Vec<File>, GitError> {
        let mut args = vec!["ls-tree", "-z", "--full-tree", sha, "--"];
        let paths: Vec<String> = directories.iter().map(|d| format!("{d}/")).collect();
        args.extend(paths.iter().map(String::as_str));
        let out = self.git(&args, None, LOCAL).await?;
        let listed = String::from_utf8_lossy(&out);
        let mut found: Vec<(&str, &str)> = Vec::new();
        for entry in listed.split('\0') {
            let Some((head, path)) = entry.split_once('\t') else { continue };
            let mut words = head.split(' ');
            let (mode, _, blob) = (words.next(), words.next(), words.next());
            let file = matches!(mode, Some("100644" | "100755"))
                && (path.ends_with(".yml") || path.ends_with(".yaml"));
            if let (true, Some(blob)) = (file, blob) {
                found.push((path, blob));
            }
        }
        let first = directories.iter().find(|d| found.iter().any(|(p, _)| p.starts_with(&format!("{d}/"))));
        let Some(first) = first else { return Ok(Vec::new()) };
        found.retain(|(path, _)| path.starts_with(&format!("{first}/")));
        found.truncate(MAX_FILES);
        let blobs: Vec<&str> = found.iter().map(|(_, blob)| *blob).collect();
        let texts = self.contents(&blobs).await?;
        let files = found.iter().zip(texts);
        Ok(files
            .filter_map(|((path, _), text)| Some(File { path: (*path).to_owned(), text: text? }))
            .collect())
    }

    /// One file of a commit; `None` if it is not there.
    ///
    /// # Errors
    /// [`GitErrorKind::Broken`].
    pub async fn file(&self, sha: &str, path: &str) -> Result<Option<String>, GitError> {
        if path.contains(['\n', '\0']) || path.starts_with('/') || !is_sha(sha) {
            return Ok(None);
        }
        Ok(self.contents(&[&format!("{sha}:{path}")]).await?.pop().flatten())
    }

    /// Contents of objects, by whatever names them.
    async fn contents(&self, names: &[&str]) -> Result<Vec<Option<String>>, GitError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let asked = names.join("\n") + "\n";
        let out = self.git(&["cat-file", "--batch"], Some(asked.as_bytes()), LOCAL).await?;
        let mut rest = &out[..];
        let mut texts = Vec::new();
        for _ in names {
            let Some(end) = rest.iter().position(|b| *b == b'\n') else { break };
            let head = String::from_utf8_lossy(&rest[..end]).into_owned();
            rest = &rest[end + 1..];
            let mut words = head.rsplit(' ');
            let (size, kind) = (words.next().and_then(|n| n.parse::<usize>().ok()), words.next());
            let (Some(size), Some(kind)) = (size, kind) else {
                texts.push(None);
                continue;
            };
            let body = rest.get(..size).unwrap_or_default();
            let readable = kind == "blob" && size <= MAX_FILE;
            // A document in another encoding is refused where documents are parsed, with its name.
            texts.push(readable.then(|| String::from_utf8_lossy(body).into_owned()));
            rest = rest.get(size + 1..).unwrap_or_default();
        }
        texts.resize(names.len(), None);
        Ok(texts)
    }

    /// Files that differ between two commits.
    ///
    /// # Errors
    /// [`GitErrorKind::Broken`].
    pub async fn changed(&self, from: &str, to: &str) -> Result<Vec<String>, GitError> {
        let args = ["diff-tree", "-r", "-z", "--name-only", "--no-renames", "--no-commit-id", from, to, "--"];
        Ok(names(&self.git(&args, None, LOCAL).await?))
    }

    /// Files of a commit that has nothing before it.
    ///
    /// # Errors
    /// [`GitErrorKind::Broken`].
    pub async fn all_files(&self, sha: &str) -> Result<Vec<String>, GitError> {
        Ok(names(&self.git(&["ls-tree", "-r", "-z", "--full-tree", "--name-only", sha], None, LOCAL).await?))
    }

    /// Where two commits parted; `None` if they have nothing in common.
    ///
    /// # Errors
    /// [`GitErrorKind::Broken`].
    pub async fn merge_base(&self, a: &str, b: &str) -> Result<Option<String>, GitError> {
        match self.git(&["merge-base", a, b], None, LOCAL).await {
            Ok(out) => Ok(Some(String::from_utf8_lossy(&out).trim().to_owned()).filter(|s| is_sha(s))),
            Err(e) if e.message.contains("cannot run git") => Err(e),
            Err(_) => Ok(None),
        }
    }

    /// Parents and message of a commit.
    ///
    /// # Errors
    /// [`GitErrorKind::Broken`].
    pub async fn commit(&self, sha: &str) -> Result<(Vec<String>, String), GitError> {
        let out = self.git(&["show", "--no-patch", "--format=%P%n%B", sha, "--"], None, LOCAL).await?;
        let text = String::from_utf8_lossy(&out);
        let (parents, message) = text.split_once('\n').unwrap_or((&text, ""));
        Ok((parents.split_whitespace().map(str::to_owned).collect(), message.trim_end().to_owned()))
    }

    async fn git(
        &self,
        args: &[&str],
        input: Option<&[u8]>,
        patience: Duration,
    ) -> Result<Vec<u8>, GitError> {
        let broken = |message: String| GitError { kind: GitErrorKind::Broken, message };
        let mut command = Command::new("git");
        command
            .args(args)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        self.environment(&mut command);
        let mut child = command.spawn().map_err(|e| broken(format!("cannot run git: {e}")))?;
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input.map(<[u8]>::to_vec)) {
            // Beside the reading, so that neither side waits for the other.
            tokio::spawn(async move {
                let _ = pipe.write_all(&input).await;
            });
        }
        let output = match tokio::time::timeout(patience, child.wait_with_output()).await {
            Ok(output) => output.map_err(|e| broken(format!("git was lost: {e}")))?,
            Err(_) => {
                let seconds = patience.as_secs();
                let message = format!("git {} took longer than {seconds} seconds", args[0]);
                return Err(GitError { kind: GitErrorKind::Unreachable, message });
            }
        };
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(self.failure(args[0], &String::from_utf8_lossy(&output.stderr)))
    }

    /// Nothing of the user's settings counts; the credentials are for this process alone.
    fn environment(&self, command: &mut Command) {
        let mut settings = vec![
            ("gc.auto".to_owned(), "0".to_owned()),
            ("fetch.fsckObjects".to_owned(), "false".to_owned()),
            ("transfer.hideRefs".to_owned(), String::new()),
            ("credential.helper".to_owned(), String::new()),
            ("core.hooksPath".to_owned(), "/dev/null".to_owned()),
            ("safe.directory".to_owned(), "*".to_owned()),
        ];
        if let Some(token) = self.token.as_deref().filter(|_| self.url.starts_with("http")) {
            let basic = STANDARD.encode(format!("x-access-token:{token}"));
            settings.push(("http.extraHeader".to_owned(), format!("Authorization: Basic {basic}")));
            // A redirect must not carry the header to another host.
            settings.push(("http.followRedirects".to_owned(), "false".to_owned()));
        }
        for name in std::env::vars_os().filter_map(|(k, _)| k.into_string().ok()) {
            if name.starts_with("GIT_") && !name.starts_with("GIT_SSL") && name != "GIT_SSH_COMMAND" {
                command.env_remove(name);
            }
        }
        command
            .env("GIT_DIR", &self.dir)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "true")
            .env("SSH_ASKPASS", "true")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_PROTOCOL_FROM_USER", "0")
            .env("GIT_ALLOW_PROTOCOL", if is_local(&self.url) { "file" } else { "https:http:ssh:git" })
            .env("GIT_CONFIG_COUNT", settings.len().to_string())
            .env("LC_ALL", "C");
        for (i, (key, value)) in settings.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{i}"), key).env(format!("GIT_CONFIG_VALUE_{i}"), value);
        }
    }

    fn failure(&self, what: &str, stderr: &str) -> GitError {
        let has = |words: &[&str]| words.iter().any(|w| stderr.contains(w));
        let kind = if has(&[
            "couldn't find remote ref",
            "not our ref",
            "no such remote ref",
            "upload-pack: not our",
        ]) {
            GitErrorKind::Missing
        } else if has(&[
            "Authentication failed",
            "could not read Username",
            "Permission denied",
            "returned error: 401",
            "returned error: 403",
            "returned error: 404",
            "not found",
            "does not appear to be a git repository",
            "does not exist",
        ]) {
            GitErrorKind::Denied
        } else if has(&[
            "unable to access",
            "Could not resolve",
            "Connection refused",
            "Connection timed out",
            "early EOF",
            "hung up",
            "Could not read from remote",
            "RPC failed",
        ]) {
            GitErrorKind::Unreachable
        } else {
            GitErrorKind::Broken
        };
        let line = stderr
            .lines()
            .rev()
            .map(str::trim)
            .find(|l| l.starts_with("fatal: ") || l.starts_with("error: "));
        let line =
            line.or_else(|| stderr.lines().map(str::trim).find(|l| !l.is_empty())).unwrap_or("it failed");
        let said = self.without_secrets(line.trim_start_matches("fatal: ").trim_start_matches("error: "));
        let message = match kind {
            GitErrorKind::Unreachable => format!("the forge is out of reach: {said}"),
            GitErrorKind::Denied => format!("the forge does not let us read the repository: {said}"),
            GitErrorKind::Missing => format!("the forge does not have it (any more): {said}"),
            GitErrorKind::Broken => format!("git {what}: {said}"),
        };
        GitError { kind, message: message.chars().take(500).collect() }
    }

    fn without_secrets(&self, text: &str) -> String {
        let dir = self.dir.to_string_lossy();
        let text = text.replace(&*dir, "the mirror");
        match &self.token {
            Some(token) if !token.is_empty() => text.replace(token.as_str(), "***"),
            _ => text,
        }
    }
}

fn missing(sha: &str) -> GitError {
    GitError {
        kind: GitErrorKind::Missing,
        message: format!("the forge does not have it (any more): commit {sha}"),
    }
}

fn names(out: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(out).split('\0').filter(|n| !n.is_empty()).map(str::to_owned).collect()
}

fn parse_refs(text: &str) -> Refs {
    let mut refs = Refs::default();
    for line in text.lines() {
        let Some((left, name)) = line.split_once('\t') else { continue };
        if let Some(target) = left.strip_prefix("ref: ") {
            if name == "HEAD" {
                refs.default_branch = target.strip_prefix("refs/heads/").map(str::to_owned);
            }
        } else if is_sha(left) && is_ref_name(name) {
            match name.strip_suffix("^{}") {
                // What an annotated tag points to comes after the tag itself.
                Some(tag) => refs.refs.insert(tag.to_owned(), left.to_owned()),
                None if name == "HEAD" => None,
                None => refs.refs.insert(name.to_owned(), left.to_owned()),
            };
        }
    }
    refs
}

/// Whether a text is the full id of a commit.
#[must_use]
pub fn is_sha(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a name may be given to git as a ref: nothing that it reads as an option or an expression.
#[must_use]
pub fn is_ref_name(name: &str) -> bool {
    let plain = name.strip_suffix("^{}").unwrap_or(name);
    (1..=1024).contains(&plain.len())
        && !plain.starts_with(['-', '/', '.'])
        && !plain.ends_with(['/', '.'])
        && !plain.ends_with(".lock")
        && !plain.contains("..")
        && !plain.contains("@{")
        && !plain.contains("//")
        && !plain.chars().any(|c| c.is_control() || " ~^:?*[\\".contains(c))
}

/// Whether an address is a directory of this machine.
#[must_use]
pub fn is_local(url: &str) -> bool {
    url.starts_with("file://") || url.starts_with('/')
}

/// What is wrong with an address that git is to fetch.
#[must_use]
pub fn problem_of_url(url: &str) -> Option<&'static str> {
    if url.is_empty() || url.len() > 2048 || url.chars().any(|c| c.is_control() || c == ' ') {
        return Some("it is empty, too long, or has spaces");
    }
    if url.starts_with('-') {
        return Some("it begins with a dash");
    }
    if let Some((scheme, rest)) = url.split_once("://") {
        if !["https", "http", "ssh", "git", "file"].contains(&scheme) {
            return Some("only https, http, ssh, git and file are fetched");
        }
        let authority = rest.split('/').next().unwrap_or_default();
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        if matches!(scheme, "http" | "https") && user.is_some() || user.is_some_and(|u| u.contains(':')) {
            return Some("it holds credentials; give them with --token-file");
        }
        return None;
    }
    if url.contains("::") {
        return Some("only https, http, ssh, git and file are fetched");
    }
    if url.starts_with('/')
        || url.split_once(':').is_some_and(|(host, path)| !host.contains('/') && !path.is_empty())
    {
        return None;
    }
    Some("it is neither a URL nor an absolute path")
}

/// The directory of a mirror.
#[must_use]
pub fn directory(data: &Path, repository: u64) -> PathBuf {
    data.join("mirrors").join(format!("{repository}.git"))
}

#[cfg(test)]
mod tests;
