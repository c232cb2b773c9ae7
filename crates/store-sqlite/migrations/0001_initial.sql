-- Times are microseconds since the Unix epoch (UTC). Ids come from the control
-- plane. The CHECKs mirror the state machines of the model: a row that they
-- refuse cannot be the result of a transition. They say `a = x OR a = y` because
-- `a IN (x, y, z)` makes SQLite build a table for each statement that checks it.

-- Largest numbers ever used; they survive the deletion of rows.
CREATE TABLE counters (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    run    INTEGER NOT NULL DEFAULT 0,
    job    INTEGER NOT NULL DEFAULT 0,
    runner INTEGER NOT NULL DEFAULT 0,
    token  INTEGER NOT NULL DEFAULT 0,
    epoch  INTEGER NOT NULL DEFAULT 0,
    change INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO counters (id) VALUES (1);

-- Contents that many rows share, stored once by their BLAKE3 hash.
-- AUTOINCREMENT: an id never means two contents, so readers may cache by id.
CREATE TABLE documents (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    body TEXT NOT NULL
) STRICT;

CREATE TABLE specs (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    body TEXT NOT NULL
) STRICT;

CREATE TABLE placements (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    body TEXT NOT NULL
) STRICT;

CREATE TABLE runs (
    id               INTEGER PRIMARY KEY CHECK (id > 0),
    number           INTEGER NOT NULL,
    attempt          INTEGER NOT NULL CHECK (attempt >= 1),
    status           TEXT NOT NULL CHECK (
        status = 'queued' OR status = 'running' OR status = 'completed' OR status = 'waiting'),
    conclusion       TEXT CHECK (
        conclusion = 'success' OR conclusion = 'failure' OR conclusion = 'cancelled'
        OR conclusion = 'skipped' OR conclusion = 'timed_out'),
    cancel_requested INTEGER NOT NULL CHECK (cancel_requested IN (0, 1)),
    created_at       INTEGER NOT NULL,
    started_at       INTEGER,
    finished_at      INTEGER,
    change           INTEGER NOT NULL,
    jobs             INTEGER NOT NULL CHECK (jobs >= 0),
    kind             TEXT NOT NULL,
    name             TEXT NOT NULL,
    title            TEXT NOT NULL,
    project          TEXT NOT NULL,
    path             TEXT,
    event            TEXT NOT NULL,
    actor            TEXT,
    branch           TEXT,
    rerun_of         INTEGER,
    concurrency      TEXT,
    nodes            TEXT,
    CHECK ((status = 'completed') = (conclusion IS NOT NULL)),
    CHECK ((status = 'completed') = (finished_at IS NOT NULL)),
    CHECK (status <> 'running' OR started_at IS NOT NULL)
) STRICT;

CREATE INDEX runs_open ON runs (id) WHERE status <> 'completed';
CREATE INDEX runs_finished ON runs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX runs_conclusion ON runs (conclusion) WHERE conclusion IS NOT NULL;
CREATE INDEX runs_project ON runs (project);
CREATE INDEX runs_name ON runs (name);
CREATE INDEX runs_number ON runs (project, name, number);
CREATE INDEX runs_branch ON runs (branch) WHERE branch IS NOT NULL;
CREATE INDEX runs_actor ON runs (actor) WHERE actor IS NOT NULL;

-- Apart from the run, so that a change of state does not rewrite it.
CREATE TABLE run_payloads (
    run            INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    document       INTEGER NOT NULL REFERENCES documents (id),
    params         TEXT,
    contexts       TEXT,
    sealed_secrets BLOB
) STRICT;

CREATE INDEX run_payloads_document ON run_payloads (document);

CREATE TABLE jobs (
    id                INTEGER PRIMARY KEY CHECK (id > 0),
    run               INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    status            TEXT NOT NULL CHECK (
        status = 'queued' OR status = 'running' OR status = 'completed' OR status = 'waiting'),
    conclusion        TEXT CHECK (
        conclusion = 'success' OR conclusion = 'failure' OR conclusion = 'cancelled'
        OR conclusion = 'skipped' OR conclusion = 'timed_out'),
    cancel_requested  INTEGER NOT NULL CHECK (cancel_requested IN (0, 1)),
    attempt           INTEGER NOT NULL CHECK (attempt >= 0),
    runner            INTEGER,
    created_at        INTEGER NOT NULL,
    queued_at         INTEGER,
    started_at        INTEGER,
    finished_at       INTEGER,
    not_before        INTEGER,
    change            INTEGER NOT NULL,
    leg               INTEGER NOT NULL CHECK (leg >= 0),
    continue_on_error INTEGER NOT NULL CHECK (continue_on_error IN (0, 1)),
    fail_fast         INTEGER NOT NULL CHECK (fail_fast IN (0, 1)),
    max_parallel      INTEGER,
    exit_code         INTEGER,
    reason            TEXT,
    key               TEXT NOT NULL,
    name              TEXT NOT NULL,
    project           TEXT NOT NULL,
    placement         INTEGER REFERENCES placements (id),
    spec              INTEGER REFERENCES specs (id),
    message           TEXT,
    outputs           TEXT,
    needs             TEXT,
    CHECK ((status = 'completed') = (conclusion IS NOT NULL)),
    CHECK ((status = 'completed') = (finished_at IS NOT NULL)),
    CHECK (status <> 'running' OR (attempt >= 1 AND runner IS NOT NULL AND started_at IS NOT NULL)),
    CHECK (attempt = 0 OR (runner IS NOT NULL AND started_at IS NOT NULL))
) STRICT;

CREATE INDEX jobs_run ON jobs (run);
CREATE INDEX jobs_spec ON jobs (spec) WHERE spec IS NOT NULL;
CREATE INDEX jobs_placement ON jobs (placement) WHERE placement IS NOT NULL;

CREATE TABLE attempts (
    epoch       INTEGER PRIMARY KEY CHECK (epoch > 0),
    job         INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL CHECK (number >= 1),
    run         INTEGER NOT NULL,
    runner      INTEGER NOT NULL,
    leased_at   INTEGER NOT NULL,
    finished_at INTEGER,
    conclusion  TEXT CHECK (
        conclusion = 'success' OR conclusion = 'failure' OR conclusion = 'cancelled'
        OR conclusion = 'skipped' OR conclusion = 'timed_out'),
    reason      TEXT,
    message     TEXT,
    log_bytes   INTEGER NOT NULL DEFAULT 0 CHECK (log_bytes >= 0),
    steps       TEXT,
    result      TEXT,
    UNIQUE (job, number),
    CHECK ((finished_at IS NULL) = (conclusion IS NULL)),
    CHECK (result IS NULL OR finished_at IS NOT NULL)
) STRICT;

CREATE INDEX attempts_open ON attempts (epoch) WHERE finished_at IS NULL;

CREATE TABLE runners (
    id           INTEGER PRIMARY KEY CHECK (id > 0),
    name         TEXT NOT NULL UNIQUE,
    description  TEXT NOT NULL,
    fixed_labels TEXT,
    fixed_queue  TEXT,
    info         TEXT,
    slots        INTEGER NOT NULL CHECK (slots >= 0),
    version      TEXT NOT NULL,
    drain        INTEGER NOT NULL CHECK (drain IN (0, 1)),
    created_at   INTEGER NOT NULL,
    last_seen_at INTEGER
) STRICT;

-- Counted when a job completes, so that retention does not change the totals.
CREATE TABLE runner_totals (
    runner     INTEGER NOT NULL,
    conclusion TEXT NOT NULL CHECK (
        conclusion = 'success' OR conclusion = 'failure' OR conclusion = 'cancelled'
        OR conclusion = 'skipped' OR conclusion = 'timed_out'),
    jobs       INTEGER NOT NULL CHECK (jobs > 0),
    PRIMARY KEY (runner, conclusion)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    id           INTEGER PRIMARY KEY CHECK (id > 0),
    kind         TEXT NOT NULL CHECK (
        kind = 'admin' OR kind = 'member' OR kind = 'read_only' OR kind = 'registration'
        OR kind = 'runner'),
    name         TEXT NOT NULL,
    prefix       TEXT NOT NULL,
    hash         BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    last_used_at INTEGER,
    uses_left    INTEGER CHECK (uses_left >= 0),
    labels       TEXT,
    queue        TEXT,
    runner       INTEGER,
    revoked_at   INTEGER
) STRICT;

CREATE INDEX tokens_runner ON tokens (runner) WHERE runner IS NOT NULL;

CREATE TABLE idempotency (
    id           INTEGER PRIMARY KEY,
    key          TEXT NOT NULL UNIQUE,
    request_hash BLOB NOT NULL CHECK (length(request_hash) = 32),
    response     TEXT NOT NULL,
    created_at   INTEGER NOT NULL
) STRICT;

CREATE INDEX idempotency_created ON idempotency (created_at);

CREATE TABLE audit (
    id      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    actor   TEXT NOT NULL,
    action  TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail  TEXT
) STRICT;
