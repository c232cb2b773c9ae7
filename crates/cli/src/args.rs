//! The command line as a whole. Arguments of one command live beside it.

use crate::commands::{self, *};
use crate::environment;
use crate::output::Format;
use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::{Parser, Subcommand};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// One fleet of runners for every kind of queued work
#[derive(Parser, Debug)]
#[command(
    name = "fleetfoot",
    version,
    styles = STYLES,
    max_term_width = 100,
    propagate_version = false,
    after_help = "Examples:\n  \
        fleetfoot run                            run this repository's workflows here, without a server\n  \
        fleetfoot up                             start a server with a local runner\n  \
        fleetfoot submit ci.yml --watch          submit a workflow and follow it\n  \
        fleetfoot why 42                         say why job 42 waits\n\n\
        Data goes to standard output, everything else to standard error.\n\
        Exit codes: 0 success, 1 the run failed, 2 unusable input, 3 server out of reach or refusing,\n\
        4 not found, 5 conflict, 6 this machine, 130 cancelled."
)]
pub(crate) struct Cli {
    /// Output format
    #[arg(long, short = 'o', global = true, value_enum, default_value = "text", env = environment::OUTPUT, help_heading = "Global options")]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
#[expect(clippy::large_enum_variant, reason = "parsed once, and flattened commands cannot be boxed")]
pub(crate) enum Command {
    Up(server::UpArgs),
    Server(server::ServeArgs),
    #[command(subcommand)]
    Runner(runner::RunnerCommand),
    Run(Box<run::RunArgs>),
    Submit(Box<submit::SubmitArgs>),
    Watch(watch::WatchArgs),
    Logs(logs::LogsArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Why(show::WhyArgs),
    Cancel(steer::CancelArgs),
    Rerun(steer::RerunArgs),
    #[command(subcommand)]
    Repo(repo::RepoCommand),
    #[command(subcommand)]
    Token(token::TokenCommand),
    #[command(subcommand)]
    User(user::UserCommand),
    #[command(subcommand)]
    Secret(secret::SecretCommand),
    #[command(subcommand)]
    Variable(variable::VariableCommand),
    #[command(subcommand)]
    Environment(commands::environment::EnvironmentCommand),
    #[command(subcommand)]
    Approvals(approvals::ApprovalsCommand),
    Approve(approvals::ApproveArgs),
    Reject(approvals::RejectArgs),
    #[command(subcommand)]
    Artifact(artifact::ArtifactCommand),
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    Backup(backup::BackupArgs),
    Restore(backup::RestoreArgs),
    Doctor(doctor::DoctorArgs),
    Lint(lint::LintArgs),
    Graph(graph::GraphArgs),
    Expr(expr::ExprArgs),
    Completions(completions::CompletionsArgs),
    /// Print the version
    #[command(after_help = "Examples:\n  fleetfoot version\n  fleetfoot version --output json")]
    Version,
}
