//! Locality-sensitive hashing: signatures that agree in a whole band of rows meet in one chain.

use super::fingerprint::{PERMUTATIONS, Signature};

/// Heads of an empty table.
const FIRST_BUCKETS: usize = 1024;
/// Cost of a candidate under the threshold. Low: candidates are compared by their whole signatures anyway.
const FALSE_POSITIVE_WEIGHT: f64 = 0.02;
/// Cost of a copy that never becomes a candidate.
const FALSE_NEGATIVE_WEIGHT: f64 = 0.98;
/// Most bands: each costs memory and one look-up.
const MAX_BANDS: usize = 20;
/// Chains whose first links are asked for together; divides the least number of buckets.
const AHEAD: usize = 128;
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

/// A slot's place in one chain. Slots are counted from 1 here, 0 is none: fresh memory is empty.
#[derive(Debug, Clone, Copy, Default)]
struct Link {
    key: u32,
    newer: u32,
    older: u32,
}

/// Chains of slots by key, newest first, in several tables at once: every slot has one key per table.
///
/// Open tables of heads, doubled as they fill; the links of a slot lie side by side. Keys are hashes already.
#[derive(Debug)]
pub(super) struct Chains {
    tables: usize,
    /// Heads of one table, a power of two.
    buckets: usize,
    /// Newest slot of each bucket, table by table.
    heads: Vec<u32>,
    /// Links, slot by slot.
    links: Vec<Link>,
    /// Slots held.
    count: usize,
}

impl Chains {
    /// No chains.
    pub(super) fn new(tables: usize) -> Self {
        Self { tables, buckets: FIRST_BUCKETS, heads: vec![0; tables * FIRST_BUCKETS], links: Vec::new(), count: 0 }
    }

    fn bucket(&self, table: usize, key: u32) -> usize {
        table * self.buckets + (key as usize & (self.buckets - 1))
    }

    /// Puts a slot in front of its chains: one key per table.
    pub(super) fn push(&mut self, slot: u32, keys: impl Iterator<Item = u32>) {
        if self.count * 2 >= self.buckets {
            self.grow();
        }
        self.count += 1;
        let first = slot as usize * self.tables;
        if self.links.len() < first + self.tables {
            self.links.resize(first + self.tables, Link::default());
        }
        for (table, key) in keys.enumerate().take(self.tables) {
            self.links[first + table].key = key;
            self.link(table, slot + 1);
        }
    }

    /// Puts a slot, counted from 1, in front of the bucket of its key.
    fn link(&mut self, table: usize, number: u32) {
        let place = (number as usize - 1) * self.tables + table;
        let bucket = self.bucket(table, self.links[place].key);
        let older = std::mem::replace(&mut self.heads[bucket], number);
        (self.links[place].newer, self.links[place].older) = (0, older);
        if older != 0 {
            self.links[(older as usize - 1) * self.tables + table].newer = number;
        }
    }

    /// Takes a slot out of all its chains, where it must be.
    pub(super) fn remove(&mut self, slot: u32) {
        self.count -= 1;
        for table in 0..self.tables {
            let Link { key, newer, older } = self.links[slot as usize * self.tables + table];
            if older != 0 {
                self.links[(older as usize - 1) * self.tables + table].newer = newer;
            }
            if newer != 0 {
                self.links[(newer as usize - 1) * self.tables + table].older = older;
            } else {
                let bucket = self.bucket(table, key);
                self.heads[bucket] = older;
            }
        }
    }

