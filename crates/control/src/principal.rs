//! Who is asking, and what that allows. Authorisation is decided here and
//! nowhere else; handlers only name the [`Permission`] that they need.

use fleetfoot_model::api::TokenKind;
use fleetfoot_model::ids::{AttemptRef, RunnerId, TokenId, UserId};
use fleetfoot_model::users::Role;
use fleetfoot_model::{Code, Problem};
use std::sync::Arc;

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Holder of an API token: `Admin`, `Member` or `ReadOnly`.
    Api {
        /// Kind of the token.
        kind: TokenKind,
        /// The token.
        token: TokenId,
    },
    /// A person, by a session.
    User {
        /// The user.
        id: UserId,
        /// Name.
        name: Arc<str>,
        /// What the user may do at this moment.
        role: Role,
    },
    /// Holder of a registration token.
    Registration {
        /// The token.
        token: TokenId,
    },
    /// A runner.
    Runner {
        /// The runner.
        id: RunnerId,
        /// Its token.
        token: TokenId,
    },
    /// A running attempt, by its job token.
    Job {
        /// The attempt.
        attempt: AttemptRef,
    },
    /// The process itself (local runs, housekeeping).
    System,
}

/// What a handler needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// See runs, jobs, logs and runners.
    Read,
    /// Submit and steer runs.
    Write,
    /// Manage runners, tokens, backups; see the audit log.
    Administer,
}

impl Principal {
    /// Checks an API permission.
    ///
    /// # Errors
    /// `forbidden` with a hint that names the kind of token needed.
    pub fn require(&self, permission: Permission) -> Result<(), Problem> {
        let (allowed, needed) = match permission {
            Permission::Read => {
                (self.may(&[TokenKind::Admin, TokenKind::Member, TokenKind::ReadOnly]), "read-only")
            }
            Permission::Write => (self.may(&[TokenKind::Admin, TokenKind::Member]), "member"),
            Permission::Administer => (self.may(&[TokenKind::Admin]), "admin"),
        };
        if allowed {
            return Ok(());
        }
        if let Self::User { role, .. } = self {
            let detail = format!("this needs at least the role {needed}, and yours is {role}");
            return Err(Problem::new(Code::Forbidden, detail)
                .with_hint("an admin changes it with `fleetfoot user update`"));
        }
        Err(Problem::new(Code::Forbidden, format!("this needs at least a token of kind {needed}"))
            .with_hint("an admin creates one with `fleetfoot token create`"))
    }

    fn may(&self, kinds: &[TokenKind]) -> bool {
        match self {
            Self::System => true,
            Self::Api { kind, .. } => kinds.contains(kind),
            Self::User { role, .. } => kinds.contains(&role.kind()),
            Self::Registration { .. } | Self::Runner { .. } | Self::Job { .. } => false,
        }
    }

    /// Checks that the caller is this runner (or an admin acting for it).
    ///
    /// # Errors
    /// `not_found` for another runner: it is not the caller's to know.
    pub fn require_runner(&self, id: RunnerId) -> Result<(), Problem> {
        match self {
            Self::Runner { id: own, .. } if *own == id => Ok(()),
            Self::Runner { .. } => Err(Problem::new(Code::NotFound, format!("there is no runner {id}"))),
            _ => self.require(Permission::Administer),
        }
    }

    /// Checks that the caller is this user (or an admin).
    ///
    /// # Errors
    /// `forbidden` for everybody else.
    pub fn require_user(&self, id: UserId) -> Result<(), Problem> {
        match self {
            Self::User { id: own, .. } if *own == id => Ok(()),
            _ => self.require(Permission::Administer),
        }
    }

    /// What the caller may do, for those who use the API as a whole.
    #[must_use]
    pub const fn role(&self) -> Option<Role> {
        match self {
            Self::Api { kind, .. } => Role::of_kind(*kind),
            Self::User { role, .. } => Some(*role),
            Self::Registration { .. } | Self::Runner { .. } | Self::Job { .. } | Self::System => None,
        }
    }

    /// How the audit log names the caller.
    #[must_use]
    pub fn audit_name(&self) -> String {
        match self {
            Self::Api { token, .. } | Self::Registration { token } => format!("token:{token}"),
            Self::User { name, .. } => format!("user:{name}"),
            Self::Runner { id, .. } => format!("runner:{id}"),
            Self::Job { attempt } => format!("attempt:{attempt}"),
            Self::System => "system".to_owned(),
        }
    }
}
