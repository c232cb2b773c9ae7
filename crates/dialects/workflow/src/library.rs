//! A document and everything that it calls: which text belongs to which
//! reference, what is missing, and whether every call fits what it calls. Reads
//! no files: texts come in by reference.

use crate::source::{Report, SourceText, clip, nearest};
use crate::syntax::{self, Call, Input, InputKind, Job, PassedSecrets, Reference, Shape, Workflow};
use crate::yaml;
use fleetfoot_expr::Value;
use fleetfoot_model::diagnostic::{Diagnostic, Source};
use indexmap::IndexMap;
use std::collections::HashMap;

/// Levels of workflows, the main one included.
pub const MAX_CALL_LEVELS: usize = 10;
/// Called workflows in one run.
pub const MAX_CALLED_WORKFLOWS: usize = 50;
/// Jobs of all calls together, before any matrix.
pub(crate) const MAX_CALLED_JOBS: usize = 2_000;

/// One document of a library.
#[derive(Debug)]
pub(crate) struct Doc {
    pub(crate) source: SourceText,
    pub(crate) workflow: Workflow,
    /// Where it came from; the main document came from nowhere.
    reference: Option<Reference>,
    /// The documents that its jobs call, by the key of the job.
    pub(crate) calls: HashMap<String, usize>,
}

/// The main document, which is the first, and those that it calls.
#[derive(Debug)]
pub(crate) struct Library {
    pub(crate) docs: Vec<Doc>,
    /// How many jobs every document comes to with all that it calls, before any matrix.
    pub(crate) jobs: Vec<usize>,
    pub(crate) missing: Vec<String>,
}

/// How a document is read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mode {
    /// It is the body of a job.
    pub(crate) plain: bool,
    /// Report what is merely information too.
    pub(crate) pedantic: bool,
    /// Local documents that were not given do not exist.
    pub(crate) complete: bool,
}

/// One text to a typed document; findings are added.
pub(crate) fn read(
    source: &Source,
    mode: Mode,
    found: &mut Vec<Diagnostic>,
) -> Option<(SourceText, Workflow)> {
    let source = match SourceText::decode(source) {
        Ok(source) => source,
        Err(finding) => {
            found.push(finding);
            return None;
        }
    };
    let mut report = Report::new(&source);
    report.pedantic = mode.pedantic;
    let root = yaml::load(&mut report);
    let workflow = match &root {
        Some(root) if mode.plain => syntax::read_job_document(&mut report, root),
        Some(root) => syntax::read_workflow(&mut report, root),
        None => Workflow::default(),
    };
    let good = !report.has_errors();
    found.extend(report.finish().0);
    good.then_some((source, workflow))
}

impl Library {
    /// Reads a document and, of `files`, what it calls.
    pub(crate) fn read(
        source: &Source,
        mode: Mode,
        files: &IndexMap<String, String>,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let (source, workflow) = read(source, mode, found)?;
        let main = Doc { source, workflow, reference: None, calls: HashMap::new() };
        let mut library = Self { docs: vec![main], jobs: Vec::new(), missing: Vec::new() };
        if library.docs[0].workflow.jobs.iter().any(|job| job.call.is_some()) {
            library.load(files, found);
            library.check(mode, found);
        }
        Some(library)
    }

    fn load(&mut self, files: &IndexMap<String, String>, found: &mut Vec<Diagnostic>) {
        // What could not be read is remembered too, so that it is reported once.
        let mut known: HashMap<String, Option<usize>> = HashMap::new();
        let mut at = 0;
        while at < self.docs.len() {
            for i in 0..self.docs[at].workflow.jobs.len() {
                let doc = &self.docs[at];
                let Some(call) = &doc.workflow.jobs[i].call else { continue };
                let reference = call.reference.within(doc.reference.as_ref());
                let key = reference.to_string();
                let index = match known.get(&key) {
                    Some(index) => *index,
                    None if known.len() >= MAX_CALLED_WORKFLOWS => {
                        let message =
                            format!("A run can call at most {MAX_CALLED_WORKFLOWS} different workflows");
                        found.push(doc.source.error(call.at, "too-many-workflows", message));
                        return;
                    }
                    None => {
                        let index = self.add(&key, reference, files, found);
                        known.insert(key, index);
                        index
                    }
                };
                if let Some(index) = index {
                    let key = self.docs[at].workflow.jobs[i].key.clone();
                    self.docs[at].calls.insert(key, index);
                }
            }
            at += 1;
        }
    }

    fn add(
        &mut self,
        key: &str,
        reference: Reference,
        files: &IndexMap<String, String>,
        found: &mut Vec<Diagnostic>,
    ) -> Option<usize> {
        let Some(text) = files.get(key) else {
            self.missing.push(key.to_owned());
            return None;
        };
        let name = match &reference {
            Reference::Local(path) => path.clone(),
            Reference::Remote { .. } => key.to_owned(),
        };
        let (source, workflow) = read(&Source::new(name, text.as_bytes()), Mode::default(), found)?;
        self.docs.push(Doc { source, workflow, reference: Some(reference), calls: HashMap::new() });
        Some(self.docs.len() - 1)
    }

