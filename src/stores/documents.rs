//! What the pipeline needs of a relational store: verdicts in, documents, explanations and dead letters out.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::pools::PoolStatus;
use crate::messages::analysis::{Analysis, VerdictLabel};
use crate::messages::correlation::CorrelationId;
use crate::messages::dead_letter::StoredDeadLetter;
use crate::messages::document::Document;
use crate::messages::record::Position;
use crate::messages::sealed::SealedAnalysis;

/// Why a store call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store is away or busy; the same call may succeed later.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store refuses this data.
    #[error("the store refused the data: {0}")]
    Refused(String),
    /// The query is wrong, such as a cursor that is not ours.
    #[error("{0}")]
    InvalidQuery(String),
    /// What is kept can't be read any more; the message names the file or server.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

impl StoreError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Refused(_) | Self::InvalidQuery(_) | Self::Damaged(_) => false,
        }
    }
}

/// One verdict to write.
#[derive(Debug, Clone)]
pub struct VerdictRow {
    /// The document.
    pub document: Arc<Document>,
    /// Its analysis, verdict included.
    pub analysis: SealedAnalysis,
    /// The embedding of a stored document.
    pub vector: Option<Arc<[f32]>>,
    /// Hash of the cleaned content, see `text::fingerprint`.
    pub content_hash: [u8; 32],
    /// The record's time, milliseconds since the Unix epoch: duplicate windows count by it.
    pub timestamp_ms: i64,
}

impl VerdictRow {
    /// The record that brought it, for the document's deliveries.
    #[must_use]
    pub fn delivery(&self) -> DeliveryRow {
        DeliveryRow {
            origin: self.analysis.origin.clone(),
            document_id: Arc::clone(&self.document.id),
            correlation_id: self.analysis.correlation_id.clone(),
            outcome: self.outcome(),
            processed_at: self.analysis.processed_at,
        }
    }

    /// What its record did to its document.
    #[must_use]
    pub fn outcome(&self) -> DeliveryOutcome {
        match self.analysis.verdict {
            VerdictLabel::Stored => DeliveryOutcome::Stored,
            VerdictLabel::Duplicate => DeliveryOutcome::Duplicate,
        }
    }
}

/// What a write did with one row.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteOutcome {
    /// Written, or written over the same document's earlier row.
    Written,
    /// Written, but the document it names is itself a copy by now: the row names that one's original, which is this.
    Rerooted(Arc<str>),
    /// The record ended in the dead letters before: nothing was written.
    AlreadyDead,
    /// It is a duplicate of a document that is neither stored nor in this batch before it: nothing was written.
    OriginalMissing,
}

/// What a record did to its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryOutcome {
    /// Its content was judged and is, or was until a revision came, the document.
    Stored,
    /// Its content was judged a copy of another document.
    Duplicate,
    /// The document was there already with this very content: nothing changed.
    Repeated,
}

impl DeliveryOutcome {
    /// Its name in columns.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Repeated => "repeated",
        }
    }

    /// The outcome of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Stored, Self::Duplicate, Self::Repeated].into_iter().find(|outcome| outcome.name() == name)
    }
}

/// One record that brought a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRow {
    /// The record.
    pub origin: Position,
    /// The document it brought.
    pub document_id: Arc<str>,
    /// The record's correlation id.
    pub correlation_id: CorrelationId,
    /// What it did.
    pub outcome: DeliveryOutcome,
    /// When its verdict was made, kept to the microsecond.
    pub processed_at: DateTime<Utc>,
}

/// A document at rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredDocument {
    /// The document.
    #[serde(flatten)]
    pub document: Document,
    /// Its analysis.
    pub analysis: Analysis,
}

/// What the duplicate memory needs to know again after a restart.
#[derive(Debug, Clone)]
pub struct RememberedDocument {
    /// Document id.
    pub id: Arc<str>,
    /// Verdict.
    pub verdict: VerdictLabel,
    /// The stored document a duplicate copies.
    pub duplicate_of: Option<Arc<str>>,
    /// Hash of the cleaned content.
    pub content_hash: [u8; 32],
    /// Cleaned title and text, for its shingles.
    pub title: Option<String>,
    /// Cleaned text.
    pub text: String,
    /// The record's time.
    pub timestamp_ms: i64,
    /// Where it came from.
    pub origin: Position,
    /// Embedding of a stored document.
    pub vector: Option<Arc<[f32]>>,
    /// The document's source and symbols, for filtered search.
    pub source: Arc<str>,
    /// Symbols of the analysis.
    pub symbols: Vec<String>,
}

