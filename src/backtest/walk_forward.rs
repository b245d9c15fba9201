//! Walk-forward analysis: parameters are chosen on bars that lie before those they are judged on.

use std::ops::Range;

use super::error::BacktestError;
use super::metrics::{METRICS, MetricValue};
use super::prices::Prices;
use super::request::{BacktestRequest, Compat, Part};
use super::result::BacktestResult;
use super::run::run;
use super::signals::Signals;
use super::strategies::Strategy;

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
    /// Index of the candidate that was best on the training bars; none when none had a value there.
    pub chosen: Option<usize>,
    /// Its metric on the training bars.
    pub train_metric: Option<f64>,
}

/// The result of a walk.
#[derive(Debug, Clone, PartialEq)]
pub struct WalkForward {
    /// Each split's choice.
    pub folds: Vec<Fold>,
    /// The chosen candidates one after the other on the test bars, which none of them was chosen on.
    pub out_of_sample: BacktestResult,
}

/// Chooses among `candidates` by `metric` (the larger the better) on each split's training bars, and trades the chosen one
/// on its test bars. Indicators look back into the training bars; signals of a test bar use nothing that lies after it.
///
/// # Errors
/// When there are no candidates or splits, no metric of that name, or a backtest fails.
pub fn walk_forward(
    request: &BacktestRequest,
    prices: &Prices,
    (candidates, metric): (&[Strategy], &str),
    splits: &[Split],
) -> Result<WalkForward, BacktestError> {
    let (Some(first), Some(last)) = (splits.first(), splits.last()) else {
        return Err(BacktestError::Empty { field: "walk_forward.splits".to_owned(), reason: "has none" });
    };
    if candidates.is_empty() {
        return Err(BacktestError::Empty { field: "walk_forward.candidates".to_owned(), reason: "has none" });
    }
    if !METRICS.iter().any(|known| known.name == metric) {
        return Err(BacktestError::parameter("walk_forward.metric", metric, "the name of a metric"));
    }
    let from = first.test.start;
    let bars = last.test.end - from;
    let mut signals = Signals::new(vec![false; bars], vec![false; bars]);
    let mut folds = Vec::with_capacity(splits.len());
    for split in splits {
        let best = choose(request, prices, (candidates, metric), split)?;
        if let Some((index, _)) = best {
            let seen = candidates[index].signals(&prices.slice(split.train.start..split.test.end))?;
            for row in split.test.clone() {
                signals.entries[row - from] = seen.entries[row - split.train.start];
                signals.exits[row - from] = seen.exits[row - split.train.start];
            }
        }
        folds.push(Fold {
            split: split.clone(),
            chosen: best.map(|(index, _)| index),
            train_metric: best.map(|(_, value)| value),
        });
    }
    let out_of_sample = run(request, &prices.slice(from..last.test.end), &signals)?;
    Ok(WalkForward { folds, out_of_sample })
}

/// The best candidate on the training bars and its metric.
fn choose(
    request: &BacktestRequest,
    prices: &Prices,
    (candidates, metric): (&[Strategy], &str),
    split: &Split,
) -> Result<Option<(usize, f64)>, BacktestError> {
    let prices = prices.slice(split.train.clone());
    let request =
        BacktestRequest { parts: vec![Part::Metrics], compat: Compat::Strict, bootstrap: None, ..request.clone() };
    let mut best: Option<(usize, f64)> = None;
    for (index, candidate) in candidates.iter().enumerate() {
        let result = run(&request, &prices, &candidate.signals(&prices)?)?;
        let value = result.metrics.and_then(|report| report.get(metric)).and_then(MetricValue::number);
        if let Some(value) = value
            && best.is_none_or(|(_, before)| value > before)
        {
            best = Some((index, value));
        }
    }
    Ok(best)
}
