//! Backups where the log is Kafka: the records stay there, the group is set back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidemill::backup::BackupError;
use tidemill::backup::create::create;
use tidemill::backup::restore::{Options, restore};
use tidemill::backup::target::{Access, Target};
use tidemill::config::Config;
use tidemill::config::backup::BackupConfig;
use tidemill::config::log::LogBackend;
use tidemill::kafka::client::KafkaLog;
use tidemill::kafka::log::{GroupOffset, Log, LogError};
use tidemill::messages::record::Position;
use tidemill::stores::documents::DocumentStore;
use tidemill::stores::sqlite::SqliteStore;

use crate::client::{config, numbered, open, read, unique};
use crate::kafka::Kafka;

fn installation(broker: &Kafka, data: &Path) -> Config {
    let mut own = Config { kafka: config(broker.brokers()), ..Config::default() };
    own.log.backend = LogBackend::Kafka;
    data.clone_into(&mut own.daemon.data_dir);
    own.kafka.group = unique("group");
    own.kafka.topics.documents = unique("documents");
    own.kafka.topics.bars = unique("bars");
    own.kafka.topics.partitions = 1;
    own
}

fn documents(own: &Config) -> Arc<dyn DocumentStore> {
    Arc::new(SqliteStore::open(&own.daemon.data_dir.join(&own.store.sqlite_path), &own.store).unwrap())
}

async fn committed(log: &KafkaLog, own: &Config) -> (i64, i64) {
    let lags = log.lag(&own.kafka.group, std::slice::from_ref(&own.kafka.topics.documents)).await.unwrap();
    (lags[0].committed, lags[0].end)
}

/// Consumes `count` records more and commits that.
fn consume(log: &KafkaLog, own: &Config, count: usize) -> Box<dyn tidemill::kafka::log::LogConsumer> {
    let mut consumer = log.consumer(&own.kafka.group, std::slice::from_ref(&own.kafka.topics.documents)).unwrap();
    let (records, _) = read(&mut *consumer, count);
    let last = records[count - 1].position.clone();
    consumer.set_committable(&[Position { offset: last.offset + 1, ..last }]);
    consumer.commit(true).unwrap();
    consumer
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_sets_the_group_back_once_nobody_is_a_member() {
    let broker = given!(Kafka::shared());
    let (data, fresh, backups) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let own = installation(broker, data.path());
    let log = open(&own.kafka, &own.kafka.topics.inputs()).await;
    log.append(numbered(&own.kafka.topics.documents, 0..10)).await.unwrap();
    drop(tokio::task::block_in_place(|| consume(&log, &own, 4)));
    documents(&own).counts().await.unwrap();
    let target = Target::open(backups.path().to_str().unwrap(), &BackupConfig::default(), Access::Write).unwrap();
    let quietly = |_: f64, _: String| {};
    let manifest = create(&own, &target, &quietly).await.unwrap();
    assert_eq!(manifest.figures.to_replay(), 6);

    let member = tokio::task::block_in_place(|| consume(&log, &own, 3));
    assert_eq!(committed(&log, &own).await, (7, 10));
    let other = Config {
        daemon: tidemill::config::daemon::DaemonConfig { data_dir: fresh.path().to_owned(), ..own.daemon.clone() },
        ..own.clone()
    };
    let error = restore(&other, &target, &manifest.id, Options::default(), &quietly).await.unwrap_err();
    assert!(matches!(&error, BackupError::Setting(said) if said.contains("members")), "{error}");
    assert!(!fresh.path().join("tidemill.sqlite3").exists(), "nothing was put there");
    drop(member);
    // the broker notices at once: the consumer leaves its group when it is dropped
    let mut look = tokio::time::interval(Duration::from_millis(100));
    let done = loop {
        look.tick().await;
        match restore(&other, &target, &manifest.id, Options::default(), &quietly).await {
            Err(BackupError::Setting(said)) if said.contains("members") => {}
            done => break done.unwrap(),
        }
    };
    assert_eq!(done.to_replay, 6);
    assert_eq!(committed(&log, &own).await, (4, 10));
    let mut consumer = log.consumer(&own.kafka.group, std::slice::from_ref(&own.kafka.topics.documents)).unwrap();
    let (again, _) = tokio::task::block_in_place(|| read(&mut *consumer, 6));
    assert_eq!(again[0].position.offset, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_that_lost_records_or_is_another_one_is_refused() {
    let broker = given!(Kafka::shared());
    let (data, fresh, backups) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let own = installation(broker, data.path());
    let log = open(&own.kafka, &own.kafka.topics.inputs()).await;
    log.append(numbered(&own.kafka.topics.documents, 0..5)).await.unwrap();
    drop(tokio::task::block_in_place(|| consume(&log, &own, 5)));
    documents(&own).counts().await.unwrap();
    let target = Target::open(backups.path().to_str().unwrap(), &BackupConfig::default(), Access::Write).unwrap();
    let quietly = |_: f64, _: String| {};
    let manifest = create(&own, &target, &quietly).await.unwrap();
    let mut other = own.clone();
    other.daemon.data_dir = fresh.path().to_owned();
    // the topic was made anew, as after the loss of a cluster
    let renamed = unique("documents");
    let mut foreign = manifest.clone();
    foreign.documents_topic.clone_from(&renamed);
    foreign.offsets = vec![GroupOffset {
        group: own.kafka.group.clone(),
        next: Position { topic: renamed.as_str().into(), partition: 0, offset: 5 },
    }];
    other.kafka.topics.documents.clone_from(&renamed);
    log.ensure_topics(&[(renamed.clone(), 1)]).await.unwrap();
    target.complete(&foreign).await.unwrap();
    let error = restore(&other, &target, &manifest.id, Options::default(), &quietly).await.unwrap_err();
    assert!(matches!(&error, BackupError::Refused(said) if said.contains("ends before offset 5")), "{error}");
    let nowhere = LogError::UnknownTopic("none".to_owned()).to_string();
    assert_eq!(log.ranges(&["none".to_owned()]).await.unwrap_err().to_string(), nowhere);
}
