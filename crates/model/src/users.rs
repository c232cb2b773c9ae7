//! Shapes of the API for people: users, signing in, sessions. A password comes
//! in and never goes out. Nothing here decides what a role allows.

use crate::api::TokenKind;
use crate::ids::{TokenId, UserId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// What a user may do: the same as a token of the kind of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Submit, see and steer runs.
    Member,
    /// See.
    ReadOnly,
}

impl Role {
    /// Every role, the strongest first.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Member, Self::ReadOnly];

    /// The kind of token that allows the same.
    #[must_use]
    pub const fn kind(self) -> TokenKind {
        match self {
            Self::Admin => TokenKind::Admin,
            Self::Member => TokenKind::Member,
            Self::ReadOnly => TokenKind::ReadOnly,
        }
    }

    /// The role that allows what a token of this kind allows; `None` for kinds that are not for people.
    #[must_use]
    pub const fn of_kind(kind: TokenKind) -> Option<Self> {
        match kind {
            TokenKind::Admin => Some(Self::Admin),
            TokenKind::Member => Some(Self::Member),
            TokenKind::ReadOnly => Some(Self::ReadOnly),
            TokenKind::Registration | TokenKind::Runner | TokenKind::Job => None,
        }
    }

    /// Its word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Member => "member",
            Self::ReadOnly => "read_only",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;
    /// Reads the word of the API; `read-only` too.
    fn from_str(s: &str) -> Result<Self, String> {
        let word = s.replace('-', "_");
        Self::ALL
            .into_iter()
            .find(|r| r.as_str() == word)
            .ok_or_else(|| format!("'{s}' is not a role (admin, member, read-only)"))
    }
}

/// An account at an OpenID provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Id of the provider in the settings of the server.
    pub provider: String,
    /// The provider's name for the account (`sub`), which never changes.
    pub subject: String,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserView {
    /// Id.
    pub id: UserId,
    /// Name, unique; case does not matter.
    pub name: String,
    /// Name for people; empty if there is none.
    pub display_name: String,
    /// Role.
    pub role: Role,
    /// May not sign in, and has no session.
    pub disabled: bool,
    /// Whether the user can sign in with a password.
    pub has_password: bool,
    /// The account at an OpenID provider with which the user signs in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub identity: Option<Identity>,
    /// Creation.
    pub created_at: Timestamp,
    /// When the user signed in last.
    pub last_sign_in_at: Option<Timestamp>,
}

/// Body of `POST /api/v1/users`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// Name: 1 to 64 letters, digits, `.`, `_`, `-` and `@`.
    pub name: String,
    /// Name for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    /// Role.
    pub role: Role,
    /// Password, 8 to 1024 characters; absent for who signs in through an OpenID provider only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The account at an OpenID provider with which the user signs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
}

impl fmt::Debug for CreateUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateUser")
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// Body of `PATCH /api/v1/users/{id}`; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpdateUser {
    /// New name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// New role; it holds at once, also in open sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// `true` ends every session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// The account at an OpenID provider with which the user signs in from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Takes the account at the OpenID provider away.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unlink: bool,
}

/// Body of `POST /api/v1/users/{id}/password`. Every other session of the user ends.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    /// The new password, 8 to 1024 characters.
    pub password: String,
    /// The password until now: needed to change one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
}

impl fmt::Debug for SetPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetPassword").finish_non_exhaustive()
    }
}

/// Body of `POST /api/v1/session`: either `name` and `password`, or `token`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SignIn {
    /// Name of a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Password of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// An API token: the session ends with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignIn").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How somebody signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignInMethod {
    /// With name and password.
    Password,
    /// With an API token.
    Token,
    /// Through an OpenID provider.
    Oidc,
    /// Not at all: the request itself brought an API token.
    Bearer,
}

impl SignInMethod {
    /// Its word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Token => "token",
            Self::Oidc => "oidc",
            Self::Bearer => "bearer",
        }
    }
}

/// Who is asking: the answer of `GET` and `POST /api/v1/session`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionView {
    /// Name of the user, or of the token (empty if it has none).
    pub name: String,
    /// Name for people; never empty.
    pub display_name: String,
    /// What the caller may do.
    pub role: Role,
    /// The user; absent for a token.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user: Option<UserId>,
    /// The token; absent for a user.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub token: Option<TokenId>,
    /// How the caller signed in.
    pub method: SignInMethod,
    /// The OpenID provider, with `oidc`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub provider: Option<String>,
    /// How the audit log and the runs name the caller (`user:ada`, `token:3`).
    pub actor: String,
    /// When the session ends unless it is used before, or when the token expires; absent means never.
    pub expires_at: Option<Timestamp>,
    /// Send this as `X-Fleetfoot-CSRF` with everything that changes something; absent for bearer tokens,
    /// which need none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub csrf_token: Option<String>,
}

/// The answer of `GET /api/v1/sign-in`: which ways there are. An API token is always one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignInWays {
    /// Users with a password exist.
    pub password: bool,
    /// OpenID providers.
    pub oidc: Vec<OidcWay>,
}

/// An OpenID provider as the sign-in page shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OidcWay {
    /// Id; signing in starts at `/auth/oidc/{id}/start`.
    pub id: String,
    /// Name for people.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_read_back() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
            assert_eq!(Role::of_kind(role.kind()), Some(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        assert_eq!("read-only".parse(), Ok(Role::ReadOnly));
        assert!("root".parse::<Role>().unwrap_err().contains("read-only"));
    }

    #[test]
    fn passwords_and_tokens_are_never_printed() {
        let secret = "hunter22";
        let all = [
            format!("{:?}", SetPassword { password: secret.to_owned(), current: Some(secret.to_owned()) }),
            format!(
                "{:?}",
                SignIn { name: None, password: Some(secret.to_owned()), token: Some(secret.to_owned()) }
            ),
            format!(
                "{:?}",
                CreateUser {
                    name: "ada".to_owned(),
                    display_name: String::new(),
                    role: Role::Admin,
                    password: Some(secret.to_owned()),
                    identity: None
                }
            ),
        ];
        assert!(all.iter().all(|text| !text.contains(secret)), "{all:?}");
    }
}
