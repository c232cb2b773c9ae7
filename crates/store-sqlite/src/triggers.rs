//! Repositories that start runs, their deliveries, schedules and reports.
//! Rows in and out; what a delivery means is decided elsewhere.

mod rows;

use crate::SqliteStore;
use async_trait::async_trait;
use fleetfoot_model::ids::RunId;
use fleetfoot_model::repos::DeliveryOutcome;
use fleetfoot_model::time::Timestamp;
use fleetfoot_store::{
    Accepted, DeliveryEnd, DeliveryRow, DeliverySource, NewDelivery, NewReport, ReportRow, ReportTry,
    RepositoryRow, ScheduleRow, StoreError, TriggerRun, TriggerStore,
};
use rows::{DELIVERY, REPORT, REPOSITORY, SCHEDULE, json, signed, source_word, unsigned};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeMap;

fn insert_delivery(conn: &Connection, new: &NewDelivery) -> rusqlite::Result<Accepted> {
    let repository = signed(new.repository);
    let by_id = conn
        .prepare_cached("SELECT id FROM deliveries WHERE repository = ?1 AND delivery = ?2")?
        .query_row(params![repository, new.delivery], |r| r.get(0))
        .optional()?;
    if let Some(id) = by_id {
        return Ok(Accepted::Duplicate(unsigned(id)));
    }
    if let Some(hash) = &new.body_hash {
        let by_body = conn
            .prepare_cached("SELECT id FROM deliveries WHERE repository = ?1 AND body_hash = ?2")?
            .query_row(params![repository, hash], |r| r.get(0))
            .optional()?;
        if let Some(id) = by_body {
            return Ok(Accepted::Replayed(unsigned(id)));
        }
    }
    conn.prepare_cached(
        "INSERT INTO deliveries (repository, delivery, body_hash, source, event, payload, received_at, outcome,
             runs, notes, error, tries, next_try)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'queued', '[]', '[]', NULL, 0, ?7)",
    )?
    .execute(params![
        repository,
        new.delivery,
        new.body_hash,
        source_word(new.source),
        new.event,
        new.payload,
        new.received_at.0,
    ])?;
    Ok(Accepted::New(unsigned(conn.last_insert_rowid())))
}

fn insert_trigger_run(conn: &Connection, run: &TriggerRun) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT OR IGNORE INTO trigger_runs (run, repository, sha, event, depth) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![signed(run.run.0), signed(run.repository), run.sha, run.event, run.depth])?;
    Ok(())
}

#[async_trait]
impl TriggerStore for SqliteStore {
    async fn add_repository(&self, row: RepositoryRow) -> Result<Option<u64>, StoreError> {
        self.write("cannot add a repository", move |conn| {
            let added = conn
                .prepare_cached(
                    "INSERT INTO repositories (forge, name, url, api_url, web_url, project, default_branch,
                         webhook_secret, token, share_token, poll_seconds, fork_approval, refs, error, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
                     ON CONFLICT (url, project) DO NOTHING",
                )?
                .execute(params![
                    row.forge.as_str(),
                    row.name,
                    row.url,
                    row.api_url,
                    row.web_url,
                    row.project,
                    row.default_branch,
                    row.webhook_secret,
                    row.token,
                    row.share_token,
                    row.poll_seconds,
                    row.fork_approval.as_str(),
                    row.refs.as_ref().map(json),
                    row.error,
                    row.created_at.0,
                ])?;
            Ok((added == 1).then(|| unsigned(conn.last_insert_rowid())))
        })
        .await
    }

    async fn update_repository(&self, row: RepositoryRow) -> Result<bool, StoreError> {
        self.write("cannot change a repository", move |conn| {
            let changed = conn
                .prepare_cached(
                    "UPDATE repositories SET name = ?2, api_url = ?3, web_url = ?4, project = ?5, token = ?6,
                         share_token = ?7, poll_seconds = ?8, fork_approval = ?9 WHERE id = ?1",
                )?
                .execute(params![
                    signed(row.id),
                    row.name,
                    row.api_url,
                    row.web_url,
                    row.project,
                    row.token,
                    row.share_token,
                    row.poll_seconds,
                    row.fork_approval.as_str(),
                ])?;
            Ok(changed == 1)
        })
        .await
    }

    async fn remove_repository(&self, id: u64) -> Result<bool, StoreError> {
        self.write("cannot remove a repository", move |conn| {
            Ok(conn.execute("DELETE FROM repositories WHERE id = ?1", [signed(id)])? == 1)
        })
        .await
    }

