//! What expressions of a step can see: contexts, status functions, and
//! `hashFiles` over the workspace. It only answers; it never changes the job.

use crate::frame::ActionPlace;
use crate::hash_files;
use crate::step_files::StepFiles;
use crate::workspace::Workspace;
use fleetfoot_driver::Cell;
use fleetfoot_expr::{Object, Scope, Status, Value};
use indexmap::IndexMap;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// The contexts of a list of steps, as far as they do not change from step to step, and those that do.
#[derive(Clone)]
pub(crate) struct Contexts {
    pub(crate) fixed: Arc<HashMap<String, Value>>,
    pub(crate) steps: Value,
}

/// Which step an expression belongs to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spot {
    /// `github.action`.
    pub(crate) id: String,
    /// Names the files of the step; unique within the attempt.
    pub(crate) key: String,
    /// The action that the step runs or belongs to.
    pub(crate) action: Option<Arc<ActionPlace>>,
}

/// One moment of a job.
pub(crate) struct StepScope<'a> {
    pub(crate) contexts: &'a Contexts,
    pub(crate) env: &'a IndexMap<String, String>,
    pub(crate) spot: &'a Spot,
    /// For `success()` and `failure()`: the job, or the composite action around.
    pub(crate) status: Status,
    /// For `cancelled()` and `job.status`.
    pub(crate) job_status: Status,
    pub(crate) workspace: &'a Workspace,
    pub(crate) cell: &'a dyn Cell,
    env_value: OnceLock<Value>,
}

impl<'a> StepScope<'a> {
    pub(crate) fn new(
        contexts: &'a Contexts,
        env: &'a IndexMap<String, String>,
        spot: &'a Spot,
        (status, job_status): (Status, Status),
        workspace: &'a Workspace,
        cell: &'a dyn Cell,
    ) -> Self {
        Self { contexts, env, spot, status, job_status, workspace, cell, env_value: OnceLock::new() }
    }

    /// The `github` context with what differs from step to step.
    fn github(&self) -> Object {
        let mut github = match self.contexts.fixed.get("github") {
            Some(Value::Object(given)) => (**given).clone(),
            _ => Object::new(),
        };
        github.insert("action", self.spot.id.as_str());
        github.insert("action_status", word(self.status));
        if let Some(action) = &self.spot.action {
            github.insert("action_path", &*action.path.to_string_lossy());
            github.insert("action_repository", action.repository.as_deref().unwrap_or_default());
            github.insert("action_ref", action.git_ref.as_deref().unwrap_or_default());
        }
        if !self.spot.key.is_empty() {
            for (name, path) in
                StepFiles::named(self.workspace, &self.spot.key).variables(&|path| self.cell.inside(path))
            {
                let name = name.trim_start_matches("GITHUB_").to_ascii_lowercase();
                github.insert(name, path.as_str());
            }
        }
        github
    }
}

/// The word for `job.status`.
const fn word(status: Status) -> &'static str {
    match status {
        Status::Success => "success",
        Status::Failure => "failure",
        Status::Cancelled => "cancelled",
    }
}

const CHANGING: [&str; 3] = ["env", "steps", "job"];
const FUNCTIONS: [&str; 5] = ["always", "success", "failure", "cancelled", "hashfiles"];

impl Scope for StepScope<'_> {
    fn context(&self, name: &str) -> Option<Value> {
        Some(match name {
            "env" => self.env_value.get_or_init(|| object(self.env)).clone(),
            "steps" => self.contexts.steps.clone(),
            "github" => Value::from(self.github()),
            "job" => {
                let mut job = match self.contexts.fixed.get("job") {
                    Some(Value::Object(given)) => (**given).clone(),
                    _ => Object::new(),
                };
                job.insert("status", word(self.job_status));
                Value::from(job)
            }
            _ => return self.contexts.fixed.get(name).cloned(),
        })
    }

    fn call(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        Some(Ok(match name {
            "always" => Value::from(true),
            "success" => Value::from(self.status == Status::Success),
            "failure" => Value::from(self.status == Status::Failure),
            "cancelled" => Value::from(self.job_status == Status::Cancelled),
            "hashfiles" => {
                let patterns: Vec<String> = args.iter().map(Value::to_display_string).collect();
                let inside = self.cell.inside(&self.workspace.workspace);
                let hash = hash_files::hash_files(&self.workspace.workspace, &inside, &patterns);
                return Some(hash.map(Value::from));
            }
            _ => return None,
        }))
    }

    fn knows_context(&self, name: &str) -> bool {
        CHANGING.contains(&name) || self.contexts.fixed.contains_key(name)
    }

    fn knows_function(&self, name: &str) -> bool {
        FUNCTIONS.contains(&name)
    }
}

/// A map of texts as a value.
pub(crate) fn object(map: &IndexMap<String, String>) -> Value {
    let object: Object = map.iter().map(|(k, v)| (k.as_str(), Value::from(v.as_str()))).collect();
    Value::from(object)
}
