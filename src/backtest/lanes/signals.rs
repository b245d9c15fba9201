//! Signals of a block as bits: comparisons run along the bars of one set, where prices and indicators lie side by side,
//! then blocks of 64 sets × 64 bars are turned over, so that a bar's signals of all sets are one word.

use rayon::prelude::*;

use super::vector::Vector;
use super::{BLOCK, CHUNK};

/// Words of bits along a chunk.
const WORDS: usize = CHUNK / 64;

/// Series that rules compare: prices and indicators, one row each, computed once and shared by all sets.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    bars: usize,
    stride: usize,
    values: Vec<f64>,
}

impl Rows {
    /// No rows yet, of `bars` values each.
    pub fn new(bars: usize) -> Self {
        Self { bars, stride: bars.next_multiple_of(CHUNK), values: Vec::new() }
    }

    /// Bytes that one row of `bars` values takes.
    pub fn row_bytes(bars: usize) -> usize {
        bars.next_multiple_of(CHUNK) * size_of::<f64>()
    }

    /// Adds a row and gives its number. NaN is a value not there yet.
    ///
    /// # Panics
    /// If the row is longer than the others.
    pub fn push(&mut self, row: &[f64]) -> u32 {
        assert!(row.len() <= self.bars, "a row has at most one value per bar");
        let index = u32::try_from(self.values.len() / self.stride.max(1)).unwrap_or(u32::MAX);
        self.values.extend_from_slice(row);
        self.values.resize((index as usize + 1) * self.stride, f64::NAN);
        index
    }

    /// Bars of each row.
    pub fn bars(&self) -> usize {
        self.bars
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.stride.max(1)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// A row's values.
    pub fn row(&self, index: u32) -> &[f64] {
        &self.values[index as usize * self.stride..][..self.bars]
    }

    /// A chunk of a row, filled up with NaN.
    fn chunk(&self, index: u32, start: usize) -> &[f64] {
        &self.values[index as usize * self.stride + start..][..CHUNK]
    }
}

/// One side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operand {
    /// A row of [`Rows`].
    Row(u32),
    /// A number, the same at every bar.
    Constant(f64),
    /// The first row plus a multiple of the second: a band around a mean, the difference of two means.
    Band(u32, u32, f64),
}

/// When a signal is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Condition {
    /// The first comes to lie above the second after having lain strictly below it: equality in between changes
    /// nothing, NaN starts afresh.
    Crosses(Operand, Operand),
    /// The first lies above the second.
    Exceeds(Operand, Operand),
}

impl Condition {
    /// The pair that is compared.
    pub fn operands(self) -> (Operand, Operand) {
        match self {
            Self::Crosses(left, right) | Self::Exceeds(left, right) => (left, right),
        }
    }

    /// Whether this is the other's crossing seen from below.
    fn mirrors(self, other: Self) -> bool {
        matches!((self, other), (Self::Crosses(a, b), Self::Crosses(c, d)) if a == d && b == c)
    }
}

/// The signals of one set: what enters and what exits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Entry.
    pub entry: Condition,
    /// Exit.
    pub exit: Condition,
}

/// Signals given as columns of bits, packed 64 bars to a word, lowest bit first.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    bars: usize,
    words: Vec<u64>,
}

/// Signals of one column, bar by bar; an empty slice is a signal that is never given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Column<'a> {
    /// Entries: long, unless the direction is short.
    pub entries: &'a [bool],
    /// Exits; where the direction is both and no short signals are given they enter short.
    pub exits: &'a [bool],
    /// Short entries of their own.
    pub short_entries: &'a [bool],
    /// Short exits of their own.
    pub short_exits: &'a [bool],
}

impl Columns {
    /// No columns yet, of `bars` signals each.
    pub fn new(bars: usize) -> Self {
        Self { bars, words: Vec::new() }
    }

    /// Words of one signal of one column.
    fn stride(&self) -> usize {
        self.bars.div_ceil(CHUNK) * WORDS
    }