    /// The document that a job calls.
    pub(crate) fn called(&self, doc: usize, job: &Job) -> Option<usize> {
        self.docs[doc].calls.get(&job.key).copied()
    }

    fn check(&mut self, mode: Mode, found: &mut Vec<Diagnostic>) {
        self.check_shape(found);
        for (index, doc) in self.docs.iter().enumerate() {
            let mut report = Report::new(&doc.source);
            for job in &doc.workflow.jobs {
                match (&job.call, self.called(index, job)) {
                    (Some(call), Some(target)) => self.check_call(&mut report, doc, job, call, target),
                    (Some(call), None) if mode.complete => self.check_missing(&mut report, doc, call),
                    _ => {}
                }
            }
            found.extend(report.finish().0);
        }
    }

    fn check_missing(&self, report: &mut Report<'_>, doc: &Doc, call: &Call) {
        let reference = call.reference.within(doc.reference.as_ref());
        if matches!(reference, Reference::Local(_)) && self.missing.contains(&reference.to_string()) {
            let message = format!(
                "error parsing called workflow '{}': workflow was not found.",
                clip(&call.uses.raw, 200)
            );
            report.error(call.at, "missing-workflow", message).hint =
                Some("The path begins at the root of the repository".to_owned());
        }
    }

    fn check_call(&self, report: &mut Report<'_>, doc: &Doc, job: &Job, call: &Call, target: usize) {
        let called = &self.docs[target].workflow;
        let shown = clip(&call.uses.raw, 200);
        if !called.callable {
            let message = format!(
                "error parsing called workflow '{shown}': workflow is not reusable as it is missing a `on.workflow_call` trigger"
            );
            report.error(call.at, "not-callable", message).hint =
                Some("Add workflow_call to its 'on'".to_owned());
            return;
        }
        check_inputs(report, call, &called.call_inputs);
        check_secrets(report, call, &called.call_secrets);
        if self.jobs[target] > 1 && (job.concurrency.is_some() || called.concurrency.is_some()) {
            let hint =
                "The called workflow has several jobs; give the group to the calling workflow as a whole";
            report.not_enforced(call.at, "concurrency", hint);
        }
        let allowed = job.permissions.as_ref().or(doc.workflow.permissions.as_ref());
        let Some(allowed) = allowed else { return };
        for inner in &called.jobs {
            let asked = inner.permissions.as_ref().or(called.permissions.as_ref());
            for (scope, level, most) in asked.into_iter().flat_map(|asked| syntax::excess(asked, allowed)) {
                let message = format!(
                    "Error calling workflow '{shown}'. The nested job '{}' is requesting '{scope}: {level}', but is only allowed '{scope}: {most}'.",
                    inner.key
                );
                report.error(call.at, "permissions", message).hint =
                    Some("A called workflow can have at most what its caller has".to_owned());
            }
        }
    }

    /// Cycles, depth and size of the whole.
    fn check_shape(&mut self, found: &mut Vec<Diagnostic>) {
        let mut shape =
            Shapes { library: self, state: vec![State::New; self.docs.len()], path: Vec::new(), found };
        let (levels, jobs) = shape.visit(0);
        let cycle = shape.found.iter().any(|d| d.code == "call-cycle");
        self.jobs =
            shape.state.iter().map(|s| if let State::Done(_, jobs) = s { *jobs } else { 0 }).collect();
        if cycle {
            return;
        }
        let doc = &self.docs[0];
        let at = doc.workflow.jobs.iter().find_map(|job| job.call.as_ref()).map_or(0, |call| call.at);
        if levels > MAX_CALL_LEVELS {
            let message =
                format!("Workflows call each other over {levels} levels, the limit is {MAX_CALL_LEVELS}");
            found.push(doc.source.error(at, "too-many-levels", message));
        } else if jobs > MAX_CALLED_JOBS {
            let message = format!("The called workflows have more than {MAX_CALLED_JOBS} jobs together");
            found.push(doc.source.error(at, "too-many-jobs", message));
        }
    }
}

#[derive(Clone, Copy)]
enum State {
    New,
    Open,
    /// Levels below and including it, and all its jobs.
    Done(usize, usize),
}

struct Shapes<'a> {
    library: &'a Library,
    state: Vec<State>,
    path: Vec<usize>,
    found: &'a mut Vec<Diagnostic>,
}

