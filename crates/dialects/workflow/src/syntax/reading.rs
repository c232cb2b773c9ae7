//! The reader of workflows, opened for documents that are written in the same
//! language but are none: manifests of actions. It offers places, kinds of
//! nodes, checked templates and the steps of composite actions; what a
//! document means is its caller's business. Nothing is evaluated.

use super::allowed::{self, Allowed};
use super::read;
use crate::source::{Report, SourceText};
use crate::yaml::{self, Kind};
use fleetfoot_model::diagnostic::{Diagnostic, Diagnostics, Source};
use fleetfoot_model::spec::StepSpec;
use std::collections::HashSet;

/// Defaults of inputs.
const INPUT_DEFAULT: Allowed = Allowed {
    contexts: &["github", "strategy", "matrix", "job", "runner"],
    functions: allowed::STEP.functions,
};

/// Outputs of a composite action.
const OUTPUT: Allowed = Allowed { contexts: COMPOSITE.contexts, functions: INPUTS.functions };

/// Steps of a composite action: neither `secrets` nor `vars` nor `needs`.
const COMPOSITE: Allowed = Allowed {
    contexts: &["github", "inputs", "strategy", "matrix", "steps", "job", "runner", "env"],
    functions: allowed::STEP.functions,
};

const COMPOSITE_IF: Allowed = Allowed { contexts: COMPOSITE.contexts, functions: allowed::STEP_IF.functions };

/// Arguments and environment of a container action.
const INPUTS: Allowed = Allowed { contexts: &["inputs"], functions: &[] };

/// What makes steps run beside each other, or wait.
const CONTROL: &[&str] = &["background", "wait", "wait-all", "cancel", "parallel"];

/// Which expressions may stand in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// None.
    Literal,
    /// `inputs.<name>.default`: `github`, `strategy`, `matrix`, `job`, `runner`, `hashFiles`.
    InputDefault,
    /// `outputs.<name>.value`: the contexts of a composite step.
    Output,
    /// `runs.args` and `runs.env`: `inputs`.
    Container,
}

impl Place {
    const fn allowed(self) -> Option<&'static Allowed> {
        match self {
            Self::Literal => None,
            Self::InputDefault => Some(&INPUT_DEFAULT),
            Self::Output => Some(&OUTPUT),
            Self::Container => Some(&INPUTS),
        }
    }
}

/// A part of a document that knows where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Part<'n>(&'n yaml::Node);

/// A key of a mapping and its value.
#[derive(Clone, Copy, Debug)]
pub struct Field<'n> {
    /// The key as text.
    pub name: &'n str,
    /// The key.
    pub key: Part<'n>,
    /// The value.
    pub value: Part<'n>,
}

impl Part<'_> {
    /// Whether there is nothing (`null`, `~`, or no value at all).
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// A scalar as text, whatever is in it.
    #[must_use]
    pub fn raw_text(&self) -> Option<String> {
        self.0.as_scalar().map(read::scalar_text)
    }

    /// Whether it is a boolean or a string that says `true`.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.raw_text().is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }
}

/// Takes a document apart and collects what is wrong with it.
#[derive(Debug)]
pub struct Reader<'a, 's>(&'a mut Report<'s>);

