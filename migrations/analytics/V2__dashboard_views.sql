-- What dashboards ask for, counted ahead: the daemons refresh these in turn, see postgres.upkeep.refresh_seconds. The last
-- 30 days; older times are asked of the tables themselves.
CREATE MATERIALIZED VIEW analytics.sentiment_by_hour AS
SELECT symbol,
       date_trunc('hour', processed_at, 'UTC') AS hour,
       count(*) AS documents,
       avg(sentiment_score)::real AS score,
       count(*) FILTER (WHERE sentiment_label = 'positive') AS positive,
       count(*) FILTER (WHERE sentiment_label = 'neutral') AS neutral,
       count(*) FILTER (WHERE sentiment_label = 'negative') AS negative
FROM analytics.symbols
WHERE sentiment_label IS NOT NULL AND processed_at >= now() - interval '30 days'
GROUP BY symbol, hour;
CREATE UNIQUE INDEX sentiment_by_hour_key ON analytics.sentiment_by_hour (symbol, hour);
CREATE INDEX sentiment_by_hour_hour ON analytics.sentiment_by_hour (hour);

CREATE MATERIALIZED VIEW analytics.verdicts_by_hour AS
SELECT source,
       date_trunc('hour', processed_at, 'UTC') AS hour,
       verdict,
       coalesce(category, '') AS category,
       count(*) AS documents
FROM analytics.analyses
WHERE processed_at >= now() - interval '30 days'
GROUP BY source, hour, verdict, coalesce(category, '');
CREATE UNIQUE INDEX verdicts_by_hour_key ON analytics.verdicts_by_hour (source, hour, verdict, category);
CREATE INDEX verdicts_by_hour_hour ON analytics.verdicts_by_hour (hour);

CREATE MATERIALIZED VIEW analytics.entities_by_day AS
SELECT kind,
       text,
       date_trunc('day', processed_at, 'UTC') AS day,
       max(symbol) AS symbol,
       count(*) AS mentions
FROM analytics.entities
WHERE processed_at >= now() - interval '30 days'
GROUP BY kind, text, day;
CREATE UNIQUE INDEX entities_by_day_key ON analytics.entities_by_day (kind, text, day);
CREATE INDEX entities_by_day_day ON analytics.entities_by_day (day);

-- When the views were last refreshed, and how long it took: its lock decides which daemon does it next.
CREATE TABLE analytics.view_refreshes (
    single       boolean          PRIMARY KEY DEFAULT true CHECK (single),
    refreshed_at timestamptz      NOT NULL,
    seconds      double precision NOT NULL
);
INSERT INTO analytics.view_refreshes (refreshed_at, seconds) VALUES ('-infinity', 0);
