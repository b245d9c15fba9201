//! Sweeps: one backtest under many parameter sets.
//!
//! Sets are numbered, made from their number, evaluated some thousand at a time and forgotten but for what is kept, so
//! that memory does not grow with the sweep. The order of sets, and with it every result, does not depend on the number
//! of cores or on where a sweep was interrupted.

mod checkpoint;
mod columns;
mod evaluator;
mod ground;
mod keep;
mod metrics;
mod request;
mod rules;
mod space;
mod tried;

use std::time::{Duration, Instant};

pub use checkpoint::Checkpoint;
use checkpoint::fingerprint;
pub use columns::sweep_columns;
use evaluator::{Batch, Evaluator};
use keep::{Best, Spread, SurfaceKeeper};
pub use keep::{Surface, SweepRow};
pub use metrics::{SWEEP_METRICS, SetMetrics};
pub use request::{All, Keep, Ranking, Search, SurfaceRequest, SweepRequest, Top, is_execution};
pub(super) use rules::set_param;
use serde_json::{Map, Value};
pub use space::{Combine, Space, Values, ValuesError};
use tried::Tried;

use super::cuda::{CudaError, Gpu};
use super::error::BacktestError;
use super::metrics::MetricValue;
use super::prices::Prices;
use super::request::Compat;
use super::signals::Signals;
use super::source::SignalSource;

/// Bar-steps of one batch: some tenths of a second of work, after which a sweep can be stopped.
const BATCH_STEPS: u64 = 80_000_000;

/// Fewest and most sets of a batch.
const BATCH_SETS: (u64, u64) = (64, 8192);

/// Most rows that get a deflated Sharpe ratio: each is run once more, by the engine for one set.
const MOST_DEFLATED: usize = 1000;

/// Time between two checkpoints; the first comes with the first batch.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(2);

/// What bounds a sweep, and what it starts from.
#[derive(Debug, Clone, Copy)]
pub struct SweepOptions<'a> {
    /// Signals where the request asks for those of the sentiment.
    pub sentiment: Option<&'a Signals>,
    /// Most sets that may be tried.
    pub max_sets: u64,
    /// Bytes for series that sets share: indicators. More is faster where there are many windows.
    pub row_memory: usize,
    /// Where to go on.
    pub resume: Option<&'a Checkpoint>,
}

impl Default for SweepOptions<'_> {
    fn default() -> Self {
        Self { sentiment: None, max_sets: 10_000_000, row_memory: 256 << 20, resume: None }
    }
}

/// Who looks on while a sweep runs, between its batches.
pub trait SweepWatch {
    /// Whether to stop.
    fn cancelled(&mut self) -> bool {
        false
    }

    /// So many sets are done, of so many. Rounds of halving count each set once a round.
    fn progress(&mut self, _done: u64, _total: u64) {}

    /// One set, as soon as it is done; only where all are kept.
    ///
    /// # Errors
    /// What keeps it from being taken; it ends the sweep.
    fn row(&mut self, _row: SweepRow) -> Result<(), String> {
        Ok(())
    }

    /// The sweep can go on from here.
    fn checkpoint(&mut self, _checkpoint: &Checkpoint) {}
}

/// Nobody looks on.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl SweepWatch for Unwatched {}

/// Why a sweep ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The request, the bars or a set.
    #[error(transparent)]
    Backtest(#[from] BacktestError),
    /// The device asked for.
    #[error("device: {0}")]
    Device(#[from] CudaError),
    /// It was stopped; its last checkpoint is as far as it came.
    #[error("the sweep was cancelled after {done} of {total} sets")]
    Cancelled {
        /// Sets done.
        done: u64,
        /// Sets to do.
        total: u64,
    },
    /// A row could not be taken.
    #[error("a row could not be written: {0}")]
    Row(String),
}

/// What a sweep came to.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepResult {
    /// Names of the parameters, in the order of a row's values.
    pub names: Vec<String>,
    /// Sets of the space.
    pub sets: u64,
    /// Sets tried.
    pub tried: u64,
    /// Bars of each.
    pub bars: u64,
    /// The best sets, best first; empty where all were kept, which [`SweepWatch::row`] got.
    pub rows: Vec<SweepRow>,
    /// The metric over two parameters, where asked for.
    pub surface: Option<Surface>,
    /// Whether a GPU computed it, to the end.
    pub gpu_used: bool,
    /// What computed it: `cpu` or `cuda:N`.
    pub device: String,
    /// How long it took.
    pub computation_seconds: f64,
}

