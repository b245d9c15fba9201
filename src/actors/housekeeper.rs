//! Housekeeping: measures lag, saves the vector index, checks on the dependencies.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::supervisors::{Fault, ServiceContext};
use crate::telemetry::metrics;

use super::compute::compute;
use super::services::Services;

/// How often lag and dependencies are looked at: a full intake is noticed within this time.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Looks between two saves of the vector index.
const LOOKS_PER_SAVE: u32 = 300;
/// Looks between two checks of the dependencies.
const LOOKS_PER_CHECK: u32 = 5;

/// Runs until asked to stop; saves the index once more before it ends.
///
/// # Errors
/// If the compute pool is closed.
pub async fn run(services: Services, ctx: ServiceContext) -> Result<(), Fault> {
    let mut interval = tokio::time::interval(LOOK_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut looks: u32 = 0;
    while !ctx.is_stopping() {
        ctx.protect(futures_util::future::select(std::pin::pin!(ctx.stopping()), std::pin::pin!(interval.tick())))
            .await;
        ctx.progress();
        ctx.protect(measure_lag(&services)).await;
        if looks.is_multiple_of(LOOKS_PER_CHECK) {
            ctx.protect(services.health.check(&services)).await;
        }
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(LOOKS_PER_SAVE) {
            save_index(&services).await?;
        }
    }
    save_index(&services).await
}

/// Measures how far the documents topic is behind, for metrics and for [`Services::backlog`].
pub async fn measure_lag(services: &Services) {
    let config = services.live.config.load_full();
    let topics = [config.kafka.topics.documents.clone()];
    match services.log.lag(&config.kafka.group, &topics).await {
        Ok(partitions) => {
            let mut backlog = 0;
            for partition in &partitions {
                metrics::consumer_lag(&partition.topic, partition.partition, partition.records());
                backlog += u64::try_from(partition.records()).unwrap_or(0);
            }
            services.backlog.store(backlog, Ordering::Relaxed);
        }
        Err(error) => tracing::warn!(%error, "lag can't be measured"),
    }
}

async fn save_index(services: &Services) -> Result<(), Fault> {
    let vectors = Arc::clone(&services.vectors);
    if let Err(error) = compute(move || vectors.save()).await? {
        tracing::warn!(%error, "vector index can't be saved, it is rebuilt at the next start");
    }
    Ok(())
}
