//! Bars in `raw_bars`.

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use rusqlite::{Connection, Row, params};

use super::queries::{from_json, text, time_us};
use super::verdicts::json;
use super::{Cursor, SqliteStore};
use crate::messages::bar::Bar;
use crate::stores::bars::{BarFilter, BarRow, BarStore};
use crate::stores::cursor::{checked_market_limit, page};
use crate::stores::documents::{Page, StoreError};

/// Marks cursors of bar listings.
const LISTING: char = 'b';

impl BarStore for SqliteStore {
    fn write_bars(&self, rows: Vec<BarRow>) -> BoxFuture<'_, Result<(), StoreError>> {
        let work = self.workers.write(rows.len(), move |connection| write(connection, &rows));
        self.call("write_bars", work)
    }

    fn bars(&self, filter: BarFilter) -> BoxFuture<'_, Result<Page<Bar>, StoreError>> {
        self.call("bars", async move {
            checked_market_limit(filter.limit)?;
            let after = Cursor::rising(filter.cursor.as_deref(), LISTING)?;
            self.workers.read(move |connection| list(connection, &filter, after)).await
        })
    }

    fn count_bars(&self, filter: BarFilter, most: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        let work = self.workers.read(move |connection| count(connection, &filter, most));
        self.call("count_bars", work)
    }
}

fn write(connection: &Connection, rows: &[BarRow]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        r#"INSERT INTO raw_bars (symbol, interval, ts_us, open, high, low, close, volume, metadata, correlation_id, topic,
            partition, "offset", record_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
        ON CONFLICT (symbol, interval, ts_us) DO UPDATE SET open = excluded.open, high = excluded.high,
            low = excluded.low, close = excluded.close, volume = excluded.volume, metadata = excluded.metadata,
            correlation_id = excluded.correlation_id, topic = excluded.topic, partition = excluded.partition,
            "offset" = excluded."offset", record_ms = excluded.record_ms
        WHERE NOT (raw_bars.topic = excluded.topic AND raw_bars.partition = excluded.partition
            AND raw_bars."offset" > excluded."offset" AND raw_bars.record_ms >= excluded.record_ms)"#,
    )?;
    for BarRow { bar, correlation_id, origin, record_ms } in rows {
        let metadata = if bar.metadata.is_empty() { None } else { Some(json(&bar.metadata)?) };
        statement.execute(params![
            &*bar.symbol,
            &*bar.interval,
            bar.ts.timestamp_micros(),
            bar.open,
            bar.high,
            bar.low,
            bar.close,
            bar.volume,
            metadata,
            correlation_id.as_str(),
            &*origin.topic,
            origin.partition,
            origin.offset,
            record_ms,
        ])?;
    }
    Ok(())
}

/// From and to in microseconds.
fn bounds(filter: &BarFilter) -> (i64, i64) {
    let micros = |time: DateTime<Utc>| time.timestamp_micros();
    (filter.from.map_or(i64::MIN, micros), filter.to.map_or(i64::MAX, micros))
}

fn list(connection: &Connection, filter: &BarFilter, after: Option<Cursor>) -> rusqlite::Result<Page<Bar>> {
    let (from, to) = bounds(filter);
    let from = after.map_or(from, |place| from.max(place.time_us.saturating_add(1)));
    let mut rows: Vec<(Bar, Cursor)> = connection
        .prepare_cached(
            "SELECT symbol, interval, ts_us, open, high, low, close, volume, metadata FROM raw_bars
            WHERE symbol = ?1 AND interval = ?2 AND ts_us >= ?3 AND ts_us < ?4 ORDER BY ts_us LIMIT ?5",
        )?
        .query_map(
            params![filter.symbol, filter.interval, from, to, i64::try_from(filter.limit + 1).unwrap_or(i64::MAX)],
            |row| Ok((bar(row)?, Cursor { time_us: row.get(2)?, seq: 0 })),
        )?
        .collect::<rusqlite::Result<_>>()?;
    Ok(page(&mut rows, filter.limit, LISTING))
}

fn bar(row: &Row<'_>) -> rusqlite::Result<Bar> {
    Ok(Bar {
        symbol: text(row, 0)?,
        interval: text(row, 1)?,
        ts: time_us(row, 2)?,
        open: row.get(3)?,
        high: row.get(4)?,
        low: row.get(5)?,
        close: row.get(6)?,
        volume: row.get(7)?,
        metadata: if row.get_ref(8)? == rusqlite::types::ValueRef::Null {
            serde_json::Map::new()
        } else {
            from_json(row, 8)?
        },
    })
}

fn count(connection: &Connection, filter: &BarFilter, most: u64) -> rusqlite::Result<u64> {
    let (from, to) = bounds(filter);
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM raw_bars
            WHERE symbol = ?1 AND interval = ?2 AND ts_us >= ?3 AND ts_us < ?4 LIMIT ?5)",
        )?
        .query_row(params![filter.symbol, filter.interval, from, to, most], |row| row.get(0).map(i64::cast_unsigned))
}
