//! Bad input gets an error that names field and row, or the documented rule of missing values; never a silent number.

use serde_json::{Value, json};
use tidemill::backtest::prices::PriceColumns;
use tidemill::backtest::{BacktestError, BacktestRequest, Prices, Signals, evaluate};

fn prices(columns: Value) -> Result<Prices, BacktestError> {
    Prices::new(serde_json::from_value::<PriceColumns>(columns).unwrap())
}

#[test]
fn a_price_that_is_none_is_named_with_its_row() {
    for wrong in [0.0, -1.0, f64::INFINITY, f64::NEG_INFINITY] {
        let error = Prices::from_close(vec![1.0, 2.0, wrong]).unwrap_err();
        assert_eq!((error.field(), error.row()), ("prices.close", Some(2)), "{wrong}");
        assert!(error.to_string().starts_with("prices.close[2] is "), "{error}");
    }
    for field in ["open", "high", "low"] {
        let mut columns = json!({ "close": [1.0, 2.0] });
        columns[field] = json!([1.0, -2.0]);
        let error = prices(columns).unwrap_err();
        assert_eq!((error.field(), error.row()), (format!("prices.{field}").as_str(), Some(1)));
    }
    assert_eq!(prices(json!({ "close": [1.0], "volume": [-1.0] })).unwrap_err().field(), "prices.volume");
}

#[test]
fn a_bar_whose_extremes_do_not_hold_its_prices_is_named() {
    let error = prices(json!({ "close": [1.0, 2.0], "low": [1.0, 2.5] })).unwrap_err();
    assert_eq!((error.field(), error.row()), ("prices.low", Some(1)));
    let error = prices(json!({ "open": [1.0, 3.0], "close": [1.0, 2.0], "high": [1.0, 2.5] })).unwrap_err();
    assert_eq!((error.field(), error.row()), ("prices.high", Some(1)));
}

#[test]
fn nothing_to_trade_is_an_error() {
    assert_eq!(Prices::from_close(vec![]).unwrap_err().field(), "prices.close");
    assert!(prices(json!({ "close": [null, null] })).unwrap_err().to_string().contains("no bar with a price"));
}

#[test]
fn a_missing_price_is_valued_at_the_one_before_and_does_not_trade() {
    let prices = prices(json!({ "close": [null, 10.0, null, 12.0] })).unwrap();
    let request = request(json!({ "signals": "holding", "return": ["equity", "orders"] }));
    let result = evaluate(&request, &prices, None).unwrap();
    assert_eq!(result.equity.unwrap().value, [100.0, 100.0, 100.0, 120.0]);
    assert_eq!(result.orders.unwrap()[0].row, 1);
}

#[test]
fn one_bar_has_no_ratios_but_says_why() {
    let result = evaluate(&request(json!({ "signals": "holding" })), &Prices::from_close(vec![10.0]).unwrap(), None);
    let metrics = result.unwrap().metrics.unwrap();
    assert_eq!(metrics.get("sharpe_ratio").unwrap().number(), None);
    assert!(metrics.reasons["sharpe_ratio"].contains("fewer than two"));
    assert_eq!(metrics.get("total_return").unwrap().number(), Some(0.0));
}

fn times(days: &[i64]) -> Vec<i64> {
    days.iter().map(|day| day * 86_400_000).collect()
}

fn with_times(days: &[i64]) -> Result<Prices, BacktestError> {
    let close = vec![1.0; days.len()];
    Prices::with_times(times(days), PriceColumns { close, ..PriceColumns::default() })
}

#[test]
fn times_out_of_order_and_doubled_ones_are_named() {
    let error = with_times(&[1, 3, 2]).unwrap_err();
    assert_eq!((error.field(), error.row()), ("prices.ts", Some(2)));
    assert!(error.to_string().contains("1970-01-03"), "{error}");
    let error = with_times(&[1, 2, 2]).unwrap_err();
    assert!(error.to_string().contains("doubles"), "{error}");
}

#[test]
fn gaps_are_allowed_and_mixed_intervals_are_not() {
    let weekends = with_times(&[0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 14]).unwrap();
    let daily = request(json!({ "signals": "holding", "frequency": "1d" }));
    assert!(evaluate(&daily, &weekends, None).is_ok());
    let hourly = request(json!({ "signals": "holding", "frequency": "7d" }));
    let error = evaluate(&hourly, &weekends, None).unwrap_err();
    assert_eq!((error.field(), error.row()), ("prices.ts", Some(1)));
    let weekly_after: Vec<i64> = (0..5).chain((1..12).map(|week| 4 + 7 * week)).collect();
    let error = evaluate(&daily, &with_times(&weekly_after).unwrap(), None).unwrap_err();
    assert_eq!((error.field(), error.row()), ("prices.ts", Some(5)));
}

#[test]
fn columns_of_different_lengths_are_named() {
    let error = prices(json!({ "close": [1.0, 2.0], "open": [1.0] })).unwrap_err();
    assert_eq!((error.field(), error.row()), ("prices.open", Some(1)));
    let signals = Signals::new(vec![true; 3], vec![false; 2]);
    let prices = Prices::from_close(vec![1.0, 2.0]).unwrap();
    let error = tidemill::backtest::run(&request(json!({ "signals": "holding" })), &prices, &signals).unwrap_err();
    assert_eq!(error.to_string(), "signals.entries has 3 rows where prices.close has 2");
}

