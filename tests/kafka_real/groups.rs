//! Several daemons in one group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::TrySendError;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tidemill::config::kafka::{Assignment, KafkaConfig};
use tidemill::config::log::SourceConfig;
use tidemill::kafka::client::KafkaLog;
use tidemill::kafka::log::{Log, LogConsumer, LogEvent, PartitionLag};
use tidemill::kafka::outbox::SharedOutbox;
use tidemill::kafka::source::{Admission, SourceHandle};
use tidemill::messages::delivery::Delivery;
use tidemill::messages::record::NewRecord;

use crate::client::{DEADLINE, Isolation, config, each_once, numbered, open, unique, until, whole};
use crate::kafka::Kafka;

const PARTITIONS: i32 = 6;
const BATCH: usize = 3_000;

/// How often each record was judged, by partition and offset.
type Verdicts = Arc<Mutex<BTreeMap<(i32, i64), usize>>>;

/// One group on one broker.
struct Group {
    settings: KafkaConfig,
    documents: String,
    analyses: String,
    verdicts: Verdicts,
}

/// A daemon: log, source and, in place of the pipeline, a thread that judges.
struct Member {
    log: Arc<KafkaLog>,
    source: SourceHandle,
    seen: Arc<AtomicUsize>,
}

impl Group {
    fn new(broker: &Kafka, assignment: Assignment, exactly_once: bool) -> Self {
        let settings = KafkaConfig { assignment, exactly_once, group: unique("group"), ..config(broker.brokers()) };
        Self { settings, documents: unique("documents"), analyses: unique("analyses"), verdicts: Verdicts::default() }
    }

    async fn log(&self) -> Arc<KafkaLog> {
        let settings = KafkaConfig { transactional_id: unique("daemon"), ..self.settings.clone() };
        let topics = [(self.documents.clone(), PARTITIONS), (self.analyses.clone(), PARTITIONS)];
        Arc::new(open(&settings, &topics).await)
    }

    async fn member(&self) -> Member {
        let log = self.log().await;
        let consumer = log.consumer(&self.settings.group, std::slice::from_ref(&self.documents)).unwrap();
        let settings = SourceConfig { commit_interval_ms: 20, redeliver_after_ms: 5, ..SourceConfig::default() };
        let (mailbox, deliveries) = std::sync::mpsc::sync_channel::<Delivery>(64);
        let seen = Arc::new(AtomicUsize::new(0));
        let judge = Judge {
            outbox: log.outbox(),
            analyses: self.analyses.as_str().into(),
            verdicts: Arc::clone(&self.verdicts),
            seen: Arc::clone(&seen),
        };
        std::thread::spawn(move || judge.run(&deliveries));
        let source = SourceHandle::spawn("source", consumer, settings, move |delivery: Delivery| {
            match mailbox.try_send(delivery) {
                Ok(()) => Admission::Accepted,
                Err(TrySendError::Full(delivery) | TrySendError::Disconnected(delivery)) => Admission::Full(delivery),
            }
        });
        Member { log, source: source.unwrap(), seen }
    }

    fn published(&self) -> Vec<String> {
        whole(&self.settings.brokers[0], &self.analyses, Isolation::Committed).into_iter().map(|(key, _)| key).collect()
    }

    async fn lags(&self, log: &KafkaLog) -> Vec<PartitionLag> {
        log.lag(&self.settings.group, std::slice::from_ref(&self.documents)).await.unwrap()
    }
}

/// Stands for the pipeline: loses every tenth record on its way once, publishes and completes the others.
struct Judge {
    outbox: SharedOutbox,
    analyses: Arc<str>,
    verdicts: Verdicts,
    seen: Arc<AtomicUsize>,
}

