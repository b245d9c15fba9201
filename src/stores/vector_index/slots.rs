//! The vectors themselves with what filters ask for. About 2.2 KB each at 384 values: 1536 bytes of values, 384 of codes,
//! the rest id, times and lists.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::scan::{Best, Coding, Found, HEAD, HeadCoding, Query, dot, quantise};
use crate::stores::vectors::{VectorEntry, VectorFilter};

/// Rows of one block: memory grows in steps of this, without copying.
const BLOCK_ROWS: usize = 2048;
/// Width of a time bucket, milliseconds.
const BUCKET_MS: i64 = 3_600_000;

/// Names a vector for good: slot and how often the slot was filled.
pub(super) type Key = u64;

/// What is kept beside a vector.
#[derive(Debug, Clone)]
pub(super) struct Meta {
    pub(super) id: Arc<str>,
    pub(super) timestamp_ms: i64,
    pub(super) source: Arc<str>,
    pub(super) symbols: Arc<[String]>,
    /// Rebuild during which it was last written or confirmed.
    pub(super) epoch: u32,
    /// Whether the graph has it.
    pub(super) in_graph: bool,
}

/// All vectors.
#[derive(Debug)]
pub(super) struct Slots {
    dimension: usize,
    values: Vec<Vec<f32>>,
    codes: Vec<Vec<i8>>,
    codings: Vec<Vec<Coding>>,
    /// The first codes of each vector again, close together.
    heads: Vec<Vec<i8>>,
    head_codings: Vec<Vec<HeadCoding>>,
    /// Earliest and latest time ever in each block.
    spans: Vec<(i64, i64)>,
    metas: Vec<Option<Meta>>,
    /// How often each slot was filled.
    generations: Vec<u32>,
    free: Vec<u32>,
    by_id: HashMap<Arc<str>, u32>,
    by_time: BTreeMap<i64, Vec<Key>>,
    by_source: HashMap<Arc<str>, Vec<Key>>,
    by_symbol: HashMap<String, Vec<Key>>,
    /// Keys in the lists above whose vector is gone.
    stale: usize,
    /// Vectors the graph has not got yet, oldest first; keys whose vector is gone are skipped.
    pub(super) pending: VecDeque<Key>,
}

impl Slots {
    /// No vectors.
    pub(super) fn new(dimension: usize) -> Self {
        Self {
            dimension,
            values: Vec::new(),
            codes: Vec::new(),
            codings: Vec::new(),
            heads: Vec::new(),
            head_codings: Vec::new(),
            spans: Vec::new(),
            metas: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            by_time: BTreeMap::new(),
            by_source: HashMap::new(),
            by_symbol: HashMap::new(),
            stale: 0,
            pending: VecDeque::new(),
        }
    }

    /// Vectors held.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Slots, empty ones included.
    pub(super) fn slot_count(&self) -> usize {
        self.metas.len()
    }

    /// The slot of an id.
    pub(super) fn slot_of(&self, id: &str) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    /// What is kept beside the vector of a slot.
    pub(super) fn meta(&self, slot: u32) -> Option<&Meta> {
        self.metas.get(slot as usize)?.as_ref()
    }

    /// As [`Slots::meta`], to change.
    pub(super) fn meta_mut(&mut self, slot: u32) -> Option<&mut Meta> {
        self.metas.get_mut(slot as usize)?.as_mut()
    }

    /// The values of a slot.
    pub(super) fn values(&self, slot: u32) -> &[f32] {
        let (block, row) = (slot as usize / BLOCK_ROWS, slot as usize % BLOCK_ROWS);
        &self.values[block][row * self.dimension..(row + 1) * self.dimension]
    }

    /// The codes of a slot.
    pub(super) fn codes(&self, slot: u32) -> &[i8] {
        let (block, row) = (slot as usize / BLOCK_ROWS, slot as usize % BLOCK_ROWS);
        &self.codes[block][row * self.dimension..(row + 1) * self.dimension]
    }

    /// The key of what a slot holds now.
    pub(super) fn key(&self, slot: u32) -> Key {
        u64::from(self.generations[slot as usize]) << 32 | u64::from(slot)
    }

    /// How often a slot was filled.
    pub(super) fn generation(&self, slot: u32) -> u32 {
        self.generations[slot as usize]
    }

    /// The slot of a key, if its vector is still there.
    pub(super) fn live(&self, key: Key) -> Option<u32> {
        #[expect(clippy::cast_possible_truncation, reason = "the low half is the slot")]
        let slot = key as u32;
        let held = self.metas.get(slot as usize)?.is_some();
        (held && self.key(slot) == key).then_some(slot)
    }

