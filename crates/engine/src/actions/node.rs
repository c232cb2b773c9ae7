//! Actions that are JavaScript: one process of the one `node` of this runner,
//! whatever version the manifest names. What the action may know comes in by
//! its environment, never on the command line.

use super::{Loaded, inputs};
use crate::attempt::{Attempt, StepRun};
use crate::outcome::Outcome;
use fleetfoot_model::state::Reason;
use indexmap::IndexMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

impl Attempt<'_> {
    /// Runs a script of an action.
    pub(super) async fn run_node(
        &self,
        run: &StepRun<'_>,
        loaded: &Loaded,
        script: &str,
        inputs: &IndexMap<String, String>,
    ) -> Outcome {
        let file = match loaded.file(script) {
            Ok(file) => file,
            Err(e) => return Outcome::failure(Reason::BadSpecification, e.message()),
        };
        let node = match self.node() {
            Ok(node) => node,
            Err(message) => return Outcome::failure(Reason::SetUpFailed, message),
        };
        let mut variables = self.variables(run);
        loaded.place.name_in(&mut variables);
        self.add_services(&mut variables, loaded.place.repository.as_deref());
        for (name, value) in inputs {
            variables.insert(inputs::variable(name), value.clone());
        }
        for (name, value) in self.actions.state(run.path) {
            variables.insert(format!("STATE_{name}"), value);
        }
        let script = self.cell.inside(&file).to_string_lossy().into_owned();
        let directory = self.workspace.workspace.clone();
        let candidates = vec![(node.to_string_lossy().into_owned(), vec![script])];
        let mut outcome = self.run_program(run, candidates, directory, variables).await;
        self.actions.remember(run.path, std::mem::take(&mut outcome.changes.state));
        outcome
    }

    /// The one node of this runner.
    fn node(&self) -> Result<PathBuf, String> {
        if let Some(node) = &self.config.node {
            return if is_program(node) {
                Ok(node.clone())
            } else {
                Err(format!(
                    "the configured node '{}' is no program: correct the setting 'node'",
                    node.display()
                ))
            };
        }
        // The PATH of the runner, not of the job: a step that installs another node must not change this one.
        let path =
            self.config.passed_env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_str());
        std::env::split_paths(path.unwrap_or(crate::step::DEFAULT_PATH))
            .map(|directory| directory.join("node"))
            .find(|candidate| is_program(candidate))
            .ok_or_else(|| {
                "JavaScript actions need node, and there is none on the PATH of this runner: install Node.js \
                 24, or name the program with the setting 'node' (FLEETFOOT_RUNNER_NODE)"
                    .to_owned()
            })
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
