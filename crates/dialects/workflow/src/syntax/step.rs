//! Steps: scripts and actions, their ids and their shells. Which of them run
//! in the background is the business of `background`; nothing is evaluated here.

use super::allowed::{self, Allowed};
use super::background::Draft;
use crate::source::{Report, clip};
use crate::yaml::{Entry, Kind, Node};
use fleetfoot_model::spec::{StepAction, StepSpec};
use std::collections::{HashMap, HashSet};

const SHELLS: &[&str] = &["bash", "sh", "pwsh", "powershell", "python", "cmd"];
const RUN_KEYS: &[&str] = &[
    "name",
    "id",
    "if",
    "timeout-minutes",
    "run",
    "continue-on-error",
    "env",
    "working-directory",
    "shell",
    "background",
];
const USES_KEYS: &[&str] =
    &["name", "id", "if", "timeout-minutes", "uses", "with", "continue-on-error", "env", "background"];
/// What a step can be; the others are control flow of background steps.
const KINDS: &[&str] = &["run", "uses", "wait", "wait-all", "cancel", "parallel"];

impl Report<'_> {
    pub(super) fn steps(&mut self, node: &Node) -> Vec<StepSpec> {
        let items = self.sequence(node, "a list of steps").unwrap_or_default();
        if items.is_empty() && matches!(node.kind, Kind::Sequence(_)) {
            self.error(node.start, "no-steps", "The job has no steps");
        }
        let mut ids = Ids::default();
        let mut drafts = Vec::with_capacity(items.len());
        for item in items {
            self.step(item, &mut ids, &mut drafts, false);
        }
        self.finish_steps(drafts, &mut ids)
    }

    fn step(&mut self, node: &Node, ids: &mut Ids, drafts: &mut Vec<Draft>, in_parallel: bool) -> Option<()> {
        let entries = self.mapping(node, "a mapping with the keys of a step")?;
        let get = |key: &str| entries.iter().find(|e| e.name() == key);
        let kinds: Vec<&Entry> = entries.iter().filter(|e| KINDS.contains(&e.name())).collect();
        let kind = match kinds.as_slice() {
            [one] => *one,
            [] => {
                let message = "There's not enough info to determine what you meant. Add one of these properties: run, uses";
                self.error(node.start, "step-kind", message);
                return None;
            }
            [first, second, ..] => {
                let message = format!("A step has '{}' or '{}', not both", first.name(), second.name());
                self.error(second.key.start, "step-kind", message).hint =
                    Some("Make two steps of it".to_owned());
                return None;
            }
        };
        let known: &[&str] = match kind.name() {
            "run" => RUN_KEYS,
            "uses" => USES_KEYS,
            "wait" => &["name", "id", "continue-on-error", "wait"],
            "wait-all" => &["name", "id", "continue-on-error", "wait-all"],
            "cancel" => &["name", "id", "continue-on-error", "cancel"],
            _ => &["name", "id", "continue-on-error", "parallel"],
        };
        self.step_keys(entries, known, kind.name());
        let id = get("id").and_then(|e| self.step_id(e, ids)).unwrap_or_default();
        let step_text = |report: &mut Self, key: &str| {
            get(key).and_then(|e| report.text(&e.value, Some(&allowed::STEP))).map(|t| t.raw)
        };
        let name = step_text(self, "name").filter(|name| !name.is_empty());
        let continue_on_error = get("continue-on-error")
            .and_then(|e| self.boolean(&e.value, &allowed::STEP).map(|_| literal_text(&e.value)));
        let timeout_minutes = get("timeout-minutes")
            .and_then(|e| self.minutes(&e.value, &allowed::STEP).map(|_| literal_text(&e.value)));
        let condition = get("if").and_then(|e| self.condition(&e.value, &allowed::STEP_IF)).map(|t| t.raw);
        let env = get("env").map(|e| self.env(&e.value, &allowed::STEP, false)).unwrap_or_default();
        let background = get("background").is_some_and(|e| self.background(e, in_parallel)) || in_parallel;
        let mut names = Vec::new();
        let mut members = None;
        let action = match kind.name() {
            "run" => StepAction::Run {
                script: self.script(&kind.value)?,
                shell: get("shell").and_then(|e| self.shell(&e.value, Some(&allowed::STEP))),
                working_directory: get("working-directory")
                    .and_then(|e| self.text(&e.value, Some(&allowed::STEP)))
                    .map(|t| t.raw),
            },
            "uses" => {
                let uses = self.uses(&kind.value)?;
                let with = self.with(&uses, get("with"));
                StepAction::Uses { uses, with }
            }
            _ if in_parallel => {
                self.refuse_in_parallel(kind);
                return None;
            }
            "parallel" => {
                let first = drafts.len();
                for item in self.parallel_members(&kind.value) {
                    self.step(item, ids, drafts, true);
                }
                members = Some(first..drafts.len());
                StepAction::Wait { steps: Vec::new() }
            }
            _ => {
                let (action, named) = self.control(kind)?;
                names = named;
                action
            }
        };
        let line = self.source.line_of(node.start);
        let env = env.as_map().cloned().unwrap_or_default();
        let step = StepSpec {
            id,
            name,
            condition,
            env,
            continue_on_error,
            timeout_minutes,
            action,
            background,
            line,
        };
        drafts.push(Draft { step, names, members });
        Some(())
    }

    fn step_keys(&mut self, entries: &[Entry], known: &[&str], kind: &str) {
        for entry in entries.iter().filter(|e| !known.contains(&e.name())) {
            let name = entry.name();
            let other = if USES_KEYS.contains(&name) {
                "uses"
            } else if RUN_KEYS.contains(&name) {
                "run"
            } else {
                self.unknown_key(entry, known, "a step");
                continue;
            };
            self.error(entry.key.start, "unknown-key", format!("Unexpected value '{name}'")).hint =
                Some(format!("'{name}' belongs to steps with '{other}', this one has '{kind}'"));
        }
    }

    fn step_id(&mut self, entry: &Entry, ids: &mut Ids) -> Option<String> {
        let id = self.non_empty(&entry.value, None)?.raw;
        if !self.identifier(&entry.value, &id) {
            return None;
        }
        if !ids.taken.insert(id.to_lowercase()) {
            let message =
                format!("The identifier '{id}' may not be used more than once within the same scope.");
            self.error(entry.value.start, "duplicate-id", message);
            return None;
        }
        Some(id)
    }

    fn script(&mut self, node: &Node) -> Option<String> {
        let script = self.text(node, Some(&allowed::STEP))?;
        self.warn_untrusted(&script);
        self.warn_deprecated(&script);
        Some(script.raw)
    }

    /// A shell by name, or a command line with the place of the script in it.
    pub(super) fn shell(&mut self, node: &Node, allowed: Option<&Allowed>) -> Option<String> {
        let shell = self.non_empty(node, allowed)?;
        let name = shell.raw.trim();
        if shell.template.is_none() && !SHELLS.contains(&name) && !name.contains("{0}") {
            let message = format!(
                "Invalid shell option '{}'. Shell must be a valid built-in ({}) or a format string containing '{{0}}'",
                clip(name, 100),
                SHELLS.join(", ")
            );
            self.error(node.start, "shell", message);
            return None;
        }
        Some(shell.raw)
    }

    fn uses(&mut self, node: &Node) -> Option<String> {
        let uses = self.non_empty(node, None)?.raw;
        let good = if let Some(image) = uses.strip_prefix("docker://") {
            !image.is_empty()
        } else {
            uses.starts_with("./") || uses.starts_with(".\\") || remote_name(&uses).is_some()
        };
        if good {
            self.note_unpinned(node.start, &uses);
            return Some(uses);
        }
        let message = format!("Expected format {{org}}/{{repo}}[/path]@ref. Actual '{}'", clip(&uses, 200));
        self.error(node.start, "uses", message).hint =
            Some("Also possible: ./path of an action in the repository, docker://image".to_owned());
        None
    }

    fn with(&mut self, uses: &str, entry: Option<&Entry>) -> indexmap::IndexMap<String, String> {
        let name = remote_name(uses).unwrap_or_default().to_lowercase();
        let Some(entry) = entry else { return indexmap::IndexMap::new() };
        let entries = self.mapping(&entry.value, "a mapping of inputs").unwrap_or_default();
        self.strings_seen(entries, &allowed::STEP, |report, input, text| {
            // It runs it as a program.
            if input == "script" && name.ends_with("/github-script") {
                report.warn_untrusted(text);
            }
            if name == "actions/checkout" {
                report.warn_foreign_code(input, text);
            }
        })
    }
}