/// Filters for listing documents, newest first.
#[derive(Debug, Clone, Default)]
pub struct DocumentFilter {
    /// Only this verdict.
    pub verdict: Option<VerdictLabel>,
    /// Only this source.
    pub source: Option<String>,
    /// Only those with this symbol.
    pub symbol: Option<String>,
    /// Only those processed at or after this time.
    pub since: Option<DateTime<Utc>>,
    /// At most this many (1 to 1000).
    pub limit: usize,
    /// Where the last page ended.
    pub cursor: Option<String>,
}

/// One page of a listing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Give this as `cursor` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Filters for listing dead letters, newest first.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    /// Only this stage.
    pub stage: Option<String>,
    /// Only this code.
    pub code: Option<String>,
    /// Only those replayed, or only those not.
    pub replayed: Option<bool>,
    /// At most this many (1 to 1000).
    pub limit: usize,
    /// Where the last page ended.
    pub cursor: Option<String>,
}

/// Counts for status pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreCounts {
    /// Documents with verdict stored.
    pub stored: u64,
    /// Documents with verdict duplicate.
    pub duplicates: u64,
    /// Dead letters not purged.
    pub dead_letters: u64,
}

/// Relational store of documents, analyses and dead letters. Resolved writes are durable.
pub trait DocumentStore: Send + Sync {
    /// Writes verdicts in order, all in one transaction, and notes each written row's record among its document's
    /// deliveries. One outcome per row.
    fn write(&self, rows: Vec<VerdictRow>) -> BoxFuture<'_, Result<Vec<WriteOutcome>, StoreError>>;

    /// Notes records that changed nothing, so that their correlation ids are found.
    fn note_deliveries(&self, rows: Vec<DeliveryRow>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Records that brought the document with this id, or that had this correlation id, in the order of the log; at most
    /// 100.
    fn deliveries_of<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<DeliveryRow>, StoreError>>;

    /// The document with its analysis.
    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<StoredDocument>, StoreError>>;

    /// Documents by id, in the order asked, those found.
    fn get_many<'a>(&'a self, ids: &'a [Arc<str>]) -> BoxFuture<'a, Result<Vec<StoredDocument>, StoreError>>;

    /// Documents that records with this correlation id brought, repeats and since replaced revisions too; oldest first, at
    /// most 100.
    fn by_correlation<'a>(&'a self, correlation_id: &'a str) -> BoxFuture<'a, Result<Vec<StoredDocument>, StoreError>>;

    /// One page of documents.
    fn list(&self, filter: DocumentFilter) -> BoxFuture<'_, Result<Page<StoredDocument>, StoreError>>;

    /// Calls `visit` with every document whose record time is at or after `since_ms`, in order of record time then position.
    fn remember<'a>(
        &'a self,
        since_ms: i64,
        visit: Box<dyn FnMut(RememberedDocument) + Send + 'a>,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Keeps a dead letter; the same id again is the same dead letter.
    fn write_dead_letter(&self, letter: StoredDeadLetter) -> BoxFuture<'_, Result<(), StoreError>>;

    /// One page of dead letters.
    fn dead_letters(&self, filter: DeadLetterFilter) -> BoxFuture<'_, Result<Page<StoredDeadLetter>, StoreError>>;

    /// One dead letter with its bytes.
    fn dead_letter<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<StoredDeadLetter>, StoreError>>;

    /// Dead letters of a document or correlation id, oldest first, at most 100.
    fn dead_letters_of<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<StoredDeadLetter>, StoreError>>;

    /// Notes that it was replayed. False if there is none.
    fn mark_replayed<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Deletes one dead letter, or all with `None`; how many went.
    fn purge_dead_letters<'a>(&'a self, id: Option<&'a str>) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// Counts for status pages.
    fn counts(&self) -> BoxFuture<'_, Result<StoreCounts, StoreError>>;

    /// Whether the store answers; for health checks. Deadline 2 s.
    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Finishes what is queued and lets go of files; later calls fail. Blocks. Nothing to do where nothing is held.
    fn close(&self) {}

    /// Makes every call fail as unavailable until the time has passed; for fault injection only.
    fn fail_for(&self, duration: std::time::Duration);

    /// Which store it is and where, for messages.
    fn describe(&self) -> String {
        "the store".to_owned()
    }

    /// How busy its connections are.
    fn pools(&self) -> Vec<PoolStatus> {
        Vec::new()
    }
}
