//! What expressions of a step can see: contexts, status functions, and
//! `hashFiles` over the workspace. It only answers; it never changes the job.

use crate::hash_files;
use fleetfoot_expr::{Object, Scope, Status, Value};
use indexmap::IndexMap;
use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;

/// The contexts of a job, as far as they do not change from step to step, and those that do.
pub(crate) struct Contexts {
    pub(crate) fixed: HashMap<String, Value>,
    pub(crate) steps: Value,
}

/// One moment of a job.
pub(crate) struct StepScope<'a> {
    pub(crate) contexts: &'a Contexts,
    pub(crate) env: &'a IndexMap<String, String>,
    pub(crate) status: Status,
    pub(crate) workspace: &'a Path,
    env_value: OnceLock<Value>,
}

impl<'a> StepScope<'a> {
    pub(crate) fn new(
        contexts: &'a Contexts,
        env: &'a IndexMap<String, String>,
        status: Status,
        workspace: &'a Path,
    ) -> Self {
        Self { contexts, env, status, workspace, env_value: OnceLock::new() }
    }

    /// The word for `job.status`.
    const fn status_word(&self) -> &'static str {
        match self.status {
            Status::Success => "success",
            Status::Failure => "failure",
            Status::Cancelled => "cancelled",
        }
    }
}

const CHANGING: [&str; 3] = ["env", "steps", "job"];
const FUNCTIONS: [&str; 5] = ["always", "success", "failure", "cancelled", "hashfiles"];

impl Scope for StepScope<'_> {
    fn context(&self, name: &str) -> Option<Value> {
        Some(match name {
            "env" => self.env_value.get_or_init(|| object(self.env)).clone(),
            "steps" => self.contexts.steps.clone(),
            "job" => {
                let mut job = match self.contexts.fixed.get("job") {
                    Some(Value::Object(given)) => (**given).clone(),
                    _ => Object::new(),
                };
                job.insert("status", self.status_word());
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
            "cancelled" => Value::from(self.status == Status::Cancelled),
            "hashfiles" => {
                let patterns: Vec<String> = args.iter().map(Value::to_display_string).collect();
                return Some(hash_files::hash_files(self.workspace, &patterns).map(Value::from));
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
