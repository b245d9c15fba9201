//! What every log promises, run against each backend; then what only the embedded one promises.
#![allow(
    clippy::type_complexity,
    clippy::expect_used,
    clippy::unnecessary_wraps,
    clippy::needless_pass_by_value,
    reason = "tests"
)]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::mocking::MockCluster;
use tidemill::config::kafka::KafkaConfig;
use tidemill::config::log::LogConfig;
use tidemill::kafka::client::KafkaLog;
use tidemill::kafka::embedded::{EmbeddedLog, OpenError};
use tidemill::kafka::log::{BatchSequence, Log, LogConsumer, LogError, LogEvent, PartitionLag, SequencedAppend};
use tidemill::messages::record::{NewRecord, Position, Record};

#[path = "log_conformance/full_disk.rs"]
mod full_disk;
#[path = "support/services/kafka.rs"]
mod kafka;
#[path = "support/namespaced.rs"]
mod namespaced;
#[path = "support/services.rs"]
mod services;
#[path = "support/small_disk.rs"]
mod small_disk;

const DEADLINE: Duration = Duration::from_secs(30);
const GROUP: &str = "tidemill";
const MAX_RECORD_BYTES: usize = 1 << 20;

type MakeTopic = Box<dyn Fn(&str, i32)>;

/// A log and what must live as long.
struct Backend {
    log: Arc<dyn Log>,
    /// Makes a topic where the log itself can't: the mock cluster knows no such request.
    make_topic: MakeTopic,
    _keep: Box<dyn std::any::Any>,
}

fn new_record(topic: &str, partition: Option<i32>, value: impl Into<Bytes>) -> NewRecord {
    NewRecord {
        topic: topic.into(),
        partition,
        timestamp_ms: None,
        key: None,
        value: value.into(),
        headers: Vec::new(),
    }
}

fn numbered(topic: &str, range: std::ops::Range<usize>) -> Vec<NewRecord> {
    range.map(|number| new_record(topic, Some(0), number.to_string())).collect()
}

/// Polls until `count` records came. Blocks.
fn read(consumer: &mut dyn LogConsumer, count: usize) -> Vec<Record> {
    let start = Instant::now();
    let mut records = Vec::new();
    while records.len() < count {
        assert!(start.elapsed() < DEADLINE, "{} of {count} records came in time", records.len());
        records.extend(poll(consumer, Duration::from_millis(100)));
    }
    records
}

fn poll(consumer: &mut dyn LogConsumer, timeout: Duration) -> Vec<Record> {
    let events = match consumer.poll(timeout) {
        Ok(events) => events,
        Err(error) if error.is_retriable() => Vec::new(),
        Err(error) => panic!("{error}"),
    };
    let records = events.into_iter().filter_map(|event| match event {
        LogEvent::Records(records) => Some(records),
        LogEvent::Assigned { .. } | LogEvent::Revoked { .. } => None,
    });
    records.flatten().collect()
}

fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.value.to_vec()).unwrap()).collect()
}

fn next_of(record: &Record) -> Position {
    Position { offset: record.position.offset + 1, ..record.position.clone() }
}

async fn with_topics(backend: Backend, topics: &[(&str, i32)]) -> Backend {
    for (name, count) in topics {
        (backend.make_topic)(name, *count);
    }
    let topics: Vec<(String, i32)> = topics.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    backend.log.ensure_topics(&topics).await.unwrap();
    backend
}

