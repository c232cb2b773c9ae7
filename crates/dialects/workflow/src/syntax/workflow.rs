//! The top of a document: a workflow, or the body of a single job.

use super::allowed;
use super::graph;
use super::job::{self, JobKind};
use super::read::Fields;
use super::value::{Dynamic, Text};
use super::{Env, Workflow};
use crate::source::Report;
use crate::yaml::{Entry, Kind, Node};
use fleetfoot_model::spec::RunDefaults;
use indexmap::IndexMap;

/// Key of the one job of a plain job document.
pub(crate) const PLAIN_JOB: &str = "job";

const ROOT: &[&str] =
    &["name", "run-name", "description", "on", "permissions", "env", "defaults", "concurrency", "jobs"];

/// Reads a workflow. The result is usable only if the report has no error.
pub(crate) fn read_workflow(report: &mut Report<'_>, root: &Node) -> Workflow {
    let mut workflow = Workflow::default();
    let Some(entries) = report.mapping(root, "a mapping with the keys on and jobs") else { return workflow };
    let is_job = entries.iter().any(|e| e.name() == "steps") && !entries.iter().any(|e| e.name() == "jobs");
    if is_job {
        let at = entries.iter().find(|e| e.name() == "steps").map_or(root.start, |e| e.key.start);
        report.error(at, "unknown-key", "Unexpected value 'steps'").hint =
            Some("This is the body of a job: submit it with kind 'job', or put it under 'jobs'".to_owned());
        return workflow;
    }
    for entry in entries.iter().filter(|e| !ROOT.contains(&e.name())) {
        unknown_root_key(report, entry);
    }
    let get = |key: &str| entries.iter().find(|e| e.name() == key);
    workflow.name =
        get("name").and_then(|e| report.text(&e.value, None)).map(|t| t.raw).filter(|n| !n.is_empty());
    workflow.run_name = get("run-name").and_then(|e| report.text(&e.value, Some(&allowed::RUN)));
    if let Some(e) = get("description") {
        report.text(&e.value, None);
    }
    match get("on") {
        Some(e) => {
            let on = report.on(&e.value);
            workflow.triggers = on.triggers;
            report.privileged =
                workflow.triggers.iter().any(|t| super::lint::PRIVILEGED.contains(&t.event.as_str()));
            workflow.dispatch_inputs = on.dispatch_inputs;
            workflow.callable = workflow.triggers.iter().any(|t| t.event == "workflow_call");
            workflow.call_inputs = on.call_inputs;
            workflow.call_secrets = on.call_secrets;
            workflow.call_outputs = on.call_outputs;
        }
        None if entries.iter().any(|e| e.name().eq_ignore_ascii_case("true")) => {}
        None => report.missing(root.start, "on"),
    }
    if let Some(e) = get("permissions") {
        workflow.permissions = report.permissions(&e.value);
    }
    workflow.env = get("env").map(|e| report.env(&e.value, &allowed::WORKFLOW_ENV, true)).unwrap_or_default();
    workflow.defaults = get("defaults").map(|e| report.defaults(&e.value, None)).unwrap_or_default();
    workflow.concurrency = get("concurrency").and_then(|e| report.concurrency(&e.value, &allowed::RUN));
    match get("jobs") {
        Some(e) => read_jobs(report, e, &mut workflow),
        None => report.missing(root.start, "jobs"),
    }
    workflow
}

fn unknown_root_key(report: &mut Report<'_>, entry: &Entry) {
    if entry.name().eq_ignore_ascii_case("true") {
        report.error(entry.key.start, "unknown-key", "Unexpected value 'true'").hint =
            Some("A tool has read 'on' as a boolean; write the key as: on".to_owned());
    } else {
        report.unknown_key(entry, ROOT, "a workflow");
    }
}

fn read_jobs(report: &mut Report<'_>, entry: &Entry, workflow: &mut Workflow) {
    let Some(entries) = report.mapping(&entry.value, "a mapping of jobs") else { return };
    if entries.is_empty() {
        report.error(entry.key.start, "no-jobs", "The workflow has no jobs");
    }
    for entry in entries {
        report.identifier(&entry.key, entry.name());
        let job = job::read(report, entry.name(), entry.key.start, &entry.value, JobKind::OfWorkflow);
        workflow.jobs.extend(job);
    }
    // A job that could not be read must not make others look wrong.
    let known: Vec<&str> = entries.iter().map(Entry::name).collect();
    graph::check(report, entry.key.start, &known, &mut workflow.jobs);
}

/// Reads the body of a job in a file of its own.
pub(crate) fn read_job_document(report: &mut Report<'_>, root: &Node) -> Workflow {
    let mut workflow = Workflow::default();
    if let Kind::Mapping(entries) = &root.kind
        && let Some(entry) = entries.iter().find(|e| e.name() == "jobs")
    {
        report.error(entry.key.start, "unknown-key", "Unexpected value 'jobs'").hint =
            Some("This is a workflow: submit it with kind 'workflow'".to_owned());
        return workflow;
    }
    let at = root.start;
    workflow.jobs.extend(job::read(report, PLAIN_JOB, at, root, JobKind::Plain));
    workflow.name = workflow
        .jobs
        .first()
        .and_then(|job| job.name.as_ref())
        .filter(|name| name.template.is_none() && !name.raw.is_empty())
        .map(|name| name.raw.clone());
    workflow
}

