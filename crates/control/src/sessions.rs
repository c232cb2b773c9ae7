//! Signing in and out, and what a session is good for. A session is a random
//! secret in a cookie of which the store keeps a hash; it ends when it was not
//! used for a while, in any case after some days, and at once with the user or
//! the token on which it stands. What a user may do is looked up, never kept in
//! the session. Nothing here knows cookies or HTTP.

use crate::actor::store_problem;
use crate::vault::{random, token_hash};
use crate::{Control, Inner, Permission, Principal};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleetfoot_model::ids::TokenId;
use fleetfoot_model::users::{Identity, Role, SessionView, SignIn, SignInMethod};
use fleetfoot_model::{Code, Problem, Timestamp};
use fleetfoot_store::{SessionHolder, SessionRow, StoreError, UserChange, UserRow};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

/// How long a lookup is trusted: another server may have ended the session.
const TRUST: Duration = Duration::from_secs(5);
/// Sessions remembered at most.
const REMEMBERED: usize = 10_000;
/// Sessions of one user or token at most; the one that was unused longest makes room.
const MOST: usize = 50;
/// The recognisable beginning of a session's secret.
const PREFIX: &str = "ffs_";
/// Characters of a secret: the prefix and 256 bits.
const SECRET_LENGTH: usize = PREFIX.len() + 43;

/// How long people stay signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignInOptions {
    /// A session ends when it was not used for this long.
    pub idle: Duration,
    /// A session ends after this long, however much it is used.
    pub longest: Duration,
}

impl Default for SignInOptions {
    /// Twelve hours, and seven days.
    fn default() -> Self {
        Self { idle: Duration::from_secs(12 * 3600), longest: Duration::from_secs(7 * 24 * 3600) }
    }
}

/// A session that just began.
#[derive(Clone)]
pub struct SignedIn {
    /// The secret: the only time it is shown.
    pub secret: String,
    /// When it ends, however much it is used.
    pub expires_at: Timestamp,
    /// Who signed in.
    pub view: SessionView,
}

impl std::fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedIn").field("view", &self.view.actor).finish_non_exhaustive()
    }
}

/// A session that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Who it is.
    pub principal: Principal,
    method: SignInMethod,
    provider: Option<String>,
    /// Name for people.
    display_name: String,
    holder: SessionHolder,
    seen_at: Timestamp,
    /// However much it is used.
    expires_at: Timestamp,
}

/// An account at an OpenID provider, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAccount {
    /// Provider and subject.
    pub identity: Identity,
    /// A name that suits, for a new user.
    pub name: String,
    /// Name for people.
    pub display_name: String,
    /// What the provider's groups say that the account may do: it holds from now on.
    pub role: Option<Role>,
    /// What a new user may do about whom the groups say nothing; `None` lets in who has a user already.
    pub default_role: Option<Role>,
}

/// Sessions that were looked up lately, and their uses.
#[derive(Debug, Default)]
pub(crate) struct SessionCache {
    known: Mutex<HashMap<[u8; 32], Known>>,
    used: Mutex<HashMap<[u8; 32], Timestamp>>,
    /// Counts what was forgotten, so that a lookup from before is not remembered after, and tells
    /// those whose answers stay open that it is time to look.
    forgotten: watch::Sender<u64>,
}

#[derive(Clone, Debug)]
struct Known {
    session: Session,
    looked_up: Timestamp,
}

impl SessionCache {
    /// Forgets every session of a holder.
    pub(crate) fn forget(&self, holder: SessionHolder) {
        // Both under the lock: nobody remembers between them, and who is woken looks behind them.
        let mut known = self.known.lock();
        known.retain(|_, k| k.session.holder != holder);
        self.forgotten.send_modify(|n| *n += 1);
    }

    fn forget_one(&self, hash: &[u8; 32]) {
        let mut known = self.known.lock();
        known.remove(hash);
        self.forgotten.send_modify(|n| *n += 1);
    }

    /// Whoever stands on a session or a token is woken when some of them end here.
    pub(crate) fn endings(&self) -> watch::Receiver<u64> {
        self.forgotten.subscribe()
    }

