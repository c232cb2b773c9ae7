//! `on`: events with their filters, schedules and inputs. Whether an event
//! matches is not decided here.

use super::allowed;
use super::cron;
use super::events::{EVENTS, Event};
use super::read::Fields;
use super::value::{Dynamic, Shape, Text};
use crate::source::{Report, clip, nearest};
use crate::yaml::{Entry, Kind, Node};
use fleetfoot_expr::Value;
use indexmap::IndexMap;

/// The most inputs that `workflow_dispatch` can have.
const MAX_DISPATCH_INPUTS: usize = 25;

/// One event under `on`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trigger {
    /// Name of the event (`push`).
    pub event: String,
    /// Line in the document, from 1.
    pub line: usize,
    /// Patterns by filter (`types`, `branches`, `paths-ignore`, `workflows`, ...)
    /// in the order of the document; a filter that is not there is not a key.
    pub filters: IndexMap<String, Vec<String>>,
    /// Times, for `schedule`.
    pub schedules: Vec<Schedule>,
}

/// One entry of `on.schedule`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Five fields of POSIX cron.
    pub cron: String,
    /// IANA name of the time zone; absent means UTC.
    pub timezone: Option<String>,
}

/// A declared input.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) at: usize,
    pub(crate) kind: InputKind,
    pub(crate) required: bool,
    pub(crate) default: Option<Dynamic>,
    pub(crate) options: Vec<String>,
}

/// Type of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// `string`, and what says nothing.
    Text,
    /// `boolean`
    Boolean,
    /// `number`
    Number,
    /// `choice`: one of the options.
    Choice,
    /// `environment`: the name of one.
    Environment,
}

/// An input of `on.workflow_dispatch` or `on.workflow_call`.
#[derive(Clone, Debug, PartialEq)]
pub struct InputDeclaration {
    /// Its name.
    pub name: String,
    /// What it is for; empty if the document does not say.
    pub description: String,
    /// What it takes.
    pub kind: InputKind,
    /// Whether it must be given.
    pub required: bool,
    /// Its value when it is not given: a string, a number or a boolean; of an expression, its text.
    pub default: Option<serde_json::Value>,
    /// What a choice can be.
    pub options: Vec<String>,
}

impl From<&Input> for InputDeclaration {
    fn from(input: &Input) -> Self {
        let default = input.default.as_ref().map(|default| match &default.shape {
            Shape::Expression(text) => serde_json::Value::from(text.raw.as_str()),
            _ => default.literal_value().to_json(),
        });
        Self {
            name: input.name.clone(),
            description: input.description.clone(),
            kind: input.kind,
            required: input.required,
            default,
            options: input.options.clone(),
        }
    }
}

impl From<InputDeclaration> for fleetfoot_model::observe::WorkflowInput {
    fn from(input: InputDeclaration) -> Self {
        let kind = match input.kind {
            InputKind::Text => "string",
            InputKind::Boolean => "boolean",
            InputKind::Number => "number",
            InputKind::Choice => "choice",
            InputKind::Environment => "environment",
        };
        Self {
            name: input.name,
            description: input.description,
            kind: kind.to_owned(),
            required: input.required,
            default: input.default,
            options: input.options,
        }
    }
}

/// What a reusable workflow takes and gives: `on.workflow_call`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallInterface {
    /// Inputs in the order of the document.
    pub inputs: Vec<InputDeclaration>,
    /// Secrets by name, and whether they are required.
    pub secrets: IndexMap<String, bool>,
    /// Outputs by name: templates over the `jobs` context.
    pub outputs: IndexMap<String, String>,
}

/// All of `on`.
#[derive(Default)]
pub(super) struct On {
    pub(super) triggers: Vec<Trigger>,
    pub(super) dispatch_inputs: Vec<Input>,
    pub(super) call_inputs: Vec<Input>,
    pub(super) call_secrets: IndexMap<String, bool>,
    pub(super) call_outputs: IndexMap<String, Text>,
}

