//! Returns a block at a time: those of a long series are made where they are looked at and never kept, which costs less
//! than the memory they would take.

/// Returns made at once: a block of two series and what is made of it stays in the first cache.
pub(crate) const BLOCK: usize = 512;

/// Room for a block.
pub(crate) type Block = [f64; BLOCK];

/// Returns of the bars.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Returns<'a> {
    /// As they are.
    Kept(&'a [f64]),
    /// Of a series of values.
    Changes {
        /// What the series began with.
        start: f64,
        /// Its value at each bar.
        values: &'a [f64],
        /// How many of the first of these are above 0, as the start is: nothing is odd there.
        positive: usize,
    },
}

impl<'a> Returns<'a> {
    /// Returns of values that began with `start`.
    pub(crate) fn of(start: f64, values: &'a [f64]) -> Self {
        // Without a way out early the compiler takes several at once.
        let whole = |part: &&[f64]| part.iter().map(|value| usize::from(*value > 0.0)).sum::<usize>() == part.len();
        let first = values.chunks(BLOCK).take_while(whole).count() * BLOCK;
        let rest = values.get(first..).unwrap_or_default();
        let positive = if start > 0.0 { first + rest.iter().take_while(|value| **value > 0.0).count() } else { 0 };
        let positive = positive.min(values.len());
        Self::Changes { start, values, positive }
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Kept(values) | Self::Changes { values, .. } => values.len(),
        }
    }

    /// The return of one bar.
    pub(crate) fn at(&self, row: usize) -> f64 {
        match *self {
            Self::Kept(returns) => returns[row],
            Self::Changes { start, values, .. } => change(before(start, values, row), values[row]),
        }
    }

    /// The returns from `first` on, a block of them or as many as there are, in `room` where they have to be made.
    #[inline]
    pub(crate) fn block<'b>(&self, first: usize, room: &'b mut Block) -> &'b [f64]
    where
        'a: 'b,
    {
        match *self {
            Self::Kept(returns) => &returns[first..returns.len().min(first + BLOCK)],
            Self::Changes { start, values, positive } => {
                let values_from = &values[first..values.len().min(first + BLOCK)];
                let room = &mut room[..values_from.len()];
                if let (Some(to), Some(value)) = (room.first_mut(), values_from.first()) {
                    *to = change(before(start, values, first), *value);
                }
                let pairs = values_from.windows(2).zip(&mut room[1..]);
                if first + values_from.len() <= positive {
                    pairs.for_each(|(pair, to)| *to = (pair[1] - pair[0]) / pair[0]);
                } else {
                    pairs.for_each(|(pair, to)| *to = change(pair[0], pair[1]));
                }
                room
            }
        }
    }

    /// All of them.
    pub(crate) fn collected(&self) -> Vec<f64> {
        let mut all = Vec::with_capacity(self.len());
        let mut room = [0.0; BLOCK];
        (0..self.len()).step_by(BLOCK).for_each(|first| all.extend_from_slice(self.block(first, &mut room)));
        all
    }

    /// Product of all returns and its largest fall from a peak.
    pub(crate) fn product(&self) -> (f64, f64) {
        let (mut product, mut peak, mut largest_fall) = (1.0_f64, f64::NEG_INFINITY, 0.0_f64);
        let mut known = 0;
        if let Self::Changes { start, values, positive } = *self
            && positive > 0
        {
            // The product of the returns so far is the value itself, in units of the start.
            known = positive;
            (product, peak) = (values[positive - 1] / start, extremes(&values[..positive]).1 / start);
            largest_fall = deepest_fall(&values[..positive]);
        }
        let mut room = [0.0; BLOCK];
        for first in (known..self.len()).step_by(BLOCK) {
            for change in self.block(first, &mut room).iter().filter(|change| !change.is_nan()) {
                product *= 1.0 + change;
                peak = peak.max(product);
                largest_fall = largest_fall.min(product / peak - 1.0);
            }
        }
        (product, largest_fall)
    }
}

fn before(start: f64, values: &[f64], row: usize) -> f64 {
    row.checked_sub(1).map_or(start, |row| values[row])
}

/// Relative change; from nothing to something it is infinite, and from a debt a fall is a loss.
fn change(before: f64, after: f64) -> f64 {
    // Everything is computed and one chosen: that is no branch, and the compiler takes several at once.
    let change = (after - before) / before;
    let gain = if before < 0.0 { -change } else { change };
    let from_nothing = if after == 0.0 { 0.0 } else { f64::INFINITY.copysign(after) };
    if before == 0.0 { from_nothing } else { gain }
}

