//! The log, with its topics.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::OpenError;
use super::data_dir::lock_data_dir;
use crate::actors::servers::Sockets;
use crate::actors::waiting::patiently;
use crate::config::Config;
use crate::config::daemon::DAEMON_ID_FILE;
use crate::config::kafka::KafkaConfig;
use crate::config::log::LogBackend;
use crate::kafka::client::KafkaLog;
use crate::kafka::embedded::EmbeddedLog;
use crate::kafka::log::{Log, LogError};

type OpenedLog = (Arc<dyn Log>, Option<Arc<EmbeddedLog>>);

pub(super) fn open_log(config: &Config) -> Result<OpenedLog, OpenError> {
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
pub(super) async fn topics_are_there(config: &Config, log: &dyn Log, sockets: &Sockets) -> Result<(), OpenError> {
    let topics = config.kafka.topics.all();
    let patience = match config.log.backend {
        LogBackend::Embedded => Duration::ZERO,
        LogBackend::Kafka => Duration::from_secs(config.kafka.start_timeout_seconds),
    };
    let ensured =
        patiently("log", patience, sockets, LogError::is_retriable, async || log.ensure_topics(&topics).await);
    Ok(ensured.await?)
}

/// Opens the log and asks it, for checks.
///
/// # Errors
/// Why it does not answer.
pub async fn try_log(config: &Config) -> Result<(), OpenError> {
    let _lock = lock_data_dir(&config.daemon.data_dir)?;
    Ok(open_log(config)?.0.check().await?)
}
