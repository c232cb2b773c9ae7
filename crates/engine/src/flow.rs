//! The steps of one attempt in order: set up, what actions do before the first
//! step, the steps, what actions do after the last one, and what follows from
//! failures, cancellation and timeouts. How a single step is carried out is in
//! `step`, `actions` and `checkout`.

use crate::attempt::{Attempt, Leash, StepRun};
use crate::background::Background;
use crate::environment;
use crate::frame::{Changes, Frame};
use crate::outcome::Outcome;
use crate::prepare::{Ready, When};
use crate::reports::{Entry, skip};
use crate::scope::Spot;
use fleetfoot_model::spec::{StepAction, StepSpec};
use fleetfoot_model::state::{Conclusion, Reason};
use fleetfoot_model::sync::Annotation;
use indexmap::IndexMap;
use std::path::Path;

/// Annotations that a job may have.
const MAX_ANNOTATIONS: usize = 50;
/// Largest output of a job, bytes.
const MAX_OUTPUT: usize = 1 << 20;
/// Steps with a summary that is kept.
const MAX_SUMMARIES: usize = 20;

/// How the steps of an attempt ended.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) conclusion: Conclusion,
    pub(crate) reason: Option<Reason>,
    pub(crate) message: Option<String>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) outputs: IndexMap<String, String>,
    pub(crate) environment_url: Option<String>,
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
            environment_url: None,
            annotations: Vec::new(),
            summaries: Vec::new(),
            last_step: 0,
        }
    }
}

/// Which part of a step runs: an action may have something to do before the
/// first step of the job and after the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Pre,
    Main,
    Post,
}

/// A step that has ended.
pub(crate) struct Done {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) conclusion: Conclusion,
    pub(crate) outcome: Outcome,
}

/// The order of an attempt.
pub(crate) struct Flow<'a, 'j> {
    pub(crate) attempt: &'a Attempt<'j>,
    pub(crate) frame: Frame,
    pub(crate) background: Background<'a>,
    decisive: Option<Outcome>,
    annotations: Vec<Annotation>,
    summaries: Vec<(u16, String)>,
    /// The number of the step that began last.
    last: u16,
}

impl<'a, 'j> Flow<'a, 'j> {
    pub(crate) fn new(attempt: &'a Attempt<'j>, frame: Frame) -> Self {
        Self {
            attempt,
            frame,
            background: Background::default(),
            decisive: None,
            annotations: Vec::new(),
            summaries: Vec::new(),
            last: 0,
        }
    }

    /// Runs everything.
    pub(crate) async fn run(&mut self) -> Verdict {
        let attempt = self.attempt;
        let steps = &attempt.assignment.spec.steps;
        let count = steps.len();
        attempt.publish();
        if let Err(outcome) = self.set_up().await {
            self.explain(*outcome).await;
        }
        let mut ready = true;
        if attempt.needs_actions(steps) {
            ready = Box::pin(self.fetch_actions()).await;
        }
        if let Some(script) = &attempt.config.job_started_hook {
            self.hook(Entry::Started, script).await;
        }
        for at in 0..count {
            if ready && attempt.actions.has_pre(&at.to_string()) {
                Box::pin(self.stage(Stage::Pre, at)).await;
            }
        }
        for at in 0..count {
            if ready {
                self.step(at).await;
            } else {
                attempt.report(Entry::Main(at), skip);
            }
        }
        self.settle_background().await;
        while let Some(at) = attempt.actions.next_post() {
            Box::pin(self.stage(Stage::Post, at)).await;
        }
        if let Some(script) = &attempt.config.job_completed_hook {
            self.hook(Entry::Completed, script).await;
        }
        attempt.publish();
        attempt.look_around();
        self.verdict()
    }

    /// Something is wrong that belongs to no step.
    async fn explain(&mut self, outcome: Outcome) {
        let message = outcome.message.as_deref().unwrap_or_default();
        self.attempt.log.say(0, &format!("Error: {message}")).await;
        self.decide(outcome);
    }

