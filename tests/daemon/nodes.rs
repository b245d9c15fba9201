//! Nodes by their roles, as processes.

use serde_json::json;

use crate::process::Daemon;

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
