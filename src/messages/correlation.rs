//! The correlation id: one name for one document's way through everything.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest correlation id taken over from a user, in bytes; longer ones are replaced.
pub const MAX_CORRELATION_BYTES: usize = 128;

/// An opaque id of visible ASCII characters, at most [`MAX_CORRELATION_BYTES`] long.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CorrelationId(Arc<str>);

impl CorrelationId {
    /// A new random id (UUID version 7, so that ids sort by time).
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::now_v7().to_string().into())
    }

    /// Takes over a user's id, or `None` if it is empty, too long or has other than visible ASCII characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= MAX_CORRELATION_BYTES;
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.into()))
    }

    /// The id for a record that carries none: the same record always gets the same id.
    #[must_use]
    pub fn of_position(topic: &str, partition: i32, offset: i64) -> Self {
        let name = format!("{topic}/{partition}/{offset}");
        let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes());
        Self((&*id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer())).into())
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
