//! `variable`: store, read, list and delete variables, the `vars` context.

use crate::clock;
use crate::commands::scope::{self, ScopeArgs};
use crate::connect::ServerArgs;
use crate::error::{Exit, Result};
use crate::output::{self, Format};
use crate::style::{self, printable};
use clap::{Args, Subcommand};
use fleetfoot_model::projects::SetValue;
use serde_json::json;
use std::path::PathBuf;

/// Store, read, list and delete variables (the vars context)
#[derive(Subcommand, Debug)]
pub(crate) enum VariableCommand {
    Set(SetArgs),
    Get(GetArgs),
    List(ListArgs),
    Delete(DeleteArgs),
}

/// Store a variable
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot variable set REGION eu-west-1 --project web\n  \
    fleetfoot variable set REPLICAS 5 --project web --env production\n  \
    fleetfoot variable set CONFIG --global --from-file config.json")]
pub(crate) struct SetArgs {
    /// Its name: letters, digits and '_'; case does not matter
    name: String,
    /// Its value; from standard input if absent
    #[arg(conflicts_with = "from_file", allow_hyphen_values = true)]
    value: Option<String>,
    /// Take the value from this file, as it is
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Print the value of a variable
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot variable get REGION --project web")]
pub(crate) struct GetArgs {
    /// Its name
    name: String,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// List the variables of a scope
#[derive(Args, Debug)]
#[command(
    visible_alias = "ls",
    after_help = "Examples:\n  fleetfoot variable list --project web\n  fleetfoot variable list --global --output json"
)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Delete a variable
#[derive(Args, Debug)]
#[command(visible_alias = "rm", after_help = "Examples:\n  fleetfoot variable delete REGION --project web")]
pub(crate) struct DeleteArgs {
    /// Its name
    name: String,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(command: VariableCommand, format: Format) -> Result {
    match command {
        VariableCommand::Set(args) => {
            let scope = args.scope.scope();
            let value = match args.value {
                Some(value) => value,
                None => scope::value(&format!("value of {}", args.name), args.from_file.as_ref(), false)?,
            };
            let made = args.server.client()?.set_variable(&scope, &args.name, &SetValue { value }).await?;
            match format {
                Format::Json => output::json(&made)?,
                Format::Text => output::say(&format!("variable {} ({scope}) is stored", made.name)),
            }
        }
        VariableCommand::Get(args) => {
            let found = args.server.client()?.variable(&args.scope.scope(), &args.name).await?;
            match format {
                Format::Json => output::json(&found)?,
                Format::Text => output::line(&found.value)?,
            }
        }
        VariableCommand::List(args) => list(args, format).await?,
        VariableCommand::Delete(args) => {
            let scope = args.scope.scope();
            args.server.client()?.delete_variable(&scope, &args.name).await?;
            match format {
                Format::Json => output::json(&json!({ "deleted": args.name.to_uppercase() }))?,
                Format::Text => output::say(&format!("variable {} ({scope}) is deleted", args.name)),
            }
        }
    }
    Ok(Exit::Ok)
}

async fn list(args: ListArgs, format: Format) -> Result<()> {
    let page = args.server.client()?.variables(&args.scope.scope()).await?;
    if format == Format::Json {
        return output::json(&page);
    }
    let now = clock::now();
    let rows: Vec<Vec<String>> = page
        .items
        .iter()
        .map(|v| {
            vec![v.name.clone(), printable(&v.value), style::ago(v.updated_at, now), printable(&v.updated_by)]
        })
        .collect();
    output::print(&style::table(&["NAME", "VALUE", "UPDATED", "BY"], &rows))
}
