-- Jobs: waiting, running and the last finished ones. Times are milliseconds since the Unix epoch.
CREATE TABLE analytics_jobs (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT    NOT NULL UNIQUE,
    kind             TEXT    NOT NULL,
    state            TEXT    NOT NULL,
    priority         INTEGER NOT NULL,
    key              TEXT,
    correlation_id   TEXT    NOT NULL,
    payload          TEXT    NOT NULL,
    metadata         TEXT    NOT NULL,
    created_ms       INTEGER NOT NULL,
    run_at_ms        INTEGER NOT NULL,
    -- The smallest goes first.
    rank             INTEGER NOT NULL,
    ttl_ms           INTEGER,
    -- Until it is started for the first time.
    expires_ms       INTEGER,
    started_ms       INTEGER,
    finished_ms      INTEGER,
    attempts         INTEGER NOT NULL,
    max_attempts     INTEGER NOT NULL,
    replays          INTEGER NOT NULL,
    progress         REAL    NOT NULL,
    message          TEXT,
    worker           TEXT,
    -- Claims so far; only the newest claim's lease is one.
    fence            INTEGER NOT NULL,
    lease_ms         INTEGER,
    cancel_requested INTEGER NOT NULL,
    result           TEXT,
    reason           TEXT,
    errors           TEXT    NOT NULL
) STRICT;
CREATE INDEX analytics_jobs_ready ON analytics_jobs (kind, rank, seq) WHERE state = 'queued';
CREATE INDEX analytics_jobs_delayed ON analytics_jobs (kind, run_at_ms) WHERE state = 'delayed';
CREATE INDEX analytics_jobs_running ON analytics_jobs (kind, lease_ms) WHERE state = 'running';
CREATE INDEX analytics_jobs_expiring ON analytics_jobs (kind, expires_ms)
    WHERE expires_ms IS NOT NULL AND state IN ('queued', 'delayed');
CREATE UNIQUE INDEX analytics_jobs_key ON analytics_jobs (kind, key)
    WHERE key IS NOT NULL AND state IN ('queued', 'delayed', 'running');
CREATE INDEX analytics_jobs_state ON analytics_jobs (kind, state, finished_ms, seq);
