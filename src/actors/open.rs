//! Opens what the actors share: data directory, log, stores, models, sockets.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::Utc;
use parking_lot::Mutex;

use crate::config::Config;
use crate::config::encoder::EncoderKind;
use crate::config::log::LogBackend;
use crate::config::reload::Reloader;
use crate::config::store::VectorsBackend;
use crate::kafka::client::KafkaLog;
use crate::kafka::embedded::EmbeddedLog;
use crate::kafka::log::{Log, LogError};
use crate::messages::analysis::EmbeddingInfo;
use crate::messages::event::EventBus;
use crate::models::compute::Compute;
use crate::models::hashing::HashingEncoder;
use crate::models::minilm::MiniLm;
use crate::models::sentiment::{self, LocalSentiment};
use crate::models::{Encoder, ModelError, SentimentModel};
use crate::stores::documents::{DocumentStore, RememberedDocument, StoreCounts, StoreError};
use crate::stores::lock::{ClusterLock, LocalLock};
use crate::stores::qdrant::{QdrantIndex, QdrantOpenError};
use crate::stores::redis::connection::Redis;
use crate::stores::redis::lock::RedisLock;
use crate::stores::sqlite::SqliteStore;
use crate::stores::vector_index::{EmbeddedIndex, Opened, PooledIndex, Rebuilt};
use crate::stores::vectors::VectorIndex;
use crate::telemetry::logs::LogLevel;
use crate::text::near_duplicates::DuplicateMemory;

use super::health::Health;
use super::servers::Sockets;
use super::services::{Live, Services};
use super::shared::{PendingVectors, Recall};

/// Events kept for late watchers.
const EVENT_HISTORY: usize = 1000;
/// Held while a daemon uses the data directory.
const LOCK_FILE: &str = "tidemill.lock";

/// Names the encoder whose vectors the data directory holds.
const ENCODER_FILE: &str = "encoder";

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
    /// The store is gone, and the log is not.
    #[error(
        "the store {path} is empty, but {consumed} records of the log were consumed into it: restore it, or set \
         kafka.group to a new name to read the log again from its beginning"
    )]
    StoreLost {
        /// The store's file.
        path: PathBuf,
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
            Self::Model(_) | Self::Encoder { .. } | Self::StoreLost { .. } => true,
            Self::Qdrant(error) => !error.may_pass(),
            Self::Log(_) | Self::LogFile(_) | Self::Store(_) | Self::DataDir { .. } | Self::Socket(_) => false,
        }
    }

    /// Whether the same start may succeed later, without a change of settings.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Log(error) => error.is_retriable(),
            Self::Store(error) => error.is_retriable(),
            Self::Qdrant(error) => error.may_pass(),
            Self::DataDir { .. } | Self::Socket(_) => true,
            Self::LogFile(_) | Self::Model(_) | Self::Encoder { .. } | Self::StoreLost { .. } => false,
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
    let (encoder, sentiment) = models(config)?;
    let (log, log_faults) = open_log(config)?;
    log.ensure_topics(&config.kafka.topics.all()).await?;
    let documents = open_documents(config)?;
    store_is_not_lost(config, &*log, &*documents).await?;
    let vectors = open_vectors(config, &*encoder, &documents).await?;
    let lock = cluster_lock(config)?;
    let recall = recall(config, &*documents, &vectors).await?;
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
        events: Arc::new(EventBus::new(EVENT_HISTORY)),
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

/// An encoder and the sentiment model that fits it.
pub type Models = (Arc<dyn Encoder>, Arc<dyn SentimentModel>);

