//! Columns and rows of the tables of triggers. Nothing else.

use super::source_of;
use fleetfoot_model::ids::RunId;
use fleetfoot_model::repos::DeliveryOutcome;
use fleetfoot_model::time::Timestamp;
use fleetfoot_store::{DeliveryRow, DeliverySource, ReportRow, RepositoryRow, ScheduleRow};
use rusqlite::Row;
use rusqlite::types::Type;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) const REPOSITORY: &str = "id, forge, name, url, api_url, web_url, project, default_branch, \
    webhook_secret, token, share_token, poll_seconds, fork_approval, refs, error, created_at";
pub(super) const DELIVERY: &str =
    "id, repository, delivery, source, event, received_at, outcome, runs, notes, error, tries, next_try";
pub(super) const SCHEDULE: &str = "id, repository, workflow, cron, timezone, next_at, last_at, note";
pub(super) const REPORT: &str = "repository, sha, context, run, state, text, version, changed_at, sent, \
    check_run, tries, next_try, error";

pub(super) const fn signed(id: u64) -> i64 {
    id.cast_signed()
}

pub(super) const fn unsigned(id: i64) -> u64 {
    id.cast_unsigned()
}

/// Lists and maps of strings and numbers always serialise.
pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

pub(super) const fn source_word(source: DeliverySource) -> &'static str {
    match source {
        DeliverySource::Webhook => "webhook",
        DeliverySource::Made => "made",
    }
}

fn bad(at: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error))
}

fn unknown(at: usize, word: String) -> rusqlite::Error {
    bad(at, std::io::Error::other(word))
}

fn read_json<T: DeserializeOwned>(row: &Row<'_>, at: usize) -> rusqlite::Result<T> {
    serde_json::from_str(&row.get::<_, String>(at)?).map_err(|e| bad(at, e))
}

fn time(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(at)?.map(Timestamp))
}

pub(super) fn repository(row: &Row<'_>) -> rusqlite::Result<RepositoryRow> {
    let refs: Option<String> = row.get(13)?;
    Ok(RepositoryRow {
        id: unsigned(row.get(0)?),
        forge: row.get::<_, String>(1)?.parse().map_err(|e| unknown(1, e))?,
        name: row.get(2)?,
        url: row.get(3)?,
        api_url: row.get(4)?,
        web_url: row.get(5)?,
        project: row.get(6)?,
        default_branch: row.get(7)?,
        webhook_secret: row.get(8)?,
        token: row.get(9)?,
        share_token: row.get(10)?,
        poll_seconds: row.get(11)?,
        fork_approval: row.get::<_, String>(12)?.parse().map_err(|e| unknown(12, e))?,
        refs: refs.map(|text| serde_json::from_str(&text)).transpose().map_err(|e| bad(13, e))?,
        error: row.get(14)?,
        created_at: Timestamp(row.get(15)?),
    })
}

pub(super) fn delivery(row: &Row<'_>) -> rusqlite::Result<DeliveryRow> {
    let outcome: String = row.get(6)?;
    let all = [
        DeliveryOutcome::Queued,
        DeliveryOutcome::Started,
        DeliveryOutcome::Ignored,
        DeliveryOutcome::Failed,
    ];
    Ok(DeliveryRow {
        id: unsigned(row.get(0)?),
        repository: unsigned(row.get(1)?),
        delivery: row.get(2)?,
        source: source_of(&row.get::<_, String>(3)?),
        event: row.get(4)?,
        received_at: Timestamp(row.get(5)?),
        outcome: all.into_iter().find(|o| o.as_str() == outcome).ok_or_else(|| unknown(6, outcome))?,
        runs: read_json::<Vec<RunId>>(row, 7)?,
        notes: read_json(row, 8)?,
        error: row.get(9)?,
        tries: row.get(10)?,
        next_try: time(row, 11)?,
        payload: row.get(12)?,
    })
}

pub(super) fn schedule(row: &Row<'_>) -> rusqlite::Result<ScheduleRow> {
    Ok(ScheduleRow {
        id: unsigned(row.get(0)?),
        repository: unsigned(row.get(1)?),
        workflow: row.get(2)?,
        cron: row.get(3)?,
        timezone: row.get(4)?,
        next_at: time(row, 5)?,
        last_at: time(row, 6)?,
        note: row.get(7)?,
    })
}

pub(super) fn report(row: &Row<'_>) -> rusqlite::Result<ReportRow> {
    Ok(ReportRow {
        repository: unsigned(row.get(0)?),
        sha: row.get(1)?,
        context: row.get(2)?,
        run: row.get::<_, Option<i64>>(3)?.map(|id| RunId(unsigned(id))),
        state: row.get(4)?,
        text: row.get(5)?,
        version: unsigned(row.get(6)?),
        changed_at: Timestamp(row.get(7)?),
        sent: row.get(8)?,
        check_run: row.get::<_, Option<i64>>(9)?.map(unsigned),
        tries: row.get(10)?,
        next_try: time(row, 11)?,
        error: row.get(12)?,
    })
}
