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

/// Values looked at together.
const GROUP: usize = 512;

/// Between which values no tail reaches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limits {
    lower: f64,
    upper: f64,
}

impl Limits {
    /// Every value may belong to either tail.
    pub(crate) const NONE: Self = Self { lower: f64::INFINITY, upper: f64::NEG_INFINITY };

    /// What a sample of `len` values says: one and a half of the share that is needed, which is enough in all but the
    /// oddest series.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
    pub(crate) fn sampled(len: usize, at: impl Fn(usize) -> f64) -> Self {
        if len < SAMPLED {
            return Self::NONE;
        }
        let mut sample: Vec<f64> = (0..len).step_by(len / SAMPLE).map(at).filter(|value| !value.is_nan()).collect();
        let rank = (CUTOFF * 1.5 * SAMPLE as f64) as usize + 2;
        if sample.len() < 2 * rank {
            return Self::NONE;
        }
        let above = sample.len() - 1 - rank;
        let (_, lower, _) = sample.select_nth_unstable_by(rank, f64::total_cmp);
        let lower = *lower;
        let (_, upper, _) = sample.select_nth_unstable_by(above, f64::total_cmp);
        Self { lower, upper: *upper }
    }
}

/// What may belong to the tails of a series: values beyond the limits, and how many lie on them.
#[derive(Debug, Default)]
pub(crate) struct TailParts {
    /// Values that are not NaN.
    known: usize,
    low: Vec<f64>,
    on_low: usize,
    /// With the sign turned, so that both tails are lower ones.
    high: Vec<f64>,
    on_high: usize,
}

impl TailParts {
    /// Takes note of some values.
    pub(crate) fn add(&mut self, values: &[f64], limits: Limits) {
        let mut room = [0.0; GROUP];
        for values in values.chunks(GROUP) {
            // Without branches: which values lie beyond is a matter of chance.
            let (mut low, mut high) = (0, 0);
            for value in values {
                room[low] = *value;
                low += usize::from(*value < limits.lower);
            }
            self.low.extend_from_slice(&room[..low]);
            for value in values {
                room[high] = -*value;
                high += usize::from(*value > limits.upper);
            }
            self.high.extend_from_slice(&room[..high]);
            self.known += count(values, |value| !value.is_nan());
            self.on_low += count(values, |value| value <= limits.lower) - low;
            self.on_high += count(values, |value| value >= limits.upper) - high;
        }
    }

    /// Adds those of more values of the same series.
    pub(crate) fn join(&mut self, other: &Self) {
        self.known += other.known;
        self.low.extend_from_slice(&other.low);
        self.on_low += other.on_low;
        self.high.extend_from_slice(&other.high);
        self.on_high += other.on_high;
    }
}

fn count(values: &[f64], holds: impl Fn(f64) -> bool) -> usize {
    values.iter().map(|value| usize::from(holds(*value))).sum()
}

impl Tails {
    /// Tails of `values`; NaN where there are none.
    pub fn of(values: &[f64]) -> Self {
        let within = |limits| {
            let mut parts = TailParts::default();
            parts.add(values, limits);
            Self::from_parts(parts, limits, values.len())
        };
        within(Limits::sampled(values.len(), |row| values[row]))
            .or_else(|| within(Limits::NONE))
            .unwrap_or(Self::UNKNOWN)
    }

    /// Of no values.
    pub(crate) const UNKNOWN: Self = Self { lower: f64::NAN, upper: f64::NAN, lower_mean: f64::NAN };

    /// Tails of `len` values, NaN ones counted; `None` where the limits have cut off too much.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ranks are far below 2^53 and not negative"
    )]
    pub(crate) fn from_parts(mut parts: TailParts, limits: Limits, len: usize) -> Option<Self> {
        let count = parts.known;
        let Some(last) = count.checked_sub(1) else { return Some(Self::UNKNOWN) };
        let rank = CUTOFF * last as f64;
        // The rank among all values, NaN ones included, is at or behind the one among the known.
        let wanted = (((len - 1) as f64 * CUTOFF) as usize + 1).min(count);
        fill(&mut parts.low, (limits.lower, parts.on_low), (rank as usize + 2).max(wanted).min(count))?;
        let lower = interpolated(&mut parts.low, rank);
        let (below, at, _) = parts.low.select_nth_unstable_by(wanted - 1, f64::total_cmp);
        let lower_mean = (below.iter().sum::<f64>() + *at) / wanted as f64;
        // The upper tail is the lower one of the mirrored values.
        let mirrored = last as f64 - (1.0 - CUTOFF) * last as f64;
        fill(&mut parts.high, (-limits.upper, parts.on_high), (mirrored as usize + 2).min(count))?;
        Some(Self { lower, upper: -interpolated(&mut parts.high, mirrored), lower_mean })
    }
}

/// Brings a tail to `needed` values by those that lie on its limit.
fn fill(tail: &mut Vec<f64>, (limit, on_it): (f64, usize), needed: usize) -> Option<()> {
    let more = needed.saturating_sub(tail.len());
    (more <= on_it).then(|| tail.extend(std::iter::repeat_n(limit, more)))
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
