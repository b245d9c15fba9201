//! Sets in, metrics out: what the lanes can do goes there many at once, the rest to the engine for one set.

use std::collections::HashMap;

use rayon::prelude::*;

use super::super::BacktestError;
use super::super::column::Plan;
use super::super::cuda::Gpu;
use super::super::lanes::signals::{Column, Columns, Rows, Rule, Source};
use super::super::lanes::{self, Common, Market, Sets, Terms, Totals, Way};
use super::super::metrics::ReturnSettings;
use super::super::prices::Prices;
use super::super::request::{
    Accumulation, BacktestRequest, Compat, ConflictMode, Direction, DirectionConflict, Fill, OppositeEntry, Part,
    StopEntryPrice, StopExit, StopExitPrice,
};
use super::super::signals::Signals;
use super::super::simulation::initial_cash;
use super::super::source::SignalSource;
use super::super::stops::BarRange;
use super::super::strategies::Strategy;
use super::super::{return_settings, run};
use super::metrics::SetMetrics;
use super::request::{SweepRequest, set_execution};
use super::rules::{RowKey, check, rule, set_param};
use super::space::Space;

/// What decides when sets trade.
enum Decider {
    /// A strategy, with other parameters in each set.
    Strategy(Box<Strategy>),
    /// Signals that all sets have in common.
    Given(Box<Signals>, Columns),
}

/// Evaluates sets on one series of bars.
pub(super) struct Evaluator<'a> {
    space: &'a Space,
    /// The request without prices and signals, which each set would have to copy.
    base: BacktestRequest,
    decider: Decider,
    prices: &'a Prices,
    settings: ReturnSettings,
    bars: Bars,
    common: Common,
    /// Whether the lanes can do what the request asks for.
    wide: bool,
    /// Which parameters belong to the execution.
    execution: Vec<bool>,
    rows: Rows,
    numbers: HashMap<RowKey, u32>,
    most_rows: usize,
    gpu: Option<Gpu>,
}

/// Bars without gaps, as the lanes read them.
struct Bars {
    close: Vec<f64>,
    fill: Vec<f64>,
    open: Vec<f64>,
    high: Vec<f64>,
    low: Vec<f64>,
    tradable: Vec<u64>,
}

/// Sets evaluated together.
pub(super) struct Batch {
    /// How many of the sets asked for were taken.
    pub taken: usize,
    /// Their values, set by set.
    pub values: Vec<f64>,
    /// Positions of those among their parameters' values.
    pub positions: Vec<u64>,
    /// Their metrics.
    pub metrics: Vec<SetMetrics>,
}

impl<'a> Evaluator<'a> {
    /// For the sets of `request` on `prices`. `given` are the signals of a request that has no strategy; those of bars
    /// beyond `prices` are not looked at. Series that sets share take up to `memory` bytes.
    pub fn new(
        request: &SweepRequest,
        space: &'a Space,
        prices: &'a Prices,
        given: Option<&Signals>,
        memory: usize,
    ) -> Result<Self, BacktestError> {
        let settings = return_settings(&request.base, prices)?;
        let base = BacktestRequest {
            prices: None,
            signals: SignalSource::Holding,
            compat: Compat::VectorBt,
            parts: vec![Part::Metrics],
            portfolio_id: Some(String::new()),
            bootstrap: None,
            ..request.base.clone()
        };
        if base.fill == Fill::NextOpen && prices.open().is_none() {
            return Err(BacktestError::combination("fill", "next_open needs prices.open"));
        }
        let decider = decider(&request.base.signals, prices.len(), given)?;
        let execution = check_params(space, &base, &decider)?;
        let wide = lanes_can(&base) && space.names().iter().all(|name| !matches!(name.as_str(), "init_cash" | "size" | "tp_trail"));
        let required_per_bar = (1.0 + settings.required_return).powf(1.0 / settings.bars_per_year) - 1.0;
        let short_side = matches!(&decider, Decider::Given(signals, _) if signals.has_short_side());
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
        Ok(Self {
            space,
            base,
            decider,
            prices,
            settings,
            bars: Bars::new(prices, request.base.fill),
            common,
            wide,
            execution,
            rows: Rows::new(prices.len()),
            numbers: HashMap::new(),
            most_rows: (memory / Rows::row_bytes(prices.len()).max(1)).max(8),
            gpu: None,
        })
    }

