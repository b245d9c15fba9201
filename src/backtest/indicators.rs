//! Indicators, one bar at a time.
//!
//! Each is a small machine that takes a bar's value and gives its own: a series is the machine run over the bars, so
//! that streaming and batch give the same bits. Values are NaN until enough bars are known. Definitions are vectorbt's:
//! simple means unless said otherwise, deviations over n, exponential means with `alpha = 2 / (window + 1)` that begin
//! at the first value.

mod cache;
mod cross;
mod double;
mod extreme;
mod mean;
mod momentum;
mod volatility;
mod volume;

pub use cache::{Indicators, Key};
pub use cross::{Crossing, crossed_above, crossed_below};
pub use extreme::{RollingMaximum, RollingMinimum};
pub use mean::{ExponentialMean, Mean, MeanKind, RollingDeviation, RollingMean};
pub use momentum::{Macd, MacdPoint, Rsi, Stochastic, StochasticPoint};
pub use volatility::{Atr, BollingerBands, BollingerPoint, true_range};
pub use volume::OnBalanceVolume;

/// Something that takes a value a bar and gives one.
pub trait Indicator {
    /// What a bar brings.
    type Input: Copy;
    /// What it gives.
    type Output;

    /// Takes the next bar.
    fn push(&mut self, input: Self::Input) -> Self::Output;

    /// All bars at once.
    fn over(mut self, inputs: impl IntoIterator<Item = Self::Input>) -> Vec<Self::Output>
    where
        Self: Sized,
    {
        inputs.into_iter().map(|input| self.push(input)).collect()
    }
}

/// High, low and close of a bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HighLowClose {
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Last price.
    pub close: f64,
}
