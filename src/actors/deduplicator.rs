//! The near-duplicate check by meaning: cosine against the vector index and the vectors on their way to it.

use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;

use crate::config::dedup::DedupConfig;
use crate::messages::pipeline::{DuplicateOf, DuplicateRule, Embedded, Judged, Sighting};
use crate::messages::record::Record;
use crate::stores::documents::StoreError;
use crate::stores::vectors::{Neighbor, VectorFilter, VectorIndex};
use crate::supervisors::{Actor, Context, Fault, Mailbox};
use crate::telemetry::metrics;

use super::compute::compute;
use super::shared::{PendingVectors, Recall, nearer};
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

/// One fresh document to look up.
struct Query {
    vector: Arc<[f32]>,
    filter: VectorFilter,
    /// The nearest of the vectors that were on their way to the index.
    pending: Option<Neighbor>,
}

impl Actor for Deduplicator {
    type Message = Embedded;

    async fn handle(&mut self, batch: Vec<Embedded>, ctx: &Context<Embedded>) -> Result<(), Fault> {
        let config = self.config.load_full();
        let window_ms = i64::try_from(config.window_seconds).unwrap_or(i64::MAX).saturating_mul(1000);
        let mut nearest = self.nearest(self.queries(&batch, &config, window_ms)).await?.into_iter();
        let mut accepted = PendingVectors::default();
        for message in batch {
            let Embedded { delivery, document, sighting, encoded, mut timings } = message;
            let sighting = match (sighting, &encoded) {
                (Sighting::Fresh, Some(encoded)) => {
                    let timestamp_ms = delivery.record().timestamp_ms;
                    let within = accepted.nearest(&encoded.vector, span(timestamp_ms, window_ms), &document.id);
                    let copied = nearest.next().flatten().into_iter().chain(within.filter(|_| config.cosine));
                    let copied = copied.reduce(nearer).filter(|found| found.similarity >= config.cosine_threshold);
                    if copied.is_none() {
                        accepted.insert(&document.id, &encoded.vector, timestamp_ms);
                    }
                    self.judge(&document.id, &encoded.vector, delivery.record(), copied)
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
    /// What to look up, in the order of the batch. The vectors on their way are looked at first: one that moves to the
    /// index meanwhile is found there.
    fn queries(&self, batch: &[Embedded], config: &DedupConfig, window_ms: i64) -> Vec<Query> {
        let pending = self.recall.pending.lock();
        let fresh = batch.iter().filter(|message| config.cosine && message.sighting == Sighting::Fresh);
        fresh
            .filter_map(|message| {
                let vector = &message.encoded.as_ref()?.vector;
                let id = &message.document.id;
                let (since_ms, until_ms) = span(message.delivery.record().timestamp_ms, window_ms);
                Some(Query {
                    vector: Arc::clone(vector),
                    filter: VectorFilter {
                        since_ms: Some(since_ms),
                        until_ms: Some(until_ms),
                        except: Some(Arc::clone(id)),
                        ..VectorFilter::default()
                    },
                    pending: pending.nearest(vector, (since_ms, until_ms), id),
                })
            })
            .collect()
    }

    /// The nearest earlier document of each, in order.
    async fn nearest(&self, queries: Vec<Query>) -> Result<Vec<Option<Neighbor>>, Fault> {
        if queries.is_empty() {
            return Ok(Vec::new());
        }
        let vectors = Arc::clone(&self.vectors);
        let look_up = move |query: Query| {
            let started = Instant::now();
            let indexed = vectors.nearest(&query.vector, 1, &query.filter)?;
            metrics::dedup_lookup(started.elapsed());
            Ok(indexed.into_iter().chain(query.pending).reduce(nearer))
        };
        compute(move || queries.into_par_iter().map(look_up).collect::<Result<Vec<_>, StoreError>>())
            .await?
            .map_err(store_fault)
    }

    /// A fresh document becomes visible to the next lookup.
    fn judge(&self, id: &Arc<str>, vector: &Arc<[f32]>, record: &Record, copied: Option<Neighbor>) -> Sighting {
        let Some(neighbor) = copied else {
            self.recall.pending.lock().insert(id, vector, record.timestamp_ms);
            return Sighting::Fresh;
        };
        self.recall.memory.lock().redirect(id, &record.position, &neighbor.id);
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
