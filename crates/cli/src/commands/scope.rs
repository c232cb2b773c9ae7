//! Which scope a secret or a variable is in: flags that `secret` and
//! `variable` share, and values that never come from the command line.

use crate::error::{CliError, Result};
use clap::Args;
use fleetfoot_model::projects::{DEFAULT_PROJECT, Scope};
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

/// Bytes read of a value at most: the server's limit and a little, so that too much is noticed.
const MAX_READ: u64 = 64 * 1024;

/// Where it holds.
#[derive(Args, Clone, Debug)]
pub(crate) struct ScopeArgs {
    /// Project
    #[arg(long, value_name = "NAME", default_value = DEFAULT_PROJECT)]
    project: String,
    /// Environment of the project
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// For every project
    #[arg(long, conflicts_with_all = ["project", "env"])]
    global: bool,
}

impl ScopeArgs {
    pub(crate) fn scope(&self) -> Scope {
        match (self.global, &self.env) {
            (true, _) => Scope::Global,
            (false, Some(environment)) => {
                Scope::Environment { project: self.project.clone(), environment: environment.clone() }
            }
            (false, None) => Scope::Project(self.project.clone()),
        }
    }
}

/// A value from a file as it is; from a prompt; or from standard input without the line end at its end.
pub(crate) fn value(what: &str, file: Option<&PathBuf>, hidden: bool) -> Result<String> {
    if let Some(path) = file {
        return read_file(path);
    }
    let stdin = std::io::stdin();
    let text = if stdin.is_terminal() {
        prompt(what, hidden)?
    } else {
        let mut bytes = Vec::new();
        stdin
            .lock()
            .take(MAX_READ)
            .read_to_end(&mut bytes)
            .map_err(|e| CliError::usage("standard input cannot be read").because(&e))?;
        text(bytes, "standard input")?
    };
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn read_file(path: &Path) -> Result<String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_READ).read_to_end(&mut bytes))
        .map_err(|e| CliError::usage(format!("the file {shown} cannot be read")).because(&e))?;
    text(bytes, &shown.to_string())
}

/// What is not text is not shown in the error.
fn text(bytes: Vec<u8>, source: &str) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| {
        CliError::usage(format!("{source} is not UTF-8 text"))
            .hint("encode it first, for example with `base64 -w0`, and decode it in the job")
    })
}

/// Asks at the terminal; a secret is not echoed.
fn prompt(what: &str, hidden: bool) -> Result<String> {
    crate::output::say_bytes(format!("{what}: ").as_bytes());
    let _silence = hidden.then(Silence::begin);
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    if hidden {
        crate::output::say("");
    }
    read.map_err(|e| CliError::usage("the terminal cannot be read").because(&e))?;
    Ok(line)
}

/// No echo at the terminal until it is dropped.
struct Silence(Option<rustix::termios::Termios>);

impl Silence {
    fn begin() -> Self {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let Ok(before) = tcgetattr(std::io::stdin()) else { return Self(None) };
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        match tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet) {
            Ok(()) => Self(Some(before)),
            Err(_) => Self(None),
        }
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let now = rustix::termios::OptionalActions::Now;
            let _ = rustix::termios::tcsetattr(std::io::stdin(), now, before);
        }
    }
}
