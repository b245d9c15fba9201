//! Topics and lag.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use tidemill::config::kafka::KafkaConfig;
use tidemill::config::log::LogConfig;
use tidemill::kafka::client::KafkaLog;
use tidemill::kafka::log::{Log, LogError, PartitionLag};
use tidemill::messages::record::NewRecord;

use crate::client::{DEADLINE, config, next_of, numbered, open, read, unique, until};
use crate::kafka::Kafka;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_created_with_the_partitions_replicas_and_record_size_of_the_settings() {
    let broker = given!(Kafka::shared());
    let (topic, group) = (unique("documents"), unique("group"));
    let log = open(&config(broker.brokers()), &[(topic.clone(), 5)]).await;
    let topics = [topic.clone()];
    assert_eq!(log.lag(&group, &topics).await.unwrap().len(), 5);
    // a record larger than the brokers' default of 1 MiB, and not to be compressed
    let value: Vec<u8> = (0..3 << 20).map(|_| fastrand::u8(..)).collect();
    let large = NewRecord { value: value.clone().into(), ..numbered(&topic, 0..1).remove(0) };
    log.append(vec![large]).await.unwrap();
    let mut consumer = log.consumer(&group, &topics).unwrap();
    let (records, _) = tokio::task::block_in_place(|| read(&mut *consumer, 1));
    assert!(records[0].value == value);
}

#[tokio::test]
async fn more_replicas_than_brokers_are_refused_with_the_topics_name() {
    let broker = given!(Kafka::shared());
    let topic = unique("documents");
    let settings = KafkaConfig { replication: 3, ..config(broker.brokers()) };
    let log = KafkaLog::new(&settings, &LogConfig::default()).unwrap();
    let error = log.ensure_topics(&[(topic.clone(), 1)]).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, LogError::Failed(_)) && text.contains(&topic) && text.contains("3 replicas"), "{text}");
}

#[tokio::test]
async fn a_missing_topic_that_may_not_be_created_is_named() {
    let broker = given!(Kafka::shared());
    let topic = unique("documents");
    let settings = KafkaConfig { create_topics: false, ..config(broker.brokers()) };
    let log = KafkaLog::new(&settings, &LogConfig::default()).unwrap();
    let error = log.ensure_topics(&[(topic.clone(), 1)]).await.unwrap_err();
    assert!(matches!(&error, LogError::UnknownTopic(name) if *name == topic), "{error}");
}

fn total(lags: &[PartitionLag]) -> i64 {
    lags.iter().map(PartitionLag::records).sum()
}

/// Markers of transactions and aborted records take offsets and are never handed out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_ended_transactions_do_not_count_as_lag_for_ever() {
    let broker = given!(Kafka::shared());
    let (topic, group) = (unique("documents"), unique("group"));
    let log = open(&config(broker.brokers()), &[(topic.clone(), 1)]).await;
    let topics = [topic.clone()];
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", broker.brokers())
        .set("transactional.id", unique("producer"))
        .create()
        .unwrap();
    tokio::task::block_in_place(|| {
        producer.init_transactions(DEADLINE).unwrap();
        for commits in [true, false] {
            producer.begin_transaction().unwrap();
            for number in 0..3 {
                let value = format!("{commits} {number}");
                producer.send(BaseRecord::<str, str>::to(&topic).payload(&value)).map_err(|(error, _)| error).unwrap();
            }
            // aborted records must be in the log, or there is nothing to skip
            producer.flush(DEADLINE).unwrap();
            if commits { producer.commit_transaction(DEADLINE) } else { producer.abort_transaction(DEADLINE) }.unwrap();
        }
    });
    // three records, a marker, three records that never were, a marker
    let before = log.lag(&group, &topics).await.unwrap();
    assert_eq!((before[0].committed, before[0].end), (0, 8));
    let mut consumer = log.consumer(&group, &topics).unwrap();
    tokio::task::block_in_place(|| {
        let (records, _) = read(&mut *consumer, 3);
        assert_eq!(&records[2].value[..], b"true 2");
        consumer.set_committable(&[next_of(&records[1])]);
        until("the consumer stays where a record has no verdict", || {
            consumer.poll(Duration::from_millis(300)).unwrap();
            consumer.commit(true).unwrap();
            consumer.lag().first().is_some_and(|lag| lag.committed == 2)
        });
        consumer.set_committable(&[next_of(&records[2])]);
        until("nothing is behind", || {
            consumer.poll(Duration::from_millis(100)).unwrap();
            consumer.commit(true).unwrap();
            consumer.lag().first().is_some_and(|lag| lag.records() == 0)
        });
    });
    assert_eq!(total(&log.lag(&group, &topics).await.unwrap()), 0);
    log.append(numbered(&topic, 0..2)).await.unwrap();
    assert_eq!(total(&log.lag(&group, &topics).await.unwrap()), 2);
}
