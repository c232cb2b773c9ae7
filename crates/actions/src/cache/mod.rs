//! Actions from other repositories: fetched by git, pinned by commit, kept in
//! a directory that several jobs and processes share. An entry is complete and
//! proven to be its commit before it gets its name, and proven again when a
//! process uses it for the first time or finds it changed. Policies are
//! checked before anything is looked at; nothing of what is fetched is run.

mod entry;
mod git;
mod place;
mod remote;

use crate::error::{ActionError, ActionErrorKind};
use crate::files;
use crate::manifest::Manifest;
use crate::reference::RemoteReference;
use parking_lot::Mutex;
use place::Place;
use remote::Remote;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

/// The largest file that [`ActionCache::file`] gives, in bytes.
const MAX_FILE: usize = 1024 * 1024;

/// How many git commands a fetch may be, for those who wait for it.
const COMMANDS: u32 = 8;

/// Where actions come from, where they are kept, and which are allowed.
#[derive(Clone)]
pub struct CacheConfig {
    /// The directory of the cache; made if it is missing. Several processes may share it.
    pub dir: PathBuf,
    /// The forge: repositories are at `BASE/OWNER/REPO`.
    pub base_url: String,
    /// A directory or address of bare repositories `OWNER/REPO.git`. If it is given, nothing else is asked.
    pub mirror: Option<String>,
    /// Owners (`actions`) or repositories (`actions/checkout`) that may be used; empty means all.
    pub allowed_owners: Vec<String>,
    /// Only full commit ids may be used, no branches and no tags.
    pub sha_only: bool,
    /// The longest time that one git command may take.
    pub timeout: Duration,
    /// Configuration of git, such as `http.proxy`, `http.sslCAInfo` or `http.extraHeader`. It travels
    /// in the environment, never in a command line.
    pub git_config: Vec<(String, String)>,
    /// Further variables of the git processes, such as `HTTPS_PROXY`.
    pub env: Vec<(String, String)>,
}

impl CacheConfig {
    /// A cache in this directory, of all of GitHub.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            base_url: "https://github.com".to_owned(),
            mirror: None,
            allowed_owners: Vec::new(),
            sha_only: false,
            timeout: Duration::from_secs(300),
            git_config: Vec::new(),
            env: Vec::new(),
        }
    }
}

impl fmt::Debug for CacheConfig {
    /// Without addresses, configuration and variables, all of which may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheConfig")
            .field("dir", &self.dir)
            .field("allowed_owners", &self.allowed_owners)
            .field("sha_only", &self.sha_only)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// An action on the disk. Treat it as read-only: other jobs share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The directory of the action, sub-path included.
    pub dir: PathBuf,
    /// The root of the repository.
    pub root: PathBuf,
    /// The commit.
    pub sha: String,
    /// Whether it was there already.
    pub cached: bool,
}

impl Fetched {
    /// Reads the manifest. Blocks on the disk.
    ///
    /// # Errors
    /// `NoManifest`, `BadManifest` or `Io`.
    pub fn manifest(&self) -> Result<Manifest, ActionError> {
        Manifest::load_within(&self.dir, &self.root)
    }

    /// A file that the manifest names (`main`, `image`), relative to the directory of the action. `..`
    /// and links may lead to any place of the repository, but not out of it. Blocks on the disk.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn file(&self, relative: &str) -> Result<PathBuf, ActionError> {
        files::real_within(&self.dir.join(relative), &self.root).filter(|path| path.is_file()).ok_or_else(|| {
            let message = format!(
                "the action has no file '{}', or it is outside of its repository. If it is built from sources, its author has to commit it",
                relative.escape_debug()
            );
            ActionError::new(ActionErrorKind::NotFound, message)
        })
    }
}

/// The cache of actions. Clones share everything; [`ActionCache::for_job`] starts a new memory of refs.
#[derive(Clone)]
pub struct ActionCache {
    shared: Arc<Shared>,
    /// Commits of branches and tags, so that they do not move within one job.
    resolved: Arc<Mutex<HashMap<String, Arc<OnceCell<String>>>>>,
}

impl fmt::Debug for ActionCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ActionCache").field(&self.shared.config).finish()
    }
}

struct Shared {
    config: CacheConfig,
    place: OnceCell<Place>,
    /// Entries that this process has proven, and how they looked then.
    proven: Mutex<HashMap<PathBuf, u64>>,
}

