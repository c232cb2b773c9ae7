//! `runner`: an agent on this machine, from configuration to its end. What a
//! runner does is in the crate of that name.

use crate::commands::runner_boundaries::{self, BoundarySettings, PruneArgs};
use crate::commands::runner_fleet;
use crate::error::{CliError, Exit, Result};
use crate::local_runner::{no_processes, not_ready};
use crate::logging;
use crate::output::{self, Format};
use crate::style::Style;
use clap::{Args, Subcommand};
use fleetfoot_client::Secret;
use fleetfoot_runner::config::{ConfigError, Size, write_commented};
use fleetfoot_runner::engine::EngineExecutor;
use fleetfoot_runner::identity::{self, IdentityError};
use fleetfoot_runner::{CheckStatus, Identity, Notice, PartialConfig, RunnerConfig, UpError};
use std::io::{BufRead, IsTerminal, Read};
use std::path::PathBuf;
use std::sync::Arc;

/// Name of the file that `setup` writes unless told otherwise.
const CONFIG_FILE: &str = "fleetfoot-runner.toml";

/// Set up, register and run a runner on this machine; see and steer those of a server
#[derive(Subcommand, Debug)]
pub(crate) enum RunnerCommand {
    List(runner_fleet::ListArgs),
    Drain(runner_fleet::DrainArgs),
    Resume(runner_fleet::ResumeArgs),
    Label(runner_fleet::LabelArgs),
    Remove(runner_fleet::RemoveArgs),
    Setup(SetupArgs),
    Register(RegisterArgs),
    Up(UpArgs),
    Unregister(PlainArgs),
    Validate(ValidateArgs),
    Prune(PruneRunnerArgs),
    Status(StatusArgs),
    /// Print a systemd unit for a runner
    #[command(
        after_help = "Examples:\n  fleetfoot runner systemd-unit > /etc/systemd/system/fleetfoot-runner.service"
    )]
    SystemdUnit,
}

/// Ask for the settings and write a commented configuration file
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot runner setup\n  \
    fleetfoot runner setup --config /etc/fleetfoot/runner.toml --server https://ci.example.org --name build-1 --label linux\n\n\
    Asks on a terminal for what no flag says; without a terminal the flags and defaults are taken.")]
pub(crate) struct SetupArgs {
    /// Replace an existing file
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Become a runner at the server; again overwrites the token
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  fleetfoot runner register --server https://ci.example.org --token ffreg_…\n  \
    fleetfoot token create --registration | fleetfoot runner register --stdin-registration-token"
)]
pub(crate) struct RegisterArgs {
    #[command(flatten)]
    settings: Settings,
}

/// Take jobs, in the foreground
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot runner up --config /etc/fleetfoot/runner.toml\n  \
    fleetfoot runner up --server http://127.0.0.1:7878 --token ffreg_… --name build-1 --slots 4 --work-dir ./work\n\n\
    Registers first if this work directory has no runner token yet.\n\
    SIGTERM lets running jobs finish and takes nothing new; a second one cancels them, a third one kills them.")]
pub(crate) struct UpArgs {
    #[command(flatten)]
    settings: Settings,
}

/// Remove this runner at the server, and its token here
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot runner unregister --config /etc/fleetfoot/runner.toml")]
pub(crate) struct PlainArgs {
    #[command(flatten)]
    settings: Settings,
}

/// Check whether this machine and configuration can work
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot runner validate --config /etc/fleetfoot/runner.toml\n\n\
    Exits 1 if a check failed; warnings do not count.")]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    settings: Settings,
}

/// List or remove finished containers that were kept for inspection
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  fleetfoot runner prune --list\n  fleetfoot runner prune --older-than 2h\n  \
    fleetfoot runner prune --all --output json\n\n\
    Without a choice, those go that `container_keep_count` and `container_keep_age` do not keep."
)]
pub(crate) struct PruneRunnerArgs {
    #[command(flatten)]
    prune: PruneArgs,
    #[command(flatten)]
    settings: Settings,
}

/// Show this runner as the server sees it
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  fleetfoot runner status --config /etc/fleetfoot/runner.toml --output json"
)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    settings: Settings,
}

