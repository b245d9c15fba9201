//! Reading documents: by id, by correlation id, listings, counts, and the stream that fills the duplicate memory.
//!
//! With all schemas in one database a join gives document and analysis at once, on the pool `raw`, so that readers don't
//! take the connections of who writes verdicts. Else the analyses are read first and their documents second.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::deliveries;
use super::error::Failure;
use super::pool::{Pool, Pools};
use super::sql::{column, escape, from_json, text, text_option, unescape};
use crate::messages::analysis::VerdictLabel;
use crate::messages::document::Document;
use crate::messages::record::Position;
use crate::stores::cursor::{Cursor, page};
use crate::stores::documents::{DocumentFilter, Page, RememberedDocument, StoreCounts, StoreError, StoredDocument};
use crate::stores::names::verdict_name;

/// Marks cursors of document listings.
pub(super) const LISTING: char = 'd';
/// Documents read at once while remembering.
const REMEMBER_CHUNK: i64 = 512;

const ANALYSIS: &str = "a.document_id, a.body, a.processed_at, a.seq";
const DOCUMENT: &str = "d.id, d.source, d.url, d.title, d.text, d.author, d.published_at, d.published_ns, d.symbols, \
                        d.lang, d.metadata";
/// Where the document's columns begin after those of the analysis.
const DOCUMENT_AT: usize = 4;
const DOCUMENTS_OF: &str = "SELECT d.id, d.source, d.url, d.title, d.text, d.author, d.published_at, d.published_ns,
        d.symbols, d.lang, d.metadata FROM raw.documents d WHERE d.id = ANY($1)";
const CONTENTS_OF: &str = "SELECT d.id, d.content_hash, d.title, d.text FROM raw.documents d WHERE d.id = ANY($1)";

/// The value of a parameter, owned.
pub(super) type Value = Box<dyn ToSql + Sync + Send>;

/// A statement's parameters as they are collected.
#[derive(Default)]
pub(super) struct Values {
    types: Vec<Type>,
    values: Vec<Value>,
}

impl Values {
    /// Adds one; its name in the statement.
    pub(super) fn add(&mut self, kind: Type, value: impl ToSql + Sync + Send + 'static) -> String {
        self.types.push(kind);
        self.values.push(Box::new(value));
        format!("${}", self.values.len())
    }

    /// Runs a statement with them on a connection of `pool`.
    pub(super) async fn query(&self, pool: &Pool, sql: &str) -> Result<Vec<Row>, Failure> {
        let lease = pool.lease().await?;
        let values: Vec<&(dyn ToSql + Sync)> =
            self.values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
        match lease.session().query(sql, &self.types, &values).await {
            Ok(rows) => {
                lease.finish();
                Ok(rows)
            }
            Err(error) => {
                let failure = Failure::from(error);
                lease.settle(&failure).await;
                Err(failure)
            }
        }
    }
}

/// Runs a query of analyses, `rest` being what comes after the tables, and joins their documents.
async fn documents(
    pools: &Pools,
    tables: &str,
    rest: &str,
    values: &Values,
) -> Result<Vec<(StoredDocument, Cursor)>, Failure> {
    if pools.shared {
        let sql =
            format!("SELECT {ANALYSIS}, {DOCUMENT} FROM {tables} JOIN raw.documents d ON d.id = a.document_id {rest}");
        let rows = values.query(&pools.raw, &sql).await?;
        let one = |row: &Row| {
            Ok((StoredDocument { document: document(row, DOCUMENT_AT)?, analysis: from_json(row, 1)? }, place(row)?))
        };
        return rows.iter().map(one).collect::<Result<_, StoreError>>().map_err(Failure::from);
    }
    let rows = values.query(&pools.analytics, &format!("SELECT {ANALYSIS} FROM {tables} {rest}")).await?;
    let ids = rows.iter().map(|row| column(row, 0)).collect::<Result<Vec<String>, _>>()?;
    let mut by_id = HashMap::with_capacity(ids.len());
    let mut wanted = Values::default();
    wanted.add(Type::TEXT_ARRAY, ids.clone());
    for row in wanted.query(&pools.raw, DOCUMENTS_OF).await? {
        by_id.insert(column::<String>(&row, 0)?, document(&row, 0)?);
    }
    let mut found = Vec::with_capacity(rows.len());
    for (row, id) in rows.iter().zip(&ids) {
        if let Some(document) = by_id.get(id) {
            let stored = StoredDocument { document: document.clone(), analysis: from_json(row, 1)? };
            found.push((stored, place(row)?));
        }
    }
    Ok(found)
}

fn place(row: &Row) -> Result<Cursor, StoreError> {
    let processed_at: DateTime<Utc> = column(row, 2)?;
    Ok(Cursor { time_us: processed_at.timestamp_micros(), seq: column(row, 3)? })
}