/// A template or literal as it travels in the specification.
fn literal_text(node: &Node) -> String {
    node.as_scalar().map(super::read::scalar_text).unwrap_or_default()
}

/// `ORG/REPO` of a well-formed reference.
fn remote_name(uses: &str) -> Option<String> {
    let (path, version) = uses.split_once('@')?;
    let mut parts = path.split(['/', '\\']).filter(|s| !s.is_empty());
    let (org, repo) = (parts.next()?, parts.next()?);
    (!version.is_empty() && !version.contains('@')).then(|| format!("{org}/{repo}"))
}

/// Ids in use within one job, and the making of new ones.
#[derive(Default)]
pub(super) struct Ids {
    /// Folded to lower case.
    taken: HashSet<String>,
    /// Where to go on counting, by base.
    next: HashMap<String, usize>,
}

impl Ids {
    /// `__run`, `__run_2`, `__actions_checkout`, ...
    pub(super) fn generate(&mut self, action: &StepAction) -> String {
        let base = match action {
            StepAction::Run { .. } => "run".to_owned(),
            StepAction::Uses { uses, .. } => match uses.strip_prefix("docker://") {
                Some(image) => image.to_owned(),
                None if uses.starts_with('.') => "self".to_owned(),
                None => remote_name(uses).unwrap_or_else(|| "run".to_owned()),
            },
            StepAction::Wait { steps } if steps.is_empty() => "wait-all".to_owned(),
            StepAction::Wait { .. } => "wait".to_owned(),
            StepAction::Cancel { .. } => "cancel".to_owned(),
        };
        let legal = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
        let base: String = "__".chars().chain(base.chars().map(legal)).take(100).collect();
        let mut count = self.next.get(&base).copied().unwrap_or(1);
        loop {
            let suffix = if count == 1 { String::new() } else { format!("_{count}") };
            let room = 100 - suffix.len();
            let id: String = base.chars().take(room).chain(suffix.chars()).collect();
            count += 1;
            if self.taken.insert(id.to_lowercase()) {
                self.next.insert(base, count);
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_made_as_github_makes_them() {
        let mut ids = Ids::default();
        let run = || StepAction::Run { script: String::new(), shell: None, working_directory: None };
        let uses = |uses: &str| StepAction::Uses { uses: uses.to_owned(), with: indexmap::IndexMap::new() };
        assert_eq!(ids.generate(&run()), "__run");
        assert_eq!(ids.generate(&run()), "__run_2");
        assert_eq!(ids.generate(&uses("actions/checkout@v4")), "__actions_checkout");
        assert_eq!(ids.generate(&uses("actions/cache/save@v4")), "__actions_cache");
        assert_eq!(ids.generate(&uses("docker://alpine:3.8")), "__alpine_3_8");
        assert_eq!(ids.generate(&uses("./local")), "__self");
        assert_eq!(ids.generate(&run()), "__run_3");
    }
}
