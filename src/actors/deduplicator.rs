//! The near-duplicate check by meaning: cosine against the vector index and the vectors on their way to it.

use std::sync::Arc;
use std::time::Instant;

use crate::config::dedup::DedupConfig;
use crate::messages::pipeline::{DuplicateOf, DuplicateRule, Embedded, Judged, Sighting};
use crate::messages::record::Record;
use crate::stores::documents::StoreError;
use crate::stores::vectors::{Neighbor, VectorFilter, VectorIndex};
use crate::supervisors::{Actor, Context, Fault, Mailbox};
use crate::telemetry::metrics;

use super::compute::compute;
use super::shared::{Recall, nearer};
use super::timing::stamp;

/// Judges one document at a time, in order, so that of two near copies in flight exactly one is stored.
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

impl Actor for Deduplicator {
    type Message = Embedded;

    async fn handle(&mut self, batch: Vec<Embedded>, ctx: &Context<Embedded>) -> Result<(), Fault> {
        for message in batch {
            let Embedded { delivery, document, sighting, encoded, mut timings } = message;
            let sighting = match (sighting, &encoded) {
                (Sighting::Fresh, Some(encoded)) => {
                    self.check(&document.id, &encoded.vector, delivery.record()).await?
                }
                (Sighting::Copy(mut copy), _) => {
                    // the copied document may have been judged a duplicate itself since it was fingerprinted
                    copy.of = self.recall.memory.lock().root(&copy.of);
                    Sighting::Copy(copy)
                }
                (other, _) => other,
            };
            stamp(&mut timings, "dedup", &delivery);
            let judged = Judged { delivery, document, sighting, encoded, opinion: None, timings };
            ctx.send(&self.sentiment_analyzer, judged).await?;
            ctx.done(1);
        }
        Ok(())
    }
}

impl Deduplicator {
    /// Looks for the nearest earlier document within the window; a fresh one becomes visible to the next lookup.
    async fn check(&self, id: &Arc<str>, vector: &Arc<[f32]>, record: &Record) -> Result<Sighting, Fault> {
        let timestamp_ms = record.timestamp_ms;
        let config = self.config.load_full();
        let window_ms = i64::try_from(config.window_seconds).unwrap_or(i64::MAX).saturating_mul(1000);
        let span = (timestamp_ms.saturating_sub(window_ms), timestamp_ms.saturating_add(window_ms));
        let neighbor = if config.cosine { self.nearest(id, vector, span).await? } else { None };
        match neighbor {
            Some(neighbor) if neighbor.similarity >= config.cosine_threshold => {
                self.recall.memory.lock().redirect(id, &record.position, &neighbor.id);
                Ok(Sighting::Copy(DuplicateOf {
                    of: neighbor.id,
                    rule: DuplicateRule::Cosine,
                    similarity: neighbor.similarity.min(1.0),
                }))
            }
            _ => {
                self.recall.pending.lock().insert(id, vector, timestamp_ms);
                Ok(Sighting::Fresh)
            }
        }
    }

    async fn nearest(
        &self,
        id: &Arc<str>,
        vector: &Arc<[f32]>,
        (since_ms, until_ms): (i64, i64),
    ) -> Result<Option<Neighbor>, Fault> {
        let started = Instant::now();
        let filter = VectorFilter {
            since_ms: Some(since_ms),
            until_ms: Some(until_ms),
            except: Some(Arc::clone(id)),
            ..VectorFilter::default()
        };
        let pending = self.recall.pending.lock().nearest(vector, (since_ms, until_ms), id);
        let vectors = Arc::clone(&self.vectors);
        let query = Arc::clone(vector);
        let indexed = compute(move || vectors.nearest(&query, 1, &filter)).await?.map_err(store_fault)?;
        metrics::dedup_lookup(started.elapsed());
        Ok(indexed.into_iter().chain(pending).reduce(nearer))
    }
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
