//! The cases, written against the traits alone.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use serde_json::{Value, json};
use tidemill::messages::analysis::{SentimentLabel, VerdictLabel};
use tidemill::messages::backtest::{RunFigures, RunKind, StoredRun, SweepRow};
use tidemill::messages::bar::{Bar, decode};
use tidemill::messages::correlation::CorrelationId;
use tidemill::messages::pipeline::DuplicateRule;
use tidemill::messages::record::Position;
use tidemill::messages::signal::Signal;
use tidemill::stores::backtests::{BacktestStore, RunFilter};
use tidemill::stores::bars::{BarFilter, BarRow, BarStore};
use tidemill::stores::documents::{DocumentStore, StoreError, VerdictRow};
use tidemill::stores::signals::{SignalFilter, SignalStore};

use crate::documents::row;

/// What the suite needs of a store.
pub trait Market: DocumentStore + BarStore + SignalStore + BacktestStore {}
impl<S: DocumentStore + BarStore + SignalStore + BacktestStore> Market for S {}

/// An empty store that can be closed and opened again.
pub struct Fresh(Box<dyn Fn() -> Arc<dyn Market>>);

impl Fresh {
    pub fn new(open: impl Fn() -> Arc<dyn Market> + 'static) -> Self {
        Self(Box::new(open))
    }

    fn open(&self) -> Arc<dyn Market> {
        (self.0)()
    }
}

fn day(index: i64) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap() + TimeDelta::days(index)
}

fn bar(symbol: &str, index: i64, close: f64) -> Bar {
    let body = json!({"symbol": symbol, "ts": day(index), "interval": "1d", "open": 10, "high": 1e9, "low": 0.1,
        "close": close, "volume": 5});
    decode(body.to_string().as_bytes()).unwrap()
}

fn bar_row(bar: Bar, offset: i64) -> BarRow {
    BarRow {
        bar,
        correlation_id: CorrelationId::parse(&format!("corr-{offset}")).unwrap(),
        origin: Position { topic: "bars".into(), partition: 0, offset },
        record_ms: 1_000 + offset,
    }
}

fn all_of(symbol: &str) -> BarFilter {
    BarFilter { symbol: symbol.to_owned(), interval: "1d".to_owned(), from: None, to: None, limit: 100, cursor: None }
}

async fn closes(store: &dyn Market, filter: BarFilter) -> Vec<f64> {
    store.bars(filter).await.unwrap().items.iter().map(|bar| bar.close).collect()
}

pub async fn bars_come_back_as_written_and_in_order(fresh: Fresh) {
    let store = fresh.open();
    let mut odd = bar("BTC/USDT", 1, 0.1 + 0.2);
    odd.volume = None;
    odd.metadata.clone_from(json!({"venue": "x\u{0}y", "n": [1, 2.5]}).as_object().unwrap());
    let written = [bar("BTC/USDT", 2, f64::MIN_POSITIVE.max(0.1)), odd, bar("BTC/USDT", 0, 123_456_789.123_456_7)];
    let rows: Vec<BarRow> = written.iter().zip(0..).map(|(bar, offset)| bar_row(bar.clone(), offset)).collect();
    store.write_bars(rows).await.unwrap();
    store.write_bars(vec![bar_row(bar("ETH", 0, 7.0), 9)]).await.unwrap();
    let found = store.bars(all_of("BTC/USDT")).await.unwrap();
    assert_eq!(found.items, [written[2].clone(), written[1].clone(), written[0].clone()], "to the last bit");
    assert_eq!(found.next_cursor, None);
    assert_eq!(store.count_bars(all_of("BTC/USDT"), 100).await.unwrap(), 3);
    assert_eq!(store.count_bars(all_of("BTC/USDT"), 2).await.unwrap(), 2, "no further than asked");
    assert_eq!(store.bars(all_of("XRP")).await.unwrap().items, []);
}

pub async fn same_bar_again_takes_the_earlier_ones_place(fresh: Fresh) {
    let store = fresh.open();
    store.write_bars(vec![bar_row(bar("A", 0, 10.0), 0), bar_row(bar("A", 0, 11.0), 1)]).await.unwrap();
    assert_eq!(closes(&*store, all_of("A")).await, [11.0], "the last of a batch");
    store.write_bars(vec![bar_row(bar("A", 0, 12.0), 2)]).await.unwrap();
    store.write_bars(vec![bar_row(bar("A", 0, 12.0), 2)]).await.unwrap();
    assert_eq!(closes(&*store, all_of("A")).await, [12.0]);
    let other = decode(
        json!({"symbol": "A", "ts": day(0), "interval": "1h", "open": 1, "high": 1, "low": 1, "close": 1})
            .to_string()
            .as_bytes(),
    );
    store.write_bars(vec![bar_row(other.unwrap(), 3)]).await.unwrap();
    assert_eq!(closes(&*store, all_of("A")).await, [12.0], "intervals are apart");
}

