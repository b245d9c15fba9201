//! The document path as a user sees it: post or produce, then ask.

use std::time::Duration;

use crate::process::{ACTORS, Daemon};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;

const LEXICAL: &[&str] = &["encoder.kind=hashing"];
const HEADLINE: &str =
    "Harbour Freightways raises its full year dividend forecast after record container volumes in the north";

async fn start(directory: &tempfile::TempDir) -> Daemon {
    Daemon::start(directory.path(), LEXICAL).await
}

async fn verdict(daemon: &Daemon, id: &str) -> serde_json::Value {
    daemon.wait_for(&format!("/v1/documents/{id}"), "a verdict", |value| value["analysis"].is_object()).await
}

#[tokio::test]
async fn posted_document_is_stored_scored_searchable_and_explained() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = start(&directory).await;
    let document = json!({
        "id": "first", "source": "news", "title": "Dividend", "text": HEADLINE, "symbols": ["hfw"],
        "published_at": "2026-01-02T03:04:05Z", "desk": "north",
    });
    let (status, answer) = daemon.post("/v1/documents", &document).await;
    assert_eq!(status, 202, "{answer}");
    let correlation = answer["accepted"][0]["correlation_id"].as_str().unwrap().to_owned();

    let stored = verdict(&daemon, "first").await;
    let analysis = &stored["analysis"];
    assert_eq!(analysis["verdict"], "stored");
    assert_eq!(analysis["correlation_id"], correlation.as_str());
    assert_eq!(stored["metadata"]["desk"], "north", "unknown fields are kept");
    assert_eq!(analysis["symbols"][0], "HFW");
    let probabilities = &analysis["sentiment"]["probabilities"];
    let sum: f64 = ["positive", "neutral", "negative"].iter().map(|label| probabilities[label].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-3, "{probabilities}");
    assert_eq!(analysis["embedding"]["dimension"], 384);
    assert_eq!(analysis["origin"]["offset"], 0);
    for stage in ["fingerprint", "embed", "dedup", "sentiment", "sql"] {
        assert!(analysis["timings_ms"][stage].is_number(), "{stage} is timed: {analysis}");
    }

    let found = daemon
        .wait_for("/v1/search?q=container+volumes+dividend+forecast&k=3", "the document to be found", |value| {
            value["results"].as_array().is_some_and(|hits| !hits.is_empty())
        })
        .await;
    assert_eq!(found["results"][0]["id"], "first");
    let (_, actors) = daemon.get("/v1/actors").await;
    for shown in ["utilisation_ratio", "done_per_second", "capacity", "depth", "restarts"] {
        assert!(actors.to_string().contains(shown), "{shown} is shown: {actors}");
    }
    for id in ["first", correlation.as_str()] {
        let (status, way) = daemon.get(&format!("/v1/explain/{id}")).await;
        assert_eq!(status, 200, "{way}");
        assert!(way.to_string().contains(&correlation), "{way}");
    }
}

#[tokio::test]
async fn copies_are_duplicates_of_the_first_and_say_why() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = start(&directory).await;
    let near = HEADLINE.replace("north", "south");
    let batch = json!([
        {"id": "original", "source": "news", "text": HEADLINE},
        {"id": "exact", "source": "reddit", "text": format!("  {} https://t.co/abc ", HEADLINE.to_uppercase())},
        {"id": "near", "source": "twitter", "text": near},
        {"id": "other", "source": "news", "text": "Copper miners in the south report weaker output and close two shafts"},
        {"id": "original", "source": "news", "text": HEADLINE},
    ]);
    let (status, answer) = daemon.post("/v1/documents", &batch).await;
    assert_eq!((status, answer["accepted"].as_array().unwrap().len()), (202, 5), "{answer}");
    assert_eq!(verdict(&daemon, "other").await["analysis"]["verdict"], "stored");
    let exact = verdict(&daemon, "exact").await["analysis"].clone();
    assert_eq!(
        (&exact["verdict"], &exact["duplicate_of"], &exact["rule"]),
        (&json!("duplicate"), &json!("original"), &json!("exact"))
    );
    assert_eq!(exact["similarity"], 1.0);
    assert!(exact["sentiment"].is_null(), "a duplicate carries no sentiment of its own");
    let near = verdict(&daemon, "near").await["analysis"].clone();
    assert_eq!(near["duplicate_of"], "original", "{near}");
    assert!(near["rule"] == "minhash" || near["rule"] == "cosine", "{near}");
    assert!(near["similarity"].as_f64().unwrap() >= 0.7, "{near}");
    assert_eq!(verdict(&daemon, "original").await["analysis"]["verdict"], "stored", "never a duplicate of itself");
    daemon.drained().await;
    assert_eq!(daemon.all("/v1/documents").await.len(), 4);
}

