//! Gitea and Forgejo: nearly GitHub's payloads, with some words of their own.

use super::{Happening, NotAnEvent, create, elsewhere, pull, push, release, text, with_logins};
use serde_json::{Value, json};

pub(super) fn read(event: &str, mut payload: Value) -> Result<Vec<Happening>, NotAnEvent> {
    with_logins(&mut payload);
    match event {
        "push" => push(payload),
        "create" => create(payload),
        "release" => {
            rename(&mut payload, &[("updated", "edited")]);
            release(payload)
        }
        "pull_request_approved" | "pull_request_rejected" | "pull_request_comment" => review(event, payload),
        // Every kind of change of a pull request has an event of its own in some versions.
        other if other.starts_with("pull_request") => {
            rename(&mut payload, PULL_REQUEST);
            pull("pull_request", payload)
        }
        "issue_comment" => Ok(vec![elsewhere("issue_comment", payload)]),
        other if other == "issues" || other.starts_with("issue_") => {
            rename(&mut payload, PULL_REQUEST);
            Ok(vec![elsewhere("issues", payload)])
        }
        "wiki" => Ok(vec![elsewhere("gollum", payload)]),
        "package" => {
            rename(&mut payload, &[("created", "published")]);
            Ok(vec![elsewhere("registry_package", payload)])
        }
        "delete" | "fork" => Ok(vec![elsewhere(event, payload)]),
        other => Err(NotAnEvent::Uninteresting(other.chars().take(100).collect())),
    }
}

/// Activity types, theirs and GitHub's.
const PULL_REQUEST: &[(&str, &str)] = &[
    ("synchronized", "synchronize"),
    ("label_updated", "labeled"),
    ("label_cleared", "unlabeled"),
    ("review_request", "review_requested"),
];

fn rename(payload: &mut Value, words: &[(&str, &str)]) {
    let known = text(payload, "/action").and_then(|a| words.iter().find(|(theirs, _)| *theirs == a));
    if let (Some((_, ours)), Some(map)) = (known, super::object(payload)) {
        map.insert("action".to_owned(), json!(ours));
    }
}

fn review(event: &str, mut payload: Value) -> Result<Vec<Happening>, NotAnEvent> {
    let state = match event {
        "pull_request_approved" => "approved",
        "pull_request_rejected" => "changes_requested",
        _ => "commented",
    };
    let body = payload.pointer("/review/content").cloned().unwrap_or(Value::Null);
    let user = payload.pointer("/sender").cloned().unwrap_or(Value::Null);
    if let Some(map) = super::object(&mut payload) {
        map.insert("action".to_owned(), json!("submitted"));
        map.insert("review".to_owned(), json!({"state": state, "body": body, "user": user}));
    }
    pull("pull_request_review", payload)
}
