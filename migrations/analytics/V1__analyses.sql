-- One analysis per document: the verdict. `body` is the whole of it as published, the columns are for queries. `seq` is
-- the order of the verdicts and joins the other tables.
CREATE SEQUENCE analytics.analyses_seq;
CREATE TABLE analytics.analyses (
    seq             bigint  PRIMARY KEY,
    document_id     text COLLATE "C" NOT NULL,
    correlation_id  text COLLATE "C" NOT NULL,
    source          text COLLATE "C" NOT NULL,
    verdict         text    NOT NULL CHECK (verdict IN ('stored', 'duplicate')),
    duplicate_of    text COLLATE "C",
    rule            text,
    similarity      real,
    sentiment_label text,
    sentiment_score real,
    category        text,
    symbols         text[]  NOT NULL,
    published_at    timestamptz,
    processed_at    timestamptz NOT NULL,
    record_ms       bigint  NOT NULL,
    topic           text COLLATE "C" NOT NULL,
    partition       integer NOT NULL,
    "offset"        bigint  NOT NULL,
    body            json    NOT NULL,
    CONSTRAINT analyses_document UNIQUE (document_id),
    CONSTRAINT analyses_original CHECK ((verdict = 'duplicate') = (duplicate_of IS NOT NULL))
);
CREATE INDEX analyses_processed ON analytics.analyses (processed_at, seq);
CREATE INDEX analyses_verdict ON analytics.analyses (verdict, processed_at, seq);
CREATE INDEX analyses_source ON analytics.analyses (source, processed_at, seq);
CREATE INDEX analyses_correlation ON analytics.analyses (correlation_id);
CREATE INDEX analyses_record ON analytics.analyses (record_ms, topic, partition, "offset");

-- Symbols given by the sender or found in the text, with what was said about them.
CREATE TABLE analytics.symbols (
    symbol          text COLLATE "C" NOT NULL,
    processed_at    timestamptz NOT NULL,
    seq             bigint      NOT NULL,
    correlation_id  text COLLATE "C" NOT NULL,
    sentiment_label text,
    sentiment_score real,
    PRIMARY KEY (symbol, processed_at, seq)
);

-- Entities in order of appearance; start and end count Unicode scalar values of the text.
CREATE TABLE analytics.entities (
    seq            bigint      NOT NULL,
    position       integer     NOT NULL,
    processed_at   timestamptz NOT NULL,
    correlation_id text COLLATE "C" NOT NULL,
    kind           text COLLATE "C" NOT NULL,
    text           text        NOT NULL,
    start          integer     NOT NULL,
    "end"          integer     NOT NULL,
    symbol         text COLLATE "C",
    PRIMARY KEY (seq, position)
);

-- Embeddings of stored documents, little-endian 32-bit floats: what a vector index is rebuilt from.
CREATE TABLE analytics.vectors (
    seq            bigint PRIMARY KEY,
    correlation_id text COLLATE "C" NOT NULL,
    model          text,
    vector         bytea  NOT NULL
);
-- Noise does not compress: do not try.
ALTER TABLE analytics.vectors ALTER COLUMN vector SET STORAGE EXTERNAL;

-- Records that could not reach a verdict of their own, byte for byte. Here and not in `logging`, because dead is a
-- verdict too: one transaction sees to it that a record has one.
CREATE TABLE analytics.dead_letters (
    seq            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id             text COLLATE "C" NOT NULL,
    document_id    text COLLATE "C",
    correlation_id text COLLATE "C" NOT NULL,
    stage          text COLLATE "C" NOT NULL,
    code           text COLLATE "C" NOT NULL,
    error          text        NOT NULL,
    attempts       bigint      NOT NULL,
    history        json        NOT NULL,
    topic          text COLLATE "C" NOT NULL,
    partition      integer     NOT NULL,
    "offset"       bigint      NOT NULL,
    first_seen     timestamptz NOT NULL,
    dead_at        timestamptz NOT NULL,
    replayed_at    timestamptz,
    key            bytea,
    value          bytea       NOT NULL,
    headers        json        NOT NULL,
    CONSTRAINT dead_letters_id UNIQUE (id)
);
CREATE INDEX dead_letters_dead ON analytics.dead_letters (dead_at, seq);
CREATE INDEX dead_letters_document ON analytics.dead_letters (document_id) WHERE document_id IS NOT NULL;
CREATE INDEX dead_letters_correlation ON analytics.dead_letters (correlation_id);
