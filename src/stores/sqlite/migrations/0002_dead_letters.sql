-- Records that could not reach a verdict, byte for byte.
CREATE TABLE logging_dead_letters (
    seq            INTEGER PRIMARY KEY,
    id             TEXT    NOT NULL UNIQUE,
    document_id    TEXT,
    correlation_id TEXT    NOT NULL,
    stage          TEXT    NOT NULL,
    code           TEXT    NOT NULL,
    error          TEXT    NOT NULL,
    attempts       INTEGER NOT NULL,
    history        TEXT    NOT NULL,
    topic          TEXT    NOT NULL,
    partition      INTEGER NOT NULL,
    "offset"       INTEGER NOT NULL,
    first_seen_us  INTEGER NOT NULL,
    dead_at_us     INTEGER NOT NULL,
    replayed_at_us INTEGER,
    key            BLOB,
    value          BLOB    NOT NULL,
    headers        TEXT    NOT NULL
);
CREATE INDEX logging_dead_letters_dead ON logging_dead_letters (dead_at_us);
CREATE INDEX logging_dead_letters_document ON logging_dead_letters (document_id) WHERE document_id IS NOT NULL;
CREATE INDEX logging_dead_letters_correlation ON logging_dead_letters (correlation_id);

-- How often which stage gave up with which code, purged dead letters included.
CREATE TABLE logging_error_summary (
    stage          TEXT    NOT NULL,
    code           TEXT    NOT NULL,
    count          INTEGER NOT NULL,
    first_at_us    INTEGER NOT NULL,
    last_at_us     INTEGER NOT NULL,
    last_error     TEXT    NOT NULL,
    correlation_id TEXT    NOT NULL,
    PRIMARY KEY (stage, code)
) WITHOUT ROWID;
