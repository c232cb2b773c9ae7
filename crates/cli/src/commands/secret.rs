//! `secret`: store, list and delete secrets, look at their uses, rotate the
//! key. A value is read from a file, standard input or a prompt, and never from
//! the arguments, which every user of the machine can see.

use crate::clock;
use crate::commands::scope::{self, ScopeArgs};
use crate::connect::ServerArgs;
use crate::error::{Exit, Result};
use crate::output::{self, Format};
use crate::style::{self, printable};
use clap::{Args, Subcommand};
use fleetfoot_client::SecretUseQuery;
use fleetfoot_model::projects::SetValue;
use serde_json::json;
use std::path::PathBuf;

/// Store, list and delete secrets, and see where they went
#[derive(Subcommand, Debug)]
pub(crate) enum SecretCommand {
    Set(SetArgs),
    List(ListArgs),
    Delete(DeleteArgs),
    Uses(UsesArgs),
    RotateKey(RotateKeyArgs),
}

/// Store a secret; its value comes from standard input, a file or a prompt
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot secret set DEPLOY_KEY --from-file key.pem\n  \
    pass show ci/token | fleetfoot secret set TOKEN --project web --env production\n  \
    fleetfoot secret set SIGNING_KEY --global\n\n\
    The narrower scope wins: environment over project over global. What comes with a run wins over all.")]
pub(crate) struct SetArgs {
    /// Its name: letters, digits and '_'; case does not matter
    name: String,
    /// Take the value from this file, as it is
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// List the names of secrets; values are never shown
#[derive(Args, Debug)]
#[command(
    visible_alias = "ls",
    after_help = "Examples:\n  fleetfoot secret list\n  fleetfoot secret list --global --output json"
)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Delete a secret
#[derive(Args, Debug)]
#[command(visible_alias = "rm", after_help = "Examples:\n  fleetfoot secret delete TOKEN --project web")]
pub(crate) struct DeleteArgs {
    /// Its name
    name: String,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Show which secrets went to which jobs, newest first
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  fleetfoot secret uses\n  fleetfoot secret uses --name DEPLOY_KEY --limit 200"
)]
pub(crate) struct UsesArgs {
    /// Only of this secret
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only in runs of this project
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// How many, at most 200
    #[arg(long, value_name = "N", default_value = "50")]
    limit: u32,
    #[command(flatten)]
    server: ServerArgs,
}

/// Replace the master key that seals all secrets, while the server works on
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot secret rotate-key\n\n\
    The key is the file secret.key in the server's data directory. Back it up apart from the database:\n\
    neither opens anything without the other.")]
pub(crate) struct RotateKeyArgs {
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(command: SecretCommand, format: Format) -> Result {
    match command {
        SecretCommand::Set(args) => set(args, format).await,
        SecretCommand::List(args) => list(args, format).await,
        SecretCommand::Delete(args) => {
            let scope = args.scope.scope();
            args.server.client()?.delete_secret(&scope, &args.name).await?;
            match format {
                Format::Json => output::json(&json!({ "deleted": args.name.to_uppercase() }))?,
                Format::Text => output::say(&format!("secret {} ({scope}) is deleted", args.name)),
            }
            Ok(Exit::Ok)
        }
        SecretCommand::Uses(args) => uses(args, format).await,
        SecretCommand::RotateKey(args) => {
            let done = args.server.client()?.rotate_secret_key().await?;
            match format {
                Format::Json => output::json(&done)?,
                Format::Text => output::say(&format!(
                    "the master key is {} now; {} data keys were sealed again\n  next: back up secret.key of the server",
                    done.master_key, done.data_keys
                )),
            }
            Ok(Exit::Ok)
        }
    }
}

async fn set(args: SetArgs, format: Format) -> Result {
    let scope = args.scope.scope();
    let client = args.server.client()?;
    let value = scope::value(&format!("value of {}", args.name), args.from_file.as_ref(), true)?;
    client.set_secret(&scope, &args.name, &SetValue { value }).await?;
    match format {
        Format::Json => output::json(&json!({ "name": args.name.to_uppercase(), "scope": scope.word() }))?,
        Format::Text => output::say(&format!("secret {} ({scope}) is stored", args.name.to_uppercase())),
    }
    Ok(Exit::Ok)
}

async fn list(args: ListArgs, format: Format) -> Result {
    let page = args.server.client()?.secrets(&args.scope.scope()).await?;
    if format == Format::Json {
        output::json(&page)?;
        return Ok(Exit::Ok);
    }
    let now = clock::now();
    let rows: Vec<Vec<String>> = page
        .items
        .iter()
        .map(|s| vec![s.name.clone(), style::ago(s.updated_at, now), printable(&s.updated_by)])
        .collect();
    output::print(&style::table(&["NAME", "UPDATED", "BY"], &rows))?;
    Ok(Exit::Ok)
}

async fn uses(args: UsesArgs, format: Format) -> Result {
    let which = SecretUseQuery {
        project: args.project,
        name: args.name,
        limit: Some(args.limit),
        ..SecretUseQuery::default()
    };
    let page = args.server.client()?.secret_uses(&which).await?;
    if format == Format::Json {
        output::json(&page)?;
        return Ok(Exit::Ok);
    }
    let now = clock::now();
    let rows: Vec<Vec<String>> = page
        .items
        .iter()
        .map(|u| {
            vec![
                style::ago(u.at, now),
                printable(&u.name),
                u.scope.clone(),
                printable(&u.project),
                u.environment.as_deref().map(printable).unwrap_or_default(),
                u.run.to_string(),
                u.job.to_string(),
                u.attempt.to_string(),
            ]
        })
        .collect();
    let head = ["WHEN", "NAME", "SCOPE", "PROJECT", "ENVIRONMENT", "RUN", "JOB", "ATTEMPT"];
    output::print(&style::table(&head, &rows))?;
    Ok(Exit::Ok)
}
