//! `action.yml`: inputs, outputs and how an action runs, checked as GitHub
//! checks it and no more: keys that GitHub ignores are ignored, templates are
//! checked for their contexts but never evaluated. Reading is bounded in size,
//! depth and aliases, and never follows a link out of the action's repository.
//!
//! Contexts by key: `inputs.*.default` sees `github`, `strategy`, `matrix`,
//! `job`, `runner` and `hashFiles`; `runs.args` and `runs.env` see `inputs`;
//! everything of a composite step sees `github`, `inputs`, `strategy`,
//! `matrix`, `steps`, `job`, `runner`, `env` and `hashFiles`, its `if` the
//! status functions too; `outputs.*.value` sees the same contexts without
//! functions; `pre-if` and `post-if` see what `if` of a job's step sees.
//! Descriptions are text, whatever is in them.

use crate::error::{ActionError, ActionErrorKind};
use crate::files;
use fleetfoot_model::diagnostic::{Diagnostic, Diagnostics, Source};
use fleetfoot_model::spec::StepSpec;
use fleetfoot_workflow::reading::{Field, Part, Place, Reader, read_document};
use indexmap::IndexMap;
use std::path::Path;

/// Names of manifests, in the order in which they are looked for.
const NAMES: [&str; 2] = ["action.yml", "action.yaml"];
/// Names of a recipe that is an action without a manifest.
const RECIPES: [&str; 2] = ["Dockerfile", "dockerfile"];
/// Versions of Node.js that GitHub has or had.
const NODE: [&str; 4] = ["12", "16", "20", "24"];

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
        let (manifest, warnings) = read_document(source, root)?;
        match manifest {
            Some(manifest) => Ok(Self { warnings, ..manifest }),
            // Whoever gives no manifest has said why.
            None => Err(Diagnostics(warnings)),
        }
    }

    /// Finds and reads the manifest of the action in a directory: `action.yml`, `action.yaml`, or a
    /// bare `Dockerfile`. A manifest that is a link to somewhere outside of the directory is not read;
    /// see [`Manifest::load_within`]. Blocks on the disk.
    ///
    /// # Errors
    /// `NoManifest`, `BadManifest` or `Io`.
    pub fn load(dir: &Path) -> Result<Self, ActionError> {
        Self::load_within(dir, dir)
    }

    /// The same for an action in a sub-directory of a repository: links may lead to any place of it.
    ///
    /// # Errors
    /// As [`Manifest::load`].
    pub fn load_within(dir: &Path, root: &Path) -> Result<Self, ActionError> {
        for name in NAMES {
            let path = dir.join(name);
            let Some(bytes) = files::read_within(&path, root)? else { continue };
            let shown = path.display().to_string();
            return Self::parse(&Source::new(shown, bytes)).map_err(|found| {
                let first = found.0.first().map_or_else(String::new, |d| {
                    format!(": {}:{}:{}: {}", d.file, d.line, d.column, d.message)
                });
                let message = format!("the manifest of the action cannot be used{first}\n\n{found}");
                ActionError::new(ActionErrorKind::BadManifest, message)
            });
        }
        for name in RECIPES {
            if files::is_file_within(&dir.join(name), root) {
                return Ok(Self::of_recipe(name));
            }
        }
        let message = format!(
            "there is no action in '{}': no 'action.yml', 'action.yaml' or 'Dockerfile'. If the action is in the repository of the workflow, did a step run actions/checkout before?",
            dir.display()
        );
        Err(ActionError::new(ActionErrorKind::NoManifest, message))
    }

    fn of_recipe(name: &str) -> Self {
        Self {
            name: String::new(),
            description: String::new(),
            inputs: IndexMap::new(),
            outputs: IndexMap::new(),
            runs: Runs::Docker {
                image: name.to_owned(),
                args: Vec::new(),
                entrypoint: None,
                pre_entrypoint: None,
                pre_if: None,
                post_entrypoint: None,
                post_if: None,
                env: IndexMap::new(),
            },
            warnings: Vec::new(),
        }
    }
}

fn root(reader: &mut Reader<'_, '_>, root: Part<'_>) -> Option<Manifest> {
    let fields = reader.entries(root, "a mapping with the key runs")?;
    let get = |key: &str| fields.iter().find(|f| f.name == key);
    let text = |key: &str| get(key).and_then(|f| f.value.raw_text()).unwrap_or_default();
    let inputs = get("inputs").map(|f| inputs(reader, f.value)).unwrap_or_default();
    let outputs = get("outputs").map(|f| outputs(reader, f.value)).unwrap_or_default();
    let Some(field) = get("runs") else {
        let hint = "Add 'runs' with 'using: composite', 'using: node24' or 'using: docker'";
        reader.error(root, "missing-key", "Top level 'runs:' section is required", Some(hint.to_owned()));
        return None;
    };
    let runs = runs(reader, field.value)?;
    Some(Manifest {
        name: text("name"),
        description: text("description"),
        inputs,
        outputs,
        runs,
        warnings: Vec::new(),
    })
}

fn inputs(reader: &mut Reader<'_, '_>, part: Part<'_>) -> IndexMap<String, ManifestInput> {
    let mut inputs = IndexMap::new();
    if part.is_null() {
        return inputs;
    }
    for input in reader.entries(part, "a mapping of inputs").unwrap_or_default() {
        let mut read = ManifestInput::default();
        let fields = match input.value.is_null() {
            true => Vec::new(),
            false => {
                reader.entries(input.value, "a mapping: description, required, default").unwrap_or_default()
            }
        };
        for field in fields {
            match field.name {
                "default" => read.default = reader.text(field.value, Place::InputDefault),
                "required" => read.required = field.value.is_true(),
                "deprecationMessage" => read.deprecation_message = field.value.raw_text(),
                _ => {}
            }
        }
        // Two names that differ in case only would be one variable INPUT_NAME.
        if inputs.keys().any(|name: &String| name.eq_ignore_ascii_case(input.name)) {
            let message = format!("The input '{}' is defined twice", clip(input.name));
            reader.error(input.key, "duplicate-key", message, None);
        }
        inputs.insert(input.name.to_owned(), read);
    }
    inputs
}

