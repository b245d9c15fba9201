//! Confidence intervals by stationary bootstrap (Politis and Romano, 1994).
//!
//! Returns of neighbouring bars depend on each other, so they are drawn in blocks of random length that wrap round the
//! end of the series.

use super::error::BacktestError;
use super::metrics::{MetricValue, ReturnSettings, ReturnStatistics};
use super::request::{Bootstrap, Compat};
use super::result::ConfidenceInterval;

/// Resamples times bars that one request may draw.
const MOST_DRAWS: usize = 2_000_000_000;

type Statistic = fn(&ReturnStatistics) -> f64;

/// What gets an interval.
const STATISTICS: [(&str, Statistic); 7] = [
    ("total_return", |statistics| statistics.total),
    ("annualized_return", |statistics| statistics.annualized_return),
    ("annualized_volatility", |statistics| statistics.annualized_volatility),
    ("sharpe_ratio", |statistics| statistics.sharpe_ratio),
    ("sortino_ratio", |statistics| statistics.sortino_ratio),
    ("max_drawdown", |statistics| statistics.max_drawdown),
    ("calmar_ratio", |statistics| statistics.calmar_ratio),
];

impl Bootstrap {
    /// Intervals of metrics of `returns`: quantiles over the resamples in which the metric has a value.
    ///
    /// # Errors
    /// When a field is out of range.
    pub fn intervals(
        &self,
        returns: &[f64],
        settings: &ReturnSettings,
        compat: Compat,
    ) -> Result<Vec<ConfidenceInterval>, BacktestError> {
        let block = self.check(returns.len())?;
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut drawn = vec![0.0; returns.len()];
        let mut samples: Vec<Vec<f64>> = vec![Vec::with_capacity(self.resamples); STATISTICS.len()];
        for _ in 0..self.resamples {
            resample(returns, block, &mut random, &mut drawn);
            let statistics = ReturnStatistics::new(&drawn, None, settings);
            for ((_, statistic), values) in STATISTICS.iter().zip(&mut samples) {
                values.push(statistic(&statistics));
            }
        }
        let interval = |((name, _), values): (&(&str, Statistic), Vec<f64>)| {
            let (lower, upper) = central(values, self.confidence);
            ConfidenceInterval {
                metric: (*name).to_owned(),
                lower: MetricValue::new(lower, compat),
                upper: MetricValue::new(upper, compat),
                confidence: self.confidence,
            }
        };
        Ok(STATISTICS.iter().zip(samples).map(interval).collect())
    }

    #[expect(clippy::cast_precision_loss, reason = "no series has 2^53 bars")]
    fn check(&self, bars: usize) -> Result<f64, BacktestError> {
        if !(2..=1_000_000).contains(&self.resamples) {
            return Err(BacktestError::parameter("bootstrap.resamples", self.resamples, "from 2 to 1000000"));
        }
        if self.resamples.saturating_mul(bars) > MOST_DRAWS {
            let allowed = format!("at most {MOST_DRAWS} divided by the number of bars");
            return Err(BacktestError::parameter("bootstrap.resamples", self.resamples, &allowed));
        }
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            return Err(BacktestError::parameter("bootstrap.confidence", self.confidence, "between 0 and 1"));
        }
        let block = self.block.unwrap_or_else(|| (bars as f64).cbrt().max(1.0));
        if !(block >= 1.0 && block.is_finite()) {
            return Err(BacktestError::parameter("bootstrap.block", block, "at least 1"));
        }
        Ok(block)
    }
}

/// One resample: at each bar the next one of the block, or with probability `1 / block` the first of another.
fn resample(returns: &[f64], block: f64, random: &mut fastrand::Rng, drawn: &mut [f64]) {
    let mut row = 0;
    for (index, slot) in drawn.iter_mut().enumerate() {
        row = if index == 0 || random.f64() * block < 1.0 { random.usize(..returns.len()) } else { row + 1 };
        if row == returns.len() {
            row = 0;
        }
        *slot = returns[row];
    }
}

/// The central interval of `values`, interpolated; NaN ones are left out.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "ranks are far below 2^53 and not negative"
)]
fn central(mut values: Vec<f64>, confidence: f64) -> (f64, f64) {
    values.retain(|value| !value.is_nan());
    values.sort_unstable_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return (f64::NAN, f64::NAN) };
    let at = |probability: f64| {
        let rank = probability * last as f64;
        let (below, above) = (values[rank as usize], values[(rank.ceil() as usize).min(last)]);
        // Two infinite values have no difference.
        if above > below { below + (above - below) * rank.fract() } else { below }
    };
    let tail = (1.0 - confidence) / 2.0;
    (at(tail), at(1.0 - tail))
}
