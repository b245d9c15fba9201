//! Opens what the actors share: data directory, log, stores, models, sockets.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::config::Config;
use crate::config::cache::CacheBackendKind;
use crate::config::daemon::{DAEMON_ID_FILE, ENCODER_FILE};
use crate::config::dedup::Sharing;
use crate::config::jobs::JobsBackend;
use crate::config::kafka::KafkaConfig;
use crate::config::log::LogBackend;
use crate::config::reload::Reloader;
use crate::config::store::{StoreBackend, VectorsBackend};
use crate::jobs::{Jobs, Registry};
use crate::kafka::client::KafkaLog;
use crate::kafka::embedded::EmbeddedLog;
use crate::kafka::log::{Log, LogError};
use crate::messages::analysis::EmbeddingInfo;
use crate::messages::event::EventBus;
use crate::models::{Encoder, ModelError, Models};
use crate::stores::cache::memory::MemoryCache;
use crate::stores::cache::{Cache, CacheBackend};
use crate::stores::claims::{Claims, LocalClaims};
use crate::stores::documents::{DocumentStore, RememberedDocument, StoreCounts, StoreError};
use crate::stores::jobs::{Clock, JobError, JobQueue};
use crate::stores::lock::{ClusterLock, LocalLock};
use crate::stores::postgres::{self, PostgresStore};
use crate::stores::qdrant::{QdrantIndex, QdrantOpenError};
use crate::stores::redis::Redis;
use crate::stores::redis::cache::RedisCache;
use crate::stores::redis::claims::SharedClaims;
use crate::stores::redis::jobs::RedisJobs;
use crate::stores::redis::lock::RedisLock;
use crate::stores::sqlite::SqliteStore;
use crate::stores::sqlite::jobs::SqliteJobs;
use crate::stores::vector_index::{EmbeddedIndex, Opened, PooledIndex, Rebuilt};
use crate::stores::vectors::VectorIndex;
use crate::telemetry::logs::LogLevel;
use crate::text::near_duplicates::DuplicateMemory;

use super::drill;
use super::health::Health;
use super::reindex;
use super::servers::Sockets;
use super::services::{Live, Services};
use super::shared::{PendingVectors, Recall};
use super::waiting::patiently;

/// Events kept for late watchers.
const EVENT_HISTORY: usize = 1000;
/// Held while a daemon uses the data directory.
const LOCK_FILE: &str = "tidemill.lock";