    /// Computes on `gpu` what the lanes would.
    pub fn with_gpu(mut self, gpu: Option<Gpu>) -> Self {
        self.gpu = gpu.filter(|_| self.wide);
        if let Some(gpu) = &mut self.gpu {
            gpu.forget();
            // Where the driver does not say what is free, it will not run a kernel either: that is when it is left.
            let free = gpu.row_memory().unwrap_or_default();
            self.most_rows = self.most_rows.min((free / Rows::row_bytes(self.prices.len()).max(1)).max(8));
        }
        self
    }

    /// The GPU in use, if any.
    pub fn gpu(&self) -> Option<&Gpu> {
        self.gpu.as_ref()
    }

    /// Gives the GPU back.
    pub fn into_gpu(self) -> Option<Gpu> {
        self.gpu
    }

    /// Bars of each set.
    pub fn bars(&self) -> u64 {
        self.prices.len() as u64
    }

    /// Evaluates as many of `sets` as fit into memory, one at least.
    pub fn evaluate(&mut self, sets: &[u64]) -> Result<Batch, BacktestError> {
        let width = self.space.names().len();
        let (mut values, mut positions) = (vec![0.0; sets.len() * width], vec![0; sets.len() * width]);
        values
            .par_chunks_mut(width)
            .zip(positions.par_chunks_mut(width))
            .zip(sets)
            .with_min_len(64)
            .for_each(|((values, positions), set)| self.space.set(*set, positions, values));
        let metrics = if self.wide { self.wide(&values)? } else { self.one_by_one(&values)? };
        Ok(Batch { taken: metrics.len(), values, positions, metrics })
    }

    /// By the lanes: as many sets as their rows fit.
    fn wide(&mut self, values: &[f64]) -> Result<Vec<SetMetrics>, BacktestError> {
        let width = self.space.names().len();
        let (mut terms, mut rules, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        if self.rows.len() >= self.most_rows {
            self.rows = Rows::new(self.prices.len());
            self.numbers.clear();
            if let Some(gpu) = &mut self.gpu {
                gpu.forget_rows();
            }
        }
        for set in values.chunks(width) {
            let (request, strategy) = self.applied(set)?;
            if let Some(strategy) = strategy {
                let before = missing.len();
                let rule = self.rule(&strategy, &mut missing);
                let full = self.rows.len() + missing.len() > self.most_rows;
                if full && missing.len() > before && !terms.is_empty() {
                    for key in missing.drain(before..) {
                        self.numbers.remove(&key);
                    }
                    break;
                }
                rules.push(rule);
            }
            terms.push(lane_terms(&request));
        }
        let made = missing.par_iter().map(|key| key.compute(self.prices)).collect::<Result<Vec<_>, _>>()?;
        for row in &made {
            self.rows.push(row);
        }
        let totals = self.totals(&terms, &rules);
        let metrics = totals.par_iter().zip(values.par_chunks(width)).with_min_len(64).map(|(totals, set)| {
            match SetMetrics::from_totals(totals, self.prices.len(), self.common.init_cash, &self.settings) {
                Some(metrics) => Ok(metrics),
                None => self.alone(set),
            }
        });
        metrics.collect()
    }

    /// Runs sets on the GPU, or on the CPU where there is none or it fails.
    fn totals(&mut self, terms: &[Terms], rules: &[Rule]) -> Vec<Totals> {
        let indices = vec![0; terms.len()];
        let source = match &self.decider {
            Decider::Strategy(_) => Source::Rules(&self.rows, rules),
            Decider::Given(_, columns) => Source::Columns(columns, &indices),
        };
        let sets = Sets { terms, source };
        let market = self.bars.market();
        if let Some(gpu) = &mut self.gpu {
            match gpu.run(&market, &self.common, sets) {
                Ok(totals) => return totals,
                Err(error) => {
                    tracing::warn!(device = gpu.name(), %error, "gpu failed, the cpu goes on");
                    self.gpu = None;
                }
            }
        }
        let mut totals = vec![Totals::default(); terms.len()];
        lanes::run(&market, &self.common, sets, &mut totals);
        totals
    }

    /// The rule of a strategy; series that are not there yet are numbered and noted as `missing`.
    fn rule(&mut self, strategy: &Strategy, missing: &mut Vec<RowKey>) -> Rule {
        let known = self.rows.len();
        rule(strategy, |key| {
            *self.numbers.entry(key).or_insert_with(|| {
                missing.push(key);
                u32::try_from(known + missing.len() - 1).unwrap_or(u32::MAX)
            })
        })
    }

    /// The request and the strategy of one set.
    fn applied(&self, set: &[f64]) -> Result<(BacktestRequest, Option<Strategy>), BacktestError> {
        let mut request = self.base.clone();
        let mut strategy = match &self.decider {
            Decider::Strategy(strategy) => Some((**strategy).clone()),
            Decider::Given(..) => None,
        };
        for ((name, &value), &execution) in self.space.names().iter().zip(set).zip(&self.execution) {
            match &mut strategy {
                _ if execution => {
                    set_execution(&mut request, name, value);
                }
                Some(strategy) => set_param(strategy, name, value)?,
                None => {}
            }
        }
        strategy.as_ref().map(check).transpose()?;
        Ok((request, strategy))
    }

    /// All sets by the engine for one.
    fn one_by_one(&self, values: &[f64]) -> Result<Vec<SetMetrics>, BacktestError> {
        values.par_chunks(self.space.names().len()).map(|set| self.alone(set)).collect()
    }

    /// One set by the engine for one.
    fn alone(&self, set: &[f64]) -> Result<SetMetrics, BacktestError> {
        let (request, strategy) = self.applied(set)?;
        let result = match (&self.decider, strategy) {
            (_, Some(strategy)) => run(&request, self.prices, &strategy.signals(self.prices)?)?,
            (Decider::Given(signals, _), None) => run(&request, self.prices, signals)?,
            (Decider::Strategy(strategy), None) => run(&request, self.prices, &strategy.signals(self.prices)?)?,
        };
        Ok(SetMetrics::from_result(&result))
    }
}

impl Bars {
    fn new(prices: &Prices, fill: Fill) -> Self {
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
        bars.tradable = lanes::words_of(closes.iter().zip(fills).map(|(close, fill)| !close.is_nan() && !fill.is_nan()));
        bars.fill = fills.iter().zip(&bars.close).map(|(fill, close)| if fill.is_nan() { *close } else { *fill }).collect();
        bars
    }

