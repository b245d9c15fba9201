//! The writer: one thread that makes everything durable, many callers' work in one transaction.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use chrono::Utc;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::producers::{self, Check};
use super::rows;
use super::schema::log_error;
use super::state::{Partition, Routed, Shared, State, new_record_bytes};
use crate::kafka::log::{BatchSequence, LogError, SequencedAppend};
use crate::messages::record::Position;

/// Most records in one transaction, unless a single append has more.
const MAX_BATCH_RECORDS: usize = 8_192;
/// Most commands in one transaction.
const MAX_BATCH_COMMANDS: usize = 2_048;
/// Bytes that the disk has to take before a log whose write failed counts as well again.
const PROBE_BYTES: usize = 256 << 10;

/// What is asked of the writer.
pub(super) enum Work {
    Append(Vec<Routed>),
    AppendOnce(BatchSequence, Vec<Routed>),
    EnsureTopics(Vec<(String, i32)>),
    /// A consumer of the group begins.
    Join {
        group: String,
        topics: Vec<String>,
    },
    /// Next offsets by partition id.
    Commit {
        group: String,
        epoch: u64,
        offsets: Vec<(i64, i64)>,
    },
    NewProducerId,
    Retain,
    Check,
}

/// What came of it, once durable.
pub(super) enum Answer {
    Positions(Vec<Position>),
    Sequenced(SequencedAppend),
    ProducerId(i64),
    /// Epoch of the new consumer.
    Joined(u64),
    Done,
}

/// Work and who waits for it.
pub(super) struct Command {
    pub work: Work,
    pub reply: Box<dyn FnOnce(Result<Answer, LogError>) + Send>,
}

/// What the transaction under way will have changed.
#[derive(Default)]
struct Stage {
    /// Next offset and added bytes of the partitions written to, by topic and number.
    appended: BTreeMap<(Arc<str>, i32), Appended>,
    /// Records added per topic, for the backlog's limit.
    added: HashMap<Arc<str>, u64>,
    /// New topics' partitions in order.
    topics: Vec<(Arc<str>, Vec<Partition>)>,
    groups: Vec<GroupChange>,
}

/// Group, epoch of a new consumer if one joined, next offsets by partition id.
type GroupChange = (String, Option<u64>, Vec<(i64, i64)>);

struct Appended {
    partition_id: i64,
    next: i64,
    bytes: i64,
}

/// The thread's state.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
    /// A transaction failed: what is in memory must be read again before the next one.
    stale: bool,
    /// The last transaction that was to write something failed: a check has to see that the disk takes a write again.
    refused: bool,
    /// Held for the log's life.
    _lock: File,
}

impl Writer {
    pub(super) fn new(connection: Connection, shared: Arc<Shared>, lock: File) -> Self {
        connection.set_prepared_statement_cache_capacity(32);
        Self { connection, shared, stale: false, refused: false, _lock: lock }
    }

    /// Works until all senders are gone.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        let interval = Duration::from_secs(self.shared.config.retention_interval_seconds.max(1));
        let mut retention_due = Instant::now() + interval;
        loop {
            match commands.recv_timeout(retention_due.saturating_duration_since(Instant::now())) {
                Ok(first) => {
                    self.serve(first, commands);
                    if self.shared.is_closed() {
                        // Consumers may still hold senders: what came before the end is served, the rest is refused.
                        while let Ok(next) = commands.try_recv() {
                            self.serve(next, commands);
                        }
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= retention_due {
                let more = self.retain_and_log();
                retention_due = Instant::now() + if more { Duration::from_millis(50) } else { interval };
            }
        }
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "closing the log's file failed");
        }
    }

    fn retain_and_log(&mut self) -> bool {
        if self.shared.injected_failure().is_some() {
            return false;
        }
        self.retain().unwrap_or_else(|error| {
            tracing::warn!(%error, "retention failed");
            false
        })
    }

