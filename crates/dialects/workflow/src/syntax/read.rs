//! The reading tools that all parts of the syntax share: what kind of node a
//! key takes, which keys a mapping has, which expressions may stand there.

use super::allowed::Allowed;
use super::places;
use super::value::{Dynamic, Shape, Text};
use crate::source::{Report, clip, nearest, one_line};
use crate::yaml::{Entry, Kind, Meaning, Node, Scalar};
use fleetfoot_expr::{ExprError, Template, Value};

/// The entries of a mapping that has been checked for unknown keys.
pub(super) struct Fields<'n> {
    entries: &'n [Entry],
}

impl<'n> Fields<'n> {
    pub(super) fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|e| e.name() == key)
    }

    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|e| &e.value)
    }
}

/// The text of a scalar where a string is asked for: numbers and booleans
/// are written as GitHub writes them (`3.10` becomes `3.1`).
pub(super) fn scalar_text(scalar: &Scalar) -> String {
    match scalar.meaning {
        Meaning::Null => String::new(),
        Meaning::Bool(value) => value.to_string(),
        Meaning::Number(value) => Value::Number(value).to_display_string(),
        Meaning::Text => scalar.text.clone(),
    }
}

pub(super) fn scalar_value(scalar: &Scalar) -> Value {
    match scalar.meaning {
        Meaning::Null => Value::Null,
        Meaning::Bool(value) => Value::Bool(value),
        Meaning::Number(value) => Value::Number(value),
        Meaning::Text => Value::from(scalar.text.as_str()),
    }
}

fn has_expression(node: &Node) -> bool {
    node.as_scalar().is_some_and(|s| s.meaning == Meaning::Text && s.text.contains("${{"))
}

