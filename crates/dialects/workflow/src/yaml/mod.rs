//! YAML as GitHub reads it: a tree in which every node knows where it stands.
//! YAML 1.2 core schema, anchors and aliases within a budget, no tags, no
//! merge keys, no duplicate keys, one document. Reading ends in bounded time
//! and memory whatever the input; nothing here knows what a workflow is.

mod load;
mod scalar;

pub(crate) use load::load;

use std::sync::Arc;

/// The deepest nesting, aliases included.
pub(crate) const MAX_DEPTH: usize = 100;
/// The largest tree, with every alias counted as a copy of its target.
pub(crate) const MAX_NODES: usize = 200_000;
/// All scalars of the tree together, with every alias counted as a copy, in bytes.
pub(crate) const MAX_TEXT: usize = 2 * 1024 * 1024;

/// A node and its place: byte offsets into the text.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) kind: Kind,
}

/// What a node is. Subtrees are shared, so that an alias costs nothing.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Scalar(Arc<Scalar>),
    Sequence(Arc<Vec<Node>>),
    Mapping(Arc<Vec<Entry>>),
}

/// A scalar: its text after unescaping, and what a plain one means.
#[derive(Debug)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) meaning: Meaning,
}

/// What a scalar means under the core schema.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Meaning {
    Null,
    Bool(bool),
    Number(f64),
    Text,
}

/// A key and its value.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: Node,
    pub(crate) value: Node,
}

impl Entry {
    /// The text of the key; the loader lets only scalars be keys.
    pub(crate) fn name(&self) -> &str {
        self.key.as_scalar().map_or("", |s| s.text.as_str())
    }
}

impl Node {
    pub(crate) fn as_scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        self.as_scalar().is_some_and(|s| s.meaning == Meaning::Null)
    }
}
