//! One request, from checked bars to its result.

use std::time::Instant;

use uuid::Uuid;

use super::error::BacktestError;
use super::metrics::{
    MetricValue, Metrics, MetricsReport, ReturnSettings, ReturnStatistics, Returns, TradeStatistics, Usage, both,
    longest_drawdown,
};
use super::orders::Orders;
use super::prices::Prices;
use super::request::{BacktestRequest, Part};
use super::result::{BacktestResult, Equity};
use super::signals::Signals;
use super::simulation::{self, Simulation};
use super::source::SignalSource;
use super::span::Span;

/// Trades `signals` on `prices`; the request's own `signals` are not looked at.
///
/// # Errors
/// When a field is out of range, fields contradict each other, or signals and prices differ in length.
pub fn run(request: &BacktestRequest, prices: &Prices, signals: &Signals) -> Result<BacktestResult, BacktestError> {
    let started = Instant::now();
    let settings = return_settings(request, prices)?;
    let simulation = simulation::from_signals(request, prices, signals)?;
    finish(request, prices, &settings, simulation, started)
}

/// Places `orders` on `prices`; the request's own `signals` are not looked at.
///
/// # Errors
/// As [`run`].
pub fn run_orders(
    request: &BacktestRequest,
    prices: &Prices,
    orders: &Orders,
) -> Result<BacktestResult, BacktestError> {
    let started = Instant::now();
    let settings = return_settings(request, prices)?;
    let simulation = simulation::from_orders(request, prices, orders)?;
    finish(request, prices, &settings, simulation, started)
}

/// Does what the request's `signals` say. `sentiment` are the signals where they say `"sentiment"`.
///
/// # Errors
/// As [`run`]; also when sentiment is asked for and there is none, or a strategy's parameters are out of range.
pub fn evaluate(
    request: &BacktestRequest,
    prices: &Prices,
    sentiment: Option<&Signals>,
) -> Result<BacktestResult, BacktestError> {
    match &request.signals {
        SignalSource::Sentiment(_) => match sentiment {
            Some(signals) => run(request, prices, signals),
            None => Err(BacktestError::combination("signals", "sentiment needs a symbol with stored signals")),
        },
        SignalSource::Holding => run(request, prices, &Signals::holding(prices.len())),
        SignalSource::Columns(signals) => run(request, prices, signals),
        SignalSource::Orders(orders) => run_orders(request, prices, orders),
        SignalSource::Strategy(strategy) => run(request, prices, &strategy.signals(prices)?),
    }
}

/// What ratios are annualised by, and measured against.
///
/// # Errors
/// When a field is out of range or the times do not have the frequency.
pub fn return_settings(request: &BacktestRequest, prices: &Prices) -> Result<ReturnSettings, BacktestError> {
    let frequency = frequency(request, prices);
    prices.check_frequency(frequency)?;
    let bars_per_year = match request.calendar {
        Some(calendar) => calendar.bars_per_year(frequency)?,
        None => request.year.ratio(frequency),
    };
    if !request.risk_free.is_finite() {
        return Err(BacktestError::parameter("risk_free", request.risk_free, "finite"));
    }
    if !(request.required_return > -1.0 && request.required_return.is_finite()) {
        return Err(BacktestError::parameter("required_return", request.required_return, "finite and above -1"));
    }
    let trials = request.trials.map(|trials| (trials.count, trials.sharpe_variance));
    if let Some((count, variance)) = trials {
        if !(count >= 1.0 && count.is_finite()) {
            return Err(BacktestError::parameter("trials.count", count, "at least 1"));
        }
        if !(variance >= 0.0 && variance.is_finite()) {
            return Err(BacktestError::parameter("trials.sharpe_variance", variance, "finite and not negative"));
        }
    }
    Ok(ReturnSettings { bars_per_year, risk_free: request.risk_free, required_return: request.required_return, trials })
}

