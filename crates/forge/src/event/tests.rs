//! Payloads as the forges document them, and payloads that nobody documents.

use super::*;
use proptest::prelude::*;
use serde_json::json;

const A: &str = "1111111111111111111111111111111111111111";
const B: &str = "2222222222222222222222222222222222222222";

fn one(kind: ForgeKind, event: &str, payload: Value) -> Happening {
    normalise(kind, event, &payload).unwrap().remove(0)
}

fn github_push() -> Value {
    json!({
        "ref": "refs/heads/main", "before": A, "after": B, "deleted": false,
        "commits": [{"id": B, "message": "m"}], "head_commit": {"id": B, "message": "m [skip ci]"},
        "repository": {"id": 7, "full_name": "o/r", "default_branch": "main", "owner": {"login": "o", "id": 3}},
        "sender": {"login": "alice", "id": 42},
    })
}

fn github_pull() -> Value {
    json!({
        "action": "opened", "number": 5,
        "pull_request": {
            "number": 5, "user": {"login": "mallory", "id": 66}, "author_association": "NONE",
            "head": {"ref": "x", "sha": B, "repo": {"id": 8}}, "base": {"ref": "main", "sha": A, "repo": {"id": 7}},
        },
        "repository": {"id": 7, "full_name": "o/r"}, "sender": {"login": "mallory", "id": 66},
    })
}

fn gitlab_project() -> Value {
    json!({
        "id": 15, "name": "Diaspora", "path_with_namespace": "mike/group/diaspora", "default_branch": "main",
        "web_url": "http://example.com/mike/group/diaspora", "git_http_url": "http://example.com/d.git",
    })
}

fn gitlab_push() -> Value {
    json!({
        "object_kind": "push", "before": A, "after": B, "ref": "refs/heads/main", "checkout_sha": B,
        "user_id": 4, "user_username": "jsmith", "project_id": 15, "project": gitlab_project(),
        "commits": [{"id": B, "message": "fix", "added": ["a"], "modified": [], "removed": []}],
    })
}

fn gitlab_merge_request(action: &str, oldrev: Option<&str>) -> Value {
    json!({
        "object_kind": "merge_request", "user": {"id": 1, "username": "root"}, "project": gitlab_project(),
        "object_attributes": {
            "id": 93, "iid": 16, "target_branch": "main", "source_branch": "ms", "source_project_id": 14,
            "target_project_id": 15, "author_id": 51, "title": "New", "description": "", "state": "opened",
            "last_commit": {"id": B}, "action": action, "oldrev": oldrev,
            "source": {"path_with_namespace": "fork/diaspora"}, "target": {"path_with_namespace": "mike/diaspora"},
        },
    })
}

#[test]
fn a_push_says_the_same_at_every_forge() {
    for (kind, event, payload, actor) in [
        (ForgeKind::Github, "push", github_push(), 42),
        (ForgeKind::Gitea, "push", github_push(), 42),
        (ForgeKind::Forgejo, "push", github_push(), 42),
        (ForgeKind::Gitlab, "Push Hook", gitlab_push(), 4),
    ] {
        let push = one(kind, event, payload);
        assert_eq!(push.name, "push");
        assert_eq!(push.place, Place::Commit { git_ref: "refs/heads/main".into(), sha: B.into() });
        assert_eq!(push.filter_ref.as_deref(), Some("refs/heads/main"));
        assert_eq!(
            push.change,
            Change::Push { before: Some(A.into()), oldest: Some(B.into()), after: B.into() }
        );
        assert_eq!(push.actor.id, Some(actor), "{kind}");
        assert_eq!(text(&push.payload, "/repository/default_branch"), Some("main"));
        assert_eq!(text(&push.payload, "/after"), Some(B));
        assert!(push.message.is_some() && !push.is_fork);
    }
}

