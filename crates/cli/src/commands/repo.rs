//! `repo`: repositories that start runs. Tokens come from files or standard
//! input, never from arguments, where other processes would see them.

use crate::clock;
use crate::connect::ServerArgs;
use crate::error::{CliError, Exit, Result};
use crate::output::{self, Format};
use crate::pairs;
use crate::style::{self, Style, printable};
use clap::{Args, Subcommand};
use fleetfoot_client::Client;
use fleetfoot_model::repos::{
    AddRepository, DeliveryOutcome, DispatchRepository, DispatchWorkflow, ForgeKind, ForkApproval,
    RepositoryView, UpdateRepository,
};
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Add, show and remove repositories that start runs
#[derive(Subcommand, Debug)]
pub(crate) enum RepoCommand {
    Add(AddArgs),
    List(ListArgs),
    Show(ShowArgs),
    Update(UpdateArgs),
    Remove(RemoveArgs),
    Deliveries(DeliveriesArgs),
    Redeliver(RedeliverArgs),
    Dispatch(DispatchArgs),
}

/// Add a repository: its pushes and pull requests start runs, its commits show their result
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot repo add https://github.com/acme/app --token-file token\n  \
    fleetfoot repo add https://git.example.org/acme/app.git --forge forgejo --token-file -\n  \
    fleetfoot repo add git@gitlab.com:acme/app.git --poll 60\n\n\
    With a token that may, the webhook is created at the forge, and commits get statuses; without one, the\n\
    address and the secret of the webhook are printed, to be entered there. --poll needs no webhook at all.")]