    async fn repository(&self, id: u64) -> Result<Option<RepositoryRow>, StoreError> {
        self.read("cannot read a repository", move |r| {
            r.conn
                .prepare_cached(&format!("SELECT {REPOSITORY} FROM repositories WHERE id = ?1"))?
                .query_row([signed(id)], rows::repository)
                .optional()
        })
        .await
    }

    async fn repositories(&self) -> Result<Vec<RepositoryRow>, StoreError> {
        self.read("cannot read repositories", |r| {
            r.conn
                .prepare_cached(&format!("SELECT {REPOSITORY} FROM repositories ORDER BY id"))?
                .query_map([], rows::repository)?
                .collect()
        })
        .await
    }

    async fn note_repository(
        &self,
        id: u64,
        default_branch: Option<String>,
        error: Option<String>,
    ) -> Result<(), StoreError> {
        self.write("cannot note the state of a repository", move |conn| {
            conn.prepare_cached(
                "UPDATE repositories SET default_branch = COALESCE(?2, default_branch), error = ?3 WHERE id = ?1",
            )?
            .execute(params![signed(id), default_branch, error])
            .map(|_| ())
        })
        .await
    }

    async fn accept_delivery(&self, new: NewDelivery) -> Result<Accepted, StoreError> {
        self.write("cannot store a delivery", move |conn| insert_delivery(conn, &new)).await
    }

    async fn move_refs(
        &self,
        repository: u64,
        old: Option<BTreeMap<String, String>>,
        new: BTreeMap<String, String>,
        deliveries: Vec<NewDelivery>,
    ) -> Result<bool, StoreError> {
        self.write("cannot store the refs of a repository", move |conn| {
            let moved = conn
                .prepare_cached("UPDATE repositories SET refs = ?2 WHERE id = ?1 AND refs IS ?3")?
                .execute(params![signed(repository), json(&new), old.as_ref().map(json)])?;
            if moved == 0 {
                return Ok(false);
            }
            for delivery in &deliveries {
                insert_delivery(conn, delivery)?;
            }
            Ok(true)
        })
        .await
    }

    async fn delivery(&self, id: u64) -> Result<Option<DeliveryRow>, StoreError> {
        self.read("cannot read a delivery", move |r| {
            r.conn
                .prepare_cached(&format!("SELECT {DELIVERY}, payload FROM deliveries WHERE id = ?1"))?
                .query_row([signed(id)], rows::delivery)
                .optional()
        })
        .await
    }

    async fn deliveries(
        &self,
        repository: u64,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        self.read("cannot read deliveries", move |r| {
            r.conn
                .prepare_cached(&format!(
                    "SELECT {DELIVERY}, NULL FROM deliveries WHERE repository = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3"
                ))?
                .query_map(
                    params![signed(repository), cursor.map_or(i64::MAX, signed), signed(limit as u64)],
                    rows::delivery,
                )?
                .collect()
        })
        .await
    }

