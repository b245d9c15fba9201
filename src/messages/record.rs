//! Records of the log: what Kafka and the embedded log both carry.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Name of the header that carries the correlation id.
pub const CORRELATION_HEADER: &str = "correlation-id";

/// Where a record stands in the log. Ordered by topic, partition, offset.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number, from 0.
    pub partition: i32,
    /// Offset within the partition, from 0.
    pub offset: i64,
}

impl Position {
    /// Whether it is in the same partition and before the other.
    #[must_use]
    pub fn is_before(&self, other: &Self) -> bool {
        self.topic == other.topic && self.partition == other.partition && self.offset < other.offset
    }
}

/// A record header: name and raw value.
pub type Header = (String, Bytes);

/// A record read from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub position: Position,
    /// Milliseconds since the Unix epoch, set by the producer or at append.
    pub timestamp_ms: i64,
    /// The key's raw bytes, if any.
    pub key: Option<Bytes>,
    /// The value's raw bytes; empty for a tombstone.
    pub value: Bytes,
    /// Headers in the producer's order.
    pub headers: Vec<Header>,
}

impl Record {
    /// The first header of this name as text, if it is valid UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).and_then(|(_, value)| std::str::from_utf8(value).ok())
    }
}

/// A record to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition, or `None` to choose one: by the key's hash, else round robin.
    pub partition: Option<i32>,
    /// Milliseconds since the Unix epoch, or `None` for the time of the append.
    pub timestamp_ms: Option<i64>,
    /// The key's raw bytes, if any.
    pub key: Option<Bytes>,
    /// The value's raw bytes.
    pub value: Bytes,
    /// Headers, kept in this order.
    pub headers: Vec<Header>,
}
