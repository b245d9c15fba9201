//! Exact nearest neighbours by scanning: 8-bit codes rule most vectors out, 32-bit values decide.
//!
//! For a query `q` and a vector `v` with codes `q̂`, `v̂`: `|q·v − q̂·v̂| ≤ |q−q̂|·|v| + |q̂|·|v−v̂|`. With both rounding errors
//! known, a vector whose coded similarity lies below the k-th best by more than that bound can't be among the k best, so
//! the result is exact while a quarter of the memory is read.

use super::graph::Packed;

/// Rounding of 32-bit sums, added to every bound.
const SLACK: f32 = 2e-5;
/// Sums kept apart, so that they can be vectorised; fixed, so that every machine gets the same result.
const LANES: usize = 16;

/// Codes of a vector: `value ≈ scale · code`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Coding {
    /// Value of one step.
    pub(super) scale: f32,
    /// Euclidean norm of what rounding took away.
    pub(super) error: f32,
}

/// Codes `values` into `codes`, which must be as long.
pub(super) fn quantise(values: &[f32], codes: &mut [i8]) -> Coding {
    let highest = values.iter().fold(0.0_f32, |highest, value| highest.max(value.abs()));
    let scale = if highest > 0.0 { highest / 127.0 } else { 1.0 };
    let mut square = 0.0_f32;
    for (code, value) in codes.iter_mut().zip(values) {
        #[expect(clippy::cast_possible_truncation, reason = "at most 127 by choice of the scale; casts saturate")]
        let rounded = (value / scale).round() as i8;
        *code = rounded;
        square += (value - scale * f32::from(rounded)).powi(2);
    }
    Coding { scale, error: square.sqrt() }
}

/// Dot product; the same order of additions everywhere.
pub(super) fn dot(one: &[f32], two: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let ((one, one_rest), (two, two_rest)) = (one.as_chunks::<LANES>(), two.as_chunks::<LANES>());
    for (one, two) in one.iter().zip(two) {
        for lane in 0..LANES {
            sums[lane] += one[lane] * two[lane];
        }
    }
    let rest: f32 = one_rest.iter().zip(two_rest).map(|(one, two)| one * two).sum();
    sums.iter().sum::<f32>() + rest
}

/// Values at the beginning of a vector that are compared first, where only very similar ones are looked for.
pub(super) const HEAD: usize = 64;

/// What the first comparison needs of a vector, beside the first of its codes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct HeadCoding {
    /// Value of one step, as in [`Coding`].
    scale: f32,
    /// Norm of what rounding took away from the head.
    error: f32,
    /// Norm of the values behind the head.
    rest: f32,
}

impl HeadCoding {
    /// Of a vector with these codes.
    pub(super) fn new(values: &[f32], codes: &[i8], scale: f32) -> Self {
        let head = HEAD.min(values.len());
        let lost = values[..head].iter().zip(codes).map(|(value, code)| (value - scale * f32::from(*code)).powi(2));
        Self { scale, error: lost.sum::<f32>().sqrt(), rest: dot(&values[head..], &values[head..]).sqrt() }
    }

    /// Of no vector.
    pub(super) const NONE: Self = Self { scale: 0.0, error: 0.0, rest: 0.0 };
}

/// A query ready for scanning.
pub(super) struct Query {
    codes: Vec<i8>,
    coding: Coding,
    head: HeadCoding,
}

impl Query {
    /// Codes a normalised vector.
    pub(super) fn new(values: &[f32]) -> Self {
        let mut codes = vec![0; values.len()];
        let coding = quantise(values, &mut codes);
        let head = HeadCoding::new(values, &codes, coding.scale);
        Self { codes, coding, head }
    }

    /// As the graph takes it.
    pub(super) fn packed(&self) -> Packed {
        Packed::new(&self.codes)
    }

    /// The most the exact similarity to a coded vector can be, for each vector of a block of rows.
    pub(super) fn upper_bounds(&self, block: &[i8], codings: &[Coding], bounds: &mut Vec<f32>) {
        bounds.clear();
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2, as was just asked.
            unsafe { self.upper_bounds_avx2(block, codings, bounds) };
            return;
        }
        self.upper_bounds_plain(block, codings, bounds);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn upper_bounds_avx2(&self, block: &[i8], codings: &[Coding], bounds: &mut Vec<f32>) {
        for (codes, coding) in block.chunks_exact(self.codes.len()).zip(codings) {
            bounds.push(self.upper_bound(dot_codes_avx2(&self.codes, codes), *coding));
        }
    }