/// Retries what may pass, as every caller must.
async fn append(log: &dyn Log, records: Vec<NewRecord>) -> Vec<Position> {
    let start = Instant::now();
    loop {
        match log.append(records.clone()).await {
            Ok(positions) => return positions,
            Err(error) if error.is_retriable() && start.elapsed() < DEADLINE => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn records_come_in_order_with_key_headers_and_time(backend: Backend) {
    let Backend { log, _keep, .. } = with_topics(backend, &[("documents", 1)]).await;
    let mut sent = numbered("documents", 0..300);
    sent[7].key = Some(Bytes::from_static(b"key \xff"));
    sent[7].timestamp_ms = Some(1_700_000_000_123);
    sent[7].headers = vec![
        ("correlation-id".to_owned(), Bytes::from_static(b"abc")),
        ("twice".to_owned(), Bytes::from_static(b"1")),
        ("twice".to_owned(), Bytes::from_static(b"\x00\xfe")),
        ("empty".to_owned(), Bytes::new()),
    ];
    sent[8].value = Bytes::new();
    let positions = append(&*log, sent.clone()).await;
    let offsets: Vec<i64> = positions.iter().map(|position| position.offset).collect();
    assert_eq!(offsets, (0..300).collect::<Vec<i64>>());
    let mut consumer = log.consumer(GROUP, &["documents".to_owned()]).unwrap();
    let got = tokio::task::block_in_place(|| read(&mut *consumer, 300));
    for (record, (sent, position)) in got.iter().zip(sent.iter().zip(&positions)) {
        assert_eq!(&record.position, position);
        assert_eq!(record.value, sent.value);
        assert_eq!(record.key, sent.key);
        assert_eq!(record.headers, sent.headers);
    }
    assert_eq!(got[7].timestamp_ms, 1_700_000_000_123);
    assert_eq!(got[7].header("correlation-id"), Some("abc"));
}

async fn keys_choose_the_partition_kafka_chooses(backend: Backend) {
    let Backend { log, _keep, .. } = with_topics(backend, &[("documents", 8)]).await;
    let keys = ["foobar", "abc", "21"];
    let records = keys
        .map(|key| NewRecord { key: Some(Bytes::from_static(key.as_bytes())), ..new_record("documents", None, key) });
    let positions = append(&*log, records.to_vec()).await;
    let partitions: Vec<i32> = positions.iter().map(|position| position.partition).collect();
    // murmur2 with the sign bit off, modulo 8, for the hashes of Kafka's own test vectors.
    let expected: Vec<i32> =
        [-790_332_482_i32, 479_470_107, -973_932_308].iter().map(|hash| (hash & 0x7fff_ffff) % 8).collect();
    assert_eq!(partitions, expected);
    let without: Vec<_> = (0..64).map(|_| new_record("documents", None, "x")).collect();
    let positions = append(&*log, without).await;
    assert_eq!(positions.len(), 64);
}

async fn a_consumer_resumes_at_the_committed_offset(backend: Backend) {
    let Backend { log, _keep, .. } = with_topics(backend, &[("documents", 1)]).await;
    append(&*log, numbered("documents", 0..20)).await;
    let topics = ["documents".to_owned()];
    tokio::task::block_in_place(|| {
        let mut first = log.consumer(GROUP, &topics).unwrap();
        let records = read(&mut *first, 20);
        first.set_committable(&[next_of(&records[11])]);
        first.commit(true).unwrap();
        drop(first);
        let mut second = log.consumer(GROUP, &topics).unwrap();
        assert_eq!(values(&read(&mut *second, 8)), (12..20).map(|n| n.to_string()).collect::<Vec<_>>());
    });
}

async fn what_was_not_committed_comes_again(backend: Backend) {
    let Backend { log, _keep, .. } = with_topics(backend, &[("documents", 1)]).await;
    append(&*log, numbered("documents", 0..10)).await;
    let topics = ["documents".to_owned()];
    tokio::task::block_in_place(|| {
        let mut first = log.consumer(GROUP, &topics).unwrap();
        assert_eq!(read(&mut *first, 10).len(), 10);
        drop(first);
        let mut second = log.consumer(GROUP, &topics).unwrap();
        assert_eq!(read(&mut *second, 10).len(), 10);
    });
}

async fn what_was_committable_is_committed_on_drop(backend: Backend) {
    let Backend { log, _keep, .. } = with_topics(backend, &[("documents", 1)]).await;
    append(&*log, numbered("documents", 0..10)).await;
    let topics = ["documents".to_owned()];
    tokio::task::block_in_place(|| {
        let mut first = log.consumer(GROUP, &topics).unwrap();
        let records = read(&mut *first, 10);
        first.set_committable(&[next_of(&records[4])]);
        drop(first);
        let mut second = log.consumer(GROUP, &topics).unwrap();
        assert_eq!(values(&read(&mut *second, 5))[0], "5");
    });
}

async fn groups_do_not_share_offsets(backend: Backend) {
    let Backend { log, _keep, .. } = with_topics(backend, &[("documents", 1)]).await;
    append(&*log, numbered("documents", 0..5)).await;
    let topics = ["documents".to_owned()];
    tokio::task::block_in_place(|| {
        for group in ["one", "two"] {
            let mut consumer = log.consumer(group, &topics).unwrap();
            let records = read(&mut *consumer, 5);
            consumer.set_committable(&[next_of(&records[4])]);
            consumer.commit(true).unwrap();
        }
    });
}

async fn lag_counts_from_the_committed_offset(backend: Backend) {
    let Backend { log, _keep, .. } = with_topics(backend, &[("documents", 2)]).await;
    let topics = ["documents".to_owned()];
    append(&*log, numbered("documents", 0..10)).await;
    let before: i64 = log.lag(GROUP, &topics).await.unwrap().iter().map(PartitionLag::records).sum();
    assert_eq!(before, 10);
    tokio::task::block_in_place(|| {
        let mut consumer = log.consumer(GROUP, &topics).unwrap();
        let records = read(&mut *consumer, 10);
        consumer.set_committable(&[next_of(&records[6])]);
        consumer.commit(true).unwrap();
    });
    let lags = log.lag(GROUP, &topics).await.unwrap();
    assert_eq!(lags.iter().map(|lag| (lag.partition, lag.records())).collect::<Vec<_>>(), [(0, 3), (1, 0)]);
    assert_eq!((lags[0].committed, lags[0].end), (7, 10));
}

async fn concurrent_appends_get_different_offsets(backend: Backend) {
    let Backend { log, _keep, .. } = with_topics(backend, &[("documents", 2)]).await;
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut positions = Vec::new();
                for number in 0..20 {
                    let record = new_record("documents", Some(task % 2), format!("{task}-{number}"));
                    positions.extend(append(&*log, vec![record]).await);
                }
                assert!(positions.is_sorted(), "one appender's records keep their order");
                positions
            })
        })
        .collect();
    let mut all = BTreeSet::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    assert_eq!(all.len(), 320);
    let mut consumer = log.consumer(GROUP, &["documents".to_owned()]).unwrap();
    let records = tokio::task::block_in_place(|| read(&mut *consumer, 320));
    let positions: BTreeSet<Position> = records.iter().map(|record| record.position.clone()).collect();
    assert_eq!(positions, all);
    let mut last = BTreeMap::new();
    for record in &records {
        let earlier = last.insert(record.position.partition, record.position.offset);
        assert!(earlier.is_none_or(|earlier| earlier < record.position.offset), "order within a partition");
    }
}

