//! Puts the vectors of stored documents into the index. The store of documents stays the truth the index is rebuilt from.

use std::sync::Arc;

use crate::messages::pipeline::Sighting;
use crate::stores::documents::StoreError;
use crate::stores::vectors::{VectorEntry, VectorIndex};
use crate::supervisors::{Actor, Context, Fault, Mailbox};

use super::compute::compute;
use super::deduplicator::store_fault;
use super::shared::Recall;
use super::sql_writer::Verdict;

/// Inserts after the verdict is durable, so that the index never knows a document that the store lacks.
pub struct VectorWriter {
    /// The index.
    pub vectors: Arc<dyn VectorIndex>,
    /// Outlives restarts.
    pub recall: Recall,
    /// Downstream.
    pub publisher: Mailbox<Verdict>,
}

impl Actor for VectorWriter {
    type Message = Verdict;

    async fn handle(&mut self, batch: Vec<Verdict>, ctx: &Context<Verdict>) -> Result<(), Fault> {
        let changes: Vec<Change> = batch.iter().filter_map(Change::of).collect();
        if !changes.is_empty() {
            let vectors = Arc::clone(&self.vectors);
            compute(move || changes.into_iter().try_for_each(|change| change.apply(&*vectors)))
                .await?
                .map_err(store_fault)?;
        }
        for verdict in batch {
            let judged = &verdict.judged;
            self.recall.pending.lock().remove(&judged.document.id, judged.delivery.position());
            ctx.send(&self.publisher, verdict).await?;
            ctx.done(1);
        }
        Ok(())
    }
}

/// What a verdict changes in the index.
enum Change {
    /// A stored document's vector.
    Insert(VectorEntry),
    /// A document that is a copy has none; its earlier revision may have had one.
    Remove(Arc<str>),
}

impl Change {
    fn of(verdict: &Verdict) -> Option<Self> {
        let judged = &verdict.judged;
        match judged.sighting {
            Sighting::Same => None,
            Sighting::Copy(_) => Some(Self::Remove(Arc::clone(&judged.document.id))),
            Sighting::Fresh => Some(Self::Insert(VectorEntry {
                id: Arc::clone(&judged.document.id),
                vector: Arc::clone(&judged.encoded.as_ref()?.vector),
                timestamp_ms: judged.delivery.record().timestamp_ms,
                source: Arc::clone(&judged.document.source),
                symbols: verdict.analysis.symbols.as_slice().into(),
            })),
        }
    }

    fn apply(self, vectors: &dyn VectorIndex) -> Result<(), StoreError> {
        match self {
            Self::Insert(entry) => vectors.insert(entry),
            Self::Remove(id) => vectors.remove(&id).map(|_| ()),
        }
    }
}
