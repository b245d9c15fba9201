//! Signals in `analytics_signals`, written with the verdicts.

use futures_util::future::BoxFuture;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};

use super::queries::{damaged, text, time_us};
use super::{Cursor, SqliteStore};
use crate::messages::analysis::Analysis;
use crate::messages::signal::{Signal, signals_of};
use crate::stores::cursor::{checked_market_limit, page};
use crate::stores::documents::{Page, StoreError, VerdictRow};
use crate::stores::names::{parse_sentiment, sentiment_name};
use crate::stores::signals::{SignalFilter, SignalStore};

/// Marks cursors of signal listings.
const LISTING: char = 's';

impl SignalStore for SqliteStore {
    fn signals(&self, filter: SignalFilter) -> BoxFuture<'_, Result<Page<Signal>, StoreError>> {
        self.call("signals", async move {
            checked_market_limit(filter.limit)?;
            let after = Cursor::rising(filter.cursor.as_deref(), LISTING)?;
            self.workers.read(move |connection| list(connection, &filter, after)).await
        })
    }
}

/// Writes what the analysis says of its symbols in place of what the same record said before.
pub(super) fn write(connection: &Connection, row: &VerdictRow, analysis: &Analysis) -> rusqlite::Result<()> {
    let origin = &analysis.origin;
    connection
        .prepare_cached(r#"DELETE FROM analytics_signals WHERE topic = ?1 AND partition = ?2 AND "offset" = ?3"#)?
        .execute(params![&*origin.topic, origin.partition, origin.offset])?;
    let mut insert = connection.prepare_cached(
        r#"INSERT INTO analytics_signals (topic, partition, "offset", symbol, ts_us, score, label, document_id,
            correlation_id, accepted_us, processed_at_us)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"#,
    )?;
    for signal in signals_of(analysis, row.timestamp_ms) {
        insert.execute(params![
            &*origin.topic,
            origin.partition,
            origin.offset,
            signal.symbol,
            signal.ts.timestamp_micros(),
            signal.score,
            sentiment_name(signal.label),
            &*signal.document_id,
            analysis.correlation_id.as_str(),
            signal.accepted_at.timestamp_micros(),
            signal.processed_at.timestamp_micros(),
        ])?;
    }
    Ok(())
}

fn list(connection: &Connection, filter: &SignalFilter, after: Option<Cursor>) -> rusqlite::Result<Page<Signal>> {
    let after = after.unwrap_or(Cursor { time_us: i64::MIN, seq: i64::MIN });
    let mut rows: Vec<(Signal, Cursor)> = connection
        .prepare_cached(
            "SELECT symbol, ts_us, score, label, document_id, accepted_us, processed_at_us, seq FROM analytics_signals
            WHERE symbol = ?1 AND ts_us >= ?2 AND ts_us < ?3 AND (ts_us, seq) > (?4, ?5) ORDER BY ts_us, seq LIMIT ?6",
        )?
        .query_map(
            params![
                filter.symbol,
                filter.from.map_or(i64::MIN, |time| time.timestamp_micros()),
                filter.to.map_or(i64::MAX, |time| time.timestamp_micros()),
                after.time_us,
                after.seq,
                i64::try_from(filter.limit + 1).unwrap_or(i64::MAX)
            ],
            |row| Ok((signal(row)?, Cursor { time_us: row.get(1)?, seq: row.get(7)? })),
        )?
        .collect::<rusqlite::Result<_>>()?;
    Ok(page(&mut rows, filter.limit, LISTING))
}

fn signal(row: &Row<'_>) -> rusqlite::Result<Signal> {
    let label = text(row, 3)?;
    Ok(Signal {
        symbol: row.get(0)?,
        ts: time_us(row, 1)?,
        score: row.get(2)?,
        label: parse_sentiment(&label).ok_or_else(|| damaged(3, Type::Text, "an unknown label".into()))?,
        document_id: text(row, 4)?,
        accepted_at: time_us(row, 5)?,
        processed_at: time_us(row, 6)?,
    })
}