/// The encoder and the sentiment model that fits it.
///
/// # Errors
/// If a model file is missing or damaged.
pub fn models(config: &Config) -> Result<Models, ModelError> {
    let compute = Compute::new(config.encoder.threads)?;
    let (bytes, origin) = sentiment::weights(config.sentiment.weights.as_deref())?;
    match config.encoder.kind {
        EncoderKind::Minilm => {
            let minilm = MiniLm::open(&config.encoder.model_dir, compute.clone())?;
            let model = LocalSentiment::new(&bytes, &origin, Some(minilm.weights()), compute)?;
            let minilm = minilm.with_trunk(sentiment::shared_layers(&bytes, &origin)?);
            Ok((Arc::new(minilm), Arc::new(model)))
        }
        EncoderKind::Hashing => {
            let model = LocalSentiment::new(&bytes, &origin, None, compute)?;
            Ok((Arc::new(HashingEncoder::default()), Arc::new(model)))
        }
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
        LogBackend::Kafka => Ok((Arc::new(KafkaLog::new(&config.kafka, &config.log)?), None)),
    }
}

/// An empty store beside a consumed log means that its file was lost: going on would hide the loss.
async fn store_is_not_lost(config: &Config, log: &dyn Log, documents: &dyn DocumentStore) -> Result<(), OpenError> {
    if documents.counts().await? != StoreCounts::default() || config.log.backend != LogBackend::Embedded {
        return Ok(());
    }
    let topics = [config.kafka.topics.documents.clone()];
    let consumed = log.lag(&config.kafka.group, &topics).await?.iter().map(|partition| partition.committed).sum();
    if consumed > 0 {
        let path = config.daemon.data_dir.join(&config.store.sqlite_path);
        return Err(OpenError::StoreLost { path, consumed });
    }
    Ok(())
}

/// Opens the index, and rebuilds it from the store where its file is lost, torn or behind.
async fn open_vectors(
    config: &Config,
    encoder: &dyn Encoder,
    documents: &Arc<dyn DocumentStore>,
) -> Result<Arc<dyn VectorIndex>, OpenError> {
    same_encoder(&config.daemon.data_dir, &encoder.info().model)?;
    if config.store.vectors.backend == VectorsBackend::Qdrant {
        let index = QdrantIndex::open(&config.qdrant, encoder.info(), Arc::clone(documents)).await?;
        return Ok(Arc::new(index));
    }
    let path = config.daemon.data_dir.join(&config.store.vectors.path);
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
fn cluster_lock(config: &Config) -> Result<Arc<dyn ClusterLock>, OpenError> {
    if config.redis.is_used() {
        return Ok(Arc::new(RedisLock::new(Redis::open(&config.redis)?)));
    }
    if config.store.vectors.backend == VectorsBackend::Qdrant {
        tracing::warn!(
            "without [redis] only one daemon may use the qdrant collection: near copies are not told apart between several"
        );
    }
    Ok(Arc::new(LocalLock::default()))
}

/// Refills the duplicate memory with what the window still holds.
async fn recall(
    config: &Config,
    documents: &dyn DocumentStore,
    vectors: &Arc<dyn VectorIndex>,
) -> Result<Recall, OpenError> {
    let mut memory = DuplicateMemory::new(&config.dedup);
    let counts = documents.counts().await?;
    // windows count by the records' own time, so history counts too wherever the memory has room for all of it
    let fits = counts.stored + counts.duplicates <= config.dedup.capacity as u64;
    let since_ms = if fits { i64::MIN } else { Utc::now().timestamp_millis().saturating_sub(config.dedup.window_ms()) };
    documents.remember(since_ms, Box::new(|document| memory.remember(&document))).await?;
    Ok(Recall {
        memory: Arc::new(Mutex::new(memory)),
        pending: Arc::new(Mutex::new(PendingVectors::default())),
        vectors: Arc::clone(vectors),
    })
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
    Ok(open_documents(config)?.check().await?)
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

fn open_documents(config: &Config) -> Result<Arc<dyn DocumentStore>, OpenError> {
    let path = config.daemon.data_dir.join(&config.store.sqlite_path);
    Ok(Arc::new(SqliteStore::open(&path, &config.store)?))
}
