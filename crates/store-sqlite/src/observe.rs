//! What a dashboard asks for, in SQLite. Lists are made so that any filter is
//! answered from an index or from a narrow table, whatever matches: the newest
//! runs come first and the search ends when a page is full.

use crate::SqliteStore;
use crate::exec::int;
use crate::read::decode::{get, maybe_json, number, time};
use crate::read::{Reader, run_row};
use async_trait::async_trait;
use fleetfoot_model::api::AuditEntry;
use fleetfoot_model::ids::{JobId, RunId};
use fleetfoot_model::observe::{AuditFilter, JobCounts, RunFacets, RunSearch, Stock};
use fleetfoot_model::state::Status;
use fleetfoot_store::{ArtifactRow, ObserveStore, RunSummary, SAMPLE_COLUMNS, SampleRow, Stocks, StoreError};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Result, params, params_from_iter};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::fmt::Write as _;

fn limit(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Jobs whose runs are listed rather than looked for.
const FEW: i64 = 20_000;

/// A statement that grows, with its values.
#[derive(Default)]
struct Query {
    sql: String,
    values: Vec<Value>,
}

impl Query {
    /// The name of a new value.
    fn value(&mut self, value: impl Into<Value>) -> usize {
        self.values.push(value.into());
        self.values.len()
    }

    fn and(&mut self, column: &str, value: Option<&String>) {
        if let Some(value) = value {
            let n = self.value(value.clone());
            let _ = write!(self.sql, " AND {column} = ?{n}");
        }
    }
}

/// Placements that require a label: few, because jobs share them.
fn placements_with(conn: &Connection, label: &str) -> Result<Vec<i64>> {
    let sql =
        "SELECT p.id FROM placements p, json_each(p.body, '$.labels') l WHERE l.value = ?1 COLLATE NOCASE";
    conn.prepare_cached(sql)?.query_map([label], |r| r.get(0))?.collect()
}

fn runner_named(conn: &Connection, asked: &str) -> Result<Option<i64>> {
    let by_name = conn
        .prepare_cached("SELECT id FROM runners WHERE name = ?1")?
        .query_row([asked], |r| r.get(0))
        .optional()?;
    Ok(by_name.or_else(|| asked.parse().ok()))
}

/// The condition that a run has such a job. Of few jobs the runs are listed first; where many jobs match,
/// the newest runs have one, and each is asked on the way.
fn has_job(conn: &Connection, index: &str, condition: &str) -> Result<String> {
    let count = format!(
        "SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY {index} WHERE {condition} LIMIT {})",
        FEW + 1
    );
    let found: i64 = conn.prepare_cached(&count)?.query_row([], |r| r.get(0))?;
    Ok(if found <= FEW {
        format!(" AND r.id IN (SELECT run FROM jobs INDEXED BY {index} WHERE {condition})")
    } else {
        format!(" AND EXISTS (SELECT 1 FROM jobs j INDEXED BY jobs_run WHERE j.run = r.id AND j.{condition})")
    })
}

fn search_runs(
    reader: &Reader,
    search: &RunSearch,
    cursor: Option<RunId>,
    max: usize,
) -> Result<Vec<RunSummary>> {
    let conn = &reader.conn;
    let mut query = Query::default();
    let before = query.value(cursor.map_or(i64::MAX, |id| int(id.0)));
    let text = search.text.as_deref().map(str::trim).filter(|t| !t.is_empty());
    query.sql.push_str(concat!("SELECT ", crate::read::run_columns!(), ", f.sha FROM "));
    let filter = &search.filter;
    // One of these leaves few runs, whose words are read one by one.
    let narrow = filter.name.is_some() || filter.branch.is_some() || filter.actor.is_some();
    match text {
        Some(text) if narrow => {
            let words = query.value(text.to_lowercase());
            let _ = write!(
                query.sql,
                "runs r CROSS JOIN run_facts f ON f.run = r.id WHERE r.id < ?{before} AND instr(f.words, ?{words}) > 0"
            );
        }
        // The narrow table leads: it is read from the newest run on, and nothing else where it says no.
        Some(text) => {
            let words = query.value(text.to_lowercase());
            let _ = write!(
                query.sql,
                "run_facts f CROSS JOIN runs r ON r.id = f.run WHERE f.run < ?{before} AND instr(f.words, ?{words}) > 0"
            );
        }
        None => {
            let _ = write!(query.sql, "runs r LEFT JOIN run_facts f ON f.run = r.id WHERE r.id < ?{before}");
        }
    }
    // Words of enums stand in the text, so that the partial indexes apply.
    if let Some(status) = filter.status {
        let open = if status == Status::Completed { "" } else { " AND r.status <> 'completed'" };
        let _ = write!(query.sql, "{open} AND r.status = '{status}'");
    }
    if let Some(conclusion) = filter.conclusion {
        let _ = write!(query.sql, " AND r.conclusion = '{conclusion}'");
    }
    query.and("r.kind", filter.kind.as_ref());
    query.and("r.project", filter.project.as_ref());
    query.and("r.name", filter.name.as_ref());
    query.and("r.branch", filter.branch.as_ref());
    query.and("r.actor", filter.actor.as_ref());
    query.and("r.event", filter.event.as_ref());
    if let Some(label) = &search.label {
        let placements = placements_with(conn, label)?;
        if placements.is_empty() {
            return Ok(Vec::new());
        }
        let list: Vec<String> = placements.iter().map(i64::to_string).collect();
        query.sql.push_str(&has_job(conn, "jobs_placement", &format!("placement IN ({})", list.join(",")))?);
    }
    if let Some(runner) = &search.runner {
        let Some(id) = runner_named(conn, runner)? else { return Ok(Vec::new()) };
        query.sql.push_str(&has_job(conn, "jobs_runner", &format!("runner = {id}"))?);
    }
    let max = query.value(limit(max));
    let order = if text.is_some() && !narrow { "f.run" } else { "r.id" };
    let _ = write!(query.sql, " ORDER BY {order} DESC LIMIT ?{max}");
    summaries(conn, &query.sql, &query.values)
}

/// Runs of a query with the states of their jobs.
fn summaries(conn: &Connection, sql: &str, values: &[Value]) -> Result<Vec<RunSummary>> {
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(params_from_iter(values), |r| {
        Ok(RunSummary { row: run_row(r)?, sha: get(r, 22)?, jobs: JobCounts::default() })
    })?;
    let mut found: Vec<RunSummary> = rows.collect::<Result<_>>()?;
    let mut counts = counts_of(conn, found.iter().map(|s| s.row.id))?;
    for summary in &mut found {
        summary.jobs = counts.remove(&summary.row.id).unwrap_or_default();
    }
    Ok(found)
}

fn counts_of(conn: &Connection, runs: impl Iterator<Item = RunId>) -> Result<HashMap<RunId, JobCounts>> {
    let list: Vec<String> = runs.map(|id| id.to_string()).collect();
    let mut out: HashMap<RunId, JobCounts> = HashMap::with_capacity(list.len());
    if list.is_empty() {
        return Ok(out);
    }
    let sql = format!(
        "SELECT run, status, conclusion, count(*) FROM jobs WHERE run IN ({}) GROUP BY run, status, conclusion",
        list.join(",")
    );
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(r) = rows.next()? {
        let counts = out.entry(RunId(number(r, 0)?)).or_default();
        let (status, conclusion): (String, Option<String>) = (get(r, 1)?, get(r, 2)?);
        let n = number(r, 3)?;
        counts.total += n;
        let place = match (status.as_str(), conclusion.as_deref()) {
            ("waiting", _) => &mut counts.waiting,
            ("queued", _) => &mut counts.queued,
            ("running", _) => &mut counts.running,
            (_, Some("success")) => &mut counts.success,
            (_, Some("cancelled")) => &mut counts.cancelled,
            (_, Some("skipped")) => &mut counts.skipped,
            (_, Some("timed_out")) => &mut counts.timed_out,
            _ => &mut counts.failure,
        };
        *place += n;
    }
    Ok(out)
}

fn run_summaries(reader: &Reader, ids: &[RunId]) -> Result<Vec<RunSummary>> {
    let list: Vec<String> = ids.iter().map(RunId::to_string).collect();
    let sql = format!(
        concat!(
            "SELECT ",
            crate::read::run_columns!(),
            ", f.sha FROM runs r LEFT JOIN run_facts f ON f.run = r.id WHERE r.id IN ({}) ORDER BY r.id DESC"
        ),
        list.join(",")
    );
    summaries(&reader.conn, &sql, &[])
}

/// The values of an indexed column, one step of the index for each.
fn distinct(conn: &Connection, column: &str, max: usize) -> Result<Vec<String>> {
    let sql = format!(
        "WITH RECURSIVE d (v) AS (
             SELECT min({column}) FROM runs
             UNION ALL
             SELECT (SELECT min({column}) FROM runs WHERE {column} > d.v) FROM d WHERE d.v IS NOT NULL
         ) SELECT v FROM d WHERE v IS NOT NULL LIMIT ?1"
    );
    conn.prepare_cached(&sql)?.query_map([limit(max)], |r| r.get(0))?.collect()
}

