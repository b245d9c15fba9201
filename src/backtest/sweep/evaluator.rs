//! Sets in, metrics out: what the lanes can do goes there many at once, the rest to the engine for one set.

use std::collections::HashMap;

use rayon::prelude::*;

use super::super::column::Plan;
use super::super::cuda::Gpu;
use super::super::error::BacktestError;
use super::super::lanes::signals::{Column, Columns, Rows, Rule, Source};
use super::super::lanes::{self, Sets, Terms, Totals};
use super::super::metrics::MetricValue;
use super::super::prices::Prices;
use super::super::request::{BacktestRequest, Trials};
use super::super::result::BacktestResult;
use super::super::run;
use super::super::signals::Signals;
use super::super::simulation::initial_cash;
use super::super::source::SignalSource;
use super::super::strategies::Strategy;
use super::ground::{Ground, lane_terms, set_lane_term};
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
    ground: Ground,
    decider: Decider,
    prices: &'a Prices,
    /// Which parameters belong to the execution.
    execution: Vec<bool>,
    rows: Rows,
    numbers: HashMap<RowKey, u32>,
    most_rows: usize,
    gpu: Option<Gpu>,
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
        let decider = decider(&request.base.signals, prices.len(), given)?;
        let short_side = matches!(&decider, Decider::Given(signals, _) if signals.has_short_side());
        let mut ground = Ground::new(&request.base, prices, short_side)?;
        let execution = check_params(space, &ground.base, &decider)?;
        ground.wide &= space.names().iter().all(|name| !matches!(name.as_str(), "init_cash" | "size" | "tp_trail"));
        Ok(Self {
            space,
            ground,
            decider,
            prices,
            execution,
            rows: Rows::new(prices.len()),
            numbers: HashMap::new(),
            most_rows: (memory / Rows::row_bytes(prices.len()).max(1)).max(8),
            gpu: None,
        })
    }

    /// Computes on `gpu` what the lanes would.
    pub fn with_gpu(mut self, gpu: Option<Gpu>) -> Self {
        self.gpu = gpu.filter(|_| self.ground.wide);
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
        let metrics = if self.ground.wide { self.wide(&values)? } else { self.one_by_one(&values)? };
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
            if let Some(strategy) = self.strategy(set)? {
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
            terms.push(self.terms(set));
        }
        let made = missing.par_iter().map(|key| key.compute(self.prices)).collect::<Result<Vec<_>, _>>()?;
        for row in &made {
            self.rows.push(row);
        }
        let totals = self.totals(&terms, &rules);
        let metrics = totals.par_iter().zip(values.par_chunks(width)).with_min_len(64).map(|(totals, set)| match self
            .ground
            .metrics(totals)
        {
            Some(metrics) => Ok(metrics),
            None => self.alone(set),
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
        let market = self.ground.bars.market();
        if let Some(gpu) = &mut self.gpu {
            match gpu.run(&market, &self.ground.common, sets) {
                Ok(totals) => return totals,
                Err(error) => {
                    tracing::warn!(device = gpu.name(), %error, "gpu failed, the cpu goes on");
                    self.gpu = None;
                }
            }
        }
        let mut totals = vec![Totals::default(); terms.len()];
        lanes::run(&market, &self.ground.common, sets, &mut totals);
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

    /// The strategy of one set, if there is one.
    fn strategy(&self, set: &[f64]) -> Result<Option<Strategy>, BacktestError> {
        let Decider::Strategy(strategy) = &self.decider else { return Ok(None) };
        let mut strategy = (**strategy).clone();
        let params = self.space.names().iter().zip(set).zip(&self.execution);
        for ((name, value), _) in params.filter(|(_, execution)| !**execution) {
            set_param(&mut strategy, name, *value)?;
        }
        check(&strategy)?;
        Ok(Some(strategy))
    }

    /// What one set trades under in the lanes.
    fn terms(&self, set: &[f64]) -> Terms {
        let mut terms = lane_terms(&self.ground.base);
        for (name, value) in self.space.names().iter().zip(set) {
            set_lane_term(&mut terms, name, *value);
        }
        terms
    }

    /// The request and the strategy of one set.
    fn applied(&self, set: &[f64]) -> Result<(BacktestRequest, Option<Strategy>), BacktestError> {
        let mut request = self.ground.base.clone();
        for (name, value) in self.space.names().iter().zip(set) {
            set_execution(&mut request, name, *value);
        }
        Ok((request, self.strategy(set)?))
    }

    /// All sets by the engine for one.
    fn one_by_one(&self, values: &[f64]) -> Result<Vec<SetMetrics>, BacktestError> {
        values.par_chunks(self.space.names().len()).map(|set| self.alone(set)).collect()
    }

    /// Sharpe ratios of sets with these values, deflated by what was tried: the probability that they are no luck.
    pub fn deflated(&self, values: &[&[f64]], trials: Trials) -> Result<Vec<f64>, BacktestError> {
        let one = |set: &&[f64]| {
            let (request, strategy) = self.applied(set)?;
            let result = self.result(&BacktestRequest { trials: Some(trials), ..request }, strategy)?;
            let ratio = result.metrics.and_then(|report| report.get("deflated_sharpe_ratio"));
            Ok(ratio.and_then(MetricValue::number).unwrap_or(f64::NAN))
        };
        values.par_iter().map(one).collect()
    }

    /// Bars of a year, by which ratios are annualised.
    pub fn bars_per_year(&self) -> f64 {
        self.ground.settings.bars_per_year
    }

    /// One set by the engine for one.
    fn alone(&self, set: &[f64]) -> Result<SetMetrics, BacktestError> {
        let (request, strategy) = self.applied(set)?;
        self.result(&request, strategy).map(|result| SetMetrics::from_result(&result))
    }

    fn result(&self, request: &BacktestRequest, strategy: Option<Strategy>) -> Result<BacktestResult, BacktestError> {
        match (&self.decider, strategy) {
            (_, Some(strategy)) => run(request, self.prices, &strategy.signals(self.prices)?),
            (Decider::Given(signals, _), None) => run(request, self.prices, signals),
            (Decider::Strategy(strategy), None) => run(request, self.prices, &strategy.signals(self.prices)?),
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
    Ok(execution)
}
