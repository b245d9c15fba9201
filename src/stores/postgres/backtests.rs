//! Backtests and sweeps in `analytics.backtests`, `analytics.sweep_results` and `analytics.sweep_checkpoints`.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::columns::whole_micros;
use super::error::Failure;
use super::pool::Pools;
use super::queries::Values;
use super::sql::{column, escape, from_json, json, text, text_option};
use super::{Cursor, PostgresStore};
use crate::messages::backtest::{RunFigures, RunKind, StoredRun, SweepRow};
use crate::stores::backtests::{BacktestStore, RunFilter};
use crate::stores::cursor::{checked_limit, page};
use crate::stores::documents::{Page, StoreError};

/// Marks cursors of listings of runs.
const LISTING: char = 'r';
/// All but the result, which comes behind them.
const COLUMNS: &str = "id, portfolio_id, kind, correlation_id, created_at, symbol, interval, strategy, initial_cash,
    final_value, total_return, sharpe_ratio, max_drawdown, trades_count, gpu_used, device, computation_seconds, bars, sets,
    request, seq";
const SAVE: &str =
    "INSERT INTO analytics.backtests (id, portfolio_id, kind, correlation_id, created_at, symbol, interval,
        strategy, initial_cash, final_value, total_return, sharpe_ratio, max_drawdown, trades_count, gpu_used, device,
        computation_seconds, bars, sets, request, result)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20::text::json,
        $21::text::json)
    ON CONFLICT (id) DO UPDATE SET portfolio_id = excluded.portfolio_id, kind = excluded.kind,
        correlation_id = excluded.correlation_id, created_at = excluded.created_at, symbol = excluded.symbol,
        interval = excluded.interval, strategy = excluded.strategy, initial_cash = excluded.initial_cash,
        final_value = excluded.final_value, total_return = excluded.total_return, sharpe_ratio = excluded.sharpe_ratio,
        max_drawdown = excluded.max_drawdown, trades_count = excluded.trades_count, gpu_used = excluded.gpu_used,
        device = excluded.device, computation_seconds = excluded.computation_seconds, bars = excluded.bars,
        sets = excluded.sets, request = excluded.request, result = excluded.result";
const ROWS: &str =
    "INSERT INTO analytics.sweep_results (sweep_id, position, correlation_id, params, metrics, total_return,
        sharpe_ratio, max_drawdown)
    SELECT $1, position, $2, params::json, metrics::json, total_return, sharpe_ratio, max_drawdown
    FROM unnest($3, $4, $5, $6, $7, $8)
        AS t (position, params, metrics, total_return, sharpe_ratio, max_drawdown)
    ON CONFLICT (sweep_id, position) DO UPDATE SET correlation_id = excluded.correlation_id, params = excluded.params,
        metrics = excluded.metrics, total_return = excluded.total_return, sharpe_ratio = excluded.sharpe_ratio,
        max_drawdown = excluded.max_drawdown";

