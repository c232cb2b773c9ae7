//! Secrets, variables, environments and the log of uses, in SQLite. Rows of
//! approvals are written in `exec/approvals.rs`, because they belong to the
//! transactions of jobs; here they are only read. Nothing here sees a value in
//! clear but that of variables.

use crate::SqliteStore;
use crate::exec::int;
use crate::read::decode::{get, json, json_or_empty, maybe_number, maybe_time, number, time, word};
use async_trait::async_trait;
use fleetfoot_model::ids::{AttemptRef, JobId, RunId};
use fleetfoot_model::projects::{Scope, SecretUse};
use fleetfoot_model::state::ApprovalState;
use fleetfoot_model::time::Timestamp;
use fleetfoot_store::{
    ApprovalFilter, ApprovalRow, DataKeyRow, EnvironmentRow, ProjectStore, SecretRow, StoreError, Stored,
    VariableRow, WrappedKey,
};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

/// The three columns that say where a row holds, and the name of the environment as written.
struct Place {
    scope: &'static str,
    project: String,
    environment: String,
    shown: String,
}

impl Place {
    fn of(scope: &Scope) -> Self {
        let shown = match scope {
            Scope::Environment { environment, .. } => environment.clone(),
            _ => String::new(),
        };
        Self {
            scope: scope.word(),
            project: scope.project().to_owned(),
            environment: scope.environment_key(),
            shown,
        }
    }
}

/// Columns 0 to 2 are scope, project and the name of the environment.
fn scope(r: &Row<'_>) -> Result<Scope> {
    Ok(match get::<String>(r, 0)?.as_str() {
        "global" => Scope::Global,
        "project" => Scope::Project(get(r, 1)?),
        _ => Scope::Environment { project: get(r, 1)?, environment: get(r, 2)? },
    })
}

fn ensure_project(conn: &Connection, name: &str, at: Timestamp) -> Result<()> {
    conn.prepare_cached("INSERT OR IGNORE INTO projects (name, created_at) VALUES (?1, ?2)")?
        .execute(params![name, at.0])
        .map(drop)
}

/// Whether a scope takes a row of this name, and makes its project known.
fn admit(
    conn: &Connection,
    table: &str,
    place: &Place,
    name: &str,
    limit: usize,
    at: Timestamp,
) -> Result<Stored> {
    if place.scope == "environment" {
        let found = conn
            .prepare_cached("SELECT 1 FROM environments WHERE project = ?1 AND key = ?2")?
            .exists([&place.project, &place.environment])?;
        if !found {
            return Ok(Stored::NoEnvironment);
        }
    }
    let sql = format!("SELECT 1 FROM {table} WHERE project = ?1 AND environment = ?2 AND name = ?3");
    if conn.prepare_cached(&sql)?.exists(params![place.project, place.environment, name])? {
        return Ok(Stored::Replaced);
    }
    let sql = format!("SELECT count(*) FROM {table} WHERE project = ?1 AND environment = ?2");
    let held: i64 =
        conn.prepare_cached(&sql)?.query_row([&place.project, &place.environment], |r| r.get(0))?;
    if held >= limit.cast_signed() as i64 {
        return Ok(Stored::Full);
    }
    if !place.project.is_empty() {
        ensure_project(conn, &place.project, at)?;
    }
    Ok(Stored::Created)
}

fn delete(conn: &Connection, table: &str, place: &Place, name: &str) -> Result<bool> {
    let sql = format!("DELETE FROM {table} WHERE project = ?1 AND environment = ?2 AND name = ?3");
    let n = conn.prepare_cached(&sql)?.execute(params![place.project, place.environment, name])?;
    Ok(n > 0)
}

fn all<T>(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    decode: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    conn.prepare_cached(sql)?.query_map(params, decode)?.collect()
}

fn environment(r: &Row<'_>) -> Result<EnvironmentRow> {
    Ok(EnvironmentRow {
        project: get(r, 0)?,
        name: get(r, 1)?,
        rules: json(r, 2)?,
        created_at: time(r, 3)?,
        updated_at: time(r, 4)?,
        updated_by: get(r, 5)?,
    })
}

macro_rules! approval_columns {
    () => {
        "a.id, a.run, a.job, j.name, a.project, a.environment, a.reason, a.state, a.reviewers, a.due, \
         a.created_at, a.decided_at, a.decided_by, a.comment FROM approvals a LEFT JOIN jobs j ON j.id = a.job"
    };
}

