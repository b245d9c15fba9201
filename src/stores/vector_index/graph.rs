//! The graph (HNSW, 8-bit): finds candidates among many vectors. What it misses of one in a hundred is its price; what it
//! finds is compared exactly by its caller. Per vector about 384 bytes of codes and 200 of edges.

use parking_lot::RwLock;
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use super::slots::Key;
use crate::config::store::VectorsConfig;

/// Threads that may search at once; one more than that waits for none but scans.
const MAX_THREADS: usize = 64;
/// Room made at first.
const FIRST_CAPACITY: usize = 16_384;
/// Fewest candidates asked for, so that exact comparison has a choice.
const MIN_CANDIDATES: usize = 48;

/// The graph failed; the index goes on without it.
#[derive(Debug, thiserror::Error)]
#[error("vector graph: {0}")]
pub(super) struct GraphError(String);

/// A graph of keys. Adding and searching go on at once.
pub(super) struct Graph {
    /// Locked exclusively only to make room.
    index: RwLock<Index>,
}

impl Graph {
    /// An empty graph.
    pub(super) fn new(dimension: usize, config: &VectorsConfig) -> Result<Self, GraphError> {
        let options = IndexOptions {
            dimensions: dimension,
            metric: MetricKind::Cos,
            quantization: ScalarKind::I8,
            connectivity: config.connectivity,
            expansion_add: config.expansion_add,
            expansion_search: config.expansion_search,
            multi: false,
        };
        let index = Index::new(&options).map_err(failed)?;
        index.reserve_capacity_and_threads(FIRST_CAPACITY, MAX_THREADS).map_err(failed)?;
        Ok(Self { index: RwLock::new(index) })
    }

    /// Reads what [`Graph::save`] wrote.
    pub(super) fn load(bytes: &[u8], dimension: usize, config: &VectorsConfig) -> Result<Self, GraphError> {
        let graph = Self::new(dimension, config)?;
        {
            let index = graph.index.write();
            index.load_from_buffer(bytes).map_err(failed)?;
            if index.dimensions() != dimension {
                return Err(GraphError(format!("has dimension {}", index.dimensions())));
            }
            // Loading takes over the file's own room and settings.
            index.reserve_capacity_and_threads(index.size() + FIRST_CAPACITY, MAX_THREADS).map_err(failed)?;
            index.change_expansion_add(config.expansion_add);
            index.change_expansion_search(config.expansion_search);
        }
        Ok(graph)
    }

    /// Adds a vector.
    pub(super) fn add(&self, key: Key, values: &[f32]) -> Result<(), GraphError> {
        {
            let index = self.index.read();
            if index.size() < index.capacity() {
                return index.add(key, values).map_err(failed);
            }
        }
        let index = self.index.write();
        index.reserve_capacity_and_threads(index.capacity().max(FIRST_CAPACITY) * 2, MAX_THREADS).map_err(failed)?;
        index.add(key, values).map_err(failed)
    }

    /// Keys of vectors near the query that `wanted` lets through: more than `k` where there are.
    pub(super) fn search(&self, query: &[f32], k: usize, wanted: impl Fn(Key) -> bool) -> Result<Vec<Key>, GraphError> {
        let count = k.saturating_mul(2).max(MIN_CANDIDATES);
        Ok(self.index.read().filtered_search(query, count, wanted).map_err(failed)?.keys)
    }

    /// Vectors it holds, those gone included.
    pub(super) fn size(&self) -> usize {
        self.index.read().size()
    }

    /// Writes the graph out.
    pub(super) fn save(&self) -> Result<Vec<u8>, GraphError> {
        let index = self.index.read();
        let mut bytes = vec![0; index.serialized_length()];
        index.save_to_buffer(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }
}

fn failed(error: impl std::fmt::Display) -> GraphError {
    GraphError(error.to_string())
}