fn run_facets(conn: &Connection, max: usize) -> Result<RunFacets> {
    let mut truncated = false;
    let mut of = |mut values: Vec<String>| {
        truncated |= values.len() > max;
        values.truncate(max);
        values
    };
    let labels =
        "SELECT DISTINCT l.value FROM placements p, json_each(p.body, '$.labels') l ORDER BY 1 LIMIT ?1";
    let runners = "SELECT name FROM runners ORDER BY name LIMIT ?1";
    let list = |sql: &str| -> Result<Vec<String>> {
        conn.prepare_cached(sql)?.query_map([limit(max + 1)], |r| r.get(0))?.collect()
    };
    Ok(RunFacets {
        kinds: of(distinct(conn, "kind", max + 1)?),
        projects: of(distinct(conn, "project", max + 1)?),
        workflows: of(distinct(conn, "name", max + 1)?),
        branches: of(distinct(conn, "branch", max + 1)?),
        actors: of(distinct(conn, "actor", max + 1)?),
        events: of(distinct(conn, "event", max + 1)?),
        labels: of(list(labels)?),
        runners: of(list(runners)?),
        truncated,
    })
}

fn add_samples(conn: &Connection, samples: &[SampleRow]) -> Result<()> {
    let mut ids: HashMap<&str, i64> = HashMap::new();
    for sample in samples {
        let id = match ids.get(sample.series.as_str()) {
            Some(id) => *id,
            None => {
                conn.prepare_cached("INSERT OR IGNORE INTO series (name) VALUES (?1)")?
                    .execute([&sample.series])?;
                let id = conn
                    .prepare_cached("SELECT id FROM series WHERE name = ?1")?
                    .query_row([&sample.series], |r| r.get(0))?;
                ids.insert(&sample.series, id);
                id
            }
        };
        let [a, b, c, d, e] = sample.values;
        conn.prepare_cached(
            "INSERT OR REPLACE INTO samples (series, level, at, a, b, c, d, e)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![id, sample.level, sample.at, a, b, c, d, e])?;
    }
    Ok(())
}

fn samples(conn: &Connection, series: &str, level: u8, from: i64, to: i64) -> Result<Vec<SampleRow>> {
    let sql = "SELECT s.at, s.a, s.b, s.c, s.d, s.e FROM series n JOIN samples s ON s.series = n.id
               WHERE n.name = ?1 AND s.level = ?2 AND s.at BETWEEN ?3 AND ?4 ORDER BY s.at";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(params![series, level, from, to], |r| {
        let mut values = [None; SAMPLE_COLUMNS];
        for (i, value) in values.iter_mut().enumerate() {
            *value = r.get(i + 1)?;
        }
        Ok(SampleRow { series: series.to_owned(), level, at: r.get(0)?, values })
    })?;
    rows.collect()
}

