//! The closed loop of the real daemon: bars and documents in, signals, backtests and sweeps out.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};

use crate::process::Daemon;

const LEXICAL: &str = "encoder.kind=hashing";

fn day(index: i64) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap() + TimeDelta::days(index)
}

/// Rises until the twentieth day, then falls.
fn bar(symbol: &str, index: i64) -> Value {
    let close = 100.0 + f64::from(i32::try_from(20 - (index - 20).abs()).unwrap());
    json!({"symbol": symbol, "ts": day(index), "interval": "1d", "open": close, "high": close + 1.0,
        "low": close - 1.0, "close": close, "volume": 10})
}

async fn post_bars(daemon: &Daemon, symbol: &str, count: i64) {
    let bars: Vec<Value> = (0..count).map(|index| bar(symbol, index)).collect();
    let (status, receipt) = daemon.post("/v1/bars", &Value::Array(bars)).await;
    assert_eq!(status, 202, "{receipt}");
    let wanted = usize::try_from(count).unwrap();
    let there = |page: &Value| page["items"].as_array().is_some_and(|items| items.len() == wanted);
    daemon.wait_for(&format!("/v1/bars?symbol={symbol}&interval=1d&limit=10000"), "all bars", there).await;
}

async fn post_opinion(daemon: &Daemon, id: &str, text: &str, at: DateTime<Utc>) {
    let document = json!({"id": id, "source": "news", "text": text, "symbols": ["ACME"], "published_at": at});
    let (status, receipt) = daemon.post("/v1/documents", &document).await;
    assert_eq!(status, 202, "{receipt}");
}

fn request(clock: &str) -> Value {
    json!({"portfolio_id": format!("loop-{clock}"), "symbol": "acme", "interval": "1d", "init_cash": 1000, "signals":
        {"strategy": "sentiment", "params": {"clock": clock, "half_life": "20d", "enter_above": 0.05}},
        "return": ["metrics", "trades", "equity"]})
}

#[tokio::test]
async fn documents_become_signals_and_signals_trades() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(directory.path(), &[LEXICAL]).await;
    post_bars(&daemon, "ACME", 40).await;
    let (praise, blame) = (day(5) + TimeDelta::hours(12), day(22) + TimeDelta::hours(6));
    post_opinion(&daemon, "up", "Acme profits surge to a record high, shares soar as growth beats estimates", praise)
        .await;
    let scandal = "Acme shares plunge after fraud scandal, losses widen and bankruptcy looms, analysts downgrade";
    post_opinion(&daemon, "down", scandal, blame).await;
    post_opinion(&daemon, "worse", "Acme collapses: heavy losses, layoffs and a lawsuit crush the stock", blame).await;
    let three = |page: &Value| page["items"].as_array().is_some_and(|items| items.len() == 3);
    let signals = daemon.wait_for("/v1/signals?symbol=acme", "all signals", three).await;
    let scores: Vec<f64> =
        signals["items"].as_array().unwrap().iter().map(|it| it["score"].as_f64().unwrap()).collect();
    assert!(scores[0] > 0.1 && scores[1] < -0.1 && scores[2] < -0.1, "{signals}");
    assert_eq!(signals["items"][0]["ts"], json!(praise));

    let (status, result) = daemon.post("/v1/backtests", &request("published")).await;
    assert_eq!(status, 200, "{result}");
    let trades = result["trades"].as_array().unwrap();
    assert_eq!((trades.len(), &result["trades_count"], &result["bars"]), (1, &json!(1), &json!(40)), "{result}");
    assert_eq!(trades[0]["entry_row"], 6, "the first bar that begins after the news");
    assert_eq!(trades[0]["exit_row"], 23, "the first bar that begins after the bad news: {result}");
    assert_eq!((&result["gpu_used"], &result["device"]), (&json!(false), &json!("cpu")));

    // the log took these documents in long after the last bar: what is honest by default knows none of them
    let (status, honest) = daemon.post("/v1/backtests", &request("accepted")).await;
    assert_eq!((status, &honest["trades_count"]), (200, &json!(0)), "{honest}");

    let id = result["id"].as_str().unwrap();
    for name in [id, "loop-published"] {
        let (status, shown) = daemon.get(&format!("/v1/backtests/{name}")).await;
        assert_eq!((status, &shown["metrics"], &shown["id"]), (200, &result["metrics"], &json!(id)));
        assert_eq!(shown["request"]["signals"]["params"]["clock"], "published");
    }
    let (_, listed) = daemon.get("/v1/backtests?symbol=ACME&strategy=sentiment").await;
    let names: Vec<&Value> = listed["items"].as_array().unwrap().iter().map(|run| &run["portfolio_id"]).collect();
    assert_eq!(names, [&json!("loop-accepted"), &json!("loop-published")], "newest first");
    let (_, metrics) = daemon.get_text("/metrics").await;
    assert!(metrics.contains("tidemill_backtest_bars_total{device=\"cpu\"} 80"), "{metrics}");
    assert!(metrics.contains("tidemill_bars_stored_total 40"), "{metrics}");
    for (topic, records) in [("signals", 3), ("backtests", 2)] {
        let line = format!("tidemill_log_appended_records_total{{topic=\"{topic}\"}} {records}\n");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }

    daemon.kill_and_restart().await;
    let (status, after) = daemon.get(&format!("/v1/backtests/{id}")).await;
    assert_eq!((status, &after["metrics"]), (200, &result["metrics"]), "it was durable");
    let (_, again) = daemon.post("/v1/backtests", &request("published")).await;
    assert_eq!(again["metrics"], result["metrics"], "the same input gives the same output");
    assert!(daemon.stop().await.success());
    let count = |sql: &str| -> i64 {
        let file = rusqlite::Connection::open(directory.path().join("tidemill.sqlite3")).unwrap();
        file.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count("SELECT count(*) FROM analytics_backtests WHERE symbol = 'ACME'"), 3);
    assert_eq!(count("SELECT count(*) FROM analytics_signals"), 3);
    assert_eq!(count("SELECT count(*) FROM raw_bars"), 40);
}