    /// Takes what else waits and does all of it in one transaction.
    fn serve(&mut self, first: Command, commands: &Receiver<Command>) {
        let mut records = first.work.records();
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH_COMMANDS && records < MAX_BATCH_RECORDS {
            let Ok(command) = commands.try_recv() else { break };
            records += command.work.records();
            batch.push(command);
        }
        if self.shared.injected_failure().is_some() {
            for command in batch {
                let error = self.shared.injected_failure();
                (command.reply)(Err(error.unwrap_or_else(|| LogError::Unavailable("failing".to_owned()))));
            }
            return;
        }
        let (batch, retains): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|command| !matches!(command.work, Work::Retain));
        if !batch.is_empty() {
            self.transact(batch);
        }
        for command in retains {
            let done = loop {
                match self.retain() {
                    Ok(true) => {}
                    Ok(false) => break Ok(Answer::Done),
                    Err(error) => break Err(log_error(&error)),
                }
            };
            (command.reply)(done);
        }
    }

    fn transact(&mut self, batch: Vec<Command>) {
        let (works, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|command| (command.work, command.reply)).unzip();
        let writes = works.iter().any(|work| !matches!(work, Work::Check));
        match self.write(works) {
            Ok(answers) => {
                self.refused &= !writes;
                replies.into_iter().zip(answers).for_each(|(reply, answer)| reply(answer));
            }
            Err(error) => {
                self.stale = true;
                self.refused |= writes;
                tracing::warn!(%error, commands = replies.len(), "writing the log failed");
                for reply in replies {
                    reply(Err(log_error(&error)));
                }
            }
        }
    }

    fn write(&mut self, works: Vec<Work>) -> rusqlite::Result<Vec<Result<Answer, LogError>>> {
        if self.stale {
            let file = State::load(&self.connection)?;
            self.shared.state().refresh(file);
            self.stale = false;
        }
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut stage = Stage::default();
        let now_ms = Utc::now().timestamp_millis();
        let refused = self.refused;
        let mut context =
            Context { transaction: &transaction, shared: &self.shared, stage: &mut stage, now_ms, refused };
        let answers = works.into_iter().map(|work| context.apply(work)).collect::<rusqlite::Result<Vec<_>>>()?;
        context.save_ends()?;
        transaction.commit()?;
        stage.publish(&self.shared, now_ms);
        Ok(answers)
    }
}

impl Work {
    fn records(&self) -> usize {
        match self {
            Self::Append(records) | Self::AppendOnce(_, records) => records.len(),
            Self::EnsureTopics(_)
            | Self::Join { .. }
            | Self::Commit { .. }
            | Self::NewProducerId
            | Self::Retain
            | Self::Check => 0,
        }
    }
}

impl Stage {
    /// Makes known what is durable now.
    fn publish(self, shared: &Shared, now_ms: i64) {
        let mut state = shared.state();
        for (topic, partitions) in self.topics {
            state.topics.entry(topic).or_default().partitions.extend(partitions);
        }
        let wake = !self.appended.is_empty() || !self.groups.is_empty();
        for ((topic, number), appended) in self.appended {
            if let Some(partition) = state.partition_mut(&topic, number) {
                partition.next = appended.next;
                partition.bytes += appended.bytes;
            }
        }
        for (name, epoch, offsets) in self.groups {
            if let Some(epoch) = epoch {
                state.last_epoch = epoch;
            }
            let group = state.groups.entry(name).or_default();
            group.epoch = epoch.unwrap_or(group.epoch);
            group.seen_ms = now_ms;
            group.committed.extend(offsets);
        }
        drop(state);
        if wake {
            shared.notify();
        }
    }
}

/// One transaction under way. SQL errors fail all of it; other errors only their own command.
struct Context<'a> {
    transaction: &'a Transaction<'a>,
    shared: &'a Shared,
    stage: &'a mut Stage,
    now_ms: i64,
    refused: bool,
}

type Applied = rusqlite::Result<Result<Answer, LogError>>;

