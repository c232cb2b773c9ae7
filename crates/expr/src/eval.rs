//! Walks the tree and computes its value: order of evaluation, short
//! circuits, indexing with filtered arrays, calls, and the memory budget.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use crate::MAX_MEMORY;
use crate::ast::{Comparison, Key, Name, Node};
use crate::coerce;
use crate::error::ExprError;
use crate::expr::Expr;
use crate::functions::{self, Builtin, Piece, Pieces};
use crate::json::{self, JsonError, VALUE_BYTES, text_bytes};
use crate::scope::Scope;
use crate::text;
use crate::value::Value;

pub(crate) fn evaluate(expr: &Expr, scope: &dyn Scope) -> Result<Value, ExprError> {
    let mut evaluator = Evaluator { expr, scope, used: 0 };
    evaluator.eval(&expr.root).map(|out| out.value)
}

/// A value under way.
struct Out {
    value: Value,
    /// The array came from `*`: an index applies to its elements, not to it.
    filtered: bool,
    /// The estimated memory that it holds.
    bytes: usize,
}

impl From<Value> for Out {
    fn from(value: Value) -> Self {
        let bytes = match &value {
            Value::String(text) => text_bytes(text.len()),
            _ => VALUE_BYTES,
        };
        Self { value, filtered: false, bytes }
    }
}

impl From<bool> for Out {
    fn from(value: bool) -> Self {
        Value::Bool(value).into()
    }
}

struct Evaluator<'a> {
    expr: &'a Expr,
    scope: &'a dyn Scope,
    /// Memory held by the values that are alive at this point.
    used: usize,
}

