//! The outbox: analyses whose verdict is durable and that wait, with their signals, to be published together with the
//! offsets of the records they come from, in one transaction.
//!
//! What a record leads to is staged before its delivery is completed. A commit takes, per partition, what is staged below
//! the offset it commits; so what is published and what is committed never differ, and a record that is read again was
//! not published. An analysis whose record stands behind an unfinished one waits with it. The source counts what is
//! staged towards its limits, so the outbox never holds more than was in flight.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::messages::record::{NewRecord, Position};

/// A topic and partition.
pub type Key = (String, i32);

/// How much waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StagedCounts {
    /// Records.
    pub records: usize,
    /// Their keys, values and headers.
    pub bytes: usize,
}

/// One record to publish.
#[derive(Debug, Clone)]
pub struct Staged {
    /// Partition of the record it comes from.
    pub origin: Key,
    /// Offset of the record it comes from.
    pub offset: i64,
    /// Its number among what that record leads to.
    pub part: usize,
    /// What to publish.
    pub record: NewRecord,
}

/// What is staged of one assigned partition.
#[derive(Debug)]
struct Lane {
    /// Of the assignment; what comes under an older one is late and is published by whoever has the partition now.
    epoch: u64,
    /// By offset and part.
    staged: BTreeMap<(i64, usize), NewRecord>,
}

#[derive(Debug, Default)]
struct State {
    lanes: HashMap<Key, Lane>,
    counts: StagedCounts,
}

/// Shared by the publisher, which stages, and the consumer, which commits.
#[derive(Debug, Default)]
pub struct Outbox(Mutex<State>);

impl Outbox {
    /// Stages what is to be published for the record at `origin`, read under `epoch`, in place of what was staged for it.
    /// Dropped if the partition is no longer ours: its new owner reads the record again and publishes it.
    pub fn stage(&self, origin: &Position, epoch: u64, records: impl IntoIterator<Item = NewRecord>) {
        let mut state = self.0.lock();
        let State { lanes, counts } = &mut *state;
        let Some(lane) = lanes.get_mut(&(origin.topic.to_string(), origin.partition)) else { return };
        if lane.epoch != epoch {
            return;
        }
        for (_, earlier) in lane.staged.extract_if((origin.offset, 0)..=(origin.offset, usize::MAX), |_, _| true) {
            counts.records -= 1;
            counts.bytes -= record_bytes(&earlier);
        }
        for (part, record) in records.into_iter().enumerate() {
            counts.records += 1;
            counts.bytes += record_bytes(&record);
            lane.staged.insert((origin.offset, part), record);
        }
    }

    /// The partitions are ours under this epoch.
    pub fn assigned(&self, epoch: u64, partitions: &[Key]) {
        let mut state = self.0.lock();
        for key in partitions {
            state.forget(key);
            state.lanes.insert(key.clone(), Lane { epoch, staged: BTreeMap::new() });
        }
    }

    /// The partitions are gone, and with them what was staged.
    pub fn revoked(&self, partitions: &[Key]) {
        let mut state = self.0.lock();
        partitions.iter().for_each(|key| state.forget(key));
    }

    /// Whether the partition is ours.
    #[must_use]
    pub fn has(&self, partition: &Key) -> bool {
        self.0.lock().lanes.contains_key(partition)
    }

    /// What must be published when these next offsets are committed, in the order of its records.
    #[must_use]
    pub fn due(&self, next_offsets: &[(Key, i64)]) -> Vec<Staged> {
        let state = self.0.lock();
        let mut due = Vec::new();
        for (key, next) in next_offsets {
            let Some(lane) = state.lanes.get(key) else { continue };
            let before = lane.staged.range(..(*next, 0));
            due.extend(before.map(|((offset, part), record)| Staged {
                origin: key.clone(),
                offset: *offset,
                part: *part,
                record: record.clone(),
            }));
        }
        due
    }

