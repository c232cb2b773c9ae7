//! Carries out one step: a script for a shell, a hook, or any command of the
//! engine's own, with its files, variables and output.

use crate::attempt::Attempt;
use crate::environment::{Settable, may_set};
use crate::interpret::{Effects, Interpreter};
use crate::outcome::Outcome;
use crate::output::Output;
use crate::process::{self, Ended, Watch};
use crate::shell::Shell;
use crate::step_files::{StepFiles, Written};
use fleetfoot_driver::{Command, DriverError, DriverErrorKind};
use fleetfoot_model::state::Reason;
use indexmap::IndexMap;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt;

/// Where a shell looks when nobody set `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The most that is kept of a captured output, bytes.
const MAX_CAPTURE: u64 = 256 << 20;

/// A `run` step with the defaults of its job, not yet evaluated.
pub(crate) struct Run<'a> {
    pub(crate) script: &'a str,
    pub(crate) shell: Option<&'a str>,
    pub(crate) working_directory: Option<&'a str>,
}

/// How a command of a step ended.
pub(crate) struct Ran {
    pub(crate) ended: Ended,
    pub(crate) leaked: bool,
    pub(crate) effects: Effects,
}

impl Attempt<'_> {
    /// Runs a script.
    pub(crate) async fn run_script(
        &mut self,
        index: u16,
        id: &str,
        run: &Run<'_>,
        env: &IndexMap<String, String>,
        timeout_seconds: Option<f64>,
    ) -> Outcome {
        let evaluated = {
            let scope = self.scope(env);
            let text =
                |key: &str, template: &str| self.text(template, &scope).map_err(|e| format!("{key}: {e}"));
            (|| {
                let shell = run.shell.map(|s| text("shell", s)).transpose()?;
                let directory = run.working_directory.map(|d| text("working-directory", d)).transpose()?;
                Ok::<_, String>((text("run", run.script)?, shell, directory))
            })()
        };
        let (script, shell, directory) = match evaluated {
            Ok(evaluated) => evaluated,
            Err(message) => return Outcome::failure(Reason::BadSpecification, message),
        };
        let shell = match Shell::parse(shell.as_deref()) {
            Ok(shell) => shell,
            Err(e) => return Outcome::failure(Reason::BadSpecification, e.to_string()),
        };
        let file = self.workspace.temp.join(format!("step_{index}{}", shell.extension));
        if let Err(e) = std::fs::write(&file, shell.script(&script)) {
            return Outcome::io("cannot write the script", &e);
        }
        let directory = self.working_directory(directory.as_deref());
        self.run_file(index, id, &shell, &file, directory, env, timeout_seconds).await
    }

    /// Runs a hook of the runner.
    pub(crate) async fn run_hook(
        &mut self,
        index: u16,
        script: &Path,
        env: &IndexMap<String, String>,
    ) -> Outcome {
        let kind = match script.extension().and_then(|e| e.to_str()) {
            Some("ps1") => Some("pwsh"),
            Some("py") => Some("python"),
            _ => None,
        };
        let shell = match Shell::parse(kind) {
            Ok(shell) => shell,
            Err(e) => return Outcome::failure(Reason::SetUpFailed, e.to_string()),
        };
        let directory = self.workspace.workspace.clone();
        self.run_file(index, "", &shell, script, directory, env, None).await
    }

    #[expect(clippy::too_many_arguments, reason = "the common half of scripts and hooks")]
    async fn run_file(
        &mut self,
        index: u16,
        id: &str,
        shell: &Shell,
        file: &Path,
        directory: PathBuf,
        env: &IndexMap<String, String>,
        timeout_seconds: Option<f64>,
    ) -> Outcome {
        let files = match StepFiles::create(self.workspace, index) {
            Ok(files) => files,
            Err(e) => return Outcome::io("cannot make the files of the step", &e),
        };
        let mut variables = self.variables(env);
        variables.extend(files.variables(self.cell));
        variables.insert("GITHUB_ACTION".into(), id.to_owned());
        let allow_unsecure =
            variables.get("ACTIONS_ALLOW_UNSECURE_COMMANDS").is_some_and(|v| v.eq_ignore_ascii_case("true"));
        let script = self.cell.inside(file).to_string_lossy().into_owned();
        let watch = self.watch(timeout_seconds);
        let mut missing = None;
        for candidate in &shell.candidates {
            let words = Shell::command(candidate, &script);
            let (program, args) = words.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
            let command = Command {
                program: program.to_owned(),
                args: args.to_vec(),
                env: variables.clone(),
                working_directory: directory.clone(),
                stdin: Vec::new(),
                merge_output: !self.config.separate_stderr,
            };
            let interpreter = Interpreter::new(index, self.config.debug, allow_unsecure);
            match self.execute(index, command, interpreter, &watch).await {
                Ok(ran) => return self.after_script(index, ran, &files, timeout_seconds).await,
                Err(e) if e.kind == DriverErrorKind::NotFound && directory.is_dir() => {
                    missing.get_or_insert(e);
                }
                Err(e) => return self.cannot_start(&e, &directory),
            }
        }
        match missing {
            Some(e) => self.cannot_start(&e, &directory),
            None => Outcome::failure(Reason::SetUpFailed, "no shell to run the script"),
        }
    }

    fn cannot_start(&self, error: &DriverError, directory: &Path) -> Outcome {
        if !directory.is_dir() {
            let shown = directory.strip_prefix(&self.workspace.workspace).unwrap_or(directory);
            let message = format!("the working directory '{}' does not exist", shown.display());
            return Outcome::failure(Reason::SetUpFailed, message);
        }
        Outcome::driver(error)
    }

    /// Takes over what the script asked for, and says how the step ended.
    async fn after_script(
        &mut self,
        index: u16,
        ran: Ran,
        files: &StepFiles,
        timeout_seconds: Option<f64>,
    ) -> Outcome {
        let mut outcome = self.outcome_of(&ran, timeout_seconds);
        let written = files.read();
        let Written { env, outputs, paths, summary, error, warning } = written;
        if let Some(error) = error {
            self.log.say(index, &format!("Error: {error}")).await;
            outcome.spoil(Reason::BadSpecification, error);
        }
        if let Some(warning) = warning {
            self.annotate("error", index, warning);
        }
        if let Some(markdown) = summary {
            self.keep_summary(index, &markdown);
        }
        for (name, value) in ran.effects.env.into_iter().chain(env) {
            match may_set(&name) {
                Settable::Yes => {
                    self.env.insert(name, value);
                }
                Settable::Ignored => {
                    let line =
                        format!("Warning: the variable {name} belongs to the runner: it keeps its value");
                    self.log.say(index, &line).await;
                }
                Settable::Forbidden => {
                    let message = format!("the variable {name} cannot be set through $GITHUB_ENV");
                    self.log.say(index, &format!("Error: {message}")).await;
                    outcome.spoil(Reason::BadSpecification, message);
                }
            }
        }
        for path in ran.effects.paths.into_iter().chain(paths) {
            self.paths.retain(|p| *p != path);
            self.paths.push(path);
        }
        for (name, value) in ran.effects.outputs.into_iter().chain(outputs) {
            outcome.outputs.insert(name, value);
        }
        self.annotations.extend(ran.effects.annotations);
        outcome
    }

    /// How a command ended, as the outcome of its step.
    pub(crate) fn outcome_of(&mut self, ran: &Ran, timeout_seconds: Option<f64>) -> Outcome {
        let mut outcome = Outcome::ended(&ran.ended, &self.timeouts(timeout_seconds), self.timed_out);
        outcome.leaked = ran.leaked;
        outcome
    }

    /// Starts a command and sees it through, its output going to the log.
    pub(crate) async fn execute(
        &mut self,
        index: u16,
        command: Command,
        interpreter: Interpreter,
        watch: &Watch,
    ) -> Result<Ran, DriverError> {
        let running = self.cell.start(command).await?;
        self.sink.started(running.pid, running.start_ticks);
        let mut output = Output::start(self.log.clone(), index, interpreter, running.stdout, running.stderr);
        let ended = process::supervise(&*running.handle, &|| output.silence(), watch).await;
        let drained = output.drain(self.config.drain_after_exit, &self.kill).await;
        let effects = output.take_effects();
        if !drained {
            self.leaks.push(output);
        }
        Ok(Ran { ended, leaked: !drained, effects })
    }

    /// Like [`execute`](Self::execute), but standard output is given back instead of logged.
    pub(crate) async fn capture(
        &mut self,
        index: u16,
        command: Command,
        watch: &Watch,
    ) -> Result<(Ran, Vec<u8>), DriverError> {
        let running = self.cell.start(command).await?;
        self.sink.started(running.pid, running.start_ticks);
        let stdout = running.stdout;
        let mut reader = tokio::spawn(async move {
            let mut bytes = Vec::new();
            let _ = stdout.take(MAX_CAPTURE).read_to_end(&mut bytes).await;
            bytes
        });
        let nothing = Box::new(tokio::io::empty());
        let mut output = Output::start(self.log.clone(), index, Interpreter::off(), nothing, running.stderr);
        let ended = process::supervise(&*running.handle, &|| output.silence(), watch).await;
        let drained = output.drain(self.config.drain_after_exit, &self.kill).await;
        if !drained {
            self.leaks.push(output);
        }
        let bytes = match tokio::time::timeout(self.config.drain_after_exit, &mut reader).await {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(_) => {
                reader.abort();
                Vec::new()
            }
        };
        Ok((Ran { ended, leaked: !drained, effects: Effects::default() }, bytes))
    }

    /// The whole environment of a process of a step.
    pub(crate) fn variables(&self, env: &IndexMap<String, String>) -> HashMap<String, String> {
        let mut variables: HashMap<String, String> = HashMap::with_capacity(
            self.environment.base.len() + env.len() + self.environment.fixed.len() + 8,
        );
        variables.extend(self.environment.base.iter().cloned());
        variables.extend(env.iter().map(|(k, v)| (k.clone(), v.clone())));
        variables.extend(self.environment.fixed.iter().cloned());
        let path = variables.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.to_owned());
        for added in &self.paths {
            *path = format!("{added}:{path}");
        }
        variables
    }

    /// A working directory relative to the workspace.
    pub(crate) fn working_directory(&self, directory: Option<&str>) -> PathBuf {
        match directory.map(str::trim).filter(|d| !d.is_empty()) {
            Some(directory) => self.workspace.workspace.join(directory),
            None => self.workspace.workspace.clone(),
        }
    }
}
