//! Shapes of secrets, variables, environments and approvals, in the API and in
//! the store. A value of a secret is in the body of a change and nowhere else:
//! no type here that is ever answered holds one.

use crate::ids::{AttemptNumber, JobId, RunId};
use crate::state::ApprovalState;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// Largest value of a secret or a variable, in bytes.
pub const MAX_VALUE: usize = 48 * 1024;
/// Most secrets, and most variables, of one scope.
pub const MAX_PER_SCOPE: usize = 1_000;
/// Longest wait timer, in minutes (30 days).
pub const MAX_WAIT_MINUTES: u32 = 43_200;
/// The project of runs that name none.
pub const DEFAULT_PROJECT: &str = "default";

/// Where a secret or a variable holds. The narrower scope wins.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Every project.
    Global,
    /// Every job of a project.
    Project(String),
    /// The jobs of one environment.
    Environment {
        /// Its project.
        project: String,
        /// Its name; case does not matter.
        environment: String,
    },
}

impl Scope {
    /// `global`, `project` or `environment`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Project(_) => "project",
            Self::Environment { .. } => "environment",
        }
    }

    /// Its project; empty for the global scope.
    #[must_use]
    pub fn project(&self) -> &str {
        match self {
            Self::Global => "",
            Self::Project(project) | Self::Environment { project, .. } => project,
        }
    }

    /// Its environment as a key (in small letters); empty for the other scopes.
    #[must_use]
    pub fn environment_key(&self) -> String {
        match self {
            Self::Environment { environment, .. } => environment.to_lowercase(),
            _ => String::new(),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("global"),
            Self::Project(project) => write!(f, "project {project}"),
            Self::Environment { project, environment } => {
                write!(f, "environment {environment} of project {project}")
            }
        }
    }
}

/// Why a name is none for a secret or a variable.
///
/// # Errors
/// In words, if it is not `[A-Za-z_][A-Za-z0-9_]*`, longer than 255 characters, or begins with `GITHUB_`.
pub fn check_name(name: &str) -> Result<(), String> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !first || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err("a name has letters, digits and '_', and does not begin with a digit".to_owned());
    }
    if name.len() > 255 {
        return Err("a name has at most 255 characters".to_owned());
    }
    if name.get(..7).is_some_and(|p| p.eq_ignore_ascii_case("GITHUB_")) {
        return Err("a name does not begin with GITHUB_".to_owned());
    }
    Ok(())
}

/// Why a text is no name of a project or an environment.
///
/// # Errors
/// In words, if it is empty, longer than 255 characters, or holds control characters.
pub fn check_title(what: &str, name: &str) -> Result<(), String> {
    if name.trim().is_empty() || name.chars().count() > 255 || name.chars().any(char::is_control) {
        return Err(format!("{what} has a name of 1 to 255 characters, without control characters"));
    }
    Ok(())
}

/// Body of `PUT /api/v1/secrets/{name}` and `PUT /api/v1/variables/{name}`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetValue {
    /// The value, at most 48 KiB.
    pub value: String,
}

impl fmt::Debug for SetValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetValue(..)")
    }
}

/// A secret without its value, which nobody is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretView {
    /// Its name, in capitals.
    pub name: String,
    /// `global`, `project` or `environment`.
    pub scope: String,
    /// Its project.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub project: Option<String>,
    /// Its environment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub environment: Option<String>,
    /// Last change.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: String,
}

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VariableView {
    /// Its name, in capitals.
    pub name: String,
    /// Its value.
    pub value: String,
    /// `global`, `project` or `environment`.
    pub scope: String,
    /// Its project.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub project: Option<String>,
    /// Its environment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub environment: Option<String>,
    /// Last change.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: String,
}

/// One secret that was handed to one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretUse {
    /// Number, increasing.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// Name of the secret.
    pub name: String,
    /// `global`, `project`, `environment`, or `run` if it was given with the run.
    pub scope: String,
    /// Project of the run.
    pub project: String,
    /// Environment of the job.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub environment: Option<String>,
    /// The run.
    pub run: RunId,
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: AttemptNumber,
}

