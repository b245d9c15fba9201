//! Random configurations with vectorbt's answers, made by `benches/peers/backtest/accuracy.py`.
//!
//! `deploy/backtest-accuracy.sh` (`make bench-peers PEERS=backtest`, `make soak`) makes them and sets
//! `TIDEMILL_VECTORBT_CASES`; without it there is nothing to compare.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use serde::Deserialize;
use serde_json::Value;
use tidemill::backtest::metrics::MetricValue;
use tidemill::backtest::request::Part;
use tidemill::backtest::result::Side;
use tidemill::backtest::{
    Asset, BacktestError, BacktestRequest, BacktestResult, CallSequence, PriceColumns, Prices, Sharing, Signals,
    evaluate, run_columns,
};

use super::golden::{number, numbers};

/// Of orders and values.
const TOLERANCE: f64 = 1e-12;

#[derive(Deserialize)]
struct Case {
    request: Value,
    /// Of a group that shares an account; else prices and signals are the request's.
    #[serde(default)]
    assets: Vec<GroupAsset>,
    #[serde(default)]
    sequence: CallSequence,
    expected: Expected,
}

#[derive(Deserialize)]
struct GroupAsset {
    prices: PriceColumns,
    signals: Signals,
}

impl Case {
    fn run(&self, mut request: BacktestRequest) -> Result<BacktestResult, BacktestError> {
        let checked = |prices| Prices::new(prices).unwrap();
        if let Some(prices) = request.prices.take() {
            return evaluate(&request, &checked(prices), None);
        }
        let prices: Vec<Prices> = self.assets.iter().map(|asset| checked(asset.prices.clone())).collect();
        let assets = prices.iter().zip(&self.assets);
        let assets: Vec<_> =
            assets.map(|(prices, asset)| Asset { name: "one", prices, signals: &asset.signals }).collect();
        run_columns(&request, &assets, Sharing::Shared(self.sequence)).map(|result| result.portfolio)
    }
}

#[derive(Deserialize)]
struct Expected {
    orders: Vec<Vec<Value>>,
    value: Value,
    metrics: BTreeMap<String, Value>,
}

/// How far two numbers are apart beside `scale`.
fn apart(actual: f64, expected: f64, scale: f64) -> f64 {
    if actual == expected || (actual.is_nan() && expected.is_nan()) {
        return 0.0;
    }
    let difference = (actual - expected).abs() / scale;
    if difference.is_nan() { f64::INFINITY } else { difference }
}

/// A drawdown, a loss or a spread of gains in the last digit gives a ratio that says nothing, and none at all in the program
/// whose rounding it spares.
fn over_rounding(name: &str, value: f64) -> bool {
    let ratio =
        matches!(name, "calmar_ratio" | "omega_ratio" | "profit_factor" | "sortino_ratio" | "sqn" | "tail_ratio");
    ratio && value.is_finite() && value.abs() > 1e9
}

/// The size of what a metric is made of, whose digits it has: a mean that nearly cancels, a difference of values or a small
/// rest of a position has fewer of its own.
fn scale_of(name: &str, expected: f64, request: &BacktestRequest, bars: usize) -> f64 {
    const YEAR: f64 = 365.0;
    match name {
        // There is nothing to compare in the 365th power of a return of a handful of bars.
        "alpha" if expected.abs() > 100.0 => f64::INFINITY,
        // A power of the product of returns, or of one return, has so much less of its digits.
        "annualized_return" | "calmar_ratio" => expected.abs().max(10.0) * (10.0 * YEAR / bars as f64).max(1.0),
        "alpha" => expected.abs().max(1.0) * YEAR,
        "expectancy" | "total_fees_paid" | "final_value" => expected.abs().max(request.init_cash),
        // vectorbt rebuilds free cash from its order records; what is left after spending all is a difference of these.
        "max_gross_exposure" => expected.abs().max(100.0) * 10.0,
        // Ratios of means that cancel: of the size of the root of a year where they do not.
        _ => expected.abs().max(10.0) * 10.0,
    }
}

/// How many fewer digits than the account's values returns have, which are relative to the smallest of them: in a value that
/// is next to nothing beside the cash, the rounding of the cash shows.
fn lost_digits(name: &str, values: &[f64], init_cash: f64) -> f64 {
    let of_account = ["final_value", "total_return", "total_fees_paid", "expectancy", "best_trade", "worst_trade"];
    let smallest = values.iter().map(|value| value.abs()).filter(|value| *value > 0.0).fold(init_cash, f64::min);
    let lost = init_cash / smallest;
    if lost > 1e3 && !of_account.contains(&name) { lost } else { 1.0 }
}

