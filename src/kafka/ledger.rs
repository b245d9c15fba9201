//! The offset ledger: which records have their verdict, and how far each partition may be committed.
//!
//! Per partition it keeps the offsets handed out, in order; an offset may be committed when it and all before it are
//! done. So a failed or slow record can never be skipped by a later success. Each assignment of a partition has an
//! epoch: what is reported under an older one is late and changes nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::messages::delivery::Ledger;
use crate::messages::record::{Position, Record};

/// The offset to continue at after `offset` is done. Kafka commits the next offset to read, not the last one done;
/// this is the only place where one becomes the other.
#[must_use]
pub fn next_offset(offset: i64) -> i64 {
    offset + 1
}

/// A record handed out.
#[derive(Debug)]
struct Entry {
    offset: i64,
    /// Key, value and headers.
    bytes: usize,
    done: bool,
}

/// One assigned partition.
#[derive(Debug)]
struct Partition {
    epoch: u64,
    /// Handed out and not yet behind the committable offset; ascending, the first one is never done.
    entries: VecDeque<Entry>,
    /// Next offset to read once everything before is done; `None` until the first record is done.
    committable: Option<i64>,
}

impl Partition {
    /// Index of the entry of this offset that has no verdict yet.
    fn pending(&self, offset: i64) -> Option<usize> {
        let index = self.entries.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
        (!self.entries[index].done).then_some(index)
    }
}

/// Totals, for bounds and status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LedgerCounts {
    /// Records of current assignments without a verdict, those that wait for redelivery included.
    pub in_flight: usize,
    /// Of these, the records that came back and wait for redelivery.
    pub returned: usize,
    /// Records of older assignments that somebody still holds.
    pub late: usize,
    /// Bytes of `in_flight` and `late`.
    pub bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    partitions: HashMap<Arc<str>, HashMap<i32, Partition>>,
    /// Came back without a verdict. Bounded: each is one of the in-flight records, and those are bounded by the source.
    returned: VecDeque<(Record, u64)>,
    /// Sizes of the records of older assignments that somebody still holds, by partition and epoch, then offset.
    late: HashMap<(Arc<str>, i32, u64), HashMap<i64, usize>>,
    counts: LedgerCounts,
    /// Grows whenever a committable offset moves.
    version: u64,
}

impl State {
    fn partition(&mut self, position: &Position, epoch: u64) -> Option<&mut Partition> {
        let partition = self.partitions.get_mut(&position.topic)?.get_mut(&position.partition)?;
        (partition.epoch == epoch).then_some(partition)
    }

    /// See [`OffsetLedger::register`]; without an epoch under the current one, which is the answer.
    fn register(&mut self, record: &Record, epoch: Option<u64>) -> Option<u64> {
        let (position, bytes) = (&record.position, record_bytes(record));
        let offset = position.offset;
        let partition = self.partitions.get_mut(&position.topic)?.get_mut(&position.partition)?;
        let fits = epoch.is_none_or(|epoch| partition.epoch == epoch);
        let after_last = partition.entries.back().is_none_or(|last| last.offset < offset);
        if !fits || !after_last || partition.committable.is_some_and(|next| offset < next) {
            return None;
        }
        partition.entries.push_back(Entry { offset, bytes, done: false });
        self.counts.in_flight += 1;
        self.counts.bytes += bytes;
        Some(partition.epoch)
    }

    fn forget(&mut self, topic: &Arc<str>, number: i32) {
        let Some(partition) = self.partitions.get_mut(topic).and_then(|topic| topic.remove(&number)) else { return };
        let epoch = partition.epoch;
        let pending = partition.entries.into_iter().filter(|entry| !entry.done);
        let late: HashMap<i64, usize> = pending.map(|entry| (entry.offset, entry.bytes)).collect();
        self.counts.in_flight -= late.len();
        self.counts.late += late.len();
        if !late.is_empty() {
            self.late.insert((Arc::clone(topic), number, epoch), late);
        }
        let (gone, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.returned)
            .into_iter()
            .partition(|(record, _)| record.position.topic == *topic && record.position.partition == number);
        self.returned = kept;
        self.counts.returned = self.returned.len();
        for (record, epoch) in gone {
            self.release_late(&record.position, epoch);
        }
    }

    /// A record of an older assignment is no longer held by anybody.
    fn release_late(&mut self, position: &Position, epoch: u64) {
        let key = (Arc::clone(&position.topic), position.partition, epoch);
        let Some(late) = self.late.get_mut(&key) else { return };
        if let Some(bytes) = late.remove(&position.offset) {
            self.counts.late -= 1;
            self.counts.bytes -= bytes;
        }
        if late.is_empty() {
            self.late.remove(&key);
        }
    }
}

