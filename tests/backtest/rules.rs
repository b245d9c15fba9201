//! What goes beyond vectorbt, and rules that its figures do not show, on prices made for them.

use tidemill::backtest::request::{
    Accumulation, Bootstrap, Compat, Direction, Fill, Limit, Margin, Part, StopExitPrice, Trials,
};
use tidemill::backtest::result::{Order, Side};
use tidemill::backtest::{
    Asset, BacktestRequest, BacktestResult, CallSequence, PriceColumns, Prices, Sharing, SignalSource, Signals, run,
    run_columns,
};

fn request() -> BacktestRequest {
    BacktestRequest {
        parts: vec![Part::Metrics, Part::Equity, Part::Trades, Part::Orders],
        ..BacktestRequest::new(SignalSource::Holding)
    }
}

fn at(bars: usize, rows: &[usize]) -> Vec<bool> {
    (0..bars).map(|row| rows.contains(&row)).collect()
}

/// Bars from (open, high, low, close).
fn bars(rows: &[(f64, f64, f64, f64)]) -> Prices {
    Prices::new(PriceColumns {
        open: Some(rows.iter().map(|row| row.0).collect()),
        high: Some(rows.iter().map(|row| row.1).collect()),
        low: Some(rows.iter().map(|row| row.2).collect()),
        close: rows.iter().map(|row| row.3).collect(),
        ..PriceColumns::default()
    })
    .unwrap()
}

fn fills(result: &BacktestResult) -> Vec<(usize, Side, f64)> {
    result.orders.as_ref().unwrap().iter().map(|order| (order.row, order.side, order.price)).collect()
}

fn metric(result: &BacktestResult, name: &str) -> f64 {
    result.metrics.as_ref().unwrap().get(name).unwrap().number().unwrap()
}

#[test]
fn a_stop_inside_the_bar_is_filled_at_its_price_and_one_behind_the_open_at_the_open() {
    let inside = bars(&[(100.0, 100.0, 100.0, 100.0), (99.0, 101.0, 90.0, 100.0)]);
    let behind = bars(&[(100.0, 100.0, 100.0, 100.0), (92.0, 101.0, 90.0, 100.0)]);
    let signals = Signals::new(at(2, &[0]), at(2, &[]));
    let request = BacktestRequest { sl_stop: Some(0.05), slippage: 0.01, ..request() };
    assert_eq!(fills(&run(&request, &inside, &signals).unwrap())[1], (1, Side::Sell, 95.0));
    assert_eq!(fills(&run(&request, &behind, &signals).unwrap())[1], (1, Side::Sell, 92.0));
    let market = BacktestRequest { stop_exit_price: StopExitPrice::StopMarket, ..request };
    assert_eq!(fills(&run(&market, &inside, &signals).unwrap())[1], (1, Side::Sell, 95.0 * 0.99));
}

#[test]
fn where_both_stops_lie_in_one_bar_the_worse_happened() {
    let prices = bars(&[(100.0, 100.0, 100.0, 100.0), (100.0, 120.0, 80.0, 100.0)]);
    let request = BacktestRequest { sl_stop: Some(0.1), tp_stop: Some(0.1), ..request() };
    let result = run(&request, &prices, &Signals::new(at(2, &[0]), at(2, &[]))).unwrap();
    assert_eq!(fills(&result)[1], (1, Side::Sell, 90.0));
}

#[test]
fn a_trailing_take_profit_lets_gains_run_and_sells_below_the_best() {
    let prices = bars(&[
        (100.0, 100.0, 100.0, 100.0),
        (100.0, 112.0, 100.0, 111.0),
        (111.0, 130.0, 110.0, 129.0),
        (129.0, 129.0, 110.0, 112.0),
    ]);
    let signals = Signals::new(at(4, &[0]), at(4, &[]));
    let plain = BacktestRequest { tp_stop: Some(0.1), ..request() };
    assert_eq!(fills(&run(&plain, &prices, &signals).unwrap())[1], (1, Side::Sell, 100.0 * (1.0 + 0.1)));
    let trailing = BacktestRequest { tp_trail: Some(0.1), ..plain };
    assert_eq!(fills(&run(&trailing, &prices, &signals).unwrap())[1], (3, Side::Sell, 130.0 * (1.0 - 0.1)));
}

