//! What the model routes keep, and how an operator makes them forget.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;
use tidemill::messages::analysis::VerdictLabel;
use tidemill::stores::cache::{CacheKind, KindStats};
use tidemill::stores::vectors::Neighbor;

use super::fakes::stored;
use super::server::{Server, refused};

fn counts(server: &Server, kind: CacheKind) -> (u64, u64) {
    let KindStats { hits, misses, .. } = server.cache.kind_stats(kind);
    (hits, misses)
}

#[tokio::test]
async fn the_same_text_is_worked_out_once() {
    let server = Server::start_cached(None).await;
    let ask = json!({ "input": ["one", "two", "one more"], "model": "m" });
    let first = server.post("/v1/embeddings", &ask).await.json();
    let partly = json!({ "input": ["three", "two"], "model": "m" });
    let second = server.post("/v1/embeddings", &partly).await.json();
    assert_eq!(counts(&server, CacheKind::Embedding), (1, 4));
    assert_eq!(second["data"][1]["embedding"], first["data"][1]["embedding"], "in order, and the same");
    assert_eq!(server.post("/v1/embeddings", &ask).await.json(), first);
    assert_eq!(counts(&server, CacheKind::Embedding), (4, 4));

    let texts = json!({ "texts": ["up", "down"] });
    let judged = server.post("/v1/analyze", &texts).await.json();
    assert_eq!(server.post("/v1/analyze", &texts).await.json(), judged);
    assert_eq!(server.analyst.begun.load(Ordering::SeqCst), 1);
    assert_eq!(counts(&server, CacheKind::Quality), (2, 2));
}

#[tokio::test]
async fn search_sees_what_was_indexed_before_it_although_answers_are_kept() {
    let server = Server::start_cached(None).await;
    for id in ["a", "b"] {
        server.store.documents.lock().insert(id.into(), stored(id, "news", VerdictLabel::Stored));
    }
    let found = |ids: &[&str]| {
        let neighbor = |id: &&str| Neighbor { id: Arc::from(*id), similarity: 0.5, timestamp_ms: 0 };
        *server.vectors.neighbors.lock() = ids.iter().map(neighbor).collect();
    };
    found(&["a"]);
    let first = server.get("/v1/search?q=copper").await.json();
    assert_eq!(server.get("/v1/search?q=copper").await.json(), first);
    assert_eq!(server.vectors.filters.lock().len(), 1, "the index was asked once");
    server.get("/v1/search?q=copper&source=news").await;
    assert_eq!(server.vectors.filters.lock().len(), 2, "another question");
    found(&["a", "b"]);
    server.cache.searches_changed().await;
    let results = server.get("/v1/search?q=copper").await.json()["results"].as_array().unwrap().len();
    assert_eq!(results, 2);
}

#[tokio::test]
async fn operator_makes_the_cache_forget_by_pattern_and_with_the_token() {
    let server = Server::start_cached(Some("a token of some length")).await;
    assert_eq!(server.delete("/cache?pattern=*").await.refusal(), refused(401, "TM0015"));
    let put = |kind, name: &str| server.cache.put(kind, vec![(name.to_owned(), vec![1])]);
    put(CacheKind::Search, "a").await;
    put(CacheKind::Search, "b").await;
    put(CacheKind::Embedding, "a").await;
    let delete = |pattern: &str| {
        let url = server.url(&format!("/cache{pattern}"));
        let request = server.client.delete(url).bearer_auth("a token of some length");
        async move { request.send().await.unwrap() }
    };
    assert_eq!(delete("").await.status(), 400);
    let answer: serde_json::Value = delete("?pattern=search:*").await.json().await.unwrap();
    assert_eq!(answer, json!({ "invalidated": 2 }));
    let left = server.cache.get(CacheKind::Embedding, &["a".to_owned()]).await;
    assert_eq!(left, [Some(vec![1])]);
}
