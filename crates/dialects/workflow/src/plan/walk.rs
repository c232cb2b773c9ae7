//! From the key of a node to its jobs. A node of a called workflow is reached
//! through its callers: on the way, their conditions, matrices, inputs, secrets
//! and permissions are worked out again, purely, from what is known now. Keeps
//! nothing between two nodes.

use super::evaluate::{Evaluator, Status, World, results};
use super::resolve::{self, Planner};
use crate::library::{Doc, Library, empty_input, input_value};
use crate::syntax::{self, Call, Job, PassedSecrets, Permissions, Shape, Text};
use fleetfoot_expr::{Object, Value};
use fleetfoot_model::diagnostic::Diagnostic;
use fleetfoot_model::plan::{NeedResult, Resolution, ResolveArgs};
use fleetfoot_model::spec::{Concurrency, Contexts, SecretAccess, SecretLayer};
use fleetfoot_model::state::Conclusion;
use indexmap::IndexMap;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// One run of a workflow that is called: a leg of its callers' matrices.
#[derive(Clone, Debug, Default)]
pub(super) struct Instance {
    /// `None` for the main document: those of the run.
    inputs: Option<Value>,
    /// What the names of its jobs begin with.
    pub(super) title: String,
    pub(super) secrets: SecretAccess,
    /// The most that its jobs may have.
    pub(super) permissions: Option<Permissions>,
    /// A group that stands for the whole call, where the call is one job.
    pub(super) concurrency: Option<Concurrency>,
    /// Of a matrix of callers that is expanded here.
    fail_fast: Option<bool>,
    max_parallel: Option<u32>,
}

/// A workflow in its place.
struct Place {
    doc: usize,
    /// What the keys of its nodes begin with.
    prefix: String,
    instances: Vec<Instance>,
}

struct Walk<'a> {
    library: &'a Library,
    args: &'a ResolveArgs<'a>,
    root: World,
    /// How calls ended, by the beginning of their keys.
    ended: RefCell<HashMap<String, NeedResult>>,
}

/// Decides about the node with this key.
pub(super) fn resolve(
    library: &Library,
    key: &str,
    args: &ResolveArgs<'_>,
) -> Result<Resolution, Diagnostic> {
    let walk =
        Walk { library, args, root: World::of_run(args.contexts), ended: RefCell::new(HashMap::new()) };
    let unknown = || library.docs[0].source.error(0, "unknown-job", format!("There is no job '{key}'"));
    let mut place = Place { doc: 0, prefix: String::new(), instances: vec![Instance::default()] };
    let mut rest = key;
    while let Some((segment, below)) = rest.split_once('/') {
        let name = segment.split(" (").next().unwrap_or(segment);
        let job = walk.job(&place, name).ok_or_else(unknown)?;
        let (Some(call), Some(target)) = (&job.call, library.called(place.doc, job)) else {
            return Err(unknown());
        };
        place = walk.enter(&place, job, (call, target), segment, true)?;
        if place.instances.is_empty() {
            return Ok(Resolution::Skip);
        }
        rest = below;
    }
    let job = walk.job(&place, rest).filter(|job| job.call.is_none()).ok_or_else(unknown)?;
    walk.job_here(&place, job)
}

