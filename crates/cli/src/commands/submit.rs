//! `submit`: documents become runs at a server.

use crate::clock;
use crate::connect::ServerArgs;
use crate::document::{self, DocumentFile};
use crate::error::{CliError, Exit, Result};
use crate::live::{self, OnInterrupt, Options, Remote};
use crate::logs::Sink;
use crate::output::{self, Format};
use crate::style::{Style, printable};
use crate::{calls, pairs, render};
use clap::{ArgAction, Args};
use fleetfoot_client::Client;
use fleetfoot_model::RunId;
use fleetfoot_model::api::{CreateBatch, CreateRun, Created};
use fleetfoot_model::spec::Repository;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Submit a workflow or a job to the server
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot submit .github/workflows/ci.yml --watch\n  \
    fleetfoot submit deploy.yml --input environment=staging -s DEPLOY_KEY --wait\n  \
    fleetfoot submit a.yml b.yml c.yml        all or nothing, in one transaction\n  \
    fleetfoot submit ci.yml --event push --output json | jq .run\n\n\
    In a git checkout the repository, ref and commit go along, so that actions/checkout finds them.\n\
    A server on this machine is given the path of the checkout, any other the address of `origin`.")]
pub(crate) struct SubmitArgs {
    /// Workflow or job files; `-` reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    params: ParamArgs,
    /// Kind of the document: workflow or job [default: by its keys]
    #[arg(long)]
    kind: Option<String>,
    /// Project
    #[arg(long)]
    project: Option<String>,
    /// Queue of every job that names none
    #[arg(long)]
    queue: Option<String>,
    /// Added to the priority of every job
    #[arg(long, allow_negative_numbers = true)]
    priority: Option<i32>,
    /// Repository that the run is about [default: the checkout around the file]
    #[arg(long, value_name = "URL")]
    repo: Option<String>,
    /// Ref of the repository, for example refs/heads/main
    #[arg(long, value_name = "REF")]
    r#ref: Option<String>,
    /// Commit of the repository
    #[arg(long, value_name = "SHA")]
    sha: Option<String>,
    /// Say nothing about the checkout around the file
    #[arg(long, conflicts_with_all = ["repo", "ref", "sha"])]
    no_repo: bool,
    /// Wait for the end, and mirror the conclusion in the exit code
    #[arg(long)]
    wait: bool,
    /// Wait, and stream the logs
    #[arg(long)]
    watch: bool,
    /// An interrupt cancels the run at once
    #[arg(long)]
    cancel_on_interrupt: bool,
    /// The same key again answers with the same run
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// What a run is given beside its document; the same words for `submit` and `run`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Parameters")]
pub(crate) struct ParamArgs {
    /// Input of the workflow (repeatable)
    #[arg(long, value_name = "K=V", action = ArgAction::Append)]
    pub(crate) input: Vec<String>,
    /// Secret; without a value, that of the environment variable (repeatable)
    #[arg(long, short, value_name = "K[=V]", action = ArgAction::Append)]
    pub(crate) secret: Vec<String>,
    /// File of secrets, NAME=value a line
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Variable, for the vars context (repeatable)
    #[arg(long, value_name = "K=V", action = ArgAction::Append)]
    pub(crate) var: Vec<String>,
    /// Environment below the document's own (repeatable)
    #[arg(long, value_name = "K=V", action = ArgAction::Append)]
    pub(crate) env: Vec<String>,
    /// Event: a name, or a JSON file with its payload
    #[arg(long, short = 'e', value_name = "NAME|FILE")]
    pub(crate) event: Option<String>,
    /// Only this job and what it needs (repeatable)
    #[arg(long, short, value_name = "JOB", action = ArgAction::Append)]
    pub(crate) job: Vec<String>,
    /// Only legs of the matrix with this value (repeatable)
    #[arg(long, value_name = "K:V", action = ArgAction::Append)]
    pub(crate) matrix: Vec<String>,
}

impl ParamArgs {
    /// Fills in what they say; document and event name are the caller's.
    pub(crate) fn create_run(&self) -> Result<CreateRun> {
        Ok(CreateRun {
            inputs: pairs::pairs("--input", &self.input)?
                .into_iter()
                .map(|(k, v)| (k, Value::String(v)))
                .collect(),
            secrets: pairs::secrets(&self.secret, self.secret_file.as_deref())?,
            vars: pairs::pairs("--var", &self.var)?,
            env: pairs::pairs("--env", &self.env)?,
            matrix: pairs::matrix(&self.matrix)?,
            jobs: self.job.clone(),
            event: self.event.as_deref().map(event).transpose()?,
            ..CreateRun::default()
        })
    }
}

/// A name, or the payload in a file.
pub(crate) fn event(text: &str) -> Result<Value> {
    let is_file = text.ends_with(".json") || text.contains('/') || Path::new(text).is_file();
    if !is_file {
        return Ok(Value::String(text.to_owned()));
    }
    let bytes = std::fs::read(text)
        .map_err(|e| CliError::usage(format!("the event file {text} cannot be read")).because(&e))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|e| {
        CliError::usage(format!("{text}:{}:{}: the event file is not JSON", e.line(), e.column())).because(&e)
    })?;
    if value.is_object() {
        return Ok(value);
    }
    Err(CliError::usage(format!("the event file {text} does not contain a JSON object")))
}

