//! From parser events to the tree. Iterative, so that depth costs no stack;
//! every limit is checked before memory is spent.

use super::{Entry, Kind, MAX_DEPTH, MAX_NODES, MAX_TEXT, Meaning, Node, Scalar, scalar};
use crate::source::{Report, clip};
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, Tag};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// The tree of a document. `None` means that there is none to speak of; the
/// report then has an error. A tree may come with errors, such as duplicate keys.
pub(crate) fn load(report: &mut Report<'_>) -> Option<Node> {
    let text = report.source.text();
    let mut options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH + 1,
        block_nesting_limit: MAX_DEPTH + 1,
    };
    options.set_emit_comments(false);
    let mut loader =
        Loader { report, open: Vec::new(), anchors: HashMap::new(), nodes: 0, text: 0, root: None };
    for next in Parser::new_from_str_with_options(text, options) {
        let step = match next {
            Ok((event, span)) => loader.event(event, span),
            Err(error) => loader.syntax_error(&error),
        };
        if step.is_err() {
            return None;
        }
    }
    let root = loader.root.map(|built| built.node);
    if root.is_none() {
        report.error(0, "empty", "The document is empty");
    }
    root
}

/// Reading cannot go on; the report says why.
struct Stop;

/// A finished node with what it counts for when an alias repeats it.
#[derive(Clone)]
struct Built {
    node: Node,
    nodes: usize,
    text: usize,
    height: usize,
}

/// A collection that is not closed yet.
struct Frame {
    start: usize,
    anchor: usize,
    nodes: usize,
    text: usize,
    height: usize,
    items: Items,
}

enum Items {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<Entry>,
        key: Option<Node>,
        /// Folded keys and where they stand.
        seen: HashMap<String, usize>,
    },
}

struct Loader<'a, 's> {
    report: &'a mut Report<'s>,
    open: Vec<Frame>,
    anchors: HashMap<usize, Built>,
    nodes: usize,
    text: usize,
    root: Option<Built>,
}

impl Loader<'_, '_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        let start = offset(&span.start);
        let end = offset(&span.end);
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                let d = self.report.error(
                    start,
                    "multiple-documents",
                    "The file has more than one YAML document",
                );
                d.hint = Some("Put every document into a file of its own".to_owned());
                Err(Stop)
            }
            Event::Scalar(value, style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), &span);
                let built = Self::scalar(value, style, start, end);
                self.spend(built.nodes, built.text, start)?;
                self.finish(built, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), &span);
                self.open(start, anchor, Items::Sequence(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), &span);
                self.open(
                    start,
                    anchor,
                    Items::Mapping { entries: Vec::new(), key: None, seen: HashMap::new() },
                )
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(end),
            Event::Alias(id) => self.alias(id, start),
            _ => Ok(()),
        }
    }

    fn scalar(value: Cow<'_, str>, style: ScalarStyle, start: usize, end: usize) -> Built {
        let meaning = match style {
            ScalarStyle::Plain => scalar::resolve(&value),
            _ => Meaning::Text,
        };
        let text = value.len();
        let scalar = Arc::new(Scalar { text: value.into_owned(), meaning });
        Built { node: Node { start, end, kind: Kind::Scalar(scalar) }, nodes: 1, text, height: 0 }
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, span: &Span) {
        if tag.is_some() {
            let at = span.tag_start().as_ref().map_or_else(|| offset(&span.start), offset);
            let d = self.report.error(at, "yaml-tag", "YAML tags are not allowed");
            d.hint = Some("Remove the tag; quote the value to make it a string".to_owned());
        }
    }

    fn open(&mut self, start: usize, anchor: usize, items: Items) -> Result<(), Stop> {
        self.spend(1, 0, start)?;
        if self.open.len() >= MAX_DEPTH {
            return self.too_deep(start);
        }
        self.open.push(Frame { start, anchor, nodes: 1, text: 0, height: 1, items });
        Ok(())
    }

    fn close(&mut self, end: usize) -> Result<(), Stop> {
        let Some(frame) = self.open.pop() else { return Err(Stop) };
        let kind = match frame.items {
            Items::Sequence(items) => Kind::Sequence(Arc::new(items)),
            Items::Mapping { entries, .. } => Kind::Mapping(Arc::new(entries)),
        };
        let node = Node { start: frame.start, end, kind };
        let built = Built { node, nodes: frame.nodes, text: frame.text, height: frame.height };
        self.finish(built, frame.anchor)
    }

    fn alias(&mut self, id: usize, at: usize) -> Result<(), Stop> {
        let Some(target) = self.anchors.get(&id).cloned() else {
            let d = self.report.error(at, "yaml-alias", "The alias stands inside of what its anchor names");
            d.hint = Some("An anchored value cannot contain itself".to_owned());
            return Err(Stop);
        };
        self.spend(target.nodes, target.text, at)?;
        if self.open.len() + target.height > MAX_DEPTH {
            return self.too_deep(at);
        }
        self.finish(target, 0)
    }

    /// Counts nodes and text, aliased ones in full.
    fn spend(&mut self, nodes: usize, text: usize, at: usize) -> Result<(), Stop> {
        self.nodes += nodes;
        self.text += text;
        let limit = if self.nodes > MAX_NODES {
            format!("{MAX_NODES} values")
        } else if self.text > MAX_TEXT {
            format!("{} MiB of text", MAX_TEXT / 1024 / 1024)
        } else {
            return Ok(());
        };
        let message = format!("The document has more than {limit}, counting every alias as a copy");
        let d = self.report.error(at, "too-large", message);
        if !self.anchors.is_empty() {
            d.hint = Some("Aliases of aliases multiply; write the repeated part once".to_owned());
        }
        Err(Stop)
    }

    fn too_deep(&mut self, at: usize) -> Result<(), Stop> {
        self.report.error(at, "too-deep", format!("The document is nested deeper than {MAX_DEPTH} levels"));
        Err(Stop)
    }

    /// Puts a finished node where it belongs.
    fn finish(&mut self, built: Built, anchor: usize) -> Result<(), Stop> {
        if anchor != 0 {
            self.anchors.insert(anchor, built.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(built);
            return Ok(());
        };
        parent.nodes += built.nodes;
        parent.text += built.text;
        parent.height = parent.height.max(built.height + 1);
        match &mut parent.items {
            Items::Sequence(items) => items.push(built.node),
            Items::Mapping { entries, key, seen } => match key.take() {
                Some(key) => add_entry(self.report, entries, seen, Entry { key, value: built.node }),
                None => *key = Some(built.node),
            },
        }
        Ok(())
    }

    fn syntax_error(&mut self, error: &ScanError) -> Result<(), Stop> {
        let mut at = offset(error.marker());
        if is_tab(error.kind()) {
            // The scanner stops behind the tab.
            let before = self.report.source.slice(0, at);
            let line = before.rfind(['\n', '\r']).map_or(0, |end| end + 1);
            at = before[line..].rfind('\t').map_or(at, |tab| line + tab);
        }
        let (code, message, hint) = explain(error);
        let d = self.report.error(at, code, message);
        d.hint = hint.map(str::to_owned);
        Err(Stop)
    }
}