#[tokio::test]
async fn bars_sent_twice_and_through_a_kill_are_there_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(directory.path(), &[LEXICAL]).await;
    post_bars(&daemon, "AAA", 30).await;
    let bars: Vec<Value> = (0..60).map(|index| bar("AAA", index)).collect();
    let (status, _) = daemon.post("/v1/bars", &Value::Array(bars)).await;
    assert_eq!(status, 202);
    daemon.kill_and_restart().await;
    let all = |page: &Value| page["items"].as_array().is_some_and(|items| items.len() == 60);
    daemon.wait_for("/v1/bars?symbol=AAA&interval=24h&limit=100", "what was acknowledged", all).await;
}

#[tokio::test]
async fn bad_bars_are_dead_letters_and_the_stream_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path(), &[LEXICAL]).await;
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", &daemon.kafka).create().unwrap();
    let mut negative = bar("BAD", 0);
    negative["low"] = json!(-1);
    let bodies = [
        (b"no json".to_vec(), "TM0002"),
        (negative.to_string().into_bytes(), "TM0050"),
        (br#"{"symbol": "BAD", "ts": "soon"}"#.to_vec(), "TM0009"),
    ];
    for (body, _) in &bodies {
        let record = FutureRecord::<(), _>::to("bars").payload(body);
        producer.send(record, Duration::from_secs(10)).await.unwrap();
    }
    post_bars(&daemon, "GOOD", 3).await;
    let letters = daemon
        .wait_for("/v1/dead-letters?stage=bar_source", "all dead letters", |value| {
            value["items"].as_array().is_some_and(|items| items.len() == bodies.len())
        })
        .await;
    for letter in letters["items"].as_array().unwrap() {
        assert_eq!(letter["topic"], "bars");
        assert!(bodies.iter().any(|(_, code)| letter["code"] == *code), "{letter}");
    }
    let (_, health) = daemon.get("/health").await;
    assert_eq!(health["status"], "ok", "{health}");
}

