//! What a store counts of itself, so that it can be compared with the log and with what was counted before.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Rows of a store at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreFigures {
    /// Documents.
    pub documents: u64,
    /// Analyses with verdict stored.
    pub stored: u64,
    /// Analyses with verdict duplicate.
    pub duplicates: u64,
    /// Analyses whose document is not there.
    pub orphans: u64,
    /// Embeddings.
    pub vectors: u64,
    /// Stored documents that should have an embedding and have none.
    pub without_vector: u64,
    /// Records that brought a document.
    pub deliveries: u64,
    /// Dead letters kept.
    pub dead_letters: u64,
    /// Dead letters there ever were, purged ones included.
    pub dead_ever: u64,
}

/// Files of learned graphs in a store at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphFigures {
    /// Files of published graphs, each with its vector.
    pub files: u64,
    /// Files of trainings that are on their way, when all of them will be there.
    pub unfinished: u64,
}

/// Offsets of one partition that are asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetRange {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// First offset.
    pub from: i64,
    /// Offset after the last.
    pub to: i64,
}

/// What a store knows of the records of a partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Records in the range that have a verdict: a delivery or a dead letter.
    pub in_range: u64,
    /// Highest offset with a verdict, in the range or not.
    pub highest: Option<i64>,
}