/// Flags are the strongest layer; each setting also has an environment variable and a place in the file.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Settings (also FLEETFOOT_RUNNER_… in the environment)")]
struct Settings {
    /// Configuration file, TOML or JSON
    #[arg(long, value_name = "FILE", env = "FLEETFOOT_RUNNER_CONFIG")]
    config: Option<PathBuf>,
    /// Address of the server [default: http://127.0.0.1:7878]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Registration token, used once
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Read the registration token from standard input
    #[arg(long, conflicts_with = "token")]
    stdin_registration_token: bool,
    /// Where the runner keeps its own token [default: in the work directory]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Name, unique at the server [default: the host name]
    #[arg(long)]
    name: Option<String>,
    /// Description for people
    #[arg(long)]
    description: Option<String>,
    /// Label that jobs may ask for (repeatable)
    #[arg(long, value_name = "LABEL")]
    label: Vec<String>,
    /// Queue that it serves (repeatable) [default: default]
    #[arg(long, value_name = "QUEUE")]
    queue: Vec<String>,
    /// Jobs at once [default: the number of CPUs]
    #[arg(long, value_name = "N")]
    slots: Option<usize>,
    /// Take one job, then unregister and end
    #[arg(long)]
    one_off: bool,
    /// Gets a POST when the runner or a job starts or finishes
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// Everything that the runner writes is below this directory
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Script that runs before the first step of every job
    #[arg(long, value_name = "FILE")]
    job_started_hook: Option<PathBuf>,
    /// Script that runs after the last step of every job
    #[arg(long, value_name = "FILE")]
    job_completed_hook: Option<PathBuf>,
    /// Proxy on the way to the server
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// PEM file with further certificate authorities
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Variable of the runner's environment that jobs may see (repeatable)
    #[arg(long, value_name = "NAME")]
    pass_env: Vec<String>,
    /// The most CPUs that a job gets
    #[arg(long, value_name = "N")]
    max_cpus: Option<f64>,
    /// The most memory that a job gets, for example 8G
    #[arg(long, value_name = "SIZE")]
    max_memory: Option<Size>,
    /// The most processes and threads that a job gets
    #[arg(long, value_name = "N")]
    max_pids: Option<u64>,
    /// The most that a job reads from each disk in a second
    #[arg(long, value_name = "SIZE")]
    max_read: Option<Size>,
    /// The most that a job writes to each disk in a second
    #[arg(long, value_name = "SIZE")]
    max_write: Option<Size>,
    /// The most log that a job may write
    #[arg(long, value_name = "SIZE")]
    max_log: Option<Size>,
    /// With less free disk than this, nothing new is taken
    #[arg(long, value_name = "SIZE")]
    keep_free: Option<Size>,
    /// Directory or address of bare repositories OWNER/REPO.git from which actions come
    #[arg(long, value_name = "DIR|URL")]
    action_mirror: Option<String>,
    /// Address of the forge from which actions come [default: https://github.com]
    #[arg(long, value_name = "URL")]
    action_url: Option<String>,
    /// Owner or repository whose actions may be used (repeatable) [default: all]
    #[arg(long, value_name = "OWNER[/REPO]")]
    action_owner: Vec<String>,
    /// Actions must be named by a full commit id
    #[arg(long)]
    action_sha_only: bool,
    /// Where fetched actions are kept [default: in the work directory]
    #[arg(long, value_name = "DIR")]
    action_cache: Option<PathBuf>,
    /// Fetch actions/checkout like any other action, instead of the built-in one
    #[arg(long)]
    fetch_checkout: bool,
    /// The program that runs JavaScript actions [default: node on the PATH]
    #[arg(long, value_name = "FILE")]
    node: Option<PathBuf>,
    /// Mark lines of standard error in the log
    #[arg(long)]
    separate_stderr: bool,
    #[command(flatten)]
    boundaries: BoundarySettings,
}

