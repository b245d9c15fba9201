//! Sums over a series in four lanes, which the compiler keeps in registers.

/// Sums of `K` functions of each value, which may come in parts.
pub(super) struct Sums<const K: usize>([[f64; 4]; K]);

impl<const K: usize> Sums<K> {
    pub(super) const fn new() -> Self {
        Self([[0.0; 4]; K])
    }

    /// Adds the terms of each value.
    #[inline]
    pub(super) fn add(&mut self, values: &[f64], terms: impl Fn(f64) -> [f64; K]) {
        let mut lanes = self.0;
        let (chunks, rest) = values.as_chunks::<4>();
        for chunk in chunks {
            add_chunk(&mut lanes, chunk.map(&terms));
        }
        for value in rest {
            add_rest(&mut lanes, terms(*value));
        }
        self.0 = lanes;
    }

    /// Adds the terms of each pair of values.
    #[inline]
    pub(super) fn add_pairs(&mut self, one: &[f64], other: &[f64], terms: impl Fn(f64, f64) -> [f64; K]) {
        let mut lanes = self.0;
        let (chunks, rest) = one.as_chunks::<4>();
        let (other_chunks, other_rest) = other.as_chunks::<4>();
        for ([a, b, c, d], [e, f, g, h]) in chunks.iter().zip(other_chunks) {
            add_chunk(&mut lanes, [terms(*a, *e), terms(*b, *f), terms(*c, *g), terms(*d, *h)]);
        }
        for (one, other) in rest.iter().zip(other_rest) {
            add_rest(&mut lanes, terms(*one, *other));
        }
        self.0 = lanes;
    }

    /// The sums.
    pub(super) fn total(&self) -> [f64; K] {
        self.0.map(|lane| lane.iter().sum())
    }
}

#[inline]
fn add_chunk<const K: usize>(lanes: &mut [[f64; 4]; K], chunk: [[f64; K]; 4]) {
    for (k, lane) in lanes.iter_mut().enumerate() {
        for (sum, terms) in lane.iter_mut().zip(&chunk) {
            *sum += terms[k];
        }
    }
}

#[inline]
fn add_rest<const K: usize>(lanes: &mut [[f64; 4]; K], terms: [f64; K]) {
    for (lane, term) in lanes.iter_mut().zip(terms) {
        lane[0] += term;
    }
}
