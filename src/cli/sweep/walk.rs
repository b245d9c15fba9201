//! `tidemill sweep --walk-forward`.

use std::ops::Range;

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use super::{Sweep, Watch};
use crate::actors::backtester::sweep::on_cores;
use crate::backtest::Prices;
use crate::backtest::chart::equity_chart;
use crate::backtest::request::Part;
use crate::backtest::sweep::{SweepOptions, SweepRequest};
use crate::backtest::walk_forward::{Fold, Split, WalkForward, walk_forward};
use crate::cli::backtest::{cell, describe};
use crate::cli::exit::Exit;
use crate::cli::output;

/// `TRAIN,TEST` in bars.
pub(super) fn lengths(text: &str) -> Result<(usize, usize), String> {
    let numbers = text.split_once(',').and_then(|(train, test)| {
        let (train, test) = (train.trim().parse().ok()?, test.trim().parse().ok()?);
        Some((train, test))
    });
    numbers.ok_or_else(|| "write two numbers of bars: 500,100".to_owned())
}

impl Sweep {
    /// Chooses split by split, trades and prints.
    pub(super) fn walk(
        &self,
        request: &mut SweepRequest,
        prices: &Prices,
        splits: &[Split],
        (options, threads): (&SweepOptions<'_>, usize),
    ) -> anyhow::Result<Exit> {
        if self.svg.is_some() && !request.base.wants(Part::Equity) {
            request.base.parts.push(Part::Equity);
        }
        let mut watch = Watch::new(None, &[], None)?;
        let walking = || walk_forward(request, prices, splits, options, &mut watch);
        let walk = on_cores(threads, walking).map_err(anyhow::Error::msg)?;
        watch.bar.finish_and_clear();
        let walk = walk.with_context(|| self.file.display().to_string())?;
        if let (Some(path), Some(equity)) = (&self.svg, &walk.out_of_sample.equity) {
            std::fs::write(path, equity_chart(equity, "out of sample")).with_context(|| path.display().to_string())?;
        }
        if self.json {
            output::json(&json!({
                "metric": walk.metric, "folds": folds(&walk, prices), "out_of_sample": walk.out_of_sample,
            }))?;
        } else {
            output::line(table(&walk, prices))?;
            output::line(describe(&serde_json::to_value(&walk.out_of_sample)?))?;
        }
        Ok(Exit::Done)
    }
}

fn folds(walk: &WalkForward, prices: &Prices) -> Vec<Value> {
    let fold = |fold: &Fold| {
        json!({
            "train": ends(prices, &fold.split.train), "test": ends(prices, &fold.split.test),
            "params": fold.chosen, "train_metric": fold.train_metric,
        })
    };
    walk.folds.iter().map(fold).collect()
}

fn table(walk: &WalkForward, prices: &Prices) -> String {
    let between = |rows: &Range<usize>| ends(prices, rows).map(|end| cell(&end)).join(" to ");
    let rows: Vec<Vec<String>> = walk
        .folds
        .iter()
        .map(|fold| {
            let chosen = fold.chosen.iter().flatten().map(|(name, value)| format!("{name} {}", cell(value)));
            let metric = fold.train_metric.map_or(Value::Null, Value::from);
            let chosen = chosen.collect::<Vec<_>>().join(", ");
            vec![between(&fold.split.train), between(&fold.split.test), chosen, cell(&metric)]
        })
        .collect();
    output::table(&["chosen on", "traded on", "chosen", &walk.metric], &rows)
}

/// Times of the first and the last bar; their rows where bars have no times.
fn ends(prices: &Prices, rows: &Range<usize>) -> [Value; 2] {
    [rows.start, rows.end - 1].map(|row| {
        let time = prices.times().and_then(|times| DateTime::from_timestamp_millis(times[row]));
        time.map_or_else(|| Value::from(row), |time| time.to_rfc3339_opts(SecondsFormat::Secs, true).into())
    })
}
