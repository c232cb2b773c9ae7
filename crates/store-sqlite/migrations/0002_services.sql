-- Artifacts and caches.

-- Bytes that arrive in parts. Ids are never reused: objects are named after them.
CREATE TABLE blobs (
    id         INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id > 0),
    project    TEXT NOT NULL,
    attempt    TEXT NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('open', 'sealed', 'condemned')),
    generation INTEGER NOT NULL DEFAULT 0 CHECK (generation >= 0),
    bytes      INTEGER NOT NULL DEFAULT 0 CHECK (bytes >= 0),
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX blobs_by_project ON blobs (project, bytes) WHERE status <> 'condemned';
CREATE INDEX blobs_condemned ON blobs (id) WHERE status = 'condemned';

CREATE TABLE blob_parts (
    blob     INTEGER NOT NULL REFERENCES blobs (id) ON DELETE CASCADE,
    object   TEXT NOT NULL,
    block    TEXT NOT NULL,
    position INTEGER CHECK (position >= 0),
    size     INTEGER NOT NULL CHECK (size >= 0),
    PRIMARY KEY (blob, object)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX blob_parts_by_block ON blob_parts (blob, block);

-- A run may be deleted before its artifacts: the housekeeping finds those without one.
CREATE TABLE artifacts (
    id         INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id > 0),
    project    TEXT NOT NULL,
    run        INTEGER NOT NULL CHECK (run > 0),
    attempt    TEXT NOT NULL,
    name       TEXT NOT NULL CHECK (name <> ''),
    protocol   INTEGER NOT NULL CHECK (protocol IN (3, 4)),
    status     TEXT NOT NULL CHECK (status IN ('uploading', 'ready')),
    media_type TEXT NOT NULL,
    size       INTEGER NOT NULL DEFAULT 0 CHECK (size >= 0),
    sha256     BLOB CHECK (length(sha256) = 32),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    UNIQUE (run, name),
    CHECK (protocol = 3 OR (status = 'ready') = (sha256 IS NOT NULL))
) STRICT;
CREATE INDEX artifacts_by_expiry ON artifacts (expires_at);
CREATE INDEX artifacts_unfinished ON artifacts (created_at) WHERE status = 'uploading';

CREATE TABLE artifact_files (
    artifact INTEGER NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
    path     TEXT NOT NULL,
    blob     INTEGER NOT NULL UNIQUE REFERENCES blobs (id),
    gzip     INTEGER NOT NULL CHECK (gzip IN (0, 1)),
    length   INTEGER NOT NULL CHECK (length >= 0),
    PRIMARY KEY (artifact, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE caches (
    id         INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id > 0),
    project    TEXT NOT NULL,
    repository TEXT NOT NULL,
    git_ref    TEXT NOT NULL,
    key        TEXT NOT NULL CHECK (key <> ''),
    version    TEXT NOT NULL,
    attempt    TEXT NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('uploading', 'ready')),
    blob       INTEGER NOT NULL UNIQUE REFERENCES blobs (id),
    size       INTEGER NOT NULL DEFAULT 0 CHECK (size >= 0),
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL,
    UNIQUE (project, repository, git_ref, version, key)
) STRICT;
CREATE INDEX caches_by_use ON caches (project, repository, used_at) WHERE status = 'ready';
CREATE INDEX caches_unfinished ON caches (created_at) WHERE status = 'uploading';