impl<'a> Walk<'a> {
    fn doc(&self, place: &Place) -> &'a Doc {
        &self.library.docs[place.doc]
    }

    fn job(&self, place: &Place, key: &str) -> Option<&'a Job> {
        self.doc(place).workflow.jobs.iter().find(|job| job.key == key)
    }

    fn world(&self, instance: &Instance) -> World {
        match &instance.inputs {
            Some(inputs) => self.root.with_inputs(Some(inputs.clone())),
            None => self.root.clone(),
        }
    }

    fn job_here(&self, place: &Place, job: &Job) -> Result<Resolution, Diagnostic> {
        let doc = self.doc(place);
        let needs = self.needs(place, job)?;
        let status = self.status(place, job, &needs)?;
        let (mut jobs, mut fail_fast, mut max_parallel) = (Vec::new(), true, None);
        for instance in &place.instances {
            let world = self.world(instance).with_needs(&needs).with_status(status.clone());
            let evaluator = Evaluator { source: &doc.source, world: &world };
            if !condition(&evaluator, job)? {
                continue;
            }
            let strategy = resolve::strategy(&evaluator, job, self.args.params)?;
            (fail_fast, max_parallel) = match instance.fail_fast {
                None => (strategy.fail_fast, strategy.max_parallel),
                Some(outer) if strategy.has_matrix => {
                    (outer && strategy.fail_fast, strategy.max_parallel.or(instance.max_parallel))
                }
                Some(outer) => (outer, instance.max_parallel),
            };
            let own = self.own_contexts(instance, &needs);
            let planner = Planner {
                evaluator,
                workflow: &doc.workflow,
                job,
                params: self.args.params,
                instance,
                own: &own,
            };
            resolve::legs(&planner, &strategy, &mut jobs)?;
        }
        if jobs.is_empty() {
            return Ok(Resolution::Skip);
        }
        Ok(Resolution::Run { jobs, fail_fast, max_parallel })
    }

    /// What a job sees that differs from what the run says.
    fn own_contexts(&self, instance: &Instance, needs: &IndexMap<String, NeedResult>) -> Contexts {
        let mut own = Contexts::new();
        if let Some(inputs) = &instance.inputs {
            own.insert("inputs".to_owned(), inputs.to_json());
        }
        // Without calls, the needs of the plan are those of the document.
        if self.library.docs.len() > 1 && (instance.inputs.is_some() || !needs.is_empty()) {
            own.insert("needs".to_owned(), results(needs).to_json());
        }
        own
    }

    /// Results of what a job needs, calls as one.
    fn needs(&self, place: &Place, job: &Job) -> Result<Cow<'a, IndexMap<String, NeedResult>>, Diagnostic> {
        if self.library.docs.len() == 1 {
            return Ok(Cow::Borrowed(self.args.needs));
        }
        let mut needs = IndexMap::new();
        for need in &job.needs {
            let Some(job) = self.job(place, &need.key) else { continue };
            needs.extend(self.outcome(place, job)?.map(|outcome| (need.key.clone(), outcome)));
        }
        Ok(Cow::Owned(needs))
    }

    /// What the status functions of a job look at: the jobs before it in its own workflow.
    fn status(
        &self,
        place: &Place,
        job: &Job,
        needs: &IndexMap<String, NeedResult>,
    ) -> Result<Arc<Status>, Diagnostic> {
        let direct = needs.iter().map(|(key, need)| (key.clone(), need.result)).collect();
        let mut ancestors = Vec::new();
        if self.library.docs.len() == 1 {
            ancestors.extend(self.args.ancestors.values().map(|ancestor| ancestor.result));
        } else {
            let mut seen = HashSet::new();
            let mut open: Vec<&str> = job.needs.iter().map(|need| need.key.as_str()).collect();
            while let Some(key) = open.pop() {
                let Some(job) = self.job(place, key).filter(|job| seen.insert(job.key.as_str())) else {
                    continue;
                };
                open.extend(job.needs.iter().map(|need| need.key.as_str()));
                ancestors.extend(self.result(place, job));
            }
        }
        Ok(Arc::new(Status { cancelled: self.args.cancelled, ancestors, needs: direct }))
    }

    fn ended(&self, key: &str) -> Option<&'a NeedResult> {
        self.args.ancestors.get(key).or_else(|| self.args.needs.get(key))
    }

    /// How a job or call ended, as one.
    fn result(&self, place: &Place, job: &Job) -> Option<Conclusion> {
        if job.call.is_none() {
            return self.ended(&format!("{}{}", place.prefix, job.key)).map(|need| need.result);
        }
        let all: Vec<Conclusion> = self.inner(place, job).map(|(_, need)| need.result).collect();
        Some(overall(&all))
    }

    /// The nodes of a call that have ended.
    fn inner(&self, place: &Place, job: &Job) -> impl Iterator<Item = (&'a str, &'a NeedResult)> {
        let head = format!("{}{}", place.prefix, job.key);
        let known = self.args.ancestors.iter().map(|(key, need)| (key.as_str(), need));
        known.filter(move |(key, _)| {
            key.strip_prefix(&*head).is_some_and(|rest| rest.starts_with('/') || rest.starts_with(" ("))
        })
    }

    /// How a job or call ended, with its outputs.
    fn outcome(&self, place: &Place, job: &Job) -> Result<Option<NeedResult>, Diagnostic> {
        let key = format!("{}{}", place.prefix, job.key);
        let (Some(call), Some(target)) = (&job.call, self.library.called(place.doc, job)) else {
            return Ok(self.ended(&key).cloned());
        };
        if let Some(known) = self.ended.borrow().get(&key) {
            return Ok(Some(known.clone()));
        }
        let result = self.result(place, job).unwrap_or(Conclusion::Skipped);
        let outputs = match result {
            Conclusion::Skipped => IndexMap::new(),
            Conclusion::Success => self.outputs(place, job, (call, target))?,
            // Of a call that failed, only what it came to.
            _ => self.outputs(place, job, (call, target)).unwrap_or_default(),
        };
        let outcome = NeedResult { result, outputs };
        self.ended.borrow_mut().insert(key, outcome.clone());
        Ok(Some(outcome))
    }

    /// Outputs of a call; of several legs, the last to give a value that is not empty wins.
    fn outputs(
        &self,
        place: &Place,
        job: &Job,
        target: (&Call, usize),
    ) -> Result<IndexMap<String, String>, Diagnostic> {
        let mut outputs = IndexMap::new();
        let called = &self.library.docs[target.1];
        if called.workflow.call_outputs.is_empty() {
            return Ok(outputs);
        }
        let mut segments: Vec<&str> = Vec::new();
        for (key, _) in self.inner(place, job) {
            let segment = key[place.prefix.len()..].split('/').next().unwrap_or_default();
            if segments.last() != Some(&segment) && !segments.contains(&segment) {
                segments.push(segment);
            }
        }
        for segment in segments {
            let inner = self.enter(place, job, target, segment, false)?;
            let mut jobs = IndexMap::new();
            for job in &called.workflow.jobs {
                jobs.extend(self.outcome(&inner, job)?.map(|outcome| (job.key.clone(), outcome)));
            }
            for instance in &inner.instances {
                let world = self.world(instance).with("jobs", results(&jobs));
                let evaluator = Evaluator { source: &called.source, world: &world };
                for (name, text) in &called.workflow.call_outputs {
                    let value = evaluator.string(text)?;
                    let slot: &mut String = outputs.entry(name.clone()).or_default();
                    if !value.is_empty() {
                        *slot = value;
                    }
                }
            }
        }
        Ok(outputs)
    }

    /// Goes into a call. `checked` asks its condition; without, it is known that it ran.
    fn enter(
        &self,
        place: &Place,
        job: &Job,
        (call, target): (&Call, usize),
        segment: &str,
        checked: bool,
    ) -> Result<Place, Diagnostic> {
        let doc = self.doc(place);
        let called = &self.library.docs[target];
        let needs = self.needs(place, job)?;
        let status = self.status(place, job, &needs)?;
        let one_leg = segment != job.key;
        let mut instances = Vec::new();
        for instance in &place.instances {
            let world = self.world(instance).with_needs(&needs).with_status(status.clone());
            let evaluator = Evaluator { source: &doc.source, world: &world };
            if checked && !condition(&evaluator, job)? {
                continue;
            }
            let strategy = resolve::strategy(&evaluator, job, self.args.params)?;
            for (index, leg) in &strategy.legs {
                if one_leg && strategy.segments[*index] != segment {
                    continue;
                }
                let name = resolve::leg_name(&evaluator, job, &strategy, *index, leg)?;
                let world = resolve::leg_world(world.clone(), &strategy, *index, leg);
                let evaluator = Evaluator { source: &doc.source, world: &world };
                let inputs = call_inputs(&evaluator, call, called, &self.root)?;
                let mut inner = Instance {
                    title: format!("{}{name} / ", instance.title),
                    secrets: passed(&instance.secrets, call, &world),
                    permissions: syntax::reduced(
                        job.permissions.as_ref().or(doc.workflow.permissions.as_ref()),
                        instance.permissions.as_ref(),
                    ),
                    inputs: Some(inputs),
                    ..instance.clone()
                };
                if strategy.has_matrix && !one_leg {
                    inner.fail_fast = Some(strategy.fail_fast && instance.fail_fast.unwrap_or(true));
                    inner.max_parallel = strategy.max_parallel.or(instance.max_parallel);
                }
                inner.concurrency = self.group(&evaluator, job, target, &inner)?;
                instances.push(inner);
            }
        }
        Ok(Place { doc: target, prefix: format!("{}{segment}/", place.prefix), instances })
    }

    /// The concurrency group of a call that comes to one job is that job's.
    fn group(
        &self,
        evaluator: &Evaluator<'_>,
        job: &Job,
        target: usize,
        inner: &Instance,
    ) -> Result<Option<Concurrency>, Diagnostic> {
        if self.library.jobs[target] != 1 {
            return Ok(None);
        }
        let called = &self.library.docs[target];
        if let Some(group) = &called.workflow.concurrency {
            let world = self.world(inner);
            return Evaluator { source: &called.source, world: &world }.concurrency(group).map(Some);
        }
        match &job.concurrency {
            Some(group) => evaluator.concurrency(group).map(Some),
            None => Ok(inner.concurrency.clone()),
        }
    }
}

