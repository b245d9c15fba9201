//! Jobs: work that is kept until it is done, however often processes die meanwhile.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The most urgent priority; 0 is the least.
pub const MAX_PRIORITY: u8 = 9;
/// Priority of a job that names none.
pub const DEFAULT_PRIORITY: u8 = 5;
/// Failures of one job that are kept, the newest.
pub const MAX_ERRORS: usize = 20;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// May start now.
    Queued,
    /// May start at `run_at`: it was asked for later, or waits after a failure.
    Delayed,
    /// A worker holds its lease.
    Running,
    /// Done.
    Succeeded,
    /// Given up after its last attempt; kept with its errors until replayed.
    Dead,
    /// Called off.
    Cancelled,
    /// Not started in time.
    Skipped,
}

impl JobState {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 7] =
        [Self::Queued, Self::Delayed, Self::Running, Self::Succeeded, Self::Dead, Self::Cancelled, Self::Skipped];

    /// As written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Delayed => "delayed",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }

    /// The state written so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether nothing more happens to it by itself.
    #[must_use]
    pub const fn is_finished(self) -> bool {
        match self {
            Self::Queued | Self::Delayed | Self::Running => false,
            Self::Succeeded | Self::Dead | Self::Cancelled | Self::Skipped => true,
        }
    }
}

impl std::fmt::Display for JobState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// One attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobAttempt {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// When it ended.
    pub at: DateTime<Utc>,
    /// The worker that had it.
    pub worker: String,
    /// What went wrong, in words.
    pub error: String,
}

/// A job at rest, as queues keep it and users see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Unique, sorted by time (`UUIDv7`).
    pub id: Arc<str>,
    /// What kind of work; chooses the handler and the queue it waits in.
    pub kind: Arc<str>,
    /// Where it stands.
    pub state: JobState,
    /// 0 to 9, 9 the most urgent.
    pub priority: u8,
    /// What the handler is given.
    pub payload: Value,
    /// While a job with this key is not finished, another of its kind with the same key is the same job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Goes through every log line of the job.
    pub correlation_id: String,
    /// Fields of the request that mean nothing to the queue.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// When it was taken in.
    pub created_at: DateTime<Utc>,
    /// Before this it does not start.
    pub run_at: DateTime<Utc>,
    /// Not started by then it is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// When the newest attempt started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
    /// When it was finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    /// Attempts begun, the one going on included. One that was given back in order is not counted.
    pub attempts: u32,
    /// After so many failed attempts it is dead.
    pub max_attempts: u32,
    /// How often it was replayed.
    pub replays: u32,
    /// How far the newest attempt came, 0 to 1.
    pub progress: f64,
    /// What the newest attempt says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The worker that holds its lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Until then the worker has to be heard of again, or the job is taken from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_expires_at: Option<DateTime<Utc>>,
    /// It was called off while it ran, and its handler was told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancel_requested: bool,
    /// What the handler answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why it is dead, cancelled or skipped, or what its last attempt failed of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Failed attempts, oldest first, at most [`MAX_ERRORS`].
    pub errors: Vec<JobAttempt>,
}

/// A job that a queue shall take.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Id to give it.
    pub id: Arc<str>,
    /// What kind of work.
    pub kind: Arc<str>,
    /// What the handler is given.
    pub payload: Value,
    /// 0 to 9, 9 the most urgent.
    pub priority: u8,
    /// Not before this; `None` for now.
    pub run_at: Option<DateTime<Utc>>,
    /// To be started within this many milliseconds from the time it may start.
    pub ttl_ms: Option<i64>,
    /// See [`Job::key`].
    pub key: Option<String>,
    /// See [`Job::correlation_id`].
    pub correlation_id: String,
    /// See [`Job::metadata`].
    pub metadata: Map<String, Value>,
    /// See [`Job::max_attempts`].
    pub max_attempts: u32,
}

impl NewJob {
    /// A job of this kind that may start at once, with a new id.
    #[must_use]
    pub fn new(kind: &str, payload: Value) -> Self {
        let id: Arc<str> = uuid::Uuid::now_v7().to_string().into();
        Self {
            correlation_id: id.to_string(),
            id,
            kind: kind.into(),
            payload,
            priority: DEFAULT_PRIORITY,
            run_at: None,
            ttl_ms: None,
            key: None,
            metadata: Map::new(),
            max_attempts: 3,
        }
    }
}

/// A job that came into a state, by a call or in the course of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobChange {
    /// The job.
    pub id: Arc<str>,
    /// Its kind.
    pub kind: Arc<str>,
    /// Its correlation id.
    pub correlation_id: String,
    /// Its new state.
    pub state: JobState,
    /// Attempts begun.
    pub attempts: u32,
    /// Why, where there is more to say than the state.
    pub reason: Option<String>,
}

impl JobChange {
    /// The change that led to this job's state.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        Self {
            id: Arc::clone(&job.id),
            kind: Arc::clone(&job.kind),
            correlation_id: job.correlation_id.clone(),
            state: job.state,
            attempts: job.attempts,
            reason: job.reason.clone(),
        }
    }
}

/// Whether this may be the name of a kind: lower-case letters, digits, `-` and `_`, at most 64, a letter first.
#[must_use]
pub fn is_kind_name(text: &str) -> bool {
    let follows = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    text.len() <= 64 && text.starts_with(|first: char| first.is_ascii_lowercase()) && text.bytes().all(follows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_they_are_written() {
        for state in JobState::ALL {
            assert_eq!(JobState::parse(state.as_str()), Some(state));
            assert_eq!(serde_json::json!(state), state.as_str());
        }
        assert_eq!(JobState::parse("failed"), None);
    }

    #[test]
    fn kind_names_are_checked() {
        assert!(is_kind_name("reindex") && is_kind_name("a-b_2"));
        for wrong in ["", "Reindex", "2a", "a b", "é", "a:b", &"a".repeat(65)] {
            assert!(!is_kind_name(wrong), "{wrong}");
        }
    }
}
