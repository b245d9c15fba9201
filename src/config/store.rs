//! `[store]`: where documents and vectors are kept.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problems;

/// Where documents, analyses and dead letters are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreBackend {
    /// A file in the data directory; nothing to install.
    Sqlite,
    /// A PostgreSQL server, which several daemons may share; see `[postgres]`.
    Postgres,
}

/// The stores: `SQLite` or PostgreSQL for documents, analyses and dead letters, an in-process index for vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// `sqlite` (default: nothing to install) or `postgres`, which `[postgres]` says how to reach.
    pub backend: StoreBackend,
    /// The `SQLite` file; a relative path counts from the data directory.
    pub sqlite_path: PathBuf,
    /// Connections that read beside the one that writes (1 to 16). Each has a thread of its own.
    pub readers: usize,
    /// Calls that may wait for the writing connection, and for the readers (1 to 10000); further calls wait outside.
    pub queue_capacity: usize,
    /// Most rows of one transaction (1 to 100000); waiting writes are joined up to this, so that they share one sync.
    pub max_batch_rows: usize,
    /// How long `SQLite` waits for a lock of another process, in milliseconds (1 to 60000).
    pub busy_timeout_ms: u64,
    /// How long a call may take before it fails as unavailable, in milliseconds (100 to 600000). A write that comes too
    /// late may still become durable; writing it again is harmless.
    pub call_timeout_ms: u64,
    /// The vector index.
    pub vectors: VectorsConfig,
}

/// The vector index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VectorsConfig {
    /// The index file; a relative path counts from the data directory. Losing it costs a rebuild from `SQLite`, no data.
    pub path: PathBuf,
    /// From this many vectors on an approximate graph index (HNSW) finds the candidates; below, every vector is looked
    /// at (0 to 100000000). An exact scan of 50000 vectors of 384 values reads 77 MB.
    pub graph_from: usize,
    /// Edges per vector in the graph (4 to 128). More is exacter, larger and slower to build.
    pub connectivity: usize,
    /// Candidates looked at while a vector is added (16 to 2048).
    pub expansion_add: usize,
    /// Candidates looked at while searching (16 to 4096).
    pub expansion_search: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            backend: StoreBackend::Sqlite,
            sqlite_path: "tidemill.sqlite3".into(),
            readers: 3,
            queue_capacity: 256,
            max_batch_rows: 2000,
            busy_timeout_ms: 5000,
            call_timeout_ms: 30_000,
            vectors: VectorsConfig::default(),
        }
    }
}

impl Default for VectorsConfig {
    fn default() -> Self {
        Self {
            path: "vectors.index".into(),
            graph_from: 50_000,
            connectivity: 16,
            expansion_add: 128,
            expansion_search: 96,
        }
    }
}

impl StoreConfig {
    /// Checks every field's range.
    pub fn validate(&self, problems: &mut Problems) {
        problems.require(
            self.sqlite_path.file_name().is_some(),
            "sqlite_path",
            self.sqlite_path.display(),
            "the path of a file",
        );
        problems.range("readers", self.readers, 1, 16);
        problems.range("queue_capacity", self.queue_capacity, 1, 10_000);
        problems.range("max_batch_rows", self.max_batch_rows, 1, 100_000);
        problems.range("busy_timeout_ms", self.busy_timeout_ms, 1, 60_000);
        problems.range("call_timeout_ms", self.call_timeout_ms, 100, 600_000);
        problems.section("vectors", |problems| self.vectors.validate(problems));
    }
}

impl VectorsConfig {
    /// Checks every field's range.
    pub fn validate(&self, problems: &mut Problems) {
        problems.require(self.path.file_name().is_some(), "path", self.path.display(), "the path of a file");
        problems.range("graph_from", self.graph_from, 0, 100_000_000);
        problems.range("connectivity", self.connectivity, 4, 128);
        problems.range("expansion_add", self.expansion_add, 16, 2048);
        problems.range("expansion_search", self.expansion_search, 16, 4096);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        let mut problems = Problems::default();
        StoreConfig::default().validate(&mut problems);
        assert_eq!(problems.into_found(), []);
    }

    #[test]
    fn problems_name_the_nested_key() {
        let mut problems = Problems::default();
        let vectors = VectorsConfig { connectivity: 1, ..Default::default() };
        let config = StoreConfig { readers: 0, vectors, ..Default::default() };
        problems.section("store", |problems| config.validate(problems));
        let keys: Vec<String> = problems.into_found().into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["store.readers", "store.vectors.connectivity"]);
    }
}