fn condition(evaluator: &Evaluator<'_>, job: &Job) -> Result<bool, Diagnostic> {
    match &job.condition {
        Some(written) => evaluator.condition(written),
        None => evaluator.condition(&Text {
            start: job.at,
            end: job.at,
            raw: "success()".to_owned(),
            template: None,
        }),
    }
}

/// The `inputs` context of a called workflow.
pub(super) fn call_inputs(
    evaluator: &Evaluator<'_>,
    call: &Call,
    called: &Doc,
    root: &World,
) -> Result<Value, Diagnostic> {
    let mut inputs = Object::new();
    let defaults = root.with_inputs(Some(Value::Null));
    let defaults = Evaluator { source: &called.source, world: &defaults };
    for input in &called.workflow.call_inputs {
        let given = call.with.iter().find(|(name, _)| name.eq_ignore_ascii_case(&input.name));
        let mut value = None;
        if let Some((_, given)) = given {
            let read = evaluator.value(&given.value)?;
            value = input_value(input, &read).map_err(|expected| {
                let mut finding = evaluator.unexpected(given.value.start, &read, expected);
                finding.code = "input-type".to_owned();
                finding
            })?;
        }
        let value = match (value, &input.default) {
            (Some(value), _) => value,
            (None, None) => empty_input(input),
            (None, Some(default)) => {
                let read = defaults.value(default)?;
                match (&default.shape, input_value(input, &read)) {
                    (_, Ok(value)) => value.unwrap_or_else(|| empty_input(input)),
                    // `default: 'true'` is as good as true.
                    (Shape::Literal(_), Err(_)) => from_text(input, &read),
                    (_, Err(expected)) => return Err(defaults.unexpected(default.start, &read, expected)),
                }
            }
        };
        inputs.insert(input.name.as_str(), value);
    }
    Ok(inputs.into())
}

