//! Lists of runs, what they can be filtered by, and what all jobs of a run
//! said.

use crate::actor::store_problem;
use crate::{Control, Permission, Principal};
use fleetfoot_model::api::{Page, RunView};
use fleetfoot_model::ids::RunId;
use fleetfoot_model::observe::{JobAnnotation, JobSummary, RunFacets, RunReport, RunSearch};
use fleetfoot_model::{Code, Problem};
use fleetfoot_store::RunSummary;

/// Entries of a page at most.
const MAX_PAGE: usize = 200;
/// Values of a facet at most.
const FACETS: usize = 200;
/// Annotations of a run at most.
const ANNOTATIONS: usize = 1_000;
/// Bytes of the summaries of a run at most.
const SUMMARIES: usize = 1 << 20;

/// A run as a row of a list.
pub(super) fn row_view(summary: RunSummary) -> RunView {
    let mut view = crate::views::run_view(summary.row, None);
    view.sha = summary.sha;
    view.job_counts = Some(summary.jobs);
    view
}

impl Control {
    /// A page of runs that match, newest first, with the states of their jobs.
    ///
    /// # Errors
    /// `forbidden`, `bad_request` for a cursor that is not ours.
    pub async fn search_runs(
        &self,
        who: &Principal,
        search: &RunSearch,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<RunView>, Problem> {
        who.require(Permission::Read)?;
        let cursor = cursor
            .map(str::parse::<RunId>)
            .transpose()
            .map_err(|_| Problem::new(Code::BadRequest, "the cursor is not one that this server gave"))?;
        let limit = limit.clamp(1, MAX_PAGE);
        let rows = self.inner.store.search_runs(search, cursor, limit + 1).await;
        let rows = rows.map_err(|e| store_problem(&e))?;
        let more = rows.len() > limit;
        let items: Vec<RunView> = rows.into_iter().take(limit).map(row_view).collect();
        let next_cursor = more.then(|| items.last().map(|r| r.id.to_string())).flatten();
        Ok(Page { items, next_cursor })
    }

    /// Values that runs can be filtered by.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn run_facets(&self, who: &Principal) -> Result<RunFacets, Problem> {
        who.require(Permission::Read)?;
        self.inner.store.run_facets(FACETS).await.map_err(|e| store_problem(&e))
    }

    /// Annotations and summaries of all jobs of a run.
    ///
    /// # Errors
    /// `forbidden`, `not_found`.
    pub async fn run_report(&self, who: &Principal, run: RunId) -> Result<RunReport, Problem> {
        who.require(Permission::Read)?;
        let fail = |e| store_problem(&e);
        if self.inner.store.run(run).await.map_err(fail)?.is_none() {
            return Err(Problem::new(Code::NotFound, format!("there is no run {run}")));
        }
        let jobs = self.inner.store.run_jobs(run, None).await.map_err(fail)?;
        let names: std::collections::HashMap<_, _> = jobs.into_iter().map(|j| (j.id, j.name)).collect();
        let mut report = RunReport::default();
        let mut room = SUMMARIES;
        for attempt in self.inner.store.latest_attempts(run).await.map_err(fail)? {
            let Some(result) = attempt.result else { continue };
            let job = attempt.id.job;
            let job_name = names.get(&job).cloned().unwrap_or_default();
            for annotation in result.annotations {
                if report.annotations.len() == ANNOTATIONS {
                    report.truncated = true;
                    break;
                }
                report.annotations.push(JobAnnotation { job, job_name: job_name.clone(), annotation });
            }
            for (step, text) in result.summaries {
                if text.len() > room {
                    report.truncated = true;
                    continue;
                }
                room -= text.len();
                report.summaries.push(JobSummary { job, job_name: job_name.clone(), step, text });
            }
        }
        Ok(report)
    }
}