    fn remember(&self, hash: [u8; 32], known: Known, forgotten: u64) {
        let mut all = self.known.lock();
        if *self.forgotten.borrow() != forgotten {
            return;
        }
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(hash, known);
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(Code::Unauthorized, detail).with_hint("sign in again")
}

pub(crate) fn too_many(wait: Duration) -> Problem {
    let seconds = wait.as_secs().max(1);
    let mut problem = Problem::new(Code::TooManyRequests, "signing in failed too often")
        .with_hint(format!("try again in {seconds} seconds"));
    problem.retry_after = Some(seconds);
    problem
}

/// What a page must send along when it changes something: only who can read the answers of this
/// server knows it, and it is of no use without the cookie.
fn csrf_token(secret: &str) -> String {
    let bytes = blake3::derive_key("fleetfoot 2026 csrf token of a session", secret.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Control {
    /// Signs a user in with a password, or the holder of an API token.
    ///
    /// # Errors
    /// `unauthorized` without a word about what was wrong, `too_many_requests` after many failures,
    /// `overloaded`, `bad_request`.
    pub async fn sign_in(&self, request: SignIn, from: Option<IpAddr>) -> Result<SignedIn, Problem> {
        match (request.name, request.password, request.token) {
            (Some(name), Some(password), None) => self.sign_in_with_password(&name, password, from).await,
            (None, None, Some(token)) => self.sign_in_with_token(&token, from).await,
            _ => Err(Problem::new(Code::BadRequest, "send either name and password, or a token")),
        }
    }

    async fn sign_in_with_password(
        &self,
        name: &str,
        password: String,
        from: Option<IpAddr>,
    ) -> Result<SignedIn, Problem> {
        let now = self.inner.clock.wall();
        let charge = self.inner.throttle.charge(name, from, now).map_err(too_many)?;
        let user = self.inner.store.user_by_name(name).await.map_err(|e| store_problem(&e))?;
        let stored = user.as_ref().filter(|u| !u.disabled).and_then(|u| u.password.clone());
        // Also for who does not exist: it takes as long.
        let right = self.inner.passwords.verify(password, stored).await?;
        let Some(user) = user.as_ref().filter(|_| right) else {
            self.note_refusal(SignInMethod::Password, user.as_ref(), from).await;
            return Err(Problem::new(Code::Unauthorized, "name or password are wrong")
                .with_hint("an admin sets a new password with `fleetfoot user password`"));
        };
        self.inner.throttle.give_back(charge);
        let begun = self.begin_for(user, SignInMethod::Password, None, from).await?;
        begun.ok_or_else(|| unauthorized("the user was changed at this moment"))
    }

    async fn sign_in_with_token(&self, token: &str, from: Option<IpAddr>) -> Result<SignedIn, Problem> {
        let now = self.inner.clock.wall();
        let charge = self.inner.throttle.charge("token:", from, now).map_err(too_many)?;
        let who = match self.authenticate(token.trim()).await {
            Ok(who @ Principal::Api { .. }) => who,
            Ok(_) => {
                self.inner.throttle.give_back(charge);
                return Err(Problem::new(Code::Forbidden, "this token is not for people")
                    .with_hint("sign in with an admin, member or read-only token"));
            }
            Err(problem) => {
                if problem.code == Code::Unauthorized {
                    self.note_refusal(SignInMethod::Token, None, from).await;
                }
                return Err(problem);
            }
        };
        self.inner.throttle.give_back(charge);
        let Principal::Api { token, .. } = who else { return Err(unauthorized("the token is of no use")) };
        let begun = self.begin(SessionHolder::Token(token), SignInMethod::Token, None, None).await?;
        let secret = begun.ok_or_else(|| unauthorized("the token was revoked"))?;
        self.announce(&who, SignInMethod::Token, None, from, secret).await
    }

    /// Signs in who proved to have an account at an OpenID provider; makes the user if there is none
    /// and one may be made.
    ///
    /// # Errors
    /// `forbidden` for who may not sign in, `conflict` if the user was changed at this moment.
    pub async fn sign_in_with_account(
        &self,
        account: ExternalAccount,
        from: Option<IpAddr>,
    ) -> Result<SignedIn, Problem> {
        let provider = account.identity.provider.clone();
        let user = self.user_of_account(account).await?;
        if user.disabled {
            self.note_refusal(SignInMethod::Oidc, Some(&user), from).await;
            return Err(Problem::new(Code::Forbidden, format!("the user {} is disabled", user.name)));
        }
        let begun = self.begin_for(&user, SignInMethod::Oidc, Some(provider), from).await?;
        begun.ok_or_else(|| unauthorized("the user was changed at this moment"))
    }

    async fn begin_for(
        &self,
        user: &UserRow,
        method: SignInMethod,
        provider: Option<String>,
        from: Option<IpAddr>,
    ) -> Result<Option<SignedIn>, Problem> {
        let (holder, generation) = (SessionHolder::User(user.id), Some(user.generation));
        let Some(secret) = self.begin(holder, method, provider.clone(), generation).await? else {
            return Ok(None);
        };
        let who = Principal::User { id: user.id, name: user.name.as_str().into(), role: user.role };
        self.announce(&who, method, provider, from, secret).await.map(Some)
    }

    /// A new session in the store; answers its secret.
    async fn begin(
        &self,
        holder: SessionHolder,
        method: SignInMethod,
        provider: Option<String>,
        generation: Option<u64>,
    ) -> Result<Option<String>, Problem> {
        let bits = random::<32>().map_err(|e| Problem::new(Code::Internal, e.to_string()))?;
        let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bits));
        let now = self.inner.clock.wall();
        let row = SessionRow {
            hash: token_hash(&secret),
            holder,
            method,
            provider,
            created_at: now,
            seen_at: now,
            expires_at: now + self.inner.options.sign_in.longest,
        };
        let begun = self.inner.store.begin_session(row, generation, MOST).await;
        Ok(begun.map_err(|e| store_problem(&e))?.then_some(secret))
    }

    async fn announce(
        &self,
        who: &Principal,
        method: SignInMethod,
        provider: Option<String>,
        from: Option<IpAddr>,
        secret: String,
    ) -> Result<SignedIn, Problem> {
        let detail = json!({ "method": method, "provider": provider, "address": from });
        self.note(who, "session.create", &who.audit_name(), detail).await?;
        let session = self.session(&secret).await?;
        let view = self.session_view(&session, &secret);
        Ok(SignedIn { secret, expires_at: session.expires_at, view })
    }

    /// Notes that somebody was refused. The name is noted if it is a user's: otherwise it may be a
    /// password in the wrong field.
    pub(crate) async fn note_refusal(
        &self,
        method: SignInMethod,
        user: Option<&UserRow>,
        from: Option<IpAddr>,
    ) {
        let subject = user.map_or_else(|| "user:?".to_owned(), |u| format!("user:{}", u.name));
        if !self.inner.throttle.may_note(self.inner.clock.wall()) {
            return;
        }
        tracing::warn!(%subject, method = method.as_str(), address = ?from, "signing in was refused");
        let detail = json!({ "method": method, "address": from });
        if let Err(e) = self.note(&Principal::System, "session.refuse", &subject, detail).await {
            tracing::warn!(error = %e, "a refusal could not be noted in the audit log");
        }
    }

    /// Notes that an account at a provider was refused.
    pub async fn note_refused_account(&self, from: Option<IpAddr>) {
        self.note_refusal(SignInMethod::Oidc, None, from).await;
    }

    /// The session with this secret. Asking is using it.
    ///
    /// # Errors
    /// `unauthorized` if there is none, or it ended.
    pub async fn session(&self, secret: &str) -> Result<Session, Problem> {
        let now = self.inner.clock.wall();
        let (hash, mut session) = self.find_session(secret, now).await?;
        if self.has_expired(&session, now) {
            self.inner.sessions.forget_one(&hash);
            self.inner.store.end_session(&hash).await.map_err(|e| store_problem(&e))?;
            return Err(unauthorized("the session has expired"));
        }
        session.seen_at = now;
        if let Some(known) = self.inner.sessions.known.lock().get_mut(&hash) {
            known.session.seen_at = now;
        }
        self.inner.sessions.used.lock().insert(hash, now);
        Ok(session)
    }

    /// Who has the session with this secret at this moment. Nothing is used by it: what stays open
    /// does not keep a session alive.
    pub(crate) async fn holder_of_session(&self, secret: &str) -> Result<Principal, Problem> {
        let now = self.inner.clock.wall();
        let (_, session) = self.find_session(secret, now).await?;
        match self.has_expired(&session, now) {
            true => Err(unauthorized("the session has expired")),
            false => Ok(session.principal),
        }
    }

    fn has_expired(&self, session: &Session, now: Timestamp) -> bool {
        session.expires_at <= now || session.seen_at + self.inner.options.sign_in.idle <= now
    }

    async fn find_session(&self, secret: &str, now: Timestamp) -> Result<([u8; 32], Session), Problem> {
        if secret.len() != SECRET_LENGTH || !secret.starts_with(PREFIX) {
            return Err(unauthorized("this is not a session of this server"));
        }
        let hash = token_hash(secret);
        let cached = self.inner.sessions.known.lock().get(&hash).cloned();
        let known = match cached {
            Some(known) if now.since(known.looked_up) < TRUST => known,
            before => self.look_up_session(hash, before.map(|k| k.session.seen_at), now).await?,
        };
        Ok((hash, known.session))
    }

    async fn look_up_session(
        &self,
        hash: [u8; 32],
        seen: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Known, Problem> {
        let forgotten = *self.inner.sessions.forgotten.borrow();
        let found = self.inner.store.session(&hash).await.map_err(|e| store_problem(&e))?;
        let Some((row, user)) = found else {
            self.inner.sessions.known.lock().remove(&hash);
            return Err(unauthorized("the session has ended"));
        };
        let (principal, display_name, until) = match (row.holder, user) {
            (SessionHolder::User(_), Some(user)) if !user.disabled => {
                let shown = if user.display_name.is_empty() { &user.name } else { &user.display_name };
                let shown = shown.clone();
                (Principal::User { id: user.id, name: user.name.into(), role: user.role }, shown, None)
            }
            (SessionHolder::Token(token), _) => self.holder_of(token, now).await?,
            _ => return Err(unauthorized("the session has ended")),
        };
        let expires_at = until.map_or(row.expires_at, |until: Timestamp| until.min(row.expires_at));
        let seen_at = seen.map_or(row.seen_at, |seen| seen.max(row.seen_at));
        let session = Session {
            principal,
            method: row.method,
            provider: row.provider,
            display_name,
            holder: row.holder,
            seen_at,
            expires_at,
        };
        let known = Known { session, looked_up: now };
        self.inner.sessions.remember(hash, known.clone(), forgotten);
        Ok(known)
    }

    /// Who holds the token on which a session stands, and until when.
    async fn holder_of(
        &self,
        token: TokenId,
        now: Timestamp,
    ) -> Result<(Principal, String, Option<Timestamp>), Problem> {
        let row = self.inner.store.token(token).await.map_err(|e| store_problem(&e))?;
        let row = row.filter(|t| t.revoked_at.is_none() && t.expires_at.is_none_or(|at| at > now));
        let row = row.ok_or_else(|| unauthorized("the token of this session has ended"))?;
        let shown = if row.name.is_empty() { format!("token {token}") } else { row.name };
        Ok((Principal::Api { kind: row.kind, token }, shown, row.expires_at))
    }

    /// Whether this is the token that goes with the session of this secret.
    #[must_use]
    pub fn is_csrf_token(&self, secret: &str, given: &str) -> bool {
        csrf_token(secret).as_bytes().ct_eq(given.as_bytes()).into()
    }

    /// A session as its holder sees it.
    #[must_use]
    pub fn session_view(&self, session: &Session, secret: &str) -> SessionView {
        let idle = session.seen_at + self.inner.options.sign_in.idle;
        let (user, token, name) = match &session.principal {
            Principal::User { id, name, .. } => (Some(*id), None, name.to_string()),
            Principal::Api { token, .. } => (None, Some(*token), session.display_name.clone()),
            _ => (None, None, String::new()),
        };
        SessionView {
            name,
            display_name: session.display_name.clone(),
            role: session.principal.role().unwrap_or(Role::ReadOnly),
            user,
            token,
            method: session.method,
            provider: session.provider.clone(),
            actor: session.principal.audit_name(),
            expires_at: Some(idle.min(session.expires_at)),
            csrf_token: Some(csrf_token(secret)),
        }
    }

    /// The same for who sent an API token with the request.
    ///
    /// # Errors
    /// `forbidden` for tokens that are not for people.
    pub async fn bearer_view(&self, who: &Principal) -> Result<SessionView, Problem> {
        who.require(Permission::Read)?;
        let (Principal::Api { token, .. }, Some(role)) = (who, who.role()) else {
            return Err(Problem::new(Code::Forbidden, "this is not an API token"));
        };
        let (_, display_name, expires_at) = self.holder_of(*token, self.inner.clock.wall()).await?;
        Ok(SessionView {
            name: display_name.clone(),
            display_name,
            role,
            user: None,
            token: Some(*token),
            method: SignInMethod::Bearer,
            provider: None,
            actor: who.audit_name(),
            expires_at,
            csrf_token: None,
        })
    }

    /// Ends the session of this secret.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn sign_out(&self, secret: &str) -> Result<(), Problem> {
        let hash = token_hash(secret);
        let who = self.session(secret).await.map(|s| s.principal);
        self.inner.sessions.forget_one(&hash);
        let ended = self.inner.store.end_session(&hash).await.map_err(|e| store_problem(&e))?;
        self.inner.sessions.forget_one(&hash);
        match who {
            Ok(who) if ended => self.note(&who, "session.end", &who.audit_name(), json!({})).await,
            _ => Ok(()),
        }
    }

    /// Whether anybody can sign in with a password.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn passwords_exist(&self) -> Result<bool, Problem> {
        self.inner.store.any_password().await.map_err(|e| store_problem(&e))
    }

