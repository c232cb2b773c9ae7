//! The steps of one attempt in order: conditions, names, what a step may
//! change for the next ones, and what follows from failures, cancellation and
//! timeouts. How a single step is carried out is in `step` and `checkout`.

use crate::clock;
use crate::config::EngineConfig;
use crate::environment::{self, Environment};
use crate::outcome::{Outcome, Timeouts};
use crate::output::{Log, Output};
use crate::prepare::Ready;
use crate::process::Watch;
use crate::scope::{Contexts, StepScope};
use crate::sink::Sink;
use crate::workspace::Workspace;
use fleetfoot_driver::Cell;
use fleetfoot_expr::{ExprError, Object, Status as JobStatus, Template, Value};
use fleetfoot_model::spec::StepAction;
use fleetfoot_model::state::{Conclusion, Reason, Status};
use fleetfoot_model::sync::{Annotation, Assignment, StepReport, Usage};
use indexmap::IndexMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Annotations that a job may have.
const MAX_ANNOTATIONS: usize = 50;
/// Largest output of a job, bytes.
const MAX_OUTPUT: usize = 1 << 20;
/// Steps with a summary that is kept.
const MAX_SUMMARIES: usize = 20;
/// How long readers may take to come to their end once every process is gone.
const CLOSE_LEAKS: Duration = Duration::from_secs(1);

/// How the steps of an attempt ended.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) conclusion: Conclusion,
    pub(crate) reason: Option<Reason>,
    pub(crate) message: Option<String>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) outputs: IndexMap<String, String>,
    pub(crate) annotations: Vec<Annotation>,
    pub(crate) summaries: Vec<(u16, String)>,
    pub(crate) last_step: u16,
}

impl Verdict {
    pub(crate) fn new(conclusion: Conclusion) -> Self {
        Self {
            conclusion,
            reason: None,
            message: None,
            exit_code: None,
            outputs: IndexMap::new(),
            annotations: Vec::new(),
            summaries: Vec::new(),
            last_step: 0,
        }
    }
}

/// One entry of the list of steps.
#[derive(Clone)]
enum Task {
    Step(usize),
    Started(PathBuf),
    Completed(PathBuf),
}

pub(crate) struct Attempt<'a> {
    pub(crate) config: &'a EngineConfig,
    pub(crate) assignment: &'a Assignment,
    pub(crate) cell: &'a dyn Cell,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) log: Arc<Log>,
    pub(crate) workspace: &'a Workspace,
    pub(crate) environment: Environment,
    pub(crate) contexts: Contexts,
    /// The `env` context: the job's own and what steps added.
    pub(crate) env: IndexMap<String, String>,
    /// Directories added to `PATH`, the last one goes first.
    pub(crate) paths: Vec<String>,
    pub(crate) annotations: Vec<Annotation>,
    pub(crate) summaries: Vec<(u16, String)>,
    pub(crate) leaks: Vec<Output>,
    cancel: CancellationToken,
    pub(crate) kill: CancellationToken,
    job_deadline: Instant,
    grace_deadline: Option<Instant>,
    pub(crate) cancelled: bool,
    pub(crate) timed_out: bool,
    failed: bool,
    decisive: Option<Outcome>,
    steps: Object,
    reports: Vec<StepReport>,
}

impl<'a> Attempt<'a> {
    #[expect(clippy::too_many_arguments, reason = "called in one place")]
    pub(crate) fn new(
        config: &'a EngineConfig,
        assignment: &'a Assignment,
        cell: &'a dyn Cell,
        sink: Arc<dyn Sink>,
        log: Arc<Log>,
        workspace: &'a Workspace,
        mut environment: Environment,
        cancel: CancellationToken,
        kill: CancellationToken,
    ) -> Self {
        let fixed = std::mem::take(&mut environment.contexts);
        // A timeout of zero (a specification that names none) means the default.
        let timeout = match assignment.spec.timeout_seconds {
            0 => fleetfoot_model::spec::DEFAULT_JOB_TIMEOUT_SECONDS,
            seconds => seconds.min(366 * 24 * 3600),
        };
        Self {
            config,
            assignment,
            cell,
            sink,
            log,
            workspace,
            environment,
            contexts: Contexts { fixed, steps: Object::new().into() },
            env: assignment.env.clone(),
            paths: Vec::new(),
            annotations: Vec::new(),
            summaries: Vec::new(),
            leaks: Vec::new(),
            cancel,
            kill,
            job_deadline: Instant::now() + Duration::from_secs(timeout),
            grace_deadline: None,
            cancelled: false,
            timed_out: false,
            failed: false,
            decisive: None,
            steps: Object::new(),
            reports: Vec::new(),
        }
    }