impl Settings {
    /// The layer of the flags.
    fn flags(&self) -> Result<PartialConfig> {
        let list = |given: &[String]| {
            let all: Vec<String> =
                given.iter().flat_map(|l| l.split(',')).map(|l| l.trim().to_owned()).collect();
            (!all.is_empty()).then_some(all)
        };
        let boundaries = self.boundaries.flags();
        Ok(PartialConfig {
            server: self.server.clone(),
            token: self.registration_token()?,
            token_file: self.token_file.clone(),
            name: self.name.clone(),
            description: self.description.clone(),
            labels: list(&self.label),
            queues: list(&self.queue),
            slots: self.slots,
            one_off: self.one_off.then_some(true),
            webhook: self.webhook.as_deref().map(Secret::new),
            work_dir: self.work_dir.clone(),
            job_started_hook: self.job_started_hook.clone(),
            job_completed_hook: self.job_completed_hook.clone(),
            proxy: self.proxy.clone(),
            ca_file: self.ca_file.clone(),
            pass_env: list(&self.pass_env),
            max_cpus: self.max_cpus,
            max_memory: self.max_memory,
            max_pids: self.max_pids,
            max_read: self.max_read,
            max_write: self.max_write,
            max_log: self.max_log,
            keep_free: self.keep_free,
            action_mirror: self.action_mirror.clone(),
            action_url: self.action_url.clone(),
            action_owners: list(&self.action_owner),
            action_sha_only: self.action_sha_only.then_some(true),
            action_cache: self.action_cache.clone(),
            fetch_checkout: self.fetch_checkout.then_some(true),
            node: self.node.clone(),
            separate_stderr: self.separate_stderr.then_some(true),
            ..boundaries
        })
    }

    fn registration_token(&self) -> Result<Option<Secret>> {
        if !self.stdin_registration_token {
            return Ok(self.token.as_deref().map(Secret::new));
        }
        let mut text = String::new();
        std::io::stdin().lock().take(4096).read_to_string(&mut text).map_err(|e| {
            CliError::usage("the registration token cannot be read from standard input").because(&e)
        })?;
        if text.trim().is_empty() {
            return Err(CliError::usage("there was no registration token on standard input"));
        }
        Ok(Some(Secret::new(text)))
    }

    /// All layers.
    fn load(&self) -> Result<RunnerConfig> {
        let read = |name: &str| std::env::var(name).ok();
        RunnerConfig::load(self.config.as_deref(), read, self.flags()?).map_err(config_error)
    }
}

fn config_error(error: ConfigError) -> CliError {
    let out = CliError::usage(error.to_string());
    match &error {
        ConfigError::File(file) => match std::error::Error::source(file) {
            Some(source) => out.because(source),
            None => out,
        },
        ConfigError::Environment { .. } | ConfigError::Value { .. } => out,
    }
}

/// The token that was refused is one for registration: the words for API tokens would lead astray.
fn registering(error: IdentityError) -> CliError {
    let refused =
        matches!(&error, IdentityError::Server(e) if e.code() == Some(fleetfoot_model::Code::Unauthorized));
    let out = CliError::from(error);
    if !refused {
        return out;
    }
    out.hint("the registration token is wrong, used up or expired; an admin makes another")
        .next("fleetfoot token create --registration")
}

impl From<IdentityError> for CliError {
    fn from(error: IdentityError) -> Self {
        let hint = error.hint();
        let out = match error {
            IdentityError::Server(error) => Self::from(error),
            IdentityError::NotRegistered(_) | IdentityError::NoRegistrationToken => {
                Self::usage(error.to_string())
            }
            IdentityError::File { ref source, .. } => Self::machine(error.to_string()).because(source),
        };
        match hint {
            Some(hint) => out.hint(hint),
            None => out,
        }
    }
}

impl From<UpError> for CliError {
    fn from(error: UpError) -> Self {
        let hint = error.hint();
        let message = error.to_string();
        let out = match error {
            UpError::Webhook(error) => Self::from(error),
            UpError::Identity(error) => Self::from(error),
            UpError::Daemon(ref inner) => {
                let out = Self::new(Exit::Server, message);
                match std::error::Error::source(inner) {
                    Some(source) => out.because(source),
                    None => out,
                }
            }
            UpError::WorkDir { ref source, .. } => Self::machine(message).because(source),
            UpError::Locked { .. } => Self::machine(message),
        };
        match hint {
            Some(hint) => out.hint(hint),
            None => out,
        }
    }
}

