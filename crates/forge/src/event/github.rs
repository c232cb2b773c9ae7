//! GitHub's webhooks: their payloads are what workflows expect already. Also
//! the shape of events that are made here (polling, schedules, dispatches).

use super::{Change, Place, account};
use super::{Happening, NotAnEvent, create, elsewhere, name, pull, push, release, text};
use serde_json::Value;

/// Events that start workflows on the default branch.
const ELSEWHERE: &[&str] = &[
    "branch_protection_rule",
    "check_run",
    "check_suite",
    "delete",
    "discussion",
    "discussion_comment",
    "fork",
    "gollum",
    "image_version",
    "issue_comment",
    "issues",
    "label",
    "milestone",
    "page_build",
    "project",
    "project_card",
    "project_column",
    "public",
    "registry_package",
    "repository_dispatch",
    "schedule",
    "watch",
    "workflow_run",
];

pub(super) fn read(event: &str, payload: Value) -> Result<Vec<Happening>, NotAnEvent> {
    match event {
        "push" => push(payload),
        "pull_request" | "pull_request_review" | "pull_request_review_comment" => pull(event, payload),
        "create" => create(payload),
        "release" => release(payload),
        "merge_group" => merge_group(payload),
        "deployment" | "deployment_status" => deployment(event, payload),
        "status" => status(payload),
        "workflow_run" => workflow_run(payload),
        other if ELSEWHERE.contains(&other) => Ok(vec![elsewhere(event, payload)]),
        other => Err(NotAnEvent::Uninteresting(other.chars().take(100).collect())),
    }
}

fn merge_group(payload: Value) -> Result<Vec<Happening>, NotAnEvent> {
    let incomplete = |field| NotAnEvent::Incomplete { event: "merge_group".to_owned(), field };
    let sha = super::commit(&payload, "/merge_group/head_sha").ok_or(incomplete("head_sha"))?;
    let git_ref = name(&payload, "/merge_group/head_ref").ok_or(incomplete("head_ref"))?;
    Ok(vec![Happening {
        place: Place::Commit { git_ref, sha },
        filter_ref: name(&payload, "/merge_group/base_ref"),
        ..elsewhere("merge_group", payload)
    }])
}

fn deployment(event: &str, payload: Value) -> Result<Vec<Happening>, NotAnEvent> {
    let incomplete = |field| NotAnEvent::Incomplete { event: event.to_owned(), field };
    let sha = super::commit(&payload, "/deployment/sha").ok_or(incomplete("deployment.sha"))?;
    let git_ref = name(&payload, "/deployment/ref").unwrap_or_default();
    let git_ref =
        if git_ref.is_empty() || git_ref == sha { String::new() } else { format!("refs/heads/{git_ref}") };
    Ok(vec![Happening { place: Place::Commit { git_ref, sha }, ..elsewhere(event, payload) }])
}

/// Our own statuses come back as events: a workflow that they start must not go round in circles.
fn status(payload: Value) -> Result<Vec<Happening>, NotAnEvent> {
    if text(&payload, "/context").is_some_and(|c| c.starts_with("fleetfoot / ")) {
        return Err(NotAnEvent::Uninteresting("a status that was reported from here".to_owned()));
    }
    Ok(vec![elsewhere("status", payload)])
}

fn workflow_run(payload: Value) -> Result<Vec<Happening>, NotAnEvent> {
    let filter_ref = name(&payload, "/workflow_run/head_branch").map(|b| format!("refs/heads/{b}"));
    let actor = account(&payload, "/sender");
    Ok(vec![Happening { filter_ref, actor, change: Change::None, ..elsewhere("workflow_run", payload) }])
}