fn from_text(input: &syntax::Input, value: &Value) -> Value {
    match input.kind {
        syntax::InputKind::Boolean => Value::Bool(value.to_display_string() == "true"),
        _ => Value::Number(value.to_number()),
    }
}

/// What a call leaves of the secrets.
fn passed(before: &SecretAccess, call: &Call, world: &World) -> SecretAccess {
    let mut layer = SecretLayer::default();
    match &call.secrets {
        PassedSecrets::Inherit => return before.clone(),
        PassedSecrets::None => {}
        PassedSecrets::Map(map) => {
            for (name, (_, text)) in map {
                layer.values.insert(name.clone(), text.raw.clone());
                let templates = text.template.iter().flat_map(|template| template.expressions());
                for context in templates.flat_map(|(_, expr)| expr.contexts()) {
                    if let Some(value) = fleetfoot_expr::Scope::context(world, context)
                        && !layer.contexts.contains_key(context)
                    {
                        layer.contexts.insert(context.to_owned(), value.to_json());
                    }
                }
            }
        }
    }
    let mut layers = match before {
        SecretAccess::All => Vec::new(),
        SecretAccess::Mapped(layers) => layers.clone(),
    };
    layers.push(layer);
    SecretAccess::Mapped(layers)
}

/// One result over the jobs of a call.
fn overall(ends: &[Conclusion]) -> Conclusion {
    if ends.iter().any(|end| end.as_result() == "failure") {
        Conclusion::Failure
    } else if ends.contains(&Conclusion::Cancelled) {
        Conclusion::Cancelled
    } else if ends.iter().all(|end| *end == Conclusion::Skipped) {
        Conclusion::Skipped
    } else {
        Conclusion::Success
    }
}
