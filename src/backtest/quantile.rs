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

impl Tails {
    /// Tails of `values`; NaN where there are none.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ranks are far below 2^53 and not negative"
    )]
    pub fn of(values: &[f64]) -> Self {
        let mut kept: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        if kept.is_empty() {
            return Self { lower: f64::NAN, upper: f64::NAN, lower_mean: f64::NAN };
        }
        let last = kept.len() - 1;
        let (lower, upper) = (CUTOFF * last as f64, (1.0 - CUTOFF) * last as f64);
        let rank = upper as usize;
        let (below, at, above) = kept.select_nth_unstable_by(rank, f64::total_cmp);
        let next = above.iter().copied().fold(f64::INFINITY, f64::min);
        let (split, upper) = (*at, interpolate(*at, next, upper - rank as f64));
        let rank = lower as usize;
        let part: &mut [f64] = if rank < below.len() { below } else { &mut kept };
        let (smaller, at, above) = part.select_nth_unstable_by(rank, f64::total_cmp);
        let next = above.iter().copied().fold(f64::INFINITY, f64::min);
        // The last of those below the upper quantile has it for a neighbour.
        let next = if above.is_empty() && rank < last { split } else { next };
        let lower = interpolate(*at, next, lower - rank as f64);
        let at = *at;
        // The rank among all values, NaN ones included, is at or behind the one among the kept.
        let wanted = ((values.len() - 1) as f64 * CUTOFF) as usize + 1;
        let lower_mean = if wanted == smaller.len() + 1 {
            (smaller.iter().sum::<f64>() + at) / wanted as f64
        } else {
            kept.sort_unstable_by(f64::total_cmp);
            let wanted = wanted.min(kept.len());
            kept[..wanted].iter().sum::<f64>() / wanted as f64
        };
        Self { lower, upper, lower_mean }
    }
}

fn interpolate(at: f64, next: f64, fraction: f64) -> f64 {
    if fraction == 0.0 { at } else { at + (next - at) * fraction }
}