/// What must hold before a job of an environment may start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnvironmentRules {
    /// Names of tokens (or `token:ID`); one of them has to approve. Empty means nobody has to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reviewers: Vec<String>,
    /// Minutes between the moment a job is ready and its start.
    #[serde(skip_serializing_if = "is_zero")]
    pub wait_minutes: u32,
    /// Patterns of branches and tags (`main`, `release/**`, `refs/tags/v*`) of which one must match the
    /// ref of the run. Empty lets every ref in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
    /// Whoever caused the run may not approve its jobs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub prevent_self_review: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl EnvironmentRules {
    /// Why these are no rules.
    ///
    /// # Errors
    /// In words, if a number is too large or a text is empty.
    pub fn check(&self) -> Result<(), String> {
        if self.reviewers.len() > 100 || self.branches.len() > 200 {
            return Err("an environment has at most 100 reviewers and 200 branch patterns".to_owned());
        }
        if self.wait_minutes > MAX_WAIT_MINUTES {
            return Err(format!("a wait timer has at most {MAX_WAIT_MINUTES} minutes"));
        }
        let bad = |s: &String| s.trim().is_empty() || s.len() > 255 || s.chars().any(char::is_control);
        if self.reviewers.iter().chain(&self.branches).any(bad) {
            return Err("reviewers and branch patterns have 1 to 255 characters".to_owned());
        }
        Ok(())
    }
}

/// Body of `POST /api/v1/environments`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CreateEnvironment {
    /// Project; empty means `default`.
    pub project: String,
    /// Its name, unique in the project; case does not matter.
    pub name: String,
    /// Its rules.
    pub rules: EnvironmentRules,
}

/// Body of `PATCH /api/v1/environments/{name}`: what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpdateEnvironment {
    /// Reviewers; an empty list removes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reviewers: Option<Vec<String>>,
    /// Wait timer in minutes; 0 removes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_minutes: Option<u32>,
    /// Branch patterns; an empty list removes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branches: Option<Vec<String>>,
    /// Whether whoever caused the run may approve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prevent_self_review: Option<bool>,
}

/// An environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentView {
    /// Its project.
    pub project: String,
    /// Its name.
    pub name: String,
    /// Its rules.
    pub rules: EnvironmentRules,
    /// Creation.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: String,
}

/// Body of an approval or a rejection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Review {
    /// In words, kept with the decision.
    pub comment: Option<String>,
}

/// A run or a job that waits for a decision, or waited for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalView {
    /// Number, increasing.
    pub id: u64,
    /// The run.
    pub run: RunId,
    /// The job; absent if the whole run waits.
    pub job: Option<JobId>,
    /// Name of the job.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job_name: Option<String>,
    /// Project of the run.
    pub project: String,
    /// The environment whose rules ask for it.
    pub environment: Option<String>,
    /// Why, for a run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Where it stands.
    pub state: ApprovalState,
    /// Who may decide; empty means every member (of a run) or every admin (of an environment).
    pub reviewers: Vec<String>,
    /// When the wait timer of the environment ends.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub due: Option<Timestamp>,
    /// Since when.
    pub created_at: Timestamp,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
    /// By whom.
    pub decided_by: Option<String>,
    /// In words.
    pub comment: Option<String>,
}

/// Answer to a rotation of the master key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyRotated {
    /// Fingerprint of the new master key.
    pub master_key: String,
    /// Data keys that were wrapped again.
    pub data_keys: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_github_wants_them() {
        for good in ["A", "_", "deploy_KEY_2", "GITHUB", "A".repeat(255).as_str()] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "1A", "A-B", "A B", "ä", "GITHUB_TOKEN", "github_x", "A".repeat(256).as_str(), "A\n"]
        {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_value_does_not_show_in_debug_output() {
        assert!(!format!("{:?}", SetValue { value: "hunter2".to_owned() }).contains("hunter2"));
    }
}
