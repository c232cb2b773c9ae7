//! `run`: documents run on this machine, without a server. Chooses the
//! documents, and hands them to an in-process control plane.

use crate::calls;
use crate::clock;
use crate::commands::submit::ParamArgs;
use crate::document::{self, DocumentFile};
use crate::environment;
use crate::error::{CliError, Exit, Result};
use crate::graph;
use crate::live::{self, OnInterrupt, Options};
use crate::loader;
use crate::local::{Local, Place};
use crate::logs::Sink;
use crate::output::{self, Format};
use crate::render;
use crate::style::Style;
use clap::Args;
use fleetfoot_actions::CacheConfig;
use fleetfoot_model::api::{CreateRun, RunView};
use fleetfoot_model::plan::Document;
use fleetfoot_model::spec::Repository;
use fleetfoot_model::{Boundary, Diagnostics, Label, Source};
use fleetfoot_runner::PartialConfig;
use fleetfoot_runner::config::EngineChoice;
use fleetfoot_workflow::WorkflowDocument;
use futures_util::future::join_all;
use indexmap::IndexMap;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What starts a run when nothing else is said.
const DEFAULT_EVENT: &str = "push";
/// Where artifacts go when nothing else is said.
const ARTIFACTS: &str = ".fleetfoot/artifacts";

/// Run workflows or a job on this machine, without a server
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  fleetfoot run                                every workflow here that reacts to push\n  \
    fleetfoot run pull_request -j test           one job of those that react to pull_request, and what it needs\n  \
    fleetfoot run -W .github/workflows/ci.yml --matrix os:ubuntu-latest\n  \
    fleetfoot run -W deploy.yml workflow_dispatch --input environment=staging -s DEPLOY_KEY\n  \
    fleetfoot run -l                             list the jobs as a tree\n  \
    fleetfoot run -n                             check, and print what would run\n\n\
    actions/checkout gives jobs a copy of the working tree with its uncommitted changes.\n\
    Exits 0 on success, 1 when a run failed, 2 on an unusable document, 130 when cancelled."
)]
pub(crate) struct RunArgs {
    /// Event [default: push, or the only one that the file reacts to]
    #[arg(value_name = "EVENT")]
    event_name: Option<String>,
    /// Workflow or job file, or a directory of them [default: .github/workflows]
    #[arg(long, short = 'W', value_name = "FILE|DIR")]
    workflows: Option<PathBuf>,
    #[command(flatten)]
    params: ParamArgs,
    /// Where jobs with a label run: on this machine, or in a container of an image (repeatable)
    #[arg(long, short = 'P', value_name = "LABEL=host|docker://IMAGE")]
    platform: Vec<String>,
    /// How jobs are fenced off that do not ask for more: process, sandbox, container, gvisor [default: process]
    #[arg(long, value_name = "BOUNDARY")]
    boundary: Option<Boundary>,
    /// Container engine: auto, docker, podman, off, or the path of a socket [default: auto]
    #[arg(long, value_name = "ENGINE")]
    container_engine: Option<EngineChoice>,
    /// Take actions from the bare repositories OWNER/REPO.git in this directory, not from GitHub
    #[arg(long, value_name = "DIR")]
    action_mirror: Option<PathBuf>,
    /// List the jobs as a tree
    #[arg(long, short)]
    list: bool,
    /// Check, and print what would run
    #[arg(long, short = 'n', visible_alias = "dryrun")]
    dry_run: bool,
    /// Jobs at once [default: the number of CPUs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: Option<u32>,
    /// Where artifacts of the run are unpacked [default: .fleetfoot/artifacts]
    #[arg(long, value_name = "DIR")]
    artifact_dir: Option<PathBuf>,
}

/// A document that was chosen.
pub(crate) struct Chosen {
    /// As read.
    pub(crate) file: DocumentFile,
    /// As typed, or found.
    pub(crate) shown: PathBuf,
    /// As parsed, with what it calls in this repository.
    pub(crate) document: WorkflowDocument,
    /// What it calls, by reference.
    pub(crate) files: IndexMap<String, String>,
    /// The event that it gets.
    pub(crate) event: String,
}

pub(crate) async fn run(args: Box<RunArgs>, format: Format) -> Result {
    let place = place(&args)?;
    let chosen = choose(&args)?;
    let request = args.params.create_run()?;
    if args.list || args.dry_run {
        return graph::show(&chosen, &request, args.dry_run, format);
    }
    let mut requests = Vec::new();
    for one in &chosen {
        requests.push(CreateRun {
            kind: one.file.kind().to_owned(),
            document: one.file.text()?,
            path: Some(one.file.name.clone()),
            event: Some(event(&one.event, request.event.as_ref())),
            repository: Some(repository(&one.file)),
            files: one.files.clone(),
            ..request.clone()
        });
    }
    let overlay = chosen.first().map(|one| working_tree(&one.file));
    let slots = args.slots.unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
    });
    let local = Local::start(slots, overlay, actions(args.action_mirror.as_deref())?, place).await?;
    let artifacts = args.artifact_dir.unwrap_or_else(|| PathBuf::from(ARTIFACTS));
    let result = match execute(&local, requests, format).await {
        Ok(runs) => export(&local, &runs, &artifacts).await.map(|()| runs),
        Err(e) => Err(e),
    };
    // Left early: nobody waits for orderly ends any more.
    let early = result.as_ref().is_err_and(|e| e.exit == Exit::Cancelled);
    local.finish(early).await;
    let runs = result?;
    finish(&runs, format)
}

