//! The duplicate memory: which content was seen lately, exactly or nearly.
//!
//! A look-up and its record are one step, so that of two copies in flight at once exactly one is fresh. What the
//! memory says depends on the order of sightings alone, never on wall-clock time. It holds `capacity` documents and
//! forgets the one seen longest ago first, even if that one is still inside the window: size it for one window.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::fingerprint::{Fingerprint, signature};
use super::lsh::{Chains, Keys, Lsh};
use crate::config::dedup::DedupConfig;
use crate::messages::pipeline::{DuplicateOf, DuplicateRule, Sighting};
use crate::messages::record::Position;
use crate::stores::documents::RememberedDocument;

/// Candidates looked at per band and exact chain, newest first: bounds the time a flood of alike texts can take.
const MAX_CANDIDATES: usize = 256;
/// Most steps from a copy to the document at the root; more than one happens only after revisions.
const MAX_HOPS: usize = 16;

/// One document seen.
#[derive(Debug)]
struct Entry {
    id: Arc<str>,
    fingerprint: Fingerprint,
    /// The record's time; windows count by it.
    timestamp_ms: i64,
    /// The record that brought it: tells a retry from a second delivery.
    origin: Position,
    /// What was answered, for retries of the same record.
    answer: Option<DuplicateOf>,
    /// The stored document it is a copy of, if it is one.
    root: Option<Arc<str>>,
    /// Whether its verdict is durable.
    durable: bool,
    /// Whether any entry's root is, or was, this one.
    has_copies: bool,
    /// Order of sightings.
    sequence: u64,
}

/// What is known of a document's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No such document was seen, or it was withdrawn or forgotten since.
    Unknown,
    /// Seen, its verdict is not durable yet.
    Pending,
    /// Its verdict is durable.
    Durable,
}

/// An entry as another memory can take it in.
#[derive(Debug, Clone)]
pub struct Known {
    /// Hash and signature of its content.
    pub fingerprint: Fingerprint,
    /// The record's time.
    pub timestamp_ms: i64,
    /// Whether its verdict is durable.
    pub durable: bool,
    /// The stored document it is a copy of, if it is one.
    pub root: Option<Arc<str>>,
}

/// Memory of exact and near copies. Deterministic; not thread-safe: it belongs to one actor.
#[derive(Debug)]
pub struct DuplicateMemory {
    config: DedupConfig,
    /// Entries by slot; links elsewhere are slots.
    slots: Vec<Option<Entry>>,
    /// Slots that are empty.
    free: Vec<u32>,
    /// Slots and sequences, oldest first; pairs whose entry is gone are skipped.
    order: VecDeque<(u32, u64)>,
    by_id: HashMap<Arc<str>, u32>,
    /// Slots by the first bytes of their content hash.
    by_content: Chains,
    lsh: Lsh,
    next_sequence: u64,
    /// Scratch of look-ups.
    candidates: Vec<u32>,
}

impl DuplicateMemory {
    /// An empty memory.
    #[must_use]
    pub fn new(config: &DedupConfig) -> Self {
        Self {
            config: config.clone(),
            slots: Vec::new(),
            free: Vec::new(),
            order: VecDeque::new(),
            by_id: HashMap::new(),
            by_content: Chains::new(1),
            lsh: Lsh::new(config.minhash_threshold),
            next_sequence: 0,
            candidates: Vec::new(),
        }
    }

    /// Documents held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Takes over new settings; what is held is indexed again where the threshold changed.
    pub fn reconfigure(&mut self, config: &DedupConfig) {
        let reindex = self.config.minhash_threshold.to_bits() != config.minhash_threshold.to_bits();
        self.config = config.clone();
        if reindex {
            self.lsh = Lsh::new(config.minhash_threshold);
            let mut held: Vec<(u64, u32)> =
                self.by_id.values().map(|&slot| (self.entry(slot).sequence, slot)).collect();
            held.sort_unstable();
            for (_, slot) in held {
                if let Some(entry) = &self.slots[slot as usize] {
                    let keys = self.lsh.keys(&entry.fingerprint.signature);
                    self.lsh.insert(slot, &keys);
                }
            }
        }
        self.make_room(0);
    }

