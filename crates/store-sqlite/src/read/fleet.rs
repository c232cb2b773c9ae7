//! Queries about runners, tokens, answered creates and the audit log.

use super::decode::{get, json_or_empty, maybe_json, maybe_number, maybe_time, number, time};
use super::{Reader, all, one};
use crate::exec::int;
use fleetfoot_model::api::{AuditEntry, TokenKind};
use fleetfoot_model::ids::{RunnerId, TokenId};
use fleetfoot_store::{IdempotencyRow, RunnerRow, TokenRow};
use rusqlite::types::Type;
use rusqlite::{Error, Result, Row, params};

fn kind(r: &Row<'_>, column: usize) -> Result<TokenKind> {
    Ok(match get::<String>(r, column)?.as_str() {
        "admin" => TokenKind::Admin,
        "member" => TokenKind::Member,
        "read_only" => TokenKind::ReadOnly,
        "registration" => TokenKind::Registration,
        "runner" => TokenKind::Runner,
        other => {
            let message = format!("'{other}' is no kind of token");
            return Err(Error::FromSqlConversionFailure(column, Type::Text, message.into()));
        }
    })
}

macro_rules! token_columns {
    () => {
        "id, kind, name, prefix, hash, created_at, expires_at, last_used_at, uses_left, labels, queue, \
         runner, revoked_at"
    };
}

fn token_row(r: &Row<'_>) -> Result<TokenRow> {
    Ok(TokenRow {
        id: TokenId(number(r, 0)?),
        kind: kind(r, 1)?,
        name: get(r, 2)?,
        prefix: get(r, 3)?,
        hash: get(r, 4)?,
        created_at: time(r, 5)?,
        expires_at: maybe_time(r, 6)?,
        last_used_at: maybe_time(r, 7)?,
        uses_left: get(r, 8)?,
        labels: json_or_empty(r, 9)?,
        queue: get(r, 10)?,
        runner: maybe_number(r, 11)?.map(RunnerId),
        revoked_at: maybe_time(r, 12)?,
    })
}

/// See [`fleetfoot_store::Store::runners`].
pub(crate) fn runners(reader: &Reader) -> Result<Vec<RunnerRow>> {
    all(
        &reader.conn,
        "SELECT id, name, description, fixed_labels, fixed_queue, info, slots, version, drain, created_at,
         last_seen_at FROM runners ORDER BY id",
        [],
        |r| {
            Ok(RunnerRow {
                id: RunnerId(number(r, 0)?),
                name: get(r, 1)?,
                description: get(r, 2)?,
                fixed_labels: json_or_empty(r, 3)?,
                fixed_queue: get(r, 4)?,
                info: json_or_empty(r, 5)?,
                slots: get(r, 6)?,
                version: get(r, 7)?,
                drain: get(r, 8)?,
                created_at: time(r, 9)?,
                last_seen_at: maybe_time(r, 10)?,
            })
        },
    )
}

/// See [`fleetfoot_store::Store::token_by_hash`].
pub(crate) fn token_by_hash(reader: &Reader, hash: &[u8; 32]) -> Result<Option<TokenRow>> {
    let sql = concat!("SELECT ", token_columns!(), " FROM tokens WHERE hash = ?1");
    one(&reader.conn, sql, [hash], token_row)
}

/// See [`fleetfoot_store::Store::token`].
pub(crate) fn token(reader: &Reader, id: TokenId) -> Result<Option<TokenRow>> {
    let sql = concat!("SELECT ", token_columns!(), " FROM tokens WHERE id = ?1");
    one(&reader.conn, sql, [int(id.0)], token_row)
}

/// See [`fleetfoot_store::Store::tokens`].
pub(crate) fn tokens(reader: &Reader, kind: Option<TokenKind>) -> Result<Vec<TokenRow>> {
    let sql =
        concat!("SELECT ", token_columns!(), " FROM tokens WHERE ?1 IS NULL OR kind = ?1 ORDER BY id DESC");
    all(&reader.conn, sql, [kind.map(crate::exec::kind_text)], token_row)
}

/// See [`fleetfoot_store::Store::idempotent`].
pub(crate) fn idempotent(reader: &Reader, key: &str) -> Result<Option<IdempotencyRow>> {
    let sql = "SELECT key, request_hash, response, created_at FROM idempotency WHERE key = ?1";
    one(&reader.conn, sql, [key], |r| {
        Ok(IdempotencyRow {
            key: get(r, 0)?,
            request_hash: get(r, 1)?,
            response: get(r, 2)?,
            created_at: time(r, 3)?,
        })
    })
}

/// See [`fleetfoot_store::Store::audit`].
pub(crate) fn audit(reader: &Reader, cursor: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>> {
    let sql =
        "SELECT id, at, actor, action, subject, detail FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
    let before = cursor.map_or(i64::MAX, int);
    all(&reader.conn, sql, params![before, limit.cast_signed()], |r| {
        Ok(AuditEntry {
            id: number(r, 0)?,
            at: time(r, 1)?,
            actor: get(r, 2)?,
            action: get(r, 3)?,
            subject: get(r, 4)?,
            detail: maybe_json(r, 5)?.unwrap_or_default(),
        })
    })
}