/// Values whose extremes are looked at together.
const STRETCH: usize = 64;

/// The largest fall of positive values from a peak, as a fraction; 0 or below.
fn deepest_fall(values: &[f64]) -> f64 {
    let (mut peak, mut deepest) = (f64::NEG_INFINITY, 0.0_f64);
    for part in values.chunks(STRETCH) {
        let (lowest, highest) = extremes(part);
        let top = larger(peak, highest);
        // No fall within the stretch is deeper than from the one extreme to the other.
        if lowest / top - 1.0 < deepest {
            for value in part {
                peak = larger(peak, *value);
                deepest = deepest.min(value / peak - 1.0);
            }
        }
        peak = top;
    }
    deepest
}

/// Bars that `values` stayed below a peak for the longest; NaN if they never were.
#[expect(clippy::cast_precision_loss, reason = "no series has 2^53 bars")]
pub(crate) fn longest_drawdown(values: &[f64]) -> f64 {
    let mut peak = f64::NEG_INFINITY;
    let mut first_below = None;
    let mut longest = 0;
    for (index, part) in values.chunks(STRETCH).enumerate() {
        let start = index * STRETCH;
        let (_, highest) = extremes(part);
        if highest < peak {
            first_below.get_or_insert(start);
            continue;
        }
        for (row, value) in (start..).zip(part) {
            if *value < peak {
                first_below.get_or_insert(row);
            } else {
                peak = *value;
                longest = longest.max(first_below.take().map_or(0, |first| row - first));
            }
        }
    }
    longest = longest.max(first_below.map_or(0, |first| values.len() - first));
    if longest == 0 { f64::NAN } else { longest as f64 }
}

/// Lowest and highest of some values, none of them NaN.
fn extremes(values: &[f64]) -> (f64, f64) {
    let (mut lows, mut highs) = ([f64::INFINITY; 4], [f64::NEG_INFINITY; 4]);
    let (chunks, rest) = values.as_chunks::<4>();
    for chunk in chunks {
        for (lane, value) in chunk.iter().enumerate() {
            lows[lane] = smaller(lows[lane], *value);
            highs[lane] = larger(highs[lane], *value);
        }
    }
    let low = lows.iter().chain(rest).copied().fold(f64::INFINITY, smaller);
    (low, highs.iter().chain(rest).copied().fold(f64::NEG_INFINITY, larger))
}

// One instruction each, unlike those of the standard library, which look for NaN.
fn larger(one: f64, other: f64) -> f64 {
    if one > other { one } else { other }
}

fn smaller(one: f64, other: f64) -> f64 {
    if one < other { one } else { other }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "the same operations")]

    use super::*;

    fn walk(bars: usize, drift: f64) -> Vec<f64> {
        let mut random = fastrand::Rng::with_seed(4);
        let mut value = 100.0;
        let mut step = || {
            value *= 1.0 + 0.02 * (random.f64() - 0.5) + drift;
            value
        };
        (0..bars).map(|_| step()).collect()
    }

    #[test]
    fn blocks_are_the_returns_one_by_one() {
        for (start, values) in
            [(100.0, walk(1300, 0.0)), (50.0, vec![60.0, 0.0, 0.0, -3.0, -4.0, 5.0]), (1.0, vec![2.0])]
        {
            let returns = Returns::of(start, &values);
            let one_by_one: Vec<f64> = (0..values.len()).map(|row| returns.at(row)).collect();
            assert_eq!(returns.collected(), one_by_one);
            assert_eq!(Returns::Kept(&one_by_one).collected(), one_by_one);
        }
    }

    #[test]
    fn falls_found_by_stretches_are_those_found_bar_by_bar() {
        for (bars, drift) in [(1, 0.0), (63, 0.0), (1000, 0.0), (1000, 0.004), (1000, -0.004), (1024, 0.02)] {
            let values = walk(bars, drift);
            let (mut peak, mut deepest, mut below, mut longest) = (0.0_f64, 0.0_f64, 0_u32, 0_u32);
            for value in &values {
                peak = peak.max(*value);
                deepest = deepest.min(value / peak - 1.0);
                below = if *value < peak { below + 1 } else { 0 };
                longest = longest.max(below);
            }
            assert_eq!(deepest_fall(&values), deepest, "{bars} bars");
            let expected = if longest == 0 { f64::NAN } else { f64::from(longest) };
            assert!(longest_drawdown(&values).total_cmp(&expected).is_eq(), "{bars} bars");
        }
    }
}
