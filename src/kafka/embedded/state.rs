//! What the log knows in memory: ends of partitions, committed offsets, who consumes. The writer changes it after each
//! durable transaction; everybody else reads.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rusqlite::Connection;

use crate::config::log::LogConfig;
use crate::kafka::log::{LogError, PartitionLag};
use crate::kafka::partitioner::partition_of_key;
use crate::messages::record::NewRecord;

/// One partition.
#[derive(Debug, Clone)]
pub(super) struct Partition {
    /// Row id, also the upper part of its records' keys.
    pub id: i64,
    /// Oldest offset kept.
    pub first: i64,
    /// Offset of the next record.
    pub next: i64,
    /// Keys, values and headers kept.
    pub bytes: i64,
}

/// One topic, its partitions by number.
#[derive(Debug, Default)]
pub(super) struct Topic {
    pub partitions: Vec<Partition>,
    /// Where the next record without key goes.
    round_robin: usize,
}

/// One consumer group.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Epoch of its newest consumer; older ones are fenced.
    pub epoch: u64,
    /// Consumers open in this process.
    pub members: usize,
    /// When it last committed or joined, milliseconds since the Unix epoch.
    pub seen_ms: i64,
    /// Next offset by partition id, for every partition it consumes.
    pub committed: HashMap<i64, i64>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct State {
    pub topics: BTreeMap<Arc<str>, Topic>,
    pub groups: HashMap<String, Group>,
    /// Epoch of the newest consumer of any group.
    pub last_epoch: u64,
    closed: bool,
}

/// A record with its partition chosen.
#[derive(Debug)]
pub(super) struct Routed {
    pub partition_id: i64,
    pub partition: i32,
    pub record: NewRecord,
}

impl State {
    /// Reads the file.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut state = Self::default();
        let mut statement = connection.prepare(
            "SELECT topic, partition, id, first_offset, next_offset, bytes FROM partitions ORDER BY topic, partition",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            let partition = Partition { id: row.get(2)?, first: row.get(3)?, next: row.get(4)?, bytes: row.get(5)? };
            state.topics.entry(name.into()).or_default().partitions.push(partition);
        }
        let mut statement =
            connection.prepare("SELECT consumer_group, partition_id, next_offset, seen_ms FROM group_offsets")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let group = state.groups.entry(row.get(0)?).or_default();
            group.committed.insert(row.get(1)?, row.get(2)?);
            group.seen_ms = group.seen_ms.max(row.get(3)?);
        }
        Ok(state)
    }

    /// Takes over what a file says after a failed transaction, keeping what only this process knows.
    pub(super) fn refresh(&mut self, file: Self) {
        for (name, mut topic) in file.topics {
            topic.round_robin = self.topics.get(&name).map_or(0, |known| known.round_robin);
            self.topics.insert(name, topic);
        }
        for (name, group) in file.groups {
            let known = self.groups.entry(name).or_default();
            known.committed = group.committed;
            known.seen_ms = known.seen_ms.max(group.seen_ms);
        }
    }

    /// Records of the topic that some group has not consumed yet; 0 if no group consumes it.
    pub(super) fn backlog(&self, topic: &str) -> u64 {
        let Some(topic) = self.topics.get(topic) else { return 0 };
        let behind = topic.partitions.iter().map(|partition| {
            let lowest = self.groups.values().filter_map(|group| group.committed.get(&partition.id)).min();
            lowest.map_or(0, |committed| (partition.next - committed.max(&partition.first)).max(0).unsigned_abs())
        });
        behind.sum()
    }

    pub(super) fn partition_mut(&mut self, topic: &str, number: i32) -> Option<&mut Partition> {
        self.topics.get_mut(topic)?.partitions.get_mut(usize::try_from(number).ok()?)
    }

    fn route_one(&mut self, record: NewRecord) -> Result<Routed, LogError> {
        let Some(topic) = self.topics.get_mut(&record.topic) else {
            return Err(LogError::UnknownTopic(record.topic.to_string()));
        };
        let count = topic.partitions.len();
        let index = match (record.partition, &record.key) {
            (Some(number), _) => usize::try_from(number)
                .ok()
                .filter(|index| *index < count)
                .ok_or_else(|| LogError::UnknownPartition { topic: record.topic.to_string(), partition: number })?,
            (None, Some(key)) => partition_of_key(key, count),
            (None, None) => {
                topic.round_robin = (topic.round_robin + 1) % count.max(1);
                topic.round_robin
            }
        };
        let partition = i32::try_from(index).unwrap_or(i32::MAX);
        Ok(Routed { partition_id: topic.partitions[index].id, partition, record })
    }
}