#[test]
fn new_and_deleted_refs() {
    let mut new = gitlab_push();
    new["before"] = json!(ZERO);
    new["ref"] = json!("refs/tags/v1");
    new["object_kind"] = json!("tag_push");
    let all = normalise(ForgeKind::Gitlab, "Tag Push Hook", &new).unwrap();
    assert_eq!(all.iter().map(|h| h.name.as_str()).collect::<Vec<_>>(), ["push", "create"]);
    assert_eq!(all[1].place, Place::Commit { git_ref: "refs/tags/v1".into(), sha: B.into() });
    assert_eq!(
        (text(&all[1].payload, "/ref"), text(&all[1].payload, "/ref_type")),
        (Some("v1"), Some("tag"))
    );
    let mut gone = gitlab_push();
    gone["after"] = json!(ZERO);
    assert_eq!(one(ForgeKind::Gitlab, "Push Hook", gone).name, "delete");
    let mut gone = github_push();
    gone["after"] = json!(ZERO);
    assert!(matches!(normalise(ForgeKind::Github, "push", &gone), Err(NotAnEvent::Uninteresting(_))));
    let created = json!({"ref": "v1", "ref_type": "tag", "sender": {"id": 1, "login": "a"}});
    assert_eq!(
        one(ForgeKind::Github, "create", created).place,
        Place::Ref { git_ref: "refs/tags/v1".into() }
    );
}

#[test]
fn pull_requests_of_forks_and_of_the_repository_itself() {
    let all = normalise(ForgeKind::Github, "pull_request", &github_pull()).unwrap();
    let [code, base] = &all[..] else { panic!("{all:?}") };
    assert!(code.is_fork);
    assert_eq!(code.place, Place::Pull { number: 5, head: B.into() });
    assert_eq!(code.author, Some(Account { id: Some(66), login: "mallory".into() }));
    assert_eq!(code.association.as_deref(), Some("NONE"));
    assert_eq!(code.report_sha.as_deref(), Some(B));
    assert_eq!(base.name, "pull_request_target");
    assert_eq!(base.place, Place::Base { branch: "main".into(), sha: Some(A.into()) });
    assert!(!base.is_fork);
    let mut own = github_pull();
    own["pull_request"]["head"]["repo"]["id"] = json!(7);
    assert!(!one(ForgeKind::Github, "pull_request", own).is_fork);
    let mut gone = github_pull();
    gone["pull_request"]["head"]["repo"] = Value::Null;
    assert!(one(ForgeKind::Github, "pull_request", gone).is_fork);
    let mut moved = github_pull();
    moved["action"] = json!("synchronized");
    let moved = one(ForgeKind::Gitea, "pull_request_sync", moved);
    assert_eq!((moved.name.as_str(), moved.action.as_deref()), ("pull_request", Some("synchronize")));
    assert_eq!(text(&moved.payload, "/action"), Some("synchronize"));
}

#[test]
fn merge_requests_become_pull_requests() {
    for (theirs, oldrev, event, ours) in [
        ("open", None, "pull_request", "opened"),
        ("update", Some(A), "pull_request", "synchronize"),
        ("update", None, "pull_request", "edited"),
        ("merge", None, "pull_request", "closed"),
        ("approved", None, "pull_request_review", "submitted"),
    ] {
        let got = one(ForgeKind::Gitlab, "Merge Request Hook", gitlab_merge_request(theirs, oldrev));
        assert_eq!((got.name.as_str(), got.action.as_deref()), (event, Some(ours)), "{theirs}");
        assert!(got.is_fork);
        assert_eq!(got.author.as_ref().and_then(|a| a.id), Some(51));
        assert_eq!(got.place, Place::Pull { number: 16, head: B.into() });
        assert_eq!(got.filter_ref.as_deref(), Some("refs/heads/main"));
    }
    let note = json!({
        "object_kind": "note", "user": {"id": 1, "username": "root"}, "project": gitlab_project(),
        "object_attributes": {"id": 9, "note": "/deploy", "noteable_type": "MergeRequest"},
        "merge_request": {"iid": 16, "title": "New"},
    });
    let note = one(ForgeKind::Gitlab, "Note Hook", note);
    assert_eq!((note.name.as_str(), note.place), ("issue_comment", Place::Default));
    assert_eq!(text(&note.payload, "/comment/body"), Some("/deploy"));
}

