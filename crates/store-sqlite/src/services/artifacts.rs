//! Rows of artifacts and their files.

use super::{attempt, blobs, guarded, int, limit, number, time};
use fleetfoot_model::ids::RunId;
use fleetfoot_model::time::Timestamp;
use fleetfoot_store::{ArtifactRow, EntryStatus, FileRow, Guarded, Made, NewArtifact, NewFile, Verified};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

const COLUMNS: &str =
    "id, project, run, attempt, name, protocol, status, media_type, size, sha256, created_at, expires_at";

fn row(row: &Row<'_>) -> Result<ArtifactRow> {
    Ok(ArtifactRow {
        id: number(row, 0)?,
        project: row.get(1)?,
        run: RunId(number(row, 2)?),
        attempt: attempt(row, 3)?,
        name: row.get(4)?,
        protocol: row.get(5)?,
        status: status(row.get_ref(6)?.as_str()?),
        media_type: row.get(7)?,
        size: number(row, 8)?,
        sha256: row.get(9)?,
        created_at: time(row, 10)?,
        expires_at: time(row, 11)?,
    })
}

/// The table allows only these two words.
pub(super) fn status(word: &str) -> EntryStatus {
    if word == "ready" { EntryStatus::Ready } else { EntryStatus::Uploading }
}

pub(super) fn create(c: &Connection, new: &NewArtifact) -> Result<Guarded<Made>> {
    if let Some(there) = named(c, new.run, &new.name)? {
        if Some(there.id) != new.replaces {
            return Ok(Guarded::Refused);
        }
        delete(c, there.id)?;
    }
    c.prepare_cached(
        "INSERT INTO artifacts
             (project, run, attempt, name, protocol, status, media_type, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, 'uploading', ?6, ?7, ?8)",
    )?
    .execute(params![
        new.project,
        int(new.run.0),
        new.attempt.to_string(),
        new.name,
        new.protocol,
        new.media_type,
        new.created_at.0,
        new.expires_at.0
    ])?;
    let id = c.last_insert_rowid().cast_unsigned();
    let mut made = Made { id, blob: 0 };
    if new.protocol == 4 {
        made.blob = blobs::create(c, &new.project, new.attempt, new.created_at)?;
        insert_file(c, id, "", made.blob, false, 0)?;
    }
    Ok(Guarded::Done(made))
}

