//! Statistics of the returns of the bars.
//!
//! Means and deviations are taken in two passes, so that a deviation does not lose digits where the mean is large beside
//! it. Long series are cut into parts, which all cores take and whose sums are added in their order: how many cores there
//! are changes no digit.

use std::ops::Range;

use rayon::prelude::*;

use super::super::normal;
use super::super::quantile::{Limits, TailParts, Tails};
use super::changes::{BLOCK, Returns};
use super::sums::Sums;

/// What the statistics are relative to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReturnSettings {
    /// Bars of a year.
    pub bars_per_year: f64,
    /// Return without risk, per bar.
    pub risk_free: f64,
    /// Required return: per bar for Sortino's ratio, per year for the omega ratio.
    pub required_return: f64,
    /// Trials and the variance of their Sharpe ratios per bar, for the deflated Sharpe ratio.
    pub trials: Option<(f64, f64)>,
}

/// Statistics of returns; NaN or infinite where vectorbt is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReturnStatistics {
    /// Product of all returns.
    pub total: f64,
    /// `(1 + total)^(bars per year / bars) - 1`.
    pub annualized_return: f64,
    /// Standard deviation times the root of the bars per year.
    pub annualized_volatility: f64,
    /// Mean excess over standard deviation, annualised.
    pub sharpe_ratio: f64,
    /// Probability that the Sharpe ratio is above what the best of so many trials reaches by luck (Bailey and López de
    /// Prado, 2014).
    pub deflated_sharpe_ratio: f64,
    /// Mean excess over downside risk, annualised.
    pub sortino_ratio: f64,
    /// Annualised return over the largest drawdown.
    pub calmar_ratio: f64,
    /// Sum of excess gains over sum of excess losses.
    pub omega_ratio: f64,
    /// Root of the mean square of the returns below the required one, annualised.
    pub downside_risk: f64,
    /// Largest fall of the product of returns from its peak.
    pub max_drawdown: f64,
    /// 5 % quantile, interpolated.
    pub value_at_risk: f64,
    /// Mean of the 5 % smallest.
    pub cond_value_at_risk: f64,
    /// 95 % quantile over 5 % quantile, without signs.
    pub tail_ratio: f64,
    /// Third standardised moment.
    pub skewness: f64,
    /// Fourth standardised moment (3 for a normal distribution).
    pub kurtosis: f64,
    /// Mean over deviation of the returns above the benchmark's, not annualised.
    pub information_ratio: f64,
    /// Annualised return that the benchmark does not explain.
    pub alpha: f64,
    /// How far the returns follow the benchmark's.
    pub beta: f64,
}

/// Returns of a series of values that began with `start`.
pub fn returns_of(start: f64, values: &[f64]) -> Vec<f64> {
    Returns::of(start, values).collected()
}

/// Bars of a part.
const PART: usize = 1 << 16;

/// `work` on each part of a series.
fn in_parts<T: Send>(bars: usize, work: impl Fn(Range<usize>) -> T + Sync) -> Vec<T> {
    let part = |index: usize| work(index * PART..((index + 1) * PART).min(bars));
    let parts = bars.div_ceil(PART);
    if parts > 1 { (0..parts).into_par_iter().map(part).collect() } else { (0..parts).map(part).collect() }
}

/// Sums of parts, in their order.
fn summed<const K: usize>(parts: impl Iterator<Item = [f64; K]>) -> [f64; K] {
    parts.fold([0.0; K], |mut sums, part| {
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        sums
    })
}

/// `value` where it is `known`, else what adds nothing to a sum; no branch.
fn if_known(known: bool, value: f64) -> f64 {
    if known { value } else { 0.0 }
}

/// What the first pass finds out.
struct First {
    count: f64,
    sum: f64,
    gains: f64,
    losses: f64,
    shortfall: f64,
    /// Whether two returns differ.
    varies: bool,
    /// Bars with both returns, and the sums of both there.
    pairs: [f64; 3],
    tails: Tails,
}

