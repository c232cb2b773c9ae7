//! The parsed form of an expression, and how it is written back as text.
//! Parentheses are not kept: printing puts them where precedence needs them.

use std::fmt;
use std::sync::Arc;

use crate::functions::Builtin;
use crate::lexer::is_name;
use crate::value::Value;

/// A context or function name and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    /// As written.
    pub(crate) text: Arc<str>,
    /// In lower case, as it is looked up.
    pub(crate) lower: Arc<str>,
    /// Byte offset in the text given by the caller.
    pub(crate) at: usize,
}

/// Positions do not take part: two trees are equal when they mean the same.
impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.lower == other.lower
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Literal(Value),
    Context(Name),
    Call {
        /// None for a function that only the host knows.
        builtin: Option<Builtin>,
        name: Name,
        args: Vec<Self>,
    },
    Index(Box<Self>, Key),
    Not(Box<Self>),
    Compare(Comparison, Box<Self>, Box<Self>),
    /// At least two operands, none of them an `And` itself.
    And(Vec<Self>),
    /// At least two operands, none of them an `Or` itself.
    Or(Vec<Self>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Key {
    Star,
    /// `.name` or `['name']`.
    Name(Arc<str>),
    Computed(Box<Node>),
}

impl Comparison {
    fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
        }
    }

    fn is_equality(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual)
    }
}

impl Node {
    /// Higher binds tighter.
    fn precedence(&self) -> u8 {
        match self {
            Self::Or(_) => 1,
            Self::And(_) => 2,
            Self::Compare(op, ..) if op.is_equality() => 3,
            Self::Compare(..) => 4,
            Self::Not(_) => 5,
            Self::Literal(_) => 6,
            // Only these can be followed by an index without parentheses.
            Self::Context(_) | Self::Call { .. } | Self::Index(..) => 7,
        }
    }

    /// Gathers the paths of all contexts, see `Expr::references`.
    pub(crate) fn collect_references(&self, found: &mut Vec<(String, usize)>) {
        if let Some(path) = self.path() {
            found.push(path);
            return;
        }
        match self {
            Self::Literal(_) | Self::Context(_) => {}
            Self::Call { args: nodes, .. } | Self::And(nodes) | Self::Or(nodes) => {
                nodes.iter().for_each(|node| node.collect_references(found));
            }
            Self::Index(base, key) => {
                base.collect_references(found);
                if let Key::Computed(key) = key {
                    key.collect_references(found);
                }
            }
            Self::Not(operand) => operand.collect_references(found),
            Self::Compare(_, left, right) => {
                left.collect_references(found);
                right.collect_references(found);
            }
        }
    }

    /// A context with nothing but known properties behind it.
    fn path(&self) -> Option<(String, usize)> {
        match self {
            Self::Context(name) => Some((name.lower.to_string(), name.at)),
            Self::Index(base, key) => {
                let (mut path, at) = base.path()?;
                path.push('.');
                match key {
                    Key::Star => path.push('*'),
                    Key::Name(name) => path.push_str(&name.to_lowercase()),
                    Key::Computed(_) => return None,
                }
                Some((path, at))
            }
            _ => None,
        }
    }

    fn write_at_least(&self, precedence: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.precedence() < precedence { write!(f, "({self})") } else { write!(f, "{self}") }
    }

