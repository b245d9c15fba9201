//! What a backtest answers.

use chrono::{DateTime, TimeZone, Utc};
use serde::{Deserialize, Serialize};

use super::metrics::{MetricValue, MetricsReport};
use super::orders::column;

/// The result of one backtest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BacktestResult {
    /// The request's, or a random one.
    pub portfolio_id: String,
    /// Cash before the first bar.
    pub initial_cash: f64,
    /// Worth after the last bar.
    pub final_value: f64,
    /// Gain as a fraction of the initial cash.
    pub total_return: f64,
    /// Annualised.
    pub sharpe_ratio: MetricValue,
    /// Largest fall from a peak, as a fraction; 0 or below.
    pub max_drawdown: MetricValue,
    /// Trades, the open one included.
    pub trades_count: u64,
    /// How many bars were simulated.
    pub bars: u64,
    /// All metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MetricsReport>,
    /// Confidence intervals by bootstrap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intervals: Vec<ConfidenceInterval>,
    /// Value and drawdown of every bar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equity: Option<Equity>,
    /// Every trade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trades: Option<Vec<Trade>>,
    /// Every order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orders: Option<Vec<Order>>,
    /// Whether a GPU computed it.
    pub gpu_used: bool,
    /// What computed it: `cpu` or `cuda:N`.
    pub device: String,
    /// How long that took.
    pub computation_seconds: f64,
}

/// A metric's confidence interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfidenceInterval {
    /// The metric's name.
    pub metric: String,
    /// Lower end.
    pub lower: MetricValue,
    /// Upper end.
    pub upper: MetricValue,
    /// Width, as asked for.
    pub confidence: f64,
}

/// Value and drawdown, one of each a bar.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Equity {
    /// When each bar began, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<Vec<DateTime<Utc>>>,
    /// Cash and what the position is worth at the close.
    #[serde(with = "column")]
    pub value: Vec<f64>,
    /// Fall from the highest value so far, as a fraction; 0 or below.
    #[serde(with = "column")]
    pub drawdown: Vec<f64>,
}

impl Equity {
    /// Drawdowns of a series of values.
    pub fn new(times: Option<&[i64]>, value: Vec<f64>) -> Self {
        let mut peak = f64::NEG_INFINITY;
        let mut fall = |value: &f64| {
            peak = value.max(peak);
            if peak > 0.0 { value / peak - 1.0 } else { 0.0 }
        };
        let drawdown = value.iter().map(&mut fall).collect();
        let ts = times.and_then(|times| times.iter().map(|time| Utc.timestamp_millis_opt(*time).single()).collect());
        Self { ts, value, drawdown }
    }
}

impl Equity {
    /// At most about `bars` of its bars for a chart: the first and the last, and of each stretch between them the lowest and
    /// the highest, so that no spike is lost.
    #[must_use]
    pub fn thinned(&self, bars: usize) -> Self {
        let all = self.value.len();
        let stretch = all.div_ceil((bars / 2).max(1)).max(1);
        if all <= bars || stretch < 3 {
            return self.clone();
        }
        let extremes = self.value.chunks(stretch).enumerate().flat_map(|(index, part)| {
            let by_value = |one: &(usize, &f64), other: &(usize, &f64)| one.1.total_cmp(other.1);
            let lowest = part.iter().enumerate().min_by(by_value).map_or(0, |(row, _)| row);
            let highest = part.iter().enumerate().max_by(by_value).map_or(0, |(row, _)| row);
            [lowest.min(highest), lowest.max(highest)].map(|row| index * stretch + row)
        });
        let rows: Vec<usize> = std::iter::once(0).chain(extremes).chain([all - 1]).collect();
        let pick = |column: &[f64]| rows.iter().map(|row| column[*row]).collect();
        Self {
            ts: self.ts.as_ref().map(|times| rows.iter().map(|row| times[*row]).collect()),
            value: pick(&self.value),
            drawdown: pick(&self.drawdown),
        }
    }
}

/// Which way an order goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Into the asset, or out of a short position.
    Buy,
    /// Out of the asset, or short.
    Sell,
}

/// A filled order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Bar, from 0.
    pub row: usize,
    /// Units of the asset, above 0.
    pub size: f64,
    /// Price after slippage.
    pub price: f64,
    /// Fees paid.
    pub fees: f64,
    /// Which way.
    pub side: Side,
}

/// Which way a trade bets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TradeDirection {
    /// On a rise.
    Long,
    /// On a fall.
    Short,
}

/// Whether a trade has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TradeStatus {
    /// Still held after the last bar, marked at its close.
    Open,
    /// Ended by an order.
    Closed,
}

/// What one exit took out of a position, with its share of the entries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trade {
    /// Units of the asset, above 0.
    pub size: f64,
    /// Bar of the position's first entry, from 0.
    pub entry_row: usize,
    /// Mean price of the entries, weighted by size.
    pub entry_price: f64,
    /// The exit's share of the entries' fees.
    pub entry_fees: f64,
    /// Bar of the exit, or the last one.
    pub exit_row: usize,
    /// Price of the exit, or the last close.
    pub exit_price: f64,
    /// Fees of the exit.
    pub exit_fees: f64,
    /// Gain in cash after fees.
    pub pnl: f64,
    /// Gain as a fraction of the entry's value.
    #[serde(rename = "return")]
    pub return_ratio: f64,
    /// Which way.
    pub direction: TradeDirection,
    /// Whether it has ended.
    pub status: TradeStatus,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_ends_and_every_spike() {
        let mut values = vec![100.0; 10_000];
        (values[0], values[123], values[7_777], values[9_999]) = (101.0, 50.0, 200.0, 102.0);
        let times: Vec<i64> = (0..10_000).map(|bar| bar * 60_000).collect();
        let thin = Equity::new(Some(&times), values).thinned(400);
        assert!(thin.value.len() <= 402, "{}", thin.value.len());
        assert_eq!((thin.value.first(), thin.value.last()), (Some(&101.0), Some(&102.0)));
        for spike in [50.0, 200.0] {
            assert!(thin.value.contains(&spike), "{spike}");
        }
        let times = thin.ts.unwrap_or_default();
        assert!(times.len() == thin.value.len() && times.is_sorted(), "bars stay in their order");
        let short = Equity::new(None, vec![1.0, 2.0, 1.5]);
        assert_eq!(short.thinned(400), short);
    }
}