impl Report<'_> {
    pub(super) fn on(&mut self, node: &Node) -> On {
        let mut on = On::default();
        match &node.kind {
            Kind::Scalar(_) => on.triggers.extend(self.event_name(node).map(|e| self.bare(e, node))),
            Kind::Sequence(items) => {
                if items.is_empty() {
                    self.error(node.start, "unexpected-value", "'on' names no event");
                }
                for item in items.iter() {
                    on.triggers.extend(self.event_name(item).map(|e| self.bare(e, item)));
                }
            }
            Kind::Mapping(entries) => {
                for entry in entries.iter() {
                    if let Some(event) = self.event_name(&entry.key) {
                        self.event(event, entry, &mut on);
                    }
                }
            }
        }
        on
    }

    fn bare(&self, event: &Event, node: &Node) -> Trigger {
        let line = self.source.line_of(node.start);
        Trigger { event: event.name.to_owned(), line, ..Trigger::default() }
    }

    fn event_name(&mut self, node: &Node) -> Option<&'static Event> {
        let name = self.word(node)?;
        let found = EVENTS.iter().find(|e| e.name == name);
        if found.is_none() {
            let hint =
                nearest(&name, EVENTS.iter().map(|e| e.name)).map(|word| format!("Did you mean '{word}'?"));
            let message = format!("Unexpected value '{}'", clip(&name, 100));
            self.error(node.start, "unknown-event", message).hint =
                hint.or_else(|| Some("It is not the name of an event".to_owned()));
        }
        found
    }

    fn event(&mut self, event: &'static Event, entry: &Entry, on: &mut On) {
        let mut trigger = self.bare(event, &entry.key);
        let node = &entry.value;
        if event.name == "schedule" {
            trigger.schedules = self.schedules(node);
        } else if !node.is_null() {
            let mut known = event.filters.to_vec();
            if !event.types.is_empty() {
                known.insert(0, "types");
            }
            if known.is_empty() {
                self.unexpected(node, &format!("nothing: '{}' has no filters", event.name));
            } else if let Some(fields) = self.fields(node, &known, &format!("'{}'", event.name)) {
                self.filters(event, &fields, &mut trigger);
                self.declarations(event, &fields, on);
            }
        }
        on.triggers.push(trigger);
    }

    fn filters(&mut self, event: &Event, fields: &Fields<'_>, trigger: &mut Trigger) {
        for filter in ["branches", "tags", "paths"] {
            let ignore = format!("{filter}-ignore");
            if let (Some(_), Some(second)) = (fields.entry(filter), fields.entry(&ignore)) {
                let message =
                    format!("you may only define one of `{filter}` and `{ignore}` for a single event");
                self.error(second.key.start, "conflicting-filters", message).hint = Some(format!(
                    "Use `{filter}` alone, with patterns that begin with `!` for what to leave out"
                ));
            }
        }
        let keys = ["types"].iter().chain(event.filters);
        for key in keys.filter(|k| !matches!(**k, "inputs" | "secrets" | "outputs")) {
            let Some(node) = fields.get(key) else { continue };
            let mut values = Vec::new();
            for (at, value) in self.words(node) {
                if *key == "types" && !event.types.is_empty() && !event.types.contains(&value.as_str()) {
                    let hint = match nearest(&value, event.types.iter().copied()) {
                        Some(word) => format!("Did you mean '{word}'?"),
                        None => format!("Activity types of '{}' are {}", event.name, event.types.join(", ")),
                    };
                    let message = format!("Unexpected value '{}'", clip(&value, 100));
                    self.error(at, "unexpected-value", message).hint = Some(hint);
                }
                values.push(value);
            }
            trigger.filters.insert((*key).to_owned(), values);
        }
    }

    fn schedules(&mut self, node: &Node) -> Vec<Schedule> {
        let mut all = Vec::new();
        for item in self.sequence(node, "a list of {cron: ...}").unwrap_or_default() {
            let Some(fields) = self.fields(item, &["cron", "timezone"], "a schedule") else { continue };
            let timezone = fields.get("timezone").and_then(|n| {
                let zone = self.word(n)?;
                let good = zone.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b));
                if !good {
                    self.unexpected(n, "the IANA name of a time zone, such as Europe/London");
                }
                good.then_some(zone)
            });
            let Some(node) = fields.get("cron") else {
                self.missing(item.start, "cron");
                continue;
            };
            let Some(cron) = self.word(node) else { continue };
            if cron.starts_with('$') {
                // Starter workflows have `$cron-daily`, which GitHub fills in when one is chosen.
                self.warning(
                    node.start,
                    "placeholder",
                    format!("'{}' is a placeholder: it never fires", clip(&cron, 100)),
                )
                .hint = Some("Write a cron expression of five fields in its place".to_owned());
            } else if let Some(problem) = cron::problem(&cron) {
                let message = format!("Invalid CRON expression '{}': {problem}", clip(&cron, 100));
                self.error(node.start, "cron", message).hint =
                    Some("Five fields: minute, hour, day of month, month, day of week".to_owned());
            }
            all.push(Schedule { cron, timezone });
        }
        all
    }

    fn declarations(&mut self, event: &Event, fields: &Fields<'_>, on: &mut On) {
        let call = event.name == "workflow_call";
        if let Some(node) = fields.get("inputs").filter(|n| !n.is_null()) {
            let inputs = self.inputs(node, call);
            if call {
                on.call_inputs = inputs;
            } else if event.name == "workflow_dispatch" {
                if inputs.len() > MAX_DISPATCH_INPUTS {
                    let message = format!(
                        "You may only define up to {MAX_DISPATCH_INPUTS} inputs for a `workflow_dispatch` event"
                    );
                    self.error(node.start, "too-many-inputs", message);
                }
                on.dispatch_inputs = inputs;
            }
        }
        if let Some(node) = fields.get("secrets").filter(|n| !n.is_null()) {
            for entry in self.mapping(node, "a mapping of secrets").unwrap_or_default() {
                on.call_secrets.insert(entry.name().to_owned(), false);
                if entry.value.is_null() {
                    continue;
                }
                let Some(secret) = self.fields(&entry.value, &["description", "required"], "a secret") else {
                    continue;
                };
                if let Some(n) = secret.get("description") {
                    self.text(n, None);
                }
                if let Some(n) = secret.get("required").and_then(|n| self.flag(n)) {
                    on.call_secrets.insert(entry.name().to_owned(), n);
                }
            }
        }
        if let Some(node) = fields.get("outputs").filter(|n| !n.is_null()) {
            for entry in self.mapping(node, "a mapping of outputs").unwrap_or_default() {
                self.identifier(&entry.key, entry.name());
                let Some(output) = self.fields(&entry.value, &["description", "value"], "an output") else {
                    continue;
                };
                if let Some(n) = output.get("description") {
                    self.text(n, None);
                }
                match output.get("value") {
                    Some(n) => {
                        let value = self.text(n, Some(&allowed::CALL_OUTPUT));
                        on.call_outputs.extend(value.map(|value| (entry.name().to_owned(), value)));
                    }
                    None => self.missing(entry.key.start, "value"),
                }
            }
        }
    }

    fn inputs(&mut self, node: &Node, call: bool) -> Vec<Input> {
        let entries = self.mapping(node, "a mapping of inputs").unwrap_or_default();
        entries.iter().filter_map(|entry| self.input(entry, call)).collect()
    }

    fn input(&mut self, entry: &Entry, call: bool) -> Option<Input> {
        let name = entry.name().to_owned();
        self.identifier(&entry.key, &name);
        let mut input = Input {
            name,
            description: String::new(),
            at: entry.key.start,
            kind: InputKind::Text,
            required: false,
            default: None,
            options: Vec::new(),
        };
        if entry.value.is_null() && !call {
            return Some(input);
        }
        let known: &[&str] = if call {
            &["description", "type", "required", "default", "deprecationMessage"]
        } else {
            &["description", "type", "required", "default", "options", "deprecationMessage"]
        };
        let fields = self.fields(&entry.value, known, "an input")?;
        if let Some(n) = fields.get("description") {
            input.description = self.text(n, None).map(|t| t.raw).unwrap_or_default();
        }
        if let Some(n) = fields.get("deprecationMessage") {
            self.text(n, None);
        }
        match fields.get("type") {
            Some(n) => {
                let known: &[&str] = if call {
                    &["string", "boolean", "number"]
                } else {
                    &["string", "boolean", "number", "choice", "environment"]
                };
                input.kind = match self.one_of(n, known)?.as_str() {
                    "boolean" => InputKind::Boolean,
                    "number" => InputKind::Number,
                    "choice" => InputKind::Choice,
                    "environment" => InputKind::Environment,
                    _ => InputKind::Text,
                };
            }
            None if call => self.missing(entry.key.start, "type"),
            None => {}
        }
        input.required = fields.get("required").and_then(|n| self.flag(n)).unwrap_or(false);
        if let Some(n) = fields.get("options") {
            for item in self.sequence(n, "a list of options").unwrap_or_default() {
                input.options.extend(self.text(item, None).map(|t| t.raw));
            }
        }
        if input.kind == InputKind::Choice && input.options.is_empty() {
            self.error(entry.key.start, "missing-key", "Required property is missing: options").hint =
                Some("An input of type choice needs a list of options".to_owned());
        }
        if let Some(n) = fields.get("default").filter(|n| !n.is_null()) {
            input.default = self.input_default(n, &input, call);
        }
        Some(input)
    }

    fn input_default(&mut self, node: &Node, input: &Input, call: bool) -> Option<Dynamic> {
        let Kind::Scalar(scalar) = &node.kind else {
            self.unexpected(node, "a string, a number or a boolean");
            return None;
        };
        let default = self.dynamic(node, call.then_some(&allowed::RUN))?;
        let Shape::Literal(value) = &default.shape else { return Some(default) };
        let text = super::read::scalar_text(scalar);
        let problem = match input.kind {
            // The web form has only text, so that 'true' in quotes is common.
            InputKind::Boolean if !matches!(text.as_str(), "true" | "false") => {
                Some("true or false".to_owned())
            }
            InputKind::Number if value.to_number().is_nan() => Some("a number".to_owned()),
            InputKind::Choice if !input.options.is_empty() && !input.options.contains(&text) => {
                Some(format!("one of the options: {}", input.options.join(", ")))
            }
            _ => None,
        };
        match problem {
            Some(expected) => {
                self.unexpected(node, &expected);
                None
            }
            None if matches!(input.kind, InputKind::Boolean | InputKind::Number) => Some(default),
            None => Some(Dynamic { start: node.start, shape: Shape::Literal(Value::from(text)) }),
        }
    }

    /// Ids of jobs, steps, inputs and outputs.
    pub(super) fn identifier(&mut self, node: &Node, id: &str) -> bool {
        let legal = |(i, c): (usize, char)| {
            c.is_ascii_alphabetic() || c == '_' || (i > 0 && (c.is_ascii_digit() || c == '-'))
        };
        let shown = clip(id, 120);
        let problem = if id.is_empty() || id.len() >= 100 || !id.chars().enumerate().all(legal) {
            format!(
                "The identifier '{shown}' is invalid. IDs may only contain alphanumeric characters, '_', and '-'. IDs must start with a letter or '_' and must be less than 100 characters."
            )
        } else if id.starts_with("__") {
            format!("The identifier '{shown}' is invalid. IDs starting with '__' are reserved.")
        } else {
            return true;
        };
        self.error(node.start, "invalid-id", problem);
        false
    }
}