async fn large_records_come_back_whole_and_larger_ones_are_refused(backend: Backend) {
    let Backend { log, _keep, .. } = with_topics(backend, &[("documents", 1)]).await;
    let large: Bytes = (0..MAX_RECORD_BYTES - 1000).map(|n| u8::try_from(n % 251).unwrap()).collect();
    append(&*log, vec![new_record("documents", Some(0), large.clone())]).await;
    let larger = new_record("documents", Some(0), vec![0; MAX_RECORD_BYTES + 1]);
    let error = log.append(vec![larger]).await.unwrap_err();
    assert!(matches!(error, LogError::TooLarge { .. }), "{error}");
    assert!(!error.is_retriable());
    let mut consumer = log.consumer(GROUP, &["documents".to_owned()]).unwrap();
    let records = tokio::task::block_in_place(|| read(&mut *consumer, 1));
    assert!(records[0].value == large);
}

async fn a_paused_consumer_reads_nothing_until_resumed(backend: Backend) {
    let Backend { log, _keep, .. } = with_topics(backend, &[("documents", 1)]).await;
    append(&*log, numbered("documents", 0..1)).await;
    let mut consumer = log.consumer(GROUP, &["documents".to_owned()]).unwrap();
    tokio::task::block_in_place(|| {
        read(&mut *consumer, 1);
        consumer.set_paused(true);
    });
    append(&*log, numbered("documents", 1..4)).await;
    tokio::task::block_in_place(|| {
        for _ in 0..5 {
            assert_eq!(poll(&mut *consumer, Duration::from_millis(50)), []);
        }
        consumer.set_paused(false);
        assert_eq!(values(&read(&mut *consumer, 3)), ["1", "2", "3"]);
    });
}

