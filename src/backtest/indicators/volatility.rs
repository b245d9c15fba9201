//! Bollinger bands and average true range.

use super::mean::{Mean, MeanKind, RollingDeviation};
use super::{HighLowClose, Indicator};

/// A moving mean with bands of some deviations.
#[derive(Debug, Clone)]
pub struct BollingerBands {
    mean: Mean,
    deviation: RollingDeviation,
    alpha: f64,
}

/// One bar of Bollinger bands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BollingerPoint {
    /// The mean.
    pub middle: f64,
    /// `alpha` deviations above.
    pub upper: f64,
    /// `alpha` deviations below.
    pub lower: f64,
}

impl BollingerBands {
    /// Over `window` values, bands at `alpha` deviations.
    pub fn new(window: usize, alpha: f64) -> Self {
        Self { mean: Mean::new(MeanKind::Simple, window), deviation: RollingDeviation::new(window), alpha }
    }
}

impl Indicator for BollingerBands {
    type Input = f64;
    type Output = BollingerPoint;

    fn push(&mut self, close: f64) -> BollingerPoint {
        let middle = self.mean.push(close);
        let band = self.alpha * self.deviation.push(close);
        BollingerPoint { middle, upper: middle + band, lower: middle - band }
    }
}

/// Range of a bar, the gap from the close before included.
pub fn true_range(bar: HighLowClose, before: f64) -> f64 {
    let range = bar.high - bar.low;
    if range.is_nan() || before.is_nan() {
        return range;
    }
    range.max((bar.high - before).abs()).max((bar.low - before).abs())
}

/// Mean true range.
#[derive(Debug, Clone)]
pub struct Atr {
    before: f64,
    mean: Mean,
}

impl Atr {
    /// Over `window` bars.
    pub fn new(window: usize, kind: MeanKind) -> Self {
        Self { before: f64::NAN, mean: Mean::new(kind, window) }
    }
}

impl Indicator for Atr {
    type Input = HighLowClose;
    type Output = f64;

    fn push(&mut self, bar: HighLowClose) -> f64 {
        let range = true_range(bar, self.before);
        self.before = bar.close;
        self.mean.push(range)
    }
}
