//! `environment`: where jobs deploy to, and what must hold before they may.

use crate::connect::ServerArgs;
use crate::error::{CliError, Exit, Result};
use crate::output::{self, Format};
use crate::style::{self, printable};
use clap::{Args, Subcommand};
use fleetfoot_model::projects::{
    CreateEnvironment, DEFAULT_PROJECT, EnvironmentRules, EnvironmentView, UpdateEnvironment,
};
use serde_json::json;

/// Create, show, list, update and delete environments and their rules
#[derive(Subcommand, Debug)]
pub(crate) enum EnvironmentCommand {
    Create(CreateArgs),
    Show(ShowArgs),
    List(ListArgs),
    Update(UpdateArgs),
    Delete(DeleteArgs),
}

/// What must hold before a job of the environment may start.
#[derive(Args, Debug)]
#[command(next_help_heading = "Rules")]
pub(crate) struct RuleArgs {
    /// One of these has to approve: the name of a token, or token:ID (repeatable)
    #[arg(long, value_name = "NAME")]
    reviewer: Vec<String>,
    /// Minutes between the moment a job is ready and its start
    #[arg(long, value_name = "N")]
    wait_minutes: Option<u32>,
    /// Let in only refs that match: main, 'release/**', 'refs/tags/v*' (repeatable)
    #[arg(long, value_name = "PATTERN", allow_hyphen_values = true)]
    branch: Vec<String>,
    /// Whoever caused a run may not approve its jobs
    #[arg(long)]
    prevent_self_review: bool,
}

/// Create an environment
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot environment create staging --project web\n  \
    fleetfoot environment create production --project web --reviewer alice --reviewer bob \
    --branch main --wait-minutes 10 --prevent-self-review")]
pub(crate) struct CreateArgs {
    /// Its name
    name: String,
    /// Project
    #[arg(long, value_name = "NAME", default_value = DEFAULT_PROJECT)]
    project: String,
    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Show an environment with its rules
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot environment show production --project web")]
pub(crate) struct ShowArgs {
    /// Its name
    name: String,
    /// Project
    #[arg(long, value_name = "NAME", default_value = DEFAULT_PROJECT)]
    project: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// List environments
#[derive(Args, Debug)]
#[command(
    visible_alias = "ls",
    after_help = "Examples:\n  fleetfoot environment list\n  fleetfoot environment list --project web --output json"
)]
pub(crate) struct ListArgs {
    /// Only of this project
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Change the rules of an environment; what is not named stays
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  fleetfoot environment update production --project web --reviewer carol\n  \
    fleetfoot environment update production --project web --no-reviewers --wait-minutes 0"
)]
pub(crate) struct UpdateArgs {
    /// Its name
    name: String,
    /// Project
    #[arg(long, value_name = "NAME", default_value = DEFAULT_PROJECT)]
    project: String,
    #[command(flatten)]
    rules: RuleArgs,
    /// Nobody has to approve
    #[arg(long, conflicts_with = "reviewer")]
    no_reviewers: bool,
    /// Let every ref in
    #[arg(long, conflicts_with = "branch")]
    any_branch: bool,
    /// Whoever caused a run may approve its jobs
    #[arg(long, conflicts_with = "prevent_self_review")]
    allow_self_review: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Delete an environment with its secrets and variables
#[derive(Args, Debug)]
#[command(
    visible_alias = "rm",
    after_help = "Examples:\n  fleetfoot environment delete staging --project web"
)]
pub(crate) struct DeleteArgs {
    /// Its name
    name: String,
    /// Project
    #[arg(long, value_name = "NAME", default_value = DEFAULT_PROJECT)]
    project: String,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(command: EnvironmentCommand, format: Format) -> Result {
    match command {
        EnvironmentCommand::Create(args) => {
            let rules = EnvironmentRules {
                reviewers: args.rules.reviewer,
                wait_minutes: args.rules.wait_minutes.unwrap_or(0),
                branches: args.rules.branch,
                prevent_self_review: args.rules.prevent_self_review,
            };
            let new = CreateEnvironment { project: args.project, name: args.name, rules };
            let made = args.server.client()?.create_environment(&new).await?;
            tell(&made, "is created", format)
        }
        EnvironmentCommand::Show(args) => {
            let found = args.server.client()?.environment(&args.project, &args.name).await?;
            match format {
                Format::Json => output::json(&found)?,
                Format::Text => output::print(&shown(&found))?,
            }
            Ok(Exit::Ok)
        }
        EnvironmentCommand::List(args) => list(args, format).await,
        EnvironmentCommand::Update(args) => update(args, format).await,
        EnvironmentCommand::Delete(args) => {
            args.server.client()?.delete_environment(&args.project, &args.name).await?;
            match format {
                Format::Json => output::json(&json!({ "deleted": args.name }))?,
                Format::Text => {
                    output::say(&format!("environment {} of project {} is deleted", args.name, args.project))
                }
            }
            Ok(Exit::Ok)
        }
    }
}

fn tell(environment: &EnvironmentView, what: &str, format: Format) -> Result {
    match format {
        Format::Json => output::json(environment)?,
        Format::Text => output::say(&format!(
            "environment {} of project {} {what}",
            environment.name, environment.project
        )),
    }
    Ok(Exit::Ok)
}

async fn update(args: UpdateArgs, format: Format) -> Result {
    let list = |given: Vec<String>, none: bool| (none || !given.is_empty()).then_some(given);
    let change = UpdateEnvironment {
        reviewers: list(args.rules.reviewer, args.no_reviewers),
        wait_minutes: args.rules.wait_minutes,
        branches: list(args.rules.branch, args.any_branch),
        prevent_self_review: match (args.rules.prevent_self_review, args.allow_self_review) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        },
    };
    if change == UpdateEnvironment::default() {
        return Err(CliError::usage("nothing is to be changed")
            .hint("name a rule, for example --reviewer alice or --no-reviewers"));
    }
    let done = args.server.client()?.update_environment(&args.project, &args.name, &change).await?;
    tell(&done, "is changed", format)
}