async fn unknown_topics_and_partitions_are_named(backend: Backend) {
    let Backend { log, _keep, .. } = with_topics(backend, &[("documents", 1)]).await;
    let error = log.append(vec![new_record("nowhere", Some(0), "x")]).await.unwrap_err();
    assert!(matches!(&error, LogError::UnknownTopic(topic) if topic == "nowhere"), "{error}");
    let error = log.append(vec![new_record("documents", Some(9), "x")]).await.unwrap_err();
    assert!(matches!(&error, LogError::UnknownPartition { partition: 9, .. }), "{error}");
    assert!(!error.is_retriable());
}

async fn a_healthy_log_says_so_and_topics_can_be_ensured_twice(backend: Backend) {
    let Backend { log, _keep, .. } = with_topics(backend, &[("documents", 3), ("bars", 1)]).await;
    log.check().await.unwrap();
    log.ensure_topics(&[("documents".to_owned(), 3), ("bars".to_owned(), 1)]).await.unwrap();
    assert_eq!(append(&*log, vec![new_record("bars", Some(0), "x")]).await[0].offset, 0);
    assert_eq!(log.append(Vec::new()).await.unwrap(), []);
}

macro_rules! conformance {
    ($backend:ident: $($name:ident),* $(,)?) => {
        mod $backend {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(backend) = super::backends::$backend() {
                    super::$name(backend).await;
                }
            })*
        }
    };
    (all $backend:ident) => {
        conformance!($backend:
            records_come_in_order_with_key_headers_and_time,
            keys_choose_the_partition_kafka_chooses,
            a_consumer_resumes_at_the_committed_offset,
            what_was_not_committed_comes_again,
            what_was_committable_is_committed_on_drop,
            groups_do_not_share_offsets,
            lag_counts_from_the_committed_offset,
            concurrent_appends_get_different_offsets,
            large_records_come_back_whole_and_larger_ones_are_refused,
            a_paused_consumer_reads_nothing_until_resumed,
            unknown_topics_and_partitions_are_named,
            a_healthy_log_says_so_and_topics_can_be_ensured_twice,
        );
    };
}

mod backends {
    use super::*;

    pub fn embedded() -> Option<Backend> {
        let directory = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(&directory.path().join("log.db"), &config()).unwrap();
        Some(Backend { log: Arc::new(log), make_topic: Box::new(|_, _| ()), _keep: Box::new(directory) })
    }

    pub fn mock() -> Option<Backend> {
        let cluster = Rc::new(MockCluster::new(1).unwrap());
        let kafka = KafkaConfig {
            brokers: vec![cluster.bootstrap_servers()],
            create_topics: false,
            session_timeout_ms: 6_000,
            ..KafkaConfig::default()
        };
        let log = KafkaLog::new(&kafka, &config()).unwrap();
        let making = Rc::clone(&cluster);
        let make_topic = move |name: &str, count| making.create_topic(name, count, 1).unwrap();
        Some(Backend { log: Arc::new(log), make_topic: Box::new(make_topic), _keep: Box::new(cluster) })
    }

    /// One broker for all tests, each with topics and groups of its own.
    pub fn broker() -> Option<Backend> {
        let broker = match kafka::Kafka::shared() {
            Ok(broker) => broker,
            Err(why) => {
                services::skip("kafka", why);
                return None;
            }
        };
        let kafka = KafkaConfig {
            brokers: vec![broker.brokers().to_owned()],
            session_timeout_ms: 6_000,
            ..KafkaConfig::default()
        };
        let log = namespaced::Namespaced::new(KafkaLog::new(&kafka, &config()).unwrap());
        Some(Backend { log: Arc::new(log), make_topic: Box::new(|_, _| ()), _keep: Box::new(()) })
    }
}

conformance!(all embedded);
conformance!(all mock);
conformance!(all broker);

fn config() -> LogConfig {
    LogConfig { max_record_bytes: MAX_RECORD_BYTES, ..LogConfig::default() }
}

fn open(path: &Path, config: &LogConfig) -> EmbeddedLog {
    EmbeddedLog::open(path, config).unwrap()
}

