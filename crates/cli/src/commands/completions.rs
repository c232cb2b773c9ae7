//! `completions` and `version`: what the binary knows about itself.

use crate::args::Cli;
use crate::error::{Exit, Result};
use crate::output::{self, Format};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use fleetfoot_model::version::VERSION;

/// Print a completion script for a shell
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    fleetfoot completions bash > ~/.local/share/bash-completion/completions/fleetfoot\n  \
    fleetfoot completions zsh > ~/.zfunc/_fleetfoot\n  \
    fleetfoot completions fish > ~/.config/fish/completions/fleetfoot.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fleetfoot", &mut script);
    output::write(&script)?;
    Ok(Exit::Ok)
}

pub(crate) fn version(format: Format) -> Result {
    match format {
        Format::Text => output::line(&format!("fleetfoot {VERSION}"))?,
        Format::Json => output::json(&serde_json::json!({ "version": VERSION }))?,
    }
    Ok(Exit::Ok)
}
