//! Nodes by their roles: what each serves, what it passes on, what it refuses.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidemill::config::http::HttpConfig;
use tidemill::config::node::{NodeConfig, Role};
use tidemill::config::secret::Secret;
use tidemill::stores::vectors::Neighbor;
use tidemill::web::state::{Node, Workers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::fakes::stored;
use super::server::{Server, limits, refused};
use tidemill::messages::analysis::VerdictLabel;

const TOKEN: &str = "a-token-of-the-workers";

/// An API node that knows these workers.
async fn api_node(urls: Vec<String>, change: impl FnOnce(&mut NodeConfig)) -> Server {
    let mut config = NodeConfig {
        roles: vec![Role::Api],
        worker_urls: urls,
        worker_token: Some(Secret::new(TOKEN)),
        ..NodeConfig::default()
    };
    change(&mut config);
    let workers = Workers::new(&config, &HttpConfig::default()).unwrap().map(Arc::new);
    Server::start_as(limits(), None, false, Node { api: true, worker: false, workers }).await
}

async fn worker() -> Server {
    Server::start_as(limits(), Some(TOKEN), false, Node { api: false, worker: true, workers: None }).await
}

fn base(server: &Server) -> String {
    format!("http://{}", server.address)
}

/// An address where nobody listens.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A server that answers everything with this head, without a body, and counts.
async fn always(head: &'static str) -> (String, Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mut request = vec![0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, count)
}

#[tokio::test]
async fn a_worker_refuses_intake_and_queries_and_says_who_serves_them() {
    let worker = worker().await;
    let client = &worker.client;
    let post =
        client.post(worker.url("/v1/documents")).bearer_auth(TOKEN).json(&json!({"source": "news", "text": "a"}));
    let answer = super::server::Answer::of(post).await;
    assert_eq!(answer.refusal(), refused(421, "TM0040"));
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("API node"), "{answer:?}");
    assert_eq!(worker.get("/v1/documents").await.refusal(), refused(421, "TM0040"));
    assert_eq!(worker.get("/v1/dead-letters").await.refusal(), refused(421, "TM0040"));
    assert!(worker.log.records.lock().is_empty());
    for path in ["/health", "/health/ready", "/metrics", "/v1/actors", "/v1/topology", "/openapi.json", "/"] {
        assert_eq!(worker.get(path).await.status, 200, "{path}");
    }
    assert_eq!(worker.get("/v1/search?q=text").await.status, 200, "a worker has the models");
    assert_eq!(worker.get("/health").await.json()["node"]["roles"], json!(["worker"]));
}

