//! A consumer of the embedded log: all partitions at once, woken by appends, reading ahead in batches.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rusqlite::{Connection, params};

use super::schema::{log_error, open_for_reading};
use super::state::{Shared, State};
use super::writer::{Answer, Command, Work};
use super::{CONTROL_DEADLINE, ask_blocking, rows, send, unexpected};
use crate::kafka::log::{LogConsumer, LogError, LogEvent, PartitionLag};
use crate::messages::record::{Position, Record};
use crate::telemetry::metrics;

/// A partition and where this consumer reads next.
struct Reading {
    id: i64,
    topic: Arc<str>,
    number: i32,
    next: i64,
}

/// A commit the writer has not answered yet.
struct PendingCommit {
    answer: Receiver<Result<Answer, LogError>>,
    offsets: Vec<(i64, i64)>,
}

/// The only member of its group; a newer one fences it.
pub(super) struct EmbeddedConsumer {
    shared: Arc<Shared>,
    commands: SyncSender<Command>,
    connection: Connection,
    group: String,
    epoch: u64,
    partitions: Vec<Reading>,
    /// Which partition is read first next time, so that none starves.
    cursor: usize,
    /// Whether [`LogEvent::Assigned`] was given out.
    announced: bool,
    /// Whether [`LogEvent::Revoked`] was given out after a newer consumer took over.
    fenced: bool,
    paused: bool,
    /// What may be committed, by partition id.
    committable: HashMap<i64, i64>,
    /// What is committed, by partition id.
    committed: HashMap<i64, i64>,
    pending: Option<PendingCommit>,
}

impl EmbeddedConsumer {
    pub(super) fn join(
        shared: Arc<Shared>,
        commands: SyncSender<Command>,
        group: &str,
        topics: &[String],
    ) -> Result<Self, LogError> {
        let connection = open_for_reading(&shared.path).map_err(|error| log_error(&error))?;
        let work = Work::Join { group: group.to_owned(), topics: topics.to_vec() };
        let Answer::Joined(epoch) = ask_blocking(&commands, work, CONTROL_DEADLINE)? else { return Err(unexpected()) };
        let mut state = shared.state();
        let members = state.groups.entry(group.to_owned()).or_default();
        members.members += 1;
        let committed = members.committed.clone();
        let mut partitions = Vec::new();
        for name in topics {
            let Some((topic, known)) = state.topics.get_key_value(name.as_str()) else { continue };
            for (number, partition) in (0..).zip(&known.partitions) {
                let next = committed.get(&partition.id).copied().unwrap_or(0).max(partition.first);
                partitions.push(Reading { id: partition.id, topic: Arc::clone(topic), number, next });
            }
        }
        drop(state);
        Ok(Self {
            shared,
            commands,
            connection,
            group: group.to_owned(),
            epoch,
            partitions,
            cursor: 0,
            announced: false,
            fenced: false,
            paused: false,
            committable: HashMap::new(),
            committed,
            pending: None,
        })
    }

    fn names(&self) -> Vec<(String, i32)> {
        self.partitions.iter().map(|reading| (reading.topic.to_string(), reading.number)).collect()
    }

    fn is_fenced(&self, state: &State) -> bool {
        state.groups.get(&self.group).is_some_and(|group| group.epoch != self.epoch)
    }

    /// Reads from where each partition stands, up to the limits of one fetch.
    fn fetch(&mut self) -> Result<Vec<Record>, LogError> {
        let (mut records, mut bytes_left) = (Vec::new(), self.shared.config.fetch_bytes);
        let count = self.partitions.len();
        let start = self.cursor;
        self.cursor = (start + 1) % count.max(1);
        for step in 0..count {
            let index = (start + step) % count;
            let (first, end) = self.bounds(&self.partitions[index]);
            let reading = &mut self.partitions[index];
            reading.next = reading.next.max(first);
            let room = self.shared.config.fetch_records.saturating_sub(records.len());
            if reading.next >= end {
                continue;
            }
            if room == 0 || bytes_left == 0 {
                break;
            }
            let before = records.len();
            read(&self.connection, reading, end, (room, &mut bytes_left), &mut records)
                .map_err(|error| log_error(&error))?;
            if records.len() == before {
                let Reading { topic, number, next, .. } = &self.partitions[index];
                return Err(LogError::Unavailable(format!("{topic} {number} offset {next} can't be read yet")));
            }
        }
        Ok(records)
    }

    fn bounds(&self, reading: &Reading) -> (i64, i64) {
        let state = self.shared.state();
        let topic = state.topics.get(&reading.topic);
        let partition = topic.and_then(|topic| topic.partitions.get(usize::try_from(reading.number).ok()?));
        partition.map_or((0, 0), |partition| (partition.first, partition.next))
    }

    /// Takes in the answer to an earlier commit, if it came; waits for it if asked to.
    fn settle(&mut self, wait: bool) -> Result<(), LogError> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let answer = if wait {
            pending.answer.recv_timeout(CONTROL_DEADLINE).ok()
        } else {
            match pending.answer.try_recv() {
                Ok(answer) => Some(answer),
                Err(TryRecvError::Disconnected) => None,
                Err(TryRecvError::Empty) => {
                    self.pending = Some(pending);
                    return Ok(());
                }
            }
        };
        let result = answer.unwrap_or_else(|| Err(LogError::Unavailable("the commit was not answered".to_owned())));
        metrics::offsets_committed(if result.is_ok() { "ok" } else { "failed" });
        result?;
        self.committed.extend(pending.offsets);
        Ok(())
    }
}

