//! `[cache]`: answers kept for a while, so that the same question is not worked out twice.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problems;

/// The cache of embeddings, judged texts and search answers. A cache that fails is a miss, never an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// `auto` (default): Redis where `redis.url` is set, else this process's memory; or `memory`, `redis` or `off`.
    pub backend: CacheBackendKind,
    /// Mebibytes the cache in memory holds at most, 1 to 65,536. Default 64; what was not asked for longest goes first.
    /// Redis has a limit of its own (`maxmemory`).
    pub memory_mib: usize,
    /// Largest entry in kibibytes, 1 to 65,536; larger answers are not kept. Default 1,024.
    pub max_entry_kib: usize,
    /// How long an answer of the cache is waited for, 1 to 10,000 milliseconds. Default 100: then it is a miss.
    pub timeout_ms: u64,
    /// How long each kind of entry is kept.
    pub ttl: TtlConfig,
}

/// Where the cache is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheBackendKind {
    /// Redis where there is one, else memory.
    Auto,
    /// This process's memory.
    Memory,
    /// Redis, shared by all daemons.
    Redis,
    /// Nowhere.
    Off,
}

/// Seconds each kind of entry is kept, 0 to 31,536,000; 0 keeps none of that kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TtlConfig {
    /// Embeddings of texts and queries. Default 3,600.
    pub embedding: u64,
    /// Sentiment, category and entities of texts. Default 1,800.
    pub quality: u64,
    /// Search answers; a change of the index ends them earlier. Default 300.
    pub search: u64,
    /// What was fetched from elsewhere. Default 600.
    pub resource: u64,
    /// Everything else. Default 300.
    pub other: u64,
}

impl Default for TtlConfig {
    fn default() -> Self {
        Self { embedding: 3_600, quality: 1_800, search: 300, resource: 600, other: 300 }
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            backend: CacheBackendKind::Auto,
            memory_mib: 64,
            max_entry_kib: 1_024,
            timeout_ms: 100,
            ttl: TtlConfig::default(),
        }
    }
}

impl CacheConfig {
    /// How long an answer of the cache is waited for.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Checks every field's range.
    pub fn validate(&self, problems: &mut Problems) {
        problems.range("memory_mib", self.memory_mib, 1, 65_536);
        problems.range("max_entry_kib", self.max_entry_kib, 1, 65_536);
        problems.range("timeout_ms", self.timeout_ms, 1, 10_000);
        problems.section("ttl", |problems| {
            let TtlConfig { embedding, quality, search, resource, other } = self.ttl;
            let kinds = [
                ("embedding", embedding),
                ("quality", quality),
                ("search", search),
                ("resource", resource),
                ("other", other),
            ];
            for (key, seconds) in kinds {
                problems.range(key, seconds, 0, 31_536_000);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_problems_name_their_key() {
        let mut problems = Problems::default();
        CacheConfig::default().validate(&mut problems);
        let ttl = TtlConfig { search: u64::MAX, ..TtlConfig::default() };
        CacheConfig { memory_mib: 0, ttl, ..CacheConfig::default() }.validate(&mut problems);
        let keys: Vec<String> = problems.into_found().into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["memory_mib", "ttl.search"]);
    }
}