    fn upper_bounds_plain(&self, block: &[i8], codings: &[Coding], bounds: &mut Vec<f32>) {
        for (codes, coding) in block.chunks_exact(self.codes.len()).zip(codings) {
            bounds.push(self.upper_bound(dot_codes(&self.codes, codes), *coding));
        }
    }

    /// Rows of a block whose exact similarity may reach `bar`, as far as their heads tell: what lies behind the heads adds
    /// at most the product of the norms there. `heads` has the first codes of each row.
    pub(super) fn candidates(&self, heads: &[i8], codings: &[HeadCoding], bar: f32, found: &mut Vec<usize>) {
        found.clear();
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected;
            if let Some(head) = self.codes.first_chunk()
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni")
            {
                // SAFETY: the processor has these parts of AVX-512, as was just asked.
                unsafe { self.candidates_vnni(head, (heads, codings), bar, found) };
                return;
            }
            if is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has AVX2, as was just asked.
                unsafe { self.candidates_avx2(heads, codings, bar, found) };
                return;
            }
        }
        let head = self.head_codes();
        for (row, (codes, coding)) in heads.chunks_exact(head.len()).zip(codings).enumerate() {
            if self.head_bound(dot_codes(head, codes), *coding) >= bar {
                found.push(row);
            }
        }
    }

    /// A head is one register, and its product one instruction. That multiplies unsigned by signed bytes: a code plus 128 is
    /// unsigned, and what the 128 add is the same for all rows.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[expect(clippy::cast_ptr_alignment, reason = "loads that take any alignment")]
    fn candidates_vnni(
        &self,
        head: &[i8; HEAD],
        (heads, codings): (&[i8], &[HeadCoding]),
        bar: f32,
        found: &mut Vec<usize>,
    ) {
        use std::arch::x86_64::{
            __m512i, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_reduce_add_epi32, _mm512_set1_epi8,
            _mm512_setzero_si512, _mm512_xor_si512,
        };
        // SAFETY: 64 bytes are read from an array of 64 bytes, at any alignment.
        let query = unsafe { _mm512_loadu_si512(head.as_ptr().cast::<__m512i>()) };
        let added = 128 * head.iter().map(|code| i32::from(*code)).sum::<i32>();
        for (row, (codes, coding)) in heads.as_chunks::<HEAD>().0.iter().zip(codings).enumerate() {
            // SAFETY: as above.
            let codes = unsafe { _mm512_loadu_si512(codes.as_ptr().cast::<__m512i>()) };
            let unsigned = _mm512_xor_si512(codes, _mm512_set1_epi8(i8::MIN));
            let products = _mm512_dpbusd_epi32(_mm512_setzero_si512(), unsigned, query);
            if self.head_bound(_mm512_reduce_add_epi32(products) - added, *coding) >= bar {
                found.push(row);
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn candidates_avx2(&self, heads: &[i8], codings: &[HeadCoding], bar: f32, found: &mut Vec<usize>) {
        let head = self.head_codes();
        for (row, (codes, coding)) in heads.chunks_exact(head.len()).zip(codings).enumerate() {
            if self.head_bound(dot_codes_avx2(head, codes), *coding) >= bar {
                found.push(row);
            }
        }
    }

    fn head_codes(&self) -> &[i8] {
        &self.codes[..HEAD.min(self.codes.len())]
    }

    /// The most the exact similarity can be, where the product of the heads' codes is this.
    fn head_bound(&self, product: i32, coding: HeadCoding) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "the bound's slack is wider")]
        let coded = product as f32 * self.head.scale * coding.scale;
        // as for whole vectors, with heads no longer than 1
        coded + self.head.error + (1.0 + self.head.error) * coding.error + self.head.rest * coding.rest + SLACK
    }

    /// The most the exact similarity to a vector of this coding can be, where the product of the codes is this.
    fn upper_bound(&self, product: i32, coding: Coding) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "the bound's slack is wider")]
        let coded = product as f32 * self.coding.scale * coding.scale;
        coded + self.coding.error + (1.0 + self.coding.error) * coding.error + SLACK
    }
}

