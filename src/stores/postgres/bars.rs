//! Bars in `raw.bars`.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::error::Failure;
use super::pool::Pools;
use super::queries::Values;
use super::sql::{column, escape, json, text};
use super::{Cursor, PostgresStore};
use crate::messages::bar::Bar;
use crate::stores::bars::{BarFilter, BarRow, BarStore};
use crate::stores::cursor::{checked_market_limit, page};
use crate::stores::documents::{Page, StoreError};

/// Marks cursors of bar listings.
const LISTING: char = 'b';

const INSERT: &str = r#"INSERT INTO raw.bars (symbol, interval, ts, open, high, low, close, volume, metadata, correlation_id,
        topic, partition, "offset", record_ms)
    SELECT symbol, interval, ts, open, high, low, close, volume, metadata::json, correlation_id, topic, partition,
        "offset", record_ms
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        AS t (symbol, interval, ts, open, high, low, close, volume, metadata, correlation_id, topic, partition, "offset",
            record_ms)
    ON CONFLICT (symbol, interval, ts) DO UPDATE SET open = excluded.open, high = excluded.high, low = excluded.low,
        close = excluded.close, volume = excluded.volume, metadata = excluded.metadata,
        correlation_id = excluded.correlation_id, topic = excluded.topic, partition = excluded.partition,
        "offset" = excluded."offset", record_ms = excluded.record_ms
    WHERE NOT (bars.topic = excluded.topic AND bars.partition = excluded.partition
        AND bars."offset" > excluded."offset" AND bars.record_ms >= excluded.record_ms)"#;

impl BarStore for PostgresStore {
    fn write_bars(&self, rows: Vec<BarRow>) -> BoxFuture<'_, Result<(), StoreError>> {
        let pools = Arc::clone(&self.pools);
        self.writing("write_bars", async move { write(&pools, &rows).await })
    }

    fn bars(&self, filter: BarFilter) -> BoxFuture<'_, Result<Page<Bar>, StoreError>> {
        let pools = Arc::clone(&self.pools);
        self.call("bars", async move {
            checked_market_limit(filter.limit)?;
            let after = Cursor::rising(filter.cursor.as_deref(), LISTING)?;
            list(&pools, &filter, after).await
        })
    }

    fn count_bars(&self, filter: BarFilter, most: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        let pools = Arc::clone(&self.pools);
        self.call("count_bars", async move { count(&pools, &filter, most).await })
    }
}

/// One statement; of bars of the same symbol, interval and time only the last.
async fn write(pools: &Pools, rows: &[BarRow]) -> Result<(), Failure> {
    // in one order, so that daemons which write the same bars wait instead of blocking each other
    let last: BTreeMap<_, _> = rows.iter().map(|row| ((&row.bar.symbol, &row.bar.interval, row.bar.ts), row)).collect();
    let all = |of: &dyn Fn(&BarRow) -> String| last.values().map(|row| of(row)).collect::<Vec<String>>();
    let prices = |of: &dyn Fn(&Bar) -> f64| last.values().map(|row| of(&row.bar)).collect::<Vec<f64>>();
    let metadata = last
        .values()
        .map(|row| if row.bar.metadata.is_empty() { Ok(None) } else { json(&row.bar.metadata).map(Some) })
        .collect::<Result<Vec<Option<String>>, _>>()?;
    let mut values = Values::default();
    values.add(Type::TEXT_ARRAY, all(&|row| escape(&row.bar.symbol).into_owned()));
    values.add(Type::TEXT_ARRAY, all(&|row| row.bar.interval.to_string()));
    values.add(Type::TIMESTAMPTZ_ARRAY, last.values().map(|row| row.bar.ts).collect::<Vec<DateTime<Utc>>>());
    values.add(Type::FLOAT8_ARRAY, prices(&|bar| bar.open));
    values.add(Type::FLOAT8_ARRAY, prices(&|bar| bar.high));
    values.add(Type::FLOAT8_ARRAY, prices(&|bar| bar.low));
    values.add(Type::FLOAT8_ARRAY, prices(&|bar| bar.close));
    values.add(Type::FLOAT8_ARRAY, last.values().map(|row| row.bar.volume).collect::<Vec<Option<f64>>>());
    values.add(Type::TEXT_ARRAY, metadata);
    values.add(Type::TEXT_ARRAY, all(&|row| escape(row.correlation_id.as_str()).into_owned()));
    values.add(Type::TEXT_ARRAY, all(&|row| escape(&row.origin.topic).into_owned()));
    values.add(Type::INT4_ARRAY, last.values().map(|row| row.origin.partition).collect::<Vec<i32>>());
    values.add(Type::INT8_ARRAY, last.values().map(|row| row.origin.offset).collect::<Vec<i64>>());
    values.add(Type::INT8_ARRAY, last.values().map(|row| row.record_ms).collect::<Vec<i64>>());
    values.query(&pools.raw, INSERT).await.map(drop)
}