    /// The slots with this key, newest first.
    pub(super) fn iter(&self, table: usize, key: u32) -> impl Iterator<Item = u32> + '_ {
        let link = move |number: u32| self.links[(number as usize - 1) * self.tables + table];
        let first = Some(self.heads[self.bucket(table, key)]).filter(|&number| number != 0);
        let chain = std::iter::successors(first, move |&number| Some(link(number).older).filter(|&older| older != 0));
        chain.filter(move |&number| link(number).key == key).map(|number| number - 1)
    }

    /// Reads links that are about to be followed. They lie far from each other: asked for together they come together.
    fn fetch(&self, numbers: impl Iterator<Item = (usize, u32)>) {
        let link = |(table, number): (usize, u32)| self.links.get((number.max(1) as usize - 1) * self.tables + table);
        std::hint::black_box(numbers.filter_map(link).fold(0, |all, link| all ^ link.older));
    }

    /// As [`Chains::fetch`], of the slots that one key per table leads to.
    fn fetch_first(&self, keys: &[u32]) {
        let mut numbers = [0; MAX_BANDS];
        for ((table, key), number) in keys.iter().enumerate().zip(&mut numbers) {
            *number = self.heads[self.bucket(table, *key)];
        }
        self.fetch(numbers.into_iter().take(keys.len()).enumerate());
    }

    /// Doubles the tables. A bucket's slots go to one of two, so that their order is kept.
    fn grow(&mut self) {
        let (old, old_buckets) = (std::mem::take(&mut self.heads), self.buckets);
        self.buckets *= 2;
        self.heads = vec![0; self.tables * self.buckets];
        let mut chain = Vec::new();
        for (index, &head) in old.iter().enumerate() {
            let table = index / old_buckets;
            if index % AHEAD == 0 {
                self.fetch(old.iter().skip(index).take(AHEAD).map(|&number| (table, number)));
            }
            let mut number = head;
            while number != 0 {
                chain.push(number);
                number = self.links[(number as usize - 1) * self.tables + table].older;
            }
            while let Some(oldest) = chain.pop() {
                self.link(table, oldest);
            }
        }
    }
}

/// A signature's key in each band.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys([u32; MAX_BANDS]);

/// The index of signatures.
#[derive(Debug)]
pub(super) struct Lsh {
    /// Values of one band.
    rows: usize,
    /// How many bands there are.
    bands: usize,
    /// A table per band.
    chains: Chains,
}

impl Lsh {
    /// An empty index with the bands that fit this threshold.
    pub(super) fn new(threshold: f32) -> Self {
        let (bands, rows) = choose_bands(f64::from(threshold));
        Self { rows, bands, chains: Chains::new(bands) }
    }

    /// The keys under which a signature is found and kept.
    pub(super) fn keys(&self, signature: &Signature) -> Keys {
        let mut keys = [0; MAX_BANDS];
        for (band, place) in keys.iter_mut().enumerate().take(self.bands) {
            *place = key(self.rows, band, signature);
        }
        Keys(keys)
    }

    /// Adds a slot under its keys.
    pub(super) fn insert(&mut self, slot: u32, keys: &Keys) {
        self.chains.push(slot, keys.0.iter().copied());
    }

    /// Removes a slot, which must be there.
    pub(super) fn remove(&mut self, slot: u32) {
        self.chains.remove(slot);
    }

    /// Slots that share a key, each once, at most `per_band` of each band, the newest.
    pub(super) fn candidates(&self, keys: &Keys, per_band: usize, found: &mut Vec<u32>) {
        found.clear();
        self.chains.fetch_first(&keys.0[..self.bands]);
        for (band, key) in keys.0.iter().enumerate().take(self.bands) {
            found.extend(self.chains.iter(band, *key).take(per_band));
        }
        found.sort_unstable();
        found.dedup();
    }
}

/// The critical words are part of the key: short texts that differ in them need not even be compared.
fn key(rows: usize, band: usize, signature: &Signature) -> u32 {
    let mut hash = (signature.critical() ^ band as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // four values at a time
    for values in signature.values()[band * rows..(band + 1) * rows].chunks(4) {
        let together = values.iter().fold(0, |together, value| together << 16 | u64::from(*value));
        hash = (hash ^ together).wrapping_mul(0x9fb2_1c65_1e98_df25);
        hash ^= hash >> 29;
    }
    u32::try_from(hash >> 32).unwrap_or_default()
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
            assert!(found > 0.9, "threshold {threshold}: {bands} bands of {rows} rows find {found}");
        }
    }

    #[test]
    fn chains_agree_with_lists_through_growth_and_removal() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut chains = Chains::new(2);
        let mut model: Vec<(u32, [u32; 2])> = Vec::new();
        for slot in 0..6000 {
            // Few keys that share buckets: multiples of a table's size.
            let keys = [random.u32(0..50) * 1024, random.u32(0..3000)];
            chains.push(slot, keys.into_iter());
            model.push((slot, keys));
            if random.u8(0..3) == 0 {
                let (slot, _) = model.remove(random.usize(0..model.len()));
                chains.remove(slot);
            }
        }
        for table in 0..2 {
            for key in (0..3000).chain((0..50).map(|key| key * 1024)) {
                let held = model.iter().rev().filter(|(_, keys)| keys[table] == key).map(|(slot, _)| *slot);
                assert!(chains.iter(table, key).eq(held), "table {table}, key {key}");
            }
        }
    }
}
