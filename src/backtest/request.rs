//! What is asked for: one backtest as HTTP, the command line and sweeps write it. Unknown keys are errors.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::calendar::Calendar;
use super::device::DeviceChoice;
use super::prices::PriceColumns;
use super::source::SignalSource;
use super::span::Span;

/// One backtest. Either `prices`, or `symbol` with `interval` and optional `from` and `to`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BacktestRequest {
    /// The caller's name of the result; a random one is made when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portfolio_id: Option<String>,
    /// Whose stored bars to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Which stored bars to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// First bar at or after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// Last bar before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<DateTime<Utc>>,
    /// The bars themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<PriceColumns>,
    /// What decides when to trade.
    pub signals: SignalSource,
    /// Which way to trade.
    #[serde(default)]
    pub direction: Direction,
    /// Cash before the first bar; above 0.
    #[serde(default = "default_cash")]
    pub init_cash: f64,
    /// How much an entry buys, in units of `size_type`; everything there is when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<f64>,
    /// What `size` counts.
    #[serde(default)]
    pub size_type: SizeType,
    /// Fraction of an order's value, 0 to 1.
    #[serde(default)]
    pub fees: f64,
    /// Cash per order.
    #[serde(default)]
    pub fixed_fees: f64,
    /// Fraction by which an order's price is worse than the bar's, 0 to 1.
    #[serde(default)]
    pub slippage: f64,
    /// Smallest order, in units of the asset.
    #[serde(default = "default_min_size")]
    pub min_size: f64,
    /// Largest order, in units of the asset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<f64>,
    /// Orders are rounded down to multiples of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_granularity: Option<f64>,
    /// Whether an order may be filled in part when cash or `max_size` does not allow all of it.
    #[serde(default = "default_true")]
    pub allow_partial: bool,
    /// Whether cash from short sales and borrowed against them is out of reach.
    #[serde(default)]
    pub lock_cash: bool,
    /// Whether further entries add to a position and exits take from it.
    #[serde(default)]
    pub accumulate: Accumulation,
    /// Which price signals are filled at.
    #[serde(default)]
    pub fill: Fill,
    /// Entry and exit of the long side on one bar.
    #[serde(default)]
    pub upon_long_conflict: ConflictMode,
    /// Entry and exit of the short side on one bar.
    #[serde(default)]
    pub upon_short_conflict: ConflictMode,
    /// Long and short entry on one bar.
    #[serde(default)]
    pub upon_dir_conflict: DirectionConflict,
    /// An entry against the position held.
    #[serde(default)]
    pub upon_opposite_entry: OppositeEntry,
    /// Stop loss as a fraction of the entry's price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sl_stop: Option<f64>,
    /// Whether the stop loss follows the best price since the entry.
    #[serde(default)]
    pub sl_trail: bool,
    /// Take profit as a fraction of the entry's price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tp_stop: Option<f64>,
    /// Once `tp_stop` is reached, the position is kept until the price falls this fraction from its best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tp_trail: Option<f64>,
    /// Which price stops are measured from.
    #[serde(default)]
    pub stop_entry_price: StopEntryPrice,
    /// Which price a stop is filled at.
    #[serde(default)]
    pub stop_exit_price: StopExitPrice,
    /// What a stop does.
    #[serde(default)]
    pub upon_stop_exit: StopExit,
    /// Entries as limit orders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// Borrowing beyond the cash, with liquidation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<Margin>,
    /// Time between two bars; taken from `interval` or the bars' times when missing, else `1d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency: Option<Span>,
    /// The year that ratios are annualised to.
    #[serde(default = "default_year")]
    pub year: Span,
    /// When the market trades, instead of `year`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<Calendar>,
    /// Return without risk, per bar.
    #[serde(default)]
    pub risk_free: f64,
    /// Return required by Sortino's and the omega ratio: per bar in the former, per year in the latter.
    #[serde(default)]
    pub required_return: f64,
    /// How often this strategy was tried; deflates the Sharpe ratio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trials: Option<Trials>,
    /// Confidence intervals of metrics by bootstrap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Bootstrap>,
    /// How metrics without a meaning are written.
    #[serde(default)]
    pub compat: Compat,
    /// Where to compute.
    #[serde(default)]
    pub device: DeviceChoice,
    /// What the answer holds.
    #[serde(default = "default_parts", rename = "return")]
    pub parts: Vec<Part>,
}

