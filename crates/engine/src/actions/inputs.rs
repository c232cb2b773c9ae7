//! The inputs of an action: what the step gives, what the manifest adds, and
//! the warnings that follow from the difference. Like at GitHub, nobody
//! insists on an input that the manifest calls required.

use super::Loaded;
use crate::attempt::{Attempt, StepRun};
use fleetfoot_actions::{ManifestInput, Runs};
use indexmap::IndexMap;

/// Inputs of actions that are containers, for the engine and not for the action.
const FOR_CONTAINERS: [&str; 2] = ["args", "entrypoint"];

impl Attempt<'_> {
    /// Evaluates what a step gives.
    pub(super) fn given(
        &self,
        run: &StepRun<'_>,
        with: &IndexMap<String, String>,
    ) -> Result<IndexMap<String, String>, String> {
        let scope = self.scope_of(run);
        with.iter()
            .map(|(name, template)| {
                let value = self.text(template, &scope).map_err(|e| format!("with.{name}: {e}"))?;
                Ok((name.clone(), value))
            })
            .collect()
    }

    /// All inputs of an action: names as the manifest writes them, defaults evaluated.
    pub(super) fn inputs(
        &self,
        run: &StepRun<'_>,
        loaded: &Loaded,
        given: &IndexMap<String, String>,
    ) -> Result<IndexMap<String, String>, String> {
        let declared = &loaded.manifest.inputs;
        let scope = self.scope_of(run);
        let mut inputs = IndexMap::with_capacity(declared.len() + given.len());
        for (name, input) in declared {
            let value = match find(given, name) {
                Some(value) => value.clone(),
                None => match &input.default {
                    Some(template) => self.text(template, &scope).map_err(|e| {
                        format!("the default of the input '{name}' of '{}': {e}", loaded.uses)
                    })?,
                    None => String::new(),
                },
            };
            inputs.insert(name.clone(), value);
        }
        for (name, value) in given {
            if declared_as(declared, name).is_none() {
                inputs.insert(name.clone(), value.clone());
            }
        }
        Ok(inputs)
    }
}

/// What is worth a warning about the inputs that a step gives.
pub(super) fn warnings(loaded: &Loaded, given: &IndexMap<String, String>) -> Vec<String> {
    let declared = &loaded.manifest.inputs;
    let container = matches!(loaded.manifest.runs, Runs::Docker { .. });
    let quoted = |names: Vec<&str>| names.iter().map(|n| format!("'{n}'")).collect::<Vec<_>>().join(", ");
    let unexpected: Vec<&str> = given
        .keys()
        .map(String::as_str)
        .filter(|name| declared_as(declared, name).is_none())
        .filter(|name| !(container && FOR_CONTAINERS.iter().any(|f| f.eq_ignore_ascii_case(name))))
        .collect();
    let mut warnings = Vec::new();
    if !unexpected.is_empty() {
        let valid = quoted(declared.keys().map(String::as_str).collect());
        warnings.push(format!("Unexpected input(s) {}, valid inputs are [{valid}]", quoted(unexpected)));
    }
    for name in given.keys() {
        if let Some(message) = declared_as(declared, name).and_then(|i| i.deprecation_message.as_ref()) {
            warnings.push(format!("Input '{name}' has been deprecated with message: {message}"));
        }
    }
    warnings
}

fn find<'m>(given: &'m IndexMap<String, String>, name: &str) -> Option<&'m String> {
    given.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn declared_as<'m>(declared: &'m IndexMap<String, ManifestInput>, name: &str) -> Option<&'m ManifestInput> {
    declared.iter().find(|(declared, _)| declared.eq_ignore_ascii_case(name)).map(|(_, input)| input)
}

/// The variable through which a JavaScript action reads an input: only spaces change.
pub(super) fn variable(name: &str) -> String {
    format!("INPUT_{}", name.replace(' ', "_").to_uppercase())
}
