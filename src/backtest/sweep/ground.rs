//! What all sets of a run stand on: bars without gaps, and the settings that they share.

use super::super::column::Plan;
use super::super::error::BacktestError;
use super::super::lanes::{self, Common, Market, Terms, Totals, Way};
use super::super::metrics::ReturnSettings;
use super::super::prices::Prices;
use super::super::request::{
    Accumulation, BacktestRequest, Compat, ConflictMode, Direction, DirectionConflict, Fill, OppositeEntry, Part,
    StopEntryPrice, StopExit, StopExitPrice,
};
use super::super::return_settings;
use super::super::simulation::initial_cash;
use super::super::source::SignalSource;
use super::super::stops::BarRange;
use super::metrics::SetMetrics;

/// What all sets of a run share.
pub(super) struct Ground {
    /// The request without prices and signals, which each set would have to copy; results in vectorbt's form.
    pub base: BacktestRequest,
    /// What ratios are measured against.
    pub settings: ReturnSettings,
    /// Bars as the lanes read them.
    pub bars: Bars,
    /// What the lanes share.
    pub common: Common,
    /// Whether the lanes can do what the request asks for.
    pub wide: bool,
}

impl Ground {
    /// The ground of `request` on `prices`; with a short side the four signals stand for themselves.
    ///
    /// # Errors
    /// When the request is wrong.
    pub fn new(request: &BacktestRequest, prices: &Prices, short_side: bool) -> Result<Self, BacktestError> {
        let settings = return_settings(request, prices)?;
        let base = BacktestRequest {
            prices: None,
            signals: SignalSource::Holding,
            compat: Compat::VectorBt,
            parts: vec![Part::Metrics],
            portfolio_id: Some(String::new()),
            bootstrap: None,
            ..request.clone()
        };
        Plan::new(&base)?;
        initial_cash(&base)?;
        if base.fill == Fill::NextOpen && prices.open().is_none() {
            return Err(BacktestError::combination("fill", "next_open needs prices.open"));
        }
        let required_per_bar = (1.0 + settings.required_return).powf(1.0 / settings.bars_per_year) - 1.0;
        let common = Common {
            init_cash: base.init_cash,
            way: match base.direction {
                _ if short_side => Way::Four,
                Direction::Long => Way::Long,
                Direction::Short => Way::Short,
                Direction::Both => Way::Both,
            },
            min_size: base.min_size,
            delayed: base.fill == Fill::NextOpen,
            required_return: settings.required_return,
            threshold: settings.risk_free + required_per_bar,
        };
        let wide = lanes_can(&base);
        Ok(Self { settings, bars: Bars::new(prices, base.fill), common, wide, base })
    }

    /// Metrics out of a set's sums; `None` where only the engine for one set can tell.
    pub fn metrics(&self, totals: &Totals) -> Option<SetMetrics> {
        SetMetrics::from_totals(totals, self.bars.close.len(), self.common.init_cash, &self.settings)
    }
}

/// Bars without gaps, as the lanes read them.
pub(super) struct Bars {
    close: Vec<f64>,
    fill: Vec<f64>,
    open: Vec<f64>,
    high: Vec<f64>,
    low: Vec<f64>,
    tradable: Vec<u64>,
}

impl Bars {
    /// The bars of `prices`, a missing close replaced by the one before.
    pub fn new(prices: &Prices, fill: Fill) -> Self {
        let closes = prices.close();
        let at = |column: Option<&[f64]>, bar: usize| column.map_or(f64::NAN, |column| column[bar]);
        let mut before = closes.iter().copied().find(|close| !close.is_nan()).unwrap_or(f64::NAN);
        let mut bars = Self {
            close: Vec::with_capacity(closes.len()),
            fill: Vec::new(),
            open: Vec::with_capacity(closes.len()),
            high: Vec::with_capacity(closes.len()),
            low: Vec::with_capacity(closes.len()),
            tradable: Vec::new(),
        };
        for (bar, &close) in closes.iter().enumerate() {
            before = if close.is_nan() { before } else { close };
            let range = BarRange::new(at(prices.open(), bar), at(prices.high(), bar), at(prices.low(), bar), close);
            bars.close.push(before);
            bars.open.push(if close.is_nan() { before } else { range.open });
            bars.high.push(if close.is_nan() { f64::NEG_INFINITY } else { range.high });
            bars.low.push(if close.is_nan() { f64::INFINITY } else { range.low });
        }
        let fills = match fill {
            Fill::Close => closes,
            Fill::NextOpen => prices.open().unwrap_or(closes),
        };
        bars.tradable =
            lanes::words_of(closes.iter().zip(fills).map(|(close, fill)| !close.is_nan() && !fill.is_nan()));
        bars.fill =
            fills.iter().zip(&bars.close).map(|(fill, close)| if fill.is_nan() { *close } else { *fill }).collect();
        bars
    }

    /// The bars as the lanes read them.
    pub fn market(&self) -> Market<'_> {
        Market {
            close: &self.close,
            fill: &self.fill,
            open: &self.open,
            high: &self.high,
            low: &self.low,
            tradable: &self.tradable,
        }
    }
}

/// What a set trades under, as the lanes take it.
pub(super) fn lane_terms(request: &BacktestRequest) -> Terms {
    Terms {
        fees: request.fees,
        fixed_fees: request.fixed_fees,
        slippage: request.slippage,
        stop_loss: request.sl_stop,
        trailing: request.sl_trail,
        take_profit: request.tp_stop,
    }
}

/// Sets what a set trades under; other settings are no terms of the lanes.
pub(super) fn set_lane_term(terms: &mut Terms, name: &str, value: f64) {
    match name {
        "fees" => terms.fees = value,
        "fixed_fees" => terms.fixed_fees = value,
        "slippage" => terms.slippage = value,
        "sl_stop" => terms.stop_loss = Some(value),
        "tp_stop" => terms.take_profit = Some(value),
        _ => {}
    }
}

/// Whether the lanes do all that the request asks for.
fn lanes_can(request: &BacktestRequest) -> bool {
    let whole = request.size.is_none_or(|size| size == f64::INFINITY)
        && request.max_size.is_none()
        && request.size_granularity.is_none()
        && request.accumulate == Accumulation::Disabled;
    let plain_signals = request.upon_long_conflict == ConflictMode::Ignore
        && request.upon_short_conflict == ConflictMode::Ignore
        && request.upon_dir_conflict == DirectionConflict::Ignore
        && matches!(request.upon_opposite_entry, OppositeEntry::Reverse | OppositeEntry::ReverseReduce);
    let plain_stops = request.tp_trail.is_none()
        && request.stop_entry_price == StopEntryPrice::Close
        && request.stop_exit_price == StopExitPrice::StopLimit
        && matches!(request.upon_stop_exit, StopExit::Close | StopExit::CloseReduce);
    let plain_money = !request.lock_cash && request.limit.is_none() && request.margin.is_none();
    // A deflated ratio needs moments that the lanes do not sum up.
    whole && plain_signals && plain_stops && plain_money && request.trials.is_none()
}
