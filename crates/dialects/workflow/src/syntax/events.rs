//! The events of `on`: their activity types and filters. A table, nothing else.

/// One event and what may be said about it.
pub(super) struct Event {
    pub(super) name: &'static str,
    /// Activity types; empty where the event has none.
    pub(super) types: &'static [&'static str],
    /// Keys beside `types`.
    pub(super) filters: &'static [&'static str],
}

const fn event(
    name: &'static str,
    types: &'static [&'static str],
    filters: &'static [&'static str],
) -> Event {
    Event { name, types, filters }
}

const PULL_REQUEST: &[&str] = &[
    "assigned",
    "unassigned",
    "labeled",
    "unlabeled",
    "opened",
    "edited",
    "closed",
    "reopened",
    "synchronize",
    "converted_to_draft",
    "locked",
    "unlocked",
    "enqueued",
    "dequeued",
    "milestoned",
    "demilestoned",
    "ready_for_review",
    "review_requested",
    "review_request_removed",
    "auto_merge_enabled",
    "auto_merge_disabled",
    "stacked",
];
const CREATED_EDITED_DELETED: &[&str] = &["created", "edited", "deleted"];
const BRANCHES: &[&str] = &["branches", "branches-ignore"];
const BRANCHES_AND_PATHS: &[&str] = &["branches", "branches-ignore", "paths", "paths-ignore"];

/// All events.
pub(super) const EVENTS: &[Event] = &[
    event("branch_protection_rule", CREATED_EDITED_DELETED, &[]),
    event("check_run", &["completed", "created", "rerequested", "requested_action"], &[]),
    event("check_suite", &["completed"], &[]),
    event("create", &[], &[]),
    event("delete", &[], &[]),
    event("deployment", &[], &[]),
    event("deployment_status", &[], &[]),
    event(
        "discussion",
        &[
            "created",
            "edited",
            "deleted",
            "transferred",
            "pinned",
            "unpinned",
            "labeled",
            "unlabeled",
            "locked",
            "unlocked",
            "category_changed",
            "answered",
            "unanswered",
        ],
        &[],
    ),
    event("discussion_comment", CREATED_EDITED_DELETED, &[]),
    event("fork", &[], &[]),
    event("gollum", &[], &[]),
    event("image_version", &["created", "ready", "deleted"], &["names", "versions"]),
    event("issue_comment", CREATED_EDITED_DELETED, &[]),
    event(
        "issues",
        &[
            "opened",
            "edited",
            "deleted",
            "transferred",
            "pinned",
            "unpinned",
            "closed",
            "reopened",
            "assigned",
            "unassigned",
            "labeled",
            "unlabeled",
            "locked",
            "unlocked",
            "milestoned",
            "demilestoned",
            "typed",
            "untyped",
            "field_added",
            "field_removed",
        ],
        &[],
    ),
    event("label", CREATED_EDITED_DELETED, &[]),
    event("merge_group", &["checks_requested"], BRANCHES),
    event("milestone", &["created", "closed", "opened", "edited", "deleted"], &[]),
    event("page_build", &[], &[]),
    event("project", &["created", "closed", "reopened", "edited", "deleted"], &[]),
    event("project_card", &["created", "moved", "converted", "edited", "deleted"], &[]),
    event("project_column", &["created", "updated", "moved", "deleted"], &[]),
    event("public", &[], &[]),
    event("pull_request", PULL_REQUEST, BRANCHES_AND_PATHS),
    event("pull_request_comment", CREATED_EDITED_DELETED, &[]),
    event("pull_request_review", &["submitted", "edited", "dismissed"], &[]),
    event("pull_request_review_comment", CREATED_EDITED_DELETED, &[]),
    event("pull_request_target", PULL_REQUEST, BRANCHES_AND_PATHS),
    event("push", &[], &["branches", "branches-ignore", "tags", "tags-ignore", "paths", "paths-ignore"]),
    event("registry_package", &["published", "updated"], &[]),
    event(
        "release",
        &["published", "unpublished", "created", "edited", "deleted", "prereleased", "released"],
        &[],
    ),
    event("repository_dispatch", &[], &["types"]),
    event("schedule", &[], &[]),
    event("status", &[], &[]),
    event("watch", &["started"], &[]),
    event("workflow_call", &[], &["inputs", "secrets", "outputs"]),
    event("workflow_dispatch", &[], &["inputs"]),
    event(
        "workflow_run",
        &["requested", "completed", "in_progress"],
        &["workflows", "branches", "branches-ignore"],
    ),
];