impl Context<'_> {
    fn apply(&mut self, work: Work) -> Applied {
        match work {
            Work::Append(records) => self.append(records).map(|result| result.map(Answer::Positions)),
            Work::AppendOnce(sequence, records) => self.append_once(sequence, records),
            Work::EnsureTopics(topics) => self.ensure_topics(&topics),
            Work::Join { group, topics } => self.join(group, &topics),
            Work::Commit { group, epoch, offsets } => self.commit(group, epoch, offsets),
            Work::NewProducerId => {
                let sql = "UPDATE counters SET value = value + 1 WHERE name = 'producer_id' RETURNING value";
                let id = self.transaction.query_row(sql, [], |row| row.get(0))?;
                Ok(Ok(Answer::ProducerId(id)))
            }
            Work::Check if self.refused => Ok(self.try_disk().map(|()| Answer::Done)),
            Work::Retain | Work::Check => Ok(Ok(Answer::Done)),
        }
    }

    /// Whether the disk takes as much as an append may need. The log's own files tell nothing: a small write finds room in
    /// them on a full disk too.
    fn try_disk(&self) -> Result<(), LogError> {
        let Some(path) = self.transaction.path() else { return Ok(()) };
        let probe = format!("{path}.probe");
        let written = File::create(&probe).and_then(|mut file| {
            file.write_all(&vec![0; PROBE_BYTES])?;
            file.sync_all()
        });
        // What is left of it is written over by the next one.
        let _ = std::fs::remove_file(&probe);
        written.map_err(|error| LogError::Unavailable(format!("writing the log failed, and {probe} as well: {error}")))
    }

    /// Refuses what would take a topic over its backlog. An empty backlog takes an append of any size.
    fn room(&mut self, records: &[Routed]) -> Result<(), LogError> {
        let limit = self.shared.config.max_backlog_records;
        if limit == 0 {
            return Ok(());
        }
        let mut counts: BTreeMap<&Arc<str>, u64> = BTreeMap::new();
        for routed in records {
            *counts.entry(&routed.record.topic).or_default() += 1;
        }
        for (topic, count) in &counts {
            let backlog = self.shared.state().backlog(topic);
            if backlog == 0 {
                continue;
            }
            let backlog = backlog + self.stage.added.get(*topic).copied().unwrap_or(0);
            if backlog + count > limit {
                return Err(LogError::Full(format!("{backlog} records of topic {topic} wait, the limit is {limit}")));
            }
        }
        for (topic, count) in counts {
            *self.stage.added.entry(Arc::clone(topic)).or_default() += count;
        }
        Ok(())
    }

    fn append(&mut self, records: Vec<Routed>) -> rusqlite::Result<Result<Vec<Position>, LogError>> {
        if let Err(error) = self.room(&records) {
            return Ok(Err(error));
        }
        let mut insert = self.transaction.prepare_cached(
            "INSERT INTO records (position, appended_ms, timestamp_ms, key, headers, value) VALUES (?, ?, ?, ?, ?, ?)",
        )?;
        let mut positions = Vec::with_capacity(records.len());
        for Routed { partition_id, partition, record } in records {
            let bytes = i64::try_from(new_record_bytes(&record)).unwrap_or(i64::MAX);
            let appended = match self.stage.appended.entry((Arc::clone(&record.topic), partition)) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    let next =
                        self.shared.state().partition_mut(&record.topic, partition).map_or(0, |known| known.next);
                    entry.insert(Appended { partition_id, next, bytes: 0 })
                }
            };
            let offset = appended.next;
            if offset >= rows::MAX_OFFSET {
                return Ok(Err(LogError::Failed(format!("{} {partition} has no offsets left", record.topic))));
            }
            appended.next += 1;
            appended.bytes += bytes;
            insert.execute(params![
                rows::position(partition_id, offset),
                self.now_ms,
                record.timestamp_ms.unwrap_or(self.now_ms),
                record.key.as_deref(),
                rows::encode_headers(&record.headers).as_deref(),
                &*record.value,
            ])?;
            positions.push(Position { topic: record.topic, partition, offset });
        }
        Ok(Ok(positions))
    }

    fn append_once(&mut self, sequence: BatchSequence, records: Vec<Routed>) -> Applied {
        let Some(partition_id) = records.first().map(|routed| routed.partition_id) else {
            return Ok(Err(LogError::Failed("a numbered batch needs a record".to_owned())));
        };
        let known = producers::load(self.transaction, sequence.producer_id, partition_id)?;
        let count = i32::try_from(records.len()).unwrap_or(i32::MAX);
        let topic = Arc::clone(&records[0].record.topic);
        let partition = records[0].partition;
        let outcome = match producers::check(known.as_ref(), sequence, count) {
            Check::Next => match self.append(records)? {
                Err(error) => return Ok(Err(error)),
                Ok(positions) => {
                    let first = positions[0].clone();
                    let batch = producers::Batch { first: sequence.first, count, offset: first.offset };
                    producers::save(self.transaction, partition_id, known, (sequence, batch), self.now_ms)?;
                    SequencedAppend::Appended(first)
                }
            },
            Check::Duplicate(offset) => {
                SequencedAppend::Duplicate(offset.map(|offset| Position { topic, partition, offset }))
            }
            Check::OutOfOrder { expected } => SequencedAppend::OutOfOrder { expected },
            Check::Fenced { epoch } => SequencedAppend::Fenced { epoch },
        };
        Ok(Ok(Answer::Sequenced(outcome)))
    }

    fn ensure_topics(&mut self, topics: &[(String, i32)]) -> Applied {
        for (name, count) in topics {
            let known = self.shared.state().topics.contains_key(name.as_str())
                || self.stage.topics.iter().any(|(staged, _)| **staged == **name);
            if known {
                continue;
            }
            let mut partitions = Vec::new();
            for number in 0..(*count).max(1) {
                let sql = "INSERT INTO partitions (topic, partition) VALUES (?, ?) RETURNING id";
                let id = self.transaction.query_row(sql, params![name, number], |row| row.get(0))?;
                partitions.push(Partition { id, first: 0, next: 0, bytes: 0 });
            }
            self.stage.topics.push((name.as_str().into(), partitions));
        }
        Ok(Ok(Answer::Done))
    }

    fn join(&mut self, group: String, topics: &[String]) -> Applied {
        let mut offsets = Vec::new();
        let epoch = {
            let state = self.shared.state();
            let committed = state.groups.get(&group).map(|group| &group.committed);
            for name in topics {
                let Some(topic) = state.topics.get(name.as_str()) else {
                    return Ok(Err(LogError::UnknownTopic(name.clone())));
                };
                offsets.extend(topic.partitions.iter().map(|partition| {
                    let committed = committed.and_then(|offsets| offsets.get(&partition.id)).copied();
                    (partition.id, committed.unwrap_or(partition.first))
                }));
            }
            let staged = self.stage.groups.iter().filter_map(|(_, epoch, _)| *epoch).max();
            staged.unwrap_or(state.last_epoch) + 1
        };
        self.save_offsets(&group, &offsets)?;
        self.stage.groups.push((group, Some(epoch), offsets));
        Ok(Ok(Answer::Joined(epoch)))
    }

    fn commit(&mut self, group: String, epoch: u64, offsets: Vec<(i64, i64)>) -> Applied {
        let current = self.shared.state().groups.get(&group).map(|group| group.epoch);
        let joined = self.stage.groups.iter().any(|(name, newer, _)| *name == group && newer.is_some());
        if current != Some(epoch) || joined {
            return Ok(Err(LogError::Failed(format!("a newer consumer of group {group} took over"))));
        }
        self.save_offsets(&group, &offsets)?;
        self.stage.groups.push((group, None, offsets));
        Ok(Ok(Answer::Done))
    }

    fn save_offsets(&self, group: &str, offsets: &[(i64, i64)]) -> rusqlite::Result<()> {
        let mut upsert = self.transaction.prepare_cached(
            "INSERT INTO group_offsets (consumer_group, partition_id, next_offset, seen_ms) VALUES (?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset, seen_ms = excluded.seen_ms",
        )?;
        for (partition_id, next) in offsets {
            upsert.execute(params![group, partition_id, next, self.now_ms])?;
        }
        Ok(())
    }

    fn save_ends(&self) -> rusqlite::Result<()> {
        let mut update =
            self.transaction.prepare_cached("UPDATE partitions SET next_offset = ?, bytes = bytes + ? WHERE id = ?")?;
        for appended in self.stage.appended.values() {
            update.execute(params![appended.next, appended.bytes, appended.partition_id])?;
        }
        Ok(())
    }
}
