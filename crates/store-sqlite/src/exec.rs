//! Executes encoded operations inside the writer's transaction. An operation
//! checks before it writes, so that a refusal leaves nothing behind; an
//! operation that fails between two of its statements is reported as
//! [`Fail::Sql`], and the writer undoes it. Nothing here begins or ends a
//! transaction.

mod approvals;
mod depend;
mod fleet;
mod jobs;
mod runs;

pub(crate) use depend::Failures;
pub(crate) use fleet::kind_text;

use crate::encode::{Content, Write};
use fleetfoot_store::{HighWater, OpError, OpOk};
use rusqlite::{Connection, OptionalExtension, ToSql, params};
use std::collections::HashMap;

/// How an operation ended that did not succeed.
#[derive(Debug)]
pub(crate) enum Fail {
    /// Refused before anything was written.
    Op(OpError),
    /// SQLite refused a statement, perhaps after others of the same operation.
    Sql(rusqlite::Error),
}

impl From<OpError> for Fail {
    fn from(e: OpError) -> Self {
        Self::Op(e)
    }
}

impl From<rusqlite::Error> for Fail {
    fn from(e: rusqlite::Error) -> Self {
        Self::Sql(e)
    }
}

/// Result of one operation.
pub(crate) type Outcome = Result<OpOk, Fail>;

fn conflict(message: String) -> Fail {
    Fail::Op(OpError::Conflict(message))
}

fn missing(what: String) -> Fail {
    Fail::Op(OpError::Missing(what))
}

/// The integer of an id or a change number. One beyond `i64::MAX` turns negative, which the
/// CHECK constraints refuse.
pub(crate) const fn int(n: u64) -> i64 {
    n.cast_signed()
}

/// Entries of one cache of [`Known`]; beyond this it starts afresh.
const KNOWN_MAX: usize = 8192;

/// Which of the tables of shared contents.
#[derive(Clone, Copy, Debug)]
enum Shared {
    Document,
    Spec,
    Placement,
}

/// What the writer remembers from earlier transactions, to save look-ups.
#[derive(Debug)]
pub(crate) struct Known {
    contents: [HashMap<[u8; 32], i64>; 3],
    /// Largest numbers, including those of the transaction under way.
    pub(crate) high: HighWater,
}

impl Known {
    /// Knows the committed counters and no contents yet.
    pub(crate) fn new(high: HighWater) -> Self {
        Self { contents: Default::default(), high }
    }

    /// Forgets ids of contents: after a rollback they may not exist.
    pub(crate) fn forget(&mut self) {
        self.contents.iter_mut().for_each(HashMap::clear);
    }
}

/// The open transaction.
#[derive(Debug)]
pub(crate) struct Tx<'c> {
    pub(crate) conn: &'c Connection,
    pub(crate) known: &'c mut Known,
}

