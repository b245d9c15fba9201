-- Bars: one row per symbol, interval and time.
CREATE TABLE raw.bars (
    symbol         text COLLATE "C" NOT NULL,
    interval       text COLLATE "C" NOT NULL,
    ts             timestamptz      NOT NULL,
    open           double precision NOT NULL,
    high           double precision NOT NULL,
    low            double precision NOT NULL,
    close          double precision NOT NULL,
    volume         double precision,
    metadata       json,
    correlation_id text COLLATE "C" NOT NULL,
    topic          text COLLATE "C" NOT NULL,
    partition      integer          NOT NULL,
    "offset"       bigint           NOT NULL,
    record_ms      bigint           NOT NULL,
    PRIMARY KEY (symbol, interval, ts)
);