pub(crate) async fn run(args: Box<SubmitArgs>, format: Format) -> Result {
    let client = args.server.client()?;
    let mut runs = Vec::new();
    for file in &args.files {
        let document = document::read(file)?;
        let files = calls::local(&document, file)?;
        runs.push(CreateRun { files, ..request(&args, &document, client.server())? });
    }
    let key = args.idempotency_key.as_deref();
    if let [run] = &runs[..] {
        let created = client.create_run(run, key).await?;
        let waits = args.wait || args.watch;
        announce(&created, format, waits)?;
        if waits {
            let interrupt = if args.cancel_on_interrupt { OnInterrupt::Cancel } else { OnInterrupt::Offer };
            return wait(client, created.run, args.watch, format, interrupt).await;
        }
        return Ok(Exit::Ok);
    }
    if args.watch {
        return Err(
            CliError::usage("--watch follows one run, and several files make several").hint("use --wait")
        );
    }
    let created = client.create_batch(&CreateBatch { runs }, key).await?;
    match format {
        Format::Json => output::json(&created)?,
        Format::Text => {
            for one in &created.runs {
                announce(one, format, true)?;
            }
        }
    }
    let mut exit = Exit::Ok;
    if args.wait {
        for one in &created.runs {
            let ended = wait(client.clone(), one.run, false, Format::Text, OnInterrupt::Offer).await?;
            // A failure says more than a cancellation.
            if exit == Exit::Ok || ended == Exit::Failed {
                exit = ended;
            }
        }
    }
    Ok(exit)
}

fn request(args: &SubmitArgs, file: &DocumentFile, server: &str) -> Result<CreateRun> {
    let kind = args.kind.clone().unwrap_or_else(|| file.kind().to_owned());
    Ok(CreateRun {
        kind,
        document: file.text()?,
        path: Some(file.name.clone()),
        project: args.project.clone(),
        queue: args.queue.clone(),
        priority: args.priority,
        repository: repository(args, file, server),
        ..args.params.create_run()?
    })
}

fn repository(args: &SubmitArgs, file: &DocumentFile, server: &str) -> Option<Repository> {
    if args.no_repo {
        return None;
    }
    let given = Repository {
        url: args.repo.clone().unwrap_or_default(),
        name: None,
        git_ref: args.r#ref.clone(),
        sha: args.sha.clone(),
    };
    if args.repo.is_some() {
        return Some(given);
    }
    let found = file.checkout.as_ref()?;
    let mut repository = found.repository.clone();
    if is_loopback(server) {
        // Commits that were never pushed, and no credentials needed.
        repository.url = found.root.display().to_string();
    }
    if given.git_ref.is_some() || given.sha.is_some() {
        (repository.git_ref, repository.sha) = (given.git_ref, given.sha);
    }
    Some(repository)
}

fn is_loopback(server: &str) -> bool {
    let host = server.split_once("://").map_or(server, |(_, rest)| rest);
    ["127.", "localhost", "[::1]"].iter().any(|l| host.starts_with(l))
}

/// Says what was created.
pub(crate) fn announce(created: &Created, format: Format, waits: bool) -> Result<()> {
    let style = Style::stderr();
    for warning in &created.warnings {
        output::say(&format!("{warning}\n"));
    }
    if format == Format::Json {
        return output::json(created);
    }
    output::line(&format!("run {}", created.run))?;
    for job in &created.jobs {
        output::line(&format!("  job {} {}", job.id, printable(&job.name)))?;
    }
    if !waits {
        output::say(&format!("  {} `fleetfoot watch {}`", style.cyan("next:"), created.run));
    }
    Ok(())
}

/// Follows a run to its end and mirrors its conclusion.
pub(crate) async fn wait(
    client: Client,
    run: RunId,
    logs: bool,
    format: Format,
    on_interrupt: OnInterrupt,
) -> Result {
    let sink = match (logs, format) {
        (false, _) => None,
        (true, Format::Text) => Some(Sink::stdout()?),
        (true, Format::Json) => Some(Sink::stderr()),
    };
    let options = Options {
        logs: sink,
        always_prefix: false,
        compact: false,
        format,
        print_changes: false,
        on_interrupt,
        quiet: false,
    };
    let ended = live::follow(Arc::new(Remote(client)), run, options).await?;
    let style = Style::stderr();
    output::say(&render::result_table(&ended, style, clock::now()));
    output::say(&format!("run {run}: {}", style.word(ended.status, ended.conclusion)));
    Ok(Exit::of(ended.conclusion))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_names_or_files() {
        assert_eq!(event("push").unwrap(), "push");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("e.json");
        std::fs::write(&file, r#"{"ref": "x"}"#).unwrap();
        assert_eq!(event(file.to_str().unwrap()).unwrap()["ref"], "x");
        std::fs::write(&file, "{").unwrap();
        assert!(event(file.to_str().unwrap()).unwrap_err().render(Style::PLAIN).contains("e.json:1:"));
    }

    #[test]
    fn only_this_machine_is_given_paths() {
        for (server, local) in
            [("http://127.0.0.1:1", true), ("http://[::1]:1", true), ("https://ci.example.org", false)]
        {
            assert_eq!(is_loopback(server), local, "{server}");
        }
    }
}
