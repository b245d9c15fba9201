//! What became of a document that a copy names and the store does not have.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;

use crate::messages::dead_letter::StoredDeadLetter;
use crate::messages::pipeline::Judged;
use crate::stores::documents::{DocumentStore, StoreError};
use crate::stores::shared_vectors::SharedVectors;
use crate::stores::vectors::VectorIndex;

/// Shortest and longest wait before a copy whose original is on its way goes back to its source.
const WAIT_MS: std::ops::Range<u64> = 100..600;

/// Where the original is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::actors) enum Original {
    /// It won't be stored.
    Gone,
    /// Another daemon is about to store it, or did so meanwhile.
    OnItsWay,
}

/// Looks for it. With an index of our own it can only have been ahead of its copy, so it is gone. Where that can't be
/// told now, it counts as on its way: the copy comes again.
pub(in crate::actors) async fn look_up(
    vectors: &dyn VectorIndex,
    documents: &dyn DocumentStore,
    id: &Arc<str>,
) -> Original {
    let Some(shared) = vectors.shared() else { return Original::Gone };
    match in_installation(shared, documents, id).await {
        Ok(original) => original,
        Err(error) => {
            tracing::warn!(%error, document = %id, "can't tell yet whether an original is on its way");
            Original::OnItsWay
        }
    }
}

async fn in_installation(
    shared: &dyn SharedVectors,
    documents: &dyn DocumentStore,
    id: &Arc<str>,
) -> Result<Original, StoreError> {
    let claimant = shared.claimant(id).await?;
    // asked after the claim, which ends only once the document is stored
    if documents.get(id).await?.is_some() {
        return Ok(Original::OnItsWay);
    }
    let Some(claimant) = claimant else { return Ok(Original::Gone) };
    let origin = &claimant.origin;
    let letter = StoredDeadLetter::id_of(&origin.topic, origin.partition, origin.offset);
    let age = Utc::now().timestamp_millis().saturating_sub(claimant.claimed_at_ms);
    let abandoned = age > i64::try_from(shared.limits().max_age.as_millis()).unwrap_or(i64::MAX);
    if !abandoned && documents.dead_letter(&letter).await?.is_none() {
        return Ok(Original::OnItsWay);
    }
    shared.withdraw(vec![(Arc::clone(id), claimant.origin)]).await?;
    Ok(Original::Gone)
}

/// Lets a record go back to its source after a moment, so that waiting for another daemon does not spin. How many wait is
/// bounded by the records the source has out.
pub(in crate::actors) fn return_later(judged: Judged) {
    let wait = Duration::from_millis(fastrand::u64(WAIT_MS));
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        drop(judged);
    });
}