fn document(row: &Row, at: usize) -> Result<Document, StoreError> {
    let published_at: Option<DateTime<Utc>> = column(row, at + 6)?;
    let below: Option<i16> = column(row, at + 7)?;
    Ok(Document {
        id: text(row, at)?.into(),
        source: text(row, at + 1)?.into(),
        url: text_option(row, at + 2)?,
        title: text_option(row, at + 3)?,
        text: text(row, at + 4)?,
        author: text_option(row, at + 5)?,
        published_at: published_at.map(|time| time + TimeDelta::nanoseconds(below.unwrap_or(0).into())),
        symbols: from_json(row, at + 8)?,
        lang: text_option(row, at + 9)?,
        metadata: from_json(row, at + 10)?,
    })
}

/// Documents by id, in the order asked, those found.
pub(super) async fn get_many(pools: &Pools, ids: &[Arc<str>]) -> Result<Vec<StoredDocument>, Failure> {
    let mut values = Values::default();
    let wanted: Vec<String> = ids.iter().map(|id| escape(id).into_owned()).collect();
    let place = values.add(Type::TEXT_ARRAY, wanted);
    let rest = format!("WHERE a.document_id = ANY({place})");
    let found = documents(pools, "analytics.analyses a", &rest, &values).await?;
    let by_id: HashMap<Arc<str>, StoredDocument> =
        found.into_iter().map(|(stored, _)| (Arc::clone(&stored.document.id), stored)).collect();
    Ok(ids.iter().filter_map(|id| by_id.get(id).cloned()).collect())
}

/// Documents that records with this correlation id brought, oldest first, at most 100.
pub(super) async fn by_correlation(pools: &Pools, id: &str) -> Result<Vec<StoredDocument>, Failure> {
    get_many(pools, &deliveries::documents_of(pools, id).await?).await
}

/// One page, newest first.
pub(super) async fn list(
    pools: &Pools,
    filter: &DocumentFilter,
    after: Cursor,
) -> Result<Page<StoredDocument>, Failure> {
    let mut values = Values::default();
    let mut conditions = Vec::new();
    let (mut tables, mut from) = ("analytics.analyses a", "a");
    if let Some(symbol) = &filter.symbol {
        (tables, from) = ("analytics.symbols s JOIN analytics.analyses a ON a.seq = s.seq", "s");
        let place = values.add(Type::TEXT, escape(&symbol.to_uppercase()).into_owned());
        conditions.push(format!("s.symbol = {place}"));
    }
    if let Some(verdict) = filter.verdict {
        let place = values.add(Type::TEXT, verdict_name(verdict));
        conditions.push(format!("a.verdict = {place}"));
    }
    if let Some(source) = &filter.source {
        let place = values.add(Type::TEXT, escape(source).into_owned());
        conditions.push(format!("a.source = {place}"));
    }
    if let Some(since) = filter.since {
        let place = values.add(Type::TIMESTAMPTZ, since);
        conditions.push(format!("{from}.processed_at >= {place}"));
    }
    conditions.extend(below(&mut values, after, &format!("{from}.processed_at"), &format!("{from}.seq"))?);
    let limit = values.add(Type::INT8, i64::try_from(filter.limit + 1).unwrap_or(i64::MAX));
    let filtered = if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    let rest = format!("{filtered} ORDER BY {from}.processed_at DESC, {from}.seq DESC LIMIT {limit}");
    let mut found = documents(pools, tables, &rest, &values).await?;
    Ok(page(&mut found, filter.limit, LISTING))
}

/// The condition that a page begins below a cursor; none for the first page.
pub(super) fn below(values: &mut Values, after: Cursor, time: &str, seq: &str) -> Result<Option<String>, StoreError> {
    if after == Cursor::START {
        return Ok(None);
    }
    let at = DateTime::from_timestamp_micros(after.time_us)
        .ok_or_else(|| StoreError::InvalidQuery("cursor is not one this listing gave".to_owned()))?;
    let (at, last) = (values.add(Type::TIMESTAMPTZ, at), values.add(Type::INT8, after.seq));
    Ok(Some(format!("({time}, {seq}) < ({at}, {last})")))
}

/// Counts for status pages.
pub(super) async fn counts(pools: &Pools) -> Result<StoreCounts, Failure> {
    let sql = "SELECT verdict, count(*) FROM analytics.analyses GROUP BY verdict
        UNION ALL SELECT 'dead', count(*) FROM analytics.dead_letters";
    let pool = if pools.shared { &pools.raw } else { &pools.analytics };
    let mut counts = StoreCounts::default();
    for row in Values::default().query(pool, sql).await? {
        let (verdict, count): (String, i64) = (column(&row, 0)?, column(&row, 1)?);
        match verdict.as_str() {
            "stored" => counts.stored = count.cast_unsigned(),
            "duplicate" => counts.duplicates = count.cast_unsigned(),
            _ => counts.dead_letters = count.cast_unsigned(),
        }
    }
    Ok(counts)
}