#[tokio::test]
async fn every_correlation_id_is_explained_repeats_and_replaced_revisions_too() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = start(&directory).await;
    let revised = "Quarry owner Slate and Sons closes its two oldest pits after a wet spring";
    let mut correlations = Vec::new();
    for text in [HEADLINE, HEADLINE, revised] {
        let (status, answer) =
            daemon.post("/v1/documents", &json!({"id": "told", "source": "news", "text": text})).await;
        assert_eq!(status, 202, "{answer}");
        correlations.push(answer["accepted"][0]["correlation_id"].as_str().unwrap().to_owned());
    }
    daemon.drained().await;
    for correlation in &correlations {
        let (status, way) = daemon.get(&format!("/v1/explain/{correlation}")).await;
        assert_eq!(status, 200, "{way}");
        assert_eq!(way["documents"][0]["document"]["text"], revised, "{way}");
        let deliveries = way["documents"][0]["deliveries"].as_array().unwrap();
        let told: Vec<_> = deliveries.iter().map(|row| (&row["correlation_id"], &row["outcome"])).collect();
        let outcomes = [json!("stored"), json!("repeated"), json!("stored")];
        let expected: Vec<_> = correlations.iter().map(|id| json!(id)).collect();
        assert_eq!(told, expected.iter().zip(&outcomes).collect::<Vec<_>>(), "{way}");
    }
}

#[tokio::test]
async fn orderly_stop_leaves_whole_files() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = start(&directory).await;
    daemon.post("/v1/documents", &json!({"id": "kept", "source": "news", "text": HEADLINE})).await;
    daemon.drained().await;
    assert!(daemon.stop().await.success(), "{}", daemon.log_tail());
    let mut left: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        left.push(entry.unwrap().file_name().to_string_lossy().into_owned());
    }
    assert!(left.iter().any(|name| name.contains("sqlite")), "{left:?}");
    assert!(!left.iter().any(|name| name.ends_with("-wal") || name.ends_with("-shm")), "{left:?}");
}

#[tokio::test]
async fn without_an_encoder_copies_are_found_by_their_words_and_nothing_is_scored() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(directory.path(), &["encoder.kind=none"]).await;
    let batch = json!([
        {"id": "original", "source": "news", "text": HEADLINE},
        {"id": "exact", "source": "reddit", "text": HEADLINE.to_uppercase()},
    ]);
    assert_eq!(daemon.post("/v1/documents", &batch).await.0, 202);
    for _ in 0..2 {
        let original = verdict(&daemon, "original").await["analysis"].clone();
        assert_eq!(original["verdict"], "stored");
        assert!(original["sentiment"].is_null() && original["embedding"].is_null(), "{original}");
        assert_eq!(verdict(&daemon, "exact").await["analysis"]["duplicate_of"], "original");
        let (status, answer) = daemon.get("/v1/search?q=dividend").await;
        assert_eq!(status, 503, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("encoder.kind"), "{answer}");
        daemon.kill_and_restart().await;
    }
}

