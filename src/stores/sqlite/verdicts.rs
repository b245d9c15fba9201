//! Writing verdicts: document, analysis, symbols, entities and vector in one go.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::deliveries::note;
use super::signals;
use crate::messages::analysis::Analysis;
use crate::messages::dead_letter::StoredDeadLetter;
use crate::messages::sealed::SealedAnalysis;
use crate::stores::documents::{VerdictRow, WriteOutcome};
use crate::stores::names::{rule_name, sentiment_name, verdict_name};

/// Most steps from a copy to its root.
const MAX_HOPS: usize = 16;

/// Writes rows in order; see [`crate::stores::documents::DocumentStore::write`].
pub(super) fn write(connection: &Connection, rows: &[VerdictRow]) -> rusqlite::Result<Vec<WriteOutcome>> {
    rows.iter().map(|row| write_row(connection, row)).collect()
}

fn write_row(connection: &Connection, row: &VerdictRow) -> rusqlite::Result<WriteOutcome> {
    let origin = &row.analysis.origin;
    let dead = StoredDeadLetter::id_of(&origin.topic, origin.partition, origin.offset);
    if connection.prepare_cached("SELECT 1 FROM logging_dead_letters WHERE id = ?1")?.exists([&*dead])? {
        return Ok(WriteOutcome::AlreadyDead);
    }
    let Some(named) = &row.analysis.duplicate_of else {
        upsert(connection, row, &row.analysis)?;
        return Ok(WriteOutcome::Written);
    };
    let Some(root) = root_of(connection, named, &row.document.id)? else { return Ok(WriteOutcome::OriginalMissing) };
    if root == **named {
        upsert(connection, row, &row.analysis)?;
        return Ok(WriteOutcome::Written);
    }
    let root: Arc<str> = root.into();
    let mut analysis = row.analysis.clone();
    analysis.duplicate_of = Some(Arc::clone(&root));
    upsert(connection, row, &analysis)?;
    Ok(WriteOutcome::Rerooted(root))
}

/// The stored document that `named` is or copies; `None` if there is none but `own` itself.
fn root_of(connection: &Connection, named: &str, own: &str) -> rusqlite::Result<Option<String>> {
    let mut verdict = connection.prepare_cached(
        "SELECT a.duplicate_of FROM raw_documents d JOIN analytics_analyses a ON a.seq = d.seq WHERE d.id = ?1",
    )?;
    let mut id = named.to_owned();
    for _ in 0..MAX_HOPS {
        if id == own {
            return Ok(None);
        }
        match verdict.query_row([&id], |found| found.get::<_, Option<String>>(0)).optional()? {
            None => return Ok(None),
            Some(None) => return Ok(Some(id)),
            Some(Some(next)) => id = next,
        }
    }
    Ok(None)
}

