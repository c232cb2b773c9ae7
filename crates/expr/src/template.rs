//! Strings with `${{ }}` in them. A string that is nothing but one expression
//! keeps the type of its value; any other becomes the `format(...)`
//! expression that GitHub makes of it.

use std::sync::Arc;

use crate::MAX_LENGTH;
use crate::ast::{Name, Node};
use crate::error::{ErrorKind, ExprError, Source};
use crate::expr::{Expr, unique};
use crate::functions::Builtin;
use crate::scope::Scope;
use crate::value::Value;

const OPEN: &str = "${{";
const CLOSE: &str = "}}";

/// `format` takes 255 arguments, the first of which is the text.
const MAX_PARTS: usize = 254;

/// A parsed string that may contain `${{ }}`.
#[derive(Debug, Clone)]
pub struct Template {
    body: Body,
    parts: Vec<(usize, Expr)>,
    has_text: bool,
}

#[derive(Debug, Clone)]
enum Body {
    Literal(Arc<str>),
    /// The only part.
    Single,
    /// All parts in one `format(...)`.
    Composed(Expr),
}

enum Segment<'a> {
    Text(&'a str),
    /// The text between the braces, without surrounding white space.
    Expression(usize, &'a str),
}

impl Template {
    /// Parses a string. Positions in errors are offsets into this string.
    pub fn parse(src: &str) -> Result<Self, ExprError> {
        let segments = split(src)?;
        let mut parts = Vec::new();
        let mut has_text = false;
        for segment in &segments {
            match segment {
                Segment::Text(_) => has_text = true,
                Segment::Expression(offset, text) => {
                    parts.push((*offset, Expr::parse_at(text, *offset, None)?));
                }
            }
        }
        let body = match (parts.len(), has_text) {
            (0, _) => Body::Literal(src.into()),
            (1, false) => Body::Single,
            _ => Body::Composed(compose(src, &segments, &parts)?),
        };
        Ok(Self { body, parts, has_text })
    }

    /// Whether there is no expression in the string.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether the string is one expression and nothing else, so that the
    /// value keeps its type.
    #[must_use]
    pub fn is_single(&self) -> bool {
        matches!(self.body, Body::Single)
    }

    /// Whether there is text outside `${{ }}`.
    #[must_use]
    pub fn has_text(&self) -> bool {
        self.has_text
    }

    /// Whether a mapping key is the merge directive `${{ insert }}`.
    #[must_use]
    pub fn is_insert_directive(&self) -> bool {
        match (&self.body, self.parts.as_slice()) {
            (Body::Single, [(_, expr)]) => {
                matches!(&expr.root, Node::Context(name) if &*name.text == "insert")
            }
            _ => false,
        }
    }

    /// The expressions with their byte offsets in the string.
    pub fn expressions(&self) -> impl ExactSizeIterator<Item = (usize, &Expr)> {
        self.parts.iter().map(|(offset, expr)| (*offset, expr))
    }

    /// Checks the names in all expressions, see [`Expr::check`].
    pub fn check(
        &self,
        allowed_contexts: &[&str],
        allowed_functions: &[crate::FunctionSignature<'_>],
    ) -> Result<(), ExprError> {
        self.expressions().try_for_each(|(_, expr)| expr.check(allowed_contexts, allowed_functions))
    }

    /// The value: of the string itself, of its only expression, or text.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Value, ExprError> {
        match (&self.body, self.parts.first()) {
            (Body::Literal(text), _) => Ok(Value::String(Arc::clone(text))),
            (Body::Composed(expr), _) | (Body::Single, Some((_, expr))) => expr.evaluate(scope),
            (Body::Single, None) => Ok(Value::Null),
        }
    }

    /// The value as text.
    pub fn evaluate_string(&self, scope: &dyn Scope) -> Result<String, ExprError> {
        Ok(self.evaluate(scope)?.to_display_string())
    }

    /// The one expression that stands for the string; none for plain text.
    pub(crate) fn into_expr(mut self) -> Option<Expr> {
        match self.body {
            Body::Literal(_) => None,
            Body::Composed(expr) => Some(expr),
            Body::Single => self.parts.pop().map(|(_, expr)| expr),
        }
    }
}

fn split(src: &str) -> Result<Vec<Segment<'_>>, ExprError> {
    let mut segments = Vec::new();
    let mut position = 0;
    while let Some(ahead) = src[position..].find(OPEN) {
        let open = position + ahead;
        if ahead > 0 {
            segments.push(Segment::Text(&src[position..open]));
        }
        let start = open + OPEN.len();
        let Some(length) = find_close(&src[start..]) else {
            return Err(parse_error(
                "The expression is not closed. An unescaped ${{ sequence was found, but the closing }} sequence was not found.",
                open,
            ));
        };
        let inner = &src[start..start + length];
        let text = inner.trim();
        if text.is_empty() {
            return Err(parse_error("An expression was expected", open));
        }
        let offset = start + (inner.len() - inner.trim_start().len());
        segments.push(Segment::Expression(offset, text));
        position = start + length + CLOSE.len();
    }
    if position < src.len() {
        segments.push(Segment::Text(&src[position..]));
    }
    Ok(segments)
}

