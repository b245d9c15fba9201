//! What search and the near-duplicate check need of a vector index.

use std::sync::Arc;

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

/// How an index is compared with the store of documents, while it is in use.
pub trait Reconcile: Send + Sync {
    /// Begins a comparison: nothing is confirmed yet. What is inserted from now on counts as confirmed.
    fn begin(&self);

    /// Confirms a document of the store: true if the index has its vector as it is.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a vector the index can't take.
    fn confirm(&self, document: &RememberedDocument) -> Result<bool, StoreError>;

    /// Ids the index has and nobody confirmed.
    fn unconfirmed(&self) -> Vec<Arc<str>>;
}

/// Nearest-neighbour index. An inserted vector is found by the next search.
pub trait VectorIndex: Send + Sync {
    /// Inserts or replaces.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a wrong dimension or values that are not finite.
    fn insert(&self, entry: VectorEntry) -> Result<(), StoreError>;

    /// Tells that the store of documents is about to change: a file saved before must not look current any more.
    ///
    /// # Errors
    /// If the file can't be marked.
    fn expect_changes(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Removes; false if it was not there.
    ///
    /// # Errors
    /// If the index is away.
    fn remove(&self, id: &str) -> Result<bool, StoreError>;

    /// Up to `k` nearest by cosine, best first; equal similarities by earlier time, then id.
    ///
    /// # Errors
    /// [`StoreError::InvalidQuery`] for a wrong dimension or values that are not finite.
    fn nearest(&self, vector: &[f32], k: usize, filter: &VectorFilter) -> Result<Vec<Neighbor>, StoreError>;

    /// For comparing it with the store; `None` if it can't be.
    fn reconcile(&self) -> Option<&dyn Reconcile> {
        None
    }

    /// Vectors held.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the index to its file, so that the next start is quick; the store of documents stays the truth.
    ///
    /// # Errors
    /// If the file can't be written.
    fn save(&self) -> Result<(), StoreError>;
}
