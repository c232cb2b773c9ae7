//! Values that may contain expressions, as the document has them.

use fleetfoot_expr::{Template, Value};

/// A scalar with its place. Literal unless there is a template.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) raw: String,
    pub(crate) template: Option<Box<Template>>,
}

/// Any value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Dynamic {
    pub(crate) start: usize,
    pub(crate) shape: Shape,
}

/// What a value is made of.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Literal(Value),
    Expression(Text),
    Sequence(Vec<Dynamic>),
    Mapping(Vec<(Text, Dynamic)>),
}

impl Dynamic {
    /// Whether no expression is in it.
    pub(crate) fn is_literal(&self) -> bool {
        match &self.shape {
            Shape::Literal(_) => true,
            Shape::Expression(_) => false,
            Shape::Sequence(items) => items.iter().all(Self::is_literal),
            Shape::Mapping(pairs) => {
                pairs.iter().all(|(key, value)| key.template.is_none() && value.is_literal())
            }
        }
    }

    /// The value of a literal key.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.shape {
            Shape::Mapping(pairs) => {
                pairs.iter().find(|(k, _)| k.template.is_none() && k.raw == key).map(|(_, value)| value)
            }
            _ => None,
        }
    }
}
