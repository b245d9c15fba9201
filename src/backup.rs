//! Backups: copies of the stores that fit the log's offsets, in a directory or an object store.
//!
//! A backup is consistent because of its order. First it notes where the consumer groups stand, then it copies the store
//! of documents, then the log. Every record below the noted offsets has its verdict in the store, and every record a
//! verdict names is in the log; what lies between is delivered again after a restore, which the store's deterministic ids
//! make harmless: the state is the one after a `kill -9`. The vector index is never copied, since it follows from the
//! store.
//!
//! - [`create`]: the copy itself, while the daemon runs
//! - [`restore`]: back into an empty installation, checked before anything is touched
//! - [`verify`]: checksums, and whether the stores of a backup fit each other ([`drift`])
//! - [`manifest`]: what a backup says of itself; written last, so that a torn one is none
//! - [`target`]: the directory or bucket; [`packing`]: compression and checksums on the way
//! - [`retention`], [`schedule`]: which backups stay, and when the next is due

pub mod create;
pub mod database;
pub mod drift;
mod log_side;
pub mod manifest;
pub mod packing;
pub mod restore;
pub mod retention;
pub mod schedule;
mod staging;
pub mod target;
pub mod verify;

use std::path::{Path, PathBuf};

use self::drift::GraphVectors;
use crate::config::Config;
use crate::config::store::VectorsBackend;
use crate::kafka::log::LogError;
use crate::stores::documents::StoreError;
use crate::stores::postgres;
use crate::stores::postgres::dump::Dump;
use crate::stores::qdrant::QdrantIndex;
use crate::stores::qdrant::graphs::QdrantGraphs;
use crate::stores::sqlite::figures;

/// Why a backup was not made, checked or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A setting or an argument has to change.
    #[error("{0}")]
    Setting(String),
    /// The target, a store or the log does not answer, or is full; the same may succeed later.
    #[error("{0}")]
    Unavailable(String),
    /// A file of a backup is torn, tampered with or missing.
    #[error("backup {id}: {file}: {reason}")]
    Damaged {
        /// The backup.
        id: String,
        /// Its file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such backup.
    #[error("{0}")]
    NotFound(String),
    /// It would overwrite or lose something.
    #[error("{0}")]
    Refused(String),
    /// A local file or directory can't be used.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl BackupError {
    /// Whether the same may succeed later, without a change of settings.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::File { .. } => true,
            Self::Setting(_) | Self::Damaged { .. } | Self::NotFound(_) | Self::Refused(_) => false,
        }
    }

    fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

impl From<LogError> for BackupError {
    fn from(error: LogError) -> Self {
        if error.is_retriable() { Self::Unavailable(error.to_string()) } else { Self::Setting(error.to_string()) }
    }
}

impl From<crate::kafka::embedded::OpenError> for BackupError {
    fn from(error: crate::kafka::embedded::OpenError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> Self {
        if error.is_retriable() { Self::Unavailable(error.to_string()) } else { Self::Refused(error.to_string()) }
    }
}

impl From<postgres::OpenError> for BackupError {
    fn from(error: postgres::OpenError) -> Self {
        match error {
            postgres::OpenError::Setting(_) => Self::Setting(error.to_string()),
            postgres::OpenError::Unavailable(_) => Self::Unavailable(error.to_string()),
        }
    }
}

/// Told how far it is, 0 to 1, and with what.
pub type Progress<'a> = &'a (dyn Fn(f64, String) + Send + Sync);

/// Where the files of an installation are.
struct Places {
    log: PathBuf,
    documents: PathBuf,
    jobs: PathBuf,
    index: PathBuf,
    encoder: PathBuf,
    daemon_id: PathBuf,
}

impl Places {
    fn of(config: &Config) -> Self {
        let data = &config.daemon.data_dir;
        Self {
            log: data.join(&config.log.file),
            documents: data.join(&config.store.sqlite_path),
            jobs: data.join(&config.jobs.sqlite_path),
            index: data.join(&config.store.vectors.path),
            encoder: data.join(crate::config::daemon::ENCODER_FILE),
            daemon_id: data.join(crate::config::daemon::DAEMON_ID_FILE),
        }
    }
}

/// Vectors in the index that daemons share, where it answers; one inside a daemon is that daemon's to ask.
async fn index_size(config: &Config) -> Option<u64> {
    if config.store.vectors.backend != VectorsBackend::Qdrant {
        return None;
    }
    let model = std::fs::read_to_string(Places::of(config).encoder).ok()?;
    match QdrantIndex::count(&config.qdrant, model.trim()).await {
        Ok(count) => Some(count),
        Err(error) => {
            tracing::warn!(%error, "the vectors of the index are not counted");
            None
        }
    }
}

/// Vectors of learned graphs, where they are kept in a collection that answers. Asks `dump`, else the file of documents.
async fn graph_vectors(
    config: &Config,
    dump: Option<&Dump>,
    documents: &Path,
) -> Result<Option<GraphVectors>, BackupError> {
    if config.store.vectors.backend != VectorsBackend::Qdrant {
        return Ok(None);
    }
    let path = documents.to_owned();
    let store = match dump {
        Some(dump) => dump.graph_figures().await?,
        None => blocking(move || figures::graph_figures(&path)).await?,
    };
    match QdrantGraphs::count(&config.qdrant, &config.graph.qdrant_collection).await {
        Ok(index) => Ok(Some(GraphVectors { store, index })),
        Err(error) => {
            tracing::warn!(%error, "the vectors of learned graphs are not counted");
            Ok(None)
        }
    }
}

/// Runs work that blocks on a thread for such work.
async fn blocking<T: Send + 'static, E: Into<BackupError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, BackupError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(error) => Err(BackupError::Unavailable(format!("work ended early: {error}"))),
    }
}
