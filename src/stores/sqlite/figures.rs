//! What a file of documents counts of itself. For copies and files at rest: a count reads whole tables.

use std::path::Path;

use rusqlite::{Connection, params};

use super::connection::{open_reader, store_error};
use crate::stores::documents::StoreError;
use crate::stores::figures::{GraphFigures, OffsetRange, StoreFigures, Verdicts};

const COUNTS: &str = "SELECT (SELECT count(*) FROM raw_documents),
    (SELECT count(*) FROM analytics_analyses WHERE verdict = 'stored'),
    (SELECT count(*) FROM analytics_analyses WHERE verdict = 'duplicate'),
    (SELECT count(*) FROM analytics_analyses WHERE seq NOT IN (SELECT seq FROM raw_documents)),
    (SELECT count(*) FROM analytics_vectors),
    (SELECT count(*) FROM analytics_analyses WHERE verdict = 'stored' AND body ->> '$.embedding.model' IS NOT NULL
        AND seq NOT IN (SELECT seq FROM analytics_vectors)),
    (SELECT count(*) FROM raw_deliveries),
    (SELECT count(*) FROM logging_dead_letters),
    (SELECT coalesce(sum(count), 0) FROM logging_error_summary)";
const GRAPHS: &str = "SELECT (SELECT count(*) FROM analytics_graph_files
        WHERE graph_id IN (SELECT id FROM analytics_graphs WHERE published = 1)),
    (SELECT coalesce(sum(files), 0) FROM analytics_graphs WHERE published = 0)";
const IN_RANGE: &str = r#"SELECT count(*) FROM (
    SELECT "offset" FROM raw_deliveries WHERE topic = ?1 AND partition = ?2 AND "offset" >= ?3 AND "offset" < ?4
    UNION SELECT "offset" FROM logging_dead_letters
        WHERE topic = ?1 AND partition = ?2 AND "offset" >= ?3 AND "offset" < ?4)"#;
const HIGHEST: &str = r#"SELECT max("offset") FROM (
    SELECT max("offset") AS "offset" FROM raw_deliveries WHERE topic = ?1 AND partition = ?2
    UNION ALL SELECT max("offset") FROM logging_dead_letters WHERE topic = ?1 AND partition = ?2)"#;

/// Counts a file's rows, and what it knows of the records in these ranges, in the order asked. Blocks.
///
/// # Errors
/// If the file can't be read.
pub fn figures(path: &Path, ranges: &[OffsetRange]) -> Result<(StoreFigures, Vec<Verdicts>), StoreError> {
    let connection = open_reader(path, std::time::Duration::from_secs(10))?;
    count(&connection, ranges).map_err(|error| store_error(&error, path))
}

/// Counts the files of learned graphs. Blocks.
///
/// # Errors
/// If the file can't be read.
pub fn graph_figures(path: &Path) -> Result<GraphFigures, StoreError> {
    let connection = open_reader(path, std::time::Duration::from_secs(10))?;
    let number = |row: &rusqlite::Row<'_>, index: usize| row.get::<_, i64>(index).map(i64::cast_unsigned);
    let counted = connection
        .query_row(GRAPHS, [], |row| Ok(GraphFigures { files: number(row, 0)?, unfinished: number(row, 1)? }));
    counted.map_err(|error| store_error(&error, path))
}

fn count(connection: &Connection, ranges: &[OffsetRange]) -> rusqlite::Result<(StoreFigures, Vec<Verdicts>)> {
    let figures = connection.query_row(COUNTS, [], |row| {
        let number = |index: usize| row.get::<_, i64>(index).map(i64::cast_unsigned);
        Ok(StoreFigures {
            documents: number(0)?,
            stored: number(1)?,
            duplicates: number(2)?,
            orphans: number(3)?,
            vectors: number(4)?,
            without_vector: number(5)?,
            deliveries: number(6)?,
            dead_letters: number(7)?,
            dead_ever: number(8)?,
        })
    })?;
    let mut verdicts = Vec::with_capacity(ranges.len());
    for OffsetRange { topic, partition, from, to } in ranges {
        let in_range: i64 = connection.query_row(IN_RANGE, params![&**topic, partition, from, to], |row| row.get(0))?;
        let highest = connection.query_row(HIGHEST, params![&**topic, partition], |row| row.get(0))?;
        verdicts.push(Verdicts { in_range: in_range.cast_unsigned(), highest });
    }
    Ok((figures, verdicts))
}
