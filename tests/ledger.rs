//! The offset ledger against a naive model, and its promises by name.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use tidemill::kafka::ledger::{LedgerCounts, OffsetLedger, record_bytes};
use tidemill::messages::delivery::{Delivery, Ledger};
use tidemill::messages::record::{Position, Record};

fn record(partition: i32, offset: i64) -> Record {
    Record {
        position: Position { topic: Arc::from("documents"), partition, offset },
        timestamp_ms: 0,
        key: None,
        value: Bytes::from(vec![b'x'; usize::try_from(offset % 7).unwrap() + 1]),
        headers: Vec::new(),
    }
}

fn partition(number: i32) -> (String, i32) {
    ("documents".to_owned(), number)
}

fn committable(ledger: &OffsetLedger) -> BTreeMap<i32, i64> {
    ledger.committable().into_iter().map(|position| (position.partition, position.offset)).collect()
}

#[test]
fn a_later_success_never_skips_an_earlier_record() {
    let ledger = OffsetLedger::new();
    ledger.assigned(1, &[partition(0)]);
    for offset in 5..9 {
        assert!(ledger.register(&record(0, offset), 1));
    }
    ledger.completed(&record(0, 6).position, 1);
    ledger.completed(&record(0, 8).position, 1);
    assert_eq!(committable(&ledger), BTreeMap::new());
    ledger.completed(&record(0, 5).position, 1);
    assert_eq!(committable(&ledger), BTreeMap::from([(0, 7)]));
    ledger.completed(&record(0, 7).position, 1);
    assert_eq!(committable(&ledger), BTreeMap::from([(0, 9)]));
    assert_eq!(ledger.counts(), LedgerCounts::default());
}

#[test]
fn records_of_one_poll_are_registered_under_their_partitions_epochs() {
    let ledger = OffsetLedger::new();
    ledger.assigned(1, &[partition(0)]);
    ledger.assigned(2, &[partition(1)]);
    let polled = [record(0, 5), record(1, 5), record(2, 5), record(0, 5), record(0, 6)];
    assert_eq!(ledger.register_all(&polled), [Some(1), Some(2), None, None, Some(1)]);
    assert_eq!(ledger.counts().in_flight, 3);
}

#[test]
fn offsets_with_gaps_commit_after_the_last_record_done() {
    let ledger = OffsetLedger::new();
    ledger.assigned(1, &[partition(0)]);
    for offset in [3, 10, 11] {
        assert!(ledger.register(&record(0, offset), 1));
    }
    ledger.completed(&record(0, 3).position, 1);
    assert_eq!(committable(&ledger), BTreeMap::from([(0, 4)]));
    ledger.completed(&record(0, 10).position, 1);
    assert_eq!(committable(&ledger), BTreeMap::from([(0, 11)]));
}

#[test]
fn a_delivery_dropped_without_a_verdict_waits_for_redelivery() {
    let ledger = OffsetLedger::new();
    ledger.assigned(1, &[partition(0)]);
    assert!(ledger.register(&record(0, 0), 1));
    drop(Delivery::new(record(0, 0), 1, Arc::clone(&ledger) as Arc<dyn Ledger>));
    assert_eq!(ledger.counts().returned, 1);
    let returned = ledger.take_returned();
    assert_eq!(returned, vec![(record(0, 0), 1)]);
    assert_eq!(ledger.counts().in_flight, 1);
    Delivery::new(record(0, 0), 1, Arc::clone(&ledger) as Arc<dyn Ledger>).complete();
    assert_eq!(committable(&ledger), BTreeMap::from([(0, 1)]));
    assert_eq!(ledger.counts(), LedgerCounts::default());
}

#[test]
fn reports_of_an_older_assignment_change_nothing() {
    let ledger = OffsetLedger::new();
    ledger.assigned(1, &[partition(0)]);
    assert!(ledger.register(&record(0, 0), 1));
    assert!(ledger.register(&record(0, 1), 1));
    ledger.revoked(&[partition(0)]);
    assert!(!ledger.is_current(&record(0, 0).position, 1));
    assert!(!ledger.register(&record(0, 2), 1));
    assert_eq!(ledger.counts().late, 2);
    ledger.assigned(2, &[partition(0)]);
    assert!(ledger.register(&record(0, 0), 2));
    ledger.completed(&record(0, 0).position, 1);
    ledger.returned(record(0, 1), 1);
    assert_eq!(committable(&ledger), BTreeMap::new());
    assert_eq!(ledger.take_returned(), vec![]);
    let counts = ledger.counts();
    assert_eq!((counts.in_flight, counts.late, counts.bytes), (1, 0, record_bytes(&record(0, 0))));
}

#[test]
fn a_record_is_handed_out_once_per_assignment() {
    let ledger = OffsetLedger::new();
    ledger.assigned(1, &[partition(0)]);
    assert!(ledger.register(&record(0, 4), 1));
    assert!(!ledger.register(&record(0, 4), 1));
    assert!(!ledger.register(&record(0, 3), 1));
    ledger.completed(&record(0, 4).position, 1);
    assert!(!ledger.register(&record(0, 4), 1));
    assert!(ledger.register(&record(0, 5), 1));
}

