//! Quantiles of returns without sorting them all.

/// The 5 % tails of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tails {
    /// 5 % quantile, interpolated linearly between ranks; NaN values are left out.
    pub lower: f64,
    /// 95 % quantile.
    pub upper: f64,
    /// Mean of the `⌊(n − 1) · 5 %⌋ + 1` smallest, where n counts NaN values too.
    pub lower_mean: f64,
}

const CUTOFF: f64 = 0.05;

/// From so many values on, a sample says where a tail begins.
const SAMPLED: usize = 1 << 14;

/// Values of a sample.
const SAMPLE: usize = 1 << 11;

impl Tails {
    /// Tails of `values`; NaN where there are none.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ranks are far below 2^53 and not negative"
    )]
    pub fn of(values: &[f64]) -> Self {
        let count = values.iter().filter(|value| !value.is_nan()).count();
        let Some(last) = count.checked_sub(1) else {
            return Self { lower: f64::NAN, upper: f64::NAN, lower_mean: f64::NAN };
        };
        let rank = CUTOFF * last as f64;
        // The rank among all values, NaN ones included, is at or behind the one among the known.
        let wanted = (((values.len() - 1) as f64 * CUTOFF) as usize + 1).min(count);
        let mut smallest = smallest(values, 1.0, (rank as usize + 2).max(wanted).min(count));
        let lower = interpolated(&mut smallest, rank);
        let (below, at, _) = smallest.select_nth_unstable_by(wanted - 1, f64::total_cmp);
        let lower_mean = (below.iter().sum::<f64>() + *at) / wanted as f64;
        // The upper tail is the lower one of the mirrored values.
        let rank = (1.0 - CUTOFF) * last as f64;
        let mirrored = last as f64 - rank;
        let mut largest = self::smallest(values, -1.0, (mirrored as usize + 2).min(count));
        Self { lower, upper: -interpolated(&mut largest, mirrored), lower_mean }
    }
}

/// All of `sign * values` up to some value, at least the `count` smallest of them, without NaN.
fn smallest(values: &[f64], sign: f64, count: usize) -> Vec<f64> {
    let known = || values.iter().map(|value| sign * value).filter(|value| !value.is_nan());
    if values.len() >= SAMPLED {
        let mut sample: Vec<f64> = values
            .iter()
            .step_by(values.len() / SAMPLE)
            .map(|value| sign * value)
            .filter(|value| !value.is_nan())
            .collect();
        // One and a half of the share that is needed is enough in all but the oddest series; those are read whole.
        let rank = (count * sample.len()).div_ceil(values.len()) * 3 / 2;
        if rank < sample.len() {
            let (_, limit, _) = sample.select_nth_unstable_by(rank, f64::total_cmp);
            let limit = *limit;
            let mut part = Vec::with_capacity(count * 2);
            part.extend(known().filter(|value| *value <= limit));
            if part.len() >= count {
                return part;
            }
        }
    }
    known().collect()
}

/// The value at a rank from the smallest, between two ranks interpolated.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
fn interpolated(values: &mut [f64], rank: f64) -> f64 {
    let (_, at, above) = values.select_nth_unstable_by(rank as usize, f64::total_cmp);
    let fraction = rank - (rank as usize) as f64;
    let next = above.iter().copied().fold(f64::INFINITY, f64::min);
    if fraction == 0.0 || next.is_infinite() { *at } else { *at + (next - *at) * fraction }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ranks of short series"
    )]

    use super::*;

    fn sorted(values: &[f64]) -> Tails {
        let mut known: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        known.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = share * (known.len() - 1) as f64;
            let (below, above) = (known[rank.floor() as usize], known[rank.ceil() as usize]);
            below + (above - below) * rank.fract()
        };
        let wanted = (((values.len() - 1) as f64 * CUTOFF) as usize + 1).min(known.len());
        Tails {
            lower: at(CUTOFF),
            upper: at(1.0 - CUTOFF),
            lower_mean: known[..wanted].iter().sum::<f64>() / wanted as f64,
        }
    }

    fn assert_same(values: &[f64]) {
        let (tails, expected) = (Tails::of(values), sorted(values));
        for (one, other) in
            [(tails.lower, expected.lower), (tails.upper, expected.upper), (tails.lower_mean, expected.lower_mean)]
        {
            assert!((one - other).abs() < 1e-12, "{tails:?} instead of {expected:?} of {} values", values.len());
        }
    }

    #[test]
    fn tails_are_those_of_the_sorted_series() {
        let mut random = fastrand::Rng::with_seed(3);
        for length in [1, 2, 3, 20, 21, 40, 41, 1000, SAMPLED, SAMPLED + 7, 50_000] {
            let values: Vec<f64> = (0..length).map(|_| random.f64() - 0.4).collect();
            assert_same(&values);
            let gaps: Vec<f64> =
                values.iter().map(|value| if random.u8(..) < 30 { f64::NAN } else { *value }).chain([0.5]).collect();
            assert_same(&gaps);
        }
    }

    #[test]
    fn odd_series_are_read_whole() {
        // The sample sees only ones, or only the same value.
        let step = 50_000 / SAMPLE;
        let hidden: Vec<f64> =
            (0..50_000_usize).map(|row| if row % step == 0 { 1.0 } else { row as f64 / 1e6 }).collect();
        assert_same(&hidden);
        let mirrored: Vec<f64> = hidden.iter().map(|value| -value).collect();
        assert_same(&mirrored);
        assert_same(&vec![0.25; 50_000]);
        let none = Tails::of(&[f64::NAN; 3]);
        assert!(none.lower.is_nan() && none.upper.is_nan() && none.lower_mean.is_nan());
    }
}