    /// Looks a document up and records it in one step.
    ///
    /// - The same id and content from the same record, not durable yet: a retry, which gets the first answer again.
    /// - The same id and content otherwise: [`Sighting::Same`].
    /// - The same id with other content from an earlier record of the same partition, no younger by its own time either:
    ///   it was delivered again after its revision, which stands. [`Sighting::Same`].
    /// - The same id with other content otherwise: a revision; it takes the earlier one's place and never is a copy of itself.
    /// - Else a copy of what is within the window: by exact content, else by the most similar signature (the earliest
    ///   of equals). `of` names the document at the root, never another copy.
    pub fn sight(
        &mut self,
        id: &Arc<str>,
        fingerprint: &Fingerprint,
        origin: &Position,
        timestamp_ms: i64,
    ) -> Sighting {
        let mut has_copies = false;
        if let Some(&slot) = self.by_id.get(id) {
            let entry = self.entry(slot);
            if entry.fingerprint.content_hash == fingerprint.content_hash {
                if entry.durable || entry.origin != *origin {
                    return Sighting::Same;
                }
                return entry.answer.clone().map_or(Sighting::Fresh, Sighting::Copy);
            }
            if origin.is_before(&entry.origin) && timestamp_ms <= entry.timestamp_ms {
                return Sighting::Same;
            }
            has_copies = entry.has_copies;
            self.remove(slot);
        }
        let keys = self.lsh.keys(&fingerprint.signature);
        let answer = self.find(id, (fingerprint, &keys), timestamp_ms);
        let root = answer.as_ref().map(|copy| Arc::clone(&copy.of));
        let entry = Entry {
            id: Arc::clone(id),
            fingerprint: fingerprint.clone(),
            timestamp_ms,
            origin: origin.clone(),
            answer: answer.clone(),
            root,
            durable: false,
            has_copies,
            sequence: 0,
        };
        self.insert(entry, &keys);
        answer.map_or(Sighting::Fresh, Sighting::Copy)
    }

    /// The verdict of the document this record brought is durable: stored, or a copy of `root`.
    pub fn settle(&mut self, id: &str, origin: &Position, root: Option<&Arc<str>>) {
        let Some(slot) = self.slot_of(id, origin) else { return };
        if let Some(entry) = &mut self.slots[slot as usize] {
            entry.durable = true;
            entry.root = root.cloned();
        }
        self.mark_root(root.map(|root| &**root));
    }

    /// The document this record brought won't be stored: it and the copies that count on it are no longer known, so
    /// that they are judged afresh when they come again.
    pub fn forget(&mut self, id: &str, origin: &Position) {
        let Some(slot) = self.slot_of(id, origin) else { return };
        let had_copies = self.entry(slot).has_copies;
        self.remove(slot);
        if had_copies {
            let copies: Vec<u32> = self
                .by_id
                .values()
                .copied()
                .filter(|&copy| {
                    let entry = self.entry(copy);
                    !entry.durable && entry.root.as_deref() == Some(id)
                })
                .collect();
            for copy in copies {
                self.remove(copy);
            }
        }
    }

    /// A later check found this document to be a copy of `root`; its own copies then are copies of `root` too.
    pub fn redirect(&mut self, id: &str, origin: &Position, root: &Arc<str>) {
        let Some(slot) = self.slot_of(id, origin) else { return };
        if let Some(entry) = &mut self.slots[slot as usize] {
            entry.root = Some(Arc::clone(root));
        }
        self.mark_root(Some(root));
    }

