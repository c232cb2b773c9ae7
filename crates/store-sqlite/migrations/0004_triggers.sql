-- Repositories, deliveries, schedules and reports.

-- AUTOINCREMENT: the id is in the address of the webhook, and never another repository's.
CREATE TABLE repositories (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    forge          TEXT NOT NULL CHECK (forge IN ('github', 'gitea', 'forgejo', 'gitlab')),
    name           TEXT NOT NULL,
    url            TEXT NOT NULL,
    api_url        TEXT NOT NULL,
    web_url        TEXT NOT NULL,
    project        TEXT NOT NULL,
    default_branch TEXT,
    webhook_secret BLOB NOT NULL,
    token          BLOB,
    share_token    INTEGER NOT NULL CHECK (share_token IN (0, 1)),
    poll_seconds   INTEGER CHECK (poll_seconds > 0),
    fork_approval  TEXT NOT NULL CHECK (fork_approval IN ('always', 'first-time', 'never')),
    refs           TEXT,
    error          TEXT,
    created_at     INTEGER NOT NULL,
    UNIQUE (url, project)
) STRICT;

CREATE TABLE deliveries (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    repository  INTEGER NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    delivery    TEXT NOT NULL,
    body_hash   BLOB CHECK (length(body_hash) = 32),
    source      TEXT NOT NULL CHECK (source IN ('webhook', 'made')),
    event       TEXT NOT NULL,
    payload     TEXT,
    received_at INTEGER NOT NULL,
    outcome     TEXT NOT NULL CHECK (outcome IN ('queued', 'started', 'ignored', 'failed')),
    runs        TEXT NOT NULL,
    notes       TEXT NOT NULL,
    error       TEXT,
    tries       INTEGER NOT NULL CHECK (tries >= 0),
    next_try    INTEGER,
    CHECK ((outcome = 'queued') = (next_try IS NOT NULL)),
    UNIQUE (repository, delivery)
) STRICT;
CREATE UNIQUE INDEX deliveries_body ON deliveries (repository, body_hash) WHERE body_hash IS NOT NULL;
CREATE INDEX deliveries_open ON deliveries (next_try) WHERE outcome = 'queued';

CREATE TABLE schedules (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    repository INTEGER NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    workflow   TEXT NOT NULL,
    cron       TEXT NOT NULL,
    timezone   TEXT NOT NULL,
    next_at    INTEGER,
    last_at    INTEGER,
    note       TEXT,
    UNIQUE (repository, workflow, cron, timezone)
) STRICT;
CREATE INDEX schedules_next ON schedules (next_at) WHERE next_at IS NOT NULL;

-- Runs that a repository started, while somebody has to hear how they end.
CREATE TABLE trigger_runs (
    run        INTEGER PRIMARY KEY,
    repository INTEGER NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    sha        TEXT NOT NULL,
    event      TEXT NOT NULL,
    depth      INTEGER NOT NULL
) STRICT;

CREATE TABLE reports (
    repository INTEGER NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    sha        TEXT NOT NULL,
    context    TEXT NOT NULL,
    run        INTEGER,
    state      TEXT NOT NULL,
    text       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    sent       TEXT,
    check_run  INTEGER,
    tries      INTEGER NOT NULL CHECK (tries >= 0),
    next_try   INTEGER,
    error      TEXT,
    PRIMARY KEY (repository, sha, context)
) STRICT, WITHOUT ROWID;
CREATE INDEX reports_open ON reports (next_try) WHERE next_try IS NOT NULL;

-- Accounts that contributed to a repository, by their number at the forge.
CREATE TABLE contributors (
    repository INTEGER NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    account    INTEGER NOT NULL,
    PRIMARY KEY (repository, account)
) STRICT, WITHOUT ROWID;