#[tokio::test]
async fn kafka_client_feeds_the_single_binary() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = start(&directory).await;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &daemon.kafka)
        .set("enable.idempotence", "true")
        .set("compression.type", "zstd")
        .create()
        .unwrap();
    let good = json!({"id": "from-kafka", "source": "economic", "text": HEADLINE}).to_string();
    let headers = OwnedHeaders::new().insert(Header { key: "correlation-id", value: Some("kafka-trace-1") });
    for (key, payload) in [("good", good.as_str()), ("bad", "{\"source\": \"news\", ")] {
        let record = FutureRecord::to("documents").key(key).payload(payload).headers(headers.clone());
        producer.send(record, Duration::from_secs(10)).await.unwrap();
    }
    assert_eq!(verdict(&daemon, "from-kafka").await["analysis"]["correlation_id"], "kafka-trace-1");
    let letters = daemon
        .wait_for("/v1/dead-letters", "the bad record to be dead", |value| {
            value["items"].as_array().is_some_and(|items| items.len() == 1)
        })
        .await;
    assert_eq!(letters["items"][0]["code"], "TM0002");
    let (_, letter) = daemon.get(&format!("/v1/dead-letters/{}", letters["items"][0]["id"].as_str().unwrap())).await;
    assert!(letter.to_string().contains("{\\\"source\\\": \\\"news\\\", "), "byte for byte: {letter}");
}

#[tokio::test]
async fn every_actor_can_be_restarted_and_the_process_killed_without_a_trace() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = start(&directory).await;
    for (index, actor) in ACTORS.iter().enumerate() {
        let text = format!("{actor} note {index}: the ministry of {actor} {index} publishes table {index}{index}");
        let (status, answer) =
            daemon.post("/v1/documents", &json!({"id": actor, "source": "news", "text": text})).await;
        assert_eq!(status, 202, "{answer}");
        let (status, answer) = daemon.post(&format!("/v1/actors/{actor}/restart"), &json!({})).await;
        assert!(status < 300, "{actor}: {status} {answer}");
        assert_eq!(verdict(&daemon, actor).await["analysis"]["verdict"], "stored", "{actor}");
    }
    daemon.kill_and_restart().await;
    let copy = json!({"id": "after", "source": "web",
        "text": "source note 8: the ministry of source 8 publishes table 88"});
    daemon.post("/v1/documents", &copy).await;
    let after = verdict(&daemon, "after").await;
    assert_eq!(after["analysis"]["duplicate_of"], "source", "duplicate memory survives: {after}");
    assert_eq!(daemon.all("/v1/documents").await.len(), ACTORS.len() + 1);
    assert!(daemon.stop().await.success(), "{}", daemon.log_tail());
}

#[tokio::test]
async fn poison_is_dead_lettered_alone_and_replayed_once_it_can_pass() {
    let directory = tempfile::tempdir().unwrap();
    let poison = ["encoder.kind=hashing", "faults.poison_marker=POISON-PILL", "faults.poison_stage=sentiment_analyzer"];
    let mut daemon = Daemon::start(directory.path(), &poison).await;
    let batch: Vec<_> = (0..10)
        .map(|index| {
            let text = format!(
                "{} bulletin {index} of region {index}{index} on matter {index}",
                if index == 4 { "POISON-PILL" } else { "plain" }
            );
            json!({"id": format!("d{index}"), "source": "news", "text": text})
        })
        .collect();
    daemon.post("/v1/documents", &json!(batch)).await;
    let letters = daemon
        .wait_for("/v1/dead-letters", "the poison to be dead", |value| {
            value["items"].as_array().is_some_and(|items| !items.is_empty())
        })
        .await;
    assert_eq!(letters["items"][0]["document_id"], "d4");
    assert_eq!(letters["items"][0]["stage"], "sentiment_analyzer");
    daemon.drained().await;
    assert_eq!(daemon.all("/v1/documents").await.len(), 9, "the rest of its batch goes on");
    assert!(daemon.stop().await.success());
    drop(daemon);

    let daemon = Daemon::start(directory.path(), LEXICAL).await;
    let id = letters["items"][0]["id"].as_str().unwrap();
    let (status, answer) = daemon.post(&format!("/v1/dead-letters/{id}/replay"), &json!({})).await;
    assert!(status < 300, "{answer}");
    assert_eq!(verdict(&daemon, "d4").await["analysis"]["verdict"], "stored");
}