fn outputs(reader: &mut Reader<'_, '_>, part: Part<'_>) -> IndexMap<String, ManifestOutput> {
    let mut outputs = IndexMap::new();
    if part.is_null() {
        return outputs;
    }
    for output in reader.entries(part, "a mapping of outputs").unwrap_or_default() {
        let mut read = ManifestOutput::default();
        let fields = match output.value.is_null() {
            true => Vec::new(),
            false => reader.entries(output.value, "a mapping: description, value").unwrap_or_default(),
        };
        for field in fields {
            match field.name {
                "description" => read.description = field.value.raw_text().unwrap_or_default(),
                "value" => read.value = reader.text(field.value, Place::Output),
                _ => {}
            }
        }
        outputs.insert(output.name.to_owned(), read);
    }
    outputs
}

/// `runs`; unknown keys are errors here, as at GitHub.
fn runs(reader: &mut Reader<'_, '_>, part: Part<'_>) -> Option<Runs> {
    let fields = reader.entries(part, "a mapping with the key using")?;
    let Some(field) = fields.iter().find(|f| f.name == "using") else {
        reader.missing(part, "using");
        return None;
    };
    let using = reader.non_empty(field.value, Place::Literal)?.to_lowercase();
    match using.as_str() {
        "composite" => composite(reader, part),
        "docker" => docker(reader, part),
        _ => match using.strip_prefix("node").filter(|version| NODE.contains(version)) {
            Some(version) => node(reader, part, version),
            None => {
                let message = format!("'using: {}' is not supported", clip(&using));
                let known = "Use 'docker', 'node12', 'node16', 'node20', 'node24' or 'composite' instead";
                reader.error(field.value, "using", message, Some(known.to_owned()));
                None
            }
        },
    }
}

/// The fields of one kind of `runs`.
struct Keys<'n>(Vec<Field<'n>>);

impl<'n> Keys<'n> {
    fn get(&self, key: &str) -> Option<Part<'n>> {
        self.0.iter().find(|f| f.name == key).map(|f| f.value)
    }

    fn word(&self, reader: &mut Reader<'_, '_>, key: &str) -> Option<String> {
        self.get(key).and_then(|part| reader.non_empty(part, Place::Literal))
    }

    fn condition(&self, reader: &mut Reader<'_, '_>, key: &str) -> Option<String> {
        self.get(key).and_then(|part| reader.condition(part))
    }
}

fn node(reader: &mut Reader<'_, '_>, part: Part<'_>, version: &str) -> Option<Runs> {
    let known = ["using", "main", "pre", "pre-if", "post", "post-if"];
    let keys = Keys(reader.fields(part, &known, "'runs' of a JavaScript action")?);
    if keys.get("main").is_none() {
        reader.missing(part, "main");
    }
    let pre = keys.word(reader, "pre");
    let pre_if = keys.condition(reader, "pre-if");
    let post = keys.word(reader, "post");
    let post_if = keys.condition(reader, "post-if");
    let main = keys.word(reader, "main")?;
    Some(Runs::Node { version: version.to_owned(), main, pre, pre_if, post, post_if })
}

fn composite(reader: &mut Reader<'_, '_>, part: Part<'_>) -> Option<Runs> {
    let keys = Keys(reader.fields(part, &["using", "steps"], "'runs' of a composite action")?);
    match keys.get("steps") {
        Some(steps) => Some(Runs::Composite { steps: reader.composite_steps(steps) }),
        None => {
            reader.missing(part, "steps");
            None
        }
    }
}

fn docker(reader: &mut Reader<'_, '_>, part: Part<'_>) -> Option<Runs> {
    let known = [
        "using",
        "image",
        "args",
        "entrypoint",
        "pre-entrypoint",
        "pre-if",
        "post-entrypoint",
        "post-if",
        "env",
    ];
    let keys = Keys(reader.fields(part, &known, "'runs' of a container action")?);
    if keys.get("image").is_none() {
        reader.missing(part, "image");
    }
    let mut args = Vec::new();
    if let Some(list) = keys.get("args").filter(|p| !p.is_null()) {
        let items = reader.items(list, "a list of arguments").unwrap_or_default();
        args.extend(items.into_iter().filter_map(|item| reader.text(item, Place::Container)));
    }
    let mut env = IndexMap::new();
    if let Some(map) = keys.get("env").filter(|p| !p.is_null()) {
        for field in reader.entries(map, "a mapping of names to values").unwrap_or_default() {
            if let Some(value) = reader.text(field.value, Place::Container) {
                env.insert(field.name.to_owned(), value);
            }
        }
    }
    let entrypoint = keys.word(reader, "entrypoint");
    let pre_entrypoint = keys.word(reader, "pre-entrypoint");
    let pre_if = keys.condition(reader, "pre-if");
    let post_entrypoint = keys.word(reader, "post-entrypoint");
    let post_if = keys.condition(reader, "post-if");
    let image = keys.word(reader, "image")?;
    Some(Runs::Docker { image, args, entrypoint, pre_entrypoint, pre_if, post_entrypoint, post_if, env })
}

fn clip(text: &str) -> String {
    text.chars().take(100).collect()
}
