//! Sentiment as signals: the score's arithmetic, hysteresis, and that the future is never used.
#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use tidemill::backtest::request::{Direction, Fill};
use tidemill::backtest::sentiment_signals::{
    DecisionTime, SentimentEvent, SentimentSettings, SignalClock, decision_times, scores, thresholds,
};
use tidemill::backtest::span::Span;
use tidemill::backtest::strategies::SentimentParams;

const DAY: i64 = 86_400_000;

fn settings() -> SentimentSettings {
    SentimentSettings { latency_seconds: 0.0, ..SentimentSettings::default() }
}

fn event(day: f64, score: f64) -> SentimentEvent {
    #[expect(clippy::cast_possible_truncation, reason = "small numbers")]
    let ms = (day * 86_400_000.0) as i64;
    SentimentEvent { happened_ms: ms, known_ms: ms, score }
}

#[test]
fn score_halves_with_every_half_life_and_is_shrunk_towards_neutral() {
    let at: Vec<i64> = (0..4).map(|day| day * DAY).collect();
    let alone = scores(&[event(0.0, 1.0)], &at, &settings());
    // weight w against one neutral document: w / (w + 1)
    let expected = [1.0 / 2.0, 0.5 / 1.5, 0.25 / 1.25, 0.125 / 1.125];
    for (value, expected) in alone.iter().zip(expected) {
        assert!((value - expected).abs() < 1e-12, "{alone:?}");
    }
    let mean = SentimentSettings { prior: 0.0, ..settings() };
    let two = scores(&[event(0.0, 1.0), event(1.0, -1.0)], &at, &mean);
    assert!((two[0] - 1.0).abs() < 1e-12 && (two[1] - (0.5 - 1.0) / 1.5).abs() < 1e-12, "{two:?}");
    assert_eq!(scores(&[], &at, &mean), [0.0; 4], "nothing known is neutral");
}

#[test]
fn late_document_has_aged_when_it_becomes_known() {
    let late = SentimentEvent { happened_ms: 0, known_ms: 2 * DAY, score: 1.0 };
    let values = scores(&[late], &[0, DAY, 2 * DAY], &settings());
    assert_eq!(&values[..2], [0.0, 0.0]);
    assert!((values[2] - 0.25 / 1.25).abs() < 1e-12, "{values:?}");
}

#[test]
fn thresholds_have_hysteresis_and_a_short_side() {
    let settings = SentimentSettings { enter_above: 0.3, exit_below: 0.1, ..settings() };
    let values = [0.0, 0.3, 0.2, 0.35, 0.1, 0.2, -0.3, -0.2, -0.05];
    let long = thresholds(&values, &settings, Direction::Long);
    let rows = |column: &[bool]| (0..column.len()).filter(|row| column[*row]).collect::<Vec<_>>();
    assert_eq!((rows(&long.entries), rows(&long.exits)), (vec![1], vec![4]));
    let short = thresholds(&values, &settings, Direction::Short);
    assert_eq!((rows(&short.entries), rows(&short.exits)), (vec![6], vec![8]));
    let both = thresholds(&values, &settings, Direction::Both);
    assert_eq!((both.entries, both.short_entries), (long.entries, Some(short.entries)));
}

#[test]
fn clocks_say_since_when_a_document_is_known() {
    let known = |clock| SentimentSettings { clock, latency_seconds: 0.5, ..settings() }.known_ms(1_000, 5_000, 9_000);
    assert_eq!(known(SignalClock::Published), 1_500);
    assert_eq!(known(SignalClock::Accepted), 5_500);
    assert_eq!(known(SignalClock::Processed), 9_500);
    let early = SentimentSettings::default().known_ms(5_000, 1_000, 2_000);
    assert_eq!(early, 65_000, "never before its own publication");
}

