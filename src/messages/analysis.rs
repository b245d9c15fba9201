//! The analysis: what users get for a document (topic `analyses`, HTTP, tables).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::correlation::CorrelationId;
use super::pipeline::DuplicateRule;
use super::record::Position;

/// The end of a document's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerdictLabel {
    /// Kept, scored and searchable.
    Stored,
    /// A copy of an earlier document.
    Duplicate,
}

/// Direction of a text for the price of what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SentimentLabel {
    /// Bullish.
    Positive,
    /// Neither, or abstained.
    Neutral,
    /// Bearish.
    Negative,
}

/// Sentiment of one text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sentiment {
    /// Most probable label, or neutral when abstained.
    pub label: SentimentLabel,
    /// Probability of positive less that of negative, -1 to 1.
    pub score: f32,
    /// Calibrated probabilities that sum to 1.
    pub probabilities: Probabilities,
    /// Name and version of the model that said so.
    pub model: Arc<str>,
    /// True when the highest probability was under the configured confidence; the label is then neutral.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abstained: bool,
}

/// Class probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Probabilities {
    /// Of positive.
    pub positive: f32,
    /// Of neutral.
    pub neutral: f32,
    /// Of negative.
    pub negative: f32,
}

/// Topic category of a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Category {
    /// Category name, such as `earnings` or `macro`.
    pub label: Arc<str>,
    /// 0 to 1.
    pub confidence: f32,
}

/// A thing named in a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entity {
    /// As written.
    pub text: String,
    /// Kind: `cashtag`, `ticker`, `company`, `money`, `percent` or `date`.
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    /// Start in the cleaned text, in Unicode scalar values.
    pub start: usize,
    /// End (exclusive) in the cleaned text, in Unicode scalar values.
    pub end: usize,
    /// Trading symbol, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
}

/// Which encoder embedded the document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbeddingInfo {
    /// Name and version of the encoder.
    pub model: Arc<str>,
    /// Vector length.
    pub dimension: usize,
}

/// The result for one document; a duplicate carries no opinion of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// Document id.
    pub document_id: Arc<str>,
    /// Correlation id.
    pub correlation_id: CorrelationId,
    /// The document's source.
    pub source: Arc<str>,
    /// Symbols given by the sender and found in the text.
    pub symbols: Vec<String>,
    /// Stored or duplicate.
    pub verdict: VerdictLabel,
    /// The stored document it is a duplicate of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate_of: Option<Arc<str>>,
    /// The rule that said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<DuplicateRule>,
    /// Similarity under that rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f32>,
    /// Sentiment; absent on duplicates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentiment: Option<Sentiment>,
    /// Category; absent on duplicates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// Entities; empty on duplicates.
    #[serde(default)]
    pub entities: Vec<Entity>,
    /// Encoder; absent on duplicates that were never embedded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<EmbeddingInfo>,
    /// When the document says it was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<DateTime<Utc>>,
    /// When the verdict was made.
    pub processed_at: DateTime<Utc>,
    /// Milliseconds per stage.
    pub timings_ms: BTreeMap<Cow<'static, str>, f32>,
    /// The record it came from.
    pub origin: Position,
}
