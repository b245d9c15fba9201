//! What one call of a handler takes from its mailbox, and how a failed batch is divided.

use std::time::Duration;

/// How many messages one call of a handler takes. A batch closes as soon as one limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPolicy {
    /// Most messages.
    pub max_messages: usize,
    /// Most weight, as [`super::Actor::weight`] counts it; a heavier message goes alone.
    pub max_weight: u64,
    /// How long the oldest message may wait for company, counted from when it was sent.
    pub max_age: Duration,
}

impl Default for BatchPolicy {
    fn default() -> Self {
        Self { max_messages: 1, max_weight: u64::MAX, max_age: Duration::ZERO }
    }
}

impl BatchPolicy {
    /// Batches of at most `max_messages`, taken without waiting for company.
    pub fn of(max_messages: usize) -> Self {
        Self { max_messages, ..Self::default() }
    }
}