impl SweepRow {
    /// The parameters, in the order of `names`.
    pub fn params(&self, names: &[String]) -> Map<String, Value> {
        names.iter().cloned().zip(self.values.iter().map(|value| space::as_json(*value))).collect()
    }

    /// The row as an object: parameters, then metrics; what has no meaning in the form of `compat`.
    pub fn to_json(&self, names: &[String], compat: Compat) -> Map<String, Value> {
        let metrics = SWEEP_METRICS
            .iter()
            .zip(self.metrics.0)
            .map(|(name, value)| ((*name).to_owned(), serde_json::json!(MetricValue::new(value, compat))));
        let deflated = self.deflated_sharpe_ratio.map(|ratio| ("deflated_sharpe_ratio".to_owned(), Value::from(ratio)));
        self.params(names).into_iter().chain(metrics).chain(deflated).collect()
    }
}

/// Runs a sweep on all cores of the calling rayon pool, or on the GPU.
///
/// # Errors
/// When the request is wrong, the device cannot be had, a row is not taken or the sweep is cancelled.
pub fn run(
    request: &SweepRequest,
    prices: &Prices,
    options: &SweepOptions<'_>,
    watch: &mut dyn SweepWatch,
) -> Result<SweepResult, SweepError> {
    let started = Instant::now();
    let space = request.space()?;
    let tried = Tried::new(&request.search, space.len(), options.max_sets)?;
    let given = given(&request.base.signals, prices, options.sentiment)?;
    let hash = fingerprint(request, prices, given.as_ref());
    let steps = tried.len().saturating_mul(prices.len() as u64);
    let gpu = Gpu::choose(request.base.device, steps)?;
    let mut sweep = Sweep { request, space: &space, prices, given: given.as_ref(), options, watch, hash, gpu };
    let (rows, surface, device) = match request.search {
        Search::Halving { factor, min_bars, .. } => sweep.halve(tried.clone(), factor, min_bars)?,
        Search::Grid | Search::Random { .. } => sweep.whole(&tried)?,
    };
    Ok(SweepResult {
        names: space.names().to_vec(),
        sets: space.len(),
        tried: tried.len(),
        bars: prices.len() as u64,
        rows,
        surface,
        gpu_used: device != "cpu",
        device,
        computation_seconds: started.elapsed().as_secs_f64(),
    })
}

/// The signals of a request that has no strategy.
fn given(
    source: &SignalSource,
    prices: &Prices,
    sentiment: Option<&Signals>,
) -> Result<Option<Signals>, BacktestError> {
    let given = match source {
        SignalSource::Strategy(_) | SignalSource::Orders(_) => None,
        SignalSource::Holding => Some(Signals::holding(prices.len())),
        SignalSource::Columns(signals) => Some(signals.clone()),
        SignalSource::Sentiment(_) => sentiment.cloned(),
    };
    if let Some(signals) = &given {
        signals.check(prices.len())?;
    }
    Ok(given)
}

/// A sweep under way.
struct Sweep<'a> {
    request: &'a SweepRequest,
    space: &'a Space,
    prices: &'a Prices,
    given: Option<&'a Signals>,
    options: &'a SweepOptions<'a>,
    watch: &'a mut dyn SweepWatch,
    hash: u64,
    gpu: Option<Gpu>,
}

/// Rows, surface and the name of the device.
type Kept = (Vec<SweepRow>, Option<Surface>, String);

