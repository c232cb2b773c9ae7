//! Operations on jobs and their attempts.

use super::{Fail, Outcome, Shared, Tx, conflict, int, missing};
use crate::encode::JobWrite;
use fleetfoot_model::ids::{AttemptRef, JobId, RunId};
use fleetfoot_model::state::{Conclusion, Reason, Status};
use fleetfoot_model::time::Timestamp;
use fleetfoot_store::{AttemptEnd, JobEnd, NewLease, OpError, OpOk};
use rusqlite::{OptionalExtension, params};

impl Tx<'_> {
    pub(super) fn insert_job(&mut self, job: &JobWrite) -> rusqlite::Result<()> {
        let placement = job.placement.as_ref().map(|c| self.intern(Shared::Placement, c)).transpose()?;
        let spec = job.spec.as_ref().map(|c| self.intern(Shared::Spec, c)).transpose()?;
        let j = &job.row;
        self.run_sql(
            "INSERT INTO jobs (id, run, status, conclusion, cancel_requested, attempt, runner, created_at, \
             queued_at, started_at, finished_at, not_before, change, leg, continue_on_error, fail_fast, \
             max_parallel, exit_code, reason, key, name, project, placement, spec, message, outputs, needs) \
             VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23,\
             ?24,?25,?26,?27)",
            params![
                int(j.id.0),
                int(j.run.0),
                j.status.as_str(),
                j.conclusion.map(Conclusion::as_str),
                j.cancel_requested,
                j.attempt,
                j.runner.map(|r| int(r.0)),
                j.created_at.0,
                j.queued_at.map(|t| t.0),
                j.started_at.map(|t| t.0),
                j.finished_at.map(|t| t.0),
                j.not_before.map(|t| t.0),
                int(j.change),
                j.leg,
                j.continue_on_error,
                j.fail_fast,
                j.max_parallel,
                j.exit_code,
                j.reason.map(Reason::as_str),
                j.key,
                j.name,
                j.project,
                placement,
                spec,
                j.message,
                job.outputs,
                job.needs,
            ],
        )?;
        self.known.high.job = self.known.high.job.max(j.id.0);
        self.note_change(j.change);
        Ok(())
    }

    pub(super) fn add_jobs(&mut self, run: RunId, jobs: &[JobWrite], change: u64) -> Outcome {
        match self.one::<String>("SELECT status FROM runs WHERE id = ?1", int(run.0))? {
            None => return Err(missing(format!("run {run}"))),
            Some(status) if status == "completed" => {
                return Err(conflict(format!("run {run} is completed")));
            }
            Some(_) => {}
        }
        if let Some(stray) = jobs.iter().find(|j| j.row.run != run) {
            return Err(Fail::Op(OpError::Failed(format!(
                "job {} belongs to run {}",
                stray.row.id, stray.row.run
            ))));
        }
        for job in jobs {
            self.insert_job(job)?;
        }
        self.run_sql(
            "UPDATE runs SET jobs = jobs + ?2, change = ?3 WHERE id = ?1",
            params![int(run.0), jobs.len().cast_signed(), int(change)],
        )?;
        self.note_change(change);
        Ok(OpOk::Done)
    }

    pub(super) fn resolve_job(&mut self, job: &JobWrite) -> Outcome {
        let j = &job.row;
        if !matches!(j.status, Status::Waiting | Status::Queued) {
            return Err(conflict(format!("a resolved job is waiting or queued, not {}", j.status)));
        }
        let before = self
            .conn
            .prepare_cached("SELECT status, spec, placement FROM jobs WHERE id = ?1 AND run = ?2")?
            .query_row([int(j.id.0), int(j.run.0)], |r| {
                Ok((r.get::<_, String>(0)?, r.get::<_, Option<i64>>(1)?, r.get::<_, Option<i64>>(2)?))
            })
            .optional()?;
        let (status, old_spec, old_placement) =
            before.ok_or_else(|| missing(format!("job {} of run {}", j.id, j.run)))?;
        if status != "waiting" {
            return Err(conflict(format!("job {} is {status}, not waiting", j.id)));
        }
        let placement = job.placement.as_ref().map(|c| self.intern(Shared::Placement, c)).transpose()?;
        let spec = job.spec.as_ref().map(|c| self.intern(Shared::Spec, c)).transpose()?;
        self.run_sql(
            "UPDATE jobs SET status = ?2, cancel_requested = ?3, queued_at = ?4, not_before = ?5, \
             change = ?6, leg = ?7, continue_on_error = ?8, fail_fast = ?9, max_parallel = ?10, reason = ?11, \
             key = ?12, name = ?13, project = ?14, placement = ?15, spec = ?16, message = ?17, outputs = ?18, \
             needs = ?19 WHERE id = ?1",
            params![
                int(j.id.0),
                j.status.as_str(),
                j.cancel_requested,
                j.queued_at.map(|t| t.0),
                j.not_before.map(|t| t.0),
                int(j.change),
                j.leg,
                j.continue_on_error,
                j.fail_fast,
                j.max_parallel,
                j.reason.map(Reason::as_str),
                j.key,
                j.name,
                j.project,
                placement,
                spec,
                j.message,
                job.outputs,
                job.needs,
            ],
        )?;
        if let Some(old) = old_spec.filter(|o| Some(*o) != spec) {
            self.release(Shared::Spec, old)?;
        }
        if let Some(old) = old_placement.filter(|o| Some(*o) != placement) {
            self.release(Shared::Placement, old)?;
        }
        self.note_change(j.change);
        Ok(OpOk::Done)
    }

    pub(super) fn queue_job(&mut self, job: JobId, at: Timestamp, change: u64) -> Outcome {
        let n = self.run_sql(
            "UPDATE jobs SET status = 'queued', queued_at = ?2, not_before = NULL, change = ?3
             WHERE id = ?1 AND status = 'waiting'",
            [int(job.0), at.0, int(change)],
        )?;
        self.job_touched(n, job, change, "waiting")
    }

    pub(super) fn lease(&mut self, lease: &NewLease, change: u64) -> Outcome {
        let AttemptRef { job, attempt, epoch } = lease.attempt;
        // Above the high-water mark an epoch cannot have been used.
        if epoch.0 <= self.known.high.epoch
            && self.exists("SELECT 1 FROM attempts WHERE epoch = ?1", [int(epoch.0)])?
        {
            return Err(conflict(format!("epoch {epoch} was used before")));
        }
        let n = self.run_sql(
            "UPDATE jobs SET status = 'running', attempt = ?2, runner = ?3, started_at = ?4, change = ?5
             WHERE id = ?1 AND status = 'queued' AND attempt = ?2 - 1 AND run = ?6",
            params![int(job.0), attempt, int(lease.runner.0), lease.at.0, int(change), int(lease.run.0)],
        )?;
        if n == 0 {
            let expected = format!("queued in run {} before attempt {attempt}", lease.run);
            return self.job_touched(0, job, change, &expected);
        }
        self.run_sql(
            "INSERT INTO attempts (epoch, job, number, run, runner, leased_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![int(epoch.0), int(job.0), attempt, int(lease.run.0), int(lease.runner.0), lease.at.0],
        )?;
        self.run_sql(
            "UPDATE runs SET status = 'running', started_at = coalesce(started_at, ?2), change = ?3
             WHERE id = ?1 AND status <> 'completed' AND (status <> 'running' OR started_at IS NULL)",
            [int(lease.run.0), lease.at.0, int(change)],
        )?;
        self.known.high.epoch = self.known.high.epoch.max(epoch.0);
        self.note_change(change);
        Ok(OpOk::Done)
    }

    pub(super) fn set_steps(&mut self, attempt: AttemptRef, steps: Option<&str>, change: u64) -> Outcome {
        let n = self.run_sql(
            "UPDATE attempts SET steps = ?4 WHERE epoch = ?1 AND job = ?2 AND number = ?3
             AND finished_at IS NULL AND number = (SELECT attempt FROM jobs WHERE id = ?2)",
            params![int(attempt.epoch.0), int(attempt.job.0), attempt.attempt, steps],
        )?;
        self.attempt_touched(n, attempt, change)
    }

    pub(super) fn end_attempt(
        &mut self,
        end: &AttemptEnd,
        steps: Option<&str>,
        result: Option<&str>,
        change: u64,
    ) -> Outcome {
        let a = end.attempt;
        let log_bytes = end.result.as_ref().map_or(0, |r| int(r.log_bytes));
        let n = self.run_sql(
            "UPDATE attempts SET finished_at = ?4, conclusion = ?5, reason = ?6, message = ?7,
             steps = coalesce(?8, steps), result = ?9, log_bytes = ?10
             WHERE epoch = ?1 AND job = ?2 AND number = ?3
             AND finished_at IS NULL AND number = (SELECT attempt FROM jobs WHERE id = ?2)",
            params![
                int(a.epoch.0),
                int(a.job.0),
                a.attempt,
                end.at.0,
                end.conclusion.as_str(),
                end.reason.map(Reason::as_str),
                end.message,
                steps,
                result,
                log_bytes,
            ],
        )?;
        self.attempt_touched(n, a, change)
    }

    /// Judges a guarded update of an attempt. A change of it counts as a change of its job, so
    /// that whoever asks for changed jobs learns of it.
    fn attempt_touched(&mut self, changed: usize, attempt: AttemptRef, change: u64) -> Outcome {
        if changed == 0 {
            return Err(Fail::Op(OpError::Stale(attempt)));
        }
        self.run_sql("UPDATE jobs SET change = ?2 WHERE id = ?1", [int(attempt.job.0), int(change)])?;
        self.note_change(change);
        Ok(OpOk::Done)
    }

    pub(super) fn requeue_job(&mut self, job: JobId, not_before: Timestamp, change: u64) -> Outcome {
        let n = self.run_sql(
            "UPDATE jobs SET status = 'waiting', not_before = ?2, queued_at = NULL, change = ?3
             WHERE id = ?1 AND status = 'running' AND NOT EXISTS (
                 SELECT 1 FROM attempts a WHERE a.job = ?1 AND a.number = jobs.attempt
                 AND a.finished_at IS NULL)",
            [int(job.0), not_before.0, int(change)],
        )?;
        self.job_touched(n, job, change, "running with an ended attempt")
    }

    pub(super) fn complete_job(
        &mut self,
        job: JobId,
        end: &JobEnd,
        outputs: Option<&str>,
        change: u64,
    ) -> Outcome {
        let runner = self
            .conn
            .prepare_cached(
                "UPDATE jobs SET status = 'completed', conclusion = ?2, reason = ?3, message = ?4,
                 exit_code = ?5, outputs = ?6, finished_at = ?7, not_before = NULL, change = ?8
                 WHERE id = ?1 AND status <> 'completed' RETURNING runner",
            )?
            .query_row(
                params![
                    int(job.0),
                    end.conclusion.as_str(),
                    end.reason.map(Reason::as_str),
                    end.message,
                    end.exit_code,
                    outputs,
                    end.at.0,
                    int(change),
                ],
                |r| r.get::<_, Option<i64>>(0),
            )
            .optional()?;
        let Some(runner) = runner else {
            return self.job_touched(0, job, change, "open");
        };
        if let Some(runner) = runner {
            self.run_sql(
                "INSERT INTO runner_totals (runner, conclusion, jobs) VALUES (?1, ?2, 1)
                 ON CONFLICT DO UPDATE SET jobs = jobs + 1",
                params![runner, end.conclusion.as_str()],
            )?;
        }
        self.note_change(change);
        Ok(OpOk::Done)
    }

    pub(super) fn request_job_cancel(&mut self, job: JobId, change: u64) -> Outcome {
        let n = self.run_sql(
            "UPDATE jobs SET cancel_requested = 1, change = ?2
             WHERE id = ?1 AND status <> 'completed' AND cancel_requested = 0",
            [int(job.0), int(change)],
        )?;
        if n == 0
            && self.exists("SELECT 1 FROM jobs WHERE id = ?1 AND status <> 'completed'", [int(job.0)])?
        {
            return Ok(OpOk::Unchanged);
        }
        self.job_touched(n, job, change, "open")
    }

    /// Judges a guarded update of one job: if it changed nothing, says why.
    fn job_touched(&mut self, changed: usize, job: JobId, change: u64, expected: &str) -> Outcome {
        if changed > 0 {
            self.note_change(change);
            return Ok(OpOk::Done);
        }
        let found = self
            .conn
            .prepare_cached("SELECT run, status, attempt FROM jobs WHERE id = ?1")?
            .query_row([int(job.0)], |r| {
                Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?, r.get::<_, u32>(2)?))
            })
            .optional()?;
        Err(match found {
            Some((run, status, attempt)) => conflict(format!(
                "job {job} of run {run} is {status} after {attempt} attempts, not {expected}"
            )),
            None => missing(format!("job {job}")),
        })
    }
}
