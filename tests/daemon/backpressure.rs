//! A producer far faster than the pipeline: memory flat, HTTP answers 429 with Retry-After, nothing lost.

use crate::process::Daemon;
use serde_json::{Value, json};

const BATCH: usize = 50;
const BATCHES: usize = 80;
/// Words of each text: about 15 kB.
const WORDS: usize = 1_800;
/// How far memory may grow; all that is sent is several times as much.
const GROWTH_MIB: u64 = 40;

#[tokio::test]
async fn overload_is_refused_with_429_and_everything_acknowledged_is_processed() {
    let directory = tempfile::tempdir().unwrap();
    let settings = [
        "encoder.kind=hashing",
        "http.max_backlog_records=300",
        "log.source.max_in_flight=100",
        "faults.delay_ms=5",
        "faults.delayed_stage=sentiment_analyzer",
        "actors.sentiment_analyzer.batch_messages=1",
    ];
    let daemon = Daemon::start(directory.path(), &settings).await;
    let mut acknowledged = 0;
    let mut refused = 0;
    let mut peak = 0;
    let before = daemon.resident_bytes();
    for batch in 0..BATCHES {
        let documents: Vec<Value> = (0..BATCH)
            .map(|index| {
                let name = batch * BATCH + index;
                let text = format!("{} item {name} of lot {batch} {}", "ballast ".repeat(WORDS), name * 7919);
                json!({"id": format!("d{name}"), "source": "news", "text": text})
            })
            .collect();
        let (status, answer) = daemon.post("/v1/documents", &Value::Array(documents)).await;
        match status {
            202 => acknowledged += answer["accepted"].as_array().unwrap().len(),
            429 => {
                refused += BATCH;
                assert_eq!(answer["error"]["code"], "TM0016", "{answer}");
            }
            other => panic!("{other}: {answer}"),
        }
        peak = peak.max(daemon.resident_bytes());
    }
    assert!(refused > 0, "a full intake refuses");
    assert!(acknowledged > 0, "an empty one accepts");
    let grown = peak.saturating_sub(before) >> 20;
    assert!(grown < GROWTH_MIB, "memory stays flat: grew by {grown} MiB");
    daemon.drained().await;
    let documents = daemon.all("/v1/documents").await.len();
    assert_eq!(documents, acknowledged, "nothing acknowledged is lost, nothing refused was kept");
}
