//! Searching a space, keeping the best, stopping and going on.

use std::fmt::Write as _;

use tidemill::backtest::metrics::MetricValue;
use tidemill::backtest::request::Trials;
use tidemill::backtest::sweep::{SweepError, SweepOptions, SweepRequest, SweepResult, SweepRow, Unwatched, run};
use tidemill::backtest::{Prices, evaluate};

use crate::market;
use crate::rows::Collected;

fn request(rest: &str) -> SweepRequest {
    let text = format!(
        r#"{{"signals": {{"strategy": "ma_crossover"}}, "fees": 0.001,
            "params": {{"fast": {{"range": [2, 16]}}, "slow": {{"range": [2, 16]}}, "slippage": [0, 0.001]}}{rest}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn prices() -> Prices {
    market::prices(&mut fastrand::Rng::with_seed(31), 600, false)
}

fn sweep(rest: &str, options: &SweepOptions<'_>) -> SweepResult {
    run(&request(rest), &prices(), options, &mut Unwatched).unwrap()
}

#[test]
fn the_best_are_those_of_all_in_order() {
    let mut all = Collected::default();
    run(&request(r#", "keep": "all""#), &prices(), &SweepOptions::default(), &mut all).unwrap();
    assert_eq!(all.rows.len(), 450);
    assert_eq!(all.progress.last(), Some(&(450, 450)));
    let by = |row: &SweepRow| row.metrics.get("total_return").unwrap();
    let mut sorted = all.rows.clone();
    sorted.sort_by(|one, other| by(other).total_cmp(&by(one)).then(one.set.cmp(&other.set)));
    let best = sweep(r#", "keep": {"top": 7, "by": "total_return"}"#, &SweepOptions::default());
    let plain = best.rows.iter().cloned().map(|row| SweepRow { deflated_sharpe_ratio: None, ..row });
    assert_eq!(plain.collect::<Vec<_>>(), sorted[..7]);
    let worst = sweep(r#", "keep": {"top": 1, "by": "total_return", "order": "ascending"}"#, &SweepOptions::default());
    assert_eq!(by(&worst.rows[0]).to_bits(), by(&sorted[449]).to_bits());
}

#[test]
fn little_memory_for_indicators_changes_nothing() {
    let keep = r#", "keep": {"top": 20, "by": "sharpe_ratio"}"#;
    let options = SweepOptions { row_memory: 1, ..SweepOptions::default() };
    assert_eq!(sweep(keep, &options).rows, sweep(keep, &SweepOptions::default()).rows);
}

#[test]
fn a_stopped_sweep_goes_on_to_the_same_result() {
    let rest = r#", "keep": {"top": 9}, "surface": {"x": "fast", "y": "slow"}"#;
    // So little memory makes batches of few sets, between which a sweep can be stopped.
    let options = SweepOptions { row_memory: 1, ..SweepOptions::default() };
    let whole = sweep(rest, &options);
    let mut first = Collected { stop_after: Some(5), ..Collected::default() };
    let error = run(&request(rest), &prices(), &options, &mut first).unwrap_err();
    let SweepError::Cancelled { done, total } = error else { panic!("{error}") };
    assert!(0 < done && done < total && total == 450, "{done} of {total}");
    let text = serde_json::to_string(&first.checkpoint.unwrap()).unwrap();
    let checkpoint = serde_json::from_str(&text).unwrap();
    let options = SweepOptions { resume: Some(&checkpoint), ..options };
    let mut second = Collected::default();
    let resumed = run(&request(rest), &prices(), &options, &mut second).unwrap();
    assert!(second.progress[0].0 > done, "it began anew");
    assert_eq!(resumed.rows, whole.rows);
    assert_eq!(resumed.surface, whole.surface);
    let other = run(&request(r#", "keep": {"top": 8}"#), &prices(), &options, &mut Unwatched).unwrap_err();
    assert!(other.to_string().starts_with("checkpoint"), "{other}");
}

#[test]
fn a_surface_has_the_best_of_what_it_does_not_show() {
    let result =
        sweep(r#", "surface": {"x": "fast", "y": "slow", "metric": "total_return"}"#, &SweepOptions::default());
    let surface = result.surface.unwrap();
    assert_eq!((surface.x_values.len(), surface.y_values.len(), surface.cells.len()), (15, 15, 225));
    let mut all = Collected::default();
    run(&request(r#", "keep": "all""#), &prices(), &SweepOptions::default(), &mut all).unwrap();
    let best = all
        .rows
        .iter()
        .filter(|row| [row.values[0], row.values[2]].map(f64::to_bits) == [4.0_f64, 9.0].map(f64::to_bits));
    let best = best.map(|row| row.metrics.get("total_return").unwrap()).fold(f64::NEG_INFINITY, f64::max);
    assert_eq!(surface.cells[7 * 15 + 2], Some(best));
}

/// The best of many tries is luck until shown otherwise: the more sets were tried, the less its ratio means.
#[test]
fn the_best_are_deflated_by_what_was_tried() {
    let result = sweep(r#", "keep": {"top": 3}"#, &SweepOptions::default());
    let mut all = Collected::default();
    run(&request(r#", "keep": "all""#), &prices(), &SweepOptions::default(), &mut all).unwrap();
    let ratios = all.rows.iter().filter_map(|row| row.metrics.get("sharpe_ratio")).filter(|ratio| ratio.is_finite());
    let ratios: Vec<f64> = ratios.map(|ratio| ratio / 365.0_f64.sqrt()).collect();
    let count = f64::from(u32::try_from(ratios.len()).unwrap());
    let mean = ratios.iter().sum::<f64>() / count;
    let variance = ratios.iter().map(|ratio| (ratio - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let mut alone = request("").base;
    alone.slippage = result.rows[0].values[1];
    alone.trials = Some(Trials { count, sharpe_variance: variance });
    let (fast, slow) = (result.rows[0].values[0], result.rows[0].values[2]);
    let strategy = serde_json::json!({"strategy": "ma_crossover", "params": {
        "fast": serde_json::from_str::<u32>(&fast.to_string()).unwrap(),
        "slow": serde_json::from_str::<u32>(&slow.to_string()).unwrap()}});
    alone.signals = serde_json::from_value(strategy).unwrap();
    let report = evaluate(&alone, &prices(), None).unwrap().metrics.unwrap();
    let expected = report.get("deflated_sharpe_ratio").and_then(MetricValue::number).unwrap();
    let ours = result.rows[0].deflated_sharpe_ratio.unwrap();
    assert!((ours - expected).abs() <= 1e-9 && 0.0 < ours && ours < 1.0, "{ours} or {expected}");
}

#[test]
fn a_random_search_tries_sets_of_the_grid() {
    let mut all = Collected::default();
    run(&request(r#", "keep": "all""#), &prices(), &SweepOptions::default(), &mut all).unwrap();
    let mut some = Collected::default();
    let rest = r#", "keep": "all", "search": {"random": {"sets": 60, "seed": 5}}"#;
    let result = run(&request(rest), &prices(), &SweepOptions::default(), &mut some).unwrap();
    assert_eq!((result.tried, result.sets, some.rows.len()), (60, 450, 60));
    for row in &some.rows {
        assert_eq!(row, &all.rows[usize::try_from(row.set).unwrap()]);
    }
}

#[test]
fn halving_ends_with_sets_on_all_bars() {
    let rest = r#", "keep": {"top": 5, "by": "total_return"}, "search": {"halving": {"sets": 450, "min_bars": 100}}"#;
    let mut watch = Collected::default();
    let result = run(&request(rest), &prices(), &SweepOptions::default(), &mut watch).unwrap();
    assert_eq!(watch.progress.last(), Some(&(450 + 150 + 50, 450 + 150 + 50)));
    let mut all = Collected::default();
    run(&request(r#", "keep": "all""#), &prices(), &SweepOptions::default(), &mut all).unwrap();
    assert_eq!(result.rows.len(), 5);
    for row in &result.rows {
        assert_eq!(row, &all.rows[usize::try_from(row.set).unwrap()], "a survivor has the metrics of all bars");
    }
}

#[test]
fn requests_that_cannot_be_name_the_field() {
    let refused = |text: &str| {
        let request: SweepRequest = match serde_json::from_str(text) {
            Ok(request) => request,
            Err(error) => return error.to_string(),
        };
        run(&request, &prices(), &SweepOptions::default(), &mut Unwatched).unwrap_err().to_string()
    };
    let of = |params: &str, rest: &str| {
        let mut text = r#"{"signals": {"strategy": "ma_crossover"}, "params": "#.to_owned();
        write!(text, "{params}{rest}}}").unwrap();
        refused(&text)
    };
    let huge =
        of(r#"{"fast": {"range": [1, 1000]}, "slow": {"range": [1, 1000]}, "fees": {"range": [0, 0.9, 0.001]}}"#, "");
    assert!(huge.contains("params") && huge.contains("901000000"), "{huge}");
    assert!(of(r#"{"fast": [2.5]}"#, "").contains("fast"));
    assert!(of(r#"{"fees": [0.1, 1.5]}"#, "").contains("fees"));
    assert!(of(r#"{"window": [5]}"#, "").contains("window"));
    assert!(of(r#"{"fast": [5]}"#, r#", "keep": {"top": 5, "by": "beauty"}"#).contains("keep.by"));
    assert!(of(r#"{"fast": [5]}"#, r#", "keep": {"top": 0}"#).contains("keep.top"));
    assert!(of(r#"{"fast": [5]}"#, r#", "surface": {"x": "fast", "y": "slow"}"#).contains("surface.y"));
    assert!(of(r#"{"fast": [5]}"#, r#", "kep": "all""#).contains("kep"));
    assert!(of("{}", "").contains("params"));
    assert!(of(r#"{"fast": [5]}"#, r#", "device": "cuda:99""#).contains("device"));
    let rsi = r#"{"signals": {"strategy": "rsi"}, "params": {"lower": [20, 60], "upper": [40, 70]}}"#;
    assert!(refused(rsi).contains("signals.params.lower"), "{}", refused(rsi));
}
