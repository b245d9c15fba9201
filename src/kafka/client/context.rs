//! librdkafka's callbacks: its log into ours, rebalances, commits, figures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::kafka::log::LogEvent;
use crate::telemetry::metrics;

/// A topic and partition.
pub(super) type Key = (String, i32);

fn log_line(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::error!(target: "librdkafka", facility, message);
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, message),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(target: "librdkafka", facility, message),
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, message),
    }
}

/// For clients that need no more than a log.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientLog;

impl ClientContext for ClientLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "librdkafka", %error, reason);
    }
}

impl ConsumerContext for ClientLog {}

/// What callbacks, committer and consumer share. Callbacks run inside the consumer's poll, on its thread.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// Happened, not told to the owner yet.
    pub events: Vec<LogEvent>,
    pub assigned: BTreeSet<Key>,
    pub paused: bool,
    /// Grows with every assignment.
    pub epoch: u64,
    /// Next offsets whose verdicts are durable.
    pub committable: BTreeMap<Key, i64>,
    /// Next offsets that were sent to be committed, and not refused.
    pub sent: BTreeMap<Key, i64>,
    /// Next offsets known to be committed.
    pub committed: BTreeMap<Key, i64>,
    /// Committed offset (or the beginning) and end of partitions, as last heard.
    pub heard: BTreeMap<Key, (i64, i64)>,
    /// The last commit beside the polling thread failed with this.
    pub commit_failure: Option<KafkaError>,
}

impl Membership {
    /// What is to be committed of these partitions and wasn't yet.
    pub(super) fn uncommitted(&self, among: &BTreeSet<Key>, done: &BTreeMap<Key, i64>) -> Vec<(Key, i64)> {
        let due = self.committable.iter().filter(|(key, next)| among.contains(*key) && done.get(*key) != Some(*next));
        due.map(|(key, next)| (key.clone(), *next)).collect()
    }

    /// These are committed; what is not ours any more is not remembered.
    pub(super) fn note_committed(&mut self, offsets: &[(Key, i64)]) {
        for (key, next) in offsets {
            if self.assigned.contains(key) {
                self.sent.insert(key.clone(), *next);
                self.committed.insert(key.clone(), *next);
            }
        }
    }
}

/// The list that librdkafka commits. Offsets are next offsets already.
pub(super) fn commit_list(offsets: &[(Key, i64)]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for ((topic, partition), next) in offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*next))?;
    }
    Ok(list)
}

fn keys(list: &TopicPartitionList) -> Vec<Key> {
    list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect()
}

/// The callbacks of a group's member.
#[derive(Debug, Clone)]
pub(super) struct MemberContext(pub Arc<Mutex<Membership>>);

impl MemberContext {
    /// Commits what is done of partitions that are going, and waits for it.
    fn commit_before_revoke(&self, consumer: &BaseConsumer<Self>, going: &[Key]) {
        let among = going.iter().cloned().collect();
        let due = {
            let membership = self.0.lock();
            membership.uncommitted(&among, &membership.committed)
        };
        if due.is_empty() {
            return;
        }
        if consumer.assignment_lost() {
            tracing::warn!(partitions = ?going, "partitions were lost before they could be committed");
            metrics::offsets_committed("lost");
            return;
        }
        let result = commit_list(&due).and_then(|list| consumer.commit(&list, CommitMode::Sync));
        metrics::offsets_committed(if result.is_ok() { "ok" } else { "failed" });
        if let Err(error) = result {
            tracing::warn!(%error, partitions = ?going, "the commit before a rebalance failed");
        }
    }
}

impl ClientContext for MemberContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        ClientLog.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let mut membership = self.0.lock();
        for (topic, figures) in statistics.topics {
            for (number, partition) in figures.partitions {
                if number >= 0 && partition.hi_offset >= 0 {
                    let committed = partition.committed_offset.max(partition.lo_offset).max(0);
                    membership.heard.insert((topic.clone(), number), (committed, partition.hi_offset));
                }
            }
        }
    }
}

impl ConsumerContext for MemberContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(list) => {
                let going = keys(list);
                self.commit_before_revoke(consumer, &going);
                let mut membership = self.0.lock();
                for key in &going {
                    membership.assigned.remove(key);
                    membership.committable.remove(key);
                    membership.sent.remove(key);
                    membership.committed.remove(key);
                    membership.heard.remove(key);
                }
                membership.events.push(LogEvent::Revoked { partitions: going });
            }
            Rebalance::Assign(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance failed"),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(list) = rebalance else { return };
        let paused = {
            let mut membership = self.0.lock();
            let partitions = keys(list);
            membership.assigned.extend(partitions.iter().cloned());
            membership.epoch += 1;
            let epoch = membership.epoch;
            membership.events.push(LogEvent::Assigned { epoch, partitions });
            membership.paused
        };
        // librdkafka starts every new partition running, whatever was paused before.
        if paused && let Err(error) = consumer.pause(list) {
            tracing::warn!(%error, "new partitions could not be paused");
        }
    }
}
