//! GitLab: the same things in other words. Payloads are written anew in
//! GitHub's shape; what has no counterpart there is left out.

use super::{
    Change, Happening, NotAnEvent, Place, ZERO, create, elsewhere, number, pull, push, release, text,
};
use serde_json::{Value, json};

pub(super) fn read(event: &str, payload: &Value) -> Result<Vec<Happening>, NotAnEvent> {
    // A system hook says which event it is in its body.
    let kind = text(payload, "/object_kind").or_else(|| text(payload, "/event_name"));
    match kind.unwrap_or_default() {
        "push" | "tag_push" => pushed(payload),
        "merge_request" => merge_request(payload),
        "note" => note(payload),
        "issue" | "work_item" => issue(payload),
        "release" => released(payload),
        "wiki_page" => Ok(vec![elsewhere("gollum", shell(payload))]),
        _ => Err(NotAnEvent::Uninteresting(event.chars().take(100).collect())),
    }
}

/// Repository and sender, which every payload has.
fn shell(payload: &Value) -> Value {
    json!({ "repository": repository(payload), "sender": sender(payload) })
}

fn repository(payload: &Value) -> Value {
    let full_name = text(payload, "/project/path_with_namespace").unwrap_or_default();
    let (owner, name) = full_name.rsplit_once('/').unwrap_or(("", full_name));
    json!({
        "id": payload.pointer("/project/id").or_else(|| payload.get("project_id")),
        "name": name,
        "full_name": full_name,
        "owner": { "login": owner },
        "description": payload.pointer("/project/description"),
        "default_branch": text(payload, "/project/default_branch"),
        "html_url": text(payload, "/project/web_url"),
        "clone_url": text(payload, "/project/git_http_url"),
        "ssh_url": text(payload, "/project/git_ssh_url"),
        "private": number(payload, "/project/visibility_level").map(|level| level < 20),
    })
}

fn sender(payload: &Value) -> Value {
    let id = number(payload, "/user/id").or_else(|| number(payload, "/user_id"));
    let login = text(payload, "/user/username").or_else(|| text(payload, "/user_username"));
    json!({ "id": id, "login": login.unwrap_or_default(), "type": "User" })
}

fn pushed(payload: &Value) -> Result<Vec<Happening>, NotAnEvent> {
    let mut shaped = shell(payload);
    let git_ref = text(payload, "/ref").unwrap_or_default();
    let (before, after) = (text(payload, "/before"), text(payload, "/after"));
    let nothing = |sha: Option<&str>| sha.is_none_or(|s| s.bytes().all(|b| b == b'0'));
    let commits: Vec<Value> =
        payload.pointer("/commits").and_then(Value::as_array).into_iter().flatten().map(commit).collect();
    let head = commits.iter().find(|c| c["id"].as_str() == after).cloned().unwrap_or(Value::Null);
    let (created, deleted) = (nothing(before), nothing(after));
    let short = git_ref.trim_start_matches("refs/heads/").trim_start_matches("refs/tags/");
    let ref_type = if git_ref.starts_with("refs/tags/") { "tag" } else { "branch" };
    let mut of_ref = shaped.clone();
    if let Some(map) = super::object(&mut of_ref) {
        map.insert("ref".to_owned(), json!(short));
        map.insert("ref_type".to_owned(), json!(ref_type));
    }
    if deleted {
        return Ok(vec![elsewhere("delete", of_ref)]);
    }
    if let Some(map) = super::object(&mut shaped) {
        map.extend([
            ("ref".to_owned(), json!(git_ref)),
            ("before".to_owned(), json!(before.unwrap_or(ZERO))),
            ("after".to_owned(), json!(after)),
            ("created".to_owned(), json!(created)),
            ("deleted".to_owned(), json!(false)),
            ("forced".to_owned(), json!(false)),
            ("commits".to_owned(), Value::Array(commits)),
            ("head_commit".to_owned(), head),
            ("pusher".to_owned(), json!({ "name": text(payload, "/user_username") })),
        ]);
    }
    let mut all = push(shaped)?;
    if created {
        if let Some(map) = super::object(&mut of_ref) {
            map.insert("sha".to_owned(), json!(after));
        }
        all.extend(create(of_ref)?);
    }
    Ok(all)
}

fn commit(theirs: &Value) -> Value {
    let field = |name: &str| theirs.get(name).cloned().unwrap_or(Value::Null);
    json!({
        "id": field("id"), "message": field("message"), "timestamp": field("timestamp"), "url": field("url"),
        "author": field("author"), "committer": field("author"), "distinct": true,
        "added": field("added"), "modified": field("modified"), "removed": field("removed"),
    })
}

/// The merge request of a payload as a pull request.
fn pull_request(payload: &Value, at: &str) -> Value {
    let field = |name: &str| payload.pointer(&format!("{at}/{name}")).cloned().unwrap_or(Value::Null);
    let side = |name: &str, sha: Value| {
        let project =
            |key: &str| payload.pointer(&format!("{at}/{name}/{key}")).cloned().unwrap_or(Value::Null);
        json!({
            "ref": field(&format!("{name}_branch")),
            "sha": sha,
            "repo": {
                "id": field(&format!("{name}_project_id")),
                "full_name": project("path_with_namespace"),
                "clone_url": project("git_http_url"),
                "html_url": project("web_url"),
                "default_branch": project("default_branch"),
            },
        })
    };
    let head = payload.pointer(&format!("{at}/last_commit/id")).cloned().unwrap_or(Value::Null);
    let state = text(payload, &format!("{at}/state")).unwrap_or_default();
    json!({
        "id": field("id"),
        "number": field("iid"),
        "title": field("title"),
        "body": field("description"),
        "state": if state == "opened" { "open" } else { "closed" },
        "draft": payload.pointer(&format!("{at}/draft")).or_else(|| payload.pointer(&format!("{at}/work_in_progress"))),
        "merged": state == "merged",
        "merge_commit_sha": field("merge_commit_sha"),
        "html_url": field("url"),
        "user": { "id": field("author_id") },
        "head": side("source", head),
        "base": side("target", Value::Null),
        "created_at": field("created_at"),
        "updated_at": field("updated_at"),
    })
}

