//! RSI, MACD, stochastic oscillator.

use super::extreme::{RollingMaximum, RollingMinimum};
use super::mean::{Mean, MeanKind};
use super::{HighLowClose, Indicator};

/// Relative strength index: `100 - 100 / (1 + mean rise / mean fall)`.
#[derive(Debug, Clone)]
pub struct Rsi {
    before: f64,
    rises: Mean,
    falls: Mean,
}

impl Rsi {
    /// Over `window` changes.
    pub fn new(window: usize, kind: MeanKind) -> Self {
        Self { before: f64::NAN, rises: Mean::new(kind, window), falls: Mean::new(kind, window) }
    }
}

impl Indicator for Rsi {
    type Input = f64;
    type Output = f64;

    fn push(&mut self, close: f64) -> f64 {
        let change = close - self.before;
        self.before = close;
        // A change that is not known is neither: max and min would make it 0.
        let (rise, fall) = if change.is_nan() { (f64::NAN, f64::NAN) } else { (change.max(0.0), (-change).max(0.0)) };
        let strength = self.rises.push(rise) / self.falls.push(fall);
        100.0 - 100.0 / (1.0 + strength)
    }
}

/// Moving average convergence divergence.
#[derive(Debug, Clone)]
pub struct Macd {
    fast: Mean,
    slow: Mean,
    signal: Mean,
}

/// One bar of a MACD.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MacdPoint {
    /// Fast mean less slow mean.
    pub macd: f64,
    /// Its own mean.
    pub signal: f64,
}

impl Macd {
    /// Windows of the fast, slow and signal means; kinds of the former two and of the last.
    pub fn new((fast, slow, signal): (usize, usize, usize), kind: MeanKind, signal_kind: MeanKind) -> Self {
        Self { fast: Mean::new(kind, fast), slow: Mean::new(kind, slow), signal: Mean::new(signal_kind, signal) }
    }
}

impl Indicator for Macd {
    type Input = f64;
    type Output = MacdPoint;

    fn push(&mut self, close: f64) -> MacdPoint {
        let macd = self.fast.push(close) - self.slow.push(close);
        MacdPoint { macd, signal: self.signal.push(macd) }
    }
}

/// Stochastic oscillator.
#[derive(Debug, Clone)]
pub struct Stochastic {
    lowest: RollingMinimum,
    highest: RollingMaximum,
    mean: Mean,
}

/// One bar of a stochastic oscillator, in per cent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StochasticPoint {
    /// Where the close lies between the lowest low and the highest high.
    pub k: f64,
    /// Mean of `k`.
    pub d: f64,
}

impl Stochastic {
    /// Windows of the extremes and of the mean.
    pub fn new(k_window: usize, d_window: usize, kind: MeanKind) -> Self {
        Self {
            lowest: RollingMinimum::new(k_window),
            highest: RollingMaximum::new(k_window),
            mean: Mean::new(kind, d_window),
        }
    }
}

impl Indicator for Stochastic {
    type Input = HighLowClose;
    type Output = StochasticPoint;

    fn push(&mut self, bar: HighLowClose) -> StochasticPoint {
        let lowest = self.lowest.push(bar.low);
        let highest = self.highest.push(bar.high);
        let k = 100.0 * (bar.close - lowest) / (highest - lowest);
        StochasticPoint { k, d: self.mean.push(k) }
    }
}
