//! Statistics of the returns of the bars.
//!
//! Means and deviations are taken in two passes over the kept returns, so that a deviation does not lose digits where
//! the mean is large beside it.

use super::super::normal;
use super::super::quantile::Tails;
use super::sums::{pair_sums, sums};

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
    if let Some(first) = values.first()
        && start > 0.0
        && values.iter().all(|value| *value > 0.0)
    {
        // Nothing is odd: no branches, which lets the compiler take several bars at once.
        let mut returns = Vec::with_capacity(values.len());
        returns.push((first - start) / start);
        returns.extend(values.windows(2).map(|pair| (pair[1] - pair[0]) / pair[0]));
        return returns;
    }
    let mut before = start;
    values
        .iter()
        .map(|value| {
            let change = one_return(before, *value);
            before = *value;
            change
        })
        .collect()
}

/// Relative change; from nothing to something it is infinite, and from a debt a fall is a loss.
pub(crate) fn one_return(before: f64, after: f64) -> f64 {
    if before == 0.0 {
        return if after == 0.0 { 0.0 } else { f64::INFINITY.copysign(after) };
    }
    let change = (after - before) / before;
    if before < 0.0 { -change } else { change }
}

/// Sums of the first pass.
struct Sums {
    count: f64,
    sum: f64,
    gains: f64,
    losses: f64,
    shortfall: f64,
    /// Whether two returns differ.
    varies: bool,
}

impl Sums {
    // A missing return adds 0 to every sum, without a branch.
    fn of(returns: &[f64], settings: &ReturnSettings) -> Self {
        let required_per_bar = (1.0 + settings.required_return).powf(1.0 / settings.bars_per_year) - 1.0;
        let threshold = settings.risk_free + required_per_bar;
        let required = settings.required_return;
        let first = returns.iter().copied().find(|change| !change.is_nan()).unwrap_or(0.0);
        let [count, sum, gains, losses, shortfall, others] = sums(returns, |change| {
            let known = !change.is_nan();
            let or_nothing = |term: f64| if known { term } else { 0.0 };
            let below = (change - required).min(0.0);
            [
                or_nothing(1.0),
                or_nothing(change),
                or_nothing((change - threshold).max(0.0)),
                or_nothing((threshold - change).max(0.0)),
                or_nothing(below * below),
                or_nothing((change - first).abs()),
            ]
        });
        Self { count, sum, gains, losses, shortfall, varies: others != 0.0 }
    }
}

/// Product of all returns and its largest fall from a peak.
fn product_of(returns: &[f64]) -> (f64, f64) {
    let (mut product, mut peak, mut largest_fall) = (1.0_f64, f64::NEG_INFINITY, 0.0_f64);
    for change in returns.iter().copied().filter(|change| !change.is_nan()) {
        product *= 1.0 + change;
        peak = peak.max(product);
        largest_fall = largest_fall.min(product / peak - 1.0);
    }
    (product, largest_fall)
}

/// Central moments: sums of the second, third and fourth powers of residuals.
fn moments_of(returns: &[f64], mean: f64) -> [f64; 3] {
    sums(returns, |change| {
        let residual = if change.is_nan() { 0.0 } else { change - mean };
        let square = residual * residual;
        [square, square * residual, square * square]
    })
}

impl ReturnStatistics {
    /// Statistics of `returns`, beside those of the benchmark where there is one. NaN returns are left out.
    #[expect(clippy::cast_precision_loss, reason = "no series has 2^53 bars")]
    pub fn new(returns: &[f64], benchmark: Option<&[f64]>, settings: &ReturnSettings) -> Self {
        let bars = returns.len() as f64;
        let year = settings.bars_per_year;
        let ((tails, (product, max_drawdown)), (sums, [second, third, fourth], beside)) = both(
            returns.len(),
            || (Tails::of(returns), product_of(returns)),
            || {
                let sums = Sums::of(returns, settings);
                let moments = moments_of(returns, sums.sum / sums.count);
                let beside = benchmark.map_or(Beside::NONE, |benchmark| Beside::of(returns, benchmark, settings));
                (sums, moments, beside)
            },
        );
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

/// From so many bars on, a second core is worth its call.
const PARALLEL: usize = 1 << 16;

/// Two works over `bars` bars, side by side where they are many.
pub(crate) fn both<A: Send, B: Send>(
    bars: usize,
    one: impl FnOnce() -> A + Send,
    other: impl FnOnce() -> B + Send,
) -> (A, B) {
    if bars >= PARALLEL { rayon::join(one, other) } else { (one(), other()) }
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

    fn of(returns: &[f64], benchmark: &[f64], settings: &ReturnSettings) -> Self {
        let pair = |one: f64, other: f64| {
            let known = !one.is_nan() && !other.is_nan();
            if known { (1.0, one, other) } else { (0.0, 0.0, 0.0) }
        };
        let [count, sum, benchmark_sum] = pair_sums(returns, benchmark, |one, other| pair(one, other).into());
        if count < 2.0 {
            return Self::NONE;
        }
        let (mean, benchmark_mean) = (sum / count, benchmark_sum / count);
        let [active_square, cross, square] = pair_sums(returns, benchmark, |one, other| {
            let (known, one, other) = pair(one, other);
            let active = (one - other) - known * (mean - benchmark_mean);
            let residual = other - known * benchmark_mean;
            [active * active, residual * one, residual * residual]
        });
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