    /// The document at the root of this one: what it copies, or itself.
    #[must_use]
    pub fn root(&self, id: &Arc<str>) -> Arc<str> {
        let mut root = id;
        for _ in 0..MAX_HOPS {
            let next = self.by_id.get(root).and_then(|&slot| self.entry(slot).root.as_ref());
            match next {
                Some(next) if next != root => root = next,
                _ => break,
            }
        }
        Arc::clone(root)
    }

    /// The store has no document of this id, whatever record brought it: it is no longer known.
    pub fn expel(&mut self, id: &str) {
        if let Some(origin) = self.by_id.get(id).map(|&slot| self.entry(slot).origin.clone()) {
            self.forget(id, &origin);
        }
    }

    /// What is known of this document's verdict.
    #[must_use]
    pub fn standing(&self, id: &str) -> Standing {
        match self.by_id.get(id).map(|&slot| self.entry(slot).durable) {
            None => Standing::Unknown,
            Some(false) => Standing::Pending,
            Some(true) => Standing::Durable,
        }
    }

    /// The record that brought this document.
    #[must_use]
    pub fn origin(&self, id: &str) -> Option<Position> {
        self.by_id.get(id).map(|&slot| self.entry(slot).origin.clone())
    }

    /// What is known of this document, if this record brought it.
    #[must_use]
    pub fn known(&self, id: &str, origin: &Position) -> Option<Known> {
        let entry = self.entry(self.slot_of(id, origin)?);
        Some(Known {
            fingerprint: entry.fingerprint.clone(),
            timestamp_ms: entry.timestamp_ms,
            durable: entry.durable,
            root: entry.root.clone(),
        })
    }

    /// Takes in a document whose verdict is durable; for the start.
    pub fn remember(&mut self, document: &RememberedDocument) {
        if let Some(&slot) = self.by_id.get(&document.id) {
            self.remove(slot);
        }
        let signature = signature(document.title.as_deref(), &document.text);
        let keys = self.lsh.keys(&signature);
        let entry = Entry {
            id: Arc::clone(&document.id),
            fingerprint: Fingerprint { content_hash: document.content_hash, signature },
            timestamp_ms: document.timestamp_ms,
            origin: document.origin.clone(),
            answer: None,
            root: document.duplicate_of.clone(),
            durable: true,
            has_copies: false,
            sequence: 0,
        };
        self.insert(entry, &keys);
    }

    /// The slot of this id, if this record brought it.
    fn slot_of(&self, id: &str, origin: &Position) -> Option<u32> {
        self.by_id.get(id).copied().filter(|&slot| self.entry(slot).origin == *origin)
    }

    /// The entry of a slot that an index names.
    fn entry(&self, slot: u32) -> &Entry {
        match &self.slots[slot as usize] {
            Some(entry) => entry,
            None => unreachable!("indexes name filled slots only"),
        }
    }

    fn find(
        &mut self,
        id: &Arc<str>,
        (fingerprint, keys): (&Fingerprint, &Keys),
        timestamp_ms: i64,
    ) -> Option<DuplicateOf> {
        if self.config.exact
            && let Some(of) = self.find_exact(id, &fingerprint.content_hash, timestamp_ms)
        {
            return Some(DuplicateOf { of, rule: DuplicateRule::Exact, similarity: 1.0 });
        }
        if self.config.minhash { self.find_near(id, (fingerprint, keys), timestamp_ms) } else { None }
    }

    fn find_exact(&self, id: &str, content_hash: &[u8; 32], timestamp_ms: i64) -> Option<Arc<str>> {
        let alike = self.by_content.iter(0, content_key(content_hash)).take(MAX_CANDIDATES);
        let same = alike.filter(|&slot| self.entry(slot).fingerprint.content_hash == *content_hash);
        same.filter(|&slot| self.in_window(slot, timestamp_ms)).find_map(|slot| self.root_of(slot, id))
    }

