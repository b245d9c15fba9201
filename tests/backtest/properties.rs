//! What holds whatever the prices, signals and settings are.

use proptest::prelude::*;
use tidemill::backtest::request::{Accumulation, Direction, Margin, OppositeEntry, Part, StopExit};
use tidemill::backtest::result::Side;
use tidemill::backtest::{
    Asset, BacktestRequest, CallSequence, PriceColumns, Prices, Sharing, SignalSource, Signals, run, run_columns,
};

fn prices(bars: usize) -> impl Strategy<Value = Prices> {
    let step = (0.9..1.12_f64, 0.0..0.05_f64, 0.0..0.05_f64, prop::bool::weighted(0.05));
    prop::collection::vec(step, bars).prop_map(|steps| {
        let mut columns =
            PriceColumns { open: Some(vec![]), high: Some(vec![]), low: Some(vec![]), ..Default::default() };
        let mut close = 100.0;
        for (index, (factor, up, down, gap)) in steps.into_iter().enumerate() {
            let open = close;
            close *= factor;
            let gap = gap && index > 0;
            let push = |column: &mut Option<Vec<f64>>, price: f64| {
                column.as_mut().unwrap().push(if gap { f64::NAN } else { price });
            };
            push(&mut columns.open, open);
            push(&mut columns.high, open.max(close) * (1.0 + up));
            push(&mut columns.low, open.min(close) * (1.0 - down));
            columns.close.push(if gap { f64::NAN } else { close });
        }
        Prices::new(columns).unwrap()
    })
}

fn signals(bars: usize) -> impl Strategy<Value = Signals> {
    let marks = || prop::collection::vec(prop::bool::weighted(0.2), bars);
    (marks(), marks(), prop::option::of((marks(), marks()))).prop_map(|(entries, exits, short)| {
        let (short_entries, short_exits) = short.unzip();
        Signals { entries, exits, short_entries, short_exits }
    })
}

fn request() -> impl Strategy<Value = BacktestRequest> {
    let direction = prop_oneof![Just(Direction::Long), Just(Direction::Short), Just(Direction::Both)];
    let accumulate = prop_oneof![3 => Just(Accumulation::Disabled), 1 => Just(Accumulation::Both)];
    let opposite =
        prop_oneof![Just(OppositeEntry::Close), Just(OppositeEntry::ReverseReduce), Just(OppositeEntry::Ignore)];
    let stop_exit = prop_oneof![Just(StopExit::Close), Just(StopExit::Reverse)];
    let stops = (prop::option::of(0.01..0.2_f64), any::<bool>(), prop::option::of(0.01..0.2_f64), stop_exit);
    let costs = (0.0..0.02_f64, 0.0..2.0_f64, 0.0..0.01_f64, prop::option::of(0.1..5.0_f64));
    let margin =
        prop::option::weighted(0.2, (1.0..5.0_f64).prop_map(|leverage| Margin { leverage, maintenance: 0.05 }));
    (direction, accumulate, opposite, stops, costs, margin).prop_map(
        |(direction, accumulate, upon_opposite_entry, stops, (fees, fixed_fees, slippage, size), margin)| {
            BacktestRequest {
                direction,
                accumulate,
                upon_opposite_entry,
                sl_stop: stops.0,
                sl_trail: stops.1 && stops.0.is_some(),
                tp_stop: stops.2,
                upon_stop_exit: stops.3,
                fees,
                fixed_fees,
                slippage,
                size,
                margin,
                parts: vec![Part::Metrics, Part::Equity, Part::Trades, Part::Orders],
                ..BacktestRequest::new(SignalSource::Holding)
            }
        },
    )
}