/// The first thing in which a result differs; raises the worst differences seen of each metric.
fn difference(case: &Case, worst: &mut BTreeMap<String, f64>) -> Option<String> {
    let mut request: BacktestRequest = serde_json::from_value(case.request.clone()).unwrap();
    request.parts.push(Part::Trades);
    let result = match case.run(request.clone()) {
        Ok(result) => result,
        Err(error) => return Some(error.to_string()),
    };
    let orders = result.orders.unwrap();
    // A trade that gains or loses only rounding is a winner in one program and none in the other.
    let even = result.trades.unwrap().iter().any(|trade| trade.pnl.abs() <= TOLERANCE * trade.size * trade.entry_price);
    for (index, expected) in case.expected.orders.iter().enumerate() {
        let Some(order) = orders.get(index) else { return Some(format!("order {index} is missing: {expected:?}")) };
        let same_bar = order.row as u64 == expected[0].as_u64().unwrap();
        let same_side = (order.side == Side::Sell) == (expected[1] == 1);
        let largest = [order.size, order.price, order.fees]
            .into_iter()
            .zip(&expected[2..])
            .map(|(actual, expected)| apart(actual, number(expected), number(expected).max(1e-6)))
            .fold(0.0, f64::max);
        if !same_bar || !same_side || largest > TOLERANCE * 1e3 {
            return Some(format!("order {index} is {order:?} instead of {expected:?} ({largest:e})"));
        }
    }
    if orders.len() > case.expected.orders.len() {
        return Some(format!("order too many: {:?}", orders[case.expected.orders.len()]));
    }
    let values = result.equity.unwrap().value;
    for (row, (actual, expected)) in values.iter().zip(numbers(&case.expected.value)).enumerate() {
        if apart(*actual, expected, expected.abs().max(request.init_cash)) > TOLERANCE {
            return Some(format!("value {row} is {actual} instead of {expected}"));
        }
    }
    let report = result.metrics.unwrap();
    for (name, expected) in &case.expected.metrics {
        if even && matches!(name.as_str(), "win_rate" | "profit_factor") {
            continue;
        }
        let actual = match report.get(name).unwrap() {
            MetricValue::Number(value) | MetricValue::Special(value) => value,
            MetricValue::Null => return Some(format!("{name} is null")),
        };
        let tiny = |metric: &str| number(&case.expected.metrics[metric]).abs() < TOLERANCE;
        let same = |one: &str, other: f64| (number(&case.expected.metrics[one]) - other).abs() < 1e-9;
        // An account that does as its asset has nothing above it but rounding.
        let follows = same("beta", 1.0) && same("total_return", number(&case.expected.metrics["benchmark_return"]));
        let level = match name.as_str() {
            "calmar_ratio" => tiny("max_drawdown"),
            "omega_ratio" | "sortino_ratio" => tiny("downside_risk"),
            "information_ratio" if follows => true,
            "sharpe_ratio" | "tail_ratio" | "information_ratio" => tiny("annualized_volatility"),
            _ => false,
        };
        if level || over_rounding(name, actual) || over_rounding(name, number(expected)) {
            continue;
        }
        let scale =
            scale_of(name, number(expected), &request, values.len()) * lost_digits(name, &values, request.init_cash);
        let apart = apart(actual, number(expected), scale);
        let worst = worst.entry(name.clone()).or_default();
        if apart > TOLERANCE {
            return Some(format!("{name} is {actual} instead of {expected}"));
        }
        *worst = worst.max(apart);
    }
    None
}

#[test]
fn random_configurations_are_vectorbts() {
    let Some(path) = std::env::var_os("TIDEMILL_VECTORBT_CASES") else {
        println!("skipped: TIDEMILL_VECTORBT_CASES names no file of cases (make bench-peers PEERS=backtest makes one)");
        return;
    };
    let (mut cases, mut orders) = (0, 0);
    let mut worst = BTreeMap::new();
    let mut different = Vec::new();
    for line in BufReader::new(std::fs::File::open(path).unwrap()).lines() {
        let case: Case = serde_json::from_str(&line.unwrap()).unwrap();
        cases += 1;
        orders += case.expected.orders.len();
        if let Some(what) = difference(&case, &mut worst) {
            let mut request = case.request;
            request.as_object_mut().unwrap().retain(|name, _| name != "prices" && name != "signals");
            different.push(format!("case {cases}: {what}\n  {request}"));
        }
    }
    println!(
        "{cases} cases with {orders} orders, {} different; largest relative differences: {worst:?}",
        different.len()
    );
    assert!(cases > 0, "no cases");
    assert!(
        different.is_empty(),
        "{} of {cases} differ\n{}",
        different.len(),
        different[..different.len().min(25)].join("\n")
    );
}