/// Key, value and headers of a record.
#[must_use]
pub fn record_bytes(record: &Record) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    record.key.as_ref().map_or(0, bytes::Bytes::len) + record.value.len() + headers
}

/// The ledger of one consumer. Shared by the source, which registers, and by all deliveries, which report.
#[derive(Debug, Default)]
pub struct OffsetLedger(Mutex<State>);

impl OffsetLedger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The partitions are ours under this epoch; what was known of them is forgotten.
    pub fn assigned(&self, epoch: u64, partitions: &[(String, i32)]) {
        let mut state = self.0.lock();
        for (topic, number) in partitions {
            let topic: Arc<str> = topic.as_str().into();
            state.forget(&topic, *number);
            let fresh = Partition { epoch, entries: VecDeque::new(), committable: None };
            state.partitions.entry(topic).or_default().insert(*number, fresh);
        }
    }

    /// The partitions are gone: reports about them are late from now on.
    pub fn revoked(&self, partitions: &[(String, i32)]) {
        let mut state = self.0.lock();
        for (topic, number) in partitions {
            state.forget(&topic.as_str().into(), *number);
        }
    }

    /// The epoch of the partition's assignment, if it is ours.
    #[must_use]
    pub fn epoch(&self, topic: &str, partition: i32) -> Option<u64> {
        Some(self.0.lock().partitions.get(topic)?.get(&partition)?.epoch)
    }

    /// Whether work under this epoch still counts. Sinks may ask before they write.
    #[must_use]
    pub fn is_current(&self, position: &Position, epoch: u64) -> bool {
        self.epoch(&position.topic, position.partition) == Some(epoch)
    }

    /// Notes a record that is about to be handed out. `false` if it must not be: its partition isn't ours under this
    /// epoch, or it was handed out already.
    #[must_use]
    pub fn register(&self, record: &Record, epoch: u64) -> bool {
        self.0.lock().register(record, Some(epoch)).is_some()
    }

    /// Notes records that are about to be handed out under the current assignments. For each its epoch, or `None` if it
    /// must not be handed out.
    #[must_use]
    pub fn register_all(&self, records: &[Record]) -> Vec<Option<u64>> {
        let mut state = self.0.lock();
        records.iter().map(|record| state.register(record, None)).collect()
    }

    /// Takes the records that came back, oldest first, each with its epoch. They stay registered.
    #[must_use]
    pub fn take_returned(&self) -> Vec<(Record, u64)> {
        let mut state = self.0.lock();
        state.counts.returned = 0;
        state.returned.drain(..).collect()
    }

    /// How far each partition may be committed: next offsets, for the partitions where one is known.
    #[must_use]
    pub fn committable(&self) -> Vec<Position> {
        let state = self.0.lock();
        let all = state.partitions.iter().flat_map(|(topic, partitions)| {
            partitions.iter().filter_map(|(number, partition)| {
                let offset = partition.committable?;
                Some(Position { topic: Arc::clone(topic), partition: *number, offset })
            })
        });
        all.collect()
    }

    /// Grows whenever [`OffsetLedger::committable`] changes.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.lock().version
    }

    /// Totals.
    #[must_use]
    pub fn counts(&self) -> LedgerCounts {
        self.0.lock().counts
    }
}

impl Ledger for OffsetLedger {
    fn completed(&self, position: &Position, epoch: u64) {
        let mut state = self.0.lock();
        let Some(partition) = state.partition(position, epoch) else {
            state.release_late(position, epoch);
            return;
        };
        let Some(index) = partition.pending(position.offset) else { return };
        partition.entries[index].done = true;
        let bytes = partition.entries[index].bytes;
        let mut last_done = None;
        while partition.entries.front().is_some_and(|entry| entry.done) {
            last_done = partition.entries.pop_front().map(|entry| entry.offset);
        }
        if let Some(offset) = last_done {
            partition.committable = Some(next_offset(offset));
            state.version += 1;
        }
        state.counts.in_flight -= 1;
        state.counts.bytes -= bytes;
    }

    fn returned(&self, record: Record, epoch: u64) {
        let mut state = self.0.lock();
        match state.partition(&record.position, epoch) {
            Some(partition) => {
                if partition.pending(record.position.offset).is_some() {
                    state.returned.push_back((record, epoch));
                    state.counts.returned = state.returned.len();
                }
            }
            None => state.release_late(&record.position, epoch),
        }
    }
}