fn forget_samples(conn: &Connection, level: u8, before: i64) -> Result<()> {
    // One short range of the key for each series.
    conn.prepare_cached(
        "DELETE FROM samples WHERE (series, level, at) IN (
             SELECT s.series, s.level, s.at FROM series n
             CROSS JOIN samples s ON s.series = n.id AND s.level = ?1 AND s.at < ?2)",
    )?
    .execute(params![level, before])?;
    conn.prepare_cached(
        "DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM samples WHERE series = series.id)",
    )?
    .execute([])?;
    Ok(())
}

fn search_audit(
    conn: &Connection,
    filter: &AuditFilter,
    cursor: Option<u64>,
    max: usize,
) -> Result<Vec<AuditEntry>> {
    let mut query = Query::default();
    query.sql.push_str("SELECT id, at, actor, action, subject, detail FROM audit WHERE id < ?1");
    query.value(cursor.map_or(i64::MAX, int));
    query.and("actor", filter.actor.as_ref());
    query.and("subject", filter.target.as_ref());
    if let Some(action) = &filter.action {
        let n = query.value(action.clone());
        let _ = match action.ends_with('.') {
            true => write!(query.sql, " AND substr(action, 1, length(?{n})) = ?{n}"),
            false => write!(query.sql, " AND action = ?{n}"),
        };
    }
    if let Some(from) = filter.from {
        let n = query.value(from.0);
        let _ = write!(query.sql, " AND at >= ?{n}");
    }
    if let Some(to) = filter.to {
        let n = query.value(to.0);
        let _ = write!(query.sql, " AND at < ?{n}");
    }
    if let Some(text) = &filter.text {
        let n = query.value(text.to_lowercase());
        let _ = write!(
            query.sql,
            " AND instr(lower(actor || char(10) || action || char(10) || subject || char(10) || coalesce(detail, '')), ?{n}) > 0"
        );
    }
    let n = query.value(limit(max));
    let _ = write!(query.sql, " ORDER BY id DESC LIMIT ?{n}");
    let mut statement = conn.prepare_cached(&query.sql)?;
    let rows = statement.query_map(params_from_iter(&query.values), |r| {
        Ok(AuditEntry {
            id: number(r, 0)?,
            at: time(r, 1)?,
            actor: get(r, 2)?,
            action: get(r, 3)?,
            subject: get(r, 4)?,
            detail: maybe_json(r, 5)?.unwrap_or_default(),
        })
    })?;
    rows.collect()
}

