//! Opens what the actors share: data directory, log, stores, models, sockets.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Config;
use crate::config::encoder::EncoderKind;
use crate::config::log::Backend;
use crate::config::reload::Reloader;
use crate::kafka::log::{Log, LogError};
use crate::messages::event::EventBus;
use crate::models::{Encoder, ModelError, SentimentModel};
use crate::stores::documents::{DocumentStore, StoreError};
use crate::telemetry::logs::LogLevel;
use crate::text::near_duplicates::DuplicateMemory;

use super::daemon::later;
use super::servers::Sockets;
use super::services::{Live, Services};
use super::shared::{PendingVectors, Recall};

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
    #[error("log: {0}")]
    Log(#[from] LogError),
    /// A store.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// A model.
    #[error("{0}")]
    Model(#[from] ModelError),
    /// The token.
    #[error("{0}")]
    Token(String),
}
