//! Secrets, variables, environments and approvals: one method an endpoint, as
//! in `api`.

use crate::error::ClientError;
use crate::http::Client;
use fleetfoot_model::ApprovalState;
use fleetfoot_model::api::Page;
use fleetfoot_model::ids::{JobId, RunId};
use fleetfoot_model::projects::{
    ApprovalView, CreateEnvironment, EnvironmentView, KeyRotated, Review, Scope, SecretUse, SecretView,
    SetValue, UpdateEnvironment, VariableView,
};
use reqwest::Method;
use serde_json::json;

/// Which approvals to list.
#[derive(Clone, Debug, Default)]
pub struct ApprovalQuery {
    /// In this state.
    pub state: Option<ApprovalState>,
    /// Of this run.
    pub run: Option<RunId>,
    /// Of runs of this project.
    pub project: Option<String>,
    /// Where the last page ended.
    pub cursor: Option<String>,
    /// Entries on a page.
    pub limit: Option<u32>,
}

/// Which uses of secrets to list.
#[derive(Clone, Debug, Default)]
pub struct SecretUseQuery {
    /// In runs of this project.
    pub project: Option<String>,
    /// Of this secret.
    pub name: Option<String>,
    /// Where the last page ended.
    pub cursor: Option<String>,
    /// Entries on a page.
    pub limit: Option<u32>,
}

fn query(scope: &Scope) -> Vec<(&'static str, String)> {
    match scope {
        Scope::Global => Vec::new(),
        Scope::Project(project) => vec![("project", project.clone())],
        Scope::Environment { project, environment } => {
            vec![("project", project.clone()), ("environment", environment.clone())]
        }
    }
}

impl Client {
    /// Stores a secret.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_secret(&self, scope: &Scope, name: &str, value: &SetValue) -> Result<(), ClientError> {
        let url = self.api(&["secrets", name], &query(scope));
        self.done(self.request(Method::PUT, url).json(value)).await
    }

    /// Names of the secrets of a scope.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn secrets(&self, scope: &Scope) -> Result<Page<SecretView>, ClientError> {
        self.get(self.api(&["secrets"], &query(scope))).await
    }

    /// Deletes a secret.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_secret(&self, scope: &Scope, name: &str) -> Result<(), ClientError> {
        self.done(self.request(Method::DELETE, self.api(&["secrets", name], &query(scope)))).await
    }

    /// Which secrets went to which attempts, newest first, one page.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn secret_uses(&self, which: &SecretUseQuery) -> Result<Page<SecretUse>, ClientError> {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        let mut add = |name, value: Option<String>| pairs.extend(value.map(|v| (name, v)));
        add("project", which.project.clone());
        add("name", which.name.clone());
        add("cursor", which.cursor.clone());
        add("limit", which.limit.map(|l| l.to_string()));
        self.get(self.api(&["secret-uses"], &pairs)).await
    }

    /// Replaces the master key of the server.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rotate_secret_key(&self) -> Result<KeyRotated, ClientError> {
        self.call(Method::POST, self.api(&["secret-key", "rotate"], &[]), &json!({})).await
    }

    /// Stores a variable.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_variable(
        &self,
        scope: &Scope,
        name: &str,
        value: &SetValue,
    ) -> Result<VariableView, ClientError> {
        self.call(Method::PUT, self.api(&["variables", name], &query(scope)), value).await
    }

    /// Variables of a scope.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn variables(&self, scope: &Scope) -> Result<Page<VariableView>, ClientError> {
        self.get(self.api(&["variables"], &query(scope))).await
    }

    /// One variable.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn variable(&self, scope: &Scope, name: &str) -> Result<VariableView, ClientError> {
        self.get(self.api(&["variables", name], &query(scope))).await
    }

    /// Deletes a variable.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_variable(&self, scope: &Scope, name: &str) -> Result<(), ClientError> {
        self.done(self.request(Method::DELETE, self.api(&["variables", name], &query(scope)))).await
    }

    /// Creates an environment.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_environment(&self, new: &CreateEnvironment) -> Result<EnvironmentView, ClientError> {
        self.call(Method::POST, self.api(&["environments"], &[]), new).await
    }

    /// Environments of a project, or of all projects.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn environments(&self, project: Option<&str>) -> Result<Page<EnvironmentView>, ClientError> {
        let pairs: Vec<_> = project.map(|p| ("project", p.to_owned())).into_iter().collect();
        self.get(self.api(&["environments"], &pairs)).await
    }

    /// One environment.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn environment(&self, project: &str, name: &str) -> Result<EnvironmentView, ClientError> {
        self.get(self.api(&["environments", name], &[("project", project.to_owned())])).await
    }

    /// Changes the rules of an environment.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn update_environment(
        &self,
        project: &str,
        name: &str,
        change: &UpdateEnvironment,
    ) -> Result<EnvironmentView, ClientError> {
        let url = self.api(&["environments", name], &[("project", project.to_owned())]);
        self.call(Method::PATCH, url, change).await
    }

    /// Deletes an environment with its secrets and variables.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_environment(&self, project: &str, name: &str) -> Result<(), ClientError> {
        let url = self.api(&["environments", name], &[("project", project.to_owned())]);
        self.done(self.request(Method::DELETE, url)).await
    }

    /// Approvals, newest first, one page.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn approvals(&self, which: &ApprovalQuery) -> Result<Page<ApprovalView>, ClientError> {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        let mut add = |name, value: Option<String>| pairs.extend(value.map(|v| (name, v)));
        add("state", which.state.map(|s| s.to_string()));
        add("run", which.run.map(|r| r.to_string()));
        add("project", which.project.clone());
        add("cursor", which.cursor.clone());
        add("limit", which.limit.map(|l| l.to_string()));
        self.get(self.api(&["approvals"], &pairs)).await
    }

    /// Approves or rejects a job.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn review_job(
        &self,
        job: JobId,
        approve: bool,
        review: &Review,
    ) -> Result<ApprovalView, ClientError> {
        let url = self.api(&["jobs", &job.to_string(), verb(approve)], &[]);
        self.call(Method::POST, url, review).await
    }

    /// Approves or rejects a run, or those of its jobs that wait.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn review_run(
        &self,
        run: RunId,
        approve: bool,
        review: &Review,
    ) -> Result<Page<ApprovalView>, ClientError> {
        let url = self.api(&["runs", &run.to_string(), verb(approve)], &[]);
        self.call(Method::POST, url, review).await
    }
}

const fn verb(approve: bool) -> &'static str {
    if approve { "approve" } else { "reject" }
}
