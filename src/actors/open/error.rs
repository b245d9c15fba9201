//! What can go wrong at the start.

use std::path::PathBuf;

use crate::kafka::log::LogError;
use crate::models::ModelError;
use crate::stores::documents::StoreError;
use crate::stores::jobs::JobError;
use crate::stores::postgres;
use crate::stores::qdrant::QdrantOpenError;

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