fn parse(body: Value) -> Result<BacktestRequest, serde_json::Error> {
    serde_json::from_value(body)
}

fn request(body: Value) -> BacktestRequest {
    parse(body).unwrap()
}

#[test]
fn settings_out_of_range_are_named() {
    let prices = Prices::from_close(vec![1.0, 2.0]).unwrap();
    for (field, value) in [
        ("fees", json!(1.5)),
        ("fees", json!(-0.1)),
        ("slippage", json!(2.0)),
        ("fixed_fees", json!(-1.0)),
        ("init_cash", json!(0.0)),
        ("size", json!(-1.0)),
        ("size", json!(0.0)),
        ("max_size", json!(0.0)),
        ("sl_stop", json!(0.0)),
        ("tp_stop", json!(-0.1)),
        ("required_return", json!(-2.0)),
        ("margin.leverage", json!(null)),
        ("limit.valid_bars", json!(null)),
        ("bootstrap.resamples", json!(null)),
        ("trials.count", json!(null)),
    ] {
        let mut body = json!({ "signals": "holding" });
        match field {
            "margin.leverage" => body["margin"] = json!({ "leverage": 0.5, "maintenance": 0.1 }),
            "limit.valid_bars" => body["limit"] = json!({ "offset": 0.1, "valid_bars": 0 }),
            "bootstrap.resamples" => body["bootstrap"] = json!({ "resamples": 1 }),
            "trials.count" => body["trials"] = json!({ "count": 0.0, "sharpe_variance": 1.0 }),
            field => body[field] = value,
        }
        let error = evaluate(&request(body), &prices, None).unwrap_err();
        assert_eq!(error.field(), field, "{error}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_named() {
    let prices = Prices::from_close(vec![1.0, 2.0]).unwrap();
    for (field, extra) in [
        ("sl_trail", json!({ "sl_trail": true })),
        ("tp_trail", json!({ "tp_trail": 0.1 })),
        ("fill", json!({ "fill": "next_open" })),
        ("size_type", json!({ "size_type": "target_percent", "size": 0.5 })),
        ("lock_cash", json!({ "lock_cash": true, "margin": { "leverage": 2.0, "maintenance": 0.1 } })),
        ("signals", json!({ "signals": "sentiment" })),
        ("sl_stop", json!({ "signals": { "orders": { "size": [1.0, null] } }, "sl_stop": 0.1 })),
    ] {
        let mut body = json!({ "signals": "holding" });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let error = evaluate(&request(body), &prices, None).unwrap_err();
        assert_eq!(error.field(), field, "{error}");
    }
}

#[test]
fn unknown_keys_and_names_are_named() {
    for (body, named) in [
        (json!({ "signals": "holding", "feess": 0.1 }), "feess"),
        (json!({ "signals": "nonsense" }), "nonsense"),
        (json!({ "signals": { "strategy": "magic" } }), "magic"),
        (json!({ "signals": { "strategy": "rsi", "params": { "windw": 3 } } }), "windw"),
        (json!({ "signals": { "entries": [true], "exit": [true] } }), "exit"),
        (json!({ "signals": { "strategy": "rsi", "parms": {} } }), "parms"),
        (json!({ "signals": "holding", "frequency": "1 fortnight" }), "1 fortnight"),
        (json!({ "signals": "holding", "device": "tpu" }), "tpu"),
        (json!({ "signals": "holding", "accumulate": "some" }), "add_only"),
        (json!({ "signals": "holding", "calendar": "moon" }), "moon"),
        (json!({ "signals": "holding", "prices": { "close": [1.0], "clsoe": [1.0] } }), "clsoe"),
        (json!({}), "signals"),
    ] {
        let error = parse(body.clone()).unwrap_err().to_string();
        assert!(error.contains(named), "{body}: {error}");
    }
    let wrong_window = json!({ "signals": { "strategy": "ma_crossover", "params": { "fast": 0 } } });
    let error = evaluate(&request(wrong_window), &Prices::from_close(vec![1.0]).unwrap(), None).unwrap_err();
    assert_eq!(error.field(), "signals.params.fast");
}

#[test]
fn a_request_survives_being_written_as_json_and_toml() {
    let body = json!({
        "signals": { "strategy": "macd", "params": { "fast": 3, "slow": 6, "signal": 2 } },
        "direction": "both", "fees": 0.001, "size": 2.0, "accumulate": true, "sl_stop": 0.1, "frequency": "15m",
        "calendar": { "days_per_year": 250.0, "session": "6h15m" }, "device": "cuda:1", "compat": "vectorbt",
        "prices": { "ts": ["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"], "close": [1.0, null] }
    });
    let request = request(body);
    let text = serde_json::to_string(&request).unwrap();
    let again: BacktestRequest = serde_json::from_str(&text).unwrap();
    // A missing close is NaN, which is not equal to itself.
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
    let file = "init_cash = 1000.0\nfees = 0.001\nyear = \"252d\"\nsignals = { strategy = \"rsi\", params = { window = 7 } }\n";
    let request: BacktestRequest = toml::from_str(file).unwrap();
    assert_eq!(request.year.to_string(), "252d");
}