    /// Evaluates the environment of the job and writes the event file.
    async fn set_up(&mut self) -> Result<(), Box<Outcome>> {
        let attempt = self.attempt;
        for (name, value) in attempt.secrets {
            if value.trim().len() == 1 {
                let line = format!("Warning: the secret {name} has one character and is not masked");
                attempt.log.say(0, &line).await;
            }
        }
        let event = environment::event_path(attempt.workspace);
        std::fs::write(event, &attempt.environment.event)
            .map_err(|e| Box::new(Outcome::io("cannot write the event file", &e)))?;
        attempt.evaluate_env(&mut self.frame)
    }

    /// Fetches all actions before the first step; `false` if that failed, and with it the job.
    async fn fetch_actions(&mut self) -> bool {
        let attempt = self.attempt;
        if attempt.kill.is_cancelled() {
            attempt.report(Entry::SetUp, skip);
            return true;
        }
        let index = self.begin(Entry::SetUp, None);
        let steps = &attempt.assignment.spec.steps;
        let outcome = match attempt.prepare_actions(index, steps).await {
            Ok(()) => {
                let mut reports = attempt.reports();
                for (at, step) in steps.iter().enumerate() {
                    if attempt.actions.has_pre(&at.to_string()) {
                        let name = format!("Pre {}", step.raw_name());
                        reports.push_pre(at, format!("__pre_{}", step.id), name);
                    }
                }
                Outcome::plain(Conclusion::Success)
            }
            Err(outcome) => *outcome,
        };
        let done = attempt.finish(Entry::SetUp, "", "Set up job", false, outcome).await;
        let fine = done.conclusion.is_ok();
        self.settle(done);
        fine
    }

    fn begin(&mut self, entry: Entry, name: Option<&str>) -> u16 {
        self.last = self.attempt.begin(entry, name);
        self.last
    }

    /// A step of the specification.
    async fn step(&mut self, at: usize) {
        let attempt = self.attempt;
        let step = &attempt.assignment.spec.steps[at];
        attempt.look_around();
        if attempt.kill.is_cancelled() {
            attempt.report(Entry::Main(at), skip);
            return;
        }
        match &step.action {
            StepAction::Wait { steps } => self.wait(at, step, steps).await,
            StepAction::Cancel { step: other } => self.cancel(at, step, other).await,
            _ if step.background => self.start(at).await,
            _ => Box::pin(self.stage(Stage::Main, at)).await,
        }
    }

    /// A stage of a step in the foreground.
    async fn stage(&mut self, stage: Stage, at: usize) {
        let attempt = self.attempt;
        attempt.look_around();
        if attempt.kill.is_cancelled() {
            attempt.report(entry(stage, at), skip);
            return;
        }
        let frame = &self.frame;
        let done = self.background.along(attempt.carry_out(stage, at, frame, attempt.leash(), None)).await;
        self.last = self.last.max(attempt.reports().index(entry(stage, at)));
        self.settle(done);
    }

    /// A hook of the runner.
    async fn hook(&mut self, entry: Entry, script: &Path) {
        let attempt = self.attempt;
        let standing = attempt.look_around();
        let fine = !standing.failed && !standing.cancelled && !standing.timed_out;
        if attempt.kill.is_cancelled() || (entry == Entry::Started && !fine) {
            attempt.report(entry, skip);
            return;
        }
        let index = self.begin(entry, None);
        let env = self.frame.step_env();
        let run = StepRun {
            index,
            path: "",
            spot: Spot { key: index.to_string(), ..Spot::default() },
            frame: &self.frame,
            env: &env,
            leash: attempt.leash(),
        };
        let outcome = attempt.run_hook(&run, script).await;
        let name = attempt.reports().name(entry);
        let done = attempt.finish(entry, "", &name, false, outcome).await;
        self.settle(done);
    }

