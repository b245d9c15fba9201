//! A batch as columns: one array per column, one statement per table.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio_postgres::types::{ToSql, Type};

use super::array::{Array, Binary, Element as _, Float4, Int2, Int4, Int8, Names, Text, Time, Verbatim};
use super::sql::not_json;
use crate::messages::analysis::Analysis;
use crate::messages::signal::signals_of;
use crate::stores::documents::{StoreError, VerdictRow, WriteOutcome};
use crate::stores::names::{rule_name, sentiment_name, verdict_name};

/// The version of a document that is to be written.
pub(super) struct Final<'r> {
    /// Place in the batch.
    pub(super) index: usize,
    /// The document's id as columns hold it.
    pub(super) id: Cow<'r, str>,
    pub(super) row: &'r VerdictRow,
    /// The document it really copies, if the one it names is a copy itself.
    pub(super) rerooted: Option<Arc<str>>,
    /// Of the row it replaces.
    pub(super) seq: Option<i64>,
}

/// A statement with its columns.
pub(super) struct Insert<'c> {
    pub(super) sql: &'static str,
    pub(super) types: Vec<Type>,
    pub(super) values: Vec<&'c (dyn ToSql + Sync)>,
    documents: bool,
}

impl Insert<'_> {
    /// Whether it belongs to the schema `raw`.
    pub(super) const fn is_documents(&self) -> bool {
        self.documents
    }
}

const DOCUMENTS: &str = r#"INSERT INTO raw.documents (id, correlation_id, source, url, title, text, author, published_at,
        published_ns, symbols, lang, metadata, content_hash, record_ms, topic, partition, "offset")
    SELECT id, correlation_id, source, url, title, text, author, published_at, published_ns, symbols::json, lang,
        metadata::json, content_hash, record_ms, topic, partition, "offset"
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
        AS t (id, correlation_id, source, url, title, text, author, published_at, published_ns, symbols, lang,
            metadata, content_hash, record_ms, topic, partition, "offset")
    ON CONFLICT (id) DO UPDATE SET correlation_id = excluded.correlation_id, source = excluded.source,
        url = excluded.url, title = excluded.title, text = excluded.text, author = excluded.author,
        published_at = excluded.published_at, published_ns = excluded.published_ns, symbols = excluded.symbols,
        lang = excluded.lang, metadata = excluded.metadata, content_hash = excluded.content_hash,
        record_ms = excluded.record_ms, topic = excluded.topic, partition = excluded.partition,
        "offset" = excluded."offset""#;

/// A row that is new has a number of its own: if another daemon inserted the document meanwhile, this fails on the id.
const ANALYSES: &str = r#"INSERT INTO analytics.analyses (seq, document_id, correlation_id, source, verdict, duplicate_of,
        rule, similarity, sentiment_label, sentiment_score, category, symbols, published_at, processed_at, record_ms,
        topic, partition, "offset", body)
    SELECT seq, document_id, correlation_id, source, verdict, duplicate_of, rule, similarity, sentiment_label,
        sentiment_score, category, symbols::text[], published_at, processed_at, record_ms, topic, partition, "offset",
        body::json
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
        AS t (seq, document_id, correlation_id, source, verdict, duplicate_of, rule, similarity, sentiment_label,
            sentiment_score, category, symbols, published_at, processed_at, record_ms, topic, partition, "offset", body)
    ON CONFLICT (seq) DO UPDATE SET correlation_id = excluded.correlation_id, source = excluded.source,
        verdict = excluded.verdict, duplicate_of = excluded.duplicate_of, rule = excluded.rule,
        similarity = excluded.similarity, sentiment_label = excluded.sentiment_label,
        sentiment_score = excluded.sentiment_score, category = excluded.category, symbols = excluded.symbols,
        published_at = excluded.published_at, processed_at = excluded.processed_at, record_ms = excluded.record_ms,
        topic = excluded.topic, partition = excluded.partition, "offset" = excluded."offset", body = excluded.body"#;

const SYMBOLS: &str = "INSERT INTO analytics.symbols
        (symbol, processed_at, seq, correlation_id, sentiment_label, sentiment_score)
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6)";

const ENTITIES: &str = r#"INSERT INTO analytics.entities
        (seq, position, processed_at, correlation_id, kind, text, start, "end", symbol)
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)"#;

const VECTORS: &str = "INSERT INTO analytics.vectors (seq, correlation_id, model, vector)
    SELECT * FROM unnest($1, $2, $3, $4)";