fn merge_request(payload: &Value) -> Result<Vec<Happening>, NotAnEvent> {
    let theirs = text(payload, "/object_attributes/action").unwrap_or_default();
    let moved = text(payload, "/object_attributes/oldrev").is_some();
    let (event, action) = match theirs {
        "open" => ("pull_request", "opened"),
        "reopen" => ("pull_request", "reopened"),
        "close" | "merge" => ("pull_request", "closed"),
        "update" if moved => ("pull_request", "synchronize"),
        "update" if payload.pointer("/changes/labels").is_some() => ("pull_request", "labeled"),
        "update" if payload.pointer("/changes/draft/current") == Some(&json!(false)) => {
            ("pull_request", "ready_for_review")
        }
        "update" => ("pull_request", "edited"),
        "approved" | "approval" => ("pull_request_review", "submitted"),
        "unapproved" | "unapproval" => ("pull_request_review", "dismissed"),
        other => return Err(NotAnEvent::Uninteresting(format!("merge_request {other}"))),
    };
    let mut shaped = shell(payload);
    if let Some(map) = super::object(&mut shaped) {
        map.insert("action".to_owned(), json!(action));
        map.insert("number".to_owned(), json!(number(payload, "/object_attributes/iid")));
        map.insert("pull_request".to_owned(), pull_request(payload, "/object_attributes"));
        if event == "pull_request_review" {
            map.insert("review".to_owned(), json!({ "state": theirs, "user": sender(payload) }));
        }
    }
    pull(event, shaped)
}

fn note(payload: &Value) -> Result<Vec<Happening>, NotAnEvent> {
    let (at, of_pull) = match text(payload, "/object_attributes/noteable_type").unwrap_or_default() {
        "MergeRequest" => ("/merge_request", true),
        "Issue" => ("/issue", false),
        other => return Err(NotAnEvent::Uninteresting(format!("note on {other}"))),
    };
    let field = |name: &str| payload.pointer(&format!("{at}/{name}")).cloned().unwrap_or(Value::Null);
    let mut shaped = shell(payload);
    let action = match text(payload, "/object_attributes/action") {
        Some("update") => "edited",
        _ => "created",
    };
    if let Some(map) = super::object(&mut shaped) {
        let mut about = json!({
            "number": field("iid"), "title": field("title"), "body": field("description"), "state": field("state"),
            "html_url": field("url"),
        });
        if of_pull && let Some(about) = super::object(&mut about) {
            about.insert("pull_request".to_owned(), json!({ "html_url": field("url") }));
        }
        map.insert("action".to_owned(), json!(action));
        map.insert("issue".to_owned(), about);
        map.insert(
            "comment".to_owned(),
            json!({
                "id": payload.pointer("/object_attributes/id"),
                "body": payload.pointer("/object_attributes/note"),
                "html_url": payload.pointer("/object_attributes/url"),
                "user": sender(payload),
            }),
        );
    }
    Ok(vec![elsewhere("issue_comment", shaped)])
}

fn issue(payload: &Value) -> Result<Vec<Happening>, NotAnEvent> {
    let action = match text(payload, "/object_attributes/action").unwrap_or_default() {
        "open" => "opened",
        "reopen" => "reopened",
        "close" => "closed",
        "update" if payload.pointer("/changes/labels").is_some() => "labeled",
        _ => "edited",
    };
    let field =
        |name: &str| payload.pointer(&format!("/object_attributes/{name}")).cloned().unwrap_or(Value::Null);
    let mut shaped = shell(payload);
    if let Some(map) = super::object(&mut shaped) {
        map.insert("action".to_owned(), json!(action));
        map.insert(
            "issue".to_owned(),
            json!({
                "id": field("id"), "number": field("iid"), "title": field("title"), "body": field("description"),
                "state": field("state"), "html_url": field("url"), "user": { "id": field("author_id") },
            }),
        );
    }
    Ok(vec![elsewhere("issues", shaped)])
}

fn released(payload: &Value) -> Result<Vec<Happening>, NotAnEvent> {
    let action = match text(payload, "/action").unwrap_or_default() {
        "create" => "published",
        "update" => "edited",
        _ => "deleted",
    };
    let mut shaped = shell(payload);
    if let Some(map) = super::object(&mut shaped) {
        map.insert("action".to_owned(), json!(action));
        map.insert(
            "release".to_owned(),
            json!({
                "id": payload.get("id"), "tag_name": payload.get("tag"), "name": payload.get("name"),
                "body": payload.get("description"), "html_url": payload.get("url"), "draft": false,
            }),
        );
    }
    // Its tag goes with a deleted release at other forges; the default branch is always there.
    if action == "deleted" {
        return Ok(vec![Happening {
            place: Place::Default,
            change: Change::None,
            ..elsewhere("release", shaped)
        }]);
    }
    release(shaped)
}
