//! The dialects: documents of kind `workflow` and `job`, parsed once and
//! asked for contexts, graph and jobs of a run. Pure: equal arguments give
//! equal answers, whatever the time.

mod contexts;
mod evaluate;
mod inputs;
pub(crate) mod matrix;
mod resolve;

use crate::source::{Report, SourceText, clip, nearest};
use crate::syntax::{self, Job, Trigger, Workflow};
use crate::yaml;
use evaluate::{Evaluator, World};
use fleetfoot_model::diagnostic::{Diagnostic, Diagnostics, Source};
use fleetfoot_model::event::{EventFacts, Matching, ScheduleSpec};
use fleetfoot_model::plan::{Dialect, Document, Plan, PlanNode, Resolution, ResolveArgs, RunInfo, RunParams};
use fleetfoot_model::spec::Contexts;
use serde_json::Value as Json;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Documents in GitHub's workflow syntax: kind `workflow`.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkflowDialect;

/// Documents that are the body of a workflow job: kind `job`. They need no
/// `runs-on`: without it, any runner may take the job.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobDialect;

impl Dialect for WorkflowDialect {
    fn kind(&self) -> &'static str {
        "workflow"
    }

    fn parse(&self, source: &Source) -> Result<Arc<dyn Document>, Diagnostics> {
        Ok(Arc::new(WorkflowDocument::parse(source)?))
    }
}

impl Dialect for JobDialect {
    fn kind(&self) -> &'static str {
        "job"
    }

    fn parse(&self, source: &Source) -> Result<Arc<dyn Document>, Diagnostics> {
        Ok(Arc::new(WorkflowDocument::parse_job(source)?))
    }
}

/// A parsed workflow or plain job, free of errors.
#[derive(Debug)]
pub struct WorkflowDocument {
    source: SourceText,
    workflow: Workflow,
    warnings: Vec<Diagnostic>,
    plain: bool,
}

impl WorkflowDocument {
    /// Parses and checks a workflow.
    ///
    /// # Errors
    /// All findings; at least one is an error.
    pub fn parse(source: &Source) -> Result<Self, Diagnostics> {
        Self::read(source, false)
    }

    /// Parses and checks a plain job.
    ///
    /// # Errors
    /// All findings; at least one is an error.
    pub fn parse_job(source: &Source) -> Result<Self, Diagnostics> {
        Self::read(source, true)
    }

    /// The events under `on`, with their filters; none for a plain job.
    #[must_use]
    pub fn triggers(&self) -> &[Trigger] {
        &self.workflow.triggers
    }

    fn read(source: &Source, plain: bool) -> Result<Self, Diagnostics> {
        let source = SourceText::decode(source).map_err(|d| Diagnostics(vec![d]))?;
        let mut report = Report::new(&source);
        let root = yaml::load(&mut report);
        let workflow = match &root {
            Some(root) if plain => syntax::read_job_document(&mut report, root),
            Some(root) => syntax::read_workflow(&mut report, root),
            None => Workflow::default(),
        };
        let found = report.finish();
        if found.has_errors() {
            return Err(found);
        }
        Ok(Self { workflow, warnings: found.0, plain, source })
    }

    /// The key of every job that a filter leaves, in lower case; `None` means all.
    fn chosen(&self, params: &RunParams) -> Result<Option<HashSet<String>>, Diagnostics> {
        if params.jobs.is_empty() {
            return Ok(None);
        }
        let jobs: HashMap<String, &Job> =
            self.workflow.jobs.iter().map(|job| (job.key.to_lowercase(), job)).collect();
        let mut report = Report::new(&self.source);
        let mut chosen = HashSet::new();
        let mut open: Vec<&Job> = Vec::new();
        for name in &params.jobs {
            match jobs.get(&name.to_lowercase()) {
                Some(job) => open.push(job),
                None if report.is_full() => break,
                None => self.unknown_job(&mut report, name),
            }
        }
        if report.has_errors() {
            return Err(without_place(report));
        }
        while let Some(job) = open.pop() {
            if chosen.insert(job.key.to_lowercase()) {
                open.extend(job.needs.iter().filter_map(|need| jobs.get(&need.key.to_lowercase())));
            }
        }
        Ok(Some(chosen))
    }