pub async fn late_delivery_of_an_earlier_record_undoes_nothing(fresh: Fresh) {
    let store = fresh.open();
    store.write_bars(vec![bar_row(bar("A", 0, 12.0), 7)]).await.unwrap();
    store.write_bars(vec![bar_row(bar("A", 0, 10.0), 3)]).await.unwrap();
    assert_eq!(closes(&*store, all_of("A")).await, [12.0]);
    let mut elsewhere = bar_row(bar("A", 0, 13.0), 3);
    elsewhere.origin.partition = 1;
    store.write_bars(vec![elsewhere]).await.unwrap();
    assert_eq!(closes(&*store, all_of("A")).await, [13.0], "offsets of two partitions can't be compared");
}

pub async fn bars_are_paged_between_times(fresh: Fresh) {
    let store = fresh.open();
    let rows = (0..25).map(|index| bar_row(bar("A", index, 10.0 + f64::from(u8::try_from(index).unwrap())), index));
    store.write_bars(rows.collect()).await.unwrap();
    let window = BarFilter { from: Some(day(3)), to: Some(day(20)), limit: 5, ..all_of("A") };
    assert_eq!(store.count_bars(window.clone(), 1000).await.unwrap(), 17);
    let (mut cursor, mut found, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = store.bars(BarFilter { cursor, ..window.clone() }).await.unwrap();
        found.extend(page.items.iter().map(|bar| bar.ts));
        pages += 1;
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, (3..20).map(day).collect::<Vec<_>>(), "from is within, to is not");
    assert_eq!(pages, 4);
}

pub async fn wrong_market_queries_are_refused(fresh: Fresh) {
    let store = fresh.open();
    for filter in [
        BarFilter { limit: 0, ..all_of("A") },
        BarFilter { limit: 10_001, ..all_of("A") },
        BarFilter { cursor: Some("nonsense".to_owned()), ..all_of("A") },
    ] {
        assert!(matches!(store.bars(filter).await, Err(StoreError::InvalidQuery(_))));
    }
    let of_bars = {
        store.write_bars((0..3).map(|index| bar_row(bar("A", index, 10.0), index)).collect()).await.unwrap();
        store.bars(BarFilter { limit: 1, ..all_of("A") }).await.unwrap().next_cursor
    };
    assert!(of_bars.is_some());
    let wrong = SignalFilter { cursor: of_bars, ..signals_of("A") };
    assert!(matches!(store.signals(wrong).await, Err(StoreError::InvalidQuery(_))), "another listing's cursor");
}

fn signals_of(symbol: &str) -> SignalFilter {
    SignalFilter { symbol: symbol.to_owned(), from: None, to: None, limit: 100, cursor: None }
}

async fn said(store: &dyn Market, symbol: &str) -> Vec<Signal> {
    store.signals(signals_of(symbol)).await.unwrap().items
}

pub async fn stored_documents_say_something_of_each_symbol(fresh: Fresh) {
    let store = fresh.open();
    let mut undated = row(2);
    undated.analysis.published_at = None;
    store.write(vec![row(0), row(1), undated.clone()]).await.unwrap();
    let of_all = said(&*store, "AAPL").await;
    let ids: Vec<&str> = of_all.iter().map(|signal| &*signal.document_id).collect();
    assert_eq!(ids, ["doc-000000", "doc-000001", "doc-000002"], "by time");
    let alone = said(&*store, "S1").await;
    let micros = |time: DateTime<Utc>| DateTime::from_timestamp_micros(time.timestamp_micros()).unwrap();
    let expected = row(1);
    assert_eq!(
        alone,
        [Signal {
            symbol: "S1".to_owned(),
            ts: micros(expected.analysis.published_at.unwrap()),
            score: 0.123_456_79,
            label: SentimentLabel::Positive,
            document_id: "doc-000001".into(),
            accepted_at: DateTime::from_timestamp_millis(expected.timestamp_ms).unwrap(),
            processed_at: micros(expected.analysis.processed_at),
        }]
    );
    assert_eq!(said(&*store, "S2").await[0].ts.timestamp_millis(), undated.timestamp_ms, "else when it was taken in");
    let window = SignalFilter { from: Some(alone[0].ts), to: Some(of_all[2].ts), limit: 1, ..signals_of("AAPL") };
    let page = store.signals(window.clone()).await.unwrap();
    assert_eq!((page.items.len(), page.next_cursor), (1, None), "from is within, to is not");
    let first = store.signals(SignalFilter { limit: 2, ..signals_of("AAPL") }).await.unwrap();
    let rest = store.signals(SignalFilter { cursor: first.next_cursor, ..signals_of("AAPL") }).await.unwrap();
    assert_eq!([first.items, rest.items].concat(), of_all);
}

