//! Built-in strategies: typed parameters in, entries and exits out.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::BacktestError;
use super::indicators::{Crossing, Indicator, Indicators, Key, Macd, MeanKind, crossed_above, crossed_below};
use super::prices::Prices;
use super::sentiment_signals::{DecisionTime, SignalClock};
use super::signals::Signals;
use super::span::Span;

/// Names of all strategies, the one whose signals come from outside included.
pub const STRATEGIES: [&str; 6] = ["ma_crossover", "rsi", "bollinger", "macd", "breakout", "sentiment"];

/// A strategy with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub enum Strategy {
    /// In when the fast mean crosses the slow one from below, out when from above.
    MaCrossover(MaCrossover),
    /// In when the index falls below `lower`, out when it rises above `upper`.
    Rsi(RsiParams),
    /// In when the close falls below the lower band, out when it rises above the upper one.
    Bollinger(Bollinger),
    /// In when the MACD crosses its signal from below, out when from above.
    Macd(MacdParams),
    /// In when the close rises above the highest high of the bars before, out when below the lowest low.
    Breakout(Breakout),
}

/// Parameters of [`Strategy::MaCrossover`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaCrossover {
    /// Bars of the fast mean.
    pub fast: usize,
    /// Bars of the slow mean.
    pub slow: usize,
    /// Which mean.
    pub kind: MeanKind,
}

impl Default for MaCrossover {
    fn default() -> Self {
        Self { fast: 10, slow: 50, kind: MeanKind::Simple }
    }
}

/// Parameters of [`Strategy::Rsi`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RsiParams {
    /// Bars.
    pub window: usize,
    /// Which mean.
    pub kind: MeanKind,
    /// Below it the asset is cheap.
    pub lower: f64,
    /// Above it the asset is dear.
    pub upper: f64,
}

impl Default for RsiParams {
    fn default() -> Self {
        Self { window: 14, kind: MeanKind::Simple, lower: 30.0, upper: 70.0 }
    }
}

/// Parameters of [`Strategy::Bollinger`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bollinger {
    /// Bars.
    pub window: usize,
    /// Deviations between mean and band.
    pub alpha: f64,
}

impl Default for Bollinger {
    fn default() -> Self {
        Self { window: 20, alpha: 2.0 }
    }
}

/// Parameters of [`Strategy::Macd`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MacdParams {
    /// Bars of the fast mean.
    pub fast: usize,
    /// Bars of the slow mean.
    pub slow: usize,
    /// Bars of the signal.
    pub signal: usize,
    /// Kind of the fast and slow means.
    pub kind: MeanKind,
    /// Kind of the signal.
    pub signal_kind: MeanKind,
}

impl Default for MacdParams {
    fn default() -> Self {
        Self { fast: 12, slow: 26, signal: 9, kind: MeanKind::Simple, signal_kind: MeanKind::Simple }
    }
}

/// Parameters of [`Strategy::Breakout`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Breakout {
    /// Bars whose highest high is to be passed.
    pub window: usize,
    /// Bars whose lowest low ends it.
    pub exit_window: usize,
}

impl Default for Breakout {
    fn default() -> Self {
        Self { window: 20, exit_window: 10 }
    }
}

/// Parameters of sentiment signals; what is missing is the configuration's. See
/// [`SentimentSettings`](super::sentiment_signals::SentimentSettings) for what each does.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SentimentParams {
    /// After which a score counts half.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life: Option<Span>,
    /// How many neutral documents are always there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prior: Option<f64>,
    /// How long after it counts as known a document can be acted on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Span>,
    /// Since when a document counts as known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<SignalClock>,
    /// When a bar's decision is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decide: Option<DecisionTime>,
    /// Score from which on to enter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enter_above: Option<f64>,
    /// Score below which to leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_below: Option<f64>,
}

/// Why a strategy cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum StrategyError {
    /// There is none of that name.
    #[error("strategy: {name:?} is none of {known}", known = STRATEGIES.join(", "))]
    Unknown {
        /// As given.
        name: String,
    },
    /// It does not take these parameters.
    #[error("params: {0}")]
    Params(#[from] serde_json::Error),
}

