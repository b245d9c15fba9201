//! Which records brought which document: one row per record, whatever became of the document later.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::queries::{damaged, text, time_us};
use crate::messages::correlation::CorrelationId;
use crate::messages::record::Position;
use crate::stores::documents::{DeliveryOutcome, DeliveryRow};

/// Most deliveries of one document or correlation id that are told.
const LIMIT: i64 = 100;

/// Notes deliveries; the same record again changes its row.
pub(super) fn note<'a>(
    connection: &Connection,
    rows: impl IntoIterator<Item = &'a DeliveryRow>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        r#"INSERT INTO raw_deliveries (topic, partition, "offset", document_id, correlation_id, outcome, processed_at_us)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
        ON CONFLICT (topic, partition, "offset") DO UPDATE SET document_id = excluded.document_id,
            correlation_id = excluded.correlation_id, outcome = excluded.outcome,
            processed_at_us = excluded.processed_at_us"#,
    )?;
    for row in rows {
        statement.execute(params![
            &*row.origin.topic,
            row.origin.partition,
            row.origin.offset,
            &*row.document_id,
            row.correlation_id.as_str(),
            row.outcome.name(),
            row.processed_at.timestamp_micros(),
        ])?;
    }
    Ok(())
}

/// Deliveries of a document or with a correlation id, in the order of the log.
pub(super) fn of(connection: &Connection, id: &str) -> rusqlite::Result<Vec<DeliveryRow>> {
    connection
        .prepare_cached(
            r#"SELECT topic, partition, "offset", document_id, correlation_id, outcome, processed_at_us
            FROM raw_deliveries WHERE document_id = ?1 OR correlation_id = ?1
            ORDER BY topic, partition, "offset" LIMIT ?2"#,
        )?
        .query_map(params![id, LIMIT], |row| {
            let outcome = text(row, 5)?;
            let correlation_id = text(row, 4)?;
            let damage = |column, what: &str| damaged(column, rusqlite::types::Type::Text, what.to_owned().into());
            Ok(DeliveryRow {
                origin: Position { topic: text(row, 0)?, partition: row.get(1)?, offset: row.get(2)? },
                document_id: text(row, 3)?,
                correlation_id: CorrelationId::parse(&correlation_id)
                    .ok_or_else(|| damage(4, "a correlation id that is none"))?,
                outcome: DeliveryOutcome::parse(&outcome).ok_or_else(|| damage(5, "an unknown outcome"))?,
                processed_at: time_us(row, 6)?,
            })
        })?
        .collect()
}

/// Ids of documents that records with this correlation id brought, oldest first.
pub(super) fn documents_of(connection: &Connection, correlation_id: &str) -> rusqlite::Result<Vec<Arc<str>>> {
    let mut ids: Vec<Arc<str>> = Vec::new();
    let mut statement = connection.prepare_cached(
        r#"SELECT document_id FROM raw_deliveries WHERE correlation_id = ?1
        ORDER BY processed_at_us, topic, partition, "offset" LIMIT ?2"#,
    )?;
    let mut rows = statement.query(params![correlation_id, LIMIT])?;
    while let Some(row) = rows.next()? {
        let id = text(row, 0)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}
