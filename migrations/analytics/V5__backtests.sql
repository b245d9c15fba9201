-- What each stored document said about each of its symbols, one row per record: a revision adds to what was said.
CREATE TABLE analytics.signals (
    seq            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic          text COLLATE "C" NOT NULL,
    partition      integer     NOT NULL,
    "offset"       bigint      NOT NULL,
    symbol         text COLLATE "C" NOT NULL,
    ts             timestamptz NOT NULL,
    score          real        NOT NULL,
    label          text        NOT NULL,
    document_id    text COLLATE "C" NOT NULL,
    correlation_id text COLLATE "C" NOT NULL,
    accepted_at    timestamptz NOT NULL,
    processed_at   timestamptz NOT NULL,
    CONSTRAINT signals_record UNIQUE (topic, partition, "offset", symbol)
);
CREATE INDEX signals_symbol ON analytics.signals (symbol, ts, seq);

INSERT INTO analytics.signals (topic, partition, "offset", symbol, ts, score, label, document_id, correlation_id,
    accepted_at, processed_at)
SELECT topic, partition, "offset", s, coalesce(published_at, to_timestamp(record_ms / 1000.0)), sentiment_score,
    sentiment_label, document_id, correlation_id, to_timestamp(record_ms / 1000.0), processed_at
FROM analytics.analyses, unnest(symbols) AS s
WHERE verdict = 'stored' AND sentiment_label IS NOT NULL
ON CONFLICT DO NOTHING;

-- Backtests and sweeps. `request` leaves out prices and signals.
CREATE TABLE analytics.backtests (
    seq                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id                  text COLLATE "C" NOT NULL,
    portfolio_id        text COLLATE "C" NOT NULL,
    kind                text             NOT NULL CHECK (kind IN ('backtest', 'sweep')),
    correlation_id      text COLLATE "C" NOT NULL,
    created_at          timestamptz      NOT NULL,
    symbol              text COLLATE "C",
    interval            text COLLATE "C",
    strategy            text COLLATE "C" NOT NULL,
    initial_cash        double precision,
    final_value         double precision,
    total_return        double precision,
    sharpe_ratio        double precision,
    max_drawdown        double precision,
    trades_count        bigint,
    gpu_used            boolean          NOT NULL,
    device              text             NOT NULL,
    computation_seconds double precision NOT NULL,
    bars                bigint           NOT NULL,
    sets                bigint           NOT NULL,
    request             json             NOT NULL,
    result              json             NOT NULL,
    CONSTRAINT backtests_id UNIQUE (id)
);
CREATE INDEX backtests_portfolio ON analytics.backtests (portfolio_id, created_at);
CREATE INDEX backtests_created ON analytics.backtests (created_at, seq);

-- One row per kept set of parameters.
CREATE TABLE analytics.sweep_results (
    sweep_id       text COLLATE "C" NOT NULL,
    position       bigint           NOT NULL,
    correlation_id text COLLATE "C" NOT NULL,
    params         json             NOT NULL,
    metrics        json             NOT NULL,
    total_return   double precision,
    sharpe_ratio   double precision,
    max_drawdown   double precision,
    PRIMARY KEY (sweep_id, position)
);

-- How far sweeps are that were interrupted.
CREATE TABLE analytics.sweep_checkpoints (
    sweep_id   text COLLATE "C" PRIMARY KEY,
    checkpoint bytea       NOT NULL,
    written_at timestamptz NOT NULL
);
