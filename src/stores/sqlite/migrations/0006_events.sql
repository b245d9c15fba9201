-- The last events as `/events/history` tells them; `body` is the whole of each, the columns are for queries.
CREATE TABLE logging_events (
    sequence INTEGER PRIMARY KEY,
    at_us    INTEGER NOT NULL,
    kind     TEXT    NOT NULL,
    body     TEXT    NOT NULL
);
