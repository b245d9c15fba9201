//! Backtests and sweeps in `analytics_backtests`, `analytics_sweep_results` and `analytics_sweep_checkpoints`.

use chrono::Utc;
use futures_util::future::BoxFuture;
use rusqlite::types::{Type, Value};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::queries::{damaged, from_json, text, time_us};
use super::verdicts::json;
use super::{Cursor, SqliteStore};
use crate::messages::backtest::{RunFigures, RunKind, StoredRun, SweepRow};
use crate::stores::backtests::{BacktestStore, RunFilter};
use crate::stores::cursor::{checked_limit, page};
use crate::stores::documents::{Page, StoreError};

/// Marks cursors of listings of runs.
const LISTING: char = 'r';
/// All but the result, which comes behind them.
const COLUMNS: &str = "id, portfolio_id, kind, correlation_id, created_at_us, symbol, interval, strategy, initial_cash,
    final_value, total_return, sharpe_ratio, max_drawdown, trades_count, gpu_used, device, computation_seconds, bars, sets,
    request, seq";

impl BacktestStore for SqliteStore {
    fn save_run(&self, run: StoredRun) -> BoxFuture<'_, Result<(), StoreError>> {
        self.call("save_run", self.workers.write(1, move |connection| save(connection, &run)))
    }

    fn run<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<StoredRun>, StoreError>> {
        let id = id.to_owned();
        self.call("run", self.workers.read(move |connection| get(connection, &id)))
    }

    fn runs(&self, filter: RunFilter) -> BoxFuture<'_, Result<Page<StoredRun>, StoreError>> {
        self.call("runs", async move {
            checked_limit(filter.limit)?;
            let after = Cursor::decode(filter.cursor.as_deref(), LISTING)?;
            self.workers.read(move |connection| list(connection, &filter, after)).await
        })
    }

    fn write_sweep_rows(
        &self,
        sweep_id: &str,
        correlation_id: &str,
        rows: Vec<SweepRow>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let (sweep, correlation) = (sweep_id.to_owned(), correlation_id.to_owned());
        let work =
            self.workers.write(rows.len(), move |connection| write_rows(connection, &sweep, &correlation, &rows));
        self.call("write_sweep_rows", work)
    }

    fn sweep_rows<'a>(
        &'a self,
        sweep_id: &'a str,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<SweepRow>, StoreError>> {
        let sweep = sweep_id.to_owned();
        self.call("sweep_rows", self.workers.read(move |connection| sweep_rows(connection, &sweep, from, limit)))
    }

    fn save_checkpoint<'a>(
        &'a self,
        sweep_id: &'a str,
        checkpoint: Option<Vec<u8>>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let sweep = sweep_id.to_owned();
        let work = self.workers.write(1, move |connection| match &checkpoint {
            Some(checkpoint) => connection
                .prepare_cached("INSERT OR REPLACE INTO analytics_sweep_checkpoints VALUES (?1, ?2, ?3)")?
                .execute(params![sweep, checkpoint, Utc::now().timestamp_micros()])
                .map(drop),
            None => connection
                .prepare_cached("DELETE FROM analytics_sweep_checkpoints WHERE sweep_id = ?1")?
                .execute([&sweep])
                .map(drop),
        });
        self.call("save_checkpoint", work)
    }

    fn checkpoint<'a>(&'a self, sweep_id: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, StoreError>> {
        let sweep = sweep_id.to_owned();
        let work = self.workers.read(move |connection| {
            connection
                .prepare_cached("SELECT checkpoint FROM analytics_sweep_checkpoints WHERE sweep_id = ?1")?
                .query_row([&sweep], |row| row.get(0))
                .optional()
        });
        self.call("checkpoint", work)
    }
}

fn save(connection: &Connection, run: &StoredRun) -> rusqlite::Result<()> {
    let figures = &run.figures;
    connection
        .prepare_cached(
            "INSERT INTO analytics_backtests (id, portfolio_id, kind, correlation_id, created_at_us, symbol, interval,
                strategy, initial_cash, final_value, total_return, sharpe_ratio, max_drawdown, trades_count, gpu_used,
                device, computation_seconds, bars, sets, request, result)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)
            ON CONFLICT (id) DO UPDATE SET portfolio_id = excluded.portfolio_id, kind = excluded.kind,
                correlation_id = excluded.correlation_id, created_at_us = excluded.created_at_us,
                symbol = excluded.symbol, interval = excluded.interval, strategy = excluded.strategy,
                initial_cash = excluded.initial_cash, final_value = excluded.final_value,
                total_return = excluded.total_return, sharpe_ratio = excluded.sharpe_ratio,
                max_drawdown = excluded.max_drawdown, trades_count = excluded.trades_count,
                gpu_used = excluded.gpu_used, device = excluded.device,
                computation_seconds = excluded.computation_seconds, bars = excluded.bars, sets = excluded.sets,
                request = excluded.request, result = excluded.result",
        )?
        .execute(params![
            &*run.id,
            run.portfolio_id,
            run.kind.as_str(),
            run.correlation_id,
            run.created_at.timestamp_micros(),
            run.symbol,
            run.interval,
            run.strategy,
            figures.initial_cash,
            figures.final_value,
            figures.total_return,
            figures.sharpe_ratio,
            figures.max_drawdown,
            figures.trades_count,
            figures.gpu_used,
            figures.device,
            figures.computation_seconds,
            figures.bars.cast_signed(),
            figures.sets.cast_signed(),
            json(&run.request)?,
            json(&run.result)?,
        ])
        .map(drop)
}

