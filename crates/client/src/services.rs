//! Artifacts and caches: one method an endpoint, and nothing here decides
//! anything.

use crate::error::ClientError;
use crate::http::Client;
use bytes::Bytes;
use fleetfoot_model::RunId;
use fleetfoot_model::services::{ArtifactList, CacheList};
use futures_util::{Stream, TryStreamExt};
use reqwest::Method;

/// Which caches to list or delete.
#[derive(Clone, Debug, Default)]
pub struct CacheQuery {
    /// Project.
    pub project: Option<String>,
    /// Repository (`OWNER/NAME`).
    pub repository: Option<String>,
    /// Full ref.
    pub git_ref: Option<String>,
    /// The key, or its beginning for a list.
    pub key: Option<String>,
    /// Where the last page ended.
    pub cursor: Option<String>,
}

impl CacheQuery {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("project", &self.project),
            ("repository", &self.repository),
            ("ref", &self.git_ref),
            ("key", &self.key),
            ("cursor", &self.cursor),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

impl Client {
    /// Artifacts of a run, oldest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn artifacts(&self, run: RunId) -> Result<ArtifactList, ClientError> {
        self.get(self.api(&["runs", &run.to_string(), "artifacts"], &[])).await
    }

    /// The bytes of an artifact, as they arrive.
    ///
    /// # Errors
    /// [`ClientError`]; the items carry what breaks later.
    pub async fn download_artifact(
        &self,
        id: u64,
    ) -> Result<impl Stream<Item = Result<Bytes, ClientError>> + Send + use<>, ClientError> {
        let url = self.api(&["artifacts", &id.to_string(), "download"], &[]);
        let response = self.send(self.request(Method::GET, url)).await?;
        let client = self.clone();
        Ok(response.bytes_stream().map_err(move |e| client.transport(e)))
    }

    /// Deletes an artifact.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_artifact(&self, id: u64) -> Result<(), ClientError> {
        self.done(self.request(Method::DELETE, self.api(&["artifacts", &id.to_string()], &[]))).await
    }

    /// Caches, newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn caches(&self, query: &CacheQuery) -> Result<CacheList, ClientError> {
        self.get(self.api(&["caches"], &query.pairs())).await
    }

    /// Deletes a cache.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_cache(&self, id: u64) -> Result<(), ClientError> {
        self.done(self.request(Method::DELETE, self.api(&["caches", &id.to_string()], &[]))).await
    }

    /// Deletes the caches with exactly this key; answers what they were.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_caches(&self, query: &CacheQuery) -> Result<CacheList, ClientError> {
        let url = self.api(&["caches"], &query.pairs());
        let response = self.send(self.request(Method::DELETE, url).timeout(self.timeout)).await?;
        self.json(response).await
    }
}
