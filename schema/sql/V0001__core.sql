-- The catalog. Columns are BIGINT, TEXT, BOOLEAN and DOUBLE PRECISION only, times are epoch milliseconds and JSON is
-- TEXT, both made in Rust, so that every statement runs on SQLite and on PostgreSQL alike.

CREATE TABLE api_key (
    id           TEXT PRIMARY KEY,
    tenant       TEXT NOT NULL,
    owner        TEXT NOT NULL,
    name         TEXT NOT NULL,
    hash         TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT,
    rotated_at   BIGINT,
    revoked_at   BIGINT
);
CREATE INDEX api_key_owner ON api_key (tenant, owner, id);

-- People. The e-mail is in lower case, passwords are argon2id in PHC form, the state is active or disabled.
CREATE TABLE user_account (
    id            TEXT PRIMARY KEY,
    tenant        TEXT NOT NULL,
    email         TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    roles         TEXT NOT NULL,
    state         TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    version       BIGINT NOT NULL,
    op_id         TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);
CREATE INDEX user_by_tenant ON user_account (tenant, id);

-- A person who has signed in on one device. Its refresh tokens are numbered, only the newest is good, and for a moment
-- the one before it. The tokens are made from id and number by the gateways' secret: nothing here lets anybody in.
CREATE TABLE session (
    id           TEXT PRIMARY KEY,
    user_id      TEXT NOT NULL,
    number       BIGINT NOT NULL,
    rotated_at   BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    revoked_at   BIGINT
);
CREATE INDEX session_of_user ON session (user_id, expires_at);

-- Invitations to sign up, by the hash of their secret, each is good once.
CREATE TABLE invitation (
    id           TEXT PRIMARY KEY,
    hash         TEXT NOT NULL UNIQUE,
    tenant       TEXT NOT NULL,
    email        TEXT,
    roles        TEXT NOT NULL,
    invited_by   TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    used_by      TEXT
);