/// What could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory can't be used.
    #[error("data directory {path}: {reason}")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An address can't be listened on.
    #[error("{0}")]
    Socket(String),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The embedded log's file.
    #[error(transparent)]
    LogFile(#[from] crate::kafka::embedded::OpenError),
    /// A store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// PostgreSQL.
    #[error(transparent)]
    Postgres(#[from] postgres::OpenError),
    /// The store is gone, and the log is not.
    #[error(
        "the store {store} is empty, but {consumed} records of the log were consumed into it: restore it, or set \
         kafka.group to a new name to read the log again from its beginning"
    )]
    StoreLost {
        /// The store's file, or server and database.
        store: String,
        /// Records the log says were consumed.
        consumed: i64,
    },
    /// The stored vectors are another encoder's.
    #[error(
        "encoder.kind: the data directory holds vectors of {known}, which can't be compared with those of {wanted}; set \
         the encoder back or start with an empty data directory and replay the log"
    )]
    Encoder {
        /// The encoder the directory began with.
        known: String,
        /// The one configured now.
        wanted: String,
    },
    /// A setting needs a server that is not configured.
    #[error("{0} needs a Redis server: set redis.url")]
    WithoutRedis(&'static str),
    /// The job queue.
    #[error(transparent)]
    Jobs(#[from] JobError),
    /// A model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The vector database.
    #[error(transparent)]
    Qdrant(#[from] QdrantOpenError),
}

impl OpenError {
    /// Whether a setting has to change before a start can succeed.
    #[must_use]
    pub fn is_setting(&self) -> bool {
        match self {
            Self::Model(_)
            | Self::Encoder { .. }
            | Self::StoreLost { .. }
            | Self::WithoutRedis(_)
            | Self::Postgres(postgres::OpenError::Setting(_)) => true,
            Self::Qdrant(error) => !error.may_pass(),
            Self::Jobs(error) => matches!(error, JobError::InvalidQuery(_)),
            // refused credentials, more replicas than brokers, a topic that may not be created
            Self::Log(error) => !error.is_retriable(),
            Self::Postgres(postgres::OpenError::Unavailable(_))
            | Self::LogFile(_)
            | Self::Store(_)
            | Self::DataDir { .. }
            | Self::Socket(_) => false,
        }
    }

    /// Whether the same start may succeed later, without a change of settings.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Log(error) => error.is_retriable(),
            Self::Store(error) => error.is_retriable(),
            Self::Qdrant(error) => error.may_pass(),
            Self::Postgres(error) => error.may_pass(),
            Self::Jobs(error) => matches!(error, JobError::Unavailable(_)),
            Self::DataDir { .. } | Self::Socket(_) => true,
            Self::LogFile(_)
            | Self::Model(_)
            | Self::Encoder { .. }
            | Self::StoreLost { .. }
            | Self::WithoutRedis(_) => false,
        }
    }
}

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
    let documents: Arc<dyn DocumentStore> = match config.store.backend {
        StoreBackend::Sqlite => Arc::new(open_sqlite(config)?),
        StoreBackend::Postgres => {
            let patience = config.postgres.startup_wait();
            let open = async || PostgresStore::open(&config.postgres).await;
            let store = patiently("documents", patience, &sockets, postgres::OpenError::may_pass, open).await?;
            store.keep_logs(log_level.tap(), &events);
            Arc::new(store)
        }
    };
    store_is_not_lost(config, &*log, &*documents).await?;
    let vectors = open_vectors(config, &*encoder, &documents).await?;
    let redis = open_redis(config)?;
    let lock = cluster_lock(config, redis.as_ref());
    let recall = recall(config, &*documents, &vectors, redis.as_ref()).await?;
    let registry = kinds(config, &documents, &vectors);
    let queue = open_jobs(config, redis.as_ref()).await?;
    let jobs = Jobs::new(queue, registry, config.jobs.clone(), Arc::clone(&events));
    let shared = config.jobs.backend == JobsBackend::Redis;
    let jobs = Arc::new(if config.node.is_worker() || shared { jobs } else { jobs.without_workers() });
    let topics = &config.kafka.topics;
    Ok(Services {
        live,
        log,
        log_faults,
        documents,
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

/// Makes the data directory and holds it for this process.
fn lock_data_dir(path: &Path) -> Result<File, OpenError> {
    let named = |reason: String| OpenError::DataDir { path: path.to_owned(), reason };
    std::fs::create_dir_all(path).map_err(|error| named(error.to_string()))?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join(LOCK_FILE))
        .map_err(|error| named(error.to_string()))?;
    file.try_lock().map_err(|error| named(format!("is used by another daemon ({error})")))?;
    Ok(file)
}

/// Whether a daemon uses the data directory now.
#[must_use]
pub fn is_held(path: &Path) -> bool {
    File::open(path.join(LOCK_FILE)).is_ok_and(|file| file.try_lock_shared().is_err())
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

type OpenedLog = (Arc<dyn Log>, Option<Arc<EmbeddedLog>>);

fn open_log(config: &Config) -> Result<OpenedLog, OpenError> {
    match config.log.backend {
        LogBackend::Embedded => {
            let path = config.daemon.data_dir.join(&config.log.file);
            let log = EmbeddedLog::open(&path, &config.log)?;
            let log = Arc::new(log);
            Ok((Arc::clone(&log) as Arc<dyn Log>, Some(log)))
        }
        LogBackend::Kafka => {
            let kafka = with_transactional_id(config)?;
            Ok((Arc::new(KafkaLog::new(&kafka, &config.log)?), None))
        }
    }
}

/// The settings of Kafka, with a name for the daemon's transactions that stays with its data directory.
fn with_transactional_id(config: &Config) -> Result<KafkaConfig, OpenError> {
    let mut kafka = config.kafka.clone();
    if !kafka.exactly_once || !kafka.transactional_id.is_empty() {
        return Ok(kafka);
    }
    let file = config.daemon.data_dir.join(DAEMON_ID_FILE);
    let named = |error: std::io::Error| OpenError::DataDir { path: file.clone(), reason: error.to_string() };
    let id = match std::fs::read_to_string(&file) {
        Ok(id) if !id.trim().is_empty() => id.trim().to_owned(),
        Ok(_) => return Err(named(std::io::Error::other("it is empty"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id = Uuid::new_v4().simple().to_string();
            let fresh = file.with_extension("new");
            std::fs::write(&fresh, &id).and_then(|()| std::fs::rename(&fresh, &file)).map_err(named)?;
            id
        }
        Err(error) => return Err(named(error)),
    };
    kafka.transactional_id = format!("{}-{id}", kafka.group);
    Ok(kafka)
}

/// Makes sure of the topics, waiting for brokers that don't answer yet.
async fn topics_are_there(config: &Config, log: &dyn Log, sockets: &Sockets) -> Result<(), OpenError> {
    let topics = config.kafka.topics.all();
    let patience = match config.log.backend {
        LogBackend::Embedded => Duration::ZERO,
        LogBackend::Kafka => Duration::from_secs(config.kafka.start_timeout_seconds),
    };
    let ensured =
        patiently("log", patience, sockets, LogError::is_retriable, async || log.ensure_topics(&topics).await);
    Ok(ensured.await?)
}

/// An empty store beside a consumed log means that its file was lost: going on would hide the loss.
async fn store_is_not_lost(config: &Config, log: &dyn Log, documents: &dyn DocumentStore) -> Result<(), OpenError> {
    if documents.counts().await? != StoreCounts::default() || config.log.backend != LogBackend::Embedded {
        return Ok(());
    }
    let topics = [config.kafka.topics.documents.clone()];
    let consumed = log.lag(&config.kafka.group, &topics).await?.iter().map(|partition| partition.committed).sum();
    if consumed > 0 {
        return Err(OpenError::StoreLost { store: documents.describe(), consumed });
    }
    Ok(())
}

/// Opens the index, and rebuilds it from the store where its file is lost, torn or behind.
async fn open_vectors(
    config: &Config,
    encoder: &dyn Encoder,
    documents: &Arc<dyn DocumentStore>,
) -> Result<Arc<dyn VectorIndex>, OpenError> {
    let path = config.daemon.data_dir.join(&config.store.vectors.path);
    if !config.node.is_worker() || !encoder.makes_vectors() {
        // nothing is compared or searched here: it stays empty
        let (index, _) = EmbeddedIndex::open(&path, encoder.info().dimension, &config.store.vectors)?;
        return Ok(Arc::new(PooledIndex::new(index)));
    }
    same_encoder(&config.daemon.data_dir, &encoder.info().model)?;
    if config.store.vectors.backend == VectorsBackend::Qdrant {
        let index = QdrantIndex::open(&config.qdrant, encoder.info(), Arc::clone(documents)).await?;
        return Ok(Arc::new(index));
    }
    let (index, opened) = EmbeddedIndex::open(&path, encoder.info().dimension, &config.store.vectors)?;
    let stored = documents.counts().await?.stored;
    match opened {
        Opened::MustRebuild(reason) => rebuild(&index, &**documents, &reason).await?,
        // a process killed between the verdict and its vector leaves a file that looks current
        Opened::Current if index.len() as u64 != stored => rebuild(&index, &**documents, "vectors are missing").await?,
        Opened::Current => {}
    }
    Ok(Arc::new(PooledIndex::new(index)))
}

/// Vectors of different encoders can't be compared: a data directory stays with the one it began with.
fn same_encoder(data_dir: &Path, model: &str) -> Result<(), OpenError> {
    let file = data_dir.join(ENCODER_FILE);
    let named = |error: std::io::Error| OpenError::DataDir { path: file.clone(), reason: error.to_string() };
    match std::fs::read_to_string(&file) {
        Ok(known) if known.trim() == model => Ok(()),
        Ok(known) => Err(OpenError::Encoder { known: known.trim().to_owned(), wanted: model.to_owned() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => std::fs::write(&file, model).map_err(named),
        Err(error) => Err(named(error)),
    }
}

async fn rebuild(index: &EmbeddedIndex, documents: &dyn DocumentStore, reason: &str) -> Result<(), OpenError> {
    let mut done = Rebuilt::default();
    let mut failed = None;
    index.start_rebuild();
    let visit = Box::new(|document: RememberedDocument| {
        if failed.is_none() {
            failed = index.confirm(&document, &mut done).err();
        }
    });
    documents.remember(i64::MIN, visit).await?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    index.finish_rebuild(&mut done)?;
    tracing::info!(reason, kept = done.kept, inserted = done.inserted, removed = done.removed, "vector index rebuilt");
    Ok(())
}

/// The lock of the installation: Redis' where there is one, else this process is the installation.
fn cluster_lock(config: &Config, redis: Option<&Redis>) -> Arc<dyn ClusterLock> {
    if let Some(redis) = redis {
        return Arc::new(RedisLock::new(redis.clone()));
    }
    if config.store.vectors.backend == VectorsBackend::Qdrant {
        tracing::warn!(
            "without [redis] near copies are told apart in this daemon only: no other may use its collection"
        );
    }
    Arc::new(LocalLock::default())
}

/// Refills the duplicate memory with what the window still holds.
async fn recall(
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

/// The cache the configuration asks for.
fn cache(config: &Config, redis: Option<&Redis>) -> Result<Cache, OpenError> {
    let memory = || Arc::new(MemoryCache::new(config.cache.memory_mib << 20)) as Arc<dyn CacheBackend>;
    let shared = redis.map(|redis| Arc::new(RedisCache::new(redis.clone())) as Arc<dyn CacheBackend>);
    let backend = match config.cache.backend {
        CacheBackendKind::Auto => Some(shared.unwrap_or_else(memory)),
        CacheBackendKind::Memory => Some(memory()),
        CacheBackendKind::Redis => Some(shared.ok_or(OpenError::WithoutRedis("cache.backend: redis"))?),
        CacheBackendKind::Off => None,
    };
    Ok(Cache::new(backend, &config.cache))
}

/// Whether other daemons may see the copies of what this one sees.
fn shares_claims(config: &Config) -> bool {
    match config.dedup.shared {
        Sharing::Auto => config.log.backend == LogBackend::Kafka,
        Sharing::On => true,
        Sharing::Off => false,
    }
}

/// Prepares the connection to Redis where one is configured. The server may still be away.
fn open_redis(config: &Config) -> Result<Option<Redis>, OpenError> {
    if config.dedup.shared == Sharing::On && !config.redis.is_used() {
        return Err(OpenError::WithoutRedis("dedup.shared: on"));
    }
    Ok(if config.redis.is_used() { Some(Redis::open(&config.redis)?) } else { None })
}

/// Opens the connection to Redis and asks the server, for checks. `None` where none is configured.
///
/// # Errors
/// Why it does not answer, or takes no writes.
pub async fn try_redis(config: &Config) -> Result<Option<String>, OpenError> {
    let Some(redis) = open_redis(config)? else { return Ok(None) };
    Ok(Some(redis.usable().await?))
}

/// Opens the job queue. What ran in an embedded queue when the process before ended goes back at once: nobody else has it.
async fn open_jobs(config: &Config, redis: Option<&Redis>) -> Result<Arc<dyn JobQueue>, OpenError> {
    let rules = config.jobs.rules();
    match config.jobs.backend {
        JobsBackend::Sqlite => {
            let path = config.daemon.data_dir.join(&config.jobs.sqlite_path);
            let queue = SqliteJobs::open(&path, &config.store, rules, Clock::System)?;
            let given_back = queue.recover().await?;
            if given_back > 0 {
                tracing::info!(jobs = given_back, "jobs of the process before wait again");
            }
            Ok(Arc::new(queue))
        }
        JobsBackend::Redis => {
            let redis = redis.ok_or(OpenError::WithoutRedis("jobs.backend: redis"))?;
            Ok(Arc::new(RedisJobs::new(redis.clone(), rules, Clock::System)))
        }
    }
}

/// Every kind of job this daemon knows.
fn kinds(config: &Config, documents: &Arc<dyn DocumentStore>, vectors: &Arc<dyn VectorIndex>) -> Registry {
    let (documents, vectors) = (Arc::clone(documents), Arc::clone(vectors));
    let summary = "compares the vector index with the store of documents and repairs it";
    let registry = Registry::default().register("reindex", summary, move |request, ctx| {
        reindex::run(Arc::clone(&documents), Arc::clone(&vectors), request, ctx)
    });
    if config.faults.enabled {
        return registry.register("drill", "pretends to work, for tests", drill::run);
    }
    registry
}

/// Opens the log and asks it, for checks.
///
/// # Errors
/// Why it does not answer.
pub async fn try_log(config: &Config) -> Result<(), OpenError> {
    let _lock = lock_data_dir(&config.daemon.data_dir)?;
    Ok(open_log(config)?.0.check().await?)
}

/// Opens the store and asks it, for checks.
///
/// # Errors
/// Why it does not answer.
pub async fn try_store(config: &Config) -> Result<(), OpenError> {
    let _lock = lock_data_dir(&config.daemon.data_dir)?;
    match config.store.backend {
        StoreBackend::Sqlite => Ok(open_sqlite(config)?.check().await?),
        StoreBackend::Postgres => Ok(PostgresStore::open(&config.postgres).await?.check().await?),
    }
}

/// Asks the vector database, where one is configured, for checks; what it says.
///
/// # Errors
/// Why it can't be used.
pub async fn try_vectors(config: &Config, encoder: &EmbeddingInfo) -> Option<Result<String, OpenError>> {
    match config.store.vectors.backend {
        VectorsBackend::Embedded => None,
        VectorsBackend::Qdrant => Some(QdrantIndex::probe(&config.qdrant, encoder).await.map_err(OpenError::from)),
    }
}

/// Opens the job queue and asks it, for checks.
///
/// # Errors
/// Why it does not answer.
pub async fn try_jobs(config: &Config) -> Result<(), OpenError> {
    let _lock = lock_data_dir(&config.daemon.data_dir)?;
    let redis = open_redis(config)?;
    Ok(open_jobs(config, redis.as_ref()).await?.check().await?)
}

fn open_sqlite(config: &Config) -> Result<SqliteStore, OpenError> {
    let path = config.daemon.data_dir.join(&config.store.sqlite_path);
    Ok(SqliteStore::open(&path, &config.store)?)
}
