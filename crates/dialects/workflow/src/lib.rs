//! GitHub's workflow syntax and the plain job: parse, check, plan, resolve.
//!
//! The crate turns documents into what the control plane understands: a graph
//! of nodes, and for every node the jobs that are to run. It is pure: it never
//! reads a clock, a disk or a network, and it executes nothing. No input makes
//! it panic, and limits on size, depth and aliases bound its time and memory.
//!
//! ```
//! use fleetfoot_model::diagnostic::Source;
//! use fleetfoot_model::plan::{Dialect, RunInfo};
//! use fleetfoot_workflow::WorkflowDialect;
//!
//! let text = "on: push\njobs:\n  build:\n    runs-on: linux\n    steps: [{run: make}]\n";
//! let document = WorkflowDialect.parse(&Source::new("ci.yml", text.as_bytes().to_vec()))?;
//! let run = RunInfo::default();
//! let plan = document.plan(&document.contexts(&run)?, &run.params)?;
//! assert_eq!(plan.nodes[0].names, ["build"]);
//! # Ok::<(), fleetfoot_model::diagnostic::Diagnostics>(())
//! ```
//!
//! Beyond GitHub's keys a job may have `queue`, `priority`,
//! `queue-timeout-minutes`, `idle-timeout-minutes`, `min-boundary`, `retry`
//! (`max-attempts`, `on: [lost-runner]`, `exit-codes`, `backoff-seconds`,
//! `backoff-cap-seconds`) and `limits` (`cpus`, `memory`, `pids`). A group of
//! runners (`runs-on: {group: NAME}`) is the label `group:NAME`.

mod library;
mod matching;
mod plan;
mod source;
mod syntax;
mod yaml;

/// The reader of workflows for other documents in the same language: manifests of actions.
pub mod reading {
    pub use crate::syntax::{Field, Part, Place, Reader, read_document};
}

pub use library::{MAX_CALL_LEVELS, MAX_CALLED_WORKFLOWS};
pub use plan::{JobDialect, WorkflowDialect, WorkflowDocument};
pub use source::MAX_BYTES;
pub use syntax::{CallInterface, InputDeclaration, InputKind, Schedule, Trigger};

use fleetfoot_model::diagnostic::{Diagnostics, Source};
use fleetfoot_model::plan::Document;
use indexmap::IndexMap;
use library::Mode;

/// All findings about a workflow, errors and warnings, in the order of the document.
#[must_use]
pub fn lint(source: &Source) -> Diagnostics {
    let mode = Mode::default();
    found(WorkflowDocument::read(source, mode, &IndexMap::new()))
}

/// The same with the workflows that it calls in its own repository, by reference as written: a
/// call of any other there is an error. Calls of other repositories are looked at where they are
/// given. `pedantic` adds what is merely information.
#[must_use]
pub fn lint_with(source: &Source, files: &IndexMap<String, String>, pedantic: bool) -> Diagnostics {
    found(WorkflowDocument::read(source, Mode { plain: false, pedantic, complete: true }, files))
}

fn found(read: Result<WorkflowDocument, Diagnostics>) -> Diagnostics {
    match read {
        Ok(document) => Diagnostics(document.warnings().to_vec()),
        Err(found) => found,
    }
}
