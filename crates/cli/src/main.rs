//! The binary `fleetfoot`: arguments, printing and wiring over the other
//! crates. It decides nothing about runs, jobs or runners, and talks to a
//! server through nothing but the public API.

mod args;
mod calls;
mod clock;
mod commands;
mod connect;
mod document;
mod environment;
mod error;
mod git;
mod graph;
mod live;
mod loader;
mod local;
mod local_runner;
mod local_services;
mod logging;
mod logs;
mod output;
mod pairs;
mod progress;
#[cfg(test)]
mod reference;
mod render;
mod sign_in;
mod signals;
mod style;
mod unpack;
mod wiring;

use args::{Cli, Command};
use clap::Parser;
use error::{CliError, Result};
use output::Format;
use std::process::ExitCode;
use style::Style;

/// Planning, JSON and the scheduler are made of many small allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let format = cli.output;
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            if !error.is_silent() {
                report(&error, format);
            }
            error.exit.into()
        }
    }
}

/// Standard output stays free for data even when there is none: errors go to standard error in either format.
fn report(error: &CliError, format: Format) {
    match format {
        Format::Text => output::say(&error.render(Style::stderr())),
        Format::Json => output::say(&error.to_json().to_string()),
    }
}

fn dispatch(cli: Cli) -> Result {
    let format = cli.output;
    match cli.command {
        Command::Up(args) => block_on_all(commands::server::up(args, format)),
        Command::Server(args) => block_on_all(commands::server::server(args, format)),
        Command::Runner(command) => block_on_all(commands::runner::run(command, format)),
        Command::Run(args) => block_on_all(commands::run::run(args, format)),
        Command::Backup(args) => block_on(commands::backup::backup(args, format)),
        Command::Restore(args) => commands::backup::restore(&args, format),
        Command::Lint(args) => commands::lint::run(&args, format),
        Command::Submit(args) => block_on(commands::submit::run(args, format)),
        Command::Watch(args) => block_on(commands::watch::run(args, format)),
        Command::Logs(args) => block_on(commands::logs::run(args, format)),
        Command::List(args) => block_on(commands::list::run(args, format)),
        Command::Show(args) => block_on(commands::show::run(args, format)),
        Command::Why(args) => block_on(commands::show::why(args, format)),
        Command::Cancel(args) => block_on(commands::steer::cancel(args, format)),
        Command::Rerun(args) => block_on(commands::steer::rerun(args, format)),
        Command::Repo(command) => block_on(commands::repo::run(command, format)),
        Command::Artifact(command) => block_on(commands::artifact::run(command, format)),
        Command::Cache(command) => block_on(commands::cache::run(command, format)),
        Command::Token(command) => block_on(commands::token::run(command, format)),
        Command::User(command) => block_on(commands::user::run(command, format)),
        Command::Secret(command) => block_on(commands::secret::run(command, format)),
        Command::Variable(command) => block_on(commands::variable::run(command, format)),
        Command::Environment(command) => block_on(commands::environment::run(command, format)),
        Command::Approvals(command) => block_on(commands::approvals::run(command, format)),
        Command::Approve(args) => block_on(commands::approvals::approve(args, format)),
        Command::Reject(args) => block_on(commands::approvals::reject(args, format)),
        Command::Doctor(args) => block_on(commands::doctor::run(args, format)),
        Command::Graph(args) => commands::graph::run(&args, format),
        Command::Expr(args) => commands::expr::run(&args, format),
        Command::Completions(args) => commands::completions::run(&args),
        Command::Version => commands::completions::version(format),
    }
}

/// Runs what serves, or runs jobs, on a thread a CPU.
fn block_on_all(future: impl Future<Output = Result>) -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::machine("the asynchronous runtime cannot start").because(&e))?;
    let result = runtime.block_on(Box::pin(future));
    runtime.shutdown_background();
    result
}

/// Runs a client's command on one thread: starting more costs more than they save.
fn block_on(future: impl Future<Output = Result>) -> Result {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::machine("the asynchronous runtime cannot start").because(&e))?;
    let result = runtime.block_on(future);
    // A blocked read of standard input must not hold the process back.
    runtime.shutdown_background();
    result
}
