//! The dialects: documents of kind `workflow` and `job`, parsed once and
//! asked for contexts, graph and jobs of a run. Pure: equal arguments give
//! equal answers, whatever the time.

mod containers;
mod contexts;
mod evaluate;
mod graph;
mod inputs;
pub(crate) mod matrix;
mod resolve;
mod walk;

use crate::library::{Library, Mode};
use crate::source::{Report, SourceText, clip, nearest};
use crate::syntax::{CallInterface, InputDeclaration, Trigger, Workflow};
use evaluate::{Evaluator, World};
use fleetfoot_model::diagnostic::{Diagnostic, Diagnostics, Source};
use fleetfoot_model::event::{EventFacts, Matching, ScheduleSpec};
use fleetfoot_model::observe::WorkflowInput;
use fleetfoot_model::plan::{Dialect, Document, Plan, PlanNode, Resolution, ResolveArgs, RunInfo, RunParams};
use fleetfoot_model::spec::Contexts;
use indexmap::IndexMap;
use serde_json::Value as Json;
use std::collections::HashMap;
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

    fn parse_with(
        &self,
        source: &Source,
        files: &IndexMap<String, String>,
    ) -> Result<Arc<dyn Document>, Diagnostics> {
        Ok(Arc::new(WorkflowDocument::parse_with(source, files)?))
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
    library: Library,
    warnings: Vec<Diagnostic>,
    plain: bool,
}

impl WorkflowDocument {
    /// Parses and checks a workflow.
    ///
    /// # Errors
    /// All findings; at least one is an error.
    pub fn parse(source: &Source) -> Result<Self, Diagnostics> {
        Self::read(source, Mode::default(), &IndexMap::new())
    }

    /// Parses and checks a workflow with those that it calls, by reference as written.
    ///
    /// # Errors
    /// All findings, also those in called workflows; at least one is an error.
    pub fn parse_with(source: &Source, files: &IndexMap<String, String>) -> Result<Self, Diagnostics> {
        Self::read(source, Mode::default(), files)
    }

    /// Parses and checks a plain job.
    ///
    /// # Errors
    /// All findings; at least one is an error.
    pub fn parse_job(source: &Source) -> Result<Self, Diagnostics> {
        Self::read(source, Mode { plain: true, ..Mode::default() }, &IndexMap::new())
    }

    /// The events under `on`, with their filters; none for a plain job.
    #[must_use]
    pub fn triggers(&self) -> &[Trigger] {
        &self.workflow().triggers
    }

    /// What `workflow_dispatch` can be given.
    #[must_use]
    pub fn dispatch_inputs(&self) -> Vec<InputDeclaration> {
        self.workflow().dispatch_inputs.iter().map(InputDeclaration::from).collect()
    }

    /// What other workflows can give it and get from it; `None` if they cannot call it.
    #[must_use]
    pub fn call_interface(&self) -> Option<CallInterface> {
        let workflow = self.workflow();
        let outputs = workflow.call_outputs.iter().map(|(name, text)| (name.clone(), text.raw.clone()));
        workflow.callable.then(|| CallInterface {
            inputs: workflow.call_inputs.iter().map(InputDeclaration::from).collect(),
            secrets: workflow.call_secrets.clone(),
            outputs: outputs.collect(),
        })
    }

    pub(crate) fn read(
        source: &Source,
        mode: Mode,
        files: &IndexMap<String, String>,
    ) -> Result<Self, Diagnostics> {
        let mut found = Vec::new();
        let library = Library::read(source, mode, files, &mut found);
        let found = Diagnostics(found);
        match library {
            Some(library) if !found.has_errors() => {
                Ok(Self { library, warnings: found.0, plain: mode.plain })
            }
            _ => Err(found),
        }
    }

    fn workflow(&self) -> &Workflow {
        &self.library.docs[0].workflow
    }

    fn source(&self) -> &SourceText {
        &self.library.docs[0].source
    }

    /// Leaves the nodes that a filter names, and what they need. A call stands for all its jobs.
    fn filter(&self, nodes: &mut Vec<PlanNode>, params: &RunParams) -> Result<(), Diagnostics> {
        if params.jobs.is_empty() {
            return Ok(());
        }
        let keys: Vec<String> = nodes.iter().map(|node| node.key.to_lowercase()).collect();
        let index: HashMap<&str, usize> =
            nodes.iter().enumerate().map(|(i, n)| (n.key.as_str(), i)).collect();
        let mut report = Report::new(self.source());
        let mut open = Vec::new();
        for name in &params.jobs {
            let wanted = name.to_lowercase();
            let begins = |key: &str| {
                key.strip_prefix(&wanted).is_some_and(|rest| {
                    rest.is_empty() || rest.starts_with('/') || (rest.starts_with(" (") && rest.contains('/'))
                })
            };
            let before = open.len();
            open.extend((0..keys.len()).filter(|i| begins(&keys[*i])));
            if open.len() == before {
                if report.is_full() {
                    break;
                }
                unknown_job(&mut report, name, nodes);
            }
        }
        if report.has_errors() {
            return Err(without_place(report));
        }
        let mut chosen = vec![false; nodes.len()];
        while let Some(i) = open.pop() {
            if !std::mem::replace(&mut chosen[i], true) {
                open.extend(nodes[i].needs.iter().filter_map(|need| index.get(need.as_str())));
            }
        }
        let mut chosen = chosen.into_iter();
        nodes.retain(|_| chosen.next().unwrap_or_default());
        Ok(())
    }

