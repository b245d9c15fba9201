//! Every case of `golden_vectorbt.json`: figures of vectorbt 1.2.0 to 1e-12 relative.

use serde_json::Value;
use tidemill::backtest::metrics::{METRICS, MetricValue, ReturnSettings, ReturnStatistics};
use tidemill::backtest::orders::Orders;
use tidemill::backtest::request::{Compat, ConflictMode, Direction, Part, SizeType};
use tidemill::backtest::result::{Side, TradeDirection, TradeStatus};
use tidemill::backtest::{BacktestRequest, BacktestResult, Prices, SignalSource, Signals, evaluate};

const TOLERANCE: f64 = 1e-12;

pub fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/golden_vectorbt.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub fn number(value: &Value) -> f64 {
    match value {
        Value::Number(number) => number.as_f64().unwrap(),
        Value::String(text) => text.parse().unwrap(),
        Value::Null => f64::NAN,
        other => panic!("{other} is no number"),
    }
}

pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

pub fn assert_close(what: &str, actual: f64, expected: f64) {
    let same = actual == expected
        || (actual.is_nan() && expected.is_nan())
        || (actual - expected).abs() <= TOLERANCE * expected.abs().max(f64::MIN_POSITIVE);
    assert!(same, "{what}: {actual} instead of {expected}");
}

fn marks(bars: usize, at: &[usize]) -> Vec<bool> {
    (0..bars).map(|row| at.contains(&row)).collect()
}

/// The signals of the golden cases, with more exits where a case has them.
fn signals(golden: &Value, more_exits: &[usize]) -> SignalSource {
    let at = |name: &str| -> Vec<usize> { serde_json::from_value(golden[name].clone()).unwrap() };
    let bars = golden["price"].as_array().unwrap().len();
    let exits = [at("exits_at"), more_exits.to_vec()].concat();
    SignalSource::Columns(Signals::new(marks(bars, &at("entries_at")), marks(bars, &exits)))
}

fn request(golden: &Value, name: &str) -> BacktestRequest {
    let with_conflict = |mode| BacktestRequest {
        upon_long_conflict: mode,
        ..BacktestRequest::new(SignalSource::Columns(Signals::new(marks(20, &[1, 3, 8, 14]), marks(20, &[3, 5, 12]))))
    };
    let plain = BacktestRequest::new(signals(golden, &[]));
    let base = match name {
        "signals_long_nofee" => plain,
        "signals_long_fee10bp_slip5bp" => BacktestRequest { fees: 0.001, slippage: 0.0005, ..plain },
        "signals_both_fee10bp" => BacktestRequest { fees: 0.001, direction: Direction::Both, ..plain },
        "signals_shortonly_fee10bp" => BacktestRequest { fees: 0.001, direction: Direction::Short, ..plain },
        "holding_fee10bp" => BacktestRequest { fees: 0.001, ..BacktestRequest::new(SignalSource::Holding) },
        "holding_nan_first" => BacktestRequest::new(SignalSource::Holding),
        "signals_fixedfee1_size0.5" => BacktestRequest { fixed_fees: 1.0, size: Some(0.5), ..plain },
        "signals_sl3pct" => BacktestRequest { sl_stop: Some(0.03), ..plain },
        "signals_trail3pct" => BacktestRequest { sl_stop: Some(0.03), sl_trail: true, ..plain },
        "signals_tp5pct" => BacktestRequest { tp_stop: Some(0.05), ..plain },
        "no_trades" => BacktestRequest::new(SignalSource::Columns(Signals::new(vec![false; 20], vec![false; 20]))),
        "orders_targetpercent" => {
            let mut size = vec![f64::NAN; 20];
            for (row, target) in [(0, 1.0), (5, 0.5), (10, -0.5), (15, 0.0)] {
                size[row] = target;
            }
            BacktestRequest {
                fees: 0.001,
                direction: Direction::Both,
                size_type: SizeType::TargetPercent,
                ..BacktestRequest::new(SignalSource::Orders(Orders { size, price: None }))
            }
        }
        "conflict_ignore" => with_conflict(ConflictMode::Ignore),
        "conflict_exit" => with_conflict(ConflictMode::Exit),
        other => panic!("no request for case {other}"),
    };
    BacktestRequest {
        compat: Compat::VectorBt,
        parts: vec![Part::Metrics, Part::Equity, Part::Trades, Part::Orders],
        ..base
    }
}

