//! Puts the vectors of stored documents into the index. The store of documents stays the truth the index is rebuilt from.

use std::collections::HashMap;
use std::sync::Arc;

use crate::messages::analysis::VerdictLabel;
use crate::messages::pipeline::Sighting;
use crate::stores::cache::Cache;
use crate::stores::shared_vectors::SettledVector;
use crate::stores::vectors::{VectorEntry, VectorIndex};
use crate::supervisors::{Actor, Context, Fault, Mailbox};

use super::deduplicator::store_fault;
use super::shared::Recall;
use super::sql_writer::Verdict;

/// Inserts after the verdict is durable, so that the index never knows a document that the store lacks.
pub struct VectorWriter {
    /// The index.
    pub vectors: Arc<dyn VectorIndex>,
    /// Told that search answers have changed, before the verdicts go on.
    pub cache: Arc<Cache>,
    /// Outlives restarts.
    pub recall: Recall,
    /// Downstream.
    pub publisher: Mailbox<Verdict>,
}

impl Actor for VectorWriter {
    type Message = Verdict;

    async fn handle(&mut self, batch: Vec<Verdict>, ctx: &Context<Verdict>) -> Result<(), Fault> {
        let changed = if let Some(shared) = self.vectors.shared() {
            let (settled, again) = settled(&batch);
            let changed = !settled.is_empty();
            if changed {
                ctx.protect(shared.settle(settled)).await.map_err(store_fault)?;
            }
            if !again.is_empty() {
                ctx.protect(shared.settle_again(again)).await.map_err(store_fault)?;
            }
            changed
        } else {
            let (inserts, removals) = changes(&batch);
            let changed = !inserts.is_empty() || !removals.is_empty();
            if !inserts.is_empty() {
                ctx.protect(self.vectors.upsert(inserts)).await.map_err(store_fault)?;
            }
            if !removals.is_empty() {
                ctx.protect(self.vectors.remove(removals)).await.map_err(store_fault)?;
            }
            changed
        };
        if changed {
            ctx.protect(self.cache.searches_changed()).await;
        }
        {
            let mut pending = self.recall.pending.lock();
            for Verdict { judged, .. } in &batch {
                pending.remove(&judged.document.id, judged.delivery.position());
            }
        }
        ctx.forward(&self.publisher, batch).await
    }
}

/// What the verdicts change in the index: vectors of stored documents, and ids of documents that are copies, whose
/// earlier revision may have had one. Of several verdicts on one document the last counts.
fn changes(batch: &[Verdict]) -> (Vec<VectorEntry>, Vec<Arc<str>>) {
    let judged = batch.iter().filter(|verdict| verdict.judged.sighting != Sighting::Same);
    let last: HashMap<&str, &Verdict> = judged.map(|verdict| (&*verdict.judged.document.id, verdict)).collect();
    let (mut inserts, mut removals) = (Vec::new(), Vec::new());
    for verdict in last.into_values() {
        match verdict.judged.sighting {
            Sighting::Same => {}
            Sighting::Copy(_) => removals.push(Arc::clone(&verdict.judged.document.id)),
            Sighting::Fresh => inserts.extend(entry(verdict)),
        }
    }
    (inserts, removals)
}

fn entry(verdict: &Verdict) -> Option<VectorEntry> {
    let judged = &verdict.judged;
    Some(VectorEntry { vector: Arc::clone(&judged.encoded.as_ref()?.vector), ..entry_of(verdict) })
}

/// All but the vector.
fn entry_of(verdict: &Verdict) -> VectorEntry {
    let judged = &verdict.judged;
    VectorEntry {
        id: Arc::clone(&judged.document.id),
        vector: Vec::new().into(),
        timestamp_ms: judged.delivery.record().timestamp_ms,
        source: Arc::clone(&judged.document.source),
        symbols: verdict.analysis.symbols.as_slice().into(),
    }
}

/// The same for an index that daemons share: what is settled now, and what was stored before and came once more, perhaps
/// because the daemon that stored it died.
fn settled(batch: &[Verdict]) -> (Vec<SettledVector>, Vec<SettledVector>) {
    let last: HashMap<&str, &Verdict> = batch.iter().map(|verdict| (&*verdict.judged.document.id, verdict)).collect();
    let (mut settled, mut again) = (Vec::new(), Vec::new());
    for verdict in last.into_values() {
        let analysis = &verdict.analysis;
        let of = |entry| SettledVector {
            id: Arc::clone(&verdict.judged.document.id),
            origin: analysis.origin.clone(),
            correlation_id: analysis.correlation_id.as_str().into(),
            entry,
        };
        match (&verdict.judged.sighting, analysis.verdict) {
            (Sighting::Same, VerdictLabel::Stored) => again.push(of(Some(entry_of(verdict)))),
            (Sighting::Same, VerdictLabel::Duplicate) | (Sighting::Copy(_), _) => settled.push(of(None)),
            (Sighting::Fresh, _) => settled.extend(entry(verdict).map(|entry| of(Some(entry)))),
        }
    }
    (settled, again)
}
