//! Metrics of a set, out of what the lanes summed up or what the engine for one set says.

use super::super::BacktestResult;
use super::super::lanes::Totals;
use super::super::metrics::{MetricValue, ReturnSettings};

/// Metrics of every set, in the order of rows.
pub const SWEEP_METRICS: [&str; 16] = [
    "total_return",
    "final_value",
    "annualized_return",
    "annualized_volatility",
    "sharpe_ratio",
    "sortino_ratio",
    "calmar_ratio",
    "omega_ratio",
    "downside_risk",
    "max_drawdown",
    "win_rate",
    "profit_factor",
    "expectancy",
    "trades_count",
    "closed_trades_count",
    "total_fees_paid",
];

/// Where the Sharpe ratio stands among them.
pub(super) const SHARPE: usize = 4;

/// Metrics of one set, as [`SWEEP_METRICS`] names them; NaN or infinite where they have no meaning.
#[derive(Debug, Clone, Copy)]
pub struct SetMetrics(pub [f64; SWEEP_METRICS.len()]);

// NaN equals NaN here: both are the same answer.
impl PartialEq for SetMetrics {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(one, other)| one == other || (one.is_nan() && other.is_nan()))
    }
}

/// Where a metric stands.
pub(super) fn place(name: &str) -> usize {
    SWEEP_METRICS.iter().position(|known| *known == name).unwrap_or_default()
}

impl SetMetrics {
    /// The metric of this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        SWEEP_METRICS.iter().position(|known| *known == name).map(|place| self.0[place])
    }

    /// Out of the sums of `bars` returns that began with `init_cash`; `None` where only the engine for one set can tell:
    /// it came to owe more than it owned, or the mean of its returns drowns their variation.
    pub(super) fn from_totals(totals: &Totals, bars: usize, init_cash: f64, settings: &ReturnSettings) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "no series has 2^53 bars")]
        let (bars, year) = (bars as f64, settings.bars_per_year);
        let mean = totals.sum / bars;
        let moment = totals.squares / bars;
        let variance = moment - mean * mean;
        let sound = totals.lowest > 0.0 && totals.final_value.is_finite() && moment.is_finite();
        if totals.odd || !sound || mean * mean > 100.0 * variance && moment > 0.0 {
            return None;
        }
        let deviation = (variance * bars / (bars - 1.0)).sqrt();
        let enough = bars > 1.0;
        let downside_risk = (totals.downside / bars).sqrt() * year.sqrt();
        let annualized = (totals.final_value / init_cash).powf(year / bars) - 1.0;
        let max_drawdown = totals.worst - 1.0;
        let profit = totals.final_value - init_cash;
        let win_rate = totals.wins / totals.closed;
        let mean_of = |sum: f64, count: f64| if count > 0.0 { sum / count } else { 0.0 };
        let annual = |ratio: f64| if enough { ratio } else { f64::NAN };
        Some(Self([
            profit / init_cash,
            totals.final_value,
            annualized,
            annual(deviation * year.sqrt()),
            annual(over(mean - settings.risk_free, deviation, f64::INFINITY) * year.sqrt()),
            annual(over((mean - settings.required_return) * year, downside_risk, f64::INFINITY)),
            over(annualized, -max_drawdown, f64::NAN),
            over(totals.gains, -totals.losses, f64::INFINITY),
            downside_risk,
            max_drawdown,
            win_rate,
            if totals.closed > 0.0 { totals.won / totals.lost.abs() } else { f64::NAN },
            win_rate * mean_of(totals.won, totals.wins) + (1.0 - win_rate) * mean_of(totals.lost, totals.losing),
            totals.closed + f64::from(u8::from(totals.open)),
            totals.closed,
            totals.fees,
        ]))
    }

    /// Out of a result with all metrics in vectorbt's form, which keeps what is infinite.
    pub(super) fn from_result(result: &BacktestResult) -> Self {
        let report = result.metrics.as_ref();
        Self(SWEEP_METRICS.map(|name| match report.and_then(|report| report.get(name)) {
            Some(MetricValue::Number(value) | MetricValue::Special(value)) => value,
            Some(MetricValue::Null) | None => f64::NAN,
        }))
    }
}

/// A ratio, `instead` where it would be over nothing.
fn over(value: f64, by: f64, instead: f64) -> f64 {
    if by == 0.0 { instead } else { value / by }
}
