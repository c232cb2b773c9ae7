//! `artifact`: list and download what jobs uploaded.

use crate::clock;
use crate::connect::ServerArgs;
use crate::error::{CliError, Exit, Result};
use crate::output::{self, Format};
use crate::style;
use crate::unpack::{Bounds, unpack};
use clap::{Args, Subcommand};
use fleetfoot_client::Client;
use fleetfoot_model::RunId;
use fleetfoot_model::services::ArtifactView;
use futures_util::TryStreamExt;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

/// List and download artifacts
#[derive(Subcommand, Debug)]
pub(crate) enum ArtifactCommand {
    List(ListArgs),
    Download(DownloadArgs),
}

/// List the artifacts of a run
#[derive(Args, Debug)]
#[command(
    visible_alias = "ls",
    after_help = "Examples:\n  fleetfoot artifact list 42\n  fleetfoot artifact list 42 --output json"
)]
pub(crate) struct ListArgs {
    /// The run
    run: RunId,
    #[command(flatten)]
    server: ServerArgs,
}

/// Download artifacts of a run and unpack them
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  fleetfoot artifact download 42              each into a directory of its name\n  \
    fleetfoot artifact download 42 dist -d out  one, into out\n\n\
    Nothing is written outside the directory, and no link is made or followed."
)]
pub(crate) struct DownloadArgs {
    /// The run
    run: RunId,
    /// Only this artifact
    name: Option<String>,
    /// Directory, made if it is missing [default: the current one]
    #[arg(long, short, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(command: ArtifactCommand, format: Format) -> Result {
    match command {
        ArtifactCommand::List(args) => list(args, format).await,
        ArtifactCommand::Download(args) => download(args, format).await,
    }
}

async fn list(args: ListArgs, format: Format) -> Result {
    let found = args.server.client()?.artifacts(args.run).await?;
    if format == Format::Json {
        output::json(&found)?;
        return Ok(Exit::Ok);
    }
    let now = clock::now();
    let rows: Vec<Vec<String>> = found
        .artifacts
        .iter()
        .map(|a| {
            vec![
                a.id.to_string(),
                style::printable(&a.name),
                a.size.to_string(),
                a.job.to_string(),
                style::ago(a.created_at, now),
                a.expires_at.to_string(),
            ]
        })
        .collect();
    output::print(&style::table(&["ID", "NAME", "BYTES", "JOB", "CREATED", "EXPIRES"], &rows))?;
    Ok(Exit::Ok)
}

async fn download(args: DownloadArgs, format: Format) -> Result {
    let client = args.server.client()?;
    let mut found = client.artifacts(args.run).await?.artifacts;
    let dir = args.dir.unwrap_or_else(|| PathBuf::from("."));
    if let Some(name) = &args.name {
        found.retain(|a| a.name == *name);
        if found.is_empty() {
            let message = format!("run {} has no artifact '{}'", args.run, style::printable(name));
            return Err(
                CliError::new(Exit::NotFound, message).next(format!("fleetfoot artifact list {}", args.run))
            );
        }
    }
    let mut done = Vec::new();
    for artifact in &found {
        let to = if args.name.is_some() { dir.clone() } else { dir.join(&artifact.name) };
        let files = fetch(&client, artifact, &to).await?;
        if format == Format::Text {
            let name = style::printable(&artifact.name);
            output::say(&format!("{name}: {files} files in {}", to.display()));
        }
        done.push(json!({ "artifact": artifact, "directory": to, "files": files }));
    }
    match format {
        Format::Json => output::json(&json!({ "artifacts": done }))?,
        Format::Text if found.is_empty() => output::say(&format!("run {} has no artifacts", args.run)),
        Format::Text => {}
    }
    Ok(Exit::Ok)
}

/// Fetches one artifact into a file without a name, verifies it, and unpacks it.
async fn fetch(client: &Client, artifact: &ArtifactView, to: &Path) -> Result<u64> {
    let broken =
        |e: std::io::Error| CliError::machine("the artifact cannot be kept while it is fetched").because(&e);
    let mut file = tempfile::tempfile().map_err(broken)?;
    let mut hasher = Sha256::new();
    let mut stream = std::pin::pin!(client.download_artifact(artifact.id).await?);
    while let Some(bytes) = stream.try_next().await? {
        hasher.update(&bytes);
        file.write_all(&bytes).map_err(broken)?;
    }
    let digits: String = hasher.finalize().iter().map(|b| format!("{b:02x}")).collect();
    if artifact.digest.as_ref().is_some_and(|d| *d != format!("sha256:{digits}")) {
        return Err(CliError::machine(format!(
            "what arrived of '{}' does not have its digest",
            style::printable(&artifact.name)
        ))
        .hint("download it again"));
    }
    file.rewind().map_err(broken)?;
    place(file, artifact, to)
}

/// Unpacks a ZIP file; anything else becomes a file of the artifact's name.
pub(crate) fn place(mut file: std::fs::File, artifact: &ArtifactView, to: &Path) -> Result<u64> {
    let packed = artifact.digest.is_none() || artifact.media_type == "application/zip";
    if packed {
        return unpack(file, to, Bounds::default());
    }
    let path = to.join(&artifact.name);
    let failed =
        |e: std::io::Error| CliError::machine(format!("{} cannot be written", path.display())).because(&e);
    std::fs::create_dir_all(to).map_err(failed)?;
    // A link in the way is replaced and not followed.
    let mut part = tempfile::NamedTempFile::new_in(to).map_err(failed)?;
    std::io::copy(&mut file, &mut part).map_err(failed)?;
    part.persist(&path).map_err(|e| failed(e.error))?;
    Ok(1)
}