    /// These are published, or given up.
    pub fn remove(&self, published: &[Staged]) {
        let mut state = self.0.lock();
        let State { lanes, counts } = &mut *state;
        for Staged { origin, offset, part, .. } in published {
            if let Some(record) = lanes.get_mut(origin).and_then(|lane| lane.staged.remove(&(*offset, *part))) {
                counts.records -= 1;
                counts.bytes -= record_bytes(&record);
            }
        }
    }

    /// How much waits.
    #[must_use]
    pub fn counts(&self) -> StagedCounts {
        self.0.lock().counts
    }
}

impl State {
    fn forget(&mut self, key: &Key) {
        let Some(lane) = self.lanes.remove(key) else { return };
        self.counts.records -= lane.staged.len();
        self.counts.bytes -= lane.staged.values().map(record_bytes).sum::<usize>();
    }
}

/// Key, value and headers.
#[must_use]
pub fn record_bytes(record: &NewRecord) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    record.key.as_ref().map_or(0, bytes::Bytes::len) + record.value.len() + headers
}

/// The outbox of a log, if it has one.
pub type SharedOutbox = Option<Arc<Outbox>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: &'static str) -> NewRecord {
        NewRecord {
            topic: "analyses".into(),
            partition: None,
            timestamp_ms: None,
            key: None,
            value: value.into(),
            headers: Vec::new(),
        }
    }

    fn at(offset: i64) -> Position {
        Position { topic: "documents".into(), partition: 0, offset }
    }

    fn key() -> Key {
        ("documents".to_owned(), 0)
    }

    #[test]
    fn only_what_lies_below_the_committed_offset_is_due_and_in_order() {
        let outbox = Outbox::default();
        outbox.assigned(1, &[key()]);
        for offset in [7, 5, 6, 9] {
            outbox.stage(&at(offset), 1, [record("x")]);
        }
        let due = outbox.due(&[(key(), 7)]);
        assert_eq!(due.iter().map(|staged| staged.offset).collect::<Vec<_>>(), [5, 6]);
        outbox.remove(&due);
        assert_eq!(outbox.counts(), StagedCounts { records: 2, bytes: 2 });
        assert_eq!(outbox.due(&[(key(), 10)]).len(), 2);
    }

    #[test]
    fn what_one_record_leads_to_goes_together() {
        let outbox = Outbox::default();
        outbox.assigned(1, &[key()]);
        outbox.stage(&at(4), 1, [record("analysis"), record("signal"), record("signal")]);
        outbox.stage(&at(4), 1, [record("analysis"), record("signal")]);
        outbox.stage(&at(5), 1, [record("analysis")]);
        assert_eq!(outbox.counts(), StagedCounts { records: 3, bytes: 22 });
        let due = outbox.due(&[(key(), 5)]);
        assert_eq!(due.iter().map(|staged| (staged.offset, staged.part)).collect::<Vec<_>>(), [(4, 0), (4, 1)]);
        outbox.remove(&due[..1]);
        assert_eq!(outbox.counts(), StagedCounts { records: 2, bytes: 14 });
        assert_eq!(outbox.due(&[(key(), 6)]).len(), 2);
    }

    #[test]
    fn late_work_of_an_earlier_assignment_is_not_published() {
        let outbox = Outbox::default();
        outbox.stage(&at(1), 1, [record("nobody's")]);
        outbox.assigned(1, &[key()]);
        outbox.stage(&at(1), 1, [record("first")]);
        outbox.revoked(&[key()]);
        outbox.stage(&at(2), 1, [record("late")]);
        outbox.assigned(2, &[key()]);
        outbox.stage(&at(3), 1, [record("later still")]);
        assert_eq!(outbox.counts(), StagedCounts::default());
        outbox.stage(&at(1), 2, [record("again")]);
        outbox.stage(&at(1), 2, [record("twice")]);
        assert_eq!(outbox.counts(), StagedCounts { records: 1, bytes: 5 });
    }
}
