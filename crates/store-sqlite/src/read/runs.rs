//! Queries about runs, jobs and attempts.

use super::decode::{
    get, json_or_empty, maybe_json, maybe_number, maybe_time, maybe_word, number, time, word,
};
use super::{Reader, all, one};
use crate::exec::int;
use fleetfoot_model::api::RunFilter;
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId, RunId, RunnerId};
use fleetfoot_model::state::{Conclusion, Status};
use fleetfoot_model::sync::AttemptResult;
use fleetfoot_model::time::Timestamp;
use fleetfoot_store::{AttemptRow, JobPayload, JobRow, RunPayload, RunRow};
use rusqlite::{Connection, Result, Row, ToSql, params};
use std::fmt::Write as _;

macro_rules! run_columns {
    () => {
        "r.id, r.number, r.attempt, r.kind, r.name, r.title, r.project, r.path, r.event, r.actor, r.branch, \
         r.status, r.conclusion, r.cancel_requested, r.created_at, r.started_at, r.finished_at, r.rerun_of, \
         r.concurrency, r.nodes, r.jobs, r.change"
    };
}

pub(crate) use run_columns;

macro_rules! job_columns {
    () => {
        "j.id, j.run, j.key, j.leg, j.name, j.project, j.status, j.conclusion, j.reason, j.message, \
         j.exit_code, j.continue_on_error, j.attempt, j.runner, j.cancel_requested, j.created_at, \
         j.queued_at, j.started_at, j.finished_at, j.not_before, j.outputs, j.change, j.placement, \
         j.max_parallel, j.fail_fast"
    };
}

macro_rules! attempt_columns {
    () => {
        "a.job, a.number, a.epoch, a.run, a.runner, a.leased_at, a.finished_at, a.conclusion, a.reason, \
         a.message, a.steps, a.result, a.log_bytes"
    };
}

pub(crate) fn run_row(r: &Row<'_>) -> Result<RunRow> {
    Ok(RunRow {
        id: RunId(number(r, 0)?),
        number: number(r, 1)?,
        attempt: get(r, 2)?,
        kind: get(r, 3)?,
        name: get(r, 4)?,
        title: get(r, 5)?,
        project: get(r, 6)?,
        path: get(r, 7)?,
        event: get(r, 8)?,
        actor: get(r, 9)?,
        branch: get(r, 10)?,
        status: word(r, 11)?,
        conclusion: maybe_word(r, 12)?,
        cancel_requested: get(r, 13)?,
        created_at: time(r, 14)?,
        started_at: maybe_time(r, 15)?,
        finished_at: maybe_time(r, 16)?,
        rerun_of: maybe_number(r, 17)?.map(RunId),
        concurrency: maybe_json(r, 18)?,
        nodes: json_or_empty(r, 19)?,
        jobs: get(r, 20)?,
        change: number(r, 21)?,
    })
}

/// A job, and the id of its placement, which the caller looks up.
fn job_row(r: &Row<'_>) -> Result<(JobRow, Option<i64>)> {
    let row = JobRow {
        id: JobId(number(r, 0)?),
        run: RunId(number(r, 1)?),
        key: get(r, 2)?,
        leg: get(r, 3)?,
        name: get(r, 4)?,
        project: get(r, 5)?,
        status: word(r, 6)?,
        conclusion: maybe_word(r, 7)?,
        reason: maybe_word(r, 8)?,
        message: get(r, 9)?,
        exit_code: get(r, 10)?,
        continue_on_error: get(r, 11)?,
        attempt: get(r, 12)?,
        runner: maybe_number(r, 13)?.map(RunnerId),
        cancel_requested: get(r, 14)?,
        created_at: time(r, 15)?,
        queued_at: maybe_time(r, 16)?,
        started_at: maybe_time(r, 17)?,
        finished_at: maybe_time(r, 18)?,
        not_before: maybe_time(r, 19)?,
        outputs: json_or_empty(r, 20)?,
        change: number(r, 21)?,
        placement: None,
        max_parallel: get(r, 23)?,
        fail_fast: get(r, 24)?,
    };
    Ok((row, get(r, 22)?))
}

fn attempt_row(r: &Row<'_>) -> Result<AttemptRow> {
    let result: Option<Box<AttemptResult>> = maybe_json(r, 11)?;
    Ok(AttemptRow {
        id: AttemptRef { job: JobId(number(r, 0)?), attempt: get(r, 1)?, epoch: Epoch(number(r, 2)?) },
        run: RunId(number(r, 3)?),
        runner: RunnerId(number(r, 4)?),
        leased_at: time(r, 5)?,
        finished_at: maybe_time(r, 6)?,
        conclusion: maybe_word(r, 7)?,
        reason: maybe_word(r, 8)?,
        message: get(r, 9)?,
        steps: json_or_empty(r, 10)?,
        boundary: result.as_ref().map(|x| x.boundary.clone()),
        result,
        log_bytes: number(r, 12)?,
    })
}