    /// Takes over what an ended step changed, and remembers the first one that did not go well.
    pub(crate) fn settle(&mut self, done: Done) {
        let Done { id, name, conclusion, mut outcome } = done;
        self.frame.record(&id, outcome.conclusion, conclusion, &outcome.outputs);
        self.frame.absorb(&outcome.changes);
        let Changes { annotations, summaries, .. } = std::mem::take(&mut outcome.changes);
        self.annotations.extend(annotations);
        for summary in summaries {
            if self.summaries.len() < MAX_SUMMARIES {
                self.summaries.push(summary);
            }
        }
        if !conclusion.is_ok() && conclusion != Conclusion::Skipped {
            outcome.message = Some(match outcome.message {
                Some(message) => format!("step '{name}': {message}"),
                None => format!("step '{name}' failed"),
            });
            self.decide(outcome);
        }
    }

    /// Remembers the first step that did not go well; it explains the job.
    pub(crate) fn decide(&mut self, outcome: Outcome) {
        self.attempt.mark_failed();
        self.decisive.get_or_insert(outcome);
    }

    /// Evaluates the outputs of the job; a value that contains a secret is left out.
    fn outputs(&mut self) -> IndexMap<String, String> {
        let attempt = self.attempt;
        let (last, spot) = (self.last, Spot::default());
        let mut outputs = IndexMap::new();
        for (name, template) in &attempt.assignment.spec.outputs {
            let scope = attempt.scope(&self.frame, &self.frame.env, &spot);
            let value = attempt.text(template, &scope).map_err(|e| e.to_string());
            let (level, message) = match value {
                Ok(value) if attempt.log.masker.finds(&value) => {
                    ("warning", format!("the output '{name}' is left out: it may contain a secret"))
                }
                Ok(value) if value.len() > MAX_OUTPUT => {
                    ("error", format!("the output '{name}' is left out: it is larger than 1 MiB"))
                }
                Ok(value) => {
                    outputs.insert(name.clone(), value);
                    continue;
                }
                Err(e) => {
                    let message = format!("outputs.{name}: {e}");
                    self.decide(Outcome::failure(Reason::BadSpecification, message.clone()));
                    ("error", message)
                }
            };
            self.annotations.push(attempt.annotation(level, last, &message));
        }
        outputs
    }

    /// Evaluates `environment.url`: it may use what the steps gave.
    fn environment_url(&mut self) -> Option<String> {
        let attempt = self.attempt;
        let template = attempt.assignment.spec.environment.as_ref()?.url.as_ref()?;
        let spot = Spot::default();
        let url = attempt.text(template, &attempt.scope(&self.frame, &self.frame.env, &spot));
        match url {
            Ok(url) if url.is_empty() || attempt.log.masker.finds(&url) => None,
            Ok(url) => Some(url.chars().take(2_000).collect()),
            Err(e) => {
                let message = format!("environment.url is left out: {e}");
                self.annotations.push(attempt.annotation("warning", self.last, &message));
                None
            }
        }
    }

    fn verdict(&mut self) -> Verdict {
        let killed = self.attempt.kill.is_cancelled();
        let outputs = if killed { IndexMap::new() } else { self.outputs() };
        let environment_url = if killed { None } else { self.environment_url() };
        let standing = self.attempt.standing();
        let (conclusion, reason, message) = if standing.cancelled || killed {
            (Conclusion::Cancelled, Some(Reason::Cancelled), None)
        } else if standing.timed_out {
            let message = self.decisive.as_ref().and_then(|d| d.message.clone());
            (Conclusion::TimedOut, Some(Reason::Timeout), message)
        } else if let Some(decisive) = &self.decisive {
            (decisive.conclusion, decisive.reason, decisive.message.clone())
        } else {
            (Conclusion::Success, None, None)
        };
        self.annotations.truncate(MAX_ANNOTATIONS);
        Verdict {
            conclusion,
            reason,
            message,
            exit_code: self.decisive.as_ref().and_then(|d| d.exit_code),
            outputs,
            environment_url,
            annotations: std::mem::take(&mut self.annotations),
            summaries: std::mem::take(&mut self.summaries),
            last_step: self.last,
        }
    }
}

