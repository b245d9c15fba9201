//! Many assets at once: each with cash of its own, or all from one account.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::column::{Column, Finished, Plan};
use super::error::BacktestError;
use super::execution::Cash;
use super::metrics::TradeStatistics;
use super::prices::Prices;
use super::request::{BacktestRequest, Fill};
use super::result::BacktestResult;
use super::run::{Measured, answer, return_settings};
use super::signals::Signals;
use super::simulation::{Simulation, Valuation, from_signals, initial_cash};

/// One asset with its signals.
#[derive(Debug, Clone, Copy)]
pub struct Asset<'a> {
    /// What to call it.
    pub name: &'a str,
    /// Its bars; of one length and with the same times as all others'.
    pub prices: &'a Prices,
    /// Its signals.
    pub signals: &'a Signals,
}

/// Whose cash is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// Every asset begins with `init_cash`.
    #[default]
    Separate,
    /// All spend from one account that begins with `init_cash`, bar by bar in this order.
    Shared(CallSequence),
}

/// The order in which assets that share an account trade within a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallSequence {
    /// As given.
    #[default]
    Given,
    /// The last first.
    Reversed,
    /// Another at each bar, from this seed.
    Random(u64),
    /// By the worth of the expected order: what brings cash before what needs it.
    Auto,
}

/// What came of one asset.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnResult {
    /// Its name.
    pub name: String,
    /// Gain of all its trades, the open one included.
    pub total_profit: f64,
    /// Filled orders.
    pub orders_count: u64,
    /// Its trades.
    pub trades: TradeStatistics,
    /// Everything, where it has cash of its own.
    pub result: Option<BacktestResult>,
}

/// What came of all.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnsResult {
    /// All assets as one portfolio, beside holding each with an equal share of the cash. Orders and trades are those of
    /// the assets one after the other.
    pub portfolio: BacktestResult,
    /// Each asset.
    pub columns: Vec<ColumnResult>,
}

