//! Dead letters at rest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::columns::whole_micros;
use super::error::Failure;
use super::pool::{Lease, Pools};
use super::queries::{Values, below};
use super::sql::{column, escape, from_json, json, text, text_option};
use super::verdicts::position_key;
use crate::messages::code::ErrorCode;
use crate::messages::dead_letter::StoredDeadLetter;
use crate::stores::cursor::{Cursor, page};
use crate::stores::documents::{DeadLetterFilter, Page, StoreError};

/// Marks cursors of dead-letter listings.
pub(super) const LISTING: char = 'l';

const COLUMNS: &str = r#"id, document_id, correlation_id, stage, code, error, attempts, history, topic, partition, "offset",
    first_seen, dead_at, replayed_at, key, value, headers, seq"#;

/// Unless the record has a verdict: an earlier delivery may have reached one, here or in another daemon, and it stands.
const INSERT: &str = r#"INSERT INTO analytics.dead_letters (id, document_id, correlation_id, stage, code, error, attempts,
        history, topic, partition, "offset", first_seen, dead_at, replayed_at, key, value, headers)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8::json, $9, $10, $11, $12, $13, $14, $15, $16, $17::json
    WHERE NOT EXISTS (SELECT 1 FROM analytics.analyses
        WHERE document_id = $2 AND topic = $9 AND partition = $10 AND "offset" = $11)
    ON CONFLICT (id) DO NOTHING RETURNING seq"#;

const SUMMARISE: &str = "INSERT INTO logging.error_summary AS known
        (stage, code, count, first_at, last_at, last_error, correlation_id)
    VALUES ($1, $2, 1, $3, $3, $4, $5)
    ON CONFLICT (stage, code) DO UPDATE SET count = known.count + 1,
        last_at = greatest(known.last_at, excluded.last_at), last_error = excluded.last_error,
        correlation_id = excluded.correlation_id";

/// Keeps a dead letter and counts it; the same id again changes nothing.
pub(super) async fn write(pools: &Pools, letter: &StoredDeadLetter) -> Result<(), Failure> {
    let lease = pools.analytics.lease().await?;
    let written = match insert(pools, &lease, letter).await {
        Ok(written) => written,
        Err(failure) => {
            lease.settle(&failure).await;
            return Err(failure);
        }
    };
    lease.finish();
    if written && !pools.shared {
        // a count elsewhere can't be part of the transaction: after a crash in between it is one too low
        let lease = pools.logging.lease().await?;
        match summarise(&lease, letter).await {
            Ok(()) => lease.finish(),
            Err(failure) => {
                tracing::warn!(error = %failure.into_store(pools.logging.address()), "error summary misses a dead letter");
            }
        }
    }
    Ok(())
}

async fn insert(pools: &Pools, lease: &Lease, letter: &StoredDeadLetter) -> Result<bool, Failure> {
    let session = lease.session();
    session.batch("BEGIN").await?;
    if letter.document_id.is_some() {
        // a batch of this partition that is being written ends first, the next one sees this letter
        let key = position_key(&letter.topic, letter.partition);
        session.query("SELECT pg_advisory_xact_lock($1)", &[Type::INT8], &[&key]).await?;
    }
    let headers: Vec<(&str, String)> =
        letter.headers.iter().map(|(name, value)| (name.as_str(), BASE64.encode(value))).collect();
    let types = [
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::INT8,
        Type::TEXT,
        Type::TEXT,
        Type::INT4,
        Type::INT8,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
        Type::BYTEA,
        Type::BYTEA,
        Type::TEXT,
    ];
    let values: [&(dyn ToSql + Sync); 17] = [
        &&*letter.id,
        &letter.document_id.as_deref().map(escape),
        &escape(&letter.correlation_id),
        &escape(&letter.stage),
        &letter.code.as_str(),
        &escape(&letter.error),
        &i64::from(letter.attempts),
        &json(&letter.history)?,
        &escape(&letter.topic),
        &letter.partition,
        &letter.offset,
        &whole_micros(letter.first_seen),
        &whole_micros(letter.dead_at),
        &letter.replayed_at.map(whole_micros),
        &letter.key,
        &letter.value,
        &json(&headers)?,
    ];
    let written = !session.query(INSERT, &types, &values).await?.is_empty();
    if written && pools.shared {
        summarise(lease, letter).await?;
    }
    session.batch("COMMIT").await?;
    Ok(written)
}

async fn summarise(lease: &Lease, letter: &StoredDeadLetter) -> Result<(), Failure> {
    let types = [Type::TEXT, Type::TEXT, Type::TIMESTAMPTZ, Type::TEXT, Type::TEXT];
    let values: [&(dyn ToSql + Sync); 5] = [
        &escape(&letter.stage),
        &letter.code.as_str(),
        &whole_micros(letter.dead_at),
        &escape(&letter.error),
        &escape(&letter.correlation_id),
    ];
    lease.session().query(SUMMARISE, &types, &values).await?;
    Ok(())
}