    /// Columns of `bars` signals each, packed on all cores.
    pub fn packed<T: Sync>(bars: usize, columns: &[T], of: impl Fn(&T) -> Column<'_> + Sync) -> Self {
        let mut packed = Self::new(bars);
        let stride = packed.stride();
        packed.words = vec![0; columns.len() * 4 * stride];
        packed.words.par_chunks_mut((4 * stride).max(1)).zip(columns).for_each(|(words, column)| {
            let column = of(column);
            let signals = [column.entries, column.exits, column.short_entries, column.short_exits];
            for (words, signals) in words.chunks_mut(stride).zip(signals) {
                pack(&signals[..bars.min(signals.len())], words);
            }
        });
        packed
    }

    /// Adds a column and gives its number.
    pub fn push(&mut self, column: Column<'_>) -> u32 {
        let index = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let one = Self::packed(self.bars, &[column], |column| *column);
        self.words.extend(one.words);
        index
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.words.len() / (4 * self.stride()).max(1)
    }

    /// Whether there is no column.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The words of a chunk of one of a column's four signals.
    fn chunk(&self, column: u32, signal: usize, start: usize) -> &[u64] {
        &self.words[(column as usize * 4 + signal) * self.stride() + start / 64..][..WORDS]
    }

    /// Whether a signal of a column is given at a bar: entry, exit, short entry, short exit.
    pub fn given(&self, column: usize, signal: usize, bar: usize) -> bool {
        self.words[(column * 4 + signal) * self.stride() + bar / 64] >> (bar % 64) & 1 == 1
    }
}

/// Packs signals 64 to a word, lowest bit first.
fn pack(signals: &[bool], words: &mut [u64]) {
    for (word, signals) in words.iter_mut().zip(signals.chunks(64)) {
        for (place, signals) in signals.chunks(8).enumerate() {
            let mut bytes = [0; 8];
            bytes.iter_mut().zip(signals).for_each(|(byte, signal)| *byte = u8::from(*signal));
            // Eight bytes of 0 or 1: the product gathers their bits in its highest byte.
            let bits = u64::from_le_bytes(bytes).wrapping_mul(0x0102_0408_1020_4080) >> 56;
            *word |= bits << (8 * place);
        }
    }
}

/// Where the signals of a block's sets come from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// Each set's rule over shared rows.
    Rules(&'a Rows, &'a [Rule]),
    /// Each set's column of given signals.
    Columns(&'a Columns, &'a [u32]),
}

impl<'a> Source<'a> {
    /// The same source for a part of the sets.
    #[must_use]
    pub fn part(self, from: usize, to: usize) -> Source<'a> {
        match self {
            Self::Rules(rows, rules) => Self::Rules(rows, &rules[from..to]),
            Self::Columns(columns, indices) => Self::Columns(columns, &indices[from..to]),
        }
    }

    /// Number of sets.
    pub fn len(self) -> usize {
        match self {
            Self::Rules(_, rules) => rules.len(),
            Self::Columns(_, indices) => indices.len(),
        }
    }

    /// Whether there is no set.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Which side of the other series a series was last seen on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Side {
    /// Neither yet.
    #[default]
    None,
    /// Below.
    Below,
    /// Above.
    Above,
}

/// What the four signals of a set are along one chunk.
type SetWords = [[u64; WORDS]; 4];

/// The signals of one chunk, one word of sets per bar: long entry, long exit, short entry, short exit.
#[derive(Debug)]
pub(super) struct Masks {
    /// The four signals.
    pub words: [[u64; CHUNK]; 4],
}

/// Makes the signals of a block, chunk by chunk.
#[derive(Debug)]
pub(super) struct Signaller {
    /// Where each set's entry and exit conditions stand.
    sides: [[Side; 2]; BLOCK],
    /// The chunk's signals by set, before they are turned over.
    sets: Vec<SetWords>,
    /// Where entry, exit, short entry and short exit go among the four masks.
    places: [usize; 4],
    /// The last bar's signals of each set, where they trade one bar later.
    carried: Option<Vec<[u64; 4]>>,
    /// Room for operands that are no rows.
    spare: Box<[[f64; CHUNK]; 2]>,
}

impl Signaller {
    /// For a block; `places` says which mask each of the four signals means, `delayed` whether signals trade one bar
    /// later.
    pub fn new(places: [usize; 4], delayed: bool) -> Self {
        Self {
            sides: [[Side::None; 2]; BLOCK],
            sets: vec![[[0; WORDS]; 4]; BLOCK],
            places,
            carried: delayed.then(|| vec![[0; 4]; BLOCK]),
            spare: Box::new([[0.0; CHUNK]; 2]),
        }
    }

