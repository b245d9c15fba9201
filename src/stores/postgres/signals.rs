//! Signals in `analytics.signals`, written with the verdicts.

use std::sync::Arc;

use chrono::DateTime;
use futures_util::future::BoxFuture;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::error::Failure;
use super::pool::Pools;
use super::queries::Values;
use super::sql::{column, escape, text};
use super::{Cursor, PostgresStore};
use crate::messages::signal::Signal;
use crate::stores::cursor::{checked_market_limit, page};
use crate::stores::documents::{Page, StoreError};
use crate::stores::names::parse_sentiment;
use crate::stores::signals::{SignalFilter, SignalStore};

/// Marks cursors of signal listings.
const LISTING: char = 's';

impl SignalStore for PostgresStore {
    fn signals(&self, filter: SignalFilter) -> BoxFuture<'_, Result<Page<Signal>, StoreError>> {
        let pools = Arc::clone(&self.pools);
        self.call("signals", async move {
            checked_market_limit(filter.limit)?;
            let after = Cursor::rising(filter.cursor.as_deref(), LISTING)?;
            list(&pools, &filter, after).await
        })
    }
}

async fn list(pools: &Pools, filter: &SignalFilter, after: Option<Cursor>) -> Result<Page<Signal>, Failure> {
    let mut values = Values::default();
    let symbol = values.add(Type::TEXT, escape(&filter.symbol).into_owned());
    let from = values.add(Type::TIMESTAMPTZ, filter.from);
    let to = values.add(Type::TIMESTAMPTZ, filter.to);
    let mut condition =
        format!("symbol = {symbol} AND ts >= coalesce({from}, '-infinity') AND ts < coalesce({to}, 'infinity')");
    if let Some((time, seq)) =
        after.and_then(|place| Some((DateTime::from_timestamp_micros(place.time_us)?, place.seq)))
    {
        let (time, seq) = (values.add(Type::TIMESTAMPTZ, time), values.add(Type::INT8, seq));
        condition = format!("{condition} AND (ts, seq) > ({time}, {seq})");
    }
    let limit = values.add(Type::INT8, i64::try_from(filter.limit + 1).unwrap_or(i64::MAX));
    let sql = format!(
        "SELECT symbol, ts, score, label, document_id, accepted_at, processed_at, seq FROM analytics.signals
        WHERE {condition} ORDER BY ts, seq LIMIT {limit}"
    );
    let found = values.query(pools.readers(), &sql).await?;
    let placed = |row: &Row| {
        let signal = signal(row)?;
        let place = Cursor { time_us: signal.ts.timestamp_micros(), seq: column(row, 7)? };
        Ok((signal, place))
    };
    let mut rows = found.iter().map(placed).collect::<Result<Vec<_>, StoreError>>()?;
    Ok(page(&mut rows, filter.limit, LISTING))
}

fn signal(row: &Row) -> Result<Signal, StoreError> {
    let label = text(row, 3)?;
    let unknown = || StoreError::Damaged("postgres: signals hold an unknown label".to_owned());
    Ok(Signal {
        symbol: text(row, 0)?,
        ts: column(row, 1)?,
        score: column(row, 2)?,
        label: parse_sentiment(&label).ok_or_else(unknown)?,
        document_id: text(row, 4)?.into(),
        accepted_at: column(row, 5)?,
        processed_at: column(row, 6)?,
    })
}