pub(crate) async fn run(command: RunnerCommand, format: Format) -> Result {
    match command {
        RunnerCommand::List(args) => runner_fleet::list(args, format).await,
        RunnerCommand::Drain(args) => runner_fleet::drain(args, format).await,
        RunnerCommand::Resume(args) => runner_fleet::resume(args, format).await,
        RunnerCommand::Label(args) => runner_fleet::label(args, format).await,
        RunnerCommand::Remove(args) => runner_fleet::remove(args, format).await,
        RunnerCommand::Setup(args) => setup(&args, format),
        RunnerCommand::Register(args) => register(&args.settings, format).await,
        RunnerCommand::Up(args) => up(&args.settings, format).await,
        RunnerCommand::Unregister(args) => unregister(&args.settings, format).await,
        RunnerCommand::Validate(args) => validate(&args.settings, format).await,
        RunnerCommand::Prune(args) => args.prune.run(&args.settings.load()?, format).await,
        RunnerCommand::Status(args) => status(&args.settings, format).await,
        RunnerCommand::SystemdUnit => {
            output::print(fleetfoot_runner::SYSTEMD_UNIT)?;
            Ok(Exit::Ok)
        }
    }
}

fn setup(args: &SetupArgs, format: Format) -> Result {
    let file = args.settings.config.clone().unwrap_or_else(|| PathBuf::from(CONFIG_FILE));
    if file.exists() && !args.force {
        return Err(CliError::usage(format!("{} exists already", file.display())).hint("--force replaces it"));
    }
    let mut config = args.settings.flags()?;
    if std::io::stdin().is_terminal() && format == Format::Text {
        ask(&mut config)?;
    }
    // A file with values that cannot work is worse than none.
    config.clone().resolve().map_err(config_error)?;
    if let Some(parent) = file.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)
            .map_err(|e| CliError::machine(format!("{} cannot be made", parent.display())).because(&e))?;
    }
    write_commented(&file, &config)
        .map_err(|e| CliError::machine(format!("{} cannot be written", file.display())).because(&e))?;
    match format {
        Format::Json => output::json(&serde_json::json!({ "config": file }))?,
        Format::Text => output::say(&format!(
            "wrote {}\n  next: `fleetfoot runner up --config {} --token TOKEN`",
            file.display(),
            file.display()
        )),
    }
    Ok(Exit::Ok)
}

/// Asks for the settings that nearly everyone wants to choose; an empty answer takes the default.
fn ask(config: &mut PartialConfig) -> Result<()> {
    let defaults = config.clone().resolve().map_err(config_error)?;
    let list = |text: String| text.split(',').map(|l| l.trim().to_owned()).collect::<Vec<_>>();
    if config.server.is_none() {
        config.server = answer("Address of the server", &defaults.server)?;
    }
    if config.name.is_none() {
        config.name = answer("Name of the runner", &defaults.name)?;
    }
    if config.labels.is_none() {
        config.labels = answer("Labels, separated by commas", "none")?.map(list);
    }
    if config.queues.is_none() {
        config.queues = answer("Queues, separated by commas", "default")?.map(list);
    }
    if config.slots.is_none()
        && let Some(text) = answer("Jobs at once", &defaults.slots.to_string())?
    {
        config.slots =
            Some(text.parse().map_err(|_| CliError::usage(format!("'{text}' is not a number of jobs")))?);
    }
    if config.work_dir.is_none() {
        config.work_dir =
            answer("Work directory", &defaults.work_dir.display().to_string())?.map(PathBuf::from);
    }
    Ok(())
}

fn answer(question: &str, default: &str) -> Result<Option<String>> {
    output::say_bytes(format!("{question} [{default}]: ").as_bytes());
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|e| CliError::machine("the answer cannot be read").because(&e))?;
    Ok(Some(line.trim().to_owned()).filter(|l| !l.is_empty()))
}

async fn register(settings: &Settings, format: Format) -> Result {
    let config = settings.load()?;
    let identity = identity::register(&config, None).await.map_err(registering)?;
    match format {
        Format::Json => output::json(&serde_json::json!({
            "id": identity.id, "name": identity.name, "server": identity.server, "token_file": config.token_file,
        }))?,
        Format::Text => output::say(&format!(
            "registered at {} as runner {} ({})\n  next: `fleetfoot runner up{}`",
            identity.server,
            identity.id,
            identity.name,
            settings.config.as_ref().map(|f| format!(" --config {}", f.display())).unwrap_or_default()
        )),
    }
    Ok(Exit::Ok)
}