    /// Runs all steps.
    pub(crate) async fn run(&mut self) -> Verdict {
        let tasks = self.plan();
        if tasks.len() > usize::from(u16::MAX) {
            let message = format!("a job may have {} steps, this one has {}", u16::MAX, tasks.len());
            self.decide(Outcome::failure(Reason::BadSpecification, message));
            return self.verdict(0);
        }
        self.sink.steps(&self.reports);
        if let Err(outcome) = self.set_up().await {
            self.log.say(0, &format!("Error: {}", outcome.message.as_deref().unwrap_or_default())).await;
            self.decide(*outcome);
        }
        let mut last = 0;
        for (index, task) in tasks.iter().enumerate() {
            let index = index as u16;
            last = index;
            self.look_around();
            if self.kill.is_cancelled() {
                self.report(index, skip);
                continue;
            }
            match task {
                Task::Step(at) => self.step(index, *at).await,
                Task::Started(script) => self.hook(index, script, false).await,
                Task::Completed(script) => self.hook(index, script, true).await,
            }
        }
        self.sink.steps(&self.reports);
        self.look_around();
        self.verdict(last)
    }

    /// Builds the list of steps and their reports.
    fn plan(&mut self) -> Vec<Task> {
        let mut tasks = Vec::new();
        tasks.extend(self.config.job_started_hook.clone().map(Task::Started));
        tasks.extend((0..self.assignment.spec.steps.len()).map(Task::Step));
        tasks.extend(self.config.job_completed_hook.clone().map(Task::Completed));
        let spec = &self.assignment.spec;
        self.reports = tasks
            .iter()
            .enumerate()
            .map(|(index, task)| {
                let (id, name) = match task {
                    Task::Step(at) => (spec.steps[*at].id.clone(), spec.steps[*at].raw_name()),
                    Task::Started(_) => ("__set_up_runner".to_owned(), "Set up runner".to_owned()),
                    Task::Completed(_) => ("__complete_runner".to_owned(), "Complete runner".to_owned()),
                };
                StepReport {
                    index: u16::try_from(index).unwrap_or(u16::MAX),
                    id,
                    name,
                    status: Status::Waiting,
                    conclusion: None,
                    outcome: None,
                    reason: None,
                    message: None,
                    exit_code: None,
                    signal: None,
                    leaked: false,
                    started_at: None,
                    finished_at: None,
                    usage: Usage::default(),
                }
            })
            .collect();
        tasks
    }

    /// Evaluates the environment of the job and writes the event file.
    async fn set_up(&mut self) -> Result<(), Box<Outcome>> {
        for (name, value) in &self.assignment.secrets {
            if value.trim().len() == 1 {
                let line = format!("Warning: the secret {name} has one character and is not masked");
                self.log.say(0, &line).await;
            }
        }
        let event = environment::event_path(self.workspace);
        std::fs::write(event, &self.environment.event)
            .map_err(|e| Box::new(Outcome::io("cannot write the event file", &e)))?;
        for layer in &self.assignment.spec.env {
            let mut evaluated = IndexMap::with_capacity(layer.len());
            for (name, value) in layer {
                let value = self.text(value, &self.scope(&self.env)).map_err(|e| {
                    Box::new(Outcome::failure(Reason::BadSpecification, format!("env.{name}: {e}")))
                })?;
                evaluated.insert(name.clone(), value);
            }
            self.env.extend(evaluated);
        }
        Ok(())
    }

    /// Notices a cancellation or timeout between steps.
    fn look_around(&mut self) {
        if self.cancel.is_cancelled() && !self.cancelled {
            self.cancelled = true;
            self.start_grace();
        }
        if Instant::now() >= self.job_deadline && !self.timed_out {
            self.timed_out = true;
            self.start_grace();
        }
    }

    fn start_grace(&mut self) {
        let grace = Duration::from_secs(self.assignment.spec.cancel_timeout_seconds.min(24 * 3600));
        self.grace_deadline.get_or_insert_with(|| Instant::now() + grace);
    }

    pub(crate) fn status(&self) -> JobStatus {
        if self.cancelled || self.timed_out {
            JobStatus::Cancelled
        } else if self.failed {
            JobStatus::Failure
        } else {
            JobStatus::Success
        }
    }

    /// What expressions see now, with this `env` context.
    pub(crate) fn scope<'b>(&'b self, env: &'b IndexMap<String, String>) -> StepScope<'b> {
        StepScope::new(&self.contexts, env, self.status(), &self.workspace.workspace)
    }

    /// Evaluates a template to text.
    pub(crate) fn text(&self, template: &str, scope: &StepScope<'_>) -> Result<String, ExprError> {
        if !template.contains("${{") {
            return Ok(template.to_owned());
        }
        Template::parse(template)?.evaluate_string(scope)
    }

