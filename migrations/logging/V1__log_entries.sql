-- Log lines of all daemons at warn and above, one partition a day. `daemon` is host and process id.
CREATE TABLE logging.log_entries (
    at             timestamptz NOT NULL,
    level          text        NOT NULL,
    target         text        NOT NULL,
    message        text        NOT NULL,
    correlation_id text COLLATE "C",
    fields         json        NOT NULL,
    daemon         text COLLATE "C" NOT NULL
) PARTITION BY RANGE (at);
CREATE INDEX log_entries_at ON logging.log_entries (at);
CREATE INDEX log_entries_correlation ON logging.log_entries (correlation_id) WHERE correlation_id IS NOT NULL;

-- Events as `/events/history` tells them, one partition a day; `sequence` counts within one daemon.
CREATE TABLE logging.events (
    at             timestamptz NOT NULL,
    kind           text COLLATE "C" NOT NULL,
    document_id    text COLLATE "C",
    correlation_id text COLLATE "C",
    daemon         text COLLATE "C" NOT NULL,
    sequence       bigint      NOT NULL,
    body           json        NOT NULL
) PARTITION BY RANGE (at);
CREATE INDEX events_at ON logging.events (at);

-- How often which stage gave up with which code, purged dead letters included.
CREATE TABLE logging.error_summary (
    stage          text COLLATE "C" NOT NULL,
    code           text COLLATE "C" NOT NULL,
    count          bigint      NOT NULL,
    first_at       timestamptz NOT NULL,
    last_at        timestamptz NOT NULL,
    last_error     text        NOT NULL,
    correlation_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (stage, code)
);
