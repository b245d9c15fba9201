//! `[dedup]`: what counts as a copy.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problems;

/// The cascade of duplicate rules, cheapest first: exact content hash, `MinHash` over words, cosine of embeddings.
/// The first rule that fires decides and is named in the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DedupConfig {
    /// Whether the same words make a duplicate, whatever their case, punctuation and links.
    pub exact: bool,
    /// Whether nearly the same words make a duplicate. Short texts must agree in every number, cashtag and word of
    /// direction ("up", "falls", "not"): "up 5%" is no copy of "up 7%".
    pub minhash: bool,
    /// Whether nearly the same meaning, as the encoder sees it, makes a duplicate.
    pub cosine: bool,
    /// Estimated Jaccard similarity of word pairs and triples from which on a text is a copy (0.5 to 1). At 0.85 a word
    /// put in front of or behind a headline of ten words is still a copy; a word changed in its middle is not.
    pub minhash_threshold: f32,
    /// Cosine similarity of embeddings from which on a text is a copy (0.5 to 1). 0.95 catches near-verbatim text only:
    /// paraphrases of one headline lie around 0.8.
    pub cosine_threshold: f32,
    /// How far apart in time, by the records' own times, a document and its copy may lie, in seconds (1 to 31536000).
    /// Seven days by default: the same words a month later are usually news again.
    pub window_seconds: u64,
    /// Most documents the memory of exact and `MinHash` rules holds (1000 to 20000000), about 1 KB each. The
    /// oldest go first, even inside the window: keep this above the documents of one window.
    pub capacity: usize,
    /// Whether daemons share their memory of exact and `MinHash` rules over Redis (section `redis`), so that of copies
    /// that reach two of them at once one is stored: `auto`, `on` or `off`. `auto` (default) shares where several daemons
    /// read one topic into one store: with `log.backend = "kafka"`, `store.backend = "postgres"` and a `redis.url`. All that
    /// share need the same document store.
    pub shared: Sharing,
    /// How long a copy waits for its original while another daemon has that on its way, 1 to 3,600 seconds. Default 300.
    /// Then it is judged again without it, and both may be stored. A dead or withdrawn original is not waited for.
    pub original_wait_seconds: u64,
}

/// Whether the duplicate memory is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// Where several daemons read one topic into one store.
    Auto,
    /// Always; needs `redis.url`.
    On,
    /// Never: this daemon is the only one.
    Off,
}

impl Default for DedupConfig {
    fn default() -> Self {
        Self {
            exact: true,
            minhash: true,
            cosine: true,
            minhash_threshold: 0.85,
            cosine_threshold: 0.95,
            window_seconds: 7 * 86_400,
            capacity: 250_000,
            shared: Sharing::Auto,
            original_wait_seconds: 300,
        }
    }
}

impl DedupConfig {
    /// Checks every field's range.
    pub fn validate(&self, problems: &mut Problems) {
        problems.range("minhash_threshold", self.minhash_threshold, 0.5, 1.0);
        problems.range("cosine_threshold", self.cosine_threshold, 0.5, 1.0);
        problems.range("window_seconds", self.window_seconds, 1, 31_536_000);
        problems.range("capacity", self.capacity, 1000, 20_000_000);
        problems.range("original_wait_seconds", self.original_wait_seconds, 1, 3_600);
    }

    /// How long a copy waits for an original that another daemon has.
    #[must_use]
    pub fn original_wait(&self) -> Duration {
        Duration::from_secs(self.original_wait_seconds)
    }

    /// The window in milliseconds.
    #[must_use]
    pub fn window_ms(&self) -> i64 {
        i64::try_from(self.window_seconds.saturating_mul(1000)).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        let mut problems = Problems::default();
        DedupConfig::default().validate(&mut problems);
        assert_eq!(problems.into_found(), []);
    }

    #[test]
    fn nan_threshold_is_a_problem() {
        let mut problems = Problems::default();
        DedupConfig { cosine_threshold: f32::NAN, ..Default::default() }.validate(&mut problems);
        assert_eq!(problems.into_found()[0].key, "cosine_threshold");
    }
}
