//! Walk-forward analysis: parameters are chosen on bars that lie before those they are judged on.

use std::ops::Range;

use serde_json::{Map, Value};

use super::error::BacktestError;
use super::prices::Prices;
use super::result::BacktestResult;
use super::run::run;
use super::signals::Signals;
use super::source::SignalSource;
use super::sweep::{self, Keep, SweepError, SweepOptions, SweepRequest, SweepWatch, Top, is_execution, set_param};

/// Bars to choose on and the bars after them to judge on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Rows to choose on.
    pub train: Range<usize>,
    /// Rows to judge on.
    pub test: Range<usize>,
}

/// Where the training bars of a split begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// A fixed number of bars before the test.
    Rolling,
    /// At the first bar: each split trains on more.
    Anchored,
}

/// Splits of `bars` bars: `train` bars (at least, when anchored), then `test` bars, which follow each other without a gap.
/// What is left at the end is judged with the last split.
///
/// # Errors
/// When a length is 0 or the bars do not hold one split.
pub fn splits(bars: usize, window: Window, train: usize, test: usize) -> Result<Vec<Split>, BacktestError> {
    if train == 0 {
        return Err(BacktestError::parameter("walk_forward.train", train, "at least 1 bar"));
    }
    if test == 0 {
        return Err(BacktestError::parameter("walk_forward.test", test, "at least 1 bar"));
    }
    if train.saturating_add(test) > bars {
        let allowed = format!("with test ({test}) at most the {bars} bars there are");
        return Err(BacktestError::parameter("walk_forward.train", train, &allowed));
    }
    let folds = (bars - train) / test;
    let split = |fold: usize| {
        let begin = train + fold * test;
        let end = if fold + 1 == folds { bars } else { begin + test };
        let first = match window {
            Window::Rolling => begin - train,
            Window::Anchored => 0,
        };
        Split { train: first..begin, test: begin..end }
    };
    Ok((0..folds).map(split).collect())
}

/// What one split chose.
#[derive(Debug, Clone, PartialEq)]
pub struct Fold {
    /// Its bars.
    pub split: Split,
    /// The parameters that were best on the training bars; none where none had a value there.
    pub chosen: Option<Map<String, Value>>,
    /// Their metric on the training bars.
    pub train_metric: Option<f64>,
}

/// The result of a walk.
#[derive(Debug, Clone, PartialEq)]
pub struct WalkForward {
    /// Name of the metric that parameters were chosen by.
    pub metric: String,
    /// Each split's choice.
    pub folds: Vec<Fold>,
    /// The chosen parameters one after the other on the test bars, which none of them was chosen on. A position is carried
    /// from one split to the next.
    pub out_of_sample: BacktestResult,
}

/// Sweeps each split's training bars, and trades the set that is best there (by `keep`) on its test bars. Indicators look
/// back into the training bars; signals of a test bar use nothing that lies after it. `options` bound each sweep.
///
/// # Errors
/// When the request has no strategy, varies settings of the execution or keeps all, there are no splits, or a sweep or the
/// backtest fails.
pub fn walk_forward(
    request: &SweepRequest,
    prices: &Prices,
    splits: &[Split],
    options: &SweepOptions<'_>,
    watch: &mut dyn SweepWatch,
) -> Result<WalkForward, SweepError> {
    let SignalSource::Strategy(strategy) = &request.base.signals else {
        let reason = "walk-forward chooses parameters of a strategy: name one";
        return Err(BacktestError::combination("signals", reason).into());
    };
    let (Some(first), Some(last)) = (splits.first(), splits.last()) else {
        return Err(BacktestError::Empty { field: "walk_forward.splits".to_owned(), reason: "has none" }.into());
    };
    let Keep::Top(top) = &request.keep else {
        let reason = "walk-forward chooses the best: name by which metric";
        return Err(BacktestError::combination("keep", reason).into());
    };
    if let Some(name) = request.params.keys().find(|name| is_execution(name)) {
        let reason = "is no parameter of the strategy; walk-forward trades all splits under the same terms";
        return Err(BacktestError::combination(&format!("params.{name}"), reason).into());
    }
    let one = SweepRequest { keep: Keep::Top(Top { top: 1, ..top.clone() }), surface: None, ..request.clone() };
    let from = first.test.start;
    let bars = last.test.end - from;
    let mut signals = Signals::new(vec![false; bars], vec![false; bars]);
    let mut folds = Vec::with_capacity(splits.len());
    for split in splits {
        let options = SweepOptions { resume: None, ..*options };
        let result = sweep::run(&one, &prices.slice(split.train.clone()), &options, watch)?;
        let best = result.rows.first();
        if let Some(best) = best {
            let mut chosen = strategy.clone();
            for (name, value) in result.names.iter().zip(&best.values) {
                set_param(&mut chosen, name, *value)?;
            }
            let seen = chosen.signals(&prices.slice(split.train.start..split.test.end))?;
            for row in split.test.clone() {
                signals.entries[row - from] = seen.entries[row - split.train.start];
                signals.exits[row - from] = seen.exits[row - split.train.start];
            }
        }
        let train_metric = best.and_then(|row| row.metrics.get(&top.by));
        folds.push(Fold { split: split.clone(), chosen: best.map(|row| row.params(&result.names)), train_metric });
    }
    let out_of_sample = run(&request.base, &prices.slice(from..last.test.end), &signals)?;
    Ok(WalkForward { metric: top.by.clone(), folds, out_of_sample })
}