    /// Ends what stands on a token that was revoked.
    pub(crate) async fn end_token_sessions(&self, token: TokenId) -> Result<(), Problem> {
        let holder = SessionHolder::Token(token);
        self.inner.sessions.forget(holder);
        self.inner.store.end_sessions(holder).await.map_err(|e| store_problem(&e))
    }

    /// The user of an account at a provider, made or brought up to date.
    async fn user_of_account(&self, account: ExternalAccount) -> Result<UserRow, Problem> {
        let found =
            self.inner.store.user_by_identity(&account.identity).await.map_err(|e| store_problem(&e))?;
        match found {
            Some(user) => match account.role {
                Some(role) if role != user.role && !user.disabled => self.follow_role(user, role).await,
                _ => Ok(user),
            },
            None => self.make_user(account).await,
        }
    }

    async fn follow_role(&self, user: UserRow, role: Role) -> Result<UserRow, Problem> {
        let changed = UserRow { role, ..user };
        let done = self.inner.store.update_user(changed.clone()).await.map_err(|e| store_problem(&e))?;
        self.inner.sessions.forget(SessionHolder::User(changed.id));
        if done != UserChange::Done(changed.id) {
            return Err(unauthorized("the user was changed at this moment"));
        }
        let detail = json!({ "role": role, "by": "groups of the provider" });
        self.note(&Principal::System, "user.update", &format!("user:{}", changed.name), detail).await?;
        Ok(changed)
    }
}

/// Stores the latest uses and forgets what has ended.
pub(crate) async fn tidy(inner: &Inner, now: Timestamp) -> Result<(), StoreError> {
    let used: Vec<_> = inner.sessions.used.lock().drain().collect();
    if !used.is_empty() {
        inner.store.touch_sessions(used).await?;
    }
    inner.store.forget_sessions(now, now - inner.options.sign_in.idle).await
}