pub async fn duplicate_says_nothing(fresh: Fresh) {
    let store = fresh.open();
    let mut copy = row(1);
    copy.analysis.verdict = VerdictLabel::Duplicate;
    copy.analysis.duplicate_of = Some(row(0).document.id.clone());
    copy.analysis.rule = Some(DuplicateRule::Exact);
    copy.analysis.sentiment = None;
    store.write(vec![row(0), copy]).await.unwrap();
    assert_eq!(said(&*store, "AAPL").await.len(), 1);
    assert_eq!(said(&*store, "S1").await, []);
}

pub async fn same_record_again_says_the_same_once(fresh: Fresh) {
    let store = fresh.open();
    store.write(vec![row(0)]).await.unwrap();
    let first = said(&*store, "AAPL").await;
    store.write(vec![row(0)]).await.unwrap();
    assert_eq!(said(&*store, "AAPL").await, first);
    let mut fewer = row(0);
    fewer.analysis.symbols = vec!["S0".to_owned()];
    store.write(vec![fewer]).await.unwrap();
    assert_eq!(said(&*store, "AAPL").await, [], "judged anew, the record says less");
    assert_eq!(said(&*store, "S0").await.len(), 1);
}

/// The same document by a later record, with another score.
fn revision(index: u64, offset: i64, score: f32) -> VerdictRow {
    let mut revised = row(index);
    revised.analysis.origin.offset = offset;
    revised.timestamp_ms += 60_000;
    if let Some(sentiment) = &mut revised.analysis.sentiment {
        sentiment.score = score;
    }
    revised
}

pub async fn revision_adds_to_what_was_said_however_it_is_batched(fresh: Fresh) {
    let store = fresh.open();
    store.write(vec![row(0)]).await.unwrap();
    store.write(vec![revision(0, 50, -0.5)]).await.unwrap();
    store.write(vec![row(1), revision(1, 51, -0.5)]).await.unwrap();
    for symbol in ["S0", "S1"] {
        let scores: Vec<f32> = said(&*store, symbol).await.iter().map(|signal| signal.score).collect();
        assert_eq!(scores, [0.123_456_79, -0.5], "{symbol}: what was said then stays said");
    }
}

fn run(index: u64) -> StoredRun {
    StoredRun {
        id: format!("run-{index}").into(),
        portfolio_id: if index.is_multiple_of(2) { "mine".to_owned() } else { format!("run-{index}") },
        kind: if index == 3 { RunKind::Sweep } else { RunKind::Backtest },
        correlation_id: format!("corr-{index}"),
        created_at: day(i64::try_from(index).unwrap()),
        symbol: (index < 3).then(|| "AAPL".to_owned()),
        interval: (index < 3).then(|| "1d".to_owned()),
        strategy: "ma_crossover".to_owned(),
        figures: RunFigures {
            initial_cash: Some(100.0),
            final_value: Some(101.5),
            total_return: Some(0.015),
            sharpe_ratio: None,
            max_drawdown: Some(-0.25),
            trades_count: Some(7),
            gpu_used: false,
            device: "cpu".to_owned(),
            computation_seconds: 0.001,
            bars: 250,
            sets: 1,
        },
        request: json!({"fees": 0.001, "index": index}),
        result: json!({"metrics": {"sharpe_ratio": null}, "odd": "x\u{0}y"}),
    }
}