impl ActionCache {
    /// A cache. The directory is opened, and what crashed fetches left there removed, with the first fetch.
    #[must_use]
    pub fn new(config: CacheConfig) -> Self {
        let shared = Shared { config, place: OnceCell::new(), proven: Mutex::default() };
        Self { shared: Arc::new(shared), resolved: Arc::default() }
    }

    /// The same cache for a new job: branches and tags are looked up anew, and then stay what they are.
    #[must_use]
    pub fn for_job(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), resolved: Arc::default() }
    }

    /// Gets an action. The policies are checked before anything else. Dropping the future ends the
    /// git processes and leaves nothing.
    ///
    /// # Errors
    /// `NotAllowed`, `NotPinned`, `MissingInMirror`, `NotFound`, `Unreachable`, `Timeout` or `Io`.
    pub async fn fetch(&self, reference: &RemoteReference) -> Result<Fetched, ActionError> {
        let fetched = self.repository(reference).await?;
        let Some(path) = &reference.path else { return Ok(fetched) };
        let dir = fetched.root.join(path);
        if files::real_within(&dir, &fetched.root).is_some_and(|real| real.is_dir()) {
            return Ok(Fetched { dir, ..fetched });
        }
        let message = format!(
            "'{reference}': '{}' has no directory '{path}' in commit {}. Check the path of the action",
            reference.repository(),
            fetched.sha
        );
        Err(ActionError::new(ActionErrorKind::NotFound, message))
    }

    /// Gets one text file of a repository and the commit that it is from, for remote reusable workflows.
    ///
    /// # Errors
    /// As [`ActionCache::fetch`], and `BadReference` for parts that are none, `BadManifest` for a file
    /// that is too large or no UTF-8.
    pub async fn file(
        &self,
        owner: &str,
        repo: &str,
        git_ref: &str,
        path: &str,
    ) -> Result<(String, String), ActionError> {
        let reference = RemoteReference::new(owner, repo, Some(path), git_ref)?;
        let fetched = self.repository(&reference).await?;
        let path = reference.path.clone().unwrap_or_default();
        let (full, root) = (fetched.root.join(&path), fetched.root.clone());
        let bytes = blocking(move || files::read_within(&full, &root)).await??;
        let sha = fetched.sha;
        let Some(bytes) = bytes else {
            let message = format!("'{reference}': no file '{path}' in commit {sha}. Check the path");
            return Err(ActionError::new(ActionErrorKind::NotFound, message));
        };
        let bad = |what: &str| {
            ActionError::new(ActionErrorKind::BadManifest, format!("'{reference}': '{path}' {what}"))
        };
        if bytes.len() > MAX_FILE {
            return Err(bad("has more than 1 MiB"));
        }
        String::from_utf8(bytes).map(|text| (text, sha)).map_err(|_| bad("is not UTF-8; save it as such"))
    }

    /// The whole repository at the commit of a reference.
    async fn repository(&self, reference: &RemoteReference) -> Result<Fetched, ActionError> {
        let shared = &self.shared;
        shared.permit(reference)?;
        let place = shared.place().await?;
        let remote = Remote::of(&shared.config, reference, place.config_file());
        let sha = if reference.is_pinned() {
            reference.git_ref.to_lowercase()
        } else {
            self.resolve(reference, &remote, place).await?
        };
        let entry = place.entry(&reference.owner, &reference.repo, &sha);
        let root = entry::tree(&entry);
        let fetched = |cached| Fetched { dir: root.clone(), root: root.clone(), sha: sha.clone(), cached };
        if shared.is_good(&entry, &sha).await? {
            return Ok(fetched(true));
        }
        let patience = shared.config.timeout.saturating_mul(COMMANDS);
        let lock =
            place.lock(&sha, patience).await.map_err(|e| io("cannot lock the cache of actions", &e))?;
        let Some(_lock) = lock else {
            let message =
                format!("'{reference}': another process has been fetching it for too long. Try again");
            return Err(ActionError::new(ActionErrorKind::Timeout, message));
        };
        // Whoever held the lock before has probably fetched it.
        if shared.is_good(&entry, &sha).await? {
            return Ok(fetched(true));
        }
        shared.fill(place, &remote, reference, &sha, &entry).await?;
        Ok(fetched(false))
    }

    async fn resolve(
        &self,
        reference: &RemoteReference,
        remote: &Remote,
        place: &Place,
    ) -> Result<String, ActionError> {
        let key = format!("{}@{}", reference.repository().to_lowercase(), reference.git_ref);
        let cell = Arc::clone(self.resolved.lock().entry(key).or_default());
        let look = || async {
            remote.check()?;
            let at = place.temporary().map_err(|e| io("cannot write to the cache of actions", &e))?;
            remote.resolve(reference, at.path()).await
        };
        cell.get_or_try_init(look).await.cloned()
    }
}

