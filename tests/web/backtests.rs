//! Backtests over HTTP: at once, as jobs, refused. No dispatcher runs, so jobs stay where they are put.

use serde_json::{Value, json};
use tidemill::messages::backtest::{RunKind, SweepRow};
use tidemill::messages::bar::decode;
use tidemill::messages::correlation::CorrelationId;
use tidemill::messages::record::Position;
use tidemill::stores::backtests::BacktestStore;
use tidemill::stores::bars::{BarRow, BarStore};

use super::server::{Server, refused};

/// One trade: in at 10, out at 12.
fn request() -> Value {
    json!({"prices": {"close": [10, 11, 12, 11]}, "signals":
        {"entries": [true, false, false, false], "exits": [false, false, true, false]}, "init_cash": 100})
}

async fn keep_bars(server: &Server, count: i64) {
    let rows = (0..count).map(|index| {
        let ts = chrono::DateTime::from_timestamp(index * 60, 0).unwrap();
        let body = json!({"symbol": "AAPL", "ts": ts, "interval": "1m", "open": 5, "high": 6, "low": 4, "close": 5});
        BarRow {
            bar: decode(body.to_string().as_bytes()).unwrap(),
            correlation_id: CorrelationId::random(),
            origin: Position { topic: "bars".into(), partition: 0, offset: index },
            record_ms: 0,
        }
    });
    server.market.write_bars(rows.collect()).await.unwrap();
}

#[tokio::test]
async fn small_backtest_is_answered_kept_and_told() {
    let server = Server::start().await;
    let mut asked = request();
    asked["portfolio_id"] = json!("mine");
    asked["return"] = json!(["metrics", "trades", "equity"]);
    let answer = server.post("/v1/backtests", &asked).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let result = answer.json();
    assert_eq!((&result["portfolio_id"], &result["kind"]), (&json!("mine"), &json!("backtest")));
    assert_eq!(
        (&result["final_value"], &result["trades_count"], &result["bars"]),
        (&json!(120.0), &json!(1), &json!(4))
    );
    assert_eq!(result["metrics"]["total_return"], json!(0.2), "{result}");
    assert_eq!(result["equity"]["value"], json!([100.0, 110.0, 120.0, 120.0]));
    let shown = server.get(&format!("/v1/backtests/{}", result["id"].as_str().unwrap())).await.json();
    assert_eq!((&shown["metrics"], &shown["equity"]), (&result["metrics"], &result["equity"]));
    assert_eq!((&shown["request"]["signals"], &shown["request"]["prices"]), (&json!("given"), &Value::Null));
    assert_eq!(server.get("/v1/backtests/mine").await.json()["id"], result["id"]);
    let listed = server.get("/v1/backtests?kind=backtest&strategy=signals&limit=5").await.json();
    assert_eq!((&listed["items"][0]["id"], &listed["items"][0]["final_value"]), (&result["id"], &json!(120.0)));
    let records = server.log.records.lock();
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(&*record.topic, "backtests");
    let told: Value = serde_json::from_slice(&record.value).unwrap();
    assert_eq!((&told["id"], &told["trades"]), (&result["id"], &result["trades"]));
}

#[tokio::test]
async fn every_backtest_has_a_chart_and_sweeps_with_a_surface() {
    let server = Server::start().await;
    let result = server.post("/v1/backtests", &request()).await.json();
    assert_eq!((&result["equity"], &result["curve"]), (&Value::Null, &Value::Null), "nobody asked for them");
    let id = result["id"].as_str().unwrap();
    let shown = server.get(&format!("/v1/backtests/{id}")).await.json();
    assert_eq!(shown["curve"], Value::Null);
    let chart = server.get(&format!("/v1/backtests/{id}/chart.svg")).await;
    assert_eq!((chart.status, chart.header("content-type")), (200, "image/svg+xml"), "{chart:?}");
    assert!(chart.text.starts_with("<svg ") && chart.text.contains("from 100 to 120, 20 %"), "{}", chart.text);
    assert_eq!(server.get("/v1/backtests/none/chart.svg").await.refusal(), refused(404, "TM0014"));

    let mut run = server.market.run(id).await.unwrap().unwrap();
    (run.id, run.kind) = ("a-sweep".into(), RunKind::Sweep);
    server.market.save_run(run.clone()).await.unwrap();
    assert_eq!(server.get("/v1/backtests/a-sweep/chart.svg").await.refusal(), refused(404, "TM0014"));
    run.id = "a-surface".into();
    run.result["surface"] = json!({"x": "fast", "y": "slow", "metric": "sharpe_ratio", "x_values": [2.0, 3.0],
        "y_values": [5.0], "cells": [0.5, 1.5]});
    server.market.save_run(run).await.unwrap();
    let map = server.get("/v1/backtests/a-surface/chart.svg").await;
    assert!(map.status == 200 && map.text.contains("sharpe_ratio over fast and slow"), "{map:?}");
}

