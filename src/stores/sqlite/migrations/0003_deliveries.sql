-- Every record that brought a document, its repeats and replaced revisions too, so that each correlation id is found.
CREATE TABLE raw_deliveries (
    topic           TEXT    NOT NULL,
    partition       INTEGER NOT NULL,
    "offset"        INTEGER NOT NULL,
    document_id     TEXT    NOT NULL,
    correlation_id  TEXT    NOT NULL,
    outcome         TEXT    NOT NULL CHECK (outcome IN ('stored', 'duplicate', 'repeated')),
    processed_at_us INTEGER NOT NULL,
    PRIMARY KEY (topic, partition, "offset")
) WITHOUT ROWID;
CREATE INDEX raw_deliveries_correlation ON raw_deliveries (correlation_id);
CREATE INDEX raw_deliveries_document ON raw_deliveries (document_id, processed_at_us);

INSERT INTO raw_deliveries
SELECT d.topic, d.partition, d."offset", d.id, d.correlation_id, a.verdict, a.processed_at_us
FROM raw_documents d JOIN analytics_analyses a ON a.seq = d.seq WHERE true
ON CONFLICT DO NOTHING;
DROP INDEX raw_documents_correlation;
