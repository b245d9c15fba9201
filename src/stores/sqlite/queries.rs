//! Reading documents: by id, by correlation id, listings, and the stream that fills the duplicate memory.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rusqlite::types::{Type, Value};
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use serde::de::DeserializeOwned;

use super::cursor::{Cursor, page};
use super::deliveries::documents_of;
use crate::messages::analysis::VerdictLabel;
use crate::messages::document::Document;
use crate::messages::record::Position;
use crate::stores::documents::{DocumentFilter, Page, RememberedDocument, StoreCounts, StoredDocument};
use crate::stores::names::verdict_name;

/// Columns that [`stored_document`] reads, from `raw_documents d` and `analytics_analyses a`.
const COLUMNS: &str = "d.id, d.source, d.url, d.title, d.text, d.author, d.published_at, d.symbols, d.lang, d.metadata, \
     a.body, a.processed_at_us, d.seq";
const BOTH: &str = "raw_documents d JOIN analytics_analyses a ON a.seq = d.seq";
/// Marks cursors of document listings.
pub(super) const LISTING: char = 'd';

/// Documents by id, in the order asked, those found.
pub(super) fn get_many(connection: &Connection, ids: &[Arc<str>]) -> rusqlite::Result<Vec<StoredDocument>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM {BOTH} WHERE d.id = ?1"))?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        found.extend(statement.query_row([&**id], stored_document).optional()?);
    }
    Ok(found)
}

/// Documents that records with this correlation id brought, oldest first, at most 100.
pub(super) fn by_correlation(connection: &Connection, id: &str) -> rusqlite::Result<Vec<StoredDocument>> {
    get_many(connection, &documents_of(connection, id)?)
}

