//! What the actors share: opened once, handed to every factory.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};

use crate::config::Config;
use crate::config::dedup::DedupConfig;
use crate::config::documents::DocumentsConfig;
use crate::config::reload::Reloader;
use crate::config::sentiment::SentimentConfig;
use crate::jobs::Jobs;
use crate::kafka::embedded::EmbeddedLog;
use crate::kafka::log::Log;
use crate::messages::event::EventBus;
use crate::models::{Encoder, SentimentModel};
use crate::stores::backtests::BacktestStore;
use crate::stores::bars::BarStore;
use crate::stores::cache::Cache;
use crate::stores::documents::DocumentStore;
use crate::stores::graphs::GraphStore;
use crate::stores::lock::ClusterLock;
use crate::stores::redis::Redis;
use crate::stores::signals::SignalStore;
use crate::stores::vectors::VectorIndex;
use crate::supervisors::Tree;
use crate::telemetry::logs::LogLevel;
use crate::web::state::Operations;

use super::backtester::Backtester;
use super::health::Health;
use super::servers::Sockets;
use super::shared::Recall;

/// Settings that change while the daemon runs.
#[derive(Clone)]
pub struct Live {
    /// The whole configuration as it is now.
    pub config: Arc<ArcSwap<Config>>,
    /// Limits of documents.
    pub documents: Arc<ArcSwap<DocumentsConfig>>,
    /// Duplicate thresholds and window.
    pub dedup: Arc<ArcSwap<DedupConfig>>,
    /// Sentiment confidence.
    pub sentiment: Arc<ArcSwap<SentimentConfig>>,
}

impl Live {
    /// Starts from a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            config: Arc::new(ArcSwap::from_pointee(config.clone())),
            documents: Arc::new(ArcSwap::from_pointee(config.documents.clone())),
            dedup: Arc::new(ArcSwap::from_pointee(config.dedup.clone())),
            sentiment: Arc::new(ArcSwap::from_pointee(config.sentiment.clone())),
        }
    }

    /// Takes over the sections that change while the daemon runs.
    pub fn apply(&self, config: &Config) {
        self.documents.store(Arc::new(config.documents.clone()));
        self.dedup.store(Arc::new(config.dedup.clone()));
        self.sentiment.store(Arc::new(config.sentiment.clone()));
        self.config.store(Arc::new(config.clone()));
    }
}

/// Market data and what is made of it: the same relational store as the documents', seen by need. Cheap to clone.
#[derive(Clone)]
pub struct Market {
    /// Bars.
    pub bars: Arc<dyn BarStore>,
    /// What documents said of symbols.
    pub signals: Arc<dyn SignalStore>,
    /// Backtests and sweeps.
    pub runs: Arc<dyn BacktestStore>,
}

impl Market {
    /// All of one store.
    pub fn of<S: BarStore + SignalStore + BacktestStore + 'static>(store: &Arc<S>) -> Self {
        Self { bars: Arc::clone(store) as _, signals: Arc::clone(store) as _, runs: Arc::clone(store) as _ }
    }
}

/// Stores, models and handles. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    /// Settings that change while the daemon runs.
    pub live: Live,
    /// The log.
    pub log: Arc<dyn Log>,
    /// The embedded log again, if that is the log: faults are injected into it.
    pub log_faults: Option<Arc<EmbeddedLog>>,
    /// Documents, analyses and dead letters.
    pub documents: Arc<dyn DocumentStore>,
    /// Bars, signals and backtests.
    pub market: Market,
    /// The simulator.
    pub backtester: Backtester,
    /// Learned repositories.
    pub graphs: Arc<dyn GraphStore>,
    /// The vector index.
    pub vectors: Arc<dyn VectorIndex>,
    /// For sections that only one daemon of the installation may be in.
    pub lock: Arc<dyn ClusterLock>,
    /// The encoder.
    pub encoder: Arc<dyn Encoder>,
    /// The sentiment model.
    pub sentiment: Arc<dyn SentimentModel>,
    /// Duplicate memory and pending vectors.
    pub recall: Recall,
    /// Answers kept for a while.
    pub cache: Arc<Cache>,
    /// Redis, if it is used.
    pub redis: Option<Redis>,
    /// The job queue.
    pub jobs: Arc<Jobs>,
    /// Told of verdicts, dead letters, restarts and jobs.
    pub events: Arc<EventBus>,
    /// Records in the documents topic that are not consumed yet, as last measured.
    pub backlog: Arc<AtomicU64>,
    /// What the last checks of the dependencies said.
    pub health: Health,
    /// Name of the documents topic.
    pub documents_topic: Arc<str>,
    /// Name of the analyses topic.
    pub analyses_topic: Arc<str>,
    /// Name of the signals topic.
    pub signals_topic: Arc<str>,
    /// Name of the dead-letters topic.
    pub dead_letters_topic: Arc<str>,
    /// Reads the configuration again.
    pub reloader: Arc<Reloader>,
    /// Changes the level of the running log.
    pub log_level: LogLevel,
    /// The running tree, once it runs.
    pub tree: Arc<OnceLock<Tree>>,
    /// Set when the daemon begins to drain.
    pub stopping: Arc<AtomicBool>,
    /// The daemon as the API sees it, set before the tree starts and taken back at the end, so that the stores close.
    pub operations: Arc<Mutex<Option<Arc<dyn Operations>>>>,
    /// Sockets bound before the tree starts, so that a taken port is an error at once.
    pub sockets: Arc<Sockets>,
    /// Held for as long as anybody uses the data directory.
    pub data_dir_lock: Arc<std::fs::File>,
}

/// Holds the services for the factories of the tree: filled once the stores are open, emptied when the tree has stopped,
/// as the tree's factories and the services know each other. The declaration can be drawn without.
#[derive(Clone, Default)]
pub struct ServicesCell(Arc<RwLock<Option<Services>>>);

impl ServicesCell {
    /// The services, while they are open.
    #[must_use]
    pub fn get(&self) -> Option<Services> {
        self.0.read().clone()
    }

    /// Hands the services to the factories.
    pub fn fill(&self, services: Services) {
        *self.0.write() = Some(services);
    }

    /// Takes the services back, so that the stores close when their last user is gone.
    pub fn empty(&self) {
        *self.0.write() = None;
    }
}