impl First {
    fn of(returns: Returns<'_>, benchmark: Option<Returns<'_>>, settings: &ReturnSettings) -> Self {
        let required = settings.required_return;
        let required_per_bar = (1.0 + required).powf(1.0 / settings.bars_per_year) - 1.0;
        let threshold = settings.risk_free + required_per_bar;
        let first = (0..returns.len()).map(|row| returns.at(row)).find(|change| !change.is_nan()).unwrap_or(0.0);
        let limits = Limits::sampled(returns.len(), |row| returns.at(row));
        let parts = in_parts(returns.len(), |rows| {
            let (mut alone, mut pairs, mut tails) = (Sums::<6>::new(), Sums::<3>::new(), TailParts::default());
            let (mut room, mut other_room) = ([0.0; BLOCK], [0.0; BLOCK]);
            for start in rows.step_by(BLOCK) {
                let block = returns.block(start, &mut room);
                alone.add(block, |change| {
                    let known = !change.is_nan();
                    let below = smaller(change - required, 0.0);
                    [
                        if_known(known, 1.0),
                        if_known(known, change),
                        if_known(known, larger(change - threshold, 0.0)),
                        if_known(known, larger(threshold - change, 0.0)),
                        if_known(known, below * below),
                        if_known(known, (change - first).abs()),
                    ]
                });
                tails.add(block, limits);
                if let Some(benchmark) = benchmark {
                    pairs.add_pairs(block, benchmark.block(start, &mut other_room), |one, other| {
                        let known = !one.is_nan() & !other.is_nan();
                        [if_known(known, 1.0), if_known(known, one), if_known(known, other)]
                    });
                }
            }
            (alone.total(), pairs.total(), tails)
        });
        let [count, sum, gains, losses, shortfall, others] = summed(parts.iter().map(|part| part.0));
        let pairs = summed(parts.iter().map(|part| part.1));
        let mut tails = TailParts::default();
        parts.iter().for_each(|part| tails.join(&part.2));
        let tails = Tails::from_parts(tails, limits, returns.len()).unwrap_or_else(|| Tails::of(&returns.collected()));
        Self { count, sum, gains, losses, shortfall, varies: others != 0.0, pairs, tails }
    }
}

/// What the second pass finds out: sums of powers of what is left of the means.
struct Second {
    /// The second, third and fourth power of residuals.
    moments: [f64; 3],
    /// Squares of the residuals of what the benchmark does not have; residuals of the benchmark times returns; their
    /// squares.
    beside: [f64; 3],
}

impl Second {
    fn of(returns: Returns<'_>, benchmark: Option<Returns<'_>>, first: &First) -> Self {
        let mean = first.sum / first.count;
        let [count, sum, benchmark_sum] = first.pairs;
        let (pair_mean, benchmark_mean) = (sum / count, benchmark_sum / count);
        let parts = in_parts(returns.len(), |rows| {
            let (mut moments, mut beside) = (Sums::<3>::new(), Sums::<3>::new());
            let (mut room, mut other_room) = ([0.0; BLOCK], [0.0; BLOCK]);
            for start in rows.step_by(BLOCK) {
                let block = returns.block(start, &mut room);
                moments.add(block, |change| {
                    let residual = if_known(!change.is_nan(), change - mean);
                    let square = residual * residual;
                    [square, square * residual, square * square]
                });
                if let Some(benchmark) = benchmark {
                    beside.add_pairs(block, benchmark.block(start, &mut other_room), |one, other| {
                        let known = !one.is_nan() & !other.is_nan();
                        let active = if_known(known, (one - other) - (pair_mean - benchmark_mean));
                        let residual = if_known(known, other - benchmark_mean);
                        [active * active, residual * if_known(known, one), residual * residual]
                    });
                }
            }
            (moments.total(), beside.total())
        });
        Self { moments: summed(parts.iter().map(|part| part.0)), beside: summed(parts.iter().map(|part| part.1)) }
    }
}

impl ReturnStatistics {
    /// Statistics of `returns`, beside those of the benchmark where there is one. NaN returns are left out.
    ///
    /// # Panics
    /// If there are fewer returns of the benchmark.
    pub fn new(returns: &[f64], benchmark: Option<&[f64]>, settings: &ReturnSettings) -> Self {
        Self::of(Returns::Kept(returns), benchmark.map(Returns::Kept), settings)
    }