/// One page, newest first.
pub(super) async fn list(
    pools: &Pools,
    filter: &DeadLetterFilter,
    after: Cursor,
) -> Result<Page<StoredDeadLetter>, Failure> {
    let mut values = Values::default();
    let mut conditions = vec!["true".to_owned()];
    if let Some(stage) = &filter.stage {
        let place = values.add(Type::TEXT, escape(stage).into_owned());
        conditions.push(format!("stage = {place}"));
    }
    if let Some(code) = &filter.code {
        let place = values.add(Type::TEXT, escape(&code.to_uppercase()).into_owned());
        conditions.push(format!("code = {place}"));
    }
    match filter.replayed {
        Some(true) => conditions.push("replayed_at IS NOT NULL".to_owned()),
        Some(false) => conditions.push("replayed_at IS NULL".to_owned()),
        None => {}
    }
    conditions.extend(below(&mut values, after, "dead_at", "seq")?);
    let limit = values.add(Type::INT8, i64::try_from(filter.limit + 1).unwrap_or(i64::MAX));
    let sql = format!(
        "SELECT {COLUMNS} FROM analytics.dead_letters WHERE {} ORDER BY dead_at DESC, seq DESC LIMIT {limit}",
        conditions.join(" AND ")
    );
    let mut found = Vec::new();
    for row in values.query(&pools.analytics, &sql).await? {
        let dead_at: DateTime<Utc> = column(&row, 12)?;
        found.push((dead_letter(&row)?, Cursor { time_us: dead_at.timestamp_micros(), seq: column(&row, 17)? }));
    }
    Ok(page(&mut found, filter.limit, LISTING))
}

/// One dead letter.
pub(super) async fn get(pools: &Pools, id: &str) -> Result<Option<StoredDeadLetter>, Failure> {
    let mut values = Values::default();
    let place = values.add(Type::TEXT, escape(id).into_owned());
    let sql = format!("SELECT {COLUMNS} FROM analytics.dead_letters WHERE id = {place}");
    let rows = values.query(&pools.analytics, &sql).await?;
    Ok(rows.first().map(dead_letter).transpose()?)
}

/// Those of a document or correlation id, oldest first, at most 100.
pub(super) async fn of(pools: &Pools, id: &str) -> Result<Vec<StoredDeadLetter>, Failure> {
    let mut values = Values::default();
    let place = values.add(Type::TEXT, escape(id).into_owned());
    let sql = format!(
        "SELECT {COLUMNS} FROM analytics.dead_letters WHERE document_id = {place} OR correlation_id = {place}
        ORDER BY dead_at, seq LIMIT 100"
    );
    let rows = values.query(&pools.analytics, &sql).await?;
    Ok(rows.iter().map(dead_letter).collect::<Result<_, _>>()?)
}

/// Notes that it was replayed now.
pub(super) async fn mark_replayed(pools: &Pools, id: &str) -> Result<bool, Failure> {
    let mut values = Values::default();
    let (id, now) = (values.add(Type::TEXT, escape(id).into_owned()), values.add(Type::TIMESTAMPTZ, Utc::now()));
    let sql = format!("UPDATE analytics.dead_letters SET replayed_at = {now} WHERE id = {id} RETURNING seq");
    Ok(!values.query(&pools.analytics, &sql).await?.is_empty())
}

/// Deletes one or all.
pub(super) async fn purge(pools: &Pools, id: Option<&str>) -> Result<u64, Failure> {
    let mut values = Values::default();
    let which = id.map(|id| format!("WHERE id = {}", values.add(Type::TEXT, escape(id).into_owned())));
    let sql = format!(
        "WITH gone AS (DELETE FROM analytics.dead_letters {} RETURNING 1) SELECT count(*) FROM gone",
        which.unwrap_or_default()
    );
    let rows = values.query(&pools.analytics, &sql).await?;
    let count = rows.first().map(|row| column::<i64>(row, 0)).transpose()?;
    Ok(count.unwrap_or(0).cast_unsigned())
}

fn dead_letter(row: &Row) -> Result<StoredDeadLetter, StoreError> {
    let damaged = |what: String| StoreError::Damaged(format!("postgres: dead letter: {what}"));
    let code: String = column(row, 4)?;
    let headers: Vec<(String, String)> = from_json(row, 16)?;
    let header = |(name, value): (String, String)| {
        let value = BASE64.decode(value).map_err(|error| damaged(error.to_string()))?;
        Ok((name, value))
    };
    Ok(StoredDeadLetter {
        id: text(row, 0)?.into(),
        document_id: text_option(row, 1)?.map(Into::into),
        correlation_id: text(row, 2)?,
        stage: text(row, 3)?.into(),
        code: ErrorCode::parse(&code).ok_or_else(|| damaged(format!("code {code}")))?,
        error: text(row, 5)?,
        attempts: u32::try_from(column::<i64>(row, 6)?).map_err(|error| damaged(error.to_string()))?,
        history: from_json(row, 7)?,
        topic: text(row, 8)?.into(),
        partition: column(row, 9)?,
        offset: column(row, 10)?,
        first_seen: column(row, 11)?,
        dead_at: column(row, 12)?,
        replayed_at: column(row, 13)?,
        key: column(row, 14)?,
        value: column(row, 15)?,
        headers: headers.into_iter().map(header).collect::<Result<_, StoreError>>()?,
    })
}
