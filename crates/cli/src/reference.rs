//! The command line reference in `docs/cli.md`, generated from the definition
//! of the arguments, and the check that it did not drift.

use crate::args::Cli;
use crate::environment;
use crate::error::Exit;
use clap::{Command, CommandFactory};
use std::fmt::Write as _;
use std::path::Path;

fn reference() -> String {
    let mut command = Cli::command().term_width(100).max_term_width(100);
    command.build();
    let mut out = String::from(
        "# Command line reference\n\nGenerated from the program; `UPDATE_DOCS=1 cargo test -p fleetfoot` writes it anew.\n\n\
         Data goes to standard output, everything said to a person to standard error. `--output json` works for every command.\n",
    );
    out.push_str("\n## Exit codes\n\n| code | meaning |\n|---|---|\n");
    for (exit, meaning) in Exit::MEANINGS {
        let _ = writeln!(out, "| {} | {meaning} |", exit.code());
    }
    out.push_str("\n## Environment\n\n| variable | meaning |\n|---|---|\n");
    for (name, meaning) in environment::ALL {
        let _ = writeln!(out, "| `{name}` | {meaning} |");
    }
    section(&mut out, &mut command, "");
    out
}

fn section(out: &mut String, command: &mut Command, parent: &str) {
    let name = format!("{parent} {}", command.get_name()).trim().to_owned();
    let help = command.render_long_help().to_string();
    let _ = write!(out, "\n## `{name}`\n\n```text\n");
    for line in help.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.push_str("```\n");
    for sub in command.get_subcommands_mut().filter(|c| c.get_name() != "help" && !c.is_hide_set()) {
        section(out, sub, &name);
    }
}

#[test]
fn the_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let expected = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, expected).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/cli.md has drifted: UPDATE_DOCS=1 cargo test -p fleetfoot --bin fleetfoot reference"
    );
}

/// Every command that does something shows how.
#[test]
fn every_command_has_examples() {
    fn check(command: &Command, path: &str) {
        let name = format!("{path} {}", command.get_name());
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(
            command.has_subcommands() || command.is_hide_set() || help.contains("Examples:"),
            "{name} has no examples"
        );
        for sub in command.get_subcommands().filter(|c| c.get_name() != "help") {
            check(sub, &name);
        }
    }
    check(&Cli::command(), "");
    Cli::command().debug_assert();
}