impl BacktestStore for PostgresStore {
    fn save_run(&self, run: StoredRun) -> BoxFuture<'_, Result<(), StoreError>> {
        let pools = Arc::clone(&self.pools);
        self.writing("save_run", async move { save(&pools, &run).await })
    }

    fn run<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<StoredRun>, StoreError>> {
        let (pools, id) = (Arc::clone(&self.pools), id.to_owned());
        self.call("run", async move { get(&pools, &id).await })
    }

    fn runs(&self, filter: RunFilter) -> BoxFuture<'_, Result<Page<StoredRun>, StoreError>> {
        let pools = Arc::clone(&self.pools);
        self.call("runs", async move {
            checked_limit(filter.limit)?;
            let after = Cursor::decode(filter.cursor.as_deref(), LISTING)?;
            list(&pools, &filter, after).await
        })
    }

    fn write_sweep_rows(
        &self,
        sweep_id: &str,
        correlation_id: &str,
        rows: Vec<SweepRow>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let pools = Arc::clone(&self.pools);
        let (sweep, correlation) = (sweep_id.to_owned(), correlation_id.to_owned());
        self.writing("write_sweep_rows", async move { write_rows(&pools, &sweep, &correlation, rows).await })
    }

    fn sweep_rows<'a>(
        &'a self,
        sweep_id: &'a str,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<SweepRow>, StoreError>> {
        let (pools, sweep) = (Arc::clone(&self.pools), sweep_id.to_owned());
        self.call("sweep_rows", async move { sweep_rows(&pools, &sweep, from, limit).await })
    }

    fn save_checkpoint<'a>(
        &'a self,
        sweep_id: &'a str,
        checkpoint: Option<Vec<u8>>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let (pools, sweep) = (Arc::clone(&self.pools), sweep_id.to_owned());
        self.writing("save_checkpoint", async move {
            let mut values = Values::default();
            values.add(Type::TEXT, escape(&sweep).into_owned());
            let sql = if let Some(checkpoint) = checkpoint {
                values.add(Type::BYTEA, checkpoint);
                "INSERT INTO analytics.sweep_checkpoints VALUES ($1, $2, now())
                ON CONFLICT (sweep_id) DO UPDATE SET checkpoint = excluded.checkpoint, written_at = now()"
            } else {
                "DELETE FROM analytics.sweep_checkpoints WHERE sweep_id = $1"
            };
            values.query(&pools.analytics, sql).await.map(drop)
        })
    }

    fn checkpoint<'a>(&'a self, sweep_id: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, StoreError>> {
        let (pools, sweep) = (Arc::clone(&self.pools), sweep_id.to_owned());
        self.call("checkpoint", async move {
            let mut values = Values::default();
            values.add(Type::TEXT, escape(&sweep).into_owned());
            let sql = "SELECT checkpoint FROM analytics.sweep_checkpoints WHERE sweep_id = $1";
            let rows = values.query(&pools.analytics, sql).await?;
            Ok(rows.first().map(|row| column(row, 0)).transpose()?)
        })
    }
}

async fn save(pools: &Pools, run: &StoredRun) -> Result<(), Failure> {
    let figures = &run.figures;
    let mut values = Values::default();
    let escaped = |text: &Option<String>| text.as_ref().map(|text| escape(text).into_owned());
    values.add(Type::TEXT, escape(&run.id).into_owned());
    values.add(Type::TEXT, escape(&run.portfolio_id).into_owned());
    values.add(Type::TEXT, run.kind.as_str());
    values.add(Type::TEXT, escape(&run.correlation_id).into_owned());
    values.add(Type::TIMESTAMPTZ, whole_micros(run.created_at));
    values.add(Type::TEXT, escaped(&run.symbol));
    values.add(Type::TEXT, escaped(&run.interval));
    values.add(Type::TEXT, escape(&run.strategy).into_owned());
    for figure in
        [figures.initial_cash, figures.final_value, figures.total_return, figures.sharpe_ratio, figures.max_drawdown]
    {
        values.add(Type::FLOAT8, figure);
    }
    values.add(Type::INT8, figures.trades_count);
    values.add(Type::BOOL, figures.gpu_used);
    values.add(Type::TEXT, escape(&figures.device).into_owned());
    values.add(Type::FLOAT8, figures.computation_seconds);
    values.add(Type::INT8, figures.bars.cast_signed());
    values.add(Type::INT8, figures.sets.cast_signed());
    values.add(Type::TEXT, json(&run.request)?);
    values.add(Type::TEXT, json(&run.result)?);
    values.query(&pools.analytics, SAVE).await.map(drop)
}

async fn get(pools: &Pools, id: &str) -> Result<Option<StoredRun>, Failure> {
    let mut values = Values::default();
    values.add(Type::TEXT, escape(id).into_owned());
    let sql = format!(
        "SELECT {COLUMNS}, result FROM analytics.backtests WHERE id = $1 OR portfolio_id = $1
        ORDER BY (id = $1) DESC, created_at DESC, seq DESC LIMIT 1"
    );
    let rows = values.query(pools.readers(), &sql).await?;
    let whole = |row: &Row| Ok::<_, StoreError>(StoredRun { result: from_json(row, 21)?, ..run(row)? });
    Ok(rows.first().map(whole).transpose()?)
}

