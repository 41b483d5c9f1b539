//! Tables of the object store.
//!
//! Invariants: a blob file is alive while a `piece` or a `part` row names it; a blob in `garbage` is named by neither,
//! and can never be again, because only rows lead to blobs. A key has at most one `latest` row.

use rusqlite::Connection;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS bucket (
    name       TEXT PRIMARY KEY,
    created    INTEGER NOT NULL,
    versioning TEXT                       -- NULL (never enabled), 'Enabled', 'Suspended'
) WITHOUT ROWID;

-- Configurations as JSON, one row per kind: cors, lifecycle, notification, policy, ...
CREATE TABLE IF NOT EXISTS bucket_config (
    bucket TEXT NOT NULL REFERENCES bucket(name) ON DELETE CASCADE,
    kind   TEXT NOT NULL,
    body   TEXT NOT NULL,
    PRIMARY KEY (bucket, kind)
) WITHOUT ROWID;

-- One row per version; a bucket without versioning has the version 'null' only. `id` grows: newest first is `id DESC`.
CREATE TABLE IF NOT EXISTS object (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket           TEXT NOT NULL REFERENCES bucket(name),
    key              TEXT NOT NULL,
    version          TEXT NOT NULL,
    latest           INTEGER NOT NULL,
    marker           INTEGER NOT NULL,     -- 1: delete marker
    size             INTEGER NOT NULL,
    etag             TEXT NOT NULL,        -- without quotes
    modified         INTEGER NOT NULL,     -- epoch ms
    noncurrent_since INTEGER,              -- epoch ms; NULL while latest
    parts            INTEGER,              -- number of parts of a multipart upload
    meta             TEXT NOT NULL,        -- JSON: headers and user metadata
    sums             TEXT NOT NULL,        -- JSON: checksums
    tags             TEXT NOT NULL         -- JSON: [[key, value], ...]
);
CREATE UNIQUE INDEX IF NOT EXISTS object_version ON object (bucket, key, version);
CREATE UNIQUE INDEX IF NOT EXISTS object_latest ON object (bucket, key) WHERE latest = 1;
CREATE INDEX IF NOT EXISTS object_history ON object (bucket, key, id DESC);

CREATE TABLE IF NOT EXISTS piece (
    object INTEGER NOT NULL REFERENCES object(id),
    n      INTEGER NOT NULL,               -- part number; 1 for a single PUT
    blob   TEXT NOT NULL,
    start  INTEGER NOT NULL,               -- offset in the object
    size   INTEGER NOT NULL,
    PRIMARY KEY (object, n)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS piece_blob ON piece (blob);

CREATE TABLE IF NOT EXISTS upload (
    id        TEXT PRIMARY KEY,
    bucket    TEXT NOT NULL REFERENCES bucket(name),
    key       TEXT NOT NULL,
    initiated INTEGER NOT NULL,            -- epoch ms
    algorithm TEXT,                        -- checksum algorithm asked for at creation
    composite INTEGER NOT NULL,            -- 1: the checksum of the object is one of checksums
    meta      TEXT NOT NULL,
    tags      TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS upload_key ON upload (bucket, key, id);

CREATE TABLE IF NOT EXISTS part (
    upload   TEXT NOT NULL REFERENCES upload(id),
    n        INTEGER NOT NULL,
    blob     TEXT NOT NULL,
    size     INTEGER NOT NULL,
    etag     TEXT NOT NULL,
    modified INTEGER NOT NULL,
    sums     TEXT NOT NULL,
    PRIMARY KEY (upload, n)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS part_blob ON part (blob);

-- What a completed upload became, so that a repeated Complete (its answer was lost) gets the same answer.
CREATE TABLE IF NOT EXISTS completed_upload (
    id        TEXT PRIMARY KEY,
    bucket    TEXT NOT NULL,
    key       TEXT NOT NULL,
    etag      TEXT NOT NULL,
    version   TEXT,
    sums      TEXT NOT NULL,
    completed INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS garbage (
    blob  TEXT PRIMARY KEY,
    since INTEGER NOT NULL                 -- epoch ms
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS sequencer (one INTEGER PRIMARY KEY CHECK (one = 1), n INTEGER NOT NULL);
INSERT OR IGNORE INTO sequencer VALUES (1, 0);
";

/// Makes the tables that are not there yet.
pub(crate) fn migrate(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(TABLES)
}
