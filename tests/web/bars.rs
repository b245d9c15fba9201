//! Bars over HTTP: in by the log, out of the store; signals out of the store.

use serde_json::{Value, json};
use tidemill::messages::bar::decode;
use tidemill::messages::correlation::CorrelationId;
use tidemill::messages::record::Position;
use tidemill::stores::bars::{BarRow, BarStore};

use super::fakes::LogMood;
use super::server::{Answer, Server, refused};

fn bar(symbol: &str, day: u32, close: f64) -> Value {
    json!({"symbol": symbol, "ts": format!("2026-01-{day:02}T00:00:00Z"), "interval": "1d", "open": 10, "high": 20,
        "low": 5, "close": close, "volume": 1})
}

/// As the writer would.
async fn keep(server: &Server, bars: &[Value]) {
    let rows = bars.iter().zip(0..).map(|(bar, offset)| BarRow {
        bar: decode(bar.to_string().as_bytes()).unwrap(),
        correlation_id: CorrelationId::random(),
        origin: Position { topic: "bars".into(), partition: 0, offset },
        record_ms: 0,
    });
    server.market.write_bars(rows.collect()).await.unwrap();
}

#[tokio::test]
async fn bars_go_to_their_topic_and_are_answered_after_the_acknowledgement() {
    let server = Server::start().await;
    let request = server.client.post(server.url("/v1/bars")).header("correlation-id", "c").json(&bar("aapl", 2, 12.0));
    let answer = Answer::of(request).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let expected = json!({"accepted": [{"index": 0, "id": "AAPL/1d/2026-01-02T00:00:00Z", "correlation_id": "c"}],
        "rejected": []});
    assert_eq!(answer.json(), expected);
    let lines = format!("{}\n{}\n", bar("AAPL", 3, 13.0), bar("MSFT", 3, 25.0));
    let answer = server.post_bytes("/v1/bars", "application/x-ndjson", lines).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let receipt = answer.json();
    assert_eq!(receipt["accepted"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&receipt["rejected"][0]["code"], &receipt["rejected"][0]["field"]),
        (&json!("TM0050"), &json!("close"))
    );
    let records = server.log.records.lock();
    let keys: Vec<_> = records.iter().map(|record| (&*record.topic, record.key.as_deref().unwrap())).collect();
    assert_eq!(keys, [("bars", &b"AAPL"[..]), ("bars", &b"AAPL"[..])], "one partition a symbol");
}

#[tokio::test]
async fn senseless_bars_and_a_log_that_is_away_are_told_apart() {
    let server = Server::start().await;
    let refusal = server.post("/v1/bars", &bar("AAPL", 2, -1.0)).await;
    assert_eq!(refusal.refusal(), refused(400, "TM0050"));
    assert_eq!(server.post("/v1/bars", &json!([])).await.refusal(), refused(400, "TM0002"));
    let both = server.post("/v1/bars", &json!([bar("", 2, 10.0), bar("A", 2, 0.0)])).await;
    assert!(both.json()["error"]["message"].as_str().unwrap().starts_with("all 2 bars are invalid"), "{both:?}");
    let many = server.post("/v1/bars", &json!(vec![bar("A", 2, 10.0); 2001])).await;
    assert_eq!(many.refusal(), refused(413, "TM0024"));
    *server.log.mood.lock() = LogMood::Away;
    assert_eq!(server.post("/v1/bars", &bar("AAPL", 2, 10.0)).await.refusal(), refused(503, "TM0017"));
}

#[tokio::test]
async fn bars_are_read_in_pages_oldest_first() {
    let server = Server::start().await;
    let bars: Vec<Value> = (1..=9).rev().map(|day| bar("AAPL", day, 10.0 + f64::from(day))).collect();
    keep(&server, &bars).await;
    let path = "/v1/bars?symbol=aapl&interval=1d&from=2026-01-03&to=2026-01-08T00:00:00Z&limit=3";
    let first = server.get(path).await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = server.get(&format!("{path}&cursor={cursor}")).await.json();
    let closes: Vec<f64> = [&first, &rest]
        .into_iter()
        .flat_map(|page| page["items"].as_array().unwrap())
        .map(|bar| bar["close"].as_f64().unwrap())
        .collect();
    assert_eq!(closes, [13.0, 14.0, 15.0, 16.0, 17.0]);
    assert!(rest["next_cursor"].is_null());
    assert_eq!(first["items"][0]["ts"], "2026-01-03T00:00:00Z");
    assert_eq!(server.get("/v1/bars?symbol=NONE&interval=1d").await.json()["items"], json!([]));
}

#[tokio::test]
async fn questions_without_sense_are_refused_by_parameter() {
    let server = Server::start().await;
    for (query, code, field) in [
        ("interval=1d", "TM0003", "symbol"),
        ("symbol=A", "TM0003", "interval"),
        ("symbol=A&interval=day", "TM0013", "interval"),
        ("symbol=A%20B&interval=1d", "TM0013", "symbol"),
        ("symbol=A&interval=1d&limit=10001", "TM0013", "limit"),
        ("symbol=A&interval=1d&from=soon", "TM0009", "from"),
        ("symbol=A&interval=1d&until=2026-01-01", "TM0013", "until"),
    ] {
        let answer = server.get(&format!("/v1/bars?{query}")).await;
        assert_eq!(answer.refusal(), refused(400, code), "{query}");
        assert_eq!(answer.json()["error"]["field"], field, "{query}");
    }
    assert_eq!(server.get("/v1/bars?symbol=A&interval=1d&cursor=x").await.refusal(), refused(400, "TM0013"));
    assert_eq!(server.get("/v1/signals").await.refusal(), refused(400, "TM0003"));
    assert_eq!(server.get("/v1/signals?symbol=A").await.json()["items"], json!([]));
}