    /// As [`ReturnStatistics::new`].
    #[expect(clippy::cast_precision_loss, reason = "no series has 2^53 bars")]
    pub(crate) fn of(returns: Returns<'_>, benchmark: Option<Returns<'_>>, settings: &ReturnSettings) -> Self {
        let bars = returns.len() as f64;
        let year = settings.bars_per_year;
        let sums = First::of(returns, benchmark, settings);
        let (Second { moments: [second, third, fourth], beside }, (product, max_drawdown)) =
            both(returns.len(), || Second::of(returns, benchmark, &sums), || returns.product());
        let beside = benchmark.map_or(Beside::NONE, |_| Beside::of(sums.pairs, beside, settings));
        let tails = sums.tails;
        let mean = sums.sum / sums.count;
        // Equal returns have no variation, whatever the rounding of their sum says.
        let variance = if sums.varies { second / sums.count } else { 0.0 };
        let deviation = if sums.count < 1.0 { f64::NAN } else { (variance * sums.count / (sums.count - 1.0)).sqrt() };
        let enough = returns.len() > 1;
        let excess = mean - settings.risk_free;
        let downside_risk = (sums.shortfall / sums.count).sqrt() * year.sqrt();
        let annualized_return = product.powf(year / bars) - 1.0;
        let sharpe_per_bar = if enough { over(excess, deviation, f64::INFINITY) } else { f64::NAN };
        let skewness = third / sums.count / variance.powf(1.5);
        let kurtosis = fourth / sums.count / (variance * variance);
        Self {
            total: product - 1.0,
            annualized_return,
            annualized_volatility: if enough { deviation * year.sqrt() } else { f64::NAN },
            sharpe_ratio: sharpe_per_bar * year.sqrt(),
            deflated_sharpe_ratio: deflated(sharpe_per_bar, (skewness, kurtosis), sums.count, settings.trials),
            sortino_ratio: if enough {
                over((mean - settings.required_return) * year, downside_risk, f64::INFINITY)
            } else {
                f64::NAN
            },
            calmar_ratio: over(annualized_return, -max_drawdown, f64::NAN),
            omega_ratio: over(sums.gains, sums.losses, f64::INFINITY),
            downside_risk,
            max_drawdown: if sums.count < 1.0 { f64::NAN } else { max_drawdown },
            value_at_risk: tails.lower,
            cond_value_at_risk: tails.lower_mean,
            tail_ratio: over(tails.upper.abs(), tails.lower.abs(), f64::INFINITY),
            skewness,
            kurtosis,
            information_ratio: beside.information_ratio,
            alpha: beside.alpha,
            beta: beside.beta,
        }
    }
}

/// Two works over `bars` bars, side by side where they are many.
pub(crate) fn both<A: Send, B: Send>(
    bars: usize,
    one: impl FnOnce() -> A + Send,
    other: impl FnOnce() -> B + Send,
) -> (A, B) {
    if bars > PART { rayon::join(one, other) } else { (one(), other()) }
}

// One instruction each, unlike those of the standard library, which look for NaN.
fn larger(one: f64, other: f64) -> f64 {
    if one > other { one } else { other }
}

fn smaller(one: f64, other: f64) -> f64 {
    if one < other { one } else { other }
}

/// `numerator / denominator`, and `otherwise` over nothing.
fn over(numerator: f64, denominator: f64, otherwise: f64) -> f64 {
    if denominator == 0.0 { otherwise } else { numerator / denominator }
}

/// Returns beside those of a benchmark.
struct Beside {
    information_ratio: f64,
    alpha: f64,
    beta: f64,
}

impl Beside {
    const NONE: Self = Self { information_ratio: f64::NAN, alpha: f64::NAN, beta: f64::NAN };

    fn of([count, sum, benchmark_sum]: [f64; 3], beside: [f64; 3], settings: &ReturnSettings) -> Self {
        if count < 2.0 {
            return Self::NONE;
        }
        let (mean, benchmark_mean) = (sum / count, benchmark_sum / count);
        let [active_square, cross, square] = beside;
        let deviation = (active_square / (count - 1.0)).sqrt();
        // Below this variance the benchmark does not move.
        let beta = if square / count < 1e-30 { f64::NAN } else { cross / square };
        let risk_free = settings.risk_free;
        let unexplained = (mean - risk_free) - beta * (benchmark_mean - risk_free);
        Self {
            information_ratio: over(mean - benchmark_mean, deviation, f64::INFINITY),
            alpha: (unexplained + 1.0).powf(settings.bars_per_year) - 1.0,
            beta,
        }
    }
}

/// Deflated Sharpe ratio of a Sharpe ratio per bar (Bailey and López de Prado, 2014).
fn deflated(sharpe: f64, (skewness, kurtosis): (f64, f64), bars: f64, trials: Option<(f64, f64)>) -> f64 {
    let Some((count, variance)) = trials else { return f64::NAN };
    let expected = expected_best(count, variance);
    let spread = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe;
    normal::cumulative((sharpe - expected) * (bars - 1.0).sqrt() / spread.sqrt())
}

/// The Sharpe ratio that the best of `count` independent trials without any skill is expected to have.
pub fn expected_best(count: f64, variance: f64) -> f64 {
    const EULER: f64 = 0.577_215_664_901_532_9;
    let first = normal::quantile(1.0 - 1.0 / count);
    let second = normal::quantile(1.0 - 1.0 / (count * std::f64::consts::E));
    variance.sqrt() * ((1.0 - EULER) * first + EULER * second)
}
