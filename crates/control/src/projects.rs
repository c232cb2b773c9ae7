//! Secrets, variables and environments as callers manage them. Values of a
//! project belong to its members; global ones, environments and what is in
//! them belong to admins. A value of a secret goes in and never out: not into
//! an answer, an error, or the audit log.

use crate::actor::{Command, store_problem};
use crate::keys::vault_problem;
use crate::{Control, Permission, Principal};
use fleetfoot_model::api::Page;
use fleetfoot_model::projects::{
    CreateEnvironment, DEFAULT_PROJECT, EnvironmentRules, EnvironmentView, MAX_PER_SCOPE, MAX_VALUE, Scope,
    SecretUse, SecretView, SetValue, UpdateEnvironment, VariableView, check_name, check_title,
};
use fleetfoot_model::{Code, Problem};
use fleetfoot_store::{EnvironmentRow, SecretRow, Stored, VariableRow};
use serde_json::{Value, json};

/// Entries of a page at most.
const MAX_PAGE: usize = 500;

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Code::BadRequest, detail)
}

/// The name in capitals, if it is one.
fn name_of(name: &str) -> Result<String, Problem> {
    check_name(name).map_err(bad)?;
    Ok(name.to_ascii_uppercase())
}

fn may_change(who: &Principal, scope: &Scope) -> Result<(), Problem> {
    who.require(match scope {
        Scope::Project(_) => Permission::Write,
        Scope::Global | Scope::Environment { .. } => Permission::Administer,
    })
}

fn check_scope(scope: &Scope) -> Result<(), Problem> {
    match scope {
        Scope::Global => Ok(()),
        Scope::Project(project) => check_title("a project", project).map_err(bad),
        Scope::Environment { project, environment } => check_title("a project", project)
            .and_then(|()| check_title("an environment", environment))
            .map_err(bad),
    }
}

/// Project and environment of a scope, for views.
fn place(scope: &Scope) -> (Option<String>, Option<String>) {
    match scope {
        Scope::Global => (None, None),
        Scope::Project(project) => (Some(project.clone()), None),
        Scope::Environment { project, environment } => (Some(project.clone()), Some(environment.clone())),
    }
}

fn kept(stored: Stored, what: &str, scope: &Scope) -> Result<bool, Problem> {
    match stored {
        Stored::Created => Ok(true),
        Stored::Replaced => Ok(false),
        Stored::Full => Err(Problem::new(
            Code::Conflict,
            format!("{scope} has {MAX_PER_SCOPE} {what} already, which is the limit"),
        )
        .with_hint("delete what is not used")),
        Stored::NoEnvironment => Err(Problem::new(Code::NotFound, format!("there is no {scope}"))
            .with_hint("create it with `fleetfoot environment create`")),
    }
}

fn none_such(what: &str, name: &str, scope: &Scope) -> Problem {
    Problem::new(Code::NotFound, format!("there is no {what} {name} ({scope})"))
        .with_hint(format!("`fleetfoot {what} list` shows those that there are"))
}

fn check_value(value: &str) -> Result<(), Problem> {
    if value.len() > MAX_VALUE {
        return Err(Problem::new(Code::TooLarge, format!("a value has at most {MAX_VALUE} bytes")));
    }
    Ok(())
}

impl Control {
    // -- secrets ---------------------------------------------------------------

    /// Stores a secret; whether it is new.
    ///
    /// # Errors
    /// `forbidden`, `bad_request`, `too_large`, `not_found` without the environment, `conflict` if the
    /// scope is full.
    pub async fn set_secret(
        &self,
        who: &Principal,
        scope: Scope,
        name: &str,
        request: SetValue,
    ) -> Result<bool, Problem> {
        may_change(who, &scope)?;
        check_scope(&scope)?;
        let name = name_of(name)?;
        check_value(&request.value)?;
        if request.value.is_empty() {
            return Err(bad("the value of a secret is not empty"));
        }
        self.data_key(scope.project()).await?;
        let (key, sealed) =
            self.inner.vault.seal_secret(&scope, &name, &request.value).map_err(|e| vault_problem(&e))?;
        let row = SecretRow {
            scope: scope.clone(),
            name: name.clone(),
            key,
            sealed,
            updated_at: self.inner.clock.wall(),
            updated_by: who.audit_name(),
        };
        self.inner.stored.secrets_exist();
        let stored = self.inner.store.set_secret(row, MAX_PER_SCOPE).await.map_err(|e| store_problem(&e))?;
        let new = kept(stored, "secrets", &scope)?;
        self.note(who, "secret.set", &format!("secret:{name}"), json!({ "scope": scope.to_string() }))
            .await?;
        Ok(new)
    }