impl Reader {
    fn with_placement(&mut self, (mut row, placement): (JobRow, Option<i64>)) -> Result<JobRow> {
        row.placement = placement.map(|id| self.placement(id)).transpose()?;
        Ok(row)
    }

    fn with_placements(&mut self, rows: Vec<(JobRow, Option<i64>)>) -> Result<Vec<JobRow>> {
        rows.into_iter().map(|row| self.with_placement(row)).collect()
    }
}

/// See [`fleetfoot_store::Store::open_runs`].
pub(crate) fn open_runs(
    reader: &mut Reader,
    after: Option<RunId>,
    limit: usize,
) -> Result<Vec<(RunRow, Vec<JobRow>)>> {
    let after = after.map_or(0, |id| int(id.0));
    let runs = all(
        &reader.conn,
        concat!(
            "SELECT ",
            run_columns!(),
            " FROM runs r INDEXED BY runs_open WHERE r.status <> 'completed' AND r.id > ?1 ORDER BY r.id LIMIT ?2"
        ),
        params![after, limit.cast_signed()],
        run_row,
    )?;
    let Some(last) = runs.last() else { return Ok(Vec::new()) };
    // One query for all of them: the run comes first in the join, so that runs that completed
    // long ago cost nothing.
    let jobs = all(
        &reader.conn,
        concat!(
            "SELECT ",
            job_columns!(),
            " FROM runs r INDEXED BY runs_open CROSS JOIN jobs j ON j.run = r.id
             WHERE r.status <> 'completed' AND r.id > ?1 AND r.id <= ?2 ORDER BY r.id, j.id"
        ),
        params![after, int(last.id.0)],
        job_row,
    )?;
    let mut jobs = reader.with_placements(jobs)?.into_iter().peekable();
    Ok(runs
        .into_iter()
        .map(|run| {
            let own = std::iter::from_fn(|| jobs.next_if(|j| j.run == run.id)).collect();
            (run, own)
        })
        .collect())
}

/// See [`fleetfoot_store::Store::run`].
pub(crate) fn run(reader: &Reader, id: RunId) -> Result<Option<RunRow>> {
    one(
        &reader.conn,
        concat!("SELECT ", run_columns!(), " FROM runs r WHERE r.id = ?1"),
        [int(id.0)],
        run_row,
    )
}

/// See [`fleetfoot_store::Store::run_payload`].
pub(crate) fn run_payload(reader: &Reader, id: RunId) -> Result<Option<RunPayload>> {
    one(
        &reader.conn,
        "SELECT d.body, p.params, p.contexts, p.sealed_secrets
         FROM run_payloads p JOIN documents d ON d.id = p.document WHERE p.run = ?1",
        [int(id.0)],
        |r| {
            Ok(RunPayload {
                document: get(r, 0)?,
                params: json_or_empty(r, 1)?,
                contexts: json_or_empty(r, 2)?,
                sealed_secrets: get::<Option<_>>(r, 3)?.unwrap_or_default(),
            })
        },
    )
}

/// See [`fleetfoot_store::Store::list_runs`].
pub(crate) fn list_runs(
    reader: &Reader,
    filter: &RunFilter,
    cursor: Option<RunId>,
    limit: usize,
) -> Result<Vec<RunRow>> {
    let mut sql = String::from(concat!("SELECT ", run_columns!(), " FROM runs r WHERE r.id < ?1"));
    let before = cursor.map_or(i64::MAX, |id| int(id.0));
    let limit = limit.cast_signed();
    let mut values: Vec<&dyn ToSql> = vec![&before, &limit];
    // Words of enums stand in the text, so that the partial indexes apply.
    if let Some(status) = filter.status {
        let open = if status == Status::Completed { "" } else { " AND r.status <> 'completed'" };
        let _ = write!(sql, "{open} AND r.status = '{status}'");
    }
    if let Some(conclusion) = filter.conclusion {
        let _ = write!(sql, " AND r.conclusion = '{conclusion}'");
    }
    let columns = [
        ("kind", &filter.kind),
        ("project", &filter.project),
        ("name", &filter.name),
        ("branch", &filter.branch),
        ("actor", &filter.actor),
        ("event", &filter.event),
    ];
    for (column, wanted) in columns {
        if let Some(value) = wanted {
            values.push(value);
            let _ = write!(sql, " AND r.{column} = ?{}", values.len());
        }
    }
    sql.push_str(" ORDER BY r.id DESC LIMIT ?2");
    all(&reader.conn, &sql, values.as_slice(), run_row)
}

