//! The contexts that all jobs of a run share: `github`, `inputs`, `vars`.

use super::inputs;
use crate::source::Report;
use crate::syntax::Workflow;
use fleetfoot_expr::Value;
use fleetfoot_model::plan::RunInfo;
use fleetfoot_model::spec::Contexts;
use serde_json::{Map, Value as Json, json};

/// The event of a run that was submitted by hand.
pub(super) const MANUAL: &str = "workflow_dispatch";

/// Builds the contexts; findings about inputs go to the report. A plain job
/// declares nothing and takes any input.
pub(super) fn build(report: &mut Report<'_>, workflow: &Workflow, run: &RunInfo, plain: bool) -> Contexts {
    let params = &run.params;
    let event_name = if params.event_name.is_empty() { MANUAL } else { &params.event_name };
    let declared = if event_name == "workflow_call" || workflow.dispatch_inputs.is_empty() {
        &workflow.call_inputs
    } else {
        &workflow.dispatch_inputs
    };
    let inputs = if plain {
        params.inputs.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    } else if matches!(event_name, MANUAL | "workflow_call") || !params.inputs.is_empty() {
        inputs::typed(report, declared, &params.inputs)
    } else {
        Map::new()
    };
    let mut event = match &params.event {
        Json::Object(event) => event.clone(),
        _ => Map::new(),
    };
    if event_name == MANUAL {
        let text = |value: &Json| Json::String(Value::from_json(value).to_display_string());
        let all: Map<String, Json> = inputs.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        event.insert("inputs".to_owned(), Json::Object(all));
    }
    let github = github(workflow, run, event_name, event);
    let vars: Map<String, Json> =
        params.vars.iter().map(|(name, value)| (name.clone(), Json::from(value.as_str()))).collect();
    [("github", github), ("inputs", inputs), ("vars", vars)]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Json::Object(value)))
        .collect()
}

fn github(
    workflow: &Workflow,
    run: &RunInfo,
    event_name: &str,
    event: Map<String, Json>,
) -> Map<String, Json> {
    let payload = Json::Object(event);
    let at = |path: &str| payload.pointer(path).and_then(Json::as_str).unwrap_or_default().to_owned();
    let id = |path: &str| match payload.pointer(path) {
        Some(Json::Number(number)) => number.to_string(),
        Some(Json::String(text)) => text.clone(),
        _ => String::new(),
    };
    let repository = run.params.repository.clone().unwrap_or_default();
    let name = repository.name.unwrap_or_else(|| at("/repository/full_name"));
    let owner = name.split('/').next().unwrap_or_default().to_owned();
    let git_ref = repository.git_ref.unwrap_or_else(|| ref_of_event(&payload));
    let sha = repository.sha.unwrap_or_else(|| sha_of_event(&payload));
    let (ref_name, ref_type) = name_of_ref(&git_ref);
    let server = origin(&repository.url).unwrap_or_else(|| run.server_url.trim_end_matches('/').to_owned());
    let (api, graphql) = if server == "https://github.com" {
        ("https://api.github.com".to_owned(), "https://api.github.com/graphql".to_owned())
    } else {
        (format!("{server}/api/v3"), format!("{server}/api/graphql"))
    };
    let path = run.workflow_path.clone().unwrap_or_default();
    let workflow_name = workflow.name.clone().unwrap_or_else(|| path.clone());
    let workflow_ref =
        if name.is_empty() || path.is_empty() { String::new() } else { format!("{name}/{path}@{git_ref}") };
    let actor = run.params.actor.clone().unwrap_or_else(|| at("/sender/login"));
    let value = json!({
        "event_name": event_name,
        "ref": git_ref,
        "ref_name": ref_name,
        "ref_type": ref_type,
        "ref_protected": false,
        "sha": sha,
        "head_ref": at("/pull_request/head/ref"),
        "base_ref": at("/pull_request/base/ref"),
        "repository": name,
        "repository_owner": owner,
        "repository_id": id("/repository/id"),
        "repository_owner_id": id("/repository/owner/id"),
        "repositoryUrl": repository.url,
        "run_id": run.id.to_string(),
        "run_number": run.number.to_string(),
        "run_attempt": run.attempt.to_string(),
        "workflow": workflow_name,
        "workflow_ref": workflow_ref,
        "workflow_sha": sha,
        "actor": actor,
        "actor_id": id("/sender/id"),
        "triggering_actor": actor,
        "server_url": server,
        "api_url": api,
        "graphql_url": graphql,
        "event": payload,
    });
    match value {
        Json::Object(map) => map,
        _ => Map::new(),
    }
}

fn ref_of_event(event: &Json) -> String {
    if let Some(number) = event.pointer("/pull_request/number").and_then(Json::as_u64) {
        return format!("refs/pull/{number}/merge");
    }
    let text = |path: &str| event.pointer(path).and_then(Json::as_str);
    if let Some(tag) = text("/release/tag_name") {
        return format!("refs/tags/{tag}");
    }
    match text("/ref") {
        Some(name) if name.starts_with("refs/") => name.to_owned(),
        Some(name) => match text("/ref_type") {
            Some("tag") => format!("refs/tags/{name}"),
            _ => format!("refs/heads/{name}"),
        },
        None => String::new(),
    }
}

fn sha_of_event(event: &Json) -> String {
    let paths = ["/after", "/head_commit/id", "/pull_request/merge_commit_sha", "/pull_request/head/sha"];
    let found = paths.iter().find_map(|path| event.pointer(path).and_then(Json::as_str));
    found.unwrap_or_default().to_owned()
}

fn name_of_ref(git_ref: &str) -> (&str, &'static str) {
    if let Some(tag) = git_ref.strip_prefix("refs/tags/") {
        return (tag, "tag");
    }
    let name = ["refs/heads/", "refs/pull/"].iter().find_map(|prefix| git_ref.strip_prefix(prefix));
    (name.unwrap_or(git_ref), "branch")
}

/// `https://host` of a URL that a browser could open, without credentials.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://").filter(|(s, _)| matches!(*s, "http" | "https"))?;
    let authority = rest.split('/').next()?;
    let host = authority.rsplit('@').next().filter(|host| !host.is_empty())?;
    Some(format!("{scheme}://{host}"))
}
