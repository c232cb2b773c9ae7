//! Rows of cache entries.

use super::artifacts::status;
use super::{attempt, blobs, guarded, int, limit, number, time};
use fleetfoot_model::time::Timestamp;
use fleetfoot_store::{CacheFilter, CacheRow, EntryStatus, Guarded, Made, NewCache, Verified};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

const COLUMNS: &str =
    "id, project, repository, git_ref, key, version, attempt, status, blob, size, created_at, used_at";

fn row(row: &Row<'_>) -> Result<CacheRow> {
    Ok(CacheRow {
        id: number(row, 0)?,
        project: row.get(1)?,
        repository: row.get(2)?,
        git_ref: row.get(3)?,
        key: row.get(4)?,
        version: row.get(5)?,
        attempt: attempt(row, 6)?,
        status: status(row.get_ref(7)?.as_str()?),
        blob: number(row, 8)?,
        size: number(row, 9)?,
        created_at: time(row, 10)?,
        used_at: time(row, 11)?,
    })
}

pub(super) fn reserve(c: &Connection, new: &NewCache) -> Result<Guarded<Made>> {
    let of = [&new.project, &new.repository, &new.git_ref, &new.version, &new.key].map(Clone::clone);
    if let Some(there) = exact(c, &of)? {
        // What is complete is never replaced, whatever the caller believes.
        if Some(there.id) != new.replaces || there.status == EntryStatus::Ready {
            return Ok(Guarded::Refused);
        }
        delete(c, there.id)?;
    }
    let blob = blobs::create(c, &new.project, new.attempt, new.created_at)?;
    c.prepare_cached(
        "INSERT INTO caches
             (project, repository, git_ref, key, version, attempt, status, blob, created_at, used_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'uploading', ?7, ?8, ?8)",
    )?
    .execute(params![
        new.project,
        new.repository,
        new.git_ref,
        new.key,
        new.version,
        new.attempt.to_string(),
        int(blob),
        new.created_at.0
    ])?;
    Ok(Guarded::Done(Made { id: c.last_insert_rowid().cast_unsigned(), blob }))
}

pub(super) fn finish(c: &Connection, id: u64, verified: Verified, at: Timestamp) -> Result<Guarded<()>> {
    let expected = get(c, id)?.is_some_and(|e| e.status == EntryStatus::Uploading && e.blob == verified.blob);
    if !expected || !blobs::seal(c, verified)? {
        return Ok(Guarded::Refused);
    }
    c.prepare_cached("UPDATE caches SET status = 'ready', size = ?2, used_at = ?3 WHERE id = ?1")?
        .execute(params![int(id), int(verified.size), at.0])?;
    Ok(guarded(true))
}

pub(super) fn get(c: &Connection, id: u64) -> Result<Option<CacheRow>> {
    c.prepare_cached(&format!("SELECT {COLUMNS} FROM caches WHERE id = ?1"))?
        .query_row([int(id)], row)
        .optional()
}

/// `of`: project, repository, ref, version, key.
pub(super) fn exact(c: &Connection, of: &[String; 5]) -> Result<Option<CacheRow>> {
    c.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM caches
         WHERE project = ?1 AND repository = ?2 AND git_ref = ?3 AND version = ?4 AND key = ?5"
    ))?
    .query_row(params![of[0], of[1], of[2], of[3], of[4]], row)
    .optional()
}

/// `of`: project, repository, ref, version, beginning of the key.
pub(super) fn by_prefix(c: &Connection, of: &[String; 5]) -> Result<Option<CacheRow>> {
    c.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM caches
         WHERE project = ?1 AND repository = ?2 AND git_ref = ?3 AND version = ?4
             AND key >= ?5 AND substr(key, 1, length(?5)) = ?5 AND status = 'ready'
         ORDER BY id DESC LIMIT 1"
    ))?
    .query_row(params![of[0], of[1], of[2], of[3], of[4]], row)
    .optional()
}

pub(super) fn touch(c: &Connection, id: u64, at: Timestamp) -> Result<()> {
    c.prepare_cached("UPDATE caches SET used_at = max(used_at, ?2) WHERE id = ?1")?
        .execute(params![int(id), at.0])?;
    Ok(())
}

pub(super) fn list(
    c: &Connection,
    filter: &CacheFilter,
    cursor: Option<u64>,
    max: usize,
) -> Result<Vec<CacheRow>> {
    c.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM caches
         WHERE status = 'ready' AND (?1 IS NULL OR project = ?1) AND (?2 IS NULL OR repository = ?2)
             AND (?3 IS NULL OR git_ref = ?3) AND (?4 IS NULL OR substr(key, 1, length(?4)) = ?4)
             AND (?5 IS NULL OR key = ?5) AND (?6 IS NULL OR id < ?6)
         ORDER BY id DESC LIMIT ?7"
    ))?
    .query_map(
        params![
            filter.project,
            filter.repository,
            filter.git_ref,
            filter.key_prefix,
            filter.key,
            cursor.map(int),
            limit(max)
        ],
        row,
    )?
    .collect()
}

pub(super) fn delete(c: &Connection, id: u64) -> Result<bool> {
    let blob: Option<i64> = c
        .prepare_cached("DELETE FROM caches WHERE id = ?1 RETURNING blob")?
        .query_row([int(id)], |r| r.get(0))
        .optional()?;
    let Some(blob) = blob else { return Ok(false) };
    blobs::condemn(c, blob.cast_unsigned())?;
    Ok(true)
}

pub(super) fn stale(
    c: &Connection,
    idle_before: Timestamp,
    unfinished_before: Timestamp,
    max: usize,
) -> Result<Vec<u64>> {
    c.prepare_cached(
        "SELECT id FROM caches WHERE status = 'ready' AND used_at < ?1
         UNION SELECT id FROM caches WHERE status = 'uploading' AND created_at < ?2
         ORDER BY id LIMIT ?3",
    )?
    .query_map(params![idle_before.0, unfinished_before.0, limit(max)], |r| number(r, 0))?
    .collect()
}

/// Those behind the point at which the most recently used ones fill the quota.
pub(super) fn surplus(c: &Connection, quota: u64, max: usize) -> Result<Vec<u64>> {
    c.prepare_cached(
        "SELECT id FROM (
             SELECT id, used_at, sum(size) OVER (
                 PARTITION BY project, repository ORDER BY used_at DESC, id DESC
             ) AS filled FROM caches WHERE status = 'ready'
         ) WHERE filled > ?1 ORDER BY used_at, id LIMIT ?2",
    )?
    .query_map(params![int(quota), limit(max)], |r| number(r, 0))?
    .collect()
}