    /// Fills `masks` with the signals of the chunk that begins at `start`, without those of bars that are not in
    /// `tradable`. Opposite signals at one bar cancel each other.
    #[inline(always)]
    pub fn fill<V: Vector>(&mut self, source: Source<'_>, start: usize, tradable: &[u64], masks: &mut Masks) {
        for set in 0..source.len() {
            let mut given = [[0; WORDS]; 4];
            match source {
                Source::Rules(rows, rules) => {
                    let (entry, exit) = given.split_at_mut(1);
                    let mut stretch = Stretch { rows, start, spare: &mut self.spare };
                    rule::<V>(&mut stretch, rules[set], &mut self.sides[set], (&mut entry[0], &mut exit[0]));
                }
                Source::Columns(columns, indices) => {
                    for (signal, words) in given.iter_mut().enumerate() {
                        words.copy_from_slice(columns.chunk(indices[set], signal, start));
                    }
                }
            }
            if let Some(carried) = &mut self.carried {
                delay(&mut given, &mut carried[set]);
            }
            self.sets[set] = self.resolved(&given, &tradable[start / 64..]);
        }
        for (signal, words) in masks.words.iter_mut().enumerate() {
            for word in 0..WORDS {
                let mut square = [0; 64];
                for (to, from) in square.iter_mut().zip(&self.sets) {
                    *to = from[signal][word];
                }
                turn(&mut square);
                words[word * 64..][..64].copy_from_slice(&square);
            }
        }
    }

    /// The four signals put in their places, conflicts dropped.
    #[inline(always)]
    fn resolved(&self, given: &SetWords, tradable: &[u64]) -> SetWords {
        let mut out = [[0; WORDS]; 4];
        for word in 0..WORDS {
            let mut signals = [0; 4];
            for (from, &place) in given.iter().zip(&self.places) {
                signals[place] |= from[word] & tradable[word];
            }
            let [long_entry, long_exit, short_entry, short_exit] = signals;
            let long = long_entry & !long_exit;
            let short = short_entry & !short_exit;
            out[0][word] = long & !short;
            out[1][word] = long_exit & !long_entry;
            out[2][word] = short & !long;
            out[3][word] = short_exit & !short_entry;
        }
        out
    }
}

/// Moves signals one bar on; the last of a chunk goes into the next.
#[inline(always)]
fn delay(given: &mut SetWords, carried: &mut [u64; 4]) {
    for (words, carried) in given.iter_mut().zip(carried) {
        for word in words {
            let last = *word >> 63;
            *word = *word << 1 | *carried;
            *carried = last;
        }
    }
}

/// A chunk of shared rows, with room for operands that are none.
struct Stretch<'a> {
    rows: &'a Rows,
    /// First bar.
    start: usize,
    spare: &'a mut [[f64; CHUNK]; 2],
}

/// Entry and exit words of one set's rule along a chunk.
#[inline(always)]
fn rule<V: Vector>(
    stretch: &mut Stretch<'_>,
    rule: Rule,
    sides: &mut [Side; 2],
    (entry, exit): (&mut [u64; WORDS], &mut [u64; WORDS]),
) {
    if rule.exit.mirrors(rule.entry) {
        condition::<V>(stretch, rule.entry, &mut sides[0], (entry, exit));
    } else {
        let mut unused = [0; WORDS];
        condition::<V>(stretch, rule.entry, &mut sides[0], (entry, &mut unused));
        condition::<V>(stretch, rule.exit, &mut sides[1], (exit, &mut unused));
    }
}

/// Where a condition holds along a chunk, and where the crossing in the other direction does.
#[inline(always)]
fn condition<V: Vector>(
    stretch: &mut Stretch<'_>,
    condition: Condition,
    side: &mut Side,
    (holds, mirrored): (&mut [u64; WORDS], &mut [u64; WORDS]),
) {
    let (left, right) = condition.operands();
    let [left_spare, right_spare] = &mut *stretch.spare;
    let left = series::<V>(stretch.rows, left, stretch.start, left_spare);
    let right = series::<V>(stretch.rows, right, stretch.start, right_spare);
    for word in 0..WORDS {
        let (left, right) = (&left[word * 64..][..64], &right[word * 64..][..64]);
        let (below, above) = (V::lt64(left, right), V::lt64(right, left));
        if matches!(condition, Condition::Exceeds(..)) {
            holds[word] = above;
        } else if below | above == u64::MAX {
            holds[word] = above & (below << 1 | u64::from(*side == Side::Below));
            mirrored[word] = below & (above << 1 | u64::from(*side == Side::Above));
            *side = if above >> 63 == 1 { Side::Above } else { Side::Below };
        } else {
            (holds[word], mirrored[word]) = crossings(below, above, equal::<V>(left, right), side);
        }
    }
}

