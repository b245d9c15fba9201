//! The near-duplicate check by meaning: cosine against the vector index and the vectors on their way to it.

mod cluster;

use std::sync::Arc;
use std::time::Instant;

use crate::config::dedup::DedupConfig;
use crate::messages::pipeline::{DuplicateOf, DuplicateRule, Embedded, Judged, Sighting, Stage};
use crate::messages::record::Record;
use crate::stores::documents::StoreError;
use crate::stores::lock::ClusterLock;
use crate::stores::vectors::{Neighbor, VectorFilter, VectorIndex, VectorQuery};
use crate::supervisors::{Actor, Context, Fault, Mailbox};
use crate::telemetry::metrics;

use super::shared::{PendingVectors, Recall, nearer};
use super::timing::stamp;

/// Judges documents in order, so that of two near copies in flight exactly one is stored. The lookups of a batch in the
/// index run side by side; what the batch itself adds is compared in order.
pub struct Deduplicator {
    /// Thresholds and window, as they are now.
    pub config: Arc<arc_swap::ArcSwap<DedupConfig>>,
    /// The index of stored documents.
    pub vectors: Arc<dyn VectorIndex>,
    /// Keeps other daemons from checking at the same time, where they share the index.
    pub lock: Arc<dyn ClusterLock>,
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
        let copied = if let Some(shared) = self.vectors.shared() {
            ctx.protect(cluster::check(shared, &*self.lock, &config, &batch)).await?
        } else if batch.iter().all(|message| vector_of(message).is_none()) {
            vec![None; batch.len()]
        } else {
            // what is on its way is copied before the index is asked: what reaches the index meanwhile is found in
            // either
            let pending = self.recall.pending.lock().clone();
            let indexed = self.indexed(&batch, &config).await?;
            decide(&batch, &config, pending, indexed)
        };
        let now = Instant::now();
        let shared = self.vectors.shared().is_some();
        let messages = batch.into_iter().zip(copied).map(|(message, copied)| {
            let Embedded { delivery, document, content_hash, sighting, encoded, mut timings } = message;
            let record = delivery.record();
            let sighting = match sighting {
                Sighting::Fresh => self.judge(&document.id, record, copied),
                Sighting::Copy(mut copy) => {
                    // the copied document may have been judged a duplicate itself since it was fingerprinted
                    copy.of = self.recall.claims.root(&copy.of);
                    Sighting::Copy(copy)
                }
                Sighting::Same => Sighting::Same,
            };
            // without an encoder there is no vector that could count, or cease to
            let has_none = sighting == Sighting::Fresh && encoded.is_none();
            if sighting != Sighting::Same && !has_none && !shared {
                let vector = encoded.as_ref().map(|encoded| &encoded.vector).filter(|_| sighting == Sighting::Fresh);
                self.recall.pending.lock().insert(&document.id, vector, record);
            }
            stamp(&mut timings, Stage::Dedup, &delivery, now);
            Judged { delivery, document, content_hash, sighting, encoded, opinion: None, timings }
        });
        ctx.forward(&self.sentiment_analyzer, messages).await
    }
}

/// The vector of a message that is to be checked.
fn vector_of(message: &Embedded) -> Option<&Arc<[f32]>> {
    let encoded = message.encoded.as_ref().filter(|_| message.sighting == Sighting::Fresh)?;
    Some(&encoded.vector)
}

/// For each message with a vector, in order, what is asked of the index: its neighbours within the window.
fn queries(batch: &[Embedded], config: &DedupConfig) -> Vec<VectorQuery> {
    let checked = batch.iter().filter_map(|message| Some((message, vector_of(message)?)));
    let query = |(message, vector): (&Embedded, &Arc<[f32]>)| {
        let (since_ms, until_ms) = span(message.delivery.record().timestamp_ms, config.window_ms());
        let filter = VectorFilter {
            since_ms: Some(since_ms),
            until_ms: Some(until_ms),
            except: Some(Arc::clone(&message.document.id)),
            min_similarity: Some(config.cosine_threshold),
            ..VectorFilter::default()
        };
        VectorQuery { vector: Arc::clone(vector), k: NEIGHBORS, filter }
    };
    checked.map(query).collect()
}

/// For each message, the earlier document it copies, if any: decided in order, so that what the batch itself adds counts.
/// `indexed` has the neighbours of each message with a vector.
fn decide(
    batch: &[Embedded],
    config: &DedupConfig,
    mut pending: PendingVectors,
    indexed: Vec<Vec<Neighbor>>,
) -> Vec<Option<Neighbor>> {
    let mut indexed = indexed.into_iter();
    let decide = |message: &Embedded| {
        let record = message.delivery.record();
        let id = &message.document.id;
        let vector = vector_of(message);
        let copied = vector.and_then(|vector| {
            let within = pending.nearest(vector, span(record.timestamp_ms, config.window_ms()), id);
            let before = indexed.next().into_iter().flatten().filter(|found| !pending.knows(&found.id));
            let nearest = before.chain(within).reduce(nearer);
            nearest.filter(|found| config.cosine && found.similarity >= config.cosine_threshold)
        });
        if message.sighting != Sighting::Same {
            pending.insert(id, vector.filter(|_| copied.is_none()), record);
        }
        copied
    };
    batch.iter().map(decide).collect()
}

impl Deduplicator {
    /// For each message with a vector, in order, its nearest neighbours in the index.
    async fn indexed(&self, batch: &[Embedded], config: &DedupConfig) -> Result<Vec<Vec<Neighbor>>, Fault> {
        let queries = queries(batch, config);
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
