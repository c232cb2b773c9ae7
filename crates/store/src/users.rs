//! People who sign in, and their sessions. What is stored of a password or of
//! a session is enough to recognise it and not enough to be it.

use crate::StoreError;
use async_trait::async_trait;
use fleetfoot_model::ids::{TokenId, UserId};
use fleetfoot_model::time::Timestamp;
use fleetfoot_model::users::{Identity, Role, SignInMethod};

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRow {
    /// Id; 0 until the store gives one. Never reused.
    pub id: UserId,
    /// Name, unique without regard to the case of ASCII letters.
    pub name: String,
    /// Name for people.
    pub display_name: String,
    /// Role.
    pub role: Role,
    /// Hash of the password in the PHC format.
    pub password: Option<String>,
    /// May not sign in.
    pub disabled: bool,
    /// Account at an OpenID provider, unique.
    pub identity: Option<Identity>,
    /// Counts the changes after which older proofs of identity are worth nothing: password,
    /// identity, disabled. The store counts it up.
    pub generation: u64,
    /// Creation.
    pub created_at: Timestamp,
    /// Last sign-in.
    pub last_sign_in_at: Option<Timestamp>,
}

/// What became of adding or changing a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserChange {
    /// It is done.
    Done(UserId),
    /// Another user has that name.
    NameTaken,
    /// Another user has that identity.
    IdentityTaken,
    /// There is no such user.
    Missing,
}

/// Whose a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionHolder {
    /// A user's.
    User(UserId),
    /// Of whoever has an API token.
    Token(TokenId),
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// BLAKE3 hash of its secret.
    pub hash: [u8; 32],
    /// Whose it is.
    pub holder: SessionHolder,
    /// How the holder signed in.
    pub method: SignInMethod,
    /// The OpenID provider.
    pub provider: Option<String>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was used last.
    pub seen_at: Timestamp,
    /// When it ends, however much it is used.
    pub expires_at: Timestamp,
}

/// The part of a store that keeps users and sessions. Every call is one transaction and returns
/// after it is durable.
#[async_trait]
pub trait UserStore: Send + Sync + 'static {
    /// Adds a user; id and generation are the store's.
    async fn add_user(&self, row: UserRow) -> Result<UserChange, StoreError>;
    /// Replaces display name, role, disabled and identity. Who is disabled, or has another identity
    /// than before, loses every session in the same transaction.
    async fn update_user(&self, row: UserRow) -> Result<UserChange, StoreError>;
    /// Replaces the hash of the password and ends every session of the user but `keep`.
    /// `false` if there is no such user.
    async fn set_password(
        &self,
        id: UserId,
        hash: Option<String>,
        keep: Option<[u8; 32]>,
    ) -> Result<bool, StoreError>;
    /// Removes a user with every session. `false` if there is none.
    async fn remove_user(&self, id: UserId) -> Result<bool, StoreError>;
    /// One user.
    async fn user(&self, id: UserId) -> Result<Option<UserRow>, StoreError>;
    /// The user of this name, whatever the case of its ASCII letters.
    async fn user_by_name(&self, name: &str) -> Result<Option<UserRow>, StoreError>;
    /// The user with this account at an OpenID provider.
    async fn user_by_identity(&self, identity: &Identity) -> Result<Option<UserRow>, StoreError>;
    /// All users by name.
    async fn users(&self) -> Result<Vec<UserRow>, StoreError>;
    /// Whether anybody can sign in with a password.
    async fn any_password(&self) -> Result<bool, StoreError>;

    /// Begins a session, and notes the sign-in. Of a user: only if that is not disabled and its
    /// generation is still this one. Beyond `most` sessions of the holder the one that was unused
    /// for the longest time ends. `false` if nothing began.
    async fn begin_session(
        &self,
        row: SessionRow,
        generation: Option<u64>,
        most: usize,
    ) -> Result<bool, StoreError>;
    /// A session with its user, if it is a user's.
    async fn session(&self, hash: &[u8; 32]) -> Result<Option<(SessionRow, Option<UserRow>)>, StoreError>;
    /// Ends a session; `false` if there is none.
    async fn end_session(&self, hash: &[u8; 32]) -> Result<bool, StoreError>;
    /// Ends every session of a holder.
    async fn end_sessions(&self, holder: SessionHolder) -> Result<(), StoreError>;
    /// Last uses; older ones than what is stored change nothing.
    async fn touch_sessions(&self, all: Vec<([u8; 32], Timestamp)>) -> Result<(), StoreError>;
    /// Forgets sessions that expired before `now` or were not used since `idle`.
    async fn forget_sessions(&self, now: Timestamp, idle: Timestamp) -> Result<(), StoreError>;
}