const SIGNALS: &str = r#"INSERT INTO analytics.signals
        (topic, partition, "offset", symbol, ts, score, label, document_id, correlation_id, accepted_at, processed_at)
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (topic, partition, "offset", symbol) DO UPDATE SET ts = excluded.ts, score = excluded.score,
        label = excluded.label, document_id = excluded.document_id, correlation_id = excluded.correlation_id,
        accepted_at = excluded.accepted_at, processed_at = excluded.processed_at"#;

/// What the very records said before, by the rows just written.
const FORGET_SIGNALS: &str = r#"DELETE FROM analytics.signals s USING analytics.analyses a
    WHERE a.seq = ANY($1) AND s.topic = a.topic AND s.partition = a.partition AND s."offset" = a."offset""#;

/// Declares a table's arrays and how they go to the server, in the order of its statement.
macro_rules! table {
    ($(#[$doc:meta])* $table:ident $sql:ident documents: $documents:literal;
        $first:ident: $of_first:ident, $($column:ident: $element:ident),* $(,)?) => {
        $(#[$doc])*
        struct $table {
            $first: Array<$of_first>,
            $($column: Array<$element>,)*
        }

        impl $table {
            fn with_rows(rows: usize) -> Self {
                Self { $first: Array::with_rows(rows), $($column: Array::with_rows(rows),)* }
            }

            /// No more rows come.
            fn finish(&mut self) {
                self.$first.precede([$(self.$column.wire_bytes()),*].iter().sum());
            }

            fn insert(&self) -> Insert<'_> {
                Insert {
                    sql: $sql,
                    types: vec![$of_first::ARRAY, $($element::ARRAY),*],
                    values: vec![&self.$first as &(dyn ToSql + Sync), $(&self.$column as &(dyn ToSql + Sync)),*],
                    documents: $documents,
                }
            }
        }
    };
}

table! {
    /// `raw.documents`
    Documents DOCUMENTS documents: true;
    id: Verbatim, correlation_id: Verbatim, source: Text, url: Text, title: Text, text: Text, author: Text,
    published_at: Time, published_ns: Int2, symbols: Verbatim, lang: Text, metadata: Verbatim, content_hash: Binary,
    record_ms: Int8, topic: Text, partition: Int4, offset: Int8,
}

table! {
    /// `analytics.analyses`
    Analyses ANALYSES documents: false;
    seq: Int8, document_id: Verbatim, correlation_id: Verbatim, source: Text, verdict: Verbatim, duplicate_of: Text,
    rule: Verbatim, similarity: Float4, sentiment_label: Verbatim, sentiment_score: Float4, category: Text,
    symbols: Names, published_at: Time, processed_at: Time, record_ms: Int8, topic: Text, partition: Int4,
    offset: Int8, body: Verbatim,
}

table! {
    /// `analytics.symbols`
    Symbols SYMBOLS documents: false;
    symbol: Text, processed_at: Time, seq: Int8, correlation_id: Verbatim, sentiment_label: Verbatim,
    sentiment_score: Float4,
}

table! {
    /// `analytics.entities`
    Entities ENTITIES documents: false;
    seq: Int8, position: Int4, processed_at: Time, correlation_id: Verbatim, kind: Text, text: Text, start: Int4,
    end: Int4, symbol: Text,
}

table! {
    /// `analytics.vectors`
    Vectors VECTORS documents: false;
    seq: Int8, correlation_id: Verbatim, model: Text, vector: Binary,
}

table! {
    /// `analytics.signals`
    Signals SIGNALS documents: false;
    topic: Text, partition: Int4, offset: Int8, symbol: Text, ts: Time, score: Float4, label: Verbatim,
    document_id: Text, correlation_id: Verbatim, accepted_at: Time, processed_at: Time,
}

/// All that a batch writes.
pub(super) struct Columns {
    documents: Documents,
    analyses: Analyses,
    symbols: Symbols,
    entities: Entities,
    vectors: Vectors,
    signals: Signals,
    existing: Vec<i64>,
}

impl Columns {
    /// Of the chosen versions, in the order of the batch; `free` has a number for each that is new. Rows go to the server
    /// in the order of their ids, so that daemons which insert the same ones wait instead of blocking each other.
    pub(super) fn new(chosen: &[Final<'_>], free: &[i64]) -> Result<Self, StoreError> {
        let rows = chosen.len();
        let mut columns = Self {
            documents: Documents::with_rows(rows),
            analyses: Analyses::with_rows(rows),
            symbols: Symbols::with_rows(rows),
            entities: Entities::with_rows(rows),
            vectors: Vectors::with_rows(rows),
            signals: Signals::with_rows(rows),
            existing: Vec::new(),
        };
        let mut free = free.iter();
        let mut numbered = Vec::with_capacity(chosen.len());
        for last in chosen {
            let seq = last.seq.or_else(|| free.next().copied());
            let seq = seq.ok_or_else(|| StoreError::Unavailable("the sequence gave too few numbers".to_owned()))?;
            columns.existing.extend(last.seq);
            numbered.push((seq, last));
        }
        numbered.sort_unstable_by(|(_, one), (_, two)| one.id.cmp(&two.id));
        for (seq, last) in numbered {
            columns.documents.push(last)?;
            columns.analyses.push(seq, last)?;
            columns.symbols.push(seq, last.row);
            columns.entities.push(seq, last.row);
            columns.vectors.push(seq, last.row);
        }
        columns.documents.finish();
        columns.analyses.finish();
        columns.symbols.finish();
        columns.entities.finish();
        columns.vectors.finish();
        Ok(columns)
    }

    /// Adds what the written rows say of their symbols, versions replaced within the batch too: what was said then stays
    /// said, however records are batched.
    pub(super) fn add_signals(&mut self, rows: &[VerdictRow], outcomes: &[WriteOutcome]) {
        if rows.iter().all(|row| row.analysis.sentiment.is_none()) {
            return;
        }
        let mut written: Vec<&VerdictRow> = rows
            .iter()
            .zip(outcomes)
            .filter(|(_, outcome)| match outcome {
                WriteOutcome::Written | WriteOutcome::Rerooted(_) => true,
                WriteOutcome::AlreadyDead | WriteOutcome::OriginalMissing => false,
            })
            .map(|(row, _)| row)
            .collect();
        // daemons lock rows in one order, and a statement must not meet a record twice
        written.sort_by(|left, right| left.analysis.origin.cmp(&right.analysis.origin));
        for (index, row) in written.iter().enumerate() {
            let again = written.get(index + 1).is_some_and(|next| next.analysis.origin == row.analysis.origin);
            if !again {
                self.signals.push(row);
            }
        }
        self.signals.finish();
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.analyses.seq.is_empty()
    }

    /// Numbers of the rows that are replaced.
    pub(super) fn existing(&self) -> &[i64] {
        &self.existing
    }

    /// The statements, in the order in which they take their locks.
    pub(super) fn inserts(&self) -> Vec<Insert<'_>> {
        let mut inserts = vec![self.documents.insert(), self.analyses.insert()];
        let details = [
            (self.symbols.seq.is_empty(), self.symbols.insert()),
            (self.entities.seq.is_empty(), self.entities.insert()),
            (self.vectors.seq.is_empty(), self.vectors.insert()),
            (self.existing.is_empty(), self.forget_signals()),
            (self.signals.offset.is_empty(), self.signals.insert()),
        ];
        inserts.extend(details.into_iter().filter_map(|(empty, insert)| (!empty).then_some(insert)));
        inserts
    }
}

impl Columns {
    fn forget_signals(&self) -> Insert<'_> {
        Insert { sql: FORGET_SIGNALS, types: vec![Type::INT8_ARRAY], values: vec![&self.existing], documents: false }
    }
}