fn insert_file(c: &Connection, id: u64, path: &str, blob: u64, gzip: bool, length: u64) -> Result<()> {
    c.prepare_cached(
        "INSERT INTO artifact_files (artifact, path, blob, gzip, length) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![int(id), path, int(blob), gzip, int(length)])?;
    Ok(())
}

pub(super) fn add_file(c: &Connection, new: &NewFile) -> Result<Guarded<u64>> {
    let Some(artifact) = get(c, new.artifact)?.filter(|a| a.protocol == 3) else {
        return Ok(Guarded::Refused);
    };
    drop_file(c, new.artifact, &new.path)?;
    let blob = blobs::create(c, &artifact.project, new.attempt, new.at)?;
    insert_file(c, new.artifact, &new.path, blob, new.gzip, new.length)?;
    Ok(Guarded::Done(blob))
}

fn drop_file(c: &Connection, artifact: u64, path: &str) -> Result<()> {
    let blob: Option<i64> = c
        .prepare_cached("DELETE FROM artifact_files WHERE artifact = ?1 AND path = ?2 RETURNING blob")?
        .query_row(params![int(artifact), path], |r| r.get(0))
        .optional()?;
    blob.map_or(Ok(()), |blob| blobs::condemn(c, blob.cast_unsigned()))
}

pub(super) fn finish(c: &Connection, id: u64, verified: Verified, sha256: &[u8; 32]) -> Result<Guarded<()>> {
    let owned = files(c, id)?.iter().any(|f| f.blob == verified.blob && f.path.is_empty());
    let uploading = get(c, id)?.is_some_and(|a| a.status == EntryStatus::Uploading && a.protocol == 4);
    if !owned || !uploading || !blobs::seal(c, verified)? {
        return Ok(Guarded::Refused);
    }
    c.prepare_cached("UPDATE artifacts SET status = 'ready', size = ?2, sha256 = ?3 WHERE id = ?1")?
        .execute(params![int(id), int(verified.size), sha256])?;
    Ok(guarded(true))
}

pub(super) fn finish_files(c: &Connection, id: u64) -> Result<Guarded<()>> {
    if get(c, id)?.is_none_or(|a| a.protocol != 3) {
        return Ok(Guarded::Refused);
    }
    let (mut size, all) = (0, files(c, id)?);
    for file in &all {
        if file.complete {
            size += file.stored;
        } else {
            drop_file(c, id, &file.path)?;
        }
    }
    c.prepare_cached("UPDATE artifacts SET status = 'ready', size = ?2 WHERE id = ?1")?
        .execute(params![int(id), int(size)])?;
    Ok(guarded(true))
}

pub(super) fn get(c: &Connection, id: u64) -> Result<Option<ArtifactRow>> {
    c.prepare_cached(&format!("SELECT {COLUMNS} FROM artifacts WHERE id = ?1"))?
        .query_row([int(id)], row)
        .optional()
}

pub(super) fn named(c: &Connection, run: RunId, name: &str) -> Result<Option<ArtifactRow>> {
    c.prepare_cached(&format!("SELECT {COLUMNS} FROM artifacts WHERE run = ?1 AND name = ?2"))?
        .query_row(params![int(run.0), name], row)
        .optional()
}

pub(super) fn list(c: &Connection, run: RunId) -> Result<Vec<ArtifactRow>> {
    c.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM artifacts WHERE run = ?1 AND status = 'ready' ORDER BY id"
    ))?
    .query_map([int(run.0)], row)?
    .collect()
}

pub(super) fn files(c: &Connection, artifact: u64) -> Result<Vec<FileRow>> {
    c.prepare_cached(
        "SELECT f.artifact, f.path, f.blob, f.gzip, f.length, b.bytes, b.status = 'sealed'
         FROM artifact_files f JOIN blobs b ON b.id = f.blob WHERE f.artifact = ?1 ORDER BY f.path",
    )?
    .query_map([int(artifact)], |r| {
        Ok(FileRow {
            artifact: number(r, 0)?,
            path: r.get(1)?,
            blob: number(r, 2)?,
            gzip: r.get(3)?,
            length: number(r, 4)?,
            stored: number(r, 5)?,
            complete: r.get(6)?,
        })
    })?
    .collect()
}

pub(super) fn delete(c: &Connection, id: u64) -> Result<bool> {
    for file in files(c, id)? {
        drop_file(c, id, &file.path)?;
    }
    Ok(c.prepare_cached("DELETE FROM artifacts WHERE id = ?1")?.execute([int(id)])? == 1)
}

pub(super) fn stale(
    c: &Connection,
    now: Timestamp,
    unfinished_before: Timestamp,
    max: usize,
) -> Result<Vec<u64>> {
    c.prepare_cached(
        "SELECT id FROM artifacts WHERE expires_at <= ?1
         UNION SELECT id FROM artifacts WHERE status = 'uploading' AND created_at < ?2
         UNION SELECT id FROM artifacts a WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.id = a.run)
         ORDER BY id LIMIT ?3",
    )?
    .query_map(params![now.0, unfinished_before.0, limit(max)], |r| number(r, 0))?
    .collect()
}

pub(crate) fn all_artifacts(
    c: &Connection,
    project: Option<&str>,
    name: Option<&str>,
    cursor: Option<u64>,
    max: usize,
) -> rusqlite::Result<Vec<ArtifactRow>> {
    c.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM artifacts WHERE status = 'ready' AND id < ?1
         AND (?2 IS NULL OR project = ?2) AND (?3 IS NULL OR instr(lower(name), ?3) > 0)
         ORDER BY id DESC LIMIT ?4"
    ))?
    .query_map(params![cursor.map_or(i64::MAX, int), project, name, super::limit(max)], row)?
    .collect()
}
