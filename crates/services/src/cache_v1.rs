//! Caches as older clients ask for them: REST, with ranges in any order.

use crate::Services;
use crate::blobs::Body;
use crate::error::{ErrorKind, Result, ServiceError};
use crate::grant::{Grant, Kind};
use crate::job::{Gate, Job};
use crate::v3::ContentRange;
use fleetfoot_model::time::Timestamp;
use fleetfoot_store::{CacheFilter, CacheRow};
use serde::{Deserialize, Serialize};

/// A reservation.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReserveCache {
    /// Key.
    pub key: String,
    /// Version.
    pub version: String,
    /// Bytes that will come, if the client says so.
    #[serde(default)]
    pub cache_size: Option<u64>,
}

/// The answer to a reservation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReservedCache {
    /// Its id.
    pub cache_id: u64,
}

/// The end of an upload.
#[derive(Debug, Deserialize)]
pub struct CommitCache {
    /// Bytes that were sent.
    pub size: u64,
}

/// An entry as clients read it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheEntry {
    /// Key that was found.
    pub cache_key: String,
    scope: String,
    cache_version: String,
    creation_time: String,
    /// Where its bytes are; absent in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive_location: Option<String>,
}

/// Entries for a diagnosis.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheList {
    total_count: usize,
    artifact_caches: Vec<CacheEntry>,
}

impl CacheEntry {
    fn of(cache: CacheRow, archive_location: Option<String>) -> Self {
        Self {
            cache_key: cache.key,
            scope: cache.git_ref,
            cache_version: cache.version,
            creation_time: cache.created_at.to_string(),
            archive_location,
        }
    }
}

impl Services {
    /// Looks up the entry for a list of keys, separated by commas.
    ///
    /// # Errors
    /// `Invalid` for bad keys.
    pub async fn v1_lookup(
        &self,
        job: &Job,
        keys: &str,
        version: &str,
        base: &str,
        now: Timestamp,
    ) -> Result<Option<CacheEntry>> {
        let keys: Vec<String> = keys.split(',').map(|k| k.trim().to_owned()).collect();
        let found = self.find_cache(job, &keys, version, now).await?;
        Ok(found.map(|cache| {
            let address = self.cache_address(job, &cache, base, now);
            CacheEntry::of(cache, Some(address))
        }))
    }

    /// Entries whose keys begin like this, in the scopes of the job: for a diagnosis.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn v1_list(&self, job: &Job, prefix: &str) -> Result<CacheList> {
        let filter = CacheFilter {
            project: Some(job.project.clone()),
            repository: Some(job.caches.repository.clone()),
            key_prefix: Some(prefix.to_owned()),
            ..CacheFilter::default()
        };
        let mut all = self.caches.store.caches(&filter, None, 100).await?;
        all.retain(|c| job.caches.read.contains(&c.git_ref));
        let artifact_caches: Vec<_> = all.into_iter().map(|c| CacheEntry::of(c, None)).collect();
        Ok(CacheList { total_count: artifact_caches.len(), artifact_caches })
    }

    /// Reserves an entry.
    ///
    /// # Errors
    /// `Conflict` if it exists, `Denied` for a job that only reads, `Invalid` if it is too large.
    pub async fn v1_reserve(
        &self,
        job: &Job,
        gate: &dyn Gate,
        request: &ReserveCache,
        now: Timestamp,
    ) -> Result<ReservedCache> {
        if request.cache_size.is_some_and(|size| size > self.limits.cache_bytes) {
            let message = format!("a repository has {} bytes for its caches", self.limits.cache_bytes);
            return Err(ServiceError::new(ErrorKind::Invalid, message));
        }
        let (cache_id, _) = self.reserve_cache(job, gate, &request.key, &request.version, now).await?;
        Ok(ReservedCache { cache_id })
    }

    /// Receives a range.
    ///
    /// # Errors
    /// `Missing` if the job did not reserve it, `Conflict` if it is saved already, `Quota`.
    pub async fn v1_upload(
        &self,
        job: &Job,
        id: u64,
        range: ContentRange,
        body: Body,
        now: Timestamp,
    ) -> Result<()> {
        let cache = self.own_cache(job, id).await?;
        let grant = Grant::write(Kind::Cache, cache.blob, job.attempt, now);
        self.put_range(&grant, range.range, body).await
    }

    /// Makes an entry visible.
    ///
    /// # Errors
    /// `Invalid` if the parts leave a gap or the size differs.
    pub async fn v1_commit(&self, job: &Job, id: u64, size: u64, now: Timestamp) -> Result<()> {
        let cache = self.own_cache(job, id).await?;
        self.finalize_cache(&cache, size, now).await.map(drop)
    }

    async fn own_cache(&self, job: &Job, id: u64) -> Result<CacheRow> {
        let found = self.caches.store.cache(id).await?;
        found
            .filter(|c| c.attempt == job.attempt)
            .ok_or_else(|| ServiceError::missing(format!("cache {id} is not reserved by this job")))
    }
}
