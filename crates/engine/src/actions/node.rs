//! Actions that are JavaScript: one process of the one `node` of this runner,
//! whatever version the manifest names. In the file system of an image the
//! node of the runner is tried first, then that of the image. What the action
//! may know comes in by its environment, never on the command line.

use super::{Loaded, inputs};
use crate::attempt::{Attempt, StepRun};
use crate::config::EngineConfig;
use crate::containers::NODE;
use crate::outcome::Outcome;
use fleetfoot_driver::Command;
use fleetfoot_model::state::Reason;
use indexmap::IndexMap;
use std::collections::HashMap;
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
        let mut variables = self.variables(run);
        let node = match self.node_here(run, &variables).await {
            Ok(node) => node,
            Err(outcome) => return *outcome,
        };
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
        let mut outcome = self.run_program(run, vec![(node, vec![script])], directory, variables).await;
        self.actions.remember(run.path, std::mem::take(&mut outcome.changes.state));
        outcome
    }

    /// The program that runs JavaScript where the job runs.
    async fn node_here(
        &self,
        run: &StepRun<'_>,
        variables: &HashMap<String, String>,
    ) -> Result<String, Box<Outcome>> {
        let failure = |message| Box::new(Outcome::failure(Reason::SetUpFailed, message));
        if !self.in_image {
            // In a boundary with files of its own it lies under its real name.
            let node = node(self.config).map_err(failure)?;
            let node = node.canonicalize().unwrap_or(node);
            return Ok(node.to_string_lossy().into_owned());
        }
        if let Some(known) = self.actions.known_node() {
            return Ok(known);
        }
        // The PATH of the image, not of the job: as on the host, a step must not change this one.
        let base = &self.environment.base;
        let path = base.iter().rev().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
        let mut variables = variables.clone();
        variables.insert("PATH".into(), path.unwrap_or_else(|| crate::step::DEFAULT_PATH.to_owned()));
        for candidate in [NODE, "node"] {
            let command = Command {
                program: candidate.to_owned(),
                args: vec!["--version".to_owned()],
                env: variables.clone(),
                working_directory: self.workspace.workspace.clone(),
                stdin: Vec::new(),
                merge_output: false,
            };
            // What it says is of no interest where it is only the wrong one for this image.
            let Ok(ran) = self.try_out(command, &self.watch(&run.leash)).await else { continue };
            if ran.stop.is_some() {
                let timed_out = self.look_around().timed_out;
                let outcome = Outcome::ended(&ran, &self.timeouts(&run.leash), timed_out);
                return Err(Box::new(outcome));
            }
            if ran.exit.code == Some(0) {
                self.actions.know_node(candidate);
                return Ok(candidate.to_owned());
            }
        }
        Err(failure(
            "JavaScript actions need node, and the image of this job has none: the node of the runner cannot \
             run in it either, or there is none. Use an image that has node, or install Node.js 24 for glibc \
             on the runner and name the program with the setting 'node' (FLEETFOOT_RUNNER_NODE)"
                .to_owned(),
        ))
    }
}

/// The one node of this runner.
pub(crate) fn node(config: &EngineConfig) -> Result<PathBuf, String> {
    if let Some(node) = &config.node {
        return if is_program(node) {
            Ok(node.clone())
        } else {
            Err(format!("the configured node '{}' is no program: correct the setting 'node'", node.display()))
        };
    }
    // The PATH of the runner, not of the job: a step that installs another node must not change this one.
    let path = config.passed_env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_str());
    std::env::split_paths(path.unwrap_or(crate::step::DEFAULT_PATH))
        .map(|directory| directory.join("node"))
        .find(|candidate| is_program(candidate))
        .ok_or_else(|| {
            "JavaScript actions need node, and there is none on the PATH of this runner: install Node.js \
             24, or name the program with the setting 'node' (FLEETFOOT_RUNNER_NODE)"
                .to_owned()
        })
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