#[test]
fn what_starts_nothing_says_so() {
    for (kind, event) in [
        (ForgeKind::Github, "ping"),
        (ForgeKind::Gitea, "repository"),
        (ForgeKind::Gitlab, "Pipeline Hook"),
        (ForgeKind::Github, "workflow_job"),
    ] {
        assert!(matches!(normalise(kind, event, &json!({})), Err(NotAnEvent::Uninteresting(_))), "{event}");
    }
    let own = json!({"context": "fleetfoot / CI / build (push)"});
    assert!(normalise(ForgeKind::Github, "status", &own).is_err());
    for bad in
        [json!({"ref": "refs/heads/main", "after": "--upload-pack=x"}), json!({"ref": "-x", "after": B})]
    {
        assert!(matches!(normalise(ForgeKind::Github, "push", &bad), Err(NotAnEvent::Incomplete { .. })));
    }
}

const EVENTS: &[&str] = &[
    "push",
    "pull_request",
    "pull_request_review",
    "pull_request_approved",
    "pull_request_label",
    "create",
    "delete",
    "release",
    "issues",
    "issue_comment",
    "merge_group",
    "deployment",
    "status",
    "workflow_run",
    "package",
    "wiki",
    "Push Hook",
    "Merge Request Hook",
    "Note Hook",
    "Issue Hook",
    "Release Hook",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z/0]{0,12}".prop_map(Value::from),
        Just(json!(A)),
        Just(json!("refs/heads/main")),
        prop::sample::select(vec!["push", "note", "merge_request", "open", "update", "MergeRequest"])
            .prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "ref",
        "before",
        "after",
        "action",
        "pull_request",
        "object_kind",
        "object_attributes",
        "project",
        "head",
        "base",
        "sha",
        "repo",
        "id",
        "sender",
        "commits",
        "changes",
        "labels",
        "release",
        "merge_request",
        "last_commit",
        "review",
    ]);
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..8)
                .prop_map(|all| Value::Object(all.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

/// Every place of a document.
fn pointers(value: &Value, at: String, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| pointers(v, format!("{at}/{k}"), out)),
        Value::Array(all) => all.iter().enumerate().for_each(|(i, v)| pointers(v, format!("{at}/{i}"), out)),
        _ => {}
    }
    out.push(at);
}

proptest! {
    #[test]
    fn no_payload_panics(payload in any_json(), event in prop::sample::select(EVENTS.to_vec()), kind in 0..4_usize) {
        if let Ok(all) = normalise(ForgeKind::ALL[kind], event, &payload) {
            prop_assert!(!all.is_empty());
        }
    }

    /// A real payload with one place replaced by anything: what comes out never holds an unsafe name.
    #[test]
    fn damaged_payloads_are_refused_or_safe(which in 0..4_usize, at in any::<prop::sample::Index>(), with in any_json()) {
        let (kind, event, mut payload) = match which {
            0 => (ForgeKind::Github, "push", github_push()),
            1 => (ForgeKind::Gitea, "pull_request", github_pull()),
            2 => (ForgeKind::Gitlab, "Push Hook", gitlab_push()),
            _ => (ForgeKind::Gitlab, "Merge Request Hook", gitlab_merge_request("open", None)),
        };
        let mut places = Vec::new();
        pointers(&payload, String::new(), &mut places);
        if let Some(place) = payload.pointer_mut(&places[at.index(places.len())]) {
            *place = with;
        }
        for happening in normalise(kind, event, &payload).unwrap_or_default() {
            if let Place::Commit { git_ref, sha } = &happening.place {
                prop_assert!(sha.len() == 40 && sha.bytes().all(|b| b.is_ascii_hexdigit()));
                prop_assert!(!git_ref.starts_with('-'));
            }
        }
    }
}