#[test]
fn a_limit_entry_waits_for_its_price_expires_and_is_withdrawn_by_an_exit() {
    let prices = bars(&[
        (100.0, 100.0, 100.0, 100.0),
        (100.0, 101.0, 99.0, 100.0),
        (100.0, 100.0, 94.0, 97.0),
        (97.0, 98.0, 96.0, 97.0),
    ]);
    let limit = |valid_bars| BacktestRequest { limit: Some(Limit { offset: 0.05, valid_bars }), ..request() };
    let enter = Signals::new(at(4, &[0]), at(4, &[]));
    assert_eq!(fills(&run(&limit(2), &prices, &enter).unwrap()), [(2, Side::Buy, 95.0)]);
    assert_eq!(fills(&run(&limit(1), &prices, &enter).unwrap()), []);
    let withdrawn = Signals { short_entries: Some(at(4, &[])), ..Signals::new(at(4, &[0]), at(4, &[1])) };
    assert_eq!(fills(&run(&limit(2), &prices, &withdrawn).unwrap()).len(), 1, "an exit without a position is nothing");
}

#[test]
fn leverage_multiplies_gains_and_liquidation_ends_what_the_equity_does_not_cover() {
    let signals = Signals::new(at(3, &[0]), at(3, &[]));
    let request =
        BacktestRequest { margin: Some(Margin { leverage: 4.0, maintenance: 0.1 }), init_cash: 100.0, ..request() };
    let rising = bars(&[(10.0, 10.0, 10.0, 10.0), (10.0, 11.0, 10.0, 11.0), (11.0, 11.0, 11.0, 11.0)]);
    let result = run(&request, &rising, &signals).unwrap();
    assert!((result.final_value - 140.0).abs() < 1e-9, "{}", result.final_value);
    assert!((metric(&result, "max_gross_exposure") - 4.0).abs() < 1e-9);
    // 40 units on 300 borrowed: the equity is a tenth of the worth at 300 / (40 * 0.9).
    let falling = bars(&[(10.0, 10.0, 10.0, 10.0), (10.0, 10.0, 8.0, 9.0), (9.0, 9.0, 9.0, 9.0)]);
    let result = run(&request, &falling, &signals).unwrap();
    let (row, side, price) = fills(&result)[1];
    assert_eq!((row, side), (1, Side::Sell));
    assert!((price - 300.0 / 36.0).abs() < 1e-9, "{price}");
    assert_eq!(metric(&result, "liquidations_count"), 1.0);
    assert!((result.final_value - (40.0 * price - 300.0)).abs() < 1e-9);
    let short = BacktestRequest { direction: Direction::Short, ..request };
    let result = run(&short, &rising, &signals).unwrap();
    assert!((result.final_value - 60.0).abs() < 1e-9, "{}", result.final_value);
}

#[test]
fn a_gap_beyond_liquidation_leaves_a_debt_and_nothing_more_is_bought() {
    let prices = bars(&[(10.0, 10.0, 10.0, 10.0), (5.0, 5.0, 5.0, 5.0), (5.0, 5.0, 5.0, 5.0)]);
    let request = BacktestRequest { margin: Some(Margin { leverage: 4.0, maintenance: 0.1 }), ..request() };
    let result = run(&request, &prices, &Signals::new(at(3, &[0, 2]), at(3, &[]))).unwrap();
    assert_eq!(fills(&result), [(0, Side::Buy, 10.0), (1, Side::Sell, 5.0)]);
    assert!(result.final_value < 0.0);
}

#[test]
fn a_fill_at_the_next_open_uses_nothing_of_its_own_bar() {
    let prices = bars(&[(10.0, 10.0, 10.0, 10.0), (12.0, 13.0, 12.0, 13.0), (14.0, 15.0, 14.0, 15.0)]);
    let request = BacktestRequest { fill: Fill::NextOpen, ..request() };
    let result = run(&request, &prices, &Signals::new(at(3, &[0]), at(3, &[1]))).unwrap();
    assert_eq!(fills(&result), [(1, Side::Buy, 12.0), (2, Side::Sell, 14.0)]);
}

#[test]
fn accumulation_adds_and_takes_away() {
    let prices = Prices::from_close(vec![10.0; 4]).unwrap();
    let request = BacktestRequest { accumulate: Accumulation::Both, size: Some(2.0), ..request() };
    let result = run(&request, &prices, &Signals::new(at(4, &[0, 1]), at(4, &[2]))).unwrap();
    let sizes: Vec<f64> = result.orders.unwrap().iter().map(|order: &Order| order.size).collect();
    assert_eq!(sizes, [2.0, 2.0, 2.0]);
    assert_eq!(result.trades.unwrap().iter().map(|trade| trade.size).collect::<Vec<_>>(), [2.0, 2.0]);
}

