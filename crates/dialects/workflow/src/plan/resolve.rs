//! What becomes of one job: its legs, and for every leg the specification that
//! a runner executes and where it may run. Whether it runs at all, and within
//! which calls, is decided in `walk`.

use super::evaluate::{Evaluator, World};
use super::matrix::{self, Leg};
use super::walk::Instance;
use crate::source::clip;
use crate::syntax::{Dynamic, Env, Job, Shape, Workflow};
use fleetfoot_expr::{Object, Value};
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::diagnostic::Diagnostic;
use fleetfoot_model::labels::Label;
use fleetfoot_model::plan::{PlannedJob, RunParams};
use fleetfoot_model::spec::{
    Contexts, DEFAULT_CANCEL_TIMEOUT_SECONDS, DEFAULT_JOB_TIMEOUT_SECONDS, JobSpec, Placement, RunDefaults,
};
use indexmap::IndexMap;
use std::collections::HashSet;
use std::sync::Arc;

/// Label prefix that stands for a group of runners (`runs-on: {group: NAME}`).
const GROUP: &str = "group:";

/// A strategy, evaluated.
pub(super) struct Strategy {
    /// Each with its place in the whole matrix; filters leave gaps.
    pub(super) legs: Vec<(usize, Leg)>,
    total: usize,
    pub(super) has_matrix: bool,
    pub(super) fail_fast: bool,
    pub(super) max_parallel: Option<u32>,
    /// For every leg of a call, what the keys of its jobs begin with.
    pub(super) segments: Vec<String>,
}

/// Names of the jobs of a node as far as they are known before it is
/// resolved; otherwise one placeholder.
pub(super) fn names(evaluator: &Evaluator<'_>, job: &Job, params: &RunParams) -> Vec<String> {
    // Without the results of other jobs some expressions fail here; that is
    // no error, since the job's condition may keep them from ever mattering.
    let known = strategy(evaluator, job, params).and_then(|strategy| {
        strategy.legs.iter().map(|(index, leg)| leg_name(evaluator, job, &strategy, *index, leg)).collect()
    });
    match known {
        Ok(names) if !Vec::is_empty(&names) => names,
        _ => vec![literal_name(job)],
    }
}

/// `caller (x, y)` for every leg, each of them once. A slash would look like the end of it.
fn segments(key: &str, legs: &[Leg]) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut all = Vec::with_capacity(legs.len());
    for leg in legs {
        let label = clip(&leg.segments.join(", "), 100).replace('/', "_");
        let mut segment = format!("{key} ({label})");
        let mut count = 1;
        while !seen.insert(segment.clone()) {
            count += 1;
            segment = format!("{key} ({label})~{count}");
        }
        all.push(segment);
    }
    all
}

pub(super) fn literal_name(job: &Job) -> String {
    match &job.name {
        Some(name) if name.template.is_none() && !name.raw.is_empty() => name.raw.clone(),
        _ => job.key.clone(),
    }
}

pub(super) fn leg_name(
    evaluator: &Evaluator<'_>,
    job: &Job,
    strategy: &Strategy,
    index: usize,
    leg: &Leg,
) -> Result<String, Diagnostic> {
    if let Some(name) = job.name.as_ref().filter(|name| name.template.is_some()) {
        let world = leg_world(evaluator.world.clone(), strategy, index, leg);
        let name = Evaluator { source: evaluator.source, world: &world }.string(name)?;
        if !name.is_empty() {
            return Ok(matrix::display_name(&name, &[]));
        }
    }
    Ok(matrix::display_name(&literal_name(job), &leg.segments))
}

pub(super) fn leg_world(world: World, strategy: &Strategy, index: usize, leg: &Leg) -> World {
    world.with("strategy", strategy_context(strategy, index)).with("matrix", matrix_context(strategy, leg))
}

fn matrix_context(strategy: &Strategy, leg: &Leg) -> Value {
    if strategy.has_matrix { leg.values.clone().into() } else { Value::Null }
}

fn strategy_context(strategy: &Strategy, index: usize) -> Value {
    let count = |n: usize| Value::from(u32::try_from(n).unwrap_or(u32::MAX));
    let parallel = strategy.max_parallel.map_or_else(|| count(strategy.total), Value::from);
    let pairs = [
        ("fail-fast", Value::Bool(strategy.fail_fast)),
        ("job-index", count(index)),
        ("job-total", count(strategy.total)),
        ("max-parallel", parallel),
    ];
    pairs.into_iter().collect::<Object>().into()
}

