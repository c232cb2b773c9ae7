//! What an expression can see: contexts and host functions, given by the
//! caller through [`Scope`]. [`MapScope`] is the plain implementation over a
//! map, for tests, tools and everything that has its values at hand.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::error::ExprError;
use crate::expr::Expr;
use crate::functions::STATUS_FUNCTIONS;
use crate::value::Value;

/// The world of an expression.
pub trait Scope {
    /// The value of a context, by its name in lower case. `None` means that
    /// there is no such context here, which makes the expression invalid; a
    /// context without a value is `Some(Value::Null)`.
    fn context(&self, name: &str) -> Option<Value>;

    /// Calls a host function by its name in lower case. `None` means that
    /// there is no such function here; an error fails the evaluation.
    fn call(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let _ = (name, args);
        None
    }

    /// Whether a context exists, without its value. Every name is asked for
    /// before evaluation, also in branches that are not taken: give an answer
    /// of your own where `context` is expensive.
    fn knows_context(&self, name: &str) -> bool {
        self.context(name).is_some()
    }

    /// Whether a host function exists. The default does not commit itself:
    /// an unknown function is then found only when it is called.
    fn knows_function(&self, name: &str) -> bool {
        let _ = name;
        true
    }
}

/// How the job stands, for the status functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// Nothing has failed.
    #[default]
    Success,
    /// Something has failed.
    Failure,
    /// The run was cancelled.
    Cancelled,
}

type HostFunction = Arc<dyn Fn(&[Value]) -> Result<Value, String> + Send + Sync>;

/// A scope over a map of values.
#[derive(Clone, Default)]
pub struct MapScope {
    contexts: HashMap<String, Value>,
    functions: HashMap<String, HostFunction>,
    status: Option<Status>,
}

impl MapScope {
    /// A scope with no contexts and no host functions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A scope with one context for each key of a JSON object.
    #[must_use]
    pub fn from_json(contexts: &serde_json::Map<String, serde_json::Value>) -> Self {
        let mut scope = Self::new();
        for (name, value) in contexts {
            scope.set(name, Value::from_json(value));
        }
        scope
    }

    /// Adds or replaces a context.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.contexts.insert(name.to_ascii_lowercase(), value.into());
    }

    /// The same scope with one context more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// Makes `always`, `success`, `failure` and `cancelled` callable.
    pub fn set_status(&mut self, status: Status) {
        self.status = Some(status);
    }

    /// The same scope with the status functions.
    #[must_use]
    pub fn with_status(mut self, status: Status) -> Self {
        self.set_status(status);
        self
    }

    /// The same scope with one host function more, such as `hashFiles`.
    #[must_use]
    pub fn with_function(
        mut self,
        name: &str,
        function: impl Fn(&[Value]) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        self.functions.insert(name.to_ascii_lowercase(), Arc::new(function));
        self
    }

    /// Parses and evaluates a text in this scope. Unknown names are found
    /// while parsing, in the order in which GitHub finds them.
    pub fn evaluate(&self, src: &str) -> Result<Value, ExprError> {
        let contexts: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
        let mut functions: Vec<_> = self.functions.keys().map(|name| (name.as_str(), 0, 255)).collect();
        if self.status.is_some() {
            functions.extend_from_slice(STATUS_FUNCTIONS);
        }
        Expr::parse_with(src, &contexts, &functions)?.evaluate(self)
    }
}

impl Scope for MapScope {
    fn context(&self, name: &str) -> Option<Value> {
        self.contexts.get(name).cloned()
    }

    fn call(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        if let Some(function) = self.functions.get(name) {
            return Some(function(args));
        }
        let status = self.status?;
        let answer = match name {
            "always" => true,
            "success" => status == Status::Success,
            "failure" => status == Status::Failure,
            "cancelled" => status == Status::Cancelled,
            _ => return None,
        };
        Some(Ok(answer.into()))
    }

    fn knows_context(&self, name: &str) -> bool {
        self.contexts.contains_key(name)
    }

    fn knows_function(&self, name: &str) -> bool {
        self.functions.contains_key(name)
            || (self.status.is_some() && STATUS_FUNCTIONS.iter().any(|(known, ..)| *known == name))
    }
}

impl fmt::Debug for MapScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapScope")
            .field("contexts", &self.contexts)
            .field("functions", &self.functions.keys())
            .field("status", &self.status)
            .finish()
    }
}