    fn unknown_job(&self, report: &mut Report<'_>, name: &str) {
        let keys: Vec<&str> = self.workflow.jobs.iter().map(|job| job.key.as_str()).collect();
        let hint = match nearest(name, keys.iter().copied()) {
            Some(word) => format!("Did you mean '{word}'?"),
            None => format!("Its jobs are {}", clip(&keys.join(", "), 300)),
        };
        let message = format!("There is no job '{}'", clip(name, 100));
        report.error(0, "unknown-job", message).hint = Some(hint);
    }

    fn title(
        &self,
        contexts: &Contexts,
        evaluator: &Evaluator<'_>,
        name: &str,
    ) -> Result<String, Diagnostic> {
        let given = self.workflow.run_name.as_ref().map(|t| evaluator.string(t)).transpose()?;
        if let Some(title) = given.filter(|t| !t.trim().is_empty()) {
            return Ok(title.trim().to_owned());
        }
        let event = contexts.get("github").and_then(|g| g.get("event"));
        let paths = ["/pull_request/title", "/head_commit/message"];
        let text = paths.iter().find_map(|path| event?.pointer(path)?.as_str());
        let first = text.and_then(|t| t.lines().next()).map(str::trim).filter(|t| !t.is_empty());
        Ok(first.unwrap_or(name).to_owned())
    }
}

/// Findings about what was given beside the document: no line of it is to blame.
fn without_place(report: Report<'_>) -> Diagnostics {
    let mut found = report.finish();
    found.0.iter_mut().for_each(|d| d.snippet.clear());
    found
}

impl Document for WorkflowDocument {
    fn name(&self) -> Option<&str> {
        self.workflow.name.as_deref()
    }

    fn matches(&self, event: &EventFacts) -> Matching {
        crate::matching::matches(self.triggers(), event)
    }

    fn schedules(&self) -> Vec<ScheduleSpec> {
        // A starter workflow's placeholder (`$cron-daily`) never fires.
        let all = self.triggers().iter().flat_map(|t| &t.schedules).filter(|s| !s.cron.starts_with('$'));
        all.map(|s| ScheduleSpec { cron: s.cron.clone(), timezone: s.timezone.clone() }).collect()
    }

    fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    fn contexts(&self, run: &RunInfo) -> Result<Contexts, Diagnostics> {
        let mut report = Report::new(&self.source);
        let contexts = contexts::build(&mut report, &self.workflow, run, self.plain);
        let mut found = report.finish();
        if found.has_errors() {
            let unplaced = |d: &&mut Diagnostic| d.code == "unknown-input";
            found.0.iter_mut().filter(unplaced).for_each(|d| d.snippet.clear());
            return Err(found);
        }
        Ok(contexts)
    }

    fn plan(&self, contexts: &Contexts, params: &RunParams) -> Result<Plan, Diagnostics> {
        let one = |d: Diagnostic| Diagnostics(vec![d]);
        let world = World::of_run(contexts);
        let evaluator = Evaluator { source: &self.source, world: &world };
        let chosen = self.chosen(params)?;
        let github = contexts.get("github");
        let known = github.and_then(|g| g.get("workflow")).and_then(Json::as_str).filter(|n| !n.is_empty());
        let name = known.unwrap_or(self.source.name()).to_owned();
        let jobs = self.workflow.jobs.iter();
        let jobs = jobs.filter(|job| chosen.as_ref().is_none_or(|c| c.contains(&job.key.to_lowercase())));
        let nodes = jobs
            .map(|job| PlanNode {
                key: job.key.clone(),
                needs: job.needs.iter().map(|need| need.key.clone()).collect(),
                names: resolve::names(&evaluator, job, params),
            })
            .collect();
        let concurrency = self.workflow.concurrency.as_ref();
        let concurrency = concurrency.map(|c| evaluator.concurrency(c)).transpose().map_err(one)?;
        let title = self.title(contexts, &evaluator, &name).map_err(one)?;
        Ok(Plan { name, title, nodes, concurrency })
    }

    fn resolve(&self, node: &str, args: &ResolveArgs<'_>) -> Result<Resolution, Diagnostic> {
        let Some(job) = self.workflow.jobs.iter().find(|job| job.key == node) else {
            return Err(self.source.error(0, "unknown-job", format!("There is no job '{node}'")));
        };
        resolve::resolve(&self.source, &self.workflow, job, args)
    }
}

/// Seconds of a number of minutes, if it makes sense as a timeout: more than
/// nothing, at most ten years.
pub(crate) fn minutes_to_seconds(minutes: f64) -> Option<u64> {
    let seconds = (minutes * 60.0).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, positive and small")]
    (1.0..=315_360_000.0).contains(&seconds).then_some(seconds as u64)
}
