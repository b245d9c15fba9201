//! All tables at one moment, for backups.
//!
//! One database is read in one repeatable-read transaction. With databases apart the verdicts' moment comes first: the
//! documents read later are those and maybe more, which nobody sees without a verdict.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::NaiveDate;
use futures_util::{Stream, TryStreamExt as _};
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::error::{OpenError, store_error};
use super::partitions;
use super::pool::Pools;
use super::schema;
use super::sql::column;
use crate::config::postgres::PostgresConfig;
use crate::stores::documents::StoreError;
use crate::stores::figures::{GraphFigures, OffsetRange, StoreFigures, Verdicts};

/// The schemas, in the order their moments are fixed.
pub(super) const SCHEMAS: [&str; 3] = ["analytics", "raw", "logging"];

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL lock_timeout = '10s'";
const TABLES: &str = "SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> $2
    GROUP BY c.relname ORDER BY c.relname";
const REFERENCES: &str = "SELECT c.relname::text, r.relname::text FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class r ON r.oid = k.confrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND k.contype = 'f'";
const SEQUENCES: &str = "SELECT sequencename::text, last_value FROM pg_sequences
    WHERE schemaname = $1 AND last_value IS NOT NULL ORDER BY sequencename";
const FIGURES: &str = "SELECT (SELECT count(*) FROM analytics.analyses WHERE verdict = 'stored'),
    (SELECT count(*) FROM analytics.analyses WHERE verdict = 'duplicate'),
    (SELECT count(*) FROM analytics.vectors),
    (SELECT count(*) FROM analytics.analyses a WHERE verdict = 'stored' AND body #>> '{embedding,model}' IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM analytics.vectors v WHERE v.seq = a.seq)),
    (SELECT count(*) FROM analytics.deliveries),
    (SELECT count(*) FROM analytics.dead_letters)";
const GRAPHS: &str = "SELECT (SELECT count(*) FROM analytics.graph_files
        WHERE graph_id IN (SELECT id FROM analytics.graphs WHERE published)),
    (SELECT coalesce(sum(files), 0)::bigint FROM analytics.graphs WHERE NOT published)";
const DEAD_EVER: &str = "SELECT coalesce(sum(count), 0)::bigint FROM logging.error_summary";
const IN_RANGE: &str = r#"SELECT count(*) FROM (
    SELECT "offset" FROM analytics.deliveries WHERE topic = $1 AND partition = $2 AND "offset" >= $3 AND "offset" < $4
    UNION SELECT "offset" FROM analytics.dead_letters
        WHERE topic = $1 AND partition = $2 AND "offset" >= $3 AND "offset" < $4) AS known"#;
const HIGHEST: &str = r#"SELECT greatest(
    (SELECT max("offset") FROM analytics.deliveries WHERE topic = $1 AND partition = $2),
    (SELECT max("offset") FROM analytics.dead_letters WHERE topic = $1 AND partition = $2))"#;

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// Days its rows are of, where it has a partition for each day.
    pub days: Vec<NaiveDate>,
}

impl Table {
    /// Its name in statements.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// Its columns in statements.
    pub(super) fn quoted_columns(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|name| quoted(name)).collect();
        columns.join(", ")
    }
}

/// A name in statements, whatever is in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A transaction on one database.
struct Moment {
    client: Client,
    /// Ends with the client.
    driver: tokio::task::AbortHandle,
    address: String,
}

impl Drop for Moment {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Moment {
    async fn rows(
        &self,
        sql: &str,
        types: &[Type],
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let values: Vec<(&(dyn ToSql + Sync), Type)> = values.iter().copied().zip(types.iter().cloned()).collect();
        self.client.query_typed(sql, &values).await.map_err(|error| store_error(&error, &self.address))
    }
}

/// The databases at one moment, until this is dropped.
pub struct Dump {
    moments: Vec<Moment>,
    /// Which of `moments` a schema is in.
    place: BTreeMap<&'static str, usize>,
}

impl Dump {
    /// Fixes the moment.
    ///
    /// # Errors
    /// If a database does not answer or refuses the credentials.
    pub async fn begin(config: &PostgresConfig) -> Result<Self, OpenError> {
        let pools = Pools::new(config)?;
        let mut dump = Self { moments: Vec::new(), place: BTreeMap::new() };
        for (schema, pool) in SCHEMAS.iter().zip([&pools.analytics, &pools.raw, &pools.logging]) {
            if dump.moments.is_empty() || !pools.shared {
                let (client, driver) = pool.connect().await?;
                let moment = Moment { client, driver, address: pool.address().to_owned() };
                let failed = |error| super::error::open_error(&error, pool.address());
                moment.client.batch_execute(BEGIN).await.map_err(failed)?;
                // the first question fixes the moment
                moment.client.batch_execute("SELECT pg_current_snapshot()").await.map_err(failed)?;
                dump.moments.push(moment);
            }
            dump.place.insert(schema, dump.moments.len() - 1);
        }
        Ok(dump)
    }