fn default_cash() -> f64 {
    100.0
}

fn default_min_size() -> f64 {
    1e-8
}

fn default_true() -> bool {
    true
}

fn default_year() -> Span {
    Span::YEAR
}

fn default_parts() -> Vec<Part> {
    vec![Part::Metrics]
}

impl BacktestRequest {
    /// Everything at its default.
    pub fn new(signals: SignalSource) -> Self {
        Self {
            portfolio_id: None,
            symbol: None,
            interval: None,
            from: None,
            to: None,
            prices: None,
            signals,
            direction: Direction::default(),
            init_cash: default_cash(),
            size: None,
            size_type: SizeType::default(),
            fees: 0.0,
            fixed_fees: 0.0,
            slippage: 0.0,
            min_size: default_min_size(),
            max_size: None,
            size_granularity: None,
            allow_partial: true,
            lock_cash: false,
            accumulate: Accumulation::default(),
            fill: Fill::default(),
            upon_long_conflict: ConflictMode::default(),
            upon_short_conflict: ConflictMode::default(),
            upon_dir_conflict: DirectionConflict::default(),
            upon_opposite_entry: OppositeEntry::default(),
            sl_stop: None,
            sl_trail: false,
            tp_stop: None,
            tp_trail: None,
            stop_entry_price: StopEntryPrice::default(),
            stop_exit_price: StopExitPrice::default(),
            upon_stop_exit: StopExit::default(),
            limit: None,
            margin: None,
            frequency: None,
            year: default_year(),
            calendar: None,
            risk_free: 0.0,
            required_return: 0.0,
            trials: None,
            bootstrap: None,
            compat: Compat::default(),
            device: DeviceChoice::default(),
            parts: default_parts(),
        }
    }

    /// Whether the answer shall hold `part`.
    pub fn wants(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

/// Which way entries and exits trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Entries buy, exits sell what is held.
    #[default]
    Long,
    /// Entries sell short, exits cover.
    Short,
    /// Entries buy, exits sell and go short.
    Both,
}

/// What a size counts. The targets belong to orders, not to signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SizeType {
    /// Units of the asset.
    #[default]
    Amount,
    /// Cash's worth of the asset.
    Value,
    /// Fraction of the cash (buying) or of what may be sold.
    Percent,
    /// Units to hold after the order.
    TargetAmount,
    /// Worth to hold after the order.
    TargetValue,
    /// Fraction of the portfolio's value to hold after the order.
    TargetPercent,
}

/// Whether positions grow by further entries and shrink by exits. `true` and `false` are `both` and `disabled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "AccumulationForm")]
pub enum Accumulation {
    /// One entry, one exit.
    #[default]
    Disabled,
    /// Entries add, exits take away.
    Both,
    /// Entries add, an exit closes.
    AddOnly,
    /// One entry, exits take away.
    RemoveOnly,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "accumulate: true, false, \"disabled\", \"both\", \"add_only\" or \"remove_only\"")]
