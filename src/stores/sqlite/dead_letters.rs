//! Dead letters at rest.

use chrono::Utc;
use rusqlite::types::{Type, Value};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::cursor::{Cursor, page};
use super::queries::{damaged, from_json, text, time_us};
use super::verdicts::json;
use crate::messages::code::ErrorCode;
use crate::messages::dead_letter::StoredDeadLetter;
use crate::stores::documents::{DeadLetterFilter, Page};

/// Marks cursors of dead-letter listings.
pub(super) const LISTING: char = 'l';

const COLUMNS: &str = r#"id, document_id, correlation_id, stage, code, error, attempts, history, topic, partition, "offset",
    first_seen_us, dead_at_us, replayed_at_us, key, value, headers, seq"#;

/// Keeps a dead letter and counts it; the same id again changes nothing.
pub(super) fn write(connection: &Connection, letter: &StoredDeadLetter) -> rusqlite::Result<()> {
    let headers: Vec<(&str, String)> = letter.headers.iter().map(|(name, value)| (name.as_str(), hex(value))).collect();
    let dead_at = letter.dead_at.timestamp_micros();
    let written = connection
        .prepare_cached(
            r#"INSERT INTO logging_dead_letters (id, document_id, correlation_id, stage, code, error, attempts, history,
                topic, partition, "offset", first_seen_us, dead_at_us, replayed_at_us, key, value, headers)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
            ON CONFLICT (id) DO NOTHING"#,
        )?
        .execute(params![
            &*letter.id,
            letter.document_id.as_deref(),
            letter.correlation_id,
            &*letter.stage,
            letter.code.as_str(),
            letter.error,
            letter.attempts,
            json(&letter.history)?,
            &*letter.topic,
            letter.partition,
            letter.offset,
            letter.first_seen.timestamp_micros(),
            dead_at,
            letter.replayed_at.map(|time| time.timestamp_micros()),
            letter.key,
            letter.value,
            json(&headers)?,
        ])?;
    if written == 0 {
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT INTO logging_error_summary
                (stage, code, count, first_at_us, last_at_us, last_error, correlation_id)
            VALUES (?1, ?2, 1, ?3, ?3, ?4, ?5)
            ON CONFLICT (stage, code) DO UPDATE SET count = count + 1, last_at_us = excluded.last_at_us,
                last_error = excluded.last_error, correlation_id = excluded.correlation_id",
        )?
        .execute(params![&*letter.stage, letter.code.as_str(), dead_at, letter.error, letter.correlation_id])?;
    Ok(())
}

/// One page, newest first.
pub(super) fn list(
    connection: &Connection,
    filter: &DeadLetterFilter,
    after: Cursor,
) -> rusqlite::Result<Page<StoredDeadLetter>> {
    let mut conditions = vec!["(dead_at_us, seq) < (?, ?)"];
    let mut values: Vec<Value> = vec![after.time_us.into(), after.seq.into()];
    if let Some(stage) = &filter.stage {
        conditions.push("stage = ?");
        values.push(stage.clone().into());
    }
    if let Some(code) = &filter.code {
        conditions.push("code = ?");
        values.push(code.to_uppercase().into());
    }
    match filter.replayed {
        Some(true) => conditions.push("replayed_at_us IS NOT NULL"),
        Some(false) => conditions.push("replayed_at_us IS NULL"),
        None => {}
    }
    values.push(i64::try_from(filter.limit + 1).unwrap_or(i64::MAX).into());
    let sql = format!(
        "SELECT {COLUMNS} FROM logging_dead_letters WHERE {} ORDER BY dead_at_us DESC, seq DESC LIMIT ?",
        conditions.join(" AND ")
    );
    let mut rows: Vec<(StoredDeadLetter, Cursor)> = connection
        .prepare_cached(&sql)?
        .query_map(params_from_iter(values), |row| {
            Ok((dead_letter(row)?, Cursor { time_us: row.get(12)?, seq: row.get(17)? }))
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(page(&mut rows, filter.limit, LISTING))
}

/// One dead letter.
pub(super) fn get(connection: &Connection, id: &str) -> rusqlite::Result<Option<StoredDeadLetter>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM logging_dead_letters WHERE id = ?1"))?
        .query_row([id], dead_letter)
        .optional()
}

/// Those of a document or correlation id, oldest first, at most 100.
pub(super) fn of(connection: &Connection, id: &str) -> rusqlite::Result<Vec<StoredDeadLetter>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM logging_dead_letters WHERE document_id = ?1 OR correlation_id = ?1
            ORDER BY dead_at_us, seq LIMIT 100"
        ))?
        .query_map([id], dead_letter)?
        .collect()
}

/// Notes that it was replayed now.
pub(super) fn mark_replayed(connection: &Connection, id: &str) -> rusqlite::Result<bool> {
    let now = Utc::now().timestamp_micros();
    let changed = connection
        .prepare_cached("UPDATE logging_dead_letters SET replayed_at_us = ?2 WHERE id = ?1")?
        .execute(params![id, now])?;
    Ok(changed > 0)
}

/// Deletes one or all.
pub(super) fn purge(connection: &Connection, id: Option<&str>) -> rusqlite::Result<u64> {
    let deleted = match id {
        Some(id) => connection.prepare_cached("DELETE FROM logging_dead_letters WHERE id = ?1")?.execute([id])?,
        None => connection.execute("DELETE FROM logging_dead_letters", [])?,
    };
    Ok(deleted as u64)
}

fn dead_letter(row: &Row<'_>) -> rusqlite::Result<StoredDeadLetter> {
    let code: String = row.get(4)?;
    let code = ErrorCode::parse(&code).ok_or_else(|| damaged(4, Type::Text, format!("code {code}").into()))?;
    let headers: Vec<(String, String)> = from_json(row, 16)?;
    let headers = headers.into_iter().map(|(name, value)| Some((name, unhex(&value)?))).collect::<Option<_>>();
    let document_id: Option<String> = row.get(1)?;
    let replayed_at: Option<i64> = row.get(13)?;
    Ok(StoredDeadLetter {
        id: text(row, 0)?,
        document_id: document_id.map(Into::into),
        correlation_id: row.get(2)?,
        stage: text(row, 3)?,
        code,
        error: row.get(5)?,
        attempts: row.get(6)?,
        history: from_json(row, 7)?,
        topic: text(row, 8)?,
        partition: row.get(9)?,
        offset: row.get(10)?,
        first_seen: time_us(row, 11)?,
        dead_at: time_us(row, 12)?,
        replayed_at: replayed_at.map(|_| time_us(row, 13)).transpose()?,
        key: row.get(14)?,
        value: row.get(15)?,
        headers: headers.ok_or_else(|| damaged(16, Type::Text, "a header's value".into()))?,
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}