async fn list(pools: &Pools, filter: &RunFilter, after: Cursor) -> Result<Page<StoredRun>, Failure> {
    let mut values = Values::default();
    let mut conditions = Vec::new();
    if after != Cursor::START {
        let time = DateTime::from_timestamp_micros(after.time_us).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let (time, seq) = (values.add(Type::TIMESTAMPTZ, time), values.add(Type::INT8, after.seq));
        conditions.push(format!("(created_at, seq) < ({time}, {seq})"));
    }
    let kind = filter.kind.map(|kind| kind.as_str().to_owned());
    for (name, value) in [("kind", &kind), ("symbol", &filter.symbol), ("strategy", &filter.strategy)] {
        if let Some(value) = value {
            conditions.push(format!("{name} = {}", values.add(Type::TEXT, escape(value).into_owned())));
        }
    }
    let condition = if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    let limit = values.add(Type::INT8, i64::try_from(filter.limit + 1).unwrap_or(i64::MAX));
    let sql = format!(
        "SELECT {COLUMNS} FROM analytics.backtests {condition} ORDER BY created_at DESC, seq DESC LIMIT {limit}"
    );
    let found = values.query(pools.readers(), &sql).await?;
    let placed = |row: &Row| {
        let run = run(row)?;
        let place = Cursor { time_us: run.created_at.timestamp_micros(), seq: column(row, 20)? };
        Ok((run, place))
    };
    let mut rows = found.iter().map(placed).collect::<Result<Vec<_>, StoreError>>()?;
    Ok(page(&mut rows, filter.limit, LISTING))
}

/// Without its result.
fn run(row: &Row) -> Result<StoredRun, StoreError> {
    let kind = text(row, 2)?;
    let unknown = || StoreError::Damaged("postgres: backtests hold an unknown kind".to_owned());
    Ok(StoredRun {
        id: text(row, 0)?.into(),
        portfolio_id: text(row, 1)?,
        kind: RunKind::parse(&kind).ok_or_else(unknown)?,
        correlation_id: text(row, 3)?,
        created_at: column(row, 4)?,
        symbol: text_option(row, 5)?,
        interval: text_option(row, 6)?,
        strategy: text(row, 7)?,
        figures: RunFigures {
            initial_cash: column(row, 8)?,
            final_value: column(row, 9)?,
            total_return: column(row, 10)?,
            sharpe_ratio: column(row, 11)?,
            max_drawdown: column(row, 12)?,
            trades_count: column(row, 13)?,
            gpu_used: column(row, 14)?,
            device: text(row, 15)?,
            computation_seconds: column(row, 16)?,
            bars: column::<i64>(row, 17)?.cast_unsigned(),
            sets: column::<i64>(row, 18)?.cast_unsigned(),
        },
        request: from_json(row, 19)?,
        result: serde_json::Value::Null,
    })
}

async fn write_rows(pools: &Pools, sweep: &str, correlation: &str, rows: Vec<SweepRow>) -> Result<(), Failure> {
    let last: BTreeMap<u64, SweepRow> = rows.into_iter().map(|row| (row.position, row)).collect();
    let metric = |name: &'static str| last.values().map(|row| row.metric(name)).collect::<Vec<Option<f64>>>();
    let mut values = Values::default();
    values.add(Type::TEXT, escape(sweep).into_owned());
    values.add(Type::TEXT, escape(correlation).into_owned());
    values.add(Type::INT8_ARRAY, last.keys().map(|position| position.cast_signed()).collect::<Vec<i64>>());
    let params = last.values().map(|row| json(&row.params)).collect::<Result<Vec<String>, _>>()?;
    let metrics = last.values().map(|row| json(&row.metrics)).collect::<Result<Vec<String>, _>>()?;
    values.add(Type::TEXT_ARRAY, params);
    values.add(Type::TEXT_ARRAY, metrics);
    for name in ["total_return", "sharpe_ratio", "max_drawdown"] {
        values.add(Type::FLOAT8_ARRAY, metric(name));
    }
    values.query(&pools.analytics, ROWS).await.map(drop)
}

async fn sweep_rows(pools: &Pools, sweep: &str, from: u64, limit: usize) -> Result<Vec<SweepRow>, Failure> {
    let mut values = Values::default();
    values.add(Type::TEXT, escape(sweep).into_owned());
    values.add(Type::INT8, from.cast_signed());
    values.add(Type::INT8, i64::try_from(limit).unwrap_or(i64::MAX));
    let sql = "SELECT position, params, metrics FROM analytics.sweep_results
        WHERE sweep_id = $1 AND position >= $2 ORDER BY position LIMIT $3";
    let rows = values.query(pools.readers(), sql).await?;
    let one = |row: &Row| {
        Ok(SweepRow {
            position: column::<i64>(row, 0)?.cast_unsigned(),
            params: from_json(row, 1)?,
            metrics: from_json(row, 2)?,
        })
    };
    rows.iter().map(one).collect::<Result<_, StoreError>>().map_err(Failure::from)
}