/// Where actions and called workflows come from, and where they are kept from run to run.
fn actions(mirror: Option<&Path>) -> Result<CacheConfig> {
    let mut config = loader::config(environment::default_cache_dir().join("actions"));
    if let Some(mirror) = mirror {
        let shown = mirror.display();
        let found = mirror.canonicalize().map_err(|e| {
            CliError::usage(format!("--action-mirror {shown}: there is no such directory")).because(&e)
        })?;
        config.mirror = Some(found.to_string_lossy().into_owned());
    }
    Ok(config)
}

async fn execute(local: &Local, requests: Vec<CreateRun>, format: Format) -> Result<Vec<RunView>> {
    let created = local.submit(requests).await?;
    let sink = match format {
        Format::Text => Sink::stdout()?,
        Format::Json => Sink::stderr(),
    };
    for warning in created.iter().flat_map(|c| &c.warnings) {
        output::say(&format!("{warning}\n"));
    }
    let several = created.len() > 1;
    let followed = created.iter().map(|one| {
        let options = Options {
            logs: Some(sink.clone()),
            always_prefix: several,
            compact: false,
            format,
            print_changes: false,
            on_interrupt: OnInterrupt::Cancel,
            quiet: false,
        };
        live::follow(local.source(), one.run, options)
    });
    join_all(followed).await.into_iter().collect()
}

/// Unpacks what the jobs uploaded.
async fn export(local: &Local, runs: &[RunView], dir: &Path) -> Result<()> {
    let named: Vec<_> = runs.iter().map(|r| (r.id, r.name.clone())).collect();
    let count = local.export(&named, dir).await?;
    if count > 0 {
        output::say(&format!("\n{count} artifacts in {}", dir.display()));
    }
    Ok(())
}

/// The table of results for people, the runs for programs, the exit code for both.
fn finish(runs: &[RunView], format: Format) -> Result {
    let style = Style::stderr();
    for run in runs {
        output::say("");
        if runs.len() > 1 {
            output::say(&style.bold(&crate::style::printable(&run.name)));
        }
        output::say(render::result_table(run, style, clock::now()).trim_end());
    }
    match (format, runs) {
        (Format::Json, [run]) => output::json(run)?,
        (Format::Json, runs) => output::json(&runs)?,
        (Format::Text, _) => {}
    }
    let ends: Vec<Exit> = runs.iter().map(|r| Exit::of(r.conclusion)).collect();
    // A failure says more than a cancellation.
    Ok([Exit::Failed, Exit::Cancelled].into_iter().find(|e| ends.contains(e)).unwrap_or(Exit::Ok))
}

/// How jobs are fenced off: the settings of a runner on this machine (its variables), and over them flags.
fn place(args: &RunArgs) -> Result<Place> {
    let flags = PartialConfig {
        boundary: args.boundary,
        container_engine: args.container_engine.clone(),
        ..PartialConfig::default()
    };
    let config = PartialConfig::from_env(|name| std::env::var(name).ok())
        .and_then(|layer| layer.overlaid_by(flags).resolve())
        .map_err(|e| CliError::usage(e.to_string()))?;
    Ok(Place { boundaries: config.boundaries, images: platforms(&args.platform)? })
}

/// This machine takes every label; what cannot be had is said before anything starts. Answers the images.
fn platforms(given: &[String]) -> Result<Vec<(Label, String)>> {
    let mut images = Vec::new();
    for text in given {
        let Some((label, target)) = text.split_once('=').filter(|(l, _)| !l.is_empty()) else {
            return Err(CliError::usage(format!("-P '{text}' is not LABEL=host or LABEL=docker://IMAGE")));
        };
        match (target, target.strip_prefix("docker://")) {
            ("host" | "-self-hosted", _) => {}
            (_, Some(image)) if !image.is_empty() && !image.starts_with('-') => {
                images.push((Label::from(label), image.to_owned()));
            }
            _ => {
                return Err(CliError::usage(format!("-P {text}: '{target}' is not a place where jobs run"))
                    .hint(format!("write -P {label}=host, or -P {label}=docker://IMAGE")));
            }
        }
    }
    Ok(images)
}

