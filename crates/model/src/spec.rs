//! What a runner executes: a job as a list of steps, with everything that is
//! the same for every run of it. What differs from run to run (contexts,
//! secrets, the job token) travels beside it in the
//! [`Assignment`](crate::sync::Assignment), so that equal specifications are
//! stored once.
//!
//! A *template* is a string that may contain `${{ }}`; an *expression* is the
//! text of a condition with or without `${{ }}`. Both are evaluated by the
//! engine with the contexts of the assignment.

use crate::boundary::Boundary;
use crate::labels::Label;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Named values for expressions, by context name (`github`, `matrix`, ...).
pub type Contexts = IndexMap<String, Value>;

/// Default of `timeout-minutes` of a job, in seconds (360 minutes).
pub const DEFAULT_JOB_TIMEOUT_SECONDS: u64 = 360 * 60;
/// Default of `cancel-timeout-minutes`, in seconds (5 minutes).
pub const DEFAULT_CANCEL_TIMEOUT_SECONDS: u64 = 5 * 60;

/// The unit that a runner executes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct JobSpec {
    /// Id of the job in its document (`build`).
    pub key: String,
    /// Name for people (`build (linux, 1)`).
    pub name: String,
    /// Steps in order.
    pub steps: Vec<StepSpec>,
    /// Environment, in layers from weakest to strongest (workflow, job); values are templates.
    pub env: Vec<IndexMap<String, String>>,
    /// `defaults.run`, already merged (job over workflow).
    pub defaults: RunDefaults,
    /// Outputs of the job: templates, evaluated after the last step.
    pub outputs: IndexMap<String, String>,
    /// Contexts that belong to this job alone: `matrix`, `strategy`.
    #[schema(value_type = Object)]
    pub contexts: Contexts,
    /// Whole-job timeout in seconds.
    pub timeout_seconds: u64,
    /// How long steps may still run after a cancellation, in seconds.
    pub cancel_timeout_seconds: u64,
    /// A step that prints nothing for this many seconds is ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_seconds: Option<u64>,
    /// A failure of this job does not fail the run.
    pub continue_on_error: bool,
    /// What the job may use at most.
    pub limits: Limits,
    /// Which secrets of the run the job sees.
    #[serde(skip_serializing_if = "SecretAccess::is_all")]
    pub secrets: SecretAccess,
    /// `permissions` by scope (`contents` -> `read`), as in force for this job; absent means the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<IndexMap<String, String>>,
    /// `environment`: the environment that the job deploys to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentUse>,
    /// `container`: the image in which the steps run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerSpec>,
    /// `services`: containers beside the job, by name.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub services: IndexMap<String, ContainerSpec>,
    /// The weakest boundary that the document accepts: a runner fails the job rather than run it in a
    /// weaker one. (A job with `container` is placed as if it demanded that; here it does not, because
    /// its image may turn out to be empty, and then it runs without.)
    #[serde(skip_serializing_if = "Boundary::is_weakest")]
    pub min_boundary: Boundary,
}

/// Which secrets of the run a job sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretAccess {
    /// All of them.
    #[default]
    All,
    /// Only what each calling workflow passed on, from the outermost call to the innermost. The values
    /// of a layer are templates over the secrets that the layer before it gives.
    Mapped(Vec<SecretLayer>),
}

impl SecretAccess {
    /// Whether nothing is held back.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }
}

/// `secrets` of one call of a reusable workflow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct SecretLayer {
    /// Contexts other than `secrets` that the values may use, as they were at the call.
    #[schema(value_type = Object)]
    pub contexts: Contexts,
    /// Templates by name of the secret that the called workflow sees.
    pub values: IndexMap<String, String>,
}

/// `environment` of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct EnvironmentUse {
    /// Its name, evaluated.
    pub name: String,
    /// Address of what was deployed (template, evaluated after the last step).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// `container` or one of `services`. All strings are templates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ContainerSpec {
    /// Image; if it is empty after evaluation the container is left out.
    pub image: String,
    /// Environment of the container.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub env: IndexMap<String, String>,
    /// Ports as in `HOST:CONTAINER/PROTOCOL`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Volumes as in `SOURCE:DESTINATION:MODE`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// Further options, as on the command line of the engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<String>,
    /// User at the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password at the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Replaces the entry point of the image (services).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<String>,
    /// Replaces the command of the image (services).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// Resource limits: what a job asks for, or the most that a runner allows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Limits {
    /// CPUs, fractions allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// Bytes a second read from each disk. A rate, not a demand: it keeps no job from a runner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_bytes_per_second: Option<u64>,
    /// Bytes a second written to each disk; a rate as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_bytes_per_second: Option<u64>,
}