impl Sweep<'_> {
    /// All sets on all bars.
    fn whole(&mut self, tried: &Tried) -> Result<Kept, SweepError> {
        let mut best = match &self.request.keep {
            Keep::All(_) => None,
            Keep::Top(top) => Some(Best::new(top)),
        };
        let mut surface = self.request.surface.as_ref().map(|surface| SurfaceKeeper::new(surface, self.space));
        let mut evaluator = self.evaluator(self.prices)?;
        let from = self.resumed(&mut evaluator, (&mut best, &mut surface), tried.len())?;
        let mut spread = self.options.resume.map(|checkpoint| Spread::restored(checkpoint.spread)).unwrap_or_default();
        let mut checked: Option<Instant> = None;
        let (hash, width) = (self.hash, self.space.names().len());
        self.through(&mut evaluator, tried, (from, 0, tried.len()), |watch, numbers, batch, next, last| {
            for (index, metrics) in batch.metrics.iter().enumerate() {
                let values = &batch.values[index * width..][..width];
                spread.offer(metrics);
                if let Some(surface) = &mut surface {
                    surface.offer(&batch.positions[index * width..][..width], metrics);
                }
                if let Some(best) = &mut best {
                    best.offer(numbers[index], values, metrics);
                } else {
                    let (set, values, metrics) = (numbers[index], values.to_vec(), *metrics);
                    let row = SweepRow { set, values, metrics, deflated_sharpe_ratio: None };
                    watch.row(row).map_err(SweepError::Row)?;
                }
            }
            if last || checked.is_none_or(|checked| checked.elapsed() >= CHECKPOINT_EVERY) {
                checked = Some(Instant::now());
                let best = best.as_ref().map(Best::sets).unwrap_or_default();
                let surface = surface.as_ref().map(SurfaceKeeper::bits);
                watch.checkpoint(&Checkpoint { fingerprint: hash, next, best, spread: spread.bits(), surface });
            }
            Ok(())
        })?;
        let mut rows = best.map(Best::into_rows).unwrap_or_default();
        if let Some(trials) = spread.trials(evaluator.bars_per_year()) {
            let deflatable = MOST_DEFLATED.min(rows.len());
            let first = &mut rows[..deflatable];
            let values: Vec<&[f64]> = first.iter().map(|row| &row.values[..]).collect();
            let deflated = evaluator.deflated(&values, trials)?;
            for (row, ratio) in first.iter_mut().zip(deflated) {
                row.deflated_sharpe_ratio = ratio.is_finite().then_some(ratio);
            }
        }
        Ok((rows, surface.map(SurfaceKeeper::into_surface), device_of(&evaluator)))
    }

    /// Successive halving: ever fewer sets on ever more bars. The surface shows the last round.
    fn halve(&mut self, tried: Tried, factor: u64, min_bars: usize) -> Result<Kept, SweepError> {
        let Keep::Top(top) = &self.request.keep else {
            return Err(BacktestError::combination("keep", "halving keeps the best").into());
        };
        let plan = rounds(tried.len(), self.prices.len(), factor, (min_bars, top.top));
        let total = plan.iter().map(|(sets, _)| sets).sum();
        let (mut candidates, mut done) = (tried, 0);
        for (round, &(sets, bars)) in plan.iter().enumerate() {
            let last = round + 1 == plan.len();
            let prices = self.prices.slice(0..bars);
            let keep = if last { top.top } else { usize::try_from(plan[round + 1].0).unwrap_or(usize::MAX) };
            let mut best = Best::new(&Top { top: keep, ..top.clone() });
            let surface = self.request.surface.as_ref().filter(|_| last);
            let mut surface = surface.map(|surface| SurfaceKeeper::new(surface, self.space));
            let width = self.space.names().len();
            let mut evaluator = self.evaluator(&prices)?;
            self.through(&mut evaluator, &candidates, (0, done, total), |_, numbers, batch, _, _| {
                for (index, metrics) in batch.metrics.iter().enumerate() {
                    best.offer(numbers[index], &batch.values[index * width..][..width], metrics);
                    if let Some(surface) = &mut surface {
                        surface.offer(&batch.positions[index * width..][..width], metrics);
                    }
                }
                Ok(())
            })?;
            done += sets;
            let device = device_of(&evaluator);
            self.gpu = evaluator.into_gpu();
            if last {
                return Ok((best.into_rows(), surface.map(SurfaceKeeper::into_surface), device));
            }
            let mut survivors = best.sets();
            survivors.sort_unstable();
            candidates = Tried::Listed(survivors);
        }
        Ok((Vec::new(), None, "cpu".to_owned()))
    }

    fn evaluator<'p>(&mut self, prices: &'p Prices) -> Result<Evaluator<'p>, BacktestError>
    where
        Self: 'p,
    {
        let evaluator = Evaluator::new(self.request, self.space, prices, self.given, self.options.row_memory)?;
        Ok(evaluator.with_gpu(self.gpu.take()))
    }

    /// Evaluates `tried` from a place on, batch by batch. `each` gets what a batch came to, the place after it and
    /// whether the sweep stops there.
    fn through(
        &mut self,
        evaluator: &mut Evaluator<'_>,
        tried: &Tried,
        (from, done, total): (u64, u64, u64),
        mut each: impl FnMut(&mut dyn SweepWatch, &[u64], &Batch, u64, bool) -> Result<(), SweepError>,
    ) -> Result<(), SweepError> {
        let most = match evaluator.gpu() {
            Some(gpu) => gpu.batch_sets(),
            None => (BATCH_STEPS / evaluator.bars().max(1)).clamp(BATCH_SETS.0, BATCH_SETS.1),
        };
        let mut next = from;
        while next < tried.len() {
            let numbers = tried.some(next, most);
            let batch = evaluator.evaluate(&numbers)?;
            next += batch.taken as u64;
            let stop = next < tried.len() && self.watch.cancelled();
            each(self.watch, &numbers, &batch, next, stop || next == tried.len())?;
            self.watch.progress(done + next, total);
            if stop {
                return Err(SweepError::Cancelled { done: done + next, total });
            }
        }
        Ok(())
    }

    /// Takes over what a checkpoint had; the place to go on from.
    fn resumed(
        &mut self,
        evaluator: &mut Evaluator<'_>,
        (best, surface): (&mut Option<Best>, &mut Option<SurfaceKeeper>),
        total: u64,
    ) -> Result<u64, SweepError> {
        let Some(checkpoint) = self.options.resume else { return Ok(0) };
        if checkpoint.fingerprint != self.hash || checkpoint.next > total {
            let reason = "belongs to another request, other bars or other signals";
            return Err(BacktestError::combination("checkpoint", reason).into());
        }
        if let (Some(surface), Some(bits)) = (surface, &checkpoint.surface) {
            surface.restore(bits);
        }
        let width = self.space.names().len();
        let mut left = &checkpoint.best[..];
        while let (Some(best), false) = (best.as_mut(), left.is_empty()) {
            let batch = evaluator.evaluate(&left[..left.len().min(64)])?;
            for (index, metrics) in batch.metrics.iter().enumerate() {
                best.offer(left[index], &batch.values[index * width..][..width], metrics);
            }
            left = &left[batch.taken..];
        }
        Ok(checkpoint.next)
    }
}

fn device_of(evaluator: &Evaluator<'_>) -> String {
    evaluator.gpu().map_or_else(|| "cpu".to_owned(), |gpu| gpu.name().to_owned())
}

/// Sets and bars of each round of halving; the last has all bars, and as many sets as are kept where that is more.
fn rounds(sets: u64, bars: usize, factor: u64, (min_bars, top): (usize, usize)) -> Vec<(u64, usize)> {
    let mut plan = vec![];
    let (mut sets, mut length) = (sets, min_bars.min(bars));
    loop {
        plan.push((sets, length));
        if length == bars {
            return plan;
        }
        length = length.saturating_mul(usize::try_from(factor).unwrap_or(usize::MAX)).min(bars);
        sets = sets.div_ceil(factor).max(top as u64).min(sets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_goes_from_many_sets_on_few_bars_to_few_on_all() {
        assert_eq!(rounds(900, 5000, 3, (500, 10)), [(900, 500), (300, 1500), (100, 4500), (34, 5000)]);
        assert_eq!(rounds(20, 400, 2, (500, 10)), [(20, 400)]);
        assert_eq!(rounds(8, 4000, 2, (1000, 5)), [(8, 1000), (5, 2000), (5, 4000)]);
    }
}
