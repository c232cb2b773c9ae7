-- What lists of runs are searched by, and what the fleet was like over time.

-- Narrow, so that looking for a part of a text reads little. `words` is in small letters.
CREATE TABLE run_facts (
    run   INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    sha   TEXT,
    words TEXT NOT NULL
) STRICT;
INSERT INTO run_facts (run, sha, words)
SELECT r.id, json_extract(p.params, '$.repository.sha'),
    lower(r.name || char(10) || r.title || char(10) || coalesce(r.branch, '') || char(10) ||
        coalesce(json_extract(p.params, '$.repository.sha'), '') || char(10) || '#' || r.number)
FROM runs r LEFT JOIN run_payloads p ON p.run = r.id;

CREATE INDEX runs_kind ON runs (kind);
CREATE INDEX runs_event ON runs (event);
-- With the run, so that filters by label and runner need nothing but the index.
DROP INDEX jobs_placement;
CREATE INDEX jobs_placement ON jobs (placement, run) WHERE placement IS NOT NULL;
CREATE INDEX jobs_runner ON jobs (runner, run) WHERE runner IS NOT NULL;

CREATE TABLE series (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- `at` in seconds; the meaning of the values follows from the name of the series.
CREATE TABLE samples (
    series INTEGER NOT NULL REFERENCES series (id) ON DELETE CASCADE,
    level  INTEGER NOT NULL CHECK (level >= 0),
    at     INTEGER NOT NULL,
    a      REAL,
    b      REAL,
    c      REAL,
    d      REAL,
    e      REAL,
    PRIMARY KEY (series, level, at)
) STRICT, WITHOUT ROWID;