fn stocks(conn: &Connection) -> Result<Stocks> {
    let stock = |sql: &str| -> Result<Stock> {
        conn.prepare_cached(sql)?.query_row([], |r| Ok(Stock { count: number(r, 0)?, bytes: number(r, 1)? }))
    };
    Ok(Stocks {
        database: stock(
            "SELECT (SELECT count(*) FROM runs),
                 (SELECT page_count FROM pragma_page_count()) * (SELECT page_size FROM pragma_page_size())",
        )?,
        artifacts: stock("SELECT count(*), coalesce(sum(size), 0) FROM artifacts WHERE status = 'ready'")?,
        caches: stock("SELECT count(*), coalesce(sum(size), 0) FROM caches WHERE status = 'ready'")?,
    })
}

#[async_trait]
impl ObserveStore for SqliteStore {
    async fn search_runs(
        &self,
        search: &RunSearch,
        cursor: Option<RunId>,
        max: usize,
    ) -> Result<Vec<RunSummary>, StoreError> {
        let search = search.clone();
        self.read("cannot search runs", move |r| search_runs(r, &search, cursor, max)).await
    }

    async fn run_summaries(&self, ids: Vec<RunId>) -> Result<Vec<RunSummary>, StoreError> {
        self.read("cannot read runs", move |r| run_summaries(r, &ids)).await
    }

