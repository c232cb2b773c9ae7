//! From the YAML tree to a typed document: every key of GitHub's syntax and
//! of our extensions is recognised here, everything else is an error. All
//! findings are collected. Nothing is evaluated: that is the business of `plan`.

mod allowed;
mod cron;
mod events;
mod extensions;
mod graph;
mod job;
mod lint;
mod places;
mod read;
mod step;
mod triggers;
mod value;
mod workflow;

pub(crate) use places::locate;
pub(crate) use triggers::{Input, InputKind};
pub use triggers::{Schedule, Trigger};
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
    pub(crate) call_inputs: Vec<Input>,
    pub(crate) env: Env,
    pub(crate) defaults: RunDefaults,
    pub(crate) concurrency: Option<Dynamic>,
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
    /// Name of its environment.
    pub(crate) environment: Option<Text>,
    pub(crate) env: Env,
    pub(crate) defaults: RunDefaults,
    pub(crate) outputs: IndexMap<String, String>,
    pub(crate) steps: Vec<StepSpec>,
    /// A reusable workflow instead of steps.
    pub(crate) uses: Option<Text>,
    pub(crate) extensions: Extensions,
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
