//! `list`: runs by filter, newest first.

use crate::clock;
use crate::connect::ServerArgs;
use crate::error::{Exit, Result};
use crate::output::{self, Format};
use crate::render;
use crate::style::Style;
use clap::Args;
use fleetfoot_client::RunQuery;
use fleetfoot_model::api::{Page, RunFilter, RunView};
use fleetfoot_model::{Conclusion, Status};

/// List runs, newest first
#[derive(Args, Debug)]
#[command(
    visible_alias = "ls",
    after_help = "Examples:\n  fleetfoot list\n  fleetfoot list --status running\n  \
    fleetfoot list --conclusion failure --branch main --limit 5 --output json"
)]
pub(crate) struct ListArgs {
    /// Only runs that stand here: waiting, queued, running, completed
    #[arg(long)]
    status: Option<Status>,
    /// Only runs that ended so: success, failure, cancelled, skipped, timed_out
    #[arg(long)]
    conclusion: Option<Conclusion>,
    /// Only documents of this kind: workflow, job
    #[arg(long)]
    kind: Option<String>,
    /// Only this project
    #[arg(long)]
    project: Option<String>,
    /// Only documents of this name
    #[arg(long)]
    name: Option<String>,
    /// Only this branch
    #[arg(long, short)]
    branch: Option<String>,
    /// Only runs that this actor caused
    #[arg(long)]
    actor: Option<String>,
    /// Only runs that this event started
    #[arg(long, short)]
    event: Option<String>,
    /// At most this many
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Go on after a page that ended here
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(args: ListArgs, format: Format) -> Result {
    let client = args.server.client()?;
    let filter = RunFilter {
        status: args.status,
        conclusion: args.conclusion,
        kind: args.kind,
        project: args.project,
        name: args.name,
        branch: args.branch,
        actor: args.actor,
        event: args.event,
    };
    let wanted = args.limit as usize;
    let mut page: Page<RunView> = Page { items: Vec::new(), next_cursor: args.cursor };
    // The server has its own limit for a page.
    loop {
        let limit = u32::try_from(wanted - page.items.len()).unwrap_or(u32::MAX).min(100);
        let query = RunQuery { filter: filter.clone(), cursor: page.next_cursor.take(), limit: Some(limit) };
        let next = client.runs(&query).await?;
        page.items.extend(next.items);
        page.next_cursor = next.next_cursor;
        if page.next_cursor.is_none() || page.items.len() >= wanted {
            break;
        }
    }
    match format {
        Format::Json => output::json(&page)?,
        Format::Text if page.items.is_empty() => {
            output::say("no runs match\n  next: `fleetfoot submit examples/hello.yml --watch`");
        }
        Format::Text => {
            output::print(&render::runs(&page.items, Style::stdout(), clock::now()))?;
            if let Some(cursor) = &page.next_cursor {
                output::say(&format!("more: `fleetfoot list --cursor {cursor}`"));
            }
        }
    }
    Ok(Exit::Ok)
}
