//! Opens what the actors share: data directory, log, stores, models, sockets.

use std::sync::Arc;

use crate::config::Config;
use crate::config::jobs::JobsBackend;
use crate::config::reload::Reloader;
use crate::jobs::Jobs;
use crate::messages::event::EventBus;
use crate::models::{ModelError, Models};
use crate::telemetry::logs::LogLevel;

use self::documents::{open_documents, store_is_not_lost};
use self::graphs::{open_trainer, with_vectors};
use self::jobs::{jobs_config, kinds, open_jobs};
use self::log::{open_log, topics_are_there};
use self::recall::recall;
use self::redis::{cache, cluster_lock, open_redis};
use self::vectors::open_vectors;
use super::backtester::Backtester;
use super::health::Health;
use super::servers::Sockets;
use super::services::{Live, Services};

mod data_dir;
mod documents;
mod error;
mod graphs;
mod jobs;
mod log;
mod recall;
mod redis;
mod vectors;

pub use data_dir::{is_held, lock_data_dir};
pub use documents::{open_market, try_store};
pub use error::OpenError;
pub use jobs::try_jobs;
pub use log::try_log;
pub use redis::try_redis;
pub use vectors::try_vectors;

/// Events kept for late watchers.
const EVENT_HISTORY: usize = 1000;

/// Opens everything the configuration asks for.
///
/// # Errors
/// Names the first thing that can't be had.
pub async fn open(
    config: &Config,
    live: Live,
    reloader: Arc<Reloader>,
    log_level: LogLevel,
) -> Result<Services, OpenError> {
    let data_dir_lock = lock_data_dir(&config.daemon.data_dir)?;
    let sockets = Sockets::bind(config).map_err(OpenError::Socket)?;
    let Models { encoder, sentiment } = models(config)?;
    let (log, log_faults) = open_log(config)?;
    topics_are_there(config, &*log, &sockets).await?;
    let events = Arc::new(EventBus::new(EVENT_HISTORY));
    let (documents, graphs, market) = open_documents(config, &sockets, &log_level, &events).await?;
    store_is_not_lost(config, &*log, &*documents).await?;
    let vectors = open_vectors(config, &*encoder, &documents).await?;
    let redis = open_redis(config)?;
    let lock = cluster_lock(config, redis.as_ref());
    let recall = recall(config, &*documents, &vectors, redis.as_ref()).await?;
    let graphs = with_vectors(config, graphs);
    let trainer = open_trainer(config, &graphs)?;
    let backtester = Backtester::new(market.clone(), Arc::clone(&log), Arc::clone(&live.config));
    let registry = kinds(config, &documents, &vectors, (&graphs, trainer), &backtester);
    let queue = open_jobs(config, redis.as_ref()).await?;
    let jobs = Jobs::new(queue, registry, jobs_config(config), Arc::clone(&events));
    let shared = config.jobs.backend == JobsBackend::Redis;
    let jobs = Arc::new(if config.node.is_worker() || shared { jobs } else { jobs.without_workers() });
    let topics = &config.kafka.topics;
    Ok(Services {
        live,
        log,
        log_faults,
        documents,
        market,
        backtester,
        graphs,
        vectors,
        lock,
        encoder,
        sentiment,
        recall,
        cache: Arc::new(cache(config, redis.as_ref())?),
        redis,
        jobs,
        events,
        backlog: Arc::default(),
        health: Health::default(),
        documents_topic: topics.documents.as_str().into(),
        analyses_topic: topics.analyses.as_str().into(),
        signals_topic: topics.signals.as_str().into(),
        dead_letters_topic: topics.dead_letters.as_str().into(),
        reloader,
        log_level,
        tree: Arc::default(),
        operations: Arc::default(),
        stopping: Arc::default(),
        sockets: Arc::new(sockets),
        data_dir_lock: Arc::new(data_dir_lock),
    })
}

/// The encoder and the sentiment model that fits it; on a node that is no worker, what stands in their place.
///
/// # Errors
/// If a model file is missing or damaged.
pub fn models(config: &Config) -> Result<Models, ModelError> {
    if config.node.is_worker() {
        Models::open(&config.encoder, &config.sentiment)
    } else {
        Ok(Models::absent(config.encoder.kind))
    }
}
