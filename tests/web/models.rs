//! Analyze, embeddings and search.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine;
use serde_json::json;
use tidemill::config::http::HttpConfig;
use tidemill::messages::analysis::VerdictLabel;
use tidemill::stores::vectors::Neighbor;

use super::fakes::{fake_vector, stored};
use super::server::{PATIENCE, Server, limits, refused};

#[tokio::test]
async fn analyze_answers_one_result_per_text() {
    let server = Server::start().await;
    let answer = server.post("/v1/analyze", &json!({ "texts": ["up", "down"] })).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "results": [{ "text": "up" }, { "text": "down" }] })));
    assert!(server.log.records.lock().is_empty());
}

#[tokio::test]
async fn analyze_names_the_text_at_fault() {
    let server = Server::start().await;
    for (body, status, code, field) in [
        (json!({ "texts": [] }), 400, "TM0003", Some("texts")),
        (json!({ "texts": ["a", " "] }), 400, "TM0005", Some("texts[1]")),
        (json!({ "texts": ["a", 1] }), 400, "TM0004", Some("texts[1]")),
        (json!({ "texts": vec!["a"; 41] }), 413, "TM0024", Some("texts")),
        (json!({}), 400, "TM0003", None),
    ] {
        let answer = server.post("/v1/analyze", &body).await;
        assert_eq!(answer.refusal(), refused(status, code), "{body}");
        assert_eq!(answer.json()["error"]["field"].as_str(), field, "{body}");
    }
}

#[tokio::test]
async fn embeddings_have_openais_shape() {
    let server = Server::start().await;
    let answer = server
        .post("/v1/embeddings", &json!({ "input": "two words", "model": "text-embedding-3-small", "user": "u" }))
        .await;
    let expected = json!({
        "object": "list",
        "data": [{ "object": "embedding", "index": 0, "embedding": fake_vector("two words") }],
        "model": "fake-encoder",
        "usage": { "prompt_tokens": 4, "total_tokens": 4 },
    });
    assert_eq!((answer.status, answer.json()), (200, expected));
}

#[tokio::test]
async fn many_embeddings_come_in_order_and_in_base64_when_asked() {
    let server = Server::start().await;
    let texts: Vec<String> = (0..40).map(|count| "w ".repeat(count + 1)).collect();
    let answer =
        server.post("/v1/embeddings", &json!({ "input": texts, "model": "m", "encoding_format": "base64" })).await;
    let body = answer.json();
    for (index, text) in texts.iter().enumerate() {
        let written = body["data"][index]["embedding"].as_str().unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(written).unwrap();
        let values: Vec<f32> = bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        assert_eq!(values, fake_vector(text));
    }
}

#[tokio::test]
async fn embeddings_refuse_what_they_can_not_do() {
    let server = Server::start().await;
    for (body, code) in [
        (json!({ "input": [1, 2] }), "TM0004"),
        (json!({ "input": 5 }), "TM0004"),
        (json!({ "input": "" }), "TM0005"),
        (json!({ "model": "m" }), "TM0003"),
        (json!({ "input": "a", "encoding_format": "int8" }), "TM0004"),
        (json!({ "input": "a", "dimensions": 3 }), "TM0013"),
    ] {
        assert_eq!(server.post("/v1/embeddings", &body).await.refusal(), refused(400, code), "{body}");
    }
}

#[tokio::test]
async fn search_answers_documents_by_similarity() {
    let server = Server::start().await;
    for (id, similarity) in [("near", 0.9_f32), ("far", 0.25)] {
        server.store.documents.lock().insert(id.to_owned(), stored(id, "news", VerdictLabel::Stored));
        server.vectors.neighbors.lock().push(Neighbor { id: Arc::from(id), similarity, timestamp_ms: 0 });
    }
    let answer = server.get("/v1/search?q=rates+rise&k=2&source=news&symbol=aapl&since=1970-01-02").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert_eq!(body["query"], json!("rates rise"));
    let hits: Vec<_> = body["results"].as_array().unwrap().iter().map(|hit| (&hit["id"], &hit["similarity"])).collect();
    assert_eq!(hits[0].0, &json!("near"));
    assert_eq!(hits[1], (&json!("far"), &json!(0.25)));
    let filters = server.vectors.filters.lock();
    assert_eq!((filters[0].source.as_deref(), filters[0].symbol.as_deref()), (Some("news"), Some("AAPL")));
    assert_eq!(filters[0].since_ms, Some(86_400_000));
}

#[tokio::test]
async fn search_checks_its_parameters() {
    let server = Server::start().await;
    for (query, code) in
        [("", "TM0003"), ("?q=+", "TM0003"), ("?q=a&k=0", "TM0013"), ("?q=a&x=1", "TM0013"), ("?q=a&since=x", "TM0009")]
    {
        assert_eq!(server.get(&format!("/v1/search{query}")).await.refusal(), refused(400, code), "{query}");
    }
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "the gate is only taken by the blocking pool")]
async fn a_model_call_that_takes_too_long_keeps_its_place_until_it_really_ends() {
    let http = HttpConfig { max_concurrent_compute: 1, compute_timeout_seconds: 1, ..limits() };
    let server = Server::start_with(http, None, false).await;
    let analyst = server.analyst.clone();
    let gate = analyst.gate.lock();
    let wait = json!({ "texts": ["wait"] });
    assert_eq!(server.post("/v1/analyze", &wait).await.refusal(), refused(504, "TM0018"));
    let answer = server.post("/v1/analyze", &json!({ "texts": ["a"] })).await;
    assert_eq!(answer.refusal(), refused(429, "TM0016"));
    assert_eq!(answer.header("retry-after"), "2");
    assert_eq!(analyst.begun.load(Ordering::SeqCst), 1);
    drop(gate);
    assert_eq!(server.post("/v1/analyze", &wait).await.status, 200);
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "the gate is only taken by the blocking pool")]
async fn model_calls_over_the_limit_wait_their_turn() {
    let http = HttpConfig { max_concurrent_compute: 1, compute_timeout_seconds: 20, ..limits() };
    let server = Server::start_with(http, None, false).await;
    let analyst = server.analyst.clone();
    let gate = analyst.gate.lock();
    let calls: Vec<_> = (0..3)
        .map(|_| tokio::spawn(server.client.post(server.url("/v1/analyze")).json(&json!({ "texts": ["wait"] })).send()))
        .collect();
    tokio::time::timeout(PATIENCE, async {
        while analyst.begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(server.get("/health/live").await.status, 200);
    assert_eq!(analyst.begun.load(Ordering::SeqCst), 1);
    drop(gate);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_model_that_crashes_costs_one_request() {
    let server = Server::start_with(HttpConfig { max_concurrent_compute: 1, ..limits() }, None, false).await;
    assert_eq!(server.post("/v1/analyze", &json!({ "texts": ["crash"] })).await.refusal(), refused(500, "TM0026"));
    assert_eq!(server.post("/v1/analyze", &json!({ "texts": ["a"] })).await.status, 200);
}
