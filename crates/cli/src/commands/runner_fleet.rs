//! The fleet from afar: list the runners of a server, drain, label and remove
//! them. What this machine itself does as a runner is in `runner`.

use crate::clock;
use crate::connect::ServerArgs;
use crate::error::{CliError, Exit, Result};
use crate::output::{self, Format};
use crate::style::{self, printable};
use clap::{ArgGroup, Args};
use fleetfoot_client::Client;
use fleetfoot_model::Timestamp;
use fleetfoot_model::api::{RunnerView, UpdateRunner};
use fleetfoot_model::labels::Label;
use fleetfoot_model::state::RunnerState;

/// List the runners of the server
#[derive(Args, Debug)]
#[command(
    visible_alias = "ls",
    after_help = "Examples:\n  fleetfoot runner list\n  fleetfoot runner list --state offline --output json"
)]
pub(crate) struct ListArgs {
    /// Only those in this state: offline, idle, busy, draining, error
    #[arg(long, value_name = "STATE")]
    state: Option<RunnerState>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Let a runner finish what it has and take nothing new
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot runner drain build-1")]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    which: Which,
}

/// Let a drained runner take jobs again
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot runner resume build-1")]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    which: Which,
}

/// Change the labels that the server gives to a runner, beside those that it offers itself
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("change").required(true).multiple(true),
    after_help = "Examples:\n  fleetfoot runner label build-1 --add gpu --add big\n  \
        fleetfoot runner label build-1 --remove gpu"
)]
pub(crate) struct LabelArgs {
    #[command(flatten)]
    which: Which,
    /// A label to add (repeatable)
    #[arg(long, value_name = "LABEL", group = "change")]
    add: Vec<String>,
    /// A label to take away (repeatable)
    #[arg(long, value_name = "LABEL", group = "change")]
    remove: Vec<String>,
}

/// Remove a runner at the server; its token ends, and jobs that it holds are lost to it
#[derive(Args, Debug)]
#[command(
    visible_alias = "rm",
    after_help = "Examples:\n  fleetfoot runner remove build-1\n\n\
        A runner that holds jobs is only removed with --force: drain it first."
)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    which: Which,
    /// Even if it holds jobs
    #[arg(long)]
    force: bool,
}

/// A runner of a server.
#[derive(Args, Debug)]
struct Which {
    /// Name or number of the runner
    #[arg(value_name = "RUNNER")]
    runner: String,
    #[command(flatten)]
    server: ServerArgs,
}

impl Which {
    /// People name runners, the API numbers them. A name that is a number wins.
    async fn find(&self) -> Result<(Client, RunnerView)> {
        let client = self.server.client()?;
        let page = client.runners().await?;
        let named = page.items.iter().position(|r| r.name == self.runner);
        let found = named.or_else(|| page.items.iter().position(|r| r.id.to_string() == self.runner));
        match found.and_then(|at| page.items.into_iter().nth(at)) {
            Some(runner) => Ok((client, runner)),
            None => {
                let message = format!("there is no runner {}", printable(&self.runner));
                Err(CliError::new(Exit::NotFound, message).next("fleetfoot runner list"))
            }
        }
    }
}

pub(super) async fn list(args: ListArgs, format: Format) -> Result {
    let mut page = args.server.client()?.runners().await?;
    page.items.retain(|r| args.state.is_none_or(|wanted| r.state == wanted));
    if format == Format::Json {
        output::json(&page)?;
        return Ok(Exit::Ok);
    }
    if page.items.is_empty() {
        match args.state {
            Some(state) => output::say(&format!("no runner is {state}")),
            None => output::say(
                "there are no runners\n  next: `fleetfoot token create --registration`, and on the machine \
                 that shall run jobs `fleetfoot runner up --server URL --token TOKEN`",
            ),
        }
        return Ok(Exit::Ok);
    }
    output::print(&table(&page.items, clock::now()))?;
    Ok(Exit::Ok)
}