    /// Ids of all vectors, by slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Meta)> {
        (0..).zip(&self.metas).filter_map(|(slot, meta)| Some((slot, meta.as_ref()?)))
    }

    /// Inserts, or replaces what had this id. `values` are normalised.
    pub(super) fn insert(&mut self, entry: &VectorEntry, values: &[f32], epoch: u32) {
        self.remove(&entry.id);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.metas.push(None);
            self.generations.push(0);
            u32::try_from(self.metas.len() - 1).unwrap_or(u32::MAX)
        });
        self.generations[slot as usize] += 1;
        let meta = Meta {
            id: Arc::clone(&entry.id),
            timestamp_ms: entry.timestamp_ms,
            source: Arc::clone(&entry.source),
            symbols: Arc::clone(&entry.symbols),
            epoch,
            in_graph: false,
        };
        self.place(slot, meta, values);
        self.pending.push_back(self.key(slot));
    }

    /// Puts a vector back where a saved index had it; slots come in order.
    pub(super) fn restore(&mut self, generation: u32, content: Option<(Meta, Vec<f32>)>) {
        let slot = u32::try_from(self.metas.len()).unwrap_or(u32::MAX);
        self.metas.push(None);
        self.generations.push(generation);
        match content {
            None => self.free.push(slot),
            Some((meta, values)) => {
                let in_graph = meta.in_graph;
                self.place(slot, meta, &values);
                if !in_graph {
                    self.pending.push_back(self.key(slot));
                }
            }
        }
    }

    fn place(&mut self, slot: u32, meta: Meta, values: &[f32]) {
        let (block, row) = (slot as usize / BLOCK_ROWS, slot as usize % BLOCK_ROWS);
        while self.values.len() <= block {
            self.values.push(vec![0.0; BLOCK_ROWS * self.dimension]);
            self.codes.push(vec![0; BLOCK_ROWS * self.dimension]);
            self.codings.push(vec![Coding { scale: 0.0, error: 0.0 }; BLOCK_ROWS]);
            self.heads.push(vec![0; BLOCK_ROWS * self.head()]);
            self.head_codings.push(vec![HeadCoding::NONE; BLOCK_ROWS]);
            self.spans.push((i64::MAX, i64::MIN));
        }
        let range = row * self.dimension..(row + 1) * self.dimension;
        self.values[block][range.clone()].copy_from_slice(values);
        let coding = quantise(values, &mut self.codes[block][range.clone()]);
        let codes = &self.codes[block][range];
        let head = self.dimension.min(HEAD);
        self.heads[block][row * head..(row + 1) * head].copy_from_slice(&codes[..head]);
        self.head_codings[block][row] = HeadCoding::new(values, codes, coding.scale);
        self.codings[block][row] = coding;
        let (earliest, latest) = self.spans[block];
        self.spans[block] = (earliest.min(meta.timestamp_ms), latest.max(meta.timestamp_ms));
        self.by_id.insert(Arc::clone(&meta.id), slot);
        self.list(slot, &meta);
        self.metas[slot as usize] = Some(meta);
    }

    fn list(&mut self, slot: u32, meta: &Meta) {
        let key = self.key(slot);
        self.by_time.entry(meta.timestamp_ms.div_euclid(BUCKET_MS)).or_default().push(key);
        self.by_source.entry(Arc::clone(&meta.source)).or_default().push(key);
        for symbol in meta.symbols.iter() {
            match self.by_symbol.get_mut(symbol) {
                Some(keys) => keys.push(key),
                None => drop(self.by_symbol.insert(symbol.clone(), vec![key])),
            }
        }
    }

    /// Removes; the key of what went.
    pub(super) fn remove(&mut self, id: &str) -> Option<Key> {
        let slot = self.by_id.remove(id)?;
        let key = self.key(slot);
        self.metas[slot as usize] = None;
        self.free.push(slot);
        self.stale += 1;
        if self.stale > 1024 && self.stale > self.len() {
            self.relist();
        }
        Some(key)
    }

    /// Makes the lists anew, without the keys of what is gone.
    fn relist(&mut self) {
        (self.by_time, self.by_source, self.by_symbol) = (BTreeMap::new(), HashMap::new(), HashMap::new());
        self.stale = 0;
        let metas = std::mem::take(&mut self.metas);
        for (slot, meta) in (0..).zip(&metas) {
            if let Some(meta) = meta {
                self.list(slot, meta);
            }
        }
        self.metas = metas;
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain(|&key| self.live(key).is_some());
        self.pending = pending;
    }

    /// Whether the vector of a slot passes the filter.
    pub(super) fn passes(&self, slot: u32, filter: &VectorFilter) -> bool {
        self.meta(slot).is_some_and(|meta| {
            filter.since_ms.is_none_or(|since| meta.timestamp_ms >= since)
                && filter.until_ms.is_none_or(|until| meta.timestamp_ms <= until)
                && filter.source.as_deref().is_none_or(|source| *meta.source == *source)
                && filter.symbol.as_ref().is_none_or(|symbol| meta.symbols.contains(symbol))
                && filter.except.as_ref().is_none_or(|except| meta.id != *except)
        })
    }

    /// The shortest list that holds all that passes the filter, as parts; `None` if every list is the whole.
    pub(super) fn narrowest(&self, filter: &VectorFilter) -> Option<Vec<&[Key]>> {
        let of_source = filter.source.as_deref().map(|source| vec![self.by_source.get(source)]);
        let of_symbol = filter.symbol.as_ref().map(|symbol| vec![self.by_symbol.get(symbol)]);
        let of_time = (filter.since_ms.is_some() || filter.until_ms.is_some()).then(|| {
            let since = filter.since_ms.unwrap_or(i64::MIN).div_euclid(BUCKET_MS);
            let until = filter.until_ms.unwrap_or(i64::MAX).div_euclid(BUCKET_MS);
            if since > until {
                Vec::new()
            } else {
                self.by_time.range(since..=until).map(|(_, keys)| Some(keys)).collect()
            }
        });
        let lists = [of_source, of_symbol, of_time].into_iter().flatten();
        let parts = lists.map(|parts| parts.into_iter().flatten().map(Vec::as_slice).collect::<Vec<_>>());
        parts.min_by_key(|parts| parts.iter().map(|keys| keys.len()).sum::<usize>())
    }

    /// Compares one vector exactly.
    pub(super) fn offer(&self, best: &mut Best, query: &[f32], slot: u32, filter: &VectorFilter) {
        if !self.passes(slot, filter) {
            return;
        }
        let similarity = dot(query, self.values(slot)).clamp(-1.0, 1.0);
        if filter.min_similarity.is_some_and(|least| similarity < least) {
            return;
        }
        let timestamp_ms = self.meta(slot).map_or(0, |meta| meta.timestamp_ms);
        best.offer(Found { similarity, timestamp_ms, slot }, |one, two| self.id(one) < self.id(two));
    }

    fn head(&self) -> usize {
        self.dimension.min(HEAD)
    }

    /// Blocks that may have vectors of the filter's time, with the slot of their first row and their rows.
    fn blocks(&self, filter: &VectorFilter) -> impl Iterator<Item = (usize, usize, usize)> {
        let (since, until) = (filter.since_ms.unwrap_or(i64::MIN), filter.until_ms.unwrap_or(i64::MAX));
        let meets = move |(earliest, latest): (i64, i64)| earliest <= until && latest >= since;
        let slots = self.slot_count();
        self.spans.iter().enumerate().filter(move |(_, span)| meets(**span)).map(move |(block, _)| {
            let first = block * BLOCK_ROWS;
            (block, first, slots.saturating_sub(first).min(BLOCK_ROWS))
        })
    }

    /// Compares the heads of every vector, and those that may be similar enough by all their values; exact.
    pub(super) fn scan_heads(&self, best: &mut Best, query: &[f32], filter: &VectorFilter, least: f32) {
        let coded = Query::new(query);
        let mut found = Vec::new();
        for (block, first, rows) in self.blocks(filter) {
            let (heads, codings) = (&self.heads[block][..rows * self.head()], &self.head_codings[block][..rows]);
            coded.candidates(heads, codings, best.bar().max(least), &mut found);
            for &row in &found {
                self.offer(best, query, u32::try_from(first + row).unwrap_or(u32::MAX), filter);
            }
        }
    }

    /// Compares every vector; exact.
    pub(super) fn scan(&self, best: &mut Best, query: &[f32], filter: &VectorFilter) {
        let coded = Query::new(query);
        let mut bounds = Vec::with_capacity(BLOCK_ROWS);
        for (block, first, rows) in self.blocks(filter) {
            let (codes, codings) = (&self.codes[block], &self.codings[block]);
            coded.upper_bounds(&codes[..rows * self.dimension], &codings[..rows], &mut bounds);
            for (row, &bound) in bounds.iter().enumerate() {
                if bound >= best.bar() {
                    self.offer(best, query, u32::try_from(first + row).unwrap_or(u32::MAX), filter);
                }
            }
        }
    }

    /// The id in a slot; empty if there is none.
    pub(super) fn id(&self, slot: u32) -> &str {
        self.meta(slot).map_or("", |meta| &meta.id)
    }
}
