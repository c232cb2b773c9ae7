//! Repositories that start runs, as the public API shows them. The secret of
//! a webhook is in one answer only, an access token in none.

use crate::ids::RunId;
use crate::time::Timestamp;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// Software of a forge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForgeKind {
    /// GitHub and GitHub Enterprise Server.
    Github,
    /// Gitea.
    Gitea,
    /// Forgejo.
    Forgejo,
    /// GitLab.
    Gitlab,
}

impl ForgeKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Github, Self::Gitea, Self::Forgejo, Self::Gitlab];

    /// The word in the API and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitea => "gitea",
            Self::Forgejo => "forgejo",
            Self::Gitlab => "gitlab",
        }
    }
}

impl fmt::Display for ForgeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ForgeKind {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|k| k.as_str().eq_ignore_ascii_case(s));
        found.ok_or_else(|| format!("'{s}' is not a forge: use github, gitea, forgejo or gitlab"))
    }
}

/// Which pull requests from forks wait for approval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForkApproval {
    /// All of them.
    Always,
    /// Those of accounts that never contributed to the repository.
    #[default]
    FirstTime,
    /// None.
    Never,
}

impl ForkApproval {
    /// The word in the API and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::FirstTime => "first-time",
            Self::Never => "never",
        }
    }
}

impl FromStr for ForkApproval {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let found = [Self::Always, Self::FirstTime, Self::Never].into_iter().find(|r| r.as_str() == s);
        found.ok_or_else(|| format!("'{s}' is not a rule: use always, first-time or never"))
    }
}

/// Body of `POST /api/v1/repos`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddRepository {
    /// What `git clone` takes, without credentials.
    pub url: String,
    /// Software of the forge; absent means: as the host name tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forge: Option<ForgeKind>,
    /// `OWNER/NAME`; absent means: the end of the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Address of the forge's API; absent means: the usual one of its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_url: Option<String>,
    /// Access token; sealed at rest, never returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Jobs of trusted runs get the access token as `GITHUB_TOKEN`.
    #[serde(default)]
    pub share_token: bool,
    /// Ask the forge for changes at this interval, seconds; absent means: wait for webhooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_seconds: Option<u32>,
    /// Project of the runs; absent means `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Which pull requests from forks wait for approval.
    #[serde(default)]
    pub fork_approval: ForkApproval,
    /// Create the webhook at the forge; needs a token that may.
    #[serde(default)]
    pub create_webhook: bool,
}

/// Answer to an add: the only time the webhook's secret is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddedRepository {
    /// The repository.
    pub repository: RepositoryView,
    /// Where the forge sends its webhooks.
    pub webhook_url: String,
    /// The secret with which the forge signs them.
    pub webhook_secret: String,
    /// Whether the webhook exists at the forge already.
    pub webhook_created: bool,
    /// Why it could not be created, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_error: Option<String>,
}

/// Body of `PATCH /api/v1/repos/{id}`: what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpdateRepository {
    /// New access token; an empty one removes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Whether jobs of trusted runs get the access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_token: Option<bool>,
    /// New interval of polling, seconds; 0 ends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll_seconds: Option<u32>,
    /// New project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// New rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fork_approval: Option<ForkApproval>,
}

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryView {
    /// Id.
    pub id: u64,
    /// Software of its forge.
    pub forge: ForgeKind,
    /// `OWNER/NAME`.
    pub name: String,
    /// What git fetches.
    pub url: String,
    /// Address of the forge's API.
    pub api_url: String,
    /// Where people look at it.
    pub web_url: String,
    /// Where the forge sends webhooks.
    pub webhook_url: String,
    /// Project of its runs.
    pub project: String,
    /// Default branch, as far as known.
    pub default_branch: Option<String>,
    /// Whether an access token is stored.
    pub has_token: bool,
    /// Whether jobs of trusted runs get it.
    pub share_token: bool,
    /// Interval of polling, seconds.
    pub poll_seconds: Option<u32>,
    /// Which pull requests from forks wait for approval.
    pub fork_approval: ForkApproval,
    /// Creation.
    pub created_at: Timestamp,
    /// Schedules; only in the view of a single repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedules: Option<Vec<ScheduleView>>,
    /// Reports that are not at the forge yet, and the latest; only in the view of a single repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reports: Option<Vec<ReportView>>,
    /// What the latest look at the forge failed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A schedule of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleView {
    /// Path of the workflow.
    pub workflow: String,
    /// Five fields of cron.
    pub cron: String,
    /// Time zone; absent means UTC.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timezone: Option<String>,
    /// When it fires next.
    pub next_at: Option<Timestamp>,
    /// For when it last fired.
    pub last_at: Option<Timestamp>,
    /// What happened last, if it was not an ordinary run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

/// What a commit is told, or is to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportView {
    /// The run.
    pub run: Option<RunId>,
    /// Commit.
    pub sha: String,
    /// Name of the status.
    pub context: String,
    /// State that the commit is to show: `pending`, `running`, `success`, `failure`, `error`.
    pub state: String,
    /// State that the forge has.
    pub sent: Option<String>,
    /// Tries that failed since the last success.
    pub tries: u32,
    /// When it is tried next; absent if nothing is to be done.
    pub next_try: Option<Timestamp>,
    /// What the latest try failed with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryOutcome {
    /// It waits to be looked at, perhaps again.
    Queued,
    /// It started runs.
    Started,
    /// Nothing matched it.
    Ignored,
    /// It could not be carried out.
    Failed,
}

impl DeliveryOutcome {
    /// The word in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Started => "started",
            Self::Ignored => "ignored",
            Self::Failed => "failed",
        }
    }
}

/// One delivery: a webhook, a change found by polling, a schedule that fell due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryView {
    /// Number of the delivery.
    pub id: u64,
    /// Its id at the forge.
    pub delivery: String,
    /// Event, as the forge calls it.
    pub event: String,
    /// When it came.
    pub received_at: Timestamp,
    /// What became of it.
    pub outcome: DeliveryOutcome,
    /// Runs that it started.
    pub runs: Vec<RunId>,
    /// Why nothing (more) was started, in words.
    pub notes: Vec<String>,
    /// What the latest try failed with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Tries so far.
    pub tries: u32,
    /// When it is tried again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_try: Option<Timestamp>,
}

/// Answer to a webhook that was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AcceptedDelivery {
    /// Number of the delivery.
    pub delivery: u64,
    /// It had been received before; nothing new was started.
    pub duplicate: bool,
}

/// Body of `POST /api/v1/repos/{id}/dispatch`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DispatchWorkflow {
    /// File name (`ci.yml`), path or name of the workflow.
    pub workflow: String,
    /// Branch or tag; absent means the default branch.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    /// Inputs by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub inputs: IndexMap<String, Value>,
}

/// Body of `POST /api/v1/repos/{id}/repository-dispatch`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DispatchRepository {
    /// The type that `types` filters look at.
    pub event_type: String,
    /// `github.event.client_payload`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub client_payload: Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for kind in ForgeKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        for rule in [ForkApproval::Always, ForkApproval::FirstTime, ForkApproval::Never] {
            assert_eq!(rule.as_str().parse(), Ok(rule));
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.as_str());
        }
        assert!("svn".parse::<ForgeKind>().is_err());
    }
}
