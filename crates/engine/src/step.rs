//! Carries out one step: a script for a shell, a hook, or any command of the
//! engine's own, with its files, variables and output.

use crate::attempt::{Attempt, Leash, StepRun};
use crate::environment::{Settable, may_set};
use crate::frame::Changes;
use crate::interpret::{Effects, Interpreter, Names};
use crate::outcome::Outcome;
use crate::output::Output;
use crate::process::{self, Ended, Watch};
use crate::shell::Shell;
use crate::step_files::{StepFiles, Written};
use fleetfoot_driver::{Cell, Command, DriverError, DriverErrorKind, Running};
use fleetfoot_model::spec::StepSpec;
use fleetfoot_model::state::Reason;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Where a shell looks when nobody set `PATH`.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The most that is kept of a captured output, bytes.
const MAX_CAPTURE: u64 = 256 << 20;

/// A `run` step with the defaults of its job, not yet evaluated.
pub(crate) struct Script<'a> {
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
    pub(crate) async fn run_script(&self, run: &StepRun<'_>, step: &Script<'_>) -> Outcome {
        let evaluated = {
            let scope = self.scope_of(run);
            let text =
                |key: &str, template: &str| self.text(template, &scope).map_err(|e| format!("{key}: {e}"));
            (|| {
                let shell = step.shell.map(|s| text("shell", s)).transpose()?;
                let directory = step.working_directory.map(|d| text("working-directory", d)).transpose()?;
                Ok::<_, String>((text("run", step.script)?, shell, directory))
            })()
        };
        let (script, shell, directory) = match evaluated {
            Ok(evaluated) => evaluated,
            Err(message) => return Outcome::failure(Reason::BadSpecification, message),
        };
        if run.frame.action.is_some() {
            let mut lines: Vec<String> = script.lines().map(str::to_owned).collect();
            lines.extend(shell.as_ref().map(|s| format!("shell: {s}")));
            self.say_group(run.index, &StepSpec::run_name(&script), &lines).await;
        }
        let shell = match Shell::parse(shell.as_deref(), self.in_image) {
            Ok(shell) => shell,
            Err(e) => return Outcome::failure(Reason::BadSpecification, e.to_string()),
        };
        let name = format!("step_{}{}", run.spot.key, shell.extension);
        if let Err(e) = self.workspace.held_temp.write(&name, shell.script(&script).as_bytes(), 0o666) {
            return Outcome::io("cannot write the script", &e);
        }
        let file = self.workspace.temp.join(name);
        let directory = self.working_directory(directory.as_deref());
        self.run_file(run, &shell, &file, directory).await
    }

    /// Writes a group of lines of the runner itself.
    pub(crate) async fn say_group(&self, index: u16, title: &str, lines: &[String]) {
        let mut text = format!("::group::{title}");
        for line in lines {
            text.push('\n');
            text.push_str(line);
        }
        text.push_str("\n::endgroup::");
        self.log.say(index, &text).await;
    }

    /// Runs a hook of the runner.
    pub(crate) async fn run_hook(&self, run: &StepRun<'_>, script: &Path) -> Outcome {
        let kind = match script.extension().and_then(|e| e.to_str()) {
            Some("ps1") => Some("pwsh"),
            Some("py") => Some("python"),
            _ => None,
        };
        let shell = match Shell::parse(kind, self.in_image) {
            Ok(shell) => shell,
            Err(e) => return Outcome::failure(Reason::SetUpFailed, e.to_string()),
        };
        self.run_file(run, &shell, script, self.workspace.workspace.clone()).await
    }

    async fn run_file(&self, run: &StepRun<'_>, shell: &Shell, file: &Path, directory: PathBuf) -> Outcome {
        let variables = self.variables(run);
        let script = self.cell.inside(file).to_string_lossy().into_owned();
        let candidates = shell
            .candidates
            .iter()
            .map(|candidate| {
                let words = Shell::command(candidate, &script);
                let (program, args) = words.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
                (program.to_owned(), args.to_vec())
            })
            .collect();
        self.run_program(run, candidates, directory, variables).await
    }

    /// Runs the first of the given programs that exists, with the files through which it speaks to the
    /// runner, and takes over what it asked for.
    pub(crate) async fn run_program(
        &self,
        run: &StepRun<'_>,
        candidates: Vec<(String, Vec<String>)>,
        directory: PathBuf,
        mut variables: HashMap<String, String>,
    ) -> Outcome {
        let files = match StepFiles::create(self.workspace, &run.spot.key) {
            Ok(files) => files,
            Err(e) => return Outcome::io("cannot make the files of the step", &e),
        };
        variables.extend(files.variables(&|path| self.cell.inside(path)));
        variables.insert("GITHUB_ACTION".into(), run.spot.id.clone());
        let allow_unsecure =
            variables.get("ACTIONS_ALLOW_UNSECURE_COMMANDS").is_some_and(|v| v.eq_ignore_ascii_case("true"));
        let watch = self.watch(&run.leash);
        let mut missing = None;
        for (program, args) in candidates {
            let command = Command {
                program,
                args,
                env: variables.clone(),
                working_directory: directory.clone(),
                stdin: Vec::new(),
                merge_output: !self.config.separate_stderr,
            };
            let interpreter =
                self.interpreter(run.index, allow_unsecure, self.cell.inside(&self.workspace.workspace));
            match self.execute(self.cell, run.index, command, interpreter, &watch).await {
                Ok(ran) => return self.after_program(run, ran, &files).await,
                Err(e) if e.kind == DriverErrorKind::NotFound && !self.lacks(&directory) => {
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

    /// What reads the output of a program of the job that calls the workspace by this name.
    pub(crate) fn interpreter(&self, index: u16, allow_unsecure: bool, inside: PathBuf) -> Interpreter {
        let names = Names { host: self.workspace.workspace.clone(), inside };
        Interpreter::new(index, self.config.debug, allow_unsecure).with_matchers(self.matchers.clone(), names)
    }

    fn cannot_start(&self, error: &DriverError, directory: &Path) -> Outcome {
        if self.lacks(directory) {
            let shown = directory.strip_prefix(&self.workspace.workspace).unwrap_or(directory);
            let message = format!("the working directory '{}' does not exist", shown.display());
            return Outcome::failure(Reason::SetUpFailed, message);
        }
        Outcome::driver(error)
    }

    /// Takes over what the program asked for, and says how the step ended.
    pub(crate) async fn after_program(&self, run: &StepRun<'_>, ran: Ran, files: &StepFiles) -> Outcome {
        let index = run.index;
        let mut outcome = self.outcome_of(&ran, &run.leash);
        let mut changes = Changes { annotations: ran.effects.annotations, ..Changes::default() };
        let Written { env, outputs, state, paths, summary, error, warning } = files.read();
        if let Some(error) = error {
            self.log.say(index, &format!("Error: {error}")).await;
            outcome.spoil(Reason::BadSpecification, error);
        }
        if let Some(warning) = warning {
            changes.annotations.push(self.annotation("error", index, &warning));
        }
        if let Some(markdown) = summary {
            changes.summaries.push((index, self.log.masker.mask(&markdown)));
        }
        for (name, value) in ran.effects.env.into_iter().chain(env) {
            match may_set(&name) {
                Settable::Yes => changes.env.push((name, value)),
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
        changes.paths = ran.effects.paths.into_iter().chain(paths).collect();
        changes.state = ran.effects.state.into_iter().chain(state).collect();
        outcome.outputs.extend(ran.effects.outputs.into_iter().chain(outputs));
        outcome.changes = changes;
        outcome
    }

    /// How a command ended, as the outcome of its step.
    pub(crate) fn outcome_of(&self, ran: &Ran, leash: &Leash) -> Outcome {
        let timed_out = self.standing().timed_out;
        let mut outcome = Outcome::ended(&ran.ended, &self.timeouts(leash), timed_out);
        outcome.leaked = ran.leaked;
        outcome
    }

    /// Starts a command and sees it through, its output going to the log.
    pub(crate) async fn execute(
        &self,
        cell: &dyn Cell,
        index: u16,
        command: Command,
        interpreter: Interpreter,
        watch: &Watch,
    ) -> Result<Ran, DriverError> {
        let running = cell.start(command).await?;
        Ok(self.see_through(index, running, interpreter, watch).await)
    }

    /// Sees a started command through to its end.
    pub(crate) async fn see_through(
        &self,
        index: u16,
        running: Running,
        interpreter: Interpreter,
        watch: &Watch,
    ) -> Ran {
        self.note(&running);
        let mut output = Output::start(self.log.clone(), index, interpreter, running.stdout, running.stderr);
        let ended = process::supervise(&*running.handle, &|| output.silence(), watch).await;
        let drained = output.drain(self.config.drain_after_exit, &self.kill).await;
        let effects = output.take_effects();
        if !drained {
            self.leak(output);
        }
        Ran { ended, leaked: !drained, effects }
    }

    /// Tells the outside of a process; what runs in a container engine may have none that we can name.
    fn note(&self, running: &Running) {
        if running.pid > 0 {
            self.sink.started(running.pid, running.start_ticks);
        }
    }

    /// Runs a command of which only the end counts.
    pub(crate) async fn try_out(&self, command: Command, watch: &Watch) -> Result<Ended, DriverError> {
        let Running { pid, start_ticks, mut stdout, mut stderr, handle } = self.cell.start(command).await?;
        if pid > 0 {
            self.sink.started(pid, start_ticks);
        }
        let (mut out, mut err) = (tokio::io::sink(), tokio::io::sink());
        let read = async {
            tokio::join!(tokio::io::copy(&mut stdout, &mut out), tokio::io::copy(&mut stderr, &mut err))
        };
        let mut ended = std::pin::pin!(process::supervise(&*handle, &|| Duration::ZERO, watch));
        tokio::select! {
            ended = &mut ended => return Ok(ended),
            _ = read => {}
        }
        Ok(ended.await)
    }

    /// Like [`execute`](Self::execute), but standard output is given back instead of logged.
    pub(crate) async fn capture(
        &self,
        cell: &dyn Cell,
        index: u16,
        command: Command,
        watch: &Watch,
    ) -> Result<(Ran, Vec<u8>), DriverError> {
        let running = cell.start(command).await?;
        self.note(&running);
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
            self.leak(output);
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
    pub(crate) fn variables(&self, run: &StepRun<'_>) -> HashMap<String, String> {
        let env = run.env;
        let mut variables: HashMap<String, String> = HashMap::with_capacity(
            self.environment.base.len() + env.len() + self.environment.fixed.len() + 16,
        );
        variables.extend(self.environment.base.iter().cloned());
        variables.extend(env.iter().map(|(k, v)| (k.clone(), v.clone())));
        variables.extend(self.environment.fixed.iter().cloned());
        if let Some(action) = &run.frame.action {
            action.name_in(&mut variables);
        }
        let path = variables.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.to_owned());
        for added in &run.frame.paths {
            *path = format!("{added}:{path}");
        }
        variables
    }

    /// The name on the host of a path that a step wrote as it sees it.
    pub(crate) fn outside(&self, path: &Path) -> PathBuf {
        let own = [&self.workspace.workspace, &self.workspace.temp, &self.config.tool_cache];
        let found = own.into_iter().find_map(|host| {
            let rest = path.strip_prefix(self.cell.inside(host)).ok()?;
            Some(if rest.as_os_str().is_empty() { host.clone() } else { host.join(rest) })
        });
        found.unwrap_or_else(|| path.to_path_buf())
    }

    /// Whether a working directory is missing, as far as that can be seen from here.
    fn lacks(&self, directory: &Path) -> bool {
        let seen = !self.in_image || directory.starts_with(&self.workspace.root);
        seen && !directory.is_dir()
    }

    /// A working directory relative to the workspace.
    pub(crate) fn working_directory(&self, directory: Option<&str>) -> PathBuf {
        match directory.map(str::trim).filter(|d| !d.is_empty()) {
            Some(directory) => self.workspace.workspace.join(self.outside(Path::new(directory))),
            None => self.workspace.workspace.clone(),
        }
    }
}
