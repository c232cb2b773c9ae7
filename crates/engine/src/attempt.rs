//! What all steps of an attempt share while they run, several of them at a
//! time: the cell, the log, the list of reports, and how the job stands. It is
//! looked at and changed through `&self`; what a single step sees and changes
//! is in `frame`, the order of the steps in `flow`.

use crate::actions::Actions;
use crate::clock;
use crate::config::EngineConfig;
use crate::containers::JobContainers;
use crate::environment::Environment;
use crate::frame::Frame;
use crate::matching::JobMatchers;
use crate::outcome::{Outcome, Timeouts};
use crate::output::{Log, Output};
use crate::process::Watch;
use crate::reports::{Entry, Reports};
use crate::scope::{Spot, StepScope};
use crate::sink::Sink;
use crate::workspace::Workspace;
use fleetfoot_driver::Cell;
use fleetfoot_expr::{ExprError, Status as JobStatus, Template};
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::state::{Conclusion, Status};
use fleetfoot_model::sync::{Annotation, Assignment, StepReport};
use indexmap::IndexMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long readers may take to come to their end once every process is gone.
const CLOSE_LEAKS: Duration = Duration::from_secs(1);

/// What an attempt is made of.
pub(crate) struct Parts<'a> {
    pub(crate) config: &'a EngineConfig,
    pub(crate) assignment: &'a Assignment,
    /// The secrets that this job may see.
    pub(crate) secrets: &'a IndexMap<String, String>,
    pub(crate) cell: &'a dyn Cell,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) log: Arc<Log>,
    pub(crate) workspace: &'a Workspace,
    pub(crate) environment: Environment,
    pub(crate) actions: Actions,
    pub(crate) containers: JobContainers,
    pub(crate) cancel: CancellationToken,
    pub(crate) kill: CancellationToken,
}

/// What the steps of an attempt share.
pub(crate) struct Attempt<'a> {
    pub(crate) config: &'a EngineConfig,
    pub(crate) assignment: &'a Assignment,
    pub(crate) secrets: &'a IndexMap<String, String>,
    pub(crate) cell: &'a dyn Cell,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) log: Arc<Log>,
    pub(crate) workspace: &'a Workspace,
    pub(crate) environment: Environment,
    pub(crate) actions: Actions,
    pub(crate) containers: JobContainers,
    /// The job sees the file system of an image, not that of the host.
    pub(crate) in_image: bool,
    pub(crate) matchers: Arc<JobMatchers>,
    pub(crate) cancel: CancellationToken,
    pub(crate) kill: CancellationToken,
    leaks: Mutex<Vec<Output>>,
    reports: Mutex<Reports>,
    standing: Mutex<Standing>,
    job_deadline: Instant,
}

/// How the job stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    pub(crate) cancelled: bool,
    pub(crate) timed_out: bool,
    pub(crate) failed: bool,
    grace_deadline: Option<Instant>,
}

/// What may end a step besides the end of the job.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leash {
    /// `None` once the cancellation is being carried out: the step runs because of it.
    pub(crate) cancel: Option<CancellationToken>,
    pub(crate) deadline: Option<Instant>,
    /// The timeout that gave the deadline, for messages.
    pub(crate) seconds: Option<f64>,
}

impl Leash {
    /// The same, but at most this long from now.
    pub(crate) fn within(&self, seconds: Option<f64>) -> Self {
        let own = seconds
            .and_then(|s| Duration::try_from_secs_f64(s).ok())
            .and_then(|d| Instant::now().checked_add(d));
        match (own, self.deadline) {
            (Some(own), outer) if outer.is_none_or(|outer| own < outer) => {
                Self { cancel: self.cancel.clone(), deadline: Some(own), seconds }
            }
            _ => self.clone(),
        }
    }

    /// Notices a cancellation between two steps: what runs from now on runs because of it.
    pub(crate) fn look_around(&mut self) {
        if self.cancel.as_ref().is_some_and(CancellationToken::is_cancelled) {
            self.cancel = None;
        }
    }
}

