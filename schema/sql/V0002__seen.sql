-- Up to which position of one's own stream (user:tenant/owner) somebody has read.
CREATE TABLE seen (
    stream       TEXT PRIMARY KEY,
    position     BIGINT NOT NULL
);

-- The streams of users are kept longer than all others, so these are found past them by their age.
CREATE INDEX event_log_age_others ON event_log (logged_at) WHERE substr(stream, 1, 5) <> 'user:';
