//! `cache`: list and delete what jobs cached.

use crate::clock;
use crate::connect::ServerArgs;
use crate::error::{Exit, Result};
use crate::output::{self, Format};
use crate::style;
use clap::{ArgGroup, Args, Subcommand};
use fleetfoot_client::CacheQuery;
use fleetfoot_model::services::CacheList;

/// List and delete caches
#[derive(Subcommand, Debug)]
pub(crate) enum CacheCommand {
    List(ListArgs),
    Delete(DeleteArgs),
}

/// List caches, newest first
#[derive(Args, Debug)]
#[command(
    visible_alias = "ls",
    after_help = "Examples:\n  fleetfoot cache list\n  fleetfoot cache list --repository octo/app --key Linux-cargo-"
)]
pub(crate) struct ListArgs {
    /// Whose keys begin like this
    #[arg(long, value_name = "PREFIX")]
    key: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Delete caches by key, or one by its number
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("which").required(true).args(["key", "id"]),
    after_help = "Examples:\n  fleetfoot cache delete Linux-cargo-3f2a\n  \
    fleetfoot cache delete Linux-cargo-3f2a --ref refs/heads/topic\n  fleetfoot cache delete --id 7"
)]
pub(crate) struct DeleteArgs {
    /// The key, exactly
    key: Option<String>,
    /// Its number, as `cache list` prints it
    #[arg(long, value_name = "ID", conflicts_with_all = ["project", "repository", "git_ref"])]
    id: Option<u64>,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
struct FilterArgs {
    /// Of this project
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Of this repository
    #[arg(long, value_name = "OWNER/NAME")]
    repository: Option<String>,
    /// Saved by this ref
    #[arg(long = "ref", id = "git_ref", value_name = "REF")]
    git_ref: Option<String>,
}

impl FilterArgs {
    fn query(self, key: Option<String>) -> CacheQuery {
        let Self { project, repository, git_ref } = self;
        CacheQuery { project, repository, git_ref, key, cursor: None }
    }
}

pub(crate) async fn run(command: CacheCommand, format: Format) -> Result {
    match command {
        CacheCommand::List(args) => list(args, format).await,
        CacheCommand::Delete(args) => delete(args, format).await,
    }
}

async fn list(args: ListArgs, format: Format) -> Result {
    let client = args.server.client()?;
    let mut query = args.filter.query(args.key);
    let mut all = CacheList::default();
    loop {
        let page = client.caches(&query).await?;
        all.caches.extend(page.caches);
        match page.next_cursor {
            Some(next) => query.cursor = Some(next),
            None => break,
        }
    }
    show(&all, format)
}

async fn delete(args: DeleteArgs, format: Format) -> Result {
    let client = args.server.client()?;
    if let Some(id) = args.id {
        client.delete_cache(id).await?;
        match format {
            Format::Json => output::json(&serde_json::json!({ "deleted": id }))?,
            Format::Text => output::say(&format!("cache {id} is deleted")),
        }
        return Ok(Exit::Ok);
    }
    let deleted = client.delete_caches(&args.filter.query(args.key)).await?;
    if format == Format::Text {
        output::say(&format!("{} caches are deleted", deleted.caches.len()));
        if deleted.caches.is_empty() {
            return Ok(Exit::NotFound);
        }
    }
    show(&deleted, format)
}

fn show(list: &CacheList, format: Format) -> Result {
    if format == Format::Json {
        output::json(list)?;
        return Ok(Exit::Ok);
    }
    let now = clock::now();
    let rows: Vec<Vec<String>> = list
        .caches
        .iter()
        .map(|c| {
            vec![
                c.id.to_string(),
                style::printable(&c.key),
                style::printable(&c.repository),
                style::printable(&c.git_ref),
                c.size.to_string(),
                style::ago(c.created_at, now),
                style::ago(c.used_at, now),
            ]
        })
        .collect();
    output::print(&style::table(&["ID", "KEY", "REPOSITORY", "REF", "BYTES", "CREATED", "USED"], &rows))?;
    Ok(Exit::Ok)
}
