-- Every record that brought a document, its repeats and replaced revisions too, so that each correlation id is found.
CREATE TABLE analytics.deliveries (
    topic          text COLLATE "C" NOT NULL,
    partition      integer     NOT NULL,
    "offset"       bigint      NOT NULL,
    document_id    text COLLATE "C" NOT NULL,
    correlation_id text COLLATE "C" NOT NULL,
    outcome        text        NOT NULL CHECK (outcome IN ('stored', 'duplicate', 'repeated')),
    processed_at   timestamptz NOT NULL,
    PRIMARY KEY (topic, partition, "offset")
);
CREATE INDEX deliveries_correlation ON analytics.deliveries (correlation_id);
CREATE INDEX deliveries_document ON analytics.deliveries (document_id);

INSERT INTO analytics.deliveries
SELECT topic, partition, "offset", document_id, correlation_id, verdict, processed_at FROM analytics.analyses
ON CONFLICT DO NOTHING;
DROP INDEX analytics.analyses_correlation;