fn add_entry(
    report: &mut Report<'_>,
    entries: &mut Vec<Entry>,
    seen: &mut HashMap<String, usize>,
    entry: Entry,
) {
    let at = entry.key.start;
    let Some(key) = entry.key.as_scalar() else {
        report.error(at, "yaml-key", "A key must be a scalar, not a mapping or a sequence");
        return;
    };
    if key.text == "<<" {
        let d = report.error(at, "merge-key", "Merge keys are not supported");
        d.hint = Some("Repeat the keys, or give the whole mapping an anchor and use it as it is".to_owned());
        return;
    }
    // GitHub compares keys without regard to case.
    if let Some(first) = seen.get(&key.text.to_lowercase()) {
        let line = report.source.line_of(*first);
        let message = format!("'{}' is already defined on line {line}", clip(&key.text, 100));
        let d = report.error(at, "duplicate-key", message);
        d.hint = Some("Keys are compared without regard to case; remove one of the two".to_owned());
        return;
    }
    seen.insert(key.text.to_lowercase(), at);
    entries.push(entry);
}

fn is_tab(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInPlainScalar
    )
}

/// Code, message and hint for what the scanner did not like.
fn explain(error: &ScanError) -> (&'static str, String, Option<&'static str>) {
    const TABS: &str = "Indent with spaces; YAML does not allow tabs there";
    const QUOTE: &str = "Quote a value that contains ': ' or begins with a special character";
    let text = error.info();
    match error.kind() {
        ErrorKind::RecursionLimitExceeded => {
            ("too-deep", format!("The document is nested deeper than {MAX_DEPTH} levels"), None)
        }
        ErrorKind::UnknownAnchor => (
            "yaml-alias",
            "The alias names an anchor that does not exist".to_owned(),
            Some("Anchors must stand before their aliases; quote a value that begins with '*'"),
        ),
        kind if is_tab(kind) => ("yaml", "A tab is not allowed here".to_owned(), Some(TABS)),
        ErrorKind::InvalidQuotedScalarIndent | ErrorKind::UnclosedQuotedScalar => (
            "yaml",
            "A quoted value is not closed".to_owned(),
            Some("Add the closing quote; a quote within single quotes is written ''"),
        ),
        ErrorKind::UnknownQuotedScalarEscape => (
            "yaml",
            "Unknown escape within double quotes".to_owned(),
            Some("Write a backslash as \\\\, or use single quotes"),
        ),
        ErrorKind::UnclosedFlowCollection { open } => {
            ("yaml", format!("'{open}' is not closed"), Some("Add the closing bracket, or quote the value"))
        }
        ErrorKind::UnexpectedCharacter { character } => {
            ("yaml", format!("A plain value cannot begin with '{character}'"), Some(QUOTE))
        }
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => {
            ("yaml", "A mapping is not allowed here".to_owned(), Some(QUOTE))
        }
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::InvalidIndentation | ErrorKind::SimpleKeyExpected => {
            (
                "yaml",
                format!("Invalid YAML: {text}"),
                Some("Check the indentation of this line and the one before"),
            )
        }
        _ => ("yaml", format!("Invalid YAML: {text}"), None),
    }
}

fn offset(marker: &granit_parser::Marker) -> usize {
    marker.byte_offset().unwrap_or_default()
}
