//! Queries and the decoding of rows. Each function runs in the read
//! transaction of its caller and never writes.

pub(crate) mod decode;
mod fleet;
mod runs;

pub(crate) use fleet::*;
pub(crate) use runs::*;

use fleetfoot_model::spec::{JobSpec, Placement};
use rusqlite::{Connection, OptionalExtension};
use std::collections::HashMap;
use std::sync::Arc;

/// Parsed contents kept per connection; beyond this the cache starts afresh.
const PARSED_MAX: usize = 1024;

/// A connection that only reads, with the contents it parsed lately. An id of a content never
/// gets another meaning, so the cache needs no invalidation.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) conn: Connection,
    placements: HashMap<i64, Arc<Placement>>,
    specs: HashMap<i64, Arc<JobSpec>>,
}

impl Reader {
    pub(crate) fn new(conn: Connection) -> Self {
        Self { conn, placements: HashMap::new(), specs: HashMap::new() }
    }

    fn placement(&mut self, id: i64) -> rusqlite::Result<Arc<Placement>> {
        shared(&self.conn, &mut self.placements, "SELECT body FROM placements WHERE id = ?1", id)
    }

    fn spec(&mut self, id: i64) -> rusqlite::Result<Arc<JobSpec>> {
        shared(&self.conn, &mut self.specs, "SELECT body FROM specs WHERE id = ?1", id)
    }
}

fn shared<T: serde::de::DeserializeOwned>(
    conn: &Connection,
    cache: &mut HashMap<i64, Arc<T>>,
    sql: &str,
    id: i64,
) -> rusqlite::Result<Arc<T>> {
    if let Some(known) = cache.get(&id) {
        return Ok(known.clone());
    }
    let value = conn.prepare_cached(sql)?.query_row([id], |r| decode::json::<T>(r, 0))?;
    if cache.len() >= PARSED_MAX {
        cache.clear();
    }
    let value = Arc::new(value);
    cache.insert(id, value.clone());
    Ok(value)
}

/// The row with this key, if there is one.
fn one<T>(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    decode: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    conn.prepare_cached(sql)?.query_row(params, decode).optional()
}

/// All rows of a query.
fn all<T>(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    decode: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    conn.prepare_cached(sql)?.query_map(params, decode)?.collect()
}