impl Report<'_> {
    /// `Unexpected value 'x'`, in the words that fit the node.
    pub(super) fn unexpected(&mut self, node: &Node, expected: &str) {
        let message = match &node.kind {
            Kind::Scalar(scalar) => format!("Unexpected value '{}'", clip(&scalar.text, 100)),
            Kind::Sequence(_) => "A sequence was not expected".to_owned(),
            Kind::Mapping(_) => "A mapping was not expected".to_owned(),
        };
        self.error(node.start, "unexpected-value", message).hint = Some(format!("Expected {expected}"));
    }

    /// A mapping, whatever its keys.
    pub(super) fn mapping<'n>(&mut self, node: &'n Node, expected: &str) -> Option<&'n [Entry]> {
        match &node.kind {
            Kind::Mapping(entries) => Some(entries),
            _ => {
                self.unexpected(node, expected);
                None
            }
        }
    }

    /// A sequence of whatever.
    pub(super) fn sequence<'n>(&mut self, node: &'n Node, expected: &str) -> Option<&'n [Node]> {
        match &node.kind {
            Kind::Sequence(items) => Some(items),
            _ => {
                self.unexpected(node, expected);
                None
            }
        }
    }

    /// A mapping with these keys only. `place` completes "not a key of ...".
    pub(super) fn fields<'n>(&mut self, node: &'n Node, known: &[&str], place: &str) -> Option<Fields<'n>> {
        let entries = self.mapping(node, &format!("a mapping: {place} has the keys {}", known.join(", ")))?;
        for entry in entries.iter().filter(|e| !known.contains(&e.name())) {
            self.unknown_key(entry, known, place);
        }
        Some(Fields { entries })
    }

    pub(super) fn unknown_key(&mut self, entry: &Entry, known: &[&str], place: &str) {
        if self.is_full() {
            return;
        }
        let name = clip(entry.name(), 100);
        let hint = match nearest(&name, known.iter().copied()) {
            Some(word) => format!("Did you mean '{word}'?"),
            None => format!("'{name}' is not a key of {place}; its keys are {}", known.join(", ")),
        };
        let message = format!("Unexpected value '{name}'");
        self.error(entry.key.start, "unknown-key", message).hint = Some(hint);
    }

    pub(super) fn missing(&mut self, at: usize, key: &str) {
        self.error(at, "missing-key", format!("Required property is missing: {key}"));
    }

    /// A warning that a key is understood but has no effect.
    pub(crate) fn not_enforced(&mut self, at: usize, what: &str, hint: &str) {
        let message = format!("'{what}' is recognised but not enforced yet");
        self.warning(at, "not-enforced", message).hint = Some(hint.to_owned());
    }

    /// A scalar as text. Expressions are checked against what is allowed.
    pub(super) fn text(&mut self, node: &Node, allowed: Option<&Allowed>) -> Option<Text> {
        let Some(scalar) = node.as_scalar() else {
            self.unexpected(node, "a string");
            return None;
        };
        self.template(node, scalar_text(scalar), allowed)
    }

    /// The same, but not empty.
    pub(super) fn non_empty(&mut self, node: &Node, allowed: Option<&Allowed>) -> Option<Text> {
        if node.as_scalar().is_some_and(|s| scalar_text(s).is_empty()) {
            self.unexpected(node, "a string that is not empty");
            return None;
        }
        self.text(node, allowed)
    }

    /// A literal string that is not empty.
    pub(super) fn word(&mut self, node: &Node) -> Option<String> {
        self.non_empty(node, None).map(|t| t.raw)
    }

    /// One literal string, or a list of them.
    pub(super) fn words(&mut self, node: &Node) -> Vec<(usize, String)> {
        match &node.kind {
            Kind::Sequence(items) => {
                items.iter().filter_map(|item| Some((item.start, self.word(item)?))).collect()
            }
            Kind::Scalar(_) => self.word(node).map(|word| (node.start, word)).into_iter().collect(),
            Kind::Mapping(_) => {
                self.unexpected(node, "a string or a list of strings");
                Vec::new()
            }
        }
    }

    /// One of a few literal words.
    pub(super) fn one_of(&mut self, node: &Node, known: &[&str]) -> Option<String> {
        let text = node.as_scalar().map(scalar_text).unwrap_or_default();
        if known.contains(&text.as_str()) {
            return Some(text);
        }
        match nearest(&text, known.iter().copied()) {
            Some(word) if node.as_scalar().is_some() && !text.is_empty() => {
                let message = format!("Unexpected value '{}'", clip(&text, 100));
                self.error(node.start, "unexpected-value", message).hint =
                    Some(format!("Did you mean '{word}'?"));
            }
            _ => self.unexpected(node, &format!("one of: {}", known.join(", "))),
        }
        None
    }

    /// A literal boolean.
    pub(super) fn flag(&mut self, node: &Node) -> Option<bool> {
        match node.as_scalar().map(|s| s.meaning) {
            Some(Meaning::Bool(value)) => Some(value),
            _ => {
                self.unexpected(node, "true or false");
                None
            }
        }
    }

    /// A literal number within bounds.
    pub(super) fn number(&mut self, node: &Node, least: f64, most: f64, whole: bool) -> Option<f64> {
        match node.as_scalar().map(|s| s.meaning) {
            Some(Meaning::Number(n)) if n >= least && n <= most && (!whole || n.fract() == 0.0) => Some(n),
            _ => {
                let kind = if whole { "a whole number" } else { "a number" };
                self.unexpected(node, &format!("{kind} from {least} to {most}"));
                None
            }
        }
    }

    /// A boolean, or an expression that gives one.
    pub(super) fn boolean(&mut self, node: &Node, allowed: &Allowed) -> Option<Dynamic> {
        if !has_expression(node) {
            self.flag(node)?;
        }
        self.dynamic(node, Some(allowed))
    }

    /// Minutes: more than zero, or an expression that gives a number.
    pub(super) fn minutes(&mut self, node: &Node, allowed: &Allowed) -> Option<Dynamic> {
        if !has_expression(node) {
            self.literal_minutes(node)?;
        }
        self.dynamic(node, Some(allowed))
    }

    /// Literal minutes, in seconds.
    pub(super) fn literal_minutes(&mut self, node: &Node) -> Option<u64> {
        let minutes = match node.as_scalar().map(|s| s.meaning) {
            Some(Meaning::Number(n)) => crate::plan::minutes_to_seconds(n),
            _ => None,
        };
        if minutes.is_none() {
            self.unexpected(node, "a number of minutes greater than 0");
        }
        minutes
    }

    /// Any value, with the expressions in it.
    pub(super) fn dynamic(&mut self, node: &Node, allowed: Option<&Allowed>) -> Option<Dynamic> {
        let shape = match &node.kind {
            Kind::Scalar(_) if has_expression(node) => Shape::Expression(self.text(node, allowed)?),
            Kind::Scalar(scalar) => Shape::Literal(scalar_value(scalar)),
            Kind::Sequence(items) => {
                Shape::Sequence(items.iter().filter_map(|item| self.dynamic(item, allowed)).collect())
            }
            Kind::Mapping(entries) => {
                Shape::Mapping(entries.iter().filter_map(|e| self.pair(e, allowed)).collect())
            }
        };
        Some(Dynamic { start: node.start, shape })
    }

    fn pair(&mut self, entry: &Entry, allowed: Option<&Allowed>) -> Option<(Text, Dynamic)> {
        let insert = allowed.is_some()
            && has_expression(&entry.key)
            && Template::parse(entry.name()).is_ok_and(|t| t.is_insert_directive());
        let key = if insert {
            let template = Template::parse(entry.name()).ok().map(Box::new);
            Text { start: entry.key.start, end: entry.key.end, raw: entry.name().to_owned(), template }
        } else {
            self.text(&entry.key, allowed)?
        };
        Some((key, self.dynamic(&entry.value, allowed)?))
    }

    fn template(&mut self, node: &Node, raw: String, allowed: Option<&Allowed>) -> Option<Text> {
        if !raw.contains("${{") {
            return Some(Text { start: node.start, end: node.end, raw, template: None });
        }
        let Some(allowed) = allowed else {
            let at =
                places::locate(self.source, node.start, node.end, &raw, raw.find("${{").unwrap_or_default());
            let message = "A template expression is not allowed in this context";
            self.error(at, "expression-not-allowed", message).hint =
                Some("Write the value itself".to_owned());
            return None;
        };
        if self.is_full() {
            return None;
        }
        let template = match Template::parse(&raw) {
            Ok(template) => template,
            Err(error) => {
                self.expression_error(node, &raw, &error, Some(allowed));
                return None;
            }
        };
        let mut good = true;
        for (_, expr) in template.expressions() {
            if let Err(error) = expr.check(allowed.contexts, allowed.functions) {
                self.expression_error(node, &raw, &error, Some(allowed));
                good = false;
            }
        }
        good.then(|| Text { start: node.start, end: node.end, raw, template: Some(Box::new(template)) })
    }

    /// The text of an `if`, checked; `None` if it is empty or wrong.
    pub(super) fn condition(&mut self, node: &Node, allowed: &Allowed) -> Option<Text> {
        let Some(scalar) = node.as_scalar() else {
            self.unexpected(node, "an expression");
            return None;
        };
        let raw = scalar_text(scalar);
        if raw.trim().is_empty() {
            return None;
        }
        let checked =
            fleetfoot_expr::condition(&raw).and_then(|expr| expr.check(allowed.contexts, allowed.functions));
        if let Err(error) = checked {
            self.expression_error(node, &raw, &error, Some(allowed));
            return None;
        }
        if fleetfoot_expr::condition_is_always_true_trap(&raw) {
            self.warn_always_true(node);
        }
        Some(Text { start: node.start, end: node.end, raw, template: None })
    }

    fn expression_error(&mut self, node: &Node, raw: &str, error: &ExprError, allowed: Option<&Allowed>) {
        if self.is_full() {
            return;
        }
        let at = places::locate(self.source, node.start, node.end, raw, error.position);
        let hint = allowed.and_then(|allowed| expression_hint(&error.message, allowed));
        self.error(at, "expression", one_line(&error.message)).hint = hint;
    }
}

/// For unknown names: the nearest known one, or all of them.
fn expression_hint(message: &str, allowed: &Allowed) -> Option<String> {
    let (what, rest) = message.split_once(": '")?;
    let (name, _) = rest.split_once('\'')?;
    let known: Vec<&str> = match what {
        "Unrecognized named-value" => allowed.contexts.to_vec(),
        "Unrecognized function" => fleetfoot_expr::BUILTIN_FUNCTIONS
            .iter()
            .chain(allowed.functions)
            .map(|(name, ..)| *name)
            .collect(),
        _ => return None,
    };
    Some(match nearest(name, known.iter().copied()) {
        Some(word) if !word.eq_ignore_ascii_case(name) => format!("Did you mean '{word}'?"),
        _ => format!("Available here: {}", known.join(", ")),
    })
}
