//! The contract between the control plane and the dialects.
//!
//! A dialect turns a document into a [`Plan`]: a graph of nodes. The control
//! plane knows only plans. It creates the jobs of every node at submit, and
//! asks the document to [`resolve`](Document::resolve) a node when everything
//! that the node needs has ended. All of this is pure: the same arguments give
//! the same answer, so that a document can be parsed again after a restart.

use crate::diagnostic::{Diagnostic, Diagnostics, Source};
use crate::event::{EventFacts, Matching, ScheduleSpec};
use crate::ids::RunId;
use crate::observe::WorkflowInput;
use crate::spec::{Concurrency, Contexts, JobSpec, Placement, Repository};
use crate::state::Conclusion;
use crate::time::Timestamp;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;

/// A kind of document (`workflow`, `job`).
pub trait Dialect: Send + Sync {
    /// The word used in the API (`kind`).
    fn kind(&self) -> &'static str;

    /// Parses and checks a document, in bounded time and memory whatever the input.
    ///
    /// # Errors
    /// All findings; at least one is an error.
    fn parse(&self, source: &Source) -> Result<Arc<dyn Document>, Diagnostics>;

    /// Like [`parse`](Self::parse), with the documents that this one may call, by reference as written.
    /// What it calls but `files` lacks is told by [`Document::missing`].
    ///
    /// # Errors
    /// All findings, also those in called documents; at least one is an error.
    fn parse_with(
        &self,
        source: &Source,
        files: &IndexMap<String, String>,
    ) -> Result<Arc<dyn Document>, Diagnostics> {
        let _ = files;
        self.parse(source)
    }
}

/// A parsed document that is free of errors.
pub trait Document: Send + Sync + std::fmt::Debug {
    /// Its own name (`name:`), if it has one.
    fn name(&self) -> Option<&str> {
        None
    }

    /// References of documents that it calls, directly or through others, and that were not given to
    /// [`Dialect::parse_with`]. While there are any, the document cannot be planned.
    fn missing(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether an event of a repository starts a run of this document.
    fn matches(&self, event: &EventFacts) -> Matching {
        Matching::No(format!("it does not start by itself, not for '{}' either", event.name))
    }

    /// The times at which it wants to run.
    fn schedules(&self) -> Vec<ScheduleSpec> {
        Vec::new()
    }

    /// What it takes when somebody starts it by hand, in its order; `None` if nobody can.
    fn dispatch_inputs(&self) -> Option<Vec<WorkflowInput>> {
        None
    }

    /// Findings that do not make the document unusable.
    fn warnings(&self) -> &[Diagnostic];

    /// Checks event and inputs and builds the contexts of the whole run
    /// (`github`, `inputs`, `vars`). Secrets are not among them.
    ///
    /// # Errors
    /// Findings about inputs (missing, unknown, of a wrong type).
    fn contexts(&self, run: &RunInfo) -> Result<Contexts, Diagnostics>;

    /// The graph of jobs, as far as it can be known at submit; of `params`
    /// only the filters count.
    ///
    /// # Errors
    /// Findings about expressions that fail with these contexts, and about
    /// filters that name a job that does not exist.
    fn plan(&self, contexts: &Contexts, params: &RunParams) -> Result<Plan, Diagnostics>;

    /// Decides about one node once everything it needs has ended.
    ///
    /// # Errors
    /// A finding about an expression that fails; the node's jobs then end as failures with this message.
    fn resolve(&self, node: &str, args: &ResolveArgs<'_>) -> Result<Resolution, Diagnostic>;
}

/// What is known about a run when it is created.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunInfo {
    /// The run.
    pub id: RunId,
    /// Counts the runs of one workflow in one project, from 1.
    pub number: u64,
    /// Counts the re-runs, from 1.
    pub attempt: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// Project (scope of fairness, names and concurrency groups).
    pub project: String,
    /// Path of the document within its repository, if known.
    pub workflow_path: Option<String>,
    /// Public address of the server.
    pub server_url: String,
    /// What the submitter gave.
    pub params: RunParams,
}

/// What a submitter gives beside the document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RunParams {
    /// Event name (`push`); empty means `workflow_dispatch`.
    pub event_name: String,
    /// Event payload, `github.event`.
    pub event: Value,
    /// Inputs by name; strings, numbers or booleans.
    pub inputs: IndexMap<String, Value>,
    /// Variables, the `vars` context.
    pub vars: IndexMap<String, String>,
    /// Environment added below the document's own.
    pub env: IndexMap<String, String>,
    /// Who caused it.
    pub actor: Option<String>,
    /// The repository it is about.
    pub repository: Option<Repository>,
    /// Only these jobs and what they need; empty means all.
    pub jobs: Vec<String>,
    /// Only legs of the matrix where every named key has one of these values.
    pub matrix: IndexMap<String, Vec<String>>,
    /// Queue for jobs that name none.
    pub queue: Option<String>,
    /// Added to the priority of every job.
    pub priority: i32,
    /// Documents that the main one calls, by the reference as written
    /// (`./.github/workflows/build.yml`, `OWNER/REPO/PATH@REF`).
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub files: IndexMap<String, String>,
    /// Caused by somebody who may not write to the repository (a fork): its jobs get no secrets, a
    /// token that only reads, and caches that they cannot write for others.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub untrusted: bool,
    /// Nothing of the run starts before somebody approves it; says why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub awaits_approval: Option<String>,
}

/// The graph of jobs of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Name of the document (`name:`, or its path).
    pub name: String,
    /// Title of this run (`run-name:`, evaluated).
    pub title: String,
    /// Nodes in document order.
    pub nodes: Vec<PlanNode>,
    /// Concurrency group of the whole run.
    pub concurrency: Option<Concurrency>,
}

/// One node of the graph: a job of the document before its matrix is expanded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanNode {
    /// Job id in the document.
    pub key: String,
    /// Keys of the nodes that must end first.
    pub needs: Vec<String>,
    /// Names of its jobs as far as known now: at least one. A matrix that
    /// depends on `needs` has one placeholder, which becomes the first leg.
    pub names: Vec<String>,
}

/// Arguments of [`Document::resolve`].
#[derive(Debug)]
pub struct ResolveArgs<'a> {
    /// Contexts of the run, as [`Document::contexts`] gave them.
    pub contexts: &'a Contexts,
    /// What the submitter gave (job and matrix filters, extra environment).
    pub params: &'a RunParams,
    /// Direct needs by key, in the order of the document.
    pub needs: &'a IndexMap<String, NeedResult>,
    /// All nodes that it needs, directly or not, that have ended, by key and in the order of the
    /// document: `success()` and `failure()` look at them, and calls take outputs from them.
    pub ancestors: &'a IndexMap<String, NeedResult>,
    /// Whether somebody cancelled the run: `cancelled()`.
    pub cancelled: bool,
}

/// How a needed node ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedResult {
    /// The node's conclusion over all its legs.
    pub result: Conclusion,
    /// Outputs; of several legs, the last to write a non-empty value wins.
    pub outputs: IndexMap<String, String>,
}

/// What becomes of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// Its condition is false.
    Skip,
    /// These jobs are to run; at least one.
    Run {
        /// One per leg of the matrix, in order.
        jobs: Vec<PlannedJob>,
        /// A failing leg cancels the others.
        fail_fast: bool,
        /// At most this many legs at once.
        max_parallel: Option<u32>,
    },
}

/// A job ready for the queue.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedJob {
    /// What the runner executes.
    pub spec: Arc<JobSpec>,
    /// What the scheduler looks at.
    pub placement: Placement,
}