/// One page, newest first.
pub(super) fn list(
    connection: &Connection,
    filter: &DocumentFilter,
    after: Cursor,
) -> rusqlite::Result<Page<StoredDocument>> {
    let (mut tables, mut time, mut seq) = (BOTH.to_owned(), "a.processed_at_us", "a.seq");
    let mut conditions: Vec<&str> = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    if let Some(symbol) = &filter.symbol {
        (tables, time, seq) =
            (format!("{BOTH} JOIN analytics_symbols s ON s.seq = a.seq"), "s.processed_at_us", "s.seq");
        conditions.push("s.symbol = ?");
        values.push(symbol.to_uppercase().into());
    }
    if let Some(verdict) = filter.verdict {
        conditions.push("a.verdict = ?");
        values.push(verdict_name(verdict).to_owned().into());
    }
    if let Some(source) = &filter.source {
        conditions.push("a.source = ?");
        values.push(source.clone().into());
    }
    let place = format!("({time}, {seq}) < (?, ?) AND {time} >= ?");
    conditions.push(&place);
    let since = filter.since.map_or(i64::MIN, |since| since.timestamp_micros());
    values.extend([after.time_us.into(), after.seq.into(), since.into()]);
    values.push(i64::try_from(filter.limit + 1).unwrap_or(i64::MAX).into());
    let sql = format!(
        "SELECT {COLUMNS} FROM {tables} WHERE {} ORDER BY {time} DESC, {seq} DESC LIMIT ?",
        conditions.join(" AND ")
    );
    let mut rows: Vec<(StoredDocument, Cursor)> = connection
        .prepare_cached(&sql)?
        .query_map(params_from_iter(values), |row| {
            Ok((stored_document(row)?, Cursor { time_us: row.get(11)?, seq: row.get(12)? }))
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(page(&mut rows, filter.limit, LISTING))
}

/// Counts for status pages.
pub(super) fn counts(connection: &Connection) -> rusqlite::Result<StoreCounts> {
    let mut count = connection.prepare_cached("SELECT count(*) FROM analytics_analyses WHERE verdict = ?1")?;
    let number = |row: &Row<'_>| row.get(0).map(i64::cast_unsigned);
    let mut documents = |verdict| count.query_row([verdict_name(verdict)], number);
    Ok(StoreCounts {
        stored: documents(VerdictLabel::Stored)?,
        duplicates: documents(VerdictLabel::Duplicate)?,
        dead_letters: connection.prepare_cached("SELECT count(*) FROM logging_dead_letters")?.query_row([], number)?,
    })
}

/// Hands every document from `since_ms` on to `visit`, by record time and position, until `visit` says false.
pub(super) fn remember(
    connection: &Connection,
    since_ms: i64,
    mut visit: impl FnMut(RememberedDocument) -> bool,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        r#"SELECT d.id, a.duplicate_of, d.content_hash, d.title, d.text, d.record_ms, d.topic, d.partition, d."offset",
            v.vector, d.source, a.body ->> '$.symbols'
        FROM raw_documents d JOIN analytics_analyses a ON a.seq = d.seq LEFT JOIN analytics_vectors v ON v.seq = d.seq
        WHERE d.record_ms >= ?1 ORDER BY d.record_ms, d.topic, d.partition, d."offset""#,
    )?;
    let mut rows = statement.query([since_ms])?;
    while let Some(row) = rows.next()? {
        if !visit(remembered(row)?) {
            break;
        }
    }
    Ok(())
}

fn remembered(row: &Row<'_>) -> rusqlite::Result<RememberedDocument> {
    let duplicate_of: Option<String> = row.get(1)?;
    let verdict = if duplicate_of.is_some() { VerdictLabel::Duplicate } else { VerdictLabel::Stored };
    let vector = match row.get_ref(9)?.as_blob_or_null()? {
        None => None,
        Some(bytes) => Some(vector(bytes).ok_or_else(|| damaged(9, Type::Blob, "a vector's length".into()))?),
    };
    Ok(RememberedDocument {
        id: text(row, 0)?,
        verdict,
        duplicate_of: duplicate_of.map(Arc::from),
        content_hash: row.get(2)?,
        title: row.get(3)?,
        text: row.get(4)?,
        timestamp_ms: row.get(5)?,
        origin: Position { topic: text(row, 6)?, partition: row.get(7)?, offset: row.get(8)? },
        vector,
        source: text(row, 10)?,
        symbols: from_json(row, 11)?,
    })
}

fn vector(bytes: &[u8]) -> Option<Arc<[f32]>> {
    let (values, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| values.iter().map(|value| f32::from_le_bytes(*value)).collect())
}

fn stored_document(row: &Row<'_>) -> rusqlite::Result<StoredDocument> {
    let published_at: Option<String> = row.get(6)?;
    let published_at = published_at
        .map(|time| DateTime::parse_from_rfc3339(&time).map(|time| time.to_utc()))
        .transpose()
        .map_err(|error| damaged(6, Type::Text, error.into()))?;
    let document = Document {
        id: text(row, 0)?,
        source: text(row, 1)?,
        url: row.get(2)?,
        title: row.get(3)?,
        text: row.get(4)?,
        author: row.get(5)?,
        published_at,
        symbols: from_json(row, 7)?,
        lang: row.get(8)?,
        metadata: from_json(row, 9)?,
    };
    Ok(StoredDocument { document, analysis: from_json(row, 10)? })
}

/// A text column.
pub(super) fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<Arc<str>> {
    Ok(row.get_ref(column)?.as_str().map_err(|error| damaged(column, Type::Text, error.into()))?.into())
}

/// A column that holds JSON.
pub(super) fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str().map_err(|error| damaged(column, Type::Text, error.into()))?;
    serde_json::from_str(text).map_err(|error| damaged(column, Type::Text, error.into()))
}

/// A time in a column of microseconds since the Unix epoch.
pub(super) fn time_us(row: &Row<'_>, column: usize) -> rusqlite::Result<DateTime<Utc>> {
    let time = DateTime::from_timestamp_micros(row.get(column)?);
    time.ok_or_else(|| damaged(column, Type::Integer, "a time out of range".into()))
}

/// A column whose value was not written by us.
pub(super) fn damaged(column: usize, kind: Type, why: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, why)
}
