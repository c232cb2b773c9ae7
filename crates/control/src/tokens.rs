//! Tokens: creation, authentication, revocation. Only hashes are stored; what
//! was looked up lately is remembered for a few seconds, and forgotten at once
//! when it is revoked here.

use crate::actor::store_problem;
use crate::vault::{new_token, token_hash};
use crate::{Control, Permission, Principal};
use fleetfoot_model::api::{CreateToken, CreatedToken, TokenKind, TokenView};
use fleetfoot_model::ids::{RunnerId, TokenId};
use fleetfoot_model::{Code, Problem, Timestamp};
use fleetfoot_store::{Op, TokenRow};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;

/// How long a lookup is trusted: another server may have revoked the token.
const TRUST: Duration = Duration::from_secs(5);
/// Lookups remembered at most.
const REMEMBERED: usize = 50_000;
/// Life of a registration token that names none.
const REGISTRATION_LIFE: Duration = Duration::from_secs(3600);

/// Recent lookups and uses.
#[derive(Debug, Default)]
pub(crate) struct TokenCache {
    known: Mutex<HashMap<[u8; 32], Known>>,
    used: Mutex<HashMap<TokenId, Timestamp>>,
}

#[derive(Clone, Debug)]
struct Known {
    principal: Principal,
    token: TokenId,
    expires_at: Option<Timestamp>,
    looked_up: Timestamp,
}

impl TokenCache {
    /// Uses since the last call, for the housekeeping to store.
    pub(crate) fn take_used(&self) -> Vec<(TokenId, Timestamp)> {
        self.used.lock().drain().collect()
    }

    fn forget(&self, token: TokenId) {
        self.known.lock().retain(|_, k| k.token != token);
    }

    /// Forgets every token of a runner.
    pub(crate) fn forget_runner(&self, runner: RunnerId) {
        self.known.lock().retain(|_, k| !matches!(k.principal, Principal::Runner { id, .. } if id == runner));
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(Code::Unauthorized, detail)
        .with_hint("set FLEETFOOT_TOKEN, or ask an admin for `fleetfoot token create`")
}

impl Control {
    /// Who holds this token.
    ///
    /// # Errors
    /// `unauthorized` if it is unknown, expired, revoked, used up, or of an attempt that is over.
    pub async fn authenticate(&self, token: &str) -> Result<Principal, Problem> {
        if token.starts_with(TokenKind::Job.prefix()) {
            return self.authenticate_job(token).await;
        }
        let now = self.inner.clock.wall();
        let known = self.find_token(token, now).await?;
        self.inner.tokens.used.lock().insert(known.token, now);
        Ok(known.principal)
    }

    /// Who has this API token at this moment. Nothing is used by it.
    pub(crate) async fn holder_of_token(&self, token: &str) -> Result<Principal, Problem> {
        Ok(self.find_token(token, self.inner.clock.wall()).await?.principal)
    }

    async fn find_token(&self, token: &str, now: Timestamp) -> Result<Known, Problem> {
        let hash = token_hash(token);
        let cached = self.inner.tokens.known.lock().get(&hash).cloned();
        let known = match cached {
            Some(known) if now.since(known.looked_up) < TRUST => known,
            _ => self.look_up(hash, now).await?,
        };
        if known.expires_at.is_some_and(|at| at <= now) {
            return Err(unauthorized("the token has expired"));
        }
        Ok(known)
    }

    async fn look_up(&self, hash: [u8; 32], now: Timestamp) -> Result<Known, Problem> {
        let row = self.inner.store.token_by_hash(&hash).await.map_err(|e| store_problem(&e))?;
        let row = row.ok_or_else(|| unauthorized("the token is not known here"))?;
        if row.revoked_at.is_some() {
            self.inner.tokens.forget(row.id);
            return Err(unauthorized("the token was revoked"));
        }
        let principal = match (row.kind, row.runner) {
            (TokenKind::Runner, Some(id)) => Principal::Runner { id, token: row.id },
            (TokenKind::Registration, _) => Principal::Registration { token: row.id },
            (TokenKind::Admin | TokenKind::Member | TokenKind::ReadOnly, _) => {
                Principal::Api { kind: row.kind, token: row.id }
            }
            _ => return Err(unauthorized("the token is of no use here")),
        };
        let known = Known { principal, token: row.id, expires_at: row.expires_at, looked_up: now };
        let mut all = self.inner.tokens.known.lock();
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(hash, known.clone());
        Ok(known)
    }

