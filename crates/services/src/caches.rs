//! Caches: immutable entries under (repository, ref, version, key). A job saves under its own ref
//! alone, so that a pull request changes nothing for the branches that it reads from.

use crate::error::{ErrorKind, Result, ServiceError};
use crate::grant::{Grant, Kind};
use crate::job::{Gate, Job};
use crate::{Services, names};
use fleetfoot_model::time::Timestamp;
use fleetfoot_store::{CacheFilter, CacheRow, EntryStatus, Guarded, NewCache};

/// Most keys of one lookup, as in the clients.
const MAX_KEYS: usize = 10;
/// The clients show what begins like this as a matter of policy, without trying again.
const DENIED: &str = "cache write denied:";
/// Entries that were too many and go at once; the housekeeping finds the others.
const EVICTED: usize = 100;

impl Services {
    /// Reserves an entry for upload: its id and its blob.
    pub(crate) async fn reserve_cache(
        &self,
        job: &Job,
        gate: &dyn Gate,
        key: &str,
        version: &str,
        now: Timestamp,
    ) -> Result<(u64, u64)> {
        names::cache_key(key)?;
        names::cache_version(version)?;
        let Some(git_ref) = job.caches.write.clone() else {
            let message = format!("{DENIED} the jobs of this run only read caches");
            return Err(ServiceError::new(ErrorKind::Denied, message));
        };
        let scopes = &job.caches;
        let taken = || ServiceError::conflict(format!("the cache '{key}' exists already or is being saved"));
        let there =
            self.caches.store.cache_exact(&job.project, &scopes.repository, &git_ref, key, version).await?;
        let replaces = match there {
            None => None,
            Some(there) if there.status == EntryStatus::Ready => return Err(taken()),
            // A reservation whose job is over, or this job's own from an earlier try.
            Some(there) if there.attempt == job.attempt || !gate.is_open(there.attempt).await => {
                Some(there.id)
            }
            Some(_) => return Err(taken()),
        };
        let new = NewCache {
            project: job.project.clone(),
            repository: scopes.repository.clone(),
            git_ref,
            key: key.to_owned(),
            version: version.to_owned(),
            attempt: job.attempt,
            created_at: now,
            replaces,
        };
        match self.caches.store.reserve_cache(new).await? {
            Guarded::Done(made) => Ok((made.id, made.blob)),
            Guarded::Refused => Err(taken()),
        }
    }

    /// The reservation of a job, by its key.
    pub(crate) async fn reserved(&self, job: &Job, key: &str, version: &str) -> Result<CacheRow> {
        let git_ref = job.caches.write.as_deref().unwrap_or_default();
        let found = self
            .caches
            .store
            .cache_exact(&job.project, &job.caches.repository, git_ref, key, version)
            .await?;
        found
            .filter(|c| c.attempt == job.attempt)
            .ok_or_else(|| ServiceError::missing(format!("the cache '{key}' is not reserved by this job")))
    }

    /// Makes an entry visible.
    pub(crate) async fn finalize_cache(&self, cache: &CacheRow, size: u64, now: Timestamp) -> Result<u64> {
        if cache.status == EntryStatus::Ready {
            // The answer to the first request may have been lost.
            return match cache.size == size {
                true => Ok(cache.id),
                false => Err(ServiceError::conflict(format!("the cache '{}' is saved already", cache.key))),
            };
        }
        if size > self.limits.cache_bytes {
            let message = format!("a repository has {} bytes for its caches", self.limits.cache_bytes);
            return Err(ServiceError::new(ErrorKind::Quota, message));
        }
        let (verified, _) = self.verify(Kind::Cache, cache.blob, size, false).await?;
        let finished = self.caches.store.finish_cache(cache.id, verified, now).await?;
        if finished == Guarded::Refused {
            return Err(ServiceError::conflict("the cache changed while it was being finalized"));
        }
        self.evict().await?;
        Ok(cache.id)
    }

    /// Deletes what is beyond the quotas.
    pub(crate) async fn evict(&self) -> Result<u64> {
        let surplus = self.caches.store.surplus_caches(self.limits.cache_bytes, EVICTED).await?;
        for id in &surplus {
            self.caches.store.delete_cache(*id).await?;
        }
        if !surplus.is_empty() {
            self.sweep_blobs(&self.caches).await?;
        }
        Ok(surplus.len() as u64)
    }

    /// The entry that a job gets for its keys: in each scope the first key exactly, then each key as
    /// the beginning of one, the newest first.
    pub(crate) async fn find_cache(
        &self,
        job: &Job,
        keys: &[String],
        version: &str,
        now: Timestamp,
    ) -> Result<Option<CacheRow>> {
        if keys.is_empty() || keys.len() > MAX_KEYS {
            return Err(ServiceError::invalid("a lookup has 1 to 10 keys"));
        }
        keys.iter().try_for_each(|k| names::cache_key(k))?;
        names::cache_version(version)?;
        let (store, of) = (&self.caches.store, &job.caches.repository);
        for scope in &job.caches.read {
            let mut found = store
                .cache_exact(&job.project, of, scope, &keys[0], version)
                .await?
                .filter(|c| c.status == EntryStatus::Ready);
            let mut prefixes = keys.iter();
            while let (None, Some(prefix)) = (&found, prefixes.next()) {
                found = store.cache_by_prefix(&job.project, of, scope, prefix, version).await?;
            }
            if let Some(found) = found {
                store.touch_cache(found.id, now).await?;
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A signed address of an entry.
    pub(crate) fn cache_address(&self, job: &Job, cache: &CacheRow, base: &str, now: Timestamp) -> String {
        Grant::read(Kind::Cache, cache.blob, job.attempt, now).url(&self.keys, base)
    }

    // -- for the public API ---------------------------------------------------

    /// Entries, newest first.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn caches(
        &self,
        filter: &CacheFilter,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<Vec<CacheRow>> {
        Ok(self.caches.store.caches(filter, cursor, limit).await?)
    }

    /// Deletes one entry.
    ///
    /// # Errors
    /// `Missing` if there is none.
    pub async fn delete_cache(&self, id: u64) -> Result<()> {
        if !self.caches.store.delete_cache(id).await? {
            return Err(ServiceError::missing(format!("there is no cache {id}")));
        }
        self.sweep_blobs(&self.caches).await
    }

    /// Deletes every entry that the filter names; the answer is what they were.
    ///
    /// # Errors
    /// If the store fails; what was deleted stays deleted.
    pub async fn delete_caches(&self, filter: &CacheFilter) -> Result<Vec<CacheRow>> {
        let mut deleted = Vec::new();
        loop {
            let page = self.caches.store.caches(filter, None, EVICTED).await?;
            if page.is_empty() {
                self.sweep_blobs(&self.caches).await?;
                return Ok(deleted);
            }
            for cache in page {
                self.caches.store.delete_cache(cache.id).await?;
                deleted.push(cache);
            }
        }
    }
}