fn upsert(connection: &Connection, row: &VerdictRow, analysis: &SealedAnalysis) -> rusqlite::Result<()> {
    let existing: Option<i64> = connection
        .prepare_cached("SELECT seq FROM raw_documents WHERE id = ?1")?
        .query_row([&*row.document.id], |found| found.get(0))
        .optional()?;
    if let Some(seq) = existing {
        for statement in [
            "DELETE FROM analytics_entities WHERE seq = ?1",
            "DELETE FROM analytics_vectors WHERE seq = ?1",
            "DELETE FROM analytics_symbols WHERE seq = ?1
                AND processed_at_us = (SELECT processed_at_us FROM analytics_analyses WHERE seq = ?1)
                AND symbol IN (SELECT value FROM analytics_analyses, json_each(body, '$.symbols') WHERE seq = ?1)",
            "DELETE FROM analytics_analyses WHERE seq = ?1",
        ] {
            connection.prepare_cached(statement)?.execute([seq])?;
        }
    }
    note(connection, [&row.delivery()])?;
    let seq = write_document(connection, row, existing)?;
    write_analysis(connection, seq, analysis)?;
    write_details(connection, seq, analysis)?;
    signals::write(connection, row, analysis)?;
    if let Some(vector) = &row.vector {
        let model = analysis.embedding.as_ref().map(|embedding| &*embedding.model);
        connection
            .prepare_cached(
                "INSERT INTO analytics_vectors (seq, correlation_id, model, vector) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![seq, analysis.correlation_id.as_str(), model, vector_bytes(vector)])?;
    }
    Ok(())
}

fn write_document(connection: &Connection, row: &VerdictRow, existing: Option<i64>) -> rusqlite::Result<i64> {
    let document = &row.document;
    let origin = &row.analysis.origin;
    let values = params![
        &*document.id,
        row.analysis.correlation_id.as_str(),
        &*document.source,
        document.url,
        document.title,
        document.text,
        document.author,
        document.published_at.map(|time| time.to_rfc3339()),
        json(&document.symbols)?,
        document.lang,
        json(&document.metadata)?,
        row.content_hash,
        row.timestamp_ms,
        &*origin.topic,
        origin.partition,
        origin.offset,
        existing,
    ];
    connection
        .prepare_cached(
            r#"INSERT INTO raw_documents (id, correlation_id, source, url, title, text, author, published_at, symbols,
                lang, metadata, content_hash, record_ms, topic, partition, "offset", seq)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
            ON CONFLICT (seq) DO UPDATE SET correlation_id = excluded.correlation_id, source = excluded.source,
                url = excluded.url, title = excluded.title, text = excluded.text, author = excluded.author,
                published_at = excluded.published_at, symbols = excluded.symbols, lang = excluded.lang,
                metadata = excluded.metadata, content_hash = excluded.content_hash, record_ms = excluded.record_ms,
                topic = excluded.topic, partition = excluded.partition, "offset" = excluded."offset""#,
        )?
        .execute(values)?;
    Ok(existing.unwrap_or_else(|| connection.last_insert_rowid()))
}

fn write_analysis(connection: &Connection, seq: i64, analysis: &SealedAnalysis) -> rusqlite::Result<()> {
    let sentiment = analysis.sentiment.as_ref();
    connection
        .prepare_cached(
            "INSERT INTO analytics_analyses (seq, document_id, correlation_id, source, verdict, duplicate_of, rule,
                similarity, sentiment_label, sentiment_score, category, processed_at_us, body)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            seq,
            &*analysis.document_id,
            analysis.correlation_id.as_str(),
            &*analysis.source,
            verdict_name(analysis.verdict),
            analysis.duplicate_of.as_deref(),
            analysis.rule.map(rule_name),
            analysis.similarity,
            sentiment.map(|sentiment| sentiment_name(sentiment.label)),
            sentiment.map(|sentiment| sentiment.score),
            analysis.category.as_ref().map(|category| &*category.label),
            analysis.processed_at.timestamp_micros(),
            analysis.json().map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?,
        ])?;
    Ok(())
}

fn write_details(connection: &Connection, seq: i64, analysis: &Analysis) -> rusqlite::Result<()> {
    let correlation_id = analysis.correlation_id.as_str();
    let mut symbols = connection.prepare_cached(
        "INSERT OR IGNORE INTO analytics_symbols (symbol, processed_at_us, seq, correlation_id) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for symbol in &analysis.symbols {
        symbols.execute(params![symbol, analysis.processed_at.timestamp_micros(), seq, correlation_id])?;
    }
    let mut entities = connection.prepare_cached(
        r#"INSERT INTO analytics_entities (seq, position, correlation_id, kind, text, start, "end", symbol)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"#,
    )?;
    for (position, entity) in analysis.entities.iter().enumerate() {
        entities.execute(params![
            seq,
            integer(position),
            correlation_id,
            &*entity.kind,
            entity.text,
            integer(entity.start),
            integer(entity.end),
            entity.symbol
        ])?;
    }
    Ok(())
}

fn integer(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// JSON for a column.
pub(super) fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// A vector as it is kept.
fn vector_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|value| value.to_le_bytes()).collect()
}