fn compare_orders(name: &str, result: &BacktestResult, case: &Value) {
    let (orders, expected) = (result.orders.as_ref().unwrap(), case["orders"].as_array().unwrap());
    assert_eq!(orders.len(), expected.len(), "{name}: orders");
    for (index, (order, expected)) in orders.iter().zip(expected).enumerate() {
        let what = |field: &str| format!("{name}: order {index} {field}");
        assert_eq!(order.row as u64, expected["idx"].as_u64().unwrap(), "{}", what("row"));
        assert_eq!(order.side == Side::Sell, expected["side"] == 1, "{}", what("side"));
        assert_close(&what("size"), order.size, number(&expected["size"]));
        assert_close(&what("price"), order.price, number(&expected["price"]));
        assert_close(&what("fees"), order.fees, number(&expected["fees"]));
    }
}

fn compare_trades(name: &str, result: &BacktestResult, case: &Value) {
    let Some(expected) = case["trades"].as_array() else { return };
    let trades = result.trades.as_ref().unwrap();
    assert_eq!(trades.len(), expected.len(), "{name}: trades");
    for (index, (trade, expected)) in trades.iter().zip(expected).enumerate() {
        let what = |field: &str| format!("{name}: trade {index} {field}");
        assert_eq!(trade.entry_row as u64, expected["entry_idx"].as_u64().unwrap(), "{}", what("entry"));
        assert_eq!(trade.exit_row as u64, expected["exit_idx"].as_u64().unwrap(), "{}", what("exit"));
        assert_eq!(trade.direction == TradeDirection::Short, expected["direction"] == 1, "{}", what("direction"));
        assert_eq!(trade.status == TradeStatus::Closed, expected["status"] == 1, "{}", what("status"));
        for (field, value) in [
            ("size", trade.size),
            ("entry_price", trade.entry_price),
            ("entry_fees", trade.entry_fees),
            ("exit_price", trade.exit_price),
            ("exit_fees", trade.exit_fees),
        ] {
            assert_close(&what(field), value, number(&expected[field]));
        }
        // Gains are small differences of values: they have the digits of the values.
        let worth = trade.size * trade.entry_price;
        assert!((trade.pnl - number(&expected["pnl"])).abs() <= TOLERANCE * worth, "{}", what("pnl"));
        assert!((trade.return_ratio - number(&expected["return"])).abs() <= TOLERANCE, "{}", what("return"));
    }
}