async fn list(args: ListArgs, format: Format) -> Result {
    let page = args.server.client()?.environments(args.project.as_deref()).await?;
    if format == Format::Json {
        output::json(&page)?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = page
        .items
        .iter()
        .map(|e| {
            let wait = e.rules.wait_minutes;
            vec![
                printable(&e.project),
                printable(&e.name),
                printable(&e.rules.reviewers.join(", ")),
                if wait == 0 { String::new() } else { format!("{wait} min") },
                printable(&e.rules.branches.join(", ")),
            ]
        })
        .collect();
    output::print(&style::table(&["PROJECT", "NAME", "REVIEWERS", "WAIT", "BRANCHES"], &rows))?;
    Ok(Exit::Ok)
}

/// One environment for people.
fn shown(e: &EnvironmentView) -> String {
    let rules = &e.rules;
    let mut out = format!("environment {} of project {}\n", printable(&e.name), printable(&e.project));
    let mut line = |text: String| out.push_str(&format!("  {text}\n"));
    match rules.reviewers.as_slice() {
        [] => line("nobody has to approve".to_owned()),
        some => {
            let but = if rules.prevent_self_review { ", but never who caused the run" } else { "" };
            line(format!("approved by {}{but}", printable(&some.join(" or "))));
        }
    }
    if rules.wait_minutes > 0 {
        line(format!("waits {} minutes", rules.wait_minutes));
    }
    match rules.branches.as_slice() {
        [] => line("takes jobs of every ref".to_owned()),
        some => line(format!("takes jobs of {} only", printable(&some.join(", ")))),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_for_people() {
        let rules = EnvironmentRules {
            reviewers: vec!["alice".to_owned(), "bob".to_owned()],
            wait_minutes: 10,
            branches: vec!["main".to_owned(), "refs/tags/v*".to_owned()],
            prevent_self_review: true,
        };
        let at = fleetfoot_model::Timestamp(0);
        let view = EnvironmentView {
            project: "web".to_owned(),
            name: "production".to_owned(),
            rules,
            created_at: at,
            updated_at: at,
            updated_by: "token:1".to_owned(),
        };
        insta::assert_snapshot!(shown(&view), @r"
        environment production of project web
          approved by alice or bob, but never who caused the run
          waits 10 minutes
          takes jobs of main, refs/tags/v* only
        ");
        let open = EnvironmentView { rules: EnvironmentRules::default(), ..view };
        insta::assert_snapshot!(shown(&open), @r"
        environment production of project web
          nobody has to approve
          takes jobs of every ref
        ");
    }
}