/// A step, or a part of one, that is about to be carried out.
pub(crate) struct StepRun<'s> {
    /// Its number in the log.
    pub(crate) index: u16,
    /// Which step of which action, `3/0/2`: its place in the specification, then in each action.
    pub(crate) path: &'s str,
    pub(crate) spot: Spot,
    pub(crate) frame: &'s Frame,
    /// All its variables.
    pub(crate) env: &'s IndexMap<String, String>,
    pub(crate) leash: Leash,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(parts: Parts<'a>) -> Self {
        // A timeout of zero (a specification that names none) means the default.
        let timeout = match parts.assignment.spec.timeout_seconds {
            0 => fleetfoot_model::spec::DEFAULT_JOB_TIMEOUT_SECONDS,
            seconds => seconds.min(366 * 24 * 3600),
        };
        let Parts {
            config,
            assignment,
            secrets,
            cell,
            sink,
            log,
            workspace,
            environment,
            actions,
            containers,
            cancel,
            kill,
        } = parts;
        Self {
            config,
            assignment,
            secrets,
            cell,
            sink,
            log,
            workspace,
            environment,
            actions,
            containers,
            in_image: false,
            matchers: Arc::default(),
            cancel,
            kill,
            leaks: Mutex::default(),
            reports: Mutex::default(),
            standing: Mutex::default(),
            job_deadline: Instant::now() + Duration::from_secs(timeout),
        }
    }

    /// The same attempt in the cell where its steps run: everything before happened beside it.
    pub(crate) fn settled<'b>(
        self,
        cell: &'b dyn Cell,
        environment: Environment,
        in_image: bool,
    ) -> Attempt<'b>
    where
        'a: 'b,
    {
        Attempt { cell, environment, in_image, ..self }
    }

    /// Whether the job sees other files than the runner does.
    pub(crate) fn is_fenced(&self) -> bool {
        self.cell.record().boundary != Boundary::Process
    }

    /// Notices a cancellation or timeout between steps.
    pub(crate) fn look_around(&self) -> Standing {
        let mut standing = lock(&self.standing);
        let cancelled = self.cancel.is_cancelled() && !standing.cancelled;
        let timed_out = Instant::now() >= self.job_deadline && !standing.timed_out;
        standing.cancelled |= cancelled;
        standing.timed_out |= timed_out;
        if cancelled || timed_out {
            let grace = Duration::from_secs(self.assignment.spec.cancel_timeout_seconds.min(24 * 3600));
            standing.grace_deadline.get_or_insert_with(|| Instant::now() + grace);
        }
        *standing
    }

    /// How the job stands, as far as it was noticed.
    pub(crate) fn standing(&self) -> Standing {
        *lock(&self.standing)
    }

    /// A step failed, and nobody forgave it.
    pub(crate) fn mark_failed(&self) {
        lock(&self.standing).failed = true;
    }

    /// How the job stands, in the words of expressions.
    pub(crate) fn status(&self) -> JobStatus {
        let standing = self.standing();
        if standing.cancelled || standing.timed_out {
            JobStatus::Cancelled
        } else if standing.failed {
            JobStatus::Failure
        } else {
            JobStatus::Success
        }
    }

    /// What may end a step of the job that starts now.
    pub(crate) fn leash(&self) -> Leash {
        Leash { cancel: (!self.standing().cancelled).then(|| self.cancel.clone()), ..Leash::default() }
    }

    /// What expressions see now, with this `env` context.
    pub(crate) fn scope<'b>(
        &'b self,
        frame: &'b Frame,
        env: &'b IndexMap<String, String>,
        spot: &'b Spot,
    ) -> StepScope<'b> {
        let job = self.status();
        let status = (frame.status.unwrap_or(job), job);
        StepScope::new(&frame.contexts, env, spot, status, self.workspace, self.cell)
    }

    /// What expressions of a step see.
    pub(crate) fn scope_of<'b>(&'b self, run: &'b StepRun<'_>) -> StepScope<'b> {
        self.scope(run.frame, run.env, &run.spot)
    }

    /// Evaluates a template to text.
    pub(crate) fn text(&self, template: &str, scope: &StepScope<'_>) -> Result<String, ExprError> {
        if !template.contains("${{") {
            return Ok(template.to_owned());
        }
        Template::parse(template)?.evaluate_string(scope)
    }

    /// What may end a command that starts now.
    pub(crate) fn watch(&self, leash: &Leash) -> Watch {
        let grace_deadline = self.standing().grace_deadline;
        Watch {
            cancel: leash.cancel.clone(),
            kill: self.kill.clone(),
            step_deadline: leash.deadline,
            job_deadline: grace_deadline.is_none().then_some(self.job_deadline),
            grace_deadline,
            idle: self.assignment.spec.idle_timeout_seconds.filter(|s| *s > 0).map(Duration::from_secs),
            ladder: self.config.kill,
        }
    }

    /// Ends when the job has taken as long as it may.
    pub(crate) async fn job_timeout(&self) {
        tokio::time::sleep_until(self.job_deadline).await;
    }

    /// The timeouts in force, for messages.
    pub(crate) fn timeouts(&self, leash: &Leash) -> Timeouts {
        #[expect(clippy::cast_precision_loss, reason = "for messages")]
        let seconds = |s: u64| s as f64;
        Timeouts {
            step_seconds: leash.seconds.unwrap_or_default(),
            job_seconds: seconds(self.assignment.spec.timeout_seconds),
            idle_seconds: seconds(self.assignment.spec.idle_timeout_seconds.unwrap_or_default()),
        }
    }

    /// The list of steps.
    pub(crate) fn reports(&self) -> MutexGuard<'_, Reports> {
        lock(&self.reports)
    }

    /// Changes the report of a step and tells the outside.
    pub(crate) fn report(&self, entry: Entry, change: impl FnOnce(&mut StepReport)) {
        let mut reports = self.reports();
        reports.change(entry, change);
        self.sink.steps(reports.list());
    }

    /// Tells the outside how all steps stand.
    pub(crate) fn publish(&self) {
        self.sink.steps(self.reports().list());
    }

    /// A step begins; answers its number.
    pub(crate) fn begin(&self, entry: Entry, name: Option<&str>) -> u16 {
        self.report(entry, |r| {
            r.status = Status::Running;
            r.started_at = Some(clock::now());
            if let Some(name) = name {
                name.clone_into(&mut r.name);
            }
        });
        self.reports().index(entry)
    }

    /// A step has ended.
    pub(crate) fn complete(&self, entry: Entry, conclusion: Conclusion, outcome: &Outcome) {
        self.report(entry, |r| {
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
    }

    /// An annotation of the runner itself.
    pub(crate) fn annotation(&self, level: &str, step: u16, message: &str) -> Annotation {
        Annotation {
            level: level.to_owned(),
            message: self.log.masker.mask(message),
            title: None,
            file: None,
            line: None,
            end_line: None,
            column: None,
            end_column: None,
            step,
        }
    }

    /// Output that somebody still holds open.
    pub(crate) fn leak(&self, output: Output) {
        lock(&self.leaks).push(output);
    }

    /// Lets readers whose step has long ended come to their end.
    pub(crate) async fn close_leaks(&self) {
        let leaks = std::mem::take(&mut *lock(&self.leaks));
        for mut output in leaks {
            if !output.drain(CLOSE_LEAKS, &self.kill).await {
                output.abort();
            }
        }
    }
}
