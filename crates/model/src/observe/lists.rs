//! Lists of runs: what can be asked for, what is offered to ask for, and how
//! a page learns of changes.

use crate::api::{RunFilter, RunView, RunnerView};
use crate::ids::{JobId, RunId, RunnerId};
use crate::state::RunnerState;
use crate::sync::Annotation;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Which runs a list is to have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunSearch {
    /// What can be told by the run alone.
    pub filter: RunFilter,
    /// A label that one of its jobs requires.
    pub label: Option<String>,
    /// Id or name of a runner that has or had one of its jobs.
    pub runner: Option<String>,
    /// Part of its name, title, branch, commit or number (`#12`), in any case.
    pub text: Option<String>,
}

/// Jobs of a run by where they stand or how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct JobCounts {
    /// All of them.
    pub total: u64,
    /// Waiting for other jobs, an approval or their turn.
    pub waiting: u64,
    /// Ready for a runner.
    pub queued: u64,
    /// With a runner.
    pub running: u64,
    /// Ended well.
    pub success: u64,
    /// Failed.
    pub failure: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Skipped.
    pub skipped: u64,
    /// Ran out of time.
    pub timed_out: u64,
}

/// Values that a list of runs can be filtered by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunFacets {
    /// Dialects.
    pub kinds: Vec<String>,
    /// Projects.
    pub projects: Vec<String>,
    /// Names of workflows.
    pub workflows: Vec<String>,
    /// Branches.
    pub branches: Vec<String>,
    /// Who caused runs.
    pub actors: Vec<String>,
    /// Events.
    pub events: Vec<String>,
    /// Labels that jobs require.
    pub labels: Vec<String>,
    /// Names of runners.
    pub runners: Vec<String>,
    /// One of the lists has more values than are given here.
    pub truncated: bool,
}

/// A change of a list: the data of an event of the same name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum ListChange {
    /// A run is new or different.
    Run {
        /// Its row.
        run: Box<RunView>,
    },
    /// A run is gone.
    RunDeleted {
        /// The run.
        id: RunId,
    },
    /// A runner is new or different.
    Runner {
        /// The runner.
        runner: Box<RunnerView>,
    },
    /// A runner is gone.
    RunnerDeleted {
        /// The runner.
        id: RunnerId,
    },
    /// What waits for approval changed.
    Approvals {
        /// Approvals that are pending now.
        waiting: u64,
    },
    /// Changes were left out: read the lists again. Every stream begins with one, unless it goes on
    /// without a gap where `Last-Event-ID` says.
    Reset,
}

/// Annotations and summaries of all jobs of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunReport {
    /// Notices, warnings and errors, by job.
    pub annotations: Vec<JobAnnotation>,
    /// Summaries, by job and step.
    pub summaries: Vec<JobSummary>,
    /// There are more than are given here.
    pub truncated: bool,
}

/// An annotation and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobAnnotation {
    /// The job.
    pub job: JobId,
    /// Its name.
    pub job_name: String,
    /// What it says.
    pub annotation: Annotation,
}

/// A summary and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobSummary {
    /// The job.
    pub job: JobId,
    /// Its name.
    pub job_name: String,
    /// Index of the step.
    pub step: u16,
    /// Markdown.
    pub text: String,
}

/// Workflows of a repository at a commit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkflowList {
    /// The full ref.
    #[serde(rename = "ref")]
    pub git_ref: String,
    /// The commit.
    pub sha: String,
    /// The workflows by path.
    pub workflows: Vec<WorkflowView>,
}

/// A workflow of a repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkflowView {
    /// Its name, or its path if it has none.
    pub name: String,
    /// Path within the repository.
    pub path: String,
    /// It can be started by hand (`workflow_dispatch`).
    pub dispatch: bool,
    /// Inputs for that, in the order of the document.
    pub inputs: Vec<WorkflowInput>,
    /// Why it cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An input of a workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkflowInput {
    /// Its name.
    pub name: String,
    /// What it is for; empty if the document does not say.
    pub description: String,
    /// `string`, `boolean`, `number`, `choice` or `environment`.
    #[serde(rename = "type")]
    pub kind: String,
    /// It must be given.
    pub required: bool,
    /// Its value when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// What a choice can be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// A runner that would nearly do for a job, or would but for the moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Candidate {
    /// The runner.
    pub runner: RunnerId,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: RunnerState,
    /// What keeps it from the job, what cannot change by itself first; empty if nothing does.
    pub lacks: Vec<Lack>,
}

/// One thing that keeps a runner from a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lack {
    /// What kind of thing.
    pub kind: LackKind,
    /// In words, one for each label, limit or the like.
    pub words: Vec<String>,
}

/// Kinds of [`Lack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LackKind {
    /// It does not serve the queue.
    Queue,
    /// It does not offer these labels.
    Labels,
    /// Its boundary is too weak.
    Boundary,
    /// It does not allow as much as the job asks for.
    Limits,
    /// Its version is too far from the server's.
    Version,
    /// It reports an error.
    Error,
    /// It takes nothing new.
    Draining,
    /// It is not connected.
    Offline,
    /// All its slots are taken.
    Busy,
}
