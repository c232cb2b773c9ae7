//! Operations on what holds runs and jobs until somebody approves.

use super::{Outcome, Tx, conflict, int, missing};
use fleetfoot_store::{ApprovalDecision, ApprovalRow, OpOk};
use rusqlite::params;

impl Tx<'_> {
    pub(super) fn hold_for_approval(&self, a: &ApprovalRow, reviewers: Option<&str>) -> Outcome {
        let (run, job) = (int(a.run.0), a.job.map(|j| int(j.0)));
        if self.exists("SELECT 1 FROM approvals WHERE run = ?1 AND job IS ?2", params![run, job])? {
            return Err(conflict(format!("{} is held already", subject(a.run, a.job))));
        }
        self.run_sql(
            "INSERT INTO approvals (run, job, project, environment, reason, state, reviewers, due, created_at,
             decided_at, decided_by, comment) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            params![
                run,
                job,
                a.project,
                a.environment,
                a.reason,
                a.state.as_str(),
                reviewers,
                a.due.map(|t| t.0),
                a.created_at.0,
                a.decided_at.map(|t| t.0),
                a.decided_by,
                a.comment,
            ],
        )?;
        Ok(OpOk::Done)
    }

    pub(super) fn decide_approval(&self, d: &ApprovalDecision) -> Outcome {
        let (run, job) = (int(d.run.0), d.job.map(|j| int(j.0)));
        let n = self.run_sql(
            "UPDATE approvals SET state = ?3, decided_at = ?4, decided_by = ?5, comment = ?6
             WHERE run = ?1 AND job IS ?2 AND state = 'pending'",
            params![run, job, d.state.as_str(), d.at.0, d.by, d.comment],
        )?;
        if n > 0 {
            return Ok(OpOk::Done);
        }
        let what = subject(d.run, d.job);
        if self.exists("SELECT 1 FROM approvals WHERE run = ?1 AND job IS ?2", params![run, job])? {
            return Err(conflict(format!("{what} does not wait for an approval")));
        }
        Err(missing(format!("an approval of {what}")))
    }
}

fn subject(run: fleetfoot_model::RunId, job: Option<fleetfoot_model::JobId>) -> String {
    job.map_or_else(|| format!("run {run}"), |job| format!("job {job}"))
}
