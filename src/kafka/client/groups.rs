//! Groups seen from outside: what partitions hold, and offsets set for a group that nobody is a member of.

use std::collections::BTreeMap;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::KafkaLog;
use super::context::ClientLog;
use super::errors::log_error;
use crate::kafka::log::{GroupOffset, LogError, PartitionRange};

impl KafkaLog {
    /// First kept and next offset of every partition of the topics.
    ///
    /// # Errors
    /// If the brokers don't answer or don't know a topic.
    pub async fn ranges(&self, topics: &[String]) -> Result<Vec<PartitionRange>, LogError> {
        let (inquirer, topics) = (self.inquirer(&self.config.group)?, topics.to_vec());
        let timeout = self.request_timeout();
        let look = move || {
            let mut ranges = Vec::new();
            for topic in &topics {
                for partition in super::partitions(&inquirer, topic, timeout)? {
                    let watermarks = inquirer.fetch_watermarks(topic, partition, timeout);
                    let (first, end) = watermarks.map_err(|error| log_error(&error))?;
                    ranges.push(PartitionRange { topic: topic.as_str().into(), partition, first, end });
                }
            }
            Ok(ranges)
        };
        self.ask(look).await
    }

    /// Has groups go on from these offsets, wherever they stand now.
    ///
    /// # Errors
    /// [`LogError::Failed`] if a group has members: they would go on as before.
    pub async fn set_groups(&self, offsets: &[GroupOffset]) -> Result<(), LogError> {
        let mut groups: BTreeMap<&str, TopicPartitionList> = BTreeMap::new();
        for GroupOffset { group, next } in offsets {
            let wanted = groups.entry(group).or_default();
            wanted
                .add_partition_offset(&next.topic, next.partition, Offset::Offset(next.offset))
                .map_err(|error| log_error(&error))?;
        }
        for (group, wanted) in groups {
            let inquirer = self.inquirer(group)?;
            let name = group.to_owned();
            self.ask(move || set(&inquirer, &wanted, &name)).await?;
        }
        Ok(())
    }
}

fn set(inquirer: &BaseConsumer<ClientLog>, wanted: &TopicPartitionList, group: &str) -> Result<(), LogError> {
    inquirer.commit(wanted, CommitMode::Sync).map_err(|error| match error.rdkafka_error_code() {
        // a member's commit names its generation; this one has none
        Some(Code::UnknownMemberId | Code::IllegalGeneration | Code::RebalanceInProgress | Code::FencedInstanceId) => {
            LogError::Failed(format!("group {group} has members: stop every daemon of it first"))
        }
        _ => log_error(&error),
    })
}