#[test]
fn a_metric_without_meaning_is_null_with_its_reason_and_vectorbts_on_request() {
    let prices = Prices::from_close(vec![10.0, 11.0, 12.0]).unwrap();
    let none = Signals::new(vec![false; 3], vec![false; 3]);
    let strict = serde_json::to_value(run(&request(), &prices, &none).unwrap()).unwrap();
    assert!(strict["metrics"]["sharpe_ratio"].is_null());
    assert!(strict["metrics"]["reasons"]["sharpe_ratio"].as_str().unwrap().contains("vary"));
    assert!(strict["metrics"]["reasons"].get("total_return").is_none());
    let theirs = BacktestRequest { compat: Compat::VectorBt, ..request() };
    let theirs = serde_json::to_value(run(&theirs, &prices, &none).unwrap()).unwrap();
    assert_eq!(theirs["metrics"]["sharpe_ratio"], "inf");
    assert_eq!(theirs["metrics"]["win_rate"], "nan");
    let back: BacktestResult = serde_json::from_value(theirs.clone()).unwrap();
    assert_eq!(serde_json::to_value(back).unwrap(), theirs);
}

#[test]
fn an_account_that_assets_share_is_spent_in_the_order_of_the_sequence() {
    let prices = Prices::from_close(vec![10.0, 10.0]).unwrap();
    let signals = Signals::new(at(2, &[0]), at(2, &[]));
    let asset = |name| Asset { name, prices: &prices, signals: &signals };
    let orders = |sequence| {
        let result = run_columns(&request(), &[asset("one"), asset("two")], Sharing::Shared(sequence)).unwrap();
        result.columns.iter().map(|column| column.orders_count).collect::<Vec<_>>()
    };
    assert_eq!(orders(CallSequence::Given), [1, 0]);
    assert_eq!(orders(CallSequence::Reversed), [0, 1]);
    assert_eq!(orders(CallSequence::Random(1)), orders(CallSequence::Random(1)));
}

#[test]
fn what_brings_cash_trades_before_what_needs_it() {
    let prices = Prices::from_close(vec![10.0, 10.0, 10.0]).unwrap();
    let (enters, leaves) = (Signals::new(at(3, &[1]), at(3, &[])), Signals::new(at(3, &[0]), at(3, &[1])));
    let assets = [
        Asset { name: "enters", prices: &prices, signals: &enters },
        Asset { name: "leaves", prices: &prices, signals: &leaves },
    ];
    let orders = |sequence| {
        let result = run_columns(&request(), &assets, Sharing::Shared(sequence)).unwrap();
        result.columns.iter().map(|column| column.orders_count).collect::<Vec<_>>()
    };
    assert_eq!(orders(CallSequence::Given), [0, 2]);
    assert_eq!(orders(CallSequence::Auto), [1, 2]);
}

#[test]
fn bootstrap_intervals_hold_the_metric_and_repeat_with_the_seed() {
    let closes = (0..200).map(|bar| 100.0 + f64::from(bar * 7919 % 13) + f64::from(bar) * 0.1).collect();
    let prices = Prices::from_close(closes).unwrap();
    let bootstrap = |seed| Some(Bootstrap { resamples: 200, block: None, confidence: 0.9, seed });
    let with = |seed| BacktestRequest { bootstrap: bootstrap(seed), ..request() };
    let signals = Signals::holding(200);
    let one = run(&with(1), &prices, &signals).unwrap();
    assert_eq!(one.intervals, run(&with(1), &prices, &signals).unwrap().intervals);
    assert_ne!(one.intervals, run(&with(2), &prices, &signals).unwrap().intervals);
    let interval = one.intervals.iter().find(|interval| interval.metric == "annualized_volatility").unwrap();
    let volatility = metric(&one, "annualized_volatility");
    assert!(interval.lower.number().unwrap() < volatility && volatility < interval.upper.number().unwrap());
}

#[test]
fn more_trials_deflate_the_sharpe_ratio() {
    let closes = (0..200).map(|bar| 100.0 + f64::from(bar * 7919 % 13) + f64::from(bar) * 0.1).collect();
    let prices = Prices::from_close(closes).unwrap();
    let deflated = |count| {
        let trials = Some(Trials { count, sharpe_variance: 0.01 });
        metric(
            &run(&BacktestRequest { trials, ..request() }, &prices, &Signals::holding(200)).unwrap(),
            "deflated_sharpe_ratio",
        )
    };
    assert!(deflated(10.0) > deflated(1000.0));
    assert!((0.0..=1.0).contains(&deflated(10.0)));
}
