//! The in-process vector index.
//!
//! A search for very similar vectors, as the near-duplicate check makes it, is always exact: the first values of all
//! vectors, kept close together, rule nearly all out, and the rest is compared. Blocks of vectors outside the wanted time
//! are skipped. Any other search scans all codes below `graph_from` vectors, exactly; above, a graph (HNSW) finds
//! candidates, which are compared exactly, and vectors it has not got yet are scanned, so that an inserted vector is found
//! at once. Filters that leave few vectors are answered by looking at those. A thread brings vectors into the graph;
//! nobody waits for it.
//!
//! Memory per vector of 384 values: about 2.3 KB, and 0.6 KB more in the graph.

mod builder;
mod file;
mod graph;
mod pooled;
mod scan;
mod slots;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use self::builder::Shared;
use self::scan::{Best, Query, dot};
use self::slots::Slots;
use super::documents::{RememberedDocument, StoreError};
use super::vectors::{Neighbor, VectorEntry, VectorFilter};

pub use self::pooled::PooledIndex;
use crate::config::store::VectorsConfig;

/// A vector as long as this or shorter can't be normalised.
const MIN_NORM: f32 = 1e-6;
/// Similarity from which on the first values of two vectors rule nearly all others out.
const HIGH_SIMILARITY: f32 = 0.8;
/// A vector looked up by a list takes as long as this many whose codes are scanned one after the other.
const LISTED_BY_CODES: usize = 8;
/// The same for scanning heads.
const LISTED_BY_HEADS: usize = 32;
/// Lists as short as this are always looked through.
const ALWAYS_LISTED: usize = 250;

/// Whether the index can be used as it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// It is as it was when it was closed.
    Current,
    /// It must be rebuilt from the store of documents, for this reason.
    MustRebuild(String),
}

/// What a rebuild did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Vectors that were there already.
    pub kept: usize,
    /// Vectors that were missing or different.
    pub inserted: usize,
    /// Vectors that the store does not have.
    pub removed: usize,
}

/// The index; shared freely between threads.
pub struct EmbeddedIndex {
    shared: Arc<Shared>,
    path: PathBuf,
    /// Whether the file already says that the index changed since.
    marked: AtomicBool,
    /// The rebuild going on, or the last.
    epoch: AtomicU32,
    builder: Option<JoinHandle<()>>,
}

impl EmbeddedIndex {
    /// Opens the index of vectors of this dimension; an unusable file is told, not an error.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the builder's thread can't start.
    pub fn open(path: &Path, dimension: usize, config: &VectorsConfig) -> Result<(Self, Opened), StoreError> {
        let (slots, graph, opened) = match file::load(path, dimension, config) {
            Ok(loaded) if loaded.changed => {
                let why = "it changed after its file was written".to_owned();
                (loaded.slots, loaded.graph, Opened::MustRebuild(why))
            }
            Ok(loaded) => (loaded.slots, loaded.graph, Opened::Current),
            Err(why) => (Slots::new(dimension), None, Opened::MustRebuild(why)),
        };
        let shared = Arc::new(Shared::new(config.clone(), dimension, slots, graph));
        let thread = Arc::clone(&shared);
        let builder = std::thread::Builder::new()
            .name("vector-graph".to_owned())
            .spawn(move || thread.run())
            .map_err(|error| StoreError::Unavailable(format!("can't start the graph's thread: {error}")))?;
        let index = Self {
            shared,
            path: path.to_owned(),
            marked: AtomicBool::new(false),
            epoch: AtomicU32::new(0),
            builder: Some(builder),
        };
        Ok((index, opened))
    }