impl Shapes<'_> {
    /// At most 51 documents: the recursion is shallow.
    fn visit(&mut self, index: usize) -> (usize, usize) {
        if let State::Done(levels, jobs) = self.state[index] {
            return (levels, jobs);
        }
        self.state[index] = State::Open;
        self.path.push(index);
        let (mut levels, mut jobs) = (1, 0usize);
        let doc = &self.library.docs[index];
        for job in &doc.workflow.jobs {
            let (Some(call), Some(target)) = (&job.call, self.library.called(index, job)) else {
                jobs += 1;
                continue;
            };
            if matches!(self.state[target], State::Open) {
                self.cycle(doc, call, target);
                continue;
            }
            let (below, inner) = self.visit(target);
            levels = levels.max(below + 1);
            jobs = jobs.saturating_add(inner);
        }
        self.path.pop();
        self.state[index] = State::Done(levels, jobs);
        (levels, jobs)
    }

    fn cycle(&mut self, doc: &Doc, call: &Call, target: usize) {
        let begin = self.path.iter().position(|i| *i == target).unwrap_or_default();
        let around = self.path[begin..].iter().chain(std::iter::once(&target));
        let names: Vec<&str> = around.map(|i| self.library.docs[*i].source.name()).collect();
        let message = format!("The workflow calls itself: {}", clip(&names.join(" -> "), 500));
        self.found.push(doc.source.error(call.at, "call-cycle", message));
    }
}

fn check_inputs(report: &mut Report<'_>, call: &Call, declared: &[Input]) {
    for (name, given) in &call.with {
        let Some(input) = declared.iter().find(|input| input.name.eq_ignore_ascii_case(name)) else {
            let message =
                format!("Invalid input, {} is not defined in the referenced workflow.", clip(name, 100));
            let known = declared.iter().map(|input| input.name.as_str());
            report.error(given.at, "unknown-input", message).hint = name_hint(name, known, "inputs");
            continue;
        };
        if let Shape::Literal(value) = &given.value.shape
            && let Err(expected) = input_value(input, value)
        {
            let message = format!("Unexpected value '{}'", clip(&value.to_display_string(), 100));
            report.error(given.value.start, "input-type", message).hint =
                Some(format!("The input '{}' of the called workflow is {expected}", input.name));
        }
    }
    for input in declared.iter().filter(|input| input.required) {
        if !call.with.keys().any(|name| name.eq_ignore_ascii_case(&input.name)) {
            let message = format!("Input {} is required, but not provided while calling.", input.name);
            report.error(call.at, "missing-input", message).hint =
                Some(format!("Add it under 'with' of this job: {}: ...", input.name));
        }
    }
}

fn check_secrets(report: &mut Report<'_>, call: &Call, declared: &IndexMap<String, bool>) {
    let none = IndexMap::new();
    let given = match &call.secrets {
        PassedSecrets::Inherit => return,
        PassedSecrets::None => &none,
        PassedSecrets::Map(map) => map,
    };
    for (name, (at, _)) in given {
        if !declared.keys().any(|known| known.eq_ignore_ascii_case(name)) {
            let message =
                format!("Invalid secret, {} is not defined in the referenced workflow.", clip(name, 100));
            let known = declared.keys().map(String::as_str);
            report.error(*at, "unknown-secret", message).hint = name_hint(name, known, "secrets");
        }
    }
    for (name, _) in declared.iter().filter(|(_, required)| **required) {
        if !given.keys().any(|key| key.eq_ignore_ascii_case(name)) {
            let message = format!("Secret {name} is required, but not provided while calling.");
            report.error(call.at, "missing-secret", message).hint =
                Some("Pass it under 'secrets' of this job, or all of them: secrets: inherit".to_owned());
        }
    }
}

fn name_hint<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone, what: &str) -> Option<String> {
    if let Some(word) = nearest(name, known.clone()) {
        return Some(format!("Did you mean '{word}'?"));
    }
    let all: Vec<&str> = known.collect();
    Some(match all.is_empty() {
        true => format!("The called workflow declares no {what}"),
        false => format!("Its {what} are {}", clip(&all.join(", "), 300)),
    })
}

/// A value that a call passes, as its input takes it: GitHub converts numbers
/// and booleans to text, and nothing else. An empty one is as if it was left out.
pub(crate) fn input_value(input: &Input, value: &Value) -> Result<Option<Value>, &'static str> {
    match (input.kind, value) {
        (_, Value::Null) => Ok(None),
        (InputKind::Boolean, Value::Bool(_)) => Ok(Some(value.clone())),
        (InputKind::Boolean, _) => Err("a boolean"),
        (InputKind::Number, Value::Number(_)) => Ok(Some(value.clone())),
        (InputKind::Number, _) => Err("a number"),
        (_, value) if value.is_primitive() => Ok(Some(Value::from(value.to_display_string()))),
        _ => Err("a string"),
    }
}

/// The value of an input that nobody gave.
pub(crate) fn empty_input(input: &Input) -> Value {
    match input.kind {
        InputKind::Boolean => Value::Bool(false),
        InputKind::Number => Value::Number(0.0),
        _ => Value::from(""),
    }
}