impl Strategy {
    /// The strategy of this name; parameters that are missing have their defaults.
    ///
    /// # Errors
    /// When there is none of that name, or it does not take a parameter or its type.
    pub fn new(name: &str, params: Map<String, Value>) -> Result<Self, StrategyError> {
        let params = Value::Object(params);
        Ok(match name {
            "ma_crossover" => Self::MaCrossover(serde_json::from_value(params)?),
            "rsi" => Self::Rsi(serde_json::from_value(params)?),
            "bollinger" => Self::Bollinger(serde_json::from_value(params)?),
            "macd" => Self::Macd(serde_json::from_value(params)?),
            "breakout" => Self::Breakout(serde_json::from_value(params)?),
            other => return Err(StrategyError::Unknown { name: other.to_owned() }),
        })
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MaCrossover(_) => "ma_crossover",
            Self::Rsi(_) => "rsi",
            Self::Bollinger(_) => "bollinger",
            Self::Macd(_) => "macd",
            Self::Breakout(_) => "breakout",
        }
    }

    /// Its parameters, as a request writes them.
    pub fn params(&self) -> Value {
        match self {
            Self::MaCrossover(params) => serde_json::json!(params),
            Self::Rsi(params) => serde_json::json!(params),
            Self::Bollinger(params) => serde_json::json!(params),
            Self::Macd(params) => serde_json::json!(params),
            Self::Breakout(params) => serde_json::json!(params),
        }
    }

    /// Entries and exits on `prices`.
    ///
    /// # Errors
    /// When a parameter is out of range.
    pub fn signals(&self, prices: &Prices) -> Result<Signals, BacktestError> {
        self.signals_with(&mut Indicators::new(prices))
    }

    /// Entries and exits, with indicators that others have computed already.
    ///
    /// # Errors
    /// When a parameter is out of range.
    pub fn signals_with(&self, indicators: &mut Indicators<'_>) -> Result<Signals, BacktestError> {
        match self {
            Self::MaCrossover(params) => params.signals(indicators),
            Self::Rsi(params) => params.signals(indicators),
            Self::Bollinger(params) => params.signals(indicators),
            Self::Macd(params) => params.signals(indicators),
            Self::Breakout(params) => params.signals(indicators),
        }
    }
}

fn window(field: &str, window: usize) -> Result<usize, BacktestError> {
    if (1..=1_000_000).contains(&window) {
        return Ok(window);
    }
    Err(BacktestError::parameter(&format!("signals.params.{field}"), window, "from 1 to 1000000 bars"))
}

impl MaCrossover {
    fn signals(self, indicators: &mut Indicators<'_>) -> Result<Signals, BacktestError> {
        let fast = indicators.get(Key::Mean(self.kind, window("fast", self.fast)?))?;
        let slow = indicators.get(Key::Mean(self.kind, window("slow", self.slow)?))?;
        Ok(Signals::new(crossed_above(&fast, &slow), crossed_below(&fast, &slow)))
    }
}

impl RsiParams {
    fn signals(self, indicators: &mut Indicators<'_>) -> Result<Signals, BacktestError> {
        let index = indicators.get(Key::Rsi(self.kind, window("window", self.window)?))?;
        if !(0.0 <= self.lower && self.lower <= self.upper && self.upper <= 100.0) {
            let value = format!("{} to {}", self.lower, self.upper);
            return Err(BacktestError::parameter("signals.params.lower", value, "0 <= lower <= upper <= 100"));
        }
        let entries = Crossing::new().over(index.iter().map(|index| (self.lower, *index)));
        let exits = Crossing::new().over(index.iter().map(|index| (*index, self.upper)));
        Ok(Signals::new(entries, exits))
    }
}

impl Bollinger {
    fn signals(self, indicators: &mut Indicators<'_>) -> Result<Signals, BacktestError> {
        let bars = window("window", self.window)?;
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            return Err(BacktestError::parameter("signals.params.alpha", self.alpha, "finite and above 0"));
        }
        let mean = indicators.get(Key::Mean(MeanKind::Simple, bars))?;
        let deviation = indicators.get(Key::Deviation(bars))?;
        let closes = indicators.prices().close();
        let bands = || mean.iter().zip(deviation.iter()).zip(closes);
        let entries =
            Crossing::new().over(bands().map(|((mean, deviation), close)| (mean - self.alpha * deviation, *close)));
        let exits =
            Crossing::new().over(bands().map(|((mean, deviation), close)| (*close, mean + self.alpha * deviation)));
        Ok(Signals::new(entries, exits))
    }
}

impl MacdParams {
    fn signals(self, indicators: &mut Indicators<'_>) -> Result<Signals, BacktestError> {
        let windows = (window("fast", self.fast)?, window("slow", self.slow)?, window("signal", self.signal)?);
        let points = Macd::new(windows, self.kind, self.signal_kind).over(indicators.prices().close().iter().copied());
        let entries = Crossing::new().over(points.iter().map(|point| (point.macd, point.signal)));
        let exits = Crossing::new().over(points.iter().map(|point| (point.signal, point.macd)));
        Ok(Signals::new(entries, exits))
    }
}

impl Breakout {
    fn signals(self, indicators: &mut Indicators<'_>) -> Result<Signals, BacktestError> {
        let highest = indicators.get(Key::Highest(window("window", self.window)?))?;
        let lowest = indicators.get(Key::Lowest(window("exit_window", self.exit_window)?))?;
        let closes = indicators.prices().close();
        // The bar itself does not count among those it breaks out of.
        let before = |series: &[f64], row: usize| if row == 0 { f64::NAN } else { series[row - 1] };
        let entries = closes.iter().enumerate().map(|(row, close)| *close > before(&highest, row)).collect();
        let exits = closes.iter().enumerate().map(|(row, close)| *close < before(&lowest, row)).collect();
        Ok(Signals::new(entries, exits))
    }
}
