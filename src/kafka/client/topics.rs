//! Makes sure the topics are there, with the partitions and replicas asked for.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer;

use super::context::ClientLog;
use super::errors::log_error;
use super::{KafkaLog, settings};
use crate::kafka::log::LogError;

/// Wait between two looks for a topic that was just created.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl KafkaLog {
    /// See [`crate::kafka::log::Log::ensure_topics`].
    pub(super) async fn ensure(&self, topics: &[(String, i32)]) -> Result<(), LogError> {
        let mut present = self.present().await?;
        let missing = |present: &HashMap<String, i32>| -> Vec<(String, i32)> {
            topics.iter().filter(|(name, _)| !present.contains_key(name)).cloned().collect()
        };
        let to_create = missing(&present);
        if let Some((name, _)) = to_create.first() {
            if !self.config.create_topics {
                return Err(LogError::UnknownTopic(name.clone()));
            }
            self.create(&to_create).await?;
            let give_up = Instant::now() + self.request_timeout();
            // a topic is created before every broker knows it
            present = loop {
                let present = self.present().await?;
                match missing(&present).first() {
                    None => break present,
                    Some((name, _)) if Instant::now() >= give_up => {
                        return Err(LogError::Unavailable(format!("topic {name} was created and does not appear")));
                    }
                    Some(_) => tokio::time::sleep(LOOK_AGAIN).await,
                }
            };
        }
        for (name, wanted) in topics {
            let partitions = present.get(name).copied().unwrap_or_default();
            if partitions < *wanted {
                tracing::warn!(
                    topic = name,
                    partitions,
                    wanted,
                    "topic has fewer partitions than kafka.topics.partitions: no more daemons than it has partitions \
                     share it; add some with kafka-topics.sh --alter, after which keys go to other partitions"
                );
            }
        }
        self.known.write().extend(topics.iter().map(|(name, _)| name.clone()));
        Ok(())
    }

    async fn create(&self, topics: &[(String, i32)]) -> Result<(), LogError> {
        let admin: AdminClient<ClientLog> =
            settings::base(&self.config).create_with_context(self.client()).map_err(|error| log_error(&error))?;
        let replication = self.config.replication;
        // The brokers' own default is 1 MiB, less than what the daemon lets in.
        let largest = (self.max_record_bytes + settings::OVERHEAD_BYTES).to_string();
        let new: Vec<NewTopic<'_>> = topics
            .iter()
            .map(|(name, partitions)| {
                let topic = NewTopic::new(name, *partitions, TopicReplication::Fixed(replication));
                topic.set("max.message.bytes", &largest)
            })
            .collect();
        let timeout = self.request_timeout();
        let options = AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
        let results = admin.create_topics(&new, &options).await.map_err(|error| log_error(&error))?;
        for result in results {
            match result {
                Ok(name) => tracing::info!(topic = name, "topic created"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => {
                    let replicas = if replication < 0 { "default".to_owned() } else { replication.to_string() };
                    let text = format!("topic {name} could not be created with {replicas} replicas: {code}");
                    return Err(match log_error(&KafkaError::AdminOp(code)) {
                        LogError::Failed(_) => LogError::Failed(text),
                        _ => LogError::Unavailable(text),
                    });
                }
            }
        }
        Ok(())
    }

    /// The topics that the brokers know, with their partitions.
    async fn present(&self) -> Result<HashMap<String, i32>, LogError> {
        let producer = self.producer()?;
        let timeout = self.request_timeout();
        self.ask(move || {
            let metadata = producer.client().fetch_metadata(None, timeout).map_err(|error| log_error(&error))?;
            let known = metadata.topics().iter().filter(|topic| topic.error().is_none());
            let counted = known
                .map(|topic| (topic.name().to_owned(), i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX)));
            Ok(counted.collect())
        })
        .await
    }
}
