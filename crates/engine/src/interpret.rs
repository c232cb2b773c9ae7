//! Carries out the workflow commands of one step and decides whether their
//! lines stay in the log: groups and annotations do, as they were written;
//! requests to the runner do not, and `add-mask` never does, whatever `echo`
//! says.

use crate::command::WorkflowCommand;
use crate::frame::MAX_PER_LEVEL;
use crate::mask::Masker;
use crate::matching::{self, JobMatchers};
use fleetfoot_actions::Match;
use fleetfoot_model::sync::Annotation;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest message of an annotation, bytes.
const MAX_MESSAGE: usize = 4096;

/// Reads the command lines of a step.
#[derive(Debug, Default)]
pub(crate) struct Interpreter {
    step: u16,
    debug: bool,
    /// `ACTIONS_ALLOW_UNSECURE_COMMANDS`.
    allow_unsecure: bool,
    echo: bool,
    /// Until this word comes as a command, nothing is one.
    stopped: Option<String>,
    warned: Vec<String>,
    effects: Effects,
    /// The problem matchers of the job, and the directory to which their files are relative.
    matchers: Option<(Arc<JobMatchers>, Names)>,
}

/// How the workspace is called.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// By the runner.
    pub(crate) host: PathBuf,
    /// By the step.
    pub(crate) inside: PathBuf,
}

impl Names {
    /// The file that a step means, as the runner calls it.
    fn file(&self, path: &str) -> PathBuf {
        let path = Path::new(path);
        self.host.join(path.strip_prefix(&self.inside).unwrap_or(path))
    }
}

/// What a step asked for.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) outputs: Vec<(String, String)>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) paths: Vec<String>,
    pub(crate) state: Vec<(String, String)>,
    pub(crate) annotations: Vec<Annotation>,
}

/// What becomes of a line.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) keep: bool,
    /// It is no command.
    pub(crate) ordinary: bool,
    /// Lines of the runner to put behind it.
    pub(crate) messages: Vec<String>,
}

impl Verdict {
    fn keep() -> Self {
        Self { keep: true, ..Self::default() }
    }

    fn ordinary() -> Self {
        Self { keep: true, ordinary: true, ..Self::default() }
    }

    fn kept_if(keep: bool) -> Self {
        Self { keep, ..Self::default() }
    }

    fn says(self, message: impl Into<String>) -> Self {
        Self { messages: vec![message.into()], ..self }
    }
}

const KNOWN: &[&str] = &[
    "add-mask",
    "add-matcher",
    "add-path",
    "debug",
    "echo",
    "endgroup",
    "error",
    "group",
    "internal-set-repo-path",
    "notice",
    "remove-matcher",
    "save-state",
    "set-env",
    "set-output",
    "stop-commands",
    "warning",
];

impl Interpreter {
    pub(crate) fn new(step: u16, debug: bool, allow_unsecure: bool) -> Self {
        Self { step, debug, allow_unsecure, echo: debug, ..Self::default() }
    }

    /// An interpreter that takes nothing for a command: for programs that print what others wrote.
    pub(crate) fn off() -> Self {
        // No command has a line break in its name, so nothing ends this.
        Self { stopped: Some("\n".into()), ..Self::default() }
    }