/// Integer dot product of codes.
fn dot_codes(one: &[i8], two: &[i8]) -> i32 {
    // Products of codes fit 16 bits and their sum 32: wrapping only leaves out checks that would keep this scalar.
    let products = one.iter().zip(two).map(|(&one, &two)| i16::from(one).wrapping_mul(i16::from(two)));
    products.fold(0, |sum: i32, product| sum.wrapping_add(i32::from(product)))
}

/// Multiplies the codes of two vectors of one length.
pub(super) type CodeProduct = fn(&[i8], &[i8]) -> i32;

/// The fastest way this processor has.
pub(super) fn code_product() -> CodeProduct {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as was just asked.
        return |one, two| unsafe { dot_codes_avx2(one, two) };
    }
    |one, two| dot_codes(one, two)
}

/// 32 codes at a time, in two sums so that one addition does not wait for the other.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[expect(clippy::cast_ptr_alignment, reason = "loads and stores that take any alignment")]
#[inline]
fn dot_codes_avx2(one: &[i8], two: &[i8]) -> i32 {
    use std::arch::x86_64::{
        __m128i, __m256i, _mm_loadu_si128, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_madd_epi16,
        _mm256_setzero_si256, _mm256_storeu_si256,
    };
    let ((ones, one_rest), (twos, two_rest)) = (one.as_chunks::<32>(), two.as_chunks::<32>());
    let (mut even, mut odd) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    for (one, two) in ones.iter().zip(twos) {
        let (one, two) = (one.as_ptr().cast::<__m128i>(), two.as_ptr().cast::<__m128i>());
        // SAFETY: twice 16 bytes are read from arrays of 32 bytes, at any alignment.
        let [one, two, one_more, two_more] = unsafe {
            [_mm_loadu_si128(one), _mm_loadu_si128(two), _mm_loadu_si128(one.add(1)), _mm_loadu_si128(two.add(1))]
        };
        let products = _mm256_madd_epi16(_mm256_cvtepi8_epi16(one), _mm256_cvtepi8_epi16(two));
        even = _mm256_add_epi32(even, products);
        let products = _mm256_madd_epi16(_mm256_cvtepi8_epi16(one_more), _mm256_cvtepi8_epi16(two_more));
        odd = _mm256_add_epi32(odd, products);
    }
    let mut lanes = [0_i32; 8];
    // SAFETY: 32 bytes are written to an array of 32 bytes, at any alignment.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast::<__m256i>(), _mm256_add_epi32(even, odd)) };
    lanes.iter().sum::<i32>() + dot_codes(one_rest, two_rest)
}

/// One of the best so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Found {
    /// Exact similarity.
    pub(super) similarity: f32,
    /// The vector's time: of equals the earlier is better.
    pub(super) timestamp_ms: i64,
    /// Its slot.
    pub(super) slot: u32,
}

/// The k best so far, best first.
pub(super) struct Best {
    k: usize,
    found: Vec<Found>,
}

impl Best {
    /// None yet.
    pub(super) fn new(k: usize) -> Self {
        Self { k, found: Vec::with_capacity(k.min(1024) + 1) }
    }

