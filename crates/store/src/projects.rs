//! Secrets, variables and environments of projects, and the approvals of jobs that wait for one.
//!
//! The rows of approvals are written with [`Op`](crate::Op)s, in one transaction with the jobs that
//! they hold; everything else here has writes of its own. A store sees sealed bytes only.

use crate::StoreError;
use async_trait::async_trait;
use fleetfoot_model::ids::{AttemptRef, JobId, RunId};
use fleetfoot_model::projects::{EnvironmentRules, Scope, SecretUse};
use fleetfoot_model::state::ApprovalState;
use fleetfoot_model::time::Timestamp;

/// A key that is stored sealed under the master key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataKeyRow {
    /// Random, larger than 0.
    pub id: u64,
    /// What it seals: `secret`, `run` or `token`.
    pub purpose: String,
    /// For stored secrets: their project, empty for global ones.
    pub project: String,
    /// Fingerprint of the master key.
    pub master: [u8; 8],
    /// The sealed key.
    pub sealed: Vec<u8>,
    /// From this moment on it is the one to use.
    pub created_at: Timestamp,
}

/// A data key that another master key seals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// The data key.
    pub id: u64,
    /// Fingerprint of the master key.
    pub master: [u8; 8],
    /// The sealed key.
    pub sealed: Vec<u8>,
}

/// A stored secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRow {
    /// Where it holds.
    pub scope: Scope,
    /// Its name, in capitals.
    pub name: String,
    /// The data key under which it is sealed.
    pub key: u64,
    /// The sealed value.
    pub sealed: Vec<u8>,
    /// Last change.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: String,
}

/// A stored variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableRow {
    /// Where it holds.
    pub scope: Scope,
    /// Its name, in capitals.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Last change.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: String,
}

/// An environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentRow {
    /// Its project.
    pub project: String,
    /// Its name as written; unique in the project without regard to case.
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

/// What holds a run or a job back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRow {
    /// Number, given by the store; 0 in a row that is to be created.
    pub id: u64,
    /// The run.
    pub run: RunId,
    /// The job; absent if the whole run is held.
    pub job: Option<JobId>,
    /// Name of the job; read only.
    pub job_name: Option<String>,
    /// Project of the run.
    pub project: String,
    /// The environment whose rules ask for it.
    pub environment: Option<String>,
    /// Why, for a run.
    pub reason: Option<String>,
    /// Where it stands.
    pub state: ApprovalState,
    /// Who may decide, as it was when this row was made.
    pub reviewers: Vec<String>,
    /// When the wait timer ends, by the wall clock.
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

/// The end of an approval that is pending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalDecision {
    /// The run.
    pub run: RunId,
    /// The job; absent for the run itself.
    pub job: Option<JobId>,
    /// Approved, rejected or cancelled.
    pub state: ApprovalState,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// In words.
    pub comment: Option<String>,
}

/// Which approvals to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovalFilter {
    /// In this state.
    pub state: Option<ApprovalState>,
    /// Of this run.
    pub run: Option<RunId>,
    /// Of this project.
    pub project: Option<String>,
}

/// Whether a bounded scope took a new row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// There was none of this name.
    Created,
    /// There was one.
    Replaced,
    /// The scope has as many as it may; nothing changed.
    Full,
    /// The environment of the scope does not exist; nothing changed.
    NoEnvironment,
}

/// The part of a store that keeps secrets, variables, environments and approvals.
#[async_trait]
pub trait ProjectStore: Send + Sync + 'static {
    /// Makes a project known; again is fine.
    async fn ensure_project(&self, name: &str, at: Timestamp) -> Result<(), StoreError>;

    /// Names of the projects, in order; `default` is always one of them.
    async fn projects(&self) -> Result<Vec<String>, StoreError>;

    /// Every data key, oldest first.
    async fn data_keys(&self) -> Result<Vec<DataKeyRow>, StoreError>;

    /// Adds data keys, all or none.
    async fn add_data_keys(&self, rows: Vec<DataKeyRow>) -> Result<(), StoreError>;

    /// Replaces fingerprint and sealed bytes of data keys, all or none.
    async fn wrap_data_keys(&self, rows: Vec<WrappedKey>) -> Result<(), StoreError>;

    /// Keeps a secret unless its scope would hold more than `limit`. Its project becomes known.
    async fn set_secret(&self, row: SecretRow, limit: usize) -> Result<Stored, StoreError>;

    /// Secrets of exactly this scope by name, or of every scope.
    async fn secrets(&self, scope: Option<&Scope>) -> Result<Vec<SecretRow>, StoreError>;

    /// Deletes a secret; whether there was one.
    async fn delete_secret(&self, scope: &Scope, name: &str) -> Result<bool, StoreError>;

    /// Keeps a variable unless its scope would hold more than `limit`. Its project becomes known.
    async fn set_variable(&self, row: VariableRow, limit: usize) -> Result<Stored, StoreError>;

    /// Variables of exactly this scope by name, or of every scope.
    async fn variables(&self, scope: Option<&Scope>) -> Result<Vec<VariableRow>, StoreError>;

    /// Deletes a variable; whether there was one.
    async fn delete_variable(&self, scope: &Scope, name: &str) -> Result<bool, StoreError>;

    /// Adds an environment; false if there is one of this name. Its project becomes known.
    async fn create_environment(&self, row: EnvironmentRow) -> Result<bool, StoreError>;

    /// Replaces the rules of an environment; false if there is none.
    async fn update_environment(&self, row: EnvironmentRow) -> Result<bool, StoreError>;

    /// Environments of a project by name, or of all projects.
    async fn environments(&self, project: Option<&str>) -> Result<Vec<EnvironmentRow>, StoreError>;

    /// Deletes an environment with its secrets and variables; whether there was one.
    async fn delete_environment(&self, project: &str, name: &str) -> Result<bool, StoreError>;

    /// Notes which secrets an attempt was handed (`(scope, name)`); again changes nothing.
    async fn record_secret_uses(
        &self,
        attempt: AttemptRef,
        run: RunId,
        project: &str,
        environment: Option<&str>,
        secrets: Vec<(String, String)>,
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// Uses of secrets, newest first, before `cursor` (exclusive), of one name if it is given.
    async fn secret_uses(
        &self,
        project: Option<&str>,
        name: Option<&str>,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<Vec<SecretUse>, StoreError>;

    /// Forgets uses before this time, at most `limit`; answers how many.
    async fn forget_secret_uses(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError>;

    /// Approvals of runs that have not completed, whatever their state. Used once at start.
    async fn open_approvals(&self) -> Result<Vec<ApprovalRow>, StoreError>;

    /// Approvals, newest first, before `cursor` (exclusive).
    async fn approvals(
        &self,
        filter: &ApprovalFilter,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<Vec<ApprovalRow>, StoreError>;

    /// The approval of a job, or of a run itself.
    async fn approval(&self, run: RunId, job: Option<JobId>) -> Result<Option<ApprovalRow>, StoreError>;
}
