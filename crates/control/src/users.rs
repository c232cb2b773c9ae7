//! Users: who may sign in, and as what. Changes take effect at once, also in
//! sessions that are open. Passwords are checked and hashed elsewhere.

use crate::actor::store_problem;
use crate::passwords;
use crate::sessions::ExternalAccount;
use crate::vault::token_hash;
use crate::{Control, Permission, Principal};
use fleetfoot_model::ids::UserId;
use fleetfoot_model::users::{CreateUser, Identity, SetPassword, UpdateUser, UserView};
use fleetfoot_model::{Code, Problem};
use fleetfoot_store::{SessionHolder, UserChange, UserRow};
use serde_json::json;

/// Longest name, characters.
const LONGEST_NAME: usize = 64;
/// Longest name for people and longest parts of an identity, bytes.
const LONGEST_TEXT: usize = 256;
/// Names that are tried for a new user of a provider.
const NAMES_TRIED: usize = 50;

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Code::BadRequest, detail)
}

fn missing(id: UserId) -> Problem {
    Problem::new(Code::NotFound, format!("there is no user {id}"))
        .with_hint("`fleetfoot user list` shows all of them")
}

const fn may_be_in_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@')
}

fn check_name(name: &str) -> Result<(), Problem> {
    let fits = (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(may_be_in_a_name);
    if fits && name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(bad("this cannot be the name of a user").with_hint(format!(
        "1 to {LONGEST_NAME} letters (a-z), digits, '.', '_', '-' and '@', beginning with a letter or a digit"
    )))
}

fn check_text(what: &str, text: &str) -> Result<(), Problem> {
    if text.len() > LONGEST_TEXT || text.chars().any(char::is_control) {
        return Err(bad(format!("{what} has at most {LONGEST_TEXT} bytes and no control characters")));
    }
    Ok(())
}

fn check_identity(identity: Option<&Identity>) -> Result<(), Problem> {
    let Some(identity) = identity else { return Ok(()) };
    check_text("a provider", &identity.provider)?;
    check_text("a subject", &identity.subject)?;
    if identity.provider.is_empty() || identity.subject.is_empty() {
        return Err(bad("an identity needs a provider and a subject"));
    }
    Ok(())
}

fn view(row: UserRow) -> UserView {
    UserView {
        id: row.id,
        name: row.name,
        display_name: row.display_name,
        role: row.role,
        disabled: row.disabled,
        has_password: row.password.is_some(),
        identity: row.identity,
        created_at: row.created_at,
        last_sign_in_at: row.last_sign_in_at,
    }
}

fn done(change: UserChange, name: &str, id: UserId) -> Result<UserId, Problem> {
    let conflict = |detail: String| Err(Problem::new(Code::Conflict, detail));
    match change {
        UserChange::Done(id) => Ok(id),
        UserChange::NameTaken => conflict(format!("there is a user {name} already")),
        UserChange::IdentityTaken => conflict("another user has this account at the provider".to_owned()),
        UserChange::Missing => Err(missing(id)),
    }
}

impl Control {
    /// Creates a user.
    ///
    /// # Errors
    /// `forbidden` without the right to administer, `bad_request`, `conflict` if name or identity
    /// are taken.
    pub async fn create_user(&self, who: &Principal, request: CreateUser) -> Result<UserView, Problem> {
        who.require(Permission::Administer)?;
        check_name(&request.name)?;
        check_text("a display name", &request.display_name)?;
        check_identity(request.identity.as_ref())?;
        let password = match request.password {
            None => None,
            Some(password) => {
                passwords::check(&password, &request.name)?;
                Some(self.inner.passwords.hash(password).await?)
            }
        };
        let row = UserRow {
            id: UserId(0),
            name: request.name,
            display_name: request.display_name,
            role: request.role,
            password,
            disabled: false,
            identity: request.identity,
            generation: 1,
            created_at: self.inner.clock.wall(),
            last_sign_in_at: None,
        };
        let added = self.inner.store.add_user(row.clone()).await.map_err(|e| store_problem(&e))?;
        let id = done(added, &row.name, row.id)?;
        let detail =
            json!({ "role": row.role, "password": row.password.is_some(), "identity": row.identity });
        self.note(who, "user.create", &format!("user:{}", row.name), detail).await?;
        Ok(view(UserRow { id, ..row }))
    }

    /// All users by name.
    ///
    /// # Errors
    /// `forbidden` without the right to administer.
    pub async fn users(&self, who: &Principal) -> Result<Vec<UserView>, Problem> {
        who.require(Permission::Administer)?;
        let rows = self.inner.store.users().await.map_err(|e| store_problem(&e))?;
        Ok(rows.into_iter().map(view).collect())
    }

    /// One user.
    ///
    /// # Errors
    /// `forbidden` for who is neither an admin nor that user, `not_found`.
    pub async fn user(&self, who: &Principal, id: UserId) -> Result<UserView, Problem> {
        who.require_user(id)?;
        self.user_row(id).await.map(view)
    }

    async fn user_row(&self, id: UserId) -> Result<UserRow, Problem> {
        self.inner.store.user(id).await.map_err(|e| store_problem(&e))?.ok_or_else(|| missing(id))
    }

    /// Changes a user. Nobody disables or demotes themselves: that would be a door that falls shut.
    ///
    /// # Errors
    /// `forbidden` without the right to administer, `bad_request`, `conflict`, `not_found`.
    pub async fn update_user(
        &self,
        who: &Principal,
        id: UserId,
        request: UpdateUser,
    ) -> Result<UserView, Problem> {
        who.require(Permission::Administer)?;
        if let Some(text) = &request.display_name {
            check_text("a display name", text)?;
        }
        check_identity(request.identity.as_ref())?;
        if request.unlink && request.identity.is_some() {
            return Err(bad("an identity is either given or taken away"));
        }
        let before = self.user_row(id).await?;
        let demoted = request.role.is_some_and(|role| role != before.role);
        if is(who, id) && (demoted || request.disabled == Some(true)) {
            return Err(Problem::new(Code::Conflict, "nobody disables or demotes themselves")
                .with_hint("ask another admin, or use an admin token"));
        }
        let row = UserRow {
            display_name: request.display_name.clone().unwrap_or(before.display_name),
            role: request.role.unwrap_or(before.role),
            disabled: request.disabled.unwrap_or(before.disabled),
            identity: if request.unlink { None } else { request.identity.clone().or(before.identity) },
            ..before
        };
        let changed = self.inner.store.update_user(row.clone()).await.map_err(|e| store_problem(&e))?;
        self.inner.sessions.forget(SessionHolder::User(id));
        done(changed, &row.name, id)?;
        let detail = serde_json::to_value(&request).unwrap_or_default();
        self.note(who, "user.update", &format!("user:{}", row.name), detail).await?;
        Ok(view(row))
    }

    /// Deletes a user; every session ends.
    ///
    /// # Errors
    /// `forbidden` without the right to administer, `not_found`, `conflict` for oneself.
    pub async fn delete_user(&self, who: &Principal, id: UserId) -> Result<(), Problem> {
        who.require(Permission::Administer)?;
        let row = self.user_row(id).await?;
        if is(who, id) {
            return Err(Problem::new(Code::Conflict, "nobody deletes themselves")
                .with_hint("ask another admin, or use an admin token"));
        }
        let removed = self.inner.store.remove_user(id).await.map_err(|e| store_problem(&e))?;
        self.inner.sessions.forget(SessionHolder::User(id));
        if !removed {
            return Err(missing(id));
        }
        self.note(who, "user.delete", &format!("user:{}", row.name), json!({ "id": id })).await
    }

    /// Sets a password. Every session of the user ends, but the one with this secret. One's own
    /// needs the current one, so that a session that was left open is not enough.
    ///
    /// # Errors
    /// `forbidden` for who is neither an admin nor that user, or if the current password is wrong;
    /// `bad_request`, `not_found`, `too_many_requests`.
    pub async fn set_password(
        &self,
        who: &Principal,
        id: UserId,
        request: SetPassword,
        keep: Option<&str>,
    ) -> Result<(), Problem> {
        who.require_user(id)?;
        let row = self.user_row(id).await?;
        passwords::check(&request.password, &row.name)?;
        if is(who, id) {
            self.verify_current(&row, request.current).await?;
        }
        let hash = self.inner.passwords.hash(request.password).await?;
        let keep = keep.map(token_hash);
        let changed = self.inner.store.set_password(id, Some(hash), keep).await;
        self.inner.sessions.forget(SessionHolder::User(id));
        if !changed.map_err(|e| store_problem(&e))? {
            return Err(missing(id));
        }
        self.note(who, "user.password", &format!("user:{}", row.name), json!({})).await
    }

    async fn verify_current(&self, row: &UserRow, current: Option<String>) -> Result<(), Problem> {
        let Some(current) = current else {
            return Err(bad("changing one's own password needs the current one"));
        };
        let now = self.inner.clock.wall();
        let charge = self.inner.throttle.charge(&row.name, None, now).map_err(crate::sessions::too_many)?;
        if !self.inner.passwords.verify(current, row.password.clone()).await? {
            return Err(Problem::new(Code::Forbidden, "the current password is wrong"));
        }
        self.inner.throttle.give_back(charge);
        Ok(())
    }

    /// Makes a user for an account at a provider, under a name that is free.
    pub(crate) async fn make_user(&self, account: ExternalAccount) -> Result<UserRow, Problem> {
        let Some(role) = account.role.or(account.default_role) else {
            return Err(Problem::new(Code::Forbidden, "this account may not sign in here").with_hint(
                "an admin adds it with `fleetfoot user create`, or the server's settings let its group in",
            ));
        };
        let base = usable_name(&account.name);
        let display_name: String =
            account.display_name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
        check_identity(Some(&account.identity))?;
        for number in 1..=NAMES_TRIED {
            let name = if number == 1 { base.clone() } else { format!("{base}-{number}") };
            let row = UserRow {
                id: UserId(0),
                name,
                display_name: display_name.clone(),
                role,
                password: None,
                disabled: false,
                identity: Some(account.identity.clone()),
                generation: 1,
                created_at: self.inner.clock.wall(),
                last_sign_in_at: None,
            };
            let added = self.inner.store.add_user(row.clone()).await.map_err(|e| store_problem(&e))?;
            // An account never takes over a user that has its name by chance.
            if added == UserChange::NameTaken {
                continue;
            }
            let id = done(added, &row.name, row.id)?;
            let detail = json!({ "role": role, "identity": account.identity });
            self.note(&Principal::System, "user.create", &format!("user:{}", row.name), detail).await?;
            return Ok(UserRow { id, ..row });
        }
        Err(Problem::new(Code::Conflict, format!("every name like {base} is taken")))
    }
}

fn is(who: &Principal, id: UserId) -> bool {
    matches!(who, Principal::User { id: own, .. } if *own == id)
}

/// The nearest thing to this that can be a name, with room for a number.
fn usable_name(wish: &str) -> String {
    let name: String = wish
        .chars()
        .map(|c| if may_be_in_a_name(c) { c.to_ascii_lowercase() } else { '-' })
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .take(LONGEST_NAME - 4)
        .collect();
    if name.is_empty() { "user".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["ada", "Ada.Lovelace", "a", "ada@example.org", "9lives", &"x".repeat(64)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-ada", "ada lovelace", "ada:1", "adä", "a/b", "a\nb", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        for wish in ["", "---", "Ada Lovelace", "ådä", "ada@example.org", &"é".repeat(500)] {
            assert!(check_name(&usable_name(wish)).is_ok(), "{wish}");
        }
        assert_eq!(usable_name("Ada Lovelace"), "ada-lovelace");
    }
}