    /// What a vector must reach to be among the best.
    pub(super) fn bar(&self) -> f32 {
        if self.found.len() < self.k {
            f32::NEG_INFINITY
        } else {
            self.found.last().map_or(f32::INFINITY, |last| last.similarity)
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// Takes in a vector, once; `earlier_id` says whether the first slot's id sorts before the second's.
    pub(super) fn offer(&mut self, found: Found, earlier_id: impl Fn(u32, u32) -> bool) {
        let better = |other: &Found| match other.similarity.total_cmp(&found.similarity) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => {
                other.timestamp_ms < found.timestamp_ms
                    || (other.timestamp_ms == found.timestamp_ms && earlier_id(other.slot, found.slot))
            }
        };
        let place = self.found.partition_point(better);
        // a vector just built into the graph may be offered twice, as a candidate and as one that still waits
        if place < self.k && self.found.iter().all(|other| other.slot != found.slot) {
            self.found.insert(place, found);
            self.found.truncate(self.k);
        }
    }

    /// The best, best first.
    pub(super) fn into_found(self) -> Vec<Found> {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normalised(values: Vec<f32>) -> Vec<f32> {
        let norm = dot(&values, &values).sqrt().max(1e-6);
        values.into_iter().map(|value| value / norm).collect()
    }

    proptest! {
        #[test]
        fn coded_bound_is_never_under_the_exact_similarity(
            one in prop::collection::vec(-1.0_f32..1.0, 37), two in prop::collection::vec(-1.0_f32..1.0, 37),
        ) {
            let (one, two) = (normalised(one), normalised(two));
            let mut codes = vec![0; two.len()];
            let coding = quantise(&two, &mut codes);
            let mut bounds = Vec::new();
            Query::new(&one).upper_bounds(&codes, &[coding], &mut bounds);
            let exact = dot(&one, &two);
            prop_assert!(bounds[0] >= exact && bounds[0] < exact + 0.1, "{} / {exact}", bounds[0]);
        }
    }

    proptest! {
        #[test]
        fn heads_rule_out_nothing_that_reaches_the_bar(
            one in prop::collection::vec(-1.0_f32..1.0, 96), noise in prop::collection::vec(-1.0_f32..1.0, 96),
            share in 0.0_f32..1.5, bar in 0.5_f32..1.0,
        ) {
            let one = normalised(one);
            let two = normalised(one.iter().zip(normalised(noise)).map(|(one, noise)| one + share * noise).collect());
            let mut codes = vec![0; two.len()];
            let coding = quantise(&two, &mut codes);
            let head = HeadCoding::new(&two, &codes, coding.scale);
            let mut found = Vec::new();
            Query::new(&one).candidates(&codes[..HEAD], &[head], bar, &mut found);
            prop_assert!(dot(&one, &two) < bar || found == [0], "{} / {bar}", dot(&one, &two));
        }
    }

    #[test]
    fn heads_are_judged_the_same_on_every_processor() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut vector = || normalised((0..HEAD + 32).map(|_| random.f32() - 0.5).collect());
        let (query, vectors) = (vector(), (0..500).map(|_| vector()).collect::<Vec<_>>());
        let (mut heads, mut codings) = (Vec::new(), Vec::new());
        for values in &vectors {
            let mut codes = vec![0; values.len()];
            let coding = quantise(values, &mut codes);
            codings.push(HeadCoding::new(values, &codes, coding.scale));
            heads.extend_from_slice(&codes[..HEAD]);
        }
        let query = Query::new(&query);
        for bar in [-1.0, 0.5, 0.6, 0.7, 2.0] {
            let product = |row: usize| dot_codes(query.head_codes(), &heads[row * HEAD..(row + 1) * HEAD]);
            let defined = (0..500).filter(|&row| query.head_bound(product(row), codings[row]) >= bar);
            let mut found = Vec::new();
            query.candidates(&heads, &codings, bar, &mut found);
            assert!(found.iter().copied().eq(defined), "{bar}: {found:?}");
        }
    }

    #[test]
    fn products_of_codes_are_the_same_on_every_processor() {
        let mut random = fastrand::Rng::with_seed(3);
        for length in [0, 1, 15, 16, 17, 33, 384] {
            let mut codes = || -> Vec<i8> { (0..length).map(|_| random.i8(-127..=127)).collect() };
            let (one, two) = (codes(), codes());
            assert_eq!(code_product()(&one, &two), dot_codes(&one, &two));
        }
        assert_eq!(code_product()(&[-127; 384], &[-127; 384]), 384 * 127 * 127);
    }

    #[test]
    fn a_vector_offered_twice_is_found_once() {
        let mut best = Best::new(3);
        for slot in [7, 7, 8] {
            best.offer(Found { similarity: 0.5, timestamp_ms: 1, slot }, |one, two| one < two);
        }
        let slots: Vec<u32> = best.into_found().into_iter().map(|found| found.slot).collect();
        assert_eq!(slots, [7, 8]);
    }

    #[test]
    fn best_are_ordered_by_similarity_time_and_id() {
        let mut best = Best::new(3);
        for (similarity, timestamp_ms, slot) in [(0.5, 9, 1), (0.9, 5, 2), (0.9, 4, 3), (0.9, 4, 0), (0.1, 0, 4)] {
            best.offer(Found { similarity, timestamp_ms, slot }, |one, two| one < two);
        }
        assert_eq!(best.into_found().iter().map(|found| found.slot).collect::<Vec<_>>(), [0, 3, 2]);
    }
}
