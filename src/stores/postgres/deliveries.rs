//! Which records brought which document: one row per record, whatever became of the document later.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::array::{Array, Int4, Int8, Text, Time, Verbatim};
use super::error::Failure;
use super::pool::Pools;
use super::queries::Values;
use super::sql::{column, escape, text};
use crate::messages::correlation::CorrelationId;
use crate::messages::record::Position;
use crate::stores::documents::{DeliveryOutcome, DeliveryRow, StoreError, VerdictRow, WriteOutcome};

const INSERT: &str = r#"INSERT INTO analytics.deliveries (topic, partition, "offset", document_id, correlation_id, outcome,
        processed_at) SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (topic, partition, "offset") DO UPDATE SET document_id = excluded.document_id,
        correlation_id = excluded.correlation_id, outcome = excluded.outcome, processed_at = excluded.processed_at"#;
const OF: &str = r#"SELECT topic, partition, "offset", document_id, correlation_id, outcome, processed_at
    FROM analytics.deliveries WHERE document_id = $1 OR correlation_id = $1
    ORDER BY topic, partition, "offset" LIMIT 100"#;
const DOCUMENTS_OF: &str = r#"SELECT document_id FROM analytics.deliveries WHERE correlation_id = $1
    ORDER BY processed_at, topic, partition, "offset" LIMIT 100"#;

/// Deliveries as columns of a statement, each record once.
#[derive(Default)]
pub(super) struct Deliveries {
    topic: Array<Text>,
    partition: Array<Int4>,
    offset: Array<Int8>,
    document_id: Array<Text>,
    correlation_id: Array<Verbatim>,
    outcome: Array<Verbatim>,
    processed_at: Array<Time>,
}

/// What a row says, borrowed.
struct Delivered<'r> {
    origin: &'r Position,
    document_id: &'r str,
    correlation_id: &'r CorrelationId,
    outcome: DeliveryOutcome,
    processed_at: DateTime<Utc>,
}

impl<'r> Delivered<'r> {
    fn by(row: &'r VerdictRow) -> Self {
        let VerdictRow { document, analysis, .. } = row;
        Self {
            origin: &analysis.origin,
            document_id: &document.id,
            correlation_id: &analysis.correlation_id,
            outcome: row.outcome(),
            processed_at: analysis.processed_at,
        }
    }

    fn of(row: &'r DeliveryRow) -> Self {
        let DeliveryRow { origin, document_id, correlation_id, outcome, processed_at } = row;
        Self { origin, document_id, correlation_id, outcome: *outcome, processed_at: *processed_at }
    }
}

impl Deliveries {
    /// Of the rows of a batch that are written.
    pub(super) fn written(rows: &[VerdictRow], outcomes: &[WriteOutcome]) -> Self {
        let written = rows.iter().zip(outcomes).filter(|(_, outcome)| match outcome {
            WriteOutcome::Written | WriteOutcome::Rerooted(_) => true,
            WriteOutcome::AlreadyDead | WriteOutcome::OriginalMissing => false,
        });
        Self::last_of_each(written.map(|(row, _)| Delivered::by(row)).collect())
    }

    /// Of these.
    pub(super) fn new(rows: &[DeliveryRow]) -> Self {
        Self::last_of_each(rows.iter().map(Delivered::of).collect())
    }

    fn last_of_each(mut rows: Vec<Delivered<'_>>) -> Self {
        // daemons lock rows in one order; a stable sort keeps the last of a record last
        rows.sort_by(|left, right| left.origin.cmp(right.origin));
        let count = rows.len();
        let mut columns = Self {
            topic: Array::with_rows(count),
            partition: Array::with_rows(count),
            offset: Array::with_rows(count),
            document_id: Array::with_rows(count),
            correlation_id: Array::with_rows(count),
            outcome: Array::with_rows(count),
            processed_at: Array::with_rows(count),
        };
        for row in rows.chunk_by(|left, right| left.origin == right.origin).filter_map(<[_]>::last) {
            columns.topic.push(&row.origin.topic);
            columns.partition.push(&row.origin.partition);
            columns.offset.push(&row.origin.offset);
            columns.document_id.push(row.document_id);
            columns.correlation_id.push(row.correlation_id.as_str());
            columns.outcome.push(row.outcome.name());
            columns.processed_at.push(&row.processed_at);
        }
        columns
    }

    pub(super) fn is_empty(&self) -> bool {
        self.offset.is_empty()
    }

    /// The statement that notes them; the same record again changes its row.
    pub(super) const fn sql() -> &'static str {
        INSERT
    }

    pub(super) const fn types() -> [Type; 7] {
        [
            Type::TEXT_ARRAY,
            Type::INT4_ARRAY,
            Type::INT8_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT_ARRAY,
            Type::TIMESTAMPTZ_ARRAY,
        ]
    }

    pub(super) fn values(&self) -> [&(dyn ToSql + Sync); 7] {
        [
            &self.topic,
            &self.partition,
            &self.offset,
            &self.document_id,
            &self.correlation_id,
            &self.outcome,
            &self.processed_at,
        ]
    }
}

/// Notes records that changed nothing.
pub(super) async fn note(pools: &Pools, rows: Vec<DeliveryRow>) -> Result<(), Failure> {
    let columns = Deliveries::new(&rows);
    let lease = pools.analytics.lease().await?;
    match lease.session().query(Deliveries::sql(), &Deliveries::types(), &columns.values()).await {
        Ok(_) => {
            lease.finish();
            Ok(())
        }
        Err(error) => {
            let failure = Failure::from(error);
            lease.settle(&failure).await;
            Err(failure)
        }
    }
}

/// Deliveries of a document or with a correlation id, in the order of the log.
pub(super) async fn of(pools: &Pools, id: &str) -> Result<Vec<DeliveryRow>, Failure> {
    let rows = about(pools, id, OF).await?;
    rows.iter().map(row).collect::<Result<_, _>>().map_err(Failure::from)
}

/// Ids of documents that records with this correlation id brought, oldest first.
pub(super) async fn documents_of(pools: &Pools, correlation_id: &str) -> Result<Vec<Arc<str>>, Failure> {
    let mut ids: Vec<Arc<str>> = Vec::new();
    for row in about(pools, correlation_id, DOCUMENTS_OF).await? {
        let id: Arc<str> = text(&row, 0)?.into();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

async fn about(pools: &Pools, id: &str, sql: &str) -> Result<Vec<Row>, Failure> {
    let mut values = Values::default();
    values.add(Type::TEXT, escape(id).into_owned());
    values.query(pools.readers(), sql).await
}

fn row(row: &Row) -> Result<DeliveryRow, StoreError> {
    let damage = |what: &str| StoreError::Damaged(format!("postgres: deliveries hold {what}"));
    let (correlation_id, outcome) = (text(row, 4)?, text(row, 5)?);
    Ok(DeliveryRow {
        origin: Position { topic: text(row, 0)?.into(), partition: column(row, 1)?, offset: column(row, 2)? },
        document_id: text(row, 3)?.into(),
        correlation_id: CorrelationId::parse(&correlation_id).ok_or_else(|| damage("a correlation id that is none"))?,
        outcome: DeliveryOutcome::parse(&outcome).ok_or_else(|| damage("an unknown outcome"))?,
        processed_at: column(row, 6)?,
    })
}
