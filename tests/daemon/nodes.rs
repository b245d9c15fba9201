//! Nodes by their roles, as processes.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::kafka::Kafka;
use crate::process::Daemon;
use crate::{postgres, services};

const WORKER: &[&str] = &["encoder.kind=hashing", "node.roles=worker"];

#[tokio::test]
async fn a_worker_alone_has_the_pipeline_and_refuses_intake() {
    let directory = tempfile::tempdir().unwrap();
    let mut worker = Daemon::start(directory.path(), WORKER).await;
    let (status, answer) = worker.post("/v1/documents", &json!({"source": "news", "text": "a text"})).await;
    assert_eq!((status, &answer["error"]["code"]), (421, &json!("TM0040")), "{answer}");
    let (_, topology) = worker.get("/v1/topology").await;
    for name in ["source", "embedder", "http"] {
        assert!(topology.to_string().contains(&format!("\"{name}\"")), "{name}: {topology}");
    }
    let (status, found) = worker.get("/v1/search?q=text").await;
    assert_eq!(status, 200, "{found}");
    assert!(worker.stop().await.success(), "{}", worker.log_tail());
}

#[tokio::test]
async fn an_api_node_alone_on_embedded_stores_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let (status, log) = Daemon::fails_to_start(directory.path(), &["node.roles=api"]);
    assert_eq!(status.code(), Some(78), "{log}");
    assert!(log.contains("node.roles") && log.contains("log.backend = \"kafka\""), "{log}");
}

/// More than an API node needs, less than the encoder's weights alone (90 MB).
const NO_MODEL_BYTES: u64 = 80 << 20;

/// Settings of nodes that share a broker and a database; `None` if there is none.
fn shared_services() -> Option<Vec<String>> {
    let broker = Kafka::shared().inspect_err(|why| services::skip("kafka", why)).ok()?;
    let database = postgres::fresh_database().inspect_err(|why| services::skip("postgres", why)).ok()?;
    let name = format!("nodes-{}", std::process::id());
    Some(vec![
        "log.backend=kafka".to_owned(),
        format!("kafka.brokers={}", broker.brokers()),
        format!("kafka.group={name}"),
        format!("kafka.topics.documents={name}-documents"),
        format!("kafka.topics.analyses={name}-analyses"),
        format!("kafka.topics.dead_letters={name}-dead-letters"),
        "store.backend=postgres".to_owned(),
        format!("postgres.url={database}"),
    ])
}

/// What `tidemill check` says of these settings.
fn check(directory: &Path, settings: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.arg("check").env("TIDEMILL_DATA_DIR", directory).args(["--set", "http.listen=127.0.0.1:0"]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

fn with<'a>(shared: &'a [String], own: &[&'a str]) -> Vec<&'a str> {
    shared.iter().map(String::as_str).chain(own.iter().copied()).collect()
}

#[tokio::test]
async fn an_api_node_has_no_model_takes_what_workers_process_and_passes_search_on() {
    let Some(shared) = shared_services() else { return };
    let directory = tempfile::tempdir().unwrap();
    let of = |name: &str| directory.path().join(name);
    let worker = Daemon::start(&of("worker"), &with(&shared, &["node.roles=worker"])).await;
    let urls = format!("node.worker_urls={}", worker.url);
    let own = ["node.roles=api", urls.as_str(), "encoder.model_dir=/nonexistent"];
    let mut api = Daemon::start(&of("api"), &with(&shared, &own)).await;

    let text = "Harbour Freightways raises its full year dividend forecast after record container volumes in the north";
    let (status, answer) = api.post("/v1/documents", &json!({"id": "first", "source": "news", "text": text})).await;
    assert_eq!(status, 202, "{answer}");
    let stored = api.wait_for("/v1/documents/first", "a verdict", |value| value["analysis"].is_object()).await;
    assert_eq!(stored["analysis"]["verdict"], "stored");
    let hits = |value: &serde_json::Value| value["results"].as_array().is_some_and(|hits| !hits.is_empty());
    let found = api.wait_for("/v1/search?q=container+volumes+at+sea&k=3", "the document to be found", hits).await;
    assert_eq!(found["results"][0]["id"], "first");
    let (status, way) = api.get("/v1/explain/first").await;
    assert_eq!(status, 200, "{way}");

    let (_, topology) = api.get("/v1/topology").await;
    assert!(!topology.to_string().contains("embedder") && !topology.to_string().contains("\"source\""), "{topology}");
    let (_, health) = api.get("/health").await;
    assert_eq!(health["node"]["roles"], json!(["api"]), "{health}");
    assert_eq!(health["node"]["workers"][0]["state"], "in", "{health}");
    let dependencies = health["dependencies"].as_array().unwrap();
    assert!(dependencies.iter().any(|it| it["name"] == "documents"), "{health}");
    for workers_own in ["encoder", "sentiment", "vectors"] {
        assert!(!dependencies.iter().any(|it| it["name"] == workers_own), "{workers_own} is not this node's: {health}");
    }

    let (small, large) = (api.resident_bytes(), worker.resident_bytes());
    println!("resident: api node {} MB, worker {} MB", small >> 20, large >> 20);
    assert!(small < NO_MODEL_BYTES, "the API node takes {small} bytes");
    assert!(large > small + NO_MODEL_BYTES, "the worker takes {large} bytes: is its model loaded?");

    let checked = check(&of("check"), &with(&shared, &own));
    assert!(checked.contains("takes work") && !checked.contains("models "), "{checked}");
    drop(worker);
    let checked = check(&of("check"), &with(&shared, &own));
    assert!(checked.contains("AWAY"), "{checked}");
    let (status, answer) = api.get("/v1/search?q=container").await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("TM0041")), "{answer}");
    let (status, answer) = api.post("/v1/documents", &json!({"source": "news", "text": text})).await;
    assert_eq!(status, 202, "without a worker documents are still taken: {answer}");
    assert!(api.stop().await.success(), "{}", api.log_tail());
}
