//! People who sign in, and their sessions. Rows in and out; who may sign in,
//! and for how long, is decided elsewhere.

use crate::SqliteStore;
use async_trait::async_trait;
use fleetfoot_model::ids::{TokenId, UserId};
use fleetfoot_model::time::Timestamp;
use fleetfoot_model::users::{Identity, SignInMethod};
use fleetfoot_store::{SessionHolder, SessionRow, StoreError, UserChange, UserRow, UserStore};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

const USER: &str = "u.id, u.name, u.display_name, u.role, u.password, u.disabled, u.provider, u.subject, \
    u.generation, u.created_at, u.last_sign_in_at";
const SESSION: &str = "s.hash, s.user, s.token, s.method, s.provider, s.created_at, s.seen_at, s.expires_at";

const fn signed(id: u64) -> i64 {
    id.cast_signed()
}

const fn unsigned(id: i64) -> u64 {
    id.cast_unsigned()
}

fn bad(at: usize, word: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, Type::Text, word.into())
}

/// A user whose columns begin at `from`.
fn user(row: &Row<'_>, from: usize) -> rusqlite::Result<UserRow> {
    let (provider, subject): (Option<String>, Option<String>) = (row.get(from + 6)?, row.get(from + 7)?);
    Ok(UserRow {
        id: UserId(unsigned(row.get(from)?)),
        name: row.get(from + 1)?,
        display_name: row.get(from + 2)?,
        role: row.get::<_, String>(from + 3)?.parse().map_err(|word| bad(from + 3, word))?,
        password: row.get(from + 4)?,
        disabled: row.get(from + 5)?,
        identity: provider.zip(subject).map(|(provider, subject)| Identity { provider, subject }),
        generation: unsigned(row.get(from + 8)?),
        created_at: Timestamp(row.get(from + 9)?),
        last_sign_in_at: row.get::<_, Option<i64>>(from + 10)?.map(Timestamp),
    })
}

fn session(row: &Row<'_>) -> rusqlite::Result<(SessionRow, Option<UserRow>)> {
    let word: String = row.get(3)?;
    let methods = [SignInMethod::Password, SignInMethod::Token, SignInMethod::Oidc];
    let (of_user, of_token): (Option<i64>, Option<i64>) = (row.get(1)?, row.get(2)?);
    let holder = match (of_user, of_token) {
        (Some(id), None) => SessionHolder::User(UserId(unsigned(id))),
        (None, Some(id)) => SessionHolder::Token(TokenId(unsigned(id))),
        _ => return Err(bad(1, "a session of nobody".to_owned())),
    };
    let found = SessionRow {
        hash: row.get(0)?,
        holder,
        method: methods.into_iter().find(|m| m.as_str() == word).ok_or_else(|| bad(3, word))?,
        provider: row.get(4)?,
        created_at: Timestamp(row.get(5)?),
        seen_at: Timestamp(row.get(6)?),
        expires_at: Timestamp(row.get(7)?),
    };
    let holder = of_user.map(|_| user(row, 8)).transpose()?;
    Ok((found, holder))
}

fn parts(identity: Option<&Identity>) -> (Option<&str>, Option<&str>) {
    (identity.map(|i| i.provider.as_str()), identity.map(|i| i.subject.as_str()))
}

/// Whether a user other than `own` has this identity.
fn identity_taken(conn: &Connection, identity: Option<&Identity>, own: i64) -> rusqlite::Result<bool> {
    let Some(identity) = identity else { return Ok(false) };
    conn.prepare_cached("SELECT 1 FROM users WHERE provider = ?1 AND subject = ?2 AND id <> ?3")?
        .exists(params![identity.provider, identity.subject, own])
}

fn end_all(conn: &Connection, holder: SessionHolder) -> rusqlite::Result<()> {
    let (sql, id) = match holder {
        SessionHolder::User(id) => ("DELETE FROM sessions WHERE user = ?1", id.0),
        SessionHolder::Token(id) => ("DELETE FROM sessions WHERE token = ?1", id.0),
    };
    conn.prepare_cached(sql)?.execute([signed(id)]).map(|_| ())
}