pub async fn runs_are_kept_found_and_listed(fresh: Fresh) {
    let store = fresh.open();
    for index in 0..4 {
        store.save_run(run(index)).await.unwrap();
    }
    store.save_run(run(1)).await.unwrap();
    assert_eq!(store.run("run-0").await.unwrap(), Some(run(0)));
    assert_eq!(store.run("mine").await.unwrap(), Some(run(2)), "the newest of its name");
    assert_eq!(store.run("none").await.unwrap(), None);
    let listed = |filter: RunFilter| {
        let store = Arc::clone(&store);
        async move {
            let page = store.runs(RunFilter { limit: 10, ..filter }).await.unwrap();
            page.items.iter().map(|run| run.id.to_string()).collect::<Vec<_>>()
        }
    };
    assert_eq!(listed(RunFilter::default()).await, ["run-3", "run-2", "run-1", "run-0"], "newest first");
    let sweeps = RunFilter { kind: Some(RunKind::Sweep), ..RunFilter::default() };
    assert_eq!(listed(sweeps).await, ["run-3"]);
    let apple = RunFilter { symbol: Some("AAPL".to_owned()), ..RunFilter::default() };
    assert_eq!(listed(apple).await, ["run-2", "run-1", "run-0"]);
    let other = RunFilter { strategy: Some("rsi".to_owned()), ..RunFilter::default() };
    assert_eq!(listed(other).await, [""; 0]);
    let first = store.runs(RunFilter { limit: 3, ..RunFilter::default() }).await.unwrap();
    assert_eq!(first.items[0], StoredRun { result: Value::Null, ..run(3) }, "all but the result");
    let rest = store.runs(RunFilter { limit: 3, cursor: first.next_cursor, ..RunFilter::default() }).await.unwrap();
    assert_eq!((rest.items.len(), rest.next_cursor), (1, None));
    assert!(matches!(store.runs(RunFilter::default()).await, Err(StoreError::InvalidQuery(_))), "no limit");
}

fn sweep_row(position: u64, sharpe: Value) -> SweepRow {
    let params = [("fast".to_owned(), json!(position + 2)), ("slow".to_owned(), json!(30))].into_iter().collect();
    let metrics = [("sharpe_ratio".to_owned(), sharpe), ("total_return".to_owned(), json!(0.5))].into_iter().collect();
    SweepRow { position, params, metrics }
}

pub async fn sweep_rows_come_in_order_and_are_replaced(fresh: Fresh) {
    let store = fresh.open();
    let rows: Vec<SweepRow> = [2, 0, 1].map(|position| sweep_row(position, json!(1.5))).into();
    store.write_sweep_rows("s", "c", rows).await.unwrap();
    store.write_sweep_rows("s", "c", vec![sweep_row(1, Value::Null), sweep_row(3, json!(-2))]).await.unwrap();
    store.write_sweep_rows("other", "c", vec![sweep_row(0, json!(9))]).await.unwrap();
    let found = store.sweep_rows("s", 0, 100).await.unwrap();
    assert_eq!(
        found,
        [sweep_row(0, json!(1.5)), sweep_row(1, Value::Null), sweep_row(2, json!(1.5)), sweep_row(3, json!(-2))]
    );
    assert_eq!(store.sweep_rows("s", 2, 1).await.unwrap(), [sweep_row(2, json!(1.5))]);
    assert_eq!(store.sweep_rows("none", 0, 1).await.unwrap(), []);
}

pub async fn checkpoint_is_kept_until_it_is_forgotten(fresh: Fresh) {
    let store = fresh.open();
    assert_eq!(store.checkpoint("s").await.unwrap(), None);
    store.save_checkpoint("s", Some(vec![0, 1, 255])).await.unwrap();
    store.save_checkpoint("s", Some(vec![7; 100_000])).await.unwrap();
    assert_eq!(store.checkpoint("s").await.unwrap(), Some(vec![7; 100_000]));
    store.save_checkpoint("s", None).await.unwrap();
    store.save_checkpoint("s", None).await.unwrap();
    assert_eq!(store.checkpoint("s").await.unwrap(), None);
}

pub async fn everything_survives_reopening(fresh: Fresh) {
    let store = fresh.open();
    store.write_bars(vec![bar_row(bar("A", 0, 10.0), 0)]).await.unwrap();
    store.write(vec![row(0)]).await.unwrap();
    store.save_run(run(0)).await.unwrap();
    store.write_sweep_rows("s", "c", vec![sweep_row(0, json!(1))]).await.unwrap();
    store.save_checkpoint("s", Some(vec![1])).await.unwrap();
    drop(store);
    let store = fresh.open();
    assert_eq!(closes(&*store, all_of("A")).await, [10.0]);
    assert_eq!(said(&*store, "S0").await.len(), 1);
    assert_eq!(store.run("mine").await.unwrap(), Some(run(0)));
    assert_eq!(store.sweep_rows("s", 0, 9).await.unwrap().len(), 1);
    assert_eq!(store.checkpoint("s").await.unwrap(), Some(vec![1]));
}
