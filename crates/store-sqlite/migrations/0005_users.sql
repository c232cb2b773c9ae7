-- People who sign in, and their sessions. Ids are never given twice: the audit
-- log and the runs name users for longer than they exist.

CREATE TABLE users (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    name            TEXT NOT NULL COLLATE NOCASE UNIQUE CHECK (name <> ''),
    display_name    TEXT NOT NULL,
    role            TEXT NOT NULL CHECK (role = 'admin' OR role = 'member' OR role = 'read_only'),
    password        TEXT,
    disabled        INTEGER NOT NULL CHECK (disabled = 0 OR disabled = 1),
    provider        TEXT,
    subject         TEXT,
    generation      INTEGER NOT NULL CHECK (generation > 0),
    created_at      INTEGER NOT NULL,
    last_sign_in_at INTEGER,
    CHECK ((provider IS NULL) = (subject IS NULL))
) STRICT;

CREATE UNIQUE INDEX users_identity ON users (provider, subject) WHERE provider IS NOT NULL;

-- A session is a user's, or of whoever has a token; it ends with either.
CREATE TABLE sessions (
    hash       BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    user       INTEGER REFERENCES users (id) ON DELETE CASCADE,
    token      INTEGER REFERENCES tokens (id) ON DELETE CASCADE,
    method     TEXT NOT NULL CHECK (method = 'password' OR method = 'token' OR method = 'oidc'),
    provider   TEXT,
    created_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    CHECK ((user IS NULL) <> (token IS NULL)),
    CHECK ((method = 'token') = (token IS NOT NULL)),
    CHECK ((method = 'oidc') = (provider IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_user ON sessions (user) WHERE user IS NOT NULL;
CREATE INDEX sessions_token ON sessions (token) WHERE token IS NOT NULL;
