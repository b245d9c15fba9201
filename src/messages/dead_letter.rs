//! The dead letter: a record that could not reach a verdict of its own, kept byte for byte with its story.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::code::ErrorCode;
use super::delivery::Delivery;

/// On its way to the dead letters.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The record and its ledger; completed when the dead letter is durable.
    pub delivery: Delivery,
    /// Document id, if the record could be decoded.
    pub document_id: Option<Arc<str>>,
    /// Stage that gave up, such as `source` or `embedder`.
    pub stage: Arc<str>,
    /// Why, as a stable code.
    pub code: ErrorCode,
    /// Why, in words, naming field and value.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
    /// One line per attempt, oldest first.
    pub history: Vec<String>,
}

/// A dead letter at rest, as stores keep it and users see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredDeadLetter {
    /// `UUIDv5` of topic, partition and offset: a redelivered record is the same dead letter.
    pub id: Arc<str>,
    /// Document id, if the record could be decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_id: Option<Arc<str>>,
    /// Correlation id.
    pub correlation_id: String,
    /// Stage that gave up.
    pub stage: Arc<str>,
    /// Stable code.
    pub code: ErrorCode,
    /// In words.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
    /// One line per attempt.
    pub history: Vec<String>,
    /// Original topic.
    pub topic: Arc<str>,
    /// Original partition.
    pub partition: i32,
    /// Original offset.
    pub offset: i64,
    /// The record's own time.
    pub first_seen: DateTime<Utc>,
    /// When it was given up.
    pub dead_at: DateTime<Utc>,
    /// When it was last replayed, if ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed_at: Option<DateTime<Utc>>,
    /// Original key, raw.
    #[serde(skip)]
    pub key: Option<Vec<u8>>,
    /// Original value, raw.
    #[serde(skip)]
    pub value: Vec<u8>,
    /// Original headers, raw.
    #[serde(skip)]
    pub headers: Vec<(String, Vec<u8>)>,
}

impl StoredDeadLetter {
    /// The id of the dead letter of the record at this position.
    #[must_use]
    pub fn id_of(topic: &str, partition: i32, offset: i64) -> Arc<str> {
        let name = format!("dead-letter/{topic}/{partition}/{offset}");
        let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes());
        (&*id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer())).into()
    }
}