-- Who other providers (OpenID) vouch for: their own names for people, each belongs to one account. Somebody who comes by
-- such a provider alone has no password: an empty hash.
CREATE TABLE user_identity (
    issuer       TEXT NOT NULL,
    subject      TEXT NOT NULL,
    user_id      TEXT NOT NULL,
    op_id        TEXT NOT NULL,
    linked_at    BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX identity_of_user ON user_identity (user_id);

-- What is good once and was used, by its hash, for as long as it would be good.
CREATE TABLE used_once (
    hash         TEXT PRIMARY KEY,
    op_id        TEXT NOT NULL,
    expires_at   BIGINT NOT NULL
);

-- Wishes for a new password, by the hash of their secret, each is good once, and only the newest of a user.
CREATE TABLE password_reset (
    user_id      TEXT PRIMARY KEY,
    hash         TEXT NOT NULL UNIQUE,
    expires_at   BIGINT NOT NULL,
    op_id        TEXT NOT NULL
);

-- Single-use realtime tickets, by the hash of the secret. drawn_by is the session or API key that asked for it: what it
-- opened ends with that.
CREATE TABLE ticket (
    hash         TEXT PRIMARY KEY,
    tenant       TEXT NOT NULL,
    owner        TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    drawn_by     TEXT NOT NULL,
    origin       TEXT,
    expires_at   BIGINT NOT NULL,
    used_by      TEXT
);

CREATE TABLE upload (
    id           TEXT PRIMARY KEY,
    tenant       TEXT NOT NULL,
    owner        TEXT NOT NULL,
    asset_id     TEXT NOT NULL,
    bucket       TEXT NOT NULL,
    object_key   TEXT NOT NULL,
    name         TEXT NOT NULL,
    content_type TEXT NOT NULL,
    size         BIGINT NOT NULL,
    part_size    BIGINT,
    s3_upload_id TEXT,
    fingerprint  TEXT,
    request_key  TEXT,
    checksum     TEXT,
    traceparent  TEXT,
    state        TEXT NOT NULL,
    op_id        TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL
);
CREATE UNIQUE INDEX upload_object ON upload (bucket, object_key);
CREATE UNIQUE INDEX upload_request ON upload (tenant, owner, request_key);
CREATE INDEX upload_open ON upload (state, expires_at);

-- What was uploaded. The identity is (bucket, key, version id) or (bucket, key, ETag): one row per object, for ever.
CREATE TABLE asset (
    id             TEXT PRIMARY KEY,
    identity       TEXT NOT NULL UNIQUE,
    tenant         TEXT NOT NULL,
    owner          TEXT NOT NULL,
    upload_id      TEXT,
    bucket         TEXT NOT NULL,
    object_key     TEXT NOT NULL,
    version_id     TEXT,
    etag           TEXT NOT NULL,
    sequencer      TEXT,
    size           BIGINT NOT NULL,
    name           TEXT NOT NULL,
    state          TEXT NOT NULL,
    media          TEXT,
    probe          TEXT,
    duration_ms    BIGINT,
    width          BIGINT,
    height         BIGINT,
    generation     BIGINT NOT NULL,
    reason_code    TEXT,
    reason_detail  TEXT,
    ended_by       TEXT,
    version        BIGINT NOT NULL,
    op_id          TEXT NOT NULL,
    described      BIGINT NOT NULL,
    -- What its owner says of it. `edition` counts the edits, `search` is all of it in lower case.
    description    TEXT NOT NULL,
    tags           TEXT NOT NULL,
    visibility     TEXT NOT NULL,
    edition        BIGINT NOT NULL,
    search         TEXT NOT NULL,
    edited_by      TEXT,
    landed_at      BIGINT NOT NULL,
    playable_at    BIGINT,
    ready_at       BIGINT,
    updated_at     BIGINT NOT NULL
);
CREATE INDEX asset_by_tenant ON asset (tenant, id);
CREATE INDEX asset_by_owner ON asset (tenant, owner, id);
CREATE INDEX asset_by_key ON asset (bucket, object_key);
CREATE INDEX asset_public ON asset (id) WHERE visibility = 'public';
-- Small whatever the number of assets: it holds what is to be described, and nothing else.
CREATE INDEX asset_undescribed ON asset (updated_at) WHERE described < version;

-- An asset that is marked as deleted and, once its objects are gone, the proof of it. The asset's own row is the tombstone.
CREATE TABLE deletion (
    asset_id     TEXT PRIMARY KEY,
    requested_by TEXT NOT NULL,
    requested_at BIGINT NOT NULL,
    purge_at     BIGINT NOT NULL,
    state_before TEXT NOT NULL,
    ended_by     TEXT NOT NULL,
    purging_at   BIGINT,
    swept_at     BIGINT,
    done_at      BIGINT,
    proof        TEXT
);
CREATE INDEX deletion_due ON deletion (done_at, purge_at);

-- What arrived, as it arrived: kept for inspection.
CREATE TABLE inbox (
    identity     TEXT PRIMARY KEY,
    body         TEXT NOT NULL,
    received_at  BIGINT NOT NULL
);

CREATE TABLE job (
    id           TEXT PRIMARY KEY,
    asset_id     TEXT NOT NULL,
    tenant       TEXT NOT NULL,
    generation   BIGINT NOT NULL,
    state        TEXT NOT NULL,
    remaining    BIGINT NOT NULL,
    total_us     BIGINT NOT NULL,
    plan         TEXT,
    publish_task TEXT,
    reason_code  TEXT,
    percent      DOUBLE PRECISION NOT NULL,
    progress_seq BIGINT NOT NULL,
    progress_at  BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL
);
CREATE UNIQUE INDEX job_of_asset ON job (asset_id, generation);

-- Rows are the truth, messages are wake-ups. Every write compares the lease token.
CREATE TABLE task (
    id           TEXT PRIMARY KEY,
    job_id       TEXT NOT NULL,
    asset_id     TEXT NOT NULL,
    tenant       TEXT NOT NULL,
    kind         TEXT NOT NULL,
    queue        TEXT NOT NULL,
    body         TEXT NOT NULL,
    track        TEXT,
    chunk        BIGINT,
    state        TEXT NOT NULL,
    attempts     BIGINT NOT NULL,
    crashes      BIGINT NOT NULL,
    wanted       BIGINT NOT NULL,
    lease_token  BIGINT NOT NULL,
    lease_owner  TEXT,
    lease_until  BIGINT NOT NULL,
    next_at      BIGINT NOT NULL,
    cost_s       DOUBLE PRECISION NOT NULL,
    last_error   TEXT,
    last_exit    TEXT,
    op_id        TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL
);
CREATE INDEX task_of_job ON task (job_id, track, chunk);
CREATE INDEX task_of_asset ON task (asset_id, state);
CREATE INDEX task_stranded ON task (state, next_at, lease_until);

-- One lease of a task that may write objects. What it wrote and no run names is garbage once the lease is fenced.
CREATE TABLE attempt (
    task_id      TEXT NOT NULL,
    token        BIGINT NOT NULL,
    asset_id     TEXT NOT NULL,
    prefix       TEXT NOT NULL,
    owner        TEXT NOT NULL,
    started_at   BIGINT NOT NULL,
    swept_at     BIGINT,
    PRIMARY KEY (task_id, token)
);
CREATE INDEX attempt_unswept ON attempt (swept_at, started_at);

-- What an encoding task committed: the segments of one run of media, in every rendition of its track.
CREATE TABLE run (
    job_id       TEXT NOT NULL,
    track        TEXT NOT NULL,
    chunk        BIGINT NOT NULL,
    run          BIGINT NOT NULL,
    task_id      TEXT NOT NULL,
    token        BIGINT NOT NULL,
    start_us     BIGINT NOT NULL,
    end_us       BIGINT NOT NULL,
    frames       BIGINT NOT NULL,
    packets      BIGINT NOT NULL,
    errors       BIGINT NOT NULL,
    first_pts_us BIGINT NOT NULL,
    last_pts_us  BIGINT NOT NULL,
    next_pts_us  BIGINT,
    next_frame   BIGINT,
    anchor       TEXT,
    renditions   TEXT NOT NULL,
    is_last      BOOLEAN NOT NULL,
    committed_at BIGINT NOT NULL,
    PRIMARY KEY (job_id, track, chunk, run)
);
CREATE INDEX run_of_task ON run (task_id, token);

-- The playlists as last written, with the ETag that the next writer must meet.
CREATE TABLE playlist (
    job_id       TEXT NOT NULL,
    name         TEXT NOT NULL,
    etag         TEXT NOT NULL,
    segments     BIGINT NOT NULL,
    ended        BOOLEAN NOT NULL,
    updated_at   BIGINT NOT NULL,
    PRIMARY KEY (job_id, name)
);

CREATE TABLE rendition (
    asset_id     TEXT NOT NULL,
    generation   BIGINT NOT NULL,
    name         TEXT NOT NULL,
    codecs       TEXT NOT NULL,
    width        BIGINT,
    height       BIGINT,
    bandwidth    BIGINT NOT NULL,
    frames       BIGINT NOT NULL,
    bytes        BIGINT NOT NULL,
    PRIMARY KEY (asset_id, generation, name)
);

CREATE TABLE picture (
    asset_id     TEXT NOT NULL,
    generation   BIGINT NOT NULL,
    name         TEXT NOT NULL,
    kind         TEXT NOT NULL,
    format       TEXT NOT NULL,
    width        BIGINT NOT NULL,
    height       BIGINT NOT NULL,
    bytes        BIGINT NOT NULL,
    PRIMARY KEY (asset_id, generation, name)
);

-- Captions of an asset, one file a language, whatever the generation of its outputs. `name` is relative to `out/{asset}/`.
CREATE TABLE caption (
    asset_id     TEXT NOT NULL,
    language     TEXT NOT NULL,
    label        TEXT NOT NULL,
    name         TEXT NOT NULL,
    cues         BIGINT NOT NULL,
    bytes        BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    PRIMARY KEY (asset_id, language)
);

-- The event log, numbered per stream. A stream's counter is the last row that a transaction touches before its log
-- rows, so positions appear in order.
CREATE TABLE stream (
    name         TEXT PRIMARY KEY,
    position     BIGINT NOT NULL
);
CREATE TABLE event_log (
    stream       TEXT NOT NULL,
    position     BIGINT NOT NULL,
    event_id     TEXT NOT NULL,
    body         TEXT NOT NULL,
    logged_at    BIGINT NOT NULL,
    PRIMARY KEY (stream, position)
);
CREATE INDEX event_log_age ON event_log (logged_at);

-- What has to leave: written with the change, sent by whoever claimed it, deleted when sent. Dead letters have message
-- attributes (JSON).
CREATE TABLE outbox (
    id           TEXT PRIMARY KEY,
    target       TEXT NOT NULL,
    body         TEXT NOT NULL,
    attributes   TEXT,
    tenant       TEXT NOT NULL,
    ord          BIGINT NOT NULL,
    claimed_by   TEXT NOT NULL,
    claimed_until BIGINT NOT NULL,
    created_at   BIGINT NOT NULL
);
CREATE INDEX outbox_claims ON outbox (claimed_by, created_at, ord);
CREATE INDEX outbox_leftovers ON outbox (claimed_until);

-- Mails to one person each, written with their cause. The text may hold a code or a link: it is blanked as soon as the
-- mail is sent or given up. next_at is when it is due, and while somebody sends it the end of that lease, attempts is
-- the lease's token.
CREATE TABLE mail (
    id           TEXT PRIMARY KEY,
    tenant       TEXT NOT NULL,
    to_address   TEXT NOT NULL,
    kind         TEXT NOT NULL,
    subject      TEXT NOT NULL,
    text         TEXT NOT NULL,
    state        TEXT NOT NULL,
    attempts     BIGINT NOT NULL,
    next_at      BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    last_error   TEXT,
    op_id        TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL
);
CREATE INDEX mail_due ON mail (state, next_at);
CREATE INDEX mail_to ON mail (to_address, id);

-- What people want to be written to about. Who has no row wants all of it but the weekly mail. week is the number of the
-- last one that was told of.
CREATE TABLE mail_wish (
    user_id      TEXT PRIMARY KEY,
    ready        BOOLEAN NOT NULL,
    failed       BOOLEAN NOT NULL,
    weekly       BOOLEAN NOT NULL,
    week         BIGINT NOT NULL,
    op_id        TEXT NOT NULL
);

-- How far somebody has read the operators' stream, from its beginning.
CREATE TABLE log_cursor (
    name         TEXT PRIMARY KEY,
    position     BIGINT NOT NULL,
    op_id        TEXT NOT NULL
);
INSERT INTO log_cursor (name, position, op_id) VALUES ('notices', 0, '');

-- Endpoints of other software that hear of events: the stream of their owner, or `ops` for all of their tenant, and how
-- far each has read it. Their secrets are made of id, version and the installation's secret.
CREATE TABLE webhook (
    id             TEXT PRIMARY KEY,
    tenant         TEXT NOT NULL,
    owner          TEXT NOT NULL,
    name           TEXT NOT NULL,
    url            TEXT NOT NULL,
    events         TEXT NOT NULL,
    stream         TEXT NOT NULL,
    position       BIGINT NOT NULL,
    enabled        BOOLEAN NOT NULL,
    reason         TEXT,
    secret_version BIGINT NOT NULL,
    rotated_at     BIGINT NOT NULL,
    op_id          TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL
);
CREATE INDEX webhook_of_owner ON webhook (tenant, owner, id);
CREATE INDEX webhook_of_stream ON webhook (stream);

-- One event for one webhook. next_at is when it is due, and while somebody sends it the end of that lease, whose token
-- is op_id. since is when it was made, or asked for again.
CREATE TABLE webhook_delivery (
    webhook_id   TEXT NOT NULL,
    event_id     TEXT NOT NULL,
    position     BIGINT NOT NULL,
    asset_id     TEXT NOT NULL,
    kind         TEXT NOT NULL,
    body         TEXT NOT NULL,
    state        TEXT NOT NULL,
    attempts     BIGINT NOT NULL,
    next_at      BIGINT NOT NULL,
    since        BIGINT NOT NULL,
    status       BIGINT,
    error        TEXT,
    took_ms      BIGINT,
    op_id        TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    PRIMARY KEY (webhook_id, event_id)
);
CREATE INDEX webhook_delivery_due ON webhook_delivery (state, next_at);
CREATE INDEX webhook_delivery_order ON webhook_delivery (webhook_id, asset_id, state, position);
CREATE INDEX webhook_delivery_age ON webhook_delivery (updated_at);

-- Assets that wait, or waited, for people's verdict: one review per asset, and so per version of its source.
CREATE TABLE approval (
    id             TEXT PRIMARY KEY,
    asset_id       TEXT NOT NULL UNIQUE,
    tenant         TEXT NOT NULL,
    owner          TEXT NOT NULL,
    source         TEXT NOT NULL,
    state          TEXT NOT NULL,
    version        BIGINT NOT NULL,
    needed         BIGINT NOT NULL,
    given          BIGINT NOT NULL,
    on_reject      TEXT NOT NULL,
    reason         TEXT,
    decided_by     TEXT,
    decided_at     BIGINT,
    requested_at   BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    remind_at      BIGINT,
    escalate_at    BIGINT,
    escalate_to    TEXT NOT NULL,
    quarantined_at BIGINT,
    op_id          TEXT NOT NULL
);
CREATE INDEX approval_desk ON approval (state, tenant, id);
CREATE INDEX approval_due ON approval (state, expires_at);
CREATE INDEX approval_of_owner ON approval (tenant, owner, state);

CREATE TABLE vote (
    review_id    TEXT NOT NULL,
    reviewer     TEXT NOT NULL,
    shown        TEXT NOT NULL,
    approves     BOOLEAN NOT NULL,
    reason       TEXT,
    at           BIGINT NOT NULL,
    PRIMARY KEY (review_id, reviewer)
);

-- Personal links, by the hash of their token. The code's hash is bound to the token.
CREATE TABLE review_link (
    hash         TEXT PRIMARY KEY,
    review_id    TEXT NOT NULL,
    address      TEXT NOT NULL,
    code_hash    TEXT NOT NULL,
    state        TEXT NOT NULL,
    tries        BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    used_at      BIGINT
);
CREATE INDEX review_link_of ON review_link (review_id, state);

-- What people did to the installation by hand: added to, never changed.
CREATE TABLE audit (
    id           TEXT PRIMARY KEY,
    at           BIGINT NOT NULL,
    who          TEXT NOT NULL,
    what         TEXT NOT NULL,
    subject      TEXT NOT NULL,
    detail       TEXT NOT NULL,
    tenant       TEXT
);
CREATE INDEX audit_subject ON audit (subject, at);
CREATE INDEX audit_tenant ON audit (tenant, at, id);
CREATE INDEX audit_who ON audit (who, at, id);

-- How far a scan of a bucket has come, and when somebody may go on: whoever moves next_at ahead has the turn.
CREATE TABLE scan (
    name         TEXT PRIMARY KEY,
    after        TEXT NOT NULL,
    pages        BIGINT NOT NULL,
    begun_at     BIGINT NOT NULL,
    op_id        TEXT NOT NULL,
    next_at      BIGINT NOT NULL
);

-- Output objects that no row names, as a scan found them: the janitor deletes them after their grace.
CREATE TABLE orphan (
    object_key   TEXT PRIMARY KEY,
    etag         TEXT NOT NULL,
    found_at     BIGINT NOT NULL
);
CREATE INDEX orphan_age ON orphan (found_at);

-- What operators ask of the workers of a pool: so many, or (NULL) as many as the formula says.
CREATE TABLE desired_workers (
    pool         TEXT PRIMARY KEY,
    workers      BIGINT,
    changed_by   TEXT NOT NULL,
    changed_at   BIGINT NOT NULL
);

-- Queues of which no new tasks are taken.
CREATE TABLE paused_queue (
    queue        TEXT PRIMARY KEY,
    paused_by    TEXT NOT NULL,
    paused_at    BIGINT NOT NULL
);

-- What the scaler decided, and why, each time it decided otherwise.
CREATE TABLE scaling_decision (
    pool         TEXT NOT NULL,
    at           BIGINT NOT NULL,
    running      BIGINT NOT NULL,
    workers      BIGINT NOT NULL,
    needed       BIGINT NOT NULL,
    reason       TEXT NOT NULL,
    words        TEXT NOT NULL,
    PRIMARY KEY (pool, at)
);

-- Campaigns make anew what landed before a date. The cursor is the last asset that one came to.
CREATE TABLE campaign (
    name         TEXT PRIMARY KEY,
    tenant       TEXT,
    before_ms    BIGINT NOT NULL,
    parallel     BIGINT NOT NULL,
    state        TEXT NOT NULL,
    after_asset  TEXT NOT NULL,
    handed       BIGINT NOT NULL,
    skipped      BIGINT NOT NULL,
    created_by   TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL
);
CREATE TABLE campaign_job (
    job_id       TEXT PRIMARY KEY,
    campaign     TEXT NOT NULL
);
CREATE INDEX campaign_jobs ON campaign_job (campaign);

-- What jobs are expected to take, and what they took. `day` (UTC, counted from the epoch) is the one whose budget holds a
-- job's estimate: without it, it has not started. Money is in millionths of the price file's currency.
CREATE TABLE job_cost (
    job_id       TEXT PRIMARY KEY,
    asset_id     TEXT NOT NULL,
    tenant       TEXT NOT NULL,
    estimate     TEXT,
    micros       BIGINT NOT NULL,
    day          BIGINT,
    parked_at    BIGINT,
    cpu_ms       BIGINT NOT NULL,
    source_bytes BIGINT NOT NULL DEFAULT 0,
    output_bytes BIGINT NOT NULL,
    puts         BIGINT NOT NULL,
    gets         BIGINT NOT NULL,
    tasks        BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL
);
CREATE INDEX job_cost_day ON job_cost (day, tenant);
CREATE INDEX job_cost_parked ON job_cost (tenant, parked_at) WHERE parked_at IS NOT NULL;

-- Estimates of what a tenant started on a day, together.
CREATE TABLE tenant_day (
    tenant       TEXT NOT NULL,
    day          BIGINT NOT NULL,
    started      BIGINT NOT NULL,
    PRIMARY KEY (tenant, day)
);

-- What a tenant may start within a day. Who has no row may start everything.
CREATE TABLE budget (
    tenant       TEXT PRIMARY KEY,
    micros       BIGINT NOT NULL,
    changed_by   TEXT NOT NULL,
    changed_at   BIGINT NOT NULL
);

-- What was measured of each kind of work, the older the less, beside what the model says of the same work.
CREATE TABLE speed (
    kind         TEXT PRIMARY KEY,
    samples      BIGINT NOT NULL,
    cpu_ms       BIGINT NOT NULL,
    model_ms     BIGINT NOT NULL,
    bytes        BIGINT NOT NULL,
    model_bytes  BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL
);

-- Facts about the installation: the epoch of the event log's positions.
CREATE TABLE installation (
    name         TEXT PRIMARY KEY,
    value        TEXT NOT NULL
);
