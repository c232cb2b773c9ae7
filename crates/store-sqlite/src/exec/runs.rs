//! Operations on whole runs.

use super::{Fail, Outcome, Shared, Tx, conflict, int, missing};
use crate::encode::RunWrite;
use fleetfoot_model::ids::RunId;
use fleetfoot_model::state::Conclusion;
use fleetfoot_model::time::Timestamp;
use fleetfoot_store::{OpError, OpOk};
use rusqlite::params;

impl Tx<'_> {
    pub(super) fn create_run(&mut self, new: &RunWrite) -> Outcome {
        let row = &new.row;
        // Above the high-water mark an id cannot be taken.
        if row.id.0 <= self.known.high.run
            && self.exists("SELECT 1 FROM runs WHERE id = ?1", [int(row.id.0)])?
        {
            return Err(conflict(format!("run {} exists", row.id)));
        }
        if let Some(stray) = new.jobs.iter().find(|j| j.row.run != row.id) {
            return Err(Fail::Op(OpError::Failed(format!(
                "job {} belongs to run {}",
                stray.row.id, stray.row.run
            ))));
        }
        let document = self.intern(Shared::Document, &new.document)?;
        self.insert_run(new)?;
        self.run_sql(
            "INSERT INTO run_payloads (run, document, params, contexts, sealed_secrets)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![int(row.id.0), document, new.params, new.contexts, new.sealed_secrets],
        )?;
        self.run_sql(
            "INSERT INTO run_facts (run, sha, words) VALUES (?1, ?2, ?3)",
            params![int(row.id.0), new.sha, new.words],
        )?;
        for job in &new.jobs {
            self.insert_job(job)?;
        }
        self.known.high.run = self.known.high.run.max(row.id.0);
        self.note_change(row.change);
        Ok(OpOk::Done)
    }

    fn insert_run(&self, new: &RunWrite) -> rusqlite::Result<usize> {
        let r = &new.row;
        self.run_sql(
            "INSERT INTO runs (id, number, attempt, status, conclusion, cancel_requested, created_at, \
             started_at, finished_at, change, jobs, kind, name, title, project, path, event, actor, branch, \
             rerun_of, concurrency, nodes) \
             VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22)",
            params![
                int(r.id.0),
                int(r.number),
                r.attempt,
                r.status.as_str(),
                r.conclusion.map(Conclusion::as_str),
                r.cancel_requested,
                r.created_at.0,
                r.started_at.map(|t| t.0),
                r.finished_at.map(|t| t.0),
                int(r.change),
                r.jobs,
                r.kind,
                r.name,
                r.title,
                r.project,
                r.path,
                r.event,
                r.actor,
                r.branch,
                r.rerun_of.map(|id| int(id.0)),
                new.concurrency,
                new.nodes,
            ],
        )
    }

    pub(super) fn release_run(&mut self, run: RunId, change: u64) -> Outcome {
        let n = self.run_sql(
            "UPDATE runs SET status = 'queued', change = ?2 WHERE id = ?1 AND status = 'waiting'",
            [int(run.0), int(change)],
        )?;
        self.run_touched(n, run, change, "waiting")
    }

    pub(super) fn complete_run(
        &mut self,
        run: RunId,
        conclusion: Conclusion,
        at: Timestamp,
        change: u64,
    ) -> Outcome {
        let n = self.run_sql(
            "UPDATE runs SET status = 'completed', conclusion = ?2, finished_at = ?3, change = ?4
             WHERE id = ?1 AND status <> 'completed'
             AND NOT EXISTS (SELECT 1 FROM jobs WHERE run = ?1 AND status <> 'completed')",
            params![int(run.0), conclusion.as_str(), at.0, int(change)],
        )?;
        self.run_touched(n, run, change, "open without open jobs")
    }

    pub(super) fn request_run_cancel(&mut self, run: RunId, change: u64) -> Outcome {
        let n = self.run_sql(
            "UPDATE runs SET cancel_requested = 1, change = ?2
             WHERE id = ?1 AND status <> 'completed' AND cancel_requested = 0",
            [int(run.0), int(change)],
        )?;
        if n == 0
            && self.exists("SELECT 1 FROM runs WHERE id = ?1 AND status <> 'completed'", [int(run.0)])?
        {
            return Ok(OpOk::Unchanged);
        }
        self.run_touched(n, run, change, "open")
    }

    /// Judges a guarded update of one run: if it changed nothing, says why.
    fn run_touched(&mut self, changed: usize, run: RunId, change: u64, expected: &str) -> Outcome {
        if changed > 0 {
            self.note_change(change);
            return Ok(OpOk::Done);
        }
        Err(match self.one::<String>("SELECT status FROM runs WHERE id = ?1", int(run.0))? {
            Some(status) => conflict(format!("run {run} is {status}, not {expected}")),
            None => missing(format!("run {run}")),
        })
    }

    pub(super) fn delete_run(&mut self, run: RunId) -> Outcome {
        let id = int(run.0);
        match self.one::<String>("SELECT status FROM runs WHERE id = ?1", id)? {
            None => return Ok(OpOk::Unchanged),
            Some(status) if status != "completed" => {
                return Err(conflict(format!("run {run} is {status}, not completed")));
            }
            Some(_) => {}
        }
        let used = [
            (Shared::Document, "SELECT document FROM run_payloads WHERE run = ?1"),
            (Shared::Spec, "SELECT DISTINCT spec FROM jobs WHERE run = ?1 AND spec IS NOT NULL"),
            (
                Shared::Placement,
                "SELECT DISTINCT placement FROM jobs WHERE run = ?1 AND placement IS NOT NULL",
            ),
        ];
        let mut contents = Vec::new();
        for (which, sql) in used {
            let mut statement = self.conn.prepare_cached(sql)?;
            for content in statement.query_map([id], |r| r.get::<_, i64>(0))? {
                contents.push((which, content?));
            }
        }
        self.run_sql("DELETE FROM runs WHERE id = ?1", [id])?;
        for (which, content) in contents {
            self.release(which, content)?;
        }
        Ok(OpOk::Done)
    }
}
