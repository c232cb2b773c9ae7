//! Operations on runners, tokens and answered creates.

use super::{Fail, Outcome, Tx, conflict, int, missing};
use fleetfoot_model::api::TokenKind;
use fleetfoot_model::ids::{RunnerId, TokenId};
use fleetfoot_model::time::Timestamp;
use fleetfoot_store::{IdempotencyRow, OpError, OpOk, RunnerRow, TokenRow};
use rusqlite::params;

/// The word for a kind of token in the database.
pub(crate) const fn kind_text(kind: TokenKind) -> &'static str {
    match kind {
        TokenKind::Admin => "admin",
        TokenKind::Member => "member",
        TokenKind::ReadOnly => "read_only",
        TokenKind::Registration => "registration",
        TokenKind::Runner => "runner",
        TokenKind::Job => "job",
    }
}

impl Tx<'_> {
    pub(super) fn create_runner(&mut self, r: &RunnerRow, labels: Option<&str>, info: &str) -> Outcome {
        if self.exists("SELECT 1 FROM runners WHERE id = ?1", [int(r.id.0)])? {
            return Err(conflict(format!("runner {} exists", r.id)));
        }
        self.refuse_taken_name(r)?;
        self.run_sql(
            "INSERT INTO runners (id, name, description, fixed_labels, fixed_queue, info, slots, version,
             drain, created_at, last_seen_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                int(r.id.0),
                r.name,
                r.description,
                labels,
                r.fixed_queue,
                info,
                r.slots,
                r.version,
                r.drain,
                r.created_at.0,
                r.last_seen_at.map(|t| t.0),
            ],
        )?;
        self.known.high.runner = self.known.high.runner.max(r.id.0);
        Ok(OpOk::Done)
    }

    pub(super) fn update_runner(&mut self, r: &RunnerRow, labels: Option<&str>, info: &str) -> Outcome {
        self.refuse_taken_name(r)?;
        let n = self.run_sql(
            "UPDATE runners SET name = ?2, description = ?3, fixed_labels = ?4, fixed_queue = ?5, info = ?6,
             slots = ?7, version = ?8, drain = ?9, created_at = ?10, last_seen_at = ?11 WHERE id = ?1",
            params![
                int(r.id.0),
                r.name,
                r.description,
                labels,
                r.fixed_queue,
                info,
                r.slots,
                r.version,
                r.drain,
                r.created_at.0,
                r.last_seen_at.map(|t| t.0),
            ],
        )?;
        if n == 0 { Err(missing(format!("runner {}", r.id))) } else { Ok(OpOk::Done) }
    }

    fn refuse_taken_name(&self, r: &RunnerRow) -> Result<(), Fail> {
        let taken =
            self.exists("SELECT 1 FROM runners WHERE name = ?1 AND id <> ?2", params![r.name, int(r.id.0)])?;
        if taken { Err(conflict(format!("the name '{}' is taken", r.name))) } else { Ok(()) }
    }

    pub(super) fn touch_runners(&mut self, all: &[(RunnerId, Timestamp)]) -> Outcome {
        let mut changed = 0;
        for (runner, at) in all {
            changed += self.run_sql(
                "UPDATE runners SET last_seen_at = ?2 WHERE id = ?1 AND coalesce(last_seen_at, ?2 - 1) < ?2",
                [int(runner.0), at.0],
            )?;
        }
        Ok(done_if(changed))
    }

    pub(super) fn delete_runner(&mut self, runner: RunnerId, at: Timestamp) -> Outcome {
        if self.run_sql("DELETE FROM runners WHERE id = ?1", [int(runner.0)])? == 0 {
            return Err(missing(format!("runner {runner}")));
        }
        self.run_sql("DELETE FROM runner_totals WHERE runner = ?1", [int(runner.0)])?;
        self.revoke_runner_tokens(runner, None, at)?;
        Ok(OpOk::Done)
    }

    pub(super) fn create_token(&mut self, t: &TokenRow, labels: Option<&str>) -> Outcome {
        if t.kind == TokenKind::Job {
            return Err(Fail::Op(OpError::Failed("job tokens belong to their attempt".to_owned())));
        }
        let taken =
            self.exists("SELECT 1 FROM tokens WHERE id = ?1 OR hash = ?2", params![int(t.id.0), t.hash])?;
        if taken {
            return Err(conflict(format!("token {} exists", t.id)));
        }
        self.run_sql(
            "INSERT INTO tokens (id, kind, name, prefix, hash, created_at, expires_at, last_used_at, uses_left,
             labels, queue, runner, revoked_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            params![
                int(t.id.0),
                kind_text(t.kind),
                t.name,
                t.prefix,
                t.hash,
                t.created_at.0,
                t.expires_at.map(|x| x.0),
                t.last_used_at.map(|x| x.0),
                t.uses_left,
                labels,
                t.queue,
                t.runner.map(|r| int(r.0)),
                t.revoked_at.map(|x| x.0),
            ],
        )?;
        self.known.high.token = self.known.high.token.max(t.id.0);
        Ok(OpOk::Done)
    }

    pub(super) fn revoke_token(&mut self, token: TokenId, at: Timestamp) -> Outcome {
        let n = self.run_sql(
            "UPDATE tokens SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL",
            [int(token.0), at.0],
        )?;
        if n == 0 && !self.exists("SELECT 1 FROM tokens WHERE id = ?1", [int(token.0)])? {
            return Err(missing(format!("token {token}")));
        }
        Ok(done_if(n))
    }

    pub(super) fn revoke_runner_tokens(
        &mut self,
        runner: RunnerId,
        keep: Option<TokenId>,
        at: Timestamp,
    ) -> Outcome {
        let n = self.run_sql(
            "UPDATE tokens SET revoked_at = ?2 WHERE runner = ?1 AND revoked_at IS NULL AND id IS NOT ?3",
            params![int(runner.0), at.0, keep.map(|k| int(k.0))],
        )?;
        Ok(done_if(n))
    }

    pub(super) fn use_token(&mut self, token: TokenId, at: Timestamp) -> Outcome {
        let n = self.run_sql(
            "UPDATE tokens SET uses_left = uses_left - 1, last_used_at = ?2
             WHERE id = ?1 AND kind = 'registration' AND revoked_at IS NULL
             AND (uses_left IS NULL OR uses_left > 0) AND (expires_at IS NULL OR expires_at > ?2)",
            [int(token.0), at.0],
        )?;
        if n > 0 {
            return Ok(OpOk::Done);
        }
        Err(if self.exists("SELECT 1 FROM tokens WHERE id = ?1", [int(token.0)])? {
            conflict(format!("token {token} is used up, expired, revoked or not for registration"))
        } else {
            missing(format!("token {token}"))
        })
    }

    pub(super) fn touch_tokens(&mut self, all: &[(TokenId, Timestamp)]) -> Outcome {
        let mut changed = 0;
        for (token, at) in all {
            changed += self.run_sql(
                "UPDATE tokens SET last_used_at = ?2 WHERE id = ?1 AND coalesce(last_used_at, ?2 - 1) < ?2",
                [int(token.0), at.0],
            )?;
        }
        Ok(done_if(changed))
    }

    pub(super) fn keep_idempotent(&mut self, row: &IdempotencyRow) -> Outcome {
        if self.exists("SELECT 1 FROM idempotency WHERE key = ?1", [&row.key])? {
            return Err(conflict("the idempotency key was used before".to_owned()));
        }
        self.run_sql(
            "INSERT INTO idempotency (key, request_hash, response, created_at) VALUES (?1, ?2, ?3, ?4)",
            params![row.key, row.request_hash, row.response, row.created_at.0],
        )?;
        Ok(OpOk::Done)
    }

    pub(super) fn forget_idempotent(&mut self, before: Timestamp) -> Outcome {
        Ok(done_if(self.run_sql("DELETE FROM idempotency WHERE created_at < ?1", [before.0])?))
    }
}

const fn done_if(changed: usize) -> OpOk {
    if changed == 0 { OpOk::Unchanged } else { OpOk::Done }
}