    /// Starts a rebuild: give every stored document to [`EmbeddedIndex::confirm`], then call
    /// [`EmbeddedIndex::finish_rebuild`]. The index answers all the while, with what it has.
    pub fn start_rebuild(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes in a document of the store, or leaves it where it is the same.
    ///
    /// # Errors
    /// As [`EmbeddedIndex::insert`].
    pub fn confirm(&self, document: &RememberedDocument, done: &mut Rebuilt) -> Result<(), StoreError> {
        let Some(vector) = &document.vector else { return Ok(()) };
        if self.has(document, vector)? {
            done.kept += 1;
            return Ok(());
        }
        done.inserted += 1;
        self.insert(VectorEntry {
            id: Arc::clone(&document.id),
            vector: Arc::clone(vector),
            timestamp_ms: document.timestamp_ms,
            source: Arc::clone(&document.source),
            symbols: document.symbols.clone().into(),
        })
    }

    /// Whether the document is in the index as it is; then it is marked as seen.
    fn has(&self, document: &RememberedDocument, vector: &[f32]) -> Result<bool, StoreError> {
        let values = self.normalised(vector).map_err(StoreError::Refused)?;
        let epoch = self.epoch.load(Ordering::Acquire);
        let mut slots = self.shared.slots.write();
        let slot = slots.slot_of(&document.id).filter(|&slot| slots.values(slot) == &*values);
        let Some(meta) = slot.and_then(|slot| slots.meta_mut(slot)) else { return Ok(false) };
        let same = meta.timestamp_ms == document.timestamp_ms
            && meta.source == document.source
            && *meta.symbols == *document.symbols;
        if same {
            meta.epoch = epoch;
        }
        Ok(same)
    }

    /// Whether a document of the store needs no vector, or has it here as it is; then it is marked as seen.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a vector the index can't take.
    pub fn is_as_stored(&self, document: &RememberedDocument) -> Result<bool, StoreError> {
        document.vector.as_ref().map_or(Ok(true), |vector| self.has(document, vector))
    }

    /// Ids that were neither seen nor inserted since the rebuild began.
    #[must_use]
    pub fn unseen(&self) -> Vec<Arc<str>> {
        let epoch = self.epoch.load(Ordering::Acquire);
        let slots = self.shared.slots.read();
        slots.iter().filter(|(_, meta)| meta.epoch != epoch).map(|(_, meta)| Arc::clone(&meta.id)).collect()
    }

    /// Removes what the store did not have, except what was inserted since the rebuild began.
    ///
    /// # Errors
    /// As [`EmbeddedIndex::remove`].
    pub fn finish_rebuild(&self, done: &mut Rebuilt) -> Result<(), StoreError> {
        for id in self.unseen() {
            done.removed += usize::from(self.remove(&id)?);
        }
        Ok(())
    }

    /// Waits until the graph has every vector, where one is wanted; false if that takes longer than `timeout`.
    #[must_use]
    pub fn wait_until_built(&self, timeout: Duration) -> bool {
        self.shared.wait_until_built(timeout)
    }

    /// Before the first change since the file was written, the file must say so.
    fn mark_changed(&self) -> Result<(), StoreError> {
        if self.marked.load(Ordering::Acquire) {
            return Ok(());
        }
        file::mark_changed(&self.path)
            .map_err(|error| StoreError::Unavailable(format!("{}: {error}", self.path.display())))?;
        self.marked.store(true, Ordering::Release);
        Ok(())
    }

    /// The vector with length 1, or why it can't be used.
    fn normalised<'a>(&self, vector: &'a [f32]) -> Result<std::borrow::Cow<'a, [f32]>, String> {
        if vector.len() != self.shared.dimension {
            return Err(format!("the vector has {} values, the index {}", vector.len(), self.shared.dimension));
        }
        if !vector.iter().all(|value| value.is_finite()) {
            return Err("the vector has a value that is not finite".to_owned());
        }
        let norm = dot(vector, vector).sqrt();
        if !norm.is_finite() || norm <= MIN_NORM {
            return Err(format!("the vector has length {norm}"));
        }
        if (norm - 1.0).abs() <= 1e-5 {
            return Ok(vector.into());
        }
        Ok(vector.iter().map(|value| value / norm).collect::<Vec<_>>().into())
    }

    fn search(&self, slots: &Slots, query: &[f32], k: usize, filter: &VectorFilter) -> Best {
        let mut best = Best::new(k);
        let lists = slots.narrowest(filter);
        let listed = lists.as_ref().map_or(usize::MAX, |lists| lists.iter().map(|keys| keys.len()).sum());
        let high = filter.min_similarity.filter(|least| *least >= HIGH_SIMILARITY);
        let worth = if high.is_some() { LISTED_BY_HEADS } else { LISTED_BY_CODES };
        if let Some(lists) = lists
            && listed.saturating_mul(worth) <= slots.len().max(ALWAYS_LISTED * worth)
        {
            let live = lists.into_iter().flatten().filter_map(|&key| slots.live(key));
            live.for_each(|slot| slots.offer(&mut best, query, slot, filter));
            return best;
        }
        if let Some(least) = high {
            slots.scan_heads(&mut best, query, filter, least);
            return best;
        }
        let graph = self.shared.graph.read().clone().filter(|_| slots.pending.len() * 2 <= slots.len());
        if let Some(graph) = graph {
            let wanted = |key| slots.live(key).is_some_and(|slot| slots.passes(slot, filter));
            if let Ok(keys) = graph.search(&Query::new(query).packed(), k, wanted) {
                let waiting = slots.pending.iter().filter(|&&key| {
                    slots.live(key).and_then(|slot| slots.meta(slot)).is_some_and(|meta| !meta.in_graph)
                });
                let live = keys.iter().chain(waiting).filter_map(|&key| slots.live(key));
                live.for_each(|slot| slots.offer(&mut best, query, slot, filter));
            }
            if best.len() >= k.min(slots.len()) || filter.min_similarity.is_some() {
                return best;
            }
            best = Best::new(k);
        }
        slots.scan(&mut best, query, filter);
        best
    }
}

