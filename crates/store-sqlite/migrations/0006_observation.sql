-- What the fleet was like over time.

CREATE TABLE samples (
    series TEXT NOT NULL,
    at     INTEGER NOT NULL,
    value  REAL NOT NULL,
    PRIMARY KEY (series, at)
) STRICT, WITHOUT ROWID;