/// The time between two bars: as asked for, else the stored interval, else what the times say, else a day.
pub fn frequency(request: &BacktestRequest, prices: &Prices) -> Span {
    request.frequency.or(request.interval).or_else(|| prices.median_step()).unwrap_or(Span::DAY)
}

fn finish(
    request: &BacktestRequest,
    prices: &Prices,
    settings: &ReturnSettings,
    simulation: Simulation,
    started: Instant,
) -> Result<BacktestResult, BacktestError> {
    let held = Measured { benchmark: &prices.filled(), times: prices.times(), settings };
    answer(request, held, simulation, started)
}

/// What a simulation is measured against.
#[derive(Clone, Copy)]
pub(crate) struct Measured<'a> {
    /// Worth of holding, bar by bar, in any unit.
    pub(crate) benchmark: &'a [f64],
    pub(crate) times: Option<&'a [i64]>,
    pub(crate) settings: &'a ReturnSettings,
}

/// The result of a simulation that began with the request's cash.
pub(crate) fn answer(
    request: &BacktestRequest,
    against: Measured<'_>,
    simulation: Simulation,
    started: Instant,
) -> Result<BacktestResult, BacktestError> {
    let returns = Returns::of(request.init_cash, &simulation.values);
    let metrics = measure(request, against, &simulation, returns);
    let settings = against.settings;
    let intervals = match &request.bootstrap {
        Some(bootstrap) => bootstrap.intervals(&returns.collected(), settings, request.compat)?,
        None => Vec::new(),
    };
    let value = |number| MetricValue::new(number, request.compat);
    let bars = returns.len() as u64;
    let finished = simulation.finished;
    let trades_count = finished.trades.len() as u64;
    Ok(BacktestResult {
        portfolio_id: request.portfolio_id.clone().unwrap_or_else(|| Uuid::new_v4().to_string()),
        initial_cash: request.init_cash,
        final_value: metrics.final_value,
        total_return: metrics.total_return,
        sharpe_ratio: value(metrics.returns.sharpe_ratio),
        max_drawdown: value(metrics.returns.max_drawdown),
        trades_count,
        bars,
        metrics: request.wants(Part::Metrics).then(|| MetricsReport::new(&metrics, request.compat)),
        intervals,
        equity: request.wants(Part::Equity).then(|| Equity::new(against.times, simulation.values)),
        trades: request.wants(Part::Trades).then_some(finished.trades),
        orders: request.wants(Part::Orders).then_some(finished.orders),
        gpu_used: false,
        device: "cpu".to_owned(),
        computation_seconds: started.elapsed().as_secs_f64(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "no series has 2^53 bars")]
fn measure(request: &BacktestRequest, against: Measured<'_>, simulation: &Simulation, returns: Returns<'_>) -> Metrics {
    let first = against.benchmark.first().copied().unwrap_or(f64::NAN);
    let last = against.benchmark.last().copied().unwrap_or(f64::NAN);
    let final_value = simulation.values.last().copied().unwrap_or(request.init_cash);
    let total_profit = final_value - request.init_cash;
    let finished = &simulation.finished;
    let benchmark = Returns::of(first, against.benchmark);
    let (statistics, (trades, max_drawdown_duration)) = both(
        returns.len(),
        || ReturnStatistics::of(returns, Some(benchmark), against.settings),
        || (TradeStatistics::new(&finished.trades), longest_drawdown(&simulation.values)),
    );
    Metrics {
        start_value: request.init_cash,
        final_value,
        total_profit,
        total_return: total_profit / request.init_cash,
        benchmark_return: last / first - 1.0,
        returns: statistics,
        trades,
        usage: Usage {
            orders_count: finished.orders.len() as f64,
            liquidations_count: finished.liquidations as f64,
            total_fees_paid: finished.fees,
            max_gross_exposure: simulation.max_gross_exposure,
            max_drawdown_duration,
        },
    }
}