/// What the trait promises, done on the calling thread.
impl EmbeddedIndex {
    /// Inserts or replaces.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a wrong dimension or values that are not finite.
    #[expect(clippy::needless_pass_by_value, reason = "what is inserted belongs to the index")]
    pub fn insert(&self, entry: VectorEntry) -> Result<(), StoreError> {
        let values = self.normalised(&entry.vector).map_err(StoreError::Refused)?;
        let building = {
            let mut slots = self.shared.slots.write();
            self.mark_changed()?;
            slots.insert(&entry, &values, self.epoch.load(Ordering::Acquire));
            slots.len() >= self.shared.config.graph_from
        };
        if building || self.shared.graph.read().is_some() {
            self.shared.wake();
        }
        Ok(())
    }

    /// As [`VectorIndex::expect_changes`](super::vectors::VectorIndex::expect_changes).
    ///
    /// # Errors
    /// If the file can't be marked.
    pub fn expect_changes(&self) -> Result<(), StoreError> {
        let _slots = self.shared.slots.write();
        self.mark_changed()
    }

    /// Removes; false if it was not there.
    ///
    /// # Errors
    /// If the file can't be marked.
    pub fn remove(&self, id: &str) -> Result<bool, StoreError> {
        let mut slots = self.shared.slots.write();
        if slots.slot_of(id).is_none() {
            return Ok(false);
        }
        self.mark_changed()?;
        Ok(slots.remove(id).is_some())
    }

    /// Up to `k` nearest by cosine, best first; equal similarities by earlier time, then id.
    ///
    /// # Errors
    /// [`StoreError::InvalidQuery`] for a wrong dimension or values that are not finite.
    pub fn nearest(&self, vector: &[f32], k: usize, filter: &VectorFilter) -> Result<Vec<Neighbor>, StoreError> {
        let query = self.normalised(vector).map_err(StoreError::InvalidQuery)?;
        let slots = self.shared.slots.read();
        if k == 0 || slots.len() == 0 {
            return Ok(Vec::new());
        }
        let best = self.search(&slots, &query, k, filter);
        let neighbors = best.into_found().into_iter().filter_map(|found| {
            let id = Arc::clone(&slots.meta(found.slot)?.id);
            Some(Neighbor { id, similarity: found.similarity, timestamp_ms: found.timestamp_ms })
        });
        Ok(neighbors.collect())
    }

    /// Vectors held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.slots.read().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the index to its file, so that the next start is quick; the store of documents stays the truth.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn save(&self) -> Result<(), StoreError> {
        if !self.marked.load(Ordering::Acquire) && self.path.exists() {
            return Ok(()); // nothing changed since
        }
        // The builder rests, readers go on, changes wait.
        let _building = self.shared.building.lock();
        let slots = self.shared.slots.read();
        let graph = self.shared.graph.read().clone();
        let failed = |error: String| StoreError::Unavailable(format!("{}: {error}", self.path.display()));
        let graph = graph.map(|graph| graph.save()).transpose().map_err(|error| failed(error.to_string()))?;
        file::save(&self.path, self.shared.dimension, &slots, graph.as_deref())
            .map_err(|error| failed(error.to_string()))?;
        self.marked.store(false, Ordering::Release);
        Ok(())
    }
}

impl Drop for EmbeddedIndex {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(builder) = self.builder.take() {
            // A thread that panicked has nothing left to end.
            let _ = builder.join();
        }
    }
}
