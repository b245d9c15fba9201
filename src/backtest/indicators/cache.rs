//! Each indicator once per parameter, however many strategies ask for it.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::error::BacktestError;
use super::super::prices::Prices;
use super::mean::{Mean, MeanKind, RollingDeviation};
use super::momentum::{Rsi, Stochastic};
use super::volatility::Atr;
use super::volume::OnBalanceVolume;
use super::{HighLowClose, Indicator, RollingMaximum, RollingMinimum};

/// An indicator with its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// Moving mean of the closes.
    Mean(MeanKind, usize),
    /// Moving deviation of the closes.
    Deviation(usize),
    /// Relative strength.
    Rsi(MeanKind, usize),
    /// Mean true range; needs highs and lows.
    Atr(MeanKind, usize),
    /// Stochastic %K; needs highs and lows.
    StochasticK(usize),
    /// Highest high (close without highs) of the last bars.
    Highest(usize),
    /// Lowest low (close without lows) of the last bars.
    Lowest(usize),
    /// On-balance volume; needs volumes.
    Obv,
}

/// Indicators of one series of bars.
#[derive(Debug)]
pub struct Indicators<'a> {
    prices: &'a Prices,
    series: HashMap<Key, Arc<Vec<f64>>>,
}

impl<'a> Indicators<'a> {
    /// None computed yet.
    pub fn new(prices: &'a Prices) -> Self {
        Self { prices, series: HashMap::new() }
    }

    /// The bars.
    pub fn prices(&self) -> &'a Prices {
        self.prices
    }

    /// How many were computed.
    pub fn computed(&self) -> usize {
        self.series.len()
    }

    /// The series of an indicator, computed the first time it is asked for.
    ///
    /// # Errors
    /// When it needs a column that the prices do not have.
    pub fn get(&mut self, key: Key) -> Result<Arc<Vec<f64>>, BacktestError> {
        if let Some(series) = self.series.get(&key) {
            return Ok(Arc::clone(series));
        }
        let series = Arc::new(self.compute(key)?);
        self.series.insert(key, Arc::clone(&series));
        Ok(series)
    }

    fn compute(&self, key: Key) -> Result<Vec<f64>, BacktestError> {
        let closes = self.prices.close();
        let each = || closes.iter().copied();
        Ok(match key {
            Key::Mean(kind, window) => Mean::new(kind, window).over(each()),
            Key::Deviation(window) => RollingDeviation::new(window).over(each()),
            Key::Rsi(kind, window) => Rsi::new(window, kind).over(each()),
            Key::Atr(kind, window) => Atr::new(window, kind).over(self.ranges()?),
            Key::StochasticK(window) => {
                let mut stochastic = Stochastic::new(window, 1, MeanKind::Simple);
                self.ranges()?.map(|bar| stochastic.push(bar).k).collect()
            }
            Key::Highest(window) => {
                RollingMaximum::new(window).over(self.prices.high().unwrap_or(closes).iter().copied())
            }
            Key::Lowest(window) => {
                RollingMinimum::new(window).over(self.prices.low().unwrap_or(closes).iter().copied())
            }
            Key::Obv => {
                let volumes = self.prices.volume().ok_or_else(|| BacktestError::Empty {
                    field: "prices.volume".to_owned(),
                    reason: "is missing, the indicator needs it",
                })?;
                OnBalanceVolume::new().over(each().zip(volumes.iter().copied()))
            }
        })
    }

    fn ranges(&self) -> Result<impl Iterator<Item = HighLowClose> + 'a, BacktestError> {
        let missing = |field: &str| BacktestError::Empty {
            field: field.to_owned(),
            reason: "is missing, the indicator needs it",
        };
        let high = self.prices.high().ok_or_else(|| missing("prices.high"))?;
        let low = self.prices.low().ok_or_else(|| missing("prices.low"))?;
        let bars = high.iter().zip(low).zip(self.prices.close());
        Ok(bars.map(|((high, low), close)| HighLowClose { high: *high, low: *low, close: *close }))
    }
}
