//! Strategies as rules over shared rows: what the lanes compare instead of signals made set by set.

use super::super::error::BacktestError;
use super::super::indicators::{Indicator, Indicators, Key, Macd, MeanKind};
use super::super::lanes::signals::{Condition, Operand, Rule};
use super::super::prices::Prices;
use super::super::strategies::Strategy;

/// A series that sets may share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum RowKey {
    /// Closes.
    Close,
    /// An indicator.
    Indicator(Key),
    /// An indicator as it was one bar before.
    Before(Key),
    /// Signal of a MACD: windows of fast, slow and signal means, their kinds.
    MacdSignal([usize; 3], MeanKind, MeanKind),
}

impl RowKey {
    /// Computes the series.
    pub(super) fn compute(self, prices: &Prices) -> Result<Vec<f64>, BacktestError> {
        let whole = |key| Indicators::new(prices).get(key).map(|series| series.to_vec());
        match self {
            Self::Close => Ok(prices.close().to_vec()),
            Self::Indicator(key) => whole(key),
            Self::Before(key) => {
                let mut series = whole(key)?;
                series.rotate_right(1);
                if let Some(first) = series.first_mut() {
                    *first = f64::NAN;
                }
                Ok(series)
            }
            Self::MacdSignal([fast, slow, signal], kind, signal_kind) => {
                let machine = Macd::new((fast, slow, signal), kind, signal_kind);
                Ok(machine.over(prices.close().iter().copied()).into_iter().map(|point| point.signal).collect())
            }
        }
    }
}

/// The rule of a strategy; `row` numbers the series it needs.
pub(super) fn rule(strategy: &Strategy, mut row: impl FnMut(RowKey) -> u32) -> Rule {
    let mut mean = |kind, window| row(RowKey::Indicator(Key::Mean(kind, window)));
    match *strategy {
        Strategy::MaCrossover(params) => {
            let fast = Operand::Row(mean(params.kind, params.fast));
            let slow = Operand::Row(mean(params.kind, params.slow));
            Rule { entry: Condition::Crosses(fast, slow), exit: Condition::Crosses(slow, fast) }
        }
        Strategy::Rsi(params) => {
            let index = Operand::Row(row(RowKey::Indicator(Key::Rsi(params.kind, params.window))));
            Rule {
                entry: Condition::Crosses(Operand::Constant(params.lower), index),
                exit: Condition::Crosses(index, Operand::Constant(params.upper)),
            }
        }
        Strategy::Bollinger(params) => {
            let mean = mean(MeanKind::Simple, params.window);
            let deviation = row(RowKey::Indicator(Key::Deviation(params.window)));
            let close = Operand::Row(row(RowKey::Close));
            Rule {
                entry: Condition::Crosses(Operand::Band(mean, deviation, -params.alpha), close),
                exit: Condition::Crosses(close, Operand::Band(mean, deviation, params.alpha)),
            }
        }
        Strategy::Macd(params) => {
            let (fast, slow) = (mean(params.kind, params.fast), mean(params.kind, params.slow));
            let windows = [params.fast, params.slow, params.signal];
            let signal = Operand::Row(row(RowKey::MacdSignal(windows, params.kind, params.signal_kind)));
            let macd = Operand::Band(fast, slow, -1.0);
            Rule { entry: Condition::Crosses(macd, signal), exit: Condition::Crosses(signal, macd) }
        }
        Strategy::Breakout(params) => {
            let close = Operand::Row(row(RowKey::Close));
            let highest = Operand::Row(row(RowKey::Before(Key::Highest(params.window))));
            let lowest = Operand::Row(row(RowKey::Before(Key::Lowest(params.exit_window))));
            Rule { entry: Condition::Exceeds(close, highest), exit: Condition::Exceeds(lowest, close) }
        }
    }
}

/// Sets a strategy's parameter.
///
/// # Errors
/// When the strategy has none of that name, or the value is no whole number where bars are counted.
pub(in crate::backtest) fn set_param(strategy: &mut Strategy, name: &str, value: f64) -> Result<(), BacktestError> {
    let bars = || whole(name, value);
    match (strategy, name) {
        (Strategy::MaCrossover(params), "fast") => params.fast = bars()?,
        (Strategy::MaCrossover(params), "slow") => params.slow = bars()?,
        (Strategy::Rsi(params), "window") => params.window = bars()?,
        (Strategy::Rsi(params), "lower") => params.lower = value,
        (Strategy::Rsi(params), "upper") => params.upper = value,
        (Strategy::Bollinger(params), "window") => params.window = bars()?,
        (Strategy::Bollinger(params), "alpha") => params.alpha = value,
        (Strategy::Macd(params), "fast") => params.fast = bars()?,
        (Strategy::Macd(params), "slow") => params.slow = bars()?,
        (Strategy::Macd(params), "signal") => params.signal = bars()?,
        (Strategy::Breakout(params), "window") => params.window = bars()?,
        (Strategy::Breakout(params), "exit_window") => params.exit_window = bars()?,
        (strategy, _) => {
            let reason = format!("is no number that {} or the execution has", strategy.name());
            return Err(BacktestError::combination(&format!("params.{name}"), reason));
        }
    }
    Ok(())
}

/// A count of bars.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "checked to be whole and small"
)]
fn whole(name: &str, value: f64) -> Result<usize, BacktestError> {
    if value == value.trunc() && (1.0..=1e6).contains(&value) {
        return Ok(value as usize);
    }
    Err(BacktestError::parameter(&format!("params.{name}"), value, "a whole number of bars from 1 to 1000000"))
}

/// What `set_param` cannot see: settings that belong together.
///
/// # Errors
/// When they contradict each other.
pub(super) fn check(strategy: &Strategy) -> Result<(), BacktestError> {
    match strategy {
        Strategy::Rsi(params) if !(0.0 <= params.lower && params.lower <= params.upper && params.upper <= 100.0) => {
            let value = format!("{} to {}", params.lower, params.upper);
            Err(BacktestError::parameter("signals.params.lower", value, "0 <= lower <= upper <= 100"))
        }
        Strategy::Bollinger(params) if !(params.alpha > 0.0 && params.alpha.is_finite()) => {
            Err(BacktestError::parameter("signals.params.alpha", params.alpha, "finite and above 0"))
        }
        Strategy::MaCrossover(_)
        | Strategy::Rsi(_)
        | Strategy::Bollinger(_)
        | Strategy::Macd(_)
        | Strategy::Breakout(_) => Ok(()),
    }
}
