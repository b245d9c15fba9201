//! What the store does by itself: partitions of the logging tables, views for dashboards.

use std::sync::Arc;
use std::time::Duration;

use super::error::Failure;
use super::pool::Pools;
use super::{partitions, views};
use crate::config::postgres::UpkeepConfig;

/// How often partitions are looked at.
const LOOK_EVERY: Duration = Duration::from_mins(10);
/// Shortest pause between two rounds.
const SHORTEST: Duration = Duration::from_secs(1);

/// Tends for ever.
pub(super) async fn run(pools: Arc<Pools>, config: UpkeepConfig) {
    let refresh = Duration::from_secs(config.refresh_seconds);
    let pause = if config.refresh_seconds == 0 { LOOK_EVERY } else { LOOK_EVERY.min(refresh).max(SHORTEST) };
    let mut interval = tokio::time::interval(pause);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if let Err(failure) = tend(&pools, &config, false).await {
            let error = failure.into_store(pools.logging.address());
            tracing::warn!(%error, "partitions and views can't be tended, tried again later");
        }
    }
}

/// One round; `now` refreshes the views whenever they were refreshed last.
pub(super) async fn tend(pools: &Pools, config: &UpkeepConfig, now: bool) -> Result<(), Failure> {
    let dropped = partitions::tend(pools, config.retention_days).await?;
    if dropped > 0 {
        tracing::info!(dropped, retention_days = config.retention_days, "old log partitions dropped");
    }
    if now || config.refresh_seconds > 0 {
        let every = (!now).then(|| Duration::from_secs(config.refresh_seconds));
        views::refresh(pools, every).await?;
    }
    Ok(())
}