/// An operand's values along a chunk.
#[inline(always)]
fn series<'a, V: Vector>(rows: &'a Rows, operand: Operand, start: usize, spare: &'a mut [f64; CHUNK]) -> &'a [f64] {
    match operand {
        Operand::Row(row) => return rows.chunk(row, start),
        Operand::Constant(value) => spare.fill(value),
        Operand::Band(base, width, factor) => {
            let (base, width, factor) = (rows.chunk(base, start), rows.chunk(width, start), V::splat(factor));
            for bar in (0..CHUNK).step_by(V::LANES) {
                V::load(&base[bar..]).add(factor.mul(V::load(&width[bar..]))).store(&mut spare[bar..]);
            }
        }
    }
    spare
}

/// Crossings of 64 bars some of which are equal or NaN: upward, downward.
fn crossings(below: u64, above: u64, equal: u64, side: &mut Side) -> (u64, u64) {
    let (mut upward, mut downward) = (0, 0);
    for bar in 0..64 {
        let bit = 1 << bar;
        if above & bit != 0 {
            upward |= if *side == Side::Below { bit } else { 0 };
            *side = Side::Above;
        } else if below & bit != 0 {
            downward |= if *side == Side::Above { bit } else { 0 };
            *side = Side::Below;
        } else if equal & bit == 0 {
            *side = Side::None;
        }
    }
    (upward, downward)
}

/// Where 64 values equal 64 others.
#[inline(always)]
fn equal<V: Vector>(left: &[f64], right: &[f64]) -> u64 {
    let mut equal = 0;
    for start in (0..64).step_by(V::LANES) {
        equal |= u64::from(V::load(&left[start..]).eq(V::load(&right[start..]))) << start;
    }
    equal
}

/// Turns a square of bits over: bit `i` of word `j` becomes bit `j` of word `i`, by halving blocks.
#[inline(always)]
fn turn(square: &mut [u64; 64]) {
    let mut width = 32;
    let mut low = u64::from(u32::MAX);
    while width != 0 {
        let mut row = 0;
        while row < 64 {
            let swapped = (square[row] >> width ^ square[row + width]) & low;
            square[row] ^= swapped << width;
            square[row + width] ^= swapped;
            row = (row + width + 1) & !width;
        }
        width >>= 1;
        low ^= low << width;
    }
}

#[cfg(test)]
mod tests {
    use super::super::vector::Portable;
    use super::*;

    #[test]
    fn turning_over_exchanges_bit_and_word() {
        let mut random = fastrand::Rng::with_seed(7);
        let before: [u64; 64] = std::array::from_fn(|_| random.u64(..));
        let mut after = before;
        turn(&mut after);
        for (row, word) in before.iter().enumerate() {
            for (column, turned) in after.iter().enumerate() {
                assert_eq!(word >> column & 1, turned >> row & 1, "row {row}, column {column}");
            }
        }
    }

    #[test]
    fn equality_keeps_a_side_and_nan_forgets_it() {
        let mut rows = Rows::new(8);
        let left = rows.push(&[1.0, 2.0, 3.0, 1.0, f64::NAN, 3.0, 1.0, 3.0]);
        let condition = Condition::Crosses(Operand::Row(left), Operand::Constant(2.0));
        let (mut up, mut down) = ([0; WORDS], [0; WORDS]);
        let mut stretch = Stretch { rows: &rows, start: 0, spare: &mut [[0.0; CHUNK]; 2] };
        super::condition::<Portable<4>>(&mut stretch, condition, &mut Side::None, (&mut up, &mut down));
        assert_eq!(up[0], 0b1000_0100, "through equality at bar 1, not after NaN at bar 4");
        assert_eq!(down[0], 0b0100_1000);
    }
}