    /// Names of the secrets of a scope.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn secrets(&self, who: &Principal, scope: &Scope) -> Result<Vec<SecretView>, Problem> {
        who.require(Permission::Write)?;
        let rows = self.inner.store.secrets(Some(scope)).await.map_err(|e| store_problem(&e))?;
        let view = |row: SecretRow| {
            let (project, environment) = place(&row.scope);
            SecretView {
                name: row.name,
                scope: row.scope.word().to_owned(),
                project,
                environment,
                updated_at: row.updated_at,
                updated_by: row.updated_by,
            }
        };
        Ok(rows.into_iter().map(view).collect())
    }

    /// Deletes a secret.
    ///
    /// # Errors
    /// `forbidden`, `bad_request`, `not_found`.
    pub async fn delete_secret(&self, who: &Principal, scope: &Scope, name: &str) -> Result<(), Problem> {
        may_change(who, scope)?;
        let name = name_of(name)?;
        if !self.inner.store.delete_secret(scope, &name).await.map_err(|e| store_problem(&e))? {
            return Err(none_such("secret", &name, scope));
        }
        self.note(who, "secret.delete", &format!("secret:{name}"), json!({ "scope": scope.to_string() }))
            .await
    }

    /// Which secrets went to which attempts, newest first.
    ///
    /// # Errors
    /// `forbidden`, `bad_request` for a cursor that is not ours.
    pub async fn secret_uses(
        &self,
        who: &Principal,
        project: Option<&str>,
        name: Option<&str>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<SecretUse>, Problem> {
        who.require(Permission::Administer)?;
        let cursor = cursor
            .map(str::parse::<u64>)
            .transpose()
            .map_err(|_| bad("the cursor is not one that this server gave"))?;
        let limit = limit.clamp(1, MAX_PAGE);
        let name = name.map(str::to_ascii_uppercase);
        let uses = self.inner.store.secret_uses(project, name.as_deref(), cursor, limit + 1);
        let mut items = uses.await.map_err(|e| store_problem(&e))?;
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = more.then(|| items.last().map(|u| u.id.to_string())).flatten();
        Ok(Page { items, next_cursor })
    }

    // -- variables -------------------------------------------------------------

    /// Stores a variable; whether it is new.
    ///
    /// # Errors
    /// As [`Control::set_secret`].
    pub async fn set_variable(
        &self,
        who: &Principal,
        scope: Scope,
        name: &str,
        request: SetValue,
    ) -> Result<VariableView, Problem> {
        may_change(who, &scope)?;
        check_scope(&scope)?;
        let name = name_of(name)?;
        check_value(&request.value)?;
        let row = VariableRow {
            scope: scope.clone(),
            name: name.clone(),
            value: request.value,
            updated_at: self.inner.clock.wall(),
            updated_by: who.audit_name(),
        };
        self.inner.stored.variables_exist();
        let stored = self.inner.store.set_variable(row.clone(), MAX_PER_SCOPE).await;
        kept(stored.map_err(|e| store_problem(&e))?, "variables", &scope)?;
        let detail = json!({ "scope": scope.to_string() });
        self.note(who, "variable.set", &format!("variable:{name}"), detail).await?;
        Ok(variable_view(row))
    }

    /// Variables of a scope.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn variables(&self, who: &Principal, scope: &Scope) -> Result<Vec<VariableView>, Problem> {
        who.require(Permission::Read)?;
        let rows = self.inner.store.variables(Some(scope)).await.map_err(|e| store_problem(&e))?;
        Ok(rows.into_iter().map(variable_view).collect())
    }

    /// One variable.
    ///
    /// # Errors
    /// `forbidden`, `bad_request`, `not_found`.
    pub async fn variable(
        &self,
        who: &Principal,
        scope: &Scope,
        name: &str,
    ) -> Result<VariableView, Problem> {
        let name = name_of(name)?;
        let all = self.variables(who, scope).await?;
        all.into_iter().find(|v| v.name == name).ok_or_else(|| none_such("variable", &name, scope))
    }

    /// Deletes a variable.
    ///
    /// # Errors
    /// `forbidden`, `bad_request`, `not_found`.
    pub async fn delete_variable(&self, who: &Principal, scope: &Scope, name: &str) -> Result<(), Problem> {
        may_change(who, scope)?;
        let name = name_of(name)?;
        if !self.inner.store.delete_variable(scope, &name).await.map_err(|e| store_problem(&e))? {
            return Err(none_such("variable", &name, scope));
        }
        let detail = json!({ "scope": scope.to_string() });
        self.note(who, "variable.delete", &format!("variable:{name}"), detail).await
    }

    // -- environments ------------------------------------------------------------

    /// Creates an environment.
    ///
    /// # Errors
    /// `forbidden`, `bad_request`, `conflict` if there is one of this name.
    pub async fn create_environment(
        &self,
        who: &Principal,
        request: CreateEnvironment,
    ) -> Result<EnvironmentView, Problem> {
        who.require(Permission::Administer)?;
        let CreateEnvironment { mut project, name, rules } = request;
        if project.is_empty() {
            DEFAULT_PROJECT.clone_into(&mut project);
        }
        check_scope(&Scope::Environment { project: project.clone(), environment: name.clone() })?;
        rules.check().map_err(bad)?;
        let now = self.inner.clock.wall();
        let updated_by = who.audit_name();
        let row = EnvironmentRow { project, name, rules, created_at: now, updated_at: now, updated_by };
        if !self.inner.store.create_environment(row.clone()).await.map_err(|e| store_problem(&e))? {
            let detail = format!("project {} has an environment {} already", row.project, row.name);
            return Err(Problem::new(Code::Conflict, detail)
                .with_hint("change it with `fleetfoot environment update`"));
        }
        self.environment_changed(who, "environment.create", &row, Some(row.rules.clone())).await?;
        Ok(environment_view(row))
    }

    /// Environments of a project, or of all projects.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn environments(
        &self,
        who: &Principal,
        project: Option<&str>,
    ) -> Result<Vec<EnvironmentView>, Problem> {
        who.require(Permission::Read)?;
        let rows = self.inner.store.environments(project).await.map_err(|e| store_problem(&e))?;
        Ok(rows.into_iter().map(environment_view).collect())
    }

    /// One environment.
    ///
    /// # Errors
    /// `forbidden`, `not_found`.
    pub async fn environment(
        &self,
        who: &Principal,
        project: &str,
        name: &str,
    ) -> Result<EnvironmentView, Problem> {
        who.require(Permission::Read)?;
        self.environment_row(project, name).await.map(environment_view)
    }

    async fn environment_row(&self, project: &str, name: &str) -> Result<EnvironmentRow, Problem> {
        let rows = self.inner.store.environments(Some(project)).await.map_err(|e| store_problem(&e))?;
        let key = name.to_lowercase();
        rows.into_iter().find(|e| e.name.to_lowercase() == key).ok_or_else(|| {
            Problem::new(Code::NotFound, format!("project {project} has no environment {name}"))
                .with_hint("`fleetfoot environment list` shows those that there are")
        })
    }

    /// Changes the rules of an environment. They count at once, also for what waits for approval.
    ///
    /// # Errors
    /// `forbidden`, `bad_request`, `not_found`.
    pub async fn update_environment(
        &self,
        who: &Principal,
        project: &str,
        name: &str,
        request: UpdateEnvironment,
    ) -> Result<EnvironmentView, Problem> {
        who.require(Permission::Administer)?;
        let mut row = self.environment_row(project, name).await?;
        let UpdateEnvironment { reviewers, wait_minutes, branches, prevent_self_review } = request;
        let old = row.rules;
        row.rules = EnvironmentRules {
            reviewers: reviewers.unwrap_or(old.reviewers),
            wait_minutes: wait_minutes.unwrap_or(old.wait_minutes),
            branches: branches.unwrap_or(old.branches),
            prevent_self_review: prevent_self_review.unwrap_or(old.prevent_self_review),
        };
        row.rules.check().map_err(bad)?;
        (row.updated_at, row.updated_by) = (self.inner.clock.wall(), who.audit_name());
        if !self.inner.store.update_environment(row.clone()).await.map_err(|e| store_problem(&e))? {
            return Err(Problem::new(Code::Conflict, format!("environment {name} was deleted meanwhile")));
        }
        self.environment_changed(who, "environment.update", &row, Some(row.rules.clone())).await?;
        Ok(environment_view(row))
    }

    /// Deletes an environment with its secrets and variables.
    ///
    /// # Errors
    /// `forbidden`, `not_found`.
    pub async fn delete_environment(
        &self,
        who: &Principal,
        project: &str,
        name: &str,
    ) -> Result<(), Problem> {
        who.require(Permission::Administer)?;
        let row = self.environment_row(project, name).await?;
        self.inner.store.delete_environment(project, name).await.map_err(|e| store_problem(&e))?;
        self.environment_changed(who, "environment.delete", &row, None).await
    }

    /// Tells the actor, and leaves a trace.
    async fn environment_changed(
        &self,
        who: &Principal,
        action: &str,
        row: &EnvironmentRow,
        rules: Option<EnvironmentRules>,
    ) -> Result<(), Problem> {
        let (project, name) = (row.project.clone(), row.name.clone());
        let detail = json!({ "project": project, "rules": rules });
        self.ask(|reply| Command::EnvironmentChanged { project, name, rules, reply }).await?;
        self.note(who, action, &format!("environment:{}", row.name), detail).await
    }

    pub(crate) async fn note(
        &self,
        who: &Principal,
        action: &str,
        subject: &str,
        detail: Value,
    ) -> Result<(), Problem> {
        self.apply(vec![self.audit_op(who, action, subject, detail)]).await
    }
}

fn variable_view(row: VariableRow) -> VariableView {
    let (project, environment) = place(&row.scope);
    VariableView {
        name: row.name,
        value: row.value,
        scope: row.scope.word().to_owned(),
        project,
        environment,
        updated_at: row.updated_at,
        updated_by: row.updated_by,
    }
}

fn environment_view(row: EnvironmentRow) -> EnvironmentView {
    EnvironmentView {
        project: row.project,
        name: row.name,
        rules: row.rules,
        created_at: row.created_at,
        updated_at: row.updated_at,
        updated_by: row.updated_by,
    }
}
