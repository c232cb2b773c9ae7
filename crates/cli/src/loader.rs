//! Workflows of other repositories for runs that call them: by git, from the
//! same places and into the same kind of cache as actions.

use crate::environment;
use async_trait::async_trait;
use fleetfoot_actions::{ActionCache, CacheConfig};
use fleetfoot_control::WorkflowLoader;
use fleetfoot_model::{Code, Problem};
use std::path::PathBuf;

/// Fetches `OWNER/REPO/PATH@REF`.
#[derive(Debug)]
pub(crate) struct GitLoader(ActionCache);

impl GitLoader {
    /// Nothing is fetched, and no directory made, before the first reference.
    pub(crate) fn new(config: CacheConfig) -> Self {
        Self(ActionCache::new(config))
    }
}

#[async_trait]
impl WorkflowLoader for GitLoader {
    async fn load(&self, reference: &str) -> Result<String, Problem> {
        let wrong = |detail: String| {
            Problem::new(Code::BadDocument, detail).with_hint(
                "send its text in `files`, or look whether the repository can be reached from here",
            )
        };
        let parts = reference.split_once('@').and_then(|(place, git_ref)| {
            let mut parts = place.splitn(3, '/');
            Some((parts.next()?, parts.next()?, parts.next()?, git_ref))
        });
        let Some((owner, repository, path, git_ref)) = parts else {
            return Err(wrong(format!("'{reference}' is no workflow of another repository")));
        };
        // A branch may have moved since the last run.
        let found = self.0.for_job().file(owner, repository, git_ref, path).await;
        found
            .map(|(text, _)| text)
            .map_err(|e| wrong(format!("the called workflow {reference} cannot be had: {e}")))
    }
}

/// The cache in this directory, of the repositories that the environment names.
pub(crate) fn config(dir: PathBuf) -> CacheConfig {
    let mut config = CacheConfig::new(dir);
    config.mirror = environment::text(environment::ACTION_MIRROR);
    if let Some(url) = environment::text(environment::ACTION_URL) {
        config.base_url = url;
    }
    config.env = fleetfoot_runner::engine::proxy_variables();
    config
}
