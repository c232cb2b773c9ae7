//! Rows of blobs and their parts. Parts change only while a blob is open.

use super::{attempt, int, limit, number};
use fleetfoot_model::ids::AttemptRef;
use fleetfoot_model::time::Timestamp;
use fleetfoot_store::{BlobRow, BlobStatus, Guarded, PartRow, Verified};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use std::collections::HashMap;

pub(super) fn create(c: &Connection, project: &str, by: AttemptRef, at: Timestamp) -> Result<u64> {
    c.prepare_cached("INSERT INTO blobs (project, attempt, status, created_at) VALUES (?1, ?2, 'open', ?3)")?
        .execute(params![project, by.to_string(), at.0])?;
    Ok(c.last_insert_rowid().cast_unsigned())
}

pub(super) fn condemn(c: &Connection, id: u64) -> Result<()> {
    c.prepare_cached("UPDATE blobs SET status = 'condemned' WHERE id = ?1")?.execute([int(id)])?;
    Ok(())
}

pub(super) fn get(c: &Connection, id: u64) -> Result<Option<BlobRow>> {
    let row = c
        .prepare_cached("SELECT id, project, attempt, status, generation FROM blobs WHERE id = ?1")?
        .query_row([int(id)], head)
        .optional()?;
    let Some(mut blob) = row else { return Ok(None) };
    let mut parts = c.prepare_cached(
        "SELECT object, block, position, size FROM blob_parts WHERE blob = ?1
         ORDER BY position IS NULL, position, object",
    )?;
    blob.parts = parts.query_map([int(id)], part)?.collect::<Result<_>>()?;
    Ok(Some(blob))
}

fn head(row: &Row<'_>) -> Result<BlobRow> {
    Ok(BlobRow {
        id: number(row, 0)?,
        project: row.get(1)?,
        attempt: attempt(row, 2)?,
        status: match row.get_ref(3)?.as_str()? {
            "open" => BlobStatus::Open,
            "sealed" => BlobStatus::Sealed,
            "condemned" => BlobStatus::Condemned,
            other => {
                let what = format!("unknown state of a blob: {other}");
                return Err(rusqlite::Error::FromSqlConversionFailure(3, Type::Text, what.into()));
            }
        },
        generation: number(row, 4)?,
        parts: Vec::new(),
    })
}

fn part(row: &Row<'_>) -> Result<PartRow> {
    Ok(PartRow {
        object: row.get(0)?,
        block: row.get(1)?,
        position: row.get::<_, Option<i64>>(2)?.map(i64::cast_unsigned),
        size: number(row, 3)?,
    })
}

/// Counts a change, if the blob is open.
fn change(c: &Connection, id: u64, grown: i64) -> Result<bool> {
    let sql = "UPDATE blobs SET generation = generation + 1, bytes = max(0, bytes + ?2)
               WHERE id = ?1 AND status = 'open'";
    Ok(c.prepare_cached(sql)?.execute(params![int(id), grown])? == 1)
}

pub(super) fn stage(c: &Connection, id: u64, part: &PartRow) -> Result<Guarded<Option<String>>> {
    let old: Option<(String, i64)> = c
        .prepare_cached("SELECT object, size FROM blob_parts WHERE blob = ?1 AND block = ?2")?
        .query_row(params![int(id), part.block], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    let freed = old.as_ref().map_or(0, |(_, size)| *size);
    if !change(c, id, int(part.size) - freed)? {
        return Ok(Guarded::Refused);
    }
    c.prepare_cached("DELETE FROM blob_parts WHERE blob = ?1 AND block = ?2")?
        .execute(params![int(id), part.block])?;
    c.prepare_cached(
        "INSERT INTO blob_parts (blob, object, block, position, size) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![int(id), part.object, part.block, part.position.map(int), int(part.size)])?;
    Ok(Guarded::Done(old.map(|(object, _)| object)))
}

pub(super) fn commit(c: &Connection, id: u64, blocks: &[String]) -> Result<Guarded<Vec<String>>> {
    let Some(blob) = get(c, id)? else { return Ok(Guarded::Refused) };
    let place: HashMap<&str, usize> = blocks.iter().enumerate().map(|(i, b)| (b.as_str(), i)).collect();
    let known = blob.parts.iter().filter(|p| place.contains_key(p.block.as_str())).count();
    // A block that is named twice would have two places.
    if blob.status != BlobStatus::Open || place.len() != blocks.len() || known != blocks.len() {
        return Ok(Guarded::Refused);
    }
    let mut dropped = Vec::new();
    let mut freed = 0;
    for part in &blob.parts {
        match place.get(part.block.as_str()) {
            Some(at) => {
                c.prepare_cached("UPDATE blob_parts SET position = ?3 WHERE blob = ?1 AND object = ?2")?
                    .execute(params![int(id), part.object, limit(*at)])?;
            }
            None => {
                c.prepare_cached("DELETE FROM blob_parts WHERE blob = ?1 AND object = ?2")?
                    .execute(params![int(id), part.object])?;
                freed += part.size;
                dropped.push(part.object.clone());
            }
        }
    }
    change(c, id, -int(freed))?;
    Ok(Guarded::Done(dropped))
}

/// Seals a blob that is as it was when it was verified.
pub(super) fn seal(c: &Connection, verified: Verified) -> Result<bool> {
    let sql = "UPDATE blobs SET status = 'sealed' WHERE id = ?1 AND status = 'open' AND generation = ?2";
    Ok(c.prepare_cached(sql)?.execute(params![int(verified.blob), int(verified.generation)])? == 1)
}

pub(super) fn project_bytes(c: &Connection, project: &str) -> Result<u64> {
    c.prepare_cached(
        "SELECT coalesce(sum(bytes), 0) FROM blobs WHERE project = ?1 AND status <> 'condemned'",
    )?
    .query_row([project], |r| number(r, 0))
}

pub(super) fn condemned(c: &Connection, max: usize) -> Result<Vec<u64>> {
    c.prepare_cached("SELECT id FROM blobs WHERE status = 'condemned' ORDER BY id LIMIT ?1")?
        .query_map([limit(max)], |r| number(r, 0))?
        .collect()
}

pub(super) fn forget(c: &Connection, id: u64) -> Result<()> {
    c.prepare_cached("DELETE FROM blobs WHERE id = ?1 AND status = 'condemned'")?.execute([int(id)])?;
    Ok(())
}