fn table(runners: &[RunnerView], now: Timestamp) -> String {
    let row = |r: &RunnerView| {
        let labels: Vec<String> = r.labels.iter().map(|l| printable(&l.to_string())).collect();
        vec![
            r.id.to_string(),
            printable(&r.name),
            state(r),
            format!("{} of {}", r.jobs.len(), r.slots),
            r.version.clone(),
            r.last_seen_at.map_or_else(|| "never".to_owned(), |at| style::ago(at, now)),
            labels.join(", "),
        ]
    };
    let rows: Vec<Vec<String>> = runners.iter().map(row).collect();
    style::table(&["ID", "NAME", "STATE", "BUSY", "VERSION", "SEEN", "LABELS"], &rows)
}

/// The state, and what of it an operator has to know.
fn state(runner: &RunnerView) -> String {
    match (&runner.error, runner.version_too_far, runner.drain && runner.state == RunnerState::Offline) {
        (Some(error), _, _) => format!("{}: {}", runner.state, style::headline(error)),
        (None, true, _) => format!("{}, version too far from the server's", runner.state),
        (None, false, true) => format!("{}, drained", runner.state),
        (None, false, false) => runner.state.to_string(),
    }
}

pub(super) async fn drain(args: DrainArgs, format: Format) -> Result {
    let (client, runner) = args.which.find().await?;
    let update = UpdateRunner { drain: Some(true), ..UpdateRunner::default() };
    let now = client.update_runner(runner.id, &update).await?;
    let what = match now.jobs.len() {
        0 => "takes nothing new".to_owned(),
        1 => "finishes one job and takes nothing new".to_owned(),
        n => format!("finishes {n} jobs and takes nothing new"),
    };
    changed(&now, &format!("{what}\n  next: `fleetfoot runner resume {}`", printable(&now.name)), format)
}

pub(super) async fn resume(args: ResumeArgs, format: Format) -> Result {
    let (client, runner) = args.which.find().await?;
    let update = UpdateRunner { drain: Some(false), ..UpdateRunner::default() };
    let now = client.update_runner(runner.id, &update).await?;
    changed(&now, "takes jobs", format)
}

pub(super) async fn label(args: LabelArgs, format: Format) -> Result {
    let labels = |words: &[String]| -> Vec<Label> { words.iter().map(|w| Label::from(w.as_str())).collect() };
    let (add, remove) = (labels(&args.add), labels(&args.remove));
    let (client, runner) = args.which.find().await?;
    let own = &runner.info.labels;
    if let Some(label) = remove.iter().find(|l| own.contains(l)) {
        let message = format!("{} offers the label {label} itself", printable(&runner.name));
        return Err(CliError::usage(message).hint("it is in the configuration of the runner, on its machine"));
    }
    let mut fixed: Vec<_> = runner.labels.iter().filter(|l| !own.contains(l)).cloned().collect();
    fixed.extend(add.into_iter().filter(|l| !own.contains(l)));
    fixed.retain(|l| !remove.contains(l));
    fixed.dedup();
    let update = UpdateRunner { labels: Some(fixed), ..UpdateRunner::default() };
    let now = client.update_runner(runner.id, &update).await?;
    let labels: Vec<String> = now.labels.iter().map(|l| printable(&l.to_string())).collect();
    changed(&now, &format!("has the labels {}", labels.join(", ")), format)
}

pub(super) async fn remove(args: RemoveArgs, format: Format) -> Result {
    let (client, runner) = args.which.find().await?;
    if !runner.jobs.is_empty() && !args.force {
        let jobs: Vec<String> = runner.jobs.iter().map(ToString::to_string).collect();
        let message = format!("{} holds jobs: {}", printable(&runner.name), jobs.join(", "));
        return Err(CliError::usage(message)
            .hint("--force removes it all the same")
            .next(format!("fleetfoot runner drain {}", printable(&runner.name))));
    }
    client.delete_runner(runner.id).await?;
    match format {
        Format::Json => output::json(&serde_json::json!({ "runner": runner.id, "name": runner.name }))?,
        Format::Text => output::say(&format!("runner {} is removed", printable(&runner.name))),
    }
    Ok(Exit::Ok)
}

fn changed(runner: &RunnerView, what: &str, format: Format) -> Result {
    match format {
        Format::Json => output::json(runner)?,
        Format::Text => output::say(&format!("runner {} {what}", printable(&runner.name))),
    }
    Ok(Exit::Ok)
}