    async fn authenticate_job(&self, token: &str) -> Result<Principal, Problem> {
        let attempt =
            self.inner.vault.attempt_of(token).ok_or_else(|| unauthorized("the token is not known here"))?;
        if self.holds(attempt, None).await? {
            Ok(Principal::Job { attempt })
        } else {
            Err(unauthorized("the attempt of this token is over"))
        }
    }

    /// Creates the first admin token if there is no admin token at all.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn bootstrap_admin(&self) -> Result<Option<CreatedToken>, Problem> {
        let admins = self.inner.store.tokens(Some(TokenKind::Admin)).await.map_err(|e| store_problem(&e))?;
        if admins.iter().any(|t| t.revoked_at.is_none()) {
            return Ok(None);
        }
        let request = CreateToken {
            kind: TokenKind::Admin,
            name: "first admin".to_owned(),
            expires_in_seconds: None,
            max_uses: None,
            labels: Vec::new(),
            queue: None,
        };
        self.create_token(&Principal::System, request).await.map(Some)
    }

    /// Creates a token.
    ///
    /// # Errors
    /// `forbidden` without the right to administer; `bad_request` for kinds that are not created by hand.
    pub async fn create_token(&self, who: &Principal, request: CreateToken) -> Result<CreatedToken, Problem> {
        who.require(Permission::Administer)?;
        let registration = request.kind == TokenKind::Registration;
        if matches!(request.kind, TokenKind::Runner | TokenKind::Job) {
            return Err(Problem::new(Code::BadRequest, "tokens of this kind are not created by hand")
                .with_hint("create admin, member, read_only or registration tokens"));
        }
        if !registration
            && (request.max_uses.is_some() || !request.labels.is_empty() || request.queue.is_some())
        {
            return Err(Problem::new(
                Code::BadRequest,
                "uses, labels and queue belong to registration tokens only",
            ));
        }
        let life = request.expires_in_seconds.map(Duration::from_secs);
        let life = life.or(registration.then_some(REGISTRATION_LIFE));
        let (token, row) = self.token_row(request.kind, request.name, life, None)?;
        let row =
            TokenRow { uses_left: request.max_uses, labels: request.labels, queue: request.queue, ..row };
        let created = CreatedToken { id: row.id, kind: row.kind, token, expires_at: row.expires_at };
        let audit =
            self.audit_op(who, "token.create", &format!("token:{}", row.id), json!({ "kind": row.kind }));
        self.apply(vec![Op::CreateToken(Box::new(row)), audit]).await?;
        Ok(created)
    }

    /// A new token and its row.
    pub(crate) fn token_row(
        &self,
        kind: TokenKind,
        name: String,
        life: Option<Duration>,
        runner: Option<RunnerId>,
    ) -> Result<(String, TokenRow), Problem> {
        let token = new_token(kind).map_err(|e| Problem::new(Code::Internal, e.to_string()))?;
        let now = self.inner.clock.wall();
        let row = TokenRow {
            id: self.inner.ids.next_token(),
            kind,
            name,
            prefix: token.chars().take(kind.prefix().len() + 4).collect(),
            hash: token_hash(&token),
            created_at: now,
            expires_at: life.map(|l| now + l),
            last_used_at: None,
            uses_left: None,
            labels: Vec::new(),
            queue: None,
            runner,
            revoked_at: None,
        };
        Ok((token, row))
    }

    /// Lists tokens that are not revoked.
    ///
    /// # Errors
    /// `forbidden` without the right to administer.
    pub async fn tokens(&self, who: &Principal) -> Result<Vec<TokenView>, Problem> {
        who.require(Permission::Administer)?;
        let rows = self.inner.store.tokens(None).await.map_err(|e| store_problem(&e))?;
        Ok(rows.into_iter().filter(|t| t.revoked_at.is_none()).map(crate::views::token_view).collect())
    }

    /// Revokes a token at once.
    ///
    /// # Errors
    /// `forbidden` without the right to administer, `not_found` if there is no such token.
    pub async fn revoke_token(&self, who: &Principal, id: TokenId) -> Result<(), Problem> {
        who.require(Permission::Administer)?;
        let row = self.inner.store.token(id).await.map_err(|e| store_problem(&e))?;
        if row.is_none() {
            return Err(Problem::new(Code::NotFound, format!("there is no token {id}")));
        }
        let at = self.inner.clock.wall();
        let audit = self.audit_op(who, "token.revoke", &format!("token:{id}"), serde_json::Value::Null);
        self.apply(vec![Op::RevokeToken { token: id, at }, audit]).await?;
        self.inner.tokens.forget(id);
        // Sessions stand on their token and are looked up with it: this only tidies up.
        self.end_token_sessions(id).await
    }
}
