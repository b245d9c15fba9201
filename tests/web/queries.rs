//! Documents, explanations and dead letters out.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tidemill::messages::analysis::VerdictLabel;
use tidemill::messages::code::ErrorCode;

use super::fakes::{letter, stored};
use super::server::{Server, refused};

async fn with_documents(count: usize) -> Server {
    let server = Server::start().await;
    for number in 0..count {
        let verdict = if number % 2 == 0 { VerdictLabel::Stored } else { VerdictLabel::Duplicate };
        let id = format!("doc-{number:02}");
        server.store.documents.lock().insert(id.clone(), stored(&id, "news", verdict));
    }
    server
}

fn ids(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_document_shows_verdict_origin_and_timings() {
    let server = with_documents(2).await;
    let answer = server.get("/v1/documents/doc-01").await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(body["verdict"], json!("duplicate"));
    assert_eq!(body["duplicate_of"], json!("original"));
    assert_eq!(body["origin"], json!({ "topic": "documents", "partition": 0, "offset": 7 }));
    assert_eq!(body["timings_ms"]["embedder"], json!(2.0));
    assert_eq!(body["analysis"]["rule"], json!("cosine"));
    assert_eq!(server.get("/v1/documents/none").await.refusal(), refused(404, "TM0014"));
}

#[tokio::test]
async fn an_id_with_slashes_and_spaces_is_found_percent_encoded() {
    let server = Server::start().await;
    let id = "a/b c?ü";
    let mut document = stored("x", "news", VerdictLabel::Stored);
    document.document.id = id.into();
    server.store.documents.lock().insert(id.to_owned(), document);
    assert_eq!(server.get("/v1/documents/a%2Fb%20c%3F%C3%BC").await.json()["id"], json!(id));
}

#[tokio::test]
async fn pages_follow_each_other_without_gap() {
    let server = with_documents(7).await;
    let (mut all, mut cursor) = (Vec::new(), String::new());
    let mut pages = 0;
    loop {
        let page = server.get(&format!("/v1/documents?limit=3&cursor={cursor}")).await.json();
        all.extend(ids(&page));
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(pages, 3);
    assert_eq!(all, (0..7).map(|number| format!("doc-{number:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn filters_reach_the_store() {
    let server = with_documents(4).await;
    assert_eq!(ids(&server.get("/v1/documents?verdict=duplicate").await.json()), ["doc-01", "doc-03"]);
    assert_eq!(ids(&server.get("/v1/documents?source=reddit").await.json()), Vec::<String>::new());
    assert_eq!(ids(&server.get("/v1/documents?symbol=aapl").await.json()).len(), 4);
    assert_eq!(ids(&server.get("/v1/documents?since=2030-01-01").await.json()), Vec::<String>::new());
}

#[tokio::test]
async fn wrong_filters_are_named() {
    let server = Server::start().await;
    for (query, code, field) in [
        ("verdict=maybe", "TM0013", Some("verdict")),
        ("verdict=dead", "TM0013", Some("verdict")),
        ("limit=0", "TM0013", Some("limit")),
        ("limit=1001", "TM0013", Some("limit")),
        ("limit=NaN", "TM0013", Some("limit")),
        ("since=tomorrow", "TM0009", Some("since")),
        ("sinse=2026-01-01", "TM0013", Some("sinse")),
        ("cursor=zzz", "TM0013", None),
    ] {
        let answer = server.get(&format!("/v1/documents?{query}")).await;
        assert_eq!(answer.refusal(), refused(400, code), "{query}");
        assert_eq!(answer.json()["error"]["field"].as_str(), field, "{query}");
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_503() {
    let server = Server::start().await;
    server.store.away.store(true, Ordering::SeqCst);
    let answer = server.get("/v1/documents/x").await;
    assert_eq!(answer.refusal(), refused(503, "TM0017"));
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test]
async fn explain_finds_a_document_by_any_of_its_names() {
    let server = with_documents(2).await;
    server.store.documents.lock().insert("original".to_owned(), stored("original", "news", VerdictLabel::Stored));
    for name in ["doc-01", "correlation-doc-01"] {
        let answer = server.get(&format!("/v1/explain/{name}")).await;
        assert_eq!(answer.status, 200);
        let body = answer.json();
        let way = &body["documents"][0];
        assert_eq!(way["document_id"], json!("doc-01"));
        assert_eq!(way["because"], json!("rule cosine found it a copy of original with similarity 0.9700"));
        assert_eq!(way["original"]["id"], json!("original"));
        let stages = json!([{ "stage": "fingerprinter", "ms": 1.0 }, { "stage": "embedder", "ms": 2.0 }]);
        assert_eq!((&way["stages"], &way["total_ms"]), (&stages, &json!(3.0)));
        assert_eq!(way["models"]["embedding"]["model"], json!("fake-encoder"));
        assert_eq!(way["document"]["text"], json!("some text"));
    }
    assert_eq!(server.get("/v1/explain/none").await.refusal(), refused(404, "TM0014"));
}

#[tokio::test]
async fn explain_tells_of_dead_letters() {
    let server = Server::start().await;
    server.store.letters.lock().insert("d1".to_owned(), letter("d1", ErrorCode::InvalidJson, b"{"));
    for name in ["d1", "correlation-d1"] {
        let body = server.get(&format!("/v1/explain/{name}")).await.json();
        assert_eq!(body["dead_letters"].as_array().unwrap().len(), 1);
        assert_eq!(body["dead_letters"][0]["because"], json!("source gave up: broken"));
        assert_eq!(body["dead_letters"][0]["dead_letter"]["code"], json!("TM0002"));
    }
}

#[tokio::test]
async fn a_dead_letter_shows_its_bytes() {
    let server = Server::start().await;
    server.store.letters.lock().insert("d1".to_owned(), letter("d1", ErrorCode::InvalidUtf8, b"\xff{"));
    server.store.letters.lock().insert("d2".to_owned(), letter("d2", ErrorCode::InvalidJson, b"{\"a\""));
    let body = server.get("/v1/dead-letters/d1").await.json();
    assert_eq!((&body["value_base64"], &body["value_utf8"]), (&json!("/3s="), &Value::Null));
    assert_eq!(body["key_utf8"], json!("key"));
    assert_eq!(body["headers"], json!([{ "name": "source", "value_base64": "d2lyZQ==", "value_utf8": "wire" }]));
    assert_eq!(server.get("/v1/dead-letters/d2").await.json()["value_utf8"], json!("{\"a\""));
    assert_eq!(ids(&server.get("/v1/dead-letters?code=tm0002").await.json()), ["d2"]);
    assert_eq!(server.get("/v1/dead-letters?code=nope").await.refusal(), refused(400, "TM0013"));
    assert_eq!(server.get("/v1/dead-letters/none").await.refusal(), refused(404, "TM0014"));
}

#[tokio::test]
async fn dead_letters_are_replayed_one_by_one_and_all_at_once() {
    let server = Server::start().await;
    for number in 0..450 {
        let id = format!("d{number:03}");
        server.store.letters.lock().insert(id.clone(), letter(&id, ErrorCode::InvalidJson, b"{"));
    }
    server.store.letters.lock().insert("stuck".to_owned(), letter("stuck", ErrorCode::InvalidJson, b"{"));
    let empty = json!({});
    assert_eq!(server.post("/v1/dead-letters/d000/replay", &empty).await.status, 202);
    assert_eq!(server.post("/v1/dead-letters/none/replay", &empty).await.refusal(), refused(404, "TM0014"));
    assert_eq!(server.post("/v1/dead-letters/stuck/replay", &empty).await.refusal(), refused(503, "TM0017"));

    let answer = server.post("/v1/dead-letters/replay", &empty).await;
    assert_eq!(answer.status, 202);
    let failures = json!([{ "id": "stuck", "message": "the broker is gone" }]);
    assert_eq!(answer.json(), json!({ "replayed": 449, "failed": 1, "failures": failures, "complete": true }));
    assert_eq!(ids(&server.get("/v1/dead-letters?replayed=false").await.json()), ["stuck"]);
}

#[tokio::test]
async fn dead_letters_are_deleted_one_by_one_and_all_at_once() {
    let server = Server::start().await;
    for id in ["d1", "d2", "d3"] {
        server.store.letters.lock().insert(id.to_owned(), letter(id, ErrorCode::InvalidJson, b"{"));
    }
    assert_eq!(server.delete("/v1/dead-letters/d1").await.json(), json!({ "deleted": 1 }));
    assert_eq!(server.delete("/v1/dead-letters/d1").await.refusal(), refused(404, "TM0014"));
    assert_eq!(server.delete("/v1/dead-letters?stage=source").await.refusal(), refused(400, "TM0013"));
    assert_eq!(server.delete("/v1/dead-letters").await.json(), json!({ "deleted": 2 }));
}
