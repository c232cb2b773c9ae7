//! The public face of a parsed expression: what it refers to, whether it may,
//! and its value.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use crate::ast::{Name, Node};
use crate::error::{ErrorKind, ExprError, Source};
use crate::eval;
use crate::functions::{self, Builtin, FunctionSignature, STATUS_FUNCTIONS};
use crate::parser::{self, Allowed, Parsed};
use crate::scope::Scope;
use crate::value::Value;

/// A parsed expression. It prints as canonical text that parses to the same.
#[derive(Debug, Clone)]
pub struct Expr {
    pub(crate) root: Node,
    /// The texts it was parsed from, by ascending offset; several where a
    /// string had several `${{ }}` parts.
    pub(crate) sources: Vec<(usize, Arc<str>)>,
    /// Each context once, at its first place.
    pub(crate) contexts: Vec<Name>,
    /// Every call with its number of arguments.
    pub(crate) calls: Vec<(Name, usize)>,
}

impl Expr {
    /// Parses the text inside `${{ }}`. Text without any token is `null`, as
    /// GitHub evaluates it. Unknown names are not looked for: see
    /// [`check`](Self::check) and [`parse_with`](Self::parse_with).
    pub fn parse(src: &str) -> Result<Self, ExprError> {
        Self::parse_at(src, 0, None)
    }

    /// Parses and checks names in one pass, so that the first error in the
    /// text is the one reported, of whatever sort it is.
    pub fn parse_with(
        src: &str,
        allowed_contexts: &[&str],
        allowed_functions: &[FunctionSignature<'_>],
    ) -> Result<Self, ExprError> {
        let allowed = Allowed { contexts: allowed_contexts, functions: allowed_functions };
        Self::parse_at(src, 0, Some(allowed))
    }

    /// Parses a text that begins at `offset` of what the caller has.
    pub(crate) fn parse_at(
        src: &str,
        offset: usize,
        allowed: Option<Allowed<'_>>,
    ) -> Result<Self, ExprError> {
        let Parsed { root, contexts, calls } = parser::parse(Source { text: src, offset }, allowed)?;
        Ok(Self {
            root: root.unwrap_or(Node::Literal(Value::Null)),
            sources: vec![(offset, src.into())],
            contexts: unique(contexts),
            calls,
        })
    }

    /// Evaluates in a scope. Names that the scope does not know are errors of
    /// kind parsing, also where evaluation would not have reached them.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Value, ExprError> {
        for name in &self.contexts {
            if !scope.knows_context(&name.lower) {
                return Err(self.unknown("Unrecognized named-value", name));
            }
        }
        for (name, _) in &self.calls {
            if Builtin::from_name(&name.lower).is_none() && !scope.knows_function(&name.lower) {
                return Err(self.unknown("Unrecognized function", name));
            }
        }
        eval::evaluate(self, scope)
    }

    /// Checks every name against what is allowed in some place of a document.
    /// The built-in functions are allowed everywhere.
    pub fn check(
        &self,
        allowed_contexts: &[&str],
        allowed_functions: &[FunctionSignature<'_>],
    ) -> Result<(), ExprError> {
        let allowed = Allowed { contexts: allowed_contexts, functions: allowed_functions };
        let contexts = self
            .contexts
            .iter()
            .filter(|name| !allowed.has_context(&name.lower))
            .map(|name| (name, "Unrecognized named-value"));
        let calls = self.calls.iter().filter_map(|(name, count)| {
            // Arities of built-in functions were checked by the parser.
            if Builtin::from_name(&name.lower).is_some() {
                return None;
            }
            let problem = match allowed.arity(&name.lower) {
                None => Some("Unrecognized function"),
                Some(arity) => functions::arity_problem(None, *count, arity),
            };
            problem.map(|problem| (name, problem))
        });
        match contexts.chain(calls).min_by_key(|(name, _)| name.at) {
            Some((name, problem)) => Err(self.unknown(problem, name)),
            None => Ok(()),
        }
    }

    /// The names of the root contexts in use, in lower case, each once.
    pub fn contexts(&self) -> impl Iterator<Item = &str> {
        self.contexts.iter().map(|name| &*name.lower)
    }

    /// The names of the functions called, in lower case, in order of
    /// appearance and with repetitions.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.calls.iter().map(|(name, _)| &*name.lower)
    }

    /// Whether `success`, `failure`, `cancelled` or `always` is called.
    #[must_use]
    pub fn uses_status_function(&self) -> bool {
        self.functions().any(|name| STATUS_FUNCTIONS.iter().any(|(status, ..)| *status == name))
    }

    /// Every use of a context with the properties that follow it, in lower
    /// case and joined by dots: `github.event.labels.*.name`. A key that is
    /// computed ends the path. The number is the position of the context.
    #[must_use]
    pub fn references(&self) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        self.root.collect_references(&mut found);
        found
    }

    /// The value, if the expression is nothing but a literal.
    #[must_use]
    pub fn as_literal(&self) -> Option<&Value> {
        match &self.root {
            Node::Literal(value) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn unknown(&self, what: &str, name: &Name) -> ExprError {
        let (offset, text) = self
            .sources
            .iter()
            .rev()
            .find(|(offset, _)| *offset <= name.at)
            .map_or((0, ""), |(offset, text)| (*offset, text));
        let source = Source { text, offset };
        ExprError::located(ErrorKind::Parsing, what, &name.text, source, name.at - offset)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

pub(crate) fn unique(names: Vec<Name>) -> Vec<Name> {
    let mut seen = HashSet::new();
    names.into_iter().filter(|name| seen.insert(Arc::clone(&name.lower))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_whole_paths() {
        let src =
            "GitHub.Event.labels.*.name == env[matrix.os].x || join(needs['a'].outputs, secrets.t) && !vars";
        let found = Expr::parse(src).expect("parses").references();
        let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            ["github.event.labels.*.name", "env", "matrix.os", "needs.a.outputs", "secrets.t", "vars"]
        );
        assert!(src[found[2].1..].starts_with("matrix"));
    }
}