#[tokio::test]
async fn an_api_node_without_workers_takes_documents_and_says_why_it_has_no_search() {
    let api = api_node(Vec::new(), |_| {}).await;
    let answer = api.post("/v1/documents", &json!({"source": "news", "text": "a text"})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let search = api.get("/v1/search?q=text").await;
    assert_eq!(search.refusal(), refused(503, "TM0041"));
    assert_eq!(search.header("retry-after"), "2");
    assert!(search.json()["error"]["message"].as_str().unwrap().contains("node.worker_urls"), "{search:?}");
    assert_eq!(api.post("/v1/analyze", &json!({"texts": ["a"]})).await.refusal(), refused(503, "TM0041"));
    assert_eq!(api.post("/v1/embeddings", &json!({"input": "a"})).await.refusal(), refused(503, "TM0041"));
}

#[tokio::test]
async fn the_worker_of_repositories_is_offline_where_no_node_takes_work() {
    const STATUS: &str = "/api/v1/ingestion/worker/status";
    let worker = worker().await;
    let (away, busy) = (nowhere().await, always("503 Service Unavailable").await.0);
    let alone = api_node(Vec::new(), |_| {}).await.get(STATUS).await.json();
    assert_eq!(alone["status"], "Offline", "{alone}");
    let none = api_node(vec![away.clone(), busy.clone()], |_| {}).await.get(STATUS).await.json();
    assert_eq!(none["status"], "Offline", "{none}");
    let reason = none["reason"].as_str().unwrap();
    assert!(reason.contains("503") && reason.contains(away.trim_start_matches("http://")), "{reason}");
    let one = api_node(vec![away, busy, base(&worker)], |_| {}).await.get(STATUS).await.json();
    assert_eq!(one["status"], "Idle", "{one}");
}

#[tokio::test]
async fn an_api_node_passes_models_on_with_its_own_token_and_the_clients_correlation() {
    let worker = worker().await;
    worker.store.documents.lock().insert("a".to_owned(), stored("a", "news", VerdictLabel::Stored));
    worker.vectors.neighbors.lock().push(Neighbor { id: "a".into(), similarity: 0.9, timestamp_ms: 0 });
    let api = api_node(vec![base(&worker)], |_| {}).await;

    let request = api.client.get(api.url("/v1/search?q=some+text&k=3")).header("correlation-id", "trace-1");
    let search = super::server::Answer::of(request).await;
    assert_eq!((search.status, search.header("correlation-id")), (200, "trace-1"), "{search:?}");
    assert_eq!(search.json()["results"][0]["id"], json!("a"));

    let analyzed = api.post("/v1/analyze", &json!({"texts": ["one", "two"]})).await;
    assert_eq!(analyzed.json(), json!({"results": [{"text": "one"}, {"text": "two"}]}));
    let embedded = api.post("/v1/embeddings", &json!({"input": "four"})).await;
    assert_eq!(embedded.json()["data"][0]["embedding"], json!([4.0, 1.0]), "{embedded:?}");

    let wrong = api.get("/v1/search?q=some+text&k=0").await;
    assert_eq!(wrong.refusal(), refused(400, "TM0013"), "the worker's refusal is the client's");
    assert_eq!(api.analyst.begun.load(std::sync::atomic::Ordering::SeqCst), 0, "nothing is computed here");
}

#[tokio::test]
async fn a_worker_that_is_gone_is_left_out_and_requests_go_to_the_other() {
    let worker = worker().await;
    let gone = nowhere().await;
    let api = api_node(vec![gone, base(&worker)], |node| node.worker_failures = 2).await;
    for _ in 0..8 {
        assert_eq!(api.post("/v1/analyze", &json!({"texts": ["a"]})).await.status, 200);
    }
    let health = api.get("/health").await.json();
    let workers = health["node"]["workers"].as_array().unwrap();
    assert_eq!((&workers[0]["state"], &workers[0]["failures"]), (&json!("out"), &json!(2)), "{health}");
    assert_eq!(workers[1]["state"], json!("in"));
    assert_eq!(health["status"], json!("ok"), "without a worker documents are still taken");
}

#[tokio::test]
async fn with_every_worker_failing_the_answer_says_so_and_nobody_is_hammered() {
    let (failing, asked) = always("503 Service Unavailable").await;
    let api = api_node(vec![failing], |node| node.worker_failures = 2).await;
    for _ in 0..6 {
        let answer = api.get("/v1/search?q=text").await;
        assert_eq!(answer.refusal(), refused(503, "TM0041"));
        assert!(!answer.header("retry-after").is_empty());
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 2, "left out after its second failure");
}

#[tokio::test]
async fn a_wrong_token_is_the_nodes_fault_and_not_the_clients() {
    let worker = worker().await;
    let api = api_node(vec![base(&worker)], |node| node.worker_token = Some(Secret::new("not-their-token"))).await;
    assert_eq!(api.post("/v1/analyze", &json!({"texts": ["a"]})).await.refusal(), refused(503, "TM0041"));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (redirecting, _) = always("307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/").await;
    let api = api_node(vec![redirecting], |_| {}).await;
    assert_eq!(api.get("/v1/search?q=text").await.refusal(), refused(503, "TM0041"));
}

#[tokio::test]
async fn nodes_that_name_each_other_do_not_go_in_circles() {
    let inner = api_node(vec![nowhere().await], |_| {}).await;
    let outer = api_node(vec![base(&inner)], |_| {}).await;
    let begun = std::time::Instant::now();
    assert_eq!(outer.get("/v1/search?q=text").await.refusal(), refused(503, "TM0041"));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_silent_worker_costs_no_more_than_the_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let api = api_node(vec![url], |node| node.worker_timeout_seconds = 1).await;
    let begun = std::time::Instant::now();
    assert_eq!(api.get("/v1/search?q=text").await.refusal(), refused(503, "TM0041"));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn requests_at_workers_are_bounded() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let api = Arc::new(api_node(vec![url], |node| (node.worker_timeout_seconds, node.worker_requests) = (3, 1)).await);
    let first = tokio::spawn({
        let api = api.clone();
        async move { api.get("/v1/search?q=text").await }
    });
    let _held = silent.accept().await.unwrap();
    let second = api.get("/v1/search?q=text").await;
    assert_eq!(second.refusal(), refused(429, "TM0016"));
    assert_eq!(first.await.unwrap().refusal(), refused(503, "TM0041"));
}
