//! Indicators against figures of vectorbt 1.2.0, plain definitions, and their own streaming form.

use proptest::prelude::*;
use tidemill::backtest::indicators::{
    Atr, BollingerBands, Crossing, HighLowClose, Indicator, Indicators, Key, Macd, Mean, MeanKind, OnBalanceVolume,
    RollingDeviation, RollingMaximum, RollingMean, RollingMinimum, Rsi, Stochastic, true_range,
};
use tidemill::backtest::{PriceColumns, Prices};

use super::golden::{assert_close, golden, number, numbers};

/// The bars behind the figures: highs 1.5 above, lows 1.25 below the close, volumes 10, 20, ….
fn bars(closes: &[f64]) -> Vec<HighLowClose> {
    closes.iter().map(|close| HighLowClose { high: close + 1.5, low: close - 1.25, close: *close }).collect()
}

fn compare(name: &str, actual: &[f64]) {
    let golden = golden();
    let expected = golden["indicators"][name].as_array().unwrap();
    assert_eq!(actual.len(), expected.len(), "{name}");
    for (row, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        // Differences of means (MACD) and of rounded percentages (RSI, %D) have the digits of what they are made of.
        let expected = number(expected);
        if (actual - expected).abs() > 1e-12 {
            assert_close(&format!("{name}[{row}]"), *actual, expected);
        }
        assert_eq!(actual.is_nan(), expected.is_nan(), "{name}[{row}]");
    }
}

#[test]
fn every_indicator_is_vectorbts() {
    use MeanKind::{Exponential, Simple};
    let closes = numbers(&golden()["price"]);
    let each = || closes.iter().copied();
    compare("sma3", &Mean::new(Simple, 3).over(each()));
    compare("ema3", &Mean::new(Exponential, 3).over(each()));
    compare("rsi14_sma", &Rsi::new(14, Simple).over(each()));
    compare("rsi5_ewm", &Rsi::new(5, Exponential).over(each()));
    let bands = BollingerBands::new(5, 2.0).over(each());
    compare("bb5_mid", &bands.iter().map(|band| band.middle).collect::<Vec<_>>());
    compare("bb5_up", &bands.iter().map(|band| band.upper).collect::<Vec<_>>());
    compare("bb5_lo", &bands.iter().map(|band| band.lower).collect::<Vec<_>>());
    let macd = Macd::new((3, 6, 3), Simple, Simple).over(each());
    compare("macd_3_6_3", &macd.iter().map(|point| point.macd).collect::<Vec<_>>());
    compare("macd_sig", &macd.iter().map(|point| point.signal).collect::<Vec<_>>());
    let ranges: Vec<f64> = bars(&closes)
        .into_iter()
        .scan(f64::NAN, |before, bar| Some(true_range(bar, std::mem::replace(before, bar.close))))
        .collect();
    compare("tr", &ranges);
    compare("atr5_ewm", &Atr::new(5, Exponential).over(bars(&closes)));
    let stochastic = Stochastic::new(5, 3, Simple).over(bars(&closes));
    compare("stoch_k5", &stochastic.iter().map(|point| point.k).collect::<Vec<_>>());
    compare("stoch_d3", &stochastic.iter().map(|point| point.d).collect::<Vec<_>>());
    let volumes = (1..=20).map(|bar| f64::from(bar) * 10.0);
    compare("obv", &OnBalanceVolume::new().over(each().zip(volumes)));
}

#[test]
fn equality_neither_crosses_nor_forgets_and_a_gap_forgets() {
    let pairs = |one: &[f64]| Crossing::new().over(one.iter().map(|value| (*value, 1.0)));
    assert_eq!(pairs(&[0.0, 1.0, 2.0, 2.0]), [false, false, true, false]);
    assert_eq!(pairs(&[1.0, 2.0]), [false, false]);
    assert_eq!(pairs(&[0.0, f64::NAN, 2.0, 0.0, 2.0]), [false, false, false, false, true]);
}

