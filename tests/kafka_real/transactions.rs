//! Analyses and offsets in one transaction.

use std::time::Duration;

use tidemill::config::kafka::KafkaConfig;
use tidemill::kafka::client::KafkaLog;
use tidemill::kafka::log::{Log, LogConsumer, LogError};
use tidemill::messages::record::{NewRecord, Record};

use crate::client::{Isolation, config, each_once, next_of, numbered, open, read, unique, until, whole};
use crate::kafka::Kafka;

/// Names of one scenario.
struct Names {
    brokers: String,
    documents: String,
    analyses: String,
    group: String,
}

impl Names {
    fn new(broker: &Kafka) -> Self {
        Self {
            brokers: broker.brokers().to_owned(),
            documents: unique("documents"),
            analyses: unique("analyses"),
            group: unique("group"),
        }
    }

    async fn log(&self, transactional_id: &str, change: impl FnOnce(&mut KafkaConfig)) -> KafkaLog {
        let mut settings =
            KafkaConfig { exactly_once: true, transactional_id: transactional_id.to_owned(), ..config(&self.brokers) };
        change(&mut settings);
        open(&settings, &[(self.documents.clone(), 1), (self.analyses.clone(), 1)]).await
    }

    fn consumer(&self, log: &KafkaLog, group: &str) -> Box<dyn LogConsumer> {
        log.consumer(group, std::slice::from_ref(&self.documents)).unwrap()
    }

    /// Keys of the published analyses.
    fn published(&self, isolation: Isolation) -> Vec<String> {
        whole(&self.brokers, &self.analyses, isolation).into_iter().map(|(key, _)| key).collect()
    }

    /// The analysis of a record: as key the record's value.
    fn analysis(&self, record: &Record) -> NewRecord {
        let key = Some(record.value.clone());
        NewRecord { topic: self.analyses.as_str().into(), key, ..numbered("", 0..1).remove(0) }
    }

    fn stage<'a>(&self, log: &KafkaLog, records: impl IntoIterator<Item = &'a Record>, epoch: u64) {
        let outbox = log.outbox().unwrap();
        records.into_iter().for_each(|record| outbox.stage(&record.position, epoch, [self.analysis(record)]));
    }

    async fn committed(&self, log: &KafkaLog) -> i64 {
        log.lag(&self.group, std::slice::from_ref(&self.documents)).await.unwrap()[0].committed
    }
}