    /// What may end a command that starts now.
    pub(crate) fn watch(&self, step_seconds: Option<f64>) -> Watch {
        let graceful = self.grace_deadline.is_some();
        Watch {
            cancel: (!self.cancelled).then(|| self.cancel.clone()),
            kill: self.kill.clone(),
            step_deadline: step_seconds
                .and_then(|s| Duration::try_from_secs_f64(s).ok())
                .and_then(|d| Instant::now().checked_add(d)),
            job_deadline: (!graceful).then_some(self.job_deadline),
            grace_deadline: self.grace_deadline,
            idle: self.assignment.spec.idle_timeout_seconds.filter(|s| *s > 0).map(Duration::from_secs),
            ladder: self.config.kill,
        }
    }

    /// The timeouts in force, for messages.
    pub(crate) fn timeouts(&self, step_seconds: Option<f64>) -> Timeouts {
        #[expect(clippy::cast_precision_loss, reason = "for messages")]
        let seconds = |s: u64| s as f64;
        Timeouts {
            step_seconds: step_seconds.unwrap_or_default(),
            job_seconds: seconds(self.assignment.spec.timeout_seconds),
            idle_seconds: seconds(self.assignment.spec.idle_timeout_seconds.unwrap_or_default()),
        }
    }

    /// A step of the job from its condition to its report.
    async fn step(&mut self, index: u16, at: usize) {
        let spec = self.assignment.spec.clone();
        let step = &spec.steps[at];
        let mut env = self.env.clone();
        let prepared = self.prepare(step, &mut env);
        let (ready, outcome) = match prepared {
            Ok(None) => {
                self.record_step(&step.id, Conclusion::Skipped, Conclusion::Skipped, &IndexMap::new());
                self.report(index, skip);
                self.sink.steps(&self.reports);
                return;
            }
            Ok(Some(ready)) => {
                self.begin(index, Some(&ready.name));
                let outcome = match &step.action {
                    StepAction::Run { script, shell, working_directory } => {
                        let run = crate::step::Run {
                            script,
                            shell: shell.as_deref().or(spec.defaults.shell.as_deref()),
                            working_directory: working_directory
                                .as_deref()
                                .or(spec.defaults.working_directory.as_deref()),
                        };
                        self.run_script(index, &step.id, &run, &env, ready.timeout_seconds).await
                    }
                    StepAction::Uses { uses, with } => {
                        self.uses(index, uses, with, &env, ready.timeout_seconds).await
                    }
                    StepAction::Wait { .. } | StepAction::Cancel { .. } => Outcome::failure(
                        Reason::BadSpecification,
                        "background steps are not supported by this runner".to_owned(),
                    ),
                };
                (ready, outcome)
            }
            Err(message) => {
                let ready = Ready { name: step.raw_name(), continue_on_error: false, timeout_seconds: None };
                self.begin(index, None);
                (ready, Outcome::failure(Reason::BadSpecification, message))
            }
        };
        self.finish(index, &step.id, &ready, outcome).await;
    }

    /// A hook of the runner.
    async fn hook(&mut self, index: u16, script: &Path, completed: bool) {
        if !completed && (self.status() != JobStatus::Success) {
            self.report(index, skip);
            return;
        }
        self.begin(index, None);
        let env = self.env.clone();
        let outcome = self.run_hook(index, script, &env).await;
        let name = self.reports[usize::from(index)].name.clone();
        let ready = Ready { name, continue_on_error: false, timeout_seconds: None };
        self.finish(index, "", &ready, outcome).await;
    }

    fn begin(&mut self, index: u16, name: Option<&str>) {
        self.report(index, |r| {
            r.status = Status::Running;
            r.started_at = Some(clock::now());
            if let Some(name) = name {
                name.clone_into(&mut r.name);
            }
        });
        self.sink.steps(&self.reports);
    }

    async fn finish(&mut self, index: u16, id: &str, ready: &Ready, mut outcome: Outcome) {
        self.look_around();
        if let Some(message) = &mut outcome.message {
            *message = self.log.masker.mask(message);
        }
        if outcome.exit_code.is_none()
            && outcome.signal.is_none()
            && outcome.conclusion == Conclusion::Failure
            && let Some(message) = &outcome.message
        {
            // No process said what went wrong.
            self.log.say(index, &format!("Error: {message}")).await;
        }
        let forgiven = ready.continue_on_error
            && matches!(outcome.conclusion, Conclusion::Failure | Conclusion::TimedOut)
            && !self.timed_out;
        let conclusion = if forgiven { Conclusion::Success } else { outcome.conclusion };
        self.record_step(id, outcome.conclusion, conclusion, &outcome.outputs);
        self.report(index, |r| {
            r.status = Status::Completed;
            r.conclusion = Some(conclusion);
            r.outcome = Some(outcome.conclusion);
            r.reason = outcome.reason;
            r.message.clone_from(&outcome.message);
            r.exit_code = outcome.exit_code;
            r.signal = outcome.signal;
            r.leaked = outcome.leaked;
            r.finished_at = Some(clock::now());
            r.usage = outcome.usage;
        });
        self.sink.steps(&self.reports);
        if !conclusion.is_ok() {
            let name = ready.name.clone();
            outcome.message = Some(match outcome.message {
                Some(message) => format!("step '{name}': {message}"),
                None => format!("step '{name}' failed"),
            });
            self.decide(outcome);
        }
    }

