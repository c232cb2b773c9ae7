//! One job: GitHub's keys and ours, for a workflow or in a file of its own.

use super::allowed;
use super::value::{Dynamic, Shape};
use super::{Env, Job, Need};
use crate::plan::matrix;
use crate::source::Report;
use crate::yaml::{Entry, Kind, Meaning, Node};
use fleetfoot_expr::Value;
use indexmap::IndexMap;

/// Where a job stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum JobKind {
    /// Under `jobs` of a workflow.
    OfWorkflow,
    /// In a file of its own: no `needs`, no `uses`, and any runner will do.
    Plain,
}

const KEYS: &[&str] = &[
    "name",
    "needs",
    "if",
    "runs-on",
    "strategy",
    "timeout-minutes",
    "cancel-timeout-minutes",
    "continue-on-error",
    "container",
    "services",
    "env",
    "environment",
    "permissions",
    "concurrency",
    "outputs",
    "defaults",
    "steps",
    "snapshot",
];
const CALL_KEYS: &[&str] =
    &["name", "uses", "with", "secrets", "needs", "if", "permissions", "concurrency", "strategy"];
/// Not GitHub's.
pub(super) const EXTENSIONS: &[&str] = &[
    "queue",
    "priority",
    "queue-timeout-minutes",
    "idle-timeout-minutes",
    "min-boundary",
    "retry",
    "limits",
];

/// Reads a job; `None` if it is not even a mapping.
pub(super) fn read(report: &mut Report<'_>, key: &str, at: usize, node: &Node, kind: JobKind) -> Option<Job> {
    let Kind::Mapping(entries) = &node.kind else {
        report.unexpected(node, "a mapping with the keys of a job");
        return None;
    };
    let get = |key: &str| entries.iter().find(|e| e.name() == key);
    let value = |key: &str| get(key).map(|e| &e.value);
    let call = get("uses").is_some() && kind == JobKind::OfWorkflow;
    check_keys(report, entries, call, kind);

    let mut job = Job {
        key: key.to_owned(),
        at,
        name: value("name").and_then(|n| report.text(n, Some(&allowed::LEG))),
        needs: Vec::new(),
        condition: value("if").and_then(|n| report.condition(n, &allowed::JOB_IF)),
        runs_on: None,
        strategy: value("strategy").and_then(|n| report.strategy(n)),
        timeout_minutes: value("timeout-minutes").and_then(|n| report.minutes(n, &allowed::LEG)),
        cancel_timeout_minutes: value("cancel-timeout-minutes")
            .and_then(|n| report.minutes(n, &allowed::LEG)),
        continue_on_error: value("continue-on-error").and_then(|n| report.boolean(n, &allowed::LEG)),
        concurrency: value("concurrency").and_then(|n| report.concurrency(n, &allowed::LEG)),
        env: value("env").map(|n| report.env(n, &allowed::LEG_AND_SECRETS, true)).unwrap_or_default(),
        defaults: value("defaults")
            .map(|n| report.defaults(n, Some(&allowed::JOB_DEFAULTS)))
            .unwrap_or_default(),
        outputs: value("outputs").map(|n| report.outputs(n)).unwrap_or_default(),
        steps: Vec::new(),
        call: None,
        extensions: report.extensions(entries),
        permissions: value("permissions").and_then(|n| report.permissions(n)),
        environment: None,
        container: None,
        services: None,
    };
    if let Some(n) = value("needs").filter(|_| kind == JobKind::OfWorkflow) {
        job.needs = report.words(n).into_iter().map(|(at, key)| Need { key, at }).collect();
    }
    if call {
        job.call = value("uses").and_then(|n| report.call(n, get("with"), get("secrets")));
        return Some(job);
    }
    match value("runs-on") {
        Some(n) => job.runs_on = report.runs_on(n),
        None if kind == JobKind::OfWorkflow => {
            report.error(at, "missing-key", "Required property is missing: runs-on").hint = Some(
                "Name the labels of the runners that may take it, such as: runs-on: self-hosted".to_owned(),
            );
        }
        None => {}
    }
    match value("steps") {
        Some(n) => job.steps = report.steps(n),
        None => {
            report.error(at, "missing-key", "Required property is missing: steps").hint =
                Some("A job needs steps; without them it would do nothing".to_owned());
        }
    }
    if let Some(e) = get("container") {
        job.container = report.job_container(&e.value);
    }
    if let Some(e) = get("services") {
        job.services = report.services(&e.value);
    }
    job.environment = get("environment").and_then(|e| report.environment(e));
    if let Some(e) = get("snapshot") {
        report.snapshot(e);
    }
    Some(job)
}