/// Trades many assets with one request.
///
/// # Errors
/// As [`run`](super::run()), naming the asset; also when there is none, or lengths and times of the assets differ.
pub fn run_columns(
    request: &BacktestRequest,
    assets: &[Asset<'_>],
    sharing: Sharing,
) -> Result<ColumnsResult, BacktestError> {
    let started = Instant::now();
    let Some(first) = assets.first() else {
        return Err(BacktestError::Empty { field: "assets".to_owned(), reason: "has none" });
    };
    for asset in assets {
        check_beside(first, asset)?;
    }
    let settings = return_settings(request, first.prices)?;
    let benchmark = equal_weights(assets);
    let against = Measured { benchmark: &benchmark, times: first.prices.times(), settings: &settings };
    let (simulation, columns, cash) = match sharing {
        Sharing::Separate => {
            let (simulation, columns) = separate(request, assets)?;
            (simulation, columns, request.init_cash * count(assets))
        }
        Sharing::Shared(sequence) => {
            let (simulation, columns) = shared(request, assets, sequence)?;
            (simulation, columns, request.init_cash)
        }
    };
    let whole = BacktestRequest { init_cash: cash, ..request.clone() };
    Ok(ColumnsResult { portfolio: answer(&whole, against, simulation, started)?, columns })
}

#[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 assets")]
fn count(assets: &[Asset<'_>]) -> f64 {
    assets.len() as f64
}

fn check_beside(first: &Asset<'_>, asset: &Asset<'_>) -> Result<(), BacktestError> {
    let (expected, len) = (first.prices.len(), asset.prices.len());
    if len != expected {
        let field = format!("assets.{}.prices.close", asset.name);
        return Err(BacktestError::Length { field, len, expected_by: "the first asset", expected });
    }
    if let (Some(one), Some(other)) = (first.prices.times(), asset.prices.times())
        && let Some(row) = one.iter().zip(other).position(|(one, other)| one != other)
    {
        let reason = format!("is not the time of {}'s bar", first.name);
        return Err(BacktestError::Time { field: format!("assets.{}.prices.ts", asset.name), row, reason });
    }
    Ok(())
}

/// Worth of holding all assets, bought for equal shares of the cash.
fn equal_weights(assets: &[Asset<'_>]) -> Vec<f64> {
    let mut sum = vec![0.0; assets.first().map_or(0, |asset| asset.prices.len())];
    for asset in assets {
        let closes = asset.prices.filled();
        for (sum, close) in sum.iter_mut().zip(closes.iter()) {
            *sum += close / closes[0];
        }
    }
    sum
}

fn separate(request: &BacktestRequest, assets: &[Asset<'_>]) -> Result<(Simulation, Vec<ColumnResult>), BacktestError> {
    let mut values = vec![0.0; assets[0].prices.len()];
    let mut max_gross_exposure = 0.0_f64;
    let mut all = Finished::default();
    let mut columns = Vec::with_capacity(assets.len());
    for asset in assets {
        let started = Instant::now();
        let settings = return_settings(request, asset.prices)?;
        let simulation = from_signals(request, asset.prices, asset.signals)?;
        for (sum, value) in values.iter_mut().zip(&simulation.values) {
            *sum += value;
        }
        max_gross_exposure = max_gross_exposure.max(simulation.max_gross_exposure);
        all.extend(&simulation.finished);
        let mut column = ColumnResult::new(asset.name, &simulation.finished);
        let benchmark = asset.prices.filled();
        let against = Measured { benchmark: &benchmark, times: asset.prices.times(), settings: &settings };
        column.result = Some(answer(request, against, simulation, started)?);
        columns.push(column);
    }
    Ok((Simulation { values, max_gross_exposure, finished: all }, columns))
}

fn shared(
    request: &BacktestRequest,
    assets: &[Asset<'_>],
    sequence: CallSequence,
) -> Result<(Simulation, Vec<ColumnResult>), BacktestError> {
    let plan = Plan::new(request)?;
    if plan.margin.is_some() {
        let reason = "is defined for one asset, not for an account that several share";
        return Err(BacktestError::combination("margin", reason));
    }
    let mut cash = initial_cash(request)?;
    let delayed: Vec<Signals> = if plan.fill == Fill::NextOpen {
        assets.iter().map(|asset| asset.signals.delayed()).collect()
    } else {
        Vec::new()
    };
    let mut columns = Vec::with_capacity(assets.len());
    for (index, asset) in assets.iter().enumerate() {
        asset.signals.check(asset.prices.len())?;
        columns.push(Column::new(&plan, asset.prices, delayed.get(index).unwrap_or(asset.signals))?);
    }
    let mut caller = Caller::new(sequence, columns.len());
    let mut valuation = Valuation::new(assets[0].prices.len());
    for row in 0..assets[0].prices.len() {
        caller.arrange(row, cash, &columns)?;
        for index in &caller.order {
            columns[*index].step(row, &mut cash)?;
        }
        let worths = || columns.iter().map(Column::worth);
        valuation.push(cash, worths().sum(), worths().map(f64::abs).sum());
    }
    let mut all = Finished::default();
    let mut results = Vec::with_capacity(assets.len());
    for (asset, column) in assets.iter().zip(columns) {
        let finished = column.finish();
        all.extend(&finished);
        results.push(ColumnResult::new(asset.name, &finished));
    }
    let Valuation { values, max_gross_exposure } = valuation;
    Ok((Simulation { values, max_gross_exposure, finished: all }, results))
}

/// Says who trades when.
struct Caller {
    sequence: CallSequence,
    order: Vec<usize>,
    random: fastrand::Rng,
    worths: Vec<f64>,
}

impl Caller {
    fn new(sequence: CallSequence, columns: usize) -> Self {
        let (seed, reversed) = match sequence {
            CallSequence::Random(seed) => (seed, false),
            CallSequence::Reversed => (0, true),
            CallSequence::Given | CallSequence::Auto => (0, false),
        };
        let order = if reversed { (0..columns).rev().collect() } else { (0..columns).collect() };
        Self { sequence, order, random: fastrand::Rng::with_seed(seed), worths: vec![0.0; columns] }
    }

    fn arrange(&mut self, row: usize, cash: Cash, columns: &[Column<'_>]) -> Result<(), BacktestError> {
        match self.sequence {
            CallSequence::Given | CallSequence::Reversed => {}
            CallSequence::Random(_) => self.random.shuffle(&mut self.order),
            CallSequence::Auto => {
                for (worth, column) in self.worths.iter_mut().zip(columns) {
                    *worth = column.expected_worth(row, cash)?;
                }
                // Equal ones trade as given.
                self.order.sort_unstable();
                self.order.sort_by(|one, other| self.worths[*one].total_cmp(&self.worths[*other]));
            }
        }
        Ok(())
    }
}

impl ColumnResult {
    fn new(name: &str, finished: &Finished) -> Self {
        Self {
            name: name.to_owned(),
            total_profit: finished.trades.iter().map(|trade| trade.pnl).sum(),
            orders_count: finished.orders.len() as u64,
            trades: TradeStatistics::new(&finished.trades),
            result: None,
        }
    }
}
