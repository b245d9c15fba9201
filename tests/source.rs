//! The source on the embedded log: nothing blocks it, nothing is lost, nothing is committed early.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tidemill::config::log::{LogConfig, SourceConfig};
use tidemill::kafka::embedded::EmbeddedLog;
use tidemill::kafka::log::{Log, PartitionLag};
use tidemill::kafka::source::{Admission, SourceError, SourceHandle};
use tidemill::messages::delivery::Delivery;
use tidemill::messages::record::NewRecord;

const DEADLINE: Duration = Duration::from_secs(30);
const GROUP: &str = "tidemill";

struct Rig {
    log: EmbeddedLog,
    topics: [String; 1],
    _directory: tempfile::TempDir,
}

async fn rig(records: usize) -> Rig {
    let directory = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(&directory.path().join("log.db"), &LogConfig::default()).unwrap();
    log.ensure_topics(&[("documents".to_owned(), 3)]).await.unwrap();
    let rig = Rig { log, topics: ["documents".to_owned()], _directory: directory };
    rig.append(records).await;
    rig
}

impl Rig {
    async fn append(&self, records: usize) {
        let record = |number: usize| NewRecord {
            topic: "documents".into(),
            partition: Some(i32::try_from(number % 3).unwrap()),
            timestamp_ms: None,
            key: None,
            value: number.to_string().into(),
            headers: Vec::new(),
        };
        self.log.append((0..records).map(record).collect()).await.unwrap();
    }

    /// A source into a mailbox of this capacity.
    fn start(&self, settings: SourceConfig, capacity: usize) -> (SourceHandle, Receiver<Delivery>) {
        let (mailbox, deliveries) = sync_channel(capacity);
        (self.start_into(settings, mailbox), deliveries)
    }

    fn start_into(&self, settings: SourceConfig, mailbox: SyncSender<Delivery>) -> SourceHandle {
        let consumer = self.log.consumer(GROUP, &self.topics).unwrap();
        SourceHandle::spawn("source", consumer, settings, move |delivery: Delivery| match mailbox.try_send(delivery) {
            Ok(()) => Admission::Accepted,
            Err(TrySendError::Full(delivery) | TrySendError::Disconnected(delivery)) => Admission::Full(delivery),
        })
        .unwrap()
    }

    async fn lag(&self) -> i64 {
        self.log.lag(GROUP, &self.topics).await.unwrap().iter().map(PartitionLag::records).sum()
    }
}

fn settings() -> SourceConfig {
    SourceConfig { commit_interval_ms: 10, redeliver_after_ms: 1, pause_after_ms: 20, ..SourceConfig::default() }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "{what} in time");
        std::thread::yield_now();
    }
}