fn choose(args: &RunArgs) -> Result<Vec<Chosen>> {
    let files = match &args.workflows {
        Some(path) if path.is_dir() => document::in_directory(path)?,
        Some(path) => vec![path.clone()],
        None => document::workflows_here()?,
    };
    let named = args.event_name.clone().or_else(|| match args.params.event.as_deref() {
        Some(text) if !is_payload(text) => Some(text.to_owned()),
        _ => None,
    });
    let mut parsed = Vec::new();
    let mut found = Diagnostics::default();
    for shown in &files {
        let file = document::read(shown)?;
        let source = Source::new(shown.display().to_string(), file.bytes.clone());
        let files = calls::local(&file, shown)?;
        let document = match file.kind() {
            "job" => WorkflowDocument::parse_job(&source),
            _ => WorkflowDocument::parse_with(&source, &files),
        };
        match document {
            Ok(document) => parsed.push((shown.clone(), file, document, files)),
            Err(findings) => found.0.extend(findings.0),
        }
    }
    if found.has_errors() {
        return Err(CliError::findings(found));
    }
    let alone = parsed.len() == 1;
    let events: Vec<String> =
        parsed.iter().flat_map(|(_, _, d, _)| d.triggers()).map(|t| t.event.clone()).collect();
    let chosen: Vec<Chosen> = parsed
        .into_iter()
        .filter_map(|(shown, file, document, files)| {
            let event = event_for(&document, file.kind(), named.as_deref(), alone)?;
            Some(Chosen { file, shown, document, files, event })
        })
        .collect();
    if !chosen.is_empty() || args.list {
        return Ok(chosen);
    }
    let event = named.as_deref().unwrap_or(DEFAULT_EVENT);
    let mut known: Vec<&str> = events.iter().map(String::as_str).collect();
    known.sort_unstable();
    known.dedup();
    let error = CliError::usage(format!("nothing here reacts to the event {event}"))
        .hint(format!("known events: {}", known.join(", ")));
    Err(match known.first() {
        Some(first) => error.next(format!("fleetfoot run {first}")),
        None => error,
    })
}

/// The event with which a document runs, if it reacts. One file that was named alone, without an
/// event, runs with an event of its own when it does not react to a push.
fn event_for(document: &WorkflowDocument, kind: &str, named: Option<&str>, alone: bool) -> Option<String> {
    let triggers = document.triggers();
    let reacts = |event: &str| kind == "job" || triggers.iter().any(|t| t.event == event);
    match named {
        Some(event) => reacts(event).then(|| event.to_owned()),
        None if reacts(DEFAULT_EVENT) => Some(DEFAULT_EVENT.to_owned()),
        None if alone => triggers.first().map(|t| t.event.clone()),
        None => None,
    }
}

fn is_payload(text: &str) -> bool {
    text.ends_with(".json") || text.contains('/') || std::path::Path::new(text).is_file()
}

/// Name and payload as the API takes them.
fn event(name: &str, given: Option<&Value>) -> Value {
    match given {
        Some(payload @ Value::Object(_)) => json!({ "name": name, "payload": payload }),
        _ => Value::String(name.to_owned()),
    }
}

/// The checkout around the file; without one, the current directory.
fn working_tree(file: &DocumentFile) -> PathBuf {
    match &file.checkout {
        Some(checkout) => checkout.root.clone(),
        None => std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
    }
}

fn repository(file: &DocumentFile) -> Repository {
    let mut repository = file.checkout.as_ref().map(|c| c.repository.clone()).unwrap_or_default();
    repository.url = working_tree(file).display().to_string();
    repository
}

/// Warnings of documents that are only looked at.
pub(crate) fn say_warnings(document: &WorkflowDocument) {
    for warning in document.warnings() {
        output::say(&format!("{warning}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workflow(on: &str) -> WorkflowDocument {
        let text = format!("on: {on}\njobs:\n  a:\n    runs-on: x\n    steps: [{{run: make}}]\n");
        WorkflowDocument::parse(&Source::new("a.yml", text.into_bytes())).unwrap()
    }

    #[test]
    fn the_event_decides() {
        let both = workflow("[push, pull_request]");
        let manual = workflow("workflow_dispatch");
        assert_eq!(event_for(&both, "workflow", None, false).as_deref(), Some("push"));
        assert_eq!(
            event_for(&both, "workflow", Some("pull_request"), false).as_deref(),
            Some("pull_request")
        );
        assert_eq!(event_for(&manual, "workflow", None, false), None);
        assert_eq!(event_for(&manual, "workflow", None, true).as_deref(), Some("workflow_dispatch"));
        assert_eq!(event_for(&manual, "workflow", Some("push"), true), None);
    }

    #[test]
    fn this_machine_and_images_are_places() {
        let given = ["ubuntu-latest=host", "x=-self-hosted", "y=docker://node:20"].map(str::to_owned);
        assert_eq!(platforms(&given).unwrap(), [(Label::from("y"), "node:20".to_owned())]);
        for bad in ["ubuntu-latest", "=host", "x=docker://", "x=docker://--privileged", "x=vm"] {
            assert_eq!(platforms(&[bad.to_owned()]).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }
}
