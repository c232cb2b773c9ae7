//! From the YAML tree to a typed document: every key of GitHub's syntax and
//! of our extensions is recognised here, everything else is an error. All
//! findings are collected. Nothing is evaluated: that is the business of `plan`.

mod allowed;
mod background;
mod calls;
mod containers;
mod cron;
mod events;
mod extensions;
mod graph;
mod job;
mod lint;
mod permissions;
mod places;
mod read;
mod reading;
mod step;
mod triggers;
mod value;
mod workflow;

pub(crate) use calls::{Call, PassedSecrets, Reference};
pub(crate) use permissions::{Permissions, excess, reduced};
pub(crate) use places::locate;
pub use reading::{Field, Part, Place, Reader, read_document};
pub(crate) use triggers::Input;
pub use triggers::{CallInterface, InputDeclaration, InputKind, Schedule, Trigger};
pub(crate) use value::{Dynamic, Shape, Text};
pub(crate) use workflow::{read_job_document, read_workflow};

use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::spec::{Limits, RetryPolicy, RunDefaults, StepSpec};
use indexmap::IndexMap;

/// A document as written, free of errors.
#[derive(Debug, Default)]
pub(crate) struct Workflow {
    pub(crate) name: Option<String>,
    pub(crate) run_name: Option<Text>,
    pub(crate) triggers: Vec<Trigger>,
    pub(crate) dispatch_inputs: Vec<Input>,
    /// Whether other workflows can call it.
    pub(crate) callable: bool,
    pub(crate) call_inputs: Vec<Input>,
    /// Declared secrets, and whether they are required.
    pub(crate) call_secrets: IndexMap<String, bool>,
    pub(crate) call_outputs: IndexMap<String, Text>,
    pub(crate) env: Env,
    pub(crate) defaults: RunDefaults,
    pub(crate) concurrency: Option<Dynamic>,
    pub(crate) permissions: Option<Permissions>,
    pub(crate) jobs: Vec<Job>,
}

/// One job as written.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) key: String,
    /// Where its key stands.
    pub(crate) at: usize,
    pub(crate) name: Option<Text>,
    pub(crate) needs: Vec<Need>,
    /// Text of `if`; absent means `success()`.
    pub(crate) condition: Option<Text>,
    pub(crate) runs_on: Option<Dynamic>,
    pub(crate) strategy: Option<Dynamic>,
    pub(crate) timeout_minutes: Option<Dynamic>,
    pub(crate) cancel_timeout_minutes: Option<Dynamic>,
    pub(crate) continue_on_error: Option<Dynamic>,
    pub(crate) concurrency: Option<Dynamic>,
    pub(crate) env: Env,
    pub(crate) defaults: RunDefaults,
    pub(crate) outputs: IndexMap<String, String>,
    pub(crate) steps: Vec<StepSpec>,
    /// A reusable workflow instead of steps.
    pub(crate) call: Option<Call>,
    pub(crate) extensions: Extensions,
    /// Replaces that of the workflow.
    pub(crate) permissions: Option<Permissions>,
    pub(crate) environment: Option<Environment>,
    pub(crate) container: Option<Container>,
    pub(crate) services: Option<Containers>,
}

/// `environment` of a job.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) name: Text,
    /// A template, evaluated when the job has run.
    pub(crate) url: Option<String>,
}

/// `container`, or one of `services`.
#[derive(Debug)]
pub(crate) struct Container {
    /// What is known before the job runs: an image, or a mapping.
    pub(crate) known: Dynamic,
    pub(crate) env: Env,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

/// `services`.
#[derive(Debug)]
pub(crate) enum Containers {
    Map(IndexMap<String, Container>),
    Expression(Dynamic),
}

/// A job that another one needs, by its key as defined.
#[derive(Debug)]
pub(crate) struct Need {
    pub(crate) key: String,
    pub(crate) at: usize,
}

/// `env`: names and templates, or one expression for all of it.
#[derive(Debug)]
pub(crate) enum Env {
    Map(IndexMap<String, String>),
    Expression(Text),
}

impl Default for Env {
    fn default() -> Self {
        Self::Map(IndexMap::new())
    }
}

/// Keys that GitHub does not have.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    pub(crate) queue: Option<String>,
    pub(crate) priority: i32,
    pub(crate) queue_timeout_seconds: Option<u64>,
    pub(crate) idle_timeout_seconds: Option<u64>,
    pub(crate) min_boundary: Boundary,
    pub(crate) retry: RetryPolicy,
    pub(crate) limits: Limits,
}
