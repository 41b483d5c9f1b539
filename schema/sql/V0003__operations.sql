-- What operators see of the fleet that no task tells.

-- Processes that run, each with its latest sign of life. The pool is that of a worker that is scaled, others have none.
-- Who is leaving takes nothing new. Nothing depends on these rows: whoever dies leaves one behind, which is swept.
CREATE TABLE process (
    instance     TEXT PRIMARY KEY,
    role         TEXT NOT NULL,
    pool         TEXT,
    host         TEXT NOT NULL,
    version      TEXT NOT NULL,
    started_at   BIGINT NOT NULL,
    seen_at      BIGINT NOT NULL,
    leaving      BOOLEAN NOT NULL
);
CREATE INDEX process_age ON process (seen_at);

-- How queues whose messages are no tasks stood at the last look at them: how many messages were there, since when they
-- wait, and how many of those that were there then have not been seen to leave.
CREATE TABLE queue_backlog (
    queue        TEXT PRIMARY KEY,
    depth        BIGINT NOT NULL,
    since        BIGINT,
    ahead        BIGINT NOT NULL,
    looked_at    BIGINT NOT NULL
);
