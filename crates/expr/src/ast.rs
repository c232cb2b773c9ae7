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

    fn write_at_least(&self, precedence: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.precedence() < precedence {
            write!(f, "({self})")
        } else {
            write!(f, "{self}")
        }
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
        Value::Number(number) if number.is_infinite() => f.write_str(if *number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }),
        // All digits, so that reading it again gives the same number.
        Value::Number(number) => write!(f, "{number:?}"),
        Value::String(text) => write!(f, "'{}'", text.replace('\'', "''")),
        // The language has no literals for these.
        Value::Array(_) | Value::Object(_) => f.write_str(value.kind_name()),
    }
}