fn offsets(deliveries: &[Delivery]) -> Vec<(i32, i64)> {
    deliveries.iter().map(|delivery| (delivery.position().partition, delivery.position().offset)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_with_a_verdict_is_committed_when_drained() {
    let rig = rig(900).await;
    let (mut source, deliveries) = rig.start(settings(), 8);
    let worker = std::thread::spawn(move || {
        let mut last = BTreeMap::new();
        for _ in 0..900 {
            let delivery = deliveries.recv_timeout(DEADLINE).unwrap();
            let position = delivery.position();
            let earlier = last.insert(position.partition, position.offset);
            assert!(earlier.is_none_or(|earlier| earlier < position.offset), "order within a partition");
            delivery.complete();
        }
    });
    worker.join().unwrap();
    source.drain(DEADLINE);
    let report = source.join().await.unwrap();
    assert_eq!((report.read, report.accepted, report.unfinished, report.committed), (900, 900, 0, true));
    assert_eq!(rig.lag().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_without_a_verdict_holds_its_partition_back() {
    let rig = rig(30).await;
    let (mut source, deliveries) = rig.start(settings(), 30);
    let all: Vec<Delivery> = (0..30).map(|_| deliveries.recv_timeout(DEADLINE).unwrap()).collect();
    for delivery in all.iter().filter(|delivery| (delivery.position().partition, delivery.position().offset) != (1, 4))
    {
        delivery.complete();
    }
    source.stop();
    let report = source.join().await.unwrap();
    assert_eq!(report.unfinished, 1);
    // Partition 1 may only be committed up to its offset 4; the other two are done.
    assert_eq!(rig.lag().await, 6);
    drop(all);
    let (mut source, deliveries) = rig.start(settings(), 30);
    let again: Vec<Delivery> = (0..6).map(|_| deliveries.recv_timeout(DEADLINE).unwrap()).collect();
    assert_eq!(offsets(&again), (4..10).map(|offset| (1, offset)).collect::<Vec<_>>());
    again.iter().for_each(Delivery::complete);
    source.drain(DEADLINE);
    source.join().await.unwrap();
    assert_eq!(rig.lag().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_delivery_comes_again() {
    let rig = rig(3).await;
    let (mut source, deliveries) = rig.start(settings(), 8);
    for _ in 0..5 {
        let three: Vec<Delivery> = (0..3).map(|_| deliveries.recv_timeout(DEADLINE).unwrap()).collect();
        drop(three);
    }
    (0..3).for_each(|_| deliveries.recv_timeout(DEADLINE).unwrap().complete());
    source.drain(DEADLINE);
    let report = source.join().await.unwrap();
    assert_eq!((report.read, report.redelivered, report.unfinished), (3, 15, 0));
    assert_eq!(rig.lag().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_mailbox_pauses_only_after_a_while_and_acceptance_resumes() {
    let rig = rig(300).await;
    let (mut source, deliveries) = rig.start(settings(), 1);
    until("paused", || source.status().paused);
    let status = source.status();
    assert_eq!((status.partitions, status.in_flight, status.held), (3, 300, 299));
    // It goes on polling while paused.
    until("polled", || source.status().since_poll_ms == 0);
    deliveries.recv_timeout(DEADLINE).unwrap().complete();
    until("resumed", || !source.status().paused);
    (1..300).for_each(|_| deliveries.recv_timeout(DEADLINE).unwrap().complete());
    source.drain(DEADLINE);
    assert!(source.join().await.unwrap().pauses >= 1);
    assert_eq!(rig.lag().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_jam_does_not_pause() {
    let rig = rig(10).await;
    let (mut source, deliveries) = rig.start(SourceConfig { pause_after_ms: 60_000, ..settings() }, 1);
    until("held", || source.status().held == 9);
    (0..10).for_each(|_| deliveries.recv_timeout(DEADLINE).unwrap().complete());
    source.drain(DEADLINE);
    assert_eq!(source.join().await.unwrap().pauses, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_a_verdict_are_bounded() {
    let (limit, fetch) = (100, LogConfig::default().fetch_records);
    let rig = rig(20_000).await;
    let (mut source, deliveries) = rig.start(SourceConfig { max_in_flight: limit, ..settings() }, 100_000);
    let mut most = 0;
    for _ in 0..20_000 {
        let delivery = deliveries.recv_timeout(DEADLINE).unwrap();
        most = most.max(source.ledger().counts().in_flight);
        delivery.complete();
    }
    assert!(most <= limit + fetch, "{most} in flight");
    source.drain(DEADLINE);
    let report = source.join().await.unwrap();
    assert_eq!(report.read, 20_000);
    assert!(report.pauses > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_away_is_waited_for() {
    let rig = rig(10).await;
    let (mut source, deliveries) = rig.start(settings(), 100);
    (0..10).for_each(|_| deliveries.recv_timeout(DEADLINE).unwrap().complete());
    rig.log.fail_for(Duration::from_millis(300));
    while rig.log.check().await.is_err() {
        tokio::task::yield_now().await;
    }
    rig.append(5).await;
    (0..5).for_each(|_| deliveries.recv_timeout(DEADLINE).unwrap().complete());
    source.drain(DEADLINE);
    assert!(source.join().await.unwrap().committed);
    assert_eq!(rig.lag().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_waits_for_verdicts_but_not_for_ever() {
    let rig = rig(2).await;
    let (mut source, deliveries) = rig.start(settings(), 8);
    let both = [deliveries.recv_timeout(DEADLINE).unwrap(), deliveries.recv_timeout(DEADLINE).unwrap()];
    source.drain(Duration::from_millis(100));
    let report = source.join().await.unwrap();
    assert_eq!(report.unfinished, 2);
    drop(both);
    let (mut source, deliveries) = rig.start(settings(), 8);
    let both = [deliveries.recv_timeout(DEADLINE).unwrap(), deliveries.recv_timeout(DEADLINE).unwrap()];
    source.drain(DEADLINE);
    both.iter().for_each(Delivery::complete);
    assert_eq!(source.join().await.unwrap().unfinished, 0);
    assert_eq!(rig.lag().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_reported_and_the_next_source_reads_on() {
    let rig = rig(3).await;
    let consumer = rig.log.consumer(GROUP, &rig.topics).unwrap();
    let mut source = SourceHandle::spawn("source", consumer, settings(), |_: Delivery| -> Admission {
        panic!("the first actor is broken")
    })
    .unwrap();
    match source.join().await {
        Err(SourceError::Panicked(text)) => assert_eq!(text, "the first actor is broken"),
        other => panic!("{other:?}"),
    }
    let (mut source, deliveries) = rig.start(settings(), 8);
    (0..3).for_each(|_| deliveries.recv_timeout(DEADLINE).unwrap().complete());
    source.drain(DEADLINE);
    source.join().await.unwrap();
    assert_eq!(rig.lag().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_source_ends_the_older_and_late_reports_change_nothing() {
    let rig = rig(6).await;
    let (mut older, from_older) = rig.start(settings(), 8);
    let late: Vec<Delivery> = (0..6).map(|_| from_older.recv_timeout(DEADLINE).unwrap()).collect();
    let (mut newer, from_newer) = rig.start(settings(), 8);
    assert!(matches!(older.join().await, Err(SourceError::Log(_))));
    late.iter().for_each(Delivery::complete);
    assert_eq!(rig.lag().await, 6);
    (0..6).for_each(|_| from_newer.recv_timeout(DEADLINE).unwrap().complete());
    newer.drain(DEADLINE);
    newer.join().await.unwrap();
    assert_eq!(rig.lag().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_change_while_it_runs() {
    let rig = rig(100).await;
    let seen = Arc::new(Mutex::new(0));
    let counting = Arc::clone(&seen);
    let consumer = rig.log.consumer(GROUP, &rig.topics).unwrap();
    let mut source = SourceHandle::spawn("source", consumer, settings(), move |delivery: Delivery| {
        *counting.lock() += 1;
        delivery.complete();
        Admission::Accepted
    })
    .unwrap();
    source.reconfigure(SourceConfig { commit_interval_ms: 20, ..settings() });
    until("all handed over", || *seen.lock() == 100);
    source.drain(DEADLINE);
    assert_eq!(source.join().await.unwrap().accepted, 100);
}