/// The offset of the closing braces. Quotes hide braces; a doubled quote
/// leaves and enters the string again, which comes to the same.
fn find_close(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut quoted = false;
    for (i, byte) in bytes.iter().enumerate() {
        match byte {
            b'\'' => quoted = !quoted,
            b'}' if !quoted && bytes.get(i + 1) == Some(&b'}') => return Some(i),
            _ => {}
        }
    }
    None
}

fn parse_error(message: &str, position: usize) -> ExprError {
    ExprError { kind: ErrorKind::Parsing, message: message.to_owned(), position }
}

/// Builds `format('text{0}text{1}', first, second)`.
fn compose(src: &str, segments: &[Segment<'_>], parts: &[(usize, Expr)]) -> Result<Expr, ExprError> {
    let mut format = String::with_capacity(src.len());
    let mut next = 0;
    // "format('" and "')" and ", " before every expression.
    let mut length = 10;
    for segment in segments {
        match segment {
            Segment::Text(text) => {
                let before = format.len();
                format.extend(text.chars().flat_map(|c| {
                    let again = matches!(c, '{' | '}').then_some(c);
                    std::iter::once(c).chain(again)
                }));
                let quotes = text.matches('\'').count();
                length += format[before..].encode_utf16().count() + quotes;
            }
            Segment::Expression(_, text) => {
                let placeholder = format!("{{{next}}}");
                length += placeholder.len() + 2 + text.encode_utf16().count();
                format.push_str(&placeholder);
                next += 1;
            }
        }
    }
    if length > MAX_LENGTH {
        return Err(ExprError {
            kind: ErrorKind::Lexing,
            message: format!("Exceeded max expression length {MAX_LENGTH}"),
            position: 0,
        });
    }
    let name = Name {
        text: "format".into(),
        lower: "format".into(),
        at: parts.first().map_or(0, |(offset, _)| *offset),
    };
    if parts.len() > MAX_PARTS {
        let source = Source { text: src, offset: 0 };
        return Err(ExprError::located(
            ErrorKind::Parsing,
            "Too many parameters supplied",
            &name.text,
            source,
            name.at,
        ));
    }
    let mut args = vec![Node::Literal(format.into())];
    let mut composed = Expr {
        root: Node::Literal(Value::Null),
        sources: Vec::new(),
        contexts: Vec::new(),
        calls: vec![(name.clone(), parts.len() + 1)],
    };
    for (_, part) in parts {
        args.push(part.root.clone());
        composed.sources.extend(part.sources.iter().cloned());
        composed.contexts.extend(part.contexts.iter().cloned());
        composed.calls.extend(part.calls.iter().cloned());
    }
    composed.contexts = unique(composed.contexts);
    composed.root = Node::Call { builtin: Some(Builtin::Format), name, args };
    Ok(composed)
}
