//! The in-process index behind the trait: its work runs on the compute pool, so that no reactor thread waits for it.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use rayon::prelude::*;

use super::EmbeddedIndex;
use crate::stores::documents::{RememberedDocument, StoreError};
use crate::stores::vectors::{Neighbor, Reconcile, VectorEntry, VectorIndex, VectorQuery};
use crate::telemetry::metrics;

/// Label of this store in metrics.
const STORE: &str = "vectors";

/// An [`EmbeddedIndex`] whose calls never block. Cheap to clone.
#[derive(Clone)]
pub struct PooledIndex(Arc<EmbeddedIndex>);

impl PooledIndex {
    /// Wraps an open index.
    #[must_use]
    pub fn new(index: EmbeddedIndex) -> Self {
        Self(Arc::new(index))
    }

    /// The index itself, for work that is off the reactor threads anyway.
    #[must_use]
    pub fn index(&self) -> &EmbeddedIndex {
        &self.0
    }

    /// Runs `work` on the compute pool. A panic in it goes on in the caller, so that its supervisor sees it.
    fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&EmbeddedIndex) -> Result<R, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<R, StoreError>> {
        let index = Arc::clone(&self.0);
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || work(&index)).await {
                Ok(result) => result,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(error) => Err(StoreError::Unavailable(format!("the compute pool is closed: {error}"))),
            }
        })
    }
}

impl Reconcile for PooledIndex {
    fn begin(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.0.start_rebuild();
        Box::pin(std::future::ready(Ok(())))
    }

    fn confirm(&self, documents: Arc<[RememberedDocument]>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>> {
        self.run(move |index| documents.iter().map(|document| index.is_as_stored(document)).collect())
    }

    fn unconfirmed(&self) -> BoxFuture<'_, Result<Vec<Arc<str>>, StoreError>> {
        self.run(|index| Ok(index.unseen()))
    }
}

impl VectorIndex for PooledIndex {
    fn upsert(&self, entries: Vec<VectorEntry>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(move |index| entries.into_iter().try_for_each(|entry| index.insert(entry)))
    }

    fn remove(&self, ids: Vec<Arc<str>>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(move |index| ids.iter().try_for_each(|id| index.remove(id).map(|_| ())))
    }

    fn nearest_many(&self, queries: Vec<VectorQuery>) -> BoxFuture<'_, Result<Vec<Vec<Neighbor>>, StoreError>> {
        self.run(move |index| {
            let look_up = |VectorQuery { vector, k, filter }: VectorQuery| {
                let started = Instant::now();
                let found = index.nearest(&vector, k, &filter);
                let outcome = if found.is_ok() { "ok" } else { "invalid" };
                metrics::store_operation(STORE, "nearest", outcome, started.elapsed());
                found
            };
            queries.into_par_iter().map(look_up).collect()
        })
    }

    fn expect_changes(&self) -> Result<(), StoreError> {
        self.0.expect_changes()
    }

    fn reconcile(&self) -> Option<&dyn Reconcile> {
        Some(self)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn check(&self) -> BoxFuture<'_, Result<String, StoreError>> {
        Box::pin(std::future::ready(Ok(format!("{} vectors", self.0.len()))))
    }

    fn save(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(EmbeddedIndex::save)
    }
}
