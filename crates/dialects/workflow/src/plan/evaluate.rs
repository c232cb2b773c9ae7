//! Expressions of a document against the contexts of a run.

use crate::source::{SourceText, clip, one_line};
use crate::syntax::{Dynamic, Shape, Text};
use fleetfoot_expr::{ExprError, Object, Scope, Value};
use fleetfoot_model::diagnostic::Diagnostic;
use fleetfoot_model::plan::NeedResult;
use fleetfoot_model::spec::{Concurrency, ConcurrencyQueue, Contexts};
use fleetfoot_model::state::Conclusion;
use indexmap::IndexMap;
use std::sync::Arc;

/// How the jobs before this one ended, for `success()` and its relatives.
#[derive(Debug, Default)]
pub(super) struct Status {
    pub(super) cancelled: bool,
    /// Of all ancestors within the same workflow.
    pub(super) ancestors: Vec<Conclusion>,
    /// Of the jobs that it needs directly, by key.
    pub(super) needs: Vec<(String, Conclusion)>,
}

/// What the expressions of one place see.
#[derive(Clone, Default)]
pub(super) struct World {
    contexts: Vec<(&'static str, Value)>,
    status: Option<Arc<Status>>,
}

impl World {
    /// `github`, `inputs` and `vars`.
    pub(super) fn of_run(contexts: &Contexts) -> Self {
        let value = |name: &str| contexts.get(name).map_or(Value::Null, Value::from_json);
        let contexts = ["github", "inputs", "vars"].map(|name| (name, value(name))).to_vec();
        Self { contexts, status: None }
    }

    /// The same within a called workflow. Inputs that are not known yet are no context at all, so
    /// that whatever looks at them fails.
    pub(super) fn with_inputs(&self, inputs: Option<Value>) -> Self {
        let mut world = self.clone();
        world.contexts.retain(|(name, _)| *name != "inputs");
        world.contexts.extend(inputs.map(|inputs| ("inputs", inputs)));
        world
    }

    /// The same with the results of other jobs.
    pub(super) fn with_needs(self, needs: &IndexMap<String, NeedResult>) -> Self {
        self.with("needs", results(needs))
    }

    /// The same with `success()` and its relatives.
    pub(super) fn with_status(mut self, status: Arc<Status>) -> Self {
        self.status = Some(status);
        self
    }

    /// The same with one context more.
    pub(super) fn with(mut self, name: &'static str, value: Value) -> Self {
        self.contexts.push((name, value));
        self
    }
}

/// The `needs` or `jobs` context.
pub(super) fn results(jobs: &IndexMap<String, NeedResult>) -> Value {
    jobs.iter().map(|(key, need)| (key.as_str(), need_value(need))).collect::<Object>().into()
}

fn need_value(need: &NeedResult) -> Value {
    let outputs: Object = need.outputs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let pairs = [("result", Value::from(need.result.as_result())), ("outputs", outputs.into())];
    pairs.into_iter().collect::<Object>().into()
}

impl Scope for World {
    fn context(&self, name: &str) -> Option<Value> {
        self.contexts.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }

    fn knows_context(&self, name: &str) -> bool {
        self.contexts.iter().any(|(known, _)| *known == name)
    }

    fn call(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let status = self.status.as_deref()?;
        let answer = match (name, args) {
            ("always", _) => Ok(true),
            ("cancelled", _) => Ok(status.cancelled),
            // A skipped job is no success either: that is how skipping spreads.
            ("success", []) => {
                Ok(!status.cancelled && status.ancestors.iter().all(|c| *c == Conclusion::Success))
            }
            ("failure", []) => Ok(!status.cancelled && status.ancestors.iter().any(|c| failed(*c))),
            ("success", names) => {
                named(status, names).map(|all| all.iter().all(|c| *c == Conclusion::Success))
            }
            ("failure", names) => named(status, names).map(|all| all.iter().any(|c| failed(*c))),
            _ => return None,
        };
        Some(answer.map(Value::Bool))
    }
}

const fn failed(conclusion: Conclusion) -> bool {
    matches!(conclusion, Conclusion::Failure | Conclusion::TimedOut)
}

/// Results of the jobs that a status function names.
fn named(status: &Status, names: &[Value]) -> Result<Vec<Conclusion>, String> {
    names
        .iter()
        .map(|name| {
            let name = name.to_display_string();
            let need = status.needs.iter().find(|(key, _)| key.eq_ignore_ascii_case(&name));
            need.map(|(_, result)| *result)
                .ok_or_else(|| format!("'{name}' is not a job that this job needs"))
        })
        .collect()
}

/// Evaluates parts of one document in one world.
#[derive(Clone, Copy)]
pub(super) struct Evaluator<'a> {
    pub(super) source: &'a SourceText,
    pub(super) world: &'a World,
}