    fn find_near(
        &mut self,
        id: &str,
        (fingerprint, keys): (&Fingerprint, &Keys),
        timestamp_ms: i64,
    ) -> Option<DuplicateOf> {
        let mut candidates = std::mem::take(&mut self.candidates);
        self.lsh.candidates(keys, MAX_CANDIDATES, &mut candidates);
        let mut best: Option<(f32, u64, Arc<str>)> = None;
        for &slot in &candidates {
            if !self.in_window(slot, timestamp_ms) {
                continue;
            }
            let entry = self.entry(slot);
            let similarity = entry.fingerprint.signature.similarity(&fingerprint.signature);
            if similarity < self.config.minhash_threshold {
                continue;
            }
            let better = best.as_ref().is_none_or(|(highest, earliest, _)| {
                similarity > *highest || (similarity >= *highest && entry.sequence < *earliest)
            });
            if better && let Some(of) = self.root_of(slot, id) {
                best = Some((similarity, entry.sequence, of));
            }
        }
        self.candidates = candidates;
        best.map(|(similarity, _, of)| DuplicateOf { of, rule: DuplicateRule::Minhash, similarity })
    }

    fn in_window(&self, slot: u32, timestamp_ms: i64) -> bool {
        self.entry(slot).timestamp_ms.saturating_sub(timestamp_ms).saturating_abs() <= self.config.window_ms()
    }

    /// The document at the root of a slot's entry; `None` if that is `id` itself.
    fn root_of(&self, slot: u32, id: &str) -> Option<Arc<str>> {
        let mut entry = self.entry(slot);
        for _ in 0..MAX_HOPS {
            if &*entry.id == id {
                return None;
            }
            let Some(root) = &entry.root else { return Some(Arc::clone(&entry.id)) };
            if &**root == id {
                return None;
            }
            let Some(&next) = self.by_id.get(root) else { return Some(Arc::clone(root)) };
            entry = self.entry(next);
        }
        None
    }

    fn mark_root(&mut self, root: Option<&str>) {
        let slot = root.and_then(|root| self.by_id.get(root)).copied();
        if let Some(entry) = slot.and_then(|slot| self.slots[slot as usize].as_mut()) {
            entry.has_copies = true;
        }
    }

    fn insert(&mut self, mut entry: Entry, keys: &Keys) {
        self.make_room(1);
        self.mark_root(entry.root.as_deref());
        entry.sequence = self.next_sequence;
        self.next_sequence += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        self.order.push_back((slot, entry.sequence));
        if self.by_id.len() == self.by_id.capacity() {
            // a name costs little room and much time to be placed anew
            self.by_id.reserve(3 * self.by_id.len());
        }
        self.by_id.insert(Arc::clone(&entry.id), slot);
        self.by_content.push(slot, std::iter::once(content_key(&entry.fingerprint.content_hash)));
        self.lsh.insert(slot, keys);
        self.slots[slot as usize] = Some(entry);
    }

    fn remove(&mut self, slot: u32) {
        let Some(entry) = self.slots[slot as usize].take() else { return };
        self.by_id.remove(&entry.id);
        self.by_content.remove(slot);
        self.lsh.remove(slot);
        self.free.push(slot);
    }

    /// Evicts the oldest until `more` fit, and keeps the order's stale pairs from piling up.
    fn make_room(&mut self, more: usize) {
        while self.len() + more > self.config.capacity {
            let Some((slot, sequence)) = self.order.pop_front() else { break };
            if self.is_current(slot, sequence) {
                self.remove(slot);
            }
        }
        if self.order.len() > 2 * self.config.capacity {
            let mut order = std::mem::take(&mut self.order);
            order.retain(|&(slot, sequence)| self.is_current(slot, sequence));
            self.order = order;
        }
    }

    fn is_current(&self, slot: u32, sequence: u64) -> bool {
        self.slots[slot as usize].as_ref().is_some_and(|entry| entry.sequence == sequence)
    }
}

/// The first bytes of a content hash.
fn content_key(content_hash: &[u8; 32]) -> u32 {
    content_hash.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