/// Values and condition of the bars asked for.
fn wanted(filter: &BarFilter) -> (Values, String) {
    let mut values = Values::default();
    let symbol = values.add(Type::TEXT, escape(&filter.symbol).into_owned());
    let interval = values.add(Type::TEXT, escape(&filter.interval).into_owned());
    let from = values.add(Type::TIMESTAMPTZ, filter.from);
    let to = values.add(Type::TIMESTAMPTZ, filter.to);
    let condition = format!(
        "symbol = {symbol} AND interval = {interval} AND ts >= coalesce({from}, '-infinity') AND ts < coalesce({to}, 'infinity')"
    );
    (values, condition)
}

async fn list(pools: &Pools, filter: &BarFilter, after: Option<Cursor>) -> Result<Page<Bar>, Failure> {
    let (mut values, mut condition) = wanted(filter);
    if let Some(place) = after.and_then(|place| DateTime::from_timestamp_micros(place.time_us)) {
        condition.push_str(" AND ts > ");
        condition.push_str(&values.add(Type::TIMESTAMPTZ, place));
    }
    let limit = values.add(Type::INT8, i64::try_from(filter.limit + 1).unwrap_or(i64::MAX));
    let sql = format!(
        "SELECT symbol, interval, ts, open, high, low, close, volume, metadata FROM raw.bars
        WHERE {condition} ORDER BY ts LIMIT {limit}"
    );
    let found = values.query(&pools.raw, &sql).await?;
    let placed = |row: &Row| {
        let bar = bar(row)?;
        let place = Cursor { time_us: bar.ts.timestamp_micros(), seq: 0 };
        Ok((bar, place))
    };
    let mut rows = found.iter().map(placed).collect::<Result<Vec<_>, StoreError>>()?;
    Ok(page(&mut rows, filter.limit, LISTING))
}

fn bar(row: &Row) -> Result<Bar, StoreError> {
    let metadata: Option<tokio_postgres::types::Json<serde_json::Map<String, serde_json::Value>>> = column(row, 8)?;
    Ok(Bar {
        symbol: text(row, 0)?.into(),
        interval: text(row, 1)?.into(),
        ts: column(row, 2)?,
        open: column(row, 3)?,
        high: column(row, 4)?,
        low: column(row, 5)?,
        close: column(row, 6)?,
        volume: column(row, 7)?,
        metadata: metadata.map(|json| json.0).unwrap_or_default(),
    })
}

async fn count(pools: &Pools, filter: &BarFilter, most: u64) -> Result<u64, Failure> {
    let (mut values, condition) = wanted(filter);
    let most = values.add(Type::INT8, i64::try_from(most).unwrap_or(i64::MAX));
    let sql = format!("SELECT count(*) FROM (SELECT 1 FROM raw.bars WHERE {condition} LIMIT {most}) AS counted");
    let rows = values.query(&pools.raw, &sql).await?;
    let counted: i64 = rows.first().map(|row| column(row, 0)).transpose()?.unwrap_or(0);
    Ok(counted.cast_unsigned())
}
