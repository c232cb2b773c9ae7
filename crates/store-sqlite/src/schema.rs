//! The numbered migrations and how a connection is set up. A migration that
//! was released is never edited: its checksum is kept in the database and
//! compared at every start.

use crate::error;
use fleetfoot_store::{StoreError, StoreErrorKind};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::path::Path;
use std::time::Duration;

/// Marks the file as ours (`FLFT`).
pub(crate) const APPLICATION_ID: i64 = 0x464C_4654;

/// One step of the schema.
#[derive(Debug)]
pub(crate) struct Migration {
    /// Its number; they count from 1 without gaps.
    pub(crate) version: i64,
    name: &'static str,
    sql: &'static str,
}

/// Every migration in order.
pub(crate) const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, name: "initial", sql: include_str!("../migrations/0001_initial.sql") }];

/// The newest schema that this program knows.
pub(crate) const NEWEST: i64 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// How much a commit promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// A commit survives a power cut.
    Full,
    /// A commit survives nothing; for runs that nobody looks at later.
    Scratch,
}

/// Opens the connection of the writer.
pub(crate) fn open_writer(path: &Path, durability: Durability) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    common(&conn)?;
    conn.pragma_update(None, "journal_mode", "wal")?;
    let synchronous = match durability {
        Durability::Full => "full",
        Durability::Scratch => "off",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.pragma_update(None, "foreign_keys", true)?;
    // The writer thread checkpoints itself, when it is idle or the log has grown.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", 64 << 20)?;
    conn.pragma_update(None, "cache_size", -16 * 1024)?;
    conn.set_prepared_statement_cache_capacity(128);
    Ok(conn)
}

/// Opens a connection that cannot write.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    common(&conn)?;
    conn.pragma_update(None, "query_only", true)?;
    conn.pragma_update(None, "cache_size", -2 * 1024)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

fn common(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.pragma_update(None, "temp_store", "memory")?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "mmap_size", 0)
}

/// Brings the schema to [`NEWEST`], or refuses a database that this program must not touch.
pub(crate) fn migrate(conn: &Connection, dir: &Path) -> Result<(), StoreError> {
    let found = check(conn, dir)?;
    migrate_to(conn, found, NEWEST).map_err(|e| error::sqlite("cannot bring the schema up to date", dir, e))
}

/// Verifies identity, version and applied migrations; answers the version.
pub(crate) fn check(conn: &Connection, dir: &Path) -> Result<i64, StoreError> {
    let failed = |e| error::sqlite("cannot read the schema version", dir, e);
    let version: i64 = conn.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(failed)?;
    let application: i64 = conn.pragma_query_value(None, "application_id", |r| r.get(0)).map_err(failed)?;
    let empty = conn
        .query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(()))
        .optional()
        .map_err(failed)?
        .is_none();
    if empty && version == 0 {
        return Ok(0);
    }
    if application != APPLICATION_ID {
        return Err(StoreError::new(StoreErrorKind::Corrupt, "the file is not a database of Fleetfoot"));
    }
    if version > NEWEST {
        return Err(StoreError::new(
            StoreErrorKind::TooNew,
            format!(
                "the database has schema {version}, this program knows up to {NEWEST}: \
                 it was written by a newer version; upgrade fleetfoot, or restore an older backup"
            ),
        ));
    }
    for m in MIGRATIONS.iter().filter(|m| m.version <= version) {
        let kept: Option<Vec<u8>> = conn
            .query_row("SELECT checksum FROM migrations WHERE version = ?1", [m.version], |r| r.get(0))
            .optional()
            .map_err(failed)?;
        if kept.as_deref() != Some(blake3::hash(m.sql.as_bytes()).as_bytes().as_slice()) {
            return Err(StoreError::new(
                StoreErrorKind::Corrupt,
                format!(
                    "migration {} ({}) of the database is not the one of this program",
                    m.version, m.name
                ),
            ));
        }
    }
    Ok(version)
}

/// Applies the migrations after `from` up to `to`, each in a transaction of its own.
pub(crate) fn migrate_to(conn: &Connection, from: i64, to: i64) -> rusqlite::Result<()> {
    for m in MIGRATIONS.iter().filter(|m| m.version > from && m.version <= to) {
        conn.execute_batch("BEGIN IMMEDIATE")?;
        let done = apply_one(conn, m).and_then(|()| conn.execute_batch("COMMIT"));
        if done.is_err() {
            let _ = conn.execute_batch("ROLLBACK");
        }
        done?;
        tracing::debug!(version = m.version, name = m.name, "schema migrated");
    }
    Ok(())
}

fn apply_one(conn: &Connection, m: &Migration) -> rusqlite::Result<()> {
    if m.version == 1 {
        conn.pragma_update(None, "application_id", APPLICATION_ID)?;
        conn.execute_batch(
            "CREATE TABLE migrations (
                 version    INTEGER PRIMARY KEY,
                 name       TEXT NOT NULL,
                 checksum   BLOB NOT NULL,
                 applied_at INTEGER NOT NULL
             ) STRICT",
        )?;
    }
    conn.execute_batch(m.sql)?;
    conn.execute(
        "INSERT INTO migrations (version, name, checksum, applied_at)
         VALUES (?1, ?2, ?3, CAST(unixepoch('subsec') * 1000000 AS INTEGER))",
        params![m.version, m.name, blake3::hash(m.sql.as_bytes()).as_bytes()],
    )?;
    conn.pragma_update(None, "user_version", m.version)
}
