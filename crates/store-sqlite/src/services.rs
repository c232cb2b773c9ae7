//! Artifacts and caches: what is known of them beside their bytes, which are objects. Each call
//! that writes is a transaction of its own; it decides nothing about who may do what.

pub(crate) mod artifacts;
mod blobs;
mod caches;

use crate::SqliteStore;
use async_trait::async_trait;
use fleetfoot_model::ids::{AttemptRef, RunId};
use fleetfoot_model::time::Timestamp;
use fleetfoot_store::{
    ArtifactRow, BlobRow, CacheFilter, CacheRow, FileRow, Guarded, Made, NewArtifact, NewCache, NewFile,
    PartRow, ServiceStore, StoreError, Verified,
};
use rusqlite::Row;
use rusqlite::types::Type;

/// A number as SQLite keeps it. Sizes and ids stay far below 2^63.
const fn int(n: u64) -> i64 {
    n.cast_signed()
}

fn limit(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A number that is never negative.
fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp)
}

fn attempt(row: &Row<'_>, column: usize) -> rusqlite::Result<AttemptRef> {
    let text: String = row.get(column)?;
    text.parse().map_err(|e: String| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, e.into()))
}

#[async_trait]
impl ServiceStore for SqliteStore {
    async fn blob(&self, id: u64) -> Result<Option<BlobRow>, StoreError> {
        self.read("cannot read a blob", move |r| blobs::get(&r.conn, id)).await
    }

    async fn stage_part(&self, blob: u64, part: PartRow) -> Result<Guarded<Option<String>>, StoreError> {
        self.write("cannot add a part", move |c| blobs::stage(c, blob, &part)).await
    }

    async fn commit_parts(&self, blob: u64, blocks: Vec<String>) -> Result<Guarded<Vec<String>>, StoreError> {
        self.write("cannot commit parts", move |c| blobs::commit(c, blob, &blocks)).await
    }

    async fn seal_blob(&self, verified: Verified) -> Result<Guarded<()>, StoreError> {
        self.write("cannot seal a blob", move |c| blobs::seal(c, verified).map(guarded)).await
    }

    async fn project_bytes(&self, project: &str) -> Result<u64, StoreError> {
        let project = project.to_owned();
        self.read("cannot add up a project", move |r| blobs::project_bytes(&r.conn, &project)).await
    }

    async fn condemned_blobs(&self, max: usize) -> Result<Vec<u64>, StoreError> {
        self.read("cannot read condemned blobs", move |r| blobs::condemned(&r.conn, max)).await
    }

    async fn forget_blob(&self, id: u64) -> Result<(), StoreError> {
        self.write("cannot forget a blob", move |c| blobs::forget(c, id)).await
    }

    async fn create_artifact(&self, new: NewArtifact) -> Result<Guarded<Made>, StoreError> {
        self.write("cannot create an artifact", move |c| artifacts::create(c, &new)).await
    }

    async fn add_file(&self, new: NewFile) -> Result<Guarded<u64>, StoreError> {
        self.write("cannot add a file to an artifact", move |c| artifacts::add_file(c, &new)).await
    }

    async fn finish_artifact(
        &self,
        id: u64,
        verified: Verified,
        sha256: [u8; 32],
    ) -> Result<Guarded<()>, StoreError> {
        self.write("cannot finish an artifact", move |c| artifacts::finish(c, id, verified, &sha256)).await
    }

    async fn finish_files(&self, id: u64) -> Result<Guarded<()>, StoreError> {
        self.write("cannot finish an artifact", move |c| artifacts::finish_files(c, id)).await
    }

    async fn artifact(&self, id: u64) -> Result<Option<ArtifactRow>, StoreError> {
        self.read("cannot read an artifact", move |r| artifacts::get(&r.conn, id)).await
    }

    async fn artifact_named(&self, run: RunId, name: &str) -> Result<Option<ArtifactRow>, StoreError> {
        let name = name.to_owned();
        self.read("cannot read an artifact", move |r| artifacts::named(&r.conn, run, &name)).await
    }

    async fn artifacts(&self, run: RunId) -> Result<Vec<ArtifactRow>, StoreError> {
        self.read("cannot list artifacts", move |r| artifacts::list(&r.conn, run)).await
    }

    async fn files(&self, artifact: u64) -> Result<Vec<FileRow>, StoreError> {
        self.read("cannot list the files of an artifact", move |r| artifacts::files(&r.conn, artifact)).await
    }

    async fn delete_artifact(&self, id: u64) -> Result<bool, StoreError> {
        self.write("cannot delete an artifact", move |c| artifacts::delete(c, id)).await
    }

    async fn stale_artifacts(
        &self,
        now: Timestamp,
        unfinished_before: Timestamp,
        max: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let query = move |r: &mut crate::read::Reader| artifacts::stale(&r.conn, now, unfinished_before, max);
        self.read("cannot find old artifacts", query).await
    }

    async fn reserve_cache(&self, new: NewCache) -> Result<Guarded<Made>, StoreError> {
        self.write("cannot reserve a cache", move |c| caches::reserve(c, &new)).await
    }

    async fn finish_cache(
        &self,
        id: u64,
        verified: Verified,
        at: Timestamp,
    ) -> Result<Guarded<()>, StoreError> {
        self.write("cannot finish a cache", move |c| caches::finish(c, id, verified, at)).await
    }

    async fn cache(&self, id: u64) -> Result<Option<CacheRow>, StoreError> {
        self.read("cannot read a cache", move |r| caches::get(&r.conn, id)).await
    }

    async fn cache_exact(
        &self,
        project: &str,
        repository: &str,
        git_ref: &str,
        key: &str,
        version: &str,
    ) -> Result<Option<CacheRow>, StoreError> {
        let of = [project, repository, git_ref, version, key].map(str::to_owned);
        self.read("cannot look up a cache", move |r| caches::exact(&r.conn, &of)).await
    }

    async fn cache_by_prefix(
        &self,
        project: &str,
        repository: &str,
        git_ref: &str,
        prefix: &str,
        version: &str,
    ) -> Result<Option<CacheRow>, StoreError> {
        let of = [project, repository, git_ref, version, prefix].map(str::to_owned);
        self.read("cannot look up a cache", move |r| caches::by_prefix(&r.conn, &of)).await
    }

    async fn touch_cache(&self, id: u64, at: Timestamp) -> Result<(), StoreError> {
        self.write("cannot note the use of a cache", move |c| caches::touch(c, id, at)).await
    }

    async fn caches(
        &self,
        filter: &CacheFilter,
        cursor: Option<u64>,
        max: usize,
    ) -> Result<Vec<CacheRow>, StoreError> {
        let filter = filter.clone();
        self.read("cannot list caches", move |r| caches::list(&r.conn, &filter, cursor, max)).await
    }

    async fn delete_cache(&self, id: u64) -> Result<bool, StoreError> {
        self.write("cannot delete a cache", move |c| caches::delete(c, id)).await
    }

    async fn stale_caches(
        &self,
        idle_before: Timestamp,
        unfinished_before: Timestamp,
        max: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let query =
            move |r: &mut crate::read::Reader| caches::stale(&r.conn, idle_before, unfinished_before, max);
        self.read("cannot find old caches", query).await
    }

    async fn surplus_caches(&self, quota: u64, max: usize) -> Result<Vec<u64>, StoreError> {
        self.read("cannot find surplus caches", move |r| caches::surplus(&r.conn, quota, max)).await
    }
}

/// Whether a guarded statement took effect.
const fn guarded(done: bool) -> Guarded<()> {
    if done { Guarded::Done(()) } else { Guarded::Refused }
}