#[tokio::test]
async fn large_backtest_and_one_that_will_not_wait_become_jobs() {
    let server = Server::start().await;
    keep_bars(&server, 600).await;
    let large = json!({"symbol": "aapl", "interval": "1m", "signals": "holding"});
    let answer = server.post("/v1/backtests", &large).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let job = server.get(&format!("/v1/jobs/{}", answer.json()["job_id"].as_str().unwrap())).await.json();
    assert_eq!(
        (&job["kind"], &job["state"], &job["payload"]["symbol"]),
        (&json!("backtest"), &json!("queued"), &json!("aapl"))
    );
    let part = json!({"symbol": "AAPL", "interval": "60s", "signals": "holding", "to": "1970-01-01T01:00:00Z"});
    let answer = server.post("/v1/backtests", &part).await;
    assert_eq!((answer.status, &answer.json()["bars"]), (200, &json!(60)), "{answer:?}");
    assert_eq!(server.post("/v1/backtests?wait=false", &part).await.status, 202);
    let long = json!({"prices": {"close": vec![10; 900]}, "signals": "holding"});
    let refusal = server.post("/v1/backtests", &long).await;
    assert_eq!(refusal.refusal(), refused(413, "TM0006"), "too large for a job: {refusal:?}");
}

#[tokio::test]
async fn bad_backtests_are_refused_by_field_and_row() {
    let server = Server::start().await;
    let times = |minutes: &[i64]| -> Value {
        minutes.iter().map(|minute| json!(chrono::DateTime::from_timestamp(minute * 60, 0).unwrap())).collect()
    };
    let close = |close: Value| json!({"prices": {"close": close}, "signals": "holding"});
    let timed = |minutes: &[i64]| json!({"prices": {"close": vec![1; minutes.len()], "ts": times(minutes)}, "signals": "holding"});
    let with = |key: &str, value: Value| {
        let mut request = request();
        request[key] = value;
        request
    };
    let mixed: Vec<i64> = (0..30).chain((0..30).map(|hour| 30 + hour * 60)).collect();
    for (what, body, field, words) in [
        ("no bars", close(json!([])), "prices.close", "no bars"),
        ("no price at all", close(json!([null, null])), "prices.close", "no bar with a price"),
        ("zero", close(json!([1, 0, 1])), "prices.close", "[1]"),
        ("negative", close(json!([1, 1, -2])), "prices.close", "[2]"),
        ("unsorted", timed(&[0, 2, 1]), "prices.ts", "[2]"),
        ("doubled", timed(&[0, 1, 1]), "prices.ts", "[2]"),
        ("mixed intervals", timed(&mixed), "prices.ts", "frequency"),
        ("signals too long", with("prices", json!({"close": [1, 2]})), "signals.entries", "4"),
        ("fees over 1", with("fees", json!(1.5)), "fees", "1.5"),
        ("no cash", with("init_cash", json!(0)), "init_cash", "0"),
        ("nothing to trade on", json!({"signals": "holding"}), "symbol", "symbol and interval"),
        ("no interval", json!({"signals": "holding", "symbol": "A"}), "interval", "interval"),
        ("no such bars", json!({"signals": "holding", "symbol": "A", "interval": "1d"}), "symbol", "no bars of A"),
        ("no symbol to read about", with("signals", json!("sentiment")), "symbol", "sentiment"),
        (
            "window of nothing",
            with("signals", json!({"strategy": "ma_crossover", "params": {"fast": 0}})),
            "signals.params.fast",
            "0",
        ),
        (
            "wrong threshold",
            json!({"prices": {"close": [1]}, "symbol": "A", "signals":
            {"strategy": "sentiment", "params": {"enter_above": 2}}}),
            "signals.params.enter_above",
            "at most 1",
        ),
    ] {
        let answer = server.post("/v1/backtests", &body).await;
        assert_eq!(answer.refusal(), refused(400, "TM0051"), "{what}: {answer:?}");
        let error = &answer.json()["error"];
        assert_eq!(error["field"], field, "{what}: {error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{what}: {error}");
    }
    for (what, body) in [
        ("unknown key", with("feez", json!(1))),
        ("unknown strategy", with("signals", json!({"strategy": "luck"}))),
        ("unknown parameter", with("signals", json!({"strategy": "rsi", "params": {"windo": 3}}))),
        ("unknown direction", with("direction", json!("sideways"))),
    ] {
        let answer = server.post("/v1/backtests", &body).await;
        assert_eq!(answer.refusal(), refused(400, "TM0004"), "{what}: {answer:?}");
    }
    let one_bar = server.post("/v1/backtests", &close(json!([5]))).await;
    assert_eq!((one_bar.status, &one_bar.json()["bars"]), (200, &json!(1)), "one bar is a backtest: {one_bar:?}");
    let gap = server.post("/v1/backtests", &close(json!([5, null, 6]))).await;
    assert_eq!((gap.status, &gap.json()["bars"]), (200, &json!(3)), "a missing price is no error: {gap:?}");
}

