//! The memory of duplicates, refilled from the store.

use std::sync::Arc;

use chrono::Utc;
use parking_lot::Mutex;

use super::OpenError;
use crate::actors::shared::{PendingVectors, Recall};
use crate::config::Config;
use crate::config::dedup::Sharing;
use crate::config::log::LogBackend;
use crate::config::store::StoreBackend;
use crate::stores::claims::{Claims, LocalClaims};
use crate::stores::documents::DocumentStore;
use crate::stores::redis::Redis;
use crate::stores::redis::claims::SharedClaims;
use crate::stores::vectors::VectorIndex;
use crate::text::near_duplicates::DuplicateMemory;

/// Refills the duplicate memory with what the window still holds.
pub(super) async fn recall(
    config: &Config,
    documents: &dyn DocumentStore,
    vectors: &Arc<dyn VectorIndex>,
    redis: Option<&Redis>,
) -> Result<Recall, OpenError> {
    let recall = |claims| Recall {
        claims,
        waiting: Arc::default(),
        pending: Arc::new(Mutex::new(PendingVectors::default())),
        vectors: Arc::clone(vectors),
    };
    let mut memory = DuplicateMemory::new(&config.dedup);
    if !config.node.is_worker() {
        return Ok(recall(Arc::new(LocalClaims::new(memory))));
    }
    let counts = documents.counts().await?;
    // windows count by the records' own time, so history counts too wherever the memory has room for all of it
    let fits = counts.stored + counts.duplicates <= config.dedup.capacity as u64;
    let since_ms = if fits { i64::MIN } else { Utc::now().timestamp_millis().saturating_sub(config.dedup.window_ms()) };
    documents.remember(since_ms, Box::new(|document| memory.remember(&document))).await?;
    let claims: Arc<dyn Claims> = match redis {
        Some(redis) if shares_claims(config) => Arc::new(SharedClaims::new(redis, memory, &config.dedup)),
        _ => Arc::new(LocalClaims::new(memory)),
    };
    Ok(recall(claims))
}

/// Whether other daemons may see the copies of what this one sees.
fn shares_claims(config: &Config) -> bool {
    match config.dedup.shared {
        // an original in a store of another daemon's own would not be found here
        Sharing::Auto => config.log.backend == LogBackend::Kafka && config.store.backend == StoreBackend::Postgres,
        Sharing::On => true,
        Sharing::Off => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_shared_by_themselves_only_where_log_and_store_are() {
        for (log, store, shared) in [
            (LogBackend::Embedded, StoreBackend::Sqlite, false),
            (LogBackend::Embedded, StoreBackend::Postgres, false),
            (LogBackend::Kafka, StoreBackend::Sqlite, false),
            (LogBackend::Kafka, StoreBackend::Postgres, true),
        ] {
            let mut config = Config::default();
            (config.log.backend, config.store.backend) = (log, store);
            assert_eq!(shares_claims(&config), shared, "{log:?} {store:?}");
            config.dedup.shared = Sharing::On;
            assert!(shares_claims(&config));
        }
    }
}