async fn up(settings: &Settings, format: Format) -> Result {
    logging::start("warn");
    // Before anything that takes time: a signal during the start must not be lost.
    let shutdown = fleetfoot_runner::signals::listen()
        .map_err(|e| CliError::machine("signals cannot be received").because(&e))?;
    let config = settings.load()?;
    let identity = identity::load_or_register(&config).await.map_err(registering)?;
    let transport = Arc::new(fleetfoot_runner::http_transport(&config, &identity)?);
    let executor = Arc::new(EngineExecutor::of_runner(&config, &identity).map_err(no_processes)?);
    executor.ready().await.map_err(not_ready)?;
    let style = Style::stdout();
    let (id, server) = (identity.id, identity.server.clone());
    let (lines, printed) = output::background_lines();
    let notices: fleetfoot_runner::NoticeFn = Arc::new(move |notice| {
        // These lines are what people and scripts wait for: they are the data of this command.
        let line = match (format, notice) {
            (Format::Json, Notice::Listening { .. }) => {
                serde_json::json!({ "runner": id, "url": server, "version": fleetfoot_model::version::VERSION }).to_string()
            }
            (Format::Json, _) => return output::say(&notice.to_string()),
            (Format::Text, Notice::Warning { .. } | Notice::ConnectionLost { .. }) => style.yellow(&notice.to_string()),
            (Format::Text, _) => notice.to_string(),
        };
        // Nobody reading is no reason to stop working: a line that finds no room is dropped.
        let _ = lines.try_send(line);
    });
    let ended = fleetfoot_runner::up(config, identity, transport, executor, notices, shutdown).await;
    // The last lines get a moment, and no more than that.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), printed).await;
    ended?;
    Ok(Exit::Ok)
}

async fn unregister(settings: &Settings, format: Format) -> Result {
    let config = settings.load()?;
    let identity = Identity::load(&config.token_file)?;
    identity::unregister(&config, &identity).await?;
    match format {
        Format::Json => output::json(&serde_json::json!({ "unregistered": identity.id }))?,
        Format::Text => output::say(&format!("runner {} ({}) is removed", identity.id, identity.name)),
    }
    Ok(Exit::Ok)
}

async fn validate(settings: &Settings, format: Format) -> Result {
    let config = settings.load()?;
    let found = fleetfoot_runner::validate(&config).await;
    let checks = &found.checks;
    let failed = checks.iter().any(|c| c.status == CheckStatus::Failed);
    if format == Format::Json {
        output::json(
            &serde_json::json!({ "ok": !failed, "checks": checks, "boundaries": found.boundaries }),
        )?;
    } else {
        let style = Style::stdout();
        for check in checks {
            let mark = match check.status {
                CheckStatus::Ok => style.green("✓"),
                CheckStatus::Warning => style.yellow("!"),
                CheckStatus::Failed => style.red("✗"),
            };
            output::line(&format!("{mark} {:<18} {}", check.name, check.detail))?;
            if let Some(fix) = &check.fix {
                output::line(&format!("  {} {fix}", style.cyan("hint:")))?;
            }
        }
        output::print(&format!("\n{}", runner_boundaries::table(&found.boundaries, style)))?;
    }
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}

async fn status(settings: &Settings, format: Format) -> Result {
    let config = settings.load()?;
    let identity = Identity::load(&config.token_file)?;
    let view = identity.client(&config)?.runner(identity.id).await?;
    match format {
        Format::Json => output::json(&view)?,
        Format::Text => {
            let labels: Vec<String> = view.labels.iter().map(ToString::to_string).collect();
            let jobs: Vec<String> = view.jobs.iter().map(ToString::to_string).collect();
            output::line(&format!(
                "runner {} {} at {}: {}",
                view.id, view.name, identity.server, view.state
            ))?;
            output::line(&format!("  version   {}", view.version))?;
            output::line(&format!("  slots     {} ({} busy)", view.slots, view.jobs.len()))?;
            output::line(&format!("  labels    {}", labels.join(", ")))?;
            output::line(&format!("  jobs      {}", jobs.join(", ")))?;
        }
    }
    Ok(Exit::Ok)
}