impl Tx<'_> {
    /// Executes one operation.
    pub(crate) fn execute(&mut self, write: &Write) -> Outcome {
        match write {
            Write::CreateRun(run) => self.create_run(run),
            Write::ReleaseRun { run, change } => self.release_run(*run, *change),
            Write::CompleteRun { run, conclusion, at, change } => {
                self.complete_run(*run, *conclusion, *at, *change)
            }
            Write::RequestRunCancel { run, change } => self.request_run_cancel(*run, *change),
            Write::DeleteRun(run) => self.delete_run(*run),
            Write::ResolveJob(job) => self.resolve_job(job),
            Write::AddJobs { run, jobs, change } => self.add_jobs(*run, jobs, *change),
            Write::QueueJob { job, at, change } => self.queue_job(*job, *at, *change),
            Write::Lease { lease, change } => self.lease(lease, *change),
            Write::SetSteps { attempt, steps, change } => self.set_steps(*attempt, steps.as_deref(), *change),
            Write::EndAttempt { end, steps, result, change } => {
                self.end_attempt(end, steps.as_deref(), result.as_deref(), *change)
            }
            Write::RequeueJob { job, not_before, change } => self.requeue_job(*job, *not_before, *change),
            Write::CompleteJob { job, end, outputs, change } => {
                self.complete_job(*job, end, outputs.as_deref(), *change)
            }
            Write::RequestJobCancel { job, change } => self.request_job_cancel(*job, *change),
            Write::CreateRunner { row, labels, info } => self.create_runner(row, labels.as_deref(), info),
            Write::UpdateRunner { row, labels, info } => self.update_runner(row, labels.as_deref(), info),
            Write::TouchRunners(all) => self.touch_runners(all),
            Write::DeleteRunner { runner, at } => self.delete_runner(*runner, *at),
            Write::CreateToken { row, labels } => self.create_token(row, labels.as_deref()),
            Write::RevokeToken { token, at } => self.revoke_token(*token, *at),
            Write::RevokeRunnerTokens { runner, keep, at } => self.revoke_runner_tokens(*runner, *keep, *at),
            Write::UseToken { token, at } => self.use_token(*token, *at),
            Write::TouchTokens(all) => self.touch_tokens(all),
            Write::KeepIdempotent(row) => self.keep_idempotent(row),
            Write::ForgetIdempotent { before } => self.forget_idempotent(*before),
            Write::HoldForApproval { row, reviewers } => self.hold_for_approval(row, reviewers.as_deref()),
            Write::DecideApproval(decision) => self.decide_approval(decision),
            Write::Audit { at, actor, action, subject, detail } => {
                self.run_sql(
                    "INSERT INTO audit (at, actor, action, subject, detail) VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![at.0, actor, action, subject, detail],
                )?;
                Ok(OpOk::Done)
            }
            #[cfg(test)]
            Write::Panic => {
                self.run_sql(
                    "INSERT INTO audit (at, actor, action, subject) VALUES (0, 'half', 'way', 'there')",
                    [],
                )?;
                panic!("an operation panics on purpose")
            }
        }
    }

    /// Executes a statement; answers how many rows changed.
    fn run_sql(&self, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<usize> {
        self.conn.prepare_cached(sql)?.execute(params)
    }

    fn exists(&self, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<bool> {
        self.conn.prepare_cached(sql)?.exists(params)
    }

    /// The first column of the only row, if there is one.
    fn one<T: rusqlite::types::FromSql>(&self, sql: &str, key: impl ToSql) -> rusqlite::Result<Option<T>> {
        self.conn.prepare_cached(sql)?.query_row([key], |r| r.get(0)).optional()
    }

    fn note_change(&mut self, change: u64) {
        self.known.high.change = self.known.high.change.max(change);
    }

    /// The id of a shared content, which is stored if it is new.
    fn intern(&mut self, which: Shared, content: &Content) -> rusqlite::Result<i64> {
        if let Some(id) = self.known.contents[which as usize].get(&content.hash) {
            return Ok(*id);
        }
        let (find, add) = match which {
            Shared::Document => (
                "SELECT id FROM documents WHERE hash = ?1",
                "INSERT INTO documents (hash, body) VALUES (?1, ?2)",
            ),
            Shared::Spec => {
                ("SELECT id FROM specs WHERE hash = ?1", "INSERT INTO specs (hash, body) VALUES (?1, ?2)")
            }
            Shared::Placement => (
                "SELECT id FROM placements WHERE hash = ?1",
                "INSERT INTO placements (hash, body) VALUES (?1, ?2)",
            ),
        };
        let id = match self.one(find, content.hash)? {
            Some(id) => id,
            None => {
                self.run_sql(add, params![content.hash, &*content.body])?;
                self.conn.last_insert_rowid()
            }
        };
        let cache = &mut self.known.contents[which as usize];
        if cache.len() >= KNOWN_MAX {
            cache.clear();
        }
        cache.insert(content.hash, id);
        Ok(id)
    }

    /// Deletes a shared content that nobody uses any longer.
    fn release(&mut self, which: Shared, id: i64) -> rusqlite::Result<()> {
        let sql = match which {
            Shared::Document => {
                "DELETE FROM documents WHERE id = ?1
                 AND NOT EXISTS (SELECT 1 FROM run_payloads WHERE document = ?1) RETURNING hash"
            }
            Shared::Spec => {
                "DELETE FROM specs WHERE id = ?1
                 AND NOT EXISTS (SELECT 1 FROM jobs WHERE spec = ?1) RETURNING hash"
            }
            Shared::Placement => {
                "DELETE FROM placements WHERE id = ?1
                 AND NOT EXISTS (SELECT 1 FROM jobs WHERE placement = ?1) RETURNING hash"
            }
        };
        if let Some(hash) = self.one::<[u8; 32]>(sql, id)? {
            self.known.contents[which as usize].remove(&hash);
        }
        Ok(())
    }
}
