//! Puts the vectors of stored documents into the index. The store of documents stays the truth the index is rebuilt from.

use std::sync::Arc;

use crate::messages::pipeline::Sighting;
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
        let entries: Vec<VectorEntry> = batch.iter().filter_map(entry).collect();
        if !entries.is_empty() {
            let vectors = Arc::clone(&self.vectors);
            compute(move || entries.into_iter().try_for_each(|entry| vectors.insert(entry)))
                .await?
                .map_err(store_fault)?;
        }
        for verdict in batch {
            if verdict.judged.sighting == Sighting::Fresh {
                self.recall.pending.lock().remove(&verdict.judged.document.id);
            }
            ctx.send(&self.publisher, verdict).await?;
            ctx.done(1);
        }
        Ok(())
    }
}

fn entry(verdict: &Verdict) -> Option<VectorEntry> {
    let judged = &verdict.judged;
    if judged.sighting != Sighting::Fresh {
        return None;
    }
    Some(VectorEntry {
        id: Arc::clone(&judged.document.id),
        vector: Arc::clone(&judged.encoded.as_ref()?.vector),
        timestamp_ms: judged.delivery.record().timestamp_ms,
        source: Arc::clone(&judged.document.source),
        symbols: verdict.analysis.symbols.as_slice().into(),
    })
}