impl Documents {
    fn push(&mut self, last: &Final<'_>) -> Result<(), StoreError> {
        let row = last.row;
        let (document, origin) = (&*row.document, &row.analysis.origin);
        self.id.push(&last.id);
        self.correlation_id.push(row.analysis.correlation_id.as_str());
        self.source.push(&document.source);
        self.url.push_option(document.url.as_deref());
        self.title.push_option(document.title.as_deref());
        self.text.push(&document.text);
        self.author.push_option(document.author.as_deref());
        self.published_at.push_option(document.published_at.as_ref());
        self.published_ns.push_option(document.published_at.map(below_a_microsecond).as_ref());
        self.symbols.push_json(&document.symbols)?;
        self.lang.push_option(document.lang.as_deref());
        self.metadata.push_json(&document.metadata)?;
        self.content_hash.push(&row.content_hash);
        self.record_ms.push(&row.timestamp_ms);
        self.topic.push(&origin.topic);
        self.partition.push(&origin.partition);
        self.offset.push(&origin.offset);
        Ok(())
    }
}

impl Analyses {
    fn push(&mut self, seq: i64, last: &Final<'_>) -> Result<(), StoreError> {
        let row = last.row;
        let analysis = &row.analysis;
        let duplicate_of = last.rerooted.as_ref().or(analysis.duplicate_of.as_ref());
        let sentiment = analysis.sentiment.as_ref();
        self.seq.push(&seq);
        self.document_id.push(&last.id);
        self.correlation_id.push(analysis.correlation_id.as_str());
        self.source.push(&analysis.source);
        self.verdict.push(verdict_name(analysis.verdict));
        self.duplicate_of.push_option(duplicate_of.map(|id| &**id));
        self.rule.push_option(analysis.rule.map(rule_name));
        self.similarity.push_option(analysis.similarity.as_ref());
        self.sentiment_label.push_option(sentiment.map(|sentiment| sentiment_name(sentiment.label)));
        self.sentiment_score.push_option(sentiment.map(|sentiment| &sentiment.score));
        self.category.push_option(analysis.category.as_ref().map(|category| &*category.label));
        self.symbols.push(&analysis.symbols);
        self.published_at.push_option(analysis.published_at.as_ref());
        self.processed_at.push(&analysis.processed_at);
        self.record_ms.push(&row.timestamp_ms);
        self.topic.push(&analysis.origin.topic);
        self.partition.push(&analysis.origin.partition);
        self.offset.push(&analysis.origin.offset);
        match &last.rerooted {
            None => self.body.push(analysis.json().map_err(|error| not_json(&error))?),
            Some(root) => {
                let rerooted = Analysis { duplicate_of: Some(Arc::clone(root)), ..(**analysis).clone() };
                self.body.push_json(&rerooted)?;
            }
        }
        Ok(())
    }
}

