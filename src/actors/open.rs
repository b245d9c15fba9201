//! Opens what the actors share: data directory, log, stores, models, sockets.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::Utc;
use parking_lot::Mutex;

use crate::config::Config;
use crate::config::jobs::JobsBackend;
use crate::config::log::LogBackend;
use crate::config::reload::Reloader;
use crate::jobs::{Jobs, Registry};
use crate::kafka::client::KafkaLog;
use crate::kafka::embedded::EmbeddedLog;
use crate::kafka::log::{Log, LogError};
use crate::messages::event::EventBus;
use crate::models::{Encoder, ModelError, Models};
use crate::stores::documents::{DocumentStore, RememberedDocument, StoreCounts, StoreError};
use crate::stores::jobs::{Clock, JobError, JobQueue};
use crate::stores::redis::Redis;
use crate::stores::redis::jobs::RedisJobs;
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
    /// The job queue.
    #[error(transparent)]
    Jobs(#[from] JobError),
    /// A model.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl OpenError {
    /// Whether a setting has to change before a start can succeed.
    #[must_use]
    pub fn is_setting(&self) -> bool {
        match self {
            Self::Model(_) | Self::Encoder { .. } | Self::StoreLost { .. } => true,
            Self::Jobs(error) => matches!(error, JobError::InvalidQuery(_)),
            Self::Log(_) | Self::LogFile(_) | Self::Store(_) | Self::DataDir { .. } | Self::Socket(_) => false,
        }
    }

    /// Whether the same start may succeed later, without a change of settings.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Log(error) => error.is_retriable(),
            Self::Store(error) => error.is_retriable(),
            Self::Jobs(error) => matches!(error, JobError::Unavailable(_)),
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
    let lock = lock_data_dir(&config.daemon.data_dir)?;
    let sockets = Sockets::bind(config).map_err(OpenError::Socket)?;
    let Models { encoder, sentiment } = models(config)?;
    let (log, log_faults) = open_log(config)?;
    log.ensure_topics(&config.kafka.topics.all()).await?;
    let documents = open_documents(config)?;
    store_is_not_lost(config, &*log, &*documents).await?;
    let vectors = open_vectors(config, &*encoder, &*documents).await?;
    let recall = recall(config, &*documents).await?;
    let events = Arc::new(EventBus::new(EVENT_HISTORY));
    let registry = kinds(config, &documents, &vectors);
    let jobs = Jobs::new(open_jobs(config).await?, registry, config.jobs.clone(), Arc::clone(&events));
    let shared = config.jobs.backend == JobsBackend::Redis;
    let jobs = Arc::new(if config.node.is_worker() || shared { jobs } else { jobs.without_workers() });
    let topics = &config.kafka.topics;
    Ok(Services {
        live,
        log,
        log_faults,
        documents,
        vectors,
        encoder,
        sentiment,
        recall,
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
        data_dir_lock: Arc::new(lock),
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
    documents: &dyn DocumentStore,
) -> Result<Arc<dyn VectorIndex>, OpenError> {
    if config.node.is_worker() {
        same_encoder(&config.daemon.data_dir, &encoder.info().model)?;
    }
    let path = config.daemon.data_dir.join(&config.store.vectors.path);
    let (index, opened) = EmbeddedIndex::open(&path, encoder.info().dimension, &config.store.vectors)?;
    if !config.node.is_worker() || !encoder.makes_vectors() {
        return Ok(Arc::new(PooledIndex::new(index))); // nothing is compared or searched here: it stays empty
    }
    let stored = documents.counts().await?.stored;
    match opened {
        Opened::MustRebuild(reason) => rebuild(&index, documents, &reason).await?,
        // a process killed between the verdict and its vector leaves a file that looks current
        Opened::Current if index.len() as u64 != stored => rebuild(&index, documents, "vectors are missing").await?,
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

/// Refills the duplicate memory with what the window still holds.
async fn recall(config: &Config, documents: &dyn DocumentStore) -> Result<Recall, OpenError> {
    let mut memory = DuplicateMemory::new(&config.dedup);
    if !config.node.is_worker() {
        return Ok(Recall {
            memory: Arc::new(Mutex::new(memory)),
            pending: Arc::new(Mutex::new(PendingVectors::default())),
        });
    }
    let counts = documents.counts().await?;
    // windows count by the records' own time, so history counts too wherever the memory has room for all of it
    let fits = counts.stored + counts.duplicates <= config.dedup.capacity as u64;
    let since_ms = if fits { i64::MIN } else { Utc::now().timestamp_millis().saturating_sub(config.dedup.window_ms()) };
    documents.remember(since_ms, Box::new(|document| memory.remember(&document))).await?;
    Ok(Recall { memory: Arc::new(Mutex::new(memory)), pending: Arc::new(Mutex::new(PendingVectors::default())) })
}

/// Opens the job queue. What ran in an embedded queue when the process before ended goes back at once: nobody else has it.
async fn open_jobs(config: &Config) -> Result<Arc<dyn JobQueue>, OpenError> {
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
            if !config.redis.is_used() {
                let said = "jobs.backend = \"redis\" needs a server: set redis.url";
                return Err(JobError::InvalidQuery(said.to_owned()).into());
            }
            let redis = Redis::open(&config.redis)?;
            Ok(Arc::new(RedisJobs::new(redis, rules, Clock::System)))
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
    Ok(open_documents(config)?.check().await?)
}

/// Opens the job queue and asks it, for checks.
///
/// # Errors
/// Why it does not answer.
pub async fn try_jobs(config: &Config) -> Result<(), OpenError> {
    let _lock = lock_data_dir(&config.daemon.data_dir)?;
    Ok(open_jobs(config).await?.check().await?)
}

fn open_documents(config: &Config) -> Result<Arc<dyn DocumentStore>, OpenError> {
    let path = config.daemon.data_dir.join(&config.store.sqlite_path);
    Ok(Arc::new(SqliteStore::open(&path, &config.store)?))
}