pub(crate) struct AddArgs {
    /// What `git clone` takes, without credentials
    url: String,
    /// Software of the forge: github, gitea, forgejo or gitlab [default: as the host name tells]
    #[arg(long)]
    forge: Option<ForgeKind>,
    /// File with an access token; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Jobs of trusted runs get the access token as GITHUB_TOKEN
    #[arg(long, requires = "token_file")]
    share_token: bool,
    /// Ask the forge for changes this often, instead of a webhook
    #[arg(long, value_name = "SECONDS")]
    poll: Option<u32>,
    /// Do not create the webhook at the forge
    #[arg(long)]
    no_webhook: bool,
    /// Project of the runs
    #[arg(long)]
    project: Option<String>,
    /// Which pull requests from forks wait for approval: always, first-time or never
    #[arg(long, value_name = "RULE", default_value = "first-time")]
    fork_approval: ForkApproval,
    /// OWNER/NAME [default: the end of the URL]
    #[arg(long, value_name = "OWNER/NAME")]
    name: Option<String>,
    /// Address of the forge's API [default: the usual one of its host]
    #[arg(long, value_name = "URL")]
    api_url: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// List repositories
#[derive(Args, Debug)]
#[command(
    visible_alias = "ls",
    after_help = "Examples:\n  fleetfoot repo list\n  fleetfoot repo list --output json"
)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// Show a repository: webhook, schedules, reports that failed
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot repo show acme/app\n  fleetfoot repo show 3 --output json")]
pub(crate) struct ShowArgs {
    /// Number or OWNER/NAME
    repository: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Change a repository; what is not named stays
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot repo update acme/app --token-file token\n  \
    fleetfoot repo update 3 --poll 0 --fork-approval always")]
pub(crate) struct UpdateArgs {
    /// Number or OWNER/NAME
    repository: String,
    /// File with a new access token; `-` reads standard input; an empty one removes it
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Whether jobs of trusted runs get the access token
    #[arg(long, value_name = "BOOL")]
    share_token: Option<bool>,
    /// Ask the forge for changes this often; 0 ends it
    #[arg(long, value_name = "SECONDS")]
    poll: Option<u32>,
    /// Project of the runs
    #[arg(long)]
    project: Option<String>,
    /// Which pull requests from forks wait for approval: always, first-time or never
    #[arg(long, value_name = "RULE")]
    fork_approval: Option<ForkApproval>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Remove a repository; its runs stay
#[derive(Args, Debug)]
#[command(visible_alias = "rm", after_help = "Examples:\n  fleetfoot repo remove acme/app")]
pub(crate) struct RemoveArgs {
    /// Number or OWNER/NAME
    repository: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// List what a repository delivered, and what became of it
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot repo deliveries acme/app\n  \
    fleetfoot repo deliveries 3 --limit 5 --output json")]
pub(crate) struct DeliveriesArgs {
    /// Number or OWNER/NAME
    repository: String,
    /// How many, newest first
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    #[command(flatten)]
    server: ServerArgs,
}

/// Carry a delivery out again
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot repo redeliver acme/app 17")]
pub(crate) struct RedeliverArgs {
    /// Number or OWNER/NAME
    repository: String,
    /// Number of the delivery, as `repo deliveries` prints it
    delivery: u64,
    #[command(flatten)]
    server: ServerArgs,
}

/// Start a workflow of a repository by hand, or send it an event of your own
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot repo dispatch acme/app deploy.yml --input target=staging\n  \
    fleetfoot repo dispatch 3 deploy.yml --ref v1.2.0 --output json\n  \
    fleetfoot repo dispatch acme/app --event rebuild --payload '{\"reason\": \"base image\"}'")]
pub(crate) struct DispatchArgs {
    /// Number or OWNER/NAME
    repository: String,
    /// File name, path or name of the workflow
    #[arg(required_unless_present = "event")]
    workflow: Option<String>,
    /// Branch or tag [default: the default branch]
    #[arg(long, value_name = "REF")]
    r#ref: Option<String>,
    /// Input of the workflow (repeatable)
    #[arg(long, value_name = "K=V")]
    input: Vec<String>,
    /// Send a repository_dispatch of this type instead
    #[arg(long, value_name = "TYPE", conflicts_with_all = ["workflow", "ref", "input"])]
    event: Option<String>,
    /// Its payload, JSON
    #[arg(long, value_name = "JSON", requires = "event")]
    payload: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(command: RepoCommand, format: Format) -> Result {
    match command {
        RepoCommand::Add(args) => add(args, format).await,
        RepoCommand::List(args) => list(args, format).await,
        RepoCommand::Show(args) => show(args, format).await,
        RepoCommand::Update(args) => update(args, format).await,
        RepoCommand::Remove(args) => remove(args, format).await,
        RepoCommand::Deliveries(args) => deliveries(args, format).await,
        RepoCommand::Redeliver(args) => redeliver(args, format).await,
        RepoCommand::Dispatch(args) => dispatch(args, format).await,
    }
}

fn token(file: &Path) -> Result<String> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(|_| ())
    } else {
        std::fs::read_to_string(file).map(|read| text = read)
    };
    read.map_err(|e| {
        CliError::usage(format!("the token file {} cannot be read", file.display())).because(&e)
    })?;
    Ok(text.trim().to_owned())
}

/// The number of a repository that is named by its number or its name.
async fn find(client: &Client, asked: &str) -> Result<u64> {
    if let Ok(id) = asked.parse() {
        return Ok(id);
    }
    let all = client.repositories().await?.items;
    let found: Vec<&RepositoryView> =
        all.iter().filter(|r| r.name.eq_ignore_ascii_case(asked) || r.url == asked).collect();
    match found[..] {
        [one] => Ok(one.id),
        [] => Err(CliError::new(Exit::NotFound, format!("there is no repository '{asked}'"))
            .next("fleetfoot repo list")),
        _ => Err(CliError::usage(format!("'{asked}' is the name of several repositories"))
            .hint("name one by its number")
            .next("fleetfoot repo list")),
    }
}

async fn add(args: AddArgs, format: Format) -> Result {
    let token = args.token_file.as_deref().map(token).transpose()?;
    let client = args.server.client()?;
    let added = client
        .add_repository(&AddRepository {
            url: args.url,
            forge: args.forge,
            name: args.name,
            api_url: args.api_url,
            create_webhook: token.is_some() && args.poll.is_none() && !args.no_webhook,
            token,
            share_token: args.share_token,
            poll_seconds: args.poll,
            project: args.project,
            fork_approval: args.fork_approval,
        })
        .await?;
    if format == Format::Json {
        output::json(&added)?;
        return Ok(Exit::Ok);
    }
    let repository = &added.repository;
    output::line(&format!(
        "repository {} is {} ({})",
        repository.id,
        printable(&repository.name),
        repository.forge
    ))?;
    if let Some(seconds) = repository.poll_seconds {
        output::say(&format!("it is asked for changes every {seconds} s"));
    }
    if added.webhook_created {
        output::say("its webhook was created at the forge");
    } else {
        output::line(&format!("  webhook  {}", added.webhook_url))?;
        output::line(&format!("  secret   {}", added.webhook_secret))?;
        output::say("the secret is not shown again");
        if let Some(error) = &added.webhook_error {
            output::say(&format!("the webhook could not be created: {}", printable(error)));
        }
    }
    output::say(&match (added.webhook_created || repository.poll_seconds.is_some(), repository.has_token) {
        (true, true) => format!("  next: push, then `fleetfoot repo deliveries {}`", repository.id),
        (true, false) => {
            format!(
                "  next: `fleetfoot repo update {} --token-file FILE`, so that commits show results",
                repository.id
            )
        }
        (false, _) => format!(
            "  next: create a webhook with this address and secret (JSON, all events) at {}, then push",
            repository.web_url
        ),
    });
    Ok(Exit::Ok)
}

async fn list(args: ListArgs, format: Format) -> Result {
    let all = args.server.client()?.repositories().await?;
    if format == Format::Json {
        output::json(&all)?;
        return Ok(Exit::Ok);
    }
    let now = clock::now();
    let row = |r: &RepositoryView| {
        vec![
            r.id.to_string(),
            printable(&r.name),
            r.forge.to_string(),
            printable(&r.project),
            r.poll_seconds.map_or_else(|| "webhook".to_owned(), |s| format!("every {s} s")),
            if r.has_token { "yes" } else { "no" }.to_owned(),
            style::ago(r.created_at, now),
            r.error.as_deref().map(printable).unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = all.items.iter().map(row).collect();
    output::print(&style::table(
        &["ID", "NAME", "FORGE", "PROJECT", "HEARS BY", "TOKEN", "ADDED", "ERROR"],
        &rows,
    ))?;
    Ok(Exit::Ok)
}

async fn show(args: ShowArgs, format: Format) -> Result {
    let client = args.server.client()?;
    let repository = client.repository(find(&client, &args.repository).await?).await?;
    if format == Format::Json {
        output::json(&repository)?;
        return Ok(Exit::Ok);
    }
    let style = Style::stdout();
    output::line(&style.bold(&format!(
        "{} ({}, {})",
        printable(&repository.name),
        repository.id,
        repository.forge
    )))?;
    let yes = |b: bool| if b { "yes" } else { "no" };
    for (name, value) in [
        ("address", repository.url.as_str()),
        (
            "api",
            if repository.api_url.is_empty() { "none: commits show nothing" } else { &repository.api_url },
        ),
        ("webhook", &repository.webhook_url),
        ("project", &repository.project),
        ("default branch", repository.default_branch.as_deref().unwrap_or("unknown")),
        ("token", yes(repository.has_token)),
        ("shared with jobs", yes(repository.share_token)),
        ("fork approval", repository.fork_approval.as_str()),
    ] {
        output::line(&format!("  {name:<17} {}", printable(value)))?;
    }
    if let Some(error) = &repository.error {
        output::line(&format!("  {:<17} {}", "error", style.red(&printable(error))))?;
    }
    let schedules = repository.schedules.unwrap_or_default();
    if !schedules.is_empty() {
        let at =
            |t: Option<fleetfoot_model::Timestamp>| t.map_or_else(|| "never".to_owned(), |t| t.to_string());
        let rows: Vec<Vec<String>> = schedules
            .iter()
            .map(|s| {
                let zone = s.timezone.as_deref().unwrap_or("UTC");
                vec![
                    printable(&s.workflow),
                    printable(&s.cron),
                    printable(zone),
                    at(s.next_at),
                    at(s.last_at),
                    s.note.as_deref().map(printable).unwrap_or_default(),
                ]
            })
            .collect();
        output::line("")?;
        output::print(&style::table(&["SCHEDULED", "CRON", "ZONE", "NEXT", "LAST", "NOTE"], &rows))?;
    }
    let reports = repository.reports.unwrap_or_default();
    if !reports.is_empty() {
        let rows: Vec<Vec<String>> = reports
            .iter()
            .map(|r| {
                vec![
                    r.sha.chars().take(12).collect(),
                    printable(&r.context),
                    r.state.clone(),
                    r.sent.clone().unwrap_or_else(|| "nothing".to_owned()),
                    r.run.map(|run| run.to_string()).unwrap_or_default(),
                    r.error.as_deref().map(printable).unwrap_or_default(),
                ]
            })
            .collect();
        output::line("")?;
        output::print(&style::table(&["COMMIT", "STATUS", "STATE", "FORGE HAS", "RUN", "ERROR"], &rows))?;
    }
    Ok(Exit::Ok)
}

async fn update(args: UpdateArgs, format: Format) -> Result {
    let token = args.token_file.as_deref().map(token).transpose()?;
    let client = args.server.client()?;
    let id = find(&client, &args.repository).await?;
    let update = UpdateRepository {
        token,
        share_token: args.share_token,
        poll_seconds: args.poll,
        project: args.project,
        fork_approval: args.fork_approval,
    };
    let repository = client.update_repository(id, &update).await?;
    match format {
        Format::Json => output::json(&repository)?,
        Format::Text => output::say(&format!("repository {id} is changed")),
    }
    Ok(Exit::Ok)
}

async fn remove(args: RemoveArgs, format: Format) -> Result {
    let client = args.server.client()?;
    let id = find(&client, &args.repository).await?;
    client.remove_repository(id).await?;
    match format {
        Format::Json => output::json(&json!({ "removed": id }))?,
        Format::Text => {
            output::say(&format!("repository {id} is removed; delete its webhook at the forge too"))
        }
    }
    Ok(Exit::Ok)
}

async fn deliveries(args: DeliveriesArgs, format: Format) -> Result {
    let client = args.server.client()?;
    let id = find(&client, &args.repository).await?;
    let page = client.deliveries(id, None, Some(args.limit)).await?;
    if format == Format::Json {
        output::json(&page)?;
        return Ok(Exit::Ok);
    }
    let now = clock::now();
    let rows: Vec<Vec<String>> = page
        .items
        .iter()
        .map(|d| {
            let runs: Vec<String> = d.runs.iter().map(ToString::to_string).collect();
            let why = d.error.clone().unwrap_or_else(|| d.notes.join("; "));
            let outcome = match (d.outcome, d.tries) {
                (DeliveryOutcome::Queued, tries) if tries > 0 => format!("retrying ({tries})"),
                (outcome, _) => outcome.as_str().to_owned(),
            };
            vec![
                d.id.to_string(),
                style::ago(d.received_at, now),
                printable(&d.event),
                outcome,
                runs.join(" "),
                printable(&why),
            ]
        })
        .collect();
    output::print(&style::table(&["ID", "CAME", "EVENT", "OUTCOME", "RUNS", "WHY"], &rows))?;
    Ok(Exit::Ok)
}

async fn redeliver(args: RedeliverArgs, format: Format) -> Result {
    let client = args.server.client()?;
    let id = find(&client, &args.repository).await?;
    let again = client.redeliver(id, args.delivery).await?;
    match format {
        Format::Json => output::json(&again)?,
        Format::Text => {
            output::say(&format!("delivery {} is carried out again as {}", args.delivery, again.id));
            output::say(&format!("  next: `fleetfoot repo deliveries {id}`"));
        }
    }
    Ok(Exit::Ok)
}

async fn dispatch(args: DispatchArgs, format: Format) -> Result {
    let client = args.server.client()?;
    let id = find(&client, &args.repository).await?;
    if let Some(event_type) = args.event {
        let client_payload = match &args.payload {
            None => Value::Null,
            Some(text) => serde_json::from_str(text)
                .map_err(|e| CliError::usage("--payload is not JSON").because(&e))?,
        };
        let accepted =
            client.dispatch_repository(id, &DispatchRepository { event_type, client_payload }).await?;
        match format {
            Format::Json => output::json(&accepted)?,
            Format::Text => {
                output::say(&format!("delivery {} is stored", accepted.delivery));
                output::say(&format!("  next: `fleetfoot repo deliveries {id}`"));
            }
        }
        return Ok(Exit::Ok);
    }
    let inputs = pairs::pairs("--input", &args.input)?;
    let dispatch = DispatchWorkflow {
        workflow: args.workflow.unwrap_or_default(),
        git_ref: args.r#ref,
        inputs: inputs.into_iter().map(|(name, text)| (name, Value::from(text))).collect(),
    };
    let created = client.dispatch_workflow(id, &dispatch).await?;
    match format {
        Format::Json => output::json(&created)?,
        Format::Text => {
            output::line(&created.run.to_string())?;
            output::say(&format!("  next: `fleetfoot watch {}`", created.run));
        }
    }
    Ok(Exit::Ok)
}
