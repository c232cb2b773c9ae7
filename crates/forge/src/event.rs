//! What happened at a forge, in GitHub's words: name, activity type, payload,
//! and the facts that decide which commit is looked at and who is trusted.
//! Pure, and total: no payload makes it panic.
//!
//! Identity is the forge's numeric account. Names in commits mean nothing
//! here, because whoever commits writes them.

mod gitea;
mod github;
mod gitlab;

use fleetfoot_model::repos::ForgeKind;
use serde_json::{Map, Value};
use thiserror::Error;

/// The id of no commit.
const ZERO: &str = "0000000000000000000000000000000000000000";

/// One event, as workflows know it.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// Name (`push`).
    pub name: String,
    /// Activity type (`opened`).
    pub action: Option<String>,
    /// Payload in GitHub's shape.
    pub payload: Value,
    /// Where the workflow files come from, and what the run is about.
    pub place: Place,
    /// The full ref that filters look at.
    pub filter_ref: Option<String>,
    /// What changed.
    pub change: Change,
    /// The commit that shows the result, where it is not the one of the run.
    pub report_sha: Option<String>,
    /// Who caused it.
    pub actor: Account,
    /// Whose pull request it is.
    pub author: Option<Account>,
    /// What the author is to the repository, in GitHub's words.
    pub association: Option<String>,
    /// The code comes from a repository that others may write to.
    pub is_fork: bool,
    /// Message of the head commit, if the payload has it.
    pub message: Option<String>,
}

/// An account at the forge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Its number, which stays when it is renamed.
    pub id: Option<u64>,
    /// Its name now.
    pub login: String,
}

/// Where an event happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// This commit of this ref.
    Commit {
        /// Full ref.
        git_ref: String,
        /// Commit.
        sha: String,
    },
    /// The tip of this ref.
    Ref {
        /// Full ref.
        git_ref: String,
    },
    /// The result of merging a pull request, or its head where the forge offers no merge.
    Pull {
        /// Its number.
        number: u64,
        /// Head commit.
        head: String,
    },
    /// The base of a pull request.
    Base {
        /// Branch, short.
        branch: String,
        /// Commit, if the payload has it.
        sha: Option<String>,
    },
    /// The tip of the default branch.
    Default,
}

/// What to compare for the changed files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is nothing to compare.
    None,
    /// A push: from one commit to another.
    Push {
        /// Before; absent for a new ref.
        before: Option<String>,
        /// The oldest of the pushed commits, if the payload lists them.
        oldest: Option<String>,
        /// After.
        after: String,
    },
    /// A pull request: since it left its base.
    Pull {
        /// Base branch, short.
        base: String,
        /// Head commit.
        head: String,
    },
}

/// Why a payload is no event.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotAnEvent {
    /// It is one that starts nothing (`ping`).
    #[error("'{0}' starts no workflows")]
    Uninteresting(String),
    /// It lacks something that such an event has.
    #[error("the payload of '{event}' has no usable {field}")]
    Incomplete {
        /// The event.
        event: String,
        /// What is missing.
        field: &'static str,
    },
}

/// What a delivery means: mostly one event, several where a forge says several things at once.
///
/// # Errors
/// [`NotAnEvent`] if it means nothing to workflows, or lacks what it must have.
pub fn normalise(kind: ForgeKind, event: &str, payload: &Value) -> Result<Vec<Happening>, NotAnEvent> {
    match kind {
        ForgeKind::Github => github::read(event, payload.clone()),
        ForgeKind::Gitea | ForgeKind::Forgejo => gitea::read(event, payload.clone()),
        ForgeKind::Gitlab => gitlab::read(event, payload),
    }
}

// -- shared by the forges -----------------------------------------------------

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str).filter(|t| !t.is_empty())
}

fn number(value: &Value, pointer: &str) -> Option<u64> {
    value.pointer(pointer).and_then(Value::as_u64)
}

/// A commit id; nothing else may reach git as one.
fn commit(value: &Value, pointer: &str) -> Option<String> {
    let sha = text(value, pointer)?;
    let good = matches!(sha.len(), 40 | 64) && sha.bytes().all(|b| b.is_ascii_hexdigit());
    (good && !sha.bytes().all(|b| b == b'0')).then(|| sha.to_ascii_lowercase())
}

/// A branch, tag or full ref that git accepts as a name.
fn name(value: &Value, pointer: &str) -> Option<String> {
    text(value, pointer).filter(|t| crate::mirror::is_ref_name(t)).map(str::to_owned)
}

fn account(value: &Value, pointer: &str) -> Account {
    let Some(who) = value.pointer(pointer) else { return Account::default() };
    let login = ["/login", "/username"].iter().find_map(|p| text(who, p)).unwrap_or_default();
    Account { id: number(who, "/id").filter(|id| *id > 0), login: login.to_owned() }
}

fn object(value: &mut Value) -> Option<&mut Map<String, Value>> {
    value.as_object_mut()
}

/// The forge's account and repository objects have GitHub's fields.
fn with_logins(value: &mut Value) {
    for pointer in ["/sender", "/repository/owner", "/pull_request/user", "/pusher", "/comment/user"] {
        if let Some(Value::Object(who)) = value.pointer_mut(pointer)
            && !who.contains_key("login")
            && let Some(username) = who.get("username").cloned()
        {
            who.insert("login".to_owned(), username);
        }
    }
}

