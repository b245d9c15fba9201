//! The log's trait: topics, partitions, append, consume from the committed offset, commit, lag.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::outbox::{Outbox, StagedCounts};
use crate::messages::record::{NewRecord, Position, Record};

/// Why the log refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The topic does not exist and may not be created.
    #[error("unknown topic {0}")]
    UnknownTopic(String),
    /// The partition does not exist.
    #[error("topic {topic} has no partition {partition}")]
    UnknownPartition {
        /// Topic name.
        topic: String,
        /// Partition asked for.
        partition: i32,
    },
    /// The record is over the size limit.
    #[error("record of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Key, value and headers together.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The log is full of records not consumed yet; try again later.
    #[error("the log is full: {0}")]
    Full(String),
    /// The broker or disk is away; try again later.
    #[error("the log is unavailable: {0}")]
    Unavailable(String),
    /// Trying again won't help.
    #[error("the log failed: {0}")]
    Failed(String),
}

impl LogError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Full(_) | Self::Unavailable(_) => true,
            Self::UnknownTopic(_) | Self::UnknownPartition { .. } | Self::TooLarge { .. } | Self::Failed(_) => false,
        }
    }
}

/// How far a group is behind in one partition.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PartitionLag {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// Next offset the group would read after a restart.
    pub committed: i64,
    /// Offset the next appended record will get.
    pub end: i64,
}

impl PartitionLag {
    /// Records between the committed offset and the end.
    #[must_use]
    pub fn records(&self) -> i64 {
        (self.end - self.committed).max(0)
    }
}

/// Where a group goes on in a partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct GroupOffset {
    /// The group.
    pub group: String,
    /// The next record it reads.
    #[serde(flatten)]
    pub next: Position,
}

/// What a partition holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PartitionRange {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// Oldest offset kept.
    pub first: i64,
    /// Offset the next appended record will get.
    pub end: i64,
}

/// What an idempotent producer says about a batch: all its records go to one partition and are numbered from `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSequence {
    /// Given by [`Log::new_producer_id`].
    pub producer_id: i64,
    /// Grows when the producer starts over.
    pub epoch: i16,
    /// Number of the batch's first record; after [`i32::MAX`] comes 0.
    pub first: i32,
}

/// What became of a numbered batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SequencedAppend {
    /// Durable now, from this position on.
    Appended(Position),
    /// It was durable already; its first position, if that is still known.
    Duplicate(Option<Position>),
    /// A batch before it is missing.
    OutOfOrder {
        /// The number that should have come.
        expected: i32,
    },
    /// A newer epoch of this producer has written already.
    Fenced {
        /// The newer epoch.
        epoch: i16,
    },
}

/// A durable log of topics and partitions. Cheap to share; every call is safe from any thread and has a deadline inside.
pub trait Log: Send + Sync {
    /// Makes sure the topics exist, with `partitions` where they are created.
    fn ensure_topics<'a>(&'a self, topics: &'a [(String, i32)]) -> BoxFuture<'a, Result<(), LogError>>;

    /// Appends all records or, on error, tells why; resolved means durable. Positions come in the order given.
    /// Records of one call may be durable in part when it fails: appending again may repeat them.
    fn append(&self, records: Vec<NewRecord>) -> BoxFuture<'_, Result<Vec<Position>, LogError>>;

    /// An id for an idempotent producer, never given before.
    fn new_producer_id(&self) -> BoxFuture<'_, Result<i64, LogError>> {
        Box::pin(async { Err(LogError::Failed("this log has no idempotent producers of its own".to_owned())) })
    }

    /// Appends a numbered batch, all of one partition, at most once however often it is sent. All or nothing.
    fn append_once(
        &self,
        sequence: BatchSequence,
        records: Vec<NewRecord>,
    ) -> BoxFuture<'_, Result<SequencedAppend, LogError>> {
        let _ = (sequence, records);
        Box::pin(async { Err(LogError::Failed("this log has no idempotent producers of its own".to_owned())) })
    }

    /// A consumer of these topics in this group, starting at the committed offsets, else at the beginning. May block
    /// for a moment.
    ///
    /// # Errors
    /// If the backend can't make one.
    fn consumer(&self, group: &str, topics: &[String]) -> Result<Box<dyn LogConsumer>, LogError>;

    /// Where analyses are staged that are to be published together with the offsets of their records; `None` where they
    /// are appended like anything else.
    fn outbox(&self) -> Option<Arc<Outbox>> {
        None
    }

    /// The group's lag in every partition of the topics.
    fn lag<'a>(&'a self, group: &'a str, topics: &'a [String]) -> BoxFuture<'a, Result<Vec<PartitionLag>, LogError>>;

    /// Whether the log answers; for health checks. Deadline 2 s.
    fn check(&self) -> BoxFuture<'_, Result<(), LogError>>;

    /// Finishes what is queued and lets go of files; later calls fail. Blocks. Nothing to do where nothing is held.
    fn close(&self) {}
}

/// What a poll brings.
#[derive(Debug)]
pub enum LogEvent {
    /// Records, in order within each partition.
    Records(Vec<Record>),
    /// These partitions are ours from now on, from these offsets, under this epoch.
    Assigned {
        /// Grows with each assignment.
        epoch: u64,
        /// Topic and partition.
        partitions: Vec<(String, i32)>,
    },
    /// These partitions are going: the consumer is about to commit what [`LogConsumer::set_committable`] said last.
    Revoked {
        /// Topic and partition.
        partitions: Vec<(String, i32)>,
    },
}

/// One member of a consumer group. Lives on a thread of its own; `poll` must be called at least once a second.
pub trait LogConsumer: Send {
    /// Waits up to `timeout` for events.
    ///
    /// # Errors
    /// Retriable errors are met by polling again; others end the consumer.
    fn poll(&mut self, timeout: Duration) -> Result<Vec<LogEvent>, LogError>;

    /// Tells the next offset to read of each partition, as far as verdicts are durable without a gap. Kept until the next
    /// commit and used by commits on revoke and on drop.
    fn set_committable(&mut self, next_offsets: &[Position]);

    /// Commits what [`LogConsumer::set_committable`] said. `wait` makes it durable before it returns.
    ///
    /// # Errors
    /// If the commit failed; the offsets are kept for the next try.
    fn commit(&mut self, wait: bool) -> Result<(), LogError>;

    /// How far behind the consumer is, as last heard; asks nobody.
    fn lag(&self) -> Vec<PartitionLag> {
        Vec::new()
    }

    /// What is staged in the outbox and waits for the next commit.
    fn staged(&self) -> StagedCounts {
        StagedCounts::default()
    }

    /// Stops (or starts) fetching of all partitions; records already fetched may still come.
    fn set_paused(&mut self, paused: bool);
}