#[test]
fn decisions_are_made_when_the_fill_can_still_be_had() {
    let bars = [0, DAY, 4 * DAY];
    let at = |decide, fill| decision_times(&bars, Span::DAY, decide, fill);
    assert_eq!(at(DecisionTime::Begin, Fill::Close), bars);
    assert_eq!(at(DecisionTime::End, Fill::Close), [DAY, 2 * DAY, 5 * DAY]);
    assert_eq!(at(DecisionTime::Begin, Fill::NextOpen), [DAY, 4 * DAY, 5 * DAY]);
}

#[test]
fn senseless_parameters_are_named() {
    let none = SentimentParams::default();
    let field = |other: SentimentParams| {
        SentimentSettings::default().with(&other).err().map(|error| error.field().to_owned()).unwrap_or_default()
    };
    assert_eq!(field(none), "");
    assert_eq!(field(SentimentParams { enter_above: Some(1.5), ..none }), "signals.params.enter_above");
    assert_eq!(field(SentimentParams { exit_below: Some(0.2), ..none }), "signals.params.exit_below");
    assert_eq!(field(SentimentParams { exit_below: Some(f64::NAN), ..none }), "signals.params.exit_below");
    assert_eq!(field(SentimentParams { half_life: "200000d".parse().ok(), ..none }), "signals.params.half_life");
    assert_eq!(field(SentimentParams { prior: Some(-1.0), ..none }), "signals.params.prior");
    let named = SentimentParams { half_life: "6h".parse().ok(), latency: "5m".parse().ok(), ..none };
    let settings = SentimentSettings::default().with(&named).unwrap();
    assert_eq!((settings.half_life_seconds, settings.latency_seconds), (21_600.0, 300.0));
}

fn events() -> impl Strategy<Value = Vec<SentimentEvent>> {
    let one = (0_i64..40 * DAY, 0_i64..3 * DAY, -1.0_f64..=1.0).prop_map(|(happened_ms, late, score)| SentimentEvent {
        happened_ms,
        known_ms: happened_ms + late,
        score,
    });
    prop::collection::vec(one, 0..40)
}

fn fills() -> impl Strategy<Value = (DecisionTime, Fill)> {
    (
        prop::sample::select(vec![DecisionTime::Begin, DecisionTime::End]),
        prop::sample::select(vec![Fill::Close, Fill::NextOpen]),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever becomes known after a bar's decision may be changed, taken away or made up: the bar stays as it is.
    #[test]
    fn future_never_moves_a_bar(
        past in events(),
        other_future in events(),
        (decide, fill) in fills(),
        cut in 0_usize..40,
        direction in prop::sample::select(vec![Direction::Long, Direction::Short, Direction::Both]),
    ) {
        let bars: Vec<i64> = (0..40).map(|day| day * DAY).collect();
        let decisions = decision_times(&bars, Span::DAY, decide, fill);
        let seen = decisions[cut];
        let mut other: Vec<SentimentEvent> = past.iter().copied().filter(|event| event.known_ms <= seen).collect();
        other.extend(other_future.into_iter().filter(|event| event.known_ms > seen));
        let of = |events: &[SentimentEvent]| {
            let values = scores(events, &decisions, &settings());
            let signals = thresholds(&values, &settings(), direction);
            (
                values[..=cut].to_vec(),
                signals.entries[..=cut].to_vec(),
                signals.exits[..=cut].to_vec(),
                signals.short_entries.map(|column| column[..=cut].to_vec()),
                signals.short_exits.map(|column| column[..=cut].to_vec()),
            )
        };
        prop_assert_eq!(of(&past), of(&other));
    }

    #[test]
    fn order_of_events_means_nothing(mut events in events(), seed in any::<u64>()) {
        let decisions: Vec<i64> = (0..40).map(|day| day * DAY).collect();
        let first = scores(&events, &decisions, &settings());
        fastrand::Rng::with_seed(seed).shuffle(&mut events);
        prop_assert_eq!(first, scores(&events, &decisions, &settings()));
    }

    #[test]
    fn score_stays_within_its_bounds(events in events()) {
        let decisions: Vec<i64> = (0..80).map(|half| half * DAY / 2).collect();
        prop_assert!(scores(&events, &decisions, &settings()).iter().all(|value| (-1.0..=1.0).contains(value)));
    }
}