fn compare_metrics(name: &str, result: &BacktestResult, case: &Value) {
    let report = result.metrics.as_ref().unwrap();
    let value = |metric: &str| match report.get(metric).unwrap() {
        MetricValue::Number(value) | MetricValue::Special(value) => value,
        MetricValue::Null => panic!("{name}: {metric} is null in vectorbt's form"),
    };
    let mut compared = 0;
    for metric in METRICS {
        if let Some(expected) = case.get(metric.name) {
            assert_close(&format!("{name}: {}", metric.name), value(metric.name), number(expected));
            compared += 1;
        }
    }
    assert!(compared >= 1, "{name}: no metric in common");
    let Some(stats) = case.get("stats") else { return };
    let days = |label: &str| {
        let text = stats[label].as_str().unwrap();
        let Some((days, clock)) = text.split_once(" days ") else { return f64::NAN };
        let parts: Vec<f64> = clock.split(':').map(|part| part.parse().unwrap()).collect();
        days.parse::<f64>().unwrap() + parts[0] / 24.0 + parts[1] / 1440.0 + parts[2] / 86400.0
    };
    for (label, metric, factor) in [
        ("Total Fees Paid", "total_fees_paid", 1.0),
        ("Benchmark Return [%]", "benchmark_return", 100.0),
        ("Max Gross Exposure [%]", "max_gross_exposure", 100.0),
        ("Total Trades", "trades_count", 1.0),
        ("Total Closed Trades", "closed_trades_count", 1.0),
        ("Total Open Trades", "open_trades_count", 1.0),
        ("Win Rate [%]", "win_rate", 100.0),
        ("Best Trade [%]", "best_trade", 100.0),
        ("Worst Trade [%]", "worst_trade", 100.0),
        ("Avg Winning Trade [%]", "avg_winning_trade", 100.0),
        ("Avg Losing Trade [%]", "avg_losing_trade", 100.0),
        ("Profit Factor", "profit_factor", 1.0),
        ("Expectancy", "expectancy", 1.0),
        ("Sharpe Ratio", "sharpe_ratio", 1.0),
        ("Sortino Ratio", "sortino_ratio", 1.0),
        ("Calmar Ratio", "calmar_ratio", 1.0),
        ("Omega Ratio", "omega_ratio", 1.0),
    ] {
        assert_close(&format!("{name}: {label}"), value(metric) * factor, number(&stats[label]));
    }
    for (label, metric) in [
        ("Max Drawdown Duration", "max_drawdown_duration"),
        ("Avg Winning Trade Duration", "avg_winning_trade_duration"),
        ("Avg Losing Trade Duration", "avg_losing_trade_duration"),
    ] {
        assert_close(&format!("{name}: {label}"), value(metric), days(label));
    }
}

#[test]
fn every_portfolio_is_vectorbts() {
    let golden = golden();
    let cases = golden["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 14);
    for (name, case) in cases {
        let mut price = numbers(&golden["price"]);
        if name == "holding_nan_first" {
            price[0] = f64::NAN;
        }
        let prices = Prices::from_close(price).unwrap();
        let result = evaluate(&request(&golden, name), &prices, None).unwrap();
        compare_orders(name, &result, case);
        compare_trades(name, &result, case);
        compare_metrics(name, &result, case);
        for (row, (value, expected)) in
            result.equity.as_ref().unwrap().value.iter().zip(numbers(&case["value"])).enumerate()
        {
            // The figures were rounded to ten digits.
            assert!((value - expected).abs() < 1e-9, "{name}: value {row}: {value} instead of {expected}");
        }
    }
}

#[test]
fn returns_alone_have_vectorbts_statistics() {
    let golden = golden();
    let one_year = |bars_per_year| ReturnSettings { bars_per_year, risk_free: 0.0, required_return: 0.0, trials: None };
    let edge = |returns: Vec<f64>| (returns, one_year(365.0));
    for (name, (returns, settings)) in [
        ("returns_case", (numbers(&golden["returns_case"]["returns"]), one_year(252.0))),
        ("returns_edge_all_zero", edge(vec![0.0; 4])),
        ("returns_edge_const_pos", edge(vec![0.01; 4])),
        ("returns_edge_one", edge(vec![0.01])),
    ] {
        let statistics = ReturnStatistics::new(&returns, None, &settings);
        for (field, value) in [
            ("total", statistics.total),
            ("annualized", statistics.annualized_return),
            ("annualized_volatility", statistics.annualized_volatility),
            ("sharpe_ratio", statistics.sharpe_ratio),
            ("sortino_ratio", statistics.sortino_ratio),
            ("calmar_ratio", statistics.calmar_ratio),
            ("omega_ratio", statistics.omega_ratio),
            ("max_drawdown", statistics.max_drawdown),
            ("downside_risk", statistics.downside_risk),
            ("value_at_risk", statistics.value_at_risk),
            ("cond_value_at_risk", statistics.cond_value_at_risk),
            ("tail_ratio", statistics.tail_ratio),
        ] {
            if let Some(expected) = golden[name].get(field) {
                assert_close(&format!("{name}: {field}"), value, number(expected));
            }
        }
    }
}
