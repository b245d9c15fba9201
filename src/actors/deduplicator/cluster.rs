//! The near-duplicate check where several daemons share the index.
//!
//! Looking up and claiming is one short section that only one daemon of the installation is in at a time. What passed
//! the check is claimed in the index before the section ends, so that the next daemon in it sees it; a lock lost on the
//! way means looking up once more.

use std::sync::Arc;
use std::time::Instant;

use crate::config::dedup::DedupConfig;
use crate::messages::pipeline::{Embedded, Sighting};
use crate::stores::documents::StoreError;
use crate::stores::lock::{ClusterLock, LockRequest};
use crate::stores::shared_vectors::{SharedVectors, VectorClaim};
use crate::stores::vectors::{Neighbor, VectorQuery};
use crate::supervisors::Fault;
use crate::telemetry::metrics;

use super::super::shared::PendingVectors;
use super::{decide, queries, store_fault, vector_of};

/// Name of the lock.
const LOCK: &str = "near-duplicates";
/// How often the lock may be lost before the batch waits and starts over.
const ATTEMPTS: usize = 5;

/// For each message of the batch, the earlier document it copies, if any. What copies none is claimed.
pub(super) async fn check(
    vectors: &dyn SharedVectors,
    lock: &dyn ClusterLock,
    config: &DedupConfig,
    batch: &[Embedded],
) -> Result<Vec<Option<Neighbor>>, Fault> {
    let nothing_new = batch.iter().all(|message| message.sighting == Sighting::Same);
    if nothing_new || !config.cosine {
        return Ok(vec![None; batch.len()]);
    }
    let queries = queries(batch, config);
    for _ in 0..ATTEMPTS {
        if let Some(copied) = in_turn(vectors, lock, config, (batch, &queries)).await.map_err(store_fault)? {
            return Ok(copied);
        }
        tracing::warn!("the lock of the near-duplicate check ended before the claims were made, checking again");
    }
    Err(Fault::unavailable("the lock of the near-duplicate check does not last as long as a check"))
}

/// Looks up and claims once; `None` if the lock did not last.
async fn in_turn(
    vectors: &dyn SharedVectors,
    lock: &dyn ClusterLock,
    config: &DedupConfig,
    (batch, queries): (&[Embedded], &[VectorQuery]),
) -> Result<Option<Vec<Option<Neighbor>>>, StoreError> {
    let lease = vectors.limits().lease;
    let started = Instant::now();
    let held = lock.acquire(LockRequest { name: LOCK, lease, patience: lease }).await?;
    let indexed = if queries.is_empty() { Vec::new() } else { vectors.nearest_claimed(queries.to_vec()).await? };
    let copied = decide(batch, config, PendingVectors::default(), indexed);
    vectors.claim(claims(batch, &copied)).await?;
    let in_time = held.still_held();
    // if the lock can't be given back, it ends by time
    let _ = held.release().await;
    metrics::dedup_lookup(started.elapsed());
    Ok(in_time.then_some(copied))
}

/// What the batch claims; of several revisions of one document the last.
fn claims(batch: &[Embedded], copied: &[Option<Neighbor>]) -> Vec<VectorClaim> {
    let mut claims: Vec<VectorClaim> = Vec::with_capacity(batch.len());
    for (message, copied) in batch.iter().zip(copied) {
        if message.sighting == Sighting::Same {
            continue;
        }
        let record = message.delivery.record();
        let claim = VectorClaim {
            id: Arc::clone(&message.document.id),
            vector: vector_of(message).filter(|_| copied.is_none()).cloned(),
            origin: record.position.clone(),
            timestamp_ms: record.timestamp_ms,
            source: Arc::clone(&message.document.source),
        };
        claims.retain(|earlier| earlier.id != claim.id);
        claims.push(claim);
    }
    claims
}
