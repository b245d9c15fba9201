-- Documents as accepted, one row per id. `seq` joins the other tables; `record_ms` is the record's own time.
CREATE TABLE raw_documents (
    seq            INTEGER PRIMARY KEY,
    id             TEXT    NOT NULL UNIQUE,
    correlation_id TEXT    NOT NULL,
    source         TEXT    NOT NULL,
    url            TEXT,
    title          TEXT,
    text           TEXT    NOT NULL,
    author         TEXT,
    published_at   TEXT,
    symbols        TEXT    NOT NULL,
    lang           TEXT,
    metadata       TEXT    NOT NULL,
    content_hash   BLOB    NOT NULL,
    record_ms      INTEGER NOT NULL,
    topic          TEXT    NOT NULL,
    partition      INTEGER NOT NULL,
    "offset"       INTEGER NOT NULL
);
CREATE INDEX raw_documents_correlation ON raw_documents (correlation_id);
CREATE INDEX raw_documents_record ON raw_documents (record_ms);

-- One analysis per document; `body` is the whole of it as published, the columns are for queries.
CREATE TABLE analytics_analyses (
    seq             INTEGER PRIMARY KEY,
    document_id     TEXT    NOT NULL,
    correlation_id  TEXT    NOT NULL,
    source          TEXT    NOT NULL,
    verdict         TEXT    NOT NULL CHECK (verdict IN ('stored', 'duplicate')),
    duplicate_of    TEXT,
    rule            TEXT,
    similarity      REAL,
    sentiment_label TEXT,
    sentiment_score REAL,
    category        TEXT,
    processed_at_us INTEGER NOT NULL,
    body            TEXT    NOT NULL,
    CHECK ((verdict = 'duplicate') = (duplicate_of IS NOT NULL))
);
CREATE INDEX analytics_analyses_processed ON analytics_analyses (processed_at_us);
CREATE INDEX analytics_analyses_verdict ON analytics_analyses (verdict, processed_at_us);
CREATE INDEX analytics_analyses_source ON analytics_analyses (source, processed_at_us);

-- Symbols given by the sender or found in the text.
CREATE TABLE analytics_symbols (
    symbol          TEXT    NOT NULL,
    processed_at_us INTEGER NOT NULL,
    seq             INTEGER NOT NULL,
    correlation_id  TEXT    NOT NULL,
    PRIMARY KEY (symbol, processed_at_us, seq)
) WITHOUT ROWID;

-- Entities in order of appearance; start and end count Unicode scalar values of the text.
CREATE TABLE analytics_entities (
    seq            INTEGER NOT NULL,
    position       INTEGER NOT NULL,
    correlation_id TEXT    NOT NULL,
    kind           TEXT    NOT NULL,
    text           TEXT    NOT NULL,
    start          INTEGER NOT NULL,
    "end"          INTEGER NOT NULL,
    symbol         TEXT,
    PRIMARY KEY (seq, position)
) WITHOUT ROWID;

-- Embeddings of stored documents, little-endian 32-bit floats: what the vector index is rebuilt from.
CREATE TABLE analytics_vectors (
    seq            INTEGER PRIMARY KEY,
    correlation_id TEXT    NOT NULL,
    model          TEXT,
    vector         BLOB    NOT NULL
);
