//! One window's gradient step: the window's first node against the nodes it is near to and those it is not.

#![expect(
    clippy::inline_always,
    reason = "a kernel is compiled for a processor's features only where its body is inlined into the function that has them"
)]

#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Level, Plain, Wide};
use super::table::{LANES, Table};

/// Most lines of a row.
const WIDTH_MAX: usize = 64;

/// A window: all its rows, and how it is to be learned.
pub(super) struct Window<'a> {
    /// Where the first node's vector is.
    pub(super) own: &'a Table,
    /// Where the others' vectors are; the same table or another.
    pub(super) context: &'a Table,
    /// The first node.
    pub(super) node: u32,
    /// The others: those it is near to, then those it is not.
    pub(super) others: &'a [u32],
    /// How many of them it is near to.
    pub(super) near: usize,
    /// Added to every product.
    pub(super) offset: f32,
    /// The step.
    pub(super) rate: f32,
}

/// Learns one window. `scores` is room for its products; `σ(±(h·h' + offset))` of each pair is left there, the probability the
/// vectors gave to what was seen.
pub(super) fn learn(level: Level, window: &Window, scores: &mut Vec<f32>) {
    scores.clear();
    scores.resize(window.others.len().next_multiple_of(LANES), 0.0);
    match level {
        // SAFETY: a level is made only where the processor has its features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { learn_512(window, scores) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { learn_256(window, scores) },
        // SAFETY: plain code needs no feature.
        Level::Plain => unsafe { by_width::<Plain>(window, scores) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn learn_512(window: &Window, scores: &mut [f32]) {
    // SAFETY: the function has the features.
    unsafe { by_width::<Avx512>(window, scores) };
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn learn_256(window: &Window, scores: &mut [f32]) {
    // SAFETY: the function has the features.
    unsafe { by_width::<Avx2>(window, scores) };
}

/// Common widths are compiled each for itself, so that a row stays in registers.
#[inline(always)]
unsafe fn by_width<W: Wide>(window: &Window, scores: &mut [f32]) {
    // SAFETY: the caller's processor has the features of `W`.
    unsafe {
        match window.own.width {
            2 => step::<W, 2, true>(window, scores),
            4 => step::<W, 4, true>(window, scores),
            8 => step::<W, 8, true>(window, scores),
            _ => step::<W, WIDTH_MAX, false>(window, scores),
        }
    }
}

/// Products of all pairs first, then a step by each: the gradient of the window's summed loss, but that a node which comes
/// twice is already changed the second time.
#[inline(always)]
unsafe fn step<W: Wide, const ROOM: usize, const EXACT: bool>(window: &Window, scores: &mut [f32]) {
    let width = if EXACT { ROOM } else { window.own.width.min(ROOM) };
    // SAFETY: the caller's processor has the features of `W`.
    unsafe {
        let zero = W::splat(0.0);
        let own_lines = window.own.row(window.node);
        let mut own = [zero; ROOM];
        for (wide, line) in own[..width].iter_mut().zip(own_lines) {
            *wide = W::load(line);
        }
        for (score, &other) in scores.iter_mut().zip(window.others) {
            let mut sum = zero;
            for (wide, line) in own[..width].iter().zip(window.context.row(other)) {
                sum = sum.add_product(*wide, W::load(line));
            }
            *score = window.offset + sum.sum();
        }
        for score in &mut scores[window.near..] {
            *score = -*score;
        }
        for block in scores.as_chunks_mut::<LANES>().0 {
            sigmoid(block);
        }
        let mut change = [zero; ROOM];
        for (place, (score, &other)) in scores.iter().zip(window.others).enumerate() {
            let pull = window.rate * (1.0 - score);
            let pull = W::splat(if place < window.near { pull } else { -pull });
            let lines = window.context.row(other);
            for ((change, own), line) in change[..width].iter_mut().zip(&own[..width]).zip(lines) {
                let row = W::load(line);
                *change = change.add_product(pull, row);
                row.add_product(pull, *own).store(line);
            }
        }
        for (change, line) in change[..width].iter().zip(own_lines) {
            W::load(line).plus(*change).store(line);
        }
    }
}

/// `1 / (1 + e^-x)` of each, to about 1e-7: `e^-x` as a power of two times a polynomial (coefficients of Cephes' `expf`).
#[inline(always)]
pub(super) fn sigmoid(block: &mut [f32; LANES]) {
    // Adding and taking away 1.5 * 2^23 rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    for value in block {
        let x = (-*value).clamp(-87.0, 87.0);
        let power = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
        let rest = (x - power * 0.693_359_4) + power * 2.121_944_4e-4;
        let mut sum = 1.987_569_2e-4_f32;
        for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
            sum = sum * rest + coefficient;
        }
        let fraction = sum * rest * rest + rest + 1.0;
        #[expect(clippy::cast_possible_truncation, reason = "a whole number from -126 to 126")]
        let exponent = (power as i32 + 127) << 23;
        let exponential = fraction * f32::from_bits(exponent.cast_unsigned());
        *value = 1.0 / (1.0 + exponential);
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "tests")]
mod tests {
    use fastrand::Rng;

    use super::*;

    const ROWS: u32 = 9;
    const RATE: f32 = 0.3;
    const OFFSET: f32 = -0.5;

    fn table(dimension: usize, seed: u64) -> Table {
        let mut random = Rng::with_seed(seed);
        let rows = std::iter::repeat_with(move || (0..dimension).map(|_| random.f32() - 0.5).collect());
        Table::filled(ROWS as usize, dimension, rows)
    }

    /// The step by its formula, on the first node's table and the last: all pulls from the vectors as they were, then
    /// the others one after the other, the first node last.
    fn by_formula(tables: &mut [Vec<f32>], dimension: usize, node: u32, others: &[u32]) {
        let last = tables.len() - 1;
        let row = |row: u32| row as usize * dimension..(row as usize + 1) * dimension;
        let first = tables[0][row(node)].to_vec();
        let pull = |(place, &other): (usize, &u32)| {
            let pairs = first.iter().zip(&tables[last][row(other)]);
            let product = f64::from(OFFSET) + pairs.map(|(one, two)| f64::from(one * two)).sum::<f64>();
            let seen = if place < 4 { 1.0 } else { 0.0 };
            (f64::from(RATE) * (seen - 1.0 / (1.0 + (-product).exp()))) as f32
        };
        let pulls: Vec<f32> = others.iter().enumerate().map(pull).collect();
        let mut change = vec![0.0; dimension];
        for (&other, pull) in others.iter().zip(pulls) {
            let cells = tables[last][row(other)].iter_mut();
            for ((cell, change), first) in cells.zip(&mut change).zip(&first) {
                *change += pull * *cell;
                *cell += pull * first;
            }
        }
        tables[0][row(node)].iter_mut().zip(change).for_each(|(cell, change)| *cell += change);
    }

    /// Nodes come twice, and the first comes among the others.
    #[test]
    fn every_level_makes_the_step_of_the_formula() {
        let (node, others) = (3, [1, 2, 3, 1, 5, 8, 3, 5, 5, 0]);
        for dimension in [1, 16, 40, 64, 128, 1024] {
            for level in Level::available() {
                for shared in [false, true] {
                    let tables =
                        if shared { vec![table(dimension, 1)] } else { vec![table(dimension, 1), table(dimension, 2)] };
                    let mut expected: Vec<Vec<f32>> = tables.iter().map(Table::values).collect();
                    by_formula(&mut expected, dimension, node, &others);
                    let (own, context) = (&tables[0], &tables[tables.len() - 1]);
                    let window = Window { own, context, node, others: &others, near: 4, offset: OFFSET, rate: RATE };
                    learn(level, &window, &mut Vec::new());
                    let found = tables.iter().flat_map(Table::values);
                    for (value, expected) in found.zip(expected.iter().flatten()) {
                        assert!((value - expected).abs() < 1e-4, "{level:?} {dimension} {shared}: {value} {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn sigmoid_is_exact_to_rounding() {
        for start in -100..100_i16 {
            let mut block: [f32; LANES] = std::array::from_fn(|lane| f32::from(start) + lane as f32 / 16.0);
            let expected = block.map(|x| 1.0 / (1.0 + (-f64::from(x)).exp()));
            sigmoid(&mut block);
            for (value, expected) in block.iter().zip(expected) {
                assert!((f64::from(*value) - expected).abs() < 2e-7 + 1e-37, "{value} {expected}");
            }
        }
    }
}