const BARS: usize = 40;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Cash and position rebuilt from the orders alone give the value of every bar: no cash comes from nowhere.
    #[test]
    fn every_value_follows_from_the_orders((request, prices, signals) in (request(), prices(BARS), signals(BARS))) {
        let result = run(&request, &prices, &signals).unwrap();
        let (orders, values) = (result.orders.unwrap(), result.equity.unwrap().value);
        let (mut cash, mut position, mut close) = (request.init_cash, 0.0, f64::NAN);
        let mut orders = orders.iter().peekable();
        for (row, value) in values.iter().enumerate() {
            if !prices.close()[row].is_nan() {
                close = prices.close()[row];
            }
            while let Some(order) = orders.next_if(|order| order.row == row) {
                let sign = if order.side == Side::Buy { 1.0 } else { -1.0 };
                prop_assert!(order.size > 0.0 && order.price > 0.0 && order.fees >= 0.0);
                cash -= sign * order.size * order.price + order.fees;
                position += sign * order.size;
            }
            let worth = if position == 0.0 { 0.0 } else { position * close };
            prop_assert!((cash + worth - value).abs() <= 1e-9 * request.init_cash.max(value.abs()), "bar {row}");
            if request.margin.is_none() {
                prop_assert!(cash >= -1e-9 * request.init_cash, "bar {row}: cash {cash}");
            }
        }
        prop_assert!(orders.next().is_none());
    }

    /// The gains of all trades are the gain of the account.
    #[test]
    fn gains_of_trades_add_up((request, prices, signals) in (request(), prices(BARS), signals(BARS))) {
        let result = run(&request, &prices, &signals).unwrap();
        let trades = result.trades.unwrap();
        let sum: f64 = trades.iter().map(|trade| trade.pnl).sum();
        let scale: f64 = request.init_cash + trades.iter().map(|trade| trade.size * trade.entry_price).sum::<f64>();
        prop_assert!((sum - (result.final_value - request.init_cash)).abs() <= 1e-9 * scale);
    }

    /// What happens later changes nothing before.
    #[test]
    fn the_future_changes_nothing(
        (request, prices, signals) in (request(), prices(BARS), signals(BARS)),
        cut in 1..BARS,
    ) {
        let whole = run(&request, &prices, &signals).unwrap();
        let part = |column: &[bool]| column[..cut].to_vec();
        let seen = Signals {
            entries: part(&signals.entries),
            exits: part(&signals.exits),
            short_entries: signals.short_entries.as_deref().map(part),
            short_exits: signals.short_exits.as_deref().map(part),
        };
        let past = run(&request, &prices.slice(0..cut), &seen).unwrap();
        prop_assert_eq!(&whole.equity.unwrap().value[..cut], &past.equity.unwrap().value[..]);
    }

    /// Assets with cash of their own know nothing of each other.
    #[test]
    fn the_order_of_assets_changes_nothing(
        request in request(),
        data in prop::collection::vec((prices(BARS), signals(BARS)), 2..4),
    ) {
        let names = ["a", "b", "c"];
        let assets: Vec<Asset<'_>> = data
            .iter()
            .zip(names)
            .map(|((prices, signals), name)| Asset { name, prices, signals })
            .collect();
        let reversed: Vec<Asset<'_>> = assets.iter().rev().copied().collect();
        let one = run_columns(&request, &assets, Sharing::Separate).unwrap();
        let other = run_columns(&request, &reversed, Sharing::Separate).unwrap();
        for (column, mirrored) in one.columns.iter().zip(other.columns.iter().rev()) {
            let (column, mirrored) = (column.result.as_ref().unwrap(), mirrored.result.as_ref().unwrap());
            prop_assert_eq!(&column.equity, &mirrored.equity);
            prop_assert_eq!(&column.orders, &mirrored.orders);
        }
        let difference = (one.portfolio.final_value - other.portfolio.final_value).abs();
        prop_assert!(difference <= 1e-9 * one.portfolio.final_value.abs().max(request.init_cash));
    }

    /// One asset in a shared account is that asset alone.
    #[test]
    fn an_account_shared_with_nobody_is_ones_own((request, prices, signals) in (request(), prices(BARS), signals(BARS))) {
        let request = BacktestRequest { margin: None, ..request };
        let alone = run(&request, &prices, &signals).unwrap();
        let asset = Asset { name: "one", prices: &prices, signals: &signals };
        for sequence in [CallSequence::Given, CallSequence::Auto] {
            let shared = run_columns(&request, &[asset], Sharing::Shared(sequence)).unwrap().portfolio;
            prop_assert_eq!(&alone.orders, &shared.orders);
            prop_assert_eq!(&alone.equity, &shared.equity);
        }
    }
}