async fn open_with_documents(directory: &Path, config: &LogConfig, partitions: i32) -> EmbeddedLog {
    let log = open(&directory.join("log.db"), config);
    log.ensure_topics(&[("documents".to_owned(), partitions)]).await.unwrap();
    log
}

fn commit_all(log: &EmbeddedLog, count: usize) {
    tokio::task::block_in_place(|| {
        let mut consumer = log.consumer(GROUP, &["documents".to_owned()]).unwrap();
        let records = read(&mut *consumer, count);
        let nexts: Vec<Position> = records.iter().map(next_of).collect();
        consumer.set_committable(&nexts);
        consumer.commit(true).unwrap();
    });
}

/// Not a test of its own: the process that is killed. Prints each acknowledged offset.
#[test]
fn child_appends_until_killed() {
    let Ok(path) = std::env::var("TIDEMILL_TEST_KILLED_LOG") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let log = Arc::new(open(Path::new(&path), &config()));
        log.ensure_topics(&[("documents".to_owned(), 2)]).await.unwrap();
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let log = Arc::clone(&log);
                tokio::spawn(async move {
                    for number in 0.. {
                        let value = format!("{task}-{number}");
                        let record = new_record("documents", Some(task % 2), value.clone());
                        let position = log.append(vec![record]).await.unwrap().remove(0);
                        let mut out = std::io::stdout().lock();
                        writeln!(out, "acknowledged {} {} {value}", position.partition, position.offset).unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn every_acknowledged_record_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let mut acknowledged: BTreeMap<(i32, i64), String> = BTreeMap::new();
    for round in 1..=3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_appends_until_killed", "--nocapture", "--test-threads=1"])
            .env("TIDEMILL_TEST_KILLED_LOG", &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let before = acknowledged.len();
        let mut note = |line: String| {
            let Some((_, rest)) = line.split_once("acknowledged ") else { return };
            let words: Vec<&str> = rest.split(' ').collect();
            let position = (words[0].parse().unwrap(), words[1].parse().unwrap());
            // A line cut off by the kill has no whole value; its offset was acknowledged all the same.
            assert!(acknowledged.insert(position, words[2].to_owned()).is_none(), "an offset was given twice");
        };
        for line in lines.by_ref().take(150 * round) {
            note(line);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(note);
        assert!(acknowledged.len() > before + 100);
    }
    let log = open(&path, &config());
    let ends: Vec<i64> = log.offsets("documents").iter().map(|(_, next)| *next).collect();
    let mut consumer = log.consumer(GROUP, &["documents".to_owned()]).unwrap();
    let total = usize::try_from(ends.iter().sum::<i64>()).unwrap();
    let kept: BTreeMap<(i32, i64), String> = read(&mut *consumer, total)
        .into_iter()
        .map(|r| ((r.position.partition, r.position.offset), String::from_utf8(r.value.to_vec()).unwrap()))
        .collect();
    for (position, value) in &acknowledged {
        assert_eq!(kept.get(position), Some(value), "acknowledged at {position:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_and_offsets_survive_a_restart_and_the_file_has_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = open_with_documents(directory.path(), &config(), 1).await;
    append(&log, numbered("documents", 0..10)).await;
    commit_all(&log, 10);
    assert!(matches!(EmbeddedLog::open(&path, &config()), Err(OpenError::InUse(_))));
    drop(log);
    let log = open(&path, &config());
    append(&log, numbered("documents", 10..12)).await;
    let mut consumer = log.consumer(GROUP, &["documents".to_owned()]).unwrap();
    let records = tokio::task::block_in_place(|| read(&mut *consumer, 2));
    assert_eq!(values(&records), ["10", "11"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_at_its_limit_refuses_until_the_group_catches_up() {
    let directory = tempfile::tempdir().unwrap();
    let config = LogConfig { max_backlog_records: 10, ..config() };
    let log = open_with_documents(directory.path(), &config, 2).await;
    // Nobody consumes yet, so nothing is behind.
    append(&log, numbered("documents", 0..4)).await;
    drop(log.consumer(GROUP, &["documents".to_owned()]).unwrap());
    append(&log, numbered("documents", 4..10)).await;
    let error = log.append(numbered("documents", 10..11)).await.unwrap_err();
    assert!(matches!(error, LogError::Full(_)) && error.is_retriable(), "{error}");
    commit_all(&log, 10);
    append(&log, numbered("documents", 10..20)).await;
    assert!(matches!(log.append(numbered("documents", 20..21)).await, Err(LogError::Full(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_by_size_never_deletes_what_a_group_has_not_consumed() {
    let directory = tempfile::tempdir().unwrap();
    let config = LogConfig { retention_bytes: 50_000, retention_hours: 0, ..config() };
    let log = open_with_documents(directory.path(), &config, 1).await;
    drop(log.consumer(GROUP, &["documents".to_owned()]).unwrap());
    let records: Vec<_> = (0..1000).map(|_| new_record("documents", Some(0), vec![b'x'; 100])).collect();
    append(&log, records).await;
    log.retain_now().await.unwrap();
    assert_eq!(log.offsets("documents"), [(0, 1000)]);
    tokio::task::block_in_place(|| {
        let mut consumer = log.consumer(GROUP, &["documents".to_owned()]).unwrap();
        let records = read(&mut *consumer, 1000);
        consumer.set_committable(&[next_of(&records[299])]);
        consumer.commit(true).unwrap();
    });
    log.retain_now().await.unwrap();
    assert_eq!(log.offsets("documents"), [(300, 1000)], "all that was consumed goes while the topic is too large");
    commit_all(&log, 700);
    log.retain_now().await.unwrap();
    assert_eq!(log.offsets("documents"), [(500, 1000)], "half of it fits the limit");
    let mut other = log.consumer("another", &["documents".to_owned()]).unwrap();
    let records = tokio::task::block_in_place(|| read(&mut *other, 500));
    assert_eq!(records[0].position.offset, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_by_age_deletes_what_is_old_and_consumed_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let config = LogConfig { retention_bytes: 0, retention_hours: 2, ..config() };
    let log = open_with_documents(directory.path(), &config, 1).await;
    append(&log, numbered("documents", 0..30)).await;
    tokio::task::block_in_place(|| {
        let mut consumer = log.consumer(GROUP, &["documents".to_owned()]).unwrap();
        let records = read(&mut *consumer, 20);
        consumer.set_committable(&[next_of(&records[19])]);
        consumer.commit(true).unwrap();
    });
    log.retain_now().await.unwrap();
    assert_eq!(log.offsets("documents"), [(0, 30)], "all of it is young");
    drop(log);
    let age = |before: i64, hours: i64| {
        let connection = rusqlite::Connection::open(&path).unwrap();
        let sql = "UPDATE records SET appended_ms = appended_ms - ?1 WHERE position % 4294967296 < ?2";
        connection.execute(sql, [hours * 3_600_000, before]).unwrap()
    };
    assert_eq!(age(10, 3), 10);
    let log = open(&path, &config);
    log.retain_now().await.unwrap();
    assert_eq!(log.offsets("documents"), [(10, 30)], "what is younger than the limit stays");
    drop(log);
    assert_eq!(age(30, 3), 20);
    let log = open(&path, &config);
    log.retain_now().await.unwrap();
    assert_eq!(log.offsets("documents"), [(20, 30)], "what is old but not consumed stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_injected_failure_is_retriable_and_passes() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with_documents(directory.path(), &config(), 1).await;
    append(&log, numbered("documents", 0..3)).await;
    let mut consumer = log.consumer(GROUP, &["documents".to_owned()]).unwrap();
    let records = tokio::task::block_in_place(|| read(&mut *consumer, 3));
    log.fail_for(Duration::from_hours(1));
    for error in [
        log.append(numbered("documents", 3..4)).await.unwrap_err(),
        log.check().await.unwrap_err(),
        log.lag(GROUP, &["documents".to_owned()]).await.unwrap_err(),
        consumer.poll(Duration::ZERO).unwrap_err(),
    ] {
        assert!(matches!(error, LogError::Unavailable(_)), "{error}");
    }
    consumer.set_committable(&[next_of(&records[2])]);
    assert!(tokio::task::block_in_place(|| consumer.commit(true)).unwrap_err().is_retriable());
    log.fail_for(Duration::ZERO);
    tokio::task::block_in_place(|| consumer.commit(true)).unwrap();
    assert_eq!(log.lag(GROUP, &["documents".to_owned()]).await.unwrap()[0].records(), 0);
    assert_eq!(append(&log, numbered("documents", 3..4)).await[0].offset, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_consumer_of_the_group_fences_the_older() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with_documents(directory.path(), &config(), 1).await;
    append(&log, numbered("documents", 0..3)).await;
    let topics = ["documents".to_owned()];
    tokio::task::block_in_place(|| {
        let mut older = log.consumer(GROUP, &topics).unwrap();
        let records = read(&mut *older, 3);
        let mut newer = log.consumer(GROUP, &topics).unwrap();
        older.set_committable(&[next_of(&records[2])]);
        assert!(!older.commit(true).unwrap_err().is_retriable());
        assert!(matches!(older.poll(DEADLINE).unwrap()[..], [LogEvent::Revoked { .. }]));
        assert!(!older.poll(DEADLINE).unwrap_err().is_retriable());
        assert_eq!(read(&mut *newer, 3).len(), 3);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_file_is_unavailable_and_nothing_is_half_written() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with_documents(directory.path(), &LogConfig { append_timeout_ms: 300, ..config() }, 1).await;
    let intruder = rusqlite::Connection::open(directory.path().join("log.db")).unwrap();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = log.append(numbered("documents", 0..3)).await.unwrap_err();
    assert!(matches!(error, LogError::Unavailable(_)), "{error}");
    intruder.execute_batch("ROLLBACK").unwrap();
    append(&log, numbered("documents", 3..4)).await;
    let (first, next) = log.offsets("documents")[0];
    let mut consumer = log.consumer(GROUP, &["documents".to_owned()]).unwrap();
    let count = usize::try_from(next - first).unwrap();
    let records = tokio::task::block_in_place(|| read(&mut *consumer, count));
    assert!(records.iter().any(|record| *record.value == *b"3"));
    // The refused append may have been made durable after its deadline, but only whole.
    assert!(count == 1 || count == 4, "{count} records");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbered_batches_are_appended_once_across_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with_documents(directory.path(), &config(), 1).await;
    let producer_id = log.new_producer_id().await.unwrap();
    assert!(log.new_producer_id().await.unwrap() > producer_id);
    let sequence = |first| BatchSequence { producer_id, epoch: 0, first };
    let first = log.append_once(sequence(0), numbered("documents", 0..3)).await.unwrap();
    let position = Position { topic: "documents".into(), partition: 0, offset: 0 };
    assert_eq!(first, SequencedAppend::Appended(position.clone()));
    drop(log);
    let log = open(&directory.path().join("log.db"), &config());
    let again = log.append_once(sequence(0), numbered("documents", 0..3)).await.unwrap();
    assert_eq!(again, SequencedAppend::Duplicate(Some(position)));
    let gap = log.append_once(sequence(4), numbered("documents", 4..5)).await.unwrap();
    assert_eq!(gap, SequencedAppend::OutOfOrder { expected: 3 });
    assert_eq!(log.offsets("documents"), [(0, 3)]);
    assert!(log.new_producer_id().await.unwrap() > producer_id + 1);
}

/// Append throughput; run with `cargo test --release --test log_conformance throughput -- --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throughput_of_concurrent_appenders() {
    let directory = tempfile::tempdir().unwrap();
    let log =
        Arc::new(open_with_documents(directory.path(), &LogConfig { max_backlog_records: 0, ..config() }, 4).await);
    for batch in [1_usize, 50] {
        let rounds = 200;
        let start = Instant::now();
        let tasks: Vec<_> = (0..16)
            .map(|task| {
                let log = Arc::clone(&log);
                tokio::spawn(async move {
                    for _ in 0..rounds {
                        let record = new_record("documents", Some(task % 4), vec![b'x'; 300]);
                        log.append(vec![record; batch]).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let records = 16 * rounds * batch;
        let seconds = start.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
        let rate = records as f64 / seconds;
        println!(
            "16 appenders, {batch} records of 300 B per append: {rate:.0} records/s ({records} in {seconds:.2} s)"
        );
    }
    let appended: i64 = log.offsets("documents").iter().map(|(_, next)| next).sum();
    assert_eq!(appended, 16 * 200 * 51);
}
