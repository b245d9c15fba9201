//! Metrics of a portfolio: their names, values and what is said where one has no meaning.

mod changes;
mod report;
mod returns;
mod summary;
mod sums;

pub(crate) use changes::{Returns, longest_drawdown};
pub use report::{MetricValue, MetricsReport};
pub(crate) use returns::both;
pub use returns::{ReturnSettings, ReturnStatistics, expected_best, returns_of};
pub use summary::{TradeStatistics, Usage};

/// All metrics of one portfolio, as plain numbers: what has no meaning is NaN or infinite, as vectorbt has it.
///
/// Rates are fractions (0.05 is 5 %), durations are counted in bars.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metrics {
    /// Cash before the first bar.
    pub start_value: f64,
    /// Worth after the last bar.
    pub final_value: f64,
    /// `final_value - start_value`.
    pub total_profit: f64,
    /// Gain as a fraction of the initial cash.
    pub total_return: f64,
    /// Gain of holding the asset from the first bar's close to the last's.
    pub benchmark_return: f64,
    /// Everything about the returns of the bars.
    pub returns: ReturnStatistics,
    /// Everything about trades.
    pub trades: TradeStatistics,
    /// Fees, exposure and drawdown durations.
    pub usage: Usage,
}

/// A metric by name.
#[derive(Debug, Clone, Copy)]
pub struct MetricDefinition {
    /// As results name it.
    pub name: &'static str,
    /// Takes it out of [`Metrics`].
    pub value: fn(&Metrics) -> f64,
    /// Why it may have no meaning.
    pub reason: &'static str,
}

macro_rules! metrics {
    ($($name:ident = $path:expr, $reason:expr;)*) => {
        /// Every metric, in the order of results.
        pub const METRICS: &[MetricDefinition] =
            &[$(MetricDefinition { name: stringify!($name), value: { const VALUE: fn(&Metrics) -> f64 = $path; VALUE }, reason: $reason },)*];
    };
}

const VARIATION: &str = "returns do not vary, or there are fewer than two";
const NO_LOSS: &str = "no bar lost";
const NO_CLOSED: &str = "no trade was closed";
const NO_WINNER: &str = "no closed trade won";
const NO_LOSER: &str = "no closed trade lost";
const NO_RETURN: &str = "no bar has a return";
const BENCHMARK: &str = "the benchmark does not vary";
const FINITE: &str = "the value fell to zero or below";

metrics! {
    start_value = |m| m.start_value, FINITE;
    final_value = |m| m.final_value, FINITE;
    total_profit = |m| m.total_profit, FINITE;
    total_return = |m| m.total_return, FINITE;
    benchmark_return = |m| m.benchmark_return, FINITE;
    annualized_return = |m| m.returns.annualized_return, FINITE;
    annualized_volatility = |m| m.returns.annualized_volatility, VARIATION;
    sharpe_ratio = |m| m.returns.sharpe_ratio, VARIATION;
    deflated_sharpe_ratio = |m| m.returns.deflated_sharpe_ratio, "the number of trials is unknown or returns do not vary";
    sortino_ratio = |m| m.returns.sortino_ratio, NO_LOSS;
    calmar_ratio = |m| m.returns.calmar_ratio, "there was no drawdown";
    omega_ratio = |m| m.returns.omega_ratio, NO_LOSS;
    downside_risk = |m| m.returns.downside_risk, NO_RETURN;
    max_drawdown = |m| m.returns.max_drawdown, NO_RETURN;
    max_drawdown_duration = |m| m.usage.max_drawdown_duration, "there was no drawdown";
    value_at_risk = |m| m.returns.value_at_risk, NO_RETURN;
    cond_value_at_risk = |m| m.returns.cond_value_at_risk, NO_RETURN;
    tail_ratio = |m| m.returns.tail_ratio, "the lower tail is zero";
    skewness = |m| m.returns.skewness, VARIATION;
    kurtosis = |m| m.returns.kurtosis, VARIATION;
    information_ratio = |m| m.returns.information_ratio, BENCHMARK;
    alpha = |m| m.returns.alpha, BENCHMARK;
    beta = |m| m.returns.beta, BENCHMARK;
    max_gross_exposure = |m| m.usage.max_gross_exposure, FINITE;
    total_fees_paid = |m| m.usage.total_fees_paid, FINITE;
    orders_count = |m| m.usage.orders_count, FINITE;
    liquidations_count = |m| m.usage.liquidations_count, FINITE;
    trades_count = |m| m.trades.trades_count, FINITE;
    closed_trades_count = |m| m.trades.closed_trades_count, FINITE;
    open_trades_count = |m| m.trades.open_trades_count, FINITE;
    open_trade_pnl = |m| m.trades.open_trade_pnl, FINITE;
    win_rate = |m| m.trades.win_rate, NO_CLOSED;
    best_trade = |m| m.trades.best_trade, NO_CLOSED;
    worst_trade = |m| m.trades.worst_trade, NO_CLOSED;
    avg_winning_trade = |m| m.trades.avg_winning_trade, NO_WINNER;
    avg_losing_trade = |m| m.trades.avg_losing_trade, NO_LOSER;
    avg_winning_trade_duration = |m| m.trades.avg_winning_trade_duration, NO_WINNER;
    avg_losing_trade_duration = |m| m.trades.avg_losing_trade_duration, NO_LOSER;
    profit_factor = |m| m.trades.profit_factor, "no trade was closed, or none lost";
    expectancy = |m| m.trades.expectancy, NO_CLOSED;
    sqn = |m| m.trades.sqn, "fewer than two trades were closed, or their gains do not vary";
}

impl Metrics {
    /// The metric of this name.
    pub fn by_name(&self, name: &str) -> Option<f64> {
        METRICS.iter().find(|metric| metric.name == name).map(|metric| (metric.value)(self))
    }
}
