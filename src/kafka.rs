//! The log: one trait, two backends. Apache Kafka (`client`) and the embedded log (`embedded`), which a
//! produce-only Kafka listener (`listener`) opens to any Kafka client.

pub mod client;
pub mod embedded;
pub mod ledger;
pub mod listener;
pub mod log;
pub mod partitioner;
pub mod source;

use std::path::Path;
use std::sync::Arc;

use self::log::Log;
use crate::config::kafka::KafkaConfig;
use crate::config::log::{LogBackend, LogConfig};

/// The log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The embedded log's file.
    #[error(transparent)]
    Embedded(#[from] embedded::OpenError),
    /// The Kafka client's settings.
    #[error(transparent)]
    Kafka(#[from] log::LogError),
}

/// Opens the log that the configuration names.
///
/// # Errors
/// If the file can't be used, or librdkafka refuses a setting.
pub fn open(log: &LogConfig, kafka: &KafkaConfig, data_directory: &Path) -> Result<Arc<dyn Log>, OpenError> {
    Ok(match log.backend {
        LogBackend::Embedded => Arc::new(embedded::EmbeddedLog::open(&data_directory.join(&log.file), log)?),
        LogBackend::Kafka => Arc::new(client::KafkaLog::new(kafka, log)?),
    })
}
