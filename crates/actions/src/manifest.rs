//! `action.yml`
use fleetfoot_model::diagnostic::{Diagnostic, Diagnostics, Source};
use fleetfoot_model::spec::StepSpec;
use indexmap::IndexMap;
use std::path::Path;

/// An action as its manifest describes it. Templates are not evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Its name; empty if the manifest gives none.
    pub name: String,
    /// What it is for; empty if the manifest does not say.
    pub description: String,
    /// Inputs by name as written. Names are compared without regard to case.
    pub inputs: IndexMap<String, ManifestInput>,
    /// Outputs by name.
    pub outputs: IndexMap<String, ManifestOutput>,
    /// How it runs.
    pub runs: Runs,
    /// What is suspicious but no error (a script with a value that a stranger can choose).
    pub warnings: Vec<Diagnostic>,
}

/// One input of an action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestInput {
    /// Its value if the step gives none (template: `github`, `strategy`, `matrix`, `job`, `runner`, `hashFiles`).
    pub default: Option<String>,
    /// Whether the author asks for it. Like GitHub, nobody enforces it.
    pub required: bool,
    /// A warning for those who use it (`deprecationMessage`).
    pub deprecation_message: Option<String>,
}

/// One output of an action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestOutput {
    /// What it is.
    pub description: String,
    /// Composite actions: the value (template over `steps`, `inputs`, ...).
    pub value: Option<String>,
}

/// `runs`: how an action runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Runs {
    /// JavaScript.
    Node {
        /// Version as asked for: `12`, `16`, `20`, `24`.
        version: String,
        /// Script, relative to the directory of the action.
        main: String,
        /// Script before the first step of the job.
        pre: Option<String>,
        /// Condition of `pre`; absent means `always()`.
        pre_if: Option<String>,
        /// Script after the last step of the job.
        post: Option<String>,
        /// Condition of `post`; absent means `always()`.
        post_if: Option<String>,
    },
    /// Steps. Every id is set, as written or generated; every `run` step has a shell.
    Composite {
        /// The steps in order.
        steps: Vec<StepSpec>,
    },
    /// A container.
    Docker {
        /// `docker://IMAGE`, or the path of a `Dockerfile` relative to the directory of the action.
        image: String,
        /// Arguments (templates over `inputs`).
        args: Vec<String>,
        /// Entry point instead of the image's own.
        entrypoint: Option<String>,
        /// Entry point before the first step of the job.
        pre_entrypoint: Option<String>,
        /// Condition of `pre_entrypoint`; absent means `always()`.
        pre_if: Option<String>,
        /// Entry point after the last step of the job.
        post_entrypoint: Option<String>,
        /// Condition of `post_entrypoint`; absent means `always()`.
        post_if: Option<String>,
        /// Environment (templates over `inputs`).
        env: IndexMap<String, String>,
    },
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// All findings, with their places, if one of them makes the manifest unusable.
    pub fn parse(source: &Source) -> Result<Self, Diagnostics> {
        let _ = source;
        Err(Diagnostics::default())
    }

    /// Finds and reads the manifest of the action in a directory: `action.yml`, `action.yaml`, or a
    /// bare `Dockerfile`. Blocks on the disk.
    ///
    /// # Errors
    /// `NoManifest`, `BadManifest` or `Io`.
    pub fn load(dir: &Path) -> Result<Self, crate::ActionError> {
        let _ = dir;
        Err(crate::ActionError::new(crate::ActionErrorKind::NoManifest, "no manifest"))
    }
}