    /// The graph as far as it is known: a call of something that is not here is one node, which
    /// cannot be resolved. See [`Document::plan`].
    ///
    /// # Errors
    /// As [`Document::plan`].
    pub fn outline(&self, contexts: &Contexts, params: &RunParams) -> Result<Plan, Diagnostics> {
        let one = |d: Diagnostic| Diagnostics(vec![d]);
        let world = World::of_run(contexts);
        let evaluator = Evaluator { source: self.source(), world: &world };
        let github = contexts.get("github");
        let known = github.and_then(|g| g.get("workflow")).and_then(Json::as_str).filter(|n| !n.is_empty());
        let name = known.unwrap_or(self.source().name()).to_owned();
        let mut nodes = graph::nodes(&self.library, &world, params).map_err(one)?;
        self.filter(&mut nodes, params)?;
        let concurrency = self.workflow().concurrency.as_ref();
        let concurrency = concurrency.map(|c| evaluator.concurrency(c)).transpose().map_err(one)?;
        let title = self.title(contexts, &evaluator, &name).map_err(one)?;
        Ok(Plan { name, title, nodes, concurrency })
    }

    /// The reference of a node that stands for a call of something that is not here.
    #[must_use]
    pub fn calls_elsewhere(&self, node: &str) -> Option<&str> {
        let key = node.rsplit('/').next().unwrap_or(node);
        if self.library.missing.is_empty() {
            return None;
        }
        self.library.docs.iter().enumerate().find_map(|(index, doc)| {
            let job = doc.workflow.jobs.iter().find(|job| job.key == key)?;
            if self.library.called(index, job).is_some() {
                return None;
            }
            job.call.as_ref().map(|call| call.uses.raw.as_str())
        })
    }

    fn title(
        &self,
        contexts: &Contexts,
        evaluator: &Evaluator<'_>,
        name: &str,
    ) -> Result<String, Diagnostic> {
        let given = self.workflow().run_name.as_ref().map(|t| evaluator.string(t)).transpose()?;
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

fn unknown_job(report: &mut Report<'_>, name: &str, nodes: &[PlanNode]) {
    let keys: Vec<&str> = nodes.iter().map(|node| node.key.as_str()).collect();
    let hint = match nearest(name, keys.iter().copied()) {
        Some(word) => format!("Did you mean '{word}'?"),
        None => format!("Its jobs are {}", clip(&keys.join(", "), 300)),
    };
    let message = format!("There is no job '{}'", clip(name, 100));
    report.error(0, "unknown-job", message).hint = Some(hint);
}

/// Findings about what was given beside the document: no line of it is to blame.
fn without_place(report: Report<'_>) -> Diagnostics {
    let mut found = report.finish();
    found.0.iter_mut().for_each(|d| d.snippet.clear());
    found
}

impl Document for WorkflowDocument {
    fn name(&self) -> Option<&str> {
        self.workflow().name.as_deref()
    }

    fn missing(&self) -> Vec<String> {
        self.library.missing.clone()
    }

    fn matches(&self, event: &EventFacts) -> Matching {
        crate::matching::matches(self.triggers(), event)
    }

    fn schedules(&self) -> Vec<ScheduleSpec> {
        // A starter workflow's placeholder (`$cron-daily`) never fires.
        let all = self.triggers().iter().flat_map(|t| &t.schedules).filter(|s| !s.cron.starts_with('$'));
        all.map(|s| ScheduleSpec { cron: s.cron.clone(), timezone: s.timezone.clone() }).collect()
    }

    fn dispatch_inputs(&self) -> Option<Vec<WorkflowInput>> {
        let workflow = self.workflow();
        let by_hand = self.triggers().iter().any(|t| t.event == "workflow_dispatch");
        by_hand.then(|| workflow.dispatch_inputs.iter().map(|i| InputDeclaration::from(i).into()).collect())
    }

    fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    fn contexts(&self, run: &RunInfo) -> Result<Contexts, Diagnostics> {
        let mut report = Report::new(self.source());
        let contexts = contexts::build(&mut report, self.workflow(), run, self.plain);
        let mut found = report.finish();
        if found.has_errors() {
            let unplaced = |d: &&mut Diagnostic| d.code == "unknown-input";
            found.0.iter_mut().filter(unplaced).for_each(|d| d.snippet.clear());
            return Err(found);
        }
        Ok(contexts)
    }

    fn plan(&self, contexts: &Contexts, params: &RunParams) -> Result<Plan, Diagnostics> {
        if let Some(reference) = self.library.missing.first() {
            let message = format!("The workflow calls '{}', which is not here", clip(reference, 200));
            let mut finding = self.source().error(0, "missing-workflow", message);
            finding.snippet.clear();
            finding.hint = Some("Send the called workflows along, as `files` by their references".to_owned());
            return Err(Diagnostics(vec![finding]));
        }
        self.outline(contexts, params)
    }

    fn resolve(&self, node: &str, args: &ResolveArgs<'_>) -> Result<Resolution, Diagnostic> {
        walk::resolve(&self.library, node, args)
    }
}

/// Seconds of a number of minutes, if it makes sense as a timeout: more than
/// nothing, at most ten years.
pub(crate) fn minutes_to_seconds(minutes: f64) -> Option<u64> {
    let seconds = (minutes * 60.0).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, positive and small")]
    (1.0..=315_360_000.0).contains(&seconds).then_some(seconds as u64)
}
