//! Housekeeping: measures lag, saves the vector index, checks on the dependencies.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::kafka::log::LogError;
use crate::messages::event::EventKind;
use crate::supervisors::{Fault, ServiceContext};
use crate::telemetry::metrics;

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
/// None so far: what fails is told and tried again.
pub async fn run(services: Services, ctx: ServiceContext) -> Result<(), Fault> {
    let mut interval = tokio::time::interval(LOOK_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut looks: u32 = 0;
    let mut log_is_away = false;
    let mut restarts = HashMap::new();
    while !ctx.is_stopping() {
        ctx.protect(futures_util::future::select(std::pin::pin!(ctx.stopping()), std::pin::pin!(interval.tick())))
            .await;
        ctx.progress();
        let measured = ctx.protect(measure_lag(&services)).await;
        if let (Err(error), false) = (&measured, log_is_away) {
            tracing::warn!(%error, "lag can't be measured");
        }
        log_is_away = measured.is_err();
        tell_restarts(&services, &mut restarts);
        for pool in services.documents.pools() {
            metrics::store_pool(pool.store, pool.used, pool.available, pool.waiting);
        }
        if looks.is_multiple_of(LOOKS_PER_CHECK) {
            if !log_is_away {
                ctx.protect(measure_bars(&services)).await;
            }
            ctx.protect(services.health.check(&services)).await;
            ctx.protect(services.cache.catch_up()).await;
        }
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(LOOKS_PER_SAVE) {
            save_index(&services).await;
        }
    }
    save_index(&services).await;
    Ok(())
}

/// Measures how far the documents topic is behind, for metrics and for [`Services::backlog`].
///
/// # Errors
/// If the log does not answer; the last measure stays.
pub async fn measure_lag(services: &Services) -> Result<u64, LogError> {
    let config = services.live.config.load_full();
    let topics = [config.kafka.topics.documents.clone()];
    let partitions = services.log.lag(&config.kafka.group, &topics).await?;
    let mut backlog = 0;
    for partition in &partitions {
        metrics::consumer_lag(&partition.topic, partition.partition, partition.records());
        backlog += u64::try_from(partition.records()).unwrap_or(0);
    }
    services.backlog.store(backlog, Ordering::Relaxed);
    Ok(backlog)
}

/// Measures how far the bars topic is behind, for metrics.
async fn measure_bars(services: &Services) {
    let config = services.live.config.load_full();
    let topics = [config.kafka.topics.bars.clone()];
    match services.log.lag(&config.kafka.bars_group(), &topics).await {
        Ok(partitions) => {
            for partition in partitions {
                metrics::consumer_lag(&partition.topic, partition.partition, partition.records());
            }
        }
        Err(error) => tracing::debug!(%error, "lag of bars can't be measured"),
    }
}

/// Publishes an event for every actor restarted since the last look. `known` has the restarts told so far.
fn tell_restarts(services: &Services, known: &mut HashMap<String, u64>) {
    let Some(tree) = services.tree.get() else { return };
    for child in tree.children() {
        let total = child.restarts.total();
        let told = known.insert(child.name.clone(), total).unwrap_or(0);
        if total > told {
            let exit = child.workers.iter().filter_map(|worker| worker.last_exit.as_ref()).next_back();
            let reason = exit.map_or_else(String::new, |last| last.exit.reason.as_str().to_owned());
            services.events.publish(EventKind::ActorRestarted { actor: child.name, reason, restarts: total });
        }
    }
}

async fn save_index(services: &Services) {
    if let Err(error) = services.vectors.save().await {
        tracing::warn!(%error, "vector index can't be saved, it is rebuilt at the next start");
    }
}