/// Where a chunk of [`remember`] ended.
#[derive(Clone)]
pub(super) struct Reached {
    record_ms: i64,
    topic: String,
    partition: i32,
    offset: i64,
    seq: i64,
}

impl Reached {
    /// Before everything of this time.
    pub(super) const fn before(record_ms: i64) -> Self {
        Self { record_ms, topic: String::new(), partition: i32::MIN, offset: i64::MIN, seq: i64::MIN }
    }
}

/// The next documents by record time and position, and where they end; nothing more after `None`.
pub(super) async fn remember(
    pools: &Pools,
    from: Reached,
) -> Result<(Vec<RememberedDocument>, Option<Reached>), Failure> {
    const KEY: &str = r#"a.record_ms, a.topic, a.partition, a."offset", a.seq"#;
    let mut values = Values::default();
    let after = [
        values.add(Type::INT8, from.record_ms),
        values.add(Type::TEXT, from.topic),
        values.add(Type::INT4, from.partition),
        values.add(Type::INT8, from.offset),
        values.add(Type::INT8, from.seq),
    ];
    let (contents, join, pool) = if pools.shared {
        (", d.id, d.content_hash, d.title, d.text", "JOIN raw.documents d ON d.id = a.document_id", &pools.raw)
    } else {
        ("", "", &pools.analytics)
    };
    let sql = format!(
        "SELECT {KEY}, a.document_id, a.duplicate_of, a.source, a.symbols, v.vector {contents}
        FROM analytics.analyses a {join} LEFT JOIN analytics.vectors v ON v.seq = a.seq
        WHERE ({KEY}) > ({}) ORDER BY {KEY} LIMIT {REMEMBER_CHUNK}",
        after.join(", ")
    );
    let rows = values.query(pool, &sql).await?;
    let mut apart = HashMap::new();
    if !pools.shared {
        let ids = rows.iter().map(|row| column(row, 5)).collect::<Result<Vec<String>, _>>()?;
        let mut wanted = Values::default();
        wanted.add(Type::TEXT_ARRAY, ids);
        for row in wanted.query(&pools.raw, CONTENTS_OF).await? {
            apart.insert(column::<String>(&row, 0)?, row);
        }
    }
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let contents =
            if pools.shared { Some((row, 10)) } else { apart.get(column::<&str>(row, 5)?).map(|row| (row, 0)) };
        if let Some((contents, at)) = contents {
            found.push(remembered(row, contents, at)?);
        }
    }
    let reached = match rows.last() {
        Some(row) if rows.len() as u64 == REMEMBER_CHUNK.cast_unsigned() => Some(Reached {
            record_ms: column(row, 0)?,
            topic: column(row, 1)?,
            partition: column(row, 2)?,
            offset: column(row, 3)?,
            seq: column(row, 4)?,
        }),
        _ => None,
    };
    Ok((found, reached))
}

fn remembered(row: &Row, contents: &Row, at: usize) -> Result<RememberedDocument, StoreError> {
    let duplicate_of = text_option(row, 6)?;
    let damaged = |what: &str| StoreError::Damaged(format!("postgres: {what}"));
    let vector = match column::<Option<&[u8]>>(row, 9)? {
        None => None,
        Some(bytes) => Some(vector(bytes).ok_or_else(|| damaged("a vector's length"))?),
    };
    let symbols: Vec<String> = column(row, 8)?;
    Ok(RememberedDocument {
        id: text(row, 5)?.into(),
        verdict: if duplicate_of.is_some() { VerdictLabel::Duplicate } else { VerdictLabel::Stored },
        duplicate_of: duplicate_of.map(Arc::from),
        content_hash: column::<&[u8]>(contents, at + 1)?.try_into().map_err(|_| damaged("a hash's length"))?,
        title: text_option(contents, at + 2)?,
        text: text(contents, at + 3)?,
        timestamp_ms: column(row, 0)?,
        origin: Position { topic: text(row, 1)?.into(), partition: column(row, 2)?, offset: column(row, 3)? },
        vector,
        source: text(row, 7)?.into(),
        symbols: symbols.into_iter().map(unescape).collect(),
    })
}

fn vector(bytes: &[u8]) -> Option<Arc<[f32]>> {
    let (values, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| values.iter().map(|value| f32::from_le_bytes(*value)).collect())
}
