//! librdkafka's callbacks: its log into ours, rebalances, commits, figures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::committer::carry_out;
use super::transactor::Transactor;
use crate::kafka::log::{LogError, LogEvent};
use crate::kafka::outbox::Outbox;
use crate::telemetry::metrics;

pub(super) use crate::kafka::outbox::Key;

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

/// What a client's connections suffer from, as librdkafka said last; shared by all clients of a log.
#[derive(Debug, Clone, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<(RDKafkaErrorCode, String)>>>);

impl Trouble {
    fn note(&self, error: &KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        let mut last = self.0.lock();
        // that no broker is left says less than why one was lost
        if code != RDKafkaErrorCode::AllBrokersDown || last.is_none() {
            *last = Some((code, reason.to_owned()));
        }
    }

    /// What was said last, if anything was since the last success.
    pub(super) fn last(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.0.lock().clone()
    }

    /// The brokers answered.
    pub(super) fn is_over(&self) {
        *self.0.lock() = None;
    }
}

/// For clients that need no more than a log.
#[derive(Debug, Clone, Default)]
pub(super) struct ClientLog(pub Trouble);

impl ClientContext for ClientLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.note(&error, reason);
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
    /// Next offsets whose verdicts are durable.
    pub committable: BTreeMap<Key, i64>,
    /// Next offsets that were sent to be committed, and not refused.
    pub sent: BTreeMap<Key, i64>,
    /// Next offsets known to be committed.
    pub committed: BTreeMap<Key, i64>,
    /// Committed offset (or the beginning) and end of partitions, as last heard.
    pub heard: BTreeMap<Key, (i64, i64)>,
    /// Offsets after the last records handed out under the current assignments.
    pub handed_out: BTreeMap<Key, i64>,
    /// The last commit beside the polling thread failed with this.
    pub commit_failure: Option<LogError>,
}

impl Membership {
    /// What is to be committed of these partitions and wasn't yet.
    pub(super) fn uncommitted(&self, among: &BTreeSet<Key>, done: &BTreeMap<Key, i64>) -> Vec<(Key, i64)> {
        let due = self.committable.iter().filter(|(key, next)| among.contains(*key) && done.get(*key) != Some(*next));
        due.map(|(key, next)| (key.clone(), *next)).collect()
    }

    /// The partitions where all that was handed out is done.
    pub(super) fn all_done(&self) -> Vec<Key> {
        let done = self.handed_out.iter().filter(|(key, next)| self.committable.get(*key) == Some(*next));
        done.map(|(key, _)| key.clone()).collect()
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
#[derive(Clone)]
pub(super) struct MemberContext {
    pub membership: Arc<Mutex<Membership>>,
    /// Last epoch of an assignment, in all consumers of the log: an epoch never comes twice.
    pub epochs: Arc<AtomicU64>,
    /// With `kafka.exactly_once`.
    pub transactions: Option<Transactions>,
    pub trouble: Trouble,
}

/// How analyses and offsets are committed together.
#[derive(Clone)]
pub(super) struct Transactions {
    pub transactor: Arc<Transactor>,
    pub outbox: Arc<Outbox>,
}

impl MemberContext {
    /// Commits what is done of partitions that are going, and waits for it.
    fn commit_before_revoke(&self, consumer: &BaseConsumer<Self>, going: &[Key]) {
        let among = going.iter().cloned().collect();
        let due = {
            let membership = self.membership.lock();
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
        if let Err(error) = carry_out(consumer, &due) {
            tracing::warn!(%error, partitions = ?going, "the commit before a rebalance failed");
        }
    }

    /// Forgets partitions that are gone. No commit is under way meanwhile, and none names them afterwards.
    fn forget(&self, going: &[Key]) {
        let forget = || {
            let mut membership = self.membership.lock();
            for key in going {
                membership.assigned.remove(key);
                membership.committable.remove(key);
                membership.sent.remove(key);
                membership.committed.remove(key);
                membership.heard.remove(key);
                membership.handed_out.remove(key);
            }
            membership.events.push(LogEvent::Revoked { partitions: going.to_vec() });
        };
        match &self.transactions {
            None => forget(),
            Some(Transactions { transactor, outbox }) => transactor.between_commits(|| {
                outbox.revoked(going);
                forget();
            }),
        }
    }
}

impl ClientContext for MemberContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        ClientLog(self.trouble.clone()).error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let mut membership = self.membership.lock();
        for (topic, figures) in statistics.topics {
            for (number, partition) in figures.partitions {
                if number < 0 || partition.hi_offset < 0 {
                    continue;
                }
                let key = (topic.clone(), number);
                let committed = partition.committed_offset.max(partition.lo_offset).max(0);
                membership.heard.insert(key, (committed, partition.hi_offset));
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
                self.forget(&going);
            }
            Rebalance::Assign(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance failed"),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(list) = rebalance else { return };
        let paused = {
            let partitions = keys(list);
            let epoch = self.epochs.fetch_add(1, Ordering::Relaxed) + 1;
            if let Some(Transactions { outbox, .. }) = &self.transactions {
                outbox.assigned(epoch, &partitions);
            }
            let mut membership = self.membership.lock();
            membership.assigned.extend(partitions.iter().cloned());
            membership.events.push(LogEvent::Assigned { epoch, partitions });
            membership.paused
        };
        // librdkafka starts every new partition running, whatever was paused before.
        if paused && let Err(error) = consumer.pause(list) {
            tracing::warn!(%error, "new partitions could not be paused");
        }
    }
}
