//! Walk-forward: what is chosen has not seen what it is judged on.

use serde_json::{Value, json};
use tidemill::backtest::sweep::{SweepError, SweepOptions, Unwatched};
use tidemill::backtest::walk_forward::{WalkForward, Window, splits, walk_forward};
use tidemill::backtest::{Prices, evaluate};

#[test]
fn splits_never_train_on_what_they_test() {
    for window in [Window::Rolling, Window::Anchored] {
        let splits = splits(105, window, 30, 20).unwrap();
        assert_eq!(splits.len(), 3);
        assert!(splits.iter().all(|split| split.train.end == split.test.start));
        assert!(splits.windows(2).all(|pair| pair[0].test.end == pair[1].test.start));
        assert_eq!(splits[2].test.end, 105);
        assert_eq!(splits[1].train.start, if window == Window::Anchored { 0 } else { 20 });
    }
    assert_eq!(splits(10, Window::Rolling, 8, 3).unwrap_err().field(), "walk_forward.train");
}

fn walk(request: Value, closes: Vec<f64>) -> Result<WalkForward, SweepError> {
    let prices = Prices::from_close(closes).unwrap();
    let splits = splits(120, Window::Rolling, 40, 20).unwrap();
    let request = serde_json::from_value(request).unwrap();
    walk_forward(&request, &prices, &splits, &SweepOptions::default(), &mut Unwatched)
}

fn crossovers() -> Value {
    json!({
        "signals": {"strategy": "ma_crossover"}, "params": {"fast": [2, 3, 5], "slow": [5, 9, 20]}, "combine": "zip",
        "keep": {"top": 3, "by": "total_return"}, "return": ["metrics", "equity"],
    })
}

fn waves() -> Vec<f64> {
    (0..120_u32).map(|bar| 100.0 + 10.0 * (f64::from(bar) / 5.0).sin()).collect()
}

#[test]
fn a_walk_judges_on_bars_that_its_choice_has_not_seen() {
    let one = walk(crossovers(), waves()).unwrap();
    assert_eq!(one.out_of_sample.bars, 80);
    assert!(one.folds.iter().all(|fold| fold.chosen.is_some()));
    // Other prices in the last test change neither an earlier choice nor an earlier value.
    let mut other = waves();
    other[100..].iter_mut().for_each(|price| *price *= 2.0);
    let other = walk(crossovers(), other).unwrap();
    assert_eq!(one.folds, other.folds);
    let values = |walk: &WalkForward| walk.out_of_sample.equity.as_ref().unwrap().value[..60].to_vec();
    assert_eq!(values(&one), values(&other));
}

#[test]
fn a_walk_chooses_what_a_backtest_of_each_set_says_is_best() {
    let walked = walk(crossovers(), waves()).unwrap();
    for fold in &walked.folds {
        let prices = Prices::from_close(waves()[fold.split.train.clone()].to_vec()).unwrap();
        let mut best: Option<(f64, Value)> = None;
        for (fast, slow) in [(2, 5), (3, 9), (5, 20)] {
            let params = json!({"fast": fast, "slow": slow});
            let set = json!({"signals": {"strategy": "ma_crossover", "params": params}});
            let value = evaluate(&serde_json::from_value(set).unwrap(), &prices, None).unwrap().total_return;
            if best.as_ref().is_none_or(|(before, _)| value > *before) {
                best = Some((value, params));
            }
        }
        let (value, params) = best.unwrap();
        assert_eq!(fold.chosen.clone().map(Value::Object), Some(params));
        assert!((fold.train_metric.unwrap() - value).abs() < 1e-12);
    }
}

#[test]
fn a_walk_refuses_what_it_cannot_choose() {
    let refused = |change: fn(&mut Value)| {
        let mut request = crossovers();
        change(&mut request);
        walk(request, waves()).unwrap_err().to_string()
    };
    assert!(refused(|request| request["params"] = json!({"fees": [0.0, 0.001]})).contains("params.fees"));
    assert!(refused(|request| request["keep"] = json!("all")).contains("keep"));
    assert!(refused(|request| request["signals"] = json!("holding")).contains("signals"));
}
