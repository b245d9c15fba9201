//! Stop loss, take profit and their trailing forms on OHLC bars.
//!
//! Within a bar only its open, extremes and close are known. A stop that the open has passed is filled at the open, one
//! between the extremes at its own price. The stop loss is looked at first: where both lie within one bar, the worse
//! happened. References that trail move after the look at the same bar.

use super::error::BacktestError;
use super::request::{BacktestRequest, StopEntryPrice, StopExitPrice};

/// The prices of one bar that a stop is looked up in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BarRange {
    pub(crate) open: f64,
    pub(crate) high: f64,
    pub(crate) low: f64,
}

impl BarRange {
    /// Missing prices from those known: the open is the close, extremes are of open and close.
    pub(crate) fn new(open: f64, high: f64, low: f64, close: f64) -> Self {
        let open = if open.is_nan() { close } else { open };
        let high = if high.is_nan() { open.max(close) } else { high };
        let low = if low.is_nan() { open.min(close) } else { low };
        Self { open, high, low }
    }

    /// Price at which `level` is met by a fall.
    pub(crate) fn falls_to(self, level: f64) -> Option<f64> {
        if self.open <= level {
            Some(self.open)
        } else if self.low <= level && level <= self.high {
            Some(level)
        } else {
            None
        }
    }

    /// Price at which `level` is met by a rise.
    pub(crate) fn rises_to(self, level: f64) -> Option<f64> {
        if self.open >= level {
            Some(self.open)
        } else if self.low <= level && level <= self.high {
            Some(level)
        } else {
            None
        }
    }
}

/// Stops of a request; checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StopRules {
    loss: Option<f64>,
    loss_trails: bool,
    profit: Option<f64>,
    profit_trail: Option<f64>,
    pub(crate) entry_price: StopEntryPrice,
    exit_price: StopExitPrice,
}

/// What the stops of a held position are measured from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StopState {
    loss_reference: f64,
    profit_reference: f64,
    /// Best price since the take profit was reached.
    profit_best: Option<f64>,
}

impl StopRules {
    /// The stops of a request.
    pub(crate) fn new(request: &BacktestRequest) -> Result<Self, BacktestError> {
        let check = |field, value: Option<f64>, most: f64| match value {
            Some(value) if !(value > 0.0 && value <= most && value.is_finite()) => {
                let allowed = if most.is_finite() { "a fraction above 0, at most 1" } else { "a fraction above 0" };
                Err(BacktestError::parameter(field, value, allowed))
            }
            Some(_) | None => Ok(()),
        };
        check("sl_stop", request.sl_stop, f64::INFINITY)?;
        check("tp_stop", request.tp_stop, f64::INFINITY)?;
        check("tp_trail", request.tp_trail, 1.0)?;
        if request.sl_trail && request.sl_stop.is_none() {
            return Err(BacktestError::combination("sl_trail", "needs sl_stop, the distance it trails at"));
        }
        if request.tp_trail.is_some() && request.tp_stop.is_none() {
            return Err(BacktestError::combination("tp_trail", "needs tp_stop, from which on it trails"));
        }
        Ok(Self {
            loss: request.sl_stop,
            loss_trails: request.sl_trail,
            profit: request.tp_stop,
            profit_trail: request.tp_trail,
            entry_price: request.stop_entry_price,
            exit_price: request.stop_exit_price,
        })
    }

    pub(crate) fn active(&self) -> bool {
        self.loss.is_some() || self.profit.is_some()
    }

    /// Looks a bar up, then moves trailing references.
    pub(crate) fn check(&self, state: &mut StopState, position: f64, bar: BarRange) -> Option<f64> {
        let met = self.loss_met(state, position, bar).or_else(|| self.profit_met(state, position, bar));
        if self.loss_trails {
            state.loss_reference =
                if position > 0.0 { state.loss_reference.max(bar.high) } else { state.loss_reference.min(bar.low) };
        }
        met
    }

    fn loss_met(&self, state: &StopState, position: f64, bar: BarRange) -> Option<f64> {
        let loss = self.loss?;
        if position > 0.0 {
            bar.falls_to(state.loss_reference * (1.0 - loss))
        } else {
            bar.rises_to(state.loss_reference * (1.0 + loss))
        }
    }

    fn profit_met(&self, state: &mut StopState, position: f64, bar: BarRange) -> Option<f64> {
        let profit = self.profit?;
        let long = position > 0.0;
        let Some(trail) = self.profit_trail else {
            return if long {
                bar.rises_to(state.profit_reference * (1.0 + profit))
            } else {
                bar.falls_to(state.profit_reference * (1.0 - profit))
            };
        };
        if let Some(best) = state.profit_best {
            let met = if long { bar.falls_to(best * (1.0 - trail)) } else { bar.rises_to(best * (1.0 + trail)) };
            state.profit_best = Some(if long { best.max(bar.high) } else { best.min(bar.low) });
            return met;
        }
        let level = state.profit_reference * if long { 1.0 + profit } else { 1.0 - profit };
        let reached = if long { bar.rises_to(level) } else { bar.falls_to(level) };
        if reached.is_some() {
            state.profit_best = Some(if long { bar.high } else { bar.low });
        }
        None
    }

    /// Price and slippage of a stop met at `met`.
    pub(crate) fn exit(&self, met: f64, close: f64, slippage: f64) -> (f64, f64) {
        match self.exit_price {
            StopExitPrice::StopLimit => (met, 0.0),
            StopExitPrice::StopMarket => (met, slippage),
            StopExitPrice::Close => (close, slippage),
        }
    }
}

impl StopState {
    /// Stops that begin at `reference`.
    pub(crate) fn new(reference: f64) -> Self {
        Self { loss_reference: reference, profit_reference: reference, profit_best: None }
    }
}