/// The line of a stage in the list of steps.
const fn entry(stage: Stage, at: usize) -> Entry {
    match stage {
        Stage::Pre => Entry::Pre(at),
        Stage::Main => Entry::Main(at),
        Stage::Post => Entry::Post(at),
    }
}

impl Attempt<'_> {
    /// Builds the list of steps.
    ///
    /// # Errors
    /// If there are more than can be counted.
    pub(crate) fn plan(&self, with_containers: bool) -> Result<(), String> {
        let steps = &self.assignment.spec.steps;
        let count = steps.len();
        if count * 3 + 5 > usize::from(u16::MAX) {
            return Err(format!("a job may have {} steps, this one has {count}", u16::MAX / 3 - 2));
        }
        let mut reports = self.reports();
        if with_containers {
            reports.push(Entry::Containers, "__initialize_containers".into(), "Initialize containers".into());
        }
        if self.needs_actions(steps) {
            reports.push(Entry::SetUp, "__set_up_job".into(), "Set up job".into());
        }
        if self.config.job_started_hook.is_some() {
            reports.push(Entry::Started, "__set_up_runner".into(), "Set up runner".into());
        }
        for (at, step) in steps.iter().enumerate() {
            reports.push(Entry::Main(at), step.id.clone(), step.raw_name());
        }
        if self.config.job_completed_hook.is_some() {
            reports.push(Entry::Completed, "__complete_runner".into(), "Complete runner".into());
        }
        Ok(())
    }

    /// The attempt ends before its first step.
    pub(crate) fn skip_all(&self) {
        let mut reports = self.reports();
        reports.skip_waiting();
        if !reports.list().is_empty() {
            self.sink.steps(reports.list());
        }
    }

    /// How an attempt ended whose steps never began.
    pub(crate) fn not_begun(&self, outcome: Outcome) -> Verdict {
        Verdict {
            reason: outcome.reason,
            message: outcome.message.map(|message| self.log.masker.mask(&message)),
            ..Verdict::new(outcome.conclusion)
        }
    }

    /// Evaluates the variables of the job, layer by layer.
    pub(crate) fn evaluate_env(&self, frame: &mut Frame) -> Result<(), Box<Outcome>> {
        let spot = Spot::default();
        for layer in &self.assignment.spec.env {
            let mut evaluated = IndexMap::with_capacity(layer.len());
            for (name, value) in layer {
                let scope = self.scope(frame, &frame.env, &spot);
                let value = self.text(value, &scope).map_err(|e| {
                    Box::new(Outcome::failure(Reason::BadSpecification, format!("env.{name}: {e}")))
                })?;
                evaluated.insert(name.clone(), value);
            }
            frame.env.extend(evaluated);
        }
        Ok(())
    }

    /// A stage of a step of the job, from its condition to its report. `turn` is waited for between the
    /// condition and the beginning.
    pub(crate) async fn carry_out(
        &self,
        stage: Stage,
        at: usize,
        frame: &Frame,
        leash: Leash,
        turn: Option<&tokio::sync::Semaphore>,
    ) -> Done {
        let step = &self.assignment.spec.steps[at];
        let entry = entry(stage, at);
        let path = at.to_string();
        let key = match stage {
            Stage::Pre => format!("pre_{at}"),
            Stage::Main => format!("{at}"),
            Stage::Post => format!("post_{at}"),
        };
        let spot = Spot { id: step.id.clone(), key, action: None };
        // Only the step itself gives outputs; its other stages have no place in the `steps` context.
        let id = if stage == Stage::Main { step.id.as_str() } else { "" };
        let condition = self.actions.condition(stage, &path);
        let when = match stage {
            Stage::Main => When::Step,
            _ => When::Stage(condition.as_deref()),
        };
        let ready = match self.prepare(step, frame, &spot, when) {
            Ok(None) => return self.skipped(entry, id),
            Ok(Some(ready)) => ready,
            Err(message) => {
                let name = self.reports().name(entry);
                self.begin(entry, None);
                let outcome = Outcome::failure(Reason::BadSpecification, message);
                return self.finish(entry, id, &name, false, outcome).await;
            }
        };
        let _turn = match turn {
            None => None,
            Some(turn) => tokio::select! {
                permit = turn.acquire() => permit.ok(),
                () = cancelled(&leash) => return self.skipped(entry, id),
                () = self.kill.cancelled() => return self.skipped(entry, id),
            },
        };
        let Ready { name, continue_on_error, timeout_seconds, env } = ready;
        let name = match stage {
            Stage::Pre => format!("Pre {name}"),
            Stage::Main => name,
            Stage::Post => format!("Post {name}"),
        };
        let index = self.begin(entry, Some(&name));
        let leash = leash.within(timeout_seconds);
        let run = StepRun { index, path: &path, spot, frame, env: &env, leash };
        let outcome = Box::pin(self.act(stage, &run, step)).await;
        self.finish(entry, id, &name, continue_on_error, outcome).await
    }

    /// Does what a step asks for.
    pub(crate) async fn act(&self, stage: Stage, run: &StepRun<'_>, step: &StepSpec) -> Outcome {
        match &step.action {
            StepAction::Run { script, shell, working_directory } => {
                // The defaults of the job are not for the steps of actions.
                let defaults = run.frame.action.is_none().then_some(&self.assignment.spec.defaults);
                let script = crate::step::Script {
                    script,
                    shell: shell.as_deref().or(defaults.and_then(|d| d.shell.as_deref())),
                    working_directory: working_directory
                        .as_deref()
                        .or(defaults.and_then(|d| d.working_directory.as_deref())),
                };
                self.run_script(run, &script).await
            }
            StepAction::Uses { uses, with } => Box::pin(self.uses(stage, run, step, uses, with)).await,
            // Inside actions nothing runs in the background.
            StepAction::Wait { .. } | StepAction::Cancel { .. } => Outcome::plain(Conclusion::Success),
        }
    }

    fn skipped(&self, entry: Entry, id: &str) -> Done {
        self.report(entry, skip);
        Done {
            id: id.to_owned(),
            name: String::new(),
            conclusion: Conclusion::Skipped,
            outcome: Outcome::plain(Conclusion::Skipped),
        }
    }

    /// A step has ended: decides what that means, and reports it.
    pub(crate) async fn finish(
        &self,
        entry: Entry,
        id: &str,
        name: &str,
        continue_on_error: bool,
        mut outcome: Outcome,
    ) -> Done {
        let standing = self.look_around();
        if let Some(message) = &mut outcome.message {
            *message = self.log.masker.mask(message);
        }
        let index = self.reports().index(entry);
        self.say_why(index, &outcome).await;
        let conclusion = concluded(&outcome, continue_on_error && !standing.timed_out);
        self.complete(entry, conclusion, &outcome);
        Done { id: id.to_owned(), name: name.to_owned(), conclusion, outcome }
    }

    /// If no process said what went wrong, the log does.
    pub(crate) async fn say_why(&self, index: u16, outcome: &Outcome) {
        if outcome.exit_code.is_none()
            && outcome.signal.is_none()
            && outcome.conclusion == Conclusion::Failure
            && !outcome.told
            && let Some(message) = &outcome.message
        {
            self.log.say(index, &format!("Error: {message}")).await;
        }
    }
}

/// The conclusion that follows from an outcome.
pub(crate) fn concluded(outcome: &Outcome, continue_on_error: bool) -> Conclusion {
    let forgivable = matches!(outcome.conclusion, Conclusion::Failure | Conclusion::TimedOut);
    if continue_on_error && forgivable { Conclusion::Success } else { outcome.conclusion }
}

/// Waits until the step is cancelled.
pub(crate) async fn cancelled(leash: &Leash) {
    match &leash.cancel {
        Some(token) => token.cancelled().await,
        None => std::future::pending().await,
    }
}