/// An event about the default branch.
fn elsewhere(name: &str, payload: Value) -> Happening {
    let action = text(&payload, "/action").map(str::to_owned);
    let actor = account(&payload, "/sender");
    Happening {
        name: name.to_owned(),
        action,
        payload,
        place: Place::Default,
        filter_ref: None,
        change: Change::None,
        report_sha: None,
        actor,
        author: None,
        association: None,
        is_fork: false,
        message: None,
    }
}

/// A push in GitHub's shape. A deleted ref starts nothing.
fn push(payload: Value) -> Result<Vec<Happening>, NotAnEvent> {
    let incomplete = |field| NotAnEvent::Incomplete { event: "push".to_owned(), field };
    let git_ref = name(&payload, "/ref").filter(|r| r.starts_with("refs/")).ok_or(incomplete("ref"))?;
    if text(&payload, "/after").is_some_and(|a| a.bytes().all(|b| b == b'0'))
        || payload.pointer("/deleted") == Some(&Value::Bool(true))
    {
        return Err(NotAnEvent::Uninteresting("the deletion of a ref".to_owned()));
    }
    let after = commit(&payload, "/after").ok_or(incomplete("after"))?;
    // Forges list the oldest commit first.
    let oldest = commit(&payload, "/commits/0/id");
    let change = Change::Push { before: commit(&payload, "/before"), oldest, after: after.clone() };
    Ok(vec![Happening {
        place: Place::Commit { git_ref: git_ref.clone(), sha: after },
        filter_ref: Some(git_ref),
        change,
        message: text(&payload, "/head_commit/message").map(str::to_owned),
        action: None,
        ..elsewhere("push", payload)
    }])
}

/// An event about a pull request in GitHub's shape: of the code itself, and of its base for
/// `pull_request_target`.
fn pull(event: &str, payload: Value) -> Result<Vec<Happening>, NotAnEvent> {
    let incomplete = |field| NotAnEvent::Incomplete { event: event.to_owned(), field };
    let number = number(&payload, "/pull_request/number")
        .or_else(|| number(&payload, "/number"))
        .filter(|n| *n > 0)
        .ok_or(incomplete("number"))?;
    let head = commit(&payload, "/pull_request/head/sha").ok_or(incomplete("head.sha"))?;
    let base = name(&payload, "/pull_request/base/ref").ok_or(incomplete("base.ref"))?;
    let repository = |side: &str| {
        let id = payload.pointer(&format!("/pull_request/{side}/repo/id")).and_then(Value::as_u64);
        id.or_else(|| payload.pointer(&format!("/pull_request/{side}/repo_id")).and_then(Value::as_u64))
    };
    // Whose repository is gone or unknown is not ours.
    let is_fork = match (repository("head"), repository("base")) {
        (Some(head), Some(base)) => head != base,
        _ => true,
    };
    let of_code = Happening {
        place: Place::Pull { number, head: head.clone() },
        filter_ref: Some(format!("refs/heads/{base}")),
        change: Change::Pull { base: base.clone(), head: head.clone() },
        report_sha: Some(head),
        author: Some(account(&payload, "/pull_request/user")),
        association: text(&payload, "/pull_request/author_association").map(str::to_owned),
        is_fork,
        ..elsewhere(event, payload)
    };
    if event != "pull_request" {
        return Ok(vec![of_code]);
    }
    let of_base = Happening {
        name: "pull_request_target".to_owned(),
        place: Place::Base { branch: base, sha: commit(&of_code.payload, "/pull_request/base/sha") },
        // Its files are the base's: nothing of the fork is executed unless they say so.
        is_fork: false,
        ..of_code.clone()
    };
    Ok(vec![of_code, of_base])
}

/// `create` and `delete`, whose ref is short.
fn create(payload: Value) -> Result<Vec<Happening>, NotAnEvent> {
    let incomplete = |field| NotAnEvent::Incomplete { event: "create".to_owned(), field };
    let short = name(&payload, "/ref").ok_or(incomplete("ref"))?;
    let git_ref = match (short.starts_with("refs/"), text(&payload, "/ref_type")) {
        (true, _) => short,
        (false, Some("tag")) => format!("refs/tags/{short}"),
        (false, Some("branch")) => format!("refs/heads/{short}"),
        _ => return Err(NotAnEvent::Uninteresting("create without a ref".to_owned())),
    };
    let place = match commit(&payload, "/sha") {
        Some(sha) => Place::Commit { git_ref, sha },
        None => Place::Ref { git_ref },
    };
    Ok(vec![Happening { place, action: None, ..elsewhere("create", payload) }])
}

fn release(payload: Value) -> Result<Vec<Happening>, NotAnEvent> {
    let place = match name(&payload, "/release/tag_name") {
        // A draft's tag does not exist yet.
        Some(tag) if payload.pointer("/release/draft") != Some(&Value::Bool(true)) => {
            Place::Ref { git_ref: format!("refs/tags/{tag}") }
        }
        _ => Place::Default,
    };
    Ok(vec![Happening { place, ..elsewhere("release", payload) }])
}

#[cfg(test)]
mod tests;
