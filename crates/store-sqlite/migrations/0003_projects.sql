-- Secrets, variables, environments and approvals. Names of environments are
-- compared in small letters (`key`), those of secrets and variables are kept in
-- capitals. An absent project or environment is the empty text, so that it can
-- be part of a key.

CREATE TABLE projects (
    name       TEXT PRIMARY KEY CHECK (name <> ''),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO projects (name, created_at) VALUES ('default', 0);

-- Keys that are sealed under the master key, which is in a file outside.
CREATE TABLE data_keys (
    id         INTEGER PRIMARY KEY CHECK (id > 0),
    purpose    TEXT NOT NULL CHECK (purpose = 'secret' OR purpose = 'run' OR purpose = 'token'),
    project    TEXT NOT NULL,
    master     BLOB NOT NULL CHECK (length(master) = 8),
    sealed     BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE environments (
    project    TEXT NOT NULL REFERENCES projects (name),
    key        TEXT NOT NULL CHECK (key <> ''),
    name       TEXT NOT NULL,
    rules      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL,
    PRIMARY KEY (project, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE secrets (
    scope       TEXT NOT NULL,
    project     TEXT NOT NULL,
    environment TEXT NOT NULL,
    name        TEXT NOT NULL CHECK (name <> '' AND name = upper(name)),
    shown       TEXT NOT NULL,
    data_key    INTEGER NOT NULL REFERENCES data_keys (id),
    sealed      BLOB NOT NULL,
    updated_at  INTEGER NOT NULL,
    updated_by  TEXT NOT NULL,
    PRIMARY KEY (project, environment, name),
    CHECK (scope = 'global' OR scope = 'project' OR scope = 'environment'),
    CHECK ((scope = 'global') = (project = '')),
    CHECK ((scope = 'environment') = (environment <> ''))
) STRICT;

CREATE TABLE variables (
    scope       TEXT NOT NULL,
    project     TEXT NOT NULL,
    environment TEXT NOT NULL,
    name        TEXT NOT NULL CHECK (name <> '' AND name = upper(name)),
    shown       TEXT NOT NULL,
    value       TEXT NOT NULL,
    updated_at  INTEGER NOT NULL,
    updated_by  TEXT NOT NULL,
    PRIMARY KEY (project, environment, name),
    CHECK (scope = 'global' OR scope = 'project' OR scope = 'environment'),
    CHECK ((scope = 'global') = (project = '')),
    CHECK ((scope = 'environment') = (environment <> ''))
) STRICT;

-- Which secret went to which attempt. Outlives the run: it is a log.
CREATE TABLE secret_uses (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    name        TEXT NOT NULL,
    scope       TEXT NOT NULL CHECK (
        scope = 'global' OR scope = 'project' OR scope = 'environment' OR scope = 'run'),
    project     TEXT NOT NULL,
    environment TEXT,
    run         INTEGER NOT NULL,
    job         INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    epoch       INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX secret_uses_once ON secret_uses (epoch, name);
CREATE INDEX secret_uses_at ON secret_uses (at);
CREATE INDEX secret_uses_name ON secret_uses (name);

CREATE TABLE approvals (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    run         INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    job         INTEGER REFERENCES jobs (id) ON DELETE CASCADE,
    project     TEXT NOT NULL,
    environment TEXT,
    reason      TEXT,
    state       TEXT NOT NULL CHECK (
        state = 'pending' OR state = 'approved' OR state = 'rejected' OR state = 'cancelled'
        OR state = 'not_required'),
    reviewers   TEXT,
    due         INTEGER,
    created_at  INTEGER NOT NULL,
    decided_at  INTEGER,
    decided_by  TEXT,
    comment     TEXT,
    CHECK ((state = 'pending' OR state = 'not_required') = (decided_at IS NULL)),
    CHECK ((decided_at IS NULL) = (decided_by IS NULL)),
    CHECK (state <> 'not_required' OR due IS NOT NULL)
) STRICT;

CREATE UNIQUE INDEX approvals_job ON approvals (job) WHERE job IS NOT NULL;
CREATE UNIQUE INDEX approvals_run ON approvals (run) WHERE job IS NULL;
CREATE INDEX approvals_of_run ON approvals (run);
CREATE INDEX approvals_pending ON approvals (id) WHERE state = 'pending';