impl Evaluator<'_> {
    fn eval(&mut self, node: &Node) -> Result<Out, ExprError> {
        let before = self.used;
        let out = match node {
            Node::Literal(value) => value.clone().into(),
            Node::Context(name) => match self.scope.context(&name.lower) {
                Some(value) => value.into(),
                None => return Err(self.expr.unknown("Unrecognized named-value", name)),
            },
            Node::Call { builtin, name, args } => match builtin {
                Some(builtin) => self.call(*builtin, args, node)?,
                None => self.call_host(name, args)?,
            },
            Node::Index(base, key) => self.index(base, key, node)?,
            Node::Not(operand) => (!self.eval(operand)?.value.is_truthy()).into(),
            Node::Compare(comparison, left, right) => {
                let left = self.eval(left)?.value;
                let right = self.eval(right)?.value;
                compare(*comparison, &left, &right).into()
            }
            Node::And(operands) => self.first_that(operands, |value| !value.is_truthy())?,
            Node::Or(operands) => self.first_that(operands, Value::is_truthy)?,
        };
        // Only the result outlives the node.
        self.used = before;
        self.reserve(out.bytes, node)?;
        Ok(out)
    }

    /// The first operand that settles the matter, or else the last.
    fn first_that(&mut self, operands: &[Node], settles: fn(&Value) -> bool) -> Result<Out, ExprError> {
        let mut last = Out::from(Value::Null);
        for operand in operands {
            last = self.eval(operand)?;
            if settles(&last.value) {
                break;
            }
        }
        Ok(last)
    }

    fn reserve(&mut self, bytes: usize, node: &Node) -> Result<(), ExprError> {
        self.used = self.used.saturating_add(bytes);
        if self.used > MAX_MEMORY { Err(self.too_large(node)) } else { Ok(()) }
    }

    /// What is left of the budget.
    fn left(&self) -> usize {
        MAX_MEMORY.saturating_sub(self.used)
    }

    fn too_large(&self, node: &Node) -> ExprError {
        self.fail(
            node,
            format!("The maximum allowed memory size was exceeded while evaluating the following expression: {node}"),
        )
    }

    fn fail(&self, node: &Node, message: impl Into<String>) -> ExprError {
        let start = self.expr.sources.first().map_or(0, |(offset, _)| *offset);
        ExprError::evaluation(message, first_position(node).unwrap_or(start))
    }

    fn index(&mut self, base: &Node, key: &Key, node: &Node) -> Result<Out, ExprError> {
        let base = self.eval(base)?;
        let (Value::Array(_) | Value::Object(_)) = &base.value else {
            return Ok(match key {
                Key::Star => filtered(Vec::new()),
                _ => Value::Null.into(),
            });
        };
        let computed;
        let key = match key {
            Key::Star => Subscript::Star,
            Key::Name(name) => Subscript::Name(name),
            Key::Computed(key) => {
                computed = self.eval(key)?.value;
                Subscript::Value(&computed)
            }
        };
        if !base.filtered {
            if matches!(key, Subscript::Star) {
                let mut found = Vec::new();
                key.collect(&base.value, &mut found);
                return Ok(filtered(found));
            }
            return Ok(key.get(&base.value).cloned().unwrap_or_default().into());
        }
        let mut found = Vec::new();
        for item in base.value.as_array().unwrap_or_default() {
            key.collect(item, &mut found);
            if found.len() * size_of::<usize>() > self.left() {
                return Err(self.too_large(node));
            }
        }
        Ok(filtered(found))
    }

    fn call(&mut self, builtin: Builtin, args: &[Node], node: &Node) -> Result<Out, ExprError> {
        match (builtin, args) {
            (Builtin::Contains, [search, item]) => self.contains(search, item),
            (Builtin::StartsWith, [left, right]) => {
                self.text_test(left, right, text::starts_with_ignore_case)
            }
            (Builtin::EndsWith, [left, right]) => self.text_test(left, right, text::ends_with_ignore_case),
            (Builtin::Format, [format, args @ ..]) => self.format(format, args, node),
            (Builtin::Join, [items, rest @ ..]) => self.join(items, rest.first(), node),
            (Builtin::ToJson, [value]) => {
                let value = self.eval(value)?.value;
                match json::write(&value, self.left() / 2) {
                    Ok(text) => Ok(Value::from(text).into()),
                    Err(_) => Err(self.too_large(node)),
                }
            }
            (Builtin::FromJson, [text]) => {
                let text = self.eval(text)?.value;
                match json::read(&coerce::to_text(&text), self.left()) {
                    Ok((value, bytes)) => Ok(Out { value, filtered: false, bytes }),
                    Err(JsonError::TooLarge) => Err(self.too_large(node)),
                    Err(JsonError::Malformed(why)) => {
                        Err(self.fail(node, format!("Error parsing JSON when evaluating fromJson: {why}")))
                    }
                }
            }
            (Builtin::Case, [pairs @ .., default]) => self.case(pairs, default, node),
            // The parser has checked every arity.
            _ => Ok(Value::Null.into()),
        }
    }

    fn text_test(
        &mut self,
        left: &Node,
        right: &Node,
        test: fn(&str, &str) -> bool,
    ) -> Result<Out, ExprError> {
        let left = self.eval(left)?.value;
        let right = self.eval(right)?.value;
        Ok(functions::text_test(&left, &right, test).into())
    }

    fn contains(&mut self, search: &Node, item: &Node) -> Result<Out, ExprError> {
        let search = self.eval(search)?.value;
        Ok(match &search {
            Value::Object(_) => false,
            Value::Array(items) if items.is_empty() => false,
            Value::Array(items) => {
                let item = self.eval(item)?.value;
                items.iter().any(|candidate| coerce::equals(&item, candidate))
            }
            _ => {
                let item = self.eval(item)?.value;
                functions::text_test(&search, &item, text::contains_ignore_case)
            }
        }
        .into())
    }

    /// Predicates are tried in turn; only the chosen value is evaluated.
    fn case(&mut self, pairs: &[Node], default: &Node, node: &Node) -> Result<Out, ExprError> {
        for pair in pairs.chunks_exact(2) {
            match self.eval(&pair[0])?.value {
                Value::Bool(true) => return self.eval(&pair[1]),
                Value::Bool(false) => {}
                _ => return Err(self.fail(node, "case predicate must evaluate to a boolean value")),
            }
        }
        self.eval(default)
    }

    /// The format string is judged as a whole before any argument is
    /// evaluated, and an argument that it does not name never is.
    fn format(&mut self, format: &Node, args: &[Node], node: &Node) -> Result<Out, ExprError> {
        let format = self.eval(format)?.value;
        let format = coerce::to_text(&format);
        let mut pieces = Vec::new();
        for piece in Pieces::new(&format) {
            match piece {
                None => {
                    return Err(self.fail(node, format!("The following format string is invalid: {format}")));
                }
                Some(Piece::Argument { index, .. }) if index >= args.len() => {
                    return Err(self.fail(
                        node,
                        format!("The following format string references more arguments than were supplied: {format}"),
                    ));
                }
                Some(piece) => pieces.push(piece),
            }
        }
        let mut values: Vec<Option<Value>> = vec![None; args.len()];
        let mut out = String::with_capacity(format.len());
        for piece in &pieces {
            match piece {
                Piece::Text(text) => self.append(&mut out, text, node)?,
                Piece::Argument { index, specifiers } => {
                    if values[*index].is_none() {
                        values[*index] = Some(self.eval(&args[*index])?.value);
                    }
                    let value = values[*index].as_ref().unwrap_or(&Value::Null);
                    if !specifiers.is_empty() {
                        let kind = value.kind_name();
                        return Err(self.fail(
                            node,
                            format!("The format specifiers '{specifiers}' are not valid for objects of type '{kind}'"),
                        ));
                    }
                    self.append(&mut out, &coerce::to_text(value), node)?;
                }
            }
        }
        Ok(Value::from(out).into())
    }

    fn join(&mut self, items: &Node, separator: Option<&Node>, node: &Node) -> Result<Out, ExprError> {
        let items = self.eval(items)?.value;
        let items = match &items {
            Value::Array(items) => items,
            Value::Object(_) => return Ok(Value::from("").into()),
            _ => return Ok(Value::String(items.to_shared_string()).into()),
        };
        let given = match separator {
            Some(separator) if items.len() > 1 => self.eval(separator)?.value,
            _ => Value::Array(Arc::default()),
        };
        // An array or object is no separator; the comma stands in for it.
        let between = if given.is_primitive() { coerce::to_text(&given) } else { Cow::Borrowed(",") };
        let mut out = String::new();
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.append(&mut out, &between, node)?;
            }
            self.append(&mut out, &coerce::to_text(item), node)?;
        }
        Ok(Value::from(out).into())
    }

    fn append(&self, out: &mut String, text: &str, node: &Node) -> Result<(), ExprError> {
        if text_bytes(out.len() + text.len()) > self.left() {
            return Err(self.too_large(node));
        }
        out.push_str(text);
        Ok(())
    }

    fn call_host(&mut self, name: &Name, args: &[Node]) -> Result<Out, ExprError> {
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            values.push(self.eval(arg)?.value);
        }
        match self.scope.call(&name.lower, &values) {
            Some(Ok(value)) => Ok(value.into()),
            Some(Err(message)) => Err(ExprError::evaluation(message, name.at)),
            None => Err(self.expr.unknown("Unrecognized function", name)),
        }
    }
}