/// A sweep that takes some seconds, over bars of the store.
fn sweep(name: &str) -> Value {
    json!({"portfolio_id": name, "symbol": "SWEPT", "interval": "1d", "signals": {"strategy": "ma_crossover"},
        "params": {"fast": {"range": [2, 400]}, "slow": {"range": [2, 400]}}, "combine": "combinations",
        "fees": 0.001, "keep": {"top": 30, "by": "total_return"}})
}

#[tokio::test]
async fn sweep_that_was_called_off_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(directory.path(), &[LEXICAL]).await;
    post_bars(&daemon, "SWEPT", 120).await;
    let (status, whole) = daemon.post("/v1/sweeps", &sweep("whole")).await;
    assert_eq!((status, &whole["sets"]), (202, &json!(79_401)), "{whole}");
    let job = |answer: &Value| format!("/v1/jobs/{}", answer["job_id"].as_str().unwrap());
    let done = |job: &Value| job["state"] == "succeeded";
    daemon.wait_for(&job(&whole), "the whole sweep", done).await;

    let (_, broken) = daemon.post("/v1/sweeps", &sweep("broken")).await;
    daemon.wait_for(&job(&broken), "the start", |job| job["state"] == "running").await;
    let (status, unfinished) = daemon.get(&format!("/v1/backtests/{}", broken["id"].as_str().unwrap())).await;
    assert_eq!(status, 404);
    assert!(unfinished["error"]["message"].as_str().unwrap().contains("running"), "{unfinished}");
    daemon.delete(&job(&broken)).await;
    daemon.wait_for(&job(&broken), "the end", |job| job["state"] == "cancelled").await;
    daemon.kill_and_restart().await;
    let (status, _) = daemon.post(&format!("{}/replay", job(&broken)), &json!({})).await;
    assert_eq!(status, 202);
    daemon.wait_for(&job(&broken), "the rest of the sweep", done).await;

    let rows = |answer: &Value| format!("/v1/sweeps/{}?limit=20", answer["id"].as_str().unwrap());
    let (_, first) = daemon.get(&rows(&whole)).await;
    let (_, second) = daemon.get(&rows(&broken)).await;
    assert_eq!(first["items"].as_array().unwrap().len(), 20);
    assert_eq!(first["items"], second["items"], "the same rows as without the break");
    let (_, rest) = daemon.get(&format!("{}&cursor={}", rows(&broken), first["next_cursor"].as_str().unwrap())).await;
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (10, &Value::Null));
    let (_, shown) = daemon.get("/v1/backtests/broken").await;
    assert_eq!((&shown["kind"], &shown["tried"]), (&json!("sweep"), &json!(79_401)), "{shown}");
    assert_eq!(shown["best"][0]["total_return"], first["items"][0]["metrics"]["total_return"]);
}

#[tokio::test]
async fn command_line_asks_the_daemon_for_bars_of_its_store() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path(), &[LEXICAL]).await;
    post_bars(&daemon, "CLI", 40).await;
    let file = directory.path().join("hold.toml");
    std::fs::write(&file, "symbol = \"CLI\"\ninterval = \"1d\"\nsignals = \"holding\"\n").unwrap();
    let ask = |command: &str| {
        Command::new(env!("CARGO_BIN_EXE_tidemill"))
            .args([command, file.to_str().unwrap(), "--json", "--url", &daemon.url])
            .env("TIDEMILL_CONFIG", Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml"))
            .env("TIDEMILL_DATA_DIR", directory.path())
            .output()
            .unwrap()
    };
    let output = ask("backtest");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!((&result["bars"], &result["kind"]), (&json!(40), &json!("backtest")), "{result}");

    let sweep = "symbol = \"cli\"\ninterval = \"1d\"\nsignals = { strategy = \"ma_crossover\" }\n\
                 params = { fast = [2, 3], slow = [5, 8] }\nfrom = \"2026-01-06T00:00:00Z\"\n";
    std::fs::write(&file, sweep).unwrap();
    let output = ask("sweep");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!((&result["bars"], &result["tried"]), (&json!(35), &json!(4)), "{result}");
}