fn get(connection: &Connection, id: &str) -> rusqlite::Result<Option<StoredRun>> {
    let sql = format!(
        "SELECT {COLUMNS}, result FROM analytics_backtests WHERE id = ?1 OR portfolio_id = ?1
        ORDER BY id = ?1 DESC, created_at_us DESC, seq DESC LIMIT 1"
    );
    connection
        .prepare_cached(&sql)?
        .query_row([id], |row| Ok(StoredRun { result: from_json(row, 21)?, ..run(row)? }))
        .optional()
}

fn list(connection: &Connection, filter: &RunFilter, after: Cursor) -> rusqlite::Result<Page<StoredRun>> {
    let mut conditions = vec!["(created_at_us, seq) < (?, ?)"];
    let mut values: Vec<Value> = vec![after.time_us.into(), after.seq.into()];
    let kind = filter.kind.map(|kind| kind.as_str().to_owned());
    for (condition, value) in [("kind = ?", &kind), ("symbol = ?", &filter.symbol), ("strategy = ?", &filter.strategy)]
    {
        if let Some(value) = value {
            conditions.push(condition);
            values.push(value.clone().into());
        }
    }
    values.push(i64::try_from(filter.limit + 1).unwrap_or(i64::MAX).into());
    let sql = format!(
        "SELECT {COLUMNS} FROM analytics_backtests WHERE {} ORDER BY created_at_us DESC, seq DESC LIMIT ?",
        conditions.join(" AND ")
    );
    let mut rows: Vec<(StoredRun, Cursor)> = connection
        .prepare_cached(&sql)?
        .query_map(params_from_iter(values), |row| Ok((run(row)?, Cursor { time_us: row.get(4)?, seq: row.get(20)? })))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(page(&mut rows, filter.limit, LISTING))
}

/// Without its result.
fn run(row: &Row<'_>) -> rusqlite::Result<StoredRun> {
    let kind = text(row, 2)?;
    Ok(StoredRun {
        id: text(row, 0)?,
        portfolio_id: row.get(1)?,
        kind: RunKind::parse(&kind).ok_or_else(|| damaged(2, Type::Text, "an unknown kind".into()))?,
        correlation_id: row.get(3)?,
        created_at: time_us(row, 4)?,
        symbol: row.get(5)?,
        interval: row.get(6)?,
        strategy: row.get(7)?,
        figures: RunFigures {
            initial_cash: row.get(8)?,
            final_value: row.get(9)?,
            total_return: row.get(10)?,
            sharpe_ratio: row.get(11)?,
            max_drawdown: row.get(12)?,
            trades_count: row.get(13)?,
            gpu_used: row.get(14)?,
            device: row.get(15)?,
            computation_seconds: row.get(16)?,
            bars: row.get::<_, i64>(17)?.cast_unsigned(),
            sets: row.get::<_, i64>(18)?.cast_unsigned(),
        },
        request: from_json(row, 19)?,
        result: serde_json::Value::Null,
    })
}

fn write_rows(connection: &Connection, sweep: &str, correlation: &str, rows: &[SweepRow]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO analytics_sweep_results (sweep_id, position, correlation_id, params, metrics,
            total_return, sharpe_ratio, max_drawdown) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for row in rows {
        statement.execute(params![
            sweep,
            row.position.cast_signed(),
            correlation,
            json(&row.params)?,
            json(&row.metrics)?,
            row.metric("total_return"),
            row.metric("sharpe_ratio"),
            row.metric("max_drawdown"),
        ])?;
    }
    Ok(())
}

fn sweep_rows(connection: &Connection, sweep: &str, from: u64, limit: usize) -> rusqlite::Result<Vec<SweepRow>> {
    connection
        .prepare_cached(
            "SELECT position, params, metrics FROM analytics_sweep_results
            WHERE sweep_id = ?1 AND position >= ?2 ORDER BY position LIMIT ?3",
        )?
        .query_map(params![sweep, from.cast_signed(), i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            Ok(SweepRow {
                position: row.get::<_, i64>(0)?.cast_unsigned(),
                params: from_json(row, 1)?,
                metrics: from_json(row, 2)?,
            })
        })?
        .collect()
}