fn sweep() -> Value {
    json!({"symbol": "AAPL", "interval": "1d", "signals": {"strategy": "ma_crossover"},
        "params": {"fast": {"range": [2, 11]}, "slow": [20, 30]}})
}

#[tokio::test]
async fn sweep_is_a_job_and_a_senseless_one_is_none() {
    let server = Server::start().await;
    let answer = server.post("/v1/sweeps", &sweep()).await;
    assert_eq!((answer.status, &answer.json()["sets"]), (202, &json!(20)), "{answer:?}");
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let early = server.get(&format!("/v1/sweeps/{id}")).await;
    assert_eq!(early.refusal(), refused(404, "TM0014"));
    assert!(early.json()["error"]["message"].as_str().unwrap().contains("queued"), "{early:?}");
    let with = |key: &str, value: Value| {
        let mut request = sweep();
        request[key] = value;
        request
    };
    let range = json!({"range": [1, 31_623]});
    for (what, body, field) in [
        ("10^9 sets", with("params", json!({"fast": range, "slow": range})), "params"),
        (
            "all of many rows",
            {
                let mut many = with("keep", json!("all"));
                many["params"] = json!({"fast": {"range": [1, 200]}});
                many
            },
            "keep",
        ),
        ("unknown metric", with("keep", json!({"top": 3, "by": "luck"})), "keep.by"),
        ("nothing varies", with("params", json!({})), "params"),
    ] {
        let answer = server.post("/v1/sweeps", &body).await;
        assert_eq!(answer.refusal(), refused(400, "TM0051"), "{what}: {answer:?}");
        assert_eq!(answer.json()["error"]["field"], field, "{what}: {answer:?}");
    }
    let unknown = server.post("/v1/sweeps", &with("combin", json!("zip"))).await;
    assert_eq!(unknown.refusal(), refused(400, "TM0004"), "{unknown:?}");
    assert_eq!(server.get("/v1/sweeps/none").await.refusal(), refused(404, "TM0014"));
    assert_eq!(server.get("/v1/backtests/none").await.refusal(), refused(404, "TM0014"));
}

#[tokio::test]
async fn rows_of_a_sweep_are_paged() {
    let server = Server::start().await;
    let rows = (0..5).map(|position| SweepRow {
        position,
        params: json!({"fast": position}).as_object().unwrap().clone(),
        metrics: json!({"sharpe_ratio": null}).as_object().unwrap().clone(),
    });
    server.market.write_sweep_rows("s", "c", rows.collect()).await.unwrap();
    let first = server.get("/v1/sweeps/s?limit=3").await.json();
    let rest =
        server.get(&format!("/v1/sweeps/s?limit=3&cursor={}", first["next_cursor"].as_str().unwrap())).await.json();
    assert_eq!((first["items"].as_array().unwrap().len(), rest["items"].as_array().unwrap().len()), (3, 2));
    assert_eq!((&rest["items"][1]["params"]["fast"], &rest["next_cursor"]), (&json!(4), &Value::Null));
    for wrong in ["cursor=x", "cursor=-1", "limit=0", "from=3"] {
        assert_eq!(server.get(&format!("/v1/sweeps/s?{wrong}")).await.refusal(), refused(400, "TM0013"), "{wrong}");
    }
}