fn approval(r: &Row<'_>) -> Result<ApprovalRow> {
    Ok(ApprovalRow {
        id: number(r, 0)?,
        run: RunId(number(r, 1)?),
        job: maybe_number(r, 2)?.map(JobId),
        job_name: get(r, 3)?,
        project: get(r, 4)?,
        environment: get(r, 5)?,
        reason: get(r, 6)?,
        state: word(r, 7)?,
        reviewers: json_or_empty(r, 8)?,
        due: maybe_time(r, 9)?,
        created_at: time(r, 10)?,
        decided_at: maybe_time(r, 11)?,
        decided_by: get(r, 12)?,
        comment: get(r, 13)?,
    })
}

/// Rules always serialise; a failure to is told as SQLite tells one of a value.
fn rules(row: &EnvironmentRow) -> Result<String> {
    serde_json::to_string(&row.rules).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

#[async_trait]
impl ProjectStore for SqliteStore {
    async fn ensure_project(&self, name: &str, at: Timestamp) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write("cannot store a project", move |conn| ensure_project(conn, &name, at)).await
    }

    async fn projects(&self) -> Result<Vec<String>, StoreError> {
        self.read("cannot read projects", |r| {
            all(&r.conn, "SELECT name FROM projects ORDER BY name", [], |r| get(r, 0))
        })
        .await
    }

    async fn data_keys(&self) -> Result<Vec<DataKeyRow>, StoreError> {
        let sql =
            "SELECT id, purpose, project, master, sealed, created_at FROM data_keys ORDER BY created_at, id";
        self.read("cannot read data keys", move |r| {
            all(&r.conn, sql, [], |r| {
                Ok(DataKeyRow {
                    id: number(r, 0)?,
                    purpose: get(r, 1)?,
                    project: get(r, 2)?,
                    master: get(r, 3)?,
                    sealed: get(r, 4)?,
                    created_at: time(r, 5)?,
                })
            })
        })
        .await
    }

    async fn add_data_keys(&self, rows: Vec<DataKeyRow>) -> Result<(), StoreError> {
        self.write("cannot store data keys", move |conn| {
            for k in &rows {
                conn.prepare_cached(
                    "INSERT INTO data_keys (id, purpose, project, master, sealed, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![
                    int(k.id),
                    k.purpose,
                    k.project,
                    k.master,
                    k.sealed,
                    k.created_at.0
                ])?;
            }
            Ok(())
        })
        .await
    }

    async fn wrap_data_keys(&self, rows: Vec<WrappedKey>) -> Result<(), StoreError> {
        self.write("cannot wrap data keys", move |conn| {
            for key in &rows {
                conn.prepare_cached("UPDATE data_keys SET master = ?2, sealed = ?3 WHERE id = ?1")?
                    .execute(params![int(key.id), key.master, key.sealed])?;
            }
            Ok(())
        })
        .await
    }

    async fn set_secret(&self, row: SecretRow, limit: usize) -> Result<Stored, StoreError> {
        self.write("cannot store a secret", move |conn| {
            let place = Place::of(&row.scope);
            let stored = admit(conn, "secrets", &place, &row.name, limit, row.updated_at)?;
            if matches!(stored, Stored::Created | Stored::Replaced) {
                conn.prepare_cached(
                    "INSERT OR REPLACE INTO secrets (scope, project, environment, name, shown, data_key, sealed,
                     updated_at, updated_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )?
                .execute(params![
                    place.scope,
                    place.project,
                    place.environment,
                    row.name,
                    place.shown,
                    int(row.key),
                    row.sealed,
                    row.updated_at.0,
                    row.updated_by
                ])?;
            }
            Ok(stored)
        })
        .await
    }

    async fn secrets(&self, scope_of: Option<&Scope>) -> Result<Vec<SecretRow>, StoreError> {
        let place = scope_of.map(Place::of);
        self.read("cannot read secrets", move |r| {
            let sql = "SELECT scope, project, shown, name, data_key, sealed, updated_at, updated_by FROM secrets
                       WHERE ?1 IS NULL OR (project = ?1 AND environment = ?2) ORDER BY project, environment, name";
            let (project, environment) =
                place.as_ref().map(|p| (&*p.project, &*p.environment)).unzip();
            all(&r.conn, sql, params![project, environment], |r| {
                Ok(SecretRow {
                    scope: scope(r)?,
                    name: get(r, 3)?,
                    key: number(r, 4)?,
                    sealed: get(r, 5)?,
                    updated_at: time(r, 6)?,
                    updated_by: get(r, 7)?,
                })
            })
        })
        .await
    }

    async fn delete_secret(&self, scope: &Scope, name: &str) -> Result<bool, StoreError> {
        let (place, name) = (Place::of(scope), name.to_owned());
        self.write("cannot delete a secret", move |conn| delete(conn, "secrets", &place, &name)).await
    }

    async fn set_variable(&self, row: VariableRow, limit: usize) -> Result<Stored, StoreError> {
        self.write("cannot store a variable", move |conn| {
            let place = Place::of(&row.scope);
            let stored = admit(conn, "variables", &place, &row.name, limit, row.updated_at)?;
            if matches!(stored, Stored::Created | Stored::Replaced) {
                conn.prepare_cached(
                    "INSERT OR REPLACE INTO variables (scope, project, environment, name, shown, value, updated_at,
                     updated_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                )?
                .execute(params![
                    place.scope,
                    place.project,
                    place.environment,
                    row.name,
                    place.shown,
                    row.value,
                    row.updated_at.0,
                    row.updated_by
                ])?;
            }
            Ok(stored)
        })
        .await
    }

    async fn variables(&self, scope_of: Option<&Scope>) -> Result<Vec<VariableRow>, StoreError> {
        let place = scope_of.map(Place::of);
        self.read("cannot read variables", move |r| {
            let sql = "SELECT scope, project, shown, name, value, updated_at, updated_by FROM variables
                       WHERE ?1 IS NULL OR (project = ?1 AND environment = ?2) ORDER BY project, environment, name";
            let (project, environment) =
                place.as_ref().map(|p| (&*p.project, &*p.environment)).unzip();
            all(&r.conn, sql, params![project, environment], |r| {
                Ok(VariableRow {
                    scope: scope(r)?,
                    name: get(r, 3)?,
                    value: get(r, 4)?,
                    updated_at: time(r, 5)?,
                    updated_by: get(r, 6)?,
                })
            })
        })
        .await
    }

    async fn delete_variable(&self, scope: &Scope, name: &str) -> Result<bool, StoreError> {
        let (place, name) = (Place::of(scope), name.to_owned());
        self.write("cannot delete a variable", move |conn| delete(conn, "variables", &place, &name)).await
    }

    async fn create_environment(&self, row: EnvironmentRow) -> Result<bool, StoreError> {
        self.write("cannot store an environment", move |conn| {
            ensure_project(conn, &row.project, row.created_at)?;
            let n = conn
                .prepare_cached(
                    "INSERT OR IGNORE INTO environments (project, key, name, rules, created_at, updated_at,
                     updated_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    row.project,
                    row.name.to_lowercase(),
                    row.name,
                    rules(&row)?,
                    row.created_at.0,
                    row.updated_at.0,
                    row.updated_by
                ])?;
            Ok(n > 0)
        })
        .await
    }

    async fn update_environment(&self, row: EnvironmentRow) -> Result<bool, StoreError> {
        self.write("cannot store an environment", move |conn| {
            let n = conn
                .prepare_cached(
                    "UPDATE environments SET rules = ?3, updated_at = ?4, updated_by = ?5
                     WHERE project = ?1 AND key = ?2",
                )?
                .execute(params![
                    row.project,
                    row.name.to_lowercase(),
                    rules(&row)?,
                    row.updated_at.0,
                    row.updated_by
                ])?;
            Ok(n > 0)
        })
        .await
    }

    async fn environments(&self, project: Option<&str>) -> Result<Vec<EnvironmentRow>, StoreError> {
        let project = project.map(str::to_owned);
        self.read("cannot read environments", move |r| {
            let sql = "SELECT project, name, rules, created_at, updated_at, updated_by FROM environments
                       WHERE ?1 IS NULL OR project = ?1 ORDER BY project, key";
            all(&r.conn, sql, [project], environment)
        })
        .await
    }

    async fn delete_environment(&self, project: &str, name: &str) -> Result<bool, StoreError> {
        let (project, key) = (project.to_owned(), name.to_lowercase());
        self.write("cannot delete an environment", move |conn| {
            for sql in [
                "DELETE FROM secrets WHERE project = ?1 AND environment = ?2",
                "DELETE FROM variables WHERE project = ?1 AND environment = ?2",
            ] {
                conn.prepare_cached(sql)?.execute([&project, &key])?;
            }
            let sql = "DELETE FROM environments WHERE project = ?1 AND key = ?2";
            Ok(conn.prepare_cached(sql)?.execute([&project, &key])? > 0)
        })
        .await
    }

    async fn record_secret_uses(
        &self,
        attempt: AttemptRef,
        run: RunId,
        project: &str,
        environment: Option<&str>,
        secrets: Vec<(String, String)>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let (project, environment) = (project.to_owned(), environment.map(str::to_owned));
        self.write("cannot log the use of secrets", move |conn| {
            let mut insert = conn.prepare_cached(
                "INSERT OR IGNORE INTO secret_uses (at, name, scope, project, environment, run, job, attempt, epoch)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?;
            for (scope, name) in &secrets {
                insert.execute(params![
                    at.0,
                    name,
                    scope,
                    project,
                    environment,
                    int(run.0),
                    int(attempt.job.0),
                    attempt.attempt,
                    int(attempt.epoch.0)
                ])?;
            }
            Ok(())
        })
        .await
    }

    async fn secret_uses(
        &self,
        project: Option<&str>,
        name: Option<&str>,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<Vec<SecretUse>, StoreError> {
        let (project, name) = (project.map(str::to_owned), name.map(str::to_owned));
        self.read("cannot read the uses of secrets", move |r| {
            let sql = "SELECT id, at, name, scope, project, environment, run, job, attempt FROM secret_uses
                       WHERE (?1 IS NULL OR project = ?1) AND (?2 IS NULL OR name = ?2) AND (?3 IS NULL OR id < ?3)
                       ORDER BY id DESC LIMIT ?4";
            all(&r.conn, sql, params![project, name, cursor.map(int), limit.cast_signed()], |r| {
                Ok(SecretUse {
                    id: number(r, 0)?,
                    at: time(r, 1)?,
                    name: get(r, 2)?,
                    scope: get(r, 3)?,
                    project: get(r, 4)?,
                    environment: get(r, 5)?,
                    run: RunId(number(r, 6)?),
                    job: JobId(number(r, 7)?),
                    attempt: get(r, 8)?,
                })
            })
        })
        .await
    }

    async fn forget_secret_uses(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.write("cannot forget uses of secrets", move |conn| {
            conn.prepare_cached(
                "DELETE FROM secret_uses WHERE id IN
                 (SELECT id FROM secret_uses WHERE at < ?1 ORDER BY at LIMIT ?2)",
            )?
            .execute(params![before.0, limit.cast_signed()])
        })
        .await
    }

    async fn open_approvals(&self) -> Result<Vec<ApprovalRow>, StoreError> {
        self.read("cannot read approvals", |r| {
            let sql = concat!(
                "SELECT ",
                approval_columns!(),
                " JOIN runs r ON r.id = a.run WHERE r.status <> 'completed' ORDER BY a.id"
            );
            all(&r.conn, sql, [], approval)
        })
        .await
    }

    async fn approvals(
        &self,
        filter: &ApprovalFilter,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<Vec<ApprovalRow>, StoreError> {
        let filter = filter.clone();
        self.read("cannot read approvals", move |r| {
            let sql = concat!(
                "SELECT ",
                approval_columns!(),
                " WHERE (?1 IS NULL OR a.state = ?1) AND (?2 IS NULL OR a.run = ?2) AND (?3 IS NULL OR \
                 a.project = ?3) AND (?4 IS NULL OR a.id < ?4) ORDER BY a.id DESC LIMIT ?5"
            );
            let state = filter.state.map(ApprovalState::as_str);
            let run = filter.run.map(|run| int(run.0));
            all(
                &r.conn,
                sql,
                params![state, run, filter.project, cursor.map(int), limit.cast_signed()],
                approval,
            )
        })
        .await
    }

    async fn approval(&self, run: RunId, job: Option<JobId>) -> Result<Option<ApprovalRow>, StoreError> {
        self.read("cannot read an approval", move |r| {
            let sql = concat!("SELECT ", approval_columns!(), " WHERE a.run = ?1 AND a.job IS ?2");
            r.conn
                .prepare_cached(sql)?
                .query_row(params![int(run.0), job.map(|j| int(j.0))], approval)
                .optional()
        })
        .await
    }
}