    pub(crate) fn take(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// Decides about a line and does what it asks for.
    pub(crate) fn line(&mut self, line: &str, masker: &Masker) -> Verdict {
        let Some(command) = WorkflowCommand::parse(line) else { return Verdict::ordinary() };
        if let Some(token) = &self.stopped {
            if command.name.eq_ignore_ascii_case(token) {
                self.stopped = None;
                return Verdict::kept_if(self.echo);
            }
            return Verdict::ordinary();
        }
        let request = Verdict::kept_if(self.echo);
        match command.name.as_str() {
            "add-mask" => return add_mask(&command, masker),
            "group" | "endgroup" => return Verdict::keep(),
            "debug" => return Verdict::kept_if(self.debug),
            "notice" | "warning" | "error" => {
                self.annotate(&command, masker);
                return Verdict::keep();
            }
            "set-output" => {
                let Some(name) = command.property("name") else {
                    return request.says("Error: set-output needs a name: ::set-output name=NAME::VALUE");
                };
                self.effects.outputs.push((name.to_owned(), command.data.clone()));
                return self.deprecated(request, "set-output", "GITHUB_OUTPUT");
            }
            "save-state" => {
                let Some(name) = command.property("name") else {
                    return request.says("Error: save-state needs a name: ::save-state name=NAME::VALUE");
                };
                self.effects.state.push((name.to_owned(), command.data.clone()));
                return self.deprecated(request, "save-state", "GITHUB_STATE");
            }
            "set-env" | "add-path" => return self.unsecure(request, &command),
            "stop-commands" => return self.stop(request, &command, masker),
            "echo" => match command.data.trim().to_ascii_lowercase().as_str() {
                "on" => self.echo = true,
                "off" => self.echo = self.debug,
                _ => return request.says("Error: echo takes on or off"),
            },
            "add-matcher" | "remove-matcher" => return self.matcher(request, &command),
            // Old versions of actions/checkout say it; nothing depends on it.
            "internal-set-repo-path" => {}
            // A line that merely looks like a command, such as a C++ name.
            _ => return Verdict::ordinary(),
        }
        request
    }

    /// The problem matchers of the job, for whoever reads the lines.
    pub(crate) fn matchers(&self) -> Option<Arc<JobMatchers>> {
        self.matchers.as_ref().map(|(matchers, _)| matchers.clone())
    }

    /// With the problem matchers of a job.
    pub(crate) fn with_matchers(self, matchers: Arc<JobMatchers>, names: Names) -> Self {
        Self { matchers: Some((matchers, names)), ..self }
    }

    /// Takes what a problem matcher found.
    pub(crate) fn found(&mut self, found: Match, masker: &Masker) {
        let Some((_, names)) = &self.matchers else { return };
        let mut annotation = matching::annotation(found, &names.inside, self.step);
        annotation.message = shorten(masker.mask(&annotation.message));
        annotation.file = annotation.file.map(|file| masker.mask(&file));
        self.raise(annotation);
    }

    fn raise(&mut self, annotation: Annotation) {
        let level = &annotation.level;
        if self.effects.annotations.iter().filter(|a| a.level == *level).count() < MAX_PER_LEVEL {
            self.effects.annotations.push(annotation);
        }
    }

    /// `add-matcher` and `remove-matcher`.
    fn matcher(&self, verdict: Verdict, command: &WorkflowCommand) -> Verdict {
        let Some((matchers, names)) = &self.matchers else { return verdict };
        let file = command.data.trim();
        let result = match (command.name.as_str(), command.property("owner")) {
            ("remove-matcher", Some(owner)) => {
                matchers.remove(owner);
                Ok(())
            }
            (_, _) if file.is_empty() => Err("a file is missing".to_owned()),
            ("remove-matcher", None) => matchers.remove_file(&names.file(file)),
            _ => matchers.add(&names.file(file)),
        };
        match result {
            Ok(()) => verdict,
            Err(e) => verdict.says(format!("Warning: {}: {e}", command.name)),
        }
    }

    fn annotate(&mut self, command: &WorkflowCommand, masker: &Masker) {
        let text = |name: &str| command.property(name).map(|v| masker.mask(v));
        let number = |name: &str| command.property(name).and_then(|v| v.trim().parse().ok());
        self.raise(Annotation {
            level: command.name.clone(),
            message: shorten(masker.mask(&command.data)),
            title: text("title"),
            file: text("file"),
            line: number("line"),
            end_line: number("endLine"),
            column: number("col"),
            end_column: number("endColumn"),
            step: self.step,
        });
    }

    fn deprecated(&mut self, verdict: Verdict, name: &str, file: &str) -> Verdict {
        if self.warned.iter().any(|n| n == name) {
            return verdict;
        }
        self.warned.push(name.to_owned());
        let message = format!("The command '{name}' is deprecated: append to the file ${file} instead.");
        self.raise(Annotation {
            level: "warning".into(),
            message: message.clone(),
            title: None,
            file: None,
            line: None,
            end_line: None,
            column: None,
            end_column: None,
            step: self.step,
        });
        verdict.says(format!("Warning: {message}"))
    }

    fn unsecure(&mut self, verdict: Verdict, command: &WorkflowCommand) -> Verdict {
        let (name, file) = match command.name.as_str() {
            "set-env" => ("set-env", "GITHUB_ENV"),
            _ => ("add-path", "GITHUB_PATH"),
        };
        if !self.allow_unsecure {
            return verdict.says(format!(
                "Error: The command '{name}' is switched off because output of other programs could set \
                 it: append to the file ${file} instead, or set ACTIONS_ALLOW_UNSECURE_COMMANDS=true."
            ));
        }
        if name == "add-path" {
            self.effects.paths.push(command.data.clone());
        } else if let Some(variable) = command.property("name") {
            self.effects.env.push((variable.to_owned(), command.data.clone()));
        }
        verdict
    }

    fn stop(&mut self, verdict: Verdict, command: &WorkflowCommand, masker: &Masker) -> Verdict {
        let token = command.data.trim();
        if token.is_empty()
            || token.eq_ignore_ascii_case("pause-logging")
            || KNOWN.iter().any(|k| k.eq_ignore_ascii_case(token))
        {
            return verdict.says(format!("Error: '{token}' cannot be the word that ends stop-commands"));
        }
        if token.len() > 6 {
            masker.add(token);
        }
        self.stopped = Some(token.to_owned());
        verdict
    }
}

fn add_mask(command: &WorkflowCommand, masker: &Masker) -> Verdict {
    let hidden = Verdict::default();
    if command.data.trim().is_empty() {
        return hidden.says("Warning: add-mask without a value");
    }
    if masker.add(&command.data) {
        hidden
    } else {
        hidden.says("Warning: a value of one character is not masked: it would hide half of the log")
    }
}

fn shorten(mut text: String) -> String {
    if text.len() > MAX_MESSAGE {
        let at = (0..=MAX_MESSAGE).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(at);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows what each line becomes: `keep`, `drop`, and what the runner says.
    fn script(interpreter: &mut Interpreter, masker: &Masker, lines: &[&str]) -> String {
        let mut shown = String::new();
        for line in lines {
            let verdict = interpreter.line(line, masker);
            shown += &format!("{} {line}\n", if verdict.keep { "keep" } else { "drop" });
            for message in verdict.messages {
                shown += &format!("     {message}\n");
            }
        }
        shown
    }

    #[test]
    fn what_stays_in_the_log() {
        let masker = Masker::default();
        let mut interpreter = Interpreter::new(3, false, false);
        let shown = script(
            &mut interpreter,
            &masker,
            &[
                "::group::Build",
                "::endgroup::",
                "::warning file=a.rs,line=2::careful",
                "::debug::hidden",
                "::set-output name=x::1",
                "::set-output name=y::2",
                "::set-output::z",
                "::save-state name=x::1",
                "::set-env name=A::1",
                "::add-path::/opt",
                "::add-matcher::m.json",
                "::std::string::x",
                "::echo::on",
                "::set-output name=z::3",
                "::add-mask::secret-word",
                "::add-mask::x",
                "::echo::off",
                "::stop-commands::warning",
                "::stop-commands::resume-now",
                "::set-output name=q::4",
                "::resume-now::",
                "::set-output name=r::5",
            ],
        );
        insta::assert_snapshot!(shown, @r"
        keep ::group::Build
        keep ::endgroup::
        keep ::warning file=a.rs,line=2::careful
        drop ::debug::hidden
        drop ::set-output name=x::1
             Warning: The command 'set-output' is deprecated: append to the file $GITHUB_OUTPUT instead.
        drop ::set-output name=y::2
        drop ::set-output::z
             Error: set-output needs a name: ::set-output name=NAME::VALUE
        drop ::save-state name=x::1
             Warning: The command 'save-state' is deprecated: append to the file $GITHUB_STATE instead.
        drop ::set-env name=A::1
             Error: The command 'set-env' is switched off because output of other programs could set it: append to the file $GITHUB_ENV instead, or set ACTIONS_ALLOW_UNSECURE_COMMANDS=true.
        drop ::add-path::/opt
             Error: The command 'add-path' is switched off because output of other programs could set it: append to the file $GITHUB_PATH instead, or set ACTIONS_ALLOW_UNSECURE_COMMANDS=true.
        drop ::add-matcher::m.json
        keep ::std::string::x
        drop ::echo::on
        keep ::set-output name=z::3
        drop ::add-mask::secret-word
        drop ::add-mask::x
             Warning: a value of one character is not masked: it would hide half of the log
        keep ::echo::off
        drop ::stop-commands::warning
             Error: 'warning' cannot be the word that ends stop-commands
        drop ::stop-commands::resume-now
        keep ::set-output name=q::4
        drop ::resume-now::
        drop ::set-output name=r::5
        ");
        let effects = interpreter.take();
        let names: Vec<&str> = effects.outputs.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["x", "y", "z", "r"]);
        assert!(effects.env.is_empty() && effects.paths.is_empty());
        assert_eq!(masker.mask("secret-word resume-now"), "*** ***");
    }

    #[test]
    fn unsecure_commands_work_when_allowed() {
        let mut interpreter = Interpreter::new(0, false, true);
        script(&mut interpreter, &Masker::default(), &["::set-env name=A::1%0A2", "::add-path::/opt"]);
        let effects = interpreter.take();
        assert_eq!(effects.env, [("A".to_owned(), "1\n2".to_owned())]);
        assert_eq!(effects.paths, ["/opt"]);
    }

    #[test]
    fn annotations_are_masked_bounded_and_placed() {
        let masker = Masker::new(["hunter2"]);
        let mut interpreter = Interpreter::new(7, false, false);
        let line = "::error file=src/a.rs,line=3,endLine=4,col=5,endColumn=6,title=Oh%2C no::it is hunter2";
        script(&mut interpreter, &masker, &[line; 30]);
        let annotations = interpreter.take().annotations;
        assert_eq!(annotations.len(), 10);
        insta::assert_json_snapshot!(annotations[0], @r#"
        {
          "level": "error",
          "message": "it is ***",
          "title": "Oh, no",
          "file": "src/a.rs",
          "line": 3,
          "end_line": 4,
          "column": 5,
          "end_column": 6,
          "step": 7
        }
        "#);
    }
}