#[test]
fn an_indicator_is_computed_once_per_parameter() {
    let prices = Prices::from_close(vec![1.0, 2.0, 3.0]).unwrap();
    let mut indicators = Indicators::new(&prices);
    let first = indicators.get(Key::Mean(MeanKind::Simple, 2)).unwrap();
    let again = indicators.get(Key::Mean(MeanKind::Simple, 2)).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &again));
    indicators.get(Key::Mean(MeanKind::Exponential, 2)).unwrap();
    assert_eq!(indicators.computed(), 2);
    assert_eq!(indicators.get(Key::Obv).unwrap_err().field(), "prices.volume");
    assert_eq!(indicators.get(Key::Atr(MeanKind::Simple, 2)).unwrap_err().field(), "prices.high");
}

fn series() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(prop_oneof![9 => 0.5..2000.0_f64, 1 => Just(f64::NAN)], 1..60)
}

proptest! {
    #[test]
    fn windows_are_their_plain_definitions(values in series(), window in 1_usize..12) {
        let mean = RollingMean::new(window).over(values.iter().copied());
        let deviation = RollingDeviation::new(window).over(values.iter().copied());
        let largest = RollingMaximum::new(window).over(values.iter().copied());
        let smallest = RollingMinimum::new(window).over(values.iter().copied());
        for row in 0..values.len() {
            let part = (row + 1).checked_sub(window).map(|from| &values[from..=row]);
            let Some(part) = part.filter(|part| part.iter().all(|value| !value.is_nan())) else {
                prop_assert!(mean[row].is_nan() && deviation[row].is_nan());
                prop_assert!(largest[row].is_nan() && smallest[row].is_nan());
                continue;
            };
            let expected = part.iter().sum::<f64>() / part.len() as f64;
            let variance = part.iter().map(|value| (value - expected).powi(2)).sum::<f64>() / part.len() as f64;
            prop_assert!((mean[row] - expected).abs() <= 1e-13 * expected);
            // What has left the window leaves the rounding of its square.
            let largest_yet = values[..=row].iter().copied().fold(0.0, f64::max);
            prop_assert!((deviation[row] - variance.sqrt()).abs() <= 1e-13 * largest_yet);
            prop_assert_eq!(largest[row], part.iter().copied().fold(f64::MIN, f64::max));
            prop_assert_eq!(smallest[row], part.iter().copied().fold(f64::MAX, f64::min));
        }
    }

    #[test]
    fn bar_by_bar_and_all_at_once_give_the_same_bits(values in series(), window in 1_usize..12) {
        let columns = PriceColumns {
            high: Some(values.iter().map(|value| value + 1.0).collect()),
            low: Some(values.iter().map(|value| value * 0.5).collect()),
            volume: Some(values.iter().map(|value| if value.is_nan() { 0.0 } else { *value }).collect()),
            close: values.clone(),
            ..PriceColumns::default()
        };
        let Ok(prices) = Prices::new(columns) else { return Ok(()) };
        let mut batch = Indicators::new(&prices);
        let mut same = |key, streamed: Vec<f64>| {
            let whole = batch.get(key).unwrap();
            whole.iter().zip(&streamed).all(|(one, other)| one.to_bits() == other.to_bits() || one.is_nan() && other.is_nan())
        };
        let bars = || values.iter().map(|value| HighLowClose { high: value + 1.0, low: value * 0.5, close: *value });
        for kind in [MeanKind::Simple, MeanKind::Exponential] {
            let mut mean = Mean::new(kind, window);
            prop_assert!(same(Key::Mean(kind, window), values.iter().map(|value| mean.push(*value)).collect()));
            let mut rsi = Rsi::new(window, kind);
            prop_assert!(same(Key::Rsi(kind, window), values.iter().map(|value| rsi.push(*value)).collect()));
            let mut atr = Atr::new(window, kind);
            prop_assert!(same(Key::Atr(kind, window), bars().map(|bar| atr.push(bar)).collect()));
        }
        let mut stochastic = Stochastic::new(window, 3, MeanKind::Simple);
        prop_assert!(same(Key::StochasticK(window), bars().map(|bar| stochastic.push(bar).k).collect()));
    }
}