/// With the cheaper rules off, near copies in one batch and in flight meet only in the near-duplicate check by meaning.
#[tokio::test]
async fn of_near_copies_in_one_batch_exactly_one_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let settings = ["encoder.kind=hashing", "dedup.exact=false", "dedup.minhash=false"];
    let daemon = Daemon::start(directory.path(), &settings).await;
    let copies: Vec<_> = (0..30)
        .map(|index| json!({"id": format!("copy-{index:02}"), "source": "news", "text": format!("{HEADLINE}{}", "!".repeat(index))}))
        .collect();
    let (status, answer) = daemon.post("/v1/documents", &json!(copies)).await;
    assert_eq!(status, 202, "{answer}");
    daemon.drained().await;
    for item in daemon.all("/v1/documents").await {
        let analysis = &item["analysis"];
        if item["id"] == "copy-00" {
            assert_eq!(analysis["verdict"], "stored", "{analysis}");
        } else {
            assert_eq!(
                (&analysis["rule"], &analysis["duplicate_of"]),
                (&json!("cosine"), &json!("copy-00")),
                "{analysis}"
            );
        }
    }
}

/// A revision takes its document's place: what resembled only the old text is no copy of it any more.
#[tokio::test]
async fn a_revision_replaces_its_document_in_search_and_in_the_duplicate_check() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = start(&directory).await;
    let other = "Copper miners in the far south report weaker output this spring and close two of their older shafts";
    let bodies = [("other", other), ("revised", HEADLINE), ("revised", other), ("like-the-old", HEADLINE)];
    for (id, text) in bodies {
        let (status, answer) = daemon.post("/v1/documents", &json!({"id": id, "source": "news", "text": text})).await;
        assert_eq!(status, 202, "{answer}");
    }
    daemon.drained().await;
    let revised = verdict(&daemon, "revised").await;
    assert_eq!(revised["analysis"]["duplicate_of"], "other", "{revised}");
    let like = verdict(&daemon, "like-the-old").await;
    assert_eq!(like["analysis"]["verdict"], "stored", "{like}");
}

/// After the verdict is durable a stage that can't go on must not make it dead as well.
#[tokio::test]
async fn a_stage_after_the_verdict_never_makes_it_dead() {
    for stage in ["vector_writer", "publisher"] {
        let directory = tempfile::tempdir().unwrap();
        let poison_stage = format!("faults.poison_stage={stage}");
        let settings = ["encoder.kind=hashing", "faults.poison_marker=POISON-PILL", &poison_stage];
        let daemon = Daemon::start(directory.path(), &settings).await;
        let body = json!({"id": "late", "source": "news", "text": format!("POISON-PILL {HEADLINE}")});
        daemon.post("/v1/documents", &body).await;
        daemon.drained().await;
        assert_eq!(verdict(&daemon, "late").await["analysis"]["verdict"], "stored", "{stage}");
        assert!(daemon.all("/v1/dead-letters").await.is_empty(), "{stage}");
    }
}

#[tokio::test]
async fn another_encoder_on_the_same_data_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = start(&directory).await;
    assert!(daemon.stop().await.success());
    drop(daemon);
    std::fs::write(directory.path().join("encoder"), "some-other-model").unwrap();
    let (status, log) = Daemon::fails_to_start(directory.path(), LEXICAL);
    assert_eq!(status.code(), Some(78), "{log}");
    assert!(log.contains("some-other-model"), "{log}");
}
