-- Bars: one row per symbol, interval and time.
CREATE TABLE raw_bars (
    symbol         TEXT    NOT NULL,
    interval       TEXT    NOT NULL,
    ts_us          INTEGER NOT NULL,
    open           REAL    NOT NULL,
    high           REAL    NOT NULL,
    low            REAL    NOT NULL,
    close          REAL    NOT NULL,
    volume         REAL,
    metadata       TEXT,
    correlation_id TEXT    NOT NULL,
    topic          TEXT    NOT NULL,
    partition      INTEGER NOT NULL,
    "offset"       INTEGER NOT NULL,
    record_ms      INTEGER NOT NULL,
    PRIMARY KEY (symbol, interval, ts_us)
) WITHOUT ROWID;

-- What each stored document said about each of its symbols, one row per record: a revision adds to what was said.
CREATE TABLE analytics_signals (
    seq             INTEGER PRIMARY KEY,
    topic           TEXT    NOT NULL,
    partition       INTEGER NOT NULL,
    "offset"        INTEGER NOT NULL,
    symbol          TEXT    NOT NULL,
    ts_us           INTEGER NOT NULL,
    score           REAL    NOT NULL,
    label           TEXT    NOT NULL,
    document_id     TEXT    NOT NULL,
    correlation_id  TEXT    NOT NULL,
    accepted_us     INTEGER NOT NULL,
    processed_at_us INTEGER NOT NULL,
    UNIQUE (topic, partition, "offset", symbol)
);
CREATE INDEX analytics_signals_symbol ON analytics_signals (symbol, ts_us, seq);

INSERT INTO analytics_signals (topic, partition, "offset", symbol, ts_us, score, label, document_id, correlation_id,
    accepted_us, processed_at_us)
SELECT d.topic, d.partition, d."offset", s.value,
    coalesce(CAST(round(unixepoch(d.published_at, 'subsec') * 1000) AS INTEGER), d.record_ms) * 1000,
    a.sentiment_score, a.sentiment_label, d.id, d.correlation_id, d.record_ms * 1000, a.processed_at_us
FROM raw_documents d JOIN analytics_analyses a ON a.seq = d.seq, json_each(a.body, '$.symbols') s
WHERE a.verdict = 'stored' AND a.sentiment_label IS NOT NULL
ON CONFLICT DO NOTHING;

-- Backtests and sweeps. `request` leaves out prices and signals.
CREATE TABLE analytics_backtests (
    seq                 INTEGER PRIMARY KEY,
    id                  TEXT    NOT NULL UNIQUE,
    portfolio_id        TEXT    NOT NULL,
    kind                TEXT    NOT NULL CHECK (kind IN ('backtest', 'sweep')),
    correlation_id      TEXT    NOT NULL,
    created_at_us       INTEGER NOT NULL,
    symbol              TEXT,
    interval            TEXT,
    strategy            TEXT    NOT NULL,
    initial_cash        REAL,
    final_value         REAL,
    total_return        REAL,
    sharpe_ratio        REAL,
    max_drawdown        REAL,
    trades_count        INTEGER,
    gpu_used            INTEGER NOT NULL,
    device              TEXT    NOT NULL,
    computation_seconds REAL    NOT NULL,
    bars                INTEGER NOT NULL,
    sets                INTEGER NOT NULL,
    request             TEXT    NOT NULL,
    result              TEXT    NOT NULL
);
CREATE INDEX analytics_backtests_portfolio ON analytics_backtests (portfolio_id, created_at_us);
CREATE INDEX analytics_backtests_created ON analytics_backtests (created_at_us);

-- One row per kept set of parameters.
CREATE TABLE analytics_sweep_results (
    sweep_id       TEXT    NOT NULL,
    position       INTEGER NOT NULL,
    correlation_id TEXT    NOT NULL,
    params         TEXT    NOT NULL,
    metrics        TEXT    NOT NULL,
    total_return   REAL,
    sharpe_ratio   REAL,
    max_drawdown   REAL,
    PRIMARY KEY (sweep_id, position)
) WITHOUT ROWID;

-- How far sweeps are that were interrupted.
CREATE TABLE analytics_sweep_checkpoints (
    sweep_id      TEXT PRIMARY KEY,
    checkpoint    BLOB    NOT NULL,
    written_at_us INTEGER NOT NULL
) WITHOUT ROWID;