impl Evaluator<'_> {
    fn failure(&self, text: &Text, error: &ExprError) -> Diagnostic {
        let at = crate::syntax::locate(self.source, text.start, text.end, &text.raw, error.position);
        self.source.error(at, "expression", one_line(&error.message))
    }

    pub(super) fn problem(&self, at: usize, code: &str, message: impl Into<String>) -> Diagnostic {
        self.source.error(at, code, message)
    }

    pub(super) fn text(&self, text: &Text) -> Result<Value, Diagnostic> {
        match &text.template {
            None => Ok(Value::from(text.raw.as_str())),
            Some(template) => template.evaluate(self.world).map_err(|e| self.failure(text, &e)),
        }
    }

    pub(super) fn string(&self, text: &Text) -> Result<String, Diagnostic> {
        Ok(self.text(text)?.to_display_string())
    }

    /// The truth of a condition.
    pub(super) fn condition(&self, text: &Text) -> Result<bool, Diagnostic> {
        fleetfoot_expr::condition(&text.raw)
            .and_then(|expr| expr.evaluate(self.world))
            .map(|value| value.is_truthy())
            .map_err(|e| self.failure(text, &e))
    }

    pub(super) fn value(&self, dynamic: &Dynamic) -> Result<Value, Diagnostic> {
        match &dynamic.shape {
            Shape::Literal(value) => Ok(value.clone()),
            Shape::Expression(text) => self.text(text),
            Shape::Sequence(items) => {
                let items: Result<Vec<Value>, Diagnostic> =
                    items.iter().map(|item| self.value(item)).collect();
                Ok(items?.into())
            }
            Shape::Mapping(pairs) => {
                let mut object = Object::with_capacity(pairs.len());
                for (key, value) in pairs {
                    self.pair(key, value, &mut object)?;
                }
                Ok(object.into())
            }
        }
    }

    /// One pair; `${{ insert }}` as the key puts a whole mapping there.
    fn pair(&self, key: &Text, value: &Dynamic, object: &mut Object) -> Result<(), Diagnostic> {
        let read = self.value(value)?;
        if key.template.as_ref().is_some_and(|t| t.is_insert_directive()) {
            let Some(inserted) = read.as_object() else {
                return Err(self.problem(value.start, "unexpected-value", "'insert' expects a mapping"));
            };
            object.extend(inserted.iter().map(|(key, value)| (key, value.clone())));
        } else {
            object.insert(self.string(key)?, read);
        }
        Ok(())
    }

    pub(super) fn boolean(&self, dynamic: &Dynamic) -> Result<bool, Diagnostic> {
        let value = self.value(dynamic)?;
        value.as_bool().ok_or_else(|| self.unexpected(dynamic.start, &value, "a boolean"))
    }

    /// Minutes, in seconds.
    pub(super) fn minutes(&self, dynamic: &Dynamic) -> Result<u64, Diagnostic> {
        let value = self.value(dynamic)?;
        let seconds = match value {
            Value::Number(minutes) => super::minutes_to_seconds(minutes),
            _ => None,
        };
        seconds.ok_or_else(|| self.unexpected(dynamic.start, &value, "a number of minutes greater than 0"))
    }

    pub(super) fn unexpected(&self, at: usize, value: &Value, expected: &str) -> Diagnostic {
        let shown = match value.is_primitive() {
            true => format!("'{}'", clip(&value.to_display_string(), 100)),
            false => format!("of type {}", value.kind_name()),
        };
        let mut d = self.problem(at, "unexpected-value", format!("Unexpected value {shown}"));
        let hint = match value {
            Value::String(_) => {
                format!("The expression must give {expected}; fromJSON() makes one of a string")
            }
            _ => format!("The expression must give {expected}"),
        };
        d.hint = Some(hint);
        d
    }

    /// `concurrency`; an expression for the whole may give a name or a mapping.
    pub(super) fn concurrency(&self, dynamic: &Dynamic) -> Result<Concurrency, Diagnostic> {
        let value = self.value(dynamic)?;
        let field = |key: &str| value.get(key).cloned().unwrap_or_default();
        let at = |key: &str| dynamic.get(key).map_or(dynamic.start, |d| d.start);
        let group = if value.as_object().is_some() { field("group") } else { value.clone() };
        if !group.is_primitive() {
            return Err(self.unexpected(at("group"), &group, "the name of a group"));
        }
        let group = group.to_display_string();
        if group.is_empty() {
            return Err(self.problem(at("group"), "concurrency", "Concurrency group name cannot be empty"));
        }
        if group.chars().count() > 400 {
            let message = "Concurrency group name must be less than 400 characters";
            return Err(self.problem(at("group"), "concurrency", message));
        }
        let cancel_in_progress = match field("cancel-in-progress") {
            Value::Null => false,
            Value::Bool(value) => value,
            other => return Err(self.unexpected(at("cancel-in-progress"), &other, "a boolean")),
        };
        let queue = match field("queue") {
            Value::String(word) if &*word == "max" => ConcurrencyQueue::Max,
            _ => ConcurrencyQueue::Single,
        };
        Ok(Concurrency { group, cancel_in_progress, queue })
    }
}