    fn moment(&self, schema: &str) -> Result<&Moment, StoreError> {
        let place =
            self.place.get(schema).ok_or_else(|| StoreError::Refused(format!("schema {schema} is not ours")))?;
        Ok(&self.moments[*place])
    }

    /// Every table but those of migrations, by schema and name; one that refers to another comes after it.
    ///
    /// # Errors
    /// If a database fails.
    pub async fn tables(&self) -> Result<Vec<Table>, StoreError> {
        let mut tables = Vec::new();
        for schema in SCHEMAS {
            let moment = self.moment(schema)?;
            let mut own = Vec::new();
            for row in moment.rows(TABLES, &[Type::NAME, Type::NAME], &[&schema, &schema::HISTORY]).await? {
                let name: String = column(&row, 0)?;
                let mut days = Vec::new();
                if schema == "logging" && partitions::TABLES.contains(&&*name) {
                    let sql = format!("SELECT DISTINCT (at AT TIME ZONE 'UTC')::date FROM logging.{name} ORDER BY 1");
                    for row in moment.rows(&sql, &[], &[]).await? {
                        days.push(column(&row, 0)?);
                    }
                }
                own.push(Table { schema: schema.to_owned(), name, columns: column(&row, 1)?, days });
            }
            let mut references: Vec<(String, String)> = Vec::new();
            for row in moment.rows(REFERENCES, &[Type::NAME], &[&schema]).await? {
                references.push((column(&row, 0)?, column(&row, 1)?));
            }
            tables.extend(referenced_first(own, &references));
        }
        Ok(tables)
    }

    /// The version of each schema.
    ///
    /// # Errors
    /// If a database fails or has no such schema.
    pub async fn versions(&self) -> Result<BTreeMap<String, usize>, StoreError> {
        let mut versions = BTreeMap::new();
        for schema in SCHEMAS {
            let rows = self.moment(schema)?.rows(&schema::version_query(schema), &[], &[]).await?;
            let version: i32 = rows.first().map(|row| column(row, 0)).transpose()?.unwrap_or(0);
            versions.insert(schema.to_owned(), usize::try_from(version).unwrap_or(0));
        }
        Ok(versions)
    }

    /// Schema, name and last value of every sequence that was used. They are not part of the moment: to be asked after the
    /// tables, so that no value is given out twice.
    ///
    /// # Errors
    /// If a database fails.
    pub async fn sequences(&self) -> Result<Vec<(String, String, i64)>, StoreError> {
        let mut sequences = Vec::new();
        for schema in SCHEMAS {
            for row in self.moment(schema)?.rows(SEQUENCES, &[Type::NAME], &[&schema]).await? {
                sequences.push((schema.to_owned(), column(&row, 0)?, column(&row, 1)?));
            }
        }
        Ok(sequences)
    }

    /// The rows of a table, as binary `COPY` writes them.
    ///
    /// # Errors
    /// If the database fails, now or in the stream.
    pub async fn copy(
        &self,
        table: &Table,
    ) -> Result<impl Stream<Item = Result<Bytes, StoreError>> + use<>, StoreError> {
        let moment = self.moment(&table.schema)?;
        let sql = format!("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)", table.quoted_columns(), table.quoted());
        let address = moment.address.clone();
        let rows = moment.client.copy_out(&sql).await.map_err(|error| store_error(&error, &address))?;
        Ok(rows.map_err(move |error| store_error(&error, &address)))
    }