fn add(conn: &Connection, row: &UserRow) -> rusqlite::Result<UserChange> {
    if conn.prepare_cached("SELECT 1 FROM users WHERE name = ?1")?.exists([&row.name])? {
        return Ok(UserChange::NameTaken);
    }
    if identity_taken(conn, row.identity.as_ref(), 0)? {
        return Ok(UserChange::IdentityTaken);
    }
    let (provider, subject) = parts(row.identity.as_ref());
    conn.prepare_cached(
        "INSERT INTO users (name, display_name, role, password, disabled, provider, subject, generation, created_at,
             last_sign_in_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?9)",
    )?
    .execute(params![
        row.name,
        row.display_name,
        row.role.as_str(),
        row.password,
        row.disabled,
        provider,
        subject,
        row.created_at.0,
        row.last_sign_in_at.map(|at| at.0),
    ])?;
    Ok(UserChange::Done(UserId(unsigned(conn.last_insert_rowid()))))
}

fn update(conn: &Connection, row: &UserRow) -> rusqlite::Result<UserChange> {
    let id = signed(row.id.0);
    let before = conn
        .prepare_cached(&format!("SELECT {USER} FROM users u WHERE u.id = ?1"))?
        .query_row([id], |r| user(r, 0))
        .optional()?;
    let Some(before) = before else { return Ok(UserChange::Missing) };
    if identity_taken(conn, row.identity.as_ref(), id)? {
        return Ok(UserChange::IdentityTaken);
    }
    let ends = row.disabled || row.identity != before.identity;
    let (provider, subject) = parts(row.identity.as_ref());
    conn.prepare_cached(
        "UPDATE users SET display_name = ?2, role = ?3, disabled = ?4, provider = ?5, subject = ?6,
             generation = generation + ?7 WHERE id = ?1",
    )?
    .execute(params![id, row.display_name, row.role.as_str(), row.disabled, provider, subject, ends])?;
    if ends {
        end_all(conn, SessionHolder::User(row.id))?;
    }
    Ok(UserChange::Done(row.id))
}

fn begin(
    conn: &Connection,
    row: &SessionRow,
    generation: Option<u64>,
    most: usize,
) -> rusqlite::Result<bool> {
    let (user, token) = match row.holder {
        SessionHolder::User(id) => (Some(signed(id.0)), None),
        SessionHolder::Token(id) => (None, Some(signed(id.0))),
    };
    let holds = match user {
        Some(id) => {
            conn.prepare_cached(
                "UPDATE users SET last_sign_in_at = ?3 WHERE id = ?1 AND generation = ?2 AND disabled = 0",
            )?
            .execute(params![id, generation.map(signed), row.created_at.0])?
                == 1
        }
        None => conn
            .prepare_cached("SELECT 1 FROM tokens WHERE id = ?1 AND revoked_at IS NULL")?
            .exists([token])?,
    };
    if !holds {
        return Ok(false);
    }
    conn.prepare_cached(
        "INSERT INTO sessions (hash, user, token, method, provider, created_at, seen_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        row.hash,
        user,
        token,
        row.method.as_str(),
        row.provider,
        row.created_at.0,
        row.seen_at.0,
        row.expires_at.0,
    ])?;
    let column = if user.is_some() { "user" } else { "token" };
    conn.prepare_cached(&format!(
        "DELETE FROM sessions WHERE hash IN (
             SELECT hash FROM sessions WHERE {column} = ?1 AND hash <> ?2
             ORDER BY seen_at DESC, hash LIMIT -1 OFFSET ?3)"
    ))?
    .execute(params![user.or(token), row.hash, i64::try_from(most.max(1) - 1).unwrap_or(i64::MAX)])?;
    Ok(true)
}

#[async_trait]
impl UserStore for SqliteStore {
    async fn add_user(&self, row: UserRow) -> Result<UserChange, StoreError> {
        self.write("cannot add a user", move |conn| add(conn, &row)).await
    }

    async fn update_user(&self, row: UserRow) -> Result<UserChange, StoreError> {
        self.write("cannot change a user", move |conn| update(conn, &row)).await
    }

    async fn set_password(
        &self,
        id: UserId,
        hash: Option<String>,
        keep: Option<[u8; 32]>,
    ) -> Result<bool, StoreError> {
        self.write("cannot change a password", move |conn| {
            let changed = conn
                .prepare_cached("UPDATE users SET password = ?2, generation = generation + 1 WHERE id = ?1")?
                .execute(params![signed(id.0), hash])?;
            conn.prepare_cached("DELETE FROM sessions WHERE user = ?1 AND hash IS NOT ?2")?
                .execute(params![signed(id.0), keep])?;
            Ok(changed == 1)
        })
        .await
    }

