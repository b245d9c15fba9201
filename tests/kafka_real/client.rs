//! What the tests do with a broker themselves.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, util::Timeout};
use tidemill::config::kafka::KafkaConfig;
use tidemill::config::log::LogConfig;
use tidemill::kafka::client::KafkaLog;
use tidemill::kafka::log::{Log, LogConsumer, LogEvent};
use tidemill::messages::record::{NewRecord, Position, Record};

pub const DEADLINE: Duration = Duration::from_mins(1);
/// Ids that no two tests share.
pub fn unique(what: &str) -> String {
    format!("{what}-{}", uuid::Uuid::new_v4().simple())
}

/// Settings for a broker near by.
pub fn config(brokers: &str) -> KafkaConfig {
    KafkaConfig {
        brokers: vec![brokers.to_owned()],
        session_timeout_ms: 6_000,
        request_timeout_ms: 5_000,
        ..KafkaConfig::default()
    }
}

/// The log of one daemon, with the topics made sure of.
pub async fn open(config: &KafkaConfig, topics: &[(String, i32)]) -> KafkaLog {
    let log = KafkaLog::new(config, &LogConfig::default()).unwrap();
    log.ensure_topics(topics).await.unwrap();
    log
}

/// Records with their number as key and value.
pub fn numbered(topic: &str, range: std::ops::Range<usize>) -> Vec<NewRecord> {
    let record = |number: usize| NewRecord {
        topic: topic.into(),
        partition: None,
        timestamp_ms: None,
        key: Some(number.to_string().into()),
        value: number.to_string().into(),
        headers: Vec::new(),
    };
    range.map(record).collect()
}

/// Polls until `count` records came; these and the epoch of the last assignment. Blocks.
pub fn read(consumer: &mut dyn LogConsumer, count: usize) -> (Vec<Record>, u64) {
    let start = Instant::now();
    let (mut records, mut last_epoch) = (Vec::new(), 0);
    while records.len() < count {
        assert!(start.elapsed() < DEADLINE, "{} of {count} records came in time", records.len());
        for event in consumer.poll(Duration::from_millis(100)).unwrap_or_default() {
            match event {
                LogEvent::Records(more) => records.extend(more),
                LogEvent::Assigned { epoch, .. } => last_epoch = epoch,
                LogEvent::Revoked { .. } => {}
            }
        }
    }
    (records, last_epoch)
}

/// The offset after a record.
pub fn next_of(record: &Record) -> Position {
    Position { offset: record.position.offset + 1, ..record.position.clone() }
}

/// Waits, polling nothing, until it holds. Blocks.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    crate::services::wait_until(DEADLINE, || if holds() { Ok(()) } else { Err(what.to_owned()) }).unwrap();
}

/// Which records of a topic are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Those of committed transactions.
    Committed,
    /// All.
    Uncommitted,
}

/// Everything in a topic from its beginning to its end, as key and value. Blocks.
pub fn whole(brokers: &str, topic: &str, isolation: Isolation) -> Vec<(String, Vec<u8>)> {
    let level = if isolation == Isolation::Committed { "read_committed" } else { "read_uncommitted" };
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "nobody")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", level)
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), DEADLINE).unwrap();
    let partitions = metadata.topics()[0].partitions().len();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, i32::try_from(partition).unwrap(), Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (start, mut ended, mut found) = (Instant::now(), BTreeSet::new(), Vec::new());
    while ended.len() < partitions {
        assert!(start.elapsed() < DEADLINE, "{topic} can't be read to its end");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let key = String::from_utf8(message.key().unwrap_or_default().to_vec()).unwrap();
                found.push((key, message.payload().unwrap_or_default().to_vec()));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition);
            }
            Some(Err(_)) | None => {}
        }
    }
    found
}

/// Writes key and value pairs, each until it is acknowledged, however long the broker is away.
pub async fn produce(brokers: &str, topic: &str, records: &[(String, String)]) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "120000")
        .set("linger.ms", "1")
        .create()
        .unwrap();
    for chunk in records.chunks(200) {
        let sent = chunk.iter().map(|(key, value)| {
            producer.send(FutureRecord::to(topic).key(key).payload(value), Timeout::After(DEADLINE))
        });
        for outcome in futures_util::future::join_all(sent).await {
            outcome.map_err(|(error, _)| error).unwrap();
        }
    }
}

/// Whether each of `wanted` is in `found` exactly once and nothing else is; what is wrong otherwise.
pub fn each_once<'a>(wanted: impl IntoIterator<Item = &'a String>, found: &[String]) -> Result<(), String> {
    let wanted: BTreeSet<&String> = wanted.into_iter().collect();
    let unique: BTreeSet<&String> = found.iter().collect();
    let missing: Vec<_> = wanted.difference(&unique).take(5).collect();
    let strange: Vec<_> = unique.difference(&wanted).take(5).collect();
    let mut seen = BTreeSet::new();
    let twice: Vec<_> = found.iter().filter(|id| !seen.insert(*id)).take(5).collect();
    if missing.is_empty() && strange.is_empty() && twice.is_empty() {
        return Ok(());
    }
    Err(format!("{} of {} found; missing {missing:?}, strange {strange:?}, twice {twice:?}", found.len(), wanted.len()))
}