fn compare(comparison: Comparison, left: &Value, right: &Value) -> bool {
    match comparison {
        Comparison::Equal => coerce::equals(left, right),
        Comparison::NotEqual => !coerce::equals(left, right),
        Comparison::Less => coerce::order(left, right) == Some(Ordering::Less),
        Comparison::Greater => coerce::order(left, right) == Some(Ordering::Greater),
        // Not the negation of the opposite: null <= null holds, and nothing
        // holds for NaN.
        Comparison::LessEqual => {
            coerce::order(left, right) == Some(Ordering::Less) || coerce::equals(left, right)
        }
        Comparison::GreaterEqual => {
            coerce::order(left, right) == Some(Ordering::Greater) || coerce::equals(left, right)
        }
    }
}

fn filtered(items: Vec<Value>) -> Out {
    let bytes = VALUE_BYTES + items.len() * size_of::<usize>();
    Out { value: Value::Array(Arc::new(items)), filtered: true, bytes }
}

/// The place of the first name in a node, for want of positions elsewhere.
fn first_position(node: &Node) -> Option<usize> {
    match node {
        Node::Literal(_) => None,
        Node::Context(name) | Node::Call { name, .. } => Some(name.at),
        Node::Index(base, _) | Node::Not(base) => first_position(base),
        Node::Compare(_, left, right) => first_position(left).or_else(|| first_position(right)),
        Node::And(operands) | Node::Or(operands) => operands.iter().find_map(first_position),
    }
}

/// What stands in an index.
enum Subscript<'a> {
    Star,
    Name(&'a str),
    Value(&'a Value),
}

impl Subscript<'_> {
    /// One element of an array or object.
    fn get<'v>(&self, collection: &'v Value) -> Option<&'v Value> {
        match collection {
            Value::Array(items) => items.get(self.as_position()?),
            Value::Object(object) => match self {
                Self::Star => None,
                Self::Name(name) => object.get(name),
                Self::Value(value) if value.is_primitive() => object.get(&coerce::to_text(value)),
                Self::Value(_) => None,
            },
            _ => None,
        }
    }

    /// All that the subscript selects; nothing where it does not apply.
    fn collect(&self, collection: &Value, found: &mut Vec<Value>) {
        match (self, collection) {
            (Self::Star, Value::Array(items)) => found.extend(items.iter().cloned()),
            (Self::Star, Value::Object(object)) => found.extend(object.values().cloned()),
            _ => found.extend(self.get(collection).cloned()),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "guarded: whole, not negative and within 31 bits"
    )]
    fn as_position(&self) -> Option<usize> {
        let number = match self {
            Self::Star => return None,
            Self::Name(name) => coerce::text_to_number(name),
            Self::Value(value) => coerce::to_number(value),
        };
        // NaN fails the first test.
        (number >= 0.0 && number.floor() <= f64::from(i32::MAX)).then(|| number.floor() as usize)
    }
}
