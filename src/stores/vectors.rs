//! What search and the near-duplicate check need of a vector index.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::documents::{RememberedDocument, StoreError};

/// One vector to keep.
#[derive(Debug, Clone)]
pub struct VectorEntry {
    /// Document id.
    pub id: Arc<str>,
    /// L2-normalised values.
    pub vector: Arc<[f32]>,
    /// The record's time, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The document's source.
    pub source: Arc<str>,
    /// The document's symbols.
    pub symbols: Arc<[String]>,
}

/// Restricts a search.
#[derive(Debug, Clone, Default)]
pub struct VectorFilter {
    /// Only vectors at or after this time.
    pub since_ms: Option<i64>,
    /// Only vectors at or before this time.
    pub until_ms: Option<i64>,
    /// Only this source.
    pub source: Option<String>,
    /// Only those with this symbol.
    pub symbol: Option<String>,
    /// Never this id.
    pub except: Option<Arc<str>>,
}

/// A neighbour.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbor {
    /// Document id.
    pub id: Arc<str>,
    /// Cosine similarity, computed exactly.
    pub similarity: f32,
    /// The record's time.
    pub timestamp_ms: i64,
}

/// A search for neighbours.
#[derive(Debug, Clone)]
pub struct VectorQuery {
    /// What they are near to.
    pub vector: Arc<[f32]>,
    /// How many at most.
    pub k: usize,
    /// Which ones count.
    pub filter: VectorFilter,
}

/// How an index is compared with the store of documents, while it is in use. One comparison at a time.
pub trait Reconcile: Send + Sync {
    /// Begins a comparison: nothing is confirmed yet. What is inserted from now on counts as confirmed.
    ///
    /// # Errors
    /// If the index is away.
    fn begin(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Confirms documents of the store: for each, in order, whether the index has its vector as it is. A document
    /// without a vector needs none.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a vector the index can't take.
    fn confirm(&self, documents: Arc<[RememberedDocument]>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>>;

    /// Ids the index has and nobody confirmed.
    ///
    /// # Errors
    /// If the index is away.
    fn unconfirmed(&self) -> BoxFuture<'_, Result<Vec<Arc<str>>, StoreError>>;
}

/// Nearest-neighbour index. A vector is found by every search that begins after its insert was resolved. Calls never
/// block the thread they are made on.
pub trait VectorIndex: Send + Sync {
    /// Inserts or replaces, in order.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a wrong dimension or values that are not finite; then any part may have been inserted.
    fn upsert(&self, entries: Vec<VectorEntry>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes those that are there.
    ///
    /// # Errors
    /// If the index is away.
    fn remove(&self, ids: Vec<Arc<str>>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// For each query, in order: up to `k` nearest by cosine, best first; equal similarities by earlier time, then id.
    ///
    /// # Errors
    /// [`StoreError::InvalidQuery`] for a wrong dimension or values that are not finite.
    fn nearest_many(&self, queries: Vec<VectorQuery>) -> BoxFuture<'_, Result<Vec<Vec<Neighbor>>, StoreError>>;

    /// As [`VectorIndex::nearest_many`] for one query.
    ///
    /// # Errors
    /// As there.
    fn nearest(&self, query: VectorQuery) -> BoxFuture<'_, Result<Vec<Neighbor>, StoreError>> {
        Box::pin(async move { Ok(self.nearest_many(vec![query]).await?.pop().unwrap_or_default()) })
    }

    /// Tells that the store of documents is about to change: a file saved before must not look current any more.
    ///
    /// # Errors
    /// If the file can't be marked.
    fn expect_changes(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// For comparing it with the store; `None` if it can't be.
    fn reconcile(&self) -> Option<&dyn Reconcile> {
        None
    }

    /// Vectors held; of an index elsewhere, as last told.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the index answers, and what it says of itself. Deadline 2 s.
    ///
    /// # Errors
    /// Why it does not.
    fn check(&self) -> BoxFuture<'_, Result<String, StoreError>>;

    /// Makes the next start quick, where there is a file to write; the store of documents stays the truth.
    ///
    /// # Errors
    /// If the file can't be written.
    fn save(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