    /// Counts rows, and what is known of the records in these ranges, in the order asked.
    ///
    /// # Errors
    /// If a database fails.
    pub async fn figures(&self, ranges: &[OffsetRange]) -> Result<(StoreFigures, Vec<Verdicts>), StoreError> {
        let analytics = self.moment("analytics")?;
        let number = |rows: &[tokio_postgres::Row], index: usize| -> Result<u64, StoreError> {
            let number: i64 = rows.first().map(|row| column(row, index)).transpose()?.unwrap_or(0);
            Ok(number.cast_unsigned())
        };
        let counted = analytics.rows(FIGURES, &[], &[]).await?;
        let documents = self.moment("raw")?.rows("SELECT count(*) FROM raw.documents", &[], &[]).await?;
        let dead = self.moment("logging")?.rows(DEAD_EVER, &[], &[]).await?;
        let figures = StoreFigures {
            documents: number(&documents, 0)?,
            stored: number(&counted, 0)?,
            duplicates: number(&counted, 1)?,
            orphans: self.orphans().await?,
            vectors: number(&counted, 2)?,
            without_vector: number(&counted, 3)?,
            deliveries: number(&counted, 4)?,
            dead_letters: number(&counted, 5)?,
            dead_ever: number(&dead, 0)?,
        };
        let mut verdicts = Vec::with_capacity(ranges.len());
        for OffsetRange { topic, partition, from, to } in ranges {
            let topic = super::sql::escape(topic).into_owned();
            let place = [Type::TEXT, Type::INT4, Type::INT8, Type::INT8];
            let in_range = analytics.rows(IN_RANGE, &place, &[&topic, partition, from, to]).await?;
            let highest = analytics.rows(HIGHEST, &place[..2], &[&topic, partition]).await?;
            let highest = highest.first().map(|row| column(row, 0)).transpose()?.flatten();
            verdicts.push(Verdicts { in_range: number(&in_range, 0)?, highest });
        }
        Ok((figures, verdicts))
    }

    /// Counts the files of learned graphs.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn graph_figures(&self) -> Result<GraphFigures, StoreError> {
        let rows = self.moment("analytics")?.rows(GRAPHS, &[], &[]).await?;
        let number = |index| rows.first().map(|row| column::<i64>(row, index)).transpose();
        let count = |number: Option<i64>| number.unwrap_or(0).cast_unsigned();
        Ok(GraphFigures { files: count(number(0)?), unfinished: count(number(1)?) })
    }

    /// Analyses without a document, where one question can tell; with databases apart the counts have to.
    async fn orphans(&self) -> Result<u64, StoreError> {
        if self.moments.len() > 1 {
            return Ok(0);
        }
        let sql = "SELECT count(*) FROM analytics.analyses a
            WHERE NOT EXISTS (SELECT 1 FROM raw.documents d WHERE d.id = a.document_id)";
        let rows = self.moment("analytics")?.rows(sql, &[], &[]).await?;
        let count: i64 = rows.first().map(|row| column(row, 0)).transpose()?.unwrap_or(0);
        Ok(count.cast_unsigned())
    }
}

/// Tables so that each comes after those it refers to; otherwise in the order given.
fn referenced_first(mut tables: Vec<Table>, references: &[(String, String)]) -> Vec<Table> {
    let mut ordered: Vec<Table> = Vec::with_capacity(tables.len());
    while !tables.is_empty() {
        let waits = |table: &Table| {
            let others = references.iter().filter(|(from, to)| *from == table.name && to != from);
            others.into_iter().any(|(_, to)| tables.iter().any(|other| other.name == *to))
        };
        // tables that refer to each other can't be ordered
        let next = tables.iter().position(|table| !waits(table)).unwrap_or(0);
        ordered.push(tables.remove(next));
    }
    ordered
}

/// Counts the rows of what binary `COPY` writes, as it comes in pieces.
#[derive(Debug, Default)]
pub struct RowCounter {
    state: State,
    /// Bytes of a piece that end inside a number.
    partial: Vec<u8>,
    /// Rows that are complete or begun.
    rows: u64,
}

/// What comes next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Signature, flags and length of the extension.
    #[default]
    Header,
    /// The number of fields of a row, or the end.
    Row,
    /// The length of a field; this many fields are to come.
    Field(u16),
    /// So many bytes that don't matter, then so many fields.
    Skip(u32, u16),
    /// Nothing.
    End,
}