/// See [`fleetfoot_store::Store::run_attempts`].
pub(crate) fn run_attempts(
    reader: &Reader,
    (project, name, number): (&str, &str, u64),
    cursor: Option<RunId>,
    limit: usize,
) -> Result<Vec<RunRow>> {
    let before = cursor.map_or(i64::MAX, |id| int(id.0));
    all(
        &reader.conn,
        concat!(
            "SELECT ",
            run_columns!(),
            " FROM runs r INDEXED BY runs_number
             WHERE r.project = ?1 AND r.name = ?2 AND r.number = ?3 AND r.id < ?4
             ORDER BY r.id DESC LIMIT ?5"
        ),
        params![project, name, int(number), before, limit.cast_signed()],
        run_row,
    )
}

/// See [`fleetfoot_store::Store::run_jobs`].
pub(crate) fn run_jobs(reader: &mut Reader, id: RunId, since: Option<u64>) -> Result<Vec<JobRow>> {
    let rows = all(
        &reader.conn,
        concat!("SELECT ", job_columns!(), " FROM jobs j WHERE j.run = ?1 AND j.change > ?2 ORDER BY j.id"),
        [int(id.0), since.map_or(-1, int)],
        job_row,
    )?;
    reader.with_placements(rows)
}

/// See [`fleetfoot_store::Store::job`].
pub(crate) fn job(reader: &mut Reader, id: JobId) -> Result<Option<JobRow>> {
    let row = one(
        &reader.conn,
        concat!("SELECT ", job_columns!(), " FROM jobs j WHERE j.id = ?1"),
        [int(id.0)],
        job_row,
    )?;
    row.map(|row| reader.with_placement(row)).transpose()
}

/// See [`fleetfoot_store::Store::job_payload`].
pub(crate) fn job_payload(reader: &mut Reader, id: JobId) -> Result<Option<JobPayload>> {
    let found = one(
        &reader.conn,
        "SELECT spec, needs FROM jobs WHERE id = ?1 AND spec IS NOT NULL",
        [int(id.0)],
        |r| Ok((get::<i64>(r, 0)?, maybe_json(r, 1)?)),
    )?;
    found.map(|(spec, needs)| Ok(JobPayload { spec: reader.spec(spec)?, needs })).transpose()
}

/// See [`fleetfoot_store::Store::attempts`].
pub(crate) fn attempts(reader: &Reader, job: JobId) -> Result<Vec<AttemptRow>> {
    all(
        &reader.conn,
        concat!("SELECT ", attempt_columns!(), " FROM attempts a WHERE a.job = ?1 ORDER BY a.number"),
        [int(job.0)],
        attempt_row,
    )
}

/// See [`fleetfoot_store::Store::latest_attempts`].
pub(crate) fn latest_attempts(reader: &Reader, run: RunId) -> Result<Vec<AttemptRow>> {
    all(
        &reader.conn,
        concat!(
            "SELECT ",
            attempt_columns!(),
            " FROM jobs j JOIN attempts a ON a.job = j.id AND a.number = j.attempt
             WHERE j.run = ?1 ORDER BY j.id"
        ),
        [int(run.0)],
        attempt_row,
    )
}

/// See [`fleetfoot_store::Store::open_attempts`].
pub(crate) fn open_attempts(reader: &Reader) -> Result<Vec<AttemptRow>> {
    all(
        &reader.conn,
        concat!(
            "SELECT ",
            attempt_columns!(),
            " FROM attempts a INDEXED BY attempts_open WHERE a.finished_at IS NULL ORDER BY a.epoch"
        ),
        [],
        attempt_row,
    )
}

/// See [`fleetfoot_store::Store::runs_finished_before`].
pub(crate) fn runs_finished_before(reader: &Reader, before: Timestamp, limit: usize) -> Result<Vec<RunId>> {
    all(
        &reader.conn,
        "SELECT id FROM runs WHERE finished_at IS NOT NULL AND finished_at < ?1
         ORDER BY finished_at, id LIMIT ?2",
        params![before.0, limit.cast_signed()],
        |r| Ok(RunId(number(r, 0)?)),
    )
}

/// See [`fleetfoot_store::Store::runner_totals`].
pub(crate) fn runner_totals(
    conn: &Connection,
    runner: Option<RunnerId>,
) -> Result<Vec<(RunnerId, Conclusion, u64)>> {
    all(
        conn,
        "SELECT runner, conclusion, jobs FROM runner_totals WHERE ?1 IS NULL OR runner = ?1
         ORDER BY runner, conclusion",
        [runner.map(|id| int(id.0))],
        |r| Ok((RunnerId(number(r, 0)?), word(r, 1)?, number(r, 2)?)),
    )
}

/// See [`fleetfoot_store::Store::last_run_number`].
pub(crate) fn last_run_number(reader: &Reader, project: &str, name: &str) -> Result<u64> {
    let number = one(
        &reader.conn,
        "SELECT coalesce(max(number), 0) FROM runs WHERE project = ?1 AND name = ?2",
        [project, name],
        |r| number(r, 0),
    )?;
    Ok(number.unwrap_or(0))
}