pub(super) fn strategy(
    evaluator: &Evaluator<'_>,
    job: &Job,
    params: &RunParams,
) -> Result<Strategy, Diagnostic> {
    let mut read = Strategy {
        legs: vec![(0, Leg::default())],
        total: 1,
        has_matrix: false,
        fail_fast: true,
        max_parallel: None,
        segments: vec![job.key.clone()],
    };
    let Some(dynamic) = &job.strategy else { return Ok(read) };
    let value = evaluator.value(dynamic)?;
    let at = |key: &str| dynamic.get(key).map_or(dynamic.start, |d| d.start);
    let Some(object) = value.as_object() else {
        return Err(evaluator.unexpected(dynamic.start, &value, "a mapping"));
    };
    match object.get("fail-fast") {
        None | Some(Value::Null) => {}
        Some(Value::Bool(fail_fast)) => read.fail_fast = *fail_fast,
        Some(other) => return Err(evaluator.unexpected(at("fail-fast"), other, "a boolean")),
    }
    match object.get("max-parallel") {
        None | Some(Value::Null) => {}
        Some(other) => read.max_parallel = Some(parallel(evaluator, at("max-parallel"), other)?),
    }
    if let Some(value) = object.get("matrix").filter(|v| **v != Value::Null) {
        let legs = matrix::expand(value).map_err(|problem| {
            let matrix = dynamic.get("matrix");
            let place = problem.key.as_ref().and_then(|key| matrix?.get(key)).map(|d| d.start);
            evaluator.problem(place.unwrap_or_else(|| at("matrix")), "matrix", problem.message)
        })?;
        read.total = legs.len();
        read.has_matrix = true;
        if job.call.is_some() {
            read.segments = segments(&job.key, &legs);
        }
        read.legs = filtered(legs, params);
    }
    Ok(read)
}

fn parallel(evaluator: &Evaluator<'_>, at: usize, value: &Value) -> Result<u32, Diagnostic> {
    match value {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within bounds")]
        Value::Number(n) if (1.0..=1e6).contains(n) => Ok(*n as u32),
        other => Err(evaluator.unexpected(at, other, "a number of at least 1")),
    }
}

/// The legs that a filter of the submitter leaves. A key that no leg has says
/// nothing about this job.
fn filtered(legs: Vec<Leg>, params: &RunParams) -> Vec<(usize, Leg)> {
    let keys: Vec<(&String, &Vec<String>)> =
        params.matrix.iter().filter(|(key, _)| legs.iter().any(|leg| leg.values.contains_key(key))).collect();
    let fits = |leg: &Leg| {
        keys.iter().all(|(key, wanted)| {
            let value = leg.values.get(key).map(Value::to_display_string);
            value.is_some_and(|value| wanted.iter().any(|w| w.eq_ignore_ascii_case(&value)))
        })
    };
    let mut all: Vec<(usize, Leg)> = legs.into_iter().enumerate().collect();
    all.retain(|(_, leg)| fits(leg));
    all
}

/// The legs of a job whose condition is true, in one instance of its workflow.
pub(super) fn legs(
    planner: &Planner<'_>,
    strategy: &Strategy,
    jobs: &mut Vec<PlannedJob>,
) -> Result<(), Diagnostic> {
    let Evaluator { source, world } = planner.evaluator;
    for (index, leg) in &strategy.legs {
        let name = leg_name(&planner.evaluator, planner.job, strategy, *index, leg)?;
        let world = leg_world(world.clone(), strategy, *index, leg);
        let planner = Planner { evaluator: Evaluator { source, world: &world }, ..*planner };
        let contexts =
            [("matrix", matrix_context(strategy, leg)), ("strategy", strategy_context(strategy, *index))];
        jobs.push(planner.plan(format!("{}{name}", planner.instance.title), contexts)?);
    }
    Ok(())
}

/// Makes the specification of one leg.
#[derive(Clone, Copy)]
pub(super) struct Planner<'a> {
    pub(super) evaluator: Evaluator<'a>,
    pub(super) workflow: &'a Workflow,
    pub(super) job: &'a Job,
    pub(super) params: &'a RunParams,
    pub(super) instance: &'a Instance,
    /// Contexts of the job that differ from those of the run.
    pub(super) own: &'a Contexts,
}

