//! Many columns of given signals on one series of bars, each an account of its own.

use rayon::prelude::*;

use super::super::error::BacktestError;
use super::super::lanes::signals::{Column, Columns, Source};
use super::super::lanes::{self, Sets, Totals};
use super::super::prices::Prices;
use super::super::request::BacktestRequest;
use super::super::run as run_one;
use super::super::signals::Signals;
use super::ground::{Ground, lane_terms};
use super::metrics::SetMetrics;

/// Metrics of each column of `signals` under `request`, whose own signals are not looked at. Columns do not see each
/// other. Uses all cores of the calling rayon pool.
///
/// # Errors
/// As [`run`](run_one) for one column.
pub fn sweep_columns(
    request: &BacktestRequest,
    prices: &Prices,
    signals: &[Signals],
) -> Result<Vec<SetMetrics>, BacktestError> {
    let short_side = signals.first().is_some_and(Signals::has_short_side);
    let ground = Ground::new(request, prices, short_side)?;
    for column in signals {
        column.check(prices.len())?;
    }
    let alone = |column: &Signals| run_one(&ground.base, prices, column).map(|result| SetMetrics::from_result(&result));
    // One kernel trades one way: columns with and without short signals cannot be mixed in it.
    if !ground.wide || signals.iter().any(|column| column.has_short_side() != short_side) {
        return signals.par_iter().map(alone).collect();
    }
    let packed = Columns::packed(prices.len(), signals, |column| Column {
        entries: &column.entries,
        exits: &column.exits,
        short_entries: column.short_entries.as_deref().unwrap_or_default(),
        short_exits: column.short_exits.as_deref().unwrap_or_default(),
    });
    let indices: Vec<u32> = (0..u32::try_from(signals.len()).unwrap_or(u32::MAX)).collect();
    let terms = vec![lane_terms(&ground.base); signals.len()];
    let mut totals = vec![Totals::default(); signals.len()];
    let sets = Sets { terms: &terms, source: Source::Columns(&packed, &indices) };
    lanes::run(&ground.bars.market(), &ground.common, sets, &mut totals);
    totals
        .par_iter()
        .zip(signals)
        .map(|(totals, column)| match ground.metrics(totals) {
            Some(metrics) => Ok(metrics),
            None => alone(column),
        })
        .collect()
}