enum AccumulationForm {
    Switch(bool),
    Name(AccumulationName),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum AccumulationName {
    Disabled,
    Both,
    AddOnly,
    RemoveOnly,
}

impl From<AccumulationForm> for Accumulation {
    fn from(form: AccumulationForm) -> Self {
        match form {
            AccumulationForm::Switch(false) | AccumulationForm::Name(AccumulationName::Disabled) => Self::Disabled,
            AccumulationForm::Switch(true) | AccumulationForm::Name(AccumulationName::Both) => Self::Both,
            AccumulationForm::Name(AccumulationName::AddOnly) => Self::AddOnly,
            AccumulationForm::Name(AccumulationName::RemoveOnly) => Self::RemoveOnly,
        }
    }
}

/// Which price signals are filled at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// The close of the signal's own bar.
    #[default]
    Close,
    /// The open of the bar after: what a signal that needs the close can really have. Needs `prices.open`.
    NextOpen,
}

/// What an entry and an exit on one bar become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConflictMode {
    /// Nothing.
    #[default]
    Ignore,
    /// The entry.
    Entry,
    /// The exit.
    Exit,
    /// What keeps the position held; nothing when flat.
    Adjacent,
    /// What ends the position held; nothing when flat.
    Opposite,
}

/// What a long and a short entry on one bar become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DirectionConflict {
    /// Nothing.
    #[default]
    Ignore,
    /// The long entry.
    Long,
    /// The short entry.
    Short,
    /// The one of the position held; nothing when flat.
    Adjacent,
    /// The one against the position held; nothing when flat.
    Opposite,
}

/// What an entry against the position held does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OppositeEntry {
    /// Nothing.
    Ignore,
    /// Closes the position.
    Close,
    /// Closes it, or takes from it when accumulating.
    CloseReduce,
    /// Turns it round.
    Reverse,
    /// Turns it round, or takes from it when accumulating.
    #[default]
    ReverseReduce,
}

/// Which price stops are measured from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopEntryPrice {
    /// The bar's close.
    #[default]
    Close,
    /// The order's price before slippage.
    Price,
    /// The order's price after slippage.
    FillPrice,
}

/// Which price a stop is filled at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopExitPrice {
    /// The stop's own, without slippage.
    #[default]
    StopLimit,
    /// The stop's own, with slippage.
    StopMarket,
    /// The bar's close, with slippage.
    Close,
}

/// What a stop does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopExit {
    /// Closes the position.
    #[default]
    Close,
    /// Closes it, or takes from it when accumulating.
    CloseReduce,
    /// Turns it round.
    Reverse,
    /// Turns it round, or takes from it when accumulating.
    ReverseReduce,
}

/// Entries as limit orders: placed at the signal's bar, filled on a later one that reaches the price.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// How much better than the signal's close, as a fraction: 0.01 buys 1 % below.
    pub offset: f64,
    /// Bars after the signal's on which it may be filled.
    pub valid_bars: usize,
}

/// Borrowing beyond the cash.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Margin {
    /// Largest position as a multiple of the equity; at least 1.
    pub leverage: f64,
    /// Below this fraction of the position's worth the equity is too small and the position is liquidated.
    pub maintenance: f64,
}

/// How often a strategy was tried before this one was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trials {
    /// Independent trials.
    pub count: f64,
    /// Variance of their Sharpe ratios per bar.
    pub sharpe_variance: f64,
}

/// Confidence intervals by stationary bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// How many resamples.
    #[serde(default = "default_resamples")]
    pub resamples: usize,
    /// Mean length of a block, in bars; the cube root of the bars when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<f64>,
    /// Width of the interval, between 0 and 1.
    #[serde(default = "default_confidence")]
    pub confidence: f64,
    /// Same seed, same intervals.
    #[serde(default)]
    pub seed: u64,
}

fn default_resamples() -> usize {
    1000
}

fn default_confidence() -> f64 {
    0.95
}

/// How metrics without a meaning are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compat {
    /// `null`, with the reason.
    #[default]
    Strict,
    /// As vectorbt has them: `"inf"`, `"-inf"`, `"nan"`.
    VectorBt,
}

/// Parts of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// All metrics.
    Metrics,
    /// Value and drawdown of every bar.
    Equity,
    /// Every trade.
    Trades,
    /// Every order.
    Orders,
}