fn wanted(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn analyses_appear_with_the_offsets_of_their_records_and_not_before() {
    let names = Names::new(given!(Kafka::shared()));
    let log = names.log(&unique("daemon"), |_| ()).await;
    log.append(numbered(&names.documents, 0..10)).await.unwrap();
    let mut consumer = names.consumer(&log, &names.group);
    let (records, epoch) = tokio::task::block_in_place(|| read(&mut *consumer, 10));
    // 6 has no verdict yet, so what comes after it waits
    names.stage(&log, records.iter().filter(|record| &record.value[..] != b"6"), epoch);
    consumer.set_committable(&[next_of(&records[5])]);
    tokio::task::block_in_place(|| {
        assert_eq!(names.published(Isolation::Uncommitted), Vec::<String>::new());
        consumer.commit(true).unwrap();
        assert_eq!(names.published(Isolation::Committed), wanted(6));
        assert_eq!(consumer.staged().records, 3);
    });
    assert_eq!(names.committed(&log).await, 6);
    names.stage(&log, [&records[6]], epoch);
    consumer.set_committable(&[next_of(&records[9])]);
    tokio::task::block_in_place(|| {
        // the commit on leaving the group is one too
        drop(consumer);
        assert_eq!(names.published(Isolation::Committed), wanted(10));
    });
    assert_eq!(names.committed(&log).await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_analysis_too_large_for_its_topic_is_given_up_and_the_rest_goes_on() {
    let names = Names::new(given!(Kafka::shared()));
    // the topic was made by somebody who let less in
    let maker = KafkaLog::new(
        &config(&names.brokers),
        &tidemill::config::log::LogConfig { max_record_bytes: 1 << 10, ..Default::default() },
    );
    maker.unwrap().ensure_topics(&[(names.analyses.clone(), 1)]).await.unwrap();
    let log = names.log(&unique("daemon"), |_| ()).await;
    log.append(numbered(&names.documents, 0..3)).await.unwrap();
    let mut consumer = names.consumer(&log, &names.group);
    let (records, epoch) = tokio::task::block_in_place(|| read(&mut *consumer, 3));
    names.stage(&log, &records, epoch);
    let noise: Vec<u8> = (0..300_000).map(|_| fastrand::u8(..)).collect();
    let large = NewRecord { value: noise.into(), ..names.analysis(&records[1]) };
    log.outbox().unwrap().stage(&records[1].position, epoch, [large]);
    consumer.set_committable(&[next_of(&records[2])]);
    tokio::task::block_in_place(|| {
        assert!(consumer.commit(true).unwrap_err().is_retriable());
        until("the rest goes on", || consumer.commit(true).is_ok());
        assert_eq!(names.published(Isolation::Committed), ["0", "2"]);
    });
    assert_eq!(names.committed(&log).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_daemon_with_the_same_transactional_id_shuts_the_first_out() {
    let names = Names::new(given!(Kafka::shared()));
    let id = unique("daemon");
    let (first, second) = (names.log(&id, |_| ()).await, names.log(&id, |_| ()).await);
    first.append(numbered(&names.documents, 0..10)).await.unwrap();
    let mut zombie = names.consumer(&first, &names.group);
    tokio::task::block_in_place(|| {
        let (records, epoch) = read(&mut *zombie, 10);
        names.stage(&first, &records[..5], epoch);
        zombie.set_committable(&[next_of(&records[4])]);
        zombie.commit(true).unwrap();
        names.stage(&first, &records[5..], epoch);
        zombie.set_committable(&[next_of(&records[9])]);
        // in another group, so that nothing but the id stands between them
        let mut other = names.consumer(&second, &unique("group"));
        let (records, _) = read(&mut *other, 10);
        other.set_committable(&[next_of(&records[0])]);
        other.commit(true).unwrap();
        let error = zombie.commit(true).unwrap_err();
        assert!(matches!(&error, LogError::Failed(text) if text.contains(&id) && text.contains("shut")), "{error}");
        drop(zombie);
        drop(other);
        assert_eq!(names.published(Isolation::Committed), wanted(5));
        // the records whose transaction was refused come again
        let mut heir = names.consumer(&second, &names.group);
        let (records, epoch) = read(&mut *heir, 5);
        names.stage(&second, &records, epoch);
        heir.set_committable(&[next_of(&records[4])]);
        heir.commit(true).unwrap();
        each_once(&wanted(10), &names.published(Isolation::Committed)).unwrap();
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_thrown_out_for_not_polling_can_not_commit() {
    let names = Names::new(given!(Kafka::shared()));
    let short = |settings: &mut KafkaConfig| {
        (settings.session_timeout_ms, settings.max_poll_interval_ms) = (1_500, 1_500);
    };
    let (first, second) = (names.log(&unique("daemon"), short).await, names.log(&unique("daemon"), short).await);
    first.append(numbered(&names.documents, 0..10)).await.unwrap();
    let mut stalled = names.consumer(&first, &names.group);
    tokio::task::block_in_place(|| {
        let (records, epoch) = read(&mut *stalled, 10);
        names.stage(&first, &records, epoch);
        stalled.set_committable(&[next_of(&records[9])]);
        // it polls no more; the group gives its partition to the other
        let mut heir = names.consumer(&second, &names.group);
        let (records, epoch) = read(&mut *heir, 10);
        let error = stalled.commit(true).unwrap_err();
        assert!(error.is_retriable(), "{error}");
        names.stage(&second, &records, epoch);
        heir.set_committable(&[next_of(&records[9])]);
        heir.commit(true).unwrap();
        // polling again it learns what happened, and what it had staged is gone
        until("the stalled member hears that it lost its partition", || {
            let _ = stalled.poll(Duration::from_millis(50));
            let _ = heir.poll(Duration::from_millis(50));
            stalled.staged().records == 0
        });
        let _ = stalled.commit(true);
        each_once(&wanted(10), &names.published(Isolation::Committed)).unwrap();
    });
}
