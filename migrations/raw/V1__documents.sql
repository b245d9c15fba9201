-- Documents as accepted, one row per id. In text columns U+0000, which PostgreSQL does not take, is U+10FFFE and `0`,
-- and U+10FFFE itself is doubled. `record_ms` is the record's own time; `published_ns` what `published_at` has below a
-- microsecond.
CREATE TABLE raw.documents (
    id             text COLLATE "C" PRIMARY KEY,
    correlation_id text COLLATE "C" NOT NULL,
    source         text COLLATE "C" NOT NULL,
    url            text,
    title          text,
    text           text     NOT NULL,
    author         text,
    published_at   timestamptz,
    published_ns   smallint,
    symbols        json     NOT NULL,
    lang           text,
    metadata       json     NOT NULL,
    content_hash   bytea    NOT NULL,
    record_ms      bigint   NOT NULL,
    topic          text COLLATE "C" NOT NULL,
    partition      integer  NOT NULL,
    "offset"       bigint   NOT NULL
);
