//! The lanes: every width gives the same bits, and all of them what the engine for one set gives.

use tidemill::backtest::lanes::signals::{Column, Columns, Source};
use tidemill::backtest::lanes::{BLOCK, Common, Market, Sets, Terms, Totals, Way, Width, run_block, words_of};
use tidemill::backtest::request::{Compat, Direction, Part};
use tidemill::backtest::sweep::{All, Combine, Keep, SWEEP_METRICS, Search, SweepOptions, SweepRequest, Values, run};
use tidemill::backtest::{SignalSource, run as run_one};

use crate::market::{agree, prices, request, signals};
use crate::rows::Collected;

#[test]
fn every_width_gives_the_same_bits() {
    let mut random = fastrand::Rng::with_seed(11);
    for case in 0..24 {
        let bars = random.usize(1..1400);
        let market = prices(&mut random, bars, false);
        let sets = random.usize(1..=BLOCK);
        let mut columns = Columns::new(bars);
        for _ in 0..sets {
            let given = signals(&mut random, bars, 12, true);
            columns.push(Column {
                entries: &given.entries,
                exits: &given.exits,
                short_entries: given.short_entries.as_deref().unwrap(),
                short_exits: given.short_exits.as_deref().unwrap(),
            });
        }
        let stops = case % 2 == 1;
        let terms: Vec<Terms> = (0..sets)
            .map(|_| Terms {
                fees: 0.001 * random.f64(),
                slippage: 0.001 * random.f64(),
                stop_loss: stops.then(|| 0.02 + 0.05 * random.f64()),
                trailing: random.bool(),
                ..Terms::default()
            })
            .collect();
        let indices: Vec<u32> = (0..u32::try_from(sets).unwrap()).collect();
        let tradable = words_of(market.close().iter().map(|_| random.u8(..) > 10));
        let seen = Market {
            close: market.close(),
            fill: market.close(),
            open: market.open().unwrap(),
            high: market.high().unwrap(),
            low: market.low().unwrap(),
            tradable: &tradable,
        };
        let way = [Way::Long, Way::Short, Way::Both, Way::Four][random.usize(0..4)];
        let common = Common {
            init_cash: 100.0,
            way,
            min_size: 1e-8,
            delayed: random.bool(),
            required_return: 0.0,
            threshold: 0.0,
        };
        let all: Vec<Vec<Totals>> = Width::available()
            .into_iter()
            .map(|width| {
                let mut totals = vec![Totals::default(); sets];
                let sets = Sets { terms: &terms, source: Source::Columns(&columns, &indices) };
                run_block(width, &seen, &common, sets, &mut totals);
                totals
            })
            .collect();
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "case {case}: {way:?}, {bars} bars");
        let odd = all[0].iter().filter(|totals| totals.odd).count();
        assert!(odd * 10 <= sets, "case {case}: {odd} of {sets} sets are left to the other engine");
    }
}

/// Sets of drawn terms by the lanes, each against the engine for one set.
#[test]
fn lanes_agree_with_the_engine_for_one_set() {
    let mut random = fastrand::Rng::with_seed(12);
    for case in 0..60 {
        let bars = random.usize(2..900);
        let missing = random.bool();
        let prices = prices(&mut random, bars, missing);
        let every = random.u32(3..30);
        let short = random.bool();
        let signals = signals(&mut random, bars, every, short);
        let mut base = request(&mut random, SignalSource::Columns(signals.clone()));
        base.compat = Compat::VectorBt;
        base.parts = vec![Part::Metrics];
        let fees = vec![0.0, 0.0005, 0.001, 0.003];
        let sweep = SweepRequest {
            base: base.clone(),
            params: [("fees".to_owned(), Values::List(fees.clone()))].into(),
            combine: Combine::Product,
            keep: Keep::All(All::All),
            search: Search::Grid,
            surface: None,
        };
        let mut rows = Collected::default();
        run(&sweep, &prices, &SweepOptions::default(), &mut rows).unwrap();
        assert_eq!(rows.rows.len(), fees.len());
        for (row, fees) in rows.rows.iter().zip(fees) {
            base.fees = fees;
            let expected = run_one(&base, &prices, &signals).unwrap();
            let report = expected.metrics.unwrap();
            for name in SWEEP_METRICS {
                let (ours, theirs) = (row.metrics.get(name).unwrap(), special(report.get(name).unwrap()));
                assert!(
                    agree(ours, theirs, scale(name, base.init_cash)),
                    "case {case}: {name} {ours} or {theirs}: {base:?}"
                );
            }
        }
    }
}

#[test]
fn an_account_that_owes_more_than_it_owns_is_left_to_the_other_engine() {
    let prices = tidemill::backtest::Prices::from_close(vec![10.0, 10.0, 15.0, 25.0, 30.0, 12.0, 9.0]).unwrap();
    let signals = tidemill::backtest::Signals::new(
        vec![true, false, false, false, false, false, false],
        vec![false, false, false, false, false, true, false],
    );
    let mut base = tidemill::backtest::BacktestRequest::new(SignalSource::Columns(signals.clone()));
    base.direction = Direction::Short;
    base.compat = Compat::VectorBt;
    let sweep = SweepRequest {
        base: base.clone(),
        params: [("fees".to_owned(), Values::List(vec![0.0]))].into(),
        combine: Combine::Product,
        keep: Keep::All(All::All),
        search: Search::Grid,
        surface: None,
    };
    let mut rows = Collected::default();
    run(&sweep, &prices, &SweepOptions::default(), &mut rows).unwrap();
    let report = run_one(&base, &prices, &signals).unwrap().metrics.unwrap();
    for name in SWEEP_METRICS {
        let (ours, theirs) = (rows.rows[0].metrics.get(name).unwrap(), special(report.get(name).unwrap()));
        assert!(ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()), "{name}: {ours} or {theirs}");
    }
}

pub fn special(value: tidemill::backtest::metrics::MetricValue) -> f64 {
    use tidemill::backtest::metrics::MetricValue;
    match value {
        MetricValue::Number(value) | MetricValue::Special(value) => value,
        MetricValue::Null => f64::NAN,
    }
}

/// What a metric's last digits are measured against where it is near zero: money by the money, ratios by the size that
/// their parts have before they cancel.
pub fn scale(name: &str, cash: f64) -> f64 {
    match name {
        "final_value" | "expectancy" | "total_fees_paid" => cash,
        "sharpe_ratio" | "sortino_ratio" | "calmar_ratio" | "profit_factor" => 10.0,
        _ => 1.0,
    }
}