fn check_keys(report: &mut Report<'_>, entries: &[Entry], call: bool, kind: JobKind) {
    let mut known: Vec<&str> = if call { CALL_KEYS } else { KEYS }.to_vec();
    if kind == JobKind::Plain {
        known.retain(|key| *key != "needs");
    }
    known.extend(EXTENSIONS);
    for entry in entries.iter().filter(|e| !known.contains(&e.name())) {
        let name = entry.name();
        let hint = match name {
            "needs" | "uses" if kind == JobKind::Plain => "A plain job stands alone; use a workflow for this",
            "with" | "secrets" if !call => "It belongs to jobs with 'uses', or to steps",
            _ if call && KEYS.contains(&name) => {
                "A job with 'uses' calls another workflow and cannot have this key"
            }
            _ => {
                report.unknown_key(entry, &known, "a job");
                continue;
            }
        };
        report.error(entry.key.start, "unknown-key", format!("Unexpected value '{name}'")).hint =
            Some(hint.to_owned());
    }
}

impl Report<'_> {
    fn outputs(&mut self, node: &Node) -> IndexMap<String, String> {
        let entries = self.mapping(node, "a mapping of outputs").unwrap_or_default();
        self.strings(entries, &allowed::RUNNER)
    }

    fn runs_on(&mut self, node: &Node) -> Option<Dynamic> {
        match &node.kind {
            Kind::Mapping(_) => {
                let fields = self.fields(node, &["group", "labels"], "'runs-on'")?;
                if let Some(n) = fields.get("group") {
                    self.non_empty(n, Some(&allowed::LEG))?;
                }
                if let Some(n) = fields.get("labels") {
                    self.labels(n)?;
                }
                if fields.get("group").or(fields.get("labels")).is_none() {
                    self.error(node.start, "missing-key", "'runs-on' needs 'group' or 'labels'");
                }
            }
            _ => self.labels(node)?,
        }
        self.dynamic(node, Some(&allowed::LEG))
    }

    fn labels(&mut self, node: &Node) -> Option<()> {
        let nodes = match &node.kind {
            Kind::Sequence(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut good = !nodes.is_empty();
        if !good {
            self.error(node.start, "unexpected-value", "'runs-on' gives no label");
        }
        for node in nodes {
            let Some(text) = self.non_empty(node, Some(&allowed::LEG)) else {
                good = false;
                continue;
            };
            if text.template.is_none() && !fleetfoot_model::labels::Label::from(text.raw.as_str()).is_valid()
            {
                self.unexpected(node, "a label: at most 256 characters, no commas");
                good = false;
            }
        }
        good.then_some(())
    }

    fn strategy(&mut self, node: &Node) -> Option<Dynamic> {
        if matches!(node.kind, Kind::Mapping(_)) {
            let fields = self.fields(node, &["matrix", "fail-fast", "max-parallel"], "'strategy'")?;
            let mut good = true;
            if let Some(n) = fields.get("fail-fast") {
                good &= self.boolean(n, &allowed::STRATEGY).is_some();
            }
            if let Some(n) = fields.get("max-parallel").filter(|n| !is_expression(n)) {
                good &= self.number(n, 1.0, 1e6, true).is_some();
            }
            if let Some(n) = fields.get("matrix").filter(|n| !is_expression(n)) {
                good &= self.matrix(n).is_some();
            }
            if !good {
                return None;
            }
        } else if !is_expression(node) {
            self.unexpected(node, "a mapping with the keys matrix, fail-fast, max-parallel");
            return None;
        }
        self.dynamic(node, Some(&allowed::STRATEGY))
    }

    /// Checks the shape, and the contents as far as they are literal.
    fn matrix(&mut self, node: &Node) -> Option<()> {
        for entry in self.mapping(node, "a mapping of names to lists")? {
            if is_expression(&entry.key) || is_expression(&entry.value) {
                continue;
            }
            let items = self.sequence(&entry.value, "a list of values, or an expression that gives one")?;
            if matches!(entry.name(), "include" | "exclude") {
                for item in items.iter().filter(|item| !is_expression(item)) {
                    self.mapping(item, "a mapping of names to values")?;
                }
            }
        }
        let read = self.dynamic(node, Some(&allowed::STRATEGY))?;
        if !read.is_literal() {
            return Some(());
        }
        let Err(problem) = matrix::expand(&read.literal_value()) else { return Some(()) };
        let at = match &problem.key {
            Some(key) => read.get(key).map_or(node.start, |d| d.start),
            None => node.start,
        };
        self.error(at, "matrix", problem.message);
        None
    }
}

fn is_expression(node: &Node) -> bool {
    node.as_scalar().is_some_and(|s| s.meaning == Meaning::Text && s.text.contains("${{"))
}

impl Dynamic {
    /// The value of something literal; expressions count as null.
    pub(crate) fn literal_value(&self) -> Value {
        match &self.shape {
            Shape::Literal(value) => value.clone(),
            Shape::Expression(_) => Value::Null,
            Shape::Sequence(items) => items.iter().map(Self::literal_value).collect(),
            Shape::Mapping(pairs) => pairs
                .iter()
                .map(|(key, value)| (key.raw.as_str(), value.literal_value()))
                .collect::<fleetfoot_expr::Object>()
                .into(),
        }
    }
}

impl Env {
    /// The names of a literal mapping.
    pub(crate) fn as_map(&self) -> Option<&IndexMap<String, String>> {
        match self {
            Self::Map(map) => Some(map),
            Self::Expression(_) => None,
        }
    }
}
