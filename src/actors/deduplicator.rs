//! The near-duplicate check by meaning: cosine against the vector index and the vectors on their way to it.

use std::sync::Arc;
use std::time::Instant;

use crate::config::dedup::DedupConfig;
use crate::messages::pipeline::{DuplicateOf, DuplicateRule, Embedded, Judged, Sighting};
use crate::messages::record::Record;
use crate::stores::documents::StoreError;
use crate::stores::vectors::{Neighbor, VectorFilter, VectorIndex, VectorQuery};
use crate::supervisors::{Actor, Context, Fault, Mailbox};
use crate::telemetry::metrics;

use super::shared::{Recall, nearer};
use super::timing::stamp;

/// Judges documents in order, so that of two near copies in flight exactly one is stored. The lookups of a batch in the
/// index run side by side; what the batch itself adds is compared in order.
pub struct Deduplicator {
    /// Thresholds and window, as they are now.
    pub config: Arc<arc_swap::ArcSwap<DedupConfig>>,
    /// The index of stored documents.
    pub vectors: Arc<dyn VectorIndex>,
    /// Outlives restarts.
    pub recall: Recall,
    /// Downstream.
    pub sentiment_analyzer: Mailbox<Judged>,
}

/// Neighbours asked of the index for each document: more than one, as some may have been judged anew meanwhile.
const NEIGHBORS: usize = 8;

impl Actor for Deduplicator {
    type Message = Embedded;

    async fn handle(&mut self, batch: Vec<Embedded>, ctx: &Context<Embedded>) -> Result<(), Fault> {
        let config = self.config.load_full();
        // what is on its way is copied before the index is asked: what reaches the index meanwhile is found in either
        let mut pending = self.recall.pending.lock().clone();
        let mut indexed = self.indexed(&batch, &config).await?.into_iter();
        for message in batch {
            let Embedded { delivery, document, sighting, encoded, mut timings } = message;
            let record = delivery.record();
            let sighting = match (sighting, &encoded) {
                (Sighting::Fresh, Some(encoded)) => {
                    let (id, vector) = (&document.id, &encoded.vector);
                    let span = span(record.timestamp_ms, config.window_ms());
                    let within = pending.nearest(vector, span, id).filter(|_| config.cosine);
                    let before = indexed.next().into_iter().flatten().filter(|found| !pending.knows(&found.id));
                    let nearest = before.chain(within).reduce(nearer);
                    self.judge(id, record, nearest.filter(|found| found.similarity >= config.cosine_threshold))
                }
                (Sighting::Copy(mut copy), _) => {
                    // the copied document may have been judged a duplicate itself since it was fingerprinted
                    copy.of = self.recall.claims.root(&copy.of);
                    Sighting::Copy(copy)
                }
                (other, _) => other,
            };
            let vector = encoded.as_ref().map(|encoded| &encoded.vector).filter(|_| sighting == Sighting::Fresh);
            if sighting != Sighting::Same {
                pending.insert(&document.id, vector, record);
                self.recall.pending.lock().insert(&document.id, vector, record);
            }
            stamp(&mut timings, "dedup", &delivery);
            let judged = Judged { delivery, document, sighting, encoded, opinion: None, timings };
            ctx.send(&self.sentiment_analyzer, judged).await?;
            ctx.done(1);
        }
        Ok(())
    }
}

impl Deduplicator {
    /// For each fresh document of the batch, in order, its nearest neighbours in the index.
    async fn indexed(&self, batch: &[Embedded], config: &DedupConfig) -> Result<Vec<Vec<Neighbor>>, Fault> {
        let fresh = batch.iter().filter(|message| message.sighting == Sighting::Fresh);
        let queries: Vec<VectorQuery> = fresh
            .filter_map(|message| {
                let (since_ms, until_ms) = span(message.delivery.record().timestamp_ms, config.window_ms());
                let filter = VectorFilter {
                    since_ms: Some(since_ms),
                    until_ms: Some(until_ms),
                    except: Some(Arc::clone(&message.document.id)),
                    ..VectorFilter::default()
                };
                let vector = Arc::clone(&message.encoded.as_ref()?.vector);
                Some(VectorQuery { vector, k: NEIGHBORS, filter })
            })
            .collect();
        if queries.is_empty() || !config.cosine {
            return Ok(vec![Vec::new(); queries.len()]);
        }
        let started = Instant::now();
        let found = self.vectors.nearest_many(queries).await;
        metrics::dedup_lookup(started.elapsed());
        found.map_err(store_fault)
    }

    /// The sighting of a fresh document whose nearest earlier one above the threshold is this.
    fn judge(&self, id: &Arc<str>, record: &Record, copied: Option<Neighbor>) -> Sighting {
        let Some(neighbor) = copied else { return Sighting::Fresh };
        self.recall.claims.redirect(id, &record.position, &neighbor.id);
        Sighting::Copy(DuplicateOf {
            of: neighbor.id,
            rule: DuplicateRule::Cosine,
            similarity: neighbor.similarity.min(1.0),
        })
    }
}

/// First and last time that count as the same window.
fn span(timestamp_ms: i64, window_ms: i64) -> (i64, i64) {
    (timestamp_ms.saturating_sub(window_ms), timestamp_ms.saturating_add(window_ms))
}

/// How a store's failure is met: one that may pass is waited for, refused data is dead.
#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
pub fn store_fault(error: StoreError) -> Fault {
    match error {
        StoreError::Unavailable(_) => Fault::unavailable(error.to_string()),
        StoreError::Damaged(_) => Fault::broken(error.to_string()),
        StoreError::Refused(_) | StoreError::InvalidQuery(_) => {
            Fault::reject(crate::messages::code::ErrorCode::Internal, error.to_string())
        }
    }
}