    /// Remembers the first step that did not go well; it explains the job.
    fn decide(&mut self, outcome: Outcome) {
        self.failed = true;
        self.decisive.get_or_insert(outcome);
    }

    fn record_step(
        &mut self,
        id: &str,
        outcome: Conclusion,
        conclusion: Conclusion,
        outputs: &IndexMap<String, String>,
    ) {
        if id.is_empty() {
            return;
        }
        let entry: Object = [
            ("outputs", crate::scope::object(outputs)),
            ("outcome", Value::from(outcome.as_result())),
            ("conclusion", Value::from(conclusion.as_result())),
        ]
        .into_iter()
        .collect();
        self.steps.insert(id, entry);
        self.contexts.steps = self.steps.clone().into();
    }

    fn report(&mut self, index: u16, change: impl FnOnce(&mut StepReport)) {
        change(&mut self.reports[usize::from(index)]);
    }

    /// Adds an annotation of the runner.
    pub(crate) fn annotate(&mut self, level: &str, step: u16, message: String) {
        self.annotations.push(Annotation {
            level: level.to_owned(),
            message: self.log.masker.mask(&message),
            title: None,
            file: None,
            line: None,
            end_line: None,
            column: None,
            end_column: None,
            step,
        });
    }

    /// Keeps the summary of a step.
    pub(crate) fn keep_summary(&mut self, step: u16, markdown: &str) {
        if self.summaries.len() < MAX_SUMMARIES {
            self.summaries.push((step, self.log.masker.mask(markdown)));
        }
    }

    /// Evaluates the outputs of the job; a value that contains a secret is left out.
    fn outputs(&mut self, last: u16) -> IndexMap<String, String> {
        let spec = self.assignment.spec.clone();
        let mut outputs = IndexMap::new();
        for (name, template) in &spec.outputs {
            let value = self.text(template, &self.scope(&self.env)).map_err(|e| e.to_string());
            match value {
                Ok(value) if self.log.masker.finds(&value) => {
                    let message = format!("the output '{name}' is left out: it may contain a secret");
                    self.annotate("warning", last, message);
                }
                Ok(value) if value.len() > MAX_OUTPUT => {
                    let message = format!("the output '{name}' is left out: it is larger than 1 MiB");
                    self.annotate("error", last, message);
                }
                Ok(value) => {
                    outputs.insert(name.clone(), value);
                }
                Err(e) => {
                    let message = format!("outputs.{name}: {e}");
                    self.annotate("error", last, message.clone());
                    self.decide(Outcome::failure(Reason::BadSpecification, message));
                }
            }
        }
        outputs
    }

    fn verdict(&mut self, last: u16) -> Verdict {
        let outputs = if self.kill.is_cancelled() { IndexMap::new() } else { self.outputs(last) };
        let (conclusion, reason, message) = if self.cancelled || self.kill.is_cancelled() {
            (Conclusion::Cancelled, Some(Reason::Cancelled), None)
        } else if self.timed_out {
            let message = self.decisive.as_ref().and_then(|d| d.message.clone());
            (Conclusion::TimedOut, Some(Reason::Timeout), message)
        } else if let Some(decisive) = &self.decisive {
            (decisive.conclusion, decisive.reason, decisive.message.clone())
        } else {
            (Conclusion::Success, None, None)
        };
        Verdict {
            conclusion,
            reason,
            message,
            exit_code: self.decisive.as_ref().and_then(|d| d.exit_code),
            outputs,
            annotations: Vec::new(),
            summaries: std::mem::take(&mut self.summaries),
            last_step: last,
        }
    }

    /// The annotations of all steps, at most as many as a job may have.
    pub(crate) fn take_annotations(&mut self) -> Vec<Annotation> {
        self.annotations.truncate(MAX_ANNOTATIONS);
        std::mem::take(&mut self.annotations)
    }

    /// Lets readers whose step has long ended come to their end.
    pub(crate) async fn close_leaks(&mut self) {
        for mut output in self.leaks.drain(..) {
            if !output.drain(CLOSE_LEAKS, &self.kill).await {
                output.abort();
            }
        }
    }
}

fn skip(report: &mut StepReport) {
    report.status = Status::Completed;
    report.conclusion = Some(Conclusion::Skipped);
    report.outcome = Some(Conclusion::Skipped);
}