    async fn due_deliveries(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<(Vec<DeliveryRow>, Option<Timestamp>), StoreError> {
        self.read("cannot read due deliveries", move |r| {
            let due = r
                .conn
                .prepare_cached(&format!(
                    "SELECT {DELIVERY}, payload FROM deliveries
                     WHERE outcome = 'queued' AND next_try <= ?1 ORDER BY id LIMIT ?2"
                ))?
                .query_map(params![now.0, signed(limit as u64)], rows::delivery)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            let next: Option<i64> = r
                .conn
                .prepare_cached(
                    "SELECT min(next_try) FROM deliveries WHERE outcome = 'queued' AND next_try > ?1",
                )?
                .query_row([now.0], |row| row.get(0))?;
            Ok((due, next.map(Timestamp)))
        })
        .await
    }

    async fn end_delivery(&self, id: u64, end: DeliveryEnd) -> Result<bool, StoreError> {
        self.write("cannot store the end of a delivery", move |conn| {
            let runs: Vec<RunId> = end.runs.iter().map(|r| r.run).collect();
            let changed = conn
                .prepare_cached(
                    "UPDATE deliveries SET outcome = ?2, runs = ?3, notes = ?4, error = ?5, tries = tries + 1,
                         next_try = ?6 WHERE id = ?1 AND outcome = 'queued'",
                )?
                .execute(params![
                    signed(id),
                    end.outcome.as_str(),
                    json(&runs),
                    json(&end.notes),
                    end.error,
                    end.next_try.filter(|_| end.outcome == DeliveryOutcome::Queued).map(|t| t.0),
                ])?;
            if changed == 1 {
                for run in &end.runs {
                    insert_trigger_run(conn, run)?;
                }
            }
            Ok(changed == 1)
        })
        .await
    }

    async fn prune_deliveries(&self, payloads: Timestamp, rows: Timestamp) -> Result<(), StoreError> {
        self.write("cannot prune deliveries", move |conn| {
            conn.execute(
                "UPDATE deliveries SET payload = NULL
                 WHERE outcome != 'queued' AND payload IS NOT NULL AND received_at < ?1",
                [payloads.0],
            )?;
            conn.execute("DELETE FROM deliveries WHERE outcome != 'queued' AND received_at < ?1", [rows.0])?;
            conn.execute("DELETE FROM reports WHERE next_try IS NULL AND changed_at < ?1", [rows.0])
                .map(|_| ())
        })
        .await
    }

    async fn trigger_runs(&self) -> Result<Vec<TriggerRun>, StoreError> {
        self.read("cannot read runs of repositories", |r| {
            r.conn
                .prepare_cached("SELECT run, repository, sha, event, depth FROM trigger_runs ORDER BY run")?
                .query_map([], |row| {
                    Ok(TriggerRun {
                        run: RunId(unsigned(row.get(0)?)),
                        repository: unsigned(row.get(1)?),
                        sha: row.get(2)?,
                        event: row.get(3)?,
                        depth: row.get(4)?,
                    })
                })?
                .collect()
        })
        .await
    }

    async fn end_trigger_run(&self, run: RunId, delivery: Option<NewDelivery>) -> Result<(), StoreError> {
        self.write("cannot store the end of a run of a repository", move |conn| {
            let gone = conn.execute("DELETE FROM trigger_runs WHERE run = ?1", [signed(run.0)])?;
            if let Some(delivery) = delivery.filter(|_| gone == 1) {
                insert_delivery(conn, &delivery)?;
            }
            Ok(())
        })
        .await
    }

    async fn set_schedules(&self, repository: u64, rows: Vec<ScheduleRow>) -> Result<(), StoreError> {
        self.write("cannot store schedules", move |conn| {
            let id = signed(repository);
            let kept: Vec<(i64, String, String, String)> = conn
                .prepare_cached("SELECT id, workflow, cron, timezone FROM schedules WHERE repository = ?1")?
                .query_map([id], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?
                .collect::<rusqlite::Result<_>>()?;
            for (old, workflow, cron, timezone) in kept {
                if !rows.iter().any(|r| r.workflow == workflow && r.cron == cron && r.timezone == timezone) {
                    conn.execute("DELETE FROM schedules WHERE id = ?1", [old])?;
                }
            }
            for row in &rows {
                conn.prepare_cached(
                    "INSERT INTO schedules (repository, workflow, cron, timezone, next_at, last_at, note)
                     VALUES (?1, ?2, ?3, ?4, ?5, NULL, ?6) ON CONFLICT DO NOTHING",
                )?
                .execute(params![
                    id,
                    row.workflow,
                    row.cron,
                    row.timezone,
                    row.next_at.map(|t| t.0),
                    row.note
                ])?;
            }
            Ok(())
        })
        .await
    }

    async fn schedules(&self, repository: Option<u64>) -> Result<Vec<ScheduleRow>, StoreError> {
        self.read("cannot read schedules", move |r| {
            r.conn
                .prepare_cached(&format!(
                    "SELECT {SCHEDULE} FROM schedules WHERE ?1 IS NULL OR repository = ?1 ORDER BY repository, workflow, id"
                ))?
                .query_map([repository.map(signed)], rows::schedule)?
                .collect()
        })
        .await
    }

    async fn move_schedule(
        &self,
        row: ScheduleRow,
        expected: Option<Timestamp>,
        delivery: Option<NewDelivery>,
    ) -> Result<bool, StoreError> {
        self.write("cannot move a schedule", move |conn| {
            let moved = conn
                .prepare_cached(
                    "UPDATE schedules SET next_at = ?2, last_at = ?3, note = ?4 WHERE id = ?1 AND next_at IS ?5",
                )?
                .execute(params![
                    signed(row.id),
                    row.next_at.map(|t| t.0),
                    row.last_at.map(|t| t.0),
                    row.note,
                    expected.map(|t| t.0),
                ])?;
            if let Some(delivery) = delivery.filter(|_| moved == 1) {
                insert_delivery(conn, &delivery)?;
            }
            Ok(moved == 1)
        })
        .await
    }

    async fn want_reports(&self, reports: Vec<NewReport>) -> Result<(), StoreError> {
        self.write("cannot store reports", move |conn| {
            for new in &reports {
                conn.prepare_cached(
                    "INSERT INTO reports (repository, sha, context, run, state, text, version, changed_at, tries, next_try)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, 0, ?7)
                     ON CONFLICT (repository, sha, context) DO UPDATE SET
                         run = excluded.run, state = excluded.state, text = excluded.text, version = version + 1,
                         changed_at = excluded.changed_at, tries = 0, error = NULL, next_try = excluded.next_try
                     WHERE COALESCE(excluded.run, 0) >= COALESCE(run, 0)
                         AND (run IS NOT excluded.run OR state != excluded.state OR text != excluded.text)",
                )?
                .execute(params![
                    signed(new.repository),
                    new.sha,
                    new.context,
                    new.run.map(|r| signed(r.0)),
                    new.state,
                    new.text,
                    new.at.0,
                ])?;
            }
            Ok(())
        })
        .await
    }

    async fn due_reports(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<(Vec<ReportRow>, Option<Timestamp>), StoreError> {
        self.read("cannot read due reports", move |r| {
            let due = r
                .conn
                .prepare_cached(&format!(
                    "SELECT {REPORT} FROM reports WHERE next_try <= ?1 ORDER BY next_try LIMIT ?2"
                ))?
                .query_map(params![now.0, signed(limit as u64)], rows::report)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            let next: Option<i64> = r
                .conn
                .prepare_cached("SELECT min(next_try) FROM reports WHERE next_try > ?1")?
                .query_row([now.0], |row| row.get(0))?;
            Ok((due, next.map(Timestamp)))
        })
        .await
    }

    async fn end_report(&self, row: &ReportRow, end: ReportTry) -> Result<(), StoreError> {
        let row = row.clone();
        self.write("cannot store how a report ended", move |conn| {
            let id = signed(row.repository);
            let version = signed(row.version);
            match end {
                ReportTry::Sent { check_run } => conn
                    .prepare_cached(
                        "UPDATE reports SET sent = ?4, check_run = COALESCE(?5, check_run),
                             next_try = iif(version = ?6, NULL, next_try), tries = iif(version = ?6, 0, tries),
                             error = iif(version = ?6, NULL, error)
                         WHERE repository = ?1 AND sha = ?2 AND context = ?3",
                    )?
                    .execute(params![id, row.sha, row.context, row.state, check_run.map(signed), version])?,
                ReportTry::Failed { error, next_try } => conn
                    .prepare_cached(
                        "UPDATE reports SET tries = tries + 1, error = ?4, next_try = ?5
                         WHERE repository = ?1 AND sha = ?2 AND context = ?3 AND version = ?6",
                    )?
                    .execute(params![id, row.sha, row.context, error, next_try.map(|t| t.0), version])?,
            };
            Ok(())
        })
        .await
    }

    async fn reports(&self, repository: u64, limit: usize) -> Result<Vec<ReportRow>, StoreError> {
        self.read("cannot read reports", move |r| {
            r.conn
                .prepare_cached(&format!(
                    "SELECT {REPORT} FROM reports WHERE repository = ?1
                     ORDER BY (error IS NULL), (next_try IS NULL), changed_at DESC LIMIT ?2"
                ))?
                .query_map(params![signed(repository), signed(limit as u64)], rows::report)?
                .collect()
        })
        .await
    }

    async fn add_contributor(&self, repository: u64, account: u64) -> Result<(), StoreError> {
        self.write("cannot remember a contributor", move |conn| {
            conn.execute(
                "INSERT OR IGNORE INTO contributors (repository, account) VALUES (?1, ?2)",
                params![signed(repository), signed(account)],
            )
            .map(|_| ())
        })
        .await
    }

    async fn is_contributor(&self, repository: u64, account: u64) -> Result<bool, StoreError> {
        self.read("cannot look up a contributor", move |r| {
            r.conn
                .prepare_cached("SELECT 1 FROM contributors WHERE repository = ?1 AND account = ?2")?
                .query_row(params![signed(repository), signed(account)], |_| Ok(()))
                .optional()
                .map(|found| found.is_some())
        })
        .await
    }
}

/// Where a delivery comes from, as a word of the database.
fn source_of(word: &str) -> DeliverySource {
    if word == "webhook" { DeliverySource::Webhook } else { DeliverySource::Made }
}
