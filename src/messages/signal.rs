//! The signal: what a document said about one symbol, and since when that could be known.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::analysis::{Analysis, SentimentLabel, VerdictLabel};

/// One document's sentiment about one symbol (topic `signals`, table `analytics.signals`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Trading symbol, upper case.
    pub symbol: String,
    /// When it happened: the document's `published_at`, else `accepted_at`. To the microsecond.
    pub ts: DateTime<Utc>,
    /// Probability of positive less that of negative, -1 to 1.
    pub score: f32,
    /// The document's label.
    pub label: SentimentLabel,
    /// The document.
    pub document_id: Arc<str>,
    /// The record's own time: when the log took the document in. Nobody could act on it before.
    pub accepted_at: DateTime<Utc>,
    /// When the verdict was made.
    pub processed_at: DateTime<Utc>,
}

/// The signals of an analysis whose record has this time: one for each symbol of a stored document, none of a duplicate.
#[must_use]
pub fn signals_of(analysis: &Analysis, record_ms: i64) -> Vec<Signal> {
    let (VerdictLabel::Stored, Some(sentiment)) = (analysis.verdict, &analysis.sentiment) else { return Vec::new() };
    let accepted_at = DateTime::from_timestamp_millis(record_ms).unwrap_or(analysis.processed_at);
    let ts = whole_micros(analysis.published_at.unwrap_or(accepted_at));
    let mut signals: Vec<Signal> = Vec::with_capacity(analysis.symbols.len());
    for symbol in &analysis.symbols {
        if signals.iter().any(|signal| signal.symbol == *symbol) {
            continue;
        }
        signals.push(Signal {
            symbol: symbol.clone(),
            ts,
            score: sentiment.score,
            label: sentiment.label,
            document_id: Arc::clone(&analysis.document_id),
            accepted_at,
            processed_at: whole_micros(analysis.processed_at),
        });
    }
    signals
}

/// A time cut to whole microseconds, as stores keep it.
fn whole_micros(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(time.timestamp_micros()).unwrap_or(time)
}
