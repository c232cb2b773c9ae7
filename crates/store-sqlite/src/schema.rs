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
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "initial", sql: include_str!("../migrations/0001_initial.sql") },
    Migration { version: 2, name: "services", sql: include_str!("../migrations/0002_services.sql") },
    Migration { version: 3, name: "projects", sql: include_str!("../migrations/0003_projects.sql") },
    Migration { version: 4, name: "triggers", sql: include_str!("../migrations/0004_triggers.sql") },
    Migration { version: 5, name: "users", sql: include_str!("../migrations/0005_users.sql") },
    Migration { version: 6, name: "observation", sql: include_str!("../migrations/0006_observation.sql") },
];

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
    let synchronous = match durability {
        Durability::Full => "full",
        Durability::Scratch => "off",
    };
    // Before the journal mode: changing that flushes too, which a scratch store has no use for.
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.pragma_update(None, "journal_mode", "wal")?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows as the schema of each version had them; a new migration adds a file here, so that it
    /// is replayed over rows of every age.
    const SAMPLES: &[(i64, &str)] = &[
        (1, include_str!("../migrations/samples/0001.sql")),
        (2, include_str!("../migrations/samples/0002.sql")),
        (3, include_str!("../migrations/samples/0003.sql")),
        (4, include_str!("../migrations/samples/0004.sql")),
        (5, include_str!("../migrations/samples/0005.sql")),
        (6, include_str!("../migrations/samples/0006.sql")),
    ];

    fn open(dir: &Path) -> Connection {
        open_writer(&dir.join("fleetfoot.db"), Durability::Full).unwrap()
    }

    fn verdict(conn: &Connection) -> String {
        let foreign: i64 =
            conn.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |r| r.get(0)).unwrap();
        assert_eq!(foreign, 0, "rows refer to rows that are not there");
        conn.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap()
    }

    #[test]
    fn migrations_count_from_one() {
        let versions: Vec<_> = MIGRATIONS.iter().map(|m| m.version).collect();
        assert_eq!(versions, (1..=NEWEST).collect::<Vec<_>>());
        assert_eq!(
            SAMPLES.iter().map(|s| s.0).collect::<Vec<_>>(),
            versions,
            "every version has sample rows"
        );
    }

    /// What was released stays as it is: a change of an old migration fails here first.
    #[test]
    fn released_migrations_are_not_edited() {
        let sums: Vec<_> = MIGRATIONS
            .iter()
            .map(|m| format!("{} {} {}", m.version, m.name, blake3::hash(m.sql.as_bytes())))
            .collect();
        insta::assert_snapshot!(sums.join("\n"), @r"
        1 initial 37e4b40ce99e070ea020799285329ffbf642d646dcc5ff6de7be46eab70f9182
        2 services a2d83a8ac130a7dd56aaf30c8ff382334d2d03be9425c31ec82bd4f6173a437b
        3 projects c6e77b7bc28d0106a62dcbc87b636f233678854b87023f2edb00970c83085558
        4 triggers 2c46c7ccc7960bfa18a7c2e123be29a2f2423d9077eee79cd49476dac1ce9008
        5 users d6db847b21ab478cfbb30e74197dfc6d5be6461d94ef1474eade7d3bf297e7dd
        6 observation 65f4c8fe7d04e543187ed3e8d8066874d173648b5840d80a9b6b8cc45efc4949
        ");
    }

    #[tokio::test]
    async fn every_migration_replays_over_sample_rows() {
        use fleetfoot_store::Store;
        let temp = tempfile::tempdir().unwrap();
        let conn = open(temp.path());
        let mut version = 0;
        for (to, rows) in SAMPLES {
            migrate_to(&conn, version, *to).unwrap();
            conn.execute_batch(rows).unwrap();
            assert_eq!(verdict(&conn), "ok", "after migration {to}");
            version = *to;
        }
        assert_eq!(check(&conn, temp.path()).unwrap(), NEWEST);
        drop(conn);
        let store = crate::SqliteStore::open(temp.path(), crate::Options::default()).unwrap();
        let runs = store.list_runs(&Default::default(), None, 100).await.unwrap();
        assert!(!runs.is_empty());
        for run in &runs {
            assert!(store.run_payload(run.id).await.unwrap().is_some());
            for job in store.run_jobs(run.id, None).await.unwrap() {
                store.job_payload(job.id).await.unwrap();
                store.attempts(job.id).await.unwrap();
            }
        }
        assert!(!store.runners().await.unwrap().is_empty());
        assert!(!store.tokens(None).await.unwrap().is_empty());
        assert!(!store.audit(None, 10).await.unwrap().is_empty());
        assert!(store.idempotent("1:key").await.unwrap().is_some());
        assert_eq!(store.high_water().await.unwrap().run, 2);
    }

    #[test]
    fn a_migration_that_fails_leaves_the_version_before() {
        let temp = tempfile::tempdir().unwrap();
        let conn = open(temp.path());
        conn.execute_batch("CREATE TABLE runs (mine)").unwrap();
        assert!(migrate_to(&conn, 0, 1).is_err());
        let tables: Vec<String> = conn
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
            .unwrap()
            .query_map([], |r| r.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(tables, ["runs"]);
        assert!(conn.is_autocommit());
    }

    #[test]
    fn newer_foreign_and_edited_databases_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        let conn = open(temp.path());
        migrate(&conn, temp.path()).unwrap();
        migrate(&conn, temp.path()).unwrap();
        conn.pragma_update(None, "user_version", NEWEST + 1).unwrap();
        let newer = migrate(&conn, temp.path()).unwrap_err();
        assert_eq!(newer.kind, StoreErrorKind::TooNew);
        assert!(newer.message.contains("written by a newer version"), "{newer}");
        conn.pragma_update(None, "user_version", NEWEST).unwrap();
        conn.execute("UPDATE migrations SET checksum = zeroblob(32)", []).unwrap();
        assert_eq!(migrate(&conn, temp.path()).unwrap_err().kind, StoreErrorKind::Corrupt);
        conn.pragma_update(None, "application_id", 1).unwrap();
        let foreign = migrate(&conn, temp.path()).unwrap_err();
        assert_eq!(foreign.to_string(), "the file is not a database of Fleetfoot");
    }

    #[test]
    fn connections_are_set_up_as_promised() {
        let temp = tempfile::tempdir().unwrap();
        let writer = open(temp.path());
        let reader = open_reader(&temp.path().join("fleetfoot.db")).unwrap();
        let text = |c: &Connection, name: &str| {
            c.pragma_query_value(None, name, |r| r.get::<_, rusqlite::types::Value>(0)).unwrap()
        };
        use rusqlite::types::Value::{Integer, Text};
        assert_eq!(text(&writer, "journal_mode"), Text("wal".to_owned()));
        assert_eq!(text(&writer, "synchronous"), Integer(2));
        assert_eq!(text(&writer, "foreign_keys"), Integer(1));
        assert_eq!(text(&writer, "trusted_schema"), Integer(0));
        assert_eq!(text(&reader, "query_only"), Integer(1));
        assert!(reader.execute_batch("CREATE TABLE t (a)").is_err());
    }

    /// The database refuses states that no transition leads to, whoever writes them.
    #[test]
    fn checks_refuse_illegal_states() {
        let temp = tempfile::tempdir().unwrap();
        let conn = open(temp.path());
        migrate(&conn, temp.path()).unwrap();
        conn.execute_batch(SAMPLES[0].1).unwrap();
        let illegal = [
            "UPDATE runs SET status = 'done' WHERE id = 1",
            "UPDATE runs SET status = 'completed' WHERE id = 1",
            "UPDATE runs SET status = 'completed', conclusion = 'success' WHERE id = 1",
            "UPDATE runs SET conclusion = 'success' WHERE id = 1",
            "UPDATE runs SET finished_at = 5 WHERE id = 1",
            "UPDATE runs SET conclusion = 'great' WHERE id = 2",
            "UPDATE runs SET status = 'running', started_at = NULL WHERE id = 1",
            "UPDATE runs SET id = -1 WHERE id = 1",
            "UPDATE runs SET created_at = 'yesterday' WHERE id = 1",
            "UPDATE jobs SET status = 'queued' WHERE id = 20",
            "UPDATE jobs SET conclusion = NULL WHERE id = 20",
            "UPDATE jobs SET runner = NULL WHERE id = 10",
            "UPDATE jobs SET attempt = 0 WHERE id = 10",
            "UPDATE jobs SET run = 99 WHERE id = 10",
            "UPDATE jobs SET spec = 99 WHERE id = 10",
            "UPDATE attempts SET conclusion = 'success' WHERE epoch = 100",
            "UPDATE attempts SET finished_at = 5 WHERE epoch = 100",
            "UPDATE attempts SET result = '{}' WHERE epoch = 100",
            "UPDATE attempts SET number = 0 WHERE epoch = 100",
            "INSERT INTO attempts (epoch, job, number, run, runner, leased_at)
             VALUES (999, 10, 1, 1, 5, 1)",
            "UPDATE tokens SET kind = 'job'",
            "UPDATE tokens SET uses_left = -1",
            "UPDATE idempotency SET request_hash = x'00'",
            "DELETE FROM specs",
            "DELETE FROM documents",
            "INSERT INTO counters (id) VALUES (2)",
        ];
        for sql in illegal {
            let refused = conn.execute_batch(sql).expect_err(sql);
            assert_eq!(refused.sqlite_error_code(), Some(rusqlite::ErrorCode::ConstraintViolation), "{sql}");
        }
    }
}