    async fn remove_user(&self, id: UserId) -> Result<bool, StoreError> {
        self.write("cannot remove a user", move |conn| {
            Ok(conn.execute("DELETE FROM users WHERE id = ?1", [signed(id.0)])? == 1)
        })
        .await
    }

    async fn user(&self, id: UserId) -> Result<Option<UserRow>, StoreError> {
        self.read("cannot read a user", move |r| {
            r.conn
                .prepare_cached(&format!("SELECT {USER} FROM users u WHERE u.id = ?1"))?
                .query_row([signed(id.0)], |row| user(row, 0))
                .optional()
        })
        .await
    }

    async fn user_by_name(&self, name: &str) -> Result<Option<UserRow>, StoreError> {
        let name = name.to_owned();
        self.read("cannot read a user", move |r| {
            r.conn
                .prepare_cached(&format!("SELECT {USER} FROM users u WHERE u.name = ?1"))?
                .query_row([name], |row| user(row, 0))
                .optional()
        })
        .await
    }

    async fn user_by_identity(&self, identity: &Identity) -> Result<Option<UserRow>, StoreError> {
        let identity = identity.clone();
        self.read("cannot read a user", move |r| {
            r.conn
                .prepare_cached(&format!(
                    "SELECT {USER} FROM users u WHERE u.provider = ?1 AND u.subject = ?2"
                ))?
                .query_row([identity.provider, identity.subject], |row| user(row, 0))
                .optional()
        })
        .await
    }

    async fn users(&self) -> Result<Vec<UserRow>, StoreError> {
        self.read("cannot read users", |r| {
            r.conn
                .prepare_cached(&format!("SELECT {USER} FROM users u ORDER BY u.name"))?
                .query_map([], |row| user(row, 0))?
                .collect()
        })
        .await
    }

    async fn any_password(&self) -> Result<bool, StoreError> {
        self.read("cannot read users", |r| {
            r.conn
                .prepare_cached("SELECT 1 FROM users WHERE password IS NOT NULL AND disabled = 0 LIMIT 1")?
                .exists([])
        })
        .await
    }

    async fn begin_session(
        &self,
        row: SessionRow,
        generation: Option<u64>,
        most: usize,
    ) -> Result<bool, StoreError> {
        self.write("cannot begin a session", move |conn| begin(conn, &row, generation, most)).await
    }

    async fn session(&self, hash: &[u8; 32]) -> Result<Option<(SessionRow, Option<UserRow>)>, StoreError> {
        let hash = *hash;
        self.read("cannot read a session", move |r| {
            r.conn
                .prepare_cached(&format!(
                    "SELECT {SESSION}, {USER} FROM sessions s LEFT JOIN users u ON u.id = s.user
                     WHERE s.hash = ?1"
                ))?
                .query_row([hash], session)
                .optional()
        })
        .await
    }

    async fn end_session(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
        let hash = *hash;
        self.write("cannot end a session", move |conn| {
            Ok(conn.prepare_cached("DELETE FROM sessions WHERE hash = ?1")?.execute([hash])? == 1)
        })
        .await
    }

    async fn end_sessions(&self, holder: SessionHolder) -> Result<(), StoreError> {
        self.write("cannot end sessions", move |conn| end_all(conn, holder)).await
    }

    async fn touch_sessions(&self, all: Vec<([u8; 32], Timestamp)>) -> Result<(), StoreError> {
        self.write("cannot note the use of sessions", move |conn| {
            let mut statement =
                conn.prepare_cached("UPDATE sessions SET seen_at = ?2 WHERE hash = ?1 AND seen_at < ?2")?;
            for (hash, at) in &all {
                statement.execute(params![hash, at.0])?;
            }
            Ok(())
        })
        .await
    }

    async fn forget_sessions(&self, now: Timestamp, idle: Timestamp) -> Result<(), StoreError> {
        self.write("cannot forget sessions", move |conn| {
            conn.prepare_cached("DELETE FROM sessions WHERE expires_at <= ?1 OR seen_at < ?2")?
                .execute([now.0, idle.0])
                .map(|_| ())
        })
        .await
    }
}