/// Shared by the log, its writer and its consumers.
#[derive(Debug)]
pub(super) struct Shared {
    pub path: PathBuf,
    pub config: LogConfig,
    pub opened: Instant,
    state: Mutex<State>,
    /// Told when records were appended, a group changed hands or the log closes.
    changed: Condvar,
    /// Until when a fault test makes everything fail.
    fail_until: Mutex<Option<Instant>>,
}

impl Shared {
    pub(super) fn new(path: PathBuf, config: LogConfig, state: State) -> Self {
        Self {
            path,
            config,
            opened: Instant::now(),
            state: Mutex::new(state),
            changed: Condvar::new(),
            fail_until: Mutex::new(None),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Wakes all waiting consumers.
    pub(super) fn notify(&self) {
        self.changed.notify_all();
    }

    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.notify();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    pub(super) fn fail_until(&self, until: Instant) {
        *self.fail_until.lock() = Some(until);
        self.notify();
    }

    /// The error of an injected failure, while one lasts.
    pub(super) fn injected_failure(&self) -> Option<LogError> {
        let until = (*self.fail_until.lock())?;
        (Instant::now() < until).then(|| LogError::Unavailable("failure injected by a test".to_owned()))
    }

    /// Waits until `ready` or the deadline. `false` if the log is closed.
    pub(super) fn wait(&self, deadline: Instant, mut ready: impl FnMut(&State) -> bool) -> bool {
        let mut state = self.state.lock();
        while !state.closed && !ready(&state) {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        !state.closed
    }

    pub(super) fn has_topics(&self, topics: &[(String, i32)]) -> bool {
        let state = self.state.lock();
        topics.iter().all(|(name, _)| state.topics.contains_key(name.as_str()))
    }

    pub(super) fn offsets(&self, topic: &str) -> Vec<(i64, i64)> {
        let state = self.state.lock();
        let partitions = state.topics.get(topic).map_or(&[][..], |topic| &topic.partitions);
        partitions.iter().map(|partition| (partition.first, partition.next)).collect()
    }

    /// Checks sizes and chooses partitions; gives the bytes of all.
    pub(super) fn route(&self, records: Vec<NewRecord>) -> Result<(Vec<Routed>, usize), LogError> {
        let limit = self.config.max_record_bytes;
        let mut total = 0;
        for record in &records {
            let bytes = new_record_bytes(record);
            if bytes > limit {
                return Err(LogError::TooLarge { bytes, limit });
            }
            total += bytes;
        }
        let mut state = self.state.lock();
        let routed = records.into_iter().map(|record| state.route_one(record)).collect::<Result<_, _>>()?;
        Ok((routed, total))
    }

    pub(super) fn lag(&self, group: &str, topics: &[String]) -> Result<Vec<PartitionLag>, LogError> {
        let state = self.state.lock();
        let committed = state.groups.get(group).map(|group| &group.committed);
        let mut lags = Vec::new();
        for name in topics {
            let Some(topic) = state.topics.get(name.as_str()) else {
                return Err(LogError::UnknownTopic(name.clone()));
            };
            for (number, partition) in (0..).zip(&topic.partitions) {
                let committed = committed.and_then(|offsets| offsets.get(&partition.id)).copied();
                lags.push(PartitionLag {
                    topic: name.clone(),
                    partition: number,
                    committed: committed.unwrap_or(partition.first).max(partition.first),
                    end: partition.next,
                });
            }
        }
        Ok(lags)
    }
}

/// Key, value and headers of a record to append.
pub(super) fn new_record_bytes(record: &NewRecord) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    record.key.as_ref().map_or(0, bytes::Bytes::len) + record.value.len() + headers
}