    fn market(&self) -> Market<'_> {
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

fn decider(source: &SignalSource, bars: usize, given: Option<&Signals>) -> Result<Decider, BacktestError> {
    if let SignalSource::Strategy(strategy) = source {
        return Ok(Decider::Strategy(Box::new(strategy.clone())));
    }
    let Some(given) = given else {
        return Err(BacktestError::combination("signals", "sentiment needs a symbol with stored signals"));
    };
    let first = |column: &[bool]| column[..bars.min(column.len())].to_vec();
    let signals = Signals {
        entries: first(&given.entries),
        exits: first(&given.exits),
        short_entries: given.short_entries.as_deref().map(first),
        short_exits: given.short_exits.as_deref().map(first),
    };
    let mut columns = Columns::new(bars);
    columns.push(Column {
        entries: &signals.entries,
        exits: &signals.exits,
        short_entries: signals.short_entries.as_deref().unwrap_or_default(),
        short_exits: signals.short_exits.as_deref().unwrap_or_default(),
    });
    Ok(Decider::Given(Box::new(signals), columns))
}

/// Which parameters belong to the execution. Every value of every parameter is tried once, alone, so that one that
/// cannot be is refused before the work begins.
fn check_params(space: &Space, base: &BacktestRequest, decider: &Decider) -> Result<Vec<bool>, BacktestError> {
    let mut execution = Vec::new();
    for (parameter, name) in space.names().iter().enumerate() {
        let values = space.values(parameter);
        let mut request = base.clone();
        let belongs = set_execution(&mut request, name, f64::NAN);
        execution.push(belongs);
        let mut strategy = match decider {
            Decider::Strategy(strategy) => Some((**strategy).clone()),
            Decider::Given(..) => None,
        };
        for value in (0..values.len()).filter_map(|index| values.get(index)) {
            match &mut strategy {
                _ if belongs => {
                    set_execution(&mut request, name, value);
                    Plan::new(&request)?;
                    initial_cash(&request)?;
                }
                Some(strategy) => set_param(strategy, name, value)?,
                None => {
                    let reason = "given signals have no parameters: vary fees, slippage, stops, size or cash";
                    return Err(BacktestError::combination(&format!("params.{name}"), reason));
                }
            }
        }
    }
    Plan::new(base)?;
    initial_cash(base)?;
    Ok(execution)
}

/// What a set trades under, as the lanes take it.
fn lane_terms(request: &BacktestRequest) -> Terms {
    Terms {
        fees: request.fees,
        fixed_fees: request.fixed_fees,
        slippage: request.slippage,
        stop_loss: request.sl_stop,
        trailing: request.sl_trail,
        take_profit: request.tp_stop,
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