impl Planner<'_> {
    fn plan(&self, name: String, contexts: [(&str, Value); 2]) -> Result<PlannedJob, Diagnostic> {
        let job = self.job;
        let minutes = |field: &Option<Dynamic>, default: u64| {
            field.as_ref().map_or(Ok(default), |d| self.evaluator.minutes(d))
        };
        let continue_on_error =
            job.continue_on_error.as_ref().map_or(Ok(false), |d| self.evaluator.boolean(d))?;
        let spec = JobSpec {
            key: job.key.clone(),
            name,
            steps: job.steps.clone(),
            env: self.env()?,
            defaults: merged(&self.workflow.defaults, &job.defaults),
            outputs: job.outputs.clone(),
            contexts: contexts
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_json()))
                .chain(self.own.iter().map(|(name, value)| (name.clone(), value.clone())))
                .collect(),
            secrets: self.instance.secrets.clone(),
            timeout_seconds: minutes(&job.timeout_minutes, DEFAULT_JOB_TIMEOUT_SECONDS)?,
            cancel_timeout_seconds: minutes(&job.cancel_timeout_minutes, DEFAULT_CANCEL_TIMEOUT_SECONDS)?,
            idle_timeout_seconds: job.extensions.idle_timeout_seconds,
            continue_on_error,
            limits: job.extensions.limits.clone(),
            permissions: crate::syntax::reduced(
                job.permissions.as_ref().or(self.workflow.permissions.as_ref()),
                self.instance.permissions.as_ref(),
            ),
            environment: match &job.environment {
                Some(written) => self.evaluator.environment(written)?,
                None => None,
            },
            container: match &job.container {
                Some(written) => self.evaluator.container(written)?,
                None => None,
            },
            services: match &job.services {
                Some(written) => self.evaluator.services(written)?,
                None => IndexMap::new(),
            },
            min_boundary: job.extensions.min_boundary,
        };
        let placement = Placement {
            labels: self.labels()?,
            queue: job.extensions.queue.clone(),
            priority: job.extensions.priority,
            // What a job writes as its container is not to become something weaker.
            min_boundary: match spec.container {
                Some(_) => spec.min_boundary.max(Boundary::Container),
                None => spec.min_boundary,
            },
            containers: spec.container.is_some() || !spec.services.is_empty(),
            limits: job.extensions.limits.clone(),
            retry: job.extensions.retry.clone(),
            queue_timeout_seconds: job.extensions.queue_timeout_seconds,
            deployment: None,
            concurrency: match &job.concurrency {
                Some(written) => Some(self.evaluator.concurrency(written)?),
                None => self.instance.concurrency.clone(),
            },
        };
        Ok(PlannedJob { spec: Arc::new(spec), placement })
    }

    /// The submitter's environment is the weakest layer, the job's the strongest.
    fn env(&self) -> Result<Vec<IndexMap<String, String>>, Diagnostic> {
        let given = self.params.env.iter().map(|(name, value)| (name.clone(), literal(value))).collect();
        let layers = [given, self.env_layer(&self.workflow.env)?, self.env_layer(&self.job.env)?];
        Ok(layers.into_iter().filter(|layer| !layer.is_empty()).collect())
    }

    fn env_layer(&self, env: &Env) -> Result<IndexMap<String, String>, Diagnostic> {
        let text = match env {
            Env::Map(map) => return Ok(map.clone()),
            Env::Expression(text) => text,
        };
        let value = self.evaluator.text(text)?;
        let Some(object) = value.as_object() else {
            return Err(self.evaluator.unexpected(text.start, &value, "a mapping"));
        };
        Ok(object
            .iter()
            .map(|(name, value)| (name.to_owned(), literal(&value.to_display_string())))
            .collect())
    }

    fn labels(&self) -> Result<Vec<Label>, Diagnostic> {
        let Some(runs_on) = &self.job.runs_on else { return Ok(Vec::new()) };
        let value = self.evaluator.value(runs_on)?;
        let mut labels = Vec::new();
        if let Some(object) = value.as_object() {
            if let Some(group) = object.get("group").filter(|g| **g != Value::Null) {
                self.label(
                    runs_on,
                    &Value::from(format!("{GROUP}{}", group.to_display_string())),
                    &mut labels,
                )?;
            }
            if let Some(value) = object.get("labels").filter(|l| **l != Value::Null) {
                self.add_labels(runs_on, value, &mut labels)?;
            }
        } else {
            self.add_labels(runs_on, &value, &mut labels)?;
        }
        if labels.is_empty() {
            return Err(self.evaluator.problem(
                runs_on.start,
                "unexpected-value",
                "'runs-on' gives no label",
            ));
        }
        Ok(labels)
    }

    fn add_labels(
        &self,
        runs_on: &Dynamic,
        value: &Value,
        labels: &mut Vec<Label>,
    ) -> Result<(), Diagnostic> {
        match value.as_array() {
            // An item may be an expression that gives a list itself.
            Some(items) => items.iter().try_for_each(|item| match item.as_array() {
                Some(inner) => inner.iter().try_for_each(|item| self.label(runs_on, item, labels)),
                None => self.label(runs_on, item, labels),
            }),
            None => self.label(runs_on, value, labels),
        }
    }

    fn label(&self, runs_on: &Dynamic, value: &Value, labels: &mut Vec<Label>) -> Result<(), Diagnostic> {
        let text = value.to_display_string();
        let label = Label::from(text.as_str());
        if !value.is_primitive() || !label.is_valid() {
            let at = match &runs_on.shape {
                Shape::Expression(text) => text.start,
                _ => runs_on.start,
            };
            return Err(self.evaluator.unexpected(at, value, "a label or a list of labels"));
        }
        if !labels.contains(&label) {
            labels.push(label);
        }
        Ok(())
    }
}

/// A value that the engine must take as it is, although it reads templates.
pub(super) fn literal(value: &str) -> String {
    if value.contains("${{") {
        format!("${{{{ '{}' }}}}", value.replace('\'', "''"))
    } else {
        value.to_owned()
    }
}

fn merged(weak: &RunDefaults, strong: &RunDefaults) -> RunDefaults {
    RunDefaults {
        shell: strong.shell.clone().or_else(|| weak.shell.clone()),
        working_directory: strong.working_directory.clone().or_else(|| weak.working_directory.clone()),
    }
}
