//! What the stages of the document path send each other, in the order of the way.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::analysis::{Category, Entity, Sentiment};
use super::bar::Bar;
use super::delivery::Delivery;
use super::document::Document;
use crate::models::Encoded;

/// Which rule recognised a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateRule {
    /// The cleaned texts are the same.
    Exact,
    /// The estimated Jaccard similarity of their shingles reaches the threshold.
    Minhash,
    /// The cosine of their embeddings reaches the threshold.
    Cosine,
}

/// A document this one is a duplicate of, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DuplicateOf {
    /// Id of the earlier document.
    pub of: Arc<str>,
    /// The rule that fired.
    pub rule: DuplicateRule,
    /// Similarity under that rule, 0 to 1.
    pub similarity: f32,
}

/// What the duplicate memory knows of a document when it comes by.
#[derive(Debug, Clone, PartialEq)]
pub enum Sighting {
    /// Not seen before, or the same record again before its verdict was durable.
    Fresh,
    /// The same id with the same content already has a durable verdict, or is ahead in the pipeline: repeat that verdict.
    Same,
    /// A copy of an earlier document.
    Copy(DuplicateOf),
}

/// Source → fingerprinter: a decoded, valid document.
#[derive(Debug, Clone)]
pub struct Intake {
    /// The record's way back to its ledger.
    pub delivery: Delivery,
    /// The document.
    pub document: Arc<Document>,
}

/// Source of bars → bar writer: a decoded, valid bar.
#[derive(Debug, Clone)]
pub struct BarIntake {
    /// The record's way back to its ledger.
    pub delivery: Delivery,
    /// The bar.
    pub bar: Bar,
}

/// Fingerprinter → embedder.
#[derive(Debug, Clone)]
pub struct Fingerprinted {
    /// The record's way back to its ledger.
    pub delivery: Delivery,
    /// The document.
    pub document: Arc<Document>,
    /// SHA-256 of its normalised content.
    pub content_hash: [u8; 32],
    /// What the duplicate memory said; only [`Sighting::Fresh`] is embedded.
    pub sighting: Sighting,
    /// Milliseconds spent per stage so far.
    pub timings: Timings,
}

/// Embedder → deduplicator.
#[derive(Debug, Clone)]
pub struct Embedded {
    /// The record's way back to its ledger.
    pub delivery: Delivery,
    /// The document.
    pub document: Arc<Document>,
    /// SHA-256 of its normalised content.
    pub content_hash: [u8; 32],
    /// As the fingerprinter set it.
    pub sighting: Sighting,
    /// The embedding; `None` unless the sighting is fresh.
    pub encoded: Option<Encoded>,
    /// Milliseconds spent per stage so far.
    pub timings: Timings,
}

/// Deduplicator → sentiment analyzer → writers.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The record's way back to its ledger.
    pub delivery: Delivery,
    /// The document.
    pub document: Arc<Document>,
    /// SHA-256 of its normalised content.
    pub content_hash: [u8; 32],
    /// The sighting after the near-duplicate check.
    pub sighting: Sighting,
    /// The embedding; `None` unless the sighting was fresh at the embedder.
    pub encoded: Option<Encoded>,
    /// Set by the sentiment analyzer for fresh documents. Boxed, as messages are moved from queue to queue.
    pub opinion: Option<Box<Opinion>>,
    /// Milliseconds spent per stage so far.
    pub timings: Timings,
}

/// What the sentiment analyzer found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opinion {
    /// Sentiment with calibrated probabilities.
    pub sentiment: Sentiment,
    /// Topic category.
    pub category: Category,
    /// Entities in order of appearance.
    pub entities: Vec<Entity>,
}

/// A stage whose time is told, in the order of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Fingerprinter.
    Fingerprint,
    /// Embedder.
    Embed,
    /// Deduplicator.
    Dedup,
    /// Sentiment analyzer.
    Sentiment,
    /// The writer of verdicts.
    Sql,
}

impl Stage {
    /// All, in the order of the way.
    pub const ALL: [Self; 5] = [Self::Fingerprint, Self::Embed, Self::Dedup, Self::Sentiment, Self::Sql];

    /// Its name in analyses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fingerprint => "fingerprint",
            Self::Embed => "embed",
            Self::Dedup => "dedup",
            Self::Sentiment => "sentiment",
            Self::Sql => "sql",
        }
    }
}

/// Milliseconds spent per stage so far. Copied with every message, so it owns nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timings {
    /// By stage; of stages not passed, nothing.
    passed: [Option<f32>; Stage::ALL.len()],
}

impl Timings {
    /// Notes that a stage was passed when this many milliseconds had gone by since the beginning: what no stage before
    /// took is its own.
    pub fn stamp(&mut self, stage: Stage, since_beginning_ms: f32) {
        let before: f32 = self.passed.iter().flatten().sum();
        self.passed[stage as usize] = Some((since_beginning_ms - before).max(0.0));
    }

    /// Stages passed, in the order of the way.
    pub fn iter(&self) -> impl Iterator<Item = (Stage, f32)> + '_ {
        Stage::ALL.into_iter().zip(self.passed).filter_map(|(stage, elapsed)| Some((stage, elapsed?)))
    }
}
