//! The graph (HNSW) over the 8-bit codes: finds candidates among many vectors. What it misses of one in a hundred is its
//! price; what it finds is compared exactly by its caller. Per vector about 390 bytes of codes and 200 of edges.

use parking_lot::RwLock;
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use super::scan::{CodeProduct, code_product};
use super::slots::Key;
use crate::config::store::VectorsConfig;

/// Threads that may search at once; one more than that waits for none but scans.
const MAX_THREADS: usize = 64;
/// Room made at first.
const FIRST_CAPACITY: usize = 16_384;
/// Fewest candidates asked for, so that exact comparison has a choice.
const MIN_CANDIDATES: usize = 48;
/// Bytes behind the codes of a vector: one over their length, as a 32-bit value.
const TAIL: usize = size_of::<f32>();

/// The graph failed; the index goes on without it.
#[derive(Debug, thiserror::Error)]
#[error("vector graph: {0}")]
pub(super) struct GraphError(String);

/// Codes as the graph keeps them.
pub(super) struct Packed(Vec<i8>);

impl Packed {
    /// Codes with what makes a cosine of their product.
    pub(super) fn new(codes: &[i8]) -> Self {
        let square: i32 = codes.iter().map(|&code| i32::from(code) * i32::from(code)).sum();
        #[expect(clippy::cast_precision_loss, reason = "a rounding of 1e-7 of a candidate's distance does not count")]
        let inverse = 1.0 / (square.max(1) as f32).sqrt();
        let mut packed = Vec::with_capacity(codes.len() + TAIL);
        packed.extend_from_slice(codes);
        packed.extend(inverse.to_le_bytes().map(u8::cast_signed));
        Self(packed)
    }
}

/// One less the cosine of two packed vectors.
fn distance(product: CodeProduct, one: &[i8], two: &[i8]) -> f32 {
    let (Some((one, one_tail)), Some((two, two_tail))) =
        (one.split_last_chunk::<TAIL>(), two.split_last_chunk::<TAIL>())
    else {
        return 2.0;
    };
    let inverse = |tail: &[i8; TAIL]| f32::from_le_bytes(tail.map(i8::cast_unsigned));
    #[expect(clippy::cast_precision_loss, reason = "a rounding of 1e-7 of a candidate's distance does not count")]
    let product = product(one, two) as f32;
    1.0 - product * inverse(one_tail) * inverse(two_tail)
}

/// A graph of keys. Adding and searching go on at once.
pub(super) struct Graph {
    /// Locked exclusively only to make room.
    index: RwLock<Index>,
}

impl Graph {
    /// An empty graph.
    pub(super) fn new(dimension: usize, config: &VectorsConfig) -> Result<Self, GraphError> {
        let mut index = empty(dimension, config)?;
        index.reserve_capacity_and_threads(FIRST_CAPACITY, MAX_THREADS).map_err(failed)?;
        compare_codes(&mut index, dimension);
        Ok(Self { index: RwLock::new(index) })
    }

    /// Reads what [`Graph::save`] wrote.
    pub(super) fn load(bytes: &[u8], dimension: usize, config: &VectorsConfig) -> Result<Self, GraphError> {
        let mut index = empty(dimension, config)?;
        index.load_from_buffer(bytes).map_err(failed)?;
        if index.dimensions() != dimension + TAIL {
            return Err(GraphError(format!("has vectors of {} bytes", index.dimensions())));
        }
        // Loading takes over the file's own room, settings and metric.
        index.reserve_capacity_and_threads(index.size() + FIRST_CAPACITY, MAX_THREADS).map_err(failed)?;
        index.change_expansion_add(config.expansion_add);
        index.change_expansion_search(config.expansion_search);
        compare_codes(&mut index, dimension);
        Ok(Self { index: RwLock::new(index) })
    }

    /// Adds a vector.
    pub(super) fn add(&self, key: Key, packed: &Packed) -> Result<(), GraphError> {
        {
            let index = self.index.read();
            if index.size() < index.capacity() {
                return index.add(key, &packed.0).map_err(failed);
            }
        }
        let index = self.index.write();
        index.reserve_capacity_and_threads(index.capacity().max(FIRST_CAPACITY) * 2, MAX_THREADS).map_err(failed)?;
        index.add(key, &packed.0).map_err(failed)
    }

    /// Keys of vectors near the query that `wanted` lets through: more than `k` where there are.
    pub(super) fn search(
        &self,
        query: &Packed,
        k: usize,
        wanted: impl Fn(Key) -> bool,
    ) -> Result<Vec<Key>, GraphError> {
        let count = k.saturating_mul(2).max(MIN_CANDIDATES);
        Ok(self.index.read().filtered_search(&query.0, count, wanted).map_err(failed)?.keys)
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

fn empty(dimension: usize, config: &VectorsConfig) -> Result<Index, GraphError> {
    let options = IndexOptions {
        dimensions: dimension + TAIL,
        metric: MetricKind::IP,
        quantization: ScalarKind::I8,
        connectivity: config.connectivity,
        expansion_add: config.expansion_add,
        expansion_search: config.expansion_search,
        multi: false,
    };
    Index::new(&options).map_err(failed)
}

/// Has the graph compare by our own codes, with the processor's widest instructions: the library's own conversion from
/// 32-bit values keeps four bits of them, and its comparison is scalar.
fn compare_codes(index: &mut Index, dimension: usize) {
    let product = code_product();
    let length = dimension + TAIL;
    let metric = move |one: *const i8, two: *const i8| {
        // SAFETY: the graph compares only vectors it holds and queries, all of `length` codes, none of which moves or
        // changes meanwhile: it copies what is added, and a query is borrowed for the search.
        let (one, two) = unsafe { (std::slice::from_raw_parts(one, length), std::slice::from_raw_parts(two, length)) };
        distance(product, one, two)
    };
    index.change_metric::<i8>(Box::new(metric));
}

fn failed(error: impl std::fmt::Display) -> GraphError {
    GraphError(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::scan::quantise;
    use super::*;

    #[test]
    fn distance_of_codes_is_near_that_of_the_values() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut vector = || -> Vec<f32> {
            let values: Vec<f32> = (0..384).map(|_| random.f32() - 0.5).collect();
            let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
            values.into_iter().map(|value| value / norm).collect()
        };
        for _ in 0..20 {
            let (one, two) = (vector(), vector());
            let exact: f32 = one.iter().zip(&two).map(|(one, two)| one * two).sum();
            let packed = [&one, &two].map(|values| {
                let mut codes = vec![0; values.len()];
                quantise(values, &mut codes);
                Packed::new(&codes)
            });
            let found = 1.0 - distance(code_product(), &packed[0].0, &packed[1].0);
            assert!((found - exact).abs() < 0.005, "{found} / {exact}");
            assert!(distance(code_product(), &packed[0].0, &packed[0].0).abs() < 1e-5);
        }
    }
}