impl Symbols {
    fn push(&mut self, seq: i64, row: &VerdictRow) {
        let analysis = &row.analysis;
        let sentiment = analysis.sentiment.as_ref();
        let mut seen = HashSet::with_capacity(analysis.symbols.len());
        for symbol in analysis.symbols.iter().filter(|symbol| seen.insert(symbol.as_str())) {
            self.symbol.push(symbol);
            self.processed_at.push(&analysis.processed_at);
            self.seq.push(&seq);
            self.correlation_id.push(analysis.correlation_id.as_str());
            self.sentiment_label.push_option(sentiment.map(|sentiment| sentiment_name(sentiment.label)));
            self.sentiment_score.push_option(sentiment.map(|sentiment| &sentiment.score));
        }
    }
}

impl Entities {
    fn push(&mut self, seq: i64, row: &VerdictRow) {
        for (position, entity) in row.analysis.entities.iter().enumerate() {
            self.seq.push(&seq);
            self.position.push(&number(position));
            self.processed_at.push(&row.analysis.processed_at);
            self.correlation_id.push(row.analysis.correlation_id.as_str());
            self.kind.push(&entity.kind);
            self.text.push(&entity.text);
            self.start.push(&number(entity.start));
            self.end.push(&number(entity.end));
            self.symbol.push_option(entity.symbol.as_deref());
        }
    }
}

impl Vectors {
    fn push(&mut self, seq: i64, row: &VerdictRow) {
        let Some(vector) = &row.vector else { return };
        let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.seq.push(&seq);
        self.correlation_id.push(row.analysis.correlation_id.as_str());
        self.model.push_option(row.analysis.embedding.as_ref().map(|embedding| &*embedding.model));
        self.vector.push(&bytes);
    }
}

impl Signals {
    fn push(&mut self, row: &VerdictRow) {
        let analysis = &row.analysis;
        for signal in signals_of(analysis, row.timestamp_ms) {
            self.topic.push(&analysis.origin.topic);
            self.partition.push(&analysis.origin.partition);
            self.offset.push(&analysis.origin.offset);
            self.symbol.push(&signal.symbol);
            self.ts.push(&signal.ts);
            self.score.push(&signal.score);
            self.label.push(sentiment_name(signal.label));
            self.document_id.push(&analysis.document_id);
            self.correlation_id.push(analysis.correlation_id.as_str());
            self.accepted_at.push(&signal.accepted_at);
            self.processed_at.push(&signal.processed_at);
        }
    }
}

fn number(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// A time cut to whole microseconds: the driver itself would round times before 2000 up.
pub(super) fn whole_micros(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(time.timestamp_micros()).unwrap_or(time)
}

/// What a timestamp has below a microsecond, which PostgreSQL does not keep: 0 to 999.
fn below_a_microsecond(time: DateTime<Utc>) -> i16 {
    i16::try_from(time.timestamp_subsec_nanos() % 1000).unwrap_or(0)
}
