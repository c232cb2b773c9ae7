//! The value of an `if:` key: an expression with or without `${{ }}`, guarded
//! by `success()` unless it asks for the status itself.

use crate::ast::{Name, Node};
use crate::error::ExprError;
use crate::expr::Expr;
use crate::template::Template;
use crate::value::Value;

/// Parses a condition as GitHub does. An empty one is `success()`; one that
/// calls no status function becomes `success() && (…)`; one with text around
/// `${{ }}` becomes `format(…)`, which is nearly always true, see
/// [`condition_is_always_true_trap`].
pub fn condition(src: &str) -> Result<Expr, ExprError> {
    let template = Template::parse(src)?;
    let first = template.expressions().next().map(|(offset, _)| offset);
    let mut expr = match template.into_expr() {
        Some(expr) => expr,
        None => Expr::parse(src)?,
    };
    // GitHub unwraps a quoted text in braces and then reads the text as the
    // condition: `${{ 'always()' }}` runs always.
    if let (Some(offset), Some(Value::String(text))) = (first, expr.as_literal()) {
        expr = Expr::parse_at(text, offset, None)?;
    }
    let empty = expr.sources.iter().all(|(_, text)| text.trim().is_empty());
    if !empty && expr.uses_status_function() {
        return Ok(expr);
    }
    let name = Name { text: "success".into(), lower: "success".into(), at: 0 };
    let success = Node::Call { builtin: None, name: name.clone(), args: Vec::new() };
    let Expr { root, mut sources, contexts, mut calls } = expr;
    calls.insert(0, (name, 0));
    // The implied call has no text of its own; errors about it quote the
    // whole condition.
    sources.insert(0, (0, src.into()));
    let root = match root {
        _ if empty => success,
        Node::And(mut operands) => {
            operands.insert(0, success);
            Node::And(operands)
        }
        other => Node::And(vec![success, other]),
    };
    Ok(Expr { root, sources, contexts, calls })
}

/// Whether a condition has text around its `${{ }}`, such as
/// `${{ github.ref }} == 'main'`: it is then a text that is not empty, which
/// is true whatever the expression says.
#[must_use]
pub fn condition_is_always_true_trap(src: &str) -> bool {
    Template::parse(src).is_ok_and(|template| !template.is_literal() && template.has_text())
}