impl RowCounter {
    /// Takes the next piece.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn add(&mut self, mut piece: &[u8]) -> Result<(), &'static str> {
        loop {
            let wanted = match self.state {
                State::Header => 19,
                State::Row => 2,
                State::Field(_) => 4,
                State::Skip(length, fields) => {
                    let now = piece.len().min(length as usize);
                    piece = &piece[now..];
                    let left = length - u32::try_from(now).unwrap_or(length);
                    self.state = if left > 0 { State::Skip(left, fields) } else { after_field(fields) };
                    if left > 0 {
                        return Ok(());
                    }
                    continue;
                }
                State::End => return if piece.is_empty() { Ok(()) } else { Err("goes on after its end") },
            };
            let taken = piece.len().min(wanted - self.partial.len());
            self.partial.extend_from_slice(&piece[..taken]);
            piece = &piece[taken..];
            if self.partial.len() < wanted {
                return Ok(());
            }
            self.state = self.next()?;
            self.partial.clear();
        }
    }

    fn next(&mut self) -> Result<State, &'static str> {
        let word = |at: usize| self.partial.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied();
        match self.state {
            State::Header if !self.partial.starts_with(b"PGCOPY\n\xff\r\n\0") => {
                Err("does not begin as COPY writes it")
            }
            State::Header => Ok(State::Skip(u32::from_be_bytes(word(15).unwrap_or_default()), 0)),
            State::Row => {
                let count = self.partial.first_chunk::<2>().copied().unwrap_or_default();
                match i16::from_be_bytes(count) {
                    -1 => Ok(State::End),
                    count => {
                        let fields = u16::try_from(count).map_err(|_| "has a row of a negative number of fields")?;
                        self.rows += 1;
                        Ok(after_field(fields))
                    }
                }
            }
            State::Field(fields) => {
                // -1 is NULL
                let length = i32::from_be_bytes(word(0).unwrap_or_default()).max(0).cast_unsigned();
                Ok(State::Skip(length, fields - 1))
            }
            State::Skip(..) | State::End => Ok(self.state),
        }
    }

    /// All rows, once all pieces came.
    ///
    /// # Errors
    /// If the end is missing.
    pub fn finish(&self) -> Result<u64, &'static str> {
        if self.state == State::End { Ok(self.rows) } else { Err("ends too early") }
    }
}

const fn after_field(fields: u16) -> State {
    if fields == 0 { State::Row } else { State::Field(fields) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied() -> Vec<u8> {
        let mut bytes = b"PGCOPY\n\xff\r\n\0".to_vec();
        bytes.extend([0; 8]);
        for row in [&[Some(&b"abc"[..]), None][..], &[Some(&b""[..]), Some(&b"\xff\xff"[..])]] {
            bytes.extend(2_i16.to_be_bytes());
            for field in row {
                let length = field.map_or(-1, |field| i32::try_from(field.len()).unwrap_or(0));
                bytes.extend(length.to_be_bytes());
                bytes.extend(field.unwrap_or_default());
            }
        }
        bytes.extend((-1_i16).to_be_bytes());
        bytes
    }

    #[test]
    fn rows_are_counted_however_they_are_cut() {
        let bytes = copied();
        for size in 1..=bytes.len() {
            let mut counter = RowCounter::default();
            for piece in bytes.chunks(size) {
                assert_eq!(counter.add(piece), Ok(()));
            }
            assert_eq!(counter.finish(), Ok(2), "in pieces of {size}");
        }
    }

    #[test]
    fn what_ends_early_or_late_or_is_something_else_is_told() {
        let bytes = copied();
        for end in 0..bytes.len() {
            let mut counter = RowCounter::default();
            assert_eq!(counter.add(&bytes[..end]), Ok(()));
            assert!(counter.finish().is_err(), "cut at {end}");
        }
        let mut counter = RowCounter::default();
        assert!(counter.add(&[&bytes[..], b"x"].concat()).is_err());
        assert!(RowCounter::default().add(b"id,text\n1,a text that is no COPY").is_err());
    }

    #[test]
    fn tables_come_after_those_they_refer_to() {
        let table = |name: &str| Table {
            schema: "analytics".to_owned(),
            name: name.to_owned(),
            columns: Vec::new(),
            days: Vec::new(),
        };
        let refers = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let order = |references: &[(String, String)]| -> Vec<String> {
            let tables = ["a", "b", "c", "d"].map(table).to_vec();
            referenced_first(tables, references).into_iter().map(|table| table.name).collect()
        };
        assert_eq!(order(&[]), ["a", "b", "c", "d"]);
        assert_eq!(order(&[refers("a", "c"), refers("c", "d"), refers("b", "b")]), ["b", "d", "c", "a"]);
        assert_eq!(order(&[refers("a", "b"), refers("b", "a")]).len(), 4, "a circle ends");
    }

    #[test]
    fn names_are_quoted() {
        let table = Table {
            schema: "raw".to_owned(),
            name: "a\"; DROP".to_owned(),
            columns: vec!["offset".to_owned(), "b".to_owned()],
            days: Vec::new(),
        };
        assert_eq!(table.quoted(), "\"raw\".\"a\"\"; DROP\"");
        assert_eq!(table.quoted_columns(), "\"offset\", \"b\"");
    }
}
