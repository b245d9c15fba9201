//! The document: what users send and what the pipeline works on.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A valid document. Made only by `text::decode`, which cleans, checks and derives the id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The sender's id, else `UUIDv5` of source and url, else of source and cleaned text.
    pub id: Arc<str>,
    /// Lower-case name of where it comes from.
    pub source: Arc<str>,
    /// Absolute http(s) URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Headline, cleaned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Text, cleaned: never empty.
    pub text: String,
    /// Author, cleaned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// When the sender says it was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<DateTime<Utc>>,
    /// Trading symbols given by the sender, upper case, no repeats.
    #[serde(default)]
    pub symbols: Vec<String>,
    /// BCP 47 language tag, if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    /// `metadata` as given, with the fields Tidemill does not know beside it.
    #[serde(default)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}
