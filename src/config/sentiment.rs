//! `[sentiment]`: how texts are judged.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problems;

/// Settings of the sentiment model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SentimentConfig {
    /// A label whose calibrated probability is under this is given as neutral with `abstained = true`; the
    /// probabilities stay as they are. 0 never abstains, 1 nearly always. Default 0.45: of three classes, the best one
    /// then has little more than chance.
    pub min_confidence: f32,
    /// Weights made by `tidemill train sentiment`, in place of those in the program. Default: none.
    pub weights: Option<PathBuf>,
}

impl Default for SentimentConfig {
    fn default() -> Self {
        Self { min_confidence: 0.45, weights: None }
    }
}

impl SentimentConfig {
    /// Notes what is out of range.
    pub fn validate(&self, problems: &mut Problems) {
        problems.range("min_confidence", self.min_confidence, 0.0, 1.0);
    }
}
