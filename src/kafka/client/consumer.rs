//! A member of a consumer group. Polled by its owner's thread; every callback runs in there.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::committer::{Committer, carry_out};
use super::context::{Key, MemberContext, Membership, Transactions};
use super::errors::log_error;
use super::settings;
use crate::config::kafka::KafkaConfig;
use crate::kafka::ledger::next_offset;
use crate::kafka::log::{LogConsumer, LogError, LogEvent, PartitionLag};
use crate::kafka::outbox::StagedCounts;
use crate::messages::record::{Position, Record};

/// How long leaving the group may take before its thread is left behind.
const LEAVE_DEADLINE: Duration = Duration::from_secs(10);

/// Most of one poll.
#[derive(Debug, Clone, Copy)]
pub(super) struct FetchLimits {
    pub records: usize,
    pub bytes: usize,
}

pub(super) struct KafkaConsumer {
    /// `None` only while dropping.
    member: Option<(Arc<BaseConsumer<MemberContext>>, Committer)>,
    membership: Arc<Mutex<Membership>>,
    limits: FetchLimits,
    /// Names of the topics, shared by all records.
    topics: Vec<Arc<str>>,
}

impl KafkaConsumer {
    pub(super) fn join(
        config: &KafkaConfig,
        group: &str,
        topics: &[String],
        limits: FetchLimits,
        context: MemberContext,
    ) -> Result<Self, LogError> {
        let membership = Arc::clone(&context.membership);
        let consumer: BaseConsumer<MemberContext> =
            settings::consumer(config, group).create_with_context(context).map_err(|error| log_error(&error))?;
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer.subscribe(&names).map_err(|error| log_error(&error))?;
        let topics = topics.iter().map(|name| name.as_str().into()).collect();
        let consumer = Arc::new(consumer);
        let committer = Committer::start(Arc::clone(&consumer), Arc::clone(&membership))?;
        Ok(Self { member: Some((consumer, committer)), membership, limits, topics })
    }

    fn member(&self) -> Result<&(Arc<BaseConsumer<MemberContext>>, Committer), LogError> {
        self.member.as_ref().ok_or_else(|| LogError::Failed("the consumer is closed".to_owned()))
    }

    /// Markers of transactions and aborted records take offsets and are never handed out. Where all that was handed out is
    /// done, they are behind us once librdkafka has passed them.
    fn skip_what_is_never_handed_out(&self, consumer: &BaseConsumer<MemberContext>) {
        let done = self.membership.lock().all_done();
        if done.is_empty() {
            return;
        }
        let Ok(positions) = consumer.position() else { return };
        let mut membership = self.membership.lock();
        for key in done {
            let position = positions.find_partition(&key.0, key.1).and_then(|element| element.offset().to_raw());
            let next = membership.committable.get(&key).copied();
            if let (Some(position), Some(next)) = (position, next)
                && position > next
            {
                membership.committable.insert(key.clone(), position);
                membership.handed_out.insert(key, position);
            }
        }
    }

    /// A copy of the message that holds nothing of librdkafka's buffers.
    fn record(&self, message: &BorrowedMessage<'_>) -> Record {
        let known = self.topics.iter().find(|topic| ***topic == *message.topic());
        let topic = known.map_or_else(|| message.topic().into(), Arc::clone);
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            let copy = |header: rdkafka::message::Header<'_, &[u8]>| {
                (header.key.to_owned(), header.value.map_or_else(Bytes::new, Bytes::copy_from_slice))
            };
            headers.iter().map(copy).collect()
        });
        Record {
            position: Position { topic, partition: message.partition(), offset: message.offset() },
            timestamp_ms: message.timestamp().to_millis().unwrap_or_default(),
            key: message.key().map(Bytes::copy_from_slice),
            value: message.payload().map_or_else(Bytes::new, Bytes::copy_from_slice),
            headers,
        }
    }
}

/// The last records that a poll hands out, by partition: told once a poll, as a map of names costs more than a record.
#[derive(Default)]
struct HandedOut(Vec<Position>);

impl HandedOut {
    fn note(&mut self, position: &Position) {
        let same = |last: &&mut Position| last.partition == position.partition && last.topic == position.topic;
        match self.0.iter_mut().find(same) {
            Some(last) => last.offset = position.offset,
            None => self.0.push(position.clone()),
        }
    }

    /// What was read before a partition went is handed out in vain.
    fn forget_revoked(&mut self, happened: &[LogEvent]) {
        for event in happened {
            if let LogEvent::Revoked { partitions } = event {
                let went = |last: &Position| {
                    partitions.iter().any(|(topic, number)| *last.topic == **topic && last.partition == *number)
                };
                self.0.retain(|last| !went(last));
            }
        }
    }

    fn tell(self, membership: &mut Membership) {
        for Position { topic, partition, offset } in self.0 {
            membership.handed_out.insert((topic.to_string(), partition), next_offset(offset));
        }
    }
}

/// librdkafka drops either without a word where it crosses another change of the partition, such as the start of its
/// fetching.
fn pause_or_resume<'a>(
    consumer: &BaseConsumer<MemberContext>,
    partitions: impl IntoIterator<Item = &'a Key>,
    paused: bool,
) {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        list.add_partition(topic, *partition);
    }
    let result = if paused { consumer.pause(&list) } else { consumer.resume(&list) };
    if let Err(error) = result {
        tracing::warn!(%error, paused, "partitions could not be paused or resumed");
    }
}

