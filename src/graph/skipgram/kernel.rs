//! A passage's gradient steps, a window at a time: the window's first node against the nodes it is near to and those it
//! is not.

#![expect(
    clippy::inline_always,
    reason = "a kernel is compiled for a processor's features only where its body is inlined into the function that has them"
)]

use super::desk::{self, Cell, Desk, Task};
#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Level, Plain, Wide};
use super::table::{LANES, Table};

/// Most lines of a row.
const WIDTH_MAX: usize = 64;
/// Least probability in a loss; without it one pair could make the mean infinite.
const LEAST: f32 = 1e-15;
/// The score of no pair: its probability is 1 and its loss 0.
const NO_PAIR: f32 = 87.0;

/// Where the vectors are, and how to learn.
#[derive(Clone, Copy)]
pub(super) struct Lecture<'a> {
    /// Where first nodes' vectors are.
    pub(super) own: &'a Table,
    /// Where the others' vectors are; the same table or another.
    pub(super) context: &'a Table,
    /// Added to every product.
    pub(super) offset: f32,
    /// The step.
    pub(super) rate: f32,
    /// The passage that comes next. Its memory is asked for a part with every window: of more at once the processor would
    /// have to wait for the first.
    pub(super) coming: Option<&'a Task>,
}

/// Sums of `-ln σ(±(h·h' + offset))`, the probability the vectors gave to what was seen.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Loss {
    /// Over near pairs.
    pub(super) near: f32,
    /// Over random pairs.
    pub(super) far: f32,
}