    async fn job_matrices(
        &self,
        run: RunId,
        since: Option<u64>,
        max: usize,
    ) -> Result<Vec<(JobId, Json)>, StoreError> {
        self.read("cannot read the matrix of a run", move |r| {
            let mut statement = r.conn.prepare_cached(
                "SELECT j.id, json_extract(s.body, '$.contexts.matrix')
                 FROM jobs j JOIN specs s ON s.id = j.spec
                 WHERE j.run = ?1 AND j.change > ?2 ORDER BY j.id LIMIT ?3",
            )?;
            let rows = statement.query_map(params![int(run.0), since.map_or(-1, int), limit(max)], |r| {
                Ok((JobId(number(r, 0)?), maybe_json(r, 1)?))
            })?;
            let found: Vec<(JobId, Option<Json>)> = rows.collect::<Result<_>>()?;
            Ok(found.into_iter().filter_map(|(job, matrix)| Some((job, matrix?))).collect())
        })
        .await
    }

    async fn job_matrix(&self, job: JobId) -> Result<Option<Json>, StoreError> {
        self.read("cannot read the matrix of a job", move |r| {
            let found = r
                .conn
                .prepare_cached(
                    "SELECT json_extract(s.body, '$.contexts.matrix')
                     FROM jobs j JOIN specs s ON s.id = j.spec WHERE j.id = ?1",
                )?
                .query_row([int(job.0)], |r| maybe_json(r, 0))
                .optional()?;
            Ok(found.flatten())
        })
        .await
    }

    async fn run_facets(&self, max: usize) -> Result<RunFacets, StoreError> {
        self.read("cannot read the facets of runs", move |r| run_facets(&r.conn, max)).await
    }

    async fn add_samples(&self, rows: Vec<SampleRow>) -> Result<(), StoreError> {
        self.write("cannot store samples", move |c| add_samples(c, &rows)).await
    }

    async fn samples(
        &self,
        series: &str,
        level: u8,
        from: i64,
        to: i64,
    ) -> Result<Vec<SampleRow>, StoreError> {
        let series = series.to_owned();
        self.read("cannot read samples", move |r| samples(&r.conn, &series, level, from, to)).await
    }

    async fn series_names(&self) -> Result<Vec<String>, StoreError> {
        self.read("cannot read the names of series", |r| {
            let mut statement = r.conn.prepare_cached("SELECT name FROM series ORDER BY name")?;
            statement.query_map([], |r| r.get(0))?.collect()
        })
        .await
    }

    async fn forget_samples(&self, level: u8, before: i64) -> Result<(), StoreError> {
        self.write("cannot forget samples", move |c| forget_samples(c, level, before)).await
    }

    async fn search_audit(
        &self,
        filter: &AuditFilter,
        cursor: Option<u64>,
        max: usize,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let filter = filter.clone();
        self.read("cannot read the audit log", move |r| search_audit(&r.conn, &filter, cursor, max)).await
    }

    async fn all_artifacts(
        &self,
        project: Option<&str>,
        name: Option<&str>,
        cursor: Option<u64>,
        max: usize,
    ) -> Result<Vec<ArtifactRow>, StoreError> {
        let (project, name) = (project.map(str::to_owned), name.map(str::to_lowercase));
        self.read("cannot list artifacts", move |r| {
            crate::services::artifacts::all_artifacts(
                &r.conn,
                project.as_deref(),
                name.as_deref(),
                cursor,
                max,
            )
        })
        .await
    }

    async fn stocks(&self) -> Result<Stocks, StoreError> {
        let mut stocks = self.read("cannot add up what there is", |r| stocks(&r.conn)).await?;
        let log = self.dir.join(format!("{}-wal", crate::FILE));
        stocks.database.bytes += std::fs::metadata(log).map_or(0, |m| m.len());
        Ok(stocks)
    }

    async fn pending_approvals(&self) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM approvals WHERE state = 'pending'";
        self.read("cannot count approvals", |r| r.conn.prepare_cached(sql)?.query_row([], |r| number(r, 0)))
            .await
    }

    async fn schema_version(&self) -> Result<u64, StoreError> {
        self.read("cannot read the schema version", |r| {
            r.conn.pragma_query_value(None, "user_version", |r| number(r, 0))
        })
        .await
    }
}