/// Appends the partition's next records to `records`; always at least one if there is one.
fn read(
    connection: &Connection,
    reading: &mut Reading,
    end: i64,
    (room, bytes_left): (usize, &mut usize),
    records: &mut Vec<Record>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT position, timestamp_ms, key, headers, value FROM records
         WHERE position >= ? AND position < ? ORDER BY position LIMIT ?",
    )?;
    let (low, high) = (rows::position(reading.id, reading.next), rows::position(reading.id, end));
    let limit = i64::try_from(room).unwrap_or(i64::MAX);
    let mut found = statement.query(params![low, high, limit])?;
    while let Some(row) = found.next()? {
        let offset = rows::offset(row.get(0)?);
        let key: Option<Vec<u8>> = row.get(2)?;
        let headers: Option<Vec<u8>> = row.get(3)?;
        let value: Vec<u8> = row.get(4)?;
        let size = value.len() + key.as_ref().map_or(0, Vec::len) + headers.as_ref().map_or(0, Vec::len);
        let headers = headers.and_then(|bytes| {
            let decoded = rows::decode_headers(bytes.into());
            if decoded.is_none() {
                tracing::error!(topic = &*reading.topic, partition = reading.number, offset, "headers are damaged");
            }
            decoded
        });
        records.push(Record {
            position: Position { topic: Arc::clone(&reading.topic), partition: reading.number, offset },
            timestamp_ms: row.get(1)?,
            key: key.map(Bytes::from),
            value: value.into(),
            headers: headers.unwrap_or_default(),
        });
        reading.next = offset + 1;
        *bytes_left = bytes_left.saturating_sub(size);
        if *bytes_left == 0 {
            break;
        }
    }
    Ok(())
}

impl LogConsumer for EmbeddedConsumer {
    fn poll(&mut self, timeout: Duration) -> Result<Vec<LogEvent>, LogError> {
        let deadline = Instant::now() + timeout;
        if self.fenced {
            return Err(LogError::Failed(format!("a newer consumer of group {} took over", self.group)));
        }
        if !self.announced {
            self.announced = true;
            return Ok(vec![LogEvent::Assigned { epoch: self.epoch, partitions: self.names() }]);
        }
        let (mut fenced, mut readable) = (false, false);
        let open = self.shared.wait(deadline, |state| {
            fenced = self.is_fenced(state);
            readable = !self.paused
                && self.partitions.iter().any(|reading| {
                    let topic = state.topics.get(&reading.topic);
                    let known = topic.and_then(|topic| topic.partitions.get(usize::try_from(reading.number).ok()?));
                    known.is_some_and(|partition| partition.next > reading.next)
                });
            fenced || readable || self.shared.injected_failure().is_some()
        });
        if !open {
            return Err(LogError::Failed("the log is closed".to_owned()));
        }
        if fenced {
            self.fenced = true;
            return Ok(vec![LogEvent::Revoked { partitions: self.names() }]);
        }
        if let Some(error) = self.shared.injected_failure() {
            return Err(error);
        }
        if !readable {
            return Ok(Vec::new());
        }
        let records = self.fetch()?;
        Ok(if records.is_empty() { Vec::new() } else { vec![LogEvent::Records(records)] })
    }

    fn set_committable(&mut self, next_offsets: &[Position]) {
        for position in next_offsets {
            let ours = |reading: &&Reading| reading.topic == position.topic && reading.number == position.partition;
            if let Some(reading) = self.partitions.iter().find(ours) {
                self.committable.insert(reading.id, position.offset);
            }
        }
    }

    fn commit(&mut self, wait: bool) -> Result<(), LogError> {
        self.settle(wait)?;
        if self.pending.is_some() {
            return Ok(());
        }
        let changed = self.committable.iter().filter(|(id, next)| self.committed.get(*id) != Some(*next));
        let offsets: Vec<(i64, i64)> = changed.map(|(id, next)| (*id, *next)).collect();
        if offsets.is_empty() {
            return Ok(());
        }
        let (reply, answer) = sync_channel(1);
        let work = Work::Commit { group: self.group.clone(), epoch: self.epoch, offsets: offsets.clone() };
        let reply = Box::new(move |result| {
            let _ = reply.send(result);
        });
        send(&self.commands, Command { work, reply })?;
        self.pending = Some(PendingCommit { answer, offsets });
        if wait { self.settle(true) } else { Ok(()) }
    }

    fn lag(&self) -> Vec<PartitionLag> {
        let state = self.shared.state();
        let lag = self.partitions.iter().filter_map(|reading| {
            let partition = state.topics.get(&reading.topic)?.partitions.get(usize::try_from(reading.number).ok()?)?;
            let committed = self.committed.get(&reading.id).copied().unwrap_or(partition.first);
            let topic = reading.topic.to_string();
            Some(PartitionLag { topic, partition: reading.number, committed, end: partition.next })
        });
        lag.collect()
    }

    fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        if let Err(error) = self.commit(true) {
            tracing::warn!(%error, group = self.group, "the last commit failed; its records will be delivered again");
        }
        if let Some(group) = self.shared.state().groups.get_mut(&self.group) {
            group.members = group.members.saturating_sub(1);
        }
    }
}
