//! Strategies as the lanes' rules against the signals that the strategies give.

use tidemill::backtest::request::Compat;
use tidemill::backtest::sweep::{SWEEP_METRICS, SweepOptions, SweepRequest, run};
use tidemill::backtest::{BacktestRequest, evaluate};

use crate::lanes::{scale, special};
use crate::market::{agree, prices};
use crate::rows::Collected;

/// Every row of a sweep against the same backtest asked for alone.
fn rows_are_backtests(strategy: &str, params: &str, extra: &str) {
    let mut random = fastrand::Rng::with_seed(21);
    let missing = strategy != "rsi";
    let prices = prices(&mut random, 700, missing);
    let text = format!(
        r#"{{"signals": {{"strategy": "{strategy}"}}, "params": {params}, "keep": "all", "compat": "vectorbt"{extra}}}"#
    );
    let request: SweepRequest = serde_json::from_str(&text).unwrap();
    let mut rows = Collected::default();
    let result = run(&request, &prices, &SweepOptions::default(), &mut rows).unwrap();
    assert_eq!(rows.rows.len() as u64, result.sets);
    let mut trades = 0.0;
    for row in &rows.rows {
        let mut alone = serde_json::to_value(&request.base).unwrap();
        for (name, value) in result.names.iter().zip(&row.values) {
            // Whole numbers print without a fraction, as counts of bars want them.
            let value: serde_json::Value = value.to_string().parse().unwrap();
            if alone["signals"]["params"].get(name).is_some() {
                alone["signals"]["params"][name] = value;
            } else {
                alone[name] = value;
            }
        }
        let alone: BacktestRequest = serde_json::from_value(alone).unwrap();
        assert_eq!(alone.compat, Compat::VectorBt);
        let report = evaluate(&alone, &prices, None).unwrap().metrics.unwrap();
        for name in SWEEP_METRICS {
            let (ours, theirs) = (row.metrics.get(name).unwrap(), special(report.get(name).unwrap()));
            assert!(agree(ours, theirs, scale(name, 100.0)), "{strategy} {:?}: {name} {ours} or {theirs}", row.values);
        }
        trades += row.metrics.get("trades_count").unwrap();
    }
    assert!(trades > f64::from(u32::try_from(rows.rows.len()).unwrap()), "{strategy} hardly traded: {trades} trades");
}

#[test]
fn crossing_means() {
    let windows = r#"{"fast": {"range": [2, 12, 2]}, "slow": {"range": [2, 12, 2]}}"#;
    rows_are_backtests("ma_crossover", windows, r#", "combine": "combinations", "fees": 0.001"#);
    rows_are_backtests(
        "ma_crossover",
        r#"{"fast": [3, 5], "slow": [5, 20], "fees": [0, 0.001]}"#,
        r#", "direction": "both""#,
    );
}

#[test]
fn relative_strength() {
    let params = r#"{"window": [2, 5, 14], "lower": [20, 30], "upper": [70, 80.5]}"#;
    rows_are_backtests("rsi", params, r#", "fill": "next_open""#);
}

#[test]
fn bands() {
    rows_are_backtests("bollinger", r#"{"window": [5, 20], "alpha": [0.5, 1.25, 2]}"#, r#", "sl_stop": 0.04"#);
}

#[test]
fn convergence() {
    rows_are_backtests("macd", r#"{"fast": [4, 8], "slow": [12, 20], "signal": [3, 9]}"#, r#", "direction": "short""#);
}

#[test]
fn breakouts() {
    rows_are_backtests("breakout", r#"{"window": [3, 10], "exit_window": [2, 7], "tp_stop": [0.02, 0.1]}"#, "");
}

#[test]
fn what_the_lanes_cannot_do_has_the_same_rows() {
    rows_are_backtests("ma_crossover", r#"{"fast": [3, 5], "slow": [9], "size": [0.5, 1]}"#, r#", "accumulate": true"#);
}