/// Whether librdkafka goes on by itself after this error, so that polling on is all there is to do.
fn mends_itself(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::PollExceeded
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::AutoOffsetReset
        )
    )
}

impl LogConsumer for KafkaConsumer {
    fn poll(&mut self, timeout: Duration) -> Result<Vec<LogEvent>, LogError> {
        let (consumer, _) = self.member()?;
        let (mut events, mut records, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut handed_out = HandedOut::default();
        // only the owner changes it, between polls
        let paused = self.membership.lock().paused;
        let mut wait = timeout;
        loop {
            let polled = consumer.poll(wait);
            wait = Duration::ZERO;
            // A poll gives a message or runs callbacks, so what was read so far came before these.
            let happened = std::mem::take(&mut self.membership.lock().events);
            if !happened.is_empty() {
                if !records.is_empty() {
                    events.push(LogEvent::Records(std::mem::take(&mut records)));
                }
                handed_out.forget_revoked(&happened);
                events.extend(happened);
            }
            match polled {
                Some(Ok(message)) => {
                    bytes += message.payload_len() + message.key_len();
                    let record = self.record(&message);
                    handed_out.note(&record.position);
                    if paused {
                        // the pause was lost: what was fetched meanwhile is thrown away by another one
                        let key = (record.position.topic.to_string(), record.position.partition);
                        pause_or_resume(consumer, [&key], true);
                    }
                    records.push(record);
                }
                Some(Err(error)) if mends_itself(&error) => tracing::warn!(%error, "polling goes on"),
                Some(Err(error)) if records.is_empty() && events.is_empty() => return Err(log_error(&error)),
                Some(Err(error)) => {
                    // What was read must not be lost; the error comes again or has passed.
                    tracing::warn!(%error, "polling failed after some records");
                    break;
                }
                None => break,
            }
            if records.len() >= self.limits.records || bytes >= self.limits.bytes {
                break;
            }
        }
        handed_out.tell(&mut self.membership.lock());
        if !records.is_empty() {
            events.push(LogEvent::Records(records));
        }
        Ok(events)
    }

    fn set_committable(&mut self, next_offsets: &[Position]) {
        let mut membership = self.membership.lock();
        for position in next_offsets {
            let key = (position.topic.to_string(), position.partition);
            if membership.assigned.contains(&key) {
                let earlier = membership.committable.get(&key).copied().unwrap_or(0);
                membership.committable.insert(key, position.offset.max(earlier));
            }
        }
    }

    fn commit(&mut self, wait: bool) -> Result<(), LogError> {
        let (consumer, committer) = self.member()?;
        self.skip_what_is_never_handed_out(consumer);
        let (due, failure) = {
            let mut membership = self.membership.lock();
            let done = if wait { &membership.committed } else { &membership.sent };
            (membership.uncommitted(&membership.assigned, done), membership.commit_failure.take())
        };
        let transactions = consumer.context().transactions.as_ref();
        let unfinished = transactions.is_some_and(|transactions| transactions.transactor.is_unfinished());
        if wait {
            if due.is_empty() && !unfinished {
                return Ok(());
            }
            carry_out(consumer, &due)?;
            self.membership.lock().note_committed(&due);
            return Ok(());
        }
        if (!due.is_empty() || unfinished) && committer.order(due.clone())? {
            self.membership.lock().sent.extend(due);
        }
        failure.map_or(Ok(()), Err)
    }

    fn staged(&self) -> StagedCounts {
        let transactions = self.member().ok().and_then(|(consumer, _)| consumer.context().transactions.as_ref());
        transactions.map_or_else(StagedCounts::default, |Transactions { outbox, .. }| outbox.counts())
    }

    fn lag(&self) -> Vec<PartitionLag> {
        let membership = self.membership.lock();
        let lag = membership.assigned.iter().filter_map(|key| {
            let (heard, end) = *membership.heard.get(key)?;
            let committed = membership.committed.get(key).copied().unwrap_or(heard);
            Some(PartitionLag { topic: key.0.clone(), partition: key.1, committed, end })
        });
        lag.collect()
    }

    fn set_paused(&mut self, paused: bool) {
        let assigned = {
            let mut membership = self.membership.lock();
            membership.paused = paused;
            membership.assigned.clone()
        };
        let Ok((consumer, _)) = self.member() else { return };
        pause_or_resume(consumer, &assigned, paused);
        if !paused {
            // changes nothing unless the first one was lost, which no record would tell
            pause_or_resume(consumer, &assigned, paused);
        }
    }
}

impl Drop for KafkaConsumer {
    /// Leaves the group, which revokes all partitions and thereby commits. That may block for long or, on a thread of an
    /// async runtime, for ever, so it has a thread of its own and a deadline.
    fn drop(&mut self) {
        let Some((consumer, committer)) = self.member.take() else { return };
        let (done, ended) = sync_channel(1);
        let leaving = std::thread::Builder::new().name("kafka-leave".to_owned()).spawn(move || {
            committer.finish();
            drop(consumer);
            let _ = done.send(());
        });
        match leaving {
            Ok(_) if ended.recv_timeout(LEAVE_DEADLINE).is_ok() => {}
            Ok(_) => tracing::warn!("leaving the consumer group takes too long and goes on alone"),
            Err(error) => tracing::warn!(%error, "no thread to leave the consumer group on"),
        }
    }
}