    fn write_joined(
        nodes: &[Self],
        separator: &str,
        precedence: u8,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        for (i, node) in nodes.iter().enumerate() {
            if i > 0 {
                f.write_str(separator)?;
            }
            node.write_at_least(precedence, f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(value) => write_literal(value, f),
            Self::Context(name) => f.write_str(&name.text),
            Self::Call { name, args, .. } => {
                write!(f, "{}(", name.text)?;
                Self::write_joined(args, ", ", 0, f)?;
                f.write_str(")")
            }
            Self::Index(base, key) => {
                base.write_at_least(7, f)?;
                match key {
                    Key::Star => f.write_str("[*]"),
                    Key::Name(name) if is_name(name) => write!(f, ".{name}"),
                    Key::Name(name) => write!(f, "['{}']", name.replace('\'', "''")),
                    Key::Computed(node) => write!(f, "[{node}]"),
                }
            }
            Self::Not(operand) => {
                f.write_str("!")?;
                operand.write_at_least(5, f)
            }
            Self::Compare(op, left, right) => {
                let precedence = self.precedence();
                left.write_at_least(precedence, f)?;
                write!(f, " {} ", op.symbol())?;
                right.write_at_least(precedence + 1, f)
            }
            Self::And(operands) => Self::write_joined(operands, " && ", 3, f),
            Self::Or(operands) => Self::write_joined(operands, " || ", 2, f),
        }
    }
}

fn write_literal(value: &Value, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match value {
        Value::Null => f.write_str("null"),
        Value::Bool(value) => write!(f, "{value}"),
        Value::Number(number) if number.is_nan() => f.write_str("NaN"),
        Value::Number(number) if number.is_infinite() => {
            f.write_str(if *number > 0.0 { "Infinity" } else { "-Infinity" })
        }
        // All digits, so that reading it again gives the same number.
        Value::Number(number) => write!(f, "{number:?}"),
        Value::String(text) => write!(f, "'{}'", text.replace('\'', "''")),
        // The language has no literals for these.
        Value::Array(_) | Value::Object(_) => f.write_str(value.kind_name()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::expr::Expr;

    fn name(text: &str) -> Name {
        Name { text: text.into(), lower: text.to_ascii_lowercase().into(), at: 0 }
    }

    /// Joins as the parser does: a chain within a chain is the same chain.
    fn joined(nodes: Vec<Node>, or: bool) -> Node {
        let flat = nodes
            .into_iter()
            .flat_map(|node| match node {
                Node::Or(nested) if or => nested,
                Node::And(nested) if !or => nested,
                other => vec![other],
            })
            .collect();
        if or { Node::Or(flat) } else { Node::And(flat) }
    }

    fn node() -> impl Strategy<Value = Node> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_filter("NaN equals nothing", |n| !n.is_nan()).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ]
        .prop_map(Node::Literal);
        let leaf = prop_oneof![leaf, "[a-z_][A-Za-z0-9_-]{0,4}x".prop_map(|n| Node::Context(name(&n)))];
        leaf.prop_recursive(6, 60, 4, |inner| {
            let boxed = inner.clone().prop_map(Box::new);
            let comparison = prop::sample::select(vec![
                Comparison::Equal,
                Comparison::NotEqual,
                Comparison::Less,
                Comparison::LessEqual,
                Comparison::Greater,
                Comparison::GreaterEqual,
            ]);
            let key = prop_oneof![
                Just(Key::Star),
                any::<String>().prop_map(|name| Key::Name(name.into())),
                "[a-z_][a-z0-9_-]{0,4}".prop_map(|name| Key::Name(name.into())),
                boxed.clone().prop_map(|node| match *node {
                    Node::Literal(Value::String(name)) => Key::Name(name),
                    other => Key::Computed(Box::new(other)),
                }),
            ];
            prop_oneof![
                (boxed.clone(), key).prop_map(|(base, key)| Node::Index(base, key)),
                boxed.clone().prop_map(Node::Not),
                (comparison, boxed.clone(), boxed).prop_map(|(op, l, r)| Node::Compare(op, l, r)),
                (prop::collection::vec(inner.clone(), 2..4), any::<bool>())
                    .prop_map(|(nodes, or)| joined(nodes, or)),
                prop::collection::vec(inner.clone(), 0..4).prop_map(|args| Node::Call {
                    builtin: None,
                    name: name("hostFn"),
                    args,
                }),
                (inner.clone(), inner).prop_map(|(a, b)| Node::Call {
                    builtin: Some(Builtin::Contains),
                    name: name("Contains"),
                    args: vec![a, b],
                }),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        #[test]
        fn a_printed_tree_reads_back_as_the_same_tree(node in node()) {
            let text = node.to_string();
            let read = Expr::parse(&text).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?;
            prop_assert_eq!(read.root, node, "{}", text);
        }
    }
}