/// Learns a passage.
pub(super) fn learn(level: Level, lecture: Lecture, task: &Task, desk: &mut Desk) -> Loss {
    let rows = task.own.rows.len() + task.context.rows.len();
    let blocks = task.near.div_ceil(LANES) + task.far.len().div_ceil(LANES);
    desk.clear(rows * lecture.own.width, blocks);
    match level {
        // SAFETY: a level is made only where the processor has its features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { learn_512(lecture, task, desk) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { learn_256(lecture, task, desk) },
        // SAFETY: plain code needs no feature.
        Level::Plain => unsafe { by_width::<Plain>(lecture, task, desk) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn learn_512(lecture: Lecture, task: &Task, desk: &mut Desk) -> Loss {
    // SAFETY: the function has the features.
    unsafe { by_width::<Avx512>(lecture, task, desk) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn learn_256(lecture: Lecture, task: &Task, desk: &mut Desk) -> Loss {
    // SAFETY: the function has the features.
    unsafe { by_width::<Avx2>(lecture, task, desk) }
}

/// Common widths are compiled each for itself, so that a row stays in registers.
#[inline(always)]
unsafe fn by_width<W: Wide>(lecture: Lecture, task: &Task, desk: &mut Desk) -> Loss {
    // SAFETY: the caller's processor has the features of `W`.
    unsafe {
        match lecture.own.width {
            2 => passage::<W, 2, true>(lecture, task, desk),
            4 => passage::<W, 4, true>(lecture, task, desk),
            8 => passage::<W, 8, true>(lecture, task, desk),
            _ => passage::<W, WIDTH_MAX, false>(lecture, task, desk),
        }
    }
}

/// Copies the rows, learns all windows, and gives back what changed.
#[inline(always)]
unsafe fn passage<W: Wide, const ROOM: usize, const EXACT: bool>(
    lecture: Lecture,
    task: &Task,
    desk: &mut Desk,
) -> Loss {
    let width = if EXACT { ROOM } else { lecture.own.width.min(ROOM) };
    let Desk { cells, before, scores } = desk;
    let split = task.own.rows.len() * width;
    let (near_blocks, far_blocks) = scores.split_at_mut(task.near.div_ceil(LANES));
    let (mut near_loss, mut far_loss) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    // SAFETY: the caller's processor has the features of `W`.
    unsafe {
        desk::fetch::<W>(lecture.own, &task.own.rows, &mut cells[..split], &mut before[..split]);
        desk::fetch::<W>(lecture.context, &task.context.rows, &mut cells[split..], &mut before[split..]);
        for (place, &first) in task.firsts.iter().enumerate() {
            if let Some(coming) = lecture.coming {
                coming.prefetch(lecture.own, lecture.context, place, task.firsts.len());
            }
            let near = &task.others[place + 1..][..task.near];
            let mut own = [W::splat(0.0); ROOM];
            let at = first as usize * width;
            for (wide, cell) in own[..width].iter_mut().zip(&cells[at..at + width]) {
                *wide = W::get(cell);
            }
            let own = &own[..width];
            products(own, cells, near, near_blocks, |product| lecture.offset + product);
            products(own, cells, &task.far, far_blocks, |product| -(lecture.offset + product));
            chances(near_blocks, &mut near_loss);
            chances(far_blocks, &mut far_loss);
            let mut change = [W::splat(0.0); ROOM];
            pull((own, &mut change[..width]), cells, near, near_blocks, lecture.rate);
            pull((own, &mut change[..width]), cells, &task.far, far_blocks, -lecture.rate);
            for (change, cell) in change[..width].iter().zip(&mut cells[at..at + width]) {
                W::get(cell).plus(*change).put(cell);
            }
        }
        desk::return_to::<W>(lecture.own, &task.own.rows, &cells[..split], &before[..split]);
        desk::return_to::<W>(lecture.context, &task.context.rows, &cells[split..], &before[split..]);
    }
    Loss { near: near_loss.iter().sum(), far: far_loss.iter().sum() }
}

/// The score of each pair.
#[inline(always)]
unsafe fn products<W: Wide>(
    own: &[W],
    cells: &[Cell],
    others: &[u32],
    blocks: &mut [Cell],
    score: impl Fn(f32) -> f32,
) {
    for (block, others) in blocks.iter_mut().zip(others.chunks(LANES)) {
        for (value, &other) in block.0.iter_mut().zip(others) {
            let at = other as usize * own.len();
            // SAFETY: the caller's processor has the features of `W`.
            *value = unsafe {
                let mut sum = W::splat(0.0);
                for (wide, cell) in own.iter().zip(&cells[at..at + own.len()]) {
                    sum = sum.add_product(*wide, W::get(cell));
                }
                score(sum.sum())
            };
        }
        for value in &mut block.0[others.len()..] {
            *value = NO_PAIR;
        }
    }
}

/// Makes scores probabilities, and adds their losses.
#[inline(always)]
fn chances(blocks: &mut [Cell], loss: &mut [f32; LANES]) {
    for block in blocks {
        sigmoid(&mut block.0);
        let mut logarithm = block.0.map(|chance| chance + LEAST);
        ln(&mut logarithm);
        for (loss, logarithm) in loss.iter_mut().zip(logarithm) {
            *loss -= logarithm;
        }
    }
}

/// Steps of the others along the gradient. The first's own is gathered in `change`, from rows as they are before their
/// step; a node that comes twice is already changed the second time.
#[inline(always)]
unsafe fn pull<W: Wide>(
    (own, change): (&[W], &mut [W]),
    cells: &mut [Cell],
    others: &[u32],
    blocks: &[Cell],
    rate: f32,
) {
    let scores = blocks.iter().flat_map(|block| &block.0);
    for (&other, score) in others.iter().zip(scores) {
        let at = other as usize * own.len();
        // SAFETY: the caller's processor has the features of `W`.
        unsafe {
            let pull = W::splat(rate * (1.0 - score));
            for ((change, own), cell) in change.iter_mut().zip(own).zip(&mut cells[at..at + own.len()]) {
                let row = W::get(cell);
                *change = change.add_product(pull, row);
                row.add_product(pull, *own).put(cell);
            }
        }
    }
}

/// Natural logarithm of each positive number, to about 1e-7 (polynomial of Cephes' `logf`).
#[inline(always)]
fn ln(block: &mut [f32; LANES]) {
    /// Bits of the root of a half: what is left of a number without its exponent lies between it and twice it.
    const ROOT: u32 = 0x3f35_04f3;
    for value in block {
        let bits = value.to_bits();
        let exponent = bits.wrapping_sub(ROOT).cast_signed() >> 23;
        let rest = f32::from_bits(bits.wrapping_sub((exponent << 23).cast_unsigned())) - 1.0;
        let square = rest * rest;
        let mut sum = 7.037_683_6e-2_f32;
        for coefficient in [
            -0.115_146_1,
            0.116_769_99,
            -0.124_201_41,
            0.142_493_23,
            -0.166_680_57,
            0.200_007_14,
            -0.249_999_94,
            0.333_333_3,
        ] {
            sum = sum * rest + coefficient;
        }
        #[expect(clippy::cast_precision_loss, reason = "-127 to 128")]
        let power = exponent as f32;
        *value = rest + (sum * rest * square - power * 2.121_944_4e-4 - 0.5 * square) + power * 0.693_359_4;
    }
}

/// `1 / (1 + e^-x)` of each, to about 1e-7: `e^-x` as a power of two times a polynomial (coefficients of Cephes' `expf`).
#[inline(always)]
fn sigmoid(block: &mut [f32; LANES]) {
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
    const NEAR: usize = 4;
    const RATE: f32 = 0.1;
    const OFFSET: f32 = -0.5;

    fn table(dimension: usize, seed: u64) -> Table {
        let mut random = Rng::with_seed(seed);
        let rows = std::iter::repeat_with(move || (0..dimension).map(|_| random.f32() - 0.5).collect());
        Table::filled(ROWS as usize, dimension, rows)
    }

    /// The windows' steps by their formula, on the first nodes' table and the last: all pulls from the vectors as they were,
    /// then the others one after the other, the first node last.
    fn by_formula(tables: &mut [Vec<f32>], dimension: usize, nodes: &[u32], far: &[u32]) -> [f64; 2] {
        let last = tables.len() - 1;
        let row = |row: u32| row as usize * dimension..(row as usize + 1) * dimension;
        let mut losses = [0.0, 0.0];
        for window in nodes.windows(NEAR + 1) {
            let first = tables[0][row(window[0])].to_vec();
            let others: Vec<(u32, bool)> =
                window[1..].iter().map(|&node| (node, true)).chain(far.iter().map(|&node| (node, false))).collect();
            let pull = |&(other, near): &(u32, bool)| {
                let pairs = first.iter().zip(&tables[last][row(other)]);
                let product = f64::from(OFFSET) + pairs.map(|(one, two)| f64::from(one * two)).sum::<f64>();
                let chance = 1.0 / (1.0 + (-product).exp());
                losses[usize::from(!near)] -= (if near { chance } else { 1.0 - chance } + f64::from(LEAST)).ln();
                (f64::from(RATE) * (f64::from(u8::from(near)) - chance)) as f32
            };
            let pulls: Vec<f32> = others.iter().map(pull).collect();
            let mut change = vec![0.0; dimension];
            for ((other, _), pull) in others.into_iter().zip(pulls) {
                let cells = tables[last][row(other)].iter_mut();
                for ((cell, change), first) in cells.zip(&mut change).zip(&first) {
                    *change += pull * *cell;
                    *cell += pull * first;
                }
            }
            tables[0][row(window[0])].iter_mut().zip(change).for_each(|(cell, change)| *cell += change);
        }
        losses
    }

    /// Nodes come twice, and first ones come among the others.
    #[test]
    fn every_level_makes_the_steps_of_the_formula() {
        let (nodes, far) = ([3, 1, 2, 3, 1, 5, 1, 8], [5, 8, 3, 5, 5, 0]);
        for dimension in [1, 16, 40, 64, 128, 1024] {
            for level in Level::available() {
                for apart in [false, true] {
                    let tables =
                        if apart { vec![table(dimension, 1), table(dimension, 2)] } else { vec![table(dimension, 1)] };
                    let mut expected: Vec<Vec<f32>> = tables.iter().map(Table::values).collect();
                    let [near, random] = by_formula(&mut expected, dimension, &nodes, &far);
                    let (own, context) = (&tables[0], &tables[tables.len() - 1]);
                    let mut task = Task::default();
                    task.set(&nodes, NEAR, far.into_iter(), apart);
                    let lecture = Lecture { own, context, offset: OFFSET, rate: RATE, coming: None };
                    let loss = learn(level, lecture, &task, &mut Desk::default());
                    let found = tables.iter().flat_map(Table::values);
                    for (value, expected) in found.zip(expected.iter().flatten()) {
                        assert!((value - expected).abs() < 1e-4, "{level:?} {dimension} {apart}: {value} {expected}");
                    }
                    for (found, expected) in [(loss.near, near), (loss.far, random)] {
                        let off = (f64::from(found) - expected).abs();
                        assert!(off < 1e-3 * expected, "{level:?} {dimension} {apart}: {found} {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn logarithm_is_exact_to_rounding() {
        for power in -40..2 {
            let mut block: [f32; LANES] = std::array::from_fn(|lane| 2_f32.powi(power) * (1.0 + lane as f32 / 16.0));
            let expected = block.map(|x| f64::from(x).ln());
            ln(&mut block);
            for (value, expected) in block.iter().zip(expected) {
                assert!((f64::from(*value) - expected).abs() < 2e-7 * (1.0 + expected.abs()), "{value} {expected}");
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