impl Shared {
    async fn place(&self) -> Result<&Place, ActionError> {
        let open = || async {
            let dir = self.config.dir.clone();
            let opened = blocking(move || Place::open(&dir)).await?;
            opened.map_err(|error| {
                let message =
                    format!("cannot open the cache of actions '{}': {error}", self.config.dir.display());
                ActionError::new(ActionErrorKind::Io, message)
            })
        };
        self.place.get_or_try_init(open).await
    }

    /// The policies.
    fn permit(&self, reference: &RemoteReference) -> Result<(), ActionError> {
        reference.check()?;
        let allowed = &self.config.allowed_owners;
        let repository = reference.repository();
        let listed = |entry: &String| {
            entry.eq_ignore_ascii_case(&reference.owner) || entry.eq_ignore_ascii_case(&repository)
        };
        if !allowed.is_empty() && !allowed.iter().any(listed) {
            let message = format!(
                "'{reference}' is not allowed here: actions may come from {}. Whoever runs this runner can add '{}'",
                allowed.join(", "),
                reference.owner
            );
            return Err(ActionError::new(ActionErrorKind::NotAllowed, message));
        }
        if self.config.sha_only && !reference.is_pinned() {
            let message = format!(
                "'{reference}' is not pinned: only full commit ids are allowed here, because branches and tags can move. Write {repository}@<40 digits>; to find them: git ls-remote {}/{repository} {}",
                self.config.base_url.trim_end_matches('/'),
                reference.git_ref
            );
            return Err(ActionError::new(ActionErrorKind::NotPinned, message));
        }
        Ok(())
    }

    /// Whether an entry is there and is what it should be.
    async fn is_good(&self, entry: &Path, sha: &str) -> Result<bool, ActionError> {
        let known = self.proven.lock().get(entry).copied();
        let (path, sha) = (entry.to_owned(), sha.to_owned());
        let found = blocking(move || {
            let looks = entry::fingerprint(&path)?;
            if known == Some(looks) {
                return Some(looks);
            }
            entry::verify(&path, &sha).then_some(looks)
        });
        let found = found.await?;
        let mut proven = self.proven.lock();
        match found {
            Some(looks) => drop(proven.insert(entry.to_owned(), looks)),
            None => drop(proven.remove(entry)),
        }
        Ok(found.is_some())
    }

    /// Fetches a commit and gives it its place. The caller holds the lock.
    async fn fill(
        &self,
        place: &Place,
        remote: &Remote,
        reference: &RemoteReference,
        sha: &str,
        entry: &Path,
    ) -> Result<(), ActionError> {
        remote.check()?;
        let failed = |e: std::io::Error| io("cannot write to the cache of actions", &e);
        let temp = place.temporary().map_err(failed)?;
        let fresh = temp.path().join("entry");
        let work =
            Work { remote, reference, sha, git_dir: temp.path().join("git"), tree: entry::tree(&fresh) };
        std::fs::create_dir_all(&work.tree).map_err(failed)?;
        work.fetch(temp.path()).await?;
        let (commit, listing) = work.check_out().await?;
        let (target, sha) = (entry.to_owned(), sha.to_owned());
        let published = blocking(move || -> std::io::Result<bool> {
            entry::write_marker(&fresh, &commit, &listing)?;
            if !entry::verify(&fresh, &sha) {
                return Ok(false);
            }
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent)?;
            }
            // What is there has been found wanting; jobs that still use it keep their open files.
            if target.symlink_metadata().is_ok() {
                std::fs::rename(&target, temp.path().join("replaced"))?;
            }
            match std::fs::rename(&fresh, &target) {
                // Somebody whose waiting was given up has come first, with the same commit.
                Err(_) if entry::verify(&target, &sha) => {}
                other => other?,
            }
            drop(temp);
            Ok(true)
        });
        if published.await?.map_err(failed)? {
            return Ok(());
        }
        let message = format!(
            "'{reference}': the files that git wrote are not those of commit {}. Is the disk of the cache in order, and its filesystem case-sensitive?",
            work.sha
        );
        Err(ActionError::new(ActionErrorKind::Io, message))
    }
}