#[derive(Debug, Clone)]
enum Step {
    Register { partition: i32, skip: i64 },
    Complete { pick: usize },
    Return { pick: usize },
    Redeliver,
    Revoke { partition: i32 },
    Assign { partition: i32 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3, 0..3_i64).prop_map(|(partition, skip)| Step::Register { partition, skip }),
        6 => any::<usize>().prop_map(|pick| Step::Complete { pick }),
        2 => any::<usize>().prop_map(|pick| Step::Return { pick }),
        2 => Just(Step::Redeliver),
        1 => (0..3).prop_map(|partition| Step::Revoke { partition }),
        1 => (0..3).prop_map(|partition| Step::Assign { partition }),
    ]
}

/// The model: plain sets.
#[derive(Default)]
struct Model {
    /// Epoch, all offsets registered, all offsets done, by partition.
    partitions: BTreeMap<i32, (u64, BTreeSet<i64>, BTreeSet<i64>)>,
    /// Next offset the log would give, by partition.
    ends: BTreeMap<i32, i64>,
    /// Deliveries out in the pipeline.
    out: Vec<(i32, i64, u64)>,
    returned: Vec<(i32, i64, u64)>,
    epoch: u64,
}

impl Model {
    fn current(&self, (partition, _, epoch): (i32, i64, u64)) -> bool {
        self.partitions.get(&partition).is_some_and(|(current, ..)| *current == epoch)
    }

    fn committable(&self) -> BTreeMap<i32, i64> {
        let prefix = |(number, (_, registered, done)): (&i32, &(u64, BTreeSet<i64>, BTreeSet<i64>))| {
            let last = registered.iter().take_while(|offset| done.contains(offset)).last()?;
            Some((*number, last + 1))
        };
        self.partitions.iter().filter_map(prefix).collect()
    }

    fn in_flight(&self) -> usize {
        self.partitions.values().map(|(_, registered, done)| registered.difference(done).count()).sum()
    }

    fn assign(&mut self, partition: i32, ledger: &OffsetLedger) {
        self.epoch += 1;
        self.returned.retain(|(number, ..)| *number != partition);
        // A new assignment starts at what was committed, so offsets come again.
        let committed = self.committable().get(&partition).copied().unwrap_or(0);
        self.ends.insert(partition, committed);
        self.partitions.insert(partition, (self.epoch, BTreeSet::new(), BTreeSet::new()));
        ledger.assigned(self.epoch, &[("documents".to_owned(), partition)]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_naive_model(steps in proptest::collection::vec(step(), 1..200)) {
        let ledger = OffsetLedger::new();
        let mut model = Model::default();
        let mut version = 0;
        for step in steps {
            let before = committable(&ledger);
            match step {
                Step::Register { partition, skip } => {
                    let offset = model.ends.get(&partition).copied().unwrap_or(0) + skip;
                    let epoch = model.partitions.get(&partition).map(|(epoch, ..)| *epoch);
                    let accepted = ledger.register(&record(partition, offset), epoch.unwrap_or(0));
                    prop_assert_eq!(accepted, epoch.is_some());
                    if let Some(epoch) = epoch {
                        model.ends.insert(partition, offset + 1);
                        model.partitions.get_mut(&partition).unwrap().1.insert(offset);
                        model.out.push((partition, offset, epoch));
                    }
                }
                Step::Complete { pick } if !model.out.is_empty() => {
                    let index = pick % model.out.len();
                    let delivery = model.out.swap_remove(index);
                    let (partition, offset, epoch) = delivery;
                    ledger.completed(&record(partition, offset).position, epoch);
                    if model.current(delivery) {
                        model.partitions.get_mut(&partition).unwrap().2.insert(offset);
                    }
                }
                Step::Return { pick } if !model.out.is_empty() => {
                    let index = pick % model.out.len();
                    let delivery = model.out.swap_remove(index);
                    ledger.returned(record(delivery.0, delivery.1), delivery.2);
                    if model.current(delivery) {
                        model.returned.push(delivery);
                    }
                }
                Step::Redeliver => {
                    let taken: Vec<_> = ledger.take_returned();
                    let taken: Vec<_> = taken.into_iter().map(|(r, epoch)| (r.position.partition, r.position.offset, epoch)).collect();
                    prop_assert_eq!(&taken, &model.returned);
                    model.returned.clear();
                    model.out.extend(taken);
                }
                Step::Revoke { partition } => {
                    model.partitions.remove(&partition);
                    model.returned.retain(|(number, ..)| *number != partition);
                    ledger.revoked(&[("documents".to_owned(), partition)]);
                }
                Step::Assign { partition } => model.assign(partition, &ledger),
                Step::Complete { .. } | Step::Return { .. } => {}
            }
            let now = committable(&ledger);
            prop_assert_eq!(&now, &model.committable());
            for (number, offset) in &now {
                if model.partitions.contains_key(number) && before.get(number).is_some_and(|earlier| earlier < offset) {
                    prop_assert!(ledger.version() > version, "a moved offset is told by the version");
                }
            }
            version = ledger.version();
            let counts = ledger.counts();
            prop_assert_eq!(counts.in_flight, model.in_flight());
            prop_assert_eq!(counts.returned, model.returned.len());
            let late = model.out.iter().filter(|delivery| !model.current(**delivery)).count();
            prop_assert_eq!(counts.late, late);
            let held = model.out.iter().chain(&model.returned);
            let bytes: usize = held.map(|(partition, offset, _)| record_bytes(&record(*partition, *offset))).sum();
            prop_assert_eq!(counts.bytes, bytes);
        }
    }
}