impl Report<'_> {
    /// `env`: names and templates. One expression for all of it is possible
    /// where it can be evaluated before the job runs (`whole`).
    pub(super) fn env(&mut self, node: &Node, allowed: &'static allowed::Allowed, whole: bool) -> Env {
        let Kind::Mapping(entries) = &node.kind else {
            if node.as_scalar().is_some_and(|s| s.text.contains("${{")) {
                return self.env_expression(node, allowed, whole);
            }
            self.unexpected(node, "a mapping of names to values");
            return Env::default();
        };
        Env::Map(self.strings(entries, allowed))
    }

    fn env_expression(&mut self, node: &Node, allowed: &'static allowed::Allowed, whole: bool) -> Env {
        let Some(read) = self.text(node, Some(allowed)) else { return Env::default() };
        let late = |t: &fleetfoot_expr::Template| {
            t.expressions().any(|(_, e)| {
                e.contexts().any(|c| !allowed::LEG.contexts.contains(&c))
                    || e.functions().any(|f| f == "hashfiles")
            })
        };
        let single = read.template.as_ref().is_some_and(|t| t.is_single() && whole && !late(t));
        if !single {
            self.error(
                node.start,
                "not-supported",
                "One expression for the whole mapping is not supported here",
            )
            .hint = Some("Write the names, with an expression as each value".to_owned());
            return Env::default();
        }
        Env::Expression(read)
    }

    /// A mapping of literal names to templates.
    pub(super) fn strings(
        &mut self,
        entries: &[Entry],
        allowed: &allowed::Allowed,
    ) -> IndexMap<String, String> {
        self.strings_seen(entries, allowed, |_, _, _| {})
    }

    /// The same; `look` sees every name and its text.
    pub(super) fn strings_seen(
        &mut self,
        entries: &[Entry],
        allowed: &allowed::Allowed,
        look: impl Fn(&mut Self, &str, &Text),
    ) -> IndexMap<String, String> {
        let mut map = IndexMap::new();
        for entry in entries {
            if entry.name().contains("${{") {
                self.error(entry.key.start, "not-supported", "Expressions as keys are not supported here");
                continue;
            }
            if entry.name().is_empty() {
                self.unexpected(&entry.key, "a name");
                continue;
            }
            if let Some(text) = self.text(&entry.value, Some(allowed)) {
                look(self, entry.name(), &text);
                map.insert(entry.name().to_owned(), text.raw);
            }
        }
        map
    }

    /// `defaults`; without `allowed`, no expressions.
    pub(super) fn defaults(&mut self, node: &Node, allowed: Option<&allowed::Allowed>) -> RunDefaults {
        let mut defaults = RunDefaults::default();
        let Some(fields) = self.fields(node, &["run"], "'defaults'") else { return defaults };
        let Some(run) = fields.get("run") else { return defaults };
        let Some(fields) = self.fields(run, &["shell", "working-directory"], "'defaults.run'") else {
            return defaults;
        };
        defaults.shell = fields.get("shell").and_then(|n| self.shell(n, allowed));
        defaults.working_directory =
            fields.get("working-directory").and_then(|n| self.non_empty(n, allowed)).map(|t| t.raw);
        defaults
    }

    /// `concurrency`: a group, or a mapping.
    pub(super) fn concurrency(&mut self, node: &Node, allowed: &allowed::Allowed) -> Option<Dynamic> {
        match &node.kind {
            Kind::Sequence(_) => {
                self.unexpected(node, "the name of a group, or a mapping");
                return None;
            }
            Kind::Scalar(_) => self.group(node, allowed)?,
            Kind::Mapping(_) => {
                let fields: Fields<'_> =
                    self.fields(node, &["group", "cancel-in-progress", "queue"], "'concurrency'")?;
                match fields.get("group") {
                    Some(n) => self.group(n, allowed)?,
                    None => {
                        self.missing(node.start, "group");
                        return None;
                    }
                }
                if let Some(n) = fields.get("cancel-in-progress") {
                    self.boolean(n, allowed)?;
                }
                if let Some(n) = fields.get("queue") {
                    self.one_of(n, &["single", "max"])?;
                }
            }
        }
        self.dynamic(node, Some(allowed))
    }

    fn group(&mut self, node: &Node, allowed: &allowed::Allowed) -> Option<()> {
        let text = self.non_empty(node, Some(allowed))?;
        if text.template.is_none() && text.raw.chars().count() > 400 {
            self.error(node.start, "concurrency", "Concurrency group name must be less than 400 characters");
            return None;
        }
        Some(())
    }
}
