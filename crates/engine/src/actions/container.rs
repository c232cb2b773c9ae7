//! Actions that are containers, and steps that use an image (`docker://`):
//! which image, entry point and arguments, and what such a container is told.
//! It sees the workspace and the files of its step under their names inside,
//! and nothing of the variables of the machine or of the job's own image.

use super::{Loaded, inputs};
use crate::attempt::{Attempt, StepRun};
use crate::containers::HOME;
use crate::flow::Stage;
use crate::outcome::Outcome;
use crate::step_files::StepFiles;
use fleetfoot_actions::Runs;
use fleetfoot_driver::containers::{Container, Group, ImageSource};
use fleetfoot_model::state::{Conclusion, Reason};
use indexmap::IndexMap;
use std::path::Path;
use std::sync::Arc;

/// A stage of such an action, evaluated.
struct Call {
    source: ImageSource,
    /// Names the image within this attempt.
    key: String,
    entrypoint: Option<String>,
    args: Option<Vec<String>>,
    env: IndexMap<String, String>,
}

impl Attempt<'_> {
    /// Runs a step that uses an image.
    pub(super) async fn run_image(
        &self,
        run: &StepRun<'_>,
        uses: &str,
        given: &IndexMap<String, String>,
    ) -> Outcome {
        let reference = uses.trim().trim_start_matches("docker://").to_owned();
        let args = match words_of(given) {
            Ok(args) => args,
            Err(message) => return Outcome::failure(Reason::BadSpecification, message),
        };
        let call = Call {
            key: format!("docker://{reference}"),
            source: ImageSource::Reference { reference, credentials: None },
            entrypoint: own(given, "entrypoint").cloned(),
            args,
            env: IndexMap::new(),
        };
        self.call(run, uses, None, call, given).await
    }

    /// Runs a stage of an action that is a container.
    pub(super) async fn run_container(
        &self,
        stage: Stage,
        run: &StepRun<'_>,
        loaded: &Arc<Loaded>,
        inputs: &IndexMap<String, String>,
    ) -> Outcome {
        let Runs::Docker { entrypoint, pre_entrypoint, post_entrypoint, .. } = &loaded.manifest.runs else {
            return Outcome::plain(Conclusion::Success);
        };
        if post_entrypoint.is_some() && stage != Stage::Post {
            self.register_post(run.path);
        }
        let entrypoint = match stage {
            Stage::Main => own(inputs, "entrypoint").or(entrypoint.as_ref()).cloned(),
            Stage::Pre if pre_entrypoint.is_some() => pre_entrypoint.clone(),
            Stage::Post if post_entrypoint.is_some() => post_entrypoint.clone(),
            _ => return Outcome::plain(Conclusion::Success),
        };
        let call = self
            .source(run, loaded)
            .and_then(|(source, key)| self.evaluated(run, loaded, inputs, source, key))
            .map(|call| Call { entrypoint, ..call });
        match call {
            Ok(call) => self.call(run, &loaded.uses, Some(loaded), call, inputs).await,
            Err(message) => Outcome::failure(Reason::BadSpecification, message),
        }
    }

    /// Where the image of an action comes from, and its name within this attempt.
    fn source(&self, run: &StepRun<'_>, loaded: &Loaded) -> Result<(ImageSource, String), String> {
        let Runs::Docker { image, .. } = &loaded.manifest.runs else { return Err(String::new()) };
        if let Some(reference) = image.strip_prefix("docker://") {
            let source = ImageSource::Reference { reference: reference.to_owned(), credentials: None };
            return Ok((source, image.clone()));
        }
        let dockerfile = loaded.file(image).map_err(|e| e.message().to_owned())?;
        let mut key = dockerfile.to_string_lossy().into_owned();
        let mut dockerfile = dockerfile;
        if loaded.fetched.is_none() {
            // The runner reads the context, wherever it may look; the job may not.
            dockerfile = self.real_within_workspace(&dockerfile)?;
            // The job may change its own files between two uses.
            key = format!("{} {key}", run.path);
        }
        let context = dockerfile.parent().unwrap_or(&loaded.dir).to_path_buf();
        Ok((ImageSource::Build { context, dockerfile }, key))
    }

    /// The real name of a file of the workspace.
    pub(super) fn real_within_workspace(&self, path: &Path) -> Result<std::path::PathBuf, String> {
        let shown = path.strip_prefix(&self.workspace.workspace).unwrap_or(path).display();
        let real = path.canonicalize().map_err(|e| format!("cannot use '{shown}': {e}"))?;
        let within =
            self.workspace.workspace.canonicalize().is_ok_and(|workspace| real.starts_with(workspace));
        if within { Ok(real) } else { Err(format!("'{shown}' leads out of the workspace")) }
    }

    /// Arguments and variables of an action; they see its inputs.
    fn evaluated(
        &self,
        run: &StepRun<'_>,
        loaded: &Arc<Loaded>,
        inputs: &IndexMap<String, String>,
        source: ImageSource,
        key: String,
    ) -> Result<Call, String> {
        let Runs::Docker { args, env, .. } = &loaded.manifest.runs else { return Err(String::new()) };
        let frame = run.frame.inside(loaded.place.clone(), inputs, run.env);
        let scope = self.scope(&frame, run.env, &run.spot);
        let text = |field: &str, template: &str| {
            self.text(template, &scope).map_err(|e| format!("{field} of '{}': {e}", loaded.uses))
        };
        let args = match words_of(inputs)? {
            Some(given) => Some(given),
            None if args.is_empty() => None,
            None => Some(args.iter().map(|arg| text("args", arg)).collect::<Result<_, _>>()?),
        };
        let mut evaluated = IndexMap::with_capacity(env.len());
        for (name, template) in env {
            evaluated.insert(name.clone(), text(&format!("env.{name}"), template)?);
        }
        Ok(Call { source, key, entrypoint: None, args, env: evaluated })
    }

    /// Runs a container to its end, and takes over what it asked for.
    async fn call(
        &self,
        run: &StepRun<'_>,
        uses: &str,
        loaded: Option<&Loaded>,
        call: Call,
        inputs: &IndexMap<String, String>,
    ) -> Outcome {
        match Box::pin(self.run_call(run, uses, loaded, call, inputs)).await {
            Ok(outcome) => outcome,
            Err(outcome) => *outcome,
        }
    }

    async fn run_call(
        &self,
        run: &StepRun<'_>,
        uses: &str,
        loaded: Option<&Loaded>,
        call: Call,
        inputs: &IndexMap<String, String>,
    ) -> Result<Outcome, Box<Outcome>> {
        let leash = &run.leash;
        let group = self.bounded(leash, self.containers.group(&format!("'{uses}'"))).await?;
        let image = self.containers.image(group, (&self.log, run.index), &call.key, &call.source);
        let image = self.bounded(leash, image).await?;
        let files = StepFiles::create(self.workspace, &run.spot.key)
            .map_err(|e| Outcome::io("cannot make the files of the step", &e))?;
        let mut env = self.told(run, loaded, &**group, &files);
        for (name, value) in call.env {
            // What the step says is stronger.
            if !run.env.contains_key(&name) {
                env.insert(name, value);
            }
        }
        for (name, value) in inputs {
            env.insert(inputs::variable(name), value.clone());
        }
        if loaded.is_some() {
            for (name, value) in self.actions.state(run.path) {
                env.insert(format!("STATE_{name}"), value);
            }
        }
        for value in env.values_mut() {
            if let Some(inside) = self.containers.translate(&**group, value) {
                *value = inside;
            }
        }
        let allow_unsecure =
            env.get("ACTIONS_ALLOW_UNSECURE_COMMANDS").is_some_and(|v| v.eq_ignore_ascii_case("true"));
        let container = Container {
            image,
            env,
            ports: Vec::new(),
            volumes: Vec::new(),
            options: String::new(),
            entrypoint: call.entrypoint.map(|program| vec![program]),
            command: call.args,
            mounts: Vec::new(),
            working_directory: Some(group.inside(&self.workspace.workspace)),
        };
        let running = self.bounded(leash, group.run(container)).await?;
        let interpreter =
            self.interpreter(run.index, allow_unsecure, group.inside(&self.workspace.workspace));
        let ran = self.see_through(run.index, running, interpreter, &self.watch(leash)).await;
        let mut outcome = self.after_program(run, ran, &files).await;
        if loaded.is_some() {
            self.actions.remember(run.path, std::mem::take(&mut outcome.changes.state));
        }
        Ok(outcome)
    }

    /// The variables of such a container, without inputs and state.
    fn told(
        &self,
        run: &StepRun<'_>,
        loaded: Option<&Loaded>,
        group: &dyn Group,
        files: &StepFiles,
    ) -> IndexMap<String, String> {
        let mut told = std::collections::HashMap::new();
        told.insert("CI".to_owned(), "true".to_owned());
        told.extend(run.env.iter().map(|(name, value)| (name.clone(), value.clone())));
        told.extend(self.environment.fixed.iter().cloned());
        if let Some(loaded) = loaded {
            loaded.place.name_in(&mut told);
            told.insert(
                "GITHUB_ACTION_PATH".into(),
                group.inside(&loaded.dir).to_string_lossy().into_owned(),
            );
        }
        self.add_services(&mut told, loaded.and_then(|l| l.place.repository.as_deref()));
        told.extend(files.variables(&|path| group.inside(path)));
        told.insert("GITHUB_ACTION".into(), run.spot.id.clone());
        told.insert("HOME".into(), HOME.into());
        let mut told: IndexMap<String, String> = told.into_iter().collect();
        told.sort_unstable_keys();
        told
    }
}

/// `with.args`, in words as a shell would read them.
fn words_of(given: &IndexMap<String, String>) -> Result<Option<Vec<String>>, String> {
    let Some(line) = own(given, "args") else { return Ok(None) };
    shlex::split(line).map(Some).ok_or_else(|| "with.args: a quote is not closed".to_owned())
}

/// An input that is for us and not for the action.
fn own<'g>(given: &'g IndexMap<String, String>, name: &str) -> Option<&'g String> {
    let found = given.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value).filter(|value| !value.trim().is_empty())
}