impl Judge {
    fn run(&self, deliveries: &std::sync::mpsc::Receiver<Delivery>) {
        let mut dropped = BTreeSet::new();
        for delivery in deliveries {
            let position = delivery.position().clone();
            let key = (position.partition, position.offset);
            if key.1 % 10 == 3 && dropped.insert(key) {
                continue;
            }
            if let Some(outbox) = &self.outbox {
                let id = delivery.record().value.clone();
                let analysis =
                    NewRecord { topic: Arc::clone(&self.analyses), key: Some(id), ..numbered("", 0..1).remove(0) };
                outbox.stage(&position, delivery.epoch(), [analysis]);
            }
            *self.verdicts.lock().entry(key).or_default() += 1;
            delivery.complete();
            self.seen.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Members come and go, in order and by force, while records are read.
async fn members_come_and_go(assignment: Assignment, exactly_once: bool) {
    let broker = given!(Kafka::shared());
    let group = Group::new(broker, assignment, exactly_once);
    let log = group.log().await;
    let started = Instant::now();
    log.append(numbered(&group.documents, 0..BATCH)).await.unwrap();
    let appended = started.elapsed();
    let mut first = group.member().await;
    tokio::task::block_in_place(|| until("the first member reads", || first.seen.load(Ordering::Relaxed) > 100));
    let second = group.member().await;
    log.append(numbered(&group.documents, BATCH..2 * BATCH)).await.unwrap();
    let third = group.member().await;
    tokio::task::block_in_place(|| {
        until("all three have partitions", || {
            let counts = [&first, &second, &third].map(|member| member.source.status().partitions);
            counts.iter().all(|count| *count > 0) && counts.iter().sum::<usize>() == 6
        });
    });
    log.append(numbered(&group.documents, 2 * BATCH..3 * BATCH)).await.unwrap();
    tokio::task::block_in_place(|| until("the third reads", || third.seen.load(Ordering::Relaxed) > 50));
    // one goes in good order, one at once with work in flight
    first.source.drain(DEADLINE);
    assert!(first.source.join().await.unwrap().committed);
    log.append(numbered(&group.documents, 3 * BATCH..4 * BATCH)).await.unwrap();
    second.source.stop();
    drop(second);
    let total = 4 * BATCH;
    tokio::task::block_in_place(|| until("every record has its verdict", || group.verdicts.lock().len() == total));
    let mut last = third.source;
    last.drain(DEADLINE);
    let report = last.join().await.unwrap();
    assert_eq!((report.unfinished, report.committed), (0, true));
    println!(
        "{total} records, {:.1} s; {BATCH} appended in {:.0} ms",
        started.elapsed().as_secs_f64(),
        appended.as_secs_f64() * 1e3
    );

    let lags = group.lags(&third.log).await;
    assert_eq!(lags.iter().map(PartitionLag::records).sum::<i64>(), 0, "{lags:?}");
    assert_eq!(lags.iter().map(|lag| lag.end).sum::<i64>(), i64::try_from(total).unwrap(), "each was produced once");
    if exactly_once {
        let wanted: Vec<String> = (0..total).map(|number| number.to_string()).collect();
        tokio::task::block_in_place(|| each_once(&wanted, &group.published()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cooperative_rebalances_under_load_lose_nothing_and_publish_each_analysis_once() {
    members_come_and_go(Assignment::CooperativeSticky, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eager_rebalances_under_load_lose_nothing() {
    members_come_and_go(Assignment::Range, false).await;
}

/// Polls until it holds of what came. Blocks.
fn poll_until(consumer: &mut dyn LogConsumer, what: &str, mut holds: impl FnMut(&LogEvent) -> bool) {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < DEADLINE, "{what} in time");
        if consumer.poll(Duration::from_millis(50)).unwrap_or_default().iter().any(&mut holds) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_member_that_restarts_in_time_moves_no_partitions() {
    let broker = given!(Kafka::shared());
    let group = Group::new(broker, Assignment::CooperativeSticky, false);
    let topics = [group.documents.clone()];
    let mut members = Vec::new();
    for name in ["daemon-1", "daemon-2"] {
        let settings = KafkaConfig { group_instance_id: name.to_owned(), ..group.settings.clone() };
        members.push(open(&settings, &[(group.documents.clone(), 2)]).await);
    }
    tokio::task::block_in_place(|| {
        let [mut stays, mut goes] =
            [0, 1].map(|index: usize| members[index].consumer(&group.settings.group, &topics).unwrap());
        let (mut left, mut right) = (BTreeSet::new(), BTreeSet::new());
        let note = |mine: &mut BTreeSet<(String, i32)>, events: Vec<LogEvent>| {
            for event in events {
                match event {
                    LogEvent::Assigned { partitions, .. } => mine.extend(partitions),
                    LogEvent::Revoked { partitions } => partitions.iter().for_each(|key| {
                        mine.remove(key);
                    }),
                    LogEvent::Records(_) => {}
                }
            }
        };
        until("each has one", || {
            note(&mut left, stays.poll(Duration::from_millis(20)).unwrap_or_default());
            note(&mut right, goes.poll(Duration::from_millis(20)).unwrap_or_default());
            left.len() == 1 && right.len() == 1
        });
        drop(goes);
        let mut moved = Vec::new();
        for _ in 0..10 {
            moved.extend(stays.poll(Duration::from_millis(50)).unwrap_or_default());
        }
        let mut back = members[1].consumer(&group.settings.group, &topics).unwrap();
        let mut again = BTreeSet::new();
        poll_until(&mut *back, "the same partition comes back", |event| {
            if let LogEvent::Assigned { partitions, .. } = event {
                again.extend(partitions.iter().cloned());
            }
            again == right
        });
        moved.extend(stays.poll(Duration::from_millis(200)).unwrap_or_default());
        // a rebalance that changes nothing for this member is told with an empty assignment
        moved.retain(|event| !matches!(event, LogEvent::Assigned { partitions, .. } if partitions.is_empty()));
        assert!(moved.is_empty(), "{moved:?}");
    });
}