/// One commit on its way from a remote to a directory.
struct Work<'a> {
    remote: &'a Remote,
    reference: &'a RemoteReference,
    sha: &'a str,
    git_dir: PathBuf,
    tree: PathBuf,
}

impl Work<'_> {
    /// Gets the commit with as little else as the server allows.
    async fn fetch(&self, temp: &Path) -> Result<(), ActionError> {
        let git_dir = self.git_dir.to_string_lossy().into_owned();
        let mut init = vec!["init", "--quiet", "--bare", "--template="];
        if self.sha.len() == 64 {
            init.push("--object-format=sha256");
        }
        init.extend(["--", &git_dir]);
        self.local(temp, &init).await?;
        let info = self.git_dir.join("info");
        let written = std::fs::create_dir_all(&info).and_then(|()| {
            // Stronger than any .gitattributes of the repository: files are written as they are
            // stored, and no filter runs.
            let attributes = "* -text !eol -ident -filter !working-tree-encoding\n";
            std::fs::write(info.join("attributes"), attributes)
        });
        written.map_err(|e| io("cannot write to the cache of actions", &e))?;

        let commit = format!("+{}:refs/fleetfoot/commit", self.sha);
        let output = self.fetch_refs(&["--depth=1"], &[&commit]).await?;
        if output.success && self.is_here().await? {
            return Ok(());
        }
        if !output.success && !remote::wants_a_ref(&output.stderr) {
            return Err(self.remote.refusal(&output));
        }
        // Servers that give only what they advertise: the whole history has the commit, if any has.
        let everything = ["+refs/heads/*:refs/fleetfoot/heads/*", "+refs/tags/*:refs/fleetfoot/tags/*"];
        let output = self.fetch_refs(&[], &everything).await?;
        if !output.success {
            return Err(self.remote.refusal(&output));
        }
        if self.is_here().await? { Ok(()) } else { Err(self.remote.no_such_commit(self.reference, self.sha)) }
    }

    async fn fetch_refs(&self, options: &[&str], refs: &[&str]) -> Result<git::Output, ActionError> {
        let mut args =
            vec!["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance"];
        args.extend(options);
        args.extend(["--", self.remote.url()]);
        args.extend(refs);
        self.remote.run(&self.tree, &[("GIT_DIR", &self.git_dir)], &args).await
    }

    /// Whether the commit itself has come; the id of an annotated tag is none of a commit.
    async fn is_here(&self) -> Result<bool, ActionError> {
        let places: &[(&str, &Path)] = &[("GIT_DIR", &self.git_dir)];
        let kind = self.remote.run(&self.tree, places, &["cat-file", "-t", self.sha]).await?;
        Ok(kind.success && kind.stdout == b"commit\n")
    }

    /// Writes the files of the commit; answers the commit object and the list of the files. Plumbing
    /// only: it runs no hooks and looks at no submodules.
    async fn check_out(&self) -> Result<(Vec<u8>, Vec<u8>), ActionError> {
        let commit = self.local(&self.tree, &["cat-file", "commit", self.sha]).await?;
        let listing = self.local(&self.tree, &["ls-tree", "-r", "-z", "--full-tree", self.sha]).await?;
        self.local(&self.tree, &["read-tree", self.sha]).await?;
        self.local(&self.tree, &["checkout-index", "--all", "--force", "--quiet"]).await?;
        Ok((commit.stdout, listing.stdout))
    }

    /// Git on our own directory, which has no reason to fail.
    async fn local(&self, at: &Path, args: &[&str]) -> Result<git::Output, ActionError> {
        let places: &[(&str, &Path)] = &[("GIT_DIR", &self.git_dir), ("GIT_WORK_TREE", &self.tree)];
        let places = if args.first() == Some(&"init") { &[] } else { places };
        let output = self.remote.run(at, places, args).await?;
        if output.success {
            return Ok(output);
        }
        let verb = args.first().copied().unwrap_or_default();
        let message =
            format!("'{}': git {verb} failed: {}", self.reference, remote::complaint(&output.stderr));
        Err(ActionError::new(ActionErrorKind::Io, message))
    }
}

fn io(what: &str, error: &std::io::Error) -> ActionError {
    ActionError::new(ActionErrorKind::Io, format!("{what}: {error}"))
}

/// Work with the disk, where it keeps nobody waiting.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ActionError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        ActionError::new(ActionErrorKind::Io, format!("the cache of actions failed: {error}"))
    })
}
