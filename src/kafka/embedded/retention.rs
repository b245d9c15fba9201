//! Retention: the oldest records go when they are too old or their topic too large, but never before every group that
//! consumes the topic has consumed them.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use rusqlite::params;

use super::rows;
use super::state::{Partition, State};
use super::writer::Writer;

/// Records looked at, and at most deleted, in one transaction.
const CHUNK: i64 = 512;
/// Transactions in one run; the rest is done soon after, so that appends needn't wait long.
const CHUNKS_PER_RUN: usize = 16;
/// Pages given back to the file system per run.
const VACUUM_PAGES: u32 = 2_000;
/// A group not seen in this process yet keeps its records at least this long after the start.
const GROUP_GRACE: Duration = Duration::from_mins(10);
/// Idempotent producers silent for this long are forgotten.
const PRODUCER_RETENTION_MS: i64 = 7 * 24 * 3_600_000;
const HOUR_MS: u64 = 3_600_000;

/// A partition that may lose records.
struct Candidate {
    topic: Arc<str>,
    number: i32,
    partition: Partition,
    /// All groups have consumed what is before this offset.
    consumed: i64,
}

/// The head of a partition that goes.
struct Cut {
    /// Oldest offset kept afterwards.
    first: i64,
    bytes: i64,
}

impl Writer {
    /// Deletes for a while; `true` if there is more to delete.
    pub(super) fn retain(&mut self) -> rusqlite::Result<bool> {
        let now_ms = Utc::now().timestamp_millis();
        self.touch_active_groups(now_ms)?;
        let mut candidates = self.candidates(now_ms);
        let mut chunks = 0;
        while let Some(index) = largest(&candidates) {
            if chunks == CHUNKS_PER_RUN {
                return Ok(true);
            }
            let candidate = &candidates[index];
            let cut = self.cut(candidate, now_ms)?;
            if cut.first == candidate.partition.first {
                candidates.swap_remove(index);
                continue;
            }
            self.delete(candidate, &cut)?;
            let partition = &mut candidates[index].partition;
            partition.first = cut.first;
            partition.bytes -= cut.bytes;
            chunks += 1;
        }
        if chunks > 0 {
            self.connection.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
        }
        Ok(false)
    }

    fn touch_active_groups(&mut self, now_ms: i64) -> rusqlite::Result<()> {
        let active: Vec<String> = {
            let mut state = self.shared.state();
            let active = state.groups.iter_mut().filter(|(_, group)| group.members > 0);
            active
                .map(|(name, group)| {
                    group.seen_ms = now_ms;
                    name.clone()
                })
                .collect()
        };
        let transaction = self.connection.transaction()?;
        for name in active {
            let sql = "UPDATE group_offsets SET seen_ms = ? WHERE consumer_group = ?";
            transaction.prepare_cached(sql)?.execute(params![now_ms, name])?;
        }
        transaction.execute("DELETE FROM producers WHERE seen_ms < ?", [now_ms - PRODUCER_RETENTION_MS])?;
        transaction.commit()
    }

    fn candidates(&self, now_ms: i64) -> Vec<Candidate> {
        let config = &self.shared.config;
        let oldest_ms = now_ms.saturating_sub_unsigned(config.group_retention_hours.saturating_mul(HOUR_MS));
        let in_grace = self.shared.opened.elapsed() < GROUP_GRACE;
        let state = self.shared.state();
        let mut candidates = Vec::new();
        for (topic, known) in &state.topics {
            for (number, partition) in (0..).zip(&known.partitions) {
                let keeps = |seen_ms: i64, members: usize| in_grace || members > 0 || seen_ms >= oldest_ms;
                let consumed = consumed(&state, partition, keeps);
                if consumed > partition.first {
                    let topic = Arc::clone(topic);
                    candidates.push(Candidate { topic, number, partition: partition.clone(), consumed });
                }
            }
        }
        candidates
    }

    /// How much of the partition's head goes in the next transaction.
    fn cut(&self, candidate: &Candidate, now_ms: i64) -> rusqlite::Result<Cut> {
        let config = &self.shared.config;
        let cutoff_ms = match config.retention_hours {
            0 => i64::MIN,
            hours => now_ms.saturating_sub_unsigned(hours.saturating_mul(HOUR_MS)),
        };
        let topic_bytes: i64 = {
            let state = self.shared.state();
            let partitions = state.topics.get(&candidate.topic).map_or(&[][..], |topic| &topic.partitions);
            partitions.iter().map(|partition| partition.bytes).sum()
        };
        let mut over = match config.retention_bytes {
            0 => 0,
            limit => topic_bytes - i64::try_from(limit).unwrap_or(i64::MAX),
        };
        let mut statement = self.connection.prepare_cached(
            "SELECT position, appended_ms, ifnull(length(key), 0) + ifnull(length(headers), 0) + length(value)
             FROM records WHERE position >= ? AND position < ? ORDER BY position LIMIT ?",
        )?;
        let id = candidate.partition.id;
        let (low, high) = (rows::position(id, candidate.partition.first), rows::position(id, candidate.consumed));
        let mut found = statement.query(params![low, high, CHUNK])?;
        let mut cut = Cut { first: candidate.partition.first, bytes: 0 };
        while let Some(row) = found.next()? {
            let appended_ms: i64 = row.get(1)?;
            let bytes: i64 = row.get(2)?;
            if appended_ms >= cutoff_ms && over <= 0 {
                break;
            }
            over -= bytes;
            cut.bytes += bytes;
            cut.first = rows::offset(row.get(0)?) + 1;
        }
        Ok(cut)
    }

    fn delete(&mut self, candidate: &Candidate, cut: &Cut) -> rusqlite::Result<()> {
        let partition = &candidate.partition;
        let transaction = self.connection.transaction()?;
        let (low, high) = (rows::position(partition.id, partition.first), rows::position(partition.id, cut.first));
        transaction
            .prepare_cached("DELETE FROM records WHERE position >= ? AND position < ?")?
            .execute(params![low, high])?;
        transaction
            .prepare_cached("UPDATE partitions SET first_offset = ?, bytes = max(bytes - ?, 0) WHERE id = ?")?
            .execute(params![cut.first, cut.bytes, partition.id])?;
        transaction.commit()?;
        if let Some(known) = self.shared.state().partition_mut(&candidate.topic, candidate.number) {
            known.first = cut.first;
            known.bytes = (known.bytes - cut.bytes).max(0);
        }
        Ok(())
    }
}

fn largest(candidates: &[Candidate]) -> Option<usize> {
    (0..candidates.len()).max_by_key(|index| candidates[*index].partition.bytes)
}

/// Up to where all groups that still count have consumed the partition; its end if none consumes it.
fn consumed(state: &State, partition: &Partition, keeps: impl Fn(i64, usize) -> bool) -> i64 {
    let committed = state.groups.values().filter(|group| keeps(group.seen_ms, group.members));
    committed.filter_map(|group| group.committed.get(&partition.id)).min().copied().unwrap_or(partition.next)
}