/// Decodes a document within the limits of workflows on size, depth and aliases, and has it read.
/// Answers what was read, and the warnings.
///
/// # Errors
/// All findings, if at least one is an error.
pub fn read_document<T>(
    source: &Source,
    read: impl FnOnce(&mut Reader<'_, '_>, Part<'_>) -> T,
) -> Result<(T, Vec<Diagnostic>), Diagnostics> {
    let source = SourceText::decode(source).map_err(|d| Diagnostics(vec![d]))?;
    let mut report = Report::new(&source);
    let root = yaml::load(&mut report);
    let value = root.map(|root| read(&mut Reader(&mut report), Part(&root)));
    let mut found = report.finish();
    // Steps are looked at twice, with the rules of actions and with those of steps.
    let mut seen = HashSet::new();
    found.0.retain(|d| seen.insert((d.line, d.column, d.code.clone())));
    match value {
        Some(value) if !found.has_errors() => Ok((value, found.0)),
        _ => Err(found),
    }
}

impl Reader<'_, '_> {
    /// Adds an error.
    pub fn error(&mut self, part: Part<'_>, code: &str, message: impl Into<String>, hint: Option<String>) {
        self.0.error(part.0.start, code, message).hint = hint;
    }

    /// Adds the error that a key is missing in a mapping.
    pub fn missing(&mut self, part: Part<'_>, key: &str) {
        self.0.missing(part.0.start, key);
    }

    /// A mapping with these keys only; `place` completes "not a key of ...".
    pub fn fields<'n>(&mut self, part: Part<'n>, known: &[&str], place: &str) -> Option<Vec<Field<'n>>> {
        self.0.fields(part.0, known, place)?;
        self.entries(part, "a mapping")
    }

    /// A mapping, whatever its keys.
    pub fn entries<'n>(&mut self, part: Part<'n>, expected: &str) -> Option<Vec<Field<'n>>> {
        let entries = self.0.mapping(part.0, expected)?;
        let fields = entries.iter();
        Some(fields.map(|e| Field { name: e.name(), key: Part(&e.key), value: Part(&e.value) }).collect())
    }

    /// A sequence of whatever.
    pub fn items<'n>(&mut self, part: Part<'n>, expected: &str) -> Option<Vec<Part<'n>>> {
        Some(self.0.sequence(part.0, expected)?.iter().map(Part).collect())
    }

    /// A scalar as text; the expressions in it are checked.
    pub fn text(&mut self, part: Part<'_>, place: Place) -> Option<String> {
        self.0.text(part.0, place.allowed()).map(|t| t.raw)
    }

    /// The same, but not empty.
    pub fn non_empty(&mut self, part: Part<'_>, place: Place) -> Option<String> {
        self.0.non_empty(part.0, place.allowed()).map(|t| t.raw)
    }

    /// A condition of an action as a whole (`pre-if`, `post-if`): everything that `if` of a step may use.
    pub fn condition(&mut self, part: Part<'_>) -> Option<String> {
        self.0.condition(part.0, &allowed::STEP_IF).map(|t| t.raw)
    }

    /// Steps of a composite action: those of a job with fewer contexts, a shell wherever there is a
    /// script, and nothing that runs in the background. Ids are set as in a job.
    pub fn composite_steps(&mut self, part: Part<'_>) -> Vec<StepSpec> {
        let Some(items) = self.0.sequence(part.0, "a list of steps") else { return Vec::new() };
        if items.is_empty() {
            return Vec::new();
        }
        for item in items {
            self.composite_step(item);
        }
        self.0.steps(part.0)
    }

    fn composite_step(&mut self, node: &yaml::Node) {
        let Kind::Mapping(entries) = &node.kind else { return };
        for entry in entries.iter() {
            let value = &entry.value;
            match entry.name() {
                "if" => drop(self.0.condition(value, &COMPOSITE_IF)),
                "name" | "run" | "shell" | "working-directory" | "continue-on-error" | "timeout-minutes" => {
                    drop(self.0.text(value, Some(&COMPOSITE)));
                }
                "env" | "with" => match &value.kind {
                    Kind::Mapping(entries) => drop(self.0.strings(entries, &COMPOSITE)),
                    _ => drop(self.0.text(value, Some(&COMPOSITE))),
                },
                name if CONTROL.contains(&name) => {
                    let message = format!("'{name}' is not possible in the steps of an action");
                    self.0.error(entry.key.start, "not-supported", message).hint =
                        Some("Only steps of a job can run beside each other".to_owned());
                }
                _ => {}
            }
        }
        let has = |key: &str| entries.iter().any(|e| e.name() == key);
        if has("run") && !has("shell") {
            let message = "Required property is missing: shell";
            self.0.error(node.start, "missing-key", message).hint = Some(
                "Steps of an action name their shell, because no default reaches them: shell: bash"
                    .to_owned(),
            );
        }
    }
}
