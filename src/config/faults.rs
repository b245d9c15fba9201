//! `[faults]`: fault injection.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problems;

/// Fault injection for tests and demonstrations. Never turn it on in production.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FaultsConfig {
    /// Whether any fault is injected, and whether the HTTP routes that inject more are there.
    pub enabled: bool,
    /// A document whose text contains this crashes the stage named by `poison_stage` every time it is tried. Only while
    /// `enabled`.
    pub poison_marker: String,
    /// Stage that crashes on poison, as named by `tidemill topology`.
    pub poison_stage: String,
    /// Stage that takes `delay_ms` for every batch, as named by `tidemill topology`; empty slows none. Only while
    /// `enabled`.
    pub delayed_stage: String,
    /// Milliseconds, 0 to 60,000.
    pub delay_ms: u64,
}

impl Default for FaultsConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            poison_marker: "tidemill-poison".into(),
            poison_stage: "embedder".into(),
            delayed_stage: String::new(),
            delay_ms: 0,
        }
    }
}

impl FaultsConfig {
    /// Notes settings that are out of range.
    pub fn validate(&self, problems: &mut Problems) {
        problems.require(!self.poison_marker.is_empty(), "poison_marker", "\"\"", "a text that is not empty");
        problems.range("delay_ms", self.delay_ms, 0, 60_000);
        problems.require(!self.poison_stage.is_empty(), "poison_stage", "\"\"", "a stage's name");
    }
}