impl Limits {
    /// Whether none is given.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// `defaults.run`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RunDefaults {
    /// Shell (template).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// Working directory, relative to the workspace (template).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepSpec {
    /// Its id: as written, or generated (`__run`, `__run_2`, `__actions_checkout`).
    pub id: String,
    /// Name (template); absent means a generated one (`Run make test`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `if` (expression); absent means `success()`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Environment of this step; values are templates.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub env: IndexMap<String, String>,
    /// `continue-on-error` (template that gives a boolean).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continue_on_error: Option<String>,
    /// `timeout-minutes` (template that gives a number).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_minutes: Option<String>,
    /// What it does.
    pub action: StepAction,
    /// The job goes on while this step runs (`background: true`, or a member of `parallel`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub background: bool,
    /// Line in the document where the step begins, from 1; 0 if unknown.
    #[serde(default)]
    pub line: usize,
}

impl StepSpec {
    /// Its name before anything is evaluated: as written, or generated.
    #[must_use]
    pub fn raw_name(&self) -> String {
        match (&self.name, &self.action) {
            (Some(name), _) => name.clone(),
            (None, StepAction::Run { script, .. }) => Self::run_name(script),
            (None, StepAction::Uses { uses, .. }) => format!("Run {uses}"),
            (None, StepAction::Wait { steps }) if steps.is_empty() => "Wait for all".to_owned(),
            (None, StepAction::Wait { .. }) => "Wait".to_owned(),
            (None, StepAction::Cancel { .. }) => "Cancel".to_owned(),
        }
    }

    /// The generated name of a script: `Run` and its first line.
    #[must_use]
    pub fn run_name(script: &str) -> String {
        format!("Run {}", script.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or_default())
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepAction {
    /// A script for a shell.
    Run {
        /// The script (template).
        script: String,
        /// The shell (template), `bash`, `sh`, `python`, `pwsh` or a line with `{0}`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shell: Option<String>,
        /// Working directory, relative to the workspace (template).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        working_directory: Option<String>,
    },
    /// An action. `actions/checkout` is built in.
    Uses {
        /// The reference as written.
        uses: String,
        /// Its inputs (templates).
        #[serde(default)]
        with: IndexMap<String, String>,
    },
    /// Waits for background steps and applies what they changed (`wait`; `wait-all` names none). A
    /// `parallel` list is its steps in the background and then this.
    Wait {
        /// Ids of the steps; empty means all that still run.
        #[serde(default)]
        steps: Vec<String>,
    },
    /// Ends a background step (`cancel`).
    Cancel {
        /// Id of the step.
        step: String,
    },
}

/// Where and when a job may run: what the scheduler looks at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Placement {
    /// Labels that a runner must offer.
    pub labels: Vec<Label>,
    /// Queue; absent means `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Higher goes first; 0 by default, -1000 to 1000.
    pub priority: i32,
    /// The weakest boundary that the job accepts.
    pub min_boundary: Boundary,
    /// It has a container or services, so that its runner needs a container engine.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub containers: bool,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Give up if nobody took it within this many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_timeout_seconds: Option<u64>,
    /// Concurrency group of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// What it asks for: a runner that allows less does not get it.
    #[serde(skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
    /// What the rules of the job's environment look at. Filled in by the control plane from the
    /// specification; what a dialect says here is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Deployment>,
}

/// The use of an environment by a job of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Deployment {
    /// Name of the environment.
    pub environment: String,
    /// Full ref of the run, where known.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
}

/// Name of the queue of jobs that name none.
pub const DEFAULT_QUEUE: &str = "default";

/// When a job is tried again. By default never.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RetryPolicy {
    /// Tries in all; 1 means no retry.
    pub max_attempts: u32,
    /// Retry when the runner vanished.
    pub on_lost_runner: bool,
    /// Retry when a step ended with one of these codes; empty means never for this cause.
    pub on_exit_codes: Vec<i32>,
    /// Delay before the second try, in seconds; doubles with each further try.
    pub backoff_seconds: f64,
    /// The delay never exceeds this, in seconds.
    pub backoff_cap_seconds: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 1,
            on_lost_runner: false,
            on_exit_codes: Vec::new(),
            backoff_seconds: 1.0,
            backoff_cap_seconds: 300.0,
        }
    }
}

/// A concurrency group: at most one member runs, at most one (or a queue) is pending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Concurrency {
    /// Name of the group; case does not matter; scoped to the project.
    pub group: String,
    /// A newcomer cancels the running member.
    #[serde(default)]
    pub cancel_in_progress: bool,
    /// What happens to pending members when a newcomer arrives.
    #[serde(default)]
    pub queue: ConcurrencyQueue,
}

/// `queue:` of a concurrency group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConcurrencyQueue {
    /// One pending member; a newcomer cancels it.
    #[default]
    Single,
    /// Pending members line up, first in first out, up to [`ConcurrencyQueue::MAX_PENDING`].
    Max,
}

impl ConcurrencyQueue {
    /// Longest line of pending members with `queue: max`.
    pub const MAX_PENDING: usize = 100;
}

/// The repository that a run is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Repository {
    /// Anything that `git fetch` takes, without credentials.
    pub url: String,
    /// `OWNER/NAME`, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Full ref, `refs/heads/main`.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    /// Commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha: Option<String>,
}
