//! Names in columns, the same in every relational store.

use crate::messages::analysis::{SentimentLabel, VerdictLabel};
use crate::messages::pipeline::DuplicateRule;

/// Name of a verdict.
pub(super) fn verdict_name(verdict: VerdictLabel) -> &'static str {
    match verdict {
        VerdictLabel::Stored => "stored",
        VerdictLabel::Duplicate => "duplicate",
    }
}

/// Name of the rule that found a duplicate.
pub(super) fn rule_name(rule: DuplicateRule) -> &'static str {
    match rule {
        DuplicateRule::Exact => "exact",
        DuplicateRule::Minhash => "minhash",
        DuplicateRule::Cosine => "cosine",
    }
}

/// Name of a sentiment.
pub(super) fn sentiment_name(label: SentimentLabel) -> &'static str {
    match label {
        SentimentLabel::Positive => "positive",
        SentimentLabel::Neutral => "neutral",
        SentimentLabel::Negative => "negative",
    }
}

/// The sentiment of this name.
pub(super) fn parse_sentiment(name: &str) -> Option<SentimentLabel> {
    [SentimentLabel::Positive, SentimentLabel::Neutral, SentimentLabel::Negative]
        .into_iter()
        .find(|label| sentiment_name(*label) == name)
}
