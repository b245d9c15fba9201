//! Locality-sensitive hashing: signatures that agree in a whole band of rows meet in one chain.

use std::collections::HashMap;
use std::hash::Hash;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::fingerprint::{PERMUTATIONS, Signature};

/// Ends a chain.
const NONE: u32 = u32::MAX;
/// Cost of a candidate under the threshold. Low: candidates are compared by their whole signatures anyway.
const FALSE_POSITIVE_WEIGHT: f64 = 0.02;
/// Cost of a copy that never becomes a candidate.
const FALSE_NEGATIVE_WEIGHT: f64 = 0.98;
/// Most bands: each costs memory and one look-up.
const MAX_BANDS: usize = 20;
/// Steps of the integrals.
const STEPS: u32 = 200;

/// Bands and rows for a threshold `t`: those that minimise
/// `w_fp·∫₀ᵗ P(s) ds + w_fn·∫ₜ¹ (1 − P(s)) ds` with `P(s) = 1 − (1 − sʳ)ᵇ`, the probability to become a candidate.
#[must_use]
pub(super) fn choose_bands(threshold: f64) -> (usize, usize) {
    let mut best = (f64::INFINITY, (1, PERMUTATIONS));
    for bands in 1..=MAX_BANDS {
        for rows in 1..=PERMUTATIONS / bands {
            let cost = cost(threshold, bands, rows);
            if cost < best.0 {
                best = (cost, (bands, rows));
            }
        }
    }
    best.1
}

fn cost(threshold: f64, bands: usize, rows: usize) -> f64 {
    let (bands, rows) = (i32::try_from(bands).unwrap_or(i32::MAX), i32::try_from(rows).unwrap_or(i32::MAX));
    let missed = |similarity: f64| (1.0 - similarity.powi(rows)).powi(bands);
    let below = integrate(|similarity| 1.0 - missed(similarity), 0.0, threshold);
    FALSE_POSITIVE_WEIGHT * below + FALSE_NEGATIVE_WEIGHT * integrate(missed, threshold, 1.0)
}

/// Midpoint rule.
fn integrate(function: impl Fn(f64) -> f64, from: f64, to: f64) -> f64 {
    let step = (to - from) / f64::from(STEPS);
    (0..STEPS).map(|index| function(from + (f64::from(index) + 0.5) * step) * step).sum()
}

/// Doubly linked chains of slots by key, newest first; a slot is in one chain at most.
#[derive(Debug)]
pub(super) struct Chains<K> {
    /// Newest slot of each chain.
    heads: HashMap<K, u32>,
    /// Newer and older neighbour of each slot.
    links: Vec<(u32, u32)>,
}

impl<K: Hash + Eq> Chains<K> {
    /// No chains.
    pub(super) fn new() -> Self {
        Self { heads: HashMap::new(), links: Vec::new() }
    }

    /// Puts a slot in front of the chain of this key.
    pub(super) fn push(&mut self, key: K, slot: u32) {
        if self.links.len() <= slot as usize {
            self.links.resize(slot as usize + 1, (NONE, NONE));
        }
        let older = self.heads.insert(key, slot).unwrap_or(NONE);
        self.links[slot as usize] = (NONE, older);
        if older != NONE {
            self.links[older as usize].0 = slot;
        }
    }

    /// Takes a slot out of the chain of this key, where it must be.
    pub(super) fn remove(&mut self, key: &K, slot: u32) {
        let (newer, older) = std::mem::replace(&mut self.links[slot as usize], (NONE, NONE));
        if older != NONE {
            self.links[older as usize].0 = newer;
        }
        if newer != NONE {
            self.links[newer as usize].1 = older;
        } else if older != NONE {
            if let Some(head) = self.heads.get_mut(key) {
                *head = older;
            }
        } else {
            self.heads.remove(key);
        }
    }

    /// The slots of this key's chain, newest first.
    pub(super) fn iter(&self, key: &K) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(self.heads.get(key).copied(), |&slot| {
            Some(self.links[slot as usize].1).filter(|&older| older != NONE)
        })
    }
}

/// The index of signatures.
#[derive(Debug)]
pub(super) struct Lsh {
    /// Values of one band.
    rows: usize,
    /// One set of chains per band.
    bands: Vec<Chains<u32>>,
}

impl Lsh {
    /// An empty index with the bands that fit this threshold.
    pub(super) fn new(threshold: f32) -> Self {
        let (bands, rows) = choose_bands(f64::from(threshold));
        Self { rows, bands: (0..bands).map(|_| Chains::new()).collect() }
    }

    /// Adds the signature of a slot.
    pub(super) fn insert(&mut self, slot: u32, signature: &Signature) {
        for band in 0..self.bands.len() {
            let key = self.key(band, signature);
            self.bands[band].push(key, slot);
        }
    }

    /// Removes the signature of a slot, which must be there.
    pub(super) fn remove(&mut self, slot: u32, signature: &Signature) {
        for band in 0..self.bands.len() {
            let key = self.key(band, signature);
            self.bands[band].remove(&key, slot);
        }
    }

    /// Slots that share a band with the signature, each once, at most `per_band` of each band, newest first.
    pub(super) fn candidates(&self, signature: &Signature, per_band: usize, found: &mut Vec<u32>) {
        found.clear();
        for (band, chains) in self.bands.iter().enumerate() {
            found.extend(chains.iter(&self.key(band, signature)).take(per_band));
        }
        found.sort_unstable();
        found.dedup();
    }

    /// The critical words are part of the key: short texts that differ in them need not even be compared.
    fn key(&self, band: usize, signature: &Signature) -> u32 {
        let mut bytes = [0_u8; PERMUTATIONS * 2];
        let values = &signature.values()[band * self.rows..(band + 1) * self.rows];
        for (place, value) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(values) {
            *place = value.to_le_bytes();
        }
        let hash = xxh3_64_with_seed(&bytes[..self.rows * 2], signature.critical() ^ band as u64);
        u32::try_from(hash >> 32).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_fit_the_signature_and_find_copies_at_the_threshold() {
        for threshold in [0.5, 0.7, 0.8, 0.85, 0.9, 0.95] {
            let (bands, rows) = choose_bands(threshold);
            assert!(bands * rows <= PERMUTATIONS);
            let rows = i32::try_from(rows).unwrap_or(0);
            let found = 1.0 - (1.0 - threshold.powi(rows)).powi(i32::try_from(bands).unwrap_or(0));
            println!("threshold {threshold}: {bands} x {rows} finds {found}");
            assert!(found > 0.9, "threshold {threshold}: {bands} bands of {rows} rows find {found}");
        }
    }

    #[test]
    fn chains_lose_and_gain_slots_anywhere() {
        let mut chains = Chains::new();
        for slot in 0..5 {
            chains.push("k", slot);
        }
        chains.remove(&"k", 2);
        chains.remove(&"k", 4);
        chains.remove(&"k", 0);
        assert_eq!(chains.iter(&"k").collect::<Vec<_>>(), [3, 1]);
        chains.push("k", 4);
        assert_eq!(chains.iter(&"k").collect::<Vec<_>>(), [4, 3, 1]);
        for slot in [4, 3, 1] {
            chains.remove(&"k", slot);
        }
        assert_eq!(chains.iter(&"k").count(), 0);
        assert!(chains.heads.is_empty());
    }
}
